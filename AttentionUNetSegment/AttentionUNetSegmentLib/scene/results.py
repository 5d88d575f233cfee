"""A prediction in the scene: segmentation, probability, attention and table nodes.

Every result node refers to the volume that it was computed from, so that a later prediction on
that volume updates the same nodes, also after the scene was saved and loaded. The volume node
itself is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..inference.clicks import Click
from ..inference.progress import CancelToken, ProgressCallback
from ..models import Label
from . import segments
from .headless import insideSlicer
from .volumes import ijkToRas, imageFromArray, setIjkToRas, volumeFromNode

if TYPE_CHECKING:
    import slicer
    import vtk

    from ..inference.predictor import Prediction, Predictor

INPUT_ROLE = "AttentionUNetSegment.Input"
"""Node reference role, from a result node to the volume that it was computed from."""

RESULT_ATTRIBUTE = "AttentionUNetSegment.Result"
"""Node attribute that says which result the node holds, for example ``pancreas/attention-1``."""

# Built into Slicer and slicer-core alike; dark where low, so that the CT leads the eye.
PROBABILITY_COLORS = "vtkMRMLPETProceduralColorNodePET-HotMetalBlue"
ATTENTION_COLORS = "vtkMRMLPETProceduralColorNodePET-Heat"
LOWER_THRESHOLD = 0.1
"""Lower values are shown transparent, so that the CT below stays readable."""


@dataclass(frozen=True)
class SceneResult:
    """The nodes that hold a prediction.

    Args:
        prediction: what was written.
        volumeNode: the input.
        segmentationNode: holds the segment, perhaps among others.
        segmentId: our segment's ID in it.
        tableNode: volume in mL, focus ratios, model and device.
        probabilityNode: 0 to 1, on the input's grid; None where volumes were not asked for.
        attentionNodes: likewise, level 1 (shallow) first; empty where not asked for.
    """

    prediction: Prediction
    volumeNode: slicer.vtkMRMLScalarVolumeNode
    segmentationNode: slicer.vtkMRMLSegmentationNode
    segmentId: str
    tableNode: slicer.vtkMRMLTableNode
    probabilityNode: slicer.vtkMRMLScalarVolumeNode | None
    attentionNodes: tuple[slicer.vtkMRMLScalarVolumeNode, ...]


def segmentVolumeNode(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    predictor: Predictor,
    clicks: Sequence[Click] = (),
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    *,
    withVolumes: bool = True,
) -> SceneResult:
    """Predict on a volume node and write the result into its scene.

    The arguments are those of :meth:`Predictor.predict` and :func:`writePrediction`. Blocks until
    it is done: the panel runs the three steps itself, the middle one in its worker thread.

    Raises:
        AttentionUNetSegmentError: as the steps do; the scene is then as it was.
    """
    volume = volumeFromNode(volumeNode)
    prediction = predictor.predict(volume, clicks, progress=progress, cancel=cancel)
    return writePrediction(
        prediction,
        volumeNode,
        segmentationNode,
        label=predictor.model.card.target_label,
        withVolumes=withVolumes,
    )


def writePrediction(
    prediction: Prediction,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    *,
    label: Label = segments.PANCREAS,
    withVolumes: bool = True,
) -> SceneResult:
    """Write a prediction into the volume's scene, into the nodes of the last one on this volume.

    Only the main thread may call it. What can fail is done first; if writing fails all the same,
    what was written is taken back. Other segments, and what the user changed in how our nodes are
    named, coloured and shown, stay as they are.

    Args:
        prediction: on this volume.
        volumeNode: the input; new nodes lie under its parent transform, beside it in the subject
            hierarchy.
        segmentationNode: where the segment goes; the last one used for this volume, or a new one,
            unless given.
        label: name, colour and terminology of a new segment.
        withVolumes: make or update the probability and attention volumes too (float32 each, on
            the input's grid). They share the memory of the prediction's arrays.

    Raises:
        InputError: the volume or the segmentation cannot take the prediction.
    """
    scene = volumeNode.GetScene()
    image = volumeNode.GetImageData()
    shape = tuple(reversed(image.GetDimensions())) if scene is not None and image else None
    if shape != prediction.mask.shape:
        raise InputError(
            f"The volume '{volumeNode.GetName()}' was removed or changed while it was being "
            "segmented; segment it again."
        )
    segmentationNode = segmentationNode or segments.findSegmentation(volumeNode, label)
    if segmentationNode is not None:
        segments.requireLabelmaps(segmentationNode)
        segments.ijkToSegmentation(volumeNode, segmentationNode)
    crop = segments.cropMask(prediction.mask)
    table = _table(prediction)
    arrays = list(_arrays(prediction, shape)) if withVolumes else []

    with _viewsPaused(), ExitStack() as undo:
        writer = _Writer(volumeNode, label, undo)
        volumeNodes = [
            writer.writeVolume(
                f"attention-{level}" if level else "probability",
                f"attention level {level}" if level else "probability",
                ATTENTION_COLORS if level else PROBABILITY_COLORS,
                array,
            )
            for level, array in enumerate(arrays)
        ]
        tableNode = writer.writeTable(table)
        segmentationNode, segmentId = writer.writeSegment(segmentationNode, crop)
        undo.pop_all()
    if withVolumes:
        writer.removeVolumesFrom(prediction.levels + 1)
    return SceneResult(
        prediction=prediction,
        volumeNode=volumeNode,
        segmentationNode=segmentationNode,
        segmentId=segmentId,
        tableNode=tableNode,
        probabilityNode=volumeNodes[0] if volumeNodes else None,
        attentionNodes=tuple(volumeNodes[1:]),
    )


class _Writer:
    """Finds or makes the result nodes of one volume, and notes how to take each change back."""

    def __init__(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, label: Label, undo: ExitStack
    ) -> None:
        self.volumeNode = volumeNode
        self.scene = volumeNode.GetScene()
        self.label = label
        self.undo = undo

    def writeVolume(
        self, result: str, title: str, colors: str, array: np.ndarray
    ) -> slicer.vtkMRMLScalarVolumeNode:
        node = self._find("vtkMRMLScalarVolumeNode", result)
        if node is None:
            node = self._add("vtkMRMLScalarVolumeNode", title, result)
        else:
            self.undo.callback(node.SetAndObserveImageData, node.GetImageData())
            self.undo.callback(setIjkToRas, node, ijkToRas(node))
            self._followTransform(node)
        with _modifying(node):
            # Before the image: a display node on automatic would compute its histogram first.
            if node.GetDisplayNode() is None:
                node.SetAndObserveDisplayNodeID(self._addDisplay(colors).GetID())
            setIjkToRas(node, ijkToRas(self.volumeNode))
            node.SetAndObserveImageData(imageFromArray(array))
        return node

    def writeTable(self, table: vtk.vtkTable) -> slicer.vtkMRMLTableNode:
        node = self._find("vtkMRMLTableNode", "table")
        if node is None:
            node = self._add("vtkMRMLTableNode", "results", "table")
            node.SetUseColumnTitleAsColumnHeader(True)
            for column in range(table.GetNumberOfColumns()):
                node.SetColumnTitle(table.GetColumnName(column), table.GetColumnName(column))
            node.SetLocked(True)
        else:
            self.undo.callback(node.SetAndObserveTable, node.GetTable())
        node.SetAndObserveTable(table)
        return node

    def writeSegment(
        self, node: slicer.vtkMRMLSegmentationNode | None, crop: segments.Crop
    ) -> tuple[slicer.vtkMRMLSegmentationNode, str]:
        segmentId = None
        if node is None:
            node = self._add("vtkMRMLSegmentationNode", "segmentation")
        else:
            segmentId = segments.findSegment(node, self.volumeNode, self.label)
        with _modifying(node):
            self._adoptGeometry(node, segmentId)
            if segmentId is None:
                segmentId = segments.addSegment(node, self.label)
                self.undo.callback(node.GetSegmentation().RemoveSegment, segmentId)
            matrix = segments.ijkToSegmentation(self.volumeNode, node)
            segments.fillSegment(node, segmentId, segments.orientedImage(crop, matrix))
            segments.linkSegment(node, segmentId, self.volumeNode)
        return node, segmentId

    def removeVolumesFrom(self, level: int) -> None:
        """Remove attention volumes that an earlier model with more levels left."""
        while node := self._find("vtkMRMLScalarVolumeNode", f"attention-{level}"):
            self._remove(node)
            level += 1

    def _adoptGeometry(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str | None) -> None:
        """Give the segmentation the input's transform and grid, unless other segments use it."""
        if segments.hasOtherSegments(node, segmentId):
            return
        sameTransform = node.GetTransformNodeID() == self.volumeNode.GetTransformNodeID()
        if segmentId is not None and sameTransform:
            return
        if node.GetDisplayNode() is None:  # making one gives every segment a new colour
            node.CreateDefaultDisplayNodes()
            self.undo.callback(self._removeDisplay, node)
        segmentation = node.GetSegmentation()
        role, parameter = node.GetReferenceImageGeometryReferenceRole(), "Reference image geometry"
        self.undo.callback(node.SetNodeReferenceID, role, node.GetNodeReferenceID(role))
        self.undo.callback(
            segmentation.SetConversionParameter,
            parameter,
            segmentation.GetConversionParameter(parameter),
        )
        self._followTransform(node)
        segmentation.SetSourceRepresentationName(segments.LABELMAP)
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode)

    def _find(self, className: str, result: str) -> Any | None:
        wanted = f"{self.label.name}/{result}"
        for index in range(self.scene.GetNumberOfNodesByClass(className)):
            node = self.scene.GetNthNodeByClass(index, className)
            if (
                node.GetAttribute(RESULT_ATTRIBUTE) == wanted
                and node.GetNodeReferenceID(INPUT_ROLE) == self.volumeNode.GetID()
            ):
                return node
        return None

    def _add(self, className: str, title: str, result: str | None = None) -> Any:
        name = f"{self.volumeNode.GetName()} {self.label.name} {title}"
        node = self.scene.AddNewNodeByClass(className, name)
        self.undo.callback(self._remove, node)
        if result is not None:
            node.SetAttribute(RESULT_ATTRIBUTE, f"{self.label.name}/{result}")
            node.SetNodeReferenceID(INPUT_ROLE, self.volumeNode.GetID())
        if node.IsA("vtkMRMLTransformableNode"):
            node.SetAndObserveTransformNodeID(self.volumeNode.GetTransformNodeID())
        self._placeBesideInput(node)
        return node

    def _addDisplay(self, colors: str) -> slicer.vtkMRMLScalarVolumeDisplayNode:
        display = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        self.undo.callback(self.scene.RemoveNode, display)
        display.SetAndObserveColorNodeID(colors)
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 1)
        display.SetAutoThreshold(False)
        display.SetThreshold(LOWER_THRESHOLD, 1)
        display.SetApplyThreshold(True)
        return display

    def _followTransform(self, node: slicer.vtkMRMLTransformableNode) -> None:
        wanted, current = self.volumeNode.GetTransformNodeID(), node.GetTransformNodeID()
        if wanted != current:
            self.undo.callback(node.SetAndObserveTransformNodeID, current)
            node.SetAndObserveTransformNodeID(wanted)

    def _placeBesideInput(self, node: slicer.vtkMRMLNode) -> None:
        hierarchy = self.scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(self.volumeNode)
        if item == hierarchy.GetInvalidItemID():
            return
        parent, own = hierarchy.GetItemParent(item), hierarchy.GetItemByDataNode(node)
        if own == hierarchy.GetInvalidItemID():
            hierarchy.CreateItem(parent, node)
        else:
            hierarchy.SetItemParent(own, parent)

    def _removeDisplay(self, node: slicer.vtkMRMLDisplayableNode) -> None:
        if node.GetDisplayNode() is not None:
            self.scene.RemoveNode(node.GetDisplayNode())

    def _remove(self, node: slicer.vtkMRMLNode) -> None:
        hierarchy = self.scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node)
        if item != hierarchy.GetInvalidItemID():
            hierarchy.RemoveItem(item, False, False)
        for role in ("display", "storage"):
            for index in reversed(range(node.GetNumberOfNodeReferences(role))):
                belonging = node.GetNthNodeReference(role, index)
                if belonging is not None:
                    self.scene.RemoveNode(belonging)
        self.scene.RemoveNode(node)


