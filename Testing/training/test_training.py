"""Patches, simulated clicks, schedule, and a trainer that resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.datasets.loading import (
    PANCREAS,
    CaseFiles,
    find_cases,
    load_case,
)
from AttentionUNetSegmentLib.datasets.splits import Split, save_splits
from AttentionUNetSegmentLib.errors import InputError, ModelError, OutputError, TrainingError
from AttentionUNetSegmentLib.files import LOCK_FILE, locked_folder
from AttentionUNetSegmentLib.geometry.grid import Box, aligned_grid
from AttentionUNetSegmentLib.inference.click_maps import click_channels
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.models import Editor, Model, load_model, save_model
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training.click_simulation import (
    Dispute,
    draw_dispute,
    erode,
    patch_grid,
    pick_deep_voxel,
    simulate_clicks,
)
from AttentionUNetSegmentLib.training.losses import IGNORE
from AttentionUNetSegmentLib.training.naming import next_version
from AttentionUNetSegmentLib.training.patches import (
    AugmentationOptions,
    IntensityAugmentation,
    PatchSource,
    crop_view,
    cut_to_organ,
    hide_organ,
    thicken_slices,
)
from AttentionUNetSegmentLib.training.pipeline import train_model
from AttentionUNetSegmentLib.training.recipes import Choices, locator_options, refiner_options
from AttentionUNetSegmentLib.training.schedule import Budget, LearningRate
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from geometry import placed, rotation
from read_counter import count_decompressed, whole_reads
from scipy import ndimage
from small_cases import PATCH, small_case, tiny_options, write_case
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

WINDOW = (-125.0, 275.0)


def source(kind: str = "scan", matrix: np.ndarray | None = None) -> PatchSource:
    return PatchSource(small_case(kind, matrix), PANCREAS, WINDOW, PATCH.spacing_mm)


def test_image_and_labels_move_together() -> None:
    """The pancreas is the only thing above 200 HU, so its label must follow its brightness."""
    options = dataclasses.replace(
        AugmentationOptions(), thick_slices_probability=0, cropped_view_probability=0
    )
    prepared, seen = source(matrix=rotation(2, 30) @ placed((2.0, 2.0, 3.0), (7, 8, 9))), 0
    for seed in range(12):
        sample = prepared.sample(PATCH, options, np.random.default_rng(seed))
        bright = sample.image[0, 0] > 0.75
        organ = sample.labels[0] == PANCREAS
        if organ.sum() > 100:
            seen += 1
            overlap = 2 * (bright & organ).sum() / (bright.sum() + organ.sum())
            assert overlap > 0.8
    assert seen >= 6


def test_a_sample_depends_on_its_seed_alone() -> None:
    prepared, intensity = source(), IntensityAugmentation(AugmentationOptions())
    samples = [
        prepared.sample(PATCH, AugmentationOptions(), np.random.default_rng(5), intensity)
        for _ in range(2)
    ]
    torch.testing.assert_close(samples[0].image, samples[1].image, rtol=0, atol=0)
    torch.testing.assert_close(samples[0].labels, samples[1].labels, rtol=0, atol=0)
    other = prepared.sample(PATCH, AugmentationOptions(), np.random.default_rng(6), intensity)
    assert not torch.equal(other.image, samples[0].image)


def test_without_augmentation_the_patch_is_the_scan_around_the_organ() -> None:
    sample = source().sample(PATCH, None, np.random.default_rng(0))
    organ = np.argwhere(sample.labels[0].numpy() == PANCREAS)
    middle = (np.array(sample.labels.shape[1:]) - 1) / 2
    assert np.abs((organ.min(0) + organ.max(0)) / 2 - middle).max() <= 1


def test_beyond_a_region_nothing_is_known_and_beyond_a_scan_nothing_is_there() -> None:
    far = dataclasses.replace(PATCH, size=(64, 64, 48))
    region = source("region").sample(far, None, np.random.default_rng(0))
    scan = source("scan").sample(far, None, np.random.default_rng(0))
    assert (region.labels[0, 0] == IGNORE).all()
    assert (scan.labels[0, 0] == 0).all()
    assert region.organs_known == (False,)
    assert scan.organs_known == (True,)


def test_a_cropped_view_is_black_and_unlabelled() -> None:
    image = torch.ones((1, 1, 16, 32, 32))
    labels = torch.full((1, 1, 16, 32, 32), PANCREAS, dtype=torch.uint8)
    labels[..., 0] = IGNORE
    cropped, hidden = crop_view(image, labels, np.random.default_rng(1))
    black = cropped == 0
    assert 0 < black.sum() < black.numel()
    assert set(hidden[black].tolist()) <= {0, IGNORE}
    assert (hidden[~black] == labels[~black]).all()
    assert (image == 1).all()


def test_a_view_that_is_cut_to_the_organ_shows_its_box_or_its_slices() -> None:
    image = torch.ones((1, 1, 32, 40, 48))
    labels = torch.full((1, 1, 32, 40, 48), 5, dtype=torch.uint8)
    labels[:, :, 12:20, 15:25, 18:30] = PANCREAS
    labels[..., 0] = IGNORE
    whole_slices, cut_organs = set(), set()
    for seed in range(16):
        rng = np.random.default_rng(seed)
        seen, left = cut_to_organ(image, labels, PANCREAS, (-12, 24), (4.0, 4.0, 6.0), rng)
        shown = seen[0, 0] > 0
        assert (left[0, 0][shown] == labels[0, 0][shown]).all()
        assert set(left[0, 0][~shown].tolist()) <= {0, IGNORE}
        k, j, i = (torch.unique(axis) for axis in torch.nonzero(shown).T)
        assert len(k) * len(j) * len(i) == shown.sum()
        assert k.min() >= 12 - 4
        assert k.max() < 20 + 4
        whole_slices.add((len(j), len(i)) == (40, 48))
        cut_organs.add(bool((left == PANCREAS).sum() < (labels == PANCREAS).sum()))
        if (len(j), len(i)) != (40, 48):
            assert j.min() >= 15 - 6
            assert i.max() < 30 + 6
    assert whole_slices == cut_organs == {True, False}
    assert (image == 1).all()
    elsewhere = torch.zeros_like(labels)
    assert cut_to_organ(image, elsewhere, PANCREAS, (0, 9), (4, 4, 6), rng)[0] is image


def test_views_are_cut_for_the_locator_and_only_where_it_is_asked_for() -> None:
    budget = Budget(steps=1)
    locator, refiner = locator_options(budget), refiner_options(budget)
    assert locator.augmentation.cut_out_probability == 0
    chosen = Choices(cut_out=0.3)
    assert chosen.applied_to(locator).augmentation.cut_out_probability == 0.3
    assert chosen.applied_to(refiner) == refiner
    options = dataclasses.replace(
        AugmentationOptions(), cropped_view_probability=0, hidden_organ_probability=0
    )
    plain, cut = (
        source().sample(
            PATCH,
            dataclasses.replace(options, cut_out_probability=share),
            np.random.default_rng(3),
        )
        for share in (0.0, 1.0)
    )
    assert (cut.image != 0).sum() < (plain.image != 0).sum()


def test_a_hidden_organ_leaves_one_side_of_the_scan() -> None:
    image = torch.rand((1, 1, 16, 8, 8)) + 0.1
    labels = torch.zeros((1, 1, 16, 8, 8), dtype=torch.uint8)
    labels[:, :, 4:7] = PANCREAS
    labels[:, :, 12:] = 5
    for seed in range(8):
        seen, left = hide_organ(image, labels, PANCREAS, np.random.default_rng(seed))
        black = (seen == 0).all(dim=4).all(dim=3)[0, 0]
        assert black[4:7].all()
        assert not (left == PANCREAS).any()
        assert (left[0, 0, black] == 0).all()
        assert 0 < black.sum() < 16
        assert black[0] != black[-1]  # one side, not a slab in the middle
        torch.testing.assert_close(seen[0, 0, ~black], image[0, 0, ~black])


def test_thick_slices_blur_across_slices_only() -> None:
    image = torch.zeros((1, 1, 16, 8, 8))
    image[:, :, 8] = 1
    thick = thicken_slices(image, np.random.default_rng(0))
    assert thick.shape == image.shape
    assert float(thick.max()) < 1
    assert float((thick[0, 0] > 0.05).any(dim=2).any(dim=1).sum()) > 1
    assert float(thick[0, 0].std(dim=(1, 2)).max()) < 1e-6


def test_intensities_stay_in_the_window_and_air_stays_black() -> None:
    options = dataclasses.replace(AugmentationOptions(), intensity_probability=1.0)
    augment = IntensityAugmentation(options)
    image = torch.rand((1, 1, 8, 16, 16))
    image[..., :4] = 0
    changed = augment(image, np.random.default_rng(0))
    assert changed.shape == image.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert float(changed[..., :4].max()) == 0
    assert not torch.equal(changed, image)


def test_a_click_is_a_gaussian_at_its_place() -> None:
    grid = aligned_grid(Box(np.zeros(3), np.full(3, 60.0)), (2.0, 2.0, 3.0))
    channels = click_channels(
        [Click((21.0, 31.0, 40.5), True), Click((9.0, 9.0, 10.5), False)], grid
    )
    assert channels.shape == (1, 2, 20, 30, 30)
    assert float(channels[0, 0, 13, 15, 10]) == pytest.approx(1.0)
    assert float(channels[0, 1, 3, 4, 4]) == pytest.approx(1.0)
    # Two voxels along R are 4 mm.
    assert float(channels[0, 0, 13, 15, 12]) == pytest.approx(np.exp(-0.5 * (4 / 5) ** 2), rel=1e-5)


def test_shrinking_agrees_with_scipy() -> None:
    region = np.random.default_rng(0).random((9, 10, 11)) > 0.3
    narrow = ndimage.binary_erosion(region, np.ones((3, 3, 3)), border_value=1)
    assert narrow.any()
    np.testing.assert_array_equal(erode(torch.from_numpy(region)).numpy(), narrow)


def test_simulated_clicks_lie_where_they_say() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    labels[4:12, 8:20, 8:20] = PANCREAS
    labels[:, :, 28:] = IGNORE
    grid = patch_grid(labels.shape, PATCH.spacing_mm)
    for seed in range(10):
        channels = simulate_clicks(labels, PANCREAS, grid, np.random.default_rng(seed))
        inside, outside = channels[0, 0] > 0.99, channels[0, 1] > 0.99
        assert inside.any()
        assert (labels[inside] == PANCREAS).all()
        assert (labels[outside] == 0).all()


def test_clicks_go_where_the_network_is_most_wrong() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    labels[4:12, 8:20, 8:20] = PANCREAS
    labels[:, :, 30:] = IGNORE
    missed = labels == PANCREAS
    missed[:, 14:] = False  # the front half
    prediction = (labels == PANCREAS) & ~missed
    prediction[:2, :3, :3] = True  # less than is missed
    prediction[:, :, 30:] = True  # more, but nothing is known there
    grid = patch_grid(labels.shape, PATCH.spacing_mm)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        channels = simulate_clicks(labels, PANCREAS, grid, rng, lambda channels: prediction)
        clicked = channels[0, 0] > 0.99
        assert clicked.any()
        assert missed[clicked].all()
        assert float(channels[0, 1].max()) == 0


def test_each_simulated_click_is_answered_before_the_next() -> None:
    """The network mends what was clicked on, and the next click is on what is left."""
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    large, small = (
        (slice(4, 12), slice(8, 20), slice(4, 14)),
        (slice(4, 8), slice(8, 12), slice(20, 24)),
    )
    labels[large] = labels[small] = PANCREAS
    grid = patch_grid(labels.shape, PATCH.spacing_mm)
    asked = []

    def answer(channels: torch.Tensor) -> torch.Tensor:
        asked.append(int((channels > 0.99).any()))
        marked = torch.zeros_like(labels, dtype=torch.bool)
        if (channels[0, 0][large] > 0.99).any():
            marked[large] = True
        return marked

    for seed in range(20):
        asked.clear()
        channels = simulate_clicks(labels, PANCREAS, grid, np.random.default_rng(seed), answer)
        assert asked == [0, *[1] * (len(asked) - 1)]
        assert (channels[0, 0][large] > 0.99).any()
        assert bool((channels[0, 0][small] > 0.99).any()) == (len(asked) > 1)


def test_where_nothing_is_wrong_the_organ_is_clicked_on() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    grid = patch_grid(labels.shape, PATCH.spacing_mm)
    rng = np.random.default_rng(0)
    nothing = simulate_clicks(labels, PANCREAS, grid, rng, lambda channels: labels == PANCREAS)
    assert float(nothing.max()) == 0
    labels[4:12, 8:20, 8:20] = PANCREAS
    right = simulate_clicks(labels, PANCREAS, grid, rng, lambda channels: labels == PANCREAS)
    assert (labels[right[0, 0] > 0.99] == PANCREAS).all()


def disputes(labels: torch.Tensor, image: torch.Tensor, count: int = 60) -> list[Dispute]:
    drawn = [
        draw_dispute(labels, image, PANCREAS, PATCH.spacing_mm, np.random.default_rng(seed))
        for seed in range(count)
    ]
    return [one for one in drawn if one is not None]


def test_a_dispute_is_about_one_piece_at_the_border() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    labels[4:12, 2:30, 8:20] = PANCREAS
    labels[:, :, 24:] = IGNORE
    organ = (labels == PANCREAS).numpy()
    drawn = disputes(labels, torch.zeros(labels.shape))
    assert {one.inside for one in drawn} == {True, False}
    depths = []
    for one in drawn:
        assert ndimage.label(one.piece)[1] == 1
        assert not (one.piece & (organ if one.inside else ~organ)).any()
        assert not (one.piece & (labels == IGNORE).numpy()).any()
        assert (ndimage.binary_dilation(one.piece) & (organ if one.inside else ~organ)).any()
        extent = np.ptp(np.argwhere(one.piece), axis=0) * PATCH.spacing_mm[::-1]
        assert (extent <= 60).all()
        depth = ndimage.distance_transform_edt(
            ~organ if one.inside else organ, sampling=PATCH.spacing_mm[::-1]
        )
        depths.append(depth[one.piece].max())
        settled = one.relabel(labels, PANCREAS)
        assert (settled[torch.from_numpy(one.piece)] == (PANCREAS if one.inside else 0)).all()
        untouched = ~torch.from_numpy(one.piece)
        assert torch.equal(settled[untouched], labels[untouched])
    assert max(depths) <= 16
    assert np.mean(np.array(depths) <= 6) > 0.5


def test_what_a_dispute_adds_looks_like_the_organ() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    labels[4:12, 8:20, 8:20] = PANCREAS
    image = torch.full(labels.shape, 0.5)
    image[:, :14] = 0.9  # half of the organ, and what is around that half
    image[:, :, :7] = image[:, :, 21:] = 0.1  # fat
    for one in disputes(labels, image):
        assert not one.inside or image[torch.from_numpy(one.piece)].min() > 0.3


def test_nothing_is_disputed_without_an_organ_or_where_it_is_tiny() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    assert disputes(labels, torch.zeros(labels.shape)) == []
    labels[:] = PANCREAS
    assert disputes(labels, torch.zeros(labels.shape)) == []
    labels[:] = IGNORE
    labels[8, 8, 8:12] = PANCREAS
    assert disputes(labels, torch.zeros(labels.shape)) == []


def test_the_first_click_is_on_what_is_disputed() -> None:
    labels = torch.zeros((16, 32, 32), dtype=torch.long)
    labels[4:12, 8:20, 8:20] = PANCREAS
    grid = patch_grid(labels.shape, PATCH.spacing_mm)
    for seed, dispute in enumerate(disputes(labels, torch.zeros(labels.shape), 20)):
        settled = dispute.relabel(labels, PANCREAS)
        channels = simulate_clicks(
            settled,
            PANCREAS,
            grid,
            np.random.default_rng(seed),
            lambda channels: labels == PANCREAS,
            dispute,
        )
        clicked = (channels[0, 0 if dispute.inside else 1] > 0.99).numpy()
        assert (clicked & dispute.piece).any()


@pytest.mark.parametrize(("probability", "expected"), [(0.0, False), (1.0, True)])
def test_training_learns_what_the_user_of_a_dispute_wants(
    tmp_path: Path, probability: float, expected: bool
) -> None:
    augmentation = AugmentationOptions(
        elastic_probability=0, cropped_view_probability=0, hidden_organ_probability=0
    )
    options = dataclasses.replace(
        tiny_options(8),
        kind_weights={"scan": 1.0},
        augmentation=augmentation,
        click_probability=1.0,
        click_error_probability=1.0,
        dispute_probability=probability,
    )
    run = StageTrainer(options, [small_case()], [], tmp_path)
    drawn, learnt = [], []
    draw, loss = run.sampler.batch, run.loss
    run.sampler.batch = lambda step: drawn.append(draw(step)) or drawn[-1]  # type: ignore[method-assign]

    def keep(logits: object, labels: torch.Tensor, known: object) -> torch.Tensor:
        learnt.append(labels)
        return loss(logits, labels, known)

    run.loss = keep  # type: ignore[assignment]
    run.run()
    changed = [
        not torch.equal(batch.patches.labels, labels)
        for batch, labels in zip(drawn, learnt, strict=False)
    ]
    assert any(changed) == expected


def test_a_deep_voxel_is_of_the_region() -> None:
    region = np.zeros((9, 9, 9), bool)
    region[1:8, 1:8, 1:8] = True
    rng = np.random.default_rng(0)
    picked = [pick_deep_voxel(region, (1.0, 1.0, 1.0), rng) for _ in range(200)]
    assert all(region[voxel] for voxel in picked)
    # Of 343 voxels 125 are not on its rim; those are preferred.
    inner = sum(all(1 < index < 7 for index in voxel) for voxel in picked)
    assert 110 < inner < 200
    alone = np.zeros_like(region)
    alone[0, 0, 8] = True
    assert pick_deep_voxel(alone, (1.0, 1.0, 1.0), rng) == (0, 0, 8)


def test_the_learning_rate_warms_up_and_anneals() -> None:
    rate = LearningRate(peak=1e-4, final=1e-6, warmup_fraction=0.05)
    assert rate.at(0) == pytest.approx(1e-5)
    assert rate.at(0.05) == pytest.approx(1e-4)
    assert rate.at(0.525) == pytest.approx((1e-4 + 1e-6) / 2, rel=1e-3)
    assert rate.at(1) == pytest.approx(1e-6)


def test_a_budget_is_in_steps_or_in_minutes() -> None:
    assert Budget(steps=10).fraction(5, 1e9) == 0.5
    assert Budget(minutes=2).fraction(10**6, 60) == 0.5
    for wrong in ({}, {"steps": 1, "minutes": 1.0}):
        with pytest.raises(ValueError, match="steps or in minutes"):
            Budget(**wrong)


def trainer(folder: Path, steps: int = 4) -> StageTrainer:
    cases = [small_case("scan"), small_case("region")]
    return StageTrainer(tiny_options(steps, checkpoint_every_s=0.0), cases, [small_case()], folder)


class Killed(BaseException):
    """Stands for the process's end at any point."""


