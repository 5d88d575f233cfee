"""The state of a stage in training, and the checkpoint that it goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..errors import TrainingError
from ..networks import SegmentationNetwork

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class Best:
    """The averaged weights with the best mean Dice so far."""

    step: int
    dice: float
    weights: dict[str, torch.Tensor]


@dataclass
class StageState:
    """What changes from step to step.

    Args:
        average: exponential moving average of the network's weights, which is what is kept.
        elapsed_s: time spent on training steps, in all runs together.
        waited: validations since the best one.
    """

    network: SegmentationNetwork
    average: SegmentationNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    best: Best | None = None
    waited: int = 0

    def to_checkpoint(self) -> dict[str, Any]:
        """What ``checkpoint.pt`` holds."""
        return {
            "format": CHECKPOINT_FORMAT,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best": None if self.best is None else vars(self.best),
            "waited": self.waited,
        }

    def load_checkpoint(self, file: Path, device: torch.device) -> None:
        """Go back to a saved state.

        Raises:
            TrainingError: the file is damaged, or of another network.
        """
        try:
            saved = torch.load(file, map_location=device, weights_only=True)
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.elapsed_s = int(saved["step"]), float(saved["elapsed_s"])
            best = saved["best"]
            self.best = None if best is None else Best(**best)
            self.waited = int(saved["waited"])
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
            raise TrainingError(
                f"'{file}' is not a checkpoint of this run; remove the folder to begin anew."
            ) from error

    def remember_best(self, dice: float) -> None:
        """Keep the averaged weights if their mean Dice is the best so far."""
        if self.best is None or dice > self.best.dice:
            weights = {
                name: value.detach().clone() for name, value in self.average.state_dict().items()
            }
            self.best, self.waited = Best(self.step, dice, weights), 0
        elif self.step > self.best.step:
            self.waited += 1
