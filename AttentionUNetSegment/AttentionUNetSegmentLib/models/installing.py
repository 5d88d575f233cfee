"""A model's folder into the list of a user's models, and out of it."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from pathlib import Path

from ..errors import ModelError, OutputError
from .card import LARGEST_BYTES
from .installed import InstalledModel, find_model, installed_models, user_models_folder
from .store import load_model, save_model


def install_model(
    folder: str | Path, name: str | None = None, replace: bool = False
) -> InstalledModel:
    """Copy a model into the user's own models, which the panel and the command line offer.

    Args:
        folder: of the model, for example that of a training run.
        name: to install it under; its own unless given.
        replace: a model of the user's own that has this name.

    Raises:
        ModelError: it is no model, it is damaged, or there is one of this name.
        OutputError: it cannot be written.
    """
    model = load_model(folder)
    card = dataclasses.replace(model.card, name=name or model.card.name)
    own = user_models_folder()
    for other in installed_models():
        if other.card.name != card.name:
            continue
        if other.folder.resolve() == Path(folder).resolve():
            raise ModelError(f"The model '{card.name}' is installed already, in '{folder}'.")
        if other.folder.parent != own:
            raise ModelError(
                f"'{card.name}' is a model of the extension, which none of your own can cover; "
                "give another --name."
            )
        if not replace:
            raise ModelError(
                f"There is a model '{card.name}' {other.card.version} already, in "
                f"'{other.folder}'; give another --name, or --replace it."
            )
    target = own / card.name
    written = save_model(target, card, model.networks, LARGEST_BYTES)
    return InstalledModel(target, written)


def remove_model(name: str) -> Path:
    """Delete a model from the user's own.

    Args:
        name: of the model or of its folder, also where its card is broken.

    Returns:
        The folder that is gone.

    Raises:
        ModelError: there is none, or it is no model of the user's own.
        OutputError: it cannot be deleted.
    """
    folder = removable(name)
    # Renamed first, so that no half of it is ever listed.
    gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.gone")
    try:
        folder.rename(gone)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be removed: {error.strerror or error}.") from error
    shutil.rmtree(gone, ignore_errors=True)
    return folder


def removable(name: str) -> Path:
    """The folder that :func:`remove_model` would delete.

    Raises:
        ModelError: there is none, or it is no model of the user's own.
    """
    folder = find_model(name)
    if folder.resolve().parent != user_models_folder().resolve():
        raise ModelError(
            f"'{name}' is not among your own models, which lie in '{user_models_folder()}'; only "
            "those are removed."
        )
    return folder
