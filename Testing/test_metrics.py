"""Scores against SimpleITK and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.inference.volume import Volume
from AttentionUNetSegmentLib.training.evaluation import click_on_largest_error
from AttentionUNetSegmentLib.training.metrics import score
from scipy import ndimage

SPACING = (1.5, 1.0, 3.0)
PLACE = Volume(np.zeros((20, 30, 40), np.int16), np.diag([*SPACING, 1.0]))


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random(PLACE.array.shape)
    return ndimage.gaussian_filter(noise, 3) > np.quantile(ndimage.gaussian_filter(noise, 3), 0.9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_overlap_agrees_with_simpleitk(seed: int) -> None:
    mask, truth = blobs(seed), blobs(seed) ^ (blobs(seed + 50) & blobs(seed + 90))
    ours = score(mask, truth, PLACE)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(*(sitk.GetImageFromArray(m.astype(np.uint8)) for m in (truth, mask)))
    assert ours.dice == pytest.approx(measure.GetDiceCoefficient())
    assert ours.sensitivity == pytest.approx((mask & truth).sum() / truth.sum())
    assert ours.specificity == pytest.approx((~mask & ~truth).sum() / (~truth).sum())
    assert ours.true_volume_ml == pytest.approx(truth.sum() * 4.5 / 1000)


def surface_points(mask: np.ndarray) -> np.ndarray:
    edge = mask & ~ndimage.binary_erosion(mask)
    return np.argwhere(edge) * np.array(SPACING[::-1])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_surface_distance_is_in_millimetres(seed: int) -> None:
    """Against all pairs of surface points, one by one."""
    mask, truth = blobs(seed), blobs(seed + 7)
    one, other = surface_points(mask), surface_points(truth)
    pairs = np.linalg.norm(one[:, None] - other[None], axis=-1)
    expected = max(np.percentile(pairs.min(axis=1), 95), np.percentile(pairs.min(axis=0), 95))
    assert score(mask, truth, PLACE).hausdorff95_mm == pytest.approx(expected, rel=1e-4)


def test_empty_masks_have_a_stated_answer() -> None:
    empty, some = np.zeros(PLACE.array.shape, bool), blobs(1)
    both = score(empty, empty, PLACE)
    assert (both.dice, both.sensitivity, both.specificity, both.hausdorff95_mm) == (1, 1, 1, 0)
    missed = score(empty, some, PLACE)
    assert (missed.dice, missed.sensitivity, missed.hausdorff95_mm) == (0, 0, None)


def test_the_simulated_user_clicks_deep_in_the_largest_error() -> None:
    truth = np.zeros(PLACE.array.shape, bool)
    truth[5:14, 5:20, 5:20] = True
    mask = truth.copy()
    mask[:, :, 30:32] = True  # a thin false sheet
    mask[5:14, 5:20, 10:20] = False  # a thick missed part
    click = click_on_largest_error(mask, truth, PLACE)
    assert click is not None
    assert click.inside
    i, j, k = (PLACE.ras_to_ijk @ [*click.position_ras, 1.0])[:3]
    assert (10 <= i < 20, 5 <= j < 20, 5 <= k < 14) == (True, True, True)
    assert 3 <= i - 10 + 0.5 <= 7

    mask[5:14, 5:20, 10:20] = True
    wrong = click_on_largest_error(mask, truth, PLACE)
    assert wrong is not None
    assert not wrong.inside
    assert click_on_largest_error(truth, truth, PLACE) is None
