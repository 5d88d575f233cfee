"""Weights as bytes: checked, hashed, and turned into tensors and back. Never a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from .card import LARGEST_BYTES, WeightsFile

if TYPE_CHECKING:
    import torch

_ZIP_START = b"PK\x03\x04"  # what torch.save writes since PyTorch 1.6
_PICKLE_START = b"\x80"  # a pickle's protocol byte, and that of PyTorch's older files


def read_weights(folder: Path, weights: WeightsFile) -> dict[str, torch.Tensor]:
    """The tensors of a model's weights file, after checking that it is the file its card means.

    The file is read once and what is hashed is what is used.

    Raises:
        ModelError: the file is missing, larger or smaller than the card says, another one, or no
            safetensors file.
    """
    path = folder / weights.file
    return _tensors(_read(path, folder, weights), path)


def read_foreign_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file that no card describes.

    Raises:
        ModelError: there is no such file, it is too large, a pickle, or no safetensors file.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(2 * LARGEST_BYTES + 1)  # in single precision
    except OSError as error:
        raise ModelError(f"The weights '{path}' cannot be read: {error.strerror}.") from error
    if len(content) > 2 * LARGEST_BYTES:
        raise ModelError(f"The weights '{path}' are larger than {2 * LARGEST_BYTES / 1e9:.0f} GB.")
    if _is_pickle(content):
        raise ModelError(
            f"'{path}' is a pickle (a PyTorch checkpoint), which can run code when it is opened, "
            "so it is never loaded; save the network's state_dict with "
            "safetensors.torch.save_file."
        )
    return _tensors(content, path)


def _tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"'{path}' is not a valid safetensors file ({error}).") from error


def to_half(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as they are stored: floats in half precision, the others as they are.

    Raises:
        ModelError: a weight is not finite, or is beyond what half precision holds (65,504).
    """
    stored = {}
    for name, tensor in tensors.items():
        # A copy always: safetensors refuses tensors that share memory.
        copy = tensor.detach().cpu().contiguous().clone()
        if copy.is_floating_point():
            copy = copy.half()
            if not bool(copy.isfinite().all()):
                raise ModelError(
                    f"The weights '{name}' hold NaN, infinite or too large values for half "
                    "precision, so the model is not saved; training has diverged."
                )
        elif copy.is_complex():
            raise ModelError(f"The weights '{name}' are complex numbers, which no model has.")
        stored[name] = copy
    return stored


def to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    import safetensors.torch

    return safetensors.torch.save(dict(tensors))


def describe(file: str, content: bytes) -> WeightsFile:
    return WeightsFile(file, hashlib.sha256(content).hexdigest(), len(content))


def _is_pickle(content: bytes) -> bool:
    # A safetensors file starts with the length of its header, eight bytes that can begin like a
    # pickle, and then the header's brace.
    return content.startswith((_ZIP_START, _PICKLE_START)) and content[8:9] not in (b"{", b"")


def _read(path: Path, folder: Path, weights: WeightsFile) -> bytes:
    if not path.is_file():
        raise ModelError(f"The model's weights are missing: there is no file '{path}'.")
    if path.resolve().parent != folder.resolve():
        raise ModelError(f"The weights '{path}' are a link that leads out of the model's folder.")
    try:
        with path.open("rb") as stream:
            # One byte more than promised is enough to see that a file is too large.
            content = stream.read(weights.bytes + 1)
    except OSError as error:
        raise ModelError(f"The weights '{path}' cannot be read: {error.strerror}.") from error
    if _is_pickle(content):
        raise ModelError(
            f"'{path}' is a pickle (a PyTorch checkpoint), which can run code when it is opened, "
            "so it is never loaded; get the model's safetensors file."
        )
    if len(content) != weights.bytes:
        size = f"larger than {weights.bytes}" if len(content) > weights.bytes else f"{len(content)}"
        raise ModelError(
            f"'{path}' is {size} bytes, but its card says {weights.bytes}; it was cut short or "
            "replaced: install the model again."
        )
    if hashlib.sha256(content).hexdigest() != weights.sha256:
        raise ModelError(
            f"'{path}' is not the file that its card describes (its SHA-256 differs); it was "
            "damaged or replaced: install the model again."
        )
    return content
