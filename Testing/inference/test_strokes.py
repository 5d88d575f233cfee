"""Scribbles, boxes and lassos: what they say, and what they change of a mask."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.inference import Click, Lasso, Predictor, Scribble, Volume
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.inference.strokes import (
    Prompt,
    as_clicks,
    clear_outside,
    line_clicks,
    mapped,
    moved_to,
    prompt_from_json,
    prompt_to_json,
)
from AttentionUNetSegmentLib.inference.validation import check_clicks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SQUARE = ((0.0, 0.0, 5.0), (10.0, 0.0, 5.0), (10.0, 10.0, 5.0), (0.0, 10.0, 5.0))
AWAY = 45.0
"""Millimetres from a scribble beyond which nothing changes."""


def at(scan: Volume, *ijk: float) -> tuple[float, float, float]:
    r, a, s = scan.grid.position_of(ijk)
    return float(r), float(a), float(s)


def middle(organ: np.ndarray) -> tuple[int, int, int]:
    k, j, i = np.argwhere(organ).mean(axis=0).round().astype(int)
    return int(i), int(j), int(k)


def line_voxels(scan: Volume, scribble: Scribble) -> np.ndarray:
    """Which voxels a line goes through: a fine walk along it."""
    points = np.array(scribble.points_ras)
    passed = np.zeros(scan.array.shape, bool)
    for start, end in itertools.pairwise(points):
        walk = start + np.linspace(0, 1, 20_000)[:, None] * (end - start)
        voxels = np.floor(scan.grid.index_of(walk) + 0.5).astype(int)
        inside = ((voxels >= 0) & (voxels < scan.shape_ijk)).all(axis=1)
        passed[tuple(voxels[inside, ::-1].T)] = True
    return passed


def distance_to_line(scan: Volume, scribble: Scribble, voxels: np.ndarray) -> np.ndarray:
    """Of voxels (k, j, i), in mm."""
    line = np.array([click.position_ras for click in scribble.clicks(1.0)])
    positions = scan.grid.position_of(voxels[:, ::-1])
    return np.linalg.norm(positions[:, None] - line[None], axis=-1).min(axis=1)


# What they are


def test_points_along_a_scribble_are_evenly_apart_with_both_ends() -> None:
    scribble = Scribble(((0.0, 0.0, 0.0), (10.0, 0.0, 0.0), (10.0, 25.0, 0.0)), True, "organ")
    clicks = scribble.clicks(10.0)
    assert [click.position_ras for click in clicks] == [
        (0.0, 0.0, 0.0),
        (8.75, 0.0, 0.0),
        (10.0, 7.5, 0.0),
        (10.0, 16.25, 0.0),
        (10.0, 25.0, 0.0),
    ]
    assert {(click.inside, click.target) for click in clicks} == {(True, "organ")}
    assert scribble.length_mm == 35.0


def test_a_scribble_of_one_place_is_two_clicks_there() -> None:
    assert len(Scribble(((1.0, 2.0, 3.0),) * 2, False).clicks(5.0)) == 2


@pytest.mark.parametrize(
    ("point", "within"),
    [
        ((5.0, 5.0, 5.0), True),
        ((5.0, 5.0, 900.0), True),  # through all slices
        ((-1.0, 5.0, 5.0), False),
        ((5.0, 11.0, -300.0), False),
    ],
)
def test_a_lasso_reaches_through_all_slices(point: Any, within: bool) -> None:
    assert Lasso(SQUARE).contains(np.array([point])).tolist() == [within]


def test_with_a_depth_it_says_nothing_of_what_is_farther_away() -> None:
    lasso = Lasso(SQUARE, depth_mm=2.0)
    points = np.array([(20.0, 5.0, 6.0), (20.0, 5.0, 8.0), (5.0, 5.0, 6.0)])
    assert lasso.contains(points).tolist() == [False, True, True]


def test_a_box_of_three_sides_has_an_outside_in_all_directions() -> None:
    box = Lasso.box((10, 20, 30), (0, 50, 90))
    inside = [(5, 35, 60), (0.5, 49, 31), (9.5, 21, 89)]
    outside = [(5, 35, 29), (5, 35, 91), (-1, 35, 60), (5, 51, 60)]
    assert box.contains(np.array(inside)).all()
    assert not box.contains(np.array(outside)).any()


def test_a_flat_box_reaches_through_all_slices() -> None:
    box = Lasso.box((0, 0, 5), (10, 10, 5))
    assert box.contains(np.array([(5, 5, -1000), (5, 5, 1000)])).all()
    assert not box.contains(np.array([(11, 5, 5)])).any()


def test_a_lasso_whose_ends_overlap_has_no_hole() -> None:
    turns = np.linspace(0, 4 * np.pi, 60)
    points = tuple((float(np.cos(t)) * 9, float(np.sin(t)) * 9, 0.0) for t in turns)
    assert Lasso(points).contains(np.array([(0.1, 0.2, 0.0), (5.0, 5.0, 0.0)])).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_inside_is_that_of_a_reference(seed: int) -> None:
    from matplotlib.path import Path

    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    flat = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(4, 9, (12, 1))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    origin = rng.uniform(-50, 50, 3)
    corners = origin + flat @ turn[:2]
    points = rng.uniform(-10, 10, (200, 3))
    lasso = Lasso(tuple(map(tuple, corners.tolist())))
    found = lasso.contains(origin + points @ turn)
    assert (found == Path(flat).contains_points(points[:, :2])).all()


PROMPTS: list[Prompt] = [
    Click((1.5, 2.0, -3.0), True),
    Click((1.5, 2.0, -3.0), False),
    Scribble(((0.0, 1.0, 2.0), (3.0, 4.0, 5.5)), False),
    Lasso(SQUARE),
    Lasso(SQUARE, 12.5, True),
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_they_survive_being_written(prompt: Prompt) -> None:
    assert prompt_from_json(json.loads(json.dumps(prompt_to_json(prompt)))) == prompt


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"scribble": [], "inside": True},
        {"scribble": [[0, 0]], "inside": True},
        {"lasso": [[0, 0, float("nan")]] * 3, "depth_mm": None, "closed": False},
        [1, 2, float("inf"), True],
        7,
    ],
)
def test_what_is_none_is_told(value: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        prompt_from_json(value)


def test_a_scribble_from_anywhere_takes_no_endless_memory() -> None:
    scribble = Scribble(((0.0, 0.0, 0.0), (1e12, 0.0, 0.0)), True)
    assert len(scribble.clicks(0.1)) < 30_000


@pytest.mark.parametrize("prompt", PROMPTS)
def test_they_can_be_moved(prompt: Prompt) -> None:
    moved = moved_to(prompt, (100.0, 50.0, 25.0))
    assert moved.position_ras == pytest.approx((100.0, 50.0, 25.0))
    assert moved_to(moved, prompt.position_ras) == mapped(prompt, lambda points: points)


def test_points_inside_that_a_later_lasso_leaves_out_are_none_any_more() -> None:
    inside, beyond = Click((5.0, 5.0, 5.0), True), Click((20.0, 5.0, 5.0), True)
    outside = Click((21.0, 5.0, 5.0), False)
    lasso = Lasso(SQUARE)
    assert as_clicks([inside, beyond, outside, lasso], 5.0) == [inside, outside]
    assert as_clicks([inside, lasso, beyond], 5.0) == [inside, beyond]


def test_no_voxel_on_the_way_is_missed(scan: Volume) -> None:
    scribble = Scribble((at(scan, 5.2, 7.1, 3), at(scan, 30.7, 24.3, 9.4)), True)
    found = np.zeros(scan.array.shape, bool)
    for click in line_clicks([scribble], scan.grid):
        voxel = scan.grid.voxel_of(click.position_ras)
        assert voxel is not None
        found[voxel] = True
    passed = line_voxels(scan, scribble)
    np.testing.assert_array_equal(found, passed)


def test_clearing_follows_any_grid() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = turn * 2
    grid = Grid((9, 9, 9), matrix)
    mask = np.ones(grid.shape, np.uint8)
    lasso = Lasso(SQUARE)
    cleared = clear_outside(mask, grid, [lasso])
    indices = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    within = lasso.contains(grid.position_of(indices[:, ::-1]))
    assert (cleared.ravel() == within).all()
    assert mask.all()
    assert clear_outside(cleared, grid, [lasso]) is cleared


@pytest.mark.parametrize(
    ("stroke", "words"),
    [
        (Scribble(((1e4, 0.0, 0.0), (1e4, 9.0, 0.0)), True), "outside the scan"),
        (Scribble(((float("nan"), 0.0, 0.0),) * 2, True), "finite"),
        (Lasso(((0.0, 0.0, 0.0), (9.0, 0.0, 0.0), (4.0, 0.0, 0.0))), "encloses an area"),
        (Lasso(SQUARE[:2]), "encloses an area"),
        (Lasso(SQUARE, -1.0), "positive"),
    ],
)
def test_those_that_say_nothing_are_refused(scan: Volume, stroke: Prompt, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_clicks(scan, [stroke])


def test_they_are_read_from_the_command_line() -> None:
    assert Scribble.parse("1,2,3/4,5,6,+") == Scribble(((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), True)
    assert Scribble.parse("1,2,3/4,5,6/7,8,9,-,tumour") == Scribble(
        ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0)), False, "tumour"
    )
    assert Lasso.parse("0,0,5/10,0,5/10,10,5/0,10,5") == Lasso(SQUARE)
    assert Lasso.parse_box("0,0,5/10,10,5") == Lasso.box((0, 0, 5), (10, 10, 5))


@pytest.mark.parametrize(
    ("parse", "text", "word"),
    [
        (Scribble.parse, "1,2,3,+", "no scribble"),
        (Scribble.parse, "1,2/3,4,5,+", "no scribble"),
        (Scribble.parse, "1,2,3/4,5,6", "no scribble"),
        (Lasso.parse, "1,2,3/4,5,6", "no lasso"),
        (Lasso.parse, "0,0,0/1,0,0/2,0,0", "encloses an area"),
        (Lasso.parse_box, "1,2,3", "no box"),
        (Lasso.parse_box, "1,2,nan/3,4,5", "no box"),
        (Lasso.parse_box, "1,2,3/1,5,3", "encloses an area"),
    ],
)
def test_what_cannot_be_read_is_said(parse: Any, text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        parse(text)


# What they change


def across(scan: Volume, organ: np.ndarray, inside: bool, length: int = 10) -> Scribble:
    """A line through the organ's middle, along i."""
    i, j, k = middle(organ)
    return Scribble(
        (at(scan, i - length, j, k), at(scan, i, j, k), at(scan, i + length, j, k)), inside
    )


