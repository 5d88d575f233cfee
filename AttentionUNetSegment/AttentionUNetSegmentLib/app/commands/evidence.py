"""``evidence``: where a model's attention goes on labelled scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .evaluating import SplitPart
from .shared import Device, DeviceOption, ModelOption


def evidence(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled scans.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Gets evidence.md, evidence.json and the pictures.",
        ),
    ],
    model: ModelOption = DEFAULT_MODEL,
    split: Annotated[SplitPart, typer.Option(help="Which scans to take.")] = SplitPart.VALIDATION,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this one of them; may be given several times."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the training run, to plot the focus ratios through it.",
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Show where a model's attention goes on labelled scans.

    Gives, for each gated level, how much of the picture has alpha above 0.5, alpha in the organ and
    outside it, the share of alpha that lies in the organ, and whether the level is open or shut
    everywhere; and a picture of the levels on each scan.
    """
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require
    from ..terminal import show_markdown

    require("train", "torch", "monai", "scipy", "matplotlib")
    with extra_needed("train"):
        from ...evaluation.attention_statistics import measure_attention
    with shown_progress() as progress:
        found = measure_attention(
            model,
            data,
            output,
            split=split.value,
            cases=case or (),
            run=run,
            device=device.value,
            progress=progress,
        )
    show_markdown(found.to_markdown())
