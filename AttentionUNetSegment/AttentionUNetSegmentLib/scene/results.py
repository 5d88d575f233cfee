"""A prediction in the scene: segmentation, probability, attention and table nodes.

Every result node refers to the volume that it was computed from, so that a later prediction on
that volume updates the same nodes, also after the scene was saved and loaded. The volume node
itself is never changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..geometry.grid import transform_points
from ..geometry.zeros import sparse_zeros
from ..inference.progress import CancelToken, ProgressCallback
from ..inference.strokes import Prompt
from ..models import Label
from . import segments
from .colors import INFERNO, VIRIDIS
from .editing import SegmentEditing, WriteOutcome, requireWritable
from .headless import insideSlicer
from .removal import removeNode
from .volumes import clicksInPlace, ijkToRas, imageFromArray, setIjkToRas, volumeFromNode

if TYPE_CHECKING:
    import slicer
    import vtk

    from ..geometry.grid import Region
    from ..inference.prediction import Prediction
    from ..inference.predictor import Predictor

INPUT_ROLE = "AttentionUNetSegment.Input"
"""Node reference role, from a result node to the volume that it was computed from."""

RESULT_ATTRIBUTE = "AttentionUNetSegment.Result"
"""Node attribute that says which result the node holds, for example ``liver/attention-1``."""

REGION_ATTRIBUTE = "AttentionUNetSegment.Region"
"""Node attribute: the k, j, i ranges of a result volume outside of which it is zero."""

GRID_ATTRIBUTE = "AttentionUNetSegment.Grid"
"""Node attribute of the table: 4x4, from the scan's voxels to the volume's own coordinates, which
the places in it are in. They are others when a transform of the volume is hardened."""

PROBABILITY_COLORS, ATTENTION_COLORS = VIRIDIS, INFERNO
UNCERTAINTY_COLORS = PROBABILITY_COLORS
VOLUME_COLORS = {
    "probability": PROBABILITY_COLORS,
    "uncertainty": UNCERTAINTY_COLORS,
    "attention": ATTENTION_COLORS,
}
VOLUME_ROW, NO_VOLUME = "Volume", "0"
"""First row of the table, and what stands there where nothing was found."""
UNNAMED = Label(1, "organ")
"""Of a prediction that nobody gave a label: one that was made by hand."""
IN_ORGAN_ROW, AROUND_ROW = "Attention in the organ", "Attention around it"
"""Rows of the table, each with its level."""
PLACE_ROW, AT_STAKE_ROW = "Doubtful place", "At stake at place"
"""Rows of the table, each with a number: R, A, S in mm in the volume's own coordinates, and mL."""
LEAST_SHOWN = {PROBABILITY_COLORS: 0.1, ATTENTION_COLORS: 0.4}
"""Lower values are shown transparent, so that the CT below stays readable. A coarse gate lets a
quarter or so through everywhere in the region that was looked at, whose edges would be seen."""


@dataclass(frozen=True)
class SceneResult:
    """The nodes that hold a prediction.

    Args:
        prediction: what was written.
        volumeNode: the input.
        segmentationNode: holds the segment, perhaps among others.
        segmentId: our segment's ID in it: of the first target, or of the one that was written.
        tableNode: volume in mL, focus ratios, model and device; None of any structure.
        probabilityNode: 0 to 1, on the input's grid; None where volumes were not asked for.
        attentionNodes: likewise, level 1 (shallow) first; empty where not asked for.
        outcome: what of the mask was written, and what not.
        others: the segments of the other targets that were written.
        uncertaintyNode: as the probability node.
    """

    prediction: Prediction
    volumeNode: slicer.vtkMRMLScalarVolumeNode
    segmentationNode: slicer.vtkMRMLSegmentationNode
    segmentId: str
    tableNode: slicer.vtkMRMLTableNode | None
    probabilityNode: slicer.vtkMRMLScalarVolumeNode | None
    attentionNodes: tuple[slicer.vtkMRMLScalarVolumeNode, ...]
    outcome: WriteOutcome
    others: tuple[WrittenSegment, ...] = ()
    uncertaintyNode: slicer.vtkMRMLScalarVolumeNode | None = None

    def segmentIdOf(self, target: str) -> str:
        """ID of a target's segment; of ours where it is not a further one."""
        its = (other.segmentId for other in self.others if other.label.name == target)
        return next(its, self.segmentId)

    @property
    def segmentIds(self) -> tuple[str, ...]:
        """Of all targets that were written."""
        return (self.segmentId, *(other.segmentId for other in self.others))


