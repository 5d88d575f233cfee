"""Scribbles, boxes and lassos in the Segment Editor effect, drawn with Qt's mouse in real views."""

from __future__ import annotations

import numpy as np
import panel_driver
import pytest
from panel_driver import Gate
from test_effect import CENTRE, VIEWS, Editor, wait

BALL = panel_driver.bright_scan().array > 200


@pytest.fixture
def editor(driver, ct):
    driver.representation.exit()
    editor = Editor(ct)
    editor.activate()
    yield editor
    editor.close()


def draw(editor, view_name, places, **held):
    """With the button held, from voxel to voxel (i, j, k)."""
    from SlicerStandIn import driving

    pixels = []
    for place in places:
        view, pixel = editor.pixel(view_name, place)
        if pixels:
            steps = np.linspace(pixels[-1], pixel, 6).round().astype(int)[1:]
            pixels += [tuple(step) for step in steps.tolist()]
        else:
            pixels.append(pixel)
    driving.drawWithMouse(view, pixels, **held)


def first_click(driver, editor):
    draw(editor, "Red", [CENTRE])
    wait(driver, editor)


def actors(editor, view_name="Red"):
    import slicer

    view = slicer.app.layoutManager().sliceWidget(view_name).sliceView()
    return view.renderWindow().GetRenderers().GetFirstRenderer().GetViewProps().GetNumberOfItems()


def lines():
    import slicer.util

    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode")
        if node.GetNodeReferenceID("AttentionUNetSegment.StrokeOf")
    ]


def test_a_press_and_release_is_a_click(driver, editor):
    from AttentionUNetSegmentLib.inference import Click

    first_click(driver, editor)
    (click,) = editor.session.clicks
    assert isinstance(click, Click)
    assert click.inside
    assert editor.mask()[editor.voxel(CENTRE)]


def test_a_hand_that_trembles_clicks(driver, editor):
    from AttentionUNetSegmentLib.inference import Click
    from SlicerStandIn import driving

    view, (x, y) = editor.pixel("Red", CENTRE)
    driving.drawWithMouse(view, [(x, y), (x + 2, y - 1), (x, y)])
    wait(driver, editor)
    assert isinstance(editor.session.clicks[0], Click)


@pytest.mark.parametrize("view", VIEWS)
def test_a_drag_with_ctrl_is_a_line_outside_in_any_view(driver, editor, view):
    first_click(driver, editor)
    before = editor.mask()
    ends = {
        "Red": [(31, 19, 11), (31, 27, 11)],
        "Green": [(31, 23, 9), (31, 23, 13)],
        "Yellow": [(31, 20, 10), (31, 26, 12)],
    }[view]
    draw(editor, view, ends, ctrl=True)
    wait(driver, editor)
    scribble = editor.session.clicks[1]
    assert not scribble.inside
    assert len(scribble.points_ras) > 3
    after = editor.mask()
    for share in np.linspace(0, 1, 9):
        place = np.array(ends[0]) + share * np.subtract(ends[1], ends[0])
        assert not after[editor.voxel(place)]
    assert not (after & ~before).any()
    assert "1 inside, 1 outside" in editor.text


def test_a_press_after_a_release_that_never_came_begins_anew(driver, editor):
    from SlicerStandIn import driving

    first_click(driver, editor)
    view, (x, y) = editor.pixel("Red", (5, 5, 11))
    driving.moveMouse(view, x, y)
    view.interactor().InvokeEvent("LeftButtonPressEvent")
    driving.moveMouse(view, x + 30, y)
    draw(editor, "Green", [(27, 23, 18), (31, 23, 18)])
    wait(driver, editor)
    _, line = editor.session.clicks
    assert line.points_ras[0] == pytest.approx(editor.world((27, 23, 18)), abs=2)


