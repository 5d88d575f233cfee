"""NRRD files, written slab by slab: no volume has to be in memory as a whole to be compressed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from ..geometry.grid import Region
from ..geometry.itk import LPS_TO_RAS
from .gzip_writing import BLOCK_BYTES, write_gzip

Space = Literal["RAS", "LPS"]

_SPACES = {"RAS": "right-anterior-superior", "LPS": "left-posterior-superior"}
_TYPES = {
    "u1": "unsigned char",
    "i1": "signed char",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "unsigned int",
    "f4": "float",
    "f8": "double",
}


def write_nrrd(
    path: Path,
    slabs: Iterable[np.ndarray],
    dtype: np.dtype | type,
    shape: tuple[int, ...],
    ijk_to_ras: np.ndarray,
    keys: Mapping[str, str],
    *,
    space: Space = "RAS",
) -> None:
    """Write a compressed volume in one file, with the header that Slicer's own writers give it.

    Args:
        slabs: its voxels (k, j, i), some slices at a time, in their order.
        dtype: of the voxels, in this machine's byte order.
        shape: k, j, i.
        ijk_to_ras: 4x4; axes may be sheared.
        keys: further entries of the header.
        space: that the file's directions are in; Slicer writes volumes and segmentations in
            different ones.

    Raises:
        OSError: it could not be written.
    """
    matrix = ijk_to_ras if space == "RAS" else LPS_TO_RAS @ ijk_to_ras
    stored = np.dtype(dtype)
    lines = [
        "NRRD0005" if space == "RAS" else "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_TYPES[stored.str[1:]]}",
        "dimension: 3",
        f"space: {_SPACES[space]}",
        f"sizes: {' '.join(map(str, reversed(shape)))}",
        f"space directions: {' '.join(_vector(axis) for axis in matrix[:3, :3].T)}",
        "kinds: domain domain domain",
        *([f"endian: {'little' if _is_little(stored) else 'big'}"] if stored.itemsize > 1 else []),
        "encoding: gzip",
        f"space origin: {_vector(matrix[:3, 3])}",
        *(["measurement frame: (1,0,0) (0,1,0) (0,0,1)"] if space == "RAS" else []),
        *(f"{key}:={_escaped(value)}" for key, value in sorted(keys.items())),
    ]
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode())
        write_gzip(file, slabs)


def slabs_of_region(
    part: np.ndarray, region: Region, shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """A volume (k, j, i) that is zero but for a region, some slices at a time."""
    k, j, i = region
    slices = max(1, BLOCK_BYTES // max(1, shape[1] * shape[2] * part.itemsize))
    nothing = np.zeros((slices, *shape[1:]), part.dtype)
    for start in range(0, shape[0], slices):
        stop = min(start + slices, shape[0])
        low, high = max(start, k.start), min(stop, k.stop)
        if low >= high:
            yield nothing[: stop - start]
            continue
        slab = np.zeros((stop - start, *shape[1:]), part.dtype)
        slab[low - start : high - start, j, i] = part[low - k.start : high - k.start]
        yield slab


def _vector(values: np.ndarray) -> str:
    return f"({','.join(f'{value + 0.0:.17g}' for value in values)})"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _is_little(dtype: np.dtype) -> bool:
    return dtype.newbyteorder("=").str[0] == "<"
