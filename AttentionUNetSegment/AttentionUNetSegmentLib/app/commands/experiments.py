"""``experiments``: the published comparison and ablation, repeated on one's own data, and the
claim that several heads serve a small lesion in a large organ."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .help_text import add_commands
from .shared import (
    PRECISION_BEFORE,
    SETTINGS,
    Device,
    DeviceOption,
    Precision,
    PrecisionOption,
)

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
        help="Gets the tables and the pictures, and a folder for each run.",
    ),
]
StepsOption = Annotated[int | None, typer.Option(help="Budget of a run in steps.", min=1)]
MinutesOption = Annotated[float | None, typer.Option(help="Budget of a run in minutes instead.")]
SeedsOption = Annotated[int, typer.Option(help="How often each network is trained.", min=1)]
FoldsOption = Annotated[
    int,
    typer.Option(
        help="Parts that the patients are split into; 1 takes the data set's own split.", min=1
    ),
]
NetworksOption = Annotated[
    str | None, typer.Option(metavar="NAMES", help="Only these rows, with commas; see the tables.")
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The lesion's label; that which is part of another one's organ."
    ),
]
DimensionsOption = Annotated[
    int | None,
    typer.Option(help="2: slice by slice; 3: in patches. As the data are, unless given."),
]
SizeOption = Annotated[
    int | None,
    typer.Option(help="Voxels along a side of a slice or patch; 256 or 64 unless given."),
]
SpacingOption = Annotated[
    float | None,
    typer.Option(help="Of these voxels, mm; in 2D such that a slice is seen whole, in 3D 4 mm."),
]
ChannelsOption = Annotated[
    str, typer.Option(help="Feature channels of all networks, shallow to deep.")
]
BatchSizeOption = Annotated[
    int | None, typer.Option(help="Slices (8) or patches (2) a step.", min=1)
]
LearningRateOption = Annotated[float, typer.Option(help="Its peak, after warming up.")]
GatesOpenOption = Annotated[
    float,
    typer.Option(
        help="Share of the budget with gates frozen and open, before they learn; 0.5 is "
        "progressive training.",
        min=0,
        max=1,
    ),
]
WorkersOption = Annotated[
    int, typer.Option(help="Processes, with one thread each if there are several.", min=1)
]


EXPERIMENTS_BEFORE = {
    "--batch": "--batch-size",
    "--progressive": "--gates-open=0.5",
    **PRECISION_BEFORE,
}


def compare(
    context: typer.Context,
    data: DataArgument,
    output: OutputOption,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    seeds: SeedsOption = 3,
    folds: FoldsOption = 5,
    networks: NetworksOption = None,
    dimensions: DimensionsOption = None,
    size: SizeOption = None,
    spacing_mm: SpacingOption = None,
    channels: ChannelsOption = "16,32,64,128,256",
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = 1e-3,
    gates_open: GatesOpenOption = 0.0,
    workers: WorkersOption = 1,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """FCN, UNet, ResUNet and AttentionUNet under the same budget and splits.

    Give --steps or --minutes. Finished runs are never repeated and a stopped one goes on when the
    same command is given again; more --seeds add to those that are there.
    """
    _run(
        context,
        "compare",
        data,
        output,
        steps=steps,
        minutes=minutes,
        seeds=seeds,
        folds=folds,
        networks=networks,
        dimensions=dimensions,
        size=size,
        spacing_mm=spacing_mm,
        channels=channels,
        batch_size=batch_size,
        learning_rate=learning_rate,
        gates_open=gates_open,
        workers=workers,
        device=device,
        precision=precision,
    )


def ablate(
    context: typer.Context,
    data: DataArgument,
    output: OutputOption,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    seeds: SeedsOption = 3,
    folds: FoldsOption = 5,
    networks: NetworksOption = None,
    dimensions: DimensionsOption = None,
    size: SizeOption = None,
    spacing_mm: SpacingOption = None,
    channels: ChannelsOption = "16,32,64,128,256",
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = 1e-3,
    gates_open: GatesOpenOption = 0.0,
    workers: WorkersOption = 1,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """No gate, the deepest, all, with deep supervision; and the five kinds of gate.

    Options as for compare, which shares its runs if it is given the same folder.
    """
    _run(
        context,
        "ablate",
        data,
        output,
        steps=steps,
        minutes=minutes,
        seeds=seeds,
        folds=folds,
        networks=networks,
        dimensions=dimensions,
        size=size,
        spacing_mm=spacing_mm,
        channels=channels,
        batch_size=batch_size,
        learning_rate=learning_rate,
        gates_open=gates_open,
        workers=workers,
        device=device,
        precision=precision,
    )


def lesion(
    context: typer.Context,
    data: DataArgument,
    output: OutputOption,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    seeds: SeedsOption = 3,
    folds: FoldsOption = 5,
    target: TargetOption = None,
    networks: NetworksOption = None,
    dimensions: DimensionsOption = None,
    size: SizeOption = None,
    spacing_mm: SpacingOption = None,
    channels: ChannelsOption = "16,32,64,128,256",
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = 1e-3,
    gates_open: GatesOpenOption = 0.0,
    workers: WorkersOption = 1,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """One map a gate against one for each of several heads, on an organ and its lesion.

    Options as for compare. Crops around the organ are used as well as whole scans.
    """
    _run(
        context,
        "lesion",
        data,
        output,
        steps=steps,
        minutes=minutes,
        seeds=seeds,
        folds=folds,
        target=target,
        networks=networks,
        dimensions=dimensions,
        size=size,
        spacing_mm=spacing_mm,
        channels=channels,
        batch_size=batch_size,
        learning_rate=learning_rate,
        gates_open=gates_open,
        workers=workers,
        device=device,
        precision=precision,
    )


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


add_commands(
    experiments_application,
    compare,
    ablate,
    lesion,
    report,
    compare=EXPERIMENTS_BEFORE,
    ablate=EXPERIMENTS_BEFORE,
)


def _run(
    context: typer.Context,
    experiment: str,
    data: Path,
    output: Path,
    *,
    steps: int | None,
    minutes: float | None,
    seeds: int,
    folds: int,
    networks: str | None,
    dimensions: int | None,
    size: int | None,
    spacing_mm: float | None,
    channels: str,
    batch_size: int | None,
    learning_rate: float,
    gates_open: float,
    workers: int,
    device: Device,
    precision: Precision,
    target: str | None = None,
) -> None:
    from ..finished_run import FinishedRun, asked_for
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    run = FinishedRun(output, asked_for(context), [data], _results_of(experiment))
    if run.told_again():
        return
    require("train", "torch", "monai", "scipy", "matplotlib")
    with extra_needed("train"):
        from ...experiments.experiment import run_experiment
        from ...experiments.runs import choose_settings, find_lesion
        from ...training.distributed import require_one_process
    require_one_process()
    of_lesion = experiment == Experiment.LESION.value
    settings = choose_settings(
        data,
        target=(target or find_lesion(data)) if of_lesion else None,
        crops=of_lesion,
        dimensions=dimensions,
        size=size,
        spacing_mm=spacing_mm,
        channels=_whole_numbers(channels),
        batch=batch_size,
        steps=steps,
        minutes=minutes,
        learning_rate=learning_rate,
        gates_open_fraction=gates_open,
        precision=precision.value,
    )
    with shown_progress(plain_every_s=60.0) as progress:
        report = run_experiment(
            experiment,
            data,
            output,
            settings,
            networks=[name.strip() for name in networks.split(",")] if networks else (),
            folds=folds,
            seeds=seeds,
            workers=workers,
            device=device.value,
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


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"'{text}' is no list of whole numbers with commas between them."
        ) from error
