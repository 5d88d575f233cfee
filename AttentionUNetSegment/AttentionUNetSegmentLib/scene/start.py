"""A segment to begin from, whoever made it: the mask that clicks mend from now on.

It is kept in the segment's state (:mod:`.corrections`), so that undo, redo, scenes and files bring
it back with voxels, corrections and clicks. Looking at the whole scan anew forgets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from . import segments
from .corrections import STATE_TAG, State, currentState, noteState, readClicks, storedState
from .editing import requireWritable
from .labelmaps import VoxelBox, Voxels, segmentVoxels
from .volumes import volumeFromNode

if TYPE_CHECKING:
    import slicer


def beginFrom(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    saveState: Callable[[], None] | None = None,
) -> None:
    """Let clicks mend what is in a segment now. Its clicks and corrections up to now are taken for
    a part of it; no voxel changes.

    Args:
        saveState: called before anything changes, for an undo step; not where nothing changes.

    Raises:
        InputError: as :func:`requireStart`; nothing has changed.
    """
    requireStart(segmentationNode, segmentId, volumeNode)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    voxels = segmentVoxels(segment)
    nobodys = np.zeros_like(voxels.array)
    state = State(voxels.array, nobodys, voxels.ijkToLocal, start=voxels.array)
    if segments.tag(segment, STATE_TAG) == state.encoded():
        return
    if saveState is not None:
        saveState()
    noteState(segmentationNode, segmentId, state)


def requireStart(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Raises:
    InputError: the segment is gone, completed, empty, outside of the scan or no labelmap, or it is
        under another transform than the scan, one of them not linear; or the scan has no image.
    """
    requireWritable(segmentationNode, segmentId)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    voxels = segmentVoxels(segment)
    if not voxels.array.size:
        raise InputError(
            f"The segment '{segment.GetName()}' is empty, so there is nothing to begin from."
        )
    if not _onScan(voxels, segmentationNode, volumeNode).any():
        raise InputError(
            f"The segment '{segment.GetName()}' lies outside of the scan "
            f"'{volumeNode.GetName()}', so there is nothing to begin from; choose the scan that it "
            "was drawn on."
        )


def startOnScan(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> np.ndarray | None:
    """The mask that the segment began from, on the scan's grid (from another one the nearest
    voxels): uint8 (k, j, i). None where it began from none.

    Raises:
        InputError: the state cannot be read, or the mask lies outside of the scan.
    """
    if not beginsFromMask(segmentationNode, segmentId):
        return None
    state = currentState(segmentationNode, segmentId)
    assert state.start is not None
    mask = _onScan(Voxels(state.start, state.ijkToLocal), segmentationNode, volumeNode)
    if not mask.any():
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        raise InputError(
            f"What the segment '{name}' began from lies outside of the scan "
            f"'{volumeNode.GetName()}'; choose the scan that it was drawn on."
        )
    return mask


def beginsFromMask(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str | None) -> bool:
    """Whether clicks on a segment mend a mask that the user had them begin from."""
    if segmentationNode.GetSegmentation().GetSegment(segmentId or "") is None:
        return False
    try:
        state = storedState(segmentationNode, segmentId or "")
    except InputError:
        return False
    return state is not None and state.start is not None


def isUnbegun(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
    """Whether a segment holds nothing from clicks, nor a mask that clicks mend."""
    clicks = readClicks(segmentationNode, segmentId)
    return not clicks and not beginsFromMask(segmentationNode, segmentId)


def _onScan(
    voxels: Voxels,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> np.ndarray:
    grid = segments.ijkToSegmentation(volumeNode, segmentationNode)
    size_ijk = np.array(volumeFromNode(volumeNode).shape_ijk)
    low, high = voxels.boundsOn(grid)
    box = VoxelBox.around(grid, [np.array([np.maximum(low, 0), np.minimum(high, size_ijk)])])
    k, j, i = size_ijk[::-1].tolist()
    mask = np.zeros((k, j, i), np.uint8)
    part = tuple(
        slice(start, start + length)
        for start, length in zip(reversed(box.start_ijk), box.shape, strict=True)
    )
    mask[part] = box.read(voxels)
    return mask
