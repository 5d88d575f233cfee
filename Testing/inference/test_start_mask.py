"""A mask to begin from: it stays as it is but for the pieces that clicks point at."""

from __future__ import annotations

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.inference import Click, Volume
from AttentionUNetSegmentLib.inference.session import Session


def cut(organ: np.ndarray) -> np.ndarray:
    """Without the third of it that has the highest i."""
    start = organ.copy()
    low, high = np.flatnonzero(organ.any(axis=(0, 1)))[[0, -1]]
    start[:, :, low + 2 * (high - low) // 3 :] = False
    return start


def at(scan: Volume, region: np.ndarray) -> tuple[float, float, float]:
    """The middle of a region."""
    r, a, s = scan.grid.position_of(np.argwhere(region).mean(axis=0)[::-1])
    return float(r), float(a), float(s)


def two_pieces(organ: np.ndarray) -> np.ndarray:
    """The organ with a slab missing from its middle, and a box that the network would not draw."""
    start = organ.copy()
    low, high = np.flatnonzero(organ.any(axis=(0, 1)))[[0, -1]]
    start[:, :, (low + high) // 2 - 2 : (low + high) // 2 + 2] = False
    start[4:9, 30:38, 30:38] = True
    return start


def test_without_clicks_it_is_the_result(predictor, scan, organ):
    for start in (organ, cut(organ), two_pieces(organ)):
        prediction = predictor.predict(scan, start=start)
        assert (prediction.mask.astype(bool) == start).all()
        assert prediction.levels == 4
        inside = prediction.probability_in_region()[start[prediction.region]]
        assert (inside > 0.5).mean() > 0.9  # but at the rim, on another grid


def test_a_click_brings_back_what_is_missing(predictor, scan, organ):
    start = cut(organ)
    click = Click(at(scan, organ & ~start), True)
    mask = predictor.predict(scan, [click], start=start).mask.astype(bool)
    assert not (start & ~mask).any()
    assert (mask & organ & ~start).sum() > 0.7 * (organ & ~start).sum()


def test_a_click_takes_away_what_is_too_much_and_nothing_else(predictor, scan, organ):
    start = two_pieces(organ)
    box = start & ~organ
    mask = predictor.predict(scan, [Click(at(scan, box), False)], start=start).mask.astype(bool)
    assert not (mask & box).any()
    assert (mask & organ == start & organ).all()


def test_far_from_the_clicks_every_voxel_stays(predictor, scan, organ):
    start = two_pieces(organ)
    position = at(scan, start & ~organ)
    mask = predictor.predict(scan, [Click(position, False)], start=start).mask.astype(bool)
    indices = np.argwhere(mask != start)[:, ::-1]
    distances = np.linalg.norm(scan.grid.position_of(indices) - position, axis=1)
    assert distances.max() < 45


def test_undo_gives_it_back(predictor, scan, organ):
    start = cut(organ)
    session = Session(predictor, scan, start=start)
    session.predict()
    session.add_click(at(scan, organ & ~start), inside=True)
    assert (session.undo().mask.astype(bool) == start).all()


def test_an_empty_one_is_nothing_yet(predictor, scan, organ):
    nothing = np.zeros_like(organ)
    assert not predictor.predict(scan, start=nothing).found
    mask = predictor.predict(scan, [Click(at(scan, organ), True)], start=nothing).mask.astype(bool)
    assert 2 * (mask & organ).sum() / (mask.sum() + organ.sum()) > 0.9


def test_one_of_another_size_is_refused(predictor, scan, organ):
    with pytest.raises(InputError, match="same grid"):
        predictor.predict(scan, start=organ[1:])
