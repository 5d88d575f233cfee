"""``finetune``: a model of one's own from corrected cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from ...training.finetuning_options import FinetuningOptions
from .record_options import with_record_options
from .shared import ModelOption

FINETUNE_BEFORE = {"--data": ""}


@with_record_options
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
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the run; the model is DIR/model."
        ),
    ],
    options: FinetuningOptions,
    model: ModelOption = DEFAULT_MODEL,
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
    inputs = [data] if options.original is None else [data, options.original]
    run = FinishedRun(
        output, asked, inputs, installed_weights if options.install else model_weights
    )
    if run.told_again():
        return
    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.distributed import require_one_process
        from ...training.finetuning import NotBetter, finetune_model
    require_one_process()
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
