"""FCN-8s: a convolutional encoder whose scores from three depths are summed and upsampled."""

from __future__ import annotations

import torch
from torch import nn

from .blocks import DoubleConv, conv, max_pool, resize
from .config import NetworkConfig
from .network import SegmentationNetwork


class FCN(SegmentationNetwork):
    """Fully convolutional network (Long et al. 2015), in 2D or 3D.

    Every level is two convolutions and a pooling; the last three levels (strides 8, 16 and 32 with
    five levels, hence FCN-8s) are scored by 1x1 convolutions. Scores are summed from the coarsest
    up, doubling by a transposed 4x4 convolution that starts as linear interpolation
    ("transposed") or by linear interpolation and a 3x3 convolution ("interpolated"); the last
    step to the image's grid is linear interpolation. With deep supervision the sums at the two
    coarser strides are the deep logits. Arguments as SegmentationNetwork.
    """

    architecture = "FCN"

    def build_layers(self, config: NetworkConfig) -> None:
        dimensions, classes = config.dimensions, config.outputs
        levels = len(config.channels)
        self.stride = 2**levels
        inputs = (config.in_channels, *config.channels[:-1])
        self.encoder = nn.ModuleList(
            DoubleConv(dimensions, before, after, config.norm)
            for before, after in zip(inputs, config.channels, strict=True)
        )
        # Fine to coarse: scores of the last three levels, and the two doublings between them.
        self.scores = nn.ModuleList(
            conv(dimensions, width, classes, kernel_size=1) for width in config.channels[-3:]
        )
        self.doublings = nn.ModuleList(
            _ScoreDoubling(dimensions, classes, config.upsampling) for _ in range(2)
        )
        if config.deep_supervision:
            self.deep_strides = (2 ** (levels - 1), 2**levels)

    def forward_padded(
        self, x: torch.Tensor, deep: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        size = x.shape[2:]
        features = []
        for block in self.encoder:
            x = max_pool(block(x))
            features.append(x)
        fine, middle, coarse = (
            score(feature) for score, feature in zip(self.scores, features[-3:], strict=True)
        )
        middle = middle + self.doublings[1](coarse)
        fine = fine + self.doublings[0](middle)
        deep_logits = [self.join_background(one) for one in (middle, coarse)] if deep else []
        return self.join_background(resize(fine, size)), [], deep_logits


class _ScoreDoubling(nn.Module):
    """Class scores at twice the resolution."""

    def __init__(self, dimensions: int, classes: int, upsampling: str) -> None:
        super().__init__()
        self.interpolated = upsampling == "interpolated"
        if self.interpolated:
            self.layer = conv(dimensions, classes, classes)
            return
        transposed = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
        layer = transposed(classes, classes, kernel_size=4, stride=2, padding=1, bias=False)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[range(classes), range(classes)] = _linear_kernel(dimensions)
        self.layer = layer

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        if self.interpolated:
            score = resize(score, tuple(2 * length for length in score.shape[2:]))
        return self.layer(score)


def _linear_kernel(dimensions: int) -> torch.Tensor:
    """The 4^dimensions kernel with which a transposed convolution of stride 2 interpolates."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = line
    for _ in range(dimensions - 1):
        kernel = kernel[..., None] * line
    return kernel
