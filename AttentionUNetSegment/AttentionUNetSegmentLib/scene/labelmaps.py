"""Voxels of segments as arrays, and boxes of a grid that hold several of them.

Slicer keeps a segment in a labelmap that is cut to what is in it, often shared with other segments
and sometimes on another grid. Reading one costs what the labelmap is large, not the scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry.grid import bounding_region, box_corners, transform_points
from . import segments
from .volumes import fromVtkMatrix, toVtkMatrix

if TYPE_CHECKING:
    import slicer

SAME_GRID = 1e-3
"""Two grids whose voxels lie within this share of a voxel of each other are the same."""


@dataclass(frozen=True, eq=False)
class Voxels:
    """A block of voxels and its place.

    Args:
        array: (k, j, i).
        ijkToLocal: 4x4, from the array's indices to the segmentation's coordinates.
    """

    array: np.ndarray
    ijkToLocal: np.ndarray

    def offsetOn(self, grid: np.ndarray) -> np.ndarray | None:
        """i, j, k of the first voxel on a grid (4x4); None if that has its voxels elsewhere."""
        relative = np.linalg.inv(grid) @ self.ijkToLocal
        start = np.round(relative[:3, 3])
        turned = np.abs(relative[:3, :3] - np.eye(3)) @ np.array(self.array.shape[::-1])
        if (turned + np.abs(relative[:3, 3] - start)).max() > SAME_GRID:
            return None
        return start.astype(int)

    def boundsOn(self, grid: np.ndarray) -> np.ndarray:
        """Lowest and highest-plus-one index on a grid: 2 x 3, along i, j, k."""
        start, size = self.offsetOn(grid), np.array(self.array.shape[::-1])
        if start is not None or not self.array.size:
            return np.array([start, start + size]) if self.array.size else np.zeros((2, 3), int)
        relative = np.linalg.inv(grid) @ self.ijkToLocal
        corners = transform_points(relative, box_corners((-0.5, -0.5, -0.5), size - 0.5))
        return np.array([np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1], int)


@dataclass(frozen=True, eq=False)
class VoxelBox:
    """A part of a grid.

    Args:
        grid: 4x4, from the grid's indices to the segmentation's coordinates.
        start_ijk: the first voxel; may be negative.
        shape: k, j, i.
    """

    grid: np.ndarray
    start_ijk: tuple[int, int, int]
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, grid: np.ndarray, bounds: Iterable[np.ndarray]) -> VoxelBox:
        """The smallest box around bounds as :meth:`Voxels.boundsOn` gives them."""
        filled = [each for each in bounds if (each[1] > each[0]).all()]
        if not filled:
            return cls(grid, (0, 0, 0), (0, 0, 0))
        low = np.min([each[0] for each in filled], axis=0)
        high = np.max([each[1] for each in filled], axis=0)
        i, j, k = low.tolist()
        return cls(grid, (i, j, k), tuple((high - low)[::-1].tolist()))

    @property
    def ijkToLocal(self) -> np.ndarray:
        return shifted(self.grid, self.start_ijk)

    @property
    def extent(self) -> list[int]:
        """As VTK counts: first and last index along i, j and k."""
        extent: list[int] = []
        for start, size in zip(self.start_ijk, reversed(self.shape), strict=True):
            extent += [start, start + size - 1]
        return extent

    def part(self, region: Sequence[slice]) -> VoxelBox:
        """A part of it, given by k, j, i slices."""
        i, j, k = (
            own + part.start for own, part in zip(self.start_ijk, reversed(region), strict=True)
        )
        k_size, j_size, i_size = (part.stop - part.start for part in region)
        return VoxelBox(self.grid, (i, j, k), (k_size, j_size, i_size))

    def read(self, voxels: Voxels, margin: int = 1) -> np.ndarray:
        """The voxels that lie in this box, from another grid the nearest ones; 0 where none are.

        Args:
            margin: zeros around the voxels. Without them Slicer's filter repeats the outermost ones
                on another grid, as it does with a segment that is drawn in.
        """
        result = np.zeros(self.shape, voxels.array.dtype)
        if not voxels.array.size or not result.size:
            return result
        start = voxels.offsetOn(self.grid)
        if start is None:
            voxels = self._resampled(voxels, margin)
            start = np.array(self.start_ijk)
        to, taken = [], []
        shifts = (start - self.start_ijk)[::-1].tolist()
        for shift, size, room in zip(shifts, voxels.array.shape, self.shape, strict=True):
            low, high = max(shift, 0), min(shift + size, room)
            if low >= high:
                return result
            to.append(slice(low, high))
            taken.append(slice(low - shift, high - shift))
        result[tuple(to)] = voxels.array[tuple(taken)]
        return result

    def image(self, array: np.ndarray) -> slicer.vtkOrientedImageData:
        """A labelmap of an array on this box, cut to what is in it."""
        crop = segments.cropMask(array)
        i, j, k = (own + cut for own, cut in zip(self.start_ijk, crop.start_ijk, strict=True))
        return segments.orientedImage(segments.Crop(crop.array, (i, j, k)), self.grid)

    def empty(self) -> slicer.vtkOrientedImageData:
        """An image without values: the geometry alone."""
        import slicer

        image = slicer.vtkOrientedImageData()
        image.SetExtent(self.extent)
        image.SetImageToWorldMatrix(toVtkMatrix(self.grid))
        return image

    def _resampled(self, voxels: Voxels, margin: int) -> Voxels:
        """By Slicer's own filter, so that voxels end where Slicer itself would put them."""
        import slicer

        array = np.pad(voxels.array, margin).astype(np.uint8)
        crop = segments.Crop(array, (-margin, -margin, -margin))
        result = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            segments.orientedImage(crop, voxels.ijkToLocal), self.empty(), result
        )
        assert list(result.GetExtent()) == self.extent
        return Voxels(voxelsOfImage(result).array.astype(voxels.array.dtype), self.ijkToLocal)


