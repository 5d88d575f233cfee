"""What an image file's header says, without reading its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..paths import PlainPaths, printable
from .captured_stderr import captured_stderr
from .nifti import read_nifti_header
from .reading import check_image_kind, describe_failure


@dataclass(frozen=True, eq=False)
class Header:
    """Size and place of an image.

    Args:
        shape_ijk: voxels along i, j, k.
        ijk_to_ras: 4x4.
    """

    shape_ijk: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)


def read_header(file: Path) -> Header:
    """The header of a NIfTI, NRRD or MetaImage file.

    Raises:
        InputError: there is no such file, it is damaged, or no single 3D image of real numbers.
    """
    name = printable(file.name)
    try:
        if file.name.lower().endswith((".nii", ".nii.gz")):
            nifti = read_nifti_header(file, name)
            return _header(nifti.shape, nifti.ijk_to_ras)
        with PlainPaths() as paths:
            return _read_with_itk(paths.of(file), name)
    except OSError as error:
        raise InputError(f"'{name}' cannot be opened: {error.strerror or error}.") from error


def _read_with_itk(file: str, name: str) -> Header:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        with captured_stderr():
            reader.ReadImageInformation()
    except RuntimeError as error:  # all that SimpleITK raises
        raise InputError(describe_failure(name, "an image", str(error))) from error
    check_image_kind(reader, name)
    size = reader.GetSize()
    dimension = len(size)
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    ijk_to_lps[:3, 3] = reader.GetOrigin()[:3]
    return _header(size, np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_lps)


def _header(size: tuple[int, ...], ijk_to_ras: np.ndarray) -> Header:
    return Header((size[0], size[1], size[2]), ijk_to_ras)
