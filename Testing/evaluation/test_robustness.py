"""Changed scans: what is done to them, and what is told of the results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.evaluation.evaluate import evaluate_model
from AttentionUNetSegmentLib.evaluation.robustness import (
    AS_IT_IS,
    CHANGES,
    Robustness,
    add_noise,
    change_slice_thickness,
    halve_field_of_view,
    measure_robustness,
    widen_range,
)
from AttentionUNetSegmentLib.geometry.grid import aligned_grid
from AttentionUNetSegmentLib.geometry.resampling import sample_scan
from AttentionUNetSegmentLib.geometry.volume import Volume, reorder_axes
from AttentionUNetSegmentLib.inference import Predictor
from AttentionUNetSegmentLib.models import read_card, save_model
from AttentionUNetSegmentLib.networks import build_network
from geometry import centre_ras, placed, rotation
from small_cases import small_case, write_case
from threshold_model import threshold_model

WINDOW = (-125.0, 275.0)
OBLIQUE = rotation(0, 20) @ placed((2.0, 2.0, 3.0), (60, 50, 0))


def at(volume: Volume, place_ras: np.ndarray) -> float:
    """The voxel that a place in the world lies in."""
    i, j, k = np.round(volume.ras_to_ijk @ place_ras)[:3]
    return float(volume.array[int(k), int(j), int(i)])


def height(case: LabelledCase) -> tuple[float, float]:
    """Where the scan begins and ends along its third axis, in mm from the first voxel's middle."""
    spacing, count = case.ct.spacing_mm[2], case.ct.array.shape[0]
    return -spacing / 2, (count - 0.5) * spacing


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_another_order_leaves_every_voxel_at_its_place(axes: tuple[int, int, int]) -> None:
    volume = small_case(matrix=OBLIQUE).ct
    stored = reorder_axes(volume, axes, (True, False, True))
    rng = np.random.default_rng(0)
    for _ in range(20):
        i, j, k = (int(rng.integers(size)) for size in volume.shape_ijk)
        place = volume.ijk_to_ras @ np.array([i, j, k, 1.0])
        assert at(stored, place) == volume.array[k, j, i]


def test_thick_slices_are_means_and_lie_where_those_lay() -> None:
    case = small_case(matrix=OBLIQUE)
    thick = change_slice_thickness(case, PANCREAS, 9.0)  # three old slices each
    assert thick.ct.spacing_mm == pytest.approx((2.0, 2.0, 9.0))
    expected = case.ct.array.reshape(10, 3, 50, 60).astype(float).mean(axis=1)
    np.testing.assert_allclose(thick.ct.array, expected, atol=0.51)
    np.testing.assert_allclose(
        thick.ct.ijk_to_ras[:, 3], case.ct.ijk_to_ras @ np.array([0, 0, 1, 1.0]), atol=1e-9
    )
    majority = (case.labels.array == PANCREAS).reshape(10, 3, 50, 60).sum(axis=1) >= 2
    np.testing.assert_array_equal(thick.labels.array == PANCREAS, majority)
    assert set(np.unique(thick.labels.array)) == {0, PANCREAS}


