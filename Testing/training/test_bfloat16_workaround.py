"""Gradients in bfloat16 on a CPU, where an image is one or two voxels deep."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from AttentionUNetSegmentLib.training.bfloat16_workaround import avoid_shallow_gradients
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from small_cases import small_case, tiny_options
from torch import nn


def fill_free_memory() -> None:
    """Leave large numbers in the memory that is given out next."""
    filled = [torch.full((2**power,), 1e30) for power in range(8, 22) for _ in range(3)]
    del filled


def gradients(network: nn.Module, image: torch.Tensor, bfloat16: bool) -> list[torch.Tensor]:
    """Of the image and of all weights."""
    network.zero_grad()
    image = image.clone().requires_grad_()
    fill_free_memory()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = network(image)
    fill_free_memory()
    output.float().square().mean().backward()
    assert image.grad is not None
    of_weights = [one.grad for one in network.parameters() if one.grad is not None]
    return [image.grad, *(one.clone() for one in of_weights)]


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_gradients_are_those_of_single_precision(depth: int) -> None:
    torch.manual_seed(0)
    exact = nn.Sequential(nn.Conv3d(3, 16, 3, padding=1))
    network = copy.deepcopy(exact)
    avoid_shallow_gradients(network)
    image = torch.rand(2, 3, depth, 8, 8)
    expected = gradients(exact, image, bfloat16=False)
    for value, other in zip(expected, gradients(network, image, bfloat16=False), strict=True):
        torch.testing.assert_close(other, value)
    for _ in range(5):
        for value, other in zip(expected, gradients(network, image, bfloat16=True), strict=True):
            assert float((other - value).abs().max()) < 0.03 * float(value.abs().max())


def depth_of(image: torch.Tensor | tuple[torch.Tensor, ...]) -> int:
    """Of what a convolution is given: one volume, or several whose channels follow one another."""
    first = image if isinstance(image, torch.Tensor) else image[0]
    return first.shape[2]


@pytest.mark.parametrize("bfloat16", [True, False])
def test_training_in_bfloat16_on_a_cpu_goes_around_it(tmp_path: Path, bfloat16: bool) -> None:
    """Of the tiny patches' 16 slices two are left on the fourth level."""
    trainer = StageTrainer(tiny_options(1), [small_case()], [], tmp_path, bfloat16=bfloat16)
    seen: list[int] = []
    for module in trainer.state.network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(depth_of(*inputs)))
            assert ("forward" in vars(module)) == (bfloat16 and module.kernel_size[0] == 3)
    trainer.run()
    assert 2 in seen
