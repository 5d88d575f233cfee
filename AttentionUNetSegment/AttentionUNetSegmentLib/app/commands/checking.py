"""``check-data``: what is wrong with a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...wording import counted
from .shared import show_lines


def check_data(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled scans.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare the headers only, not the voxels.")
    ] = False,
) -> None:
    """Say what is wrong with a data set before a network is trained on it.

    Ends with status 2 where there are errors; warnings alone do not count.
    """
    from ..progress_bar import shown_progress
    from ..requirements import require

    require("train", "torch", "scipy")
    from ...datasets.checker import check_data as check
    from ...datasets.loading import find_data_set
    from ...datasets.splits import default_split
    from ...errors import TrainingError

    found = find_data_set(data)
    with shown_progress() as progress:
        findings = check(found, quick=quick, progress=progress)
    split = default_split(found)
    patients = len({case.patient for case in found.cases})
    show_lines(
        {
            "Layout": found.layout,
            "Labels": ", ".join(f"{value} {name}" for value, name in enumerate(found.labels)),
            "Cases": f"{len(found.cases)} of {counted(patients, 'patient')}",
            "Split": f"{len(split.train)} to train on, {len(split.validation)} held out",
        }
    )
    for finding in findings:
        typer.echo(f"{finding.severity.capitalize()}: {finding.text}", err=True)
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        raise TrainingError(
            f"The data set has {errors} {'error' if errors == 1 else 'errors'}; mend "
            f"{'it' if errors == 1 else 'them'} before training."
        )
    typer.echo("The data set can be trained on.")
