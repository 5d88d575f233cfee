"""Whether the lengths that a DICOM file's elements claim can be true.

GDCM takes the memory that an element asks for before it looks whether the file has as much: 4 GB
for four damaged bytes.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT",
             b"UV")  # fmt: skip
_SHORT_VRS = (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT",
              b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")  # fmt: skip
_TRANSFER_SYNTAX = (0x0002, 0x0010)
_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = 0xFFFE
_UNDEFINED = 0xFFFFFFFF
_IMPLICIT = b"1.2.840.10008.1.2"
_BIG_ENDIAN = b"1.2.840.10008.1.2.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 1 << 30


@dataclass(frozen=True)
class _Element:
    tag: tuple[int, int]
    start: int  # of its value
    length: int


def lengths_fit(path: str) -> bool:
    """False if an element, or a fragment of compressed pixels, goes on beyond the end of the file.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        if len(stream.read(1)) == 0:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _fit(content)


def _fit(content: mmap.mmap) -> bool:
    start, syntax = 0, b""
    if content[128:132] == b"DICM":
        start = 132
        for element in _elements(content, start, "<", explicit=True):
            if element.tag[0] != 2:
                break
            start = element.start + element.length
            if start > len(content):
                return False
            if element.tag == _TRANSFER_SYNTAX:
                syntax = content[element.start : start].strip(b"\0 ")
    explicit = syntax != _IMPLICIT if syntax else content[start + 4 : start + 6].isalpha()
    order = ">" if syntax == _BIG_ENDIAN else "<"
    data: mmap.mmap | bytes = content
    if syntax == _DEFLATED:
        try:
            data, start = zlib.decompressobj(-15).decompress(content[start:], _MOST_INFLATED), 0
        except zlib.error:
            return False
    size = len(data)
    elements = _elements(data, start, order, explicit)
    return all(element.start + element.length <= size for element in elements)


def _elements(
    data: mmap.mmap | bytes, position: int, order: str, explicit: bool
) -> Iterator[_Element]:
    """The elements one after the other, those in sequences and the fragments of pixels too."""
    item = struct.pack(f"{order}2H", _ITEM, 0xE000)
    in_pixels = False
    while position + 8 <= len(data):
        tag = struct.unpack_from(f"{order}2H", data, position)
        vr = data[position + 4 : position + 6] if explicit and tag[0] != _ITEM else b""
        if vr in _LONG_VRS and position + 12 <= len(data):
            (length,) = struct.unpack_from(f"{order}I", data, position + 8)
            position += 12
        elif vr in _SHORT_VRS:
            (length,) = struct.unpack_from(f"{order}H", data, position + 6)
            position += 8
        else:  # implicit, or a VR that nobody knows, which GDCM takes for implicit
            (length,) = struct.unpack_from(f"{order}I", data, position + 4)
            position += 8
        holds_items = vr == b"SQ" or data[position : position + 4] == item
        is_container = holds_items if tag[0] != _ITEM else not in_pixels
        in_fragments = tag == _PIXEL_DATA and length == _UNDEFINED
        in_pixels = in_fragments or (in_pixels and tag[0] == _ITEM)
        if length == _UNDEFINED or (is_container and tag != _PIXEL_DATA):
            length = 0  # what is in it comes next
        yield _Element((tag[0], tag[1]), position, length)
        position += length
