"""Begin from a segment that is there: in the panel and in the Segment Editor effect."""

from __future__ import annotations

import numpy as np
import panel_driver
import pytest
from panel_driver import click, segment_mask
from test_effect import CENTRE, Editor, assert_one_sentence, wait

BALL = panel_driver.bright_scan().array > 200
CUT = np.s_[:, :, 30:]
"""Beyond it a part of the ball is missing from :func:`start`."""
BOX = np.s_[3:6, 6:10, 6:10]
"""What the network would never draw, in :func:`start`."""


def start():
    mask = BALL.copy()
    mask[CUT] = False
    mask[BOX] = True
    return mask


def add_segmentation(volume_node, mask, name="pancreas", on=None):
    """Another program's: with a second segment in the same labelmap.

    Args:
        on: a volume whose grid it has.
    """
    import slicer
    import slicer.util

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "TotalSegmentator")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(on or volume_node)
    segmentation = node.GetSegmentation()
    for title in ("liver", name):
        segmentation.AddEmptySegment(title, title)
    liver = np.zeros_like(mask, np.uint8)
    liver[16:20, 30:40, 10:20] = 1
    for title, voxels in (("liver", liver), (name, mask.astype(np.uint8))):
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, title, on or volume_node)
    return node


def choose(driver, node):
    driver.pump()
    driver.ui.beginSegmentationSelector.setCurrentNode(node)
    driver.pump()


def begin(driver, node):
    choose(driver, node)
    driver.ui.beginButton.click()
    driver.wait_for_answer()


@pytest.fixture
def editor(driver, ct):
    driver.representation.exit()
    editor = Editor(ct, add_segmentation(ct, start()))
    editor.widget.setCurrentSegmentID("pancreas")
    yield editor
    editor.close()


# The panel


def test_the_choice_is_shown_where_there_is_another_segment(driver, ct):
    section = driver.ui.segmentCollapsibleButton
    assert not driver.ui.beginFrame.isVisibleTo(section)
    driver.segment()
    assert not driver.ui.beginFrame.isVisibleTo(section)  # there is only the result itself
    node = add_segmentation(ct, start())
    driver.pump()
    assert driver.ui.beginFrame.isVisibleTo(section)
    assert not driver.ui.beginButton.enabled
    choose(driver, node)
    combo = driver.ui.beginSegmentComboBox
    assert [combo.itemText(index) for index in range(combo.count)] == ["liver", "pancreas"]
    assert combo.currentText == "pancreas"  # that of the organ
    assert driver.ui.beginButton.enabled
    node.GetSegmentation().AddEmptySegment("spleen", "spleen")
    driver.pump()
    assert combo.count == 3
    assert combo.currentText == "pancreas"


def test_it_stays_as_it_is_and_clicks_mend_the_pieces_that_they_point_at(driver, ct):
    node = add_segmentation(ct, start())
    begin(driver, node)
    found = driver.panel.resultNodes
    assert (found.segmentationNode, found.segmentId) == (node, "pancreas")
    assert "Begun from this segment" in driver.message
    np.testing.assert_array_equal(segment_mask(driver, ct), start())
    click(driver, ct, (31, 23, 11))
    after = segment_mask(driver, ct)
    assert not (start() & ~after).any()
    assert (after & BALL)[CUT].sum() > 0.7 * BALL[CUT].sum()
    click(driver, ct, (7, 7, 4), inside=False)
    np.testing.assert_array_equal(segment_mask(driver, ct)[BOX], False)
    assert (segment_mask(driver, ct) | after == after).all()


def test_other_segments_stay(driver, ct):
    import slicer.util

    node = add_segmentation(ct, start())
    liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, "liver", ct).copy()
    begin(driver, node)
    click(driver, ct, (31, 23, 11))
    np.testing.assert_array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(node, "liver", ct), liver
    )


def test_hand_corrections_after_it_win(driver, ct):
    begin(driver, add_segmentation(ct, start()))
    panel_driver.paint(driver, ct, np.s_[11, 23, 34], False)
    panel_driver.paint(driver, ct, np.s_[18, 8, 40], True)
    click(driver, ct, (31, 23, 11))
    click(driver, ct, (7, 7, 4), inside=False)
    mask = segment_mask(driver, ct)
    assert mask[18, 8, 40]
    assert not mask[BOX].any()


