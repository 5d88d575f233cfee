"""How good a result is, in the panel: the estimate, the uncertainty, the most doubtful place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from panel_driver import slice_centre

ESTIMATOR = {
    "coefficients": {"soft_dice_logit": 0.0},
    "intercept": 1.1527,  # a Dice of 0.76, whatever the result
    "interval": {"estimate": [0.5, 0.9], "low": [0.3, 0.8], "high": [0.7, 0.95], "coverage": 0.9},
    "usual": 0.7,
}


@pytest.fixture
def estimated(driver, monkeypatch):
    """The model tells how good its results are."""
    from AttentionUNetSegmentLib.inference import predictor_cache
    from AttentionUNetSegmentLib.models import DiceEstimator

    load = predictor_cache.load_predictor

    def loaded(options):
        predictor = load(options)
        estimator = DiceEstimator.from_mapping(ESTIMATOR)
        predictor.card = dataclasses.replace(predictor.card, dice_estimate=estimator)
        return predictor

    monkeypatch.setattr(predictor_cache, "load_predictor", loaded)
    driver.panel.hub.cache.clear()
    yield driver
    driver.panel.hub.cache.clear()


def test_the_estimate_stands_below_the_button(estimated, ct):
    estimated.segment()
    text = estimated.ui.resultLabel.text
    assert "Estimated Dice 0.76 (0.63 to 0.86 in 90% of such results)" in text
    assert "probably not good" not in estimated.message


def test_a_model_that_does_not_tell_is_not_asked(driver, ct):
    driver.segment()
    assert "Dice" not in driver.ui.resultLabel.text


def test_uncertainty_is_shown_like_a_level(driver, ct):
    from AttentionUNetSegmentLib.scene.colors import VIRIDIS

    driver.segment()
    driver.panel.attention.eyes[-1].click()
    driver.pump()
    assert driver.parameters.attentionLevel == -1
    node = driver.panel.resultNodes.uncertaintyNode
    import slicer

    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == node.GetID()
    assert node.GetDisplayNode().GetColorNodeID() == VIRIDIS
    assert "cannot decide" in driver.ui.attentionSentenceLabel.text
    assert "sure of its answer" in driver.ui.attentionSentenceLabel.text
    driver.ui.removeAttentionButton.click()
    driver.pump()
    assert driver.panel.resultNodes.uncertaintyNode is None


def test_a_level_says_what_it_can_and_cannot_show(driver, ct):
    driver.segment()
    driver.panel.attention.eyes[1].click()
    driver.pump()
    assert "no proof" in driver.ui.attentionSentenceLabel.text


def test_the_button_leads_from_place_to_place_and_round(driver, ct):
    button = driver.ui.doubtfulPlaceButton
    assert not button.enabled
    driver.segment()
    places = driver.panel.resultNodes.doubtfulPlaces
    assert len(places) >= 2
    assert button.enabled
    for number in (*range(len(places)), 0):
        button.click()
        driver.pump()
        assert slice_centre() == pytest.approx(places[number].position_ras, abs=0.1)
        assert f"place {number + 1} of {len(places)}" in driver.message
        assert f"{places[number].volume_ml:.1f} mL" in driver.message


def test_a_place_follows_the_transform_of_its_scan(driver, ct):
    import slicer
    import vtk

    driver.segment()
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    moved.SetMatrixTransformToParent(matrix)
    ct.SetAndObserveTransformNodeID(moved.GetID())
    driver.pump()
    r, a, s = driver.panel.resultNodes.doubtfulPlaces[0].position_ras
    driver.ui.doubtfulPlaceButton.click()
    assert slice_centre() == pytest.approx((r + 25, a, s), abs=0.1)
    # Found under the transform it is on the outline of the ball, too.
    driver.segment()
    assert_on_the_outline(driver)
    # Hardened, the coordinates that it is noted in are no more.
    ct.HardenTransform()
    driver.panel.update()
    assert not driver.ui.doubtfulPlaceButton.enabled
    driver.segment()
    assert_on_the_outline(driver)


def assert_on_the_outline(driver, middle=(-20 + 25, 6, 29), radius_mm=24):
    driver.ui.doubtfulPlaceButton.click()
    distance_mm = np.linalg.norm(np.subtract(slice_centre(), middle))
    assert distance_mm == pytest.approx(radius_mm, abs=6)
