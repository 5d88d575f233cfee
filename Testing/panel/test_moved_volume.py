"""A scan that is moved takes its clicks with it: under a transform, as that changes, hardened."""

from __future__ import annotations

import numpy as np
import pytest
from panel_driver import Gate, add_ct, click, paint, segment_mask
from scene_helpers import TURN, add_bend, add_transform

PLACES = ((44, 23, 11), (10, 23, 11))
"""i, j, k: left and right of the bright ball, in tissue."""
PATCH = (slice(3, 6), slice(6, 10), slice(6, 10))


def world(ct, ijk):
    from AttentionUNetSegmentLib import scene

    point = [0.0, 0.0, 0.0]
    ct.TransformPointToWorld((scene.volumes.ijkToRas(ct) @ (*ijk, 1))[:3], point)
    return point


def positions(driver):
    return [one.position_ras for one in driver.panel.clicks.clicks]


@pytest.fixture
def clicked(driver, ct):
    """The organ, and a click that is answered."""
    driver.segment()
    click(driver, ct, PLACES[0])
    assert segment_mask(driver, ct)[PLACES[0][::-1]]
    return ct


@pytest.fixture
def transform(clicked):
    import slicer

    return add_transform(slicer.mrmlScene, TURN)


def put_under(driver, node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())
    driver.pump()


def assert_on_its_voxel(driver, ct, places=PLACES[:1]):
    for position, ijk in zip(positions(driver), places, strict=True):
        assert position == pytest.approx(world(ct, ijk), abs=0.01)


def test_clicks_go_with_their_scan(driver, clicked, transform):
    import slicer
    from AttentionUNetSegmentLib.scene.volumes import toVtkMatrix

    shown = driver.ui.clickList.item(0).text()
    put_under(driver, clicked, transform)
    assert_on_its_voxel(driver, clicked)
    assert driver.ui.clickList.item(0).text() != shown
    transform.SetMatrixTransformToParent(toVtkMatrix(TURN @ TURN))
    driver.pump()
    assert_on_its_voxel(driver, clicked)
    # One more click is one more piece: the one before is answered on its own voxel.
    click(driver, clicked, PLACES[1])
    mask = segment_mask(driver, clicked)
    assert all(mask[ijk[::-1]] for ijk in PLACES)
    driver.panel.correction.editor.undo()
    driver.pump()
    assert_on_its_voxel(driver, clicked)
    driver.panel.correction.editor.redo()
    driver.pump()
    clicked.HardenTransform()
    driver.pump()
    assert clicked.GetParentTransformNode() is None
    assert_on_its_voxel(driver, clicked, PLACES)
    slicer.mrmlScene.RemoveNode(transform)
    driver.pump()
    assert_on_its_voxel(driver, clicked, PLACES)
    assert not driver.panel.busy, "to be moved is no reason to answer"


def test_a_transform_that_is_taken_away_brings_them_back(driver, clicked, transform):
    before = driver.panel.clicks.clicks
    put_under(driver, clicked, transform)
    clicked.SetAndObserveTransformNodeID(None)
    driver.pump()
    assert driver.panel.clicks.clicks == before


