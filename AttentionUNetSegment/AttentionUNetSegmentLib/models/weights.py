"""Weights as bytes: checked, hashed, and turned into tensors and back. Never a pickle.

Floats are stored in half precision; the weights of a convolution in eight bits, with a scale for
each channel beside them, where that gives the very same numbers (see :func:`rounded_to_bytes`).
"""

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
_SCALE = ".scale"
"""What follows the name of weights in the name of their scales."""
_LARGEST = 127
_PICKLE_START = b"\x80"  # a pickle's protocol byte, and that of PyTorch's older files


def read_weights(folder: Path, weights: WeightsFile) -> dict[str, torch.Tensor]:
    """The tensors of a model's weights file, after checking that it is the file its card means.

    The file is read once and what is hashed is what is used.

    Raises:
        ModelError: the file is missing, larger or smaller than the card says, another one, or no
            safetensors file; or weights of eight bits have no scales that fit.
    """
    path = folder / weights.file
    return _expanded(_tensors(_read(path, folder, weights), path), path)


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


def rounded_to_bytes(weight: torch.Tensor) -> torch.Tensor:
    """The weights of a convolution, rounded to what eight bits hold: 255 steps for each of the
    first axis's channels, from its largest weight to the same below zero.

    Args:
        weight: floats of more than two axes; others are left as they are.

    Returns:
        The same shape, float32; given to this function again, unchanged.
    """
    if not _is_convolution(weight):
        return weight
    steps, scale = _in_bytes(weight)
    return steps * scale


def _is_convolution(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 2


def _in_bytes(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers from -127 to 127, and the scale of each channel, both float32.

    A scale is a number of bfloat16, so that products with it are exact in float32; it is within
    0.4 % of what is wanted, so that the largest weight is always the step 127. Both together make
    the same scale come out of the products again.
    """
    weight = weight.detach().float()
    largest = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    scale = (largest / _LARGEST).bfloat16().float()
    steps = (weight / scale.where(scale > 0, 1.0)).round().clamp(-_LARGEST, _LARGEST)
    return steps, scale


def _expanded(stored: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Tensors with those that are stored in eight bits as the floats that they stand for.

    Raises:
        ModelError: their scales are missing or do not fit.
    """
    import torch

    tensors = dict(stored)
    for name, steps in stored.items():
        scale = stored.get(name + _SCALE)
        if steps.dtype != torch.int8 or scale is None:
            continue
        if steps.ndim < 3 or scale.shape != steps.shape[:1] or scale.dtype != torch.bfloat16:
            raise ModelError(f"The scales of '{name}' in '{path}' do not fit its weights.")
        del tensors[name + _SCALE]
        tensors[name] = steps * scale.float().reshape(-1, *[1] * (steps.ndim - 1))
    return tensors


def to_stored(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as they are stored: floats in half precision, or in eight bits where nothing is
    lost by it; the others as they are.

    Raises:
        ModelError: a weight is not finite, or is beyond what half precision holds (65,504).
    """
    stored = {}
    for name, tensor in tensors.items():
        # A copy always: safetensors refuses tensors that share memory.
        copy = tensor.detach().cpu().contiguous().clone()
        if _is_convolution(copy) and bool(copy.isfinite().all()):
            steps, scale = _in_bytes(copy)
            if bool((steps * scale == copy.float()).all()):
                stored[name] = steps.char()
                stored[name + _SCALE] = scale.flatten().bfloat16()
                continue
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
