"""Where training goes wrong: the user is told what to do, and the last good state is kept."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.errors import TrainingError
from AttentionUNetSegmentLib.training.schedule import LearningRate
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from AttentionUNetSegmentLib.training.validation import mask_dice, network_warnings
from slice_training import slices, trainer
from small_cases import small_case


def after_two_steps(folder: Path) -> tuple[StageTrainer, bytes]:
    """A run that is about to take its third step, and its checkpoint."""
    trainer(folder, steps=2, gates_open_fraction=0.0).run()
    run = trainer(folder, steps=8, gates_open_fraction=0.0)
    assert run.state.step == 2
    return run, run.checkpoint_file.read_bytes()


def kept(run: StageTrainer, checkpoint: bytes) -> bool:
    left = {file.name for file in run.run_folder.folder.iterdir()}
    return run.checkpoint_file.read_bytes() == checkpoint and not any(
        name.endswith(".new") for name in left
    )


def test_a_gradient_that_is_not_a_number_changes_no_weight(tmp_path: Path) -> None:
    run, checkpoint = after_two_steps(tmp_path)
    before = {name: value.clone() for name, value in run.state.network.named_parameters()}
    next(run.state.network.parameters()).register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingError, match=r"gradient is not a number at step 2.*lower learning"):
        run.run()
    assert all(torch.equal(before[name], now) for name, now in run.state.network.named_parameters())
    assert kept(run, checkpoint)


def test_after_a_loss_that_is_not_a_number_the_run_goes_on_with_a_lower_rate(
    tmp_path: Path,
) -> None:
    run, checkpoint = after_two_steps(tmp_path)
    run.loss = lambda *_: torch.tensor(math.nan)  # type: ignore[assignment]
    with pytest.raises(TrainingError, match="loss is not a number at step 2") as told:
        run.run()
    assert str(run.checkpoint_file) in str(told.value)
    assert kept(run, checkpoint)
    slower = LearningRate(peak=1e-5)
    again = trainer(tmp_path, steps=4, gates_open_fraction=0.0, learning_rate=slower, clip_norm=1.0)
    assert again.state.step == 2
    again.run()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_out_of_memory_names_what_to_make_smaller(tmp_path: Path, error: Exception) -> None:
    run, checkpoint = after_two_steps(tmp_path)

    def too_large(*_: object) -> object:
        raise error

    run.loss = too_large  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=r"smaller batch .now 4.*32 x 32 x 1.*last good state"):
        run.run()
    assert kept(run, checkpoint)


def test_a_bug_is_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    run, _ = after_two_steps(tmp_path)

    def broken(*_: object) -> object:
        raise RuntimeError("shapes differ")

    run.loss = broken  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="shapes differ"):
        run.run()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("file write failed")],
)
def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run, checkpoint = after_two_steps(tmp_path)

    def full(state: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="Make room and give the same command again"):
        run.run()
    assert kept(run, checkpoint)


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    run = trainer(tmp_path, log_every=1)
    run.log_file.mkdir()
    with pytest.raises(TrainingError, match=r"cannot be written.*No state was saved yet"):
        run.run()


def test_a_line_of_the_log_that_a_full_disk_cut_short_stops_nothing(tmp_path: Path) -> None:
    run, _ = after_two_steps(tmp_path)
    whole = run.log_file.read_text()
    for step in (3, None):
        with run.log_file.open("a") as file:
            file.write('{"step": 3, "loss": 0.')
        if step is None:
            run.checkpoint_file.unlink()
        again = trainer(tmp_path, steps=8, gates_open_fraction=0.0)
        assert again.log_file.read_text() == ("" if step is None else whole)


def test_damaged_options_are_refused(tmp_path: Path) -> None:
    (tmp_path / "options.json").write_text("{half")
    with pytest.raises(TrainingError, match="does not hold the options"):
        trainer(tmp_path)


def test_a_stage_without_cases_of_its_kinds_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="learns from cases of the kinds scan"):
        StageTrainer(slices(kind_weights={"scan": 1.0}), [small_case("region")], [], tmp_path)


def test_a_network_that_marks_nothing_and_saturated_gates_are_warned_of(tmp_path: Path) -> None:
    told: list[str] = []
    run = StageTrainer(
        slices(steps=1, gates_open_fraction=0.0, average_decay=0.0),
        [small_case()],
        [small_case()],
        tmp_path,
        report=lambda fraction, text: told.append(text),
    )
    state = run.state.average
    with torch.no_grad():
        for name, value in state.named_parameters():
            if name.startswith("gates.") and ".psi." in name and value.ndim == 1:
                # The norm's scale and shift, of gates from shallow to deep.
                shut = int(name.split(".")[1]) % 2 == 0
                value.fill_(-100.0 if shut and name.endswith("bias") else 0.0)
                if not shut and name.endswith("bias"):
                    value.fill_(100.0)
    run.state.average.eval()
    logits = run.state.average.forward_padded

    def background(x: torch.Tensor, deep: bool) -> object:
        found, attention, coarse = logits(x, deep)
        found = found.clone()
        found[:, 0] += 1000
        return found, attention, coarse

    run.state.average.forward_padded = background  # type: ignore[method-assign,assignment]
    run.update_ema = lambda: None  # type: ignore[method-assign]
    run.run()
    assert "marks nothing" in run.warnings[0]
    states = [warning.split(" everywhere")[0].split()[-1] for warning in run.warnings[1:]]
    assert states == ["shut", "open", "shut", "open"]
    assert set(run.warnings) <= set(told)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["findings"] == run.warnings


def test_good_networks_and_frozen_gates_are_not_warned_of(tmp_path: Path) -> None:
    assert network_warnings(False, [(1, 0.4), (4, 0.02)]) == []
    run = trainer(tmp_path, steps=1, gates_open_fraction=1.0)
    network = run.run()
    assert not any(gate.open for gate in network.gates)
    assert not any("gate" in warning for warning in run.warnings)


def test_dice_of_two_empty_masks_is_one() -> None:
    empty, full = torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    half = torch.from_numpy(np.array([True, True, False, False]))
    assert (mask_dice(empty, empty), mask_dice(empty, full), mask_dice(half, full)) == (1, 0, 2 / 3)
