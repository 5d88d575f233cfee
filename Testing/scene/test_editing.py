"""What the network may do to a segment, sentence by sentence; any order of it is tested in
``test_editing_properties``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from AttentionUNetSegmentLib import scene as scene_package
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.scene.corrections import (
    ERASED,
    PAINTED,
    STATE_TAG,
    CorrectionTracker,
    clearCorrections,
    corrections,
    readClicks,
    showCorrections,
)
from AttentionUNetSegmentLib.scene.editing import SegmentEditing
from AttentionUNetSegmentLib.scene.labelmaps import segmentVoxels
from AttentionUNetSegmentLib.scene.tasks import SegmentationTask, isAutomatic
from scene_helpers import (
    PLACES,
    SHAPE,
    TURN,
    add_block,
    add_ct,
    add_segmentation,
    add_transform,
    box_mask,
    node_ids,
    prediction_on,
    snapshot,
    voxels,
)
from scipy import ndimage

PLACE = PLACES["oblique"]
STATUS = slicer.vtkSlicerSegmentationsModuleLogic
LOGIC = slicer.vtkSlicerSegmentEditorLogic


@pytest.fixture
def scene() -> Iterator[Any]:
    with scene_package.headlessScene() as scene:
        yield scene


@pytest.fixture
def ct(scene: Any) -> Any:
    return add_ct("CT")


@pytest.fixture
def node(scene: Any, ct: Any) -> Any:
    return add_segmentation(scene, ct)


@pytest.fixture
def ours(node: Any) -> str:
    return segments.addSegment(node, segments.PANCREAS, PLACE)


def held(node: Any, segment_id: str, ct: Any) -> np.ndarray:
    """A segment's voxels on the scan's grid, through Slicer's export."""
    if node.GetBinaryLabelmapInternalRepresentation(segment_id).IsEmpty():
        return np.zeros(SHAPE, bool)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct).astype(bool)


def draw(node: Any, segment_id: str, stroke: np.ndarray, mode: str, place: Any = PLACE) -> None:
    logic = LOGIC()
    logic.SetSegmentEditorNode(slicer.vtkMRMLSegmentEditorNode())
    logic.GetSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    image = segments.orientedImage(segments.Crop(stroke.astype(np.uint8), (0, 0, 0)), place)
    mode = getattr(logic, f"ModificationMode{mode}")
    logic.ModifySegmentByLabelmap(node, segment_id, image, mode, False, False)


def only(*chosen: tuple[int, int, int]) -> np.ndarray:
    result = np.zeros(SHAPE, bool)
    for voxel in chosen:
        result[voxel] = True
    return result


def click(voxel: tuple[int, int, int], inside: bool, to_world: np.ndarray = PLACE) -> Click:
    k, j, i = voxel
    r, a, s = (to_world @ (i, j, k, 1.0))[:3]
    return Click((float(r), float(a), float(s)), inside)


IN, OUT = (3, 5, 6), (7, 1, 1)  # in the mask, and far outside it


def whole(node: Any, segment_id: str) -> tuple[Any, ...]:
    segment = node.GetSegmentation().GetSegment(segment_id)
    return (
        *snapshot(node, segment_id),
        segments.tag(segment, STATE_TAG),
        STATUS.GetSegmentStatus(segment),
    )


# The user's hand


def test_imported_mask_is_the_users(node: Any, ct: Any) -> None:
    add_block(node, "imported", PLACE)
    before = held(node, "imported", ct)
    assert corrections(node, "imported").painted.sum() == before.sum() == 64
    outcome = SegmentEditing().write(node, "imported", ct, np.zeros(SHAPE, np.uint8))
    np.testing.assert_array_equal(held(node, "imported", ct), before)
    assert not outcome.changed
    assert outcome.kept == 64


def test_what_is_erased_in_an_imported_mask_stays_out(node: Any, ct: Any) -> None:
    add_block(node, "imported", PLACE)
    tracker = CorrectionTracker(node, "imported")
    draw(node, "imported", only((4, 4, 4)), "Remove")
    tracker.recordCorrections()
    SegmentEditing().write(node, "imported", ct, np.ones(SHAPE, np.uint8))
    after = held(node, "imported", ct)
    assert not after[4, 4, 4]
    assert after.sum() == after.size - 1


@pytest.mark.parametrize("last", ["Add", "Remove"])
def test_last_action_on_a_voxel_wins(node: Any, ours: str, ct: Any, last: str) -> None:
    editing, mask = SegmentEditing(), box_mask()
    editing.write(node, ours, ct, mask)
    tracker = CorrectionTracker(node, ours)
    for mode in ("Remove", "Add") if last == "Add" else ("Add", "Remove"):
        draw(node, ours, only(IN, OUT), mode)
        tracker.recordCorrections()
    editing.write(node, ours, ct, 1 - mask)  # the opposite
    after = held(node, ours, ct)
    assert after[IN] == after[OUT] == (last == "Add")


