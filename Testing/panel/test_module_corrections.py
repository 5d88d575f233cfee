"""Corrections by hand in the panel: kept, counted, shown, forgotten, learnt from; and undo."""

from __future__ import annotations

import json

import numpy as np
import panel_driver
import pytest
from panel_driver import ERASED, PAINTED, Gate, click, holds, paint, segment_mask, wait

VOXEL_ML = 4 * 4 * 6 / 1000


@pytest.fixture
def corrected(driver, ct):
    """The pancreas was found; the user painted and erased."""
    driver.segment()
    driver.unfold("correction")
    paint(driver, ct, PAINTED, True)
    paint(driver, ct, ERASED, False)
    driver.pump(lambda: "mL painted" in driver.ui.correctionsLabel.text, 5)
    yield ct
    driver.ui.showCorrectionsCheckBox.checked = False
    driver.ui.correctionCollapsibleButton.collapsed = True


def test_one_click_alone_segments(driver, ct):
    click(driver, ct, (27, 23, 11))
    truth = panel_driver.bright_scan().array > 200
    mask = segment_mask(driver, ct)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85
    driver.ui.resetClicksButton.click()
    wait(driver)
    assert not segment_mask(driver, ct).any()  # it was made of the click only


def test_clicks_go_on_from_the_automatic_result(driver, ct):
    driver.segment()
    automatic = segment_mask(driver, ct)
    click(driver, ct, (33, 23, 11), inside=False)
    assert (segment_mask(driver, ct) != automatic).any()
    driver.ui.resetClicksButton.click()
    wait(driver)
    np.testing.assert_array_equal(segment_mask(driver, ct), automatic)


def test_corrections_are_counted(driver, corrected):
    painted, erased = 48 * VOXEL_ML, 18 * VOXEL_ML
    expected = f"By hand: {painted:.1f} mL painted, {erased:.1f} mL erased."
    assert driver.ui.correctionsLabel.text == expected
    assert driver.ui.clearCorrectionsButton.enabled


def test_corrections_outlast_a_click_a_run_and_another_model(
    driver,
    corrected,
    model_folder,
    tmp_path,
):
    import shutil

    click(driver, corrected, (27, 20, 11))
    assert holds(driver, corrected)
    driver.segment()
    assert holds(driver, corrected)
    assert "corrected by hand was kept" in driver.message
    shutil.copytree(model_folder, tmp_path / "other")
    driver.parameters.model = str(tmp_path / "other")
    driver.segment()
    assert holds(driver, corrected)


def test_corrections_are_shown_and_hidden(driver, corrected):
    import slicer

    nodes = panel_driver.node_count()
    driver.ui.showCorrectionsCheckBox.click()
    driver.ui.showCorrectionsCheckBox.click()
    assert panel_driver.node_count() == nodes
    driver.ui.showCorrectionsCheckBox.click()
    helper = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetHideFromEditors()
    ]
    assert len(helper) == 1
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(helper[0], "Painted by hand", corrected)
    assert mask.sum() == 48


def test_forgetting_corrections_can_be_undone(driver, corrected):
    mask, before = segment_mask(driver, corrected), driver.ui.correctionsLabel.text
    driver.ui.clearCorrectionsButton.click()
    driver.pump()
    assert driver.ui.correctionsLabel.text == "Nothing was corrected by hand."
    assert not driver.ui.clearCorrectionsButton.enabled
    np.testing.assert_array_equal(segment_mask(driver, corrected), mask)
    driver.panel.correction.editor.undo()
    driver.pump(lambda: driver.ui.correctionsLabel.text == before, 5)
    assert driver.ui.correctionsLabel.text == before
    np.testing.assert_array_equal(segment_mask(driver, corrected), mask)
    driver.ui.clearCorrectionsButton.click()
    driver.segment()
    assert not segment_mask(driver, corrected)[PAINTED].any()
    assert segment_mask(driver, corrected)[ERASED].all()


