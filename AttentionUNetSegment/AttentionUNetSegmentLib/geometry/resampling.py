"""Moving images between grids, on the device that the network runs on.

Every grid is a shape and a 4x4 matrix from its indices to RAS millimetres. A scan is brought to a
grid whose axes run along R, A and S, whatever its own directions are, and results are brought back
by the inverse map; nothing here knows the words "flip" or "oblique". Intensities are windowed to
[0, 1] before anything is averaged, so that zero means "nothing there", outside the scan too.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .volume import Volume

SLAB_VOXELS = 1 << 22
"""Voxels that are converted or interpolated at a time; bounds the memory of temporaries."""
_EDGE = 1e-5
"""How far beyond a grid's end, in halves of the grid, still counts as within: rounding."""


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
    def spacing_mm(self) -> tuple[float, float, float]:
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    def same_as(self, other: Grid) -> bool:
        return self.shape == other.shape and np.array_equal(self.ijk_to_ras, other.ijk_to_ras)

    def coarsened(self, factor: int) -> Grid:
        """The grid of a feature map whose voxels each cover ``factor`` voxels along each axis."""
        scale = np.diag([factor, factor, factor, 1.0])
        scale[:3, 3] = (factor - 1) / 2
        k, j, i = (math.ceil(size / factor) for size in self.shape)
        return Grid((k, j, i), self.ijk_to_ras @ scale)


def grid_of(volume: Volume) -> Grid:
    k, j, i = volume.array.shape
    return Grid((k, j, i), volume.ijk_to_ras)


def corners_ras(grid: Grid) -> np.ndarray:
    """The eight outer corners of a grid's voxels, (8, 3) in mm."""
    k, j, i = grid.shape
    ends = itertools.product((-0.5, i - 0.5), (-0.5, j - 0.5), (-0.5, k - 0.5))
    points = np.array([(*end, 1.0) for end in ends])
    return (grid.ijk_to_ras @ points.T)[:3].T


