"""How well a mask agrees with the truth, in physical units.

Overlap is counted voxel by voxel; surface distances come from MONAI. Empty masks have a stated
answer:

==================  ===========  ===========================  ==========================
                    both empty   only the mask is empty       only the truth is empty
==================  ===========  ===========================  ==========================
Dice, IoU           1            0                            0
sensitivity         1            0                            1, since nothing is missed
precision           1            not defined                  0
distances           0            not defined                  not defined
==================  ===========  ===========================  ==========================

What is not defined is ``None``. It is left out of means, and how often is said beside them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..geometry.volume import Volume

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scores:
    """Agreement of a mask with the truth; counts are over the whole scan.

    Args:
        dice: twice the overlap over the sum of both.
        iou: the overlap over the union, or Jaccard index.
        sensitivity: share of the truth that is marked.
        specificity: share of the rest of the scan that is not.
        precision: share of the mask that is true.
        hausdorff95_mm: 95th percentile of the distances from one surface to the other, the larger
            of the two ways.
        mean_surface_distance_mm: mean of the distances from each surface to the other, all
            together (average symmetric surface distance).
        volume_ml, true_volume_ml: of the mask and of the truth.
    """

    dice: float
    iou: float
    sensitivity: float
    specificity: float
    precision: float | None
    hausdorff95_mm: float | None
    mean_surface_distance_mm: float | None
    volume_ml: float
    true_volume_ml: float

    @property
    def volume_difference_ml(self) -> float:
        """Above zero where the mask is larger than the truth."""
        return self.volume_ml - self.true_volume_ml

    def to_json(self) -> dict[str, float | None]:
        return {**asdict(self), "volume_difference_ml": self.volume_difference_ml}


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Twice the overlap of two boolean masks over the sum of both; 1 where both are empty."""
    both = int(np.count_nonzero(mask & truth))
    size = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2 * both / size if size else 1.0


def score(mask: np.ndarray, truth: np.ndarray, place: Volume) -> Scores:
    """Compare two masks on the same grid.

    Args:
        mask, truth: (k, j, i), non-zero in the organ.
        place: a volume on that grid, for spacing and voxel volume.
    """
    predicted, true = mask != 0, truth != 0
    both = int(np.count_nonzero(predicted & true))
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    either = n_predicted + n_true - both
    outside = predicted.size - n_true
    false_positive = n_predicted - both
    hausdorff95, mean_distance = surface_distances_mm(predicted, true, place.spacing_mm)
    return Scores(
        dice=dice(predicted, true),
        iou=both / either if either else 1.0,
        sensitivity=both / n_true if n_true else 1.0,
        specificity=(outside - false_positive) / outside if outside else 1.0,
        precision=both / n_predicted if n_predicted else (None if n_true else 1.0),
        hausdorff95_mm=hausdorff95,
        mean_surface_distance_mm=mean_distance,
        volume_ml=n_predicted * place.voxel_volume_ml,
        true_volume_ml=n_true * place.voxel_volume_ml,
    )


def surface_distances_mm(
    predicted: np.ndarray, true: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[float | None, float | None]:
    """95 % Hausdorff distance and average symmetric surface distance, mm.

    A surface is the voxels of a mask with a neighbour outside it; distances are between voxel
    centres.

    Args:
        predicted, true: boolean (k, j, i).
        spacing_mm: along i, j, k.
    """
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    if not predicted.any() and not true.any():
        return 0.0, 0.0
    if not predicted.any() or not true.any():
        return None, None
    # A single slice has an outline, not a surface.
    axes = [axis for axis, size in enumerate(predicted.shape) if size > 1] or [0]
    spacing = [spacing_mm[2 - axis] for axis in axes]
    flat = tuple(axis for axis in range(3) if axis not in axes)
    edges = get_mask_edges(predicted.squeeze(flat), true.squeeze(flat))
    there, back = (
        np.asarray(get_surface_distance(one, other, spacing=spacing), np.float64)
        for one, other in (edges[:2], edges[1::-1])
    )
    return (
        float(max(np.percentile(there, 95), np.percentile(back, 95))),
        float(np.concatenate((there, back)).mean()),
    )


@dataclass(frozen=True)
class Mean:
    """A mean over cases with its 95 % confidence interval.

    Args:
        mean: of the values that are defined; None where none is.
        low, high: ends of the interval; None with fewer than two values.
        count: values that are defined.
        undefined: values that are not.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    undefined: int


def mean_over_cases(
    values: Sequence[float | None],
    bounds: tuple[float, float] = (-math.inf, math.inf),
    groups: Sequence[str] | None = None,
) -> Mean:
    """The mean and its 95 % confidence interval from Student's t distribution.

    That is the mean plus and minus t times s / sqrt(n), with n - 1 degrees of freedom: it grows as
    it should where cases are few, which a bootstrap's does not.

    Args:
        values: one for each case.
        bounds: least and most that the measure can be; the interval is cut there.
        groups: whose case each is. With several of one patient, which are alike, a patient counts
            once, with the mean of his cases.
    """
    from scipy import stats

    named = groups if groups is not None else [str(index) for index in range(len(values))]
    by_group: dict[str, list[float]] = {}
    for value, group in zip(values, named, strict=True):
        if value is not None:
            by_group.setdefault(group, []).append(value)
    known = [statistics.fmean(of_one) for of_one in by_group.values()]
    undefined = sum(value is None for value in values)
    if not known:
        return Mean(None, None, None, 0, undefined)
    mean, count = statistics.fmean(known), len(values) - undefined
    if len(known) == 1:
        return Mean(mean, None, None, count, undefined)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1))
    reach = t * statistics.stdev(known) / math.sqrt(len(known))
    return Mean(mean, max(mean - reach, bounds[0]), min(mean + reach, bounds[1]), count, undefined)
