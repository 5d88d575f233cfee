"""Training in two processes, started through torchrun on the CPU, against training in one.

What GPUs add, their NCCL and batch norm over processes, cannot be run here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.models import load_model
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training import distributed
from AttentionUNetSegmentLib.training.distributed import Processes
from AttentionUNetSegmentLib.training.schedule import Budget
from distributed_run import STEPS, Ended, trainer
from small_cases import small_case, write_case

SUPPORT = Path(__file__).resolve().parents[1] / "support"
PROGRAM, COMMAND = SUPPORT / "distributed_run.py", SUPPORT / "distributed_command.py"
has_gloo = torch.distributed.is_available() and torch.distributed.is_gloo_available()
needs_gloo = pytest.mark.skipif(not has_gloo, reason="this PyTorch was built without gloo")
needs_torchrun = pytest.mark.skipif(
    sys.platform == "win32", reason="PyTorch for Windows is built without torchrun's libuv"
)


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, at a port that is free. One process group each time: a second
    one in the same processes hangs now and then."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
            *("--local-addr", "127.0.0.1"),
            *map(str, arguments),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def curve(folder: Path, name: str) -> list[float]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record[name] for record in records if name in record]


def scores(folder: Path) -> list[float]:
    return [score["small"] for score in curve(folder, "validation_dice")]  # type: ignore[index]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert saved["step"] == STEPS
    return {**saved["network"], **{f"average {k}": v for k, v in saved["average"].items()}}


def assert_same_run(folder: Path, expected: Path) -> None:
    assert curve(folder, "step") == curve(expected, "step")
    # The losses' sums are in single precision.
    for name in ("loss", "gradient_norm", "focus_ratios"):
        np.testing.assert_allclose(curve(folder, name), curve(expected, name), rtol=2e-6)
    assert scores(folder) == pytest.approx(scores(expected), abs=1e-3)
    ours, theirs = weights(folder), weights(expected)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6, msg=name)


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("Error:")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("whole")
    trainer(folder).run()
    return folder


@dataclasses.dataclass
class Launched:
    """What two processes did, one run after the other: to start them takes longer than the work."""

    done: subprocess.CompletedProcess[str]
    folder: Path
    failing: Path
    events: int
    """Files of TensorBoard in the folder before."""


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A run that one process began, and another that fails."""
    folder, failing = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("failing")
    first = trainer(folder)
    first.end = 2
    with pytest.raises(Ended):
        first.run()
    events = len(list((folder / "tensorboard").iterdir()))
    return Launched(torchrun(PROGRAM, folder, failing), folder, failing, events)


@needs_gloo
@needs_torchrun
def test_a_run_goes_on_in_more_processes_and_in_fewer_as_in_one(
    launched: Launched, whole: Path
) -> None:
    folder = launched.folder
    # The second process writes nothing.
    assert len(list((folder / "tensorboard").iterdir())) == launched.events + 1
    last = trainer(folder)
    assert last.state.step == 4, launched.done.stderr
    last.run()
    assert_same_run(folder, whole)
    assert {file.name for file in folder.iterdir()} == {file.name for file in whole.iterdir()}


@needs_gloo
@needs_torchrun
def test_a_process_that_fails_ends_all_with_one_sentence(launched: Launched) -> None:
    assert launched.done.returncode != 0
    (error,) = errors_of(launched.done)
    assert "memory of cpu did not suffice at step 2" in error
    assert curve(launched.failing, "step") == [1, 2]
    assert torch.load(launched.failing / "checkpoint.pt", weights_only=True)["step"] == 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        case = small_case()
        # The same image twice would be refused.
        case = dataclasses.replace(case, ct=case.ct.with_array(case.ct.array + np.int16(number)))
        write_case(tmp_path / "data", f"case000{number}", case)
    return tmp_path / "data"


TRAIN = (
    *("--steps", "3", "--stage", "refiner", "--channels", "4,4,4,4,4", "--patch", "32,32,16"),
    *("--synthetic", "0", "--device", "cpu", "--precision", "float32"),
)


@needs_gloo
@needs_torchrun
def test_the_command_trains_in_two_processes(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["train", str(data), "-o", str(one), *TRAIN, "--batch-size", "2"]) == 0
    done = torchrun(COMMAND, "train", data, "-o", two, *TRAIN, "--batch-size", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model:") == 1
    for name in ("splits.json", "refiner/options.json"):
        assert (two / name).read_text() == (one / name).read_text()
    models = [load_model(run / "model") for run in (one, two)]
    for name, network in models[0].networks.items():
        theirs_by_name = models[1].networks[name].state_dict()
        for key, value in network.state_dict().items():
            torch.testing.assert_close(theirs_by_name[key], value, rtol=0, atol=1e-3, msg=key)


def test_a_batch_that_does_not_divide_is_refused_in_one_sentence(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the first of two processes; how one of several that fail tells it is tested above."""
    monkeypatch.setattr(
        distributed, "launched_processes", lambda device: nullcontext(Processes(0, 2))
    )
    given = ["train", str(data), "-o", str(tmp_path / "run"), *TRAIN, "--batch-size", "3"]
    assert main(given) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "batch of 3 cannot be divided among 2 processes" in error
    assert not (tmp_path / "run").exists()


def test_the_first_process_tells_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path)
    run.options = dataclasses.replace(run.options, budget=Budget(minutes=1.0))
    # Its clock is a minute ahead of this process's.
    monkeypatch.setattr(
        Processes, "from_first", lambda self, one: (60.0, 0.0) if isinstance(one, tuple) else one
    )
    run.run()
    assert run.state.step == 1


@pytest.mark.parametrize("command", ["finetune", "experiments compare"])
def test_commands_that_train_in_one_process_refuse_several(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    data = ["--data"] if command == "finetune" else []
    out = tmp_path / "out"
    assert main([*command.split(), *data, str(tmp_path), "-o", str(out), "--steps", "1"]) == 2
    assert "start it without torchrun" in capsys.readouterr().err
    assert not out.exists()


def test_shares_are_the_batch() -> None:
    assert [list(Processes(rank, 3).share(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert list(Processes().share(5)) == [0, 1, 2, 3, 4]


def test_batch_norm_over_processes_is_refused_on_a_cpu() -> None:
    config = {"name": "UNet", "dimensions": 2, "in_channels": 1, "out_channels": 2}
    network = build_network({**config, "channels": [4, 4]})  # its norm is batch norm
    with pytest.raises(InputError, match="Batch norm over several processes needs GPUs"):
        Processes(0, 2).synchronise_batch_norm(network)
    assert Processes().synchronise_batch_norm(network) is network
    network = build_network({**config, "channels": [4, 4], "norm": "instance"})
    assert Processes(0, 2).synchronise_batch_norm(network) is network
