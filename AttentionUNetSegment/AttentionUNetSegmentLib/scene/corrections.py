"""What the user did by hand in a segment, voxel by voxel, so that no later prediction undoes it.

A segment's *state* says what was last seen in it, which of its voxels are the user's, and which
clicks it was made from, and the mask that these mend where the user had them begin from one. What
differs from what was last seen is the user's; the last action on a
voxel wins. A segment without a state comes from elsewhere and is the user's as a whole.

The state lives in a tag of the segment: the Segment Editor's undo and redo restore a segment with
its tags, and scenes and ``.seg.nrrd`` files keep them, so that voxels, corrections and clicks come
back together.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..geometry.grid import bounding_region
from ..inference.clicks import Click
from ..inference.strokes import Prompt, prompt_from_json, prompt_to_json
from . import segments
from .labelmaps import VoxelBox, Voxels, segmentVoxels, shifted
from .removal import removeNode
from .scan_clicks import NO_CLICKS, ScanClicks
from .volumes import nodeToPlace

if TYPE_CHECKING:
    import slicer

STATE_TAG = "AttentionUNetSegment.State"
"""Segment tag that holds the state. Saved with the segment."""

STATE_VERSION, LATER_STATE_VERSION = 1, 2
"""Of a state with nothing but clicks, and of one with what came later: a mask to begin from, and
scribbles and lassos."""
MOST_STATE_BYTES = 2**28
"""A state that unpacks to more is none: a file may come from anywhere."""

CORRECTIONS_ROLE = "AttentionUNetSegment.Corrections"
"""Node reference role, from the node that shows corrections to the segmentation they are in."""
SEGMENT_ATTRIBUTE = "AttentionUNetSegment.Segment"
PAINTED, ERASED = "Painted by hand", "Erased by hand"
PAINTED_COLOR = (0.20, 0.75, 0.35)
ERASED_COLOR = (0.90, 0.30, 0.25)
FILL_OPACITY = 0.25


@dataclass(frozen=True, eq=False)
class Corrections:
    """The voxels that are the user's.

    Args:
        painted: bool (k, j, i): in the segment by the user's hand.
        erased: bool (k, j, i), the same box: out of it by the user's hand.
        ijkToLocal: 4x4, from the arrays' indices to the segmentation's own coordinates.
        voxel_ml: volume of a voxel in the world; in the segmentation's own coordinates under a
            transform that is not linear.
    """

    painted: np.ndarray
    erased: np.ndarray
    ijkToLocal: np.ndarray
    voxel_ml: float

    @property
    def painted_ml(self) -> float:
        return int(np.count_nonzero(self.painted)) * self.voxel_ml

    @property
    def erased_ml(self) -> float:
        return int(np.count_nonzero(self.erased)) * self.voxel_ml

    @property
    def any(self) -> bool:
        return bool(self.painted.any() or self.erased.any())


@dataclass(frozen=True, eq=False)
class State:
    """What is known of a segment.

    Args:
        seen: bool (k, j, i): what was last seen in the segment.
        user: bool, the same box: the voxels that are the user's, in the segment or out of it.
        ijkToLocal: 4x4, from the arrays' indices to the segmentation's coordinates.
        clicks: those that the network's part was made from, and scribbles and lassos, in the world
            and in the scan.
        start: bool, the same box: the mask that the clicks mend; None where the network drew the
            organ itself.
    """

    seen: np.ndarray
    user: np.ndarray
    ijkToLocal: np.ndarray
    clicks: ScanClicks = NO_CLICKS
    start: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        seen: np.ndarray,
        user: np.ndarray,
        box: VoxelBox,
        clicks: ScanClicks = NO_CLICKS,
        start: np.ndarray | None = None,
    ) -> State:
        """A state on a box, cut to what is not zero."""
        region = bounding_region(seen | user if start is None else seen | user | start)
        if region is None:
            nothing = np.zeros((0, 0, 0), bool)
            return cls(nothing, nothing, box.grid, clicks)
        cut = None if start is None else start[region]
        return cls(seen[region], user[region], box.part(region).ijkToLocal, clicks, cut)

    def on(self, box: VoxelBox) -> tuple[np.ndarray, np.ndarray]:
        """What was seen, and what is the user's, in a box."""
        return (
            box.read(Voxels(self.seen, self.ijkToLocal)),
            box.read(Voxels(self.user, self.ijkToLocal)),
        )

    def startOn(self, box: VoxelBox) -> np.ndarray | None:
        """The mask to begin from in a box."""
        return None if self.start is None else box.read(Voxels(self.start, self.ijkToLocal))

    def boundsOn(self, grid: np.ndarray) -> np.ndarray:
        return Voxels(self.seen, self.ijkToLocal).boundsOn(grid)

    def movedWith(self, voxels: Voxels) -> State:
        """At the place to which the segment was moved by hardening a transform, if it was."""
        seen = self.seenVoxels()
        sameGrid = voxels.offsetOn(self.ijkToLocal) is not None
        if sameGrid or not np.array_equal(seen.array, voxels.array):
            return self
        moved = voxels.ijkToLocal @ np.linalg.inv(seen.ijkToLocal) @ self.ijkToLocal
        return replace(self, ijkToLocal=moved)

    def seenVoxels(self) -> Voxels:
        """What was last seen, cut to it."""
        region = bounding_region(self.seen)
        if region is None:
            return Voxels(self.seen[:0, :0, :0], self.ijkToLocal)
        start_ijk = [part.start for part in reversed(region)]
        return Voxels(self.seen[region], shifted(self.ijkToLocal, start_ijk))

    def encoded(self) -> str:
        """As text without the separators that Slicer writes between tags."""
        simple = self.start is None and all(isinstance(click, Click) for click in self.clicks.world)
        header = {
            "version": STATE_VERSION if simple else LATER_STATE_VERSION,
            "shape": self.seen.shape,
            "ijkToLocal": self.ijkToLocal.ravel().round(9).tolist(),
            "clicks": [prompt_to_json(click) for click in self.clicks.world],
            **({} if not self.clicks.voxels else self._inScan()),
            **({} if self.start is None else {"start": True}),
        }
        planes = [self.seen, self.user, *([] if self.start is None else [self.start])]
        bits = np.packbits(np.stack(planes))
        packed = zlib.compress(json.dumps(header).encode() + b"\n" + bits.tobytes(), 1)
        return base64.b64encode(packed).decode()

    def _inScan(self) -> dict[str, Any]:
        voxels = [prompt_to_json(click) for click in self.clicks.voxels]
        return {"scan": self.clicks.scan, "inScan": voxels}

    @classmethod
    def decoded(cls, text: str) -> State:
        """Raises:
        ValueError: the text is no state.
        """
        try:
            unpacking = zlib.decompressobj()
            content = unpacking.decompress(base64.b64decode(text, validate=True), MOST_STATE_BYTES)
            head, bits = content.split(b"\n", 1)
            header = json.loads(head)
            if header["version"] not in (STATE_VERSION, LATER_STATE_VERSION):
                raise ValueError("it was made by another version")
            k, j, i = (int(size) for size in header["shape"])
            number = 3 if header.get("start") else 2
            count = number * k * j * i
            if min(k, j, i) < 0 or len(bits) != (count + 7) // 8:
                raise ValueError("it is incomplete")
            flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=count)
            planes = flat.astype(bool).reshape(number, k, j, i)
            matrix = np.array(header["ijkToLocal"], float).reshape(4, 4)
            clicks = ScanClicks(
                tuple(map(prompt_from_json, header["clicks"])),
                tuple(map(prompt_from_json, header.get("inScan", ()))),
                str(header.get("scan", "")),
            )
            if clicks.voxels and len(clicks.voxels) != len(clicks.world):
                raise ValueError("it is damaged")
        except (binascii.Error, zlib.error, KeyError, TypeError, AttributeError) as error:
            raise ValueError("it is damaged") from error
        return cls(planes[0], planes[1], matrix, clicks, *planes[2:])


