"""What a NIfTI file's header promises, held against what the file has.

ITK fills the missing part of a cut NIfTI file with zeros and an invalid spacing with 1 mm, and says
nothing of either, so both are looked for here.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

_GZIP_START = b"\x1f\x8b"
_MOST_DEFLATED = 1040  # deflate shrinks nothing by more than 1032
_CHUNK = 1 << 20


def nifti_problem(path: Path, every_byte: bool = False) -> str | None:
    """What is wrong with a NIfTI-1 or NIfTI-2 file, as the end of a sentence; None if nothing is.

    A file that is no NIfTI at all is left to the reader.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        every_byte: decompress all of a ``.nii.gz`` and check its checksum; otherwise its size is
            taken from its last bytes, which costs nothing.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        compressed = stream.read(2) == _GZIP_START
    try:
        with gzip.open(path) if compressed else path.open("rb") as stream:
            header = _header(stream.read(540))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "is cut short or damaged"
    if header is None:
        return None
    expected, spacing = header
    if not all(math.isfinite(step) and step != 0 for step in spacing):
        return "has no valid voxel spacing in its header"

    size = path.stat().st_size
    if not compressed:
        return None if size >= expected else "is cut short: voxels are missing at its end"
    if expected > _MOST_DEFLATED * size:
        return "is cut short: voxels are missing at its end"
    if not every_byte:
        with path.open("rb") as stream:
            stream.seek(-4, 2)
            if struct.unpack("<I", stream.read(4))[0] == expected % 2**32:
                return None
    # Several gzip members, bytes behind the voxels, or a file that is cut: only reading tells.
    try:
        with gzip.open(path) as stream:
            found = 0
            while chunk := stream.read(_CHUNK):
                found += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "is cut short or damaged: its compressed data does not end as it should"
    return None if found >= expected else "is cut short: voxels are missing at its end"


def _header(start: bytes) -> tuple[int, tuple[float, ...]] | None:
    """Bytes that the whole file should have, and the spacing of the first three axes."""
    for order in "<", ">":
        if len(start) >= 348 and struct.unpack_from(f"{order}i", start)[0] == 348:
            dimensions = struct.unpack_from(f"{order}8h", start, 40)
            bits = struct.unpack_from(f"{order}h", start, 72)[0]
            spacing = struct.unpack_from(f"{order}8f", start, 76)
            offset = struct.unpack_from(f"{order}f", start, 108)[0]
        elif len(start) >= 540 and struct.unpack_from(f"{order}i", start)[0] == 540:
            dimensions = struct.unpack_from(f"{order}8q", start, 16)
            bits = struct.unpack_from(f"{order}h", start, 12 + 2)[0]
            spacing = struct.unpack_from(f"{order}8d", start, 104)
            offset = struct.unpack_from(f"{order}q", start, 168)[0]
        else:
            continue
        count = dimensions[0]
        if not 1 <= count <= 7 or min(dimensions[1 : count + 1]) < 0 or not math.isfinite(offset):
            return None
        voxels = math.prod(dimensions[1 : count + 1])
        return int(offset) + voxels * bits // 8, spacing[1 : min(count, 3) + 1]
    return None
