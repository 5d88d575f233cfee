"""``segment`` and ``demo``: one scan, and what is written of it."""

from __future__ import annotations

import contextlib
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import ModelOption, NamedDeviceOption, Precision, PrecisionOption, show_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ...inference.progress import ProgressCallback
    from ..segmenting import SegmentationJob, SegmentationOutcome


class Part(str, Enum):
    """Of what a folder of results consists, beside the report."""

    MASK = "mask"
    PROBABILITY = "probability"
    ATTENTION = "attention"
    PICTURE = "picture"


class Further(str, Enum):
    """What may be written beside the rest."""

    NIFTI = "nifti"
    STL = "stl"
    DICOM_SEG = "dicom-seg"
    UNCERTAINTY = "uncertainty"
    SCENE = "scene"


ClickOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="R,A,S,+",
        help="A point inside (+) or outside (-) the organ, in mm to the patient's right, front "
        "and head; with ,NAME after it about another target of the model. May be given several "
        "times.",
    ),
]


def segment(
    scan: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="CT: NIfTI, NRRD, MetaImage, a DICOM folder, or one as a zip archive.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR|-",
            help="A name that ends in .nii.gz, .nii, .nrrd, .mha (a label map), .seg.nrrd, .stl or "
            ".dcm gets that one file; any other is a folder, which gets all results; - writes no "
            "file and prints the report.",
        ),
    ],
    also: Annotated[
        list[Further] | None,
        typer.Option(help="Write this into the folder too. May be given several times."),
    ] = None,
    only: Annotated[
        list[Part] | None,
        typer.Option(
            help="Write only this into the folder, and the report. May be given several times."
        ),
    ] = None,
    no_attention: Annotated[
        bool, typer.Option("--no-attention", help="Leave out the attention volumes.")
    ] = False,
    no_probability: Annotated[
        bool, typer.Option("--no-probability", help="Leave out the probability volume.")
    ] = False,
    click: ClickOption = None,
    scribble: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R,A,S/R,A,S,+",
            help="A line inside (+) or outside (-) the organ through two points or more, in mm. "
            "May be given several times; counts after the clicks.",
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R,A,S/R,A,S",
            help="Two opposite corners of a box that the organ does not leave, in mm: what is "
            "outlined outside is taken away. Where they agree in one coordinate the box reaches "
            "through all slices. May be given several times; counts after the scribbles.",
        ),
    ] = None,
    lasso: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R,A,S/R,A,S/...",
            help="The same with a closed line of three corners or more in one plane; it reaches "
            "through all slices. May be given several times; counts after the boxes.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="R,A,S,R,A,S",
            help="Look for the organ, or for a structure that is looked for, only in the box "
            "between these two corners, in mm.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK",
            help="A label map to begin from, another program's or your own: clicks mend it, and "
            "all else of it stays as it is.",
        ),
    ] = None,
    start_label: Annotated[
        int | None,
        typer.Option(
            metavar="VALUE", help="The label of MASK to begin from, where it has several."
        ),
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Experimental: segment what the clicks point at, of any name, in the place of "
            "what the model is for; one click or line at least is inside it, or --start shows it. "
            "An organ that the model has a label for, as 'models show' tells, is looked for.",
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: NamedDeviceOption = "auto",
    precision: PrecisionOption = Precision.AUTO,
    tile: Annotated[
        int | None,
        typer.Option(
            min=64,
            max=512,
            metavar="VOXELS",
            help="Side of the largest part that goes through the network at once; smaller needs "
            "less memory. 136 unless given.",
        ),
    ] = None,
    all_labels: Annotated[
        bool,
        typer.Option(
            "--all-labels",
            help="Write into the folder what else the model's networks know: in the region that "
            "was looked at, and coarsely in the whole scan. For orientation, not for diagnosis.",
        ),
    ] = False,
    separate: Annotated[
        bool,
        typer.Option(
            "--separate",
            help="With a model of several targets: a label map for each of them, named after it, "
            "in the place of one of all.",
        ),
    ] = False,
    radiomics: Annotated[
        bool, typer.Option("--radiomics", help="Add the features of pyradiomics to the report.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of a summary.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what is done, and what it took.")
    ] = False,
) -> None:
    """Segment the pancreas, or what another model is for, in a CT.

    A folder gets segmentation.seg.nrrd, probability.nrrd, attention-level-1.nrrd and so on,
    overlay.png and report.json.
    """
    from ...errors import InputError, OutputError
    from ...inference.clicks import Click
    from ...inference.region_of_interest import parse_box
    from ...inference.strokes import Lasso, Prompt, Scribble
    from ...io.label_maps import read_mask
    from ...io.zipped import unzip
    from ..segmenting import (
        SegmentationJob,
        read_scan,
        segment_to_file,
        segment_without_files,
        single_file_suffix,
    )

    to_stdout = str(output) == "-"
    suffix = None if to_stdout else single_file_suffix(output)
    formats = [one.value for one in also or []]
    parts = {one.value for one in only or Part}
    parts -= {"attention"} if no_attention else set()
    parts -= {"probability"} if no_probability else set()
    if suffix or to_stdout:
        if all_labels:
            raise InputError(
                f"--all-labels writes files of its own into a folder, but '{output}' is none; give "
                "the folder's name with -o."
            )
        if formats or (only and parts != {"mask"}):
            raise InputError(
                f"--also and --only choose what a folder gets, but '{output}' is none; give the "
                "folder's name with -o."
            )
        if suffix and output.is_dir():
            raise OutputError(
                f"'{output}' is a folder, but a file of that name is to be written; remove or "
                "rename the folder, or choose another name."
            )
    elif not parts and not formats:
        raise InputError("With these options nothing would be written but the report; use '-o -'.")
    clicks: list[Prompt] = [
        *map(Click.parse, click or ()),
        *map(Scribble.parse, scribble or ()),
        *map(Lasso.parse_box, box or ()),
        *map(Lasso.parse, lasso or ()),
    ]
    looked_in = None if region is None else parse_box(region)
    if start is None and start_label is not None:
        raise InputError("--start-label says which label of --start; give that too.")
    if start is not None and looked_in is not None:
        raise InputError("--start says where the organ is; leave out --region.")
    if structure is not None and all_labels:
        raise InputError("--all-labels tells what the model knows; leave out --structure.")
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress(quiet, verbose))
        place = stack.enter_context(unzip(scan.expanduser()))
        dicom_files = _dicom_files(place, scan.name) if _needs_dicom(suffix, formats) else ()
        job = SegmentationJob(
            lambda: read_scan(place, scan.name),
            clicks=clicks,
            model=model,
            device=device,
            precision=precision.value,
            tile_voxels=None if tile is None else tile**3,
            box=looked_in,
            start=None
            if start is None
            else lambda volume: read_mask(start, volume, start_label, "--start-label"),
            structure=structure,
            all_labels=all_labels,
            separate=separate,
            radiomics=radiomics,
            source=scan,
            progress=progress,
        )
        if to_stdout:
            outcome = segment_without_files(job)
        elif suffix:
            outcome = segment_to_file(output, job, dicom_files)
        else:
            outcome = _into_folder(output, job, parts, formats, dicom_files)
    if verbose:
        _show_timings(outcome)
    _show_warnings(outcome)
    if json or to_stdout:
        from ..report import to_json

        typer.echo(to_json(outcome.report), nl=False)
    elif not quiet:
        _show_outcome(outcome)


