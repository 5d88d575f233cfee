"""What an image file's header says, without reading its voxels."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..geometry.grid import Grid
from ..paths import printable
from .formats import FORMATS_TEXT, ITK_FORMATS, NIFTI, suffix_of
from .itk_files import read_itk_header
from .nifti import read_nifti_header


def read_header(file: Path) -> Grid:
    """Size and place of a NIfTI, NRRD or MetaImage file.

    Raises:
        InputError: there is no such file, it is damaged, or no single 3D image of real numbers.
    """
    name = printable(file.name)
    try:
        suffix = suffix_of(file)
        if suffix in ITK_FORMATS:
            return read_itk_header(file, name)
        if suffix in NIFTI:
            nifti = read_nifti_header(file, name)
            i, j, k = nifti.shape[:3]
            return Grid((k, j, i), nifti.ijk_to_ras)
    except OSError as error:
        raise InputError(f"'{name}' cannot be opened: {error.strerror or error}.") from error
    raise InputError(f"'{name}' is of no format that is read here: {FORMATS_TEXT}.")
