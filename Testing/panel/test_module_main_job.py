"""The main job from the panel and from the console, with a trained network on a synthetic abdomen.

The model is the installed one, or the folder that ATTENTION_UNET_SEGMENT_TEST_MODEL names.
"""

from __future__ import annotations

import os

import panel_driver
import pytest
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model
from AttentionUNetSegmentLib.synthetic import ORGAN_LABELS, synthetic_abdomen

SPACING_MM = (4.0, 4.0, 6.0)


@pytest.fixture(scope="module")
def model():
    name = os.environ.get("ATTENTION_UNET_SEGMENT_TEST_MODEL", DEFAULT_MODEL)
    try:
        return str(find_model(name))
    except ModelError as error:
        pytest.skip(f"no trained model: {error}")


@pytest.fixture(scope="module")
def abdomen():
    return synthetic_abdomen(3, SPACING_MM)


@pytest.fixture(scope="module")
def driver(model, abdomen):
    """The panel after the button was pressed once on the synthetic abdomen."""
    module = panel_driver.start_module()
    from AttentionUNetSegmentLib import scene
    from SlicerStandIn import driving

    driving.closeScene()
    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    driver.parameters.model = model
    driver.choose(scene.addVolumeNode(abdomen.ct, "Synthetic abdomen"))
    driver.segment()
    yield driver
    driver.representation.exit()
    driving.closeScene()
    panel_driver.stop_module()


def test_the_pancreas_is_found_where_it_was_drawn(driver, abdomen):
    import slicer.util

    found = driver.panel.resultNodes
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        found.segmentationNode, found.segmentId, driver.panel.volumeNode
    )
    truth = abdomen.labels.array == ORGAN_LABELS["pancreas"]
    assert 2 * (truth & (mask > 0)).sum() / (truth.sum() + (mask > 0).sum()) > 0.5


def test_the_panel_says_volume_time_and_device(driver):
    assert "mL" in driver.ui.resultLabel.text
    assert " s on " in driver.ui.resultLabel.text


def test_deeper_levels_look_at_less(driver):
    ratios = driver.panel.resultNodes.focusRatios
    assert sorted(ratios) == [1, 2, 3, 4]
    assert ratios[4] < ratios[1]


def test_the_logic_works_from_the_console_in_three_lines(driver, model):
    from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions

    from AttentionUNetSegment import AttentionUNetSegmentLogic

    logic = AttentionUNetSegmentLogic()
    result = logic.segment(driver.panel.volumeNode, options=SegmentationOptions(model=model))
    assert result.prediction.found
    assert result.segmentationNode is driver.panel.resultNodes.segmentationNode