def test_a_checkpoint_written_by_hand_is_gone_on_with(tmp_path: Path) -> None:
    """The keys of checkpoint.pt, and the lines of log.jsonl, are those of runs that are at work
    somewhere; whoever changes one must still read the other."""
    run = trainer(tmp_path, steps=8)
    network = run.state.network.state_dict()
    averaged = {name: value.clone() for name, value in run.state.average.state_dict().items()}
    torch.save(
        {
            "format": 1,
            "network": {name: value + 1 for name, value in network.items()},
            "average": {name: value + 2 for name, value in averaged.items()},
            "optimizer": run.state.optimizer.state_dict(),
            "step": 5,
            "elapsed_s": 7.5,
            "best": {"step": 4, "dice": 0.25, "weights": averaged},
            "waited": 2,
        },
        tmp_path / "checkpoint.pt",
    )
    lines = (
        {"step": 4, "loss": 0.5, "gradient_norm": 1.0, "learning_rate": 1e-3, "elapsed_s": 6.0},
        {"step": 4, "validation_dice": {"a": 0.25, "b": 0.75}, "findings": []},
        {"step": 6, "loss": 0.1},
    )
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    resumed = trainer(tmp_path, steps=8)
    state = resumed.state
    assert (state.step, state.elapsed_s, state.waited) == (5, 7.5, 2)
    name = next(iter(network))
    assert torch.equal(state.network.state_dict()[name], network[name] + 1)
    assert torch.equal(state.average.state_dict()[name], averaged[name] + 2)
    assert state.best is not None
    assert (state.best.step, state.best.dice) == (4, 0.25)
    assert torch.equal(state.best.weights[name], averaged[name])
    assert (resumed.last_loss, resumed.last_dice) == (0.5, 0.5)
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kept == list(lines[:2])
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed.save_checkpoint()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True).keys() == saved.keys()