def test_an_answer_is_one_step_of_the_editors_undo(driver, corrected):
    before = segment_mask(driver, corrected)
    click(driver, corrected, (33, 23, 11), inside=False)
    after = segment_mask(driver, corrected)
    assert (before != after).any()
    editor = driver.panel.correction.editor
    editor.undo()
    driver.pump()
    np.testing.assert_array_equal(segment_mask(driver, corrected), before)
    assert driver.ui.clickList.count == 0
    assert not driver.panel.busy
    assert holds(driver, corrected)
    editor.redo()
    driver.pump()
    np.testing.assert_array_equal(segment_mask(driver, corrected), after)
    assert driver.ui.clickList.count == 1
    assert not driver.panel.busy


def test_no_state_is_saved_twice(driver, ct, monkeypatch):
    driver.segment()
    editor = driver.panel.correction.editor
    saved = []
    save = type(editor).saveStateForUndo
    monkeypatch.setattr(
        type(editor), "saveStateForUndo", lambda self: saved.append(self is editor) or save(self)
    )
    click(driver, ct, (33, 23, 11), inside=False)
    assert saved == [True]


def test_painting_leaves_clicks_alone_that_were_not_used_yet(driver, corrected):
    import vtk

    driver.ui.updateAfterClickCheckBox.checked = False
    driver.ui.insideButton.click()
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(-18, 8, 26))
    driver.pump()
    paint(driver, corrected, (slice(3, 4), slice(6, 7), slice(10, 12)), True)
    assert driver.ui.clickList.count == 1


def test_the_network_leaves_other_segments_alone_unless_told(driver, ct):
    import slicer.util

    driver.segment()
    node = driver.panel.resultNodes.segmentationNode
    other = node.GetSegmentation().AddEmptySegment("other", "other")
    ball = (panel_driver.bright_scan().array > 200).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(ball, node, other, ct)
    click(driver, ct, (33, 23, 11), inside=False)
    driver.ui.resetClicksButton.click()
    wait(driver)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, other, ct)
    np.testing.assert_array_equal(mask, ball)


def test_a_completed_segment_is_refused_before_anything_is_computed(
    driver,
    corrected,
):
    import slicer

    found = driver.panel.resultNodes
    segment = found.segmentationNode.GetSegmentation().GetSegment(found.segmentId)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segment, logic.Completed)
    mask = segment_mask(driver, corrected)
    driver.press_segment()
    assert not driver.panel.busy
    assert "marked as completed" in driver.message
    assert driver.message.count(". ") == 0
    np.testing.assert_array_equal(segment_mask(driver, corrected), mask)


def test_the_section_says_that_completed_segments_are_safe(driver, corrected):
    assert "Completed is never changed" in driver.ui.correctionLabel.text
    assert "replace" not in driver.ui.correctionLabel.text


def test_corrections_and_clicks_are_saved_with_the_scene(
    driver,
    corrected,
    tmp_path,
):
    import slicer
    from SlicerStandIn import driving

    click(driver, corrected, (27, 20, 11))
    clicks = driver.panel.clicks.clicks
    driving.saveScene(tmp_path / "scene.mrb")
    driving.closeScene()
    driving.loadScene(tmp_path / "scene.mrb")
    driver.pump()
    volume_node = slicer.mrmlScene.GetFirstNodeByName("CT")
    assert driver.panel.clicks.clicks == pytest.approx(clicks)
    driver.ui.resetClicksButton.click()
    wait(driver)
    assert holds(driver, volume_node)
    assert segment_mask(driver, volume_node).sum() > 200  # what was found without clicks
    driver.segment()
    assert holds(driver, volume_node)


