"""What was seen to go wrong in Slicer itself, where scene and views have a life of their own.

The error log has to stay empty in every test of the panel (``conftest.py``); it is not mentioned
in each.
"""

from __future__ import annotations

import numpy as np
import panel_driver
import pytest
from AttentionUNetSegmentLib.geometry.volume import Volume
from panel_driver import add_ct, segment_mask
from scene_helpers import TURN, add_transform


def composites():
    """Of the views that are always there."""
    import slicer

    manager = slicer.app.layoutManager()
    names = ("Red", "Green", "Yellow")
    return [manager.sliceWidget(name).mrmlSliceCompositeNode() for name in names]


def plain_volume(name):
    """Another volume of the user's, such as an MR."""
    import slicer
    from AttentionUNetSegmentLib import scene

    node = scene.addVolumeNode(panel_driver.bright_scan(), name)
    assert slicer.mrmlScene.IsNodePresent(node)
    return node


# The input


def test_removing_the_ct_leaves_none_chosen(driver, ct):
    import slicer

    other = plain_volume("Another CT")
    driver.choose(ct)
    driver.segment()
    driver.panel.attention.eyes[2].click()
    driver.pump()
    slicer.mrmlScene.RemoveNode(ct)
    driver.pump()
    assert driver.ui.inputVolumeSelector.currentNode() is None
    assert driver.parameters.inputVolume is None
    assert other.GetScene() is not None
    assert all(one.GetForegroundVolumeID() is None for one in composites())


def test_our_own_volumes_are_not_offered(driver, ct):
    driver.ui.keepProbabilityCheckBox.checked = True
    driver.segment()
    driver.pump()
    selector = driver.ui.inputVolumeSelector
    offered = [selector.nodeFromIndex(index) for index in range(selector.nodeCount())]
    assert offered == [ct]


def test_the_segment_editor_would_begin_with_the_ct_and_never_with_ours(driver, ct):
    """It takes the background of the first slice view that has one, else a foreground."""
    import slicer

    def source():
        backgrounds = [one.GetBackgroundVolumeID() for one in composites()]
        foregrounds = [one.GetForegroundVolumeID() for one in composites()]
        return next((shown for shown in (*backgrounds, *foregrounds) if shown), None)

    driver.segment()
    for level in (1, 4):
        driver.panel.attention.eyes[level].click()
        driver.pump()
        assert composites()[0].GetForegroundVolumeID() is not None
        assert source() == ct.GetID()
    slicer.mrmlScene.RemoveNode(ct)
    driver.pump()
    assert source() is None


def test_a_ct_that_is_loaded_while_none_is_chosen_is_chosen(driver):
    assert driver.parameters.inputVolume is None
    first = plain_volume("First")
    driver.pump()
    assert driver.ui.inputVolumeSelector.currentNode() is first
    plain_volume("Second")
    driver.pump()
    assert driver.ui.inputVolumeSelector.currentNode() is first


def test_a_ct_that_is_loaded_while_the_module_is_left_is_not_chosen(driver):
    driver.representation.exit()
    plain_volume("CT")
    driver.pump()
    assert driver.parameters.inputVolume is None


# Corrections


def test_corrections_are_shown_over_the_segment(driver, ct):
    import slicer
    import slicer.util
    from AttentionUNetSegmentLib.scene.corrections import CORRECTIONS_ROLE

    driver.segment()
    driver.unfold("correction")
    mask = segment_mask(driver, ct)
    mask[:, :20] = False
    found = driver.panel.resultNodes
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), found.segmentationNode, found.segmentId, ct
    )
    driver.ui.showCorrectionsCheckBox.checked = True
    driver.pump(timeout_s=0.6, until=lambda: False)
    (helper,) = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetNodeReferenceID(CORRECTIONS_ROLE)
    ]
    assert helper.GetHideFromEditors()
    assert 0 < helper.GetDisplayNode().GetOpacity2DFill() < 0.5
    display = found.segmentationNode.GetDisplayNode()
    assert display.GetVisibility()
    assert display.GetSegmentVisibility(found.segmentId)
    # They go where the segment goes.
    transform = add_transform(slicer.mrmlScene, TURN)
    found.segmentationNode.SetAndObserveTransformNodeID(transform.GetID())
    assert driver.pump(lambda: helper.GetTransformNodeID() == transform.GetID(), timeout_s=5)
    found.segmentationNode.HardenTransform()
    assert driver.pump(lambda: helper.GetTransformNodeID() is None, timeout_s=5)
    driver.ui.showCorrectionsCheckBox.checked = False
    driver.pump()
    assert helper.GetScene() is None
    driver.ui.correctionCollapsibleButton.collapsed = True


