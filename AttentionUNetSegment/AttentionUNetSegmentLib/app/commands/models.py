"""``models``: which are installed, whether they are intact, and new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exporting import export_onnx
from .importing import import_model
from .shared import SETTINGS, show_lines

if TYPE_CHECKING:
    from ...models import InstalledModel

models_application = typer.Typer(
    help="List the installed models, verify them, bring one's own, or export one.", **SETTINGS
)
models_application.command("import")(import_model)
models_application.command("export-onnx")(export_onnx)


@models_application.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from ...models import MODELS_FOLDER, installed_models, user_models_folder

    models = installed_models()
    for model in models:
        _show_model(model)
    if not models:
        typer.echo(f"No model is installed in {MODELS_FOLDER} or {user_models_folder()}.")


@models_application.command()
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
    show_lines(lines, "  ")
    if card.limitations:
        typer.echo("  Limitations")
        for text in card.limitations:
            typer.echo(f"    {text}")
    if card.figures:
        typer.echo("  Figures")
        _show_figures(card.figures, "    ")


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
