"""The closed surface of a segmentation: how smooth it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import slicer

SMOOTHING = "Smoothing factor"
SURFACE = "Closed surface"


def surfaceSmoothing(segmentationNode: slicer.vtkMRMLSegmentationNode) -> float:
    """The smoothing that is set, 0 to 1; below 0 where it was switched off."""
    text = segmentationNode.GetSegmentation().GetConversionParameter(SMOOTHING)
    try:
        return float(text)
    except ValueError:  # none was set yet
        return 0.0


def setSurfaceSmoothing(segmentationNode: slicer.vtkMRMLSegmentationNode, smoothing: float) -> None:
    """Set the smoothing, and compute surfaces that are there anew."""
    segmentation = segmentationNode.GetSegmentation()
    segmentation.SetConversionParameter(SMOOTHING, str(float(smoothing)))
    if segmentation.ContainsRepresentation(SURFACE):
        segmentationNode.RemoveClosedSurfaceRepresentation()
        segmentationNode.CreateClosedSurfaceRepresentation()