def test_the_line_below_the_button_tells_of_the_corrected_segment(driver, ct):
    import slicer.util

    driver.segment()
    before = driver.ui.resultLabel.text
    assert " s on " in before
    mask = segment_mask(driver, ct)
    mask[: len(mask) // 2] = False
    found = driver.panel.resultNodes
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), found.segmentationNode, found.segmentId, ct
    )
    assert driver.pump(lambda: driver.ui.resultLabel.text != before)
    volume = mask.sum() * 4.0 * 4.0 * 6.0 / 1000
    assert driver.ui.resultLabel.text == f"Pancreas: {volume:.1f} mL, with corrections by hand"
    driver.segment()
    kept = segment_mask(driver, ct).sum() * 4.0 * 4.0 * 6.0 / 1000
    assert driver.ui.resultLabel.text.startswith(f"Pancreas: {kept:.1f} mL, in ")


def test_the_line_below_the_button_is_about_segments_that_are_there(driver, ct):
    driver.segment()
    found, editor = driver.panel.resultNodes, driver.panel.correction.editor
    editor.saveStateForUndo()
    found.segmentationNode.GetSegmentation().RemoveSegment(found.segmentId)
    assert driver.pump(lambda: driver.ui.resultLabel.text == "", timeout_s=5)
    editor.undo()
    assert driver.pump(lambda: driver.ui.resultLabel.text.startswith("Pancreas: "), timeout_s=5)


def test_the_line_below_the_button_follows_the_chosen_segmentation_and_volume(driver, ct):
    import slicer.util

    driver.segment()
    first, whole = driver.parameters.segmentation, driver.ui.resultLabel.text.split(",")[0]
    driver.ui.segmentationSelector.setCurrentNode(None)
    driver.segment()
    found = driver.panel.resultNodes
    assert found.segmentationNode is not first
    mask = segment_mask(driver, ct)
    mask[: len(mask) // 2] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), found.segmentationNode, found.segmentId, ct
    )
    assert driver.pump(lambda: "by hand" in driver.ui.resultLabel.text)
    driver.ui.segmentationSelector.setCurrentNode(first)
    assert driver.pump(lambda: driver.ui.resultLabel.text == whole, timeout_s=5)
    add_ct(driver, "other")
    assert driver.ui.resultLabel.text == ""
    driver.choose(ct)
    assert driver.pump(lambda: driver.ui.resultLabel.text == whole, timeout_s=5)


# Views and surfaces stay the user's


def test_a_run_leaves_other_volumes_in_the_views(driver, ct):
    other = plain_volume("MR")
    red, *_ = composites()
    for composite in composites():
        composite.SetBackgroundVolumeID(ct.GetID())
    red.SetBackgroundVolumeID(other.GetID())
    driver.segment()
    assert red.GetBackgroundVolumeID() == other.GetID()


def test_the_attention_gives_back_what_lay_over_the_ct(driver, ct):
    overlay = plain_volume("PET")
    red, *others = composites()
    for composite in composites():
        composite.SetBackgroundVolumeID(ct.GetID())
    red.SetForegroundVolumeID(overlay.GetID())
    red.SetForegroundOpacity(0.35)
    driver.segment()
    driver.panel.attention.eyes[3].click()
    driver.pump()
    driver.panel.attention.eyes[2].click()
    driver.pump()
    attention = driver.panel.resultNodes.attentionNodes[2].GetID()
    assert [one.GetForegroundVolumeID() for one in composites()] == [attention] * 3
    driver.panel.attention.eyes[2].click()
    driver.pump()
    assert red.GetForegroundVolumeID() == overlay.GetID()
    assert red.GetForegroundOpacity() == pytest.approx(0.35)
    assert [one.GetForegroundVolumeID() for one in others] == [None, None]


