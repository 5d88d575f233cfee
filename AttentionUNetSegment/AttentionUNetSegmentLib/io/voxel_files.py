"""The files that an NRRD or MetaImage header says its voxels lie in.

Both formats can name any file of the computer there, whatever the suffix of the header: what a
stranger's header names is looked at before it is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

_MOST_HEADER_BYTES = 4 << 20  # a list of 20,000 slices has room in it
_MOST_FILES = 100_000
_FIRST_WORDS = {"NRRD": b"data", "MetaImage": b"elementdatafile"}
# More is looked at than the readers do, such as what follows the header: nothing may slip through.
_ENTRIES = {
    "NRRD": re.compile(rb"(?:^|[\r\n])[ \t]*data[ \t]*file[ \t]*:(?!=)([^\r\n]*)", re.IGNORECASE),
    "MetaImage": re.compile(
        rb"(?:^|[\r\n])[ \t]*ElementDataFile[ \t]*[=:]([^\r\n]*)", re.IGNORECASE
    ),
}
_NUMBERED = re.compile(
    r"([^%]*%0?\d?d[^%]*?)\s+(-?\d{1,9})\s+(-?\d{1,9})(?:\s+(-?\d{1,9}))?(?:\s+\d)?"
)


def voxel_files(path: Path, kind: str, name: str) -> list[Path]:
    """Those that are there, each as often as it is named; the header's own file where the voxels
    follow it.

    Args:
        path: of the header.
        kind: ``NRRD`` or ``MetaImage``.
        name: what to call it in messages.

    Raises:
        InputError: one of them lies outside the header's folder, or none of them is there.
        OSError: the header cannot be read.
    """
    with path.open("rb") as stream:
        header = stream.read(_MOST_HEADER_BYTES)
    folder = path.parent.resolve()
    names = [one for found in _entries(header, kind) for one in _find_named_files(found)]
    files = {one: folder / one for one in names}
    # ITK takes a leading tilde for somebody's home.
    if any(one.startswith("~") for one in names) or not all(
        _lies_in(folder, one, file) for one, file in files.items()
    ):
        raise InputError(
            f"The header '{name}' takes its voxels from a file outside its own folder; put "
            "that file beside it and name it there."
        )
    present = {one for one, file in files.items() if file.is_file()}
    there = [files[one] for one in names if one in present]
    if files and not there:
        raise InputError(f"'{name}' cannot be read: the file with its voxels is missing.")
    return there or [path]


def _entries(header: bytes, kind: str) -> Iterator[re.Match[bytes]]:
    """Where files are named. To look at each line of what follows a header, which may be megabytes
    of voxels, takes a hundred times as long as to look for a word."""
    lower, word = header.lower(), _FIRST_WORDS[kind]
    at = lower.find(word)
    while at >= 0:
        start = at
        while start and header[start - 1] in b" \t":
            start -= 1
        if found := _ENTRIES[kind].match(header, max(start - 1, 0)):
            yield found
        at = lower.find(word, at + 1)


def _lies_in(folder: Path, name: str, file: Path) -> bool:
    """Whether a file is in a folder or below it. A bare name that is nobody's leads nowhere else;
    to look for links for each of a hundred thousand takes seconds."""
    bare = name not in ("", ".", "..") and not any(mark in name for mark in "/\\:")
    return (bare and not os.path.lexists(file)) or file.resolve().is_relative_to(folder)


def _find_named_files(entry: re.Match[bytes]) -> Iterator[str]:
    """The files of an entry: one, the numbered ones of a pattern, or those listed after it."""
    value = _text(entry[1])
    if value.upper() == "LOCAL":
        return
    numbered = _NUMBERED.fullmatch(value)
    if value.upper().startswith("LIST"):
        rest = entry.string[entry.end() :].replace(b"\r", b"\n")
        yield from (_text(name) for name in rest.split(b"\n")[:_MOST_FILES] if name.strip())
    elif numbered and numbered[4] != "0":
        first, last, step = int(numbered[2]), int(numbered[3]), int(numbered[4] or 1)
        numbers = range(first, last + (1 if step > 0 else -1), step)
        yield from (numbered[1] % number for number in numbers[:_MOST_FILES])
    else:
        yield value


def _text(name: bytes) -> str:
    # A zero byte ends a name in C, and is not allowed in Python.
    return name.split(b"\0")[0].strip().decode("utf-8", "surrogateescape")