def test_a_line_outside_is_obeyed_in_each_voxel_and_only_takes_away(predictor, scan, organ) -> None:
    before = predictor.predict(scan).mask.astype(bool)
    scribble = across(scan, organ, False)
    after = predictor.predict(scan, [scribble]).mask.astype(bool)
    assert not after[line_voxels(scan, scribble)].any()
    assert not (after & ~before).any()
    assert distance_to_line(scan, scribble, np.argwhere(after != before)).max() < AWAY


def test_a_line_inside_is_obeyed_in_each_voxel_and_only_adds(predictor, scan, organ) -> None:
    i = int(np.argwhere(organ)[:, 2].max()) + 2
    _, j, k = middle(organ)
    scribble = Scribble((at(scan, i, j - 6, k), at(scan, i + 2, j + 6, k + 1)), True)
    before = predictor.predict(scan).mask.astype(bool)
    after = predictor.predict(scan, [scribble]).mask.astype(bool)
    assert after[line_voxels(scan, scribble)].all()
    assert not (before & ~after).any()
    assert distance_to_line(scan, scribble, np.argwhere(after != before)).max() < AWAY


def test_a_scribble_alone_segments(predictor, scan, organ) -> None:
    session = Session(predictor, scan)
    update = session.add_scribble(across(scan, organ, True, 4).points_ras, inside=True)
    mask = update.mask.astype(bool)
    assert 2 * (mask & organ).sum() / (mask.sum() + organ.sum()) > 0.9


