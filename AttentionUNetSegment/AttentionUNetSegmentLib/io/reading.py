"""A scan from a file or a DICOM folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, is_out_of_memory
from ..geometry.volume import Volume
from ..paths import PlainPaths, in_home, printable
from .captured_stderr import captured_stderr
from .meta_header import meta_problem
from .voxel_files import voxel_files

if TYPE_CHECKING:
    import SimpleITK as sitk

_NIFTI = (".nii", ".nii.gz")
_NRRD = ("NRRD", "NrrdImageIO")
_META = ("MetaImage", "MetaImageIO")
_FORMATS = {
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    ".mha": _META,
    ".mhd": _META,
}
_MOST_SHRUNK = 1040  # no compression in use shrinks a scan by more
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NO_NIBABEL = (
    "'{}' is a NIfTI file, which needs the Python package nibabel; install it with: "
    "pip install 'attention-unet-segment[standalone]'"
)
FORMATS_TEXT = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) or DICOM"

_log = logging.getLogger(__name__)

WarningCallback = Callable[[str], None]
"""Called with a plain sentence about something the user should know, once for each."""


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
        suffix = _suffix(path)
        if suffix in _NIFTI:
            return _read_nifti(path, name, on_warning)
        if suffix in _FORMATS:
            return _read_file(path, suffix, name)
        if is_dicom(path):
            from .dicom_series import read_dicom_file

            return read_dicom_file(path, on_warning, name)
    except MemoryError as error:
        raise InputError(f"'{name}' is too large for this computer's memory.") from error
    except OSError as error:
        raise InputError(f"'{name}' cannot be opened: {error.strerror or error}.") from error
    raise InputError(f"'{name}' is of no format that is read here: {FORMATS_TEXT}.")


def volume_from_image(image: sitk.Image, name: str) -> Volume:
    """A SimpleITK image as a volume, which shares the image's voxels and keeps them: a copy would
    double the memory that a long scan takes.

    Raises:
        InputError: it is not one 3D image of real numbers.
    """
    size = image.GetSize()
    check_image_kind(image, name)
    array = np.asarray(_Voxels(image))
    if array.ndim == 4:
        array = array[0]
    dimension = len(size)
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    ijk_to_lps[:3, 3] = image.GetOrigin()[:3]
    return Volume(array, _LPS_TO_RAS @ ijk_to_lps)


class _Voxels:
    """Those of a SimpleITK image, for NumPy, which holds this object as long as an array needs them
    (SimpleITK's own view of an image does not hold the image)."""

    def __init__(self, image: sitk.Image) -> None:
        import SimpleITK as sitk

        self._image = image
        interface = sitk.GetArrayViewFromImage(image).__array_interface__
        address, _read_only = interface["data"]
        self.__array_interface__ = {**interface, "data": (address, False)}


def volume_from_lps(array: np.ndarray, ijk_to_lps: np.ndarray) -> Volume:
    """Voxels in k, j, i order, placed by a 4x4 matrix to DICOM's left-posterior-superior."""
    return Volume(array, _LPS_TO_RAS @ ijk_to_lps)


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


def check_room(size: tuple[int, ...], files: Sequence[Path], name: str) -> None:
    """Raise InputError where files are far too small for an image, before memory is taken for it:
    a header can promise anything."""
    if math.prod(size) > _MOST_SHRUNK * sum(file.stat().st_size for file in files):
        raise InputError(
            f"'{name}' is cut short or damaged: it is far too small for an image of "
            f"{' x '.join(map(str, size))} voxels."
        )


def describe_failure(name: str, kind: str, reason: str) -> str:
    """A sentence for what SimpleITK raised, without its source files and addresses."""
    if "orthonormal direction" in reason or "Bad direction" in reason:
        return (
            f"The axes of '{name}' are sheared or coincide, which a {kind} file cannot be read "
            "with; resample it to a grid with right angles."
        )
    if "Zero-valued spacing" in reason or "Negative spacing" in reason:
        return f"'{name}' has no valid voxel spacing in its header."
    if "allocate memory" in reason or "bad_alloc" in reason:
        return f"'{name}' is too large for this computer's memory."
    return f"'{name}' cannot be read as {kind}: it is damaged, cut short or of another format."


def _log_warning(text: str) -> None:
    _log.warning("%s", text)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def is_dicom(path: str | Path) -> bool:
    """Whether a file looks like DICOM.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        start = stream.read(132)
    if start[128:] == b"DICM":
        return True
    if not start or _suffix(Path(path)) in _FORMATS:
        return False
    # Without preamble, as files were before the standard had one: group 2 or 8 comes first.
    from .dicom_lengths import begins_with_an_element

    return _suffix(Path(path)) in (".dcm", ".ima") or begins_with_an_element(start)


def _read_nifti(path: Path, name: str, on_warning: WarningCallback) -> Volume:
    try:
        from .nifti import read_nifti
    except ImportError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(_NO_NIBABEL.format(name)) from error
    return read_nifti(path, name, on_warning)


def _read_file(path: Path, suffix: str, name: str) -> Volume:
    import SimpleITK as sitk

    kind, image_io = _FORMATS[suffix]
    with path.open("rb"):  # a file without permission is told as such
        pass
    # ITK believes what a header says.
    problem = meta_problem(path) if kind == "MetaImage" else None
    if problem:
        raise InputError(f"The file '{name}' {problem}.")
    files = voxel_files(path, kind, name)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    try:
        with PlainPaths() as paths, captured_stderr() as printed:
            reader.SetFileName(paths.link_beside(path, files))
            reader.ReadImageInformation()
            check_image_kind(reader, name)
            check_room(reader.GetSize(), files, name)
            image = reader.Execute()
    except RuntimeError as error:  # all that SimpleITK raises
        raise InputError(describe_failure(name, kind, str(error))) from error
    if "Uncompress failed" in printed.text:  # MetaIO prints it and goes on
        raise InputError(f"The file '{name}' is damaged: it cannot be decompressed.")
    return volume_from_image(image, name)