def test_click_after_a_correction_wins(node: Any, ours: str, ct: Any) -> None:
    editing, mask = SegmentEditing(), box_mask()
    editing.write(node, ours, ct, mask)
    draw(node, ours, only(IN, OUT), "Remove")
    editing.write(node, ours, ct, mask, [click(IN, True)])
    assert held(node, ours, ct)[IN]
    assert not corrections(node, ours).any


def test_correction_after_a_click_wins(node: Any, ours: str, ct: Any) -> None:
    editing, mask, clicks = SegmentEditing(), box_mask(), [click(IN, True)]
    editing.write(node, ours, ct, mask, clicks)
    draw(node, ours, only(IN), "Remove")
    editing.write(node, ours, ct, mask, clicks)
    editing.write(node, ours, ct, mask, [*clicks, click(OUT, True)])
    after = held(node, ours, ct)
    assert not after[IN]
    assert after[OUT]


# Undo


def test_undo_restores_voxels_clicks_and_corrections(node: Any, ours: str, ct: Any) -> None:
    editing, mask = SegmentEditing(), box_mask()
    editing.write(node, ours, ct, mask, [click(IN, True)])
    draw(node, ours, only(OUT), "Add")
    # The stroke is noted by the write, before it saves what undo brings back.
    editing.write(node, ours, ct, 1 - mask, [click(IN, True), click((0, 0, 0), True)])
    written = whole(node, ours)
    editing.undo()
    np.testing.assert_array_equal(held(node, ours, ct), mask.astype(bool) | only(OUT))
    assert readClicks(node, ours) == (click(IN, True),)
    assert corrections(node, ours).painted.sum() == 1
    editing.redo()
    assert whole(node, ours) == written


def test_a_write_is_one_undo_step_and_no_change_is_none(node: Any, ours: str, ct: Any) -> None:
    saved: list[int] = []
    editing = SegmentEditing(saveState=lambda: saved.append(1))
    editing.write(node, ours, ct, box_mask())
    moved = np.roll(box_mask(), 2, axis=2)  # adds and removes
    editing.write(node, ours, ct, moved)
    assert len(saved) == 2
    editing.write(node, ours, ct, moved)
    assert len(saved) == 2


# Other segments and the editor's settings


