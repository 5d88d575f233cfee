"""What the panel remembers, in the scene, so that a saved and loaded scene shows the same panel."""

from __future__ import annotations

import enum
from typing import Annotated

import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..models import DEFAULT_MODEL
from ..networks.precision import AUTO, BFLOAT16, FLOAT32
from ..scene.colors import INFERNO, VIRIDIS
from ..scene.tasks import SegmentationOptions


class DeviceChoice(enum.Enum):
    """What computes; the values are those of ``inference.device``."""

    AUTOMATIC = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"

    def label(self) -> str:
        return {
            DeviceChoice.AUTOMATIC: _("Automatic (GPU where there is one)"),
            DeviceChoice.CUDA: _("NVIDIA GPU (CUDA)"),
            DeviceChoice.MPS: _("Apple GPU (MPS)"),
            DeviceChoice.CPU: _("CPU"),
        }[self]


class PrecisionChoice(enum.Enum):
    """Floating-point format of the networks."""

    AUTOMATIC = AUTO
    FLOAT32 = FLOAT32
    BFLOAT16 = BFLOAT16

    def label(self) -> str:
        return {
            PrecisionChoice.AUTOMATIC: _("Automatic"),
            PrecisionChoice.FLOAT32: _("float32 (exact)"),
            PrecisionChoice.BFLOAT16: _("bfloat16 (half the memory)"),
        }[self]


class AttentionColors(enum.Enum):
    """Color maps that are in every scene: IDs of their nodes."""

    INFERNO = INFERNO
    VIRIDIS = VIRIDIS
    HEAT = "vtkMRMLPETProceduralColorNodePET-Heat"
    HOT_METAL = "vtkMRMLPETProceduralColorNodePET-HotMetalBlue"
    RAINBOW = "vtkMRMLColorTableNodeRainbow"
    GREEN = "vtkMRMLColorTableNodeGreen"
    GREY = "vtkMRMLColorTableNodeGrey"

    def label(self) -> str:
        return {
            AttentionColors.INFERNO: _("Inferno"),
            AttentionColors.VIRIDIS: _("Viridis"),
            AttentionColors.HEAT: _("Heat"),
            AttentionColors.HOT_METAL: _("Hot metal"),
            AttentionColors.RAINBOW: _("Rainbow"),
            AttentionColors.GREEN: _("Green"),
            AttentionColors.GREY: _("Grey"),
        }[self]


@parameterNodeWrapper
class AttentionUNetSegmentParameterNode:
    """State of the panel.

    inputVolume - the CT to segment.
    roi - where to look for the organ; everywhere without one.
    model - name of an installed model, or a model's folder.
    target - name of what the clicks are about, where the model has several targets; the first of
        them where it has none of that name.
    structure - ID of the segment of any structure that the clicks are about, in the segmentation;
        empty for the target.
    segmentation - where the segment goes; a new one without it.
    clicks - points: description "inside" or "outside".
    updateAfterEachClick - segment again when a point changes.
    attentionLevel - the level that is shown; 0 for none, -1 for the uncertainty.
    attentionOpacity - of the attention over the CT.
    attentionColors - its color map.
    device, precision, tileSide - how the networks run; the tile's side in voxels.
    keepProbability - make the probability volume too.
    standardTerminology - give a new segment its coded meaning.
    allLabels - write what else the model's networks know, which is not for diagnosis.
    summary - what the last run found, for people.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    roi: vtkMRMLMarkupsROINode
    model: str = DEFAULT_MODEL
    target: str = ""
    structure: str = ""
    segmentation: vtkMRMLSegmentationNode
    clicks: vtkMRMLMarkupsFiducialNode
    updateAfterEachClick: bool = True
    attentionLevel: int = 0
    attentionOpacity: Annotated[float, WithinRange(0, 1)] = 0.6
    attentionColors: AttentionColors = AttentionColors.INFERNO
    device: DeviceChoice = DeviceChoice.AUTOMATIC
    precision: PrecisionChoice = PrecisionChoice.AUTOMATIC
    tileSide: Annotated[int, WithinRange(64, 512)] = 128
    keepProbability: bool = False
    standardTerminology: bool = True
    allLabels: bool = False
    summary: str = ""

    def options(self) -> SegmentationOptions:
        """How to segment."""
        return SegmentationOptions(
            model=self.model,
            device=self.device.value,
            precision=self.precision.value,
            tileVoxels=self.tileSide**3,
            keepProbability=self.keepProbability,
            standardTerminology=self.standardTerminology,
            allLabels=self.allLabels,
        )


def parametersInScene() -> AttentionUNetSegmentParameterNode | None:
    """The panel's, also where the panel was never opened; None where they were never needed."""
    node = slicer.mrmlScene.GetSingletonNode("AttentionUNetSegment", "vtkMRMLScriptedModuleNode")
    if node is None:
        return None
    return AttentionUNetSegmentParameterNode(node)  # type: ignore[call-arg]
