"""Masks with mistakes in them, for a network that learns to mend: cut, leaking, off at the border.

Errors of a network on scans that it learnt from are too kind. These are drawn from the truth, and
are of the kinds that are seen: a head or tail that is missing, the bowel beside it taken along, a
border that is off by a few millimetres here and there, a blob far away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CUT_SHARE = (0.1, 0.5)
"""Of the organ, that a plane cuts off."""
CUT_RADIUS_MM = (8.0, 35.0)
LEAK_RADIUS_MM = (8.0, 28.0)
BLOB_RADIUS_MM = (4.0, 10.0)
BORDER_MM = (1.0, 5.0)
"""How far the border is off, one standard deviation, from place to place."""
BORDER_STEP_MM = 24.0
"""From one such place to the next."""
LIKE_ORGAN = (0.05, 0.95)
"""Quantiles of the organ's intensities: a leak goes into what looks like it."""


def spoil(
    mask: np.ndarray, scan: np.ndarray, spacing_mm: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """A mask with one or two mistakes.

    Args:
        mask: boolean (k, j, i), not empty.
        scan: (k, j, i), windowed to [0, 1].
        spacing_mm: along i, j, k.
    """
    steps = np.asarray(spacing_mm, dtype=float)[::-1]
    for _ in range(int(rng.integers(1, 3))):
        kind = int(rng.choice(4, p=(0.3, 0.25, 0.35, 0.1)))
        if kind == 0:
            mask = cut_off(mask, steps, rng)
        elif kind == 1:
            mask = leak(mask, scan, steps, rng)
        elif kind == 2:
            mask = shift_border(mask, steps, rng)
        else:
            mask = mask | ball(
                mask.shape, rng.integers(mask.shape), rng.uniform(*BLOB_RADIUS_MM), steps
            )
    return mask


def cut_off(mask: np.ndarray, steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without its part beyond a plane, or without a ball somewhere in it."""
    voxels = np.argwhere(mask)
    if len(voxels) == 0:
        return mask
    if rng.random() < 0.5:
        radius = rng.uniform(*CUT_RADIUS_MM)
        return mask & ~ball(mask.shape, voxels[rng.integers(len(voxels))], radius, steps)
    direction = rng.normal(size=3)
    along = (voxels * steps) @ (direction / np.linalg.norm(direction))
    gone = voxels[along > np.quantile(along, 1 - rng.uniform(*CUT_SHARE))]
    cut = mask.copy()
    cut[tuple(gone.T)] = False
    return cut


def leak(
    mask: np.ndarray, scan: np.ndarray, steps: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """With the tissue beside a place of its border, as far as it looks like the organ."""
    from scipy import ndimage

    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if len(border) == 0:
        return mask
    near = ball(mask.shape, border[rng.integers(len(border))], rng.uniform(*LEAK_RADIUS_MM), steps)
    smooth = ndimage.uniform_filter(scan, 3)
    low, high = np.quantile(smooth[mask], LIKE_ORGAN)
    grown = mask | (near & (smooth >= low) & (smooth <= high))
    pieces, _ = ndimage.label(grown)
    kept = np.unique(pieces[mask])
    return np.isin(pieces, kept[kept > 0])


def shift_border(mask: np.ndarray, steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With a border that is a little too far out here and too far in there."""
    from scipy import ndimage

    if not mask.any() or mask.all():
        return mask
    outside = ndimage.distance_transform_edt(~mask, sampling=steps)
    inside = ndimage.distance_transform_edt(mask, sampling=steps)
    places = np.maximum(np.ceil(np.array(mask.shape) * steps / BORDER_STEP_MM).astype(int), 2)
    coarse = rng.normal(rng.normal(0, 0.3), 1.0, places) * rng.uniform(*BORDER_MM)
    off = ndimage.zoom(
        coarse, np.array(mask.shape) / places, order=1, grid_mode=True, mode="nearest"
    )
    return (outside - inside) < off


def ball(
    shape: Sequence[int], centre: np.ndarray, radius_mm: float, steps: np.ndarray
) -> np.ndarray:
    """Boolean (k, j, i): what is nearer to a voxel than a radius.

    Args:
        steps: mm along k, j, i.
    """
    along = [
        (np.arange(size) - at) * step for size, at, step in zip(shape, centre, steps, strict=True)
    ]
    k, j, i = np.ix_(*along)
    return np.asarray(k * k + j * j + i * i <= radius_mm**2)
