"""Convolutions of volumes that PyTorch computes fast on a CPU, one volume at a time too.

For a single volume in float32 PyTorch decides by the size of all axes but the last whether oneDNN
computes a convolution (``ConvParams::use_mkldnn`` in ATen). Volumes are larger than pictures along
an axis that it does not count, so that most levels of a network are left to ``slow_conv3d``, which
takes three to eight times as long. Two halves of a volume are a batch of two, and those always go
to oneDNN. Its backward pass is also faster where it has nothing to pad.

Where that is not so (a GPU, bfloat16, a batch, a PyTorch without oneDNN, an export), nothing is
changed. A network that answers lays the volume otherwise where it can (``channels_last.py``), which
is faster still; this is for one that learns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import channels_last

_ONEDNN_FROM = 20480
"""Elements, without the last axis, above which PyTorch gives a single volume to oneDNN."""


class VolumeConv(nn.Conv3d):
    """`torch.nn.Conv3d`: the same weights, the same answer within rounding.

    It also takes a list of two inputs, to be joined along their channels, and empties it.
    """

    def forward(self, input: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        if isinstance(input, torch.Tensor):
            return super().forward(input)
        if all(channels_last.is_channels_last(part) for part in input) and self._moves_by_one:
            assert isinstance(self.padding, tuple)
            return channels_last.convolve_joined(input, self.weight, self.bias, self.padding)
        joined = torch.cat(input, dim=1)
        input.clear()
        return super().forward(joined)

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        if channels_last.is_channels_last(input) and self._moves_by_one:
            assert isinstance(self.padding, tuple)
            return channels_last.convolve(input, weight, bias, self.padding)
        if not self._concerns(input):
            return super()._conv_forward(input, weight, bias)
        halved = self._is_slow(input) and input.shape[2] % 2 == 0
        if not halved and not torch.is_grad_enabled():
            return super()._conv_forward(input, weight, bias)
        padded = F.pad(input, (0, 0, 0, 0, 1, 1))
        if halved:
            depth = input.shape[2] // 2 + 2
            padded = torch.cat((padded[:, :, :depth], padded[:, :, -depth:]))
        output = F.conv3d(padded, weight, bias, padding=(0, 1, 1))
        return torch.cat((output[:1], output[1:]), dim=2) if halved else output

    @property
    def _moves_by_one(self) -> bool:
        """Whether it is a plain convolution but for its size."""
        return (
            self.stride == self.dilation == (1, 1, 1)
            and self.groups == 1
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
        )

    def _concerns(self, input: torch.Tensor) -> bool:
        """Whether it is a single volume in float32 on a CPU with oneDNN, and a plain 3 x 3 x 3."""
        return (
            input.device.type == "cpu"
            and input.dtype == torch.float32
            and input.shape[0] == 1
            and self.kernel_size == (3, 3, 3)
            and self.padding == (1, 1, 1)
            and self._moves_by_one
            and torch.backends.mkldnn.is_available()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )

    def _is_slow(self, input: torch.Tensor) -> bool:
        return math.prod(input.shape[:4]) <= _ONEDNN_FROM


class VolumeUpsampling(nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` 2x2x2 of stride 2: the same weights, the same answer within
    rounding."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        if self.bias is not None and channels_last.is_channels_last(input):
            return channels_last.upsample(input, self.weight, self.bias)
        return super().forward(input, output_size)
