"""``models``: which are installed, whether they are intact, and new ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...wording import counted
from .exporting import export_onnx
from .help_text import GroupedCommand, command_with
from .importing import import_model
from .shared import SETTINGS, show_lines

if TYPE_CHECKING:
    from ...models import InstalledModel, ModelCard

models_application = typer.Typer(
    help="List the installed models, show, verify, install and remove them, bring one's own, or "
    "export one.",
    **SETTINGS,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Of an installed model, or its folder.")
]


@models_application.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the installed models, three lines each.

    Name, version and title; what it does and how well; where it is.
    """
    if context.invoked_subcommand is not None:
        return
    from ...models import MODELS_FOLDER, installed_models, user_models_folder

    models = installed_models()
    if as_json:
        _print_json([_in_short(model) for model in models])
        return
    for model in models:
        for line in _three_lines(model):
            typer.echo(line)
    if not models:
        typer.echo(f"No model is installed in {MODELS_FOLDER} or {user_models_folder()}.")


@models_application.command(cls=GroupedCommand)
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show all that a model's card says."""
    from ...models import InstalledModel, find_model, read_card

    folder = find_model(name)
    card = read_card(folder)
    if as_json:
        _print_json(json.loads(card.to_json()) | {"folder": str(folder)})
        return
    _show_model(InstalledModel(folder, card))


@models_application.command(cls=GroupedCommand)
def install(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Of a model, such as DIR/model of a run.")
    ],
    name: Annotated[
        str | None, typer.Option(help="To install it under; its own unless given.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace one of your own models of that name.")
    ] = False,
) -> None:
    """Put a trained model into the list that the panel and --model offer."""
    from ...models import install_model
    from ..requirements import require

    require("standalone", "torch")
    model = install_model(folder, name, replace)
    typer.echo(f"{model.card.name} {model.card.version}: installed in {model.folder}")


@models_application.command(cls=GroupedCommand)
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete one of your own models."""
    from ...errors import InputError
    from ...models import remove_model
    from ...models.installing import removable

    folder = removable(name)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise InputError(f"'{folder}' would be deleted for good; give --yes to do so.")
        if not typer.confirm(f"Delete '{folder}' for good?"):
            typer.echo("Nothing was removed.")
            return
    typer.echo(f"Removed: {remove_model(name)}")


@models_application.command(cls=GroupedCommand)
def compress(
    name: NameArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new model.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model that is there already.")
    ] = False,
) -> None:
    """Write a model with its weights in eight bits, about half the size.

    It answers a little differently: measure it with evaluate before it takes the other's place.
    """
    from ...models import compress_model
    from ..requirements import require

    require("standalone", "torch")
    card = compress_model(name, output, replace)
    typer.echo(f"{output} ({_megabytes(card):.1f} MB of weights)")


models_application.command("import", cls=command_with({"--spacing": "--spacing-mm"}))(import_model)
models_application.command("export-onnx", cls=GroupedCommand)(export_onnx)


@models_application.command(cls=GroupedCommand)
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name or folder; all unless given.")
    ] = None,
) -> None:
    """Check that models' weights are those that their cards describe."""
    from ...errors import ModelError
    from ...models import find_model, installed_folders, verify_model

    # Not through the list of installed models, which leaves out those with a broken card.
    folders = [find_model(name)] if name is not None else installed_folders()
    if not folders:
        raise ModelError("No model is installed.")
    for folder in folders:
        card = verify_model(folder)
        digest = card.weights.sha256 if card.weights else ""
        typer.echo(f"{card.name} {card.version}: intact (SHA-256 {digest})")


def _three_lines(model: InstalledModel) -> list[str]:
    short = _in_short(model)
    stages = ", ".join(
        f"{name} {' x '.join(f'{step:g}' for step in spacing)} mm"
        for name, spacing in short["spacing_mm"].items()
    )
    says = [short["target"], stages, "takes clicks" if short["takes_clicks"] else "sees no clicks"]
    if short["dice"] is not None:
        says.append(f"Dice {short['dice']:.3f} on {short['dice_on']}")
    where = "of the extension" if short["of_extension"] else "your own"
    if short["sha256"]:
        where += f", {short['megabytes']:.1f} MB, SHA-256 {short['sha256'][:8]}"
    return [
        f"{short['name']} {short['version']}: {short['title']}",
        f"  {'; '.join(says)}",
        f"  {where}: {short['folder']}",
    ]


