"""``experiments``: the published comparison and ablation, repeated on one's own data, and the
claim that several heads serve a small lesion in a large organ."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...experiments.experiment_options import ExperimentOptions
from .help_text import add_commands
from .record_options import with_record_options
from .shared import SETTINGS

if TYPE_CHECKING:
    from ...experiments.experiment import Report

experiments_application = typer.Typer(
    help="Repeat the published comparison and ablation on one's own data.",
    no_args_is_help=True,
    **SETTINGS,
)


class Experiment(str, Enum):
    """Which tables are made."""

    COMPARE = "compare"
    ABLATE = "ablate"
    LESION = "lesion"


DataArgument = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder of labelled scans or slices, of any layout.")
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for the tables, the pictures, and a folder of each run.",
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The lesion's label; that which is part of another one's organ."
    ),
]


@with_record_options
def compare(
    context: typer.Context, data: DataArgument, output: OutputOption, options: ExperimentOptions
) -> None:
    """FCN, UNet, ResUNet and AttentionUNet under the same budget and splits.

    Give --steps or --minutes. Finished runs are never repeated and a stopped one goes on when the
    same command is given again; more --seeds add to those that are there.
    """
    _run(context, Experiment.COMPARE, data, output, options)


@with_record_options
def ablate(
    context: typer.Context, data: DataArgument, output: OutputOption, options: ExperimentOptions
) -> None:
    """No gate, the deepest, all, with deep supervision; and the five kinds of gate.

    Options as for compare, which shares its runs if it is given the same folder.
    """
    _run(context, Experiment.ABLATE, data, output, options)


@with_record_options
def lesion(
    context: typer.Context,
    data: DataArgument,
    output: OutputOption,
    options: ExperimentOptions,
    target: TargetOption = None,
) -> None:
    """One map a gate against one for each of several heads, on an organ and its lesion.

    Options as for compare. Crops around the organ are used as well as whole scans.
    """
    _run(context, Experiment.LESION, data, output, options, target)


def report(
    experiment: Annotated[Experiment, typer.Argument(help="Whose tables.")],
    output: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that the experiment was run in.")
    ],
) -> None:
    """Write the tables anew from the runs that are finished, without doing any."""
    from ..requirements import extra_needed, require

    require("train", "torch", "monai", "scipy", "matplotlib")
    with extra_needed("train"):
        from ...experiments.experiment import report_finished_runs
    _show(report_finished_runs(experiment.value, output))


add_commands(experiments_application, compare, ablate, lesion, report)


def _run(
    context: typer.Context,
    experiment: Experiment,
    data: Path,
    output: Path,
    options: ExperimentOptions,
    target: str | None = None,
) -> None:
    from ..finished_run import FinishedRun, asked_for
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    run = FinishedRun(output, asked_for(context), [data], _results_of(experiment.value))
    if run.told_again():
        return
    require("train", "torch", "monai", "scipy", "matplotlib")
    with extra_needed("train"):
        from ...experiments.experiment import run_experiment
        from ...experiments.runs import choose_settings, find_lesion
        from ...training.distributed import require_one_process
    require_one_process()
    of_lesion = experiment is Experiment.LESION
    settings = choose_settings(
        data,
        target=(target or find_lesion(data)) if of_lesion else None,
        crops=of_lesion,
        dimensions=options.dimensions,
        size=options.size,
        spacing_mm=options.spacing_mm,
        channels=options.channels,
        batch=options.batch_size,
        steps=options.steps,
        minutes=options.minutes,
        learning_rate=options.learning_rate,
        gates_open_fraction=options.gates_open,
        precision=options.precision,
    )
    names = options.networks.split(",") if options.networks else ()
    with shown_progress(plain_every_s=60.0) as progress:
        report = run_experiment(
            experiment.value,
            data,
            output,
            settings,
            networks=[name.strip() for name in names],
            folds=options.folds,
            seeds=options.seeds,
            workers=options.workers,
            device=options.device,
            progress=progress,
            tell=progress.line,
        )
    _show(report)
    if not report.unfinished and not report.failures:
        run.keep(report.text)


def _results_of(experiment: str) -> Callable[[Path], list[list[str | int]]]:
    """What an experiment's folder holds when it is finished: its tables, and each run's result."""

    def results(folder: Path) -> list[list[str | int]]:
        files = [
            *(folder / f"{experiment}.{kind}" for kind in ("md", "json")),
            *sorted((folder / "runs").glob("*/result.json")),
        ]
        return [
            [str(file.relative_to(folder)), file.stat().st_mtime_ns]
            for file in files
            if file.is_file()
        ]

    return results


def _show(report: Report) -> None:
    from ..terminal import show_markdown

    show_markdown(report.text)
    for failure in report.failures:
        typer.echo(f"Failed: {failure}", err=True)
