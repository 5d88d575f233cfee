"""Clicks for training: where a user would point, given the labels and the network's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..evaluation.simulated_user import click_at, depth_mm, largest_error
from ..geometry.grid import Grid, bounding_region
from ..geometry.resampling import widened
from ..inference.click_maps import click_channels
from ..inference.clicks import Click
from .losses import IGNORE
from .stage_options import StageOptions

MOST_TRAINING_CLICKS = 3
DISPUTE_RADIUS_MM = (8.0, 30.0)
"""How far along the border a disputed piece reaches."""
DISPUTE_THIN_MM = (2.0, 6.0)
DISPUTE_THICK_MM = (6.0, 16.0)
"""How far off the border it reaches: mostly a shell, as a network's errors are; else a chunk."""
THIN_PROBABILITY = 0.7
FEWEST_DISPUTED = 20
"""Voxels; a smaller piece is none that a user would click at."""


def patch_grid(shape: Sequence[int], spacing_mm: Sequence[float]) -> Grid:
    """A grid for a patch on its own, with its first voxel at the origin."""
    k, j, i = shape
    return Grid((k, j, i), np.diag([*spacing_mm, 1.0]))


def erode(region: torch.Tensor) -> torch.Tensor:
    """Remove the outer voxels of a boolean region (k, j, i)."""
    return ~widened(~region)


def pick_voxel(region: torch.Tensor, rng: np.random.Generator) -> tuple[int, int, int] | None:
    """A random voxel (k, j, i) of a region, away from its rim where it is thick enough."""
    core = erode(region)
    flat = torch.nonzero((core if core.any() else region).flatten())
    if len(flat) == 0:
        return None
    index = int(flat[int(rng.integers(len(flat)))])
    k, j, i = np.unravel_index(index, tuple(region.shape))
    return int(k), int(j), int(i)


def pick_deep_voxel(
    region: np.ndarray, spacing_mm: Sequence[float], rng: np.random.Generator
) -> tuple[int, int, int]:
    """A random voxel (k, j, i) of a region, towards its middle as often as anywhere in it.

    A user aims at the middle of what is wrong and does not always hit it.
    """
    box = bounding_region(region)
    assert box is not None, "there is no region"
    depth = depth_mm(region[box], spacing_mm)
    deep = np.argwhere(region[box] & (depth >= rng.random() * depth.max()))
    at = deep[int(rng.integers(len(deep)))]
    k, j, i = (int(offset) + part.start for offset, part in zip(at, box, strict=True))
    return k, j, i


@dataclass(frozen=True, eq=False)
class Dispute:
    """A piece at the organ's border that a user sees otherwise than the labels.

    Args:
        piece: boolean (k, j, i).
        inside: it belongs to the organ, as this user sees it.
    """

    piece: np.ndarray
    inside: bool

    def relabel(self, labels: torch.Tensor, target_label: int) -> torch.Tensor:
        """Labels (k, j, i) as this user would have drawn them."""
        return labels.masked_fill(torch.from_numpy(self.piece), target_label if self.inside else 0)


