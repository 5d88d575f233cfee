"""Clicks in the panel: placed, listed, taken back, used; and the scans in Sample Data."""

from __future__ import annotations

import sys
from pathlib import Path

import panel_driver
import pytest
from panel_driver import click, segment_mask


@pytest.fixture
def placing(driver, ct):
    """The user pressed "Inside", and clicks at a place of the CT from now on."""
    import vtk

    driver.ui.updateAfterClickCheckBox.checked = False
    driver.ui.insideButton.click()
    driver.pump()

    def place(i, j, k):
        from AttentionUNetSegmentLib import scene

        point = (scene.volumeFromNode(ct).ijk_to_ras @ (i, j, k, 1))[:3]
        driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(*point))
        driver.pump()

    return place


def shown(driver):
    return [driver.ui.clickList.item(row).text() for row in range(driver.ui.clickList.count)]


def test_points_are_inside_or_outside_as_the_button_says(driver, placing):
    assert driver.ui.insideButton.checked
    placing(28, 24, 12)
    driver.ui.outsideButton.click()
    driver.pump()
    assert driver.ui.outsideButton.checked
    assert not driver.ui.insideButton.checked
    placing(10, 10, 12)
    node = driver.parameters.clicks
    assert [node.GetNthControlPointDescription(n) for n in range(2)] == ["inside", "outside"]
    assert [click.inside for click in driver.panel.clicks.clicks] == [True, False]
    assert "inside" in shown(driver)[0]
    assert "outside" in shown(driver)[1]


def test_undo_redo_remove_and_clear(driver, placing):
    for i in (20, 25, 30):
        placing(i, 24, 12)
    three = shown(driver)
    driver.ui.undoClickButton.click()
    assert shown(driver) == three[:2]
    driver.ui.redoClickButton.click()
    assert shown(driver) == three
    assert not driver.ui.redoClickButton.enabled
    driver.ui.clickList.setCurrentRow(0)
    driver.ui.removeClickButton.click()
    assert len(shown(driver)) == 2
    driver.ui.resetClicksButton.click()
    assert shown(driver) == []
    assert not driver.ui.undoClickButton.enabled


def test_a_new_click_ends_what_can_be_redone(driver, placing):
    placing(20, 24, 12)
    driver.ui.undoClickButton.click()
    placing(25, 24, 12)
    assert not driver.ui.redoClickButton.enabled


def test_a_click_segments_again_where_that_is_wanted(driver, placing):
    driver.ui.updateAfterClickCheckBox.checked = True
    placing(28, 24, 12)
    assert driver.pump(lambda: driver.panel.hasSegment and not driver.panel.busy)


def test_a_click_beside_the_scan_is_taken_away_and_the_next_one_is_answered(driver, ct):
    driver.segment()
    click(driver, ct, (44, 23, 11))
    before, mask = driver.panel.clicks.clicks, segment_mask(driver, ct)
    click(driver, ct, (200, 23, 11))
    assert "lies outside the scan" in driver.message
    assert driver.panel.clicks.clicks == before
    assert (segment_mask(driver, ct) == mask).all()
    click(driver, ct, (10, 23, 11))
    assert "lies outside the scan" not in driver.message
    assert segment_mask(driver, ct)[11, 23, 10]


def test_a_click_outside_of_the_region_of_interest_is_in_no_later_ones_way(driver, ct):
    import slicer
    from AttentionUNetSegmentLib import scene

    to_world = scene.volumeFromNode(ct).ijk_to_ras
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(*(to_world @ (32, 23.5, 11.5, 1))[:3])
    roi.SetSize(150, 190, 130)
    driver.ui.roiSelector.setCurrentNode(roi)
    driver.segment()
    click(driver, ct, (44, 23, 11))
    before, mask = driver.panel.clicks.clicks, segment_mask(driver, ct)
    click(driver, ct, (8, 23, 11))
    assert "lies outside the region of interest" in driver.message
    assert driver.panel.clicks.clicks == before
    node = driver.parameters.clicks
    node.SetNthControlPointPositionWorld(0, *(to_world @ (8, 23, 11, 1))[:3])
    driver.wait_for_answer()
    assert driver.panel.clicks.clicks == before, "back where it was"
    assert (segment_mask(driver, ct) == mask).all()
    click(driver, ct, (20, 23, 11))
    assert segment_mask(driver, ct)[11, 23, 20]
    roi.SetSize(60, 190, 130)
    click(driver, ct, (32, 23, 11))
    assert "lies outside the region of interest" in driver.message
    assert len(driver.panel.clicks.clicks) == 3, "those of before the region are the user's"


def test_a_point_without_a_place_any_more_is_no_click(driver, ct):
    """As "Clear position" in the Markups module leaves it."""
    driver.segment()
    click(driver, ct, (44, 23, 11))
    assert segment_mask(driver, ct)[11, 23, 44]
    driver.parameters.clicks.UnsetNthControlPointPosition(0)
    driver.wait_for_answer()
    assert driver.panel.clicks.clicks == ()
    assert not segment_mask(driver, ct)[11, 23, 44]


def test_a_click_that_is_dragged_out_of_the_scan_is_where_it_was(driver, ct):
    import slicer

    driver.segment()
    click(driver, ct, (44, 23, 11))
    before = driver.panel.clicks.clicks
    node = driver.parameters.clicks
    node.InvokeCustomModifiedEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    node.SetNthControlPointPositionWorld(0, 500.0, 0.0, 0.0)
    driver.wait_for_answer()
    assert driver.panel.clicks.clicks != before, "not before it is let go"
    node.InvokeCustomModifiedEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    driver.wait_for_answer()
    assert "lies outside the scan" in driver.message
    assert driver.panel.clicks.clicks == before


