"""The models that come with the extension and those of the user's own, and how one is named."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from ..paths import in_home
from .card import CARD_FILE, ModelCard, read_card

DEFAULT_MODEL = "pancreas-ct"
_LIBRARY = Path(__file__).resolve().parents[1]
_IN_PACKAGE = _LIBRARY / "shipped_models"
MODELS_FOLDER = _IN_PACKAGE if _IN_PACKAGE.is_dir() else _LIBRARY.parent / "Resources" / "Models"
"""The models that ship: a wheel has them in the package, and Slicer's module, as the sources that
both are made of, among its resources."""

USER_MODELS_VARIABLE = "ATTENTION_UNET_SEGMENT_MODELS"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstalledModel:
    """A model's folder and what its card says."""

    folder: Path
    card: ModelCard


def user_models_folder() -> Path:
    """Where a user's own models are installed; it need not be there.

    The environment variable :data:`USER_MODELS_VARIABLE`, or else ``AttentionUNetSegment/models``
    in the place that the system has for an application's data of one user.
    """
    chosen = os.environ.get(USER_MODELS_VARIABLE)
    if chosen:
        return in_home(chosen)
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "AttentionUNetSegment" / "models"


def installed_models(models_folder: str | Path | None = None) -> list[InstalledModel]:
    """The models that come with the extension and the user's own, by name; without their weights.

    A folder whose card cannot be read is left out and named in the log; ``find_model`` still finds
    it, so that loading it says what is wrong. Of two models with one name, the extension's counts.

    Args:
        models_folder: a folder of models to look into instead.
    """
    models: dict[str, InstalledModel] = {}
    for folder in installed_folders(models_folder):
        try:
            card = read_card(folder)
        except ModelError as error:
            _log.warning("%s", error)
            continue
        if card.name in models:
            first = models[card.name].folder
            _log.warning("The model in '%s' has the name of the one in '%s'.", folder, first)
        models.setdefault(card.name, InstalledModel(folder, card))
    return sorted(models.values(), key=lambda model: model.card.name)


def find_model(
    name_or_folder: str | Path = DEFAULT_MODEL, models_folder: str | Path | None = None
) -> Path:
    """The folder of a model, given the name of an installed one or a path of one's own.

    Args:
        name_or_folder: what to look for.
        models_folder: a folder of models to look into instead of those that are installed.

    Raises:
        ModelError: neither; the message lists the installed models.
    """
    wanted = str(name_or_folder)
    if Path(wanted).name == wanted:  # else a path, which no model is named
        for folder in installed_folders(models_folder):
            if folder.name == wanted:
                return folder
        for model in installed_models(models_folder):
            if model.card.name == wanted:
                return model.folder

    path = in_home(name_or_folder)
    if path.name == CARD_FILE and path.is_file():
        return path.parent
    if (path / CARD_FILE).is_file():
        return path
    names = ", ".join(model.card.name for model in installed_models(models_folder))
    raise ModelError(
        f"There is no model '{wanted}'; "
        + (f"installed: {names}" if names else "no model is installed")
        + f"; or give the path of a folder with a {CARD_FILE} in it."
    )


def installed_folders(models_folder: str | Path | None = None) -> list[Path]:
    """Every folder with a card in it, readable or not: the extension's first."""
    where = (
        (MODELS_FOLDER, user_models_folder()) if models_folder is None else (Path(models_folder),)
    )
    return [
        folder
        for models in where
        if models.is_dir()
        for folder in sorted(models.iterdir())
        if not folder.name.startswith(".") and (folder / CARD_FILE).is_file()
    ]
