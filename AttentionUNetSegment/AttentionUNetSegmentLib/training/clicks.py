"""Simulated clicks: what a user would point at, given the truth and the network's answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..inference.click_maps import click_channels
from ..inference.clicks import Click
from ..inference.resampling import Grid
from .losses import IGNORE

MOST_TRAINING_CLICKS = 3


def patch_grid(shape: Sequence[int], spacing_mm: Sequence[float]) -> Grid:
    """A grid for a patch on its own, with its first voxel at the origin."""
    k, j, i = shape
    return Grid((k, j, i), np.diag([*spacing_mm, 1.0]))


def dilate(region: torch.Tensor, voxels: int = 1) -> torch.Tensor:
    """Widen a boolean region (k, j, i) by a cube; axis by axis, which is the same but faster."""
    wide = region[None, None].float()
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * voxels + 1, voxels
        wide = F.max_pool3d(wide, kernel, stride=1, padding=padding)
    return wide[0, 0] > 0.5


def erode(region: torch.Tensor) -> torch.Tensor:
    """Remove the outer voxels of a boolean region (k, j, i)."""
    return ~dilate(~region)


def pick_voxel(region: torch.Tensor, rng: np.random.Generator) -> tuple[int, int, int] | None:
    """A random voxel (k, j, i) of a region, away from its rim where it is thick enough."""
    core = erode(region)
    flat = torch.nonzero((core if core.any() else region).flatten())
    if len(flat) == 0:
        return None
    index = int(flat[int(rng.integers(len(flat)))])
    k, j, i = np.unravel_index(index, tuple(region.shape))
    return int(k), int(j), int(i)


def click_at(voxel: tuple[int, int, int], inside: bool, grid: Grid) -> Click:
    k, j, i = voxel
    r, a, s = (grid.ijk_to_ras @ np.array([i, j, k, 1.0]))[:3]
    return Click((float(r), float(a), float(s)), inside)


def simulate_clicks(
    labels: torch.Tensor,
    target_label: int,
    grid: Grid,
    rng: np.random.Generator,
    prediction: torch.Tensor | None = None,
) -> torch.Tensor:
    """Clicks for a training patch.

    Args:
        labels: (k, j, i).
        target_label: the organ.
        grid: of the patch.
        prediction: boolean (k, j, i), the network's answer without clicks: then clicks go where it
            is wrong. Without it the first goes into the organ and further ones anywhere near.

    Returns:
        (1, 2, k, j, i), the two click channels.
    """
    organ = labels == target_label
    clicks: list[Click] = []
    for number in range(int(rng.integers(1, MOST_TRAINING_CLICKS + 1))):
        if prediction is not None:
            missed, extra = organ & ~prediction, ~organ & prediction & (labels != IGNORE)
            total = int(missed.sum()) + int(extra.sum())
            inside = total == 0 or rng.random() < int(missed.sum()) / total
            region = missed if inside else extra
            if total == 0:
                region = organ
        else:
            inside = number == 0 or rng.random() < 0.5
            region = organ if inside else dilate(organ, 4) & ~organ & (labels != IGNORE)
        voxel = pick_voxel(region, rng)
        if voxel is not None:
            clicks.append(click_at(voxel, inside, grid))
    return click_channels(clicks, grid)
