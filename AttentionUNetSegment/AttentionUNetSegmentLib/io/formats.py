"""The formats of image files: how each is told, and what is said of one that cannot be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import InputError
from .dicom_lengths import begins_with_an_element

NIFTI = (".nii", ".nii.gz")
_NRRD = ("NRRD", "NrrdImageIO")
_META = ("MetaImage", "MetaImageIO")
ITK_FORMATS = {
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    ".mha": _META,
    ".mhd": _META,
}
_MOST_SHRUNK = 1040  # no compression in use shrinks a scan by more
FORMATS_TEXT = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) or DICOM"

WarningCallback = Callable[[str], None]
"""Called with a plain sentence about something the user should know, once for each."""


def suffix_of(path: Path) -> str:
    """Its suffix in small letters, that of a compressed NIfTI file whole."""
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
    if not start or suffix_of(Path(path)) in ITK_FORMATS:
        return False
    # Without preamble, as files were before the standard had one: group 2 or 8 comes first.
    return suffix_of(Path(path)) in (".dcm", ".ima") or begins_with_an_element(start)


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
