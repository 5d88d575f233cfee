"""Where the voxels of an image lie in the patient, and boxes along the patient's axes.

A grid is a shape and a 4x4 matrix from its indices to RAS millimetres. Points are in R, A, S order
and indices in i, j, k order; shapes and slices are in the order of arrays, k, j, i.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Region = tuple[slice, slice, slice]
"""A box of voxels: k, j, i slices."""

RIGHT_ANGLE_TOLERANCE = 1e-3
"""Cosine between two axes that still are at right angles: headers are rounded."""


def transform_points(matrix: np.ndarray, points: Sequence[float] | np.ndarray) -> np.ndarray:
    """Points (..., 3), taken through a 4x4 matrix."""
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def box_corners(
    low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray
) -> np.ndarray:
    """The eight corners of a box, (8, 3), from its lowest and highest coordinates."""
    return np.array(list(itertools.product(*zip(low, high, strict=True))), dtype=np.float64)


def bounding_region(array: np.ndarray) -> Region | None:
    """The smallest region that holds all that is not zero in (k, j, i); None where all is."""
    region: list[slice] = []
    for axis in range(3):
        # The first reduction leaves a fraction of the voxels for the next ones.
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(array.any(axis=others))
        if not filled.size:
            return None
        region.append(slice(int(filled[0]), int(filled[-1]) + 1))
        array = array[(slice(None),) * axis + (region[-1],)]
    return region[0], region[1], region[2]


def overlap_in(region: Region, outer: Region) -> Region:
    """The part of a region that lies in another one, in the other one's indices; may be empty."""
    k, j, i = (
        slice(
            min(max(a.start, b.start), b.stop) - b.start,
            max(min(a.stop, b.stop), b.start) - b.start,
        )
        for a, b in zip(region, outer, strict=True)
    )
    return k, j, i


def has_right_angles(ijk_to_ras: np.ndarray) -> bool:
    """Whether the axes of a grid are at right angles, as label maps and most measures want it."""
    axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=RIGHT_ANGLE_TOLERANCE))