@dataclass(frozen=True)
class WrittenSegment:
    """A further target's segment, and what of its mask was written."""

    label: Label
    segmentId: str
    outcome: WriteOutcome


def segmentVolumeNode(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    predictor: Predictor,
    clicks: Sequence[Prompt] = (),
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
    placed = clicksInPlace(volumeNode, clicks)
    prediction = predictor.predict(volume, placed, progress=progress, cancel=cancel)
    if placed != tuple(clicks):
        prediction = dataclasses.replace(prediction, clicks=tuple(clicks))
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
    label: Label | None = None,
    withVolumes: bool = True,
    segmentId: str | None = None,
    editing: SegmentEditing | None = None,
    only: str = "",
    standardTerminology: bool = True,
    withProbability: bool = True,
    withAttention: bool = True,
) -> SceneResult:
    """Write a prediction into the volume's scene, into the nodes of the last one on this volume.

    Only the main thread may call it. What can fail is done first; if writing fails all the same,
    what was written is taken back. What the user drew in the segment, other segments, and what the
    user changed in how our nodes are named, coloured and shown, stay as they are.

    Args:
        prediction: on this volume; its clicks in the world.
        volumeNode: the input; new nodes lie under its parent transform, beside it in the subject
            hierarchy.
        segmentationNode: where the segment goes; the last one used for this volume, or a new one,
            unless given.
        label: name, colour and terminology of a new segment of the first target; what the
            prediction says unless given.
        withVolumes: make or update the probability, uncertainty and attention volumes too (float32
            each, on the input's grid); of those that are there only the part that the network
            looked at.
        segmentId: any segment of the segmentation; ours for this volume, or a new one, unless
            given. Of the first target, or of the one that is named by ``only``.
        editing: how the segment is written; without it nothing is masked, no other segment
            changes, and there is no undo.
        only: name of the one target whose segment is written; those of all unless given.
        standardTerminology: whether new segments of further targets get their codes.
        withProbability: of the volumes, also that of the probability; one that is there and not
            wanted is removed, as it would show an earlier result.
        withAttention: likewise those of the uncertainty and the attention.

    Raises:
        InputError: the volume, the segmentation or the segment cannot take the prediction.
    """
    first = label or prediction.label or UNNAMED
    wanted = [
        (one, first if one is prediction else _labelOf(one, standardTerminology))
        for one in prediction.targets
    ]
    if only:
        wanted = [(one, its) for one, its in wanted if its.name == only]
        if not wanted:
            raise ValueError(f"the prediction has no target '{only}'")
    scene = volumeNode.GetScene()
    image = volumeNode.GetImageData()
    shape = tuple(reversed(image.GetDimensions())) if scene is not None and image else None
    if shape != prediction.mask.shape:
        raise InputError(
            f"The volume '{volumeNode.GetName()}' was removed or changed while it was being "
            "segmented; segment it again."
        )
    segmentationNode = segmentationNode or segments.findSegmentation(volumeNode, first)
    if segmentationNode is not None:
        segments.requireLabelmaps(segmentationNode)
        segments.ijkToSegmentation(volumeNode, segmentationNode)
        for number, (_, its) in enumerate(wanted):
            target = (None if number else segmentId) or segments.findSegment(
                segmentationNode, volumeNode, its
            )
            if target is not None:
                requireWritable(segmentationNode, target)
    # Table and volumes are the targets' alone, one of each for a name.
    withVolumes = withVolumes and not prediction.any_structure
    table = None if prediction.any_structure else _table(prediction, volumeNode)
    volumes = _volumesOf(prediction, withProbability, withAttention) if withVolumes else {}

    with _viewsPaused(), ExitStack() as undo:
        writer = _Writer(volumeNode, first, undo)
        nodes = {
            result: writer.writeVolume(
                result, title, VOLUME_COLORS[result.split("-")[0]], part, prediction.region
            )
            for result, (title, part) in volumes.items()
        }
        tableNode = None if table is None else writer.writeTable(table)
        editing = editing or SegmentEditing(saveState=_noUndo)
        written = []
        for number, (one, its) in enumerate(wanted):
            segmentationNode, writtenId, outcome = writer.writeSegment(
                segmentationNode, None if number else segmentId, one, its, editing
            )
            written.append(WrittenSegment(its, writtenId, outcome))
        assert segmentationNode is not None
        undo.pop_all()
    writer.updateVolumes()
    if withVolumes:
        writer.removeVolumesFrom(prediction.levels + 1 if withAttention else 1)
        kinds = {"probability": withProbability, "uncertainty": withAttention}
        writer.removeVolumes(*(name for name, kept in kinds.items() if not kept))
    return SceneResult(
        prediction=prediction,
        volumeNode=volumeNode,
        segmentationNode=segmentationNode,
        segmentId=written[0].segmentId,
        tableNode=tableNode,
        probabilityNode=nodes.get("probability"),
        attentionNodes=tuple(node for name, node in nodes.items() if name.startswith("attention")),
        outcome=written[0].outcome,
        others=tuple(written[1:]),
        uncertaintyNode=nodes.get("uncertainty"),
    )


