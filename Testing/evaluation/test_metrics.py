"""Scores against MONAI, SimpleITK and by hand; means against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from AttentionUNetSegmentLib.evaluation.metrics import mean_over_cases, score
from AttentionUNetSegmentLib.evaluation.simulated_user import click_on_largest_error
from AttentionUNetSegmentLib.geometry.volume import Volume
from monai.metrics import (
    ConfusionMatrixMetric,
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
)
from scipy import ndimage, stats

SPACING = (1.5, 1.0, 3.0)
PLACE = Volume(np.zeros((20, 30, 40), np.int16), np.diag([*SPACING, 1.0]))


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random(PLACE.array.shape)
    return ndimage.gaussian_filter(noise, 3) > np.quantile(ndimage.gaussian_filter(noise, 3), 0.9)


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask and a truth that share a part."""
    return blobs(seed), blobs(seed) ^ (blobs(seed + 50) & blobs(seed + 90)) | blobs(seed + 7)


def image_of(mask: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING)
    return image


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_overlap_agrees_with_simpleitk(seed: int) -> None:
    mask, truth = pair(seed)
    ours = score(mask, truth, PLACE)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(image_of(mask), image_of(truth))
    assert ours.dice == pytest.approx(measure.GetDiceCoefficient())
    assert ours.iou == pytest.approx(measure.GetJaccardCoefficient())
    assert ours.sensitivity == pytest.approx(1 - measure.GetFalseNegativeError())
    # The other way round what is missed is what was marked in vain.
    measure.Execute(image_of(truth), image_of(mask))
    assert ours.precision == pytest.approx(1 - measure.GetFalseNegativeError())
    assert ours.true_volume_ml == pytest.approx(truth.sum() * 4.5 / 1000)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(image_of(mask))
    assert ours.volume_ml == pytest.approx(shape.GetPhysicalSize(1) / 1000)
    assert ours.volume_difference_ml == pytest.approx((mask.sum() - truth.sum()) * 4.5 / 1000)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_everything_agrees_with_monai(seed: int) -> None:
    mask, truth = pair(seed)
    ours = score(mask, truth, PLACE)
    one, other = (torch.from_numpy(region)[None, None].float() for region in (mask, truth))
    assert ours.dice == pytest.approx(float(compute_dice(one, other)))
    assert ours.iou == pytest.approx(float(compute_iou(one, other)))
    names = ["sensitivity", "specificity", "precision"]
    matrix = ConfusionMatrixMetric(metric_name=names)
    matrix(one, other)
    for name, value in zip(names, matrix.aggregate(), strict=True):
        assert getattr(ours, name) == pytest.approx(float(value))
    spacing = list(reversed(SPACING))
    assert ours.hausdorff95_mm == pytest.approx(
        float(
            compute_hausdorff_distance(
                one, other, include_background=True, percentile=95, spacing=spacing
            )
        ),
        rel=1e-4,
    )
    assert ours.mean_surface_distance_mm == pytest.approx(
        float(
            compute_average_surface_distance(
                one, other, include_background=True, symmetric=True, spacing=spacing
            )
        ),
        rel=1e-4,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_surface_distances_agree_with_simpleitk(seed: int) -> None:
    """Distance maps of the contours, read off at the other contour."""
    mask, truth = pair(seed)
    contours, maps = [], []
    for region in (mask, truth):
        # A rim of nothing: what touches the border has a surface there too.
        contour = sitk.LabelContour(sitk.ConstantPad(image_of(region), [1] * 3, [1] * 3))
        distance = sitk.SignedMaurerDistanceMap(contour, False, False, True)
        contours.append(sitk.GetArrayFromImage(contour) > 0)
        maps.append(np.abs(sitk.GetArrayFromImage(distance)))
    there, back = maps[1][contours[0]], maps[0][contours[1]]
    ours = score(mask, truth, PLACE)
    assert ours.mean_surface_distance_mm == pytest.approx(
        np.concatenate((there, back)).mean(), rel=1e-4
    )
    assert ours.hausdorff95_mm == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-4
    )


def surface_points(mask: np.ndarray) -> np.ndarray:
    edge = mask & ~ndimage.binary_erosion(mask)
    return np.argwhere(edge) * np.array(SPACING[::-1])


@pytest.mark.parametrize("seed", [1, 2])
def test_surface_distances_are_in_millimetres(seed: int) -> None:
    """Against all pairs of surface points, one by one."""
    mask, truth = blobs(seed), blobs(seed + 7)
    one, other = surface_points(mask), surface_points(truth)
    pairs = np.linalg.norm(one[:, None] - other[None], axis=-1)
    ours = score(mask, truth, PLACE)
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    assert ours.hausdorff95_mm == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-4
    )
    assert ours.mean_surface_distance_mm == pytest.approx(
        np.concatenate((there, back)).mean(), rel=1e-4
    )