def bounds_ras(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest R, A, S of a grid."""
    corners = corners_ras(grid)
    return corners.min(axis=0), corners.max(axis=0)


def aligned_grid(
    low_ras: np.ndarray,
    high_ras: np.ndarray,
    spacing_mm: tuple[float, ...],
    multiple: int = 1,
    snap: bool = False,
) -> Grid:
    """A grid with axes along R, A and S over a box, centred on it.

    Args:
        low_ras, high_ras: the box in mm.
        spacing_mm: along R, A and S.
        multiple: each size is rounded up to a multiple of this.
        snap: move the grid by less than half a voxel, so that its voxels lie at whole multiples of
            the spacing. Overlapping boxes then share their voxels, and a box that is a little
            different does not change what is seen in the middle of it.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    extent = np.maximum(np.asarray(high_ras) - np.asarray(low_ras), 0)
    sizes = np.maximum(np.ceil(extent / spacing - 1e-6), 1).astype(int)
    sizes = (sizes + multiple - 1) // multiple * multiple
    matrix = np.diag([*spacing, 1.0])
    origin = (np.asarray(low_ras) + np.asarray(high_ras)) / 2 - spacing * (sizes - 1) / 2
    matrix[:3, 3] = np.round(origin / spacing) * spacing if snap else origin
    i, j, k = (int(size) for size in sizes)
    return Grid((k, j, i), matrix)


def index_box(grid: Grid, low_ras: np.ndarray, high_ras: np.ndarray) -> tuple[slice, slice, slice]:
    """The k, j, i slices of a grid that cover a box in RAS, clipped to the grid (may be empty)."""
    points = np.array(
        [(*point, 1.0) for point in itertools.product(*zip(low_ras, high_ras, strict=True))]
    )
    indices = (np.linalg.inv(grid.ijk_to_ras) @ points.T)[:3].T
    slices = []
    for axis, size in zip((2, 1, 0), grid.shape, strict=True):
        start = max(math.floor(indices[:, axis].min() + 0.5), 0)
        stop = min(math.floor(indices[:, axis].max() + 0.5) + 1, size)
        slices.append(slice(min(start, size), max(stop, min(start, size))))
    return slices[0], slices[1], slices[2]


def subgrid(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """The part of a grid within a k, j, i box."""
    k, j, i = box
    shift = np.eye(4)
    shift[:3, 3] = (i.start, j.start, k.start)
    shape = (k.stop - k.start, j.stop - j.start, i.stop - i.start)
    return Grid(shape, grid.ijk_to_ras @ shift)


@dataclass(frozen=True, eq=False)
class Source:
    """A windowed piece of a scan, ready to be interpolated.

    Args:
        image: (1, 1, k, j, i), float32 in [0, 1].
        grid: where its voxels lie.
    """

    image: torch.Tensor
    grid: Grid

    @property
    def empty(self) -> bool:
        return self.image.numel() == 0


def windowed_source(
    volume: Volume,
    target: Grid,
    window_hu: tuple[float, float],
    device: torch.device | str = "cpu",
) -> Source:
    """Cut out what ``target`` can see of a scan, window it, and average it down to its resolution.

    Averaging comes before interpolation, or thin structures would be missed by a grid that is
    coarser than the scan (aliasing). Only slabs are ever held in float, so the memory that a whole
    512 x 512 x 600 scan takes at 6 mm is that of the result.

    Args:
        volume: the scan.
        target: the grid that the result will be interpolated to.
        window_hu: HU that become 0 and 1; what is beyond is clipped.
        device: where the result lies.
    """
    grid = grid_of(volume)
    step = np.linalg.inv(grid.ijk_to_ras)[:3, :3] @ target.ijk_to_ras[:3, :3]
    # How many source voxels one target voxel spans along the source's own i, j, k.
    fi, fj, fk = (max(1, int(span + 1e-3)) for span in np.abs(step).max(axis=1))
    low, high = bounds_ras(target)
    reach = np.abs(grid.ijk_to_ras[:3, :3]) @ np.array([fi, fj, fk], dtype=float)
    k, j, i = index_box(grid, low - reach, high + reach)
    piece = subgrid(grid, (k, j, i))
    if 0 in piece.shape:
        return Source(torch.zeros((1, 1, *piece.shape), device=device), piece)

    low_hu, high_hu = window_hu
    factors = (fk, fj, fi)
    shape = tuple(-(-size // f) for size, f in zip(piece.shape, factors, strict=True))
    image = torch.empty((1, 1, *shape), dtype=torch.float32, device=device)
    rows = max(1, SLAB_VOXELS // (piece.shape[1] * piece.shape[2] * fk)) * fk
    # One buffer for all slabs. A new one for each would leave holes between the results that the
    # allocator cannot give back: gigabytes for a long scan.
    buffer = np.empty((min(rows, piece.shape[0]), *piece.shape[1:]), np.float32)
    for start in range(0, piece.shape[0], rows):
        slab = volume.array[k, j, i][start : start + rows]
        np.copyto(buffer[: len(slab)], slab, casting="unsafe")
        values = torch.from_numpy(buffer[: len(slab)]).to(device)[None, None]
        values.clamp_(low_hu, high_hu).sub_(low_hu).div_(high_hu - low_hu)
        if factors != (1, 1, 1):
            # ceil_mode averages the partial cells at the far edge over what they do hold, unless
            # there is nothing but a partial cell.
            cell = [min(size, f) for size, f in zip(values.shape[2:], factors, strict=True)]
            values = F.avg_pool3d(values, cell, ceil_mode=True, count_include_pad=False)
        image[:, :, start // fk : start // fk + values.shape[2]] = values
    scale = np.diag([fi, fj, fk, 1.0])
    scale[:3, 3] = ((fi - 1) / 2, (fj - 1) / 2, (fk - 1) / 2)
    return Source(image, Grid((shape[0], shape[1], shape[2]), piece.ijk_to_ras @ scale))


def normalised_coordinates(
    source: Grid, points_to_source: torch.Tensor | np.ndarray, target_shape: tuple[int, int, int]
) -> torch.Tensor:
    """The sampling positions that :func:`torch.nn.functional.grid_sample` wants.

    Args:
        source: the grid that is read.
        points_to_source: 4x4, target indices (i, j, k, 1) to source indices.
        target_shape: k, j, i.

    Returns:
        (1, k, j, i, 3), x, y, z in [-1, 1] with ``align_corners=False``; float32.
    """
    matrix = np.asarray(points_to_source, dtype=np.float64)
    sk, sj, si = source.shape
    # index -> normalised: (2 index + 1) / size - 1
    to_unit = np.diag([2 / si, 2 / sj, 2 / sk, 1.0])
    to_unit[:3, 3] = (1 / si - 1, 1 / sj - 1, 1 / sk - 1)
    affine = torch.from_numpy((to_unit @ matrix)[:3]).float()
    k, j, i = (torch.arange(size, dtype=torch.float32) for size in target_shape)
    return (
        i[None, None, :, None] * affine[:, 0]
        + j[None, :, None, None] * affine[:, 1]
        + k[:, None, None, None] * affine[:, 2]
        + affine[:, 3]
    )[None]


def resample(
    image: torch.Tensor, source: Grid, target: Grid, mode: str = "bilinear"
) -> torch.Tensor:
    """Interpolate an image at the voxels of another grid.

    Args:
        image: (1, C, k, j, i) on ``source``.
        mode: ``"bilinear"`` (which is trilinear here) or ``"nearest"``.

    Returns:
        (1, C, k, j, i) on ``target``; zero where the target lies outside the source, while half a
        voxel around the source still takes the value at its edge.
    """
    to_source = np.linalg.inv(source.ijk_to_ras) @ target.ijk_to_ras
    if image.numel() and _keeps_axes(to_source, target.shape):
        return _resample_by_axis(image, to_source, target.shape, mode)
    result = image.new_zeros((1, image.shape[1], *target.shape))
    if image.numel() == 0:
        return result
    rows = max(1, SLAB_VOXELS // (target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], rows):
        stop = min(start + rows, target.shape[0])
        shift = np.eye(4)
        shift[2, 3] = start
        positions = normalised_coordinates(
            source, to_source @ shift, (stop - start, target.shape[1], target.shape[2])
        ).to(image.device)
        sampled = F.grid_sample(
            image, positions, mode=mode, padding_mode="border", align_corners=False
        )
        within = (positions.abs() <= 1 + _EDGE).all(dim=-1)[:, None]
        result[:, :, start:stop] = sampled * within
    return result


def _keeps_axes(to_source: np.ndarray, shape: tuple[int, int, int]) -> bool:
    """Whether each axis of the target runs along the same axis of the source, be it backwards:
    then no voxel of the target is more than a thousandth of a source voxel off the axis."""
    turned = to_source[:3, :3] - np.diag(np.diag(to_source[:3, :3]))
    return bool((np.abs(turned) @ np.array(shape[::-1], dtype=float)).max() < 1e-3)


def _resample_by_axis(
    image: torch.Tensor, to_source: np.ndarray, shape: tuple[int, int, int], mode: str
) -> torch.Tensor:
    """What ``grid_sample`` gives, one axis after the other: a fraction of its work and memory.

    A scan that lies straight, as nearly all do, needs no position for every voxel.
    """
    # The axis that shrinks most comes first, the one that grows most last.
    for axis in sorted(range(3), key=lambda axis: shape[axis] / image.shape[2 + axis]):
        column = 2 - axis  # of the matrix: i, j, k
        size = image.shape[2 + axis]
        at = to_source[column, column] * np.arange(shape[axis]) + to_source[column, 3]
        within = np.abs((2 * at + 1) / size - 1) <= 1 + _EDGE
        at = np.clip(at, 0, size - 1)
        lower = np.rint(at) if mode == "nearest" else np.floor(at)
        places = torch.from_numpy(lower.astype(np.int64)).to(image.device)
        sampled = image.index_select(2 + axis, places)
        along = [-1 if other == axis else 1 for other in range(3)]
        if mode != "nearest":
            beyond = image.index_select(2 + axis, (places + 1).clamp_(max=size - 1))
            share = torch.from_numpy(at - lower).to(image.device, image.dtype)
            sampled.lerp_(beyond, share.view(1, 1, *along))
        if not within.all():
            sampled *= torch.from_numpy(within).to(image.device).view(1, 1, *along)
        image = sampled
    return image


def sample_scan(
    volume: Volume,
    target: Grid,
    window_hu: tuple[float, float],
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """A scan, windowed to [0, 1], on another grid: (1, 1, k, j, i)."""
    source = windowed_source(volume, target, window_hu, device)
    return resample(source.image, source.grid, target)
