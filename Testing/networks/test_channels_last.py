"""The layout that a CPU answers in: the same answer as in double precision, in bfloat16 the same as
in the other layout, from the first layer to the last, and nothing of it where a network learns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from AttentionUNetSegmentLib.networks import SegmentationNetwork, build_network, channels_last
from AttentionUNetSegmentLib.networks import network as network_module
from AttentionUNetSegmentLib.networks.blocks import InstanceNorm
from AttentionUNetSegmentLib.networks.channels_last import (
    is_channels_last,
    is_channels_last_bfloat16,
    to_channels_last,
)
from AttentionUNetSegmentLib.networks.volume_conv import VolumeConv, VolumeUpsampling
from AttentionUNetSegmentLib.training.recipes import attention_unet
from torch import nn
from torch.profiler import ProfilerActivity, profile

IMAGE = torch.rand(1, 3, 20, 33, 40, generator=torch.Generator().manual_seed(1))
NETWORKS: list[dict[str, Any]] = [
    {},
    {"name": "UNet"},
    {"name": "ResUNet"},
    {"name": "FCN"},
    {"norm": "batch"},
    {"norm": "group"},
    {"upsampling": "interpolated"},
    *({"gate": gate} for gate in ("stable", "dual", "multi-scale", "multi-head")),
]

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available()
    or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="this processor is not one for which the layout is used",
)
needs_amx = pytest.mark.skipif(not channels_last._has_amx(), reason="this processor has no AMX")


def small_network(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    config = {**attention_unet((4, 8, 12), in_channels=3, out_channels=5), **changes}
    return build_network(config).eval()


def assert_like_double(network: nn.Module, image: torch.Tensor) -> None:
    with torch.inference_mode():
        answer = network(image, return_attention=True)
    with torch.no_grad():
        exact = network.double()(image.double(), return_attention=True)
    torch.testing.assert_close(answer.logits.double(), exact.logits, rtol=1e-4, atol=1e-4)
    for alpha, other in zip(answer.attention, exact.attention, strict=True):
        torch.testing.assert_close(alpha.double(), other.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", NETWORKS, ids=str)
def test_every_network_answers_as_in_double_precision(changes: dict[str, Any]) -> None:
    assert_like_double(small_network(**changes), IMAGE)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (4, 16, 8)])
def test_so_it_does_for_images_of_few_voxels(shape: tuple[int, ...]) -> None:
    assert_like_double(small_network(), torch.rand(1, 3, *shape))


def layouts(
    network: nn.Module,
    image: torch.Tensor,
    is_so: Callable[[torch.Tensor], bool] = is_channels_last,
) -> dict[str, bool]:
    """Whether the channels lie last in what each layer makes, by the layer's name."""
    found: dict[str, bool] = {}
    for name, module in network.named_modules():
        if isinstance(module, (VolumeConv, VolumeUpsampling, InstanceNorm)):
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: found.update({name: is_so(output)})
            )
    network(image)
    return found


def test_all_layers_of_an_answer_have_the_channels_last() -> None:
    with torch.inference_mode():
        found = layouts(small_network(deep_supervision=True), IMAGE)
    assert len(found) > 30
    assert all(found.values()), [name for name, is_last in found.items() if not is_last]


