"""Gzip on all cores.

What is written is cut into blocks that are compressed at the same time, each by itself. They follow
one another in one gzip member with one checksum and one length, as pigz writes it, so that every
reader takes the file for an ordinary one. The bytes are the same with any number of threads.

The package zlib-ng compresses, where it is installed: into the same bytes as Python's own zlib, in
0.6 of the time. Slicer does not bring it. Intel's isal is faster still, but what it writes depends
on what its memory held before, so that the same result is not the same file.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    Block: TypeAlias = bytes | bytearray | memoryview

BLOCK_BYTES = 1 << 19
"""Smaller ones have more zeros, which cost nothing, and take longer to hand over."""
_MOST_THREADS = 8
_RAW_DEFLATE = -15
# No name, no time; compressed as fast as can be; on an unknown system.
_HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x04\xff"
_EMPTY_LAST_BLOCK = b"\x03\x00"


def write_gzip(file: BinaryIO, parts: Iterable[np.ndarray | bytes]) -> None:
    """Compress bytes into a file that is open for writing.

    Args:
        parts: contiguous arrays or bytes, one after the other; an array is let go of when it is
            compressed, and must not change before. No more than some blocks are held at a time.

    Raises:
        OSError: the file does not take it.
    """
    library = zlib_library()
    length = checksum = 0
    file.write(_HEADER)
    for block, deflated in _deflated(_blocks(parts), partial(_deflate, library)):
        checksum = library.crc32(block, checksum)
        length += len(block)
        file.write(deflated)
    file.write(_EMPTY_LAST_BLOCK)
    file.write(checksum.to_bytes(4, "little") + (length % 2**32).to_bytes(4, "little"))


def compressing_threads() -> int:
    """How many threads compress: one for each core that this process may use, and no more than
    ``OMP_NUM_THREADS`` says, by which PyTorch goes too."""
    try:
        cores = len(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]
    except AttributeError:  # neither on Windows nor on macOS
        cores = os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if allowed.isdecimal() and int(allowed):
        cores = min(cores, int(allowed))
    return min(cores, _MOST_THREADS)


def _blocks(parts: Iterable[np.ndarray | bytes]) -> Iterator[Block]:
    """The same bytes in blocks of one size, whatever the parts' sizes."""
    rest = bytearray()
    for part in parts:
        if not len(part):
            continue
        view = (part.data if isinstance(part, np.ndarray) else memoryview(part)).cast("B")
        while view:
            if not rest and len(view) >= BLOCK_BYTES:
                block, view = view[:BLOCK_BYTES], view[BLOCK_BYTES:]
                yield block
                continue
            room = BLOCK_BYTES - len(rest)
            rest += view[:room]
            view = view[room:]
            if len(rest) == BLOCK_BYTES:
                yield rest
                rest = bytearray()
    if rest:
        yield rest


def _deflated(
    blocks: Iterable[Block], deflate: Callable[[Block], bytes]
) -> Iterator[tuple[Block, bytes]]:
    """Each block with its compressed form, in order. Zeros, most of what a result holds, are
    compressed once."""
    zeros: dict[int, bytes] = {}

    def deflate_block(block: Block) -> bytes:
        if np.frombuffer(block, np.uint8).any():
            return deflate(block)
        if len(block) not in zeros:
            zeros[len(block)] = deflate(block)
        return zeros[len(block)]

    threads = compressing_threads()
    if threads == 1:
        for block in blocks:
            yield block, deflate_block(block)
        return
    with ThreadPoolExecutor(threads, "gzip") as pool:
        waiting: deque[tuple[Block, Future[bytes]]] = deque()
        for block in blocks:
            waiting.append((block, pool.submit(deflate_block, block)))
            if len(waiting) > 2 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _deflate(library: Any, block: Block) -> bytes:
    """A block, compressed by itself up to a whole byte, with another one to follow.

    Runs are all that is looked for: what repeats in probabilities are zeros, and to look for more
    takes longer and makes most files larger.
    """
    packer = library.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE, 9, zlib.Z_RLE)
    packed: bytes = packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed


def zlib_library() -> Any:
    """The module zlib, or zlib-ng's of the same functions."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib
    return zlib_ng