def _arrays(prediction: Prediction, shape: tuple[int, ...] | None) -> Iterator[np.ndarray]:
    """Probability, then attention from level 1; float32 (k, j, i), contiguous."""
    for level in range(prediction.levels + 1):
        array = prediction.attention(level) if level else prediction.probability()
        if array.shape != shape:
            raise ValueError(f"expected an array of shape {shape}, got {array.shape}")
        yield np.ascontiguousarray(array, dtype=np.float32)


def _table(prediction: Prediction) -> vtk.vtkTable:
    import vtk

    rows = [("Volume", f"{prediction.volume_ml:.2f}", "mL")]
    rows += [
        (f"Focus ratio, level {level}", f"{ratio:.4f}", "")
        for level, ratio in enumerate(prediction.focus_ratios, start=1)
    ]
    rows += [
        ("Model", f"{prediction.model_name} {prediction.model_version}", ""),
        ("Device", prediction.device, ""),
    ]
    rows += [("Note", warning, "") for warning in prediction.warnings]
    table = vtk.vtkTable()
    for title, cells in zip(("Quantity", "Value", "Unit"), zip(*rows, strict=True), strict=True):
        column = vtk.vtkStringArray()
        column.SetName(title)
        for cell in cells:
            column.InsertNextValue(cell)
        table.AddColumn(column)
    return table


def _viewsPaused() -> AbstractContextManager[None]:
    """Views are drawn once, at the end."""
    if not insideSlicer():
        return nullcontext()
    import slicer

    return slicer.util.RenderBlocker()


def _modifying(node: slicer.vtkMRMLNode) -> AbstractContextManager[None]:
    """The node's observers hear of all changes at once, at the end."""
    import slicer.util

    return slicer.util.NodeModify(node)
