"""What a stage in training leaves on disk: its options, its checkpoint, its log and its curves."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from ..errors import OutputError, TrainingError
from ..files import locked_folder, replace_text, replaced_file
from .checkpoint import StageState
from .patches import AugmentationOptions
from .stage_options import CHANGEABLE, StageOptions


class RunFolder:
    """The folder of a stage's run: options.json, checkpoint.pt, log.jsonl and tensorboard.

    It is read by all processes of a training, and written by the first of them, which opens it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.board: SummaryWriter | None = None

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def open(self, options: StageOptions, state: StageState, device: torch.device) -> None:
        """Make the folder, or go on with the run in it from its checkpoint.

        Raises:
            TrainingError: it holds another run, or cannot be written.
        """
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._keep_options(options)
        last = -1
        if self.checkpoint_file.exists():
            self.restore(state, device)
            last = state.step
        # What was logged beyond the checkpoint is hidden, as the steps are done again.
        with self.writing():
            self._forget_log_after(last)
            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=state.step)

    def restore(self, state: StageState, device: torch.device) -> None:
        state.load_checkpoint(self.checkpoint_file, device)

    def save(self, state: StageState) -> None:
        """Replace the checkpoint.

        Raises:
            TrainingError: the disk is full; the checkpoint before is still there.
        """
        with self.writing(), replaced_file(self.checkpoint_file) as beside:
            torch.save(state.to_checkpoint(), beside)

    def log(self, step: int, record: dict[str, Any]) -> None:
        """Add a line to the log, and points to the curves; nothing where it is not open."""
        if self.board is None:
            return
        with self.writing():
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **record}) + "\n")
            for name, value in named_scalars(record):
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    def last_figures(self) -> tuple[float | None, float | None]:
        """Loss and mean validation Dice of the log's last lines that have one."""
        loss = dice = None
        for record in self._log_records():
            loss = record.get("loss", loss)
            if record.get("validation_dice"):
                dice = statistics.fmean(record["validation_dice"].values())
        return loss, dice

    def describe_checkpoint(self) -> str:
        """Where the last good state is, a sentence."""
        if self.checkpoint_file.exists():
            return f"The last good state is in '{self.checkpoint_file}'."
        return "No state was saved yet."

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the disk refuses into a sentence."""
        try:
            yield
        # PyTorch's writer raises RuntimeError where the disk is full.
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "the disk may be full"
            raise TrainingError(
                f"The run's state cannot be written to '{self.folder}': {reason}. Make room and "
                f"give the same command again. {self.describe_checkpoint()}"
            ) from error

    def _keep_options(self, options: StageOptions) -> None:
        file = self.folder / "options.json"
        now = json.loads(json.dumps(options.to_json()))
        if file.exists():
            try:
                before = dict(json.loads(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise TrainingError(
                    f"'{file}' does not hold the options of a run; remove the folder to begin anew."
                ) from error
            # What the run's version did not have yet was off.
            usual = json.loads(json.dumps(asdict(AugmentationOptions())))
            if isinstance(before.get("augmentation"), dict):
                before["augmentation"] = usual | before["augmentation"]
            before.setdefault("any_structure", False)
            changed = sorted(key for key in now if before.get(key) != now[key])
            if set(changed) - CHANGEABLE:
                raise TrainingError(
                    f"'{self.folder}' holds a run with other options ({', '.join(changed)}); "
                    "choose another folder or the same options."
                )
        replace_text(file, json.dumps(now, indent=1))

    def _forget_log_after(self, step: int) -> None:
        """Steps after the checkpoint are done again; their first try leaves the log."""
        if self.log_file.exists():
            kept = [record for record in self._log_records() if record["step"] <= step]
            replace_text(self.log_file, "".join(json.dumps(record) + "\n" for record in kept))

    def _log_records(self) -> Iterator[dict[str, Any]]:
        """The lines of the log, without one that a full disk or a crash cut short."""
        if self.log_file.exists():
            for line in self.log_file.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError):
                    yield json.loads(line)


def lock_run(folder: Path, during: ExitStack) -> None:
    """Keep other programs out of a run's folder, which they would write the same files into.

    A file system without locks keeps nobody out; what cannot be written is told by what is.

    Raises:
        InputError: another program is working in it.
    """
    with suppress(OutputError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        during.enter_context(locked_folder(folder))


def named_scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """A log record as curves: one for each case and for each level of the gates."""
    for name, value in record.items():
        if name == "findings":
            continue
        if isinstance(value, dict):
            yield from ((f"{name}/{case}", float(one)) for case, one in value.items())
        elif isinstance(value, list):
            yield from ((f"{name}/level {level}", float(x)) for level, x in enumerate(value, 1))
        else:
            yield name, float(value)