def test_a_map_whose_display_was_removed_is_no_error(driver, ct):
    import slicer

    driver.segment()
    slicer.mrmlScene.RemoveNode(driver.panel.resultNodes.attentionNodes[1].GetDisplayNode())
    driver.panel.attention.eyes[1].click()
    driver.pump()
    assert driver.message == ""


def test_a_map_that_is_removed_gives_back_what_lay_over_the_ct(driver, ct):
    import slicer

    driver.segment()
    other = plain_volume("MR")
    for composite in composites():
        composite.SetForegroundVolumeID(other.GetID())
        composite.SetForegroundOpacity(0.25)
    driver.panel.attention.eyes[2].click()
    driver.pump()
    slicer.mrmlScene.RemoveNode(driver.panel.resultNodes.attentionNodes[2])
    driver.pump()
    for composite in composites():
        assert composite.GetForegroundVolumeID() == other.GetID()
        assert composite.GetForegroundOpacity() == 0.25


def test_the_attention_is_shown_where_the_ct_is(driver, ct):
    other = plain_volume("MR")
    red, green, yellow = composites()
    for composite in (red, green):
        composite.SetBackgroundVolumeID(ct.GetID())
    yellow.SetBackgroundVolumeID(other.GetID())
    driver.segment()
    driver.panel.attention.eyes[1].click()
    driver.pump()
    assert yellow.GetBackgroundVolumeID() == other.GetID()
    assert yellow.GetForegroundVolumeID() is None
    assert red.GetForegroundVolumeID() == driver.panel.resultNodes.attentionNodes[1].GetID()


@pytest.fixture
def layout_manager():
    import slicer

    manager = slicer.app.layoutManager()
    yield manager
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def test_the_attention_is_shown_in_the_views_of_a_layout_that_is_chosen_later(
    driver, ct, layout_manager
):
    import slicer

    driver.segment()
    driver.panel.attention.eyes[2].click()
    driver.pump()
    red, *_others = composites()
    attention = driver.panel.resultNodes.attentionNodes[2].GetID()
    red.SetForegroundVolumeID(None)  # by the user
    layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutTwoOverTwoView)
    driver.pump()
    further = layout_manager.sliceWidget("Slice4")
    composite = further.mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == ct.GetID()
    assert composite.GetForegroundVolumeID() == attention
    assert composite.GetForegroundOpacity() == red.GetForegroundOpacity()
    bounds = np.zeros(6)
    ct.GetRASBounds(bounds)
    assert bounds[4] < further.mrmlSliceNode().GetSliceOffset() < bounds[5], "it is in the scan"
    assert further.mrmlSliceNode().GetFieldOfView()[0] >= bounds[1] - bounds[0]
    assert red.GetForegroundVolumeID() is None, "what the user took out stays out"
    driver.panel.attention.eyes[2].click()
    driver.pump()
    assert composite.GetForegroundVolumeID() is None


def test_the_editors_own_node_that_is_removed_comes_back(driver, ct):
    import slicer
    from panel_driver import PAINTED, paint

    driver.segment()
    editor = driver.panel.correction.editor
    editor.setActiveEffectByName("AttentionUNet")
    slicer.mrmlScene.RemoveNode(editor.mrmlSegmentEditorNode())
    driver.pump()
    node = editor.mrmlSegmentEditorNode()
    assert node is not None
    assert node.GetOverwriteMode() == node.OverwriteNone
    assert editor.segmentationNode() is driver.panel.resultNodes.segmentationNode
    assert editor.sourceVolumeNode() is ct
    assert editor.currentSegmentID() == driver.panel.resultNodes.segmentId
    assert editor.activeEffect() is None
    paint(driver, ct, PAINTED, 1)
    editor.undo()
    driver.pump()
    assert not segment_mask(driver, ct)[PAINTED].any()


