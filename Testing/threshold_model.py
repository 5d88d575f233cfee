"""A model whose answer is known: what is bright is the organ.

For tests of everything around the networks (geometry, tiling, regions, cancellation), where a
trained network's own errors would hide the mistakes that are looked for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from AttentionUNetSegmentLib.models import Label, Model, ModelCard, Stage
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

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = levels
        self.gates = [None] * levels
        self.passes: list[tuple[int, ...]] = []

    def forward(
        self, image: torch.Tensor, return_attention: bool = False, return_deep: bool = False
    ) -> torch.Tensor | NetworkOutput:
        self.passes.append(tuple(image.shape))
        # 150 HU of a -125 to 275 window is where the two classes meet.
        foreground = (image[:, :1] - 0.6875) * 40
        logits = torch.cat((-foreground, foreground), dim=1)
        if not return_attention:
            return logits
        attention = [
            image[:, :1] if level == 0 else F.avg_pool3d(image[:, :1], 2**level)
            for level in range(self.levels)
        ]
        return NetworkOutput(logits, attention, [])


def threshold_model() -> Model:
    """The model, with a card like that of a trained one."""
    card = ModelCard(
        name="bright",
        version="1",
        title="Bright is organ",
        summary="For tests.",
        intended_use="Tests.",
        licence="Apache-2.0",
        citation=(),
        intensity_window_hu=(-125, 275),
        labels=(Label(0, "background"), Label(1, "pancreas")),
        target="pancreas",
        stages={
            "locator": Stage({**NETWORK, "in_channels": 1}, (6.0, 6.0, 6.0)),
            "refiner": Stage(NETWORK, (2.0, 2.0, 3.0)),
        },
    )
    return Model(card, {"locator": BrightIsOrgan(0), "refiner": BrightIsOrgan()}, Path())
