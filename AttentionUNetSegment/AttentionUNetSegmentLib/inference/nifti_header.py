"""What a NIfTI file's header promises, held against what the file has.

ITK fills the missing part of a cut NIfTI file with zeros, takes an invalid size for 1, an invalid
spacing for 1 mm and a missing slope for 1, writes 0 over voxels that are not finite, and says
nothing of any of it, so all of that is looked for here.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

_GZIP_START = b"\x1f\x8b"
_MOST_DEFLATED = 1040  # deflate shrinks nothing by more than 1032
_CHUNK = 1 << 20
# By datatype code; the bits that the header also gives need not agree.
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64,
         1280: 64, 1536: 128, 1792: 128, 2048: 256, 2304: 32}  # fmt: skip
_FLOATS = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class _Header:
    """What is needed from the header.

    Args:
        order: of bytes, ``<`` or ``>``.
        offset: of the first voxel, bytes.
        voxels: how many; none where an axis has no valid length.
        bits: of one.
        datatype: its code.
        spacing: along the first three axes.
        slope, intercept: that turn stored values into real ones; a slope of 0 stands for none.
    """

    order: str
    offset: int
    voxels: int
    bits: int
    datatype: int
    spacing: tuple[float, ...]
    slope: float
    intercept: float

    @property
    def bytes(self) -> int:
        """That the whole file should have."""
        return self.offset + self.voxels * self.bits // 8


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
    compressed = _is_compressed(path)
    try:
        with _opened(path) as stream:
            header = _header(stream.read(540))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "is cut short or damaged"
    if header is None:
        return None
    if header.voxels == 0:
        return "has no valid size in its header"
    if not all(math.isfinite(step) and step != 0 for step in header.spacing):
        return "has no valid voxel spacing in its header"
    if not (math.isfinite(header.slope) and math.isfinite(header.intercept)):
        return "has no valid slope and intercept for its values in its header"
    if header.slope == 0 and header.intercept != 0:
        return "has an intercept without a slope in its header, so its values are uncertain"

    expected = header.bytes
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
        with _opened(path) as stream:
            found = 0
            while chunk := stream.read(_CHUNK):
                found += len(chunk)
                if found > expected + _CHUNK:  # nobody reads that far
                    break
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "is cut short or damaged: its compressed data does not end as it should"
    return None if found >= expected else "is cut short: voxels are missing at its end"


def restore_nonfinite(path: Path, array: np.ndarray) -> None:
    """Put NaN and infinite values back where ITK wrote 0 over them.

    Args:
        path: a NIfTI file that :func:`nifti_problem` finds nothing wrong with.
        array: its voxels as ITK read them, contiguous; changed in place.

    Raises:
        OSError: the file cannot be read.
    """
    with _opened(path) as stream:
        header = _header(stream.read(540))
        if header is None or header.datatype not in _FLOATS:
            return
        slope, intercept = header.slope or 1.0, header.intercept
        flat = array.reshape(-1)
        if not (flat == flat.dtype.type(intercept)).any():  # what a stored 0 stands for
            return
        stream.seek(header.offset)
        dtype = np.dtype(header.order + _FLOATS[header.datatype])
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            stored = np.frombuffer(stream.read(part.size * dtype.itemsize), dtype)
            odd = ~np.isfinite(stored)
            part[odd] = stored[odd] * slope + intercept


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_START


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    """The file's bytes, decompressed."""
    return gzip.open(path) if _is_compressed(path) else path.open("rb")


def _header(start: bytes) -> _Header | None:
    """None for what is no NIfTI, or makes no sense."""
    for order in "<", ">":
        size = struct.unpack_from(f"{order}i", start)[0] if len(start) >= 348 else 0
        if size == 348:
            dimensions = struct.unpack_from(f"{order}8h", start, 40)
            datatype, bits = struct.unpack_from(f"{order}2h", start, 70)
            spacing = struct.unpack_from(f"{order}8f", start, 76)
            offset, slope, intercept = struct.unpack_from(f"{order}3f", start, 108)
        elif size == 540 and len(start) >= 540:
            dimensions = struct.unpack_from(f"{order}8q", start, 16)
            datatype, bits = struct.unpack_from(f"{order}2h", start, 12)
            spacing = struct.unpack_from(f"{order}8d", start, 104)
            (offset,) = struct.unpack_from(f"{order}q", start, 168)
            slope, intercept = struct.unpack_from(f"{order}2d", start, 176)
        else:
            continue
        count = dimensions[0]
        if not 1 <= count <= 7 or not math.isfinite(offset):
            return None
        return _Header(
            order=order,
            offset=max(int(offset), size),
            voxels=math.prod(max(length, 0) for length in dimensions[1 : count + 1]),
            bits=_BITS.get(datatype, bits),
            datatype=datatype,
            spacing=spacing[1 : min(count, 3) + 1],
            slope=slope,
            intercept=intercept,
        )
    return None
