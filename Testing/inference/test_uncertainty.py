"""Where a result is to be doubted."""

from __future__ import annotations

import numpy as np
import pytest
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.inference.uncertainty import (
    LEAST_ML,
    find_doubtful_places,
    uncertainty_of,
)
from scipy.ndimage import uniform_filter

GRID = Grid((30, 40, 50), np.array([[2.0, 0, 0, -20], [0, 2, 0, 5], [0, 0, 3, 100], [0, 0, 0, 1]]))
REACH = (7, 11, 11)
"""Voxels of the box around a place, k, j, i: 10 mm to either side."""


def certain() -> np.ndarray:
    return np.zeros(GRID.shape, np.float32)


def undecided(probability: np.ndarray, at: tuple[int, int, int], size: int, value: float) -> None:
    probability[tuple(slice(one - size, one + size + 1) for one in at)] = value


def test_one_half_is_no_answer_and_the_ends_are_sure_ones() -> None:
    assert uncertainty_of(np.array([0, 0.25, 0.5, 0.75, 1.0])).tolist() == [0, 0.5, 1, 0.5, 0]


def test_the_place_with_most_at_stake_comes_first() -> None:
    probability = certain()
    undecided(probability, (6, 8, 10), 1, 0.5)
    undecided(probability, (20, 30, 40), 2, 0.6)
    first, second = find_doubtful_places(probability, GRID)
    assert first.position_ras == pytest.approx(GRID.position_of((40, 30, 20)), abs=4.1)
    assert first.volume_ml == pytest.approx(125 * 0.4 * 0.012, rel=1e-4)
    assert second.position_ras == pytest.approx(GRID.position_of((10, 8, 6)), abs=4.1)
    assert second.volume_ml == pytest.approx(27 * 0.5 * 0.012, rel=1e-4)


def test_a_map_is_searched_as_a_plain_search_would() -> None:
    """Against SciPy's box filter, anew after each place."""
    probability = np.random.default_rng(0).random(GRID.shape).astype(np.float32) ** 3
    stake = np.minimum(probability, 1 - probability).astype(np.float64)
    candidates = uncertainty_of(probability) >= 0.5
    for place in find_doubtful_places(probability, GRID, most=6):
        around = uniform_filter(stake, REACH, mode="constant") * np.prod(REACH) * 0.012
        around[~candidates] = 0
        assert place.volume_ml == pytest.approx(around.max(), rel=1e-5)
        k, j, i = np.unravel_index(around.argmax(), around.shape)
        assert place.position_ras == pytest.approx(GRID.position_of((i, j, k)))
        near = (
            slice(max(0, k - 3), k + 4),
            slice(max(0, j - 5), j + 6),
            slice(max(0, i - 5), i + 6),
        )
        stake[near], candidates[near] = 0, False


def test_what_is_not_worth_a_click_is_no_place() -> None:
    probability = certain()
    assert find_doubtful_places(probability, GRID) == ()
    probability[3, 3, 3] = 0.5
    assert LEAST_ML > 0.5 * 0.012
    assert find_doubtful_places(probability, GRID) == ()


def test_there_are_no_more_places_than_asked_for() -> None:
    probability = np.full(GRID.shape, 0.5, np.float32)
    assert len(find_doubtful_places(probability, GRID, most=2)) == 2
