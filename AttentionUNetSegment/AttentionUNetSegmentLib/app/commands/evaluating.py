"""``evaluate``: how good a model is on labelled scans."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import Device, DeviceOption, ModelOption, Precision, PrecisionOption


class SplitPart(str, Enum):
    """Which of a split's labelled scans are looked at."""

    VALIDATION = "validation"
    TRAIN = "train"
    ALL = "all"


class SimulatedUser(str, Enum):
    """Who clicks."""

    IDEAL = "ideal"
    HUMAN = "human"


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, of any layout."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Gets evaluation.json, evaluation.md, errors.png and, with clicks, clicks.png.",
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    split: Annotated[SplitPart, typer.Option(help="Which scans to take.")] = SplitPart.VALIDATION,
    splits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A run's splits.json, for what that run held out."),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(help="Number of the split in that file, from 0; the run's.", min=0),
    ] = None,
    clicks: Annotated[
        int, typer.Option(help="How many clicks a simulated user adds, one by one.", min=0)
    ] = 1,
    user: Annotated[
        SimulatedUser,
        typer.Option(
            help="ideal: in the middle of the largest mistake; human: 3 mm beside it, or at the "
            "second-largest.",
        ),
    ] = SimulatedUser.IDEAL,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also measure other voxel orders and slices, noise, shifted HU, a cropped view.",
        ),
    ] = False,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the figures into the model's card.")
    ] = False,
) -> None:
    """Measure a model on labelled scans.

    Gives Dice, IoU, sensitivity, specificity, precision, surface distances and the difference in
    volume of each scan, and their means with 95 % confidence intervals, without a click and with
    clicks of a simulated user.
    """
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require
    from ..terminal import show_markdown

    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...evaluation.evaluate import evaluate_model
    with shown_progress() as progress:
        evaluation = evaluate_model(
            model,
            data,
            output,
            split=split.value,
            splits=splits,
            fold=fold,
            clicks=clicks,
            user=user.value,
            device=device.value,
            precision=precision.value,
            robustness=robustness,
            write_card=write_card,
            progress=progress,
        )
    show_markdown(evaluation.to_markdown())
