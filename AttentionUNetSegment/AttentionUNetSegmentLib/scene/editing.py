"""Changing a segment as the Segment Editor does, and never against the user's hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.grid import Grid, bounding_region, transform_points
from ..inference.clicks import BALL_MM, Click, satisfy_clicks
from ..inference.strokes import Prompt, line_clicks
from . import segments
from .corrections import State, currentState, networkWriting, noteState
from .editor_rules import EditorRules
from .labelmaps import VoxelBox, Voxels, gridOfImage, segmentIn, shifted
from .scan_clicks import ScanClicks, sameClick
from .surface import SURFACE
from .volumes import clicksInPlace, nodeToPlace

if TYPE_CHECKING:
    import slicer

UNDO_STATES = 20


@dataclass(frozen=True)
class WriteOutcome:
    """What became of a mask that was written.

    Args:
        changed: the segment's voxels changed, and an undo step was made.
        kept, kept_ml: voxels where the network disagreed with the user's hand, which won.
        blocked, blocked_ml: voxels that masking or a completed segment did not let change.
    """

    changed: bool
    kept: int
    kept_ml: float
    blocked: int
    blocked_ml: float


class SegmentEditing:
    """Changes segments as the Segment Editor does: its masking, editable intensity range, overwrite
    mode and undo.

    Args:
        editorNode: the parameters of the user's Segment Editor, obeyed while it shows the
            segmentation that is written; without it nothing is masked and no other segment changes.
        saveState: saves the state in the undo history of every editor that shows the segmentation,
            since Python reaches no history of theirs; without it there is one here, of the
            segmentation last written.

    >>> editing = SegmentEditing()
    >>> editing.write(segmentationNode, segmentId, volumeNode, mask)   # doctest: +SKIP
    >>> editing.undo()                                                 # doctest: +SKIP
    """

    def __init__(
        self,
        editorNode: slicer.vtkMRMLSegmentEditorNode | None = None,
        saveState: Callable[[], None] | None = None,
    ) -> None:
        import slicer

        self.editorNode = editorNode
        self._saveState = saveState
        self._history = slicer.vtkSegmentationHistory()
        self._history.SetMaximumNumberOfStates(UNDO_STATES)
        # With parameters of its own: the user's may name another segment, and its masks would be
        # made for the whole scan.
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetSegmentEditorNode(slicer.vtkMRMLSegmentEditorNode())

    def write(
        self,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        mask: np.ndarray,
        clicks: Sequence[Prompt] = (),
        start: np.ndarray | None = None,
    ) -> WriteOutcome:
        """Make the segment what the network says, except where the user said otherwise.

        One undo step; none where nothing changes. What the user did up to now is noted first and
        kept; only a click that was placed later, on a corrected voxel, takes back the corrections
        around it. Masking, editable intensities, overwrite mode and completed segments are obeyed.

        Args:
            mask: uint8 (k, j, i), on the volume's grid.
            clicks: those that the mask was made from, and scribbles and lassos, in their order, in
                the world.
            start: the mask (k, j, i) that the clicks mended, where the segment began from one: what
                differs from it changes alone. Without it the segment begins from none any more.

        Raises:
            InputError: the segment is gone or completed, the segmentation holds no labelmaps or is
                under another transform than the volume, one of them not linear, or its corrections
                cannot be read. Nothing is changed then, nor where anything else fails.
        """
        requireWritable(segmentationNode, segmentId)
        rules = EditorRules(segmentationNode, segmentId, volumeNode, self._obeyed(segmentationNode))
        before = currentState(segmentationNode, segmentId)
        plan = _planned(rules, before, mask, tuple(clicks), start)
        if plan.outcome.changed:
            # With what the user did up to now in it.
            noteState(segmentationNode, segmentId, before)
            self._save(segmentationNode)
            with _takenBack(segmentationNode, segmentId, plan.overwritten):
                self._draw(rules, plan)
                noteState(segmentationNode, segmentId, plan.after)
        else:
            noteState(segmentationNode, segmentId, plan.after)
        return plan.outcome

    @property
    def canUndo(self) -> bool:
        """Whether :meth:`undo` would do anything. An editor's history is the editor's matter."""
        return bool(self._history.IsRestorePreviousStateAvailable())

    @property
    def canRedo(self) -> bool:
        return bool(self._history.IsRestoreNextStateAvailable())

    def undo(self) -> None:
        """Bring back voxels, corrections and clicks as they were before the last write."""
        if self.canUndo:
            self._history.RestorePreviousState()

    def redo(self) -> None:
        if self.canRedo:
            self._history.RestoreNextState()

    def _obeyed(
        self, segmentationNode: slicer.vtkMRMLSegmentationNode
    ) -> slicer.vtkMRMLSegmentEditorNode | None:
        node = self.editorNode
        return node if node is not None and node.GetSegmentationNode() is segmentationNode else None

    def _save(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        if self._saveState is not None:
            self._saveState()
        else:
            self._history.SetSegmentation(segmentationNode.GetSegmentation())
            self._history.SaveState()

    def _draw(self, rules: EditorRules, plan: _Plan) -> None:
        """Add and remove voxels, as strokes of the Segment Editor would."""
        node, segmentId, logic = rules.segmentationNode, rules.segmentId, self._logic
        segment = node.GetSegmentation().GetSegment(segmentId)
        logic.GetSegmentEditorNode().SetOverwriteMode(rules.overwriteMode)
        strokes = [
            (plan.wanted & ~plan.seen, logic.ModificationModeAdd),
            (plan.seen & ~plan.wanted, logic.ModificationModeRemove),
        ]
        strokes = [(voxels, mode) for voxels, mode in strokes if voxels.any()]
        if not plan.seen.any():
            # It may be stored on another grid, to which Slicer would bring the voxels.
            segments.fillSegment(node, segmentId, plan.box.image(plan.seen))
        surface = segment.GetRepresentation(SURFACE)
        for number, (voxels, mode) in enumerate(strokes, start=1):
            # Slicer makes a shown surface anew at each stroke: let it do so at the last one.
            if surface is not None and number < len(strokes):
                segment.RemoveRepresentation(SURFACE)
            elif surface is not None:
                segment.AddRepresentation(SURFACE, surface)
            logic.ModifySegmentByLabelmap(
                node, segmentId, plan.box.image(voxels), mode, False, False
            )
        if (segmentIn(plan.box, segment) != plan.wanted).any():
            raise RuntimeError(f"Slicer could not update the segment {segmentId}")


def requireWritable(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Raises:
    InputError: the segment is gone or completed, or the segmentation holds no labelmaps.
    """
    segments.requireLabelmaps(segmentationNode)
    segments.requireSegment(segmentationNode, segmentId)
    segments.requireNotCompleted(segmentationNode, segmentId)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is going to change.

    Args:
        box: holds all of it.
        seen, wanted: bool (k, j, i): what is in the segment, and what shall be.
        after: the state that goes with it.
        overwritten: other segments that lose voxels.
    """

    box: VoxelBox
    seen: np.ndarray
    wanted: np.ndarray
    after: State
    overwritten: tuple[str, ...]
    outcome: WriteOutcome


def _planned(
    rules: EditorRules,
    before: State,
    mask: np.ndarray,
    clicks: tuple[Prompt, ...],
    start: np.ndarray | None,
) -> _Plan:
    node = rules.segmentationNode
    clicksNow = ScanClicks.on(rules.volumeNode, clicks)
    # The world, or the segmentation's own coordinates under a transform that is not linear.
    grid, toWorld = _grid(rules, before), nodeToPlace(node)
    place = Grid((1, 1, 1), toWorld @ grid)
    placed = line_clicks(clicksInPlace(node, clicks), place)
    clicksBefore = before.clicks.movedWith(rules.volumeNode).world
    earlier = line_clicks(clicksInPlace(node, clicksBefore), place)
    answer = _answer(rules, mask)
    bounds = [answer.boundsOn(grid), before.boundsOn(grid), *_balls(rules, placed, grid, toWorld)]
    box = VoxelBox.around(grid, bounds)
    seen, user = before.on(box)
    said = box.read(answer)
    begun = None if start is None else before.startOn(box)
    if start is not None and begun is not None:
        # The segment may lie on a grid of its own: what no click is about stays as it is there.
        said = np.where(box.read(_answer(rules, mask != start)), said, begun)
    wanted, user = reconciled(said, seen, user, toWorld @ box.ijkToLocal, placed, earlier)
    kept, blocked = int(np.count_nonzero(user & (said != seen))), 0
    others: dict[str, np.ndarray] = {}
    change = bounding_region(wanted != seen)
    if change is not None:
        inner, has, gets = box.part(change), seen[change], wanted[change]
        forbidden = rules.forbidden(inner)
        others = rules.overwritten(inner, gets & ~has & ~forbidden)
        for other, voxels in others.items():
            if segments.isCompleted(node.GetSegmentation().GetSegment(other)):
                forbidden |= gets & voxels
        blocked = int(np.count_nonzero(forbidden & (gets != has)))
        wanted[change] = np.where(forbidden, has, gets)
    voxel_ml = float(abs(np.linalg.det((toWorld @ grid)[:3, :3]))) / 1000
    changed = bool((wanted != seen).any())
    after = State.of(wanted, user, box, clicksNow, begun)
    outcome = WriteOutcome(changed, kept, kept * voxel_ml, blocked, blocked * voxel_ml)
    return _Plan(box, seen, wanted, after, tuple(others), outcome)


def reconciled(
    said: np.ndarray,
    seen: np.ndarray,
    user: np.ndarray,
    ijkToWorld: np.ndarray,
    clicks: Sequence[Click],
    earlier: Sequence[Click],
) -> tuple[np.ndarray, np.ndarray]:
    """What the network says, what the user drew and where the user clicked, in one mask.

    Where a correction and a click contradict each other in the clicked voxel, the later one wins: a
    new click takes back the corrections in the ball around it, an earlier click is left out.

    Args:
        said, seen, user: bool (k, j, i), the same box: the network's mask, what is in the segment
            now, which of that is the user's.
        ijkToWorld: 4x4, places the box.
        clicks: those that the network's mask was made from.
        earlier: those that the segment was made from before.

    Returns:
        What the segment should hold, and which voxels are the user's.
    """
    grid = Grid((said.shape[0], said.shape[1], said.shape[2]), ijkToWorld)
    combined = np.where(user, seen, said)
    valid, against, agreeing = [], [], []
    for click in clicks:
        voxel = grid.voxel_of(click.position_ras)
        if voxel is None:
            continue
        if combined[voxel] == click.inside:
            agreeing.append(click)
        elif user[voxel] and any(sameClick(click, one) for one in earlier):
            continue
        elif user[voxel]:
            against.append(click)
        valid.append(click)
    if against:
        # The agreeing ones change nothing, but keep the balls of the others small.
        user = user & (satisfy_clicks(combined, grid, agreeing + against) == combined)
        combined = np.where(user, seen, said)
    return np.where(user, seen, satisfy_clicks(combined, grid, valid)), user


def _grid(rules: EditorRules, before: State) -> np.ndarray:
    """The grid that the segment is on; the scan's for a segment that was never filled."""
    if not before.seen.size:
        return segments.ijkToSegmentation(rules.volumeNode, rules.segmentationNode)
    if not before.seen.any():
        return before.ijkToLocal
    segment = rules.segmentationNode.GetSegmentation().GetSegment(rules.segmentId)
    return gridOfImage(segment.GetRepresentation(segments.LABELMAP))


