"""What a result says of itself in figures, from which its Dice is estimated.

Most of it is read from maps that the networks made anyway, on the refiner's grid, in milliseconds.
For one figure the refiner looks once more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.grid import Box, GridImage, aligned_grid
from ..geometry.resampling import resample
from ..geometry.volume import Volume
from ..networks import focus_ratio
from .clicks import Click
from .engine import MULTIPLE, Engine
from .progress import CancelToken
from .refinement import Refinement

EMPTY = 1e-6
"""In the place of nothing, so that shares are defined."""
SCALE_AGREEMENT = "scale_agreement"
"""The figure that costs a pass of the refiner; it is made where a card weighs it."""
COARSER = 1.3
"""By how much the voxels are longer that the refiner sees for it."""


@dataclass(frozen=True)
class AttentionSummary:
    """A level's attention in figures, each in [0, 1].

    Args:
        focus_ratio: share of the voxels above 0.5.
        in_organ, around_organ: mean in the mask, and in the rest of what was looked at.
    """

    focus_ratio: float
    in_organ: float
    around_organ: float


def summarise_attention(
    refinement: Refinement, selected: np.ndarray, within: Box
) -> tuple[AttentionSummary, ...]:
    """Each level's attention, shallow to deep.

    Args:
        refinement: of the region.
        selected: boolean, the mask on its grid.
        within: what counts: the region that was looked at first, so that a click beside it, which
            widens it, does not change the figures.
    """
    mask = torch.from_numpy(selected.astype(np.float32))[None, None]
    return tuple(_summarise_level(level, mask, within) for level in refinement.attention)


def _summarise_level(level: GridImage, mask: torch.Tensor, within: Box) -> AttentionSummary:
    # The box's border runs between voxels, which rounding must not count on either side.
    r, a, s = level.grid.spacing_mm
    k, j, i = level.grid.region_of(within.grown((-r / 4, -a / 4, -s / 4)).corners_ras)
    values = level.values[0, 0, k, j, i].float().cpu()
    if values.numel() == 0:
        return AttentionSummary(0.0, 0.0, 0.0)
    factor = mask.shape[2] // level.values.shape[2]
    share = (mask if factor == 1 else F.avg_pool3d(mask, factor))[0, 0, k, j, i]
    inside, outside = (
        float((values * weight).sum() / max(float(weight.sum()), EMPTY))
        for weight in (share, 1 - share)
    )
    return AttentionSummary(focus_ratio(values), inside, outside)


def measure_scale_agreement(
    engine: Engine,
    volume: Volume,
    refinement: Refinement,
    clicks: Sequence[Click],
    warnings: list[str],
    cancel: CancelToken | None = None,
) -> float:
    """How far the refiner says the same where it sees the same region a little smaller.

    Where its answers on a scan that was changed in some way differ, it errs more (Zenk et al. 2024,
    arXiv 2406.03323). Of the changes that were tried, a coarser scale told most: 1.12 and 1.3 times
    as coarse the same, and from 1.5 times on nothing.

    Args:
        refinement: the refiner's own answer, about the first target.
        clicks: that it was shown.
        warnings: a sentence is added where memory did not suffice.

    Returns:
        The Dice of both probabilities, in [0, 1].
    """
    r, a, s = (COARSER * length for length in refinement.grid.spacing_mm)
    grid = aligned_grid(refinement.grid.bounds, (r, a, s), MULTIPLE)
    coarser = engine.run_refiner(engine.sample(volume, grid), grid, clicks, warnings, cancel)
    seen = resample(coarser.probability.values, grid, refinement.grid)
    # A GPU with too little memory may just have been given up.
    return probability_dice(refinement.probability.values.to(seen.device), seen)


def probability_dice(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far two probabilities of one shape say the same, in [0, 1]: the Dice of what both have in
    each voxel."""
    both = torch.minimum(one, other).sum(dtype=torch.float64)
    total = one.sum(dtype=torch.float64) + other.sum(dtype=torch.float64)
    return float(2 * both / total.clamp(min=EMPTY))


def result_features(
    refinement: Refinement,
    selected: np.ndarray,
    components: int,
    attention: tuple[AttentionSummary, ...],
    scale_agreement: float | None = None,
) -> dict[str, float]:
    """The figures of a result, by name, that a model's card may weigh.

    Args:
        refinement: of the region.
        selected: boolean, the mask on its grid; not empty.
        components: how many separate pieces it has.
        attention: of each level.
        scale_agreement: of :func:`measure_scale_agreement`, before any click mended the answer;
            None where nobody asked for it.

    Returns:
        ``soft_dice_logit``: the log-odds of the Dice that the probability expects of the mask, the
        Soft Dice Confidence of Borges et al. 2024 (arXiv 2402.10665); ``mean_probability`` in the
        mask;
        ``doubt_inside`` and ``doubt_outside``: logarithms of the expected error in the mask and
        outside of it, as shares of its volume; ``log_ml`` and ``log_pieces``, of its volume and
        number of pieces; ``attention_in_N`` and ``attention_around_N`` of level N; and
        ``scale_agreement``, where it was given.
    """
    values = refinement.values.astype(np.float64)
    voxels = int(np.count_nonzero(selected))
    inside, total = float(values[selected].sum()), float(values.sum())
    doubt = np.minimum(values, 1 - values)
    doubt_inside = float(doubt[selected].sum())
    doubt_outside = float(doubt.sum()) - doubt_inside
    voxel_ml = float(np.prod(refinement.grid.spacing_mm)) / 1000
    soft_dice = min(max(2 * inside / (total + voxels), 0.01), 0.995)
    features = {
        "soft_dice_logit": math.log(soft_dice / (1 - soft_dice)),
        "mean_probability": inside / voxels,
        "doubt_inside": math.log(doubt_inside / voxels + EMPTY),
        "doubt_outside": math.log(doubt_outside / voxels + EMPTY),
        "log_ml": math.log(voxels * voxel_ml),
        "log_pieces": math.log(max(components, 1)),
    }
    for number, level in enumerate(attention, start=1):
        features[f"attention_in_{number}"] = level.in_organ
        features[f"attention_around_{number}"] = level.around_organ
    if scale_agreement is not None:
        features[SCALE_AGREEMENT] = scale_agreement
    return features