def test_a_point_whose_coordinates_are_written_is_answered(driver, ct):
    """In the table of the Markups module: nothing is dragged there, and let go."""
    from AttentionUNetSegmentLib import scene

    driver.segment()
    click(driver, ct, (44, 23, 11))
    node = driver.parameters.clicks
    point = (scene.volumeFromNode(ct).ijk_to_ras @ (10, 23, 11, 1))[:3]
    node.SetNthControlPointPosition(0, *point)
    driver.wait_for_answer()
    mask = segment_mask(driver, ct)
    assert mask[11, 23, 10]
    assert not mask[11, 23, 44]
    node.SetNthControlPointLabel(0, "tail")
    node.SetNthControlPointLocked(0, True)
    driver.pump()
    assert not driver.panel.busy, "it is the same click"


def test_clicks_belong_to_their_volume(driver, ct, placing):
    from panel_driver import add_ct

    placing(28, 24, 12)
    add_ct(driver, "other")
    assert shown(driver) == []
    driver.choose(ct)
    assert len(shown(driver)) == 1


def test_points_of_another_volume_are_not_seen(driver, ct):
    """They would seem to lie on the volume that is chosen now."""
    import slicer
    from AttentionUNetSegmentLib.inference.strokes import Scribble

    click(driver, ct, (28, 24, 12))
    line = Scribble(((-20.0, 8.0, 26.0), (-30.0, 8.0, 26.0)), True)
    driver.panel.session.newPoints().addPrompt(line)
    driver.wait_for_answer()
    shown = [driver.parameters.clicks, *lines()]
    assert [node.GetDisplayVisibility() for node in shown] == [1, 1]
    other = panel_driver.add_ct(driver, "other")
    assert [node.GetDisplayVisibility() for node in shown] == [0, 0]
    click(driver, other, (28, 24, 12))
    assert driver.parameters.clicks.GetDisplayVisibility()
    driver.choose(ct)
    assert [node.GetDisplayVisibility() for node in shown] == [1, 1]
    slicer.mrmlScene.RemoveNode(ct)
    driver.pump()
    assert not shown[0].GetDisplayVisibility()


def test_what_is_seen_of_points_outlasts_the_scene(driver, ct, tmp_path):
    from SlicerStandIn import driving

    click(driver, ct, (28, 24, 12))
    panel_driver.add_ct(driver, "other")
    driving.saveScene(tmp_path / "two.mrb")
    driving.loadScene(tmp_path / "two.mrb")
    driver.pump()
    assert driver.panel.volumeNode.GetName() == "other"
    (ct,) = [node for node in volumes() if node.GetName() == "CT"]
    driver.choose(ct)
    assert driver.parameters.clicks.GetDisplayVisibility()


def lines():
    import slicer.util

    return slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode")


def test_leaving_the_module_ends_placing(driver, placing):
    driver.representation.exit()
    assert not driver.ui.placeWidget.placeModeEnabled
    assert not driver.ui.insideButton.checked
    driver.representation.enter()


def test_the_scans_are_in_sample_data(driver, monkeypatch):
    import slicer
    from AttentionUNetSegmentLib import synthetic

    slicer.app.startupCompleted.emit()
    coarse = synthetic.synthetic_abdomen(3, (6.0, 6.0, 8.0))
    monkeypatch.setattr(synthetic, "synthetic_abdomen", lambda seed: coarse)
    known = volumes()
    driver.press_sample("AttentionUNetSegment", "SyntheticAbdomen")
    (made,) = volumes() - known
    assert made.GetName() == "Synthetic abdomen (not a patient)"


def test_the_public_scan_comes_from_the_cache_when_it_is_the_right_one(driver, monkeypatch):
    import SimpleITK as sitk
    import slicer
    import slicer.util
    from AttentionUNetSegmentLib.panel.sample_data import CT_SHA256

    slicer.app.startupCompleted.emit()
    cached = Path(slicer.app.cachePath) / "Panoramix-cropped.nrrd"
    sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkInt16), str(cached))
    monkeypatch.setattr(slicer.util, "computeChecksum", lambda algorithm, path: CT_SHA256)
    known = volumes()
    driver.press_sample("AttentionUNetSegment", "CTAAbdomenForPancreas")
    (loaded,) = volumes() - known
    assert loaded.GetName() == "CTA abdomen (Panoramix)"
    monkeypatch.undo()
    refused: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: refused.append(error))
    driver.press_sample("AttentionUNetSegment", "CTAAbdomenForPancreas")
    assert CT_SHA256 in str(refused[0])
    assert not cached.exists()


def volumes():
    import slicer.util

    return set(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def test_clicks_come_back_with_a_segmentation_that_was_loaded_from_a_file(driver, ct, tmp_path):
    import slicer
    from AttentionUNetSegmentLib.scene import export
    from SlicerStandIn import driving

    driver.segment()
    click(driver, ct, (44, 23, 11))
    clicks, model = driver.panel.clicks.clicks, driver.parameters.model
    export.exportSegmentation(driver.parameters.segmentation, tmp_path / "mine.seg.nrrd")
    driving.closeScene()
    driver.pump()
    driver.parameters.model = model
    volume_node = panel_driver.add_ct(driver)
    node = slicer.util.loadSegmentation(str(tmp_path / "mine.seg.nrrd"))
    driver.pump()
    driver.ui.segmentationSelector.setCurrentNode(node)
    driver.pump()
    assert driver.panel.clicks.clicks == pytest.approx(clicks)
    click(driver, volume_node, (10, 23, 11))
    mask = segment_mask(driver, volume_node)
    assert mask[11, 23, 44]
    assert mask[11, 23, 10]