def test_a_shift_is_as_far_as_the_spacing_says() -> None:
    """A plane that moves by two voxels along each axis in turn."""
    for axis, spacing in ((0, SPACING[2]), (1, SPACING[1]), (2, SPACING[0])):
        truth = np.zeros(PLACE.array.shape, bool)
        truth[tuple(slice(8, 9) if a == axis else slice(None) for a in range(3))] = True
        ours = score(np.roll(truth, 2, axis), truth, PLACE)
        assert ours.hausdorff95_mm == pytest.approx(2 * spacing)
        assert ours.mean_surface_distance_mm == pytest.approx(2 * spacing)


def test_a_slice_is_scored_by_its_outline() -> None:
    place = Volume(np.zeros((1, 30, 40), np.uint8), np.diag([0.5, 2.0, 1.0, 1.0]))
    truth, mask = np.zeros((2, 1, 30, 40), bool)
    truth[0, 5:20, 5:25] = mask[0, 5:20, 9:29] = True
    one, other = (ndimage.binary_erosion(m[0]) ^ m[0] for m in (mask, truth))
    away = ndimage.distance_transform_edt(~other, sampling=(2.0, 0.5))[one]
    back = ndimage.distance_transform_edt(~one, sampling=(2.0, 0.5))[other]
    ours = score(mask, truth, place)
    expected = np.concatenate((away, back)).mean()
    assert ours.mean_surface_distance_mm == pytest.approx(expected, rel=1e-5)


def test_empty_masks_have_a_stated_answer() -> None:
    empty, some = np.zeros(PLACE.array.shape, bool), blobs(1)
    both = score(empty, empty, PLACE)
    assert (both.dice, both.iou, both.sensitivity, both.specificity, both.precision) == (1,) * 5
    assert (both.hausdorff95_mm, both.mean_surface_distance_mm) == (0, 0)
    missed = score(empty, some, PLACE)
    assert (missed.dice, missed.iou, missed.sensitivity, missed.specificity) == (0, 0, 0, 1)
    assert (missed.precision, missed.hausdorff95_mm, missed.mean_surface_distance_mm) == (None,) * 3
    invented = score(some, empty, PLACE)
    assert (invented.dice, invented.iou, invented.sensitivity, invented.precision) == (0, 0, 1, 0)
    assert invented.specificity == pytest.approx(1 - some.mean())
    assert (invented.hausdorff95_mm, invented.mean_surface_distance_mm) == (None, None)


# --- means --------------------------------------------------------------------------------------


def test_the_interval_is_that_of_students_t() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.05, 12)
    ours = mean_over_cases(list(values))
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert (ours.count, ours.undefined) == (12, 0)


def test_the_interval_holds_the_true_mean_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        ours = mean_over_cases(list(random.normal(0.8, 0.1, 4)))
        assert ours.low is not None
        assert ours.high is not None
        held += ours.low <= 0.8 <= ours.high
    assert 930 <= held <= 970


def test_an_interval_ends_where_the_measure_does() -> None:
    ours = mean_over_cases([0.99, 0.9, 1.0], bounds=(0, 1))
    assert ours.high == 1
    assert mean_over_cases([0.99, 0.9, 1.0]).high > 1  # type: ignore[operator]


def test_what_is_not_defined_is_left_out_and_counted() -> None:
    ours = mean_over_cases([1.0, None, 3.0, None])
    assert (ours.mean, ours.count, ours.undefined) == (2.0, 2, 2)
    nothing = mean_over_cases([None, None])
    assert (nothing.mean, nothing.low, nothing.count, nothing.undefined) == (None, None, 0, 2)
    alone = mean_over_cases([0.5])
    assert (alone.mean, alone.low, alone.high) == (0.5, None, None)
    assert mean_over_cases([]).mean is None


def test_slices_of_one_patient_do_not_count_as_many() -> None:
    """Thirty copies of two patients' slices are two patients."""
    ours = mean_over_cases([0.7] * 30 + [0.9] * 10, groups=["a"] * 30 + ["b"] * 10)
    assert ours.mean == pytest.approx(0.8)
    reach = stats.t.ppf(0.975, 1) * np.std([0.7, 0.9], ddof=1) / math.sqrt(2)
    assert ours.high == pytest.approx(0.8 + reach)
    assert ours.count == 40


# --- simulated clicks ---------------------------------------------------------------------------


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
