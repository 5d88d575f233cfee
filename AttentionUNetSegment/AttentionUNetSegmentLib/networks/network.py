"""What all networks have in common: how they are made, called, and what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from ..errors import ModelError
from .attention import resample_attention
from .blocks import crop_to, pad_to_multiple
from .channels_last import to_channels_last
from .config import CHANNELS, NetworkConfig
from .gates import AttentionGate, MultiScaleGate

if TYPE_CHECKING:
    from typing_extensions import Self


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
    """Base of the networks. Arguments have the names that MONAI's networks give them.

    spatial_dims      2 or 3
    in_channels       channels of the input image
    out_channels      classes, background included
    channels          feature channels a level, shallow to deep; the last is the bottleneck
    strides           of the steps between the levels, for those who pass them to MONAI's networks:
                      all must be 2
    norm, upsampling, deep_supervision
                      as in NetworkConfig

    Raises ModelError, one clear sentence, for what cannot be built. Called with an image it returns
    the logits as one tensor, so that it takes the place of any other network in a training loop or
    in MONAI's inferers. `config` is what a model's card stores of it.

    A subclass builds its layers in `build_layers`, where it sets `stride`, to a multiple of which
    every input is padded, `deep_strides`, and for gates `gates` and `gated_levels`; its
    `forward_padded` does the work.
    """

    architecture: str  # its name in a config
    stride: int
    deep_strides: tuple[int, ...]
    gated_levels: tuple[int, ...]

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = CHANNELS,
        strides: Sequence[int] | None = None,
        *,
        norm: str = "batch",
        upsampling: str = "transposed",
        deep_supervision: bool = False,
    ) -> None:
        config = NetworkConfig(
            self.architecture,
            spatial_dims,
            in_channels,
            out_channels,
            tuple(channels),
            norm,
            upsampling,
            deep_supervision=deep_supervision,
        )
        self._build(config, strides)

    @classmethod
    def from_config(cls, config: NetworkConfig) -> Self:
        """The network that a config describes; `build_network` finds the class as well."""
        network = cls.__new__(cls)
        network._build(config)
        return network

    def _build(self, config: NetworkConfig, strides: Sequence[int] | None = None) -> None:
        if strides is not None and list(strides) != [2] * (len(config.channels) - 1):
            raise ModelError(
                f"The network's strides must be {len(config.channels) - 1} times 2, one between "
                f"each two levels, not {list(strides)}."
            )
        nn.Module.__init__(self)
        self.config = config
        self.background_apart = False
        self.deep_strides = ()
        self.gated_levels = ()
        self.gates = nn.ModuleList()
        self.build_layers(config)

    @abstractmethod
    def build_layers(self, config: NetworkConfig) -> None:
        """Make the layers that the config describes."""

    @abstractmethod
    def forward_padded(
        self, x: torch.Tensor, deep: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Logits, alphas and deep logits of an input whose size is a multiple of `stride`."""

    def forward(
        self,
        x: torch.Tensor,
        return_attention: bool = False,
        return_deep: bool = False,
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
        # Group norm, and batch norm while it learns, PyTorch sums less exactly in that layout.
        if config.norm != "group" and not self.training:
            padded = to_channels_last(padded)
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

    def join_background(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the classes from a head's outputs `(B, outputs, *spatial)`: the probability of
        the background is the sum of its kinds'. The outputs themselves while they are apart."""
        classes = self.config.out_channels
        if self.background_apart or self.config.outputs == classes:
            return logits
        kinds = torch.cat((logits[:, :1], logits[:, classes:]), dim=1)
        background = torch.logsumexp(kinds.float(), dim=1, keepdim=True).to(logits.dtype)
        return torch.cat((background, logits[:, 1:classes]), dim=1)

    def set_background_apart(self, is_apart: bool) -> None:
        """True: the network answers with each kind of background, the further ones after the
        classes, as its training needs it. No effect on a network with one kind."""
        self.background_apart = is_apart

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