@pytest.mark.parametrize("thickness", [1.0, 2.0, 4.0, 8.0])
def test_slices_of_any_thickness_show_the_same_patient(thickness: float) -> None:
    """A ramp stays the ramp, the organ stays at its place, and the scan as long as it was."""
    case = small_case(matrix=OBLIQUE)
    ramp = np.broadcast_to(np.arange(30.0)[:, None, None] * 30, case.ct.array.shape)
    changed = change_slice_thickness(
        replace(case, ct=case.ct.with_array(ramp)), PANCREAS, thickness
    )
    ends = height(case)
    inner = slice(1, -1) if thickness >= 3 else slice(3, -3)
    for k in range(changed.ct.array.shape[0])[inner]:
        place = changed.ct.ijk_to_ras @ np.array([5, 5, k, 1.0])
        old_k = (case.ct.ras_to_ijk @ place)[2]
        # Old slices are taken as constant over their thickness: an eighth of one, at most.
        assert changed.ct.array[k, 5, 5] == pytest.approx(old_k * 30, abs=30 / 8)
    begins = (case.ct.ras_to_ijk @ changed.ct.ijk_to_ras @ np.array([0, 0, -0.5, 1]))[2] * 3.0
    assert begins == pytest.approx(ends[0])
    length = changed.ct.array.shape[0] * changed.ct.spacing_mm[2]
    assert length == pytest.approx(ends[1] - ends[0], abs=thickness / 2)
    before = centre_ras(case.labels.array == PANCREAS, case.ct.ijk_to_ras)
    after = centre_ras(changed.labels.array == PANCREAS, changed.ct.ijk_to_ras)
    np.testing.assert_allclose(after, before, atol=0.5)
    volumes = [
        np.count_nonzero(one.labels.array == PANCREAS) * one.ct.voxel_volume_ml
        for one in (case, changed)
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.1)


def test_half_the_view_is_around_the_organ() -> None:
    case = small_case(matrix=OBLIQUE)
    half = halve_field_of_view(case, PANCREAS)
    assert half.ct.array.shape == (30, 25, 30) == half.labels.array.shape
    assert np.count_nonzero(half.labels.array == PANCREAS) == np.count_nonzero(
        case.labels.array == PANCREAS
    )
    for index in ((0, 0, 0), (29, 24, 29), (10, 3, 20)):
        place = half.ct.ijk_to_ras @ np.array([*index[::-1], 1.0])
        assert at(case.ct, place) == half.ct.array[index]


def test_half_the_view_ends_where_the_scan_ends() -> None:
    case = small_case()
    labels = np.zeros_like(case.labels.array)
    labels[10, 2, 1] = PANCREAS
    corner = replace(case, labels=case.labels.with_array(labels))
    np.testing.assert_array_equal(
        halve_field_of_view(corner, PANCREAS).ct.array, case.ct.array[:, :25, :30]
    )
    nothing = replace(case, labels=case.labels.with_array(np.zeros_like(labels)))
    np.testing.assert_array_equal(
        halve_field_of_view(nothing, PANCREAS).ct.array, case.ct.array[:, 12:37, 15:45]
    )


def test_a_scanners_whole_range_is_the_same_in_the_window() -> None:
    case = small_case()
    clipped = np.clip(case.ct.array * 3, *WINDOW).astype(np.int16)
    case = replace(case, ct=case.ct.with_array(clipped))
    whole = widen_range(case, WINDOW)
    assert whole.ct.array.min() == -1024
    assert whole.ct.array.max() == 3071
    np.testing.assert_array_equal(np.clip(whole.ct.array, *WINDOW), clipped)
    grid = aligned_grid(case.ct.grid.bounds, (4.0, 4.0, 4.0))
    np.testing.assert_array_equal(
        sample_scan(whole.ct, grid, WINDOW).numpy(), sample_scan(case.ct, grid, WINDOW).numpy()
    )


def test_noise_is_as_strong_as_it_says_and_always_the_same() -> None:
    nothing = np.zeros((20, 50, 50))
    noise = add_noise(nothing)
    assert noise.std() == pytest.approx(20, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.5)
    np.testing.assert_array_equal(noise, add_noise(nothing))
    case = CHANGES["30 HU darker"].apply(small_case(), PANCREAS, WINDOW)
    np.testing.assert_array_equal(case.ct.array, small_case().ct.array - 30)


def test_a_model_that_any_change_leaves_alone() -> None:
    told: list[tuple[float, str]] = []
    case = small_case()
    # Darker around the organs, or the brighter scan is refused as no CT.
    dark = case.ct.with_array(case.ct.array - np.int16(60) * (case.labels.array == 0))
    cases = [replace(case, ct=dark, name=name) for name in ("a", "b")]
    measured = measure_robustness(
        Predictor(threshold_model(PANCREAS), "cpu"),
        cases,
        lambda fraction, text: told.append((fraction, text)),
    )
    assert list(measured.dice) == [AS_IT_IS, *CHANGES]
    assert all(list(by_case) == ["a", "b"] for by_case in measured.dice.values())
    assert measured.mean_dice() > 0.9
    assert measured.costly_changes == []
    assert abs(measured.loss("axes permuted and flipped")) < 1e-6
    assert told[0] == (0.0, f"a, {AS_IT_IS}")
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)


