"""What an image file's header says, without reading its voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry.grid import Grid
from ..geometry.itk import check_image_kind, ijk_to_ras_of_image
from ..paths import PlainPaths, printable
from .captured_stderr import capture_stderr
from .formats import describe_failure
from .nifti import read_nifti_header


def read_header(file: Path) -> Grid:
    """Size and place of a NIfTI, NRRD or MetaImage file.

    Raises:
        InputError: there is no such file, it is damaged, or no single 3D image of real numbers.
    """
    name = printable(file.name)
    try:
        if file.name.lower().endswith((".nii", ".nii.gz")):
            nifti = read_nifti_header(file, name)
            return _grid(nifti.shape, nifti.ijk_to_ras)
        with PlainPaths() as paths:
            return _read_with_itk(paths.of(file), name)
    except OSError as error:
        raise InputError(f"'{name}' cannot be opened: {error.strerror or error}.") from error


def _read_with_itk(file: str, name: str) -> Grid:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        with capture_stderr():
            reader.ReadImageInformation()
    except RuntimeError as error:  # all that SimpleITK raises
        raise InputError(describe_failure(name, "an image", str(error))) from error
    check_image_kind(reader, name)
    return _grid(reader.GetSize(), ijk_to_ras_of_image(reader))


def _grid(size: tuple[int, ...], ijk_to_ras: np.ndarray) -> Grid:
    i, j, k = size[:3]
    return Grid((k, j, i), ijk_to_ras)
