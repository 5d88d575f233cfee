"""NRRD and MetaImage files, which ITK reads once their headers are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..geometry.grid import Grid
from ..geometry.itk import check_image_kind, ijk_to_ras_of_image
from ..geometry.volume import Volume
from ..paths import PlainPaths
from .captured_stderr import capture_stderr
from .formats import ITK_FORMATS, WarningCallback, check_room, describe_failure, suffix_of
from .itk_headers import HeaderNotes, header_fields, header_notes, unread_packing
from .meta_header import meta_problem
from .voxel_files import voxel_files

if TYPE_CHECKING:
    import SimpleITK as sitk


def read_itk_file(path: Path, name: str, on_warning: WarningCallback) -> Volume:
    """The scan in an NRRD or MetaImage file.

    Args:
        name: what to call it in messages.

    Raises:
        InputError: it is damaged, too large, no single 3D image of real numbers, or its voxels lie
            outside the folder of its header.
        OSError: it cannot be opened.
    """
    kind, _ = ITK_FORMATS[suffix_of(path)]
    files = voxel_files(path, kind, name)
    with capture_stderr() as printed, _open_header(path, files, name) as (reader, notes):
        size = reader.GetSize()
        check_room(size, files, name)
        if not notes.is_packed and _pixel_bytes(reader) > sum(one.stat().st_size for one in files):
            raise InputError(f"The file '{name}' is cut short: voxels are missing at its end.")
        image = reader.Execute()
    if "Uncompress failed" in printed.text:  # MetaIO prints it and goes on
        raise InputError(f"The file '{name}' is damaged: it cannot be decompressed.")
    volume = Volume.from_sitk(image, name)
    for warning in notes.warnings:
        on_warning(warning)
    return Volume(volume.array, notes.to_place @ volume.ijk_to_ras)


def read_itk_header(path: Path, name: str) -> Grid:
    """Size and place, without the voxels.

    Raises:
        InputError: as :func:`read_itk_file`.
        OSError: it cannot be opened.
    """
    with capture_stderr(), _open_header(path, [], name) as (reader, notes):
        i, j, k = reader.GetSize()[:3]
        return Grid((k, j, i), notes.to_place @ ijk_to_ras_of_image(reader))


@contextmanager
def _open_header(
    path: Path, files: list[Path], name: str
) -> Iterator[tuple[sitk.ImageFileReader, HeaderNotes]]:
    """A reader that has read the header, and what the header says that ITK passes over.

    Args:
        files: that the voxels lie in, where they are to be read.
    """
    import SimpleITK as sitk

    kind, image_io = ITK_FORMATS[suffix_of(path)]
    with path.open("rb"):  # a file without permission is told as such
        pass
    # ITK believes what a header says.
    problem = meta_problem(path) if kind == "MetaImage" else None
    if problem:
        raise InputError(f"The file '{name}' {problem}.")
    fields = header_fields(path, kind)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    try:
        with PlainPaths() as paths:
            reader.SetFileName(paths.link_beside(path, files))
            reader.ReadImageInformation()
            check_image_kind(reader, name)
            yield reader, header_notes(fields, kind, name)
    except RuntimeError as error:  # all that SimpleITK raises
        packing = unread_packing(fields, kind)
        if packing:
            raise InputError(f"The file '{name}' {packing}.") from error
        raise InputError(describe_failure(name, kind, str(error))) from error


def _pixel_bytes(reader: sitk.ImageFileReader) -> int:
    import SimpleITK as sitk

    pixel = sitk.Image([1, 1], reader.GetPixelID())
    return math.prod(reader.GetSize()) * int(sitk.GetArrayViewFromImage(pixel).itemsize)