def test_smoothing_that_the_user_switched_off_stays_off(driver, ct):
    """The menu of "Show 3D" writes a negative factor."""
    driver.segment()
    segmentation = driver.panel.resultNodes.segmentationNode.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", "-0.5")
    driver.unfold("result")
    driver.segment()
    driver.pump(timeout_s=0.6, until=lambda: False)
    assert segmentation.GetConversionParameter("Smoothing factor") == "-0.5"
    assert driver.ui.smoothingSlider.value == 0
    driver.ui.smoothingSlider.value = 0.25
    driver.pump(timeout_s=0.6, until=lambda: False)
    assert float(segmentation.GetConversionParameter("Smoothing factor")) == 0.25


# Points


def test_an_outside_point_is_red_from_the_moment_it_is_placed(driver, ct):
    import vtk
    from AttentionUNetSegmentLib.panel.click_points import INSIDE_COLOR, OUTSIDE_COLOR

    driver.ui.updateAfterClickCheckBox.checked = False
    driver.ui.outsideButton.click()
    driver.pump()
    node = driver.parameters.clicks
    display = node.GetDisplayNode()
    assert display.GetActiveColor() == pytest.approx(OUTSIDE_COLOR)
    node.AddControlPointWorld(vtk.vtkVector3d(0, 0, 0))
    driver.ui.insideButton.click()
    driver.pump()
    node.AddControlPointWorld(vtk.vtkVector3d(10, 0, 0))
    assert display.GetActiveColor() == pytest.approx(INSIDE_COLOR)
    # The mouse comes over the first point: it keeps its own color.
    display.SetActiveComponent(display.ComponentControlPoint, 0)
    assert display.GetActiveColor() == pytest.approx(OUTSIDE_COLOR)
    display.SetActiveComponent(display.ComponentControlPoint, 1)
    assert display.GetActiveColor() == pytest.approx(INSIDE_COLOR)


def test_while_there_are_no_clicks_the_panel_says_what_to_do(driver, ct):
    import vtk

    section = driver.ui.clicksCollapsibleButton
    assert driver.ui.clickHintLabel.isVisibleTo(section)
    assert not driver.ui.clickList.isVisibleTo(section)
    driver.ui.updateAfterClickCheckBox.checked = False
    driver.ui.insideButton.click()
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(0, 0, 0))
    driver.pump()
    assert not driver.ui.clickHintLabel.isVisibleTo(section)
    assert driver.ui.clickList.isVisibleTo(section)


# Results


def test_an_empty_result_shows_no_attention(driver):
    scan = panel_driver.bright_scan()
    add_ct(driver, "No ball", Volume(np.minimum(scan.array, 30), scan.ijk_to_ras))
    driver.segment()
    assert "No pancreas found" in driver.ui.resultLabel.text
    assert driver.panel.attention.eyes == {}
    assert "Nothing was found" in driver.ui.attentionSentenceLabel.text


def test_a_file_of_another_kind_is_exported_after_the_first(driver, ct, tmp_path, monkeypatch):
    """``slicer.util.exportNode`` remembers the format of the file before."""
    import qt

    driver.segment()
    for button, name in (
        ("exportNiftiButton", "a.nii.gz"),
        ("exportSegmentationButton", "b.seg.nrrd"),
        ("exportNiftiButton", "c.nii.gz"),
    ):
        path = tmp_path / name
        monkeypatch.setattr(
            qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_, path=path: str(path))
        )
        getattr(driver.ui, button).click()
        assert "Written" in driver.message
        assert path.stat().st_size > 0


# The panel


def test_that_it_is_for_research_is_seen_without_unfolding_anything(driver):
    for name in ("input", "segment", "clicks", "attention", "result", "correction", "advanced"):
        getattr(driver.ui, f"{name}CollapsibleButton").collapsed = True
    label = driver.ui.researchLabel
    assert label.isVisibleTo(driver.representation)
    assert "research use only" in label.text
    for name in ("input", "segment", "clicks"):
        getattr(driver.ui, f"{name}CollapsibleButton").collapsed = False


def test_folded_sections_lie_close_together(driver):
    button = driver.ui.advancedCollapsibleButton
    button.collapsed = True
    assert button.collapsedHeight == 0
    assert button.maximumHeight <= button.fontMetrics().height() + 12
