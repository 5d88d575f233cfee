"""Moving images between grids, on the device that the network runs on.

A scan is brought to a
grid whose axes run along R, A and S, whatever its own directions are, and results are brought back
by the inverse map; nothing here knows the words "flip" or "oblique". Intensities are windowed to
[0, 1] before anything is averaged, so that zero means "nothing there", outside the scan too.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .grid import Grid, GridImage
from .volume import Volume

SLAB_VOXELS = 1 << 22
"""Voxels that are converted or interpolated at a time; bounds the memory of temporaries."""
_EDGE = 1e-5
"""How far beyond a grid's end, in halves of the grid, still counts as within: rounding."""


def window_scan(
    volume: Volume,
    target: Grid,
    window_hu: tuple[float, float],
    device: torch.device | str = "cpu",
) -> GridImage:
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
    grid = volume.grid
    step = grid.ras_to_ijk[:3, :3] @ target.ijk_to_ras[:3, :3]
    # How many source voxels one target voxel spans along the source's own i, j, k.
    fi, fj, fk = (max(1, int(span + 1e-3)) for span in np.abs(step).max(axis=1))
    reach = np.abs(grid.ijk_to_ras[:3, :3]) @ np.array([fi, fj, fk], dtype=float)
    k, j, i = grid.region_of(target.bounds.grown(reach).corners_ras)
    piece = grid.subgrid((k, j, i))
    if 0 in piece.shape:
        return GridImage(torch.zeros((1, 1, *piece.shape), device=device), piece)

    low_hu, high_hu = window_hu
    factors = (fk, fj, fi)
    coarse = piece.coarsened(factors)
    image = torch.empty((1, 1, *coarse.shape), dtype=torch.float32, device=device)
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
    return GridImage(image, coarse)


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
    to_source = source.ras_to_ijk @ target.ijk_to_ras
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


def widened(region: torch.Tensor, voxels: int = 1) -> torch.Tensor:
    """A boolean region (..., k, j, i) and what is within a cube of so many voxels around each of
    its own: axis by axis and step by step, in a tenth of the time of a pooling."""
    for axis in (-3, -2, -1):
        for _ in range(voxels):
            inner, size = region, region.shape[axis] - 1
            region = inner.clone()
            region.narrow(axis, 0, size).logical_or_(inner.narrow(axis, 1, size))
            region.narrow(axis, 1, size).logical_or_(inner.narrow(axis, 0, size))
    return region


def sample_scan(
    volume: Volume,
    target: Grid,
    window_hu: tuple[float, float],
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """A scan, windowed to [0, 1], on another grid: (1, 1, k, j, i)."""
    source = window_scan(volume, target, window_hu, device)
    return resample(source.values, source.grid, target)
