"""Measures of our segment as it is in the scene, with what the user corrected by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.grid import has_right_angles, transform_points
from ..inference.regions import connected_components
from ..inference.statistics import measure_length
from .labelmaps import segmentVoxels
from .segments import ijkToSegmentation
from .volumes import nodeToPlace, volumeFromNode

if TYPE_CHECKING:
    import slicer


@dataclass(frozen=True)
class SegmentStatistics:
    """Args:
    volumeMl: of the segment's voxels.
    meanHu, sdHu, medianHu: of the input in the segment; None where the segment is empty.
    surfaceMm2: of the closed surface, with the smoothing that is set; None where it is empty.
    extentMm: length of the segment's box along R, A and S.
    lengthMm: from end to end, as in :class:`~..inference.statistics.MaskStatistics`; None where the
        segment is empty, or its axes are not at right angles.
    pieces: separate ones.
    """

    volumeMl: float
    meanHu: float | None = None
    sdHu: float | None = None
    medianHu: float | None = None
    surfaceMm2: float | None = None
    extentMm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lengthMm: float | None = None
    pieces: int = 0


def segmentStatistics(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> SegmentStatistics:
    """Measure a segment; nothing in the scene is changed.

    Under a transform that is not linear, lengths and volumes are those of the scan's own grid.

    Raises:
        InputError: the segmentation and the volume lie under different transforms, one of which is
            not linear.
    """
    import slicer
    import vtk

    labelmap = slicer.vtkOrientedImageData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.GetSegmentBinaryLabelmapRepresentation(segmentationNode, segmentId, labelmap, False)
    inside, start = _filled(labelmap)
    if not inside.any():
        return SegmentStatistics(0.0)

    toLocal = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(toLocal)
    ijkToLocal = np.array([[toLocal.GetElement(row, col) for col in range(4)] for row in range(4)])
    ijkToWorld = nodeToPlace(segmentationNode) @ ijkToLocal
    voxelMm3 = abs(np.linalg.det(ijkToWorld[:3, :3]))
    points = np.argwhere(inside)[:, ::-1] + start
    world = transform_points(ijkToWorld, points)
    halfVoxel = np.abs(ijkToWorld[:3, :3]).sum(axis=1) / 2
    extent = world.max(axis=0) - world.min(axis=0) + 2 * halfVoxel
    local = transform_points(ijkToLocal, points)
    values = _values(volumeNode, segmentationNode, local)
    spacing = np.linalg.norm(ijkToWorld[:3, :3], axis=0)
    return SegmentStatistics(
        volumeMl=len(points) * voxelMm3 / 1000,
        meanHu=float(values.mean()) if len(values) else None,
        sdHu=float(values.std()) if len(values) else None,
        medianHu=float(np.median(values)) if len(values) else None,
        surfaceMm2=_surface(segmentationNode, segmentId),
        extentMm=(float(extent[0]), float(extent[1]), float(extent[2])),
        lengthMm=measure_length(inside, spacing.tolist()) if has_right_angles(ijkToWorld) else None,
        pieces=connected_components(inside)[1],
    )


def segmentVolumeMl(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> float:
    """The volume of a segment as it is now; as :func:`segmentStatistics` measures it."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    voxels = segmentVoxels(segment)
    toPlace = nodeToPlace(segmentationNode) @ voxels.ijkToLocal
    voxel_mm3 = abs(np.linalg.det(toPlace[:3, :3]))
    return float(np.count_nonzero(voxels.array) * voxel_mm3 / 1000)


def _filled(labelmap: slicer.vtkOrientedImageData) -> tuple[np.ndarray, np.ndarray]:
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = labelmap.GetPointData().GetScalars()
    if labelmap.IsEmpty() or scalars is None:
        return np.zeros((0, 0, 0), bool), np.zeros(3)
    array = vtk_to_numpy(scalars).reshape(labelmap.GetDimensions()[::-1])
    return array != 0, np.array(labelmap.GetExtent()[::2])


def _values(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    points: np.ndarray,
) -> np.ndarray:
    """The voxels that points in the segmentation's coordinates lie in; beside the volume none."""
    array = volumeFromNode(volumeNode).array
    toIjk = np.linalg.inv(ijkToSegmentation(volumeNode, segmentationNode))
    indices = np.rint(transform_points(toIjk, points)).astype(int)
    inVolume = ((indices >= 0) & (indices < array.shape[::-1])).all(axis=1)
    i, j, k = indices[inVolume].T
    return array[k, j, i].astype(np.float64)


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