def test_one_undo_step_brings_clicks_and_corrections_back(driver, ct):
    driver.segment()
    click(driver, ct, (7, 7, 4))
    panel_driver.paint(driver, ct, panel_driver.ERASED, False)
    before, clicks = segment_mask(driver, ct), driver.panel.clicks.clicks
    found = driver.panel.resultNodes
    begin(driver, found.segmentationNode)
    assert driver.panel.resultNodes.segmentId == found.segmentId
    assert driver.panel.clicks.clicks == ()
    assert driver.panel.session.beginsFromMask
    np.testing.assert_array_equal(segment_mask(driver, ct), before)
    click(driver, ct, (27, 23, 11))
    editor = driver.panel.correction.editor
    after = segment_mask(driver, ct)
    editor.undo()
    driver.pump()
    assert driver.panel.session.beginsFromMask
    np.testing.assert_array_equal(segment_mask(driver, ct), before)
    editor.undo()
    driver.pump()
    assert not driver.panel.session.beginsFromMask
    assert driver.panel.clicks.clicks == clicks
    np.testing.assert_array_equal(segment_mask(driver, ct), before)
    from AttentionUNetSegmentLib.scene.corrections import corrections

    assert corrections(found.segmentationNode, found.segmentId).erased.any()
    for _ in range(2):
        editor.redo()
        driver.pump()
    np.testing.assert_array_equal(segment_mask(driver, ct), after)
    assert driver.panel.session.beginsFromMask


def test_pressed_twice_it_is_one_undo_step(driver, ct):
    node = add_segmentation(ct, start())
    begin(driver, node)
    driver.ui.beginButton.click()
    driver.wait_for_answer()
    driver.panel.correction.editor.undo()
    driver.pump()
    assert not driver.panel.session.beginsFromMask


def test_a_whole_press_forgets_it_and_says_so(driver, ct):
    begin(driver, add_segmentation(ct, start()))
    driver.segment()
    assert "forgotten" in driver.message
    assert not driver.panel.session.beginsFromMask
    assert not segment_mask(driver, ct)[BOX].any()
    driver.panel.correction.editor.undo()
    driver.pump()
    assert driver.panel.session.beginsFromMask
    np.testing.assert_array_equal(segment_mask(driver, ct), start())


def test_it_is_saved_and_loaded_with_the_scene(driver, ct, tmp_path):
    from SlicerStandIn import driving

    begin(driver, add_segmentation(ct, start()))
    driving.saveScene(tmp_path / "scene.mrb")
    driving.closeScene()
    driving.loadScene(tmp_path / "scene.mrb")
    driver.pump()
    ct = driver.panel.volumeNode
    assert driver.panel.session.beginsFromMask
    np.testing.assert_array_equal(segment_mask(driver, ct), start())
    click(driver, ct, (31, 23, 11))
    after = segment_mask(driver, ct)
    assert after[BOX].all()
    assert (after & BALL)[CUT].sum() > 0.7 * BALL[CUT].sum()


def test_on_another_grid_only_what_clicks_are_about_changes(driver, ct):
    import slicer.util
    from AttentionUNetSegmentLib import scene
    from AttentionUNetSegmentLib.geometry.volume import Volume

    # Three voxels in the place of two: no voxel of the scan's says what each of them is.
    finer = np.diag([2 / 3, 2 / 3, 1.0, 1.0])
    finer[:2, 3] = -1 / 6
    k, j, i = BALL.shape
    fine = np.zeros((k, 3 * j // 2, 3 * i // 2), np.int16)
    index = np.round(np.stack(np.indices(fine.shape)[::-1], -1) @ finer[:3, :3] + finer[:3, 3])
    at = tuple(np.minimum(index.astype(int), (i - 1, j - 1, k - 1)).T[::-1])
    mask = start()[tuple(part.T for part in at)]
    mask[12, 33:37, 30] = False  # finer than the scan's own voxels
    matrix = scene.volumeFromNode(ct).ijk_to_ras @ finer
    other = scene.addVolumeNode(Volume(fine, matrix), "other grid")
    node = add_segmentation(ct, mask, on=other)

    def voxels():
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, "pancreas", other) > 0

    before = voxels()
    np.testing.assert_array_equal(before, mask)
    begin(driver, node)
    np.testing.assert_array_equal(voxels(), before)
    click(driver, ct, (31, 23, 11))
    after = voxels()
    assert not (before & ~after).any()
    assert after.sum() > before.sum()
    np.testing.assert_array_equal(after[:, :, :36], before[:, :, :36])
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    np.testing.assert_array_equal(voxels(), before)


def test_one_that_was_moved_stays_where_it_is(driver, ct):
    import slicer
    import vtk

    node = add_segmentation(ct, start())
    node.GetSegmentation().RemoveSegment("liver")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, -8.0)  # two voxels
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    begin(driver, node)
    click(driver, ct, (33, 23, 11))
    assert node.GetTransformNodeID() == transform.GetID()
    mask = segment_mask(driver, ct)
    np.testing.assert_array_equal(np.roll(mask, -2, axis=2)[BOX], True)
    assert mask[11, 23, 33]


