"""Labels brought onto the grid of their image, where they lie on it, by whole voxels."""

from __future__ import annotations

import numpy as np

from .volume import Volume

TOLERANCE_VOXELS = 0.1
"""How far a corner may be off its place: headers are rounded, NIfTI's rotations most of all."""


def on_grid_of(image: Volume, labels: Volume) -> Volume | None:
    """The labels with their voxels in the image's order, or None where the grids differ.

    Axes may be stored in another order and run the other way, as long as every voxel of the labels
    is one of the image. Nothing is interpolated.
    """
    moved = voxel_order(image.shape_ijk, image.ijk_to_ras, labels.shape_ijk, labels.ijk_to_ras)
    if moved is None:
        return None
    axes, flipped = moved
    array = np.transpose(labels.array, [2 - axis for axis in reversed(axes)])
    array = np.flip(array, tuple(2 - axis for axis in range(3) if flipped[axis]))
    return image.with_array(array)


def voxel_order(
    shape: tuple[int, ...],
    ijk_to_ras: np.ndarray,
    other_shape: tuple[int, ...],
    other_ijk_to_ras: np.ndarray,
) -> tuple[tuple[int, ...], tuple[bool, ...]] | None:
    """Which axis of another grid each axis of a grid is, and whether it runs backwards there.

    Args:
        shape, other_shape: voxels along i, j, k.
        ijk_to_ras, other_ijk_to_ras: 4x4.

    Returns:
        None where the two grids are not of the same voxels.
    """
    to_other = np.linalg.inv(other_ijk_to_ras) @ ijk_to_ras
    turn = np.round(to_other[:3, :3]).astype(int)
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any():
        return None
    axes = tuple(int(np.abs(turn[:, axis]).argmax()) for axis in range(3))
    flipped = tuple(bool(turn[other, axis] < 0) for axis, other in enumerate(axes))
    if any(shape[axis] != other_shape[other] for axis, other in enumerate(axes)):
        return None
    exact = np.zeros((3, 4))
    for axis, other in enumerate(axes):
        exact[other, axis] = -1 if flipped[axis] else 1
        exact[other, 3] = shape[axis] - 1 if flipped[axis] else 0
    ends = [(0, size - 1) for size in shape]
    corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]])
    off = np.abs(corners @ (to_other[:3] - exact).T).max()
    return (axes, flipped) if off <= TOLERANCE_VOXELS else None
