"""What earlier predictions left in the scene, found again, also after it was saved and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models import Label
from . import segments
from .results import INPUT_ROLE, NO_VOLUME, RESULT_ATTRIBUTE, VOLUME_ROW

if TYPE_CHECKING:
    import slicer


@dataclass(frozen=True)
class ResultNodes:
    """The result nodes of a volume, each None or left out where it is not there.

    Args:
        attentionNodes: by level.
        focusRatios: by level, from the table.
    """

    segmentationNode: slicer.vtkMRMLSegmentationNode | None
    segmentId: str | None
    tableNode: slicer.vtkMRMLTableNode | None
    probabilityNode: slicer.vtkMRMLScalarVolumeNode | None
    attentionNodes: dict[int, slicer.vtkMRMLScalarVolumeNode]
    focusRatios: dict[int, float]

    @property
    def isEmpty(self) -> bool:
        """The last prediction was empty."""
        table = self.tableNode
        return (
            table is not None
            and table.GetCellText(0, 0) == VOLUME_ROW
            and table.GetCellText(0, 1) == NO_VOLUME
        )


def findResult(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    label: Label,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
) -> ResultNodes:
    """The result nodes of one organ that belong to a volume.

    Args:
        label: the organ.
        segmentationNode: looked for unless given.
    """
    segmentationNode = segmentationNode or segments.findSegmentation(volumeNode, label)
    segmentId = None
    if segmentationNode is not None:
        segmentId = segments.findSegment(segmentationNode, volumeNode, label)
    table, probability = None, None
    attention: dict[int, slicer.vtkMRMLScalarVolumeNode] = {}
    for node in predictionNodes(volumeNode):
        organ, _, result = node.GetAttribute(RESULT_ATTRIBUTE).rpartition("/")
        if organ != label.name:
            continue
        kind, _, level = result.partition("-")
        if kind == "table":
            table = node
        elif kind == "probability":
            probability = node
        elif kind == "attention" and level.isdigit():
            attention[int(level)] = node
    return ResultNodes(
        segmentationNode,
        segmentId,
        table,
        probability,
        dict(sorted(attention.items())),
        _focusRatios(table),
    )


def predictionNodes(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLNode]:
    """The table and the volumes that a prediction on this volume made."""
    scene = volumeNode.GetScene()
    nodes = []
    for className in ("vtkMRMLScalarVolumeNode", "vtkMRMLTableNode"):
        for index in range(scene.GetNumberOfNodesByClass(className)):
            node = scene.GetNthNodeByClass(index, className)
            if isResult(node) and node.GetNodeReferenceID(INPUT_ROLE) == volumeNode.GetID():
                nodes.append(node)
    return nodes


def isResult(node: slicer.vtkMRMLNode) -> bool:
    """Whether a prediction made this node: it is not to be segmented itself."""
    return node.GetAttribute(RESULT_ATTRIBUTE) is not None


def _focusRatios(table: slicer.vtkMRMLTableNode | None) -> dict[int, float]:
    ratios: dict[int, float] = {}
    if table is None:
        return ratios
    for row in range(table.GetNumberOfRows()):
        name, _, level = table.GetCellText(row, 0).partition(", level ")
        if name == "Focus ratio" and level.isdigit():
            try:
                ratios[int(level)] = float(table.GetCellText(row, 1))
            except ValueError:  # the user may have edited the table
                continue
    return ratios
