"""The uncertainty of a result: its volume, and the places most worth a click.

A probability of one half is no answer, and one near 0 or 1 is a sure one. So a voxel's uncertainty
is 1 - |2 p - 1|, and half of it the chance that the voxel is on the wrong side of the outline, as
far as the network knows. Where the network is wrong and sure of it, nothing of this tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.grid import Grid, Region, bounding_region, overlap_in

REACH_MM = 10.0
"""Half the side of the box around a place whose voxels count for it: about what one click mends."""
MOST_PLACES = 5
LEAST_ML = 0.1
"""Fewer millilitres at stake are not worth anybody's time."""
LEAST_UNCERTAINTY = 0.5
"""Of the voxel that a place lies on, so that it is seen there what the doubt is about."""


@dataclass(frozen=True)
class DoubtfulPlace:
    """A place at which the outline may well be wrong.

    Args:
        position_ras: in mm.
        volume_ml: how much around it is probably on the wrong side of the outline.
    """

    position_ras: tuple[float, float, float]
    volume_ml: float


def uncertainty_of(probability: np.ndarray) -> np.ndarray:
    """0 where the network is sure, either way, and 1 where it cannot decide.

    Args:
        probability: in [0, 1].
    """
    values: np.ndarray = 1 - np.abs(2 * probability - 1)
    return values


def find_doubtful_places(
    probability: np.ndarray, grid: Grid, most: int = MOST_PLACES
) -> tuple[DoubtfulPlace, ...]:
    """The places at which most is at stake, the first one first.

    Each counts the expected error of the voxels within :data:`REACH_MM` of it that no place before
    it counted.

    Args:
        probability: float (k, j, i).
        grid: where it lies, with axes along R, A and S.
        most: how many at the most.
    """
    uncertainty = uncertainty_of(probability)
    candidates = uncertainty >= LEAST_UNCERTAINTY
    reach = [max(1, round(REACH_MM / step)) for step in reversed(grid.spacing_mm)]
    place = bounding_region(candidates)
    if place is None:
        return ()
    place = _grown(place, reach, probability.shape)
    grid = grid.subgrid(place)
    candidates = candidates[place]
    # Each is at stake by half its uncertainty.
    stake_ml = uncertainty[place] * np.float32(np.prod(grid.spacing_mm) / 2000)
    around_ml = _sum_around(stake_ml, reach)
    around_ml[~candidates] = 0
    places: list[DoubtfulPlace] = []
    while len(places) < most:
        middle = np.unravel_index(int(around_ml.argmax()), around_ml.shape)
        at_stake_ml = float(around_ml[middle])
        if at_stake_ml < LEAST_ML:
            break
        r, a, s = grid.position_of([float(at) for at in reversed(middle)])
        places.append(DoubtfulPlace((float(r), float(a), float(s)), at_stake_ml))
        k, j, i = (slice(int(at), int(at) + 1) for at in middle)
        near = _grown((k, j, i), reach, around_ml.shape)
        stake_ml[near] = 0
        candidates[near] = False
        # Only what reaches into it has changed.
        changed = _grown(near, reach, around_ml.shape)
        source = _grown(changed, reach, around_ml.shape)
        anew = _sum_around(stake_ml[source], reach)[overlap_in(changed, source)]
        around_ml[changed] = np.where(candidates[changed], anew, 0)
    return tuple(places)


def _grown(region: Region, by: list[int], shape: tuple[int, ...]) -> Region:
    """A region with so many voxels more to either side, within an array."""
    k, j, i = (
        slice(max(0, part.start - n), min(size, part.stop + n))
        for part, n, size in zip(region, by, shape, strict=True)
    )
    return k, j, i


def _sum_around(values: np.ndarray, reach: list[int]) -> np.ndarray:
    """Of each voxel, the sum over the box that reaches so many voxels to either side."""
    for axis, n in enumerate(reach):
        size = values.shape[axis]
        padding = [(0, 0)] * 3
        padding[axis] = (1, 0)
        sums = np.pad(np.cumsum(values, axis=axis, dtype=np.float64), padding)
        at = np.arange(size)
        ends, starts = np.minimum(at + n + 1, size), np.maximum(at - n, 0)
        values = sums.take(ends, axis) - sums.take(starts, axis)
    return values