def storedState(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> State | None:
    """The state as it was last noted; None in a segment from elsewhere.

    Raises:
        InputError: it cannot be read.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    text = segments.tag(segment, STATE_TAG)
    if text is None:
        return None
    try:
        return State.decoded(text)
    except ValueError as error:
        raise InputError(
            f"What was corrected by hand in the segment '{segment.GetName()}' cannot be read "
            f"({error}); clear its corrections, or choose another segment."
        ) from error


def updatedState(before: State | None, voxels: Voxels) -> State:
    """What differs from the state before is the user's; without one, all voxels are."""
    grid = voxels.ijkToLocal
    if before is None:
        return State(voxels.array, voxels.array, grid)
    if not voxels.array.size:
        # An empty segment has no grid of its own that would have to be followed.
        return replace(before, seen=before.seen & False, user=before.user | before.seen)
    before = before.movedWith(voxels)
    box = VoxelBox.around(grid, [voxels.boundsOn(grid), before.boundsOn(grid)])
    seen, user = before.on(box)
    now = box.read(voxels)
    if voxels.offsetOn(before.ijkToLocal) is None:
        # Slicer has brought the segment to another grid, in one of its two ways.
        drawn = box.read(before.seenVoxels(), margin=0)
        seen = np.where(drawn == now, drawn, seen)
    return State.of(now, user | (now != seen), box, before.clicks, before.startOn(box))


def currentState(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> State:
    """The state with all that the user did up to now.

    Raises:
        InputError: the state cannot be read.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    return updatedState(storedState(segmentationNode, segmentId), segmentVoxels(segment))


def noteState(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, state: State
) -> None:
    """Write the state into the segment's tag, unless it is there: that would end redo."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    text = state.encoded()
    if segments.tag(segment, STATE_TAG) != text:
        segment.SetTag(STATE_TAG, text)


def corrections(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Corrections:
    """What is the user's in a segment now. Changes nothing, so that redo stays possible.

    Raises:
        InputError: the segment is gone or holds no labelmap, or its state cannot be read.
    """
    segments.requireSegment(segmentationNode, segmentId)
    return _corrections(segmentationNode, currentState(segmentationNode, segmentId))


def clearCorrections(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Forget what is the user's; the voxels stay as they are until the network answers again."""
    segments.requireSegment(segmentationNode, segmentId)
    try:
        state = currentState(segmentationNode, segmentId)
    except InputError:  # it cannot be read, and is made anew
        voxels = segmentVoxels(segmentationNode.GetSegmentation().GetSegment(segmentId))
        state = State(voxels.array, voxels.array, voxels.ijkToLocal)
    noteState(segmentationNode, segmentId, replace(state, user=np.zeros_like(state.user)))


def readClicks(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> tuple[Prompt, ...]:
    """The clicks, scribbles and lassos that the segment was made from; after an undo, those of the
    earlier state.

    Args:
        volumeNode: the scan, with which they go where it was moved since.
    """
    try:
        state = storedState(segmentationNode, segmentId)
    except InputError:
        return ()
    if state is None:
        return ()
    clicks = state.clicks if volumeNode is None else state.clicks.movedWith(volumeNode)
    return clicks.world


_BEING_WRITTEN: set[str] = set()
"""Addresses of the segments that the network is writing just now: no user's hand."""


@contextmanager
def networkWriting(segment: slicer.vtkSegment) -> Iterator[None]:
    """What changes in the segment meanwhile is not taken for the user's."""
    _BEING_WRITTEN.add(segment.__this__)
    try:
        yield
    finally:
        _BEING_WRITTEN.discard(segment.__this__)


class CorrectionTracker:
    """Notes what the user does in a segment, as long as it lives.

    Without one, several actions between two of the network's answers are seen as one: painted and
    then erased would look like untouched.

    Args:
        segmentationNode, segmentId: the segment.
        onChanged: called when the segment's voxels, or after an undo its state, are others; amid
            the change, so that it must not do more than ask for :meth:`recordCorrections` to be
            called when the application is idle.
    """

    def __init__(
        self,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        onChanged: Callable[[], None] | None = None,
    ) -> None:
        import slicer

        segments.requireSegment(segmentationNode, segmentId)
        self.segmentationNode = segmentationNode
        self.segmentId = segmentId
        self._onChanged = onChanged
        self._segmentation = segmentationNode.GetSegmentation()
        self._unrecorded = self._recording = False
        self._known = self._signature()
        self._before = self._withoutState()
        events = slicer.vtkSegmentation
        self._observers = [
            self._segmentation.AddObserver(events.SourceRepresentationModified, self._onVoxels),
            self._segmentation.AddObserver(events.SegmentModified, self._onSegment),
        ]

    def recordCorrections(self) -> Corrections:
        """What differs from what was last seen is the user's from now on.

        Raises:
            InputError: as :func:`corrections`.
        """
        if self._unrecorded:
            self._unrecorded = False
            self._note()
        return corrections(self.segmentationNode, self.segmentId)

    def stop(self) -> None:
        """Observe no more."""
        for observer in self._observers:
            self._segmentation.RemoveObserver(observer)
        self._observers = []

    def _onVoxels(self, *_: object) -> None:
        if not self._changed():
            return
        segment = self._segment()
        if segment is not None and segment.__this__ not in _BEING_WRITTEN:
            # The Segment Editor empties a segment that it is about to fill: not yet an erasure.
            self._unrecorded = not segmentVoxels(segment).array.size
            if not self._unrecorded:
                self._note()
        self._tell()

    def _onSegment(self, *_: object) -> None:
        """After an undo or a redo: voxels and state have come back together."""
        if self._changed() and not self._recording:
            self._before = self._withoutState()
            self._tell()

    def _note(self) -> None:
        segment = self._segment()
        if segment is None:
            return
        before = storedState(self.segmentationNode, self.segmentId) or self._before
        self._recording = True
        try:
            state = updatedState(before, segmentVoxels(segment))
            noteState(self.segmentationNode, self.segmentId, state)
        finally:
            self._recording = False
        self._known = self._signature()

    def _withoutState(self) -> State | None:
        """What a segment from elsewhere holds, so that erasing in it is known too."""
        segment = self._segment()
        if segment is None or segments.tag(segment, STATE_TAG) is not None:
            return None
        return currentState(self.segmentationNode, self.segmentId)

    def _segment(self) -> slicer.vtkSegment | None:
        """None also while it holds no labelmap: amid the undo that brings it back, or stored as a
        surface."""
        segment = self._segmentation.GetSegment(self.segmentId)
        stored = segment is not None and segment.GetRepresentation(segments.LABELMAP) is not None
        return segment if stored else None

    def _changed(self) -> bool:
        before, self._known = self._known, self._signature()
        return before != self._known

    def _signature(self) -> tuple[object, ...]:
        segment = self._segment()
        if segment is None:
            return ()
        image = segment.GetRepresentation(segments.LABELMAP)
        return (
            image.__this__,
            image.GetMTime(),
            segment.GetLabelValue(),
            segments.tag(segment, STATE_TAG),
        )

    def _tell(self) -> None:
        if self._onChanged is not None:
            self._onChanged()


def _corrections(segmentationNode: slicer.vtkMRMLSegmentationNode, state: State) -> Corrections:
    toWorld = nodeToPlace(segmentationNode) @ state.ijkToLocal
    return Corrections(
        painted=state.user & state.seen,
        erased=state.user & ~state.seen,
        ijkToLocal=state.ijkToLocal,
        voxel_ml=float(abs(np.linalg.det(toWorld[:3, :3]))) / 1000,
    )


def showCorrections(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    shown: bool,
) -> slicer.vtkMRMLSegmentationNode | None:
    """Show what was painted and erased by hand as two colored segments, or hide it again.

    Call it again to bring what is shown up to date.

    Args:
        volumeNode: the segment belongs to it.

    Returns:
        The node that shows it, not saved with the scene and hidden from editors; None where nothing
        is shown.

    Raises:
        InputError: as :func:`corrections`.
    """
    helper = _helperNode(segmentationNode, segmentId)
    if not shown:
        if helper is not None:
            removeNode(helper)
        return None
    theirs = corrections(segmentationNode, segmentId)
    if helper is None:
        helper = _addHelper(segmentationNode, segmentId)
        helper.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    helper.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    shape = theirs.painted.shape
    box = VoxelBox(theirs.ijkToLocal, (0, 0, 0), (shape[0], shape[1], shape[2]))
    segments.fillSegment(helper, PAINTED, box.image(theirs.painted))
    segments.fillSegment(helper, ERASED, box.image(theirs.erased))
    return helper


def _helperNode(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str
) -> slicer.vtkMRMLSegmentationNode | None:
    scene = segmentationNode.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        if (
            node.GetNodeReferenceID(CORRECTIONS_ROLE) == segmentationNode.GetID()
            and node.GetAttribute(SEGMENT_ATTRIBUTE) == segmentId
        ):
            return node
    return None


def _addHelper(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str
) -> slicer.vtkMRMLSegmentationNode:
    import slicer

    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(f"{segmentationNode.GetName()} corrections")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetAttribute(SEGMENT_ATTRIBUTE, segmentId)
    node = segmentationNode.GetScene().AddNode(node)
    node.SetNodeReferenceID(CORRECTIONS_ROLE, segmentationNode.GetID())
    # A hidden node gets no item of its own, and Slicer complains of each segment of one that has
    # none.
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    if hierarchy.GetItemByDataNode(node) == hierarchy.GetInvalidItemID():
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    exclude = slicer.vtkMRMLSubjectHierarchyConstants
    node.SetAttribute(exclude.GetSubjectHierarchyExcludeFromTreeAttributeName(), "1")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    # The segment itself is to be seen beneath.
    display.SetOpacity2DFill(FILL_OPACITY)
    for name, color in ((PAINTED, PAINTED_COLOR), (ERASED, ERASED_COLOR)):
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*color)
        segment.AddRepresentation(segments.LABELMAP, segments.emptyLabelmap(np.eye(4)))
        node.GetSegmentation().AddSegment(segment, name)
    return node