def _labelOf(prediction: Prediction, standardTerminology: bool) -> Label:
    label = prediction.label or UNNAMED
    return label if standardTerminology else dataclasses.replace(label, terminology=None)


class _Writer:
    """Finds or makes the result nodes of one volume, and notes how to take each change back."""

    def __init__(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, label: Label, undo: ExitStack
    ) -> None:
        self.volumeNode = volumeNode
        self.scene = volumeNode.GetScene()
        self.label = label
        self.undo = undo
        self._updates: list[Callable[[], None]] = []

    def writeVolume(
        self, result: str, title: str, colors: str, part: np.ndarray, region: Region
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """A volume that is zero outside a region. In one that is there only what was not zero is
        replaced, in :meth:`updateVolumes`."""
        node = self._find("vtkMRMLScalarVolumeNode", result)
        before = _regionOf(node, self.volumeNode)
        if node is not None and before is not None and node.GetDisplayNode() is not None:
            self._followTransform(node)
            self._updates.append(lambda: _replacePart(node, before, part, region))
            return node
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
            shape = self.volumeNode.GetImageData().GetDimensions()[::-1]
            array = sparse_zeros(shape, np.float32)
            array[region] = part
            node.SetAndObserveImageData(imageFromArray(array))
        self._updates.append(lambda: node.SetAttribute(REGION_ATTRIBUTE, _regionText(region)))
        return node

    def updateVolumes(self) -> None:
        """To be called when nothing can fail any more: what is replaced is not kept."""
        for update in self._updates:
            update()

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
        grid = " ".join(map(repr, ijkToRas(self.volumeNode).ravel().tolist()))
        self._updates.append(lambda: node.SetAttribute(GRID_ATTRIBUTE, grid))
        return node

    def writeSegment(
        self,
        node: slicer.vtkMRMLSegmentationNode | None,
        chosen: str | None,
        prediction: Prediction,
        label: Label,
        editing: SegmentEditing,
    ) -> tuple[slicer.vtkMRMLSegmentationNode, str, WriteOutcome]:
        segmentId = chosen
        if node is None:
            node = self._add("vtkMRMLSegmentationNode", "segmentation")
        elif segmentId is None and not prediction.any_structure:
            segmentId = segments.findSegment(node, self.volumeNode, label)
        with _modifying(node):
            if prediction.start is None:
                self._adoptGeometry(node, segmentId)
            if segmentId is None:
                grid = segments.ijkToSegmentation(self.volumeNode, node)
                kind = segments.STRUCTURE_TAG if prediction.any_structure else segments.TARGET_TAG
                segmentId = segments.addSegment(node, label, grid, kind)
                self.undo.callback(node.GetSegmentation().RemoveSegment, segmentId)
            outcome = editing.write(
                node,
                segmentId,
                self.volumeNode,
                prediction.mask,
                prediction.clicks,
                prediction.start,
            )
            if chosen is None:
                segments.linkSegment(node, segmentId, self.volumeNode)
        return node, segmentId, outcome

    def removeVolumesFrom(self, level: int) -> None:
        """Remove attention volumes that an earlier model with more levels left."""
        while self.removeVolumes(f"attention-{level}"):
            level += 1

    def removeVolumes(self, *results: str) -> bool:
        """Remove these volumes; whether there was one."""
        found = [self._find("vtkMRMLScalarVolumeNode", result) for result in results]
        for node in found:
            if node is not None:
                removeNode(node)
        return any(node is not None for node in found)

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
        self.undo.callback(removeNode, node)
        if result is not None:
            node.SetAttribute(RESULT_ATTRIBUTE, f"{self.label.name}/{result}")
            node.SetNodeReferenceID(INPUT_ROLE, self.volumeNode.GetID())
        if node.IsA("vtkMRMLTransformableNode"):
            node.SetAndObserveTransformNodeID(self.volumeNode.GetTransformNodeID())
        self._placeBesideInput(node)
        return node

    def _addDisplay(self, colors: str) -> slicer.vtkMRMLScalarVolumeDisplayNode:
        display = addVolumeDisplay(self.scene, colors)
        self.undo.callback(removeNode, display)
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
            removeNode(node.GetDisplayNode())


def addVolumeDisplay(
    scene: slicer.vtkMRMLScene, colors: str
) -> slicer.vtkMRMLScalarVolumeDisplayNode:
    """How a volume from 0 to 1 is shown: in colours, clear where it is low.

    Args:
        colors: a key of :data:`LEAST_SHOWN`.
    """
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetAndObserveColorNodeID(colors)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 1)
    display.SetAutoThreshold(False)
    display.SetThreshold(LEAST_SHOWN[colors], 1)
    display.SetApplyThreshold(True)
    return display