def test_a_killed_run_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainer(tmp_path / "whole").run().state_dict()

    learn = StageTrainer.train_step

    def die_at_third(self: StageTrainer, *args: object) -> dict[str, object]:
        if self.state.step == 2:
            raise Killed
        return learn(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "train_step", die_at_third)
        with pytest.raises(Killed):
            trainer(tmp_path / "killed").run()
    resumed = trainer(tmp_path / "killed")
    assert resumed.state.step == 2
    for name, value in resumed.run().state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0, msg=name)


def test_a_process_that_was_killed_goes_on_exactly(tmp_path: Path) -> None:
    """SIGKILL, at whatever moment it comes."""
    whole = trainer(tmp_path / "whole", steps=8).run().state_dict()
    script = (
        "from pathlib import Path\n"
        "from AttentionUNetSegmentLib.training.trainer import StageTrainer\n"
        "from small_cases import small_case, tiny_options\n"
        "cases = [small_case('scan'), small_case('region')]\n"
        "options = tiny_options(8, checkpoint_every_s=0.0)\n"
        f"folder = Path({str(tmp_path / 'killed')!r})\n"
        "StageTrainer(options, cases, [small_case()], folder).run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    resumed = trainer(tmp_path / "killed", steps=8)
    assert resumed.state.step >= 1
    for name, value in resumed.run().state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0, msg=name)