@pytest.mark.parametrize("where", ["empty", "outside", "completed"])
def test_one_that_cannot_be_begun_from_is_refused_and_nothing_changes(driver, ct, where):
    import slicer
    from AttentionUNetSegmentLib.scene import segments
    from AttentionUNetSegmentLib.scene.corrections import STATE_TAG
    from AttentionUNetSegmentLib.scene.segments import TARGET_TAG

    node = add_segmentation(ct, start())
    segment = node.GetSegmentation().GetSegment("pancreas")
    if where == "empty":
        panel_node = add_segmentation(ct, np.zeros_like(BALL))
        node, segment = panel_node, panel_node.GetSegmentation().GetSegment("pancreas")
    elif where == "outside":
        import vtk

        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 5000)
        transform.SetMatrixTransformToParent(matrix)
        node.SetAndObserveTransformNodeID(transform.GetID())
    else:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetSegmentStatus(segment, logic.Completed)
    begin(driver, node)
    assert where.replace("outside", "outside of the scan") in driver.message
    assert_one_sentence(driver.message.replace("scan 'CT'", "scan"))
    for tag in (STATE_TAG, TARGET_TAG):
        assert segments.tag(segment, tag) is None
    assert driver.parameters.segmentation is None


# The effect


def test_in_the_effect_clicks_mend_the_selected_segment(driver, editor):
    editor.activate()
    assert editor.effect.beginButton.enabled
    editor.effect.beginButton.click()
    wait(driver, editor)
    assert "Begun from this segment" in editor.text
    np.testing.assert_array_equal(editor.mask(), start())
    editor.click("Red", (7, 7, 4), ctrl=True)
    wait(driver, editor)
    after = editor.mask()
    assert not after[BOX].any()
    np.testing.assert_array_equal(after & BALL, start() & BALL)
    editor.widget.undo()
    driver.pump()
    np.testing.assert_array_equal(editor.mask(), start())
    editor.widget.undo()
    driver.pump()
    assert "Begun" not in editor.text
    editor.click("Red", CENTRE)
    wait(driver, editor)
    assert editor.mask()[BOX].all()  # the user's, as of any segment from elsewhere


def test_in_the_effect_masking_is_obeyed_after_it(driver, editor):
    editor.node.SourceVolumeIntensityMaskOn()
    editor.node.SetSourceVolumeIntensityMaskRange(-2000, 0)
    editor.activate()
    editor.effect.beginButton.click()
    wait(driver, editor)
    editor.click("Red", (31, 23, 11))
    wait(driver, editor)
    np.testing.assert_array_equal(editor.mask(), start())


def test_without_a_selected_segment_there_is_nothing_to_press(driver, editor):
    editor.node.SetSelectedSegmentID("")
    editor.activate()
    driver.pump()
    assert not editor.effect.beginButton.enabled


def test_the_panel_goes_on_from_what_the_effect_began(driver, editor):
    editor.activate()
    editor.effect.beginButton.click()
    wait(driver, editor)
    editor.widget.setActiveEffect(None)
    driver.representation.enter()
    driver.pump()
    assert driver.panel.resultNodes.segmentId == "pancreas"
    assert driver.panel.session.beginsFromMask
    assert CENTRE