def test_a_box_takes_away_all_outside_and_it_stays_away(predictor, scan, organ) -> None:
    i, j, k = middle(organ)
    low, high = at(scan, i - 4, j - 30, k), at(scan, i + 30, j + 30, k)
    box = Lasso.box((*low[:2], low[2]), (*high[:2], low[2]))
    within = box.contains(
        scan.grid.position_of(np.moveaxis(np.indices(organ.shape)[::-1], 0, -1).reshape(-1, 3))
    ).reshape(organ.shape)
    before = predictor.predict(scan).mask.astype(bool)
    session = Session(predictor, scan)
    session.predict()
    update = session.add_box((*low[:2], low[2]), (*high[:2], low[2]))
    assert (before & ~within).any()
    np.testing.assert_array_equal(update.mask.astype(bool), before & within)
    inside, probability = update.prediction.region, update.prediction.probability_in_region()
    assert (probability[before[inside] & ~within[inside]] <= 0.5).mean() > 0.95
    after = session.add_click(at(scan, i - 3, j, k), inside=True).mask.astype(bool)
    assert not (after & ~within).any()


def test_a_later_click_beyond_a_box_is_obeyed_and_an_earlier_one_not_any_more(
    predictor, scan, organ
) -> None:
    i, j, k = middle(organ)
    beyond = Click(at(scan, i - 6, j, k), True)
    low, high = at(scan, i - 4, j - 30, k), at(scan, i + 30, j + 30, k)
    box = Lasso.box(low, (*high[:2], low[2]))
    voxel = scan.grid.voxel_of(beyond.position_ras)
    assert not predictor.predict(scan, [beyond, box]).mask[voxel]
    assert predictor.predict(scan, [box, beyond]).mask[voxel]