def test_a_drag_is_a_line_inside(driver, editor):
    first_click(driver, editor)
    before = editor.mask()
    draw(editor, "Red", [(27, 34, 11), (31, 34, 11)])
    wait(driver, editor)
    after = editor.mask()
    assert not (before & ~after).any()
    for i in range(27, 32):
        assert after[editor.voxel((i, 34, 11))]


def test_a_line_is_one_undo_step_and_one_backspace(driver, editor):
    first_click(driver, editor)
    before = editor.mask()
    draw(editor, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True)
    wait(driver, editor)
    after, prompts = editor.mask(), editor.session.clicks
    assert (before != after).any()
    editor.widget.undo()
    driver.pump()
    assert len(editor.session.clicks) == 1
    np.testing.assert_array_equal(editor.mask(), before)
    editor.widget.redo()
    driver.pump()
    assert editor.session.clicks == prompts
    np.testing.assert_array_equal(editor.mask(), after)
    editor.effect.takeBack()
    wait(driver, editor)
    np.testing.assert_array_equal(editor.mask(), before)
    editor.effect.bringBack()
    wait(driver, editor)
    assert editor.session.clicks == prompts
    np.testing.assert_array_equal(editor.mask(), after)


def test_with_shift_a_drag_is_a_box_that_the_organ_does_not_leave(driver, editor):
    first_click(driver, editor)
    before = editor.mask()
    draw(editor, "Red", [(22, 10, 11), (28, 40, 11)], shift=True)
    wait(driver, editor)
    after = editor.mask()
    i = np.flatnonzero(after.any(axis=(0, 1)))
    assert i.min() >= 21
    assert i.max() <= 29
    np.testing.assert_array_equal(after[:, :, 23:28], before[:, :, 23:28])
    assert after.any(axis=(1, 2)).sum() == before.any(axis=(1, 2)).sum()  # through all slices
    assert "Boxes and lassos: 1" in editor.text
    # What the network answers later stays within it.
    draw(editor, "Red", [(27, 24, 11)])
    wait(driver, editor)
    np.testing.assert_array_equal(editor.mask(), after)
    editor.widget.undo()
    driver.pump()
    np.testing.assert_array_equal(editor.mask(), before)


def test_what_was_painted_outside_of_a_box_stays(driver, editor):
    import slicer.util

    first_click(driver, editor)
    mask = editor.mask().astype(np.uint8)
    mask[4, 8, 8] = 1
    editor.widget.saveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask, editor.segmentation_node, editor.node.GetSelectedSegmentID(), editor.volume_node
    )
    driver.pump()
    draw(editor, "Red", [(22, 10, 11), (28, 40, 11)], shift=True)
    wait(driver, editor)
    assert editor.mask()[4, 8, 8]
    assert not editor.mask()[:, :, 31:].any()


def test_with_the_lasso_chosen_a_drag_is_a_lasso(driver, editor):
    first_click(driver, editor)
    before = editor.mask()
    editor.effect.toolButtons[editor.effect.tool.__class__.LASSO].click()
    around = [(21, 23, 11), (27, 15, 11), (30, 23, 11), (27, 31, 11), (22, 24, 11)]
    draw(editor, "Red", around)
    wait(driver, editor)
    after = editor.mask()
    assert not (after & ~before).any()
    assert after[editor.voxel(CENTRE)]
    assert not after[editor.voxel((31, 23, 11))]
    assert not after[editor.voxel((22, 17, 11))]


def test_a_click_without_a_drag_means_nothing_with_shift(driver, editor):
    first_click(driver, editor)
    before = editor.session.clicks
    draw(editor, "Red", [(31, 23, 11)], shift=True)
    draw(editor, "Red", [(31, 23, 11), (31, 30, 11)], shift=True)  # a box without a side
    driver.pump()
    assert editor.session.clicks == before
    assert not editor.effect._hub.busy


