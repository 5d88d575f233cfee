"""``finetune``: a model of one's own from corrected cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import Device, DeviceOption, ModelOption
from .training import Precision, Stage


def finetune(
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The corrected cases, such as the panel collects."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Of the run; the model is DIR/model."),
    ],
    model: ModelOption = DEFAULT_MODEL,
    with_original: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="What the model was trained on, to mix in against forgetting."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget of time, at most; 30.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget of steps instead.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Its peak.")] = 2e-4,
    held_out: Annotated[
        str,
        typer.Option(
            metavar="SHARE|NAMES",
            help="What is not learnt from but judged by: a share of the cases, or names with "
            "commas between.",
        ),
    ] = "0.2",
    stage: Annotated[Stage, typer.Option(help="What learns further.")] = Stage.REFINER,
    name: Annotated[
        str | None, typer.Option(help="Of the new model; the old one's with '-finetuned'.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Add the new model to those that the panel offers.")
    ] = False,
    even_if_worse: Annotated[
        bool,
        typer.Option(
            "--even-if-worse", help="Write the model also if it is no better on the held-out cases."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides all that is drawn at random.", min=0)] = 0,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="Numbers to compute in; auto takes bf16 where it is fast.")
    ] = Precision.AUTO,
) -> None:
    """Train a model further on corrected cases.

    Some cases are held out; training ends when they get no better, and the new model is written if
    it is better than the old one on them. A run that was stopped goes on where it was when the same
    command is given again.
    """
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.distributed import require_one_process
        from ...training.finetuning import FinetuningOptions, finetune_model
    require_one_process()
    options = FinetuningOptions(
        original=with_original,
        minutes=minutes,
        steps=steps,
        learning_rate=learning_rate,
        held_out=held_out,
        stage=stage.value,
        name=name,
        even_if_worse=even_if_worse,
        install=install,
        seed=seed,
        device=device.value,
        precision=precision.value,
    )
    with shown_progress(plain_every_s=60.0) as progress:
        outcome = finetune_model(model, data, output, options, progress)
    typer.echo(outcome.to_markdown())
    typer.echo(f"Model: {outcome.folder}")