def test_a_scan_that_is_refused_counts_as_nothing_found() -> None:
    measured = measure_robustness(Predictor(threshold_model(PANCREAS), "cpu"), [small_case()])
    assert measured.refused == (("30 HU brighter", "small"),)
    assert measured.dice["30 HU brighter"] == {"small": 0.0}
    assert measured.costly_changes == ["30 HU brighter"]
    assert "Refused as no CT, and counted as 0: small, 30 HU brighter." in measured.to_markdown()


def test_what_costs_too_much_is_named() -> None:
    dice = {name: {"a": 0.8, "b": 0.7} for name in (AS_IT_IS, *CHANGES)}
    dice["noise of 20 HU"] = {"a": 0.7, "b": 0.73}
    dice["slices of 8 mm"] = {"a": 0.2, "b": 0.2}
    measured = Robustness(dice, {"a": "a", "b": "b"})
    assert measured.loss("noise of 20 HU") == pytest.approx(0.035)
    assert measured.largest_loss("noise of 20 HU") == pytest.approx(0.1)
    assert measured.costly_changes == ["noise of 20 HU"]
    table = measured.to_markdown()
    assert "| noise of 20 HU | 0.700 | 0.730 | **0.715** | -0.035 |" in table
    assert "| slices of 8 mm (reported only) | 0.200 | 0.200 | **0.200** | -0.550 |" in table
    assert table.endswith("More than 0.03 of the mean Dice was lost by: noise of 20 HU.\n")
    assert measured.figures()["noise of 20 HU"] == {
        "dice": 0.715,
        "change": -0.035,
        "largest_loss_of_a_case": 0.1,
    }
    dice["noise of 20 HU"] = {"a": 0.79, "b": 0.69}
    dice["axes flipped"] = {"a": 0.7999, "b": 0.6999}
    assert (
        "No change that should not matter costs more than 0.03"
        in Robustness(dice, {"a": "a", "b": "b"}).to_markdown()
    )


def test_evaluation_writes_it_down_where_asked(tmp_path: Path) -> None:
    for name in ("case0005", "case0010"):
        write_case(tmp_path / "data", name, small_case())
    card = threshold_model(PANCREAS).card
    networks = {name: build_network(stage.network) for name, stage in card.stages.items()}
    save_model(tmp_path / "model", card, networks)
    told: list[float] = []
    evaluation = evaluate_model(
        str(tmp_path / "model"),
        tmp_path / "data",
        tmp_path / "out",
        clicks=0,
        device="cpu",
        precision="float32",
        robustness=True,
        write_card=True,
        progress=lambda fraction, text: told.append(fraction),
    )
    assert evaluation.robustness is not None
    assert evaluation.robustness.mean_dice() == pytest.approx(evaluation.mean_dice())
    assert told == sorted(told)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(written["robustness"]) == {AS_IT_IS, *CHANGES}
    assert "| noise of 20 HU |" in (tmp_path / "out" / "evaluation.md").read_text()
    figures = read_card(tmp_path / "model").figures["validation"]
    assert figures["robustness"]["noise of 20 HU"].keys() == {
        "dice",
        "change",
        "largest_loss_of_a_case",
    }
    assert len(figures["attention_inside"]) == len(figures["attention_outside"]) == 4
    plain = evaluate_model(
        str(tmp_path / "model"), tmp_path / "data", clicks=0, device="cpu", write_card=True
    )
    assert "robustness" not in plain.to_json()
    assert "robustness" not in read_card(tmp_path / "model").figures["validation"]