def voxelsOfImage(image: slicer.vtkOrientedImageData) -> Voxels:
    """A view of the image's values."""
    from vtk.util.numpy_support import vtk_to_numpy

    ijkToLocal = shifted(gridOfImage(image), image.GetExtent()[::2])
    scalars = image.GetPointData().GetScalars()
    if image.IsEmpty() or scalars is None:
        return Voxels(np.zeros((0, 0, 0), np.uint8), ijkToLocal)
    return Voxels(vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]), ijkToLocal)


def gridOfImage(image: slicer.vtkOrientedImageData) -> np.ndarray:
    """4x4, from the image's indices, as its extent counts them."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return fromVtkMatrix(matrix)


def segmentVoxels(segment: slicer.vtkSegment) -> Voxels:
    """What is in a segment: boolean, cut to it; no voxels at all where it is empty.

    Raises:
        InputError: it holds no labelmap.
    """
    image = segment.GetRepresentation(segments.LABELMAP)
    if image is None:
        raise InputError(
            f"The segment '{segment.GetName()}' holds no binary labelmap; make 'Binary labelmap' "
            "the source representation in the Segmentations module."
        )
    whole = voxelsOfImage(image)
    voxels = whole.array == segment.GetLabelValue()
    region = bounding_region(voxels)
    if region is None:
        return Voxels(np.zeros((0, 0, 0), bool), whole.ijkToLocal)
    start_ijk = [part.start for part in reversed(region)]
    return Voxels(voxels[region], shifted(whole.ijkToLocal, start_ijk))


def segmentIn(box: VoxelBox, segment: slicer.vtkSegment) -> np.ndarray:
    """What of a segment lies in a box: boolean."""
    whole = voxelsOfImage(segment.GetRepresentation(segments.LABELMAP))
    if whole.offsetOn(box.grid) is None:
        return box.read(segmentVoxels(segment))
    return box.read(whole) == segment.GetLabelValue()


def shifted(ijkToLocal: np.ndarray, start_ijk: Sequence[int]) -> np.ndarray:
    """The matrix for indices that count from another voxel."""
    result = np.array(ijkToLocal, float)
    result[:3, 3] += result[:3, :3] @ np.asarray(start_ijk, float)
    return result