def demo(
    scan: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="A real scan instead of the synthetic one."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")
    ] = Path("demo-output"),
    seed: Annotated[
        int | None,
        typer.Option(help="Which synthetic abdomen; 0 unless given.", min=0, show_default=False),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: NamedDeviceOption = "auto",
) -> None:
    """Segment the embedded synthetic abdomen.

    Or, with --input, a scan of your own: the same as segment with a default for DIR.
    """
    from ...io.zipped import unzip
    from ...models import find_model, read_card
    from ..progress_bar import shown_progress
    from ..segmenting import SegmentationJob, make_synthetic_scan, read_scan, segment_into

    if scan is not None and seed is not None:
        raise typer.BadParameter(
            "The seed chooses a synthetic abdomen, so it does not go with --input."
        )
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(shown_progress())
        if scan is None:
            card = read_card(find_model(model))
            job = SegmentationJob(
                lambda: make_synthetic_scan(seed or 0, card.target),
                model=model,
                device=device,
                progress=progress,
            )
        else:
            place, name = stack.enter_context(unzip(scan.expanduser())), scan.name
            job = SegmentationJob(
                lambda: read_scan(place, name),
                model=model,
                device=device,
                source=scan,
                progress=progress,
            )
        outcome = segment_into(output, job)
    _show_warnings(outcome)
    _show_outcome(outcome)


