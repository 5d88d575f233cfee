"""``models import``: a network of one's own becomes a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

_RESEARCH = "Research use only; not a medical device."


def import_model(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The network's configuration, JSON.")
    ],
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="Its state_dict, a safetensors file.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Becomes the model's folder; among the user's own models unless given.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Short name: letters, digits, '.', '_' and '-'.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A line that says what it segments.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Names of the output channels in order, as background,liver,tumour.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="The label that is segmented; the first after background. With commas several, "
            "and a part of another one as tumour:liver."
        ),
    ] = None,
    spacing_mm: Annotated[
        str | None,
        typer.Option(metavar="I,J,K", help="Voxel spacing that it was trained on, mm."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Hounsfield units that were mapped to 0 and 1."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the model [1.0.0].")] = None,
    summary: Annotated[str | None, typer.Option(help="A sentence or two; the title.")] = None,
    intended_use: Annotated[str | None, typer.Option(help=f"[{_RESEARCH}]")] = None,
    cite: Annotated[
        list[str] | None,
        typer.Option(metavar="WORK", help="A work to cite. May be given several times."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model that is there already.")
    ] = False,
) -> None:
    """Make a model out of a network that was trained elsewhere.

    CONFIG is what this extension's networks are built from, for example {"name": "AttentionUNet",
    "dimensions": 3, "in_channels": 1, "out_channels": 2}. What is not given is asked for on a
    terminal. The model then appears in `models` and in the panel.
    """
    answers = _Answers()
    name = answers.get("name", name, "Short name")
    title = answers.get("title", title, "Title")
    labels = answers.get("labels", labels, "Labels, background first", "background,pancreas")
    names = [text.strip() for text in labels.split(",")]
    first = names[1] if len(names) > 1 else None
    target = answers.get("target", target, "Label to segment", first, needed=False)
    spacing = answers.get(
        "spacing-mm", spacing_mm, "Voxel spacing of the training images I,J,K in mm"
    )
    window = answers.get("window", window, "Hounsfield units of 0 and 1", "-125,275")
    licence = answers.get("licence", licence, "Licence of the weights")
    version = answers.get("version", version, "Version", "1.0.0", needed=False)
    intended_use = answers.get("intended-use", intended_use, "Intended use", _RESEARCH, False)
    answers.complain()

    from ...errors import ModelError, OutputError
    from ...models import installed_models, user_models_folder
    from ...models.importing import import_network

    spacings = _numbers(spacing, 3, "--spacing-mm", "1,1,1")
    window_hu = _numbers(window, 2, "--window", "-125,275")
    if output is None:
        same = [model.folder for model in installed_models() if model.card.name == name]
        if same and not (replace and same[0].parent == user_models_folder()):
            raise OutputError(f"There is a model '{name}' already, in '{same[0]}'; choose a name.")
        if not name or Path(name).name != name:
            raise ModelError(f"'{name}' is no name of a model.")
        output = user_models_folder() / name
    card = import_network(
        config,
        weights,
        output,
        name=name,
        title=title,
        labels=names,
        spacing_mm=spacings,
        intensity_window_hu=window_hu,
        licence=licence,
        target=target or None,
        version=version or "1.0.0",
        summary=summary,
        intended_use=intended_use or _RESEARCH,
        citation=cite or [],
        replace=replace,
    )
    size = card.weights.bytes / 1e6 if card.weights else 0.0
    typer.echo(f"{card.name} {card.version}: {size:.1f} MB in {output}")


class _Answers:
    """Options, and where there is somebody to ask, the answers to what they leave open."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.asking = sys.stdin is not None and sys.stdin.isatty()

    def get(
        self,
        option: str,
        value: str | None,
        question: str,
        default: str | None = None,
        needed: bool = True,
    ) -> str:
        if value is not None:
            return value
        if self.asking:
            return str(typer.prompt(question, default=default))
        if needed:
            self.missing.append(f"--{option}")
        return ""

    def complain(self) -> None:
        """
        Raises:
            InputError: an option is needed and nobody can be asked.
        """
        from ...errors import InputError

        if self.missing:
            raise InputError(f"Give {', '.join(self.missing)}: the model's card needs them.")


def _numbers(text: str, count: int, option: str, example: str) -> list[float]:
    from ...errors import InputError

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise InputError(
            f"{option} takes {count} numbers with commas between them, as {example}, not '{text}'."
        )
    return numbers
