"""All that the networks know as a segmentation of its own: for orientation, never to correct."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import segments
from .files import writeNode
from .removal import removeNode
from .results import INPUT_ROLE, RESULT_ATTRIBUTE
from .volumes import ijkToRas

if TYPE_CHECKING:
    import slicer

    from ..inference.prediction import AllLabels


def writeAllLabels(
    found: AllLabels, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation beside the result, in the place of an earlier one of its kind unless the user
    took a segment of that to go on from.

    Its name says that it is not for diagnosis, and so does each segment's where it is coarse. It is
    shown as outlines. None of its segments counts as a result: they are not found, mended or
    exported as such.
    """
    scene = volumeNode.GetScene()
    kind = f"all-labels/{'coarse' if found.coarse else 'region'}"
    node = _earlier(scene, volumeNode, kind)
    if node is None:
        node = scene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", f"{volumeNode.GetName()} {found.title}"
        )
        node.SetAttribute(RESULT_ATTRIBUTE, kind)
        node.SetNodeReferenceID(INPUT_ROLE, volumeNode.GetID())
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility2DFill(False)
    node.GetSegmentation().RemoveAllSegments()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    for label in found.names:
        mask = found.labels == label.value
        _addSegment(node, found, label.name, mask, ijkToRas(volumeNode), label.color)
    return node


def saveAllLabels(found: AllLabels, volumeNode: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write it as a ``.seg.nrrd`` file; the scene keeps nothing of it.

    Raises:
        OutputError: it cannot be written.
    """
    node = writeAllLabels(found, volumeNode)
    storage = node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    try:
        writeNode(storage, node, path)
    finally:
        removeNode(storage)
        removeNode(node)


def allLabelsFile(found: AllLabels) -> str:
    """The name of its file, which says what it is not for."""
    return f"not-for-diagnosis-{'coarse' if found.coarse else 'region'}.seg.nrrd"


ALL_LABELS_FILES = ("not-for-diagnosis-region.seg.nrrd", "not-for-diagnosis-coarse.seg.nrrd")
"""All names that :func:`allLabelsFile` gives."""


def _earlier(scene: Any, volumeNode: Any, kind: str) -> Any | None:
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        if (
            node.GetAttribute(RESULT_ATTRIBUTE) == kind
            and node.GetNodeReferenceID(INPUT_ROLE) == volumeNode.GetID()
            and not any(map(segments.isOurs, _segmentsOf(node)))  # the user had clicks mend it
        ):
            return node
    return None


def _segmentsOf(node: Any) -> list[Any]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(one) for one in segmentation.GetSegmentIDs()]


def _addSegment(
    node: Any,
    found: AllLabels,
    name: str,
    mask: Any,
    grid: Any,
    color: tuple[int, int, int] | None,
) -> None:
    import slicer

    segment = slicer.vtkSegment()
    title = segments.asTitle(name)
    segment.SetName(f"{title} (coarse)" if found.coarse else title)
    if color is not None:
        segment.SetColor(*(part / 255 for part in color))
    image = segments.orientedImage(segments.cropMask(mask), grid)
    segment.AddRepresentation(segments.LABELMAP, image)
    segmentation = node.GetSegmentation()
    segmentId = segments.NO_PART_OF_AN_ID.sub("_", name)
    segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(segmentId))
