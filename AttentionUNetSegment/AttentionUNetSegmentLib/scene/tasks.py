"""A segmentation in three steps, so that the long one can run in another thread.

>>> task = SegmentationTask(volumeNode, clicks)           # main thread: reads the scene
>>> prediction = task.compute(cache, progress, cancel)    # any thread: no MRML
>>> result = task.write(prediction)                       # main thread: writes into the scene
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry.grid import box_corners, transform_points
from ..inference import region_of_interest
from ..inference.predictor_cache import PredictorCache, PredictorOptions
from ..inference.prepared_volumes import prepare_volumes
from ..inference.progress import CancelToken, ProgressCallback, ignore_progress
from ..inference.quality import check_scan_quality
from ..inference.strokes import Prompt
from ..inference.structures import known_organ, require_any_structure, structure_label
from ..inference.validation import check_clicks_in_region
from ..models import DEFAULT_MODEL, Label, ModelCard, find_model, read_card
from . import segments
from .all_labels import writeAllLabels
from .corrections import readClicks
from .results import SceneResult, writePrediction
from .scan_clicks import ScanClicks, imageKnownBy
from .start import beginsFromMask, startOnScan
from .volumes import clicksInPlace, fromVtkMatrix, pointsInPlace, volumeFromNode

if TYPE_CHECKING:
    import slicer

    from ..geometry.grid import Region
    from ..geometry.volume import Volume
    from ..inference.prediction import Prediction
    from .editing import SegmentEditing

AUTOMATIC_TAG = "AttentionUNetSegment.Automatic"
"""Segment tag of a segment that began with a look at the whole scan, not with a click. Undone and
saved with it."""

_COMPUTED = 0.85
"""Share of the time that the prediction takes; the rest goes into the volumes."""


@dataclass(frozen=True)
class SegmentationOptions:
    """How to segment.

    Args:
        model: name of an installed model, or a model's folder.
        device: "auto", "cuda", "mps" or "cpu".
        precision: "auto", "float32" or "bfloat16".
        tileVoxels: the most voxels that go through a network at once; None for the default.
        withAttention: make the attention volumes, and that of the uncertainty.
        keepProbability: make the probability volume.
        standardTerminology: give a new segment its coded meaning.
        allLabels: write what else the model's networks know, which is not for diagnosis, into
            segmentations of its own.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    tileVoxels: int | None = None
    withAttention: bool = True
    keepProbability: bool = True
    standardTerminology: bool = True
    allLabels: bool = False

    def predictorOptions(self) -> PredictorOptions:
        """What of it the networks are loaded by.

        Raises:
            ModelError: there is no such model.
        """
        return PredictorOptions(
            find_model(self.model), self.device, self.precision, self.tileVoxels
        )


