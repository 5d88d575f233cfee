"""Fixtures: the panel in real Qt on a real MRML scene, with a model whose answer is known.

Everything heavy is imported by the fixture that needs it.
"""

from __future__ import annotations

import panel_driver
import pytest
from panel_driver import add_ct


@pytest.fixture(scope="module")
def module():
    yield panel_driver.start_module()
    panel_driver.stop_module()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A model that can be found; what is run in its place is the threshold model."""
    return save_threshold_model(tmp_path_factory.mktemp("models") / "bright", "pancreas")


def save_threshold_model(folder, organ, label=1):
    """Its card, beside weights that nobody runs."""
    from AttentionUNetSegmentLib.models import save_model
    from AttentionUNetSegmentLib.networks import build_network
    from threshold_model import threshold_model

    card = threshold_model(label, organ).card
    networks = {name: build_network(dict(stage.network)) for name, stage in card.stages.items()}
    save_model(folder, card, networks)
    return folder


@pytest.fixture
def driver(module, model_folder, monkeypatch):
    import slicer
    from AttentionUNetSegmentLib.inference import predictor_cache
    from AttentionUNetSegmentLib.inference.predictor import Predictor
    from AttentionUNetSegmentLib.models import read_card
    from SlicerStandIn import driving
    from threshold_model import threshold_model

    monkeypatch.setattr(
        predictor_cache,
        "load_predictor",
        lambda options: Predictor(
            threshold_model(organ=read_card(options.model_folder).target),
            options.device,
            options.precision,
            options.tile_voxels,
        ),
    )
    driving.closeScene()
    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    driver.parameters.model = str(model_folder)
    yield driver
    driver.panel.cancel(silently=True)
    driver.representation.exit()
    driving.closeScene()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


@pytest.fixture
def ct(driver):
    return add_ct(driver)


@pytest.fixture
def without_torch(driver, monkeypatch):
    from AttentionUNetSegmentLib.panel import installation

    there = {"torch": False, "PyTorchUtils": False}
    installed = installation.installed
    monkeypatch.setattr(
        installation, "installed", lambda name: there[name] if name in there else installed(name)
    )
    driver.panel.update()
    return there