def click_hint(arguments: Sequence[str]) -> str | None:
    """What to say where somebody wrote a click with spaces: "12.5 -30 104 +"; else None."""
    number = re.compile(r"[-+]?\d*\.?\d+,?")
    for at, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        first = [value] if value else []
        parts = [*first, *arguments[at + 1 : at + 5 - len(first)]]
        if option == "--click" and len(parts) > 1 and all(map(number.fullmatch, parts[:2])):
            coordinates = [part.rstrip(",") for part in parts if number.fullmatch(part)][:3]
            sign = next((part for part in parts[2:] if part in ("+", "-")), "+")
            example = ",".join([*coordinates, *["0"] * (3 - len(coordinates)), sign])
            return f"A click is one word without spaces: write --click {example}."
    return None


def _needs_dicom(suffix: str | None, formats: Collection[str]) -> bool:
    return suffix == ".dcm" or Further.DICOM_SEG.value in formats


def _dicom_files(place: Path, name: str) -> tuple[str, ...]:
    """The files that a DICOM Segmentation refers to.

    Raises:
        InputError: the scan is no DICOM series.
    """
    from ...errors import InputError
    from ...io.dicom_series import dicom_files
    from ..batch.sources import IMAGE_SUFFIXES
    from ..requirements import require

    require("batch", "highdicom", "pydicom")
    if place.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(
            f"A DICOM Segmentation refers to the DICOM files of its scan, and '{name}' is none; "
            "choose another format."
        )
    return dicom_files(place) if place.exists() else ()


def _into_folder(
    output: Path,
    job: SegmentationJob,
    parts: Collection[str],
    formats: Sequence[str],
    dicom_files: Sequence[str],
) -> SegmentationOutcome:
    from ..segmenting import segment_into

    if not formats:
        return segment_into(output, job, parts=parts)
    from ..further_files import FurtherFiles

    return segment_into(output, job, parts=parts, also=FurtherFiles(formats, dicom_files))


class _Steps:
    """Says each step on stderr as it begins."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, fraction: float, text: str) -> None:
        if text != self.text:
            self.text = text
            typer.echo(f"{100 * fraction:3.0f} %  {text}", err=True)


def _progress(quiet: bool, verbose: bool) -> contextlib.AbstractContextManager[ProgressCallback]:
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO)
        return contextlib.nullcontext(_Steps())
    if quiet:
        from ...inference.progress import ignore_progress

        return contextlib.nullcontext(ignore_progress)
    from ..progress_bar import shown_progress

    return shown_progress()


def _show_timings(outcome: SegmentationOutcome) -> None:
    took = ", ".join(f"{step} {s:.2f} s" for step, s in outcome.report["timings_s"].items())
    typer.echo(f"Took: {took}", err=True)


def _show_warnings(outcome: SegmentationOutcome) -> None:
    for warning in outcome.report["warnings"]:
        typer.echo(f"Warning: {warning}", err=True)


def _show_outcome(outcome: SegmentationOutcome) -> None:
    """The result in a few lines on stdout."""
    report = outcome.report
    model = report["model"]
    lines = {
        target["name"][:1].upper() + target["name"][1:]: f"{target['volume_ml']:.1f} mL"
        if target["found"]
        else "none found"
        for target in report["targets"]
    }
    synthetic = report.get("synthetic")
    if synthetic:
        lines["Input"] = f"synthetic abdomen, seed {synthetic['seed']}; not a patient"
        lines["Dice"] = f"{synthetic['dice']:.2f} against the synthetic abdomen's own labels"
    if (estimate := report["dice_estimate"]) is not None:
        lines["Quality"] = (
            f"estimated Dice {estimate['value']:.2f} ({estimate['low']:.2f} to "
            f"{estimate['high']:.2f} in {100 * estimate['coverage']:.0f} % of such results)"
        )
    if report["doubtful_places"]:
        place = report["doubtful_places"][0]
        position = ",".join(f"{at:.1f}" for at in place["position_ras"])
        lines["Look at"] = f"{position} (R,A,S in mm), the most doubtful place"
    lines["Model"] = f"{model['name']} {model['version']}, on {report['device']}"
    lines["Time"] = f"{report['timings_s']['total']:.1f} s"
    if outcome.place is not None:
        lines["Results"] = str(outcome.place.resolve())
    show_lines(lines)
    typer.echo(report["intended_use"])
