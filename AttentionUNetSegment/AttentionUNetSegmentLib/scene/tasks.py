"""A segmentation in three steps, so that the long one can run in another thread.

>>> task = SegmentationTask(volumeNode, clicks)           # main thread: reads the scene
>>> prediction = task.compute(cache, progress, cancel)    # any thread: no MRML
>>> result = task.write(prediction)                       # main thread: writes into the scene
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry.grid import box_corners, transform_points
from ..inference import region_of_interest
from ..inference.clicks import Click
from ..inference.predictor_cache import PredictorCache, PredictorOptions
from ..inference.prepared_volumes import prepare_volumes
from ..inference.progress import CancelToken, ProgressCallback, ignore_progress
from ..inference.quality import check_scan_quality
from ..models import DEFAULT_MODEL, find_model, read_card
from . import segments
from .removal import removeNode
from .results import SceneResult, writePrediction
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
        withAttention: make the attention volumes.
        keepProbability: make the probability volume.
        standardTerminology: give a new segment its coded meaning.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    tileVoxels: int | None = None
    withAttention: bool = True
    keepProbability: bool = True
    standardTerminology: bool = True

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
        clicks: points in the world.
        segmentationNode: gets the segment; the last one used for this volume, or a new one, unless
            given.
        roiNode: the organ is looked for in the box of voxels that this ROI reaches only.
        options: how.
        automatic: look for the organ in the whole scan first; False: only around the clicks.
        continuing: the clicks changed since an earlier task on this volume: only what they change
            is computed.
        segmentId: any segment of the segmentation; ours for this volume unless given.

    Raises:
        InputError: the scan, the ROI or a click cannot be used.
        ModelError: there is no such model.
    """

    def __init__(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        clicks: Sequence[Click] = (),
        segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
        roiNode: slicer.vtkMRMLMarkupsROINode | None = None,
        options: SegmentationOptions | None = None,
        *,
        automatic: bool = True,
        continuing: bool = False,
        segmentId: str | None = None,
    ) -> None:
        self.options = options or SegmentationOptions()
        self.volumeNode = volumeNode
        self.segmentationNode = segmentationNode
        self.segmentId = segmentId
        self.clicks = tuple(clicks)
        self._predictorOptions = self.options.predictorOptions()
        self._card = read_card(self._predictorOptions.model_folder)
        self.label = self._card.target_label
        self._automatic = automatic
        self._continuing = continuing
        self._scan = volumeFromNode(volumeNode)
        self._placedClicks = clicksInPlace(volumeNode, self.clicks)
        self._region = None
        if roiNode is not None:
            corners = pointsInPlace(volumeNode, roiCorners(roiNode))
            self._region = region_of_interest.region_of_box(self._scan, corners, self._card.search)
            region_of_interest.check_clicks_in_region(self._scan, self._region, self._placedClicks)
        self._key = _identity(volumeNode, self._scan, self._region)

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
        ) as session:
            prediction = session.predict(
                self._placedClicks,
                lambda fraction, text: progress(_COMPUTED * fraction, text),
                cancel,
                automatic=self._automatic,
            )
            prediction = dataclasses.replace(
                prediction, clicks=self.clicks, warnings=(*warnings, *prediction.warnings)
            )
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
        if self.segmentationNode is not None and self.segmentationNode.GetScene() is not scene:
            raise InputError(
                "The output segmentation was removed meanwhile; nothing was changed. Segment again."
            )
        label = self.label
        if not self.options.standardTerminology:
            label = dataclasses.replace(label, terminology=None)
        result = writePrediction(
            prediction,
            self.volumeNode,
            self.segmentationNode,
            label=label,
            withVolumes=self._withVolumes,
            segmentId=self.segmentId,
            editing=editing,
        )
        segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
        if (segments.tag(segment, AUTOMATIC_TAG) is not None) != self._automatic:
            if self._automatic:
                segment.SetTag(AUTOMATIC_TAG, "1")
            else:
                segment.RemoveTag(AUTOMATIC_TAG)
        return self._withoutUnwanted(result)

    @property
    def _withVolumes(self) -> bool:
        return self.options.withAttention or self.options.keepProbability

    def _withoutUnwanted(self, result: SceneResult) -> SceneResult:
        if not self.options.keepProbability and result.probabilityNode is not None:
            removeNode(result.probabilityNode)
            result = dataclasses.replace(result, probabilityNode=None)
        if not self.options.withAttention:
            for node in result.attentionNodes:
                removeNode(node)
            result = dataclasses.replace(result, attentionNodes=())
        return result


def _identity(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, scan: Volume, region: Region | None
) -> tuple[object, ...]:
    """What changes when the voxels that are segmented, or their place, change."""
    box = None if region is None else tuple((part.start, part.stop) for part in region)
    # Modification times are counted through all of VTK: no two images ever share one.
    modified = volumeNode.GetImageData().GetMTime()
    return volumeNode.GetID(), modified, scan.ijk_to_ras.tobytes(), box


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
