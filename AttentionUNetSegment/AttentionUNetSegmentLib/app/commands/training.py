"""``train``: a model from labelled scans."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from ...training.choices import Choices
from ...training.naming import Naming
from ...training.training_options import TrainingOptions
from .record_options import with_record_options


@with_record_options
def train(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, of any layout."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the run; the model is DIR/model."
        ),
    ],
    options: TrainingOptions,
    naming: Naming,
    choices: Choices,
) -> None:
    """Train a model on labelled scans.

    Give --minutes or --steps; all else has a default that fits the data set, and is kept in
    options.json. A run that was stopped goes on where it was when the same command is given again.
    torchrun starts it on several GPUs.
    """
    from ..finished_run import FinishedRun, asked_for, model_weights, weights_of
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    asked = {**asked_for(context), "weights": weights_of(options.start_from)}
    inputs = [data] if options.splits is None else [data, options.splits]
    run = FinishedRun(output, asked, inputs, model_weights)
    if run.told_again():
        return
    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.distributed import launched_processes
        from ...training.pipeline import train_model
    notes: list[str] = []
    told: list[str] = []
    with contextlib.ExitStack() as during:
        processes = during.enter_context(launched_processes(options.device))
        progress = (
            during.enter_context(shown_progress(plain_every_s=60.0)) if processes.is_first else None
        )

        def tell(text: str) -> None:
            if progress is not None:
                told.append(text)
                progress.line(text)

        folder = train_model(
            data,
            output,
            options,
            choices=choices,
            naming=naming,
            progress=progress,
            note=notes.append,
            tell=tell,
            processes=processes,
        )
    if not processes.is_first:
        return
    notes = [f"Note: {note}" for note in notes]
    for note in notes:
        typer.echo(note, err=True)
    out = f"Model: {folder}\n"
    typer.echo(out, nl=False)
    run.keep(out, [*(line for line in told if ", done: " in line), *notes])
