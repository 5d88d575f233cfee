"""Loading, verifying and saving a model's folder."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, OutputError
from ..files import flush_to_disk, folder_beside
from .card import (
    CARD_FILE,
    EDITOR,
    EDITOR_FILE,
    LARGEST_BYTES,
    MOST_BYTES,
    MOST_CARD_BYTES,
    WEIGHTS_FILE,
    ModelCard,
    WeightsFile,
    read_card,
)
from .installed import find_model
from .weights import describe, read_weights, rounded_to_bytes, to_bytes, to_stored

if TYPE_CHECKING:
    import torch
    from torch import nn

_MEANWHILE = re.compile(r"(weights|editor)-[0-9a-f]{16}\.safetensors")
"""Weights that are about to take the place of others; see :func:`_write_folder`."""


_FILES = {"": WEIGHTS_FILE, EDITOR: EDITOR_FILE}
"""The files of weights: of the stages, and of the editor."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model.

    Args:
        card: what it is.
        networks: one for each stage of the card, and its editor where it has one; float32 on the
            CPU, in evaluation mode, without gradients.
        folder: where it was loaded from.
    """

    card: ModelCard
    networks: dict[str, nn.Module]
    folder: Path


def load_model(folder: str | Path) -> Model:
    """Load a model, checking that its weights are those that its card describes.

    Nothing is allocated for a network before the weights are known to fit it.

    Raises:
        ModelError: the card is not valid or asks for an unknown network; the weights are missing,
            cut short, altered, a pickle, or do not fit the networks.
    """
    folder = Path(folder)
    card = read_card(folder)
    if card.weights is None:  # a card that is read has it: see ModelCard.from_json
        raise ModelError(f"The card in '{folder}' does not describe its weights.")
    where = f"The weights in '{folder}' do not fit their card:"
    networks = {}
    for editor, file in card.weights_files.items():
        assert file is not None
        tensors = read_weights(folder, file)
        expected = {editor} if editor else set(card.stages)
        foreign = [name for name in sorted(tensors) if name.partition(".")[0] not in expected]
        if foreign:
            raise ModelError(f"{where} '{foreign[0]}' belongs to no stage.")
        for name in sorted(expected, key=list(card.networks).index):
            prefix = f"{name}."
            own = {
                key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)
            }
            config = card.networks[name]
            check_fit(own, config, f"{where} in the {name},")
            networks[name] = _network(config, own)
    return Model(card, networks, folder)


def verify_model(folder: str | Path) -> ModelCard:
    """Check all that :func:`load_model` checks, and return the card.

    Raises:
        ModelError: as :func:`load_model`.
    """
    return load_model(folder).card


def save_model(
    folder: str | Path,
    card: ModelCard,
    networks: Mapping[str, nn.Module],
    most_bytes: int = MOST_BYTES,
) -> ModelCard:
    """Write a model's folder: all of it or nothing, whatever happens meanwhile.

    The folder is made complete beside its place and then renamed into it. A model that is already
    there is replaced; a folder with anything else in it is left alone.

    Args:
        folder: the model's folder; its parents are created.
        card: ``card.weights`` is ignored.
        networks: one for each stage of the card, and its editor where it has one, on any device
            and of any float type.
        most_bytes: of card and weights together; more than the 12 MB that an extension may install
            for a model that stays where it was made.

    Returns:
        The card that was written, with the weights' file, SHA-256 and size.

    Raises:
        ModelError: the networks are not those of the card, a weight is not finite in half
            precision, or card and weights together are over ``most_bytes``.
        OutputError: the folder cannot be written, or holds something that is no model.
    """
    folder = Path(folder).absolute()
    if set(networks) != set(card.networks):
        raise ModelError(
            f"The card has the networks {', '.join(card.networks)}, but those given are "
            f"{', '.join(networks) or 'none'}."
        )
    tensors: dict[str, dict[str, torch.Tensor]] = {name: {} for name in card.weights_files}
    for name, config in card.networks.items():
        own = networks[name].state_dict()
        check_fit(own, config, f"The {name} is not the network that its card describes:")
        file = tensors[name if name in tensors else ""]
        file.update({f"{name}.{key}": value for key, value in own.items()})
    weights = {name: to_bytes(to_stored(own)) for name, own in tensors.items()}
    size = sum(map(len, weights.values()))
    if size > most_bytes:
        raise _too_large(size, most_bytes)
    files = {name: describe(_FILES[name], content) for name, content in weights.items()}
    card = card.with_weights(files[""], files.get(EDITOR))
    text = card.to_json().encode("utf-8")
    if size + len(text) > most_bytes:
        raise _too_large(size + len(text), most_bytes)
    if len(text) > MOST_CARD_BYTES:
        raise ModelError(f"The card is larger than {MOST_CARD_BYTES // 1000} kB; shorten it.")
    with _explain_write_errors(folder):
        _write_folder(folder, weights, card)
    return card


def require_writable(folder: Path) -> None:
    """Refuse a model that :func:`save_model` could not replace, before the long work begins.

    Raises:
        OutputError: its folder may not be written, or holds something that is no model.
    """
    folder = folder.absolute()
    with _explain_write_errors(folder):
        _require_model_or_nothing(folder)
        with folder_beside(folder), folder_beside(folder / CARD_FILE):
            pass


@contextmanager
def _explain_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The model cannot be written to '{folder}': {error.strerror or error}."
        ) from error


def compress_model(name: str | Path, folder: str | Path, replace: bool = False) -> ModelCard:
    """Write a model with the weights of its convolutions in eight bits: about half the size.

    What the networks say changes a little, so measure the new model before it takes the place of
    the other one.

    Args:
        name: of an installed model, or its folder.
        folder: that the new model is written to.
        replace: a model that is in the folder already.

    Returns:
        The new model's card.

    Raises:
        ModelError: there is no such model, or it is damaged.
        OutputError: the folder cannot be written, or holds a model that is not to be replaced, or
            something that is no model.
    """
    if (Path(folder) / CARD_FILE).exists() and not replace:
        raise OutputError(f"There is a model in '{folder}' already; replace it or choose another.")
    model = load_model(find_model(str(name)))
    for network in model.networks.values():
        rounded = {key: rounded_to_bytes(value) for key, value in network.state_dict().items()}
        network.load_state_dict(rounded)
    return save_model(folder, model.card, model.networks, most_bytes=LARGEST_BYTES)


def _too_large(size: int, most_bytes: int) -> ModelError:
    return ModelError(
        f"The model would take {size / 1e6:.1f} MB, more than the {most_bytes / 1e6:.0f} MB that "
        "a model may have here; use fewer channels."
    )


def check_fit(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], where: str) -> None:
    """Raise unless the tensors are those of the network that a config describes: names, shapes,
    kind, finite."""
    import torch

    from ..networks import outline_network

    try:
        expected = outline_network(dict(config)).state_dict()
    except RuntimeError as error:  # sizes beyond what any tensor can have
        raise ModelError(f"{where} its network cannot be built ({error}).") from error
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise ModelError(f"{where} '{missing[0]}' is missing ({len(missing)} in all).")
    unexpected = sorted(name for name in tensors if name not in expected)
    if unexpected:
        raise ModelError(f"{where} '{unexpected[0]}' is not part of it ({len(unexpected)} in all).")
    for name, wanted in expected.items():
        tensor = tensors[name]
        if tensor.shape != wanted.shape:
            raise ModelError(
                f"{where} '{name}' has the shape {tuple(tensor.shape)} instead of "
                f"{tuple(wanted.shape)}."
            )
        floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        if tensor.dtype not in (floats if wanted.is_floating_point() else (wanted.dtype,)):
            raise ModelError(f"{where} '{name}' is of type {tensor.dtype}, not {wanted.dtype}.")
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise ModelError(f"{where} '{name}' holds NaN or infinite values.")


def _network(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    from ..networks import outline_network

    network = copy.deepcopy(outline_network(dict(config)))
    network.load_state_dict(dict(tensors), assign=True)  # no first weights are drawn by chance
    return network.float().eval().requires_grad_(False)


def _write_folder(folder: Path, weights: Mapping[str, bytes], card: ModelCard) -> None:
    """Write a model, in place of an older one or of none: at every moment there is one of them.

    A new one is a folder that is renamed into place. In the place of another one the weights come
    under names of their own, and the card that names them makes them the model.

    Args:
        weights: of each file of the card.
    """
    files = {_FILES[name]: content for name, content in weights.items()}
    files[CARD_FILE] = card.to_json().encode("utf-8")
    _require_model_or_nothing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that installed_models never lists one that a killed process left behind.
    with folder_beside(folder) as beside:
        fresh = beside / folder.name
        fresh.mkdir()
        for name, content in files.items():
            _write(fresh / name, content)
        if not folder.exists():
            fresh.rename(folder)
            return
        meanwhile = {name: _meanwhile(file) for name, file in card.weights_files.items()}
        for name, file in meanwhile.items():
            _write(fresh / file.file, weights[name])
        named = card.with_weights(meanwhile[""], meanwhile.get(EDITOR))
        _write(fresh / "meanwhile.json", named.to_json().encode("utf-8"))
        for file in meanwhile.values():
            os.replace(fresh / file.file, folder / file.file)
        os.replace(fresh / "meanwhile.json", folder / CARD_FILE)
        with suppress(OSError):  # it is there; the next one that is written tidies up
            for name in files:  # the card last
                os.replace(fresh / name, folder / name)
            for name in set(os.listdir(folder)) - set(files):
                (folder / name).unlink()


def _meanwhile(file: WeightsFile | None) -> WeightsFile:
    """The same weights under the name that they have until they take the place of others."""
    assert file is not None
    stem = file.file.removesuffix(".safetensors")
    return dataclasses.replace(file, file=f"{stem}-{file.sha256[:16]}.safetensors")


def _require_model_or_nothing(folder: Path) -> None:
    """Raise OutputError where a folder holds anything that is not of a model."""
    found = sorted(os.listdir(folder)) if folder.exists() else []
    for name in found:
        if name not in (*_FILES.values(), CARD_FILE) and not _MEANWHILE.fullmatch(name):
            raise OutputError(
                f"'{folder}' holds '{name}', which is not part of a model, so it is left as it is; "
                "choose another folder."
            )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    flush_to_disk(path)