@dataclass(frozen=True, eq=False)
class Box:
    """A box along R, A and S, in mm."""

    low_ras: np.ndarray
    high_ras: np.ndarray

    @classmethod
    def around(cls, points_ras: np.ndarray) -> Box:
        """The smallest box that holds some points, (N, 3)."""
        return cls(points_ras.min(axis=0), points_ras.max(axis=0))

    @property
    def centre_ras(self) -> np.ndarray:
        return (self.low_ras + self.high_ras) / 2

    @property
    def extent_mm(self) -> np.ndarray:
        """Lengths along R, A and S."""
        return self.high_ras - self.low_ras

    @property
    def corners_ras(self) -> np.ndarray:
        """(8, 3)."""
        return box_corners(self.low_ras, self.high_ras)

    def grown(self, margin_mm: Sequence[float] | float) -> Box:
        margin = np.asarray(margin_mm)
        return Box(self.low_ras - margin, self.high_ras + margin)

    def at_least(self, extent_mm: Sequence[float]) -> Box:
        """Widened about its middle to an extent."""
        half = np.maximum(self.extent_mm, np.asarray(extent_mm)) / 2
        return Box(self.centre_ras - half, self.centre_ras + half)

    def at_most(self, extent_mm: Sequence[float], around: np.ndarray) -> Box:
        """Cut to an extent around a point, within the box as far as possible."""
        extent = np.minimum(self.extent_mm, np.asarray(extent_mm))
        low = np.clip(around - extent / 2, self.low_ras, self.high_ras - extent)
        return Box(low, low + extent)

    def fits_in(self, extent_mm: Sequence[float]) -> bool:
        """Whether it is nowhere longer than an extent."""
        return bool((self.extent_mm <= np.asarray(extent_mm)).all())

    def within(self, other: Box) -> Box:
        """The part inside another box; a point on its border if they do not meet."""
        return Box(
            np.clip(self.low_ras, other.low_ras, other.high_ras),
            np.clip(self.high_ras, other.low_ras, other.high_ras),
        )


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie.

    Args:
        shape: voxels along k, j, i.
        ijk_to_ras: 4x4, indices (i, j, k, 1) to millimetres.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @property
    def shape_ijk(self) -> tuple[int, int, int]:
        k, j, i = self.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a step along i, j and k."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def ras_to_ijk(self) -> np.ndarray:
        return np.linalg.inv(self.ijk_to_ras)

    @property
    def corners_ras(self) -> np.ndarray:
        """The eight outer corners of the voxels, (8, 3) in mm."""
        low, high = (-0.5, -0.5, -0.5), [size - 0.5 for size in self.shape_ijk]
        return self.position_of(box_corners(low, high))

    @property
    def bounds(self) -> Box:
        """The smallest box that holds all of the voxels."""
        return Box.around(self.corners_ras)

    def index_of(self, points_ras: Sequence[float] | np.ndarray) -> np.ndarray:
        """i, j, k, with fractions, of points (..., 3); whole numbers are the middles of voxels."""
        return transform_points(self.ras_to_ijk, points_ras)

    def position_of(self, indices_ijk: Sequence[float] | np.ndarray) -> np.ndarray:
        """R, A, S in mm of indices (..., 3)."""
        return transform_points(self.ijk_to_ras, indices_ijk)

    def voxel_of(self, point_ras: Sequence[float] | np.ndarray) -> tuple[int, int, int] | None:
        """k, j, i of the voxel that a point lies in; None outside the grid."""
        i, j, k = (math.floor(index + 0.5) for index in self.index_of(point_ras))
        inside = all(0 <= at < size for at, size in zip((k, j, i), self.shape, strict=True))
        return (k, j, i) if inside else None

    def region_of(self, points_ras: np.ndarray) -> Region:
        """The voxels that the box (of any directions) with these corners reaches, (N, 3) in mm.

        Clipped to the grid; may be empty.
        """
        indices = self.index_of(points_ras)
        slices = []
        for axis, size in zip((2, 1, 0), self.shape, strict=True):
            start = max(math.floor(indices[:, axis].min() + 0.5), 0)
            stop = min(math.floor(indices[:, axis].max() + 0.5) + 1, size)
            slices.append(slice(min(start, size), max(stop, min(start, size))))
        return slices[0], slices[1], slices[2]

    def subgrid(self, region: Region) -> Grid:
        """The part of the grid within a region."""
        k, j, i = region
        shift = np.eye(4)
        shift[:3, 3] = (i.start, j.start, k.start)
        shape = (k.stop - k.start, j.stop - j.start, i.stop - i.start)
        return Grid(shape, self.ijk_to_ras @ shift)

    def coarsened(self, factor: int | tuple[int, int, int]) -> Grid:
        """The grid of an image whose voxels each cover ``factor`` voxels along each axis (k, j, i),
        those at the end fewer."""
        factors = (factor,) * 3 if isinstance(factor, int) else factor
        scale = np.diag([*reversed(factors), 1.0])
        scale[:3, 3] = [(along - 1) / 2 for along in reversed(factors)]
        k, j, i = (-(-size // along) for size, along in zip(self.shape, factors, strict=True))
        return Grid((k, j, i), self.ijk_to_ras @ scale)

    def is_same_as(self, other: Grid) -> bool:
        return self.shape == other.shape and np.array_equal(self.ijk_to_ras, other.ijk_to_ras)


def aligned_grid(
    box: Box, spacing_mm: tuple[float, ...], multiple: int = 1, snap: bool = False
) -> Grid:
    """A grid with axes along R, A and S over a box, centred on it.

    Args:
        box: what it covers.
        spacing_mm: along R, A and S.
        multiple: each size is rounded up to a multiple of this.
        snap: move the grid by less than half a voxel, so that its voxels lie at whole multiples of
            the spacing. Overlapping boxes then share their voxels, and a box that is a little
            different does not change what is seen in the middle of it.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    extent = np.maximum(box.extent_mm, 0)
    sizes = np.maximum(np.ceil(extent / spacing - 1e-6), 1).astype(int)
    sizes = (sizes + multiple - 1) // multiple * multiple
    matrix = np.diag([*spacing, 1.0])
    origin = box.centre_ras - spacing * (sizes - 1) / 2
    matrix[:3, 3] = np.round(origin / spacing) * spacing if snap else origin
    i, j, k = (int(size) for size in sizes)
    return Grid((k, j, i), matrix)


@dataclass(frozen=True, eq=False)
class GridImage:
    """Values on a grid as PyTorch has them: a windowed scan, a probability, an attention map.

    Args:
        values: (1, C, k, j, i).
        grid: where they lie.
    """

    values: torch.Tensor
    grid: Grid
