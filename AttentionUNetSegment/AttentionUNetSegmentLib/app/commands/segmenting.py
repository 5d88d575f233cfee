"""``segment`` and ``demo``: one scan, and all that is written of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import Device, DeviceOption, ModelOption, show_lines

if TYPE_CHECKING:
    from ..segmenting import Outcome

ClickOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="R,A,S,+",
        help="A point inside (+) or outside (-) the pancreas, in mm to the patient's right, front "
        "and head. May be given several times.",
    ),
]


def segment(
    scan: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="CT: NIfTI, NRRD, MetaImage or a DICOM folder."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Gets the results.")
    ],
    click: ClickOption = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Segment the pancreas in a CT.

    Writes segmentation.seg.nrrd, probability.nrrd, attention-level-1.nrrd and so on, overlay.png
    and report.json.
    """
    from ...inference.clicks import Click
    from ..progress_bar import shown_progress
    from ..segmenting import read_scan, segment_into

    clicks = [Click.parse(text) for text in click or []]
    with shown_progress() as progress:
        outcome = segment_into(
            output,
            lambda: read_scan(scan),
            source=scan,
            clicks=clicks,
            model=model,
            device=device.value,
            progress=progress,
        )
    _show_outcome(outcome)


def demo(
    scan: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="A real scan instead of the synthetic one."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Gets the results.")
    ] = Path("demo-output"),
    seed: Annotated[
        int | None,
        typer.Option(help="Which synthetic abdomen; 0 unless given.", min=0, show_default=False),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Segment the embedded synthetic abdomen.

    Or, with --input, a scan of your own: the same as segment with a default for DIR.
    """
    from ...models import find_model, read_card
    from ..progress_bar import shown_progress
    from ..segmenting import make_synthetic_scan, read_scan, segment_into

    if scan is not None and seed is not None:
        raise typer.BadParameter(
            "The seed chooses a synthetic abdomen, so it does not go with --input."
        )
    with shown_progress() as progress:
        outcome = segment_into(
            output,
            lambda: (
                make_synthetic_scan(seed or 0, read_card(find_model(model)).target)
                if scan is None
                else read_scan(scan)
            ),
            source=scan,
            model=model,
            device=device.value,
            progress=progress,
        )
    _show_outcome(outcome)


def _show_outcome(outcome: Outcome) -> None:
    """The result in a few lines on stdout; what the user should know on stderr."""
    report = outcome.report
    for warning in report["warnings"]:
        typer.echo(f"Warning: {warning}", err=True)
    model = report["model"]
    organ = model["target"][:1].upper() + model["target"][1:]
    lines = {organ: f"{report['volume_ml']:.1f} mL" if report["found"] else "none found"}
    synthetic = report.get("synthetic")
    if synthetic:
        lines["Input"] = f"synthetic abdomen, seed {synthetic['seed']}; not a patient"
        lines["Dice"] = f"{synthetic['dice']:.2f} against the synthetic abdomen's own labels"
    if report["focus_ratios"] and report["found"]:
        ratios = ", ".join(f"{100 * ratio:.1f} %" for ratio in report["focus_ratios"])
        lines["Focus"] = f"{ratios} (attention above 0.5, level 1 to {len(report['focus_ratios'])})"
    lines["Model"] = f"{model['name']} {model['version']}, on {report['device']}"
    lines["Time"] = f"{report['timings_s']['total']:.1f} s"
    lines["Results"] = str(outcome.directory.resolve())
    show_lines(lines)
    typer.echo(report["intended_use"])
