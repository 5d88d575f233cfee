"""What all networks have in common: how they are called and what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from .attention import resample_attention
from .blocks import crop_to, pad_to_multiple
from .config import NetworkConfig
from .gates import AttentionGate, MultiScaleGate


class NetworkOutput(NamedTuple):
    """What a network returns when it is asked for more than the logits.

    logits     `(B, out_channels, *spatial)`
    attention  one alpha for each gated level, shallow to deep (the network's `gated_levels`),
               each `(B, heads, *ceil(spatial / 2^(level - 1)))`, float32; empty if not asked for
               and for networks without gates
    deep       logits of the coarser decoder levels, fine to coarse, each `(B, out_channels,
               *ceil(spatial / stride))` (the network's `deep_strides`); empty if not asked for and
               for networks without deep supervision
    """

    logits: torch.Tensor
    attention: list[torch.Tensor]
    deep: list[torch.Tensor]


class SegmentationNetwork(nn.Module, ABC):
    """Base of the networks.

    A subclass sets `stride`, to a multiple of which every input is padded, `deep_strides`, and for
    gates `gates` and `gated_levels`; its `forward_padded` does the work.
    """

    stride: int
    deep_strides: tuple[int, ...]
    gated_levels: tuple[int, ...]

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.deep_strides = ()
        self.gated_levels = ()
        self.gates = nn.ModuleList()

    @abstractmethod
    def forward_padded(
        self, x: torch.Tensor, deep: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Logits, alphas and deep logits of an input whose size is a multiple of `stride`."""

    def forward(
        self, x: torch.Tensor, return_attention: bool = False, return_deep: bool = False
    ) -> torch.Tensor | NetworkOutput:
        """Logits of `x`, `(B, in_channels, *spatial)`, of any spatial size.

        Returns the logits, `(B, out_channels, *spatial)`, or a NetworkOutput when one of the flags
        is set. The input is padded and the output cropped where the size asks for it. ValueError
        for an input of another number of axes or channels.
        """
        config = self.config
        if x.ndim != config.dimensions + 2 or x.shape[1] != config.in_channels:
            raise ValueError(
                f"The network takes (batch, {config.in_channels}, and {config.dimensions} spatial "
                f"axes), not {tuple(x.shape)}."
            )
        size = tuple(x.shape[2:])
        padded = pad_to_multiple(x, self.stride)
        logits, attention, deep = self.forward_padded(padded, return_deep)
        logits = crop_to(logits, size)
        if not (return_attention or return_deep):
            return logits
        if not return_attention:
            attention = []
        strides = [2 ** (level - 1) for level in self.gated_levels]
        return NetworkOutput(
            logits,
            [crop_to(a, _coarse(size, s)) for a, s in zip(attention, strides, strict=False)],
            [crop_to(d, _coarse(size, s)) for d, s in zip(deep, self.deep_strides, strict=False)],
        )

    def set_gates_open(self, is_open: bool) -> None:
        """True: every gate passes its skip unchanged, so that the network is a plain U-Net.

        This is the first phase of progressive training. No effect on a network without gates.
        """
        for gate in self.gates:
            assert isinstance(gate, (AttentionGate, MultiScaleGate))
            gate.open = is_open

    @torch.no_grad()
    def get_attention_maps(self, image: torch.Tensor, resample: bool = False) -> list[torch.Tensor]:
        """One attention map for each gated level, shallow to deep.

        image is `(B, in_channels, *spatial)`. The maps are float32 in [0, 1], `(B, heads,
        *ceil(spatial / 2^(level - 1)))`, or with `resample` `(B, heads, *spatial)`, linearly
        interpolated to the image's grid. Computed as at inference (running statistics of batch
        norm are used, not changed) and without gradients. Empty for networks without gates.
        """
        with _evaluating(self):
            output = self(image, return_attention=True)
        if not resample:
            return output.attention
        size = tuple(image.shape[2:])
        return [
            resample_attention(alpha, 2 ** (level - 1), size)
            for level, alpha in zip(self.gated_levels, output.attention, strict=True)
        ]


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _coarse(size: tuple[int, ...], stride: int) -> tuple[int, ...]:
    return tuple(-(-length // stride) for length in size)
