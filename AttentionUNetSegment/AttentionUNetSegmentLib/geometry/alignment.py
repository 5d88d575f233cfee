"""Labels brought onto the grid of their image, where they lie on it, by whole voxels."""

from __future__ import annotations

import numpy as np

from .grid import Grid, box_corners, transform_points
from .volume import Volume

TOLERANCE_VOXELS = 0.1
"""How far a corner may be off its place: headers are rounded, NIfTI's rotations most of all."""


def align_labels(image: Volume, labels: Volume) -> Volume | None:
    """The labels with their voxels in the image's order, or None where the grids differ.

    Axes may be stored in another order and run the other way, as long as every voxel of the labels
    is one of the image. Nothing is interpolated.
    """
    moved = match_axes(image.grid, labels.grid)
    if moved is None:
        return None
    axes, flipped = moved
    array = np.transpose(labels.array, [2 - axis for axis in reversed(axes)])
    array = np.flip(array, tuple(2 - axis for axis in range(3) if flipped[axis]))
    return image.with_array(array)


def match_axes(grid: Grid, other: Grid) -> tuple[tuple[int, ...], tuple[bool, ...]] | None:
    """Which axis (i, j, k) of another grid each axis of a grid is, and whether it runs backwards
    there; None where the two grids are not of the same voxels."""
    shape, other_shape = grid.shape_ijk, other.shape_ijk
    to_other = other.ras_to_ijk @ grid.ijk_to_ras
    turn = np.round(to_other[:3, :3]).astype(int)
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any():
        return None
    axes = tuple(int(np.abs(turn[:, axis]).argmax()) for axis in range(3))
    flipped = tuple(bool(turn[onto, axis] < 0) for axis, onto in enumerate(axes))
    if any(shape[axis] != other_shape[onto] for axis, onto in enumerate(axes)):
        return None
    exact = np.zeros((3, 4))
    for axis, onto in enumerate(axes):
        exact[onto, axis] = -1 if flipped[axis] else 1
        exact[onto, 3] = shape[axis] - 1 if flipped[axis] else 0
    corners = box_corners((0, 0, 0), np.array(shape) - 1)
    off = np.abs(transform_points(to_other[:3] - exact, corners)).max()
    return (axes, flipped) if off <= TOLERANCE_VOXELS else None
