"""UNet, ResUNet and AttentionUNet: one encoder and decoder, with other blocks or other skips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from .blocks import DoubleConv, ResidualBlock, Upsampling, conv, max_pool
from .channels_last import is_channels_last
from .config import CHANNELS, NetworkConfig
from .gates import build_gate
from .network import SegmentationNetwork


class UNet(SegmentationNetwork):
    """U-Net (Ronneberger et al. 2015) with norm and size-keeping convolutions, in 2D or 3D.

    Level l has `channels[l - 1]` channels and 2^(l-1) times coarser voxels; the last level is the
    bottleneck. With deep supervision every decoder level has a segmentation head.

    Sizes in 2D, 1 channel in, 2 classes, channels 64 to 1024, batch norm: 31,042,434 parameters
    with transposed upsampling; 34,525,954 with interpolated upsampling, the "34.5 M" of published
    summaries. Arguments as SegmentationNetwork.
    """

    architecture = "UNet"
    make_block: Callable[[int, int, int, str], nn.Module] = DoubleConv

    def build_layers(self, config: NetworkConfig) -> None:
        dimensions, norm, channels = config.dimensions, config.norm, config.channels
        make_block = type(self).make_block
        self.stride = 2 ** (len(channels) - 1)

        inputs = (config.in_channels, *channels[:-1])
        self.encoder = nn.ModuleList(
            make_block(dimensions, before, after, norm)
            for before, after in zip(inputs, channels, strict=True)
        )
        # The decoder's lists run shallow to deep, as the levels are numbered.
        fine_and_coarse = list(pairwise(channels))
        self.upsamplings = nn.ModuleList(
            Upsampling(dimensions, coarse, fine, norm, config.upsampling)
            for fine, coarse in fine_and_coarse
        )
        self.decoder = nn.ModuleList(
            make_block(dimensions, 2 * fine, fine, norm) for fine, _ in fine_and_coarse
        )
        self.head = conv(dimensions, channels[0], config.outputs, kernel_size=1)
        self.deep_heads = nn.ModuleList()
        if config.deep_supervision:
            supervised = channels[1:-1]
            self.deep_strides = tuple(2**level for level in range(1, len(supervised) + 1))
            self.deep_heads.extend(
                conv(dimensions, width, config.outputs, kernel_size=1) for width in supervised
            )

    def forward_padded(
        self, x: torch.Tensor, deep: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        skips = []
        for index, block in enumerate(self.encoder):
            x = block(max_pool(x) if index else x)
            skips.append(x)
        skips.pop()  # the bottleneck

        gate_of_level = dict(zip(self.gated_levels, self.gates, strict=True))
        attention: list[torch.Tensor] = []
        deep_logits: list[torch.Tensor] = []
        for index in reversed(range(len(skips))):
            skip, level = skips.pop(), index + 1
            if level in gate_of_level:
                # The gating signal is the coarser feature, before it is upsampled.
                skip, alpha = gate_of_level[level](skip, x)
                attention.insert(0, alpha)
            parts = [skip, self.upsamplings[index](x)]
            del skip, x
            x = self._decode(self.decoder[index], parts)
            if deep and index and self.deep_heads:
                deep_logits.insert(0, self.join_background(self.deep_heads[index - 1](x)))
        return self.join_background(self.head(x)), attention, deep_logits

    def _decode(self, block: nn.Module, parts: list[torch.Tensor]) -> torch.Tensor:
        """What a block makes of a skip and the feature from below, joined.

        Args:
            parts: both; emptied, for they are the largest of a pass, and nobody needs them while
                the block computes.
        """
        if getattr(block, "takes_two", False) and all(map(is_channels_last, parts)):
            return block(parts)
        joined = torch.cat(parts, dim=1)
        parts.clear()
        return block(joined)


class ResUNet(UNet):
    """U-Net whose blocks are residual (Zhang et al. 2018, "Deep Residual U-Net")."""

    architecture = "ResUNet"
    make_block = ResidualBlock


class AttentionUNet(UNet):
    """U-Net with an attention gate on its skips (Oktay et al. 2018).

    The gate of level l has F_l = channels[l - 1], F_g = channels[l], F_int = F_l / 2. `gates`
    holds them shallow to deep, `gated_levels` says which level each belongs to.

    Its four standard gates add 525,612 parameters to the sizes that UNet states: 31,568,046 with
    transposed, 35,051,566 with interpolated upsampling.

        network = AttentionUNet(spatial_dims=3, in_channels=1, out_channels=2,
                                channels=(16, 32, 64, 128, 256), norm="instance")
        logits = network(image)
        maps = network.get_attention_maps(image, resample=True)

    Arguments as SegmentationNetwork, and

    gate              one of `GATES`
    gated_levels      "all" or "deepest"
    heads             attention maps of one multi-head gate
    """

    architecture = "AttentionUNet"

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
        gate: str = "standard",
        gated_levels: str = "all",
        heads: int = 4,
    ) -> None:
        config = NetworkConfig(
            self.architecture,
            spatial_dims,
            in_channels,
            out_channels,
            tuple(channels),
            norm,
            upsampling,
            gate,
            gated_levels,
            deep_supervision,
            heads,
        )
        self._build(config, strides)

    def build_layers(self, config: NetworkConfig) -> None:
        super().build_layers(config)
        self.gated_levels = config.gate_levels
        for level in self.gated_levels:
            f_l, f_g = config.channels[level - 1], config.channels[level]
            f_int = max(1, f_l // 2)
            self.gates.append(
                build_gate(
                    config.gate, config.dimensions, f_g, f_l, f_int, config.norm, config.heads
                )
            )
