"""The segment that belongs to a volume: found again, made, and filled, and no other touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError
from ..geometry.grid import bounding_region
from ..inference.structures import structure_label
from ..models import Label, Terminology
from ..models.terminology import PANCREAS as PANCREAS
from .volumes import ijkToRas, nodeToWorld, toVtkMatrix

if TYPE_CHECKING:
    import slicer

TARGET_TAG = "AttentionUNetSegment.Target"
"""Segment tag that marks a segment as ours; its value is the label's name. Saved with it."""

STRUCTURE_TAG = "AttentionUNetSegment.Structure"
"""Segment tag that marks a segment as one of any structure: it is what its name says, and none of a
model's targets, whatever it is called. The value is its name when it became one, by which it was
looked for where a model knows that."""

INPUT_ROLE_PREFIX = "AttentionUNetSegment.Input."
"""Node reference role, from a segmentation to the volume that one of its segments (the rest of
the role, see :func:`_inputRole`) was predicted on. A segmentation may so hold our segments of
several volumes."""

MOST_NAME = 100
"""Characters of a structure's name."""

NO_PART_OF_AN_ID = re.compile(r"[^\w ,.()-]")
"""Characters of a name that its segment's ID does without."""

LABELMAP = "Binary labelmap"

TERMINOLOGY_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
"""Lists of Slicer that a segment's code is from."""


class Crop(NamedTuple):
    """The part of a mask that is not zero.

    Args:
        array: uint8 (k, j, i), 0 and 1.
        start_ijk: index of its first voxel in the whole mask.
    """

    array: np.ndarray
    start_ijk: tuple[int, int, int]


def cropMask(mask: np.ndarray) -> Crop:
    """The smallest box of a mask (k, j, i) that holds all of it; of an empty mask a few zeros."""
    region = bounding_region(mask)
    if region is None:
        # Two voxels along each axis: the converter to a surface fails on a single one.
        return Crop(np.zeros((2, 2, 2), np.uint8), (0, 0, 0))
    k, j, i = (part.start for part in region)
    return Crop((mask[region] != 0).astype(np.uint8), (i, j, k))


def orientedImage(crop: Crop, ijkToLocal: np.ndarray) -> slicer.vtkOrientedImageData:
    """A labelmap of the crop; ``ijkToLocal`` (4x4) places the whole mask."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    extent: list[int] = []
    for start, size in zip(crop.start_ijk, reversed(crop.array.shape), strict=True):
        extent += [start, start + size - 1]
    image.SetExtent(extent)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = crop.array.ravel()
    image.SetImageToWorldMatrix(toVtkMatrix(ijkToLocal))
    return image


def emptyLabelmap(ijkToLocal: np.ndarray) -> slicer.vtkOrientedImageData:
    """Zeros on a grid."""
    return orientedImage(cropMask(np.zeros((1, 1, 1))), ijkToLocal)


def ijkToSegmentation(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
) -> np.ndarray:
    """4x4, from the volume's voxel indices to the segmentation's own coordinates.

    Raises:
        InputError: they are under different transforms, one of which is not linear.
    """
    if segmentationNode.GetTransformNodeID() == volumeNode.GetTransformNodeID():
        return ijkToRas(volumeNode)
    toWorld = nodeToWorld(volumeNode) @ ijkToRas(volumeNode)
    return np.linalg.inv(nodeToWorld(segmentationNode)) @ toWorld


def requireLabelmaps(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Raises:
    InputError: the segments are stored as something else than binary label maps. Changing that
        would change the other segments too.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != (
        LABELMAP
    ):
        raise InputError(
            f"The segmentation '{segmentationNode.GetName()}' is stored as "
            f"'{segmentation.GetSourceRepresentationName()}'; make 'Binary labelmap' its source "
            "representation in the Segmentations module, or choose another segmentation."
        )


def requireSegment(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Raises:
    InputError: the segmentation has no such segment.
    """
    if segmentationNode.GetSegmentation().GetSegment(segmentId) is None:
        raise InputError(
            f"The segment was removed from the segmentation '{segmentationNode.GetName()}' "
            "meanwhile; nothing was changed. Segment again."
        )