def _in_short(model: InstalledModel) -> dict[str, Any]:
    """What tells models apart, as JSON has it."""
    from ...models import MODELS_FOLDER

    card, weights = model.card, model.card.weights
    dice, dice_on = _dice(card.figures)
    return {
        "name": card.name,
        "version": card.version,
        "title": card.title,
        "target": card.target,
        "labels": [label.name for label in card.labels[1:]],
        "spacing_mm": {name: list(stage.spacing_mm) for name, stage in card.stages.items()},
        "takes_clicks": card.stages["refiner"].network["in_channels"] > 1,
        "dice": dice,
        "dice_on": dice_on,
        "licence": card.licence,
        "author": card.author,
        "sha256": weights.sha256 if weights else None,
        "editor_sha256": card.editor.sha256 if card.editor else None,
        "megabytes": round(_megabytes(card), 1) if weights else None,
        "of_extension": model.folder.parent == MODELS_FOLDER,
        "folder": str(model.folder),
    }


def _megabytes(card: ModelCard) -> float:
    """Of all files of weights, that of the editor too."""
    return sum(file.bytes for file in card.weights_files.values() if file is not None) / 1e6


def _dice(figures: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """Mean Dice without a click as ``evaluate --write-card`` and ``finetune`` write it, and of what
    it is; None where a card, whose figures are free, has none in that form."""
    for split, of_split in figures.items():
        try:
            of_split = of_split.get("after", of_split)
            without = of_split["clicks"]["0"]
            cases = len(without["cases"])
            dice = float(without["mean"]["dice"])
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        return dice, counted(cases, f"{split.replace('_', ' ')} case")
    return None, None


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _show_model(model: InstalledModel) -> None:
    from ...inference.structures import known_organs
    from ...models import TARGET

    card = model.card
    typer.echo(f"{card.name} {card.version}: {card.title}")
    lines = {
        "Summary": card.summary,
        "Use": card.intended_use,
        "Licence": card.licence,
        **({"Author": card.author} if card.author else {}),
        "Folder": str(model.folder),
    }
    if card.weights:
        lines["Weights"] = f"{card.weights.bytes / 1e6:.1f} MB, SHA-256 {card.weights.sha256}"
    if card.editor and card.editor.weights:
        editor = card.editor.weights
        at = " and ".join(
            f"the {card.target}" if one == TARGET else one for one in card.editor.answers
        )
        size = f"{editor.bytes / 1e6:.1f} MB"
        lines["Editor"] = f"answers clicks at {at}, {size}, SHA-256 {editor.sha256}"
    if organs := known_organs(card):
        names = ", ".join(organ.name for organ in organs)
        lines["Finds"] = f"for any structure of these names: {names}"
    show_lines(lines, "  ")
    if card.limitations:
        typer.echo("  Limitations")
        for text in card.limitations:
            typer.echo(f"    {text}")
    if card.figures:
        typer.echo("  Figures")
        _show_figures(card.figures, "    ")
    if card.editor and card.editor.figures:
        typer.echo("  Figures of the editor")
        _show_figures(card.editor.figures, "    ")


def _show_figures(figures: Mapping[str, Any], indent: str) -> None:
    """The figures of a card, whose form is free, indented as they are nested: a line for each, or
    for all that belong together, as the measures of a case."""
    for name, value in figures.items():
        if isinstance(value, Mapping) and any(isinstance(one, Mapping) for one in value.values()):
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
        parts = []
        for name, one in value.items():
            text = _in_a_row(one)
            parts.append(f"{name} [{text}]" if isinstance(one, list) else f"{name} {text}")
        return ", ".join(parts)
    if isinstance(value, list):
        return ", ".join(map(_in_a_row, value))
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
