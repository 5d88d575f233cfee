"""Volumes in every kind of position, and where things in them are in the world."""

from __future__ import annotations

import numpy as np
from AttentionUNetSegmentLib.inference.volume import Volume

SCANNER = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(axis: int, degrees: float) -> np.ndarray:
    """4x4 rotation about R (0), A (1) or S (2)."""
    angle = np.radians(degrees)
    a, b = (other for other in range(3) if other != axis)
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def placed(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    """IJK to RAS of an axial scan: i to the left, j to the back, k to the head."""
    matrix = SCANNER @ np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return matrix


def reordered(volume: Volume, axes: tuple[int, int, int], flips: tuple[bool, ...]) -> Volume:
    """The same scan in the same place, with its voxels stored in another order.

    Args:
        axes: which of the old k, j, i axes become the new k, j, i axes.
        flips: whether each new axis runs backwards.
    """
    array = np.transpose(volume.array, axes)
    old_from_new = np.zeros((4, 4))
    old_from_new[3, 3] = 1
    for new_axis, old_axis in enumerate(axes):
        # Matrices are in i, j, k order, arrays in k, j, i.
        column, row = 2 - new_axis, 2 - old_axis
        if flips[new_axis]:
            old_from_new[row, column] = -1
            old_from_new[row, 3] = array.shape[new_axis] - 1
        else:
            old_from_new[row, column] = 1
    array = np.flip(array, [axis for axis in range(3) if flips[axis]])
    return Volume(array, volume.ijk_to_ras @ old_from_new)


def centre_ras(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """The middle of a mask in the world."""
    middle = np.argwhere(mask).mean(axis=0)[::-1]
    return (ijk_to_ras @ np.array([*middle, 1.0]))[:3]
