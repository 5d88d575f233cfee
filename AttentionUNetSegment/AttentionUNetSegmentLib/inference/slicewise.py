"""A 2D network on a volume: slice by slice, called like a 3D one."""

from __future__ import annotations

import torch
from torch import nn

from ..networks import NetworkOutput, SegmentationNetwork, resample_attention

PIXELS_AT_ONCE = 500_000
"""Of a pass: about 1 GB of activations with 64 channels at full resolution."""


class Slicewise(nn.Module):
    """Runs a 2D network on every axial slice of a volume.

    The attention maps come at the volume's full resolution: levels are coarser within a slice only,
    and what surrounds the network expects a level to be coarser along every axis, or along none.

    Args:
        network: of two dimensions.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network
        self.gates = network.gates

    def forward(
        self, image: torch.Tensor, return_attention: bool = False
    ) -> torch.Tensor | NetworkOutput:
        """Logits (1, classes, k, j, i) of an image (1, channels, k, j, i), any size.

        With ``return_attention`` a NetworkOutput, its maps (1, heads, k, j, i).
        """
        slices = image[0].transpose(0, 1)
        size = (int(slices.shape[2]), int(slices.shape[3]))
        logits: list[torch.Tensor] = []
        maps: list[list[torch.Tensor]] = [[] for _ in self.gates]
        for some in slices.split(max(PIXELS_AT_ONCE // (size[0] * size[1]), 1)):
            if not return_attention:
                logits.append(self.network(some))
                continue
            output = self.network(some, return_attention=True)
            logits.append(output.logits)
            for level, alpha, done in zip(
                self.network.gated_levels, output.attention, maps, strict=True
            ):
                done.append(resample_attention(alpha, 2 ** (level - 1), size))
        if not return_attention:
            return _stack_slices(logits)
        return NetworkOutput(_stack_slices(logits), [_stack_slices(done) for done in maps], [])


def as_volumetric(network: nn.Module) -> nn.Module:
    """A network that takes volumes: the network itself, or a 2D one made to run slice by slice."""
    if isinstance(network, SegmentationNetwork) and network.config.dimensions == 2:
        return Slicewise(network)
    return network


def _stack_slices(slices: list[torch.Tensor]) -> torch.Tensor:
    """(1, C, k, j, i) from parts (slices, C, j, i)."""
    return torch.cat(slices).transpose(0, 1)[None]
