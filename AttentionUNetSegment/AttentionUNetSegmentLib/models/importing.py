"""A model folder out of a network that was trained elsewhere: its config and its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import ModelError, OutputError
from ..networks import NetworkConfig, build_network
from .card import CARD_FILE, LARGEST_BYTES, ModelCard, Stage, Target
from .store import check_fit, load_model, save_model
from .terminology import make_label
from .weights import read_foreign_weights


def import_network(
    config: Path,
    weights: Path,
    folder: Path,
    *,
    name: str,
    title: str,
    labels: Sequence[str],
    spacing_mm: Sequence[float],
    intensity_window_hu: Sequence[float],
    licence: str,
    target: str | None = None,
    version: str = "1.0.0",
    summary: str | None = None,
    intended_use: str = "Research use only; not a medical device.",
    citation: Sequence[str] = (),
    replace: bool = False,
) -> ModelCard:
    """Write a model folder for a network of one's own, and load it to see that it is whole.

    The network sees the whole scan, in tiles where it is large. It takes clicks if it has three
    input channels: CT, clicks inside, clicks outside.

    Args:
        config: JSON file with the configuration that ``networks.build_network`` takes.
        weights: safetensors file with the network's ``state_dict``; stored in half precision.
        folder: of the model.
        labels: names of the network's output channels, in order, the background first.
        spacing_mm: along i, j, k, of the images that it was trained on.
        intensity_window_hu: Hounsfield units that were mapped to 0 and 1.
        target: the label that is segmented, or several with commas, each a segment, and one that is
            part of another as ``tumour:liver``; the first one after the background unless given.
        summary: the title unless given.
        replace: a model that is in the folder already.

    Raises:
        ModelError: config, weights and card do not fit each other, or one of them is not valid.
        OutputError: the folder cannot be written, or holds a model that is not to be replaced.
    """
    if (folder / CARD_FILE).exists() and not replace:
        raise OutputError(f"There is a model in '{folder}' already; replace it or choose another.")
    network_config = _read_config(config)
    tensors = read_foreign_weights(weights)
    named = tuple(make_label(value, text) for value, text in enumerate(labels))
    targets = _parse_targets(target or (labels[1] if len(labels) > 1 else "background"))
    stage = Stage(network_config.to_mapping(), (spacing_mm[0], spacing_mm[1], spacing_mm[2]))
    card = ModelCard(
        name=name,
        version=version,
        title=title,
        summary=summary or title,
        intended_use=intended_use,
        licence=licence,
        citation=tuple(citation),
        intensity_window_hu=(intensity_window_hu[0], intensity_window_hu[1]),
        labels=named,
        target=targets[0].name,
        targets=targets if len(targets) > 1 else (),
        stages={"refiner": stage},
        training={
            "origin": "imported",
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        },
    )
    check_fit(tensors, stage.network, f"The weights '{weights}' are not those of the config:")
    network = build_network(network_config)
    network.load_state_dict(tensors)
    card = save_model(folder, card, {"refiner": network}, LARGEST_BYTES)
    load_model(folder)
    return card


def _parse_targets(text: str) -> tuple[Target, ...]:
    parts = (one.partition(":") for one in text.split(","))
    return tuple(Target(name.strip(), whole.strip()) for name, _, whole in parts)


def _read_config(file: Path) -> NetworkConfig:
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ModelError(f"The config '{file}' cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ModelError(f"The config '{file}' is not valid JSON ({error}).") from error
    try:
        return NetworkConfig.from_mapping(content)
    except ModelError as error:
        raise ModelError(f"The config '{file}' cannot be used: {error}") from error
