"""The attention gates: their formula, their start, their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.networks import GATES, build_gate, focus_ratio
from AttentionUNetSegmentLib.networks.focus import is_open, is_shut
from monai.networks.nets.attentionunet import AttentionBlock
from small_cards import biases_that_a_norm_takes_out
from torch import nn

F_G, F_L, F_INT = 12, 8, 4


def _features(dimensions: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """A skip of odd-looking size and the coarser decoder feature that belongs to it."""
    generator = torch.Generator().manual_seed(1)
    coarse = (3, 4, 5)[:dimensions]
    skip = torch.randn(batch, F_L, *(2 * n for n in coarse), generator=generator)
    return skip, torch.randn(batch, F_G, *coarse, generator=generator)


def _randomise(module: nn.Module, seed: int = 0) -> None:
    """Every weight, shift and running statistic away from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.dtype.is_floating_point:
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)


def _gate(gate: str, dimensions: int, norm: str = "batch") -> nn.Module:
    torch.manual_seed(0)
    return build_gate(gate, dimensions, F_G, F_L, F_INT, norm, heads=2)


# --- an independent computation of the gate, in numpy -----------------------------------------


def _np_conv1(x: np.ndarray, conv: nn.Module) -> np.ndarray:
    weight = conv.get_parameter("weight").detach().numpy()
    weight = weight.reshape(weight.shape[:2])
    bias = conv.get_parameter("bias").detach().numpy()
    return np.einsum("oc,bc...->bo...", weight, x) + bias.reshape(1, -1, *[1] * (x.ndim - 2))


def _np_batch_norm(x: np.ndarray, norm: nn.Module) -> np.ndarray:
    state = {key: value.numpy() for key, value in norm.state_dict().items()}
    shape = (1, -1, *[1] * (x.ndim - 2))
    x = (x - state["running_mean"].reshape(shape)) / np.sqrt(
        state["running_var"].reshape(shape) + 1e-5
    )
    return x * state["weight"].reshape(shape) + state["bias"].reshape(shape)


