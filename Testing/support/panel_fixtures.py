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
    from threshold_model import save_card_of, threshold_model

    return save_card_of(threshold_model(label, organ), folder)


@pytest.fixture
def driver(module, model_folder, monkeypatch):
    import slicer
    from AttentionUNetSegmentLib.inference import predictor_cache
    from AttentionUNetSegmentLib.inference.predictor import Predictor
    from AttentionUNetSegmentLib.models import read_card
    from SlicerStandIn import driving
    from threshold_model import (
        liver_and_spleen_model,
        threshold_model,
        two_target_model,
        with_structure_editor,
    )

    def load_predictor(options):
        card = read_card(options.model_folder)
        if card.name == "liver":
            model = liver_and_spleen_model()
        else:
            model = two_target_model() if card.targets else threshold_model(organ=card.target)
            if card.takes_any_structure:
                model = with_structure_editor(model)
        return Predictor(model, options.device, options.precision, options.tile_voxels)

    monkeypatch.setattr(predictor_cache, "load_predictor", load_predictor)
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
