"""A scan with its place in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .grid import Grid, has_right_angles
from .itk import (
    LPS_TO_RAS,
    array_of_image,
    check_image_kind,
    ijk_to_ras_of_image,
    image_of_array,
)

if TYPE_CHECKING:
    import SimpleITK as sitk

AXIS_OF_LETTER = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
"""Of R, A, S, that on which a direction lies."""
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

    @classmethod
    def from_array(
        cls,
        array: np.ndarray,
        affine: np.ndarray | None = None,
        *,
        spacing_mm: Sequence[float] | None = None,
        orientation: str = "SPL",
    ) -> Volume:
        """A volume of an array, whose voxels it shares.

        Args:
            array: voxels. With an affine its axes are i, j, k, as in nibabel's images.
            affine: 4x4, from the array's indices to RAS millimetres.
            spacing_mm: or else the distance of the voxels along each axis of the array, the axes
                in the order k, j, i, as in what SimpleITK gives; the first voxel is at 0, 0, 0.
            orientation: with ``spacing_mm``, the directions in the patient in which the array's
                indices grow, a letter an axis, of R, L, A, P, S, I. "SPL" is that of an axial stack
                as scanners store it: slices from feet to head, rows to the back, columns to the
                left.

        Raises:
            InputError: neither or both of affine and spacing are given, or they place nothing.
        """
        array = np.asarray(array)
        if array.ndim != 3:
            raise InputError(
                f"A volume has three dimensions, but this array has {array.ndim}; give one 3D scan."
            )
        if (affine is None) == (spacing_mm is None):
            raise InputError(
                "An array does not say how large its voxels are or how it lies in the patient; "
                "give its affine, or its spacing and orientation, one of both."
            )
        if spacing_mm is not None:
            return cls(array, _matrix_of(spacing_mm, orientation))
        matrix = _numbers(affine)
        if matrix.shape != (4, 4):
            raise InputError("The affine is a 4x4 matrix from the array's indices to RAS mm.")
        return cls(array.transpose(2, 1, 0), matrix)

    @classmethod
    def from_sitk(cls, image: sitk.Image, name: str = "image") -> Volume:
        """A SimpleITK image, whose voxels it shares.

        Raises:
            InputError: it is not one 3D image of real numbers.
        """
        check_image_kind(image, name)
        return cls(array_of_image(image), ijk_to_ras_of_image(image))

    @classmethod
    def from_lps(cls, array: np.ndarray, ijk_to_lps: np.ndarray) -> Volume:
        """Voxels (k, j, i) and their 4x4 matrix to left, posterior, superior mm, as in DICOM."""
        return cls(array, LPS_TO_RAS @ ijk_to_lps)

    @classmethod
    def from_nibabel(cls, image: Any) -> Volume:
        """A nibabel image; the array becomes k, j, i.

        Raises:
            InputError: it is not one 3D image of real numbers.
        """
        array = np.asanyarray(image.dataobj)
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        return cls.from_array(array, image.affine)

    def to_sitk(self) -> sitk.Image:
        """A SimpleITK image with a copy of the voxels.

        Raises:
            InputError: its axes are sheared, which no such image holds.
        """
        self.require_right_angles()
        return image_of_array(self.array, self.ijk_to_ras)

    def to_nibabel(self) -> Any:
        """A nibabel ``Nifti1Image``; its array is i, j, k."""
        import nibabel

        image = nibabel.Nifti1Image(self.array.transpose(2, 1, 0), self.ijk_to_ras)
        image.header.set_xyzt_units("mm")
        return image

    def require_right_angles(self) -> None:
        """Raise InputError where the axes are not at right angles, as label maps want them."""
        if not has_right_angles(self.ijk_to_ras):
            raise InputError(
                "The scan's slices are tilted against their stack, which SimpleITK images cannot "
                "hold; use to_nibabel, save a .seg.nrrd or .nii.gz, or resample it."
            )

    @property
    def grid(self) -> Grid:
        """Where the voxels lie: the way from indices to points and back, bounds, parts."""
        k, j, i = self.array.shape
        return Grid((k, j, i), self.ijk_to_ras)

    @property
    def shape_ijk(self) -> tuple[int, int, int]:
        k, j, i = self.array.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a step along i, j and k."""
        return self.grid.spacing_mm

    @property
    def ras_to_ijk(self) -> np.ndarray:
        return self.grid.ras_to_ijk

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel, shear taken into account."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    def with_array(self, array: np.ndarray) -> Volume:
        """Another image on the same grid."""
        if array.shape != self.array.shape:
            raise ValueError(f"expected an array of shape {self.array.shape}, got {array.shape}")
        return Volume(array, self.ijk_to_ras)


def _matrix_of(spacing_mm: Sequence[float], orientation: str) -> np.ndarray:
    """i, j, k to RAS of an array that begins at 0, 0, 0; the arguments are in the order k, j, i."""
    letters = orientation.upper() if isinstance(orientation, str) else ""
    if sorted(AXIS_OF_LETTER.get(letter, -1) for letter in letters) != [0, 1, 2]:
        raise InputError(
            f"'{orientation}' is no orientation: name the direction of each axis of the array with "
            "a letter of R or L, A or P, S or I, for example SPL."
        )
    steps = _numbers(spacing_mm)
    if steps.shape != (3,) or not np.isfinite(steps).all() or (steps <= 0).any():
        raise InputError(
            "The spacing must be three distances above zero in mm, one for each axis of the array, "
            f"not {spacing_mm}."
        )
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, letter in enumerate(letters):
        matrix[AXIS_OF_LETTER[letter], 2 - axis] = steps[axis] * (1 if letter in "RAS" else -1)
    return matrix


def _numbers(given: Any) -> np.ndarray:
    """What a user gave as numbers; without any, and so of no shape that is asked for, where it is
    something else."""
    try:
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)


def reorder_axes(volume: Volume, axes: tuple[int, int, int], flips: tuple[bool, ...]) -> Volume:
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
