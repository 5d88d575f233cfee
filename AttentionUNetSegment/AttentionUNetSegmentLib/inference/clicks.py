"""Points that a user placed inside or outside the organ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.grid import Grid, Region


@dataclass(frozen=True)
class Click:
    """A point in world coordinates and what the user says is there.

    Args:
        position_ras: right, anterior, superior, in mm.
        inside: True for a point in the organ, False for one that is not.
        target: name of what the point is about, where a model has several targets; the first of
            them unless given.
    """

    position_ras: tuple[float, float, float]
    inside: bool
    target: str = ""

    @classmethod
    def parse(cls, text: str) -> Click:
        """Read ``R,A,S,+`` or ``R,A,S,-``, as the command line takes it; with several targets
        ``R,A,S,+,NAME`` is about the one of that name.

        Raises:
            InputError: the text is anything else.
        """
        parts = [part.strip() for part in text.split(",")]
        try:
            position = tuple(float(part) for part in parts[:3])
        except ValueError:
            position = ()
        target = parts[4] if len(parts) == 5 else ""
        if len(parts) != 4 + bool(target) or len(position) != 3 or parts[3] not in ("+", "-"):
            raise InputError(
                f"'{text}' is no click: write R,A,S,+ for a point inside the organ or R,A,S,- "
                "for one outside, in millimetres, for example 12.5,-30,104,+."
            )
        if not all(math.isfinite(value) for value in position):
            raise InputError(f"The click '{text}' has a coordinate that is not a finite number.")
        return cls((position[0], position[1], position[2]), parts[3] == "+", target)


BALL_MM = 4.0
"""Radius of what a click at least decides where the segmentation does not agree with it."""


def satisfy_clicks(mask: np.ndarray, grid: Grid, clicks: Sequence[Click]) -> np.ndarray:
    """A mask in which every click inside is inside, and every click outside is outside.

    Where one is not, a ball around it changes sides: of :data:`BALL_MM`, or half the way to the
    nearest click that says the opposite, but always the voxel that was clicked on. Of two opposite
    clicks in one voxel the later one wins. Clicks outside the grid are left out.

    Args:
        mask: (k, j, i), 0 and 1.
        grid: of the mask, in the clicks' world; any directions.
        clicks: in the order in which they were placed.

    Returns:
        The mask itself where it agrees already, else a new one.
    """
    voxels = [grid.voxel_of(click.position_ras) for click in clicks]
    last = {voxel: click for voxel, click in zip(voxels, clicks, strict=True) if voxel}
    result = mask
    for voxel, click in last.items():
        if bool(result[voxel]) == click.inside:
            continue
        if result is mask:
            result = mask.copy()
        opposite = [other for other in last.values() if other.inside != click.inside]
        ball, box = _ball(click, opposite, grid)
        for taken, other in last.items():
            if other.inside != click.inside and _holds(box, taken):
                ball[tuple(at - part.start for at, part in zip(taken, box, strict=True))] = False
        result[box][ball] = click.inside
        result[voxel] = click.inside
    return result


def _ball(click: Click, opposite: Sequence[Click], grid: Grid) -> tuple[np.ndarray, Region]:
    """Which voxels of a region are nearer to a click than its radius, and the region."""
    centre = np.asarray(click.position_ras)
    radius = min([BALL_MM, *(math.dist(centre, other.position_ras) / 2 for other in opposite)])
    middle = grid.index_of(centre)
    # How far a ball reaches along an axis of a sheared or rotated grid.
    reach = radius * np.linalg.norm(grid.ras_to_ijk[:3, :3], axis=1)
    k, j, i = (
        slice(
            max(math.floor(middle[axis] - reach[axis]), 0),
            min(math.ceil(middle[axis] + reach[axis]) + 1, size),
        )
        for axis, size in zip((2, 1, 0), grid.shape, strict=True)
    )
    box = (k, j, i)
    indices = np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij")
    points = grid.position_of(np.stack(indices[::-1], axis=-1))
    return np.linalg.norm(points - centre, axis=-1) < radius, box


def _holds(box: Sequence[slice], voxel: Sequence[int]) -> bool:
    return all(part.start <= at < part.stop for part, at in zip(box, voxel, strict=True))
