"""Training in two dimensions, of several classes, and what a user may change in the recipe."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.datasets.splits import load_splits
from AttentionUNetSegmentLib.errors import InputError, TrainingError
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.models import load_model
from AttentionUNetSegmentLib.training.patches import AugmentationOptions, PatchSource
from AttentionUNetSegmentLib.training.pipeline import train_model
from AttentionUNetSegmentLib.training.recipes import (
    Choices,
    locator_options,
    refiner_options,
)
from AttentionUNetSegmentLib.training.schedule import Budget, LearningRate
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from slice_training import CHANNELS, FLAT, slices, trainer
from small_cases import small_case, write_case


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_flat_patch_is_a_slice_with_the_organ_and_stays_in_its_plane() -> None:
    """The brightness of a stack of even slices tells which one a patch shows."""
    case = small_case()
    heights = np.broadcast_to(np.arange(30)[:, None, None] * 10, case.ct.array.shape)
    stack = dataclasses.replace(case, ct=case.ct.with_array(heights.astype(np.int16)))
    source = PatchSource(stack, PANCREAS, (0.0, 300.0), FLAT.spacing_mm)
    with_organ = set(np.argwhere(case.labels.array == PANCREAS)[:, 0])
    options = AugmentationOptions(
        rotation_degrees=(90, 90, 30), elastic_probability=1, cropped_view_probability=0
    )
    seen = set()
    for seed in range(20):
        sample = source.sample(FLAT, options, np.random.default_rng(seed))
        assert sample.image.shape == (1, 1, 1, 32, 32)
        inside = sample.image[sample.image > 0]
        assert float(inside.std()) < 1e-3
        seen.add(round(float(inside.mean()) * 30))
    assert seen <= with_organ
    assert len(seen) > 3


def test_whole_slices_do_not_tell_by_their_middle_where_the_organ_is() -> None:
    case = small_case()
    source = PatchSource(case, PANCREAS, (-125.0, 275.0), FLAT.spacing_mm)
    sample = source.sample(FLAT, None, np.random.default_rng(0))
    organ = torch.nonzero(sample.labels[0, 0] == PANCREAS).float().mean(dim=0)
    # The organ's middle is at i = 15 of 60 voxels of 2 mm: 30 mm from the scan's.
    assert abs(float(organ[1]) - 15.5) > 5


def test_a_volume_is_judged_on_slices_through_and_beyond_the_organ() -> None:
    look = PatchSource(small_case(), PANCREAS, (-125.0, 275.0), FLAT.spacing_mm).validation_patches(
        FLAT
    )
    organ = (look.labels == PANCREAS).any(dim=-1).any(dim=-1)[:, 0]
    assert len(organ) == len(look.organs_known) == 12
    assert not organ[0]
    assert not organ[-1]
    assert 6 <= int(organ.sum()) <= 10


@pytest.mark.parametrize("network", ["FCN", "UNet", "ResUNet", "AttentionUNet"])
def test_every_network_learns_slices_in_batches(tmp_path: Path, network: str) -> None:
    config = {**slices().network, "name": network}
    run = trainer(tmp_path, network=config, steps=2, batch_size=3)
    found = run.run()
    assert not found.training
    assert run.state.step == 2
    assert set(log(tmp_path)[-1]["validation_dice"]) == {"small"}
    assert all(bool(torch.isfinite(value).all()) for value in found.state_dict().values())


def test_training_on_slices_finds_the_organ(tmp_path: Path) -> None:
    case = small_case()
    run = trainer(
        tmp_path,
        case,
        steps=60,
        network={**slices().network, "channels": [8, 8, 16, 16, 16]},
        learning_rate=LearningRate(peak=1e-2),
        augmentation=AugmentationOptions(elastic_probability=0, cropped_view_probability=0),
        average_decay=0.8,
        gates_open_fraction=0.3,
        checkpoint_every_s=1e9,
    )
    run.run()
    assert log(tmp_path)[-1]["validation_dice"]["small"] > 0.6


def test_batch_norm_statistics_are_averaged_with_the_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=1)
    run.run()
    now, mean = run.state.network.state_dict(), run.state.average.state_dict()
    name = next(name for name in now if name.endswith("running_mean") and now[name].abs().sum())
    # They begin at zero, and the first average takes nine tenths of what is new.
    torch.testing.assert_close(mean[name], 0.9 * now[name])


def test_frozen_gates_do_not_change_and_then_learn(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=4, gates_open_fraction=0.5, log_every=1)
    learn = run.train_step
    gates: list[dict[str, torch.Tensor]] = []

    def watched(*arguments: object) -> dict[str, object]:
        gates.append({k: v.clone() for k, v in run.state.network.gates.state_dict().items()})
        return learn(*arguments)  # type: ignore[arg-type]

    run.train_step = watched  # type: ignore[method-assign]
    network = run.run()
    gates.append(run.state.network.gates.state_dict())
    assert all(torch.equal(gates[0][name], gates[2][name]) for name in gates[0])
    assert not all(torch.equal(gates[2][name], gates[4][name]) for name in gates[0])
    assert [line["gates_open"] for line in log(tmp_path)[:4]] == [True, True, False, False]
    assert log(tmp_path)[0]["focus_ratios"] == [1.0] * 4
    assert not any(gate.open for gate in network.gates)


def test_training_stops_where_the_held_out_cases_get_no_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = {2: 0.1, 4: 0.5, 6: 0.4, 8: 0.5, 10: 0.9}
    told: list[int] = []

    def validate(self: StageTrainer) -> dict[str, object]:
        return {"validation_dice": {"small": dice[self.state.step]}}

    monkeypatch.setattr(StageTrainer, "validate", validate)
    changes = {"steps": 20, "patience": 2, "validate_every_steps": 2, "gates_open_fraction": 0.0}
    run = trainer(tmp_path / "run", **changes)
    run.on_validation = lambda step, record: told.append(step)
    learn = run.train_step
    weights: dict[int, dict[str, torch.Tensor]] = {}

    def watched(*arguments: object) -> dict[str, object]:
        weights[run.state.step] = {k: v.clone() for k, v in run.state.average.state_dict().items()}
        return learn(*arguments)  # type: ignore[arg-type]

    run.train_step = watched  # type: ignore[method-assign]
    found = run.run().state_dict()
    assert told == [2, 4, 6, 8]
    assert all(torch.equal(found[name], weights[4][name]) for name in found)

    again = trainer(tmp_path / "run", **changes)
    assert again.stopped_early
    same = again.run().state_dict()
    assert again.state.step == 8
    assert all(torch.equal(found[name], same[name]) for name in found)


def test_early_stopping_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(self: StageTrainer) -> dict[str, object]:
        return {"validation_dice": {"small": 1 / self.state.step}}

    monkeypatch.setattr(StageTrainer, "validate", validate)
    changes = {"steps": 20, "patience": 3, "validate_every_steps": 1, "gates_open_fraction": 0.0}
    whole = trainer(tmp_path / "whole", **changes)
    expected = whole.run().state_dict()
    assert whole.state.step == 4

    class Killed(BaseException):
        pass

    killed = trainer(tmp_path / "killed", **changes)
    learn = killed.train_step

    def die(*arguments: object) -> dict[str, object]:
        if killed.state.step == 2:
            raise Killed
        return learn(*arguments)  # type: ignore[arg-type]

    killed.train_step = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        killed.run()
    resumed = trainer(tmp_path / "killed", **changes)
    assert (resumed.state.step, resumed.state.waited) == (2, 1)
    found = resumed.run().state_dict()
    assert resumed.state.step == 4
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_training_goes_on_from_given_weights(tmp_path: Path) -> None:
    given = trainer(tmp_path / "first", seed=5).state.network.state_dict()
    options = slices()
    started = StageTrainer(options, [small_case()], [], tmp_path / "second", initial_weights=given)
    for network in (started.state.network, started.state.average):
        assert all(torch.equal(given[name], value) for name, value in network.state_dict().items())


def test_choices_change_what_they_name_and_nothing_else() -> None:
    recipe = refiner_options(Budget(steps=1))
    assert Choices().applied_to(recipe) == recipe
    changed = Choices(
        gate="multi-head",
        channels=CHANNELS,
        dice=1.0,
        learning_rate=0.5,
        warmup=0.2,
        rotation_degrees=5.0,
        flips=0.5,
        shift=0.1,
        gates_open=0.5,
        clip_norm=2.0,
    ).applied_to(recipe)
    assert changed.network == {**recipe.network, "gate": "multi-head", "channels": list(CHANNELS)}
    assert changed.loss_weights == dataclasses.replace(recipe.loss_weights, dice=1.0)
    assert changed.learning_rate == LearningRate(peak=0.5, warmup_fraction=0.2)
    assert changed.augmentation.rotation_degrees == (12.0, 12.0, 5.0)
    assert changed.augmentation.flip_probabilities == (0.5, 0.5, 0.0)
    assert changed.patch.jitter_mm == pytest.approx((19.2, 16.0, 14.4))
    assert (changed.gates_open_fraction, changed.clip_norm) == (0.5, 2.0)
    with pytest.raises(InputError, match="thicker"):
        Choices(patch=(32, 32, 1)).applied_to(recipe)


@pytest.mark.parametrize("share", [0.0, 0.15, 0.32])
def test_share_of_the_regions_leaves_the_proportions_of_the_others(share: float) -> None:
    recipe = refiner_options(Budget(steps=1))
    weights, before = Choices(regions=share).applied_to(recipe).kind_weights, recipe.kind_weights
    assert weights["region"] == share
    assert sum(weights.values()) == pytest.approx(1)
    for kind in ("synthetic", "elsewhere"):
        ratio = before[kind] / before["scan"]
        assert weights[kind] / weights["scan"] == pytest.approx(ratio)
    locator = locator_options(Budget(steps=1))
    assert Choices(regions=share).applied_to(locator) == locator


SMALL = Choices(channels=CHANNELS, patch=(32, 32, 1), spacing_mm=(4.0, 4.0, 3.0), batch_size=2)


@pytest.fixture
def btcv(tmp_path: Path) -> Path:
    for number in range(1, 6):
        case = small_case()
        # The same image twice would be refused.
        case = dataclasses.replace(case, ct=case.ct.with_array(case.ct.array + np.int16(number)))
        write_case(tmp_path / "data", f"case000{number}", case)
    return tmp_path / "data"


@pytest.mark.parametrize("gate", ["standard", "multi-head"])
def test_a_2d_network_of_all_organs_becomes_a_model_that_segments_volumes(
    tmp_path: Path, btcv: Path, gate: str
) -> None:
    run = tmp_path / "run"
    folder = train_model(
        btcv,
        run,
        steps=2,
        dimensions=2,
        folds=5,
        fold=1,
        device="cpu",
        choices=dataclasses.replace(SMALL, gate=gate, heads=4),
    )
    model = load_model(folder)
    assert set(model.card.stages) == {"refiner"}
    stage = model.card.stages["refiner"]
    assert (stage.network["dimensions"], stage.network["out_channels"]) == (2, 9)
    options = json.loads((run / "refiner" / "options.json").read_text())
    assert (options["batch_size"], options["network"]["gate"]) == (2, gate)
    split = load_splits(run / "splits.json")[1]
    assert model.card.training["held_out"] == list(split.validation)
    case = small_case()
    prediction = Predictor(model, "cpu").predict(case.ct)
    assert prediction.mask.shape == case.ct.array.shape

    # Another fold would be judged on what the run has learnt from.
    for other in ({"seed": 9, "folds": 2}, {"folds": 5, "fold": 0}):
        with pytest.raises(TrainingError, match="another split"):
            train_model(btcv, run, steps=2, dimensions=2, choices=SMALL, **other)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "brain"}, "no label 'brain'"),
        ({"folds": 5, "fold": 5}, "no fold 5"),
        ({"folds": 2, "splits": Path("splits.json")}, "not both"),
        ({"dimensions": 2, "stage": "locator"}, "no locator"),
        ({"dimensions": 4}, "2 or 3"),
        ({"choices": Choices(optimizer="sgd")}, "no optimizer"),
    ],
)
def test_what_does_not_fit_the_data_gets_a_sentence(
    tmp_path: Path, btcv: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises((InputError, TrainingError), match=sentence):
        train_model(btcv, tmp_path / "run", steps=2, synthetic=0, **options)


def test_unsound_data_is_refused_before_training(tmp_path: Path, btcv: Path) -> None:
    for ending in ("ct", "organs"):
        shutil.copy(btcv / f"case0003_{ending}.nii.gz", btcv / f"case0009_{ending}.nii.gz")
    with pytest.raises(TrainingError, match="same image"):
        train_model(btcv, tmp_path / "run", steps=2)
    assert not (tmp_path / "run").exists()