def draw_dispute(
    labels: torch.Tensor,
    image: torch.Tensor,
    target_label: int,
    spacing_mm: Sequence[float],
    rng: np.random.Generator,
) -> Dispute | None:
    """A random piece that another reader would add to the organ, or take away from it.

    A network soon knows the scans that it learns from by heart; then it is right without a click,
    and has nothing to learn from one. Where the truth is not what the scan suggests, only the click
    tells.

    Args:
        labels, image: (k, j, i) of a patch; what is added looks like the organ.
        target_label: the organ.
        spacing_mm: along i, j, k.

    Returns:
        None where there is no organ, or the piece is too small to be clicked at.
    """
    from scipy import ndimage

    organ, known = (labels == target_label).numpy(), (labels != IGNORE).numpy()
    if not organ.any() or organ.all():
        return None
    inside = bool(rng.random() < 0.5)
    thickness = rng.uniform(
        *(DISPUTE_THIN_MM if rng.random() < THIN_PROBABILITY else DISPUTE_THICK_MM)
    )
    steps = np.asarray(spacing_mm)[::-1]
    from_border = ndimage.distance_transform_edt(~organ if inside else organ, sampling=steps)
    border = np.argwhere(organ & ~ndimage.binary_erosion(organ))
    centre = border[int(rng.integers(len(border)))]
    along = [(np.arange(n) - at) * mm for n, at, mm in zip(organ.shape, centre, steps, strict=True)]
    k, j, i = np.ix_(*along)
    near = np.sqrt(k * k + j * j + i * i) <= rng.uniform(*DISPUTE_RADIUS_MM)
    piece = near & (from_border > 0) & (from_border <= thickness) & known
    if inside:
        smooth = ndimage.uniform_filter(image.numpy(), 3)
        low, high = np.quantile(smooth[organ], (0.05, 0.95))
        piece &= (smooth >= low) & (smooth <= high)
    pieces, count = ndimage.label(piece)
    if count == 0:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() < FEWEST_DISPUTED:
        return None
    return Dispute(pieces == int(sizes.argmax()) + 1, inside)


def simulate_clicks(
    labels: torch.Tensor,
    target_label: int,
    grid: Grid,
    rng: np.random.Generator,
    predict: Callable[[torch.Tensor], torch.Tensor] | None = None,
    dispute: Dispute | None = None,
) -> torch.Tensor:
    """Clicks for a training patch.

    Args:
        labels: (k, j, i), as the user of a dispute would have drawn them.
        target_label: the organ.
        grid: of the patch.
        predict: gives the network's answer, boolean (k, j, i), to click channels (1, 2, k, j, i).
            Then each click goes where the answer to those before it is most wrong (iterative
            training, Sofiiuk et al. 2022, arXiv 2102.06583). Without it the first goes into the
            organ and further ones anywhere near.
        dispute: where the first click goes.

    Returns:
        (1, 2, k, j, i), the two click channels.
    """
    organ, known = labels == target_label, labels != IGNORE
    clicks: list[Click] = []
    for number in range(int(rng.integers(1, MOST_TRAINING_CLICKS + 1))):
        voxel: tuple[int, int, int] | None
        if number == 0 and dispute is not None:
            inside = dispute.inside
            voxel = pick_deep_voxel(dispute.piece, grid.spacing_mm, rng)
        elif predict is not None:
            answer = predict(click_channels(clicks, grid))
            error = largest_error(organ.numpy(), answer.numpy(), known.numpy())
            wrong, inside = error or (organ.numpy(), True)
            voxel = pick_deep_voxel(wrong, grid.spacing_mm, rng) if wrong.any() else None
        else:
            inside = number == 0 or rng.random() < 0.5
            region = organ if inside else widened(organ, 4) & ~organ & known
            voxel = pick_voxel(region, rng)
        if voxel is not None:
            clicks.append(click_at(voxel, inside, grid))
    return click_channels(clicks, grid)


def click_channels_for_training(
    labels: torch.Tensor,
    image: torch.Tensor,
    options: StageOptions,
    rng: np.random.Generator,
    predict: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clicks on a training patch, none for some, as the options say how often.

    Args:
        labels, image: (k, j, i).
        predict: as of :func:`simulate_clicks`.

    Returns:
        The click channels (1, 2, k, j, i), and the labels as the user of these clicks sees them.
    """
    target_label = options.target_label
    grid = patch_grid(options.patch.shape, options.patch.spacing_mm)
    if rng.random() >= options.click_probability:
        return torch.zeros((1, 2, *labels.shape)), labels
    if rng.random() >= options.click_error_probability:
        return simulate_clicks(labels, target_label, grid, rng), labels
    dispute = None
    if rng.random() < options.dispute_probability:
        dispute = draw_dispute(labels, image, target_label, grid.spacing_mm, rng)
    if dispute is not None:
        labels = dispute.relabel(labels, target_label)
    return simulate_clicks(labels, target_label, grid, rng, predict, dispute), labels
