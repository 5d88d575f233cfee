"""Zeros that take memory only where they are written."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from AttentionUNetSegmentLib.geometry.zeros import sparse_zeros


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 4, 5), (60, 300, 300)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_they_are_zeros_that_can_be_written(shape: tuple[int, ...], dtype: type) -> None:
    array = sparse_zeros(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert not array.any()
    array += 1
    assert (array == 1).all()
    assert not sparse_zeros(shape, dtype).any()  # each has its own


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere NumPy's do already")
def test_only_what_is_written_takes_memory() -> None:
    """Of 120 MB a column: a huge page in each 2 MB would be all of it."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = sparse_zeros((120, 500, 500), np.float32)
    array[:, 250, 250] = 1
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert 120 <= pages < 300  # one page a slice; huge ones would be 60 of 512 such pages
    assert float(array.sum()) == 120
