"""Convolutions of volumes on a CPU: whichever way PyTorch goes, the same answer, and not slowly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.networks.volume_conv import VolumeConv
from AttentionUNetSegmentLib.training.recipes import attention_unet
from torch import nn
from torch.profiler import ProfilerActivity, profile

SHAPES = [
    (1, 3, 8, 20, 24),
    (1, 4, 7, 9, 11),
    (1, 4, 2, 5, 6),
    (1, 4, 1, 1, 1),
    (2, 3, 8, 9, 10),
    (1, 16, 40, 40, 8),
]
"""Halved; odd, so not; the least that can be halved; a voxel; a batch; large enough for oneDNN."""


def answers(
    convolve: nn.Module, image: torch.Tensor, weights: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Output, and gradients of the image and of the weights, for an output that is not uniform."""
    image = image.clone().requires_grad_()
    output = convolve(image)
    output.sin().sum().backward()
    gradients = [one.grad for one in (image, *weights)]
    assert all(one is not None for one in gradients)
    return [output.detach(), *(one for one in gradients if one is not None)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_double_precision(
    shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    ours = VolumeConv(shape[1], 6, 3, padding=1, bias=bias)
    exact = nn.Conv3d(shape[1], 6, 3, padding=1, bias=bias).double()
    exact.load_state_dict({name: value.double() for name, value in ours.state_dict().items()})
    image = torch.rand(shape)
    found = answers(ours, image, list(ours.parameters()))
    expected = answers(exact, image.double(), list(exact.parameters()))
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value.double(), other, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"stride": 2}, {"dilation": 2}, {"padding": 0}, {"kernel_size": 1}, {"groups": 3}]
)
def test_other_convolutions_are_left_as_they_are(changes: dict[str, int]) -> None:
    torch.manual_seed(0)
    options = {"kernel_size": 3, "padding": 1, **changes}
    ours = VolumeConv(3, 6, **options)
    image = torch.rand(1, 3, 8, 9, 10)
    expected = nn.Conv3d.forward(ours, image)
    theirs = nn.Conv3d(3, 6, **options)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(expected, theirs(image))
    assert torch.equal(ours(image), theirs(image))


def test_in_bfloat16_nothing_is_changed() -> None:
    torch.manual_seed(0)
    ours = VolumeConv(3, 6, 3, padding=1)
    theirs = nn.Conv3d(3, 6, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(1, 3, 8, 20, 24)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(ours(image), theirs(image))


def slow_convolutions(network: nn.Module, image: torch.Tensor, learning: bool) -> int:
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        if learning:
            network(image).square().mean().backward()
        else:
            with torch.inference_mode():
                network(image)
    return sum(event.name == "aten::slow_conv3d_forward" for event in recorded.events())


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN"
)
@pytest.mark.parametrize("learning", [True, False])
def test_no_level_of_a_network_is_left_to_the_slow_convolution(learning: bool) -> None:
    torch.manual_seed(0)
    network = build_network({**attention_unet((4, 8, 16), in_channels=3), "name": "UNet"})
    image = torch.rand(1, 3, 16, 32, 32)
    found = slow_convolutions(network, image, learning)
    # Kernels of one voxel, those of the heads, are not halved.
    assert found <= sum(
        isinstance(one, nn.Conv3d) and one.kernel_size == (1, 1, 1) for one in network.modules()
    )


def test_plain_convolution_of_pytorch_is_the_reference() -> None:
    torch.manual_seed(0)
    ours = VolumeConv(3, 6, 3, padding=1)
    image = torch.rand(1, 3, 8, 20, 24)
    expected = F.conv3d(image, ours.weight, ours.bias, padding=1)
    torch.testing.assert_close(ours(image), expected, rtol=1e-5, atol=1e-5)
