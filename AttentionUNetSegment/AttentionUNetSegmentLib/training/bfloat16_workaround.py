"""A way around a fault of PyTorch's in bfloat16 on CPUs.

Where the input of a 3 x 3 x 3 convolution is one or two voxels deep, the gradient of its weights
holds whatever the memory held before, so that training goes astray or ends (seen with PyTorch 2.13
and its oneDNN: two voxels on AVX-512 bf16, one on AMX; the forward pass, other depths and other
types are right). A patch of 32 slices is two deep on the fifth level.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

_LEAST_DEPTH = 3


def avoid_shallow_gradients(network: nn.Module) -> None:
    """Let the convolutions see planes of zeros below too shallow an input, which change nothing of
    their answers."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
            module.forward = partial(_convolve, module)  # type: ignore[method-assign]


def _convolve(convolution: nn.Conv3d, image: torch.Tensor) -> torch.Tensor:
    depth = image.shape[2]
    if depth >= _LEAST_DEPTH:
        return type(convolution).forward(convolution, image)
    deeper = F.pad(image, (0, 0, 0, 0, 0, _LEAST_DEPTH - depth))
    return type(convolution).forward(convolution, deeper)[:, :, :depth]
