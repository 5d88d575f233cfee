"""``batch``: many studies, here or on a Ray cluster."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models import DEFAULT_MODEL
from ...wording import counted
from .shared import ModelOption, NamedDeviceOption, Precision, PrecisionOption, show_lines

if TYPE_CHECKING:
    from ..batch.batching import BatchOptions
    from ..batch.sources import Plan


def batch(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, folders that are searched for images and DICOM series, or CSV files with "
            "the columns scan and, if need be, clicks, model, name.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")
    ],
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|local",
            help="Run on a Ray cluster, or with Ray on this machine; else one after the other.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Ray workers; as many as there is room for unless given."),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            min=0.0,
            help="Share of a GPU for each Ray worker; 1 unless given, 0 where there is none.",
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT",
            help="Write this beside the rest: nifti, stl, dicom-seg or scene. May be given several "
            "times.",
        ),
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Experimental: segment this in the place of what the model is for, in each scan: "
            "an organ that the model has a label for is found; anything else is where the clicks "
            "of the CSV file are.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
    device: NamedDeviceOption = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Segment many studies.

    Each gets a folder in DIR/studies. DIR/results.csv has a row for each, DIR/summary.html shows
    them, DIR/sources.csv says which scan is which. What is finished is not done again.
    """
    from ...errors import AttentionUNetSegmentError, InputError
    from ...inference.structures import (
        click_first_text,
        known_organ,
        require_any_structure,
        structure_label,
    )
    from ...models import find_model, read_card
    from ..batch.batching import BatchOptions, check, run_batch
    from ..batch.rows import RESULTS_FILE
    from ..batch.sources import find_studies
    from ..batch.summary import SUMMARY_FILE, list_warnings
    from ..progress_bar import shown_progress

    if ray is None and (workers is not None or gpus_per_worker is not None):
        raise typer.BadParameter("--workers and --gpus-per-worker are for --ray.")
    options = BatchOptions(
        output,
        device,
        tuple(also or ()),
        structure,
        precision.value,
        ray,
        workers,
        gpus_per_worker,
    )
    check(options)
    card = read_card(find_model(model))
    plan = find_studies(sources, model, output)
    if structure is not None:
        require_any_structure(card)
        _ = structure_label(structure)
        clicked = any(click.inside for study in plan.studies for click in study.clicks)
        if plan.studies and known_organ(card, structure) is None and not clicked:
            raise InputError(click_first_text(card))
    if dry_run:
        _show_plan(plan, options)
        return
    for left_out in plan.left_out:
        typer.echo(f"Left out: {left_out.path}: {left_out.reason}", err=True)
    if not plan.studies:
        raise AttentionUNetSegmentError("There is nothing to segment in what was given.")
    if ray is None:
        typer.echo(f"The studies run here, one after the other{_more_at_once()}.", err=True)
    with shown_progress() as progress:
        outcome = run_batch(plan, options, progress)
    done = len(outcome.rows) - len(outcome.failed)
    doubtful = sum(bool(list_warnings(row)) for row in outcome.rows) - len(outcome.failed)
    show_lines(
        {
            "Done": f"{done} of {len(outcome.rows)} studies, {outcome.kept} of them before",
            "Doubtful": str(doubtful),
            "Results": str((output / RESULTS_FILE).resolve()),
            "Summary": str((output / SUMMARY_FILE).resolve()),
        }
    )
    if outcome.failed:
        raise AttentionUNetSegmentError(
            f"{len(outcome.failed)} of {len(outcome.rows)} studies failed, the first of them "
            f"'{outcome.failed[0].study}': {outcome.failed[0].error}"
        )


def _more_at_once() -> str:
    from ..requirements import install_command

    if importlib.util.find_spec("ray") is None:
        return f": Ray is not installed ({install_command('batch')})"
    return "; --ray runs several at once"


def _show_plan(plan: Plan, options: BatchOptions) -> None:
    where = "here, one after the other"
    if options.ray is not None:
        where = "with Ray on this machine" if options.ray == "local" else f"on {options.ray}"
    typer.echo(f"{counted(len(plan.studies), 'study', 'studies')} would run {where}:")
    for study in plan.studies:
        clicks = f", {counted(len(study.clicks), 'click')}" if study.clicks else ""
        slices = f", {counted(len(study.files), 'file')}" if study.files else ""
        typer.echo(f"  {study.name}: {study.path}{slices}, model {study.model}{clicks}")
    for left_out in plan.left_out:
        typer.echo(f"Left out: {left_out.path}: {left_out.reason}")
