"""A scan from a file or a DICOM folder."""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import InputError, is_out_of_memory
from ..geometry.volume import Volume
from ..paths import in_home, printable
from .formats import (
    FORMATS_TEXT,
    ITK_FORMATS,
    NIFTI,
    WarningCallback,
    is_dicom,
    suffix_of,
)

_NO_NIBABEL = (
    "'{}' is a NIfTI file, which needs the Python package nibabel; install it with: "
    "pip install 'attention-unet-segment[standalone]'"
)
_log = logging.getLogger(__name__)


def read_volume(
    path: str | Path, on_warning: WarningCallback | None = None, *, name: str | None = None
) -> Volume:
    """Read a scan.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with one DICOM CT series (localizers and
            other kinds of images beside it are set aside with a warning), or any one file of a
            DICOM series, to choose among several.
        on_warning: takes what the user should know; without it, warnings go to the log.
        name: what to call it in messages: the last component of the path unless given. The names
            of files may name a patient; with this, no message holds one.

    Returns:
        The voxels in k, j, i order, in the type in which they are stored (DICOM and NIfTI rescaled
        to real values), and the matrix to RAS millimetres.

    Raises:
        InputError: there is no such file, it is damaged or of another kind, its voxels lie outside
            the folder of its header, or the image is not a single 3D volume with one real number
            for each voxel. Messages name nothing of a DICOM file but its series' number.
    """
    on_warning = on_warning or _log_warning
    path = in_home(path)
    is_named = name is not None
    name = name or printable(path.name or path.resolve().name)
    try:
        if path.name.upper() == "DICOMDIR" and path.is_file():
            path = path.resolve().parent  # it lists what lies beside and below it
        if path.is_dir():
            from .dicom_series import read_dicom_folder

            return read_dicom_folder(path, on_warning, name, with_file_names=not is_named)
        if not path.exists():
            raise InputError(f"There is no file or folder '{name}'.")
        if not path.is_file():
            raise InputError(f"'{name}' is neither a file nor a folder.")
        if path.stat().st_size == 0:
            raise InputError(f"The file '{name}' is empty.")
        suffix = suffix_of(path)
        if suffix in NIFTI:
            return _read_nifti(path, name, on_warning)
        if suffix in ITK_FORMATS:
            from .itk_files import read_itk_file

            return read_itk_file(path, name, on_warning)
        if is_dicom(path):
            from .dicom_series import read_dicom_file

            return read_dicom_file(path, on_warning, name)
    except MemoryError as error:
        raise InputError(f"'{name}' is too large for this computer's memory.") from error
    except OSError as error:
        raise InputError(f"'{name}' cannot be opened: {error.strerror or error}.") from error
    raise InputError(f"'{name}' is of no format that is read here: {FORMATS_TEXT}.")


def _log_warning(text: str) -> None:
    _log.warning("%s", text)


def _read_nifti(path: Path, name: str, on_warning: WarningCallback) -> Volume:
    try:
        from .nifti import read_nifti
    except ImportError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(_NO_NIBABEL.format(name)) from error
    return read_nifti(path, name, on_warning)
