"""Strict checks of values that come from a card: each returns the value or says what is wrong."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..errors import ModelError


def shown(value: object) -> str:
    """A value as a message shows it: short, whatever it is."""
    return reprlib.repr(value)


def refuse(where: str, wanted: str, value: object) -> NoReturn:
    raise ModelError(f"{where} must be {wanted}, but it is {shown(value)}.")


def text(value: object, where: str, longest: int = 4000) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        refuse(where, f"a text of 1 to {longest} characters", value)
    return value


def integer(value: object, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(where, f"a whole number from {low} to {high}", value)
    return value


def number(value: object, where: str, low: float, high: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not low <= value <= high  # False for NaN
    ):
        refuse(where, f"a number from {low:g} to {high:g}", value)
    return float(value)


def items(value: object, where: str, fewest: int, most: int) -> tuple[Any, ...]:
    """A list (or tuple) of a length within the bounds."""
    if (
        isinstance(value, (str, bytes))
        or not isinstance(value, Sequence)
        or not fewest <= len(value) <= most
    ):
        count = str(fewest) if fewest == most else f"{fewest} to {most}"
        refuse(where, f"a list of {count} entries", value)
    return tuple(value)


def mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        refuse(where, "a JSON object", value)
    return dict(value)


def entries(
    value: object, where: str, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """A JSON object that has all the required keys and none but those and the optional ones."""
    found = mapping(value, where)
    missing = [key for key in required if key not in found]
    if missing:
        raise ModelError(f"{where} lacks {_listed(missing)}.")
    unknown = [key for key in found if key not in required and key not in optional]
    if unknown:
        raise ModelError(f"{where} has {_listed(unknown)}, which this version does not know.")
    return found


def plain_json(value: object, where: str) -> dict[str, Any]:
    """A free JSON object, as it will be read back: tuples become lists, NaN is refused."""
    found = mapping(value, where)
    try:
        copy: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{where} holds a value that JSON cannot hold ({error}).") from error
    return copy


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(shown(key) for key in keys[:5]) + (" and more" if len(keys) > 5 else "")
