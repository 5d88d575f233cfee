"""Whether a MetaImage header is one that MetaIO can be trusted with.

It writes beyond its own memory where a header names more axes than it has room for, which ends the
process at best.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_MOST_HEADER_BYTES = 1 << 16
_MOST_AXES = 10
_ENTRY = re.compile(rb"[ \t]*(\w+)[ \t]*[=:]([^\r\n]*)")
# Numbers for each axis, in one of their names.
_VECTORS = {"dimsize", "elementspacing", "elementsize", "offset", "position", "origin",
            "centerofrotation"}  # fmt: skip
_MATRICES = {"transformmatrix", "rotation", "orientation"}


def meta_problem(path: Path) -> str | None:
    """What is wrong with the header, as the end of a sentence; None if nothing is.

    A file that is no MetaImage at all is left to the reader.

    Raises:
        OSError: the file cannot be read.
    """
    axes: int | None = None
    seen: set[str] = set()
    for key, text in meta_entries(path):
        values = text.split()
        if key in seen:
            return f"is cut short or damaged: its header gives '{key}' twice"
        seen.add(key)
        if key == "ndims":
            number = b"".join(values)
            axes = int(number) if re.fullmatch(rb"\d{1,2}", number) else 0
            if not 1 <= axes <= _MOST_AXES:
                return "is cut short or damaged: its header gives no valid number of axes"
        power = 1 if key in _VECTORS else 2 if key in _MATRICES else 0
        if power and (axes is None or len(values) != axes**power):
            return f"is cut short or damaged: its header gives no '{key}' for each axis"
    return None


def meta_entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """The entries of a header before that of the voxels, with their names in small letters.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER_BYTES)
    for line in re.split(rb"[\r\n]+", start):
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        key = entry[1].decode("ascii", "replace").lower()
        if key == "elementdatafile":
            return
        yield key, entry[2]
