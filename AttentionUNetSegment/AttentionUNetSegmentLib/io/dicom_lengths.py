"""What the elements of a DICOM file say before GDCM reads it: their lengths and a few values.

GDCM takes the memory that an element asks for before it looks whether the file has as much: 4 GB
for four damaged bytes. It turns the values of a MONOCHROME1 image round, which concerns the display
only, and reads nothing of a file with anything but elements behind the pixels.
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
_PHOTOMETRIC = (0x0028, 0x0004)
_VALUE_TABLE = (0x0028, 0x3000)
_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = 0xFFFE
_START, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_UNDEFINED = 0xFFFFFFFF
_IMPLICIT = b"1.2.840.10008.1.2"
_BIG_ENDIAN = b"1.2.840.10008.1.2.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 1 << 30
_INVERTED, _PLAIN = b"MONOCHROME1", b"MONOCHROME2"


@dataclass(frozen=True)
class _Element:
    """Args:
    tag: group and element.
    start, length: of its value.
    depth: 0 outside of all sequences and items.
    is_known: its VR is one of the standard's, where it has one.
    """

    tag: tuple[int, int]
    start: int
    length: int
    depth: int
    is_known: bool

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True)
class FileLayout:
    """What matters of a file whose lengths can be true.

    Args:
        transfer_syntax: its UID; empty where the file does not say.
        inverted_at: where the file says MONOCHROME1; None where it does not.
        deflated_from: where compressed elements begin, within which the place is; None if they are
            not compressed.
        end: where something begins that is no element, behind the pixels; None if nothing does.
    pixel_bytes: length of the pixels; None where they are compressed, or there are none.
    has_table: a table stands for the rescale of the values, which GDCM passes over.
    """

    transfer_syntax: str = ""
    inverted_at: int | None = None
    deflated_from: int | None = None
    end: int | None = None
    pixel_bytes: int | None = None
    has_table: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether GDCM reads the file as it is."""
        return self.inverted_at is None and self.end is None

    def inflate(self, content: bytes) -> bytes:
        """The file as GDCM reads it right."""
        if self.inverted_at is None:
            return content[: self.end]
        packed_from, start = self.deflated_from, self.inverted_at
        elements = content[: self.end] if packed_from is None else _inflate(content[packed_from:])
        elements = elements[:start] + _PLAIN + elements[start + len(_PLAIN) :]
        if packed_from is None:
            return elements
        deflate = zlib.compressobj(1, wbits=-15)
        return content[:packed_from] + deflate.compress(elements) + deflate.flush()


def begins_with_an_element(start: bytes) -> bool:
    """Whether bytes are the beginning of a file without preamble: two elements of group 2 or 8."""
    elements = []
    for element in _elements(start, 0, "<", start[4:6].isalpha()):
        elements.append(element)
        if len(elements) == 2:
            break
    return (
        len(elements) == 2
        and all(element.tag[0] in (2, 8) and element.tag[1] < 0x0100 for element in elements)
        and elements[0].tag < elements[1].tag
        and elements[0].length < len(start)
    )


def file_layout(path: str) -> FileLayout | None:
    """None if an element, or a fragment of compressed pixels, goes on beyond the end of the file.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        if len(stream.read(1)) == 0:
            return None
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _layout(content)


def _layout(content: mmap.mmap) -> FileLayout | None:
    start, syntax = 0, b""
    if content[128:132] == b"DICM":
        start = 132
    for element in _elements(content, start, "<", explicit=True):
        if element.tag[0] != 2:
            break
        start = element.start + element.length
        if start > len(content):
            return None
        if element.tag == _TRANSFER_SYNTAX:
            syntax = content[element.start : start].strip(b"\0 ")
    explicit = syntax != _IMPLICIT if syntax else content[start + 4 : start + 6].isalpha()
    order = ">" if syntax == _BIG_ENDIAN else "<"
    data: mmap.mmap | bytes = content
    packed_from: int | None = None
    if syntax == _DEFLATED:
        try:
            packed_from, start = start, 0
            data = _inflate(content[packed_from:])
        except zlib.error:
            return None
    inverted_at = pixels_end = pixel_bytes = None
    in_pixels = has_table = False
    top = (0, 0)
    for element in _elements(data, start, order, explicit):
        if element.end > len(data):
            return None
        if in_pixels and element.tag == (_ITEM, _SEQUENCE_END):
            pixels_end = element.end
        elif element.depth == 0 and element.tag == _PIXEL_DATA:
            in_pixels, pixel_bytes = element.length == 0, element.length or None
            pixels_end = element.end if element.length else None
        elif element.depth == 0 and element.tag == _PHOTOMETRIC:
            at = element.start
            inverted_at = at if data[at : at + len(_INVERTED)] == _INVERTED else None
        top = element.tag if element.depth == 0 else top
        # What is in a sequence comes as elements of their own, unless nothing says that it is one.
        has_table |= top == _VALUE_TABLE and (element.depth > 0 or element.length > 0)
        if pixels_end is not None:
            break
    text = syntax.decode("ascii", "replace")
    if packed_from is not None:
        return FileLayout(text, inverted_at, packed_from, None, pixel_bytes, has_table)
    whole = pixels_end is None or _are_elements(content, pixels_end, order, explicit)
    end = None if whole else pixels_end
    return FileLayout(text, inverted_at, None, end, pixel_bytes, has_table)


def _inflate(content: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(content, _MOST_INFLATED)


def _are_elements(content: mmap.mmap, start: int, order: str, explicit: bool) -> bool:
    """Whether all that follows the pixels is what may follow them."""
    for element in _elements(content, start, order, explicit):
        in_order = element.depth > 0 or element.tag[0] == _ITEM or element.tag > _PIXEL_DATA
        if element.end > len(content) or not in_order or not element.is_known:
            return False
        start = element.end
    return start == len(content)


def _elements(
    data: mmap.mmap | bytes, position: int, order: str, explicit: bool
) -> Iterator[_Element]:
    """The elements one after the other, those in sequences and the fragments of pixels too.

    Only what must be a sequence is looked into: another value may begin like one by chance.
    """
    ends: list[int | None] = []  # of the sequences and items that are open; None: a delimiter ends
    in_pixels = False
    while position + 8 <= len(data):
        while ends and ends[-1] is not None and position >= ends[-1]:
            ends.pop()
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
        depth = len(ends)
        is_known = not vr or vr in _LONG_VRS or vr in _SHORT_VRS
        if tag[0] == _ITEM and tag[1] in (_ITEM_END, _SEQUENCE_END):
            in_pixels = in_pixels and tag[1] == _ITEM_END
            if ends and ends[-1] is None:
                ends.pop()
            depth = len(ends)
        elif tag == _PIXEL_DATA and length == _UNDEFINED:
            in_pixels, length = True, 0
        elif length == _UNDEFINED or vr == b"SQ" or (tag[0] == _ITEM and not in_pixels):
            end = None if length == _UNDEFINED else position + length
            # What is in it comes next, and has to end where it does.
            if end is not None and end > len(data):
                yield _Element((tag[0], tag[1]), position, length, depth, is_known)
                return
            ends.append(end)
            length = 0
        yield _Element((tag[0], tag[1]), position, length, depth, is_known)
        position += length
