"""``finetune``: a model of one's own from corrected cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import (
    PRECISION_BEFORE,
    Device,
    DeviceOption,
    ModelOption,
    Precision,
    PrecisionOption,
)
from .training import Stage

FINETUNE_BEFORE = {"--data": "", **PRECISION_BEFORE}


def finetune(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder of corrected cases, such as the panel collects."
        ),
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
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Train a model further on corrected cases.

    Some cases are held out; training ends when they get no better, and the new model is written if
    it is better than the old one on them. A run that was stopped goes on where it was when the same
    command is given again.
    """
    from ..finished_run import (
        FinishedRun,
        asked_for,
        installed_weights,
        model_weights,
        weights_of,
    )
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require
    from ..terminal import show_markdown

    asked = {**asked_for(context), "weights": weights_of(model)}
    inputs = [data] if with_original is None else [data, with_original]
    run = FinishedRun(output, asked, inputs, installed_weights if install else model_weights)
    if run.told_again():
        return
    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.distributed import require_one_process
        from ...training.finetuning import FinetuningOptions, NotBetter, finetune_model
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
    told: list[str] = []
    with shown_progress(plain_every_s=60.0) as progress:

        def tell(text: str) -> None:
            told.append(text)
            progress.line(text)

        try:
            outcome = finetune_model(model, data, output, options, progress, tell)
        except NotBetter as error:
            run.keep("", told[-1:], str(error))
            raise
    text = outcome.to_markdown()
    show_markdown(text)
    last = f"\nModel: {outcome.folder}\n"
    typer.echo(last, nl=False)
    run.keep(text + last, told[-1:])
