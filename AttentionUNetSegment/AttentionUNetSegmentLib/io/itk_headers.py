"""What the header of an NRRD or MetaImage file says that ITK passes over.

ITK takes every length for millimetres, an axis without a spacing for one of 1 mm, a space that is
no patient's for the patient's left, back and head, and stored values for real ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .meta_header import meta_entries

_MOST_HEADER_BYTES = 1 << 20
_FIELD = re.compile(r"([^:]+):(?!=)(.*)")
_VECTOR = re.compile(r"\(([^)]*)\)")
_QUOTED = re.compile(r'"([^"]*)"')
_PACKINGS = ("", "raw", "txt", "text", "ascii", "hex", "gz", "gzip")
_PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior",
                   "ras", "las", "lps")  # fmt: skip
# Taken by ITK for left-posterior-superior-time, unlike the same without time.
_NOT_TURNED = {"right-anterior-superior-time": (-1.0, -1.0), "rast": (-1.0, -1.0),
               "left-anterior-superior-time": (1.0, -1.0), "last": (1.0, -1.0)}  # fmt: skip
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_LENGTHS_MM = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0,
               "centimetre": 10.0, "m": 1000.0, "meter": 1000.0, "metre": 1000.0, "um": 0.001,
               "\N{MICRO SIGN}m": 0.001, "\N{GREEK SMALL LETTER MU}m": 0.001, "micron": 0.001,
               "micrometer": 0.001, "micrometre": 0.001}  # fmt: skip
_AXES_OF_META = ("transformmatrix", "rotation", "orientation")
_STEPS_OF_META = ("elementspacing", "elementsize")
_FROM = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "I": (2, 1), "S": (2, -1)}
"""Of L, P, S, the axis and the sign of a direction that comes from there."""
_LONGEST_SHOWN = 40
_FARTHEST_MM = 1e9  # what is more, ITK takes for 1 mm
_ALONG = 0.3  # least cosine of a direction that goes along an axis at all


@dataclass(frozen=True, eq=False)
class HeaderNotes:
    """Args:
    to_place: 4x4, from where ITK puts the voxels to their place in RAS mm.
    warnings: about where the scan lies, each a plain sentence.
    is_packed: the voxels may take less room in the file than in memory, or more.
    """

    to_place: np.ndarray
    warnings: tuple[str, ...]
    is_packed: bool


def header_fields(path: Path, kind: str) -> dict[str, str]:
    """What a header says, by names in small letters and without spaces.

    Args:
        kind: ``NRRD`` or ``MetaImage``.

    Raises:
        OSError: it cannot be read.
    """
    if kind == "MetaImage":
        return {key: _text(value) for key, value in meta_entries(path)}
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER_BYTES)
    lines = (_text(line) for line in re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0].splitlines())
    found = (_FIELD.fullmatch(line) for line in lines if not line.startswith("#"))
    return {one[1].lower().replace(" ", ""): one[2].strip() for one in found if one}


def unread_packing(fields: dict[str, str], kind: str) -> str:
    """Why ITK cannot read what such a header says of the voxels' bytes or space, as the end of a
    sentence; nothing where that is not the reason."""
    if kind != "NRRD":
        return ""
    packing = fields.get("encoding", "")
    if packing.lower() not in _PACKINGS:
        return f"is packed in a way that is not read here{_shown(packing)}; pack it with gzip"
    space = fields.get("space", "")
    if space and _without_time(space) not in (*_PATIENT_SPACES, *_OTHER_SPACES):
        return (
            f"names a space that NRRD does not have{_shown(space)}; name left-posterior-superior, "
            "right-anterior-superior or left-anterior-superior, and give its directions in it"
        )
    return ""


def header_notes(fields: dict[str, str], kind: str, name: str) -> HeaderNotes:
    """Args:
        fields: of :func:`header_fields`.
        name: what to call the file in messages.

    Raises:
        InputError: an axis has no spacing, lengths are in several units, or the values are not
            the stored ones.
    """
    return (_nrrd_notes if kind == "NRRD" else _meta_notes)(fields, name)


def _nrrd_notes(fields: dict[str, str], name: str) -> HeaderNotes:
    steps: list[float] | None = None
    if "spacedirections" in fields:
        vectors = [_numbers(vector) for vector in _VECTOR.findall(fields["spacedirections"])]
        steps = [math.hypot(*vector) for vector in vectors]
    elif "spacings" in fields:
        steps = _numbers(fields["spacings"])
    if steps is not None and sum(abs(step) < _FARTHEST_MM for step in steps) < 3:  # not so NaN
        raise InputError(f"'{name}' has no voxel spacing for each of its axes in its header.")
    space = fields.get("space", "").lower()
    is_placed = _without_time(space) in _PATIENT_SPACES
    units = _QUOTED.findall(fields.get("spaceunits", fields.get("units", "")))
    return HeaderNotes(
        _to_mm(units, name) @ np.diag([*_NOT_TURNED.get(space, (1.0, 1.0)), 1.0, 1.0]),
        tuple(_doubts(name, steps, is_placed)),
        fields.get("encoding", "").lower() != "raw",
    )


def _meta_notes(fields: dict[str, str], name: str) -> HeaderNotes:
    slope = _numbers(fields.get("elementtointensityfunctionslope", "1"))
    intercept = _numbers(fields.get("elementtointensityfunctionoffset", "0"))
    if (slope, intercept) != ([1.0], [0.0]):
        raise InputError(
            f"The header of '{name}' has a slope and an intercept for its values, which most "
            "programs pass over; save it with its real values."
        )
    steps = next((_numbers(fields[key]) for key in _STEPS_OF_META if key in fields), None)
    axes = next((_numbers(fields[key]) for key in _AXES_OF_META if key in fields), None)
    letters = fields.get("anatomicalorientation", "").upper()
    is_placed = sorted(_FROM.get(letter, (-1,))[0] for letter in letters) == [0, 1, 2]
    doubts = list(_doubts(name, steps, is_placed or axes is not None))
    if is_placed and not _agree(letters, axes):
        doubts.append(
            f"The header of '{name}' says in two ways how the patient lies: by the directions of "
            f"its axes, which are used, and by 'AnatomicalOrientation = {letters}'; check that the "
            "patient is not mirrored."
        )
    is_text = fields.get("binarydata", "true").lower().startswith(("f", "0"))
    is_packed = fields.get("compresseddata", "false").lower().startswith(("t", "1"))
    unit = fields.get("distanceunits", "")
    return HeaderNotes(_to_mm([unit], name), tuple(doubts), is_text or is_packed)


def _doubts(name: str, steps: list[float] | None, is_placed: bool) -> Iterator[str]:
    """What to say of a header that gives no spacing, none that is above zero, or no directions."""
    if steps is None and not is_placed:
        yield (
            f"'{name}' gives neither its voxel spacing nor how the patient lies; the voxels are "
            "taken for 1 mm, and to run from the patient's right to the left, from front to back "
            "and from the feet to the head. Load the original scan."
        )
    elif steps is None:
        yield (
            f"'{name}' does not give its voxel spacing; the voxels are taken for 1 mm. Load the "
            "original scan."
        )
    elif not is_placed:
        yield (
            f"'{name}' does not say how the patient lies (its header names no space of a patient); "
            "what it calls x, y and z is taken for the patient's left, back and head. Where that "
            "is wrong, set the orientation in the file."
        )
    if steps is not None and min(steps) < 0:
        yield (
            f"The header of '{name}' has a negative voxel spacing, which turns an axis round; "
            "check that the patient is not mirrored."
        )


def _to_mm(units: list[str], name: str) -> np.ndarray:
    """Raises:
    InputError: there are several units.
    """
    known = {_LENGTHS_MM.get(unit.lower().strip().removesuffix("s")) for unit in units} - {None}
    if len(known) > 1:
        raise InputError(
            f"The header of '{name}' gives lengths in several units; save it in millimetres."
        )
    unit = next(iter(known), None) or 1.0
    return np.diag([unit, unit, unit, 1.0])


def _agree(letters: str, axes: list[float] | None) -> bool:
    """Whether each axis comes from where its letter says, or each goes there: both are in use."""
    matrix = np.eye(3) if axes is None else np.array(axes)
    if matrix.size not in (9, 16):
        return True
    side = math.isqrt(matrix.size)
    rows = matrix.reshape(side, side)
    along = [
        sign * rows[row, axis] for row, (axis, sign) in enumerate(map(_FROM.__getitem__, letters))
    ]
    return min(along) > _ALONG or max(along) < -_ALONG


def _without_time(space: str) -> str:
    lower = space.lower()
    return lower[:3] if lower in ("rast", "last", "lpst") else lower.removesuffix("-time")


def _shown(text: str) -> str:
    """What a stranger wrote, for the middle of a sentence, where a terminal can show it."""
    return f" ({text})" if text.isprintable() and len(text) < _LONGEST_SHOWN else ""


def _numbers(text: str) -> list[float]:
    """NaN for what is no number."""
    return [_number(part) for part in text.replace(",", " ").split()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return content.decode("latin-1").strip()