def requireNotCompleted(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Raises:
    InputError: the user has marked the segment as completed.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if isCompleted(segment):
        raise InputError(
            f"The segment '{segment.GetName()}' is marked as completed, so nothing was changed; "
            "set its status to 'In progress' in the Segment Editor to have it segmented again."
        )


def isCompleted(segment: slicer.vtkSegment) -> bool:
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return logic.GetSegmentStatus(segment) == logic.Completed


def findSegmentation(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, label: Label
) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation in the volume's scene that an earlier prediction on it was written to.

    One that still has the segment is preferred to one whose segment was deleted.
    """
    scene = volumeNode.GetScene()
    found = None
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        if volumeNode.GetID() not in _inputs(node).values():
            continue
        if findSegment(node, volumeNode, label) is not None:
            return node
        found = found or node
    return found


def findSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    label: Label,
) -> str | None:
    """ID of our segment for this volume, or None.

    Known by its tag, never by its name. Where no reference says which volume it belongs to (it
    was loaded from a file by itself), it is taken for this one's.
    """
    segmentation = segmentationNode.GetSegmentation()
    inputs = _inputs(segmentationNode)
    ours = [
        segmentId
        for segmentId in segmentation.GetSegmentIDs()
        if tag(segmentation.GetSegment(segmentId), TARGET_TAG) == label.name
    ]
    for segmentId in ours:
        if inputs.get(segmentId) == volumeNode.GetID():
            return segmentId
    return next((segmentId for segmentId in ours if segmentId not in inputs), None)


def isOfAnother(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> bool:
    """Whether a segment belongs to another volume than this one."""
    return _inputs(segmentationNode).get(segmentId, volumeNode.GetID()) != volumeNode.GetID()


def isOurs(segment: slicer.vtkSegment) -> bool:
    """Whether clicks or an automatic look made a segment, or the user had clicks mend it."""
    return any(tag(segment, name) is not None for name in (TARGET_TAG, STRUCTURE_TAG))


def isStructure(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str | None) -> bool:
    """Whether the clicks in a segment are about any structure."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId or "")
    return segment is not None and tag(segment, STRUCTURE_TAG) is not None


def structureName(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str:
    """What a segment of any structure was named when it became one."""
    return tag(segmentationNode.GetSegmentation().GetSegment(segmentId), STRUCTURE_TAG) or ""


def structureLabel(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Label:
    """What a segment of any structure shows, by the name that it has now."""
    name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName().strip()
    return structure_label((name or segmentId)[:MOST_NAME])


def findStructures(
    segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> list[str]:
    """IDs of the segments of any structure that belong to a volume, in their order. Known as
    :func:`findSegment` knows ours."""
    inputs = _inputs(segmentationNode)
    return [
        segmentId
        for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs()
        if isStructure(segmentationNode, segmentId)
        and inputs.get(segmentId, volumeNode.GetID()) == volumeNode.GetID()
    ]


def addStructure(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    name: str,
    saveState: Callable[[], None] = lambda: None,
) -> str:
    """Add an empty segment of any structure on a volume; a number follows a name that is taken.

    Args:
        saveState: called when nothing stands in the way any more, before anything changes.

    Returns:
        Its ID.

    Raises:
        InputError: it is no name, or the segmentation cannot take a segment on the volume.
    """
    label = structure_label(name)
    requireLabelmaps(segmentationNode)
    grid = ijkToSegmentation(volumeNode, segmentationNode)
    segmentation = segmentationNode.GetSegmentation()
    taken = {segmentation.GetSegment(one).GetName() for one in segmentation.GetSegmentIDs()}
    saveState()
    segmentId = addSegment(segmentationNode, label, grid, STRUCTURE_TAG)
    segment, number = segmentation.GetSegment(segmentId), 2
    while segment.GetName() in taken:
        segment.SetName(f"{asTitle(label.name)} {number}")
        number += 1
    linkSegment(segmentationNode, segmentId, volumeNode)
    return segmentId


def claimStructure(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Make a segment, whoever made it, one of any structure on this volume."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    segment.RemoveTag(TARGET_TAG)
    segment.SetTag(STRUCTURE_TAG, _asTagValue(segment.GetName()))
    linkSegment(segmentationNode, segmentId, volumeNode)


def hasOtherSegments(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str | None
) -> bool:
    return any(other != segmentId for other in segmentationNode.GetSegmentation().GetSegmentIDs())


def addSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    label: Label,
    ijkToLocal: np.ndarray,
    tagName: str = TARGET_TAG,
) -> str:
    """Add an empty segment on a layer of its own; name, colour and terminology from the label.

    Args:
        ijkToLocal: 4x4, the grid that it will be drawn on, in the segmentation's coordinates.
        tagName: the tag that marks it as ours; its value is the label's name.

    Returns:
        Its ID.
    """
    import slicer

    segment = slicer.vtkSegment()
    segment.SetName(asTitle(label.name))
    value = label.name if tagName == TARGET_TAG else _asTagValue(label.name)
    segment.SetTag(tagName, value)
    if label.color is not None:
        segment.SetColor(*(part / 255 for part in label.color))
    if label.terminology is not None:
        segment.SetTag(
            slicer.vtkSegment.GetTerminologyEntryTagName(), serialized(label.terminology)
        )
    # An own labelmap: an empty segment without one would join the labelmap of another segment.
    segment.AddRepresentation(LABELMAP, emptyLabelmap(ijkToLocal))
    segmentation = segmentationNode.GetSegmentation()
    segmentId = segmentation.GenerateUniqueSegmentID(idOfLabel(label))
    segmentation.AddSegment(segment, segmentId)
    return segmentId


def idOfLabel(label: Label) -> str:
    """Of the first segment of a label in a segmentation. Slicer saves a scene that it cannot read
    again where an ID has an ampersand."""
    return f"AttentionUNetSegment_{NO_PART_OF_AN_ID.sub('_', label.name)}"


def _asTagValue(name: str) -> str:
    """A structure's name in its tag. Slicer writes tags with bars between them, and what is behind
    a bar in a value is lost."""
    return name.replace("|", "/")


def asTitle(name: str) -> str:
    """A label's name as a segment's: with a capital."""
    return name[:1].upper() + name[1:]


def fillSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    labelmap: slicer.vtkOrientedImageData,
) -> None:
    """Replace the segment's voxels by a labelmap of 0 and 1, and update what is shown of it.

    Other segments keep their voxels, also where they overlap or share a labelmap with this one.
    A surface is computed only where the segmentation has surfaces already, and of this segment.
    """
    import slicer

    segmentation = segmentationNode.GetSegmentation()
    # Writing into a labelmap on another grid would resample the segments that share it. (Asked in
    # this way because IsSharedBinaryLabelmap says False for labelmaps that are shared.)
    sharing: list[str] = []
    segmentation.GetSegmentIDsSharingBinaryLabelmapRepresentation(segmentId, sharing, False)
    if sharing:
        segmentation.SeparateSegmentLabelmap(segmentId)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.SetBinaryLabelmapToSegment(
        labelmap, segmentationNode, segmentId, logic.MODE_REPLACE
    ):
        raise RuntimeError(f"Slicer could not update the segment {segmentId}")


def linkSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Remember which volume the segment belongs to; references to deleted segments are dropped."""
    segmentation = segmentationNode.GetSegmentation()
    for other in _inputs(segmentationNode):
        if segmentation.GetSegment(other) is None:
            segmentationNode.RemoveNodeReferenceIDs(_inputRole(other))
    role = _inputRole(segmentId)
    if segmentationNode.GetNodeReferenceID(role) != volumeNode.GetID():
        segmentationNode.SetNodeReferenceID(role, volumeNode.GetID())


def claimSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    label: Label,
) -> None:
    """Make a segment ours of this volume, whoever made it, in the place of the one that was."""
    segmentation = segmentationNode.GetSegmentation()
    inputs = _inputs(segmentationNode)
    for other in segmentation.GetSegmentIDs():
        its = segmentation.GetSegment(other)
        ours = inputs.get(other, volumeNode.GetID()) == volumeNode.GetID()
        if other != segmentId and ours and tag(its, TARGET_TAG) == label.name:
            its.RemoveTag(TARGET_TAG)
            segmentationNode.RemoveNodeReferenceIDs(_inputRole(other))
    segment = segmentation.GetSegment(segmentId)
    if tag(segment, TARGET_TAG) != label.name:
        segment.SetTag(TARGET_TAG, label.name)
    segment.RemoveTag(STRUCTURE_TAG)
    linkSegment(segmentationNode, segmentId, volumeNode)


def serialized(terminology: Terminology) -> str:
    """The terminology as Slicer keeps it in a segment's tag."""
    import slicer

    def part(code: tuple[str, str, str]) -> tuple[str, str, str]:
        scheme, value, meaning = code
        return value, scheme, meaning

    none = ("", "", "")
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        TERMINOLOGY_CONTEXT,
        *part(terminology.category),
        *part(terminology.type),
        *none,  # type modifier
        REGION_CONTEXT,
        *none,  # region
        *none,  # region modifier
    )


def _inputRole(segmentId: str) -> str:
    """The role of a segment's volume. Slicer writes roles into a scene as they are: a scene with a
    quote in one cannot be read again, and behind a colon the references of the node are lost."""
    quoted = re.sub(r"[%:;&<>\"'\x00-\x1f]", lambda found: f"%{ord(found[0]):02X}", segmentId)
    return INPUT_ROLE_PREFIX + quoted


def _segmentOfRole(role: str) -> str:
    """The ID of the segment whose volume's role it is."""
    quoted = role.removeprefix(INPUT_ROLE_PREFIX)
    return re.sub(r"%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), quoted)


def _inputs(segmentationNode: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """IDs of our segments and of the volumes that they belong to."""
    roles: list[str] = []
    segmentationNode.GetNodeReferenceRoles(roles)
    return {
        _segmentOfRole(role): segmentationNode.GetNodeReferenceID(role)
        for role in roles
        if role.startswith(INPUT_ROLE_PREFIX) and segmentationNode.GetNodeReferenceID(role)
    }


def tag(segment: slicer.vtkSegment, name: str) -> str | None:
    import vtk

    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else None