def test_a_kill_while_saving_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trainer(tmp_path, steps=1)
    first.run()
    good = first.checkpoint_file.read_bytes()

    def half_a_file(state: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(Killed):
        first.save_checkpoint()
    assert first.checkpoint_file.read_bytes() == good


def test_training_lowers_the_loss_and_logs_what_it_does(tmp_path: Path) -> None:
    options = dataclasses.replace(
        tiny_options(40),
        kind_weights={"scan": 1.0},
        learning_rate=LearningRate(peak=1e-2),
        augmentation=AugmentationOptions(
            elastic_probability=0, cropped_view_probability=0, hidden_organ_probability=0
        ),
        click_probability=0.2,
    )
    run = StageTrainer(options, [small_case()], [small_case()], tmp_path)
    run.run()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[-1] < 0.9 * losses[0]
    assert len(records[0]["focus_ratios"]) == 4
    assert set(records[-1]["validation_dice"]) == {"small"}
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("loss")] == [20, 40]
    assert len(curves.Scalars("validation_focus_ratios/level 4")) == 1
    assert json.loads((tmp_path / "options.json").read_text())["budget"] == {
        "steps": 40,
        "minutes": None,
    }


def test_a_run_is_not_continued_with_other_options(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    other = dataclasses.replace(tiny_options(1), seed=3)
    with pytest.raises(TrainingError, match="seed"):
        StageTrainer(other, [small_case()], [], tmp_path)
    longer = trainer(tmp_path, steps=2)
    assert longer.state.step == 1


def test_a_run_goes_on_that_was_begun_before_there_was_an_augmentation(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    file = tmp_path / "options.json"
    options = json.loads(file.read_text())
    del options["augmentation"]["cut_out_probability"]
    file.write_text(json.dumps(options))
    assert trainer(tmp_path, steps=2).state.step == 1
    cut = dataclasses.replace(tiny_options(2).augmentation, cut_out_probability=0.5)
    with pytest.raises(TrainingError, match="augmentation"):
        StageTrainer(
            dataclasses.replace(tiny_options(2), augmentation=cut), [small_case()], [], tmp_path
        )


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=1)
    run.run()
    run.checkpoint_file.write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        trainer(tmp_path, steps=2)


def test_a_loss_that_is_not_a_number_stops_with_a_sentence(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    with torch.no_grad():
        next(run.state.network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="learning rate"):
        run.run()


def test_open_gates_in_the_first_phase(tmp_path: Path) -> None:
    options = dataclasses.replace(tiny_options(2), gates_open_fraction=0.5)
    opened: list[bool] = []
    run = StageTrainer(options, [small_case("scan"), small_case("region")], [], tmp_path)
    original = run.state.network.set_gates_open
    run.state.network.set_gates_open = lambda value: (opened.append(value), original(value))  # type: ignore[method-assign]
    run.run()
    assert opened == [True, False]


def test_both_stages_use_all_labels_and_the_refiner_takes_clicks() -> None:
    locator, refiner = locator_options(Budget(steps=1)), refiner_options(Budget(steps=1))
    assert locator.network["out_channels"] == refiner.network["out_channels"] == 9
    assert (locator.network["in_channels"], refiner.network["in_channels"]) == (1, 3)


def test_a_data_folder_is_read_and_split(tmp_path: Path) -> None:
    for name in ("case0005", "case0010"):
        write_case(tmp_path / "btcv" / "train", name, small_case())
    write_case(tmp_path / "panorama-roi", "panorama001", small_case("region"), "_pancreas")
    train, validation = find_cases(tmp_path)
    assert [case.name for case in train] == ["case0005", "panorama001"]
    assert [case.name for case in validation] == ["case0010"]
    region = load_case(train[1])
    # Every label of a region that is neither parenchyma nor tumour is background there.
    assert set(np.unique(region.labels.array)) <= {0, PANCREAS}
    scan = load_case(train[0])
    np.testing.assert_allclose(scan.ct.ijk_to_ras, small_case().ct.ijk_to_ras, atol=1e-5)


def test_wrong_data_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no data folder"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="no training cases"):
        find_cases(tmp_path)
    write_case(tmp_path, "case0001", small_case())
    moved = small_case(matrix=placed((2.0, 2.0, 3.5), (0, 0, 0)))
    write_case(tmp_path / "other", "case0001", moved)
    mixed = CaseFiles(
        "case0001", tmp_path / "case0001_ct.nii.gz", tmp_path / "other" / "case0001_organs.nii.gz"
    )
    with pytest.raises(TrainingError, match="different grids"):
        load_case(mixed)
    (tmp_path / "case0001_organs.nii.gz").unlink()
    with pytest.raises(TrainingError, match="no labels"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"minutes": 1.0, "steps": 5},
        {"steps": 0},
        {"minutes": float("nan")},
        {"steps": 5, "stage": "third"},
        {"steps": 5, "precision": "int8"},
        {"steps": 5, "synthetic": -1},
    ],
)
def test_wrong_training_options_get_a_sentence(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        train_model(tmp_path, tmp_path / "out", **options)


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases, and recipes that are small enough for them."""
    write_case(tmp_path / "data", "case0005", small_case())
    other = small_case()
    other = dataclasses.replace(other, ct=other.ct.with_array(other.ct.array + np.int16(1)))
    write_case(tmp_path / "data", "case0010", other)

    def small(make: object) -> object:
        def options(budget: Budget, seed: int = 0) -> StageOptions:
            made = make(budget, seed)  # type: ignore[operator]
            network = {**made.network, "channels": [4, 4, 4, 4, 4]}
            patch = dataclasses.replace(made.patch, size=(32, 32, 16))
            return dataclasses.replace(made, network=network, patch=patch)

        return options

    module = "AttentionUNetSegmentLib.training.pipeline"
    monkeypatch.setattr(f"{module}.locator_options", small(locator_options))
    monkeypatch.setattr(f"{module}.refiner_options", small(refiner_options))
    return tmp_path / "data"


def test_training_writes_a_model_that_loads(small_data: Path, tmp_path: Path) -> None:
    told: list[float] = []
    folder = train_model(
        small_data,
        tmp_path / "run",
        steps=5,
        synthetic=0,
        device="cpu",
        progress=lambda fraction, text: told.append(fraction),
    )
    model = load_model(folder)
    assert model.card.target == "pancreas"
    training = model.card.training
    assert training["held_out"] == ["case0010"]
    assert training["recipe"]["refiner"]["patch"]["spacing_mm"] == [2.0, 2.0, 3.0]
    assert training["done"]["locator"]["steps"] == 1
    assert training["done"]["refiner"]["steps"] == 4
    assert "started_from" not in training
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (Choices(channels=(8,)), "channels"),
        (Choices(dice=0, cross_entropy=0, focal=0), "nothing would be learnt"),
    ],
)
def test_what_the_last_stage_cannot_do_is_refused_before_the_first_is_trained(
    small_data: Path, tmp_path: Path, choices: Choices, words: str
) -> None:
    run = tmp_path / "run"
    with pytest.raises((ModelError, TrainingError), match=words):
        train_model(small_data, run, steps=2, synthetic=0, device="cpu", choices=choices)
    assert not run.exists()


def test_training_decompresses_each_file_once(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the check of its voxels and for memory together; headers are looked at beforehand."""
    counted = count_decompressed(monkeypatch)
    train_model(small_data, tmp_path / "run", steps=1, stage="refiner", synthetic=0, device="cpu")
    reads = whole_reads(counted, small_data)
    assert len(reads) == 4
    assert all(1 <= count < 1.05 for count in reads.values()), reads


@pytest.mark.parametrize(("stage", "steps"), [("locator", 100), ("refiner", 25)])
def test_a_stage_on_its_own_is_the_whole_of_the_work(
    small_data: Path, tmp_path: Path, stage: str, steps: int
) -> None:
    """A share kept for the other one would make the time left far too short."""
    told: list[float] = []

    def progress(fraction: float, text: str) -> None:
        if text.startswith(f"Training the {stage}: Step"):
            told.append(fraction)

    train_model(
        small_data,
        tmp_path / "run",
        steps=steps,
        stage=stage,
        synthetic=0,
        device="cpu",
        progress=progress,
    )
    assert told == pytest.approx([19 / 20])  # its share are 20 steps, the last of which is told


def test_regions_that_are_not_to_be_learnt_from_are_not_named(
    small_data: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"steps": 2, "synthetic": 0, "device": "cpu"}
    with pytest.raises(InputError, match="no cropped regions"):
        train_model(small_data, tmp_path / "run", choices=Choices(regions=0.2), **options)
    assert not (tmp_path / "run").exists()
    region = small_case("region")
    region = dataclasses.replace(
        region,
        ct=region.ct.with_array(region.ct.array + np.int16(2)),  # the same image is refused
        labels=region.labels.with_array((region.labels.array == PANCREAS).astype(np.uint8)),
    )
    write_case(small_data / "panorama-roi", "panorama001", region, "_pancreas")
    kinds = {
        share: set(
            load_model(
                train_model(small_data, tmp_path / str(share), choices=choices, **options)
            ).card.training["cases"]
        )
        for share, choices in ((share, Choices(regions=share)) for share in (0.0, 0.2))
    }
    assert kinds == {0.0: {"scan"}, 0.2: {"scan", "region"}}


def test_synthetic_abdomens_are_left_out_where_a_part_of_the_labels_is_learnt(
    small_data: Path, tmp_path: Path
) -> None:
    """Their labels have BTCV's values, which then mean other organs."""
    options: dict[str, Any] = {"labels": "liver,pancreas", "steps": 1, "stage": "refiner"}
    model = load_model(train_model(small_data, tmp_path / "run", device="cpu", **options))
    assert set(model.card.training["cases"]) == {"scan"}
    with pytest.raises(InputError, match="other labels"):
        train_model(small_data, tmp_path / "other", synthetic=2, device="cpu", **options)


def test_a_run_goes_on_with_the_same_labels_and_synthetic_abdomens_only(
    small_data: Path, tmp_path: Path
) -> None:
    """As many labels make the same network, so that no stage's options tell them apart."""
    options: dict[str, Any] = {"steps": 1, "stage": "locator", "device": "cpu"}
    run, other = tmp_path / "run", tmp_path / "other"
    train_model(small_data, run, labels="liver,pancreas", **options)
    with pytest.raises(TrainingError, match=r"with other data \(--labels\); choose another folder"):
        train_model(small_data, run, labels="stomach,pancreas", **options)
    train_model(small_data, other, synthetic=0, **options)
    with pytest.raises(TrainingError, match=r"with other data \(--synthetic\)"):
        train_model(small_data, other, synthetic=1, **options)
    splits = json.loads((other / "splits.json").read_text())
    for name in ("labels", "synthetic"):  # as a run of before has it
        del splits[name]
    (other / "splits.json").write_text(json.dumps(splits))
    train_model(small_data, other, synthetic=1, **options)


def test_a_split_without_a_case_to_learn_from_leaves_nothing(
    small_data: Path, tmp_path: Path
) -> None:
    """What it left was the split that a second try with a better one had to be the same as."""
    save_splits(tmp_path / "splits.json", [Split((), ("case0005",))])
    with pytest.raises(TrainingError, match="no case to train the locator on"):
        train_model(
            small_data, tmp_path / "run", steps=1, synthetic=0, splits=tmp_path / "splits.json"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_takes_no_model_is_refused_before_the_training(
    small_data: Path, tmp_path: Path, kind: str
) -> None:
    run = tmp_path / "run"
    other = run / "model" if kind == "file" else run / "model" / "notes.txt"
    other.parent.mkdir(parents=True)
    other.write_text("kept")
    with pytest.raises(OutputError, match=r"run.model"):
        train_model(small_data, run, steps=1, synthetic=0, device="cpu")
    assert other.read_text() == "kept"
    assert not any((run / name).exists() for name in ("locator", "refiner", "splits.json"))


def test_two_trainings_do_not_write_into_one_folder(small_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    options: dict[str, Any] = {"steps": 1, "stage": "locator", "synthetic": 0, "device": "cpu"}
    with locked_folder(run), pytest.raises(InputError, match="Another program is working in"):
        train_model(small_data, run, **options)
    assert {file.name for file in run.iterdir()} <= {LOCK_FILE}
    train_model(small_data, run, **options)


def test_training_starts_from_a_model(small_data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"synthetic": 0, "device": "cpu"}
    first = load_model(train_model(small_data, tmp_path / "first", steps=5, **options))
    options |= {"steps": 3, "stage": "refiner", "start_from": str(first.folder)}
    # A peak this low changes nothing that half precision could hold.
    choices = Choices(learning_rate=1e-12, final_learning_rate=0.0)
    same = load_model(train_model(small_data, tmp_path / "same", choices=choices, **options))
    other = load_model(train_model(small_data, tmp_path / "other", **options))
    for name, network in first.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, same.networks[name].state_dict()[key])
    assert weights_of(other, "locator") == weights_of(first, "locator")
    assert weights_of(other, "refiner") != weights_of(first, "refiner")

    assert (first.card.version, other.card.version) == ("0.1.0", "0.2.0")
    training = other.card.training
    assert training["done"] == {
        "locator": {"steps": 0, "minutes": 0.0},
        "refiner": {"steps": 2, "minutes": training["done"]["refiner"]["minutes"]},
    }
    assert first.card.weights is not None
    assert training["started_from"]["weights_sha256"] == first.card.weights.sha256
    assert training["started_from"]["training"]["done"]["locator"]["steps"] == 1
    assert first.card.training["recipe"]["refiner"]["trainings_before"] == 0
    assert training["recipe"]["refiner"]["trainings_before"] == 1

    # Given again, the command goes on; with another start it is another run.
    train_model(small_data, tmp_path / "other", **options)
    for start in (None, str(other.folder)):
        with pytest.raises(TrainingError, match="started from other weights"):
            train_model(small_data, tmp_path / "other", **{**options, "start_from": start})
    with pytest.raises(TrainingError, match="started from other weights"):
        train_model(small_data, tmp_path / "first", **options)
    (tmp_path / "other" / "start.json").write_text("{")
    with pytest.raises(TrainingError, match="remove the folder to begin anew"):
        train_model(small_data, tmp_path / "other", **options)


def test_a_model_that_is_trained_further_keeps_its_editor(small_data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"synthetic": 0, "device": "cpu", "steps": 1}
    first = load_model(train_model(small_data, tmp_path / "first", **options))
    network = {**first.card.stages["refiner"].network, "in_channels": EDITOR_CHANNELS}
    editor = Editor({**network, "out_channels": 2, "deep_supervision": False})
    networks = {**first.networks, "editor": build_network(editor.network)}
    save_model(tmp_path / "start", dataclasses.replace(first.card, editor=editor), networks)
    start = load_model(tmp_path / "start")
    notes: list[str] = []
    options |= {"stage": "refiner", "start_from": str(start.folder), "note": notes.append}
    after = load_model(train_model(small_data, tmp_path / "after", **options))
    assert after.card.editor == start.card.editor
    assert weights_of(after, "editor") == weights_of(start, "editor")
    assert any("--stage editor" in text for text in notes)


def test_going_on_shows_other_samples(tmp_path: Path) -> None:
    """With the same seed too, or a model would be trained on with what it has seen."""
    runs = [
        StageTrainer(
            dataclasses.replace(tiny_options(1), trainings_before=before),
            [small_case()],
            [],
            tmp_path / name,
        )
        for name, before in (("first", 0), ("same", 0), ("on", 1))
    ]
    first, same, further = (run.sampler.patch(5, 0)[0].image for run in runs)
    assert torch.equal(first, same)
    assert not torch.equal(first, further)


def test_a_start_that_does_not_fit_is_refused(small_data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"synthetic": 0, "device": "cpu", "steps": 2}
    first = str(train_model(small_data, tmp_path / "first", **options))
    options |= {"start_from": first}
    for choices in (Choices(gate="dual"), Choices(spacing_mm=(1.0, 1.0, 1.0))):
        with pytest.raises(InputError, match=r"has another .* than is to be trained"):
            train_model(small_data, tmp_path / "new", choices=choices, **options)
    with pytest.raises(InputError, match="another target than the data set"):
        train_model(small_data, tmp_path / "new", target="liver", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.1.0", "0.2.0"), ("1.19.3", "1.20.0"), ("mine", "mine+trained.1")],
)
def test_other_weights_have_another_version(before: str, after: str) -> None:
    assert next_version(before) == after


def weights_of(model: Model, stage: str) -> list[float]:
    """Something that differs where any weight does."""
    return [float(value.double().sum()) for value in model.networks[stage].state_dict().values()]
