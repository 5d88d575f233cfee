"""A simulated user, who knows the truth and clicks at what is most wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.grid import Grid
from ..geometry.volume import Volume
from ..inference.clicks import Click


def click_on_largest_error(mask: np.ndarray, truth: np.ndarray, place: Volume) -> Click | None:
    """Where a user would click next: the deepest point of the largest wrong piece.

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
    where = np.argwhere(piece)
    box = [slice(low, high + 1) for low, high in zip(where.min(0), where.max(0), strict=True)]
    depth = depth_mm(piece[tuple(box)], place.spacing_mm)
    at = np.unravel_index(int(depth.argmax()), depth.shape)
    k, j, i = (int(offset) + part.start for offset, part in zip(at, box, strict=True))
    return click_at((k, j, i), inside, place.grid)


def largest_error(
    organ: np.ndarray, prediction: np.ndarray, known: np.ndarray | bool = True
) -> tuple[np.ndarray, bool] | None:
    """The largest connected piece that is wrong, which a user would mend first.

    Args:
        organ, prediction, known: boolean (k, j, i); what is not known is not wrong.

    Returns:
        The piece, and whether it is missing from the prediction; None where nothing is wrong.
    """
    from scipy import ndimage

    best: tuple[int, np.ndarray, bool] | None = None
    for wrong, missed in ((organ & ~prediction, True), (prediction & ~organ & known, False)):
        pieces, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(pieces.ravel())[1:]
            largest = int(sizes.argmax())
            if best is None or sizes[largest] > best[0]:
                best = int(sizes[largest]), pieces == largest + 1, missed
    return None if best is None else best[1:]


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