@pytest.mark.parametrize("when", ["first stroke", "second stroke", "noting the state"])
def test_failed_write_leaves_every_segment_as_it_was(
    node: Any, ours: str, ct: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    from AttentionUNetSegmentLib.scene import editing as module

    strokes, notes = [], []

    class Failing(slicer.vtkSlicerSegmentEditorLogic):
        def ModifySegmentByLabelmap(self, *arguments: Any) -> None:  # noqa: N802
            strokes.append(1)
            if len(strokes) == {"first stroke": 2, "second stroke": 3}.get(when):
                raise MemoryError("broken on purpose")
            super().ModifySegmentByLabelmap(*arguments)

    monkeypatch.setattr(slicer, "vtkSlicerSegmentEditorLogic", Failing)
    add_block(node, "other", PLACE)
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetAndObserveSegmentationNode(node)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    editing = SegmentEditing(editor, lambda: None)
    editing.write(node, ours, ct, box_mask(), [click(IN, True)])
    before = whole(node, ours), whole(node, "other")
    assert len(strokes) == 1
    note = module.noteState

    def failing_note(*arguments: Any) -> None:
        notes.append(1)
        if len(notes) == 2:
            raise MemoryError("broken on purpose")
        note(*arguments)

    if when == "noting the state":
        monkeypatch.setattr(module, "noteState", failing_note)
    with pytest.raises(MemoryError, match="on purpose"):
        editing.write(node, ours, ct, np.roll(box_mask(), 2, axis=2))
    assert (whole(node, ours), whole(node, "other")) == before


def test_completed_segment_is_refused_before_anything_is_written(scene: Any, ct: Any) -> None:
    first = scene_package.writePrediction(prediction_on(ct), ct)
    segment = first.segmentationNode.GetSegmentation().GetSegment(first.segmentId)
    STATUS.SetSegmentStatus(segment, STATUS.Completed)
    before = whole(first.segmentationNode, first.segmentId), voxels(first.probabilityNode).copy()
    with pytest.raises(InputError, match="In progress"):
        scene_package.writePrediction(prediction_on(ct, mask=np.ones(SHAPE, np.uint8)), ct)
    assert whole(first.segmentationNode, first.segmentId) == before[0]
    np.testing.assert_array_equal(voxels(first.probabilityNode), before[1])


def test_completed_segment_is_never_written(node: Any, ours: str, ct: Any) -> None:
    STATUS.SetSegmentStatus(node.GetSegmentation().GetSegment(ours), STATUS.Completed)
    before = whole(node, ours)
    with pytest.raises(InputError, match="In progress"):
        SegmentEditing().write(node, ours, ct, box_mask())
    assert whole(node, ours) == before


def test_segment_is_in_progress_after_the_network(ct: Any) -> None:
    for _ in range(2):
        result = scene_package.writePrediction(prediction_on(ct), ct)
        segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
        assert STATUS.GetSegmentStatus(segment) == STATUS.InProgress


# Places


@pytest.mark.parametrize("drawn", [False, True])
def test_segmentation_of_another_geometry_under_transforms(
    scene: Any, ct: Any, drawn: bool
) -> None:
    """Against scipy's nearest voxel of the mask, seen from the segmentation's own grid."""
    outer = add_transform(scene, TURN)
    ct.SetAndObserveTransformNodeID(add_transform(scene, TURN, outer).GetID())
    other_place = PLACES["flipped"] @ np.diag([0.8, 1.3, 0.6, 1.0])
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(outer.GetID())
    add_block(node, "other", other_place)
    add_block(node, "ours", other_place)
    clearCorrections(node, "ours")  # nobody's: the network may do with it what it likes
    other = snapshot(node, "other")
    hand = np.zeros((9, 9, 9), bool)
    hand[3, 3, 3] = True
    if drawn:
        draw(node, "ours", hand, "Remove", other_place)
    point = click(IN, True, TURN @ TURN @ PLACE)
    mask = box_mask()
    SegmentEditing().write(node, "ours", ct, mask, [point])
    result = segmentVoxels(node.GetSegmentation().GetSegment("ours"))
    ijk = np.argwhere(np.ones_like(result.array))[:, ::-1]
    world = TURN @ result.ijkToLocal @ np.c_[ijk, np.ones(len(ijk))].T
    on_scan = (np.linalg.inv(TURN @ TURN @ PLACE) @ world)[:3]
    expected = ndimage.map_coordinates(mask, on_scan[::-1], order=0, cval=0).astype(bool)
    apart = np.linalg.norm(world[:3].T - np.array(point.position_ras), axis=1)
    # Nearest is a matter of rounding for voxels that lie half way.
    between = (np.abs(on_scan - np.floor(on_scan) - 0.5) < 1e-3).any(axis=0)
    hands = np.linalg.norm(world[:3].T - (TURN @ other_place @ (3, 3, 3, 1))[:3], axis=1) < 1e-3
    assert corrections(node, "ours").erased.sum() == drawn
    assert not (drawn and result.array.ravel()[hands].any())
    compared = (apart > 4.0) & ~between & ~hands
    actual = result.array.ravel()
    assert actual[compared].sum() > 50
    np.testing.assert_array_equal(actual[compared], expected[compared])
    assert actual[np.argmin(apart)]  # the click is satisfied
    assert snapshot(node, "other") == other


# Shown and cleared


def test_corrections_are_shown_and_hidden_and_cleared(
    scene: Any, node: Any, ours: str, ct: Any
) -> None:
    SegmentEditing().write(node, ours, ct, box_mask())
    draw(node, ours, only(OUT), "Add")
    draw(node, ours, only(IN, (3, 5, 7)), "Remove")
    before = node_ids(scene)
    helper = showCorrections(node, ours, ct, True)
    assert helper.GetHideFromEditors()
    assert not helper.GetSaveWithScene()
    assert showCorrections(node, ours, ct, True) is helper
    assert showCorrections(node, ours, ct, False) is None
    assert node_ids(scene) == before
    helper = showCorrections(node, ours, ct, True)
    np.testing.assert_array_equal(held(helper, PAINTED, ct), only(OUT))
    np.testing.assert_array_equal(held(helper, ERASED, ct), only(IN, (3, 5, 7)))
    drawn = held(node, ours, ct)
    clearCorrections(node, ours)
    assert not corrections(node, ours).any
    np.testing.assert_array_equal(held(node, ours, ct), drawn)
    SegmentEditing().write(node, ours, ct, box_mask())
    np.testing.assert_array_equal(held(node, ours, ct), box_mask().astype(bool))


# Volumes


def test_volumes_are_patched_in_place(ct: Any) -> None:
    first = scene_package.writePrediction(prediction_on(ct), ct)
    nodes = [first.probabilityNode, *first.attentionNodes]
    images = [each.GetImageData() for each in nodes]
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:7, 6:10, 8:12] = 1  # another region that overlaps the first
    scene_package.writePrediction(prediction_on(ct, mask=mask), ct)
    for value, each, image in zip((0.9, 0.1, 0.2, 0.3, 0.4), nodes, images, strict=True):
        assert each.GetImageData() is image
        np.testing.assert_allclose(voxels(each), mask * np.float32(value), rtol=1e-6)


# Going on in a scene that was saved


@pytest.mark.parametrize("automatic", [True, False])
def test_segment_remembers_how_it_began(
    scene: Any, ct: Any, tmp_path: Path, automatic: bool
) -> None:
    for before in (not automatic, automatic):
        task = SegmentationTask(ct, automatic=before)
        result = task.write(prediction_on(ct))
    node = result.segmentationNode
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "segmentation.seg.nrrd"))
    assert storage.WriteData(node)
    loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(loaded)
    assert isAutomatic(node, result.segmentId) == automatic
    assert isAutomatic(loaded, result.segmentId) == automatic
