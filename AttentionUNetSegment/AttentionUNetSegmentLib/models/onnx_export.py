"""A model's networks as ONNX files, for programs without PyTorch.

A file takes ``image``, float32 (1, channels, k, j, i) or (1, channels, j, i), windowed to [0, 1] as
the card says, with sides that are multiples of the ``stride`` in the file's metadata, and gives
``logits`` and ``attention_level_1`` and so on, each at its level's own resolution.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..errors import ModelError
from ..files import explain_write_errors, staged_folder
from ..networks import SegmentationNetwork

if TYPE_CHECKING:
    from .store import Model

TOLERANCE = 1e-3
"""How far ONNX Runtime's results may be from PyTorch's, in logits and attention: float32 through
some thirty layers."""


def export_onnx(model: Model, folder: Path) -> list[Path]:
    """Write ``STAGE.onnx`` for each network of a model, all of them or none.

    Each is run with ONNX Runtime, on another size than it was traced with, and compared with
    PyTorch before it is kept.

    Args:
        model: as loaded.
        folder: gets the files; older ones are replaced.

    Raises:
        ModelError: a network's results differ in ONNX Runtime.
        OutputError: the folder cannot be written.
    """
    folder = folder.absolute()
    # An editor is of no use without what is drawn for it around a click, so it stays here.
    names = [f"{name}.onnx" for name in sorted(model.card.stages)]
    with staged_folder(folder, names) as staged, explain_write_errors(folder):
        for name in model.card.stages:
            network = model.networks[name]
            assert isinstance(network, SegmentationNetwork)
            _export(network, staged.staging / f"{name}.onnx", _about(model, name, network))
        staged.publish(names)
    return [folder / name for name in names]


def has_fixed_size(network: SegmentationNetwork) -> bool:
    """Whether a network's file takes one size only.

    A multi-scale gate pools by what the size leaves room for, which a graph cannot decide.
    """
    return network.config.name == "AttentionUNet" and network.config.gate == "multi-scale"


class _Exported(nn.Module):
    """A network whose outputs are tensors only."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # Not forward: padding is decided by the size, which is open here.
        logits, attention, _ = self.network.forward_padded(image, deep=False)
        return logits, *attention


def _export(network: SegmentationNetwork, file: Path, about: dict[str, str]) -> None:
    import onnx

    exported = _Exported(network).eval()
    dimensions = network.config.dimensions
    # A size of several strides: one that is 1 somewhere would be taken for a constant.
    traced = _random_image(network, [4 if has_fixed_size(network) else 2] * dimensions)
    names = dict(enumerate("kji"[-dimensions:], start=2))
    with _quiet(), torch.inference_mode():
        torch.onnx.export(
            exported,
            (traced,),
            str(file),
            input_names=["image"],
            output_names=_outputs(network),
            dynamo=True,
            dynamic_shapes=None if has_fixed_size(network) else (names,),
            external_data=False,
            verbose=False,
        )
    content = onnx.load(str(file))
    onnx.helper.set_model_props(content, about)
    onnx.save(content, str(file))
    other = [4] * dimensions if has_fixed_size(network) else [3, *[2] * (dimensions - 1)]
    _compare(exported, file, _random_image(network, other))


def _outputs(network: SegmentationNetwork) -> list[str]:
    return ["logits", *(f"attention_level_{level}" for level in network.gated_levels)]


def _random_image(network: SegmentationNetwork, strides: list[int]) -> torch.Tensor:
    shape = (1, network.config.in_channels, *(network.stride * count for count in strides))
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _compare(exported: nn.Module, file: Path, image: torch.Tensor) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    results = session.run(None, {"image": image.numpy()})
    with torch.inference_mode():
        expected = [tensor.float().numpy() for tensor in exported(image)]
    difference = max(
        float(np.abs(ours - theirs).max()) for ours, theirs in zip(expected, results, strict=True)
    )
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The network '{file.stem}' gives other results in ONNX Runtime than in PyTorch (by "
            f"{difference:.2g}), so it is not exported."
        )


def _about(model: Model, name: str, network: SegmentationNetwork) -> dict[str, str]:
    """What a program must know to feed the file, as texts."""
    card, stage = model.card, model.card.stages[name]
    return {
        "model": f"{card.name} {card.version}",
        "stage": name,
        "stride": str(network.stride),
        "spacing_mm": json.dumps(list(stage.spacing_mm)),
        "intensity_window_hu": json.dumps(list(card.intensity_window_hu)),
        "labels": json.dumps([label.name for label in card.labels]),
        "input": "CT windowed to [0, 1], axes k, j, i towards superior, anterior, right"
        + (
            "; then clicks inside and outside, Gaussians of 5 mm"
            if network.config.in_channels > 1
            else ""
        ),
        "licence": card.licence,
        "intended_use": card.intended_use,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about packages and operators that have no part in this."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
