"""What earlier predictions left in the scene, found again, also after it was saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..inference.uncertainty import DoubtfulPlace
from ..models import Label
from . import segments
from .results import (
    AROUND_ROW,
    AT_STAKE_ROW,
    GRID_ATTRIBUTE,
    IN_ORGAN_ROW,
    INPUT_ROLE,
    NO_VOLUME,
    PLACE_ROW,
    RESULT_ATTRIBUTE,
    VOLUME_ROW,
)
from .volumes import ijkToRas

if TYPE_CHECKING:
    import slicer


@dataclass(frozen=True)
class ResultNodes:
    """The result nodes of a volume, each None or left out where it is not there.

    Args:
        attentionNodes: by level.
        focusRatios, attentionInOrgan, attentionAround: by level, from the table.
        uncertaintyNode: beside them.
        doubtfulPlaces: from the table, in the volume's own coordinates, the first one first; none
            where these are others since.
    """

    segmentationNode: slicer.vtkMRMLSegmentationNode | None
    segmentId: str | None
    tableNode: slicer.vtkMRMLTableNode | None
    probabilityNode: slicer.vtkMRMLScalarVolumeNode | None
    attentionNodes: dict[int, slicer.vtkMRMLScalarVolumeNode]
    focusRatios: dict[int, float]
    attentionInOrgan: dict[int, float] = field(default_factory=dict)
    attentionAround: dict[int, float] = field(default_factory=dict)
    uncertaintyNode: slicer.vtkMRMLScalarVolumeNode | None = None
    doubtfulPlaces: tuple[DoubtfulPlace, ...] = ()

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
    table, probability, uncertainty = None, None, None
    attention: dict[int, slicer.vtkMRMLScalarVolumeNode] = {}
    # Of several the first one, which a later prediction updates: the user may have cloned it.
    for node in reversed(predictionNodes(volumeNode)):
        organ, _, result = node.GetAttribute(RESULT_ATTRIBUTE).rpartition("/")
        if organ != label.name:
            continue
        kind, _, level = result.partition("-")
        if kind == "table":
            table = node
        elif kind == "probability":
            probability = node
        elif kind == "uncertainty":
            uncertainty = node
        elif kind == "attention" and level.isdigit():
            attention[int(level)] = node
    return ResultNodes(
        segmentationNode,
        segmentId,
        table,
        probability,
        dict(sorted(attention.items())),
        _byLevel(table, "Focus ratio"),
        _byLevel(table, IN_ORGAN_ROW),
        _byLevel(table, AROUND_ROW),
        uncertainty,
        _doubtfulPlaces(table) if _isOnGrid(table, volumeNode) else (),
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


def _rows(table: slicer.vtkMRMLTableNode | None) -> Iterator[tuple[str, str]]:
    if table is not None:
        for row in range(table.GetNumberOfRows()):
            yield table.GetCellText(row, 0), table.GetCellText(row, 1)


def _byLevel(table: slicer.vtkMRMLTableNode | None, quantity: str) -> dict[int, float]:
    values: dict[int, float] = {}
    for title, text in _rows(table):
        name, _, level = title.partition(", level ")
        if name == quantity and level.isdigit():
            try:
                values[int(level)] = float(text)
            except ValueError:  # the user may have edited the table
                continue
    return values


def _isOnGrid(
    table: slicer.vtkMRMLTableNode | None, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> bool:
    """Whether the volume's own coordinates are those of the table, or it does not say."""
    text = table.GetAttribute(GRID_ATTRIBUTE) if table is not None else None
    if not text:
        return True
    grid = np.fromstring(text, sep=" ")
    return grid.size == 16 and np.allclose(grid.reshape(4, 4), ijkToRas(volumeNode), atol=1e-3)


def _doubtfulPlaces(table: slicer.vtkMRMLTableNode | None) -> tuple[DoubtfulPlace, ...]:
    texts, places = dict(_rows(table)), []
    number = 1
    while (position := texts.get(f"{PLACE_ROW} {number}")) is not None:
        try:
            r, a, s = map(float, position.split())
            places.append(DoubtfulPlace((r, a, s), float(texts[f"{AT_STAKE_ROW} {number}"])))
        except (ValueError, KeyError):  # the user may have edited the table
            break
        number += 1
    return tuple(places)
