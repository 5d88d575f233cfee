"""The small parts that every network is made of, in 2D and in 3D.

Shapes are `(B, C, *spatial)` throughout; `dimensions` is the number of spatial axes, 2 or 3.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from . import channels_last
from .volume_conv import VolumeConv, VolumeUpsampling

_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: VolumeConv}
_LINEAR_MODES = {2: "bilinear", 3: "trilinear"}
_MAX_GROUPS = 8


class InstanceNorm(nn.Module):
    """Instance norm with a learned scale and shift a channel (Ulyanov et al. 2016).

    Unlike torch's module it takes a feature map of one voxel, which the bottleneck of a small
    input is, and gives the shift there: one voxel differs in nothing from its own mean. With
    `inplace` it may write over its input where nothing is learnt from that.
    """

    def __init__(self, channels: int, eps: float = 1e-5, inplace: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.inplace = inplace
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.inplace and channels_last.is_channels_last(x):
            return channels_last.normalise(x, self.weight, self.bias, self.eps)
        if self.inplace and channels_last.is_channels_last_bfloat16(x):
            return channels_last.normalise_bfloat16(x, self.weight, self.bias, self.eps)
        return torch.instance_norm(
            x, self.weight, self.bias, None, None, True, 0.0, self.eps, torch.backends.cudnn.enabled
        )


def conv(
    dimensions: int, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = True
) -> nn.Module:
    """A convolution that keeps the spatial size (odd `kernel_size`, zero padding)."""
    return _CONVOLUTIONS[dimensions](
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias
    )


def norm_layer(norm: str, dimensions: int, channels: int) -> nn.Module:
    """Batch, instance or group norm; group norm with at most 8 groups of two or more channels."""
    if norm == "batch":
        return nn.BatchNorm2d(channels) if dimensions == 2 else nn.BatchNorm3d(channels)
    if norm == "instance" or channels == 1:  # one group of one channel is instance norm
        return InstanceNorm(channels, inplace=True)
    most = min(_MAX_GROUPS, channels // 2)
    return nn.GroupNorm(max(n for n in range(1, most + 1) if channels % n == 0), channels)


def conv_norm(
    dimensions: int, in_channels: int, out_channels: int, norm: str, kernel_size: int = 3
) -> list[nn.Module]:
    """A convolution and its norm.

    The convolution has a bias, as the published sizes count it; not before instance norm, which
    takes every constant out again, so that the bias would never see a gradient.
    """
    normalise = norm_layer(norm, dimensions, out_channels)
    bias = not isinstance(normalise, InstanceNorm)
    return [conv(dimensions, in_channels, out_channels, kernel_size, bias), normalise]


class DoubleConv(nn.Sequential):
    """Twice convolution 3x3, norm, ReLU (Ronneberger et al. 2015, with norm)."""

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(
            *conv_norm(dimensions, in_channels, out_channels, norm),
            nn.ReLU(inplace=True),
            *conv_norm(dimensions, out_channels, out_channels, norm),
            nn.ReLU(inplace=True),
        )

    @property
    def takes_two(self) -> bool:
        """Whether it can be given two features that are to be joined: not if somebody put another
        convolution in the place of ours."""
        return isinstance(self[0], VolumeConv)


class ResidualBlock(nn.Module):
    """`ReLU(DoubleConv without its last ReLU + shortcut)` (Zhang et al. 2018).

    The shortcut is the identity, or a normed 1x1 convolution where the channels change. The last
    ReLU comes after the sum, so that skips are rectified features as they are in the plain U-Net.
    """

    def __init__(self, dimensions: int, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(dimensions, in_channels, out_channels, norm),
            nn.ReLU(inplace=True),
            *conv_norm(dimensions, out_channels, out_channels, norm),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                *conv_norm(dimensions, in_channels, out_channels, norm, kernel_size=1)
            )

    @property
    def takes_two(self) -> bool:
        """As of DoubleConv."""
        firsts = [part[0] for part in (self.body, self.shortcut) if isinstance(part, nn.Sequential)]
        return len(firsts) == 2 and all(isinstance(first, VolumeConv) for first in firsts)

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        # Who is given a list empties it.
        again = x if isinstance(x, torch.Tensor) else [*x]
        return F.relu(self.body(again) + self.shortcut(x))


class Upsampling(nn.Module):
    """Doubles the resolution.

    "transposed" is a transposed convolution 2x2 of stride 2; "interpolated" is linear
    interpolation, convolution 3x3, norm, ReLU.
    """

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, norm: str, upsampling: str
    ) -> None:
        super().__init__()
        self.interpolated = upsampling == "interpolated"
        if self.interpolated:
            self.layers = nn.Sequential(
                *conv_norm(dimensions, in_channels, out_channels, norm), nn.ReLU(inplace=True)
            )
        else:
            self.layers = nn.Sequential(
                VolumeUpsampling(in_channels, out_channels)
                if dimensions == 3
                else nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.interpolated:
            x = resize(x, tuple(2 * size for size in x.shape[2:]))
        return self.layers(x)


def resize(x: torch.Tensor, size: tuple[int, ...] | torch.Size) -> torch.Tensor:
    """`x` linearly interpolated to the spatial `size`, voxel edges (not centres) aligned."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode=_LINEAR_MODES[x.ndim - 2], align_corners=False)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    """Maximum over 2x2 (2x2x2) voxels."""
    if x.ndim == 4:
        return F.max_pool2d(x, 2)
    quick = x.device.type != "cpu" or not x.is_contiguous()  # with the channels last, for one
    if quick or x.requires_grad or torch.compiler.is_compiling():
        return F.max_pool3d(x, 2)
    # The same numbers in a tenth of the time: PyTorch's own also notes where each maximum was.
    for axis in (2, 3, 4):
        even = x.narrow(axis, 0, x.shape[axis] // 2 * 2)
        x = torch.maximum(*even.unflatten(axis, (-1, 2)).unbind(axis + 1))
    return x


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """`x` with its last voxels repeated at each axis' end, up to multiples of `multiple`.

    Repeated, not zeros: zero is a grey value like others here, and would look like an edge.
    """
    pads: list[int] = []
    for size in reversed(x.shape[2:]):
        pads += [0, -size % multiple]
    return F.pad(x, pads, mode="replicate") if any(pads) else x


def crop_to(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """The part of `x` that starts at its origin and has the spatial `size`; a view."""
    for index, length in enumerate(size):  # PyTorch 2.4 exports no other start
        axis = index + 2
        if x.shape[axis] != length:
            x = x.narrow(axis, 0, length)
    return x
