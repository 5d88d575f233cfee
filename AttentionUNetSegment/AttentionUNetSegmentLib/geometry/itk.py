"""ITK images: how they place their voxels, from left to right where the library has right to left.

ITK and DICOM count millimetres to the left, the back and the head (LPS), the library to the right,
the front and the head (RAS).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""And back."""


def ijk_to_ras_of_image(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """4x4, from the indices of an image, or of one whose header a reader has read, to RAS mm."""
    dimension = len(image.GetSize())
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    ijk_to_lps[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ ijk_to_lps


def array_of_image(image: sitk.Image) -> np.ndarray:
    """The voxels of an image, (k, j, i), which it shares and keeps: a copy would double the memory
    that a long scan takes."""
    array = np.asarray(_Voxels(image))
    return array[0] if array.ndim == 4 else array


def image_of_array(array: np.ndarray, ijk_to_ras: np.ndarray) -> sitk.Image:
    """An image with a copy of voxels (k, j, i).

    Args:
        ijk_to_ras: 4x4; its axes are at right angles, or writers refuse the image.
    """
    import SimpleITK as sitk

    ijk_to_lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin([float(value) for value in ijk_to_lps[:3, 3]])
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())
    return image


def check_image_kind(image: sitk.Image | sitk.ImageFileReader, name: str) -> None:
    """:func:`check_kind` of an image, or of a reader that has read its header."""
    import SimpleITK as sitk

    is_complex = image.GetPixelIDValue() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
    components = (
        image.GetNumberOfComponentsPerPixel()
        if isinstance(image, sitk.Image)
        else image.GetNumberOfComponents()
    )
    check_kind(image.GetSize(), components, is_complex, name)


def check_kind(size: tuple[int, ...], components: int, is_complex: bool, name: str) -> None:
    """Raise InputError unless it is one 3D image of real numbers; a last axis of 1 may go."""
    if 0 in size:
        raise InputError(f"The image '{name}' is empty: it has no voxels.")
    if is_complex:
        raise InputError(f"The image '{name}' holds complex numbers; a CT holds real ones.")
    if components != 1:
        raise InputError(
            f"The image '{name}' has {components} values for each voxel (a colour picture, vectors "
            "or a series in time); a CT has one."
        )
    if len(size) < 3:
        raise InputError(
            f"The image '{name}' is a 2D picture of {' x '.join(map(str, size))}; a 3D scan is "
            "needed."
        )
    if math.prod(size[3:]) != 1:
        raise InputError(
            f"The image '{name}' is a series of {math.prod(size[3:])} volumes (4D); "
            "save the one to segment as a file of its own."
        )


class _Voxels:
    """Those of a SimpleITK image, for NumPy, which holds this object as long as an array needs them
    (SimpleITK's own view of an image does not hold the image)."""

    def __init__(self, image: sitk.Image) -> None:
        import SimpleITK as sitk

        self._image = image
        interface = sitk.GetArrayViewFromImage(image).__array_interface__
        address, _read_only = interface["data"]
        self.__array_interface__ = {**interface, "data": (address, False)}
