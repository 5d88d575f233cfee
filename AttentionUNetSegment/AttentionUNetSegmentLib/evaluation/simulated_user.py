"""Simulated users, who know the truth and click at what is most wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..geometry.grid import Grid, bounding_region
from ..geometry.volume import Volume
from ..inference.clicks import Click

HUMAN_OFF_MM = 3.0
"""How far from the middle of a mistake a human clicks, on the average."""
HUMAN_SECOND = 0.2
"""How often a human clicks at the second-largest mistake."""
HUMAN_TRIES = 20
"""Places that are drawn for a click, until one is on the side that it is said to be on."""

User = Callable[[np.ndarray, np.ndarray, Volume], "Click | None"]
"""Where a user would click next, given mask and truth (boolean, k, j, i) and a volume on their
grid; None where nothing is wrong."""


def click_on_largest_error(mask: np.ndarray, truth: np.ndarray, place: Volume) -> Click | None:
    """An ideal user's click: the deepest point of the largest wrong piece.

    Args:
        mask, truth: boolean (k, j, i).
        place: a volume on that grid.

    Returns:
        None where nothing is wrong.
    """
    error = largest_error(truth, mask)
    if error is None:
        return None
    piece, inside = error
    return click_at(deepest_voxel(piece, place.spacing_mm), inside, place.grid)


class HumanUser:
    """A user who does not hit the very middle, and now and then mends another mistake first.

    What is said of a point is always true: a person sees on which side of the border it is.

    Args:
        seed: decides all that is drawn.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, mask: np.ndarray, truth: np.ndarray, place: Volume) -> Click | None:
        errors = largest_errors(truth, mask)
        if not errors:
            return None
        second = len(errors) > 1 and self._rng.random() < HUMAN_SECOND
        piece, inside = errors[1 if second else 0]
        middle = click_at(deepest_voxel(piece, place.spacing_mm), inside, place.grid)
        # The length of a vector of three normal numbers is 1.6 of their width on the average.
        width = HUMAN_OFF_MM / (2 * math.sqrt(2 / math.pi))
        for _ in range(HUMAN_TRIES):
            r, a, s = np.asarray(middle.position_ras) + self._rng.normal(0, width, 3)
            voxel = place.grid.voxel_of((r, a, s))
            if voxel is not None and bool(truth[voxel]) == inside:
                return Click((float(r), float(a), float(s)), inside)
        return middle


def deepest_voxel(piece: np.ndarray, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """k, j, i of the voxel that is farthest from the rim of a boolean (k, j, i) piece.

    Args:
        spacing_mm: along i, j, k.
    """
    box = bounding_region(piece)
    assert box is not None, "there is no piece"
    depth = depth_mm(piece[box], spacing_mm)
    at = np.unravel_index(int(depth.argmax()), depth.shape)
    k, j, i = (int(offset) + part.start for offset, part in zip(at, box, strict=True))
    return k, j, i


def largest_error(
    organ: np.ndarray, prediction: np.ndarray, known: np.ndarray | bool = True
) -> tuple[np.ndarray, bool] | None:
    """The largest connected piece that is wrong, which a user would mend first.

    Args:
        organ, prediction, known: boolean (k, j, i); what is not known is not wrong.

    Returns:
        The piece, and whether it is missing from the prediction; None where nothing is wrong.
    """
    return next(iter(largest_errors(organ, prediction, known, most=1)), None)


def largest_errors(
    organ: np.ndarray,
    prediction: np.ndarray,
    known: np.ndarray | bool = True,
    most: int = 2,
    fewest_voxels: int = 1,
) -> list[tuple[np.ndarray, bool]]:
    """The largest connected pieces that are wrong, the largest first.

    Args:
        organ, prediction, known: boolean (k, j, i); what is not known is not wrong.
        most: pieces to return.
        fewest_voxels: of a piece.

    Returns:
        Each piece, and whether it is missing from the prediction.
    """
    from scipy import ndimage

    found: list[tuple[int, int, np.ndarray, bool]] = []
    for wrong, missing in ((organ & ~prediction, True), (prediction & ~organ, False)):
        pieces, _ = ndimage.label(wrong & known)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0  # what is right
        # Stable, so that of equal pieces the first stays the first.
        for label in np.argsort(-sizes, kind="stable")[:most]:
            if sizes[label] >= fewest_voxels:
                found.append((int(sizes[label]), int(label), pieces, missing))
    found.sort(key=lambda one: -one[0])
    return [(pieces == label, missing) for _, label, pieces, missing in found[:most]]


def depth_mm(region: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """How far each voxel of a boolean region (k, j, i) is from its rim, the image's own included.

    Args:
        spacing_mm: along i, j, k.
    """
    from scipy import ndimage

    padded = np.pad(region, 1)
    depth: np.ndarray = ndimage.distance_transform_edt(padded, sampling=list(spacing_mm)[::-1])
    return depth[1:-1, 1:-1, 1:-1]


def click_at(voxel: tuple[int, int, int], inside: bool, grid: Grid) -> Click:
    """A click at the centre of a voxel (k, j, i)."""
    k, j, i = voxel
    r, a, s = grid.position_of((i, j, k))
    return Click((float(r), float(a), float(s)), inside)