@pytest.mark.parametrize("stage", ["locator", "refiner"])
def test_an_answer_joins_nothing_and_goes_no_slow_way(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in the shipped networks: what PyTorch does for a layer that it has not in this
    layout, and what is new memory each time."""
    network = load_model(find_model(DEFAULT_MODEL)).networks[stage]
    assert isinstance(network, SegmentationNetwork)
    image = torch.rand(1, network.config.in_channels, 32, 32, 48)
    monkeypatch.setattr(torch, "cat", None)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as recorded:
        network(image)
    count = Counter(event.name for event in recorded.events())
    for name in ("slow_conv3d_forward", "slow_conv_transpose3d", "native_batch_norm"):
        assert count[f"aten::{name}"] == 0, name
    # Two a block, but three a block of the decoder, whose first one is of two inputs; three a gate;
    # and the head.
    assert count["aten::mkldnn_convolution"] == 5 * 2 + 4 * 3 + 4 * 3 + 1


def test_a_network_that_learns_has_them_as_before() -> None:
    network = small_network()
    assert not any(layouts(network, IMAGE).values())
    network.train()
    with torch.no_grad():
        assert not any(layouts(network, IMAGE).values())


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(2, 3, 8, 8, 8),
        torch.rand(1, 3, 8, 8, 8, dtype=torch.float64),
        torch.rand(1, 3, 8, 8, 8, dtype=torch.bfloat16),
        torch.rand(1, 3, 8, 8),
    ],
    ids=["a batch", "double", "bfloat16", "a slice"],
)
@torch.no_grad()
def test_only_one_volume_in_float32_is_laid_otherwise(image: torch.Tensor) -> None:
    assert to_channels_last(image) is image
    assert not is_channels_last(image)


@torch.no_grad()
def test_in_bfloat16_nothing_is_laid_otherwise_without_amx(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_last, "_has_amx", lambda: False)
    with torch.autocast("cpu", torch.bfloat16):
        assert to_channels_last(IMAGE) is IMAGE


@needs_amx
@pytest.mark.parametrize("changes", NETWORKS, ids=str)
@torch.inference_mode()
def test_in_bfloat16_every_network_answers_the_same_to_the_bit(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small_network(**changes)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(IMAGE, return_attention=True)
        monkeypatch.setattr(network_module, "to_channels_last", lambda x: x)
        expected = network(IMAGE, return_attention=True)
    for ours, theirs in zip(
        (answer.logits, *answer.attention), (expected.logits, *expected.attention), strict=True
    ):
        assert torch.equal(ours, theirs)


@needs_amx
@torch.inference_mode()
def test_in_bfloat16_all_layers_of_an_answer_have_the_channels_last() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = layouts(small_network(deep_supervision=True), IMAGE, is_channels_last_bfloat16)
    assert len(found) > 30
    assert all(found.values()), [name for name, is_last in found.items() if not is_last]


@torch.no_grad()
def test_the_norm_is_exact_far_from_zero() -> None:
    """Sums in single precision, one voxel after the other, would be wrong in the third digit."""
    image = torch.rand(1, 2, 40, 80, 80, generator=torch.Generator().manual_seed(0)) + 100
    norm = InstanceNorm(2, inplace=True)
    exact = nn.InstanceNorm3d(2)(image.double())
    laid = to_channels_last(image)
    torch.testing.assert_close(norm(laid).double(), exact, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_norm_by_itself_leaves_its_input_alone() -> None:
    laid = to_channels_last(IMAGE)
    before = laid.clone()
    InstanceNorm(3)(laid)
    assert torch.equal(laid, before)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5)])
@torch.no_grad()
def test_upsampling_is_transposed_convolution(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = VolumeUpsampling(6, 4), nn.ConvTranspose3d(6, 4, 2, stride=2)
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(1, 6, *shape)
    laid = to_channels_last(image)
    torch.testing.assert_close(ours(laid), theirs(image), rtol=1e-5, atol=1e-5)
    assert is_channels_last(ours(laid))


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_two_inputs_are_convolved_as_if_they_were_joined(bias: bool) -> None:
    torch.manual_seed(0)
    ours = VolumeConv(5, 4, 3, padding=1, bias=bias)
    parts = torch.rand(1, 2, 6, 7, 8), torch.rand(1, 3, 6, 7, 8)
    expected = nn.Conv3d.forward(ours, torch.cat(parts, dim=1))
    laid = [to_channels_last(part) for part in parts]
    assert torch.equal(ours([*parts]), ours(torch.cat(parts, dim=1)))
    torch.testing.assert_close(ours(laid), expected, rtol=1e-5, atol=1e-5)
    assert laid == []  # let go of


@pytest.mark.parametrize("name", ["AttentionUNet", "ResUNet"])
@torch.inference_mode()
def test_another_convolution_in_the_place_of_ours_is_given_one_input(name: str) -> None:
    network = small_network(name=name)
    expected = network(IMAGE)
    for block in network.decoder:  # type: ignore[union-attr]
        body = block if name == "AttentionUNet" else block.body  # type: ignore[union-attr]
        theirs = nn.Conv3d(body[0].in_channels, body[0].out_channels, 3, padding=1, bias=False)
        theirs.load_state_dict(body[0].state_dict())
        body[0] = theirs
    torch.testing.assert_close(network(IMAGE), expected, rtol=1e-4, atol=1e-4)
