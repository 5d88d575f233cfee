"""``trust``: how far a model's word on its own results can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import Device, DeviceOption, ModelOption, Precision, PrecisionOption


def trust(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled scans.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Gets trust.md, trust.json, calibration.png and, to go on from, runs.jsonl.",
        ),
    ],
    model: ModelOption = DEFAULT_MODEL,
    changes: Annotated[
        int,
        typer.Option(help="In how many ways each scan is spoilt, beside mirroring.", min=0),
    ] = 4,
    clicks: Annotated[
        int,
        typer.Option(
            help="Clicks of an ideal user after which scans as they are get one, too.", min=0
        ),
    ] = 3,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the estimate into the model's card.")
    ] = False,
) -> None:
    """Fit and measure a model's estimate of its own Dice.

    Segments labelled scans as they are, mirrored, noisy, cut and so on. Gives how far the estimated
    Dice is from the true one on patients that it was not fitted on, which bad results have no
    warning, which mirrored scans are told, and how many errors lie at the doubtful places. Scans
    that the model was trained on are told by its card, and are not fitted on.
    """
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require
    from ..terminal import show_markdown

    require("train", "torch", "scipy", "matplotlib")
    with extra_needed("train"):
        from ...evaluation.trust import measure_trust, to_markdown
    with shown_progress() as progress:
        result = measure_trust(
            model,
            data,
            output,
            changes=changes,
            clicks=clicks,
            device=device.value,
            precision=precision.value,
            write_card=write_card,
            progress=progress,
        )
    show_markdown(to_markdown(result))
