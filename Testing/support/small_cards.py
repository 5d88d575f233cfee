"""A card for models that only tests have."""

from __future__ import annotations

from typing import Any

from AttentionUNetSegmentLib.models import Label, ModelCard, Stage
from torch import nn


def card_of(**networks: dict[str, Any]) -> ModelCard:
    """A card without weights: two labels, and a stage of 2 x 2 x 3 mm for each network's config."""
    return ModelCard(
        name="random",
        version="7",
        title="Random",
        summary="For tests.",
        intended_use="Tests.",
        licence="CC0",
        citation=(),
        intensity_window_hu=(-125, 275),
        labels=(Label(0, "background"), Label(1, "pancreas")),
        target="pancreas",
        stages={name: Stage(config, (2.0, 2.0, 3.0)) for name, config in networks.items()},
    )


def biases_that_a_norm_takes_out(module: nn.Module) -> set[str]:
    """Names of the convolution biases that a batch norm follows.

    The published sizes count them, and their gradient is zero by construction.
    """
    names = set()
    for prefix, part in module.named_modules():
        if isinstance(part, nn.Sequential):
            for index, layer in enumerate(part):
                if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
                    names.add(f"{prefix}.{index - 1}.bias")
    return names
