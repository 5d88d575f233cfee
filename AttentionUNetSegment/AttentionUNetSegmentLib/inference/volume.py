"""A scan with its place in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError

_FARTHEST_MM = 1e9  # beyond it, positions lose their millimetres and then overflow


@dataclass(frozen=True, eq=False)
class Volume:
    """An image and the matrix that places it in the patient.

    Args:
        array: voxels in k, j, i order (slowest first), any real type; Hounsfield units for CT.
        ijk_to_ras: 4x4, from voxel indices (i, j, k, 1) to right-anterior-superior millimetres in
            the world. Any invertible matrix: flipped, permuted, oblique and sheared directions are
            all treated alike, because nothing here reads a "direction" out of it.

    Raises:
        InputError: the array is not three-dimensional, or the matrix cannot place it.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise InputError(
                f"A volume has three dimensions, but this image has {self.array.ndim}; "
                "load a single 3D series."
            )
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise InputError("The volume's position matrix is not a finite 4x4 matrix.")
        if np.abs(matrix).max() > _FARTHEST_MM:
            raise InputError(
                "The volume's position matrix places it, or its voxels, 1,000 km apart or more; "
                "repair its header."
            )
        if not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise InputError("The volume is placed by a perspective transform; harden it first.")
        axes = np.linalg.norm(matrix[:3, :3], axis=0)
        if (axes <= 0).any() or abs(np.linalg.det(matrix[:3, :3] / axes)) < 1e-6:
            raise InputError(
                "The volume's spacing or directions are degenerate (two axes coincide or a "
                "spacing is zero); repair its header."
            )
        matrix.flags.writeable = False
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def shape_ijk(self) -> tuple[int, int, int]:
        k, j, i = self.array.shape
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
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel, shear taken into account."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    def with_array(self, array: np.ndarray) -> Volume:
        """Another image on the same grid."""
        if array.shape != self.array.shape:
            raise ValueError(f"expected an array of shape {self.array.shape}, got {array.shape}")
        return Volume(array, self.ijk_to_ras)


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
    array = np.flip(array, tuple(axis for axis in range(3) if flips[axis]))
    return Volume(array, volume.ijk_to_ras @ old_from_new)
