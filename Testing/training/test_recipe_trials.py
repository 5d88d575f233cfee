"""``try_recipes.py``: what each trial changes is what its row says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import try_recipes
from AttentionUNetSegmentLib.datasets.loading import PANCREAS, find_data_set
from AttentionUNetSegmentLib.training.patches import AugmentationOptions, PatchOptions, PatchSource
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from small_cases import small_case, tiny_options, write_case

WINDOW = (-125.0, 275.0)
PATCH = PatchOptions((16, 16, 16), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), anywhere_probability=0.0)
AS_IT_IS = AugmentationOptions(
    rotation_degrees=(0.0, 0.0, 0.0),
    scale=0.0,
    elastic_probability=0.0,
    thick_slices_probability=0.0,
    cropped_view_probability=0.0,
    hidden_organ_probability=0.0,
)


@pytest.mark.parametrize("part", [0.25, 0.5])
def test_a_mean_of_the_last_weights_is_their_mean(part: float) -> None:
    steps, mean = 20, 0.0
    weights = np.random.default_rng(0).normal(size=steps)
    for step in range(steps):
        mean += try_recipes.mean_of_last(part)(step, steps) * (weights[step] - mean)
    assert mean == pytest.approx(weights[-round(steps * part) :].mean())


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.998])
def test_a_decay_is_that_of_the_option(tmp_path: Path, decay: float) -> None:
    options = replace(tiny_options(6), average_decay=decay)
    trained = StageTrainer(options, [small_case()], [], tmp_path / "option").run()
    title = "another"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(try_recipes, "AVERAGES", {title: try_recipes.decaying(decay)})
        trainer = try_recipes.Averaging(
            tiny_options(6), [small_case()], [small_case()], tmp_path / "beside"
        )
        trainer.run()
    for theirs, ours in zip(
        trained.state_dict().values(), trainer.averages[title].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_wider_view_is_around_the_same_place() -> None:
    case = small_case()
    # No voxel in the middle between two of the scan's.
    patch = replace(PATCH, spacing_mm=(2.9, 2.9, 2.9))
    settings: Any = (case, PANCREAS, WINDOW, patch.spacing_mm)
    plain = PatchSource(*settings).validation_patches(patch)
    both = try_recipes.WiderViewSource(*settings).validation_patches(patch)
    torch.testing.assert_close(both.image[:, :1], plain.image)
    assert torch.equal(both.labels, plain.labels)
    middle = both.image[0, 1, 4:12, 4:12, 4:12]
    torch.testing.assert_close(
        middle, torch.nn.functional.avg_pool3d(plain.image, 2)[0, 0], atol=1e-5, rtol=0
    )


def test_an_organ_takes_the_moments_of_another() -> None:
    case = small_case()
    source = try_recipes.OtherAnatomy(case, PANCREAS, WINDOW, PATCH.spacing_mm)
    assert source.moments is not None
    own = source.moments[1]
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for wanted in (own, 1.5 * own, turn @ own @ turn.T):
        patch = replace(PATCH, size=(32, 32, 32))
        source.others = [wanted]
        for seed in range(50):
            sample = source.sample(patch, AS_IT_IS, np.random.default_rng(seed))
            if source.stretch is not None:
                break
        organ = np.argwhere(sample.labels[0].numpy() == PANCREAS)[:, ::-1] * 3.0
        assert np.cov(organ.T) == pytest.approx(wanted, abs=0.2 * wanted.max())


def test_what_is_stretched_is_folded_nowhere() -> None:
    flat, long = np.diag([1.0, 400.0, 400.0]), np.diag([400.0, 1.0, 400.0])
    stretch = try_recipes.stretch(flat, long)
    reach = try_recipes.CARRIED_REACH_MM
    points = np.stack(np.meshgrid(*[np.linspace(-200, 200, 41)] * 3, indexing="ij"), axis=-1)
    fading = np.exp(-(points**2).sum(axis=-1, keepdims=True) / (2 * reach**2))
    moved = points + fading * (points @ (stretch - np.eye(3)).T)
    steps = np.stack([np.gradient(moved, 10.0, axis=axis) for axis in range(3)], axis=-1)
    assert np.linalg.det(steps).min() > 0.1


def test_lookalikes_are_beside_the_organ_and_look_like_it() -> None:
    case = small_case()
    assert not len(try_recipes.lookalikes(case, PANCREAS))  # fat all around
    hu = case.ct.array.copy()
    beside = (slice(12, 17), slice(23, 30), slice(26, 34))
    hu[beside] = np.where(case.labels.array[beside] == PANCREAS, hu[beside], 230)
    places = try_recipes.lookalikes(replace(case, ct=case.ct.with_array(hu)), PANCREAS)
    assert len(places)
    for place in places:
        voxel = case.ct.grid.voxel_of(place)
        assert voxel is not None
        assert case.labels.array[voxel] != PANCREAS
        assert all(
            one.start - 2 <= at < one.stop + 2 for one, at in zip(beside, voxel, strict=True)
        )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("case0005", "case0007", "case0010"):
        write_case(tmp_path / "btcv" / "train", name, small_case())
    write_case(tmp_path / "panorama-roi", "panorama037", small_case("region"), "_pancreas")
    return tmp_path


def test_folds_hold_out_scans_alone(data: Path) -> None:
    found = find_data_set(data)
    splits = [try_recipes.choose_split(found, 3, fold) for fold in range(3)]
    held_out = sorted(name for one in splits for name in one.validation)
    assert held_out == ["case0005", "case0007", "case0010"]
    assert all("panorama037" in one.train for one in splits)


def test_every_trial_runs_and_none_runs_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = replace(try_recipes.SMALL, channels=(4, 4, 4, 4, 4), patch=(32, 32, 32))
    monkeypatch.setattr(try_recipes, "SMALL", tiny)
    monkeypatch.setattr(try_recipes, "SYNTHETIC", 0)
    command = [str(data), "-o", str(tmp_path / "runs"), "--steps", "2", "--seeds", "0"]
    try_recipes.main(command)
    first = capsys.readouterr().out
    table = first[first.index("|  | seed 0 |") :]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    titles = [trial.title for trial in try_recipes.TRIALS.values()]
    assert {*titles, *try_recipes.AVERAGES, try_recipes.TOGETHER} == set(rows)
    log = tmp_path / "runs" / "steps-2" / "fat" / "seed-0" / "log.jsonl"
    dice = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["validation_dice"]
    assert list(dice) == ["case0010"]
    assert f"{dice['case0010']:.3f}" in rows["`--fat`: fat is told from the rest"]

    monkeypatch.setattr(try_recipes, "run", None)
    try_recipes.main(command)
    assert capsys.readouterr().out == first
