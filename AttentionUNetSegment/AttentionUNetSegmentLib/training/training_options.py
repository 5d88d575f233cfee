"""The options of ``train`` beside the recipe. No torch here: the command line shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..networks.precision import PRECISIONS, parse_precision
from .option_fields import GROUPS, option

STAGES = ("all", "locator", "refiner")
EDITOR = "editor"
DEVICES = ("auto", "cpu", "cuda", "mps")
BUDGET, _, DATA, NETWORK = GROUPS[:4]


def device_option() -> Any:
    """The option of what computes, for each command that trains."""
    return option(
        "Device to compute on; auto takes a GPU if there is one.", default="auto", choices=DEVICES
    )


def precision_option() -> Any:
    """The option of what numbers are computed in, for each command that trains."""
    return option(
        "Number format to compute in; auto takes bfloat16 where it is fast.",
        default="auto",
        choices=PRECISIONS,
        old_spellings={"--precision bf16": "--precision=bfloat16"},
    )


@dataclass(frozen=True)
class TrainingOptions:
    """What to train, on which of the data, and for how long.

    Args:
        minutes, steps: the budget of both stages together; one of them.
        stage: "all", or one stage to train; the model is written with both. "editor" trains the
            network that answers clicks, beside a model's refiner that stays as it is.
        any_structure: the editor answers clicks at any structure, from nothing, and not those at
            the target, which stay the refiner's.
        start_from: an installed model's name or a folder, with whose weights both stages start;
            one that is not trained keeps them.
        precision: "auto" takes bfloat16 where the device computes in it.
        target: the label that counts; the data set's, unless given.
        labels: those that the networks learn, names with commas, the target among them; the data
            set's, unless given.
        splits: a file of splits of which the ``fold``-th is used.
        folds: draw so many splits by patient, and use the ``fold``-th.
        synthetic: how many made-up abdomens are mixed in; 8 into 3D training of BTCV's organs,
            which they have, none otherwise.
        dimensions: 3 for both stages, 2 for one network slice by slice; the data set's, unless
            given.

    Raises:
        InputError: one is wrong.
    """

    minutes: float | None = option("Budget in minutes, for both stages together.", BUDGET)
    steps: int | None = option("Budget in steps, for both stages together.", BUDGET)
    stage: str = option(
        "What to train; editor: what answers clicks, beside the model of --from.",
        BUDGET,
        default="all",
        choices=(*STAGES, EDITOR),
    )
    any_structure: bool = option(
        "Of the editor: learn to outline whatever is clicked at, not the target alone.",
        BUDGET,
        default=False,
    )
    start_from: str | None = option(
        "Start with a model's weights; a stage that is not trained keeps them.",
        BUDGET,
        metavar="MODEL",
        flag="--from",
    )
    device: str = device_option()
    precision: str = precision_option()
    seed: int = option("Seed of all random numbers.", None, 0, default=0)
    target: str | None = option("Label to train for; the data set's unless given.", DATA)
    labels: str | None = option(
        "Labels to learn, of those of the data set; the others count as the organ that they are "
        "part of, or as background.",
        DATA,
        metavar="NAME,...",
    )
    splits: Path | None = option(  # noqa: RUF009
        "File of splits, of which --fold is used.", DATA, metavar="FILE"
    )
    folds: int | None = option(
        "Draw this many splits by patient, of which --fold is used.", DATA, 2
    )
    fold: int = option("Number of the split to use, from 0.", DATA, 0, default=0)
    synthetic: int | None = option(
        "Synthetic abdomens mixed in; 8 for BTCV in 3D, else 0.", DATA, 0
    )
    dimensions: int | None = option(
        "3: locator and refiner; 2: one network, slice by slice. The data set's.", NETWORK, 2, 3
    )

    def __post_init__(self) -> None:
        known = (*STAGES, EDITOR)
        if self.stage not in known:
            raise InputError(f"'{self.stage}' is no stage; choose one of {', '.join(known)}.")
        if self.stage == EDITOR and self.start_from is None:
            raise InputError(
                "An editor is trained beside the refiner of a model; name it with --from."
            )
        if self.any_structure and self.stage != EDITOR:
            raise InputError("Only an editor learns any structure; give --stage editor too.")
        object.__setattr__(self, "precision", parse_precision(self.precision))
        minutes, steps = self.minutes, self.steps
        if (minutes is None) == (steps is None):
            raise InputError("Give the training's budget in minutes or in steps, one of them.")
        if (minutes is not None and not minutes > 0) or (steps is not None and steps < 1):
            raise InputError("The training's budget must be above zero.")
        if self.synthetic is not None and self.synthetic < 0:
            raise InputError("The number of synthetic abdomens cannot be negative.")
