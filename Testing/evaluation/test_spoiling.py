"""What is done to scans on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.evaluation.spoiling import (
    MIRRORED,
    ORIENTATIONS,
    crop,
    cut_end,
    cut_through_organ,
    flip,
    spoilings,
)
from geometry import centre_ras, placed
from small_cases import small_case

LPS = placed((2.0, 2.0, 3.0), (60, 50, 0)) @ np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("matrix", [None, LPS])
def test_a_flip_exchanges_the_ends_of_one_axis_of_the_patient(
    axis: int, matrix: np.ndarray | None
) -> None:
    case = small_case(matrix=matrix)
    flipped = flip(case, axis)
    organ = case.labels.array == PANCREAS
    middle = case.ct.grid.bounds.centre_ras
    before = centre_ras(organ, case.ct.ijk_to_ras) - middle
    after = centre_ras(flipped.labels.array == PANCREAS, case.ct.ijk_to_ras) - middle
    expected = before * np.where(np.arange(3) == axis, -1, 1)
    assert after == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(flip(flipped, axis).ct.array, case.ct.array)
    assert np.array_equal(flipped.ct.ijk_to_ras, case.ct.ijk_to_ras)


@pytest.mark.parametrize("matrix", [None, LPS])
def test_a_cut_keeps_the_end_that_it_says_in_its_place(matrix: np.ndarray | None) -> None:
    case = small_case(matrix=matrix)
    whole = case.ct.grid.bounds
    for axis in range(3):
        lower = cut_end(case, axis, low=True, keep=0.5).ct.grid.bounds
        upper = cut_end(case, axis, low=False, keep=0.5).ct.grid.bounds
        assert lower.low_ras == pytest.approx(whole.low_ras)
        assert upper.high_ras == pytest.approx(whole.high_ras)
        assert lower.extent_mm[axis] == pytest.approx(whole.extent_mm[axis] / 2, abs=3)


def test_half_of_the_organ_is_below_its_middle() -> None:
    case = small_case()
    organ = int((case.labels.array == PANCREAS).sum())
    for low in (True, False):
        part = cut_through_organ(case, PANCREAS, low=low)
        assert (part.labels.array == PANCREAS).sum() == pytest.approx(organ / 2, rel=0.25)


def test_a_crop_holds_the_organ_with_its_surroundings() -> None:
    case = small_case()
    part = crop(case, PANCREAS)
    assert (part.labels.array == PANCREAS).sum() == (case.labels.array == PANCREAS).sum()
    assert part.ct.array.size < case.ct.array.size
    place = part.ct.grid.position_of((0, 0, 0))
    i, j, k = np.round(case.ct.grid.index_of(place)).astype(int)
    assert case.ct.array[k, j, i] == part.ct.array[0, 0, 0]


@pytest.mark.parametrize("kind", ["scan", "region"])
def test_each_way_gives_a_case_whose_truth_lies_on_its_scan(kind: str) -> None:
    case = small_case(kind)
    ways = spoilings(case)
    assert set(MIRRORED) < set(ORIENTATIONS) < set(ways)
    for name, spoil in ways.items():
        spoilt = spoil(case, PANCREAS)
        assert spoilt.ct.array.shape == spoilt.labels.array.shape, name
        assert np.array_equal(spoilt.ct.ijk_to_ras, spoilt.labels.ijk_to_ras), name
        assert not np.array_equal(spoilt.ct.array, case.ct.array), name
