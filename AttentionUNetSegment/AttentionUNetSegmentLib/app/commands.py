"""The commands of ``attention-unet-segment``: their options, and what they print.

Only the interface is here, and nothing heavy is imported before a command runs, so that ``--help``
answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__

if TYPE_CHECKING:
    from ..models import InstalledModel
    from .segmenting import Outcome

HELP = """Segment the pancreas in abdominal CT with an Attention U-Net that shows where it looked.

Research use only; not for diagnosis or treatment."""

# Help without rich: it is read by scripts too, and is there in half the time.
_SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
application = typer.Typer(help=HELP, no_args_is_help=True, **_SETTINGS)
models_application = typer.Typer(help="List the installed models, or verify them.", **_SETTINGS)
application.add_typer(models_application, name="models")


class Device(str, Enum):
    """What computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Stage(str, Enum):
    """What of a model is trained."""

    ALL = "all"
    LOCATOR = "locator"
    REFINER = "refiner"


class Precision(str, Enum):
    """Which numbers training computes in."""

    AUTO = "auto"
    BF16 = "bf16"
    FLOAT32 = "float32"


class Split(str, Enum):
    """Which labelled scans are looked at."""

    VALIDATION = "validation"
    TRAIN = "train"
    ALL = "all"


DeviceOption = Annotated[
    Device, typer.Option(help="What computes; auto takes a GPU if there is one.")
]
ModelOption = Annotated[
    str, typer.Option(help="Name of an installed model, or the path of a model's folder.")
]
ClickOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="R,A,S,+",
        help="A point inside (+) or outside (-) the pancreas, in mm to the patient's right, front "
        "and head. May be given several times.",
    ),
]
DEFAULT_MODEL = "pancreas-ct"


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


@application.command()
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
    from ..inference.clicks import Click
    from .progress_bar import shown_progress
    from .segmenting import read_scan, segment_into

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


@application.command()
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
    from ..models import find_model, read_card
    from .progress_bar import shown_progress
    from .segmenting import make_synthetic_scan, read_scan, segment_into

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


@application.command()
def train(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, with btcv/train in it."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Of the run; the model is DIR/model."),
    ],
    minutes: Annotated[
        float | None, typer.Option(help="Budget of time, for both stages together.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Budget of steps, for both stages together.")
    ] = None,
    stage: Annotated[Stage, typer.Option(help="What to train.")] = Stage.ALL,
    synthetic: Annotated[
        int, typer.Option(help="How many synthetic abdomens are mixed in.", min=0)
    ] = 8,
    seed: Annotated[int, typer.Option(help="Decides all that is drawn at random.", min=0)] = 0,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="Numbers to compute in; auto takes bf16 where it is fast.")
    ] = Precision.AUTO,
) -> None:
    """Train a model on labelled scans.

    Give --minutes or --steps. A run that was stopped goes on where it was when the same command is
    given again.
    """
    from .progress_bar import shown_progress
    from .requirements import extra_needed, require

    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ..training.pipeline import train_model
    with shown_progress(plain_every_s=60.0) as progress:
        folder = train_model(
            data,
            output,
            minutes=minutes,
            steps=steps,
            stage=stage.value,
            synthetic=synthetic,
            seed=seed,
            device=device.value,
            precision=precision.value,
            progress=progress,
        )
    typer.echo(f"Model: {folder}")


@application.command()
def evaluate(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, with btcv/train in it."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Gets evaluation.json and evaluation.md."
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option(help="Which of the scans.")] = Split.VALIDATION,
    clicks: Annotated[
        int, typer.Option(help="How many clicks a simulated user adds, one by one.", min=0)
    ] = 1,
    device: DeviceOption = Device.AUTO,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write the figures into the model's card.")
    ] = False,
) -> None:
    """Measure a model on labelled scans.

    Gives Dice, sensitivity, specificity and the 95 % Hausdorff distance of each scan, without a
    click and with clicks of a simulated user.
    """
    from .progress_bar import shown_progress
    from .requirements import extra_needed, require

    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ..training.evaluation import evaluate_model
    with shown_progress() as progress:
        evaluation = evaluate_model(
            model,
            data,
            output,
            split=split.value,
            clicks=clicks,
            device=device.value,
            write_card=write_card,
            progress=progress,
        )
    typer.echo(evaluation.to_markdown(), nl=False)


@models_application.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from ..models import MODELS_FOLDER, installed_models

    models = installed_models()
    for model in models:
        _show_model(model)
    if not models:
        typer.echo(f"No model is installed in {MODELS_FOLDER}.")


@models_application.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name or folder; all unless given.")
    ] = None,
) -> None:
    """Check that models' weights are those that their cards describe."""
    from ..errors import ModelError
    from ..models import MODELS_FOLDER, find_model, verify_model

    # Not through the list of installed models, which leaves out those with a broken card.
    folders = (
        [find_model(name)]
        if name is not None
        else sorted(card.parent for card in MODELS_FOLDER.glob("[!.]*/model.json"))
    )
    if not folders:
        raise ModelError(f"No model is installed in {MODELS_FOLDER}.")
    for folder in folders:
        card = verify_model(folder)
        digest = card.weights.sha256 if card.weights else ""
        typer.echo(f"{card.name} {card.version}: intact (SHA-256 {digest})")


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
    _show_lines(lines)
    typer.echo(report["intended_use"])


def _show_model(model: InstalledModel) -> None:
    card = model.card
    typer.echo(f"{card.name} {card.version}: {card.title}")
    lines = {
        "Summary": card.summary,
        "Use": card.intended_use,
        "Licence": card.licence,
        "Folder": str(model.folder),
    }
    if card.weights:
        lines["Weights"] = f"{card.weights.bytes / 1e6:.1f} MB"
    _show_lines(lines, "  ")
    if card.figures:
        typer.echo("  Figures")
        _show_figures(card.figures, "    ")


def _show_lines(lines: Mapping[str, str], indent: str = "") -> None:
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        typer.echo(f"{indent}{name:<{width}}{text}")


def _show_figures(figures: Mapping[str, Any], indent: str) -> None:
    """The figures of a card, whose form is free: a line for each, indented as they are nested."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            typer.echo(f"{indent}{name}")
            _show_figures(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            typer.echo(f"{indent}{name}")
            for one in value:
                typer.echo(f"{indent}  {_in_a_row(one)}")
        else:
            typer.echo(f"{indent}{name}: {_in_a_row(value)}")


def _in_a_row(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_a_row(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_in_a_row, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