def test_clicks_that_were_moved_too_are_not_moved_twice(driver, clicked, transform):
    for node in (driver.parameters.clicks, clicked, driver.parameters.segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    driver.pump()
    assert_on_its_voxel(driver, clicked)
    click(driver, clicked, PLACES[1])
    mask = segment_mask(driver, clicked)
    assert all(mask[ijk[::-1]] for ijk in PLACES)


def test_under_a_transform_that_is_not_linear_and_hardened(driver, clicked):
    import slicer

    put_under(driver, clicked, add_bend(slicer.mrmlScene))
    assert positions(driver)[0] != pytest.approx((-86.0, 8.0, 26.0), abs=0.5)
    assert_on_its_voxel(driver, clicked)
    before = positions(driver)
    clicked.HardenTransform()
    driver.pump()
    assert positions(driver) == before, "hardening moves nothing in the world"


def test_an_undo_after_the_move_brings_them_back_on_their_voxels(driver, clicked, transform):
    click(driver, clicked, PLACES[1])
    put_under(driver, clicked, transform)
    driver.panel.correction.editor.undo()
    driver.pump()
    assert_on_its_voxel(driver, clicked)
    driver.panel.correction.editor.redo()
    driver.pump()
    assert_on_its_voxel(driver, clicked, PLACES)


def test_an_earlier_click_takes_no_later_correction_back(driver, clicked, transform):
    """It is the same click at another place, not a later one."""
    i, j, k = PLACES[0]
    around = (slice(k - 1, k + 2), slice(j - 2, j + 3), slice(i - 2, i + 3))
    paint(driver, clicked, around, 0)
    put_under(driver, clicked, transform)
    put_under(driver, driver.parameters.segmentation, transform)
    click(driver, clicked, PLACES[1])
    assert not segment_mask(driver, clicked)[around].any()


def test_moved_while_it_computes(driver, clicked, transform, monkeypatch):
    from AttentionUNetSegmentLib.scene.corrections import readClicks

    gate = Gate(monkeypatch, "Segmenting the pancreas")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    put_under(driver, clicked, transform)
    gate.opened.set()
    driver.wait_for_answer()
    assert_on_its_voxel(driver, clicked)
    found = driver.panel.resultNodes
    clicks = readClicks(found.segmentationNode, found.segmentId)
    assert clicks == driver.panel.clicks.clicks, "noted where they are now"


def test_clicks_without_an_answer_go_with_their_scan(driver, ct):
    import slicer

    driver.ui.updateAfterClickCheckBox.checked = False
    click(driver, ct, PLACES[0])
    put_under(driver, ct, add_transform(slicer.mrmlScene, TURN))
    assert_on_its_voxel(driver, ct)
    driver.segment()
    assert segment_mask(driver, ct)[PLACES[0][::-1]]


def test_what_can_be_redone_goes_with_its_scan(driver, clicked, transform):
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    put_under(driver, clicked, transform)
    assert positions(driver) == []
    driver.ui.redoClickButton.click()
    driver.wait_for_answer()
    assert_on_its_voxel(driver, clicked)
    assert segment_mask(driver, clicked)[PLACES[0][::-1]]


def test_a_point_that_is_being_placed_stays_what_it_is(driver, clicked, transform):
    """It follows the mouse, known to Slicer by its index among the points."""
    import slicer

    node = driver.parameters.clicks
    preview = slicer.vtkMRMLMarkupsNode.PositionPreview
    mouse = slicer.vtkMRMLInteractionEventData()
    mouse.SetWorldPosition((1.0, 2.0, 3.0))
    matrix = np.eye(3).ravel().tolist()
    display = node.GetDisplayNode()
    index = display.UpdateActiveControlPointWorld(-1, mouse, matrix, None, None, preview)
    assert node.GetNthControlPointPositionStatus(index) == preview
    put_under(driver, clicked, transform)
    assert node.GetNthControlPointPositionStatus(index) == preview
    assert_on_its_voxel(driver, clicked)


def test_a_transform_that_makes_the_scan_flat_for_a_while(driver, clicked, transform):
    from AttentionUNetSegmentLib.scene.volumes import toVtkMatrix

    before = driver.panel.clicks.clicks
    put_under(driver, clicked, transform)
    for matrix in (np.diag([0.0, 1.0, 1.0, 1.0]), np.eye(4)):
        transform.SetMatrixTransformToParent(toVtkMatrix(matrix))
        driver.pump()
    assert driver.panel.clicks.clicks == before


def test_of_a_scan_that_is_not_chosen_just_now(driver, clicked, transform):
    add_ct(driver, "other")
    put_under(driver, clicked, transform)
    driver.choose(clicked)
    assert_on_its_voxel(driver, clicked)


def test_lines_and_boxes_go_with_their_scan(driver, clicked, transform):
    from AttentionUNetSegmentLib.inference.strokes import Scribble

    line = Scribble(tuple(tuple(world(clicked, (i, 23, 11))) for i in (8, 9, 10)), True)
    driver.panel.session.newPoints().addPrompt(line)
    driver.wait_for_answer()
    put_under(driver, clicked, transform)
    (_, moved) = driver.panel.clicks.clicks
    expected = [world(clicked, (i, 23, 11)) for i in (8, 9, 10)]
    np.testing.assert_allclose(moved.points_ras, expected, atol=0.01)


def test_a_scan_that_is_dragged_makes_no_nodes_and_reads_no_files(driver, clicked, transform):
    """Of each step all of Slicer would be told, and the panel would look at all of itself."""
    import slicer
    from AttentionUNetSegmentLib.inference.strokes import Lasso, Scribble
    from AttentionUNetSegmentLib.panel import target
    from AttentionUNetSegmentLib.scene.volumes import toVtkMatrix

    driver.ui.updateAfterClickCheckBox.checked = False
    line = tuple(tuple(world(clicked, (i, 23, 11))) for i in (8, 9, 10))
    corners = [tuple(world(clicked, ijk)) for ijk in ((4, 23, 3), (50, 23, 20))]
    for stroke in (Scribble(line, True), Scribble(line, False), Lasso.box(*corners)):
        driver.panel.session.newPoints().addPrompt(stroke)
    put_under(driver, clicked, transform)
    lines = slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode")
    told = []
    events = (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent)
    tags = [slicer.mrmlScene.AddObserver(one, lambda *_: told.append("node")) for one in events]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "find_model", lambda _name: told.append("file"))
        transform.SetMatrixTransformToParent(toVtkMatrix(TURN @ TURN))
        driver.pump()
    for tag in tags:
        slicer.mrmlScene.RemoveObserver(tag)
    assert not told
    for node in lines[:2]:
        first = node.GetNthControlPointPositionWorld(0)
        assert first == pytest.approx(world(clicked, (8, 23, 11)), abs=0.01)
    driver.ui.resetClicksButton.click()
    driver.pump()
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode"), "none is left behind"


def test_a_scene_that_was_saved_before_the_move(driver, clicked, transform, tmp_path):
    """The place of a click in its scan is in the segment, so that it is known later too."""
    from AttentionUNetSegmentLib.scene.corrections import State, readClicks, storedState

    found = driver.panel.resultNodes
    state = State.decoded(storedState(found.segmentationNode, found.segmentId).encoded())
    put_under(driver, clicked, transform)
    assert state.clicks.movedWith(clicked).world == driver.panel.clicks.clicks
    clicks = readClicks(found.segmentationNode, found.segmentId, clicked)
    assert clicks == driver.panel.clicks.clicks
