"""Measures of our segment as it is in the scene, with what the user corrected by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .labelmaps import segmentVoxels
from .volumes import ijkToRas, nodeToWorld

if TYPE_CHECKING:
    import slicer


@dataclass(frozen=True)
class SegmentStatistics:
    """Args:
    volumeMl: of the segment's voxels.
    meanHu: of the input in the segment; None where the segment is empty.
    surfaceMm2: of the closed surface, with the smoothing that is set; None where it is empty.
    extentMm: length of the segment's box along R, A and S.
    """

    volumeMl: float
    meanHu: float | None
    surfaceMm2: float | None
    extentMm: tuple[float, float, float]


def segmentStatistics(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> SegmentStatistics:
    """Measure a segment; nothing in the scene is changed.

    Raises:
        InputError: a transform above the volume is not linear.
    """
    import slicer
    import vtk

    labelmap = slicer.vtkOrientedImageData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.GetSegmentBinaryLabelmapRepresentation(segmentationNode, segmentId, labelmap, False)
    inside, start = _filled(labelmap)
    if not inside.any():
        return SegmentStatistics(0.0, None, None, (0.0, 0.0, 0.0))

    toLocal = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(toLocal)
    ijkToLocal = np.array([[toLocal.GetElement(row, col) for col in range(4)] for row in range(4)])
    ijkToWorld = nodeToWorld(segmentationNode) @ ijkToLocal
    voxelMm3 = abs(np.linalg.det(ijkToWorld[:3, :3]))
    points = np.argwhere(inside)[:, ::-1] + start
    world = points @ ijkToWorld[:3, :3].T + ijkToWorld[:3, 3]
    halfVoxel = np.abs(ijkToWorld[:3, :3]).sum(axis=1) / 2
    extent = world.max(axis=0) - world.min(axis=0) + 2 * halfVoxel
    return SegmentStatistics(
        volumeMl=len(points) * voxelMm3 / 1000,
        meanHu=_mean(volumeNode, world),
        surfaceMm2=_surface(segmentationNode, segmentId),
        extentMm=(float(extent[0]), float(extent[1]), float(extent[2])),
    )


def segmentVolumeMl(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> float:
    """The volume of a segment as it is now.

    Raises:
        InputError: a transform above the segmentation is not linear.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    voxels = segmentVoxels(segment)
    toWorld = nodeToWorld(segmentationNode) @ voxels.ijkToLocal
    voxel_mm3 = abs(np.linalg.det(toWorld[:3, :3]))
    return float(np.count_nonzero(voxels.array) * voxel_mm3 / 1000)


def _filled(labelmap: slicer.vtkOrientedImageData) -> tuple[np.ndarray, np.ndarray]:
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = labelmap.GetPointData().GetScalars()
    if labelmap.IsEmpty() or scalars is None:
        return np.zeros((0, 0, 0), bool), np.zeros(3)
    array = vtk_to_numpy(scalars).reshape(labelmap.GetDimensions()[::-1])
    return array != 0, np.array(labelmap.GetExtent()[::2])


def _mean(volumeNode: slicer.vtkMRMLScalarVolumeNode, world: np.ndarray) -> float | None:
    """Mean of the voxels that the points lie in."""
    import slicer.util

    array = slicer.util.arrayFromVolume(volumeNode)
    toIjk = np.linalg.inv(nodeToWorld(volumeNode) @ ijkToRas(volumeNode))
    indices = np.rint(world @ toIjk[:3, :3].T + toIjk[:3, 3]).astype(int)
    inVolume = ((indices >= 0) & (indices < array.shape[::-1])).all(axis=1)
    i, j, k = indices[inVolume].T
    return float(array[k, j, i].mean(dtype=np.float64)) if len(i) else None


def _surface(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> float | None:
    import slicer
    import vtk

    surface = vtk.vtkPolyData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.GetSegmentClosedSurfaceRepresentation(segmentationNode, segmentId, surface, True)
    if not surface.GetNumberOfPolys():
        return None
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(surface)
    measure = vtk.vtkMassProperties()
    measure.SetInputConnection(triangles.GetOutputPort())
    measure.Update()
    return float(measure.GetSurfaceArea())
