"""A model whose answer is known: what is bright is the organ.

For tests of everything around the networks (geometry, tiling, regions, cancellation), where a
trained network's own errors would hide the mistakes that are looked for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from AttentionUNetSegmentLib.models import Label, Model, ModelCard, Stage, Usual
from AttentionUNetSegmentLib.networks import NetworkOutput
from torch import nn
from torch.nn import functional as F

BRIGHT_HU = 200
"""HU of the organ that this model finds; the rest of a scan should be below 100."""

NETWORK = {
    "name": "AttentionUNet",
    "dimensions": 3,
    "in_channels": 3,
    "out_channels": 2,
    "channels": [4, 4, 4, 4, 4],
}


class BrightIsOrgan(nn.Module):
    """Foreground where the window's upper part begins; attention is the brightness of a level."""

    def __init__(self, levels: int = 4, label: int = 1) -> None:
        super().__init__()
        self.levels = levels
        self.label = label
        self.gates = [None] * levels
        self.passes: list[tuple[int, ...]] = []

    def forward(
        self, image: torch.Tensor, return_attention: bool = False, return_deep: bool = False
    ) -> torch.Tensor | NetworkOutput:
        self.passes.append(tuple(image.shape))
        # 150 HU of a -125 to 275 window is where the two classes meet.
        foreground = (image[:, :1] - 0.6875) * 40
        logits = foreground.new_full((1, self.label + 1, *foreground.shape[2:]), -1e4)
        logits[:, :1], logits[:, self.label :] = -foreground, foreground
        if not return_attention:
            return logits
        attention = [
            image[:, :1] if level == 0 else F.avg_pool3d(image[:, :1], 2**level)
            for level in range(self.levels)
        ]
        return NetworkOutput(logits, attention, [])


def threshold_model(label: int = 1) -> Model:
    """The model, with a card like that of a trained one.

    Args:
        label: value of the organ; those below it are other organs, which are never found.
    """
    others = tuple(Label(value, f"organ {value}") for value in range(1, label))
    network = {**NETWORK, "out_channels": label + 1}
    card = ModelCard(
        name="bright",
        version="1",
        title="Bright is organ",
        summary="For tests.",
        intended_use="Tests.",
        licence="Apache-2.0",
        citation=(),
        intensity_window_hu=(-125, 275),
        labels=(Label(0, "background"), *others, Label(label, "pancreas")),
        target="pancreas",
        usual=Usual(intensity_hu=(0, 600)),  # the organs that it is shown are bright
        stages={
            "locator": Stage({**network, "in_channels": 1}, (6.0, 6.0, 6.0)),
            "refiner": Stage(network, (2.0, 2.0, 3.0)),
        },
    )
    networks = {"locator": BrightIsOrgan(0, label), "refiner": BrightIsOrgan(4, label)}
    return Model(card, networks, Path())
