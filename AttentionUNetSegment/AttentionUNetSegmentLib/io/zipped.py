"""A scan that comes as a zip archive, as archives and hospitals hand DICOM out."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, OutputError

MOST_FILES = 20_000

_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)


@contextmanager
def unzip(path: Path) -> Iterator[Path]:
    """The folder that a zip archive was unpacked into, for as long as the block runs; any other
    path itself.

    Args:
        path: what somebody gave as a scan; an archive where its name ends in ``.zip``.

    Raises:
        InputError: the archive is damaged, encrypted, or too large.
        OutputError: it cannot be unpacked here.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="attention-unet-segment-") as folder:
        # What is said about the scan names this folder.
        inside = Path(folder) / path.stem
        try:
            inside.mkdir()
            _unpack(path, inside)
        except _UNREADABLE as error:
            raise InputError(
                f"The zip archive '{path.name}' is damaged, or packed in a way that is not read "
                "here; unpack it and give the folder."
            ) from error
        except OSError as error:
            raise OutputError(
                f"The zip archive '{path.name}' could not be unpacked into the folder for "
                f"temporary files ({error.strerror or error}); unpack it and give the folder."
            ) from error
        yield inside


def _unpack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MOST_FILES:
            raise InputError(
                f"There are more than {MOST_FILES} files in '{path.name}'; give one scan."
            )
        if any(member.flag_bits & 1 for member in members):
            raise InputError(
                f"The zip archive '{path.name}' is encrypted; unpack it and give the folder."
            )
        # What the archive says of itself; what it unpacks to beyond that is refused as damaged.
        needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"The zip archive '{path.name}' takes {needed / 1e9:.1f} GB when unpacked, but the "
                f"folder for temporary files has only {free / 1e9:.1f} GB left."
            )
        # No member lands outside the folder, whatever it is called.
        archive.extractall(folder)