def _answer(rules: EditorRules, mask: np.ndarray) -> Voxels:
    """The mask in the segmentation's coordinates, cut to what is in it."""
    ijkToLocal = segments.ijkToSegmentation(rules.volumeNode, rules.segmentationNode)
    region = bounding_region(mask)
    if region is None:
        return Voxels(np.zeros((0, 0, 0), bool), ijkToLocal)
    start_ijk = [part.start for part in reversed(region)]
    return Voxels(mask[region] != 0, shifted(ijkToLocal, start_ijk))


def _balls(
    rules: EditorRules, clicks: Iterable[Click], grid: np.ndarray, toWorld: np.ndarray
) -> Iterator[np.ndarray]:
    """Bounds on the grid of what each click may change, within the scan."""
    ijkToLocal = segments.ijkToSegmentation(rules.volumeNode, rules.segmentationNode)
    k, j, i = rules.volumeNode.GetImageData().GetDimensions()[::-1]
    low, high = Voxels(np.broadcast_to(True, (k, j, i)), ijkToLocal).boundsOn(grid)
    toGrid = np.linalg.inv(toWorld @ grid)
    reach = BALL_MM * np.linalg.norm(toGrid[:3, :3], axis=1)
    for click in clicks:
        middle = transform_points(toGrid, click.position_ras)
        start, stop = np.floor(middle - reach), np.ceil(middle + reach) + 1
        yield np.array([np.maximum(start, low), np.minimum(stop, high)], int)


@contextmanager
def _takenBack(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, others: Iterable[str]
) -> Iterator[None]:
    """The network is writing; where that fails, the segments are as they were."""
    import slicer
    import slicer.util

    segmentation = segmentationNode.GetSegmentation()
    copies = []
    for each in (segmentId, *others):
        segment, copy = segmentation.GetSegment(each), slicer.vtkSegment()
        copy.DeepCopy(segment)
        copies.append((segment, copy))
    with slicer.util.NodeModify(segmentationNode), networkWriting(copies[0][0]):
        try:
            yield
        except BaseException:
            for segment, copy in copies:
                segment.DeepCopy(copy)
            raise