def test_each_is_one_step_to_undo(predictor, scan, organ) -> None:
    session = Session(predictor, scan)
    masks = [session.predict().mask]
    i, j, k = middle(organ)
    masks.append(session.add_scribble(across(scan, organ, False).points_ras, False).mask)
    low, high = at(scan, i - 4, j - 30, k), at(scan, i + 30, j + 30, k)
    masks.append(session.add_box(low, (*high[:2], low[2])).mask)
    masks.append(session.add_lasso(Lasso.box(low, (*high[:2], low[2])).points_ras, 8.0).mask)
    for mask in masks[-2::-1]:
        np.testing.assert_array_equal(session.undo().mask, mask)
    for mask in masks[1:]:
        np.testing.assert_array_equal(session.redo().mask, mask)


def test_on_a_mask_to_begin_from_only_the_pieces_on_the_line_change(predictor, scan, organ) -> None:
    start = organ.copy()
    boxes = (np.s_[4:9, 30:36, 30:36], np.s_[4:9, 40:44, 30:36], np.s_[4:9, 30:36, 37:40])
    for box in boxes:
        start[box] = True
    scribble = Scribble((at(scan, 33, 32, 6), at(scan, 33, 42, 6)), False)
    mask = predictor.predict(scan, [scribble], start=start.astype(np.uint8)).mask.astype(bool)
    assert not mask[line_voxels(scan, scribble)].any()
    np.testing.assert_array_equal(mask[boxes[2]], start[boxes[2]])
    np.testing.assert_array_equal(mask & organ, start & organ)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32 - 1))
def test_whatever_is_drawn(predictor: Predictor, scan: Volume, seed: int) -> None:
    """Far voxels stay, inside only adds, outside only takes away, each line is obeyed, undo is
    exact, and the same strokes give the same mask."""
    rng = np.random.default_rng(seed)
    size = np.array(scan.shape_ijk)
    session = Session(predictor, scan)
    masks, prompts = [session.predict().mask.astype(bool)], list[Prompt]()
    for _ in range(3):
        ends = rng.uniform(0, 1, (3, 3)) * (size - 1)
        kind = rng.integers(3)
        inside = bool(rng.integers(2))
        if kind == 0:
            prompts.append(Click(at(scan, *ends[0]), inside))
        elif kind == 1:
            near = ends[0] + np.clip(ends - ends[0], -8, 8)
            prompts.append(Scribble(tuple(at(scan, *end) for end in near), inside))
        else:
            low, high = at(scan, *ends[0]), at(scan, *ends[1])
            prompts.append(Lasso.box((*low[:2], 0.0), (*high[:2], 0.0)))
        session.predict(prompts)
        masks.append(session.predict(prompts).mask.astype(bool))
        before, after, newest = masks[-2], masks[-1], prompts[-1]
        assert not ((before & ~after) if newest.inside else (after & ~before)).any()
        changed = np.argwhere(before != after)
        if isinstance(newest, Lasso):
            assert not newest.contains(scan.grid.position_of(changed[:, ::-1])).any()
            continue
        line = (
            newest if isinstance(newest, Scribble) else Scribble((newest.position_ras,) * 2, inside)
        )
        if len(changed):
            assert distance_to_line(scan, line, changed).max() < 2 * AWAY
        for click in line_clicks([newest], scan.grid):
            assert after[scan.grid.voxel_of(click.position_ras)] == inside
    np.testing.assert_array_equal(session.predict(prompts[:1]).mask.astype(bool), masks[1])
    np.testing.assert_array_equal(Session(predictor, scan).predict(prompts).mask > 0, masks[-1])
