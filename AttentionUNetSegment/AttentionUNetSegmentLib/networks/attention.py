"""A level's attention map on the image's own grid."""

from __future__ import annotations

import torch

from .blocks import crop_to, resize


def resample_attention(alpha: torch.Tensor, stride: int, size: tuple[int, ...]) -> torch.Tensor:
    """A level's map `(B, heads, *ceil(size / stride))` on the image's grid `(B, heads, *size)`.

    Linear interpolation by exactly `stride` = 2^(level - 1), then a crop: stretching the map to
    `size` would shift it wherever the size is not a multiple of the stride.
    """
    full = tuple(stride * length for length in alpha.shape[2:])
    return crop_to(resize(alpha, full), size).contiguous()
