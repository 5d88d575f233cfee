"""Points that a user placed inside or outside the organ."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Click:
    """A point in world coordinates and what the user says is there.

    Args:
        position_ras: right, anterior, superior, in mm.
        inside: True for a point in the organ, False for one that is not.
    """

    position_ras: tuple[float, float, float]
    inside: bool

    @classmethod
    def parse(cls, text: str) -> Click:
        """Read ``R,A,S,+`` or ``R,A,S,-``, as the command line takes it.

        Raises:
            InputError: the text is anything else.
        """
        parts = [part.strip() for part in text.split(",")]
        try:
            position = tuple(float(part) for part in parts[:3])
        except ValueError:
            position = ()
        if len(parts) != 4 or len(position) != 3 or parts[3] not in ("+", "-"):
            raise InputError(
                f"'{text}' is no click: write R,A,S,+ for a point inside the pancreas or R,A,S,- "
                "for one outside, in millimetres, for example 12.5,-30,104,+."
            )
        if not all(math.isfinite(value) for value in position):
            raise InputError(f"The click '{text}' has a coordinate that is not a finite number.")
        return cls((position[0], position[1], position[2]), parts[3] == "+")
