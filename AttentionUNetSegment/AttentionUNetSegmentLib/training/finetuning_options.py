"""The options of ``finetune``. No torch here: the command line shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..networks.precision import parse_precision
from .option_fields import option
from .schedule import Budget
from .training_options import EDITOR, STAGES, device_option, precision_option

LEARNING_RATE = 2e-4
"""A fifth of the recipe's: the network is to be moved, not taught anew."""
HELD_OUT = "0.2"
MINUTES = 30.0
"""Budget where none is given."""


@dataclass(frozen=True)
class FinetuningOptions:
    """How to finetune.

    Args:
        original: what the model was trained on, or the like; half of the samples come from there.
        minutes, steps: the budget, at most one of them, else :data:`MINUTES`; held-out cases that
            get no better end it early.
        learning_rate: its peak.
        held_out: share of the cases (patients, where they are told apart) to hold out, at least
            one; or names of cases with commas between.
        stage: "refiner", "locator", "all" (both), or "editor", which answers clicks.
        name: of the new model; the old one's with "-finetuned" unless given.
        even_if_worse: write the new model also where it is not better on the held-out cases.
        install: add the new model to the user's own, which the panel offers.
        precision: "auto" takes bfloat16 where the device computes in it.

    Raises:
        InputError: one is wrong.
    """

    original: Path | None = option(  # noqa: RUF009
        "What the model was trained on, to mix in against forgetting.",
        metavar="DATA",
        flag="--with-original",
    )
    minutes: float | None = option("Longest time in minutes; 30.")
    steps: int | None = option("Budget in steps instead.")
    learning_rate: float = option("Peak of the learning rate.", default=LEARNING_RATE)
    held_out: str = option(
        "Cases that are held out to judge the model: a share of all, or names with commas between.",
        default=HELD_OUT,
        metavar="SHARE|NAMES",
    )
    stage: str = option(
        "Which network is trained further.", default="refiner", choices=(*STAGES, EDITOR)
    )
    name: str | None = option(
        "Name of the new model; the old one's with '-finetuned' unless given."
    )
    install: bool = option(
        "Add the new model to those that the panel offers.", default=False, flag="--install"
    )
    even_if_worse: bool = option(
        "Write the model also if it is no better on the held-out cases.",
        default=False,
        flag="--even-if-worse",
    )
    seed: int = option("Seed of all random numbers.", None, 0, default=0)
    device: str = device_option()
    precision: str = precision_option()

    def __post_init__(self) -> None:
        known = (*STAGES, EDITOR)
        if self.stage not in known:
            raise InputError(f"'{self.stage}' is no stage; choose one of {', '.join(known)}.")
        object.__setattr__(self, "precision", parse_precision(self.precision))
        minutes, steps = self.minutes, self.steps
        if minutes is not None and steps is not None:
            raise InputError("Give the budget in minutes or in steps, not in both.")
        if (minutes is not None and not minutes > 0) or (steps is not None and steps < 1):
            raise InputError("The budget must be above zero.")
        if not 0 < self.learning_rate < 1:
            raise InputError("The learning rate must be above 0 and below 1.")

    def budget(self, share: float) -> Budget:
        if self.steps is not None:
            return Budget(steps=max(round(self.steps * share), 1))
        return Budget(minutes=(self.minutes or MINUTES) * share)
