"""A way around a fault of PyTorch's in bfloat16 on CPUs.

Where the input of a 3 x 3 x 3 convolution is two voxels deep, the gradient of its weights holds
whatever the memory held before, so that training goes astray or ends (seen with PyTorch 2.13 and
its oneDNN on AVX-512 bf16; the forward pass, other depths and other types are right). A patch of 32
slices is two deep on the fifth level.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

_FAULTY_DEPTH = 2


def avoid_depth_of_two(network: nn.Module) -> None:
    """Let the convolutions see a third plane of zeros, which changes nothing of their answers."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
            module.forward = partial(_convolve, module)  # type: ignore[method-assign]


def _convolve(convolution: nn.Conv3d, image: torch.Tensor) -> torch.Tensor:
    if image.shape[2] != _FAULTY_DEPTH:
        return type(convolution).forward(convolution, image)
    deeper = F.pad(image, (0, 0, 0, 0, 0, 1))
    return type(convolution).forward(convolution, deeper)[:, :, :_FAULTY_DEPTH]
