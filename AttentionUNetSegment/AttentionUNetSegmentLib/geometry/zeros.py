"""Large arrays of zeros of which only a part will be written."""

from __future__ import annotations

import math
import mmap
import sys

import numpy as np
import numpy.typing as npt


def sparse_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """Zeros that take memory, and time, only where they are written.

    NumPy asks Linux for huge pages. Each is cleared as a whole once a voxel of it is written, which
    is most of a scan for one of its regions, and where memory is in pieces the system first moves
    others about to make room for it: the volumes of a first result took 0.75 s, and take 0.09 s.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if sys.platform != "linux" or size == 0:
        return np.zeros(shape, dtype)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype).reshape(shape)
