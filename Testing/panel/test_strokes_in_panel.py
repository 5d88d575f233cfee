"""Scribbles, boxes and lassos with the panel's buttons, drawn with Qt's mouse in real views."""

from __future__ import annotations

import numpy as np
import pytest
from panel_driver import click, segment_mask
from test_effect import Editor
from test_strokes_in_effect import BALL, draw

BUTTONS = ("scribbleInsideButton", "scribbleOutsideButton", "boxButton", "lassoButton")


@pytest.fixture
def views(driver, ct):
    """Where voxels are in the views."""
    editor = Editor(ct)
    driver.segment()
    yield editor
    editor.close()


def press(driver, name):
    getattr(driver.ui, name).click()
    driver.pump()


def test_lines_inside_and_outside(driver, ct, views):
    before = segment_mask(driver, ct)
    press(driver, "scribbleOutsideButton")
    draw(views, "Red", [(31, 19, 11), (31, 27, 11)])
    driver.wait_for_answer()
    after = segment_mask(driver, ct)
    assert before[11, 19:28, 31].any()
    assert not after[11, 19:28, 31].any()
    assert not (after & ~before).any()
    press(driver, "scribbleInsideButton")
    draw(views, "Yellow", [(27, 34, 11), (27, 34, 13)])
    driver.wait_for_answer()
    again = segment_mask(driver, ct)
    assert again[11:14, 34, 27].all()
    assert not (after & ~again).any()
    texts = [driver.ui.clickList.item(row).text() for row in range(2)]
    assert ["line outside" in texts[0], "line inside" in texts[1]] == [True, True]


def test_a_box_and_a_lasso(driver, ct, views):
    press(driver, "boxButton")
    draw(views, "Red", [(22, 5, 11), (40, 43, 11)])
    driver.wait_for_answer()
    assert not segment_mask(driver, ct)[:, :, :21].any()
    press(driver, "lassoButton")
    draw(views, "Green", [(10, 23, 11), (30, 23, 10), (45, 23, 11), (40, 23, 20), (12, 23, 20)])
    driver.wait_for_answer()
    mask = segment_mask(driver, ct)
    assert not mask[:10].any()
    assert (mask & BALL)[12].any()
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    assert segment_mask(driver, ct)[:10].any()
    assert not segment_mask(driver, ct)[:, :, :21].any()


def test_a_line_in_a_view_of_a_layout_that_is_chosen_later(driver, ct, views):
    """The view would change its window and level."""
    import slicer

    manager, kinds = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode
    press(driver, "scribbleInsideButton")
    manager.setLayout(kinds.SlicerLayoutThreeOverThreeView)
    driver.pump()
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
    manager.sliceWidget("Slice6").sliceView().resize(500, 500)
    draw(views, "Slice6", [(27, 34, 11), (27, 34, 13)])
    manager.setLayout(kinds.SlicerLayoutFourUpView)
    driver.wait_for_answer()
    assert segment_mask(driver, ct)[11:14, 34, 27].all()


def test_a_press_after_a_release_that_never_came_begins_anew(driver, ct, views):
    """Another window took the mouse: what was drawn before it is nothing that the user wanted."""
    from SlicerStandIn import driving

    press(driver, "scribbleInsideButton")
    view, (x, y) = views.pixel("Red", (5, 5, 11))
    driving.moveMouse(view, x, y)
    view.interactor().InvokeEvent("LeftButtonPressEvent")
    driving.moveMouse(view, x + 30, y)
    draw(views, "Red", [(27, 34, 11), (31, 34, 11)])
    driver.wait_for_answer()
    (line,) = driver.panel.clicks.clicks
    assert line.points_ras[0] == pytest.approx(views.world((27, 34, 11)), abs=2)


def test_one_tool_at_a_time(driver, ct, views):
    for name in (*BUTTONS, "insideButton", "boxButton", "outsideButton"):
        press(driver, name)
        pressed = [
            other
            for other in (*BUTTONS, "insideButton", "outsideButton")
            if getattr(driver.ui, other).checked
        ]
        assert pressed == [name]
        assert driver.ui.placeWidget.placeModeEnabled == (name in ("insideButton", "outsideButton"))
    press(driver, "lassoButton")
    press(driver, "lassoButton")
    assert not driver.ui.lassoButton.checked
    before = driver.panel.clicks.clicks
    draw(views, "Red", [(22, 5, 11), (40, 43, 11)])
    assert driver.panel.clicks.clicks == before


def test_leaving_the_module_gives_the_mouse_back(driver, ct, views):
    press(driver, "scribbleInsideButton")
    driver.representation.exit()
    draw(views, "Red", [(22, 5, 11), (40, 43, 11)])
    assert driver.panel.clicks.clicks == ()
    driver.representation.enter()
    assert not driver.ui.scribbleInsideButton.checked


def test_a_line_beside_the_scan_is_refused(driver, ct, views):
    press(driver, "scribbleInsideButton")
    draw(views, "Red", [(-4, 20, 11), (-4, 30, 11)])
    assert "outside the scan" in driver.message
    assert driver.panel.clicks.clicks == ()


def test_an_effect_that_is_chosen_afterwards_has_the_mouse(driver, ct, views):
    driver.unfold("correction")
    press(driver, "scribbleInsideButton")
    driver.panel.correction.editor.setActiveEffectByName("AttentionUNet")
    draw(views, "Red", [(31, 19, 11), (31, 27, 11)], ctrl=True)
    driver.wait_for_answer()
    assert [one.inside for one in driver.panel.clicks.clicks] == [False]
    press(driver, "boxButton")
    assert driver.panel.correction.editor.activeEffect() is None
    driver.ui.correctionCollapsibleButton.collapsed = True


def test_clicks_and_lines_keep_their_order(driver, ct, views):
    click(driver, ct, (27, 23, 11))
    press(driver, "scribbleOutsideButton")
    draw(views, "Red", [(31, 19, 11), (31, 27, 11)])
    driver.wait_for_answer()
    click(driver, ct, (25, 23, 11), inside=False)
    assert [one.inside for one in driver.panel.clicks.clicks] == [True, False, False]
    mask = segment_mask(driver, ct)
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    driver.ui.redoClickButton.click()
    driver.wait_for_answer()
    np.testing.assert_array_equal(segment_mask(driver, ct), mask)