def _np_double(x: np.ndarray) -> np.ndarray:
    """Linear interpolation by two along each spatial axis, voxel edges aligned."""
    for axis in range(2, x.ndim):
        length = x.shape[axis]
        position = np.clip((np.arange(2 * length) + 0.5) / 2 - 0.5, 0, length - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, length - 1)
        part = (position - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part
    return x


@pytest.mark.parametrize("dimensions", [2, 3])
def test_standard_gate_follows_the_published_formula(dimensions: int) -> None:
    gate = _gate("standard", dimensions)
    _randomise(gate)
    gate.eval()
    skip, signal = _features(dimensions)

    gated, alpha = gate(skip, signal)

    x, g = skip.numpy(), signal.numpy()
    w_x = _np_batch_norm(_np_conv1(x, gate.w_x[0]), gate.w_x[1])
    w_g = _np_double(_np_batch_norm(_np_conv1(g, gate.w_g[0]), gate.w_g[1]))
    q = np.maximum(w_x + w_g, 0)
    expected = 1 / (1 + np.exp(-_np_batch_norm(_np_conv1(q, gate.psi[0]), gate.psi[1])))
    np.testing.assert_allclose(alpha.detach().numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(gated.detach().numpy(), expected * x, atol=1e-4)
    assert expected.min() < 0.3 < 0.7 < expected.max()  # the comparison is not of constants


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("training", [False, True])
def test_standard_gate_agrees_with_monai_on_a_common_grid(dimensions: int, training: bool) -> None:
    gate = _gate("standard", dimensions)
    _randomise(gate)
    block = AttentionBlock(dimensions, f_int=F_INT, f_g=F_G, f_l=F_L)
    theirs = [p for part in (block.W_x, block.W_g, block.psi) for p in part.state_dict().values()]
    ours = [p for part in (gate.w_x, gate.w_g, gate.psi) for p in part.state_dict().values()]
    assert len(theirs) == len(ours)
    for their_value, our_value in zip(theirs, ours, strict=True):
        their_value.copy_(our_value)
    gate.train(training)
    block.train(training)
    skip, _ = _features(dimensions)
    signal = torch.randn(2, F_G, *skip.shape[2:])  # MONAI's block takes g on the skip's grid

    torch.testing.assert_close(gate(skip, signal)[0], block(g=signal, x=skip))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_stable_gate_starts_open_at_0_73(dimensions: int, norm: str) -> None:
    _, alpha = _gate("stable", dimensions, norm)(*_features(dimensions))
    torch.testing.assert_close(alpha, torch.full_like(alpha, 0.731059), atol=1e-6, rtol=0)


@pytest.mark.parametrize("bias", [-200.0, -30.0, -6.0, 6.0, 30.0, 200.0])
@pytest.mark.parametrize("half", [False, True])
def test_saturated_stable_gate_keeps_its_bounds_and_its_gradient(bias: float, half: bool) -> None:
    gate = _gate("stable", 3, "instance")
    nn.init.normal_(gate.psi[0].weight, std=0.1)
    nn.init.constant_(gate.psi[0].bias, bias)
    skip, signal = _features(3)
    signal.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        gated, alpha = gate(skip, signal)
    assert alpha.min() >= 0.01
    assert alpha.max() <= 0.99
    (gated.float() * torch.randn(gated.shape)).sum().backward()
    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-4, name
    assert signal.grad is not None
    assert signal.grad.abs().max() > 1e-4


def test_stable_gate_has_the_sigmoid_s_own_slope_where_it_is_not_saturated() -> None:
    score = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    alpha = _gate("stable", 2).coefficient(score)
    alpha.sum().backward()
    expected = torch.sigmoid(score.detach())
    torch.testing.assert_close(alpha.detach(), expected)
    torch.testing.assert_close(score.grad, expected * (1 - expected))


def test_dual_gate_weighs_channels_after_voxels() -> None:
    gate = _gate("dual", 2)
    _randomise(gate)
    gate.eval()
    skip, signal = _features(2)
    gated, alpha = gate(skip, signal)

    spatial = (alpha * skip).detach().numpy()
    hidden = np.maximum(
        _np_conv1(spatial.mean((2, 3), keepdims=True), gate.channel_attention[0]), 0
    )
    channels = 1 / (1 + np.exp(-_np_conv1(hidden, gate.channel_attention[2])))
    np.testing.assert_allclose(gated.detach().numpy(), channels * spatial, atol=1e-5)
    wide = build_gate("dual", 2, 256, 128, 64, "batch")
    assert wide.channel_attention[0].out_channels == 128 // 16


def test_multi_scale_gate_averages_the_outputs_of_three_gates() -> None:
    gate = _gate("multi-scale", 2)
    _randomise(gate)
    gate.eval()
    skip = torch.randn(1, F_L, 16, 16)
    signal = torch.randn(1, F_G, 8, 8)
    gated, alpha = gate(skip, signal)

    pooled = [signal]
    for scale in (2, 4):
        blocks = signal.reshape(1, F_G, 8 // scale, scale, 8 // scale, scale)
        pooled.append(blocks.mean((3, 5)))
    outputs = [one(skip, g) for one, g in zip(gate.scales, pooled, strict=True)]
    torch.testing.assert_close(gated, sum(output for output, _ in outputs) / 3)
    torch.testing.assert_close(alpha, sum(a for _, a in outputs) / 3)


def test_each_head_of_a_multi_head_gate_weighs_its_own_channels() -> None:
    gate = _gate("multi-head", 3)
    _randomise(gate)
    skip, signal = _features(3)
    gated, alpha = gate(skip, signal)
    assert alpha.shape == (2, 2, *skip.shape[2:])
    assert not torch.allclose(alpha[:, 0], alpha[:, 1])
    torch.testing.assert_close(gated[:, : F_L // 2], skip[:, : F_L // 2] * alpha[:, :1])
    torch.testing.assert_close(gated[:, F_L // 2 :], skip[:, F_L // 2 :] * alpha[:, 1:])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_alpha_is_a_share_and_every_weight_of_a_gate_learns(
    gate: str, norm: str, dimensions: int
) -> None:
    module = _gate(gate, dimensions, norm)
    if gate == "stable":  # behind psi's zero weights nothing learns in the very first step
        nn.init.normal_(module.psi[0].weight)
    skip, signal = _features(dimensions)
    gated, alpha = module(skip, signal)
    assert gated.shape == skip.shape
    assert alpha.shape == (2, 2 if gate == "multi-head" else 1, *skip.shape[2:])
    assert alpha.dtype == torch.float32
    assert 0 <= alpha.min() <= alpha.max() <= 1
    (gated * torch.randn(gated.shape)).sum().backward()
    cancelled = biases_that_a_norm_takes_out(module)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert name in cancelled or parameter.grad.abs().max() > 1e-4, name
    assert norm == "batch" or not cancelled


@pytest.mark.parametrize("gate", GATES)
def test_open_gate_passes_its_skip_unchanged_and_says_so(gate: str) -> None:
    module = _gate(gate, 2)
    module.open = True
    skip, signal = _features(2)
    gated, alpha = module(skip, signal)
    assert gated is skip
    assert alpha.shape == (2, 2 if gate == "multi-head" else 1, *skip.shape[2:])
    assert (alpha == 1).all()


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide 8 channels"):
        build_gate("multi-head", 2, F_G, F_L, F_INT, "batch", heads=3)


def test_focus_ratio_is_the_share_above_the_threshold() -> None:
    alpha = torch.tensor([[0.1, 0.5], [0.6, 0.9]])
    assert focus_ratio(alpha) == 0.5
    assert focus_ratio(alpha, threshold=0.55) == 0.5
    assert focus_ratio(alpha.numpy(), threshold=0.7) == 0.25
    assert focus_ratio(torch.ones(3, 3).requires_grad_()) == 1.0
    with pytest.raises(ValueError, match="empty"):
        focus_ratio(torch.zeros(0, 3))


def test_a_gate_is_open_or_shut_from_one_share_on() -> None:
    ratios = (0.0, 0.001, 0.0011, 0.95, 0.989, 0.99, 1.0)
    assert [ratio for ratio in ratios if is_open(ratio)] == [0.99, 1.0]
    assert [ratio for ratio in ratios if is_shut(ratio)] == [0.0, 0.001]