def test_the_scan_is_added_to_a_data_set_whose_folder_is_asked_for_once(
    driver,
    corrected,
    tmp_path,
    monkeypatch,
):
    import qt

    asked = []
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setattr(
        qt.QFileDialog,
        "getExistingDirectory",
        staticmethod(lambda *_arguments: asked.append(1) or str(folder)),
    )
    qt.QSettings().remove("AttentionUNetSegment/DataSetFolder")
    driver.ui.addToDataSetButton.click()
    assert "Added: case-0001" in driver.message
    assert driver.message.endswith("Scans in the data set: 1.")
    driver.ui.addToDataSetButton.click()
    assert "Brought up to date: case-0001" in driver.message
    assert len(asked) == 1
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["cases"]) == 1
    assert str(folder) in driver.ui.addToDataSetButton.toolTip
    qt.QSettings().remove("AttentionUNetSegment/DataSetFolder")


def test_no_folder_no_data_set(driver, corrected, monkeypatch):
    import qt

    qt.QSettings().remove("AttentionUNetSegment/DataSetFolder")
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_arguments: "")
    )
    before = driver.message
    driver.ui.addToDataSetButton.click()
    assert driver.message == before


def test_a_folder_of_somebody_else_is_refused(
    driver,
    corrected,
    tmp_path,
    monkeypatch,
):
    import qt

    (tmp_path / "images").mkdir()
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_arguments: str(tmp_path))
    )
    driver.ui.dataSetFolderButton.click()
    driver.ui.addToDataSetButton.click()
    assert "choose another folder" in driver.message
    qt.QSettings().remove("AttentionUNetSegment/DataSetFolder")


@pytest.fixture
def tasks(monkeypatch):
    """What is computed: whether with attention."""
    from AttentionUNetSegmentLib.scene.tasks import SegmentationTask

    computed, compute = [], SegmentationTask.compute
    monkeypatch.setattr(
        SegmentationTask,
        "compute",
        lambda task, *rest: (
            computed.append((len(task.clicks), task.options.withAttention)) or compute(task, *rest)
        ),
    )
    return computed


def test_attention_comes_after_the_answer_to_a_click(driver, ct, tasks):
    driver.segment()
    click(driver, ct, (27, 20, 11))
    assert tasks == [(0, True), (1, False), (1, True)]
    assert " s on " in driver.ui.resultLabel.text


def test_a_click_does_not_wait_for_the_attention_of_the_one_before(
    driver,
    ct,
    tasks,
    monkeypatch,
):
    import vtk

    driver.segment()
    gate = Gate(monkeypatch, "Bringing the attention")
    driver.ui.insideButton.click()
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(-18, 8, 26))
    assert driver.pump(gate.reached.is_set)
    job = driver.panel.hub.runner._job
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(-38, 8, 26))
    assert driver.pump(lambda: job.cancelled)
    gate.opened.set()
    assert driver.pump(lambda: not driver.panel.busy)
    assert tasks[1:] == [(1, False), (1, True), (2, False), (2, True)]
    assert driver.message == ""


def test_a_segment_that_was_removed_in_the_editor_comes_back_by_undo_or_a_run(driver, ct):
    driver.segment()
    found, editor = driver.panel.resultNodes, driver.panel.correction.editor
    segmentation = found.segmentationNode.GetSegmentation()

    def remove():
        editor.saveStateForUndo()
        segmentation.RemoveSegment(found.segmentId)
        driver.pump()
        assert not driver.ui.exportNiftiButton.enabled

    remove()
    editor.undo()
    driver.pump()
    assert driver.ui.exportNiftiButton.enabled
    assert segment_mask(driver, ct).any()
    remove()
    driver.segment()
    assert segment_mask(driver, ct).any()


def test_a_segment_that_is_stored_as_a_surface_is_told_of_in_a_sentence(driver, ct):
    driver.segment()
    driver.unfold("correction")
    segmentation = driver.panel.resultNodes.segmentationNode.GetSegmentation()
    segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    driver.panel.update()
    assert (
        "no binary labelmap; make 'Binary labelmap' the source" in driver.ui.correctionsLabel.text
    )
    driver.ui.correctionCollapsibleButton.collapsed = True
