"""``train`` and ``evaluate``: models from labelled scans, and how good they are."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import Device, DeviceOption, ModelOption


class Stage(str, Enum):
    """What of a model is trained."""

    ALL = "all"
    LOCATOR = "locator"
    REFINER = "refiner"


class Precision(str, Enum):
    """Which numbers training computes in."""

    AUTO = "auto"
    BF16 = "bf16"
    FLOAT32 = "float32"


class Split(str, Enum):
    """Which labelled scans are looked at."""

    VALIDATION = "validation"
    TRAIN = "train"
    ALL = "all"


def train(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, with btcv/train in it."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Of the run; the model is DIR/model."),
    ],
    minutes: Annotated[
        float | None, typer.Option(help="Budget of time, for both stages together.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Budget of steps, for both stages together.")
    ] = None,
    stage: Annotated[Stage, typer.Option(help="What to train.")] = Stage.ALL,
    synthetic: Annotated[
        int, typer.Option(help="How many synthetic abdomens are mixed in.", min=0)
    ] = 8,
    seed: Annotated[int, typer.Option(help="Decides all that is drawn at random.", min=0)] = 0,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="Numbers to compute in; auto takes bf16 where it is fast.")
    ] = Precision.AUTO,
) -> None:
    """Train a model on labelled scans.

    Give --minutes or --steps. A run that was stopped goes on where it was when the same command is
    given again.
    """
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.pipeline import train_model
    with shown_progress(plain_every_s=60.0) as progress:
        folder = train_model(
            data,
            output,
            minutes=minutes,
            steps=steps,
            stage=stage.value,
            synthetic=synthetic,
            seed=seed,
            device=device.value,
            precision=precision.value,
            progress=progress,
        )
    typer.echo(f"Model: {folder}")


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, with btcv/train in it."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Gets evaluation.json and evaluation.md."
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option(help="Which of the scans.")] = Split.VALIDATION,
    clicks: Annotated[
        int, typer.Option(help="How many clicks a simulated user adds, one by one.", min=0)
    ] = 1,
    device: DeviceOption = Device.AUTO,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the figures into the model's card.")
    ] = False,
) -> None:
    """Measure a model on labelled scans.

    Gives Dice, sensitivity, specificity and the 95 % Hausdorff distance of each scan, without a
    click and with clicks of a simulated user.
    """
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.evaluation import evaluate_model
    with shown_progress() as progress:
        evaluation = evaluate_model(
            model,
            data,
            output,
            split=split.value,
            clicks=clicks,
            device=device.value,
            write_card=write_card,
            progress=progress,
        )
    typer.echo(evaluation.to_markdown(), nl=False)
