"""Simulated clicks: what a user would point at, given the truth and the network's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def pick_deep_voxel(
    region: np.ndarray, spacing_mm: Sequence[float], rng: np.random.Generator
) -> tuple[int, int, int]:
    """A random voxel (k, j, i) of a region, towards its middle as often as anywhere in it.

    A user aims at the middle of what is wrong and does not always hit it.
    """
    depth = depth_mm(region, spacing_mm)
    deep = np.argwhere(region & (depth >= rng.random() * depth.max()))
    k, j, i = deep[int(rng.integers(len(deep)))]
    return int(k), int(j), int(i)


def simulate_clicks(
    labels: torch.Tensor,
    target_label: int,
    grid: Grid,
    rng: np.random.Generator,
    predict: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Clicks for a training patch.

    Args:
        labels: (k, j, i).
        target_label: the organ.
        grid: of the patch.
        predict: gives the network's answer, boolean (k, j, i), to click channels (1, 2, k, j, i).
            Then each click goes where the answer to those before it is most wrong (iterative
            training, Sofiiuk et al. 2022, arXiv 2102.06583). Without it the first goes into the
            organ and further ones anywhere near.

    Returns:
        (1, 2, k, j, i), the two click channels.
    """
    organ, known = labels == target_label, labels != IGNORE
    clicks: list[Click] = []
    for number in range(int(rng.integers(1, MOST_TRAINING_CLICKS + 1))):
        voxel: tuple[int, int, int] | None
        if predict is not None:
            answer = predict(click_channels(clicks, grid))
            error = largest_error(organ.numpy(), answer.numpy(), known.numpy())
            wrong, inside = error or (organ.numpy(), True)
            voxel = pick_deep_voxel(wrong, grid.spacing_mm, rng) if wrong.any() else None
        else:
            inside = number == 0 or rng.random() < 0.5
            region = organ if inside else dilate(organ, 4) & ~organ & known
            voxel = pick_voxel(region, rng)
        if voxel is not None:
            clicks.append(click_at(voxel, inside, grid))
    return click_channels(clicks, grid)