def test_the_line_is_seen_while_it_is_drawn_and_afterwards(driver, editor):
    first_click(driver, editor)
    before = actors(editor)
    draw(editor, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True, release=False)
    assert actors(editor) == before + 1
    assert len(editor.session.clicks) == 1  # nothing is asked before the end
    editor.widget.setActiveEffect(None)
    assert actors(editor) == before
    editor.activate()
    draw(editor, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True)
    wait(driver, editor)
    (line,) = lines()
    assert line.GetLocked()
    assert line.GetHideFromEditors()
    assert not line.GetSaveWithScene()
    assert line.GetNumberOfControlPoints() == len(editor.session.clicks[1].points_ras)
    editor.effect.removeAll()
    wait(driver, editor)
    assert lines() == []


def test_a_line_can_be_dragged_by_its_point(driver, editor):
    from SlicerStandIn import driving

    first_click(driver, editor)
    draw(editor, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True)
    wait(driver, editor)
    scribble = editor.session.clicks[1]
    view, _ = editor.pixel("Red", CENTRE)
    view.forceRender()
    moved = np.array(editor.world((23, 23, 11))) - editor.world((31, 23, 11))
    import slicer
    import vtk

    inverse = vtk.vtkMatrix4x4()
    widget = slicer.app.layoutManager().sliceWidget("Red")
    vtk.vtkMatrix4x4.Invert(widget.mrmlSliceNode().GetXYToRAS(), inverse)
    start = [round(v) for v in inverse.MultiplyPoint((*scribble.position_ras, 1))[:2]]
    end = [round(v) for v in inverse.MultiplyPoint((*(scribble.position_ras + moved), 1))[:2]]
    driving.dragInView(view, tuple(start), tuple(end))
    wait(driver, editor)
    assert len(editor.session.clicks) == 2
    now = editor.session.clicks[1]
    shifts = np.subtract(now.points_ras, scribble.points_ras)
    np.testing.assert_allclose(shifts, np.broadcast_to(moved, shifts.shape), atol=2.0)
    assert not editor.mask()[editor.voxel((23, 23, 11))]
    assert len(lines()) == 1


def test_drawn_while_it_computes_the_answer_is_to_all_of_them(driver, editor, monkeypatch):
    gate = Gate(monkeypatch, "Segmenting")
    draw(editor, "Red", [CENTRE])
    assert driver.pump(gate.reached.is_set)
    draw(editor, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True)
    draw(editor, "Red", [(22, 10, 11), (40, 40, 11)], shift=True)
    gate.opened.set()
    wait(driver, editor)
    assert len(editor.session.clicks) == 3
    mask = editor.mask()
    assert not mask[editor.voxel((31, 23, 11))]
    assert not mask[:, :, :21].any()


def test_strokes_are_saved_and_loaded_with_the_scene(driver, editor, tmp_path):
    import slicer
    from SlicerStandIn import driving

    first_click(driver, editor)
    draw(editor, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True)
    draw(editor, "Red", [(22, 10, 11), (40, 40, 11)], shift=True)
    wait(driver, editor)
    prompts, mask = editor.session.clicks, editor.mask()
    driving.saveScene(tmp_path / "scene.mrb")
    driving.closeScene()
    driving.loadScene(tmp_path / "scene.mrb")
    driver.representation.enter()
    driver.pump()
    assert driver.panel.clicks.clicks == prompts
    assert len(lines()) == 2
    np.testing.assert_array_equal(panel_driver.segment_mask(driver, driver.panel.volumeNode), mask)
    assert [driver.ui.clickList.item(row).text().split("   ")[0] for row in range(3)] == [
        "1  inside",
        "2  line outside",
        "3  box or lasso",
    ]
    editor.volume_node = driver.panel.volumeNode
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 1


def test_a_point_that_somebody_edited_is_a_click(driver, editor):
    from AttentionUNetSegmentLib.inference import Click

    first_click(driver, editor)
    editor.session.points.node.SetNthControlPointDescription(0, "outside {broken")
    (click,) = editor.session.clicks
    assert click == Click(click.position_ras, False)
