"""The commands of ``attention-unet-segment``: their options, and what they print.

Only the interface is here, and nothing heavy is imported before a command runs, so that ``--help``
answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ... import __version__
from .batch import batch
from .benchmark import benchmark
from .checking import check_data
from .evaluating import evaluate
from .evidence import evidence
from .experiments import experiments_application
from .finetuning import FINETUNE_BEFORE, finetune
from .help_text import add_commands
from .models import models_application
from .segmenting import demo, segment
from .shared import PRECISION_BEFORE, SETTINGS
from .training import train
from .trust import trust

HELP = """Segment the pancreas in abdominal CT with an Attention U-Net that shows where it looked.

Research use only; not for diagnosis or treatment."""

application = typer.Typer(help=HELP, no_args_is_help=True, **SETTINGS | {"add_completion": True})
add_commands(
    application,
    segment,
    demo,
    batch,
    check_data,
    train,
    finetune,
    evaluate,
    evidence,
    trust,
    benchmark,
    segment=PRECISION_BEFORE,
    finetune=FINETUNE_BEFORE,
    evaluate=PRECISION_BEFORE,
)
application.add_typer(experiments_application, name="experiments")
application.add_typer(models_application, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attention-unet-segment {__version__}")
        raise typer.Exit


@application.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
) -> None:
    pass