class SegmentationTask:
    """All that a segmentation needs of the scene, read when it is made (main thread).

    Args:
        volumeNode: a CT.
        clicks: points, scribbles and lassos in the world.
        segmentationNode: gets the segment; the last one used for this volume, or a new one, unless
            given.
        roiNode: the organ is looked for in the box of voxels that this ROI reaches only, and so is
            a structure that is looked for.
        options: how.
        automatic: look for the organ in the whole scan first; False: only around the clicks.
        continuing: the clicks changed since an earlier task on this volume: only what they change
            is computed. Clicks on a segment that began from a mask mend that then, and the ROI
            says nothing; else what it began from is forgotten.
        segmentId: any segment of the segmentation; ours for this volume unless given.
        target: name of the model's target that the segment and the clicks are about; the first
            unless given. The clicks about the others are those that their segments were made from.

    Attributes:
        labels: of all targets of the model.
        label: of the one that the clicks are about.
        structure: the segment is one of any structure, by its tag: the clicks are about that and
            nothing else, and volumes are not for it. What the model's networks have a label for is
            looked for, in the ROI; where clicks alone say what it is, the ROI says nothing.
        forgetsStart: the segment began from a mask, which is not looked at any more.

    Raises:
        InputError: the scan, the ROI or a click cannot be used, or the model takes no structure
            but its targets.
        ModelError: there is no such model.
    """

    def __init__(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        clicks: Sequence[Prompt] = (),
        segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
        roiNode: slicer.vtkMRMLMarkupsROINode | None = None,
        options: SegmentationOptions | None = None,
        *,
        automatic: bool = True,
        continuing: bool = False,
        segmentId: str | None = None,
        target: str = "",
    ) -> None:
        self.options = options or SegmentationOptions()
        self.volumeNode = volumeNode
        self.segmentationNode = segmentationNode
        self.segmentId = segmentId
        self.clicks = tuple(clicks)
        self._predictorOptions = self.options.predictorOptions()
        self._card = read_card(self._predictorOptions.model_folder)
        self.labels = self._card.target_labels
        self.label = next((one for one in self.labels if one.name == target), self.labels[0])
        self.structure = (
            continuing
            and segmentationNode is not None
            and segmentId is not None
            and segments.isStructure(segmentationNode, segmentId)
        )
        if self.structure:
            require_any_structure(self._card)
            assert segmentationNode is not None
            assert segmentId is not None
            organ = None
            if automatic and not beginsFromMask(segmentationNode, segmentId):
                organ = _organOf(segmentationNode, segmentId, self._card)
            automatic = organ is not None
            self.label = organ or segments.structureLabel(segmentationNode, segmentId)
            self.labels = (self.label,)
        self._automatic = automatic
        self._continuing = continuing
        self._scan = volumeFromNode(volumeNode)
        self._image = imageKnownBy(volumeNode)
        clicks = list(self.clicks)
        if len(self.labels) > 1:
            clicks = [dataclasses.replace(click, target=self.label.name) for click in clicks]
        self._start, self.forgetsStart = None, False
        if segmentationNode is not None and segmentId is not None:
            if continuing:
                self._start = startOnScan(segmentationNode, segmentId, volumeNode)
            else:
                self.forgetsStart = beginsFromMask(segmentationNode, segmentId)
        # Beside a mask to begin from nothing else is looked for.
        alone = self.structure or self._start is not None
        others = () if alone else self._otherClicks()
        self._worldClicks = (*clicks, *others)
        self._scanClicks = ScanClicks.on(volumeNode, self._worldClicks)
        self._placedClicks = clicksInPlace(volumeNode, self._worldClicks)
        self._region = None
        looksFor = self._start is None and (automatic or not self.structure)
        if roiNode is not None and looksFor:
            corners = pointsInPlace(volumeNode, roiCorners(roiNode))
            self._region = region_of_interest.region_of_box(self._scan, corners, self._card.search)
            check_clicks_in_region(self._scan, self._region, self._placedClicks)
        begun = () if self._start is None else (self.label.name, _digest(self._start))
        about = (self.label,) if self.structure else ()
        self._key = (*_identity(volumeNode, self._scan, self._region), *begun, *about)

    def compute(
        self,
        cache: PredictorCache,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
    ) -> Prediction:
        """Predict. Touches no node, so that any thread may call it.

        Raises:
            AttentionUNetSegmentError: as :meth:`Predictor.predict`.
        """
        progress(0.0, "Checking the scan")
        # Before PyTorch is loaded: what is no CT is refused at once.
        warnings = check_scan_quality(self._scan, self._card)
        if cancel is not None:
            cancel.raise_if_cancelled()
        with cache.session(
            self._predictorOptions,
            self._scan,
            self._key,
            progress,
            anew=not self._continuing,
            interest=self._region,
            start=self._start,
            start_label=None if self._start is None else self.label,
            structure=self.label if self.structure else None,
        ) as session:
            prediction = session.predict(
                self._placedClicks,
                lambda fraction, text: progress(_COMPUTED * fraction, text),
                cancel,
                automatic=self._automatic,
            )
            if self.options.allLabels and not self._continuing and self._card.knows_more:
                from ..inference.all_labels import with_all_labels

                progress(_COMPUTED, "Looking at all labels")
                prediction = with_all_labels(session.predictor, prediction, cancel)
            prediction = self._withWorldClicks(prediction, self._worldClicks)
            prediction = dataclasses.replace(prediction, warnings=(*warnings, *prediction.warnings))
            if not self._withVolumes:
                return prediction
            return prepare_volumes(
                prediction,
                lambda fraction, text: progress(_COMPUTED + (1 - _COMPUTED) * fraction, text),
                cancel,
            )

    def write(self, prediction: Prediction, editing: SegmentEditing | None = None) -> SceneResult:
        """Write the prediction into the scene; main thread only.

        Args:
            editing: how the segment is written; as :func:`writePrediction` does unless given.

        Raises:
            InputError: the volume or the segmentation is gone, or cannot take the prediction.
        """
        scene = self.volumeNode.GetScene()
        if scene is None:
            raise InputError(
                "The volume was removed while it was being segmented; nothing was changed."
            )
        if imageKnownBy(self.volumeNode) != self._image:
            raise InputError(
                f"The image of '{self.volumeNode.GetName()}' became another one while it was being "
                "segmented; nothing was changed. Segment again."
            )
        if self.segmentationNode is not None and self.segmentationNode.GetScene() is not scene:
            raise InputError(
                "The output segmentation was removed meanwhile; nothing was changed. Segment again."
            )
        clicks = self._scanClicks.movedWith(self.volumeNode).world
        if clicks != self._worldClicks:
            prediction = self._withWorldClicks(prediction, clicks)
        label = self.labels[0] if self._start is None else self.label
        if not self.options.standardTerminology:
            label = dataclasses.replace(label, terminology=None)
        result = writePrediction(
            prediction,
            self.volumeNode,
            self.segmentationNode,
            label=label,
            withVolumes=self._withVolumes,
            withProbability=self.options.keepProbability,
            withAttention=self.options.withAttention,
            segmentId=self.segmentId if self._writesOne or self._aboutFirst else None,
            editing=editing,
            only=self.label.name if self._writesOne else "",
            standardTerminology=self.options.standardTerminology,
        )
        for found in prediction.all_labels:
            writeAllLabels(found, self.volumeNode)
        for segmentId in result.segmentIds:
            self._tagAutomatic(result.segmentationNode, segmentId)
        return result

    @property
    def _writesOne(self) -> bool:
        """A click on a segment that is there changes that segment alone."""
        return len(self.labels) > 1 and self._continuing and self.segmentId is not None

    @property
    def _aboutFirst(self) -> bool:
        return self.label is self.labels[0]

    def _otherClicks(self) -> list[Prompt]:
        """Of the segments of the other targets, about these."""
        node = self.segmentationNode
        if node is None:
            node = segments.findSegmentation(self.volumeNode, self.labels[0])
        clicks: list[Prompt] = []
        for label in self.labels:
            if node is None or label is self.label:
                continue
            segmentId = segments.findSegment(node, self.volumeNode, label)
            if segmentId is not None:
                its = readClicks(node, segmentId, self.volumeNode)
                clicks += [dataclasses.replace(click, target=label.name) for click in its]
        return clicks

    def _withWorldClicks(self, prediction: Prediction, clicks: Sequence[Prompt]) -> Prediction:
        """All clicks as they are in the scene, which may lie under a transform."""
        ours = len(self.clicks)
        its = {self.label.name: tuple(dataclasses.replace(one, target="") for one in clicks[:ours])}
        for click in clicks[ours:]:
            if click.target != self.label.name:
                its[click.target] = (*its.get(click.target, ()), click)

        def put(one: Prediction) -> Prediction:
            return dataclasses.replace(one, clicks=its.get(one.target, ()))

        others = tuple(put(other) for other in prediction.others)
        return dataclasses.replace(put(prediction), others=others)

    def _tagAutomatic(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        segment = node.GetSegmentation().GetSegment(segmentId)
        if (segments.tag(segment, AUTOMATIC_TAG) is not None) != self._automatic:
            if self._automatic:
                segment.SetTag(AUTOMATIC_TAG, "1")
            else:
                segment.RemoveTag(AUTOMATIC_TAG)

    @property
    def _withVolumes(self) -> bool:
        options = self.options
        return not self.structure and (options.withAttention or options.keepProbability)


def _organOf(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, card: ModelCard
) -> Label | None:
    """What is looked for in the whole scan for a segment of any structure; None where that begins
    with a click.

    Raises:
        InputError: it began with what another model found.
    """
    name = segments.structureName(segmentationNode, segmentId)
    if known_organ(card, name) is not None:
        return structure_label(name)
    if isAutomatic(segmentationNode, segmentId):
        raise InputError(
            f"This segment began with the {name} as another model found it, which {card.name} does "
            "not look for; choose the model of before, or begin from the segment as it is."
        )
    return None


def _identity(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, scan: Volume, region: Region | None
) -> tuple[object, ...]:
    """What changes when the voxels that are segmented, or their place, change."""
    box = None if region is None else tuple((part.start, part.stop) for part in region)
    # Modification times are counted through all of VTK: no two images ever share one.
    modified = volumeNode.GetImageData().GetMTime()
    return volumeNode.GetID(), modified, scan.ijk_to_ras.tobytes(), box


def _digest(mask: np.ndarray) -> bytes:
    return sha256(np.packbits(mask).tobytes()).digest()


def isAutomatic(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str | None) -> bool:
    """Whether a segment began with a look at the whole scan; clicks go on from there."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId or "")
    return segment is not None and segments.tag(segment, AUTOMATIC_TAG) is not None


def newSegmentation(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str
) -> slicer.vtkMRMLSegmentationNode:
    """An empty segmentation on the volume's grid, beside it, under its transform."""
    scene = volumeNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volumeNode)
    if item != hierarchy.GetInvalidItemID():
        own = hierarchy.GetItemByDataNode(node)
        if own == hierarchy.GetInvalidItemID():
            hierarchy.CreateItem(hierarchy.GetItemParent(item), node)
        else:
            hierarchy.SetItemParent(own, hierarchy.GetItemParent(item))
    return node


def roiCorners(roiNode: slicer.vtkMRMLMarkupsROINode) -> np.ndarray:
    """The eight corners of a ROI in the world (8 x 3, mm), whatever its rotation.

    Raises:
        InputError: the ROI has no size yet.
    """
    size = roiNode.GetSize()
    if min(size) <= 0:
        raise InputError(
            f"The region of interest '{roiNode.GetName()}' has no size yet; place it in a slice "
            "view, or choose none."
        )
    half = np.array(size) / 2
    toWorld = fromVtkMatrix(roiNode.GetObjectToWorldMatrix())
    return transform_points(toWorld, box_corners(-half, half))