def _volumesOf(
    prediction: Prediction, withProbability: bool, withAttention: bool
) -> dict[str, tuple[str, np.ndarray]]:
    """Title and voxels, in the region that the network looked at, of each volume that is wanted."""
    volumes: dict[str, tuple[str, np.ndarray]] = {}
    if withProbability:
        volumes["probability"] = "probability", prediction.probability_in_region()
    if withAttention:
        for level in range(1, prediction.levels + 1):
            part = prediction.attention_in_region(level)
            volumes[f"attention-{level}"] = f"attention level {level}", part
        volumes["uncertainty"] = "uncertainty", prediction.uncertainty_in_region()
    shape = tuple(part.stop - part.start for part in prediction.region)
    for _, part in volumes.values():
        if part.shape != shape:
            raise ValueError(f"expected an array of shape {shape}, got {part.shape}")
    return volumes


def _regionText(region: Region) -> str:
    return " ".join(f"{part.start}:{part.stop}" for part in region)


def _regionOf(
    node: slicer.vtkMRMLScalarVolumeNode | None, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> Region | None:
    """The part of a result volume that is not zero; None where it must be made anew."""
    text = node.GetAttribute(REGION_ATTRIBUTE) if node is not None else None
    image, scan = node and node.GetImageData(), volumeNode.GetImageData()
    if not text or image is None or image.GetDimensions() != scan.GetDimensions():
        return None
    if image.GetScalarTypeAsString() != "float" or image.GetNumberOfScalarComponents() != 1:
        return None
    if not np.allclose(ijkToRas(node), ijkToRas(volumeNode)):
        return None
    k, j, i = (slice(*map(int, part.split(":"))) for part in text.split())
    return k, j, i


def _replacePart(
    node: slicer.vtkMRMLScalarVolumeNode, before: Region, part: np.ndarray, region: Region
) -> None:
    import slicer.util

    array = slicer.util.arrayFromVolume(node)
    array[before] = 0
    array[region] = part
    node.SetAttribute(REGION_ATTRIBUTE, _regionText(region))
    slicer.util.arrayFromVolumeModified(node)


def _noUndo() -> None:
    """For a result that nobody watches being made."""


def _table(prediction: Prediction, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> vtk.vtkTable:
    import vtk

    # It was worked on in the world, as far as the transforms above it are linear.
    toOwn = ijkToRas(volumeNode) @ np.linalg.inv(prediction.volume.ijk_to_ras)
    volume = f"{prediction.volume_ml:.2f}" if prediction.found else NO_VOLUME
    rows = [(VOLUME_ROW, volume, "mL")]
    for other in prediction.others:
        shown = f"{other.volume_ml:.2f}" if other.found else NO_VOLUME
        rows.append((f"{VOLUME_ROW}, {other.target}", shown, "mL"))
    rows += [
        (f"Focus ratio, level {level}", f"{ratio:.4f}", "")
        for level, ratio in enumerate(prediction.focus_ratios, start=1)
    ]
    for title, of_levels in (
        (IN_ORGAN_ROW, prediction.attention_in_organ),
        (AROUND_ROW, prediction.attention_around_organ),
    ):
        rows += [
            (f"{title}, level {level}", f"{mean:.4f}", "")
            for level, mean in enumerate(of_levels, start=1)
        ]
    if prediction.dice_estimate is not None:
        rows.append(("Dice, estimated", str(prediction.dice_estimate), ""))
    for number, place in enumerate(prediction.doubtful_places, start=1):
        own_ras = transform_points(toOwn, place.position_ras)
        position = " ".join(f"{at:.1f}" for at in own_ras)
        rows.append((f"{PLACE_ROW} {number}", position, "mm"))
        rows.append((f"{AT_STAKE_ROW} {number}", f"{place.volume_ml:.2f}", "mL"))
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
