"""The models that come with the extension, and how one is named."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from .card import CARD_FILE, ModelCard, read_card

DEFAULT_MODEL = "pancreas-ct"
MODELS_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Models"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstalledModel:
    """A model's folder and what its card says."""

    folder: Path
    card: ModelCard


def installed_models(models_folder: str | Path = MODELS_FOLDER) -> list[InstalledModel]:
    """The models in a folder of models, by name; their weights are not looked at.

    A folder whose card cannot be read is left out and named in the log; ``find_model`` still finds
    it, so that loading it says what is wrong.
    """
    models = []
    for folder in _folders(Path(models_folder)):
        try:
            models.append(InstalledModel(folder, read_card(folder)))
        except ModelError as error:
            _log.warning("%s", error)
    return sorted(models, key=lambda model: model.card.name)


def find_model(
    name_or_folder: str | Path = DEFAULT_MODEL, models_folder: str | Path = MODELS_FOLDER
) -> Path:
    """The folder of a model, given the name of an installed one or a path of one's own.

    Raises:
        ModelError: neither; the message lists the installed models.
    """
    wanted = str(name_or_folder)
    for folder in _folders(Path(models_folder)):
        if folder.name == wanted:
            return folder
    installed = installed_models(models_folder)
    for model in installed:
        if model.card.name == wanted:
            return model.folder

    path = Path(name_or_folder).expanduser()
    if path.name == CARD_FILE and path.is_file():
        return path.parent
    if (path / CARD_FILE).is_file():
        return path
    names = ", ".join(model.card.name for model in installed)
    raise ModelError(
        f"There is no model '{wanted}'; "
        + (f"installed: {names}" if names else "no model is installed")
        + f"; or give the path of a folder with a {CARD_FILE} in it."
    )


def _folders(models_folder: Path) -> list[Path]:
    if not models_folder.is_dir():
        return []
    return sorted(
        folder
        for folder in models_folder.iterdir()
        if not folder.name.startswith(".") and (folder / CARD_FILE).is_file()
    )
