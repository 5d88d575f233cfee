"""Attention gates: the weight that the decoder puts on each voxel of a skip (Oktay et al. 2018).

All gates are called alike:

    gated_skip, alpha = gate(skip, gating_signal)

skip           `(B, F_l, *spatial)`, the encoder's feature
gating_signal  `(B, F_g, *coarser)`, the decoder's feature of the next coarser level, before any
               upsampling (a signal on the skip's own grid is taken too)
gated_skip     like skip
alpha          `(B, heads, *spatial)`, float32, in [0, 1]; one head but for the multi-head gate

A gate whose `open` is true passes its skip unchanged and computes nothing; its alpha is one.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .blocks import conv, conv_norm, resize

# sigmoid(+-4.595) = 0.99 and 0.01
_STABLE_LIMIT = 4.595
_STABLE_BIAS = 1.0
_SQUEEZE_BIAS = 0.5


class AttentionGate(nn.Module):
    """The standard gate: `alpha = sigmoid(N(psi ReLU(N(W_x x) + up(N(W_g g)))))`.

    W_x, W_g and psi are 1x1 convolutions, `up` is linear interpolation to the skip's grid and N
    the norm (batch norm in the paper; instance or group norm where the network uses that).
    """

    heads = 1

    def __init__(
        self, dimensions: int, f_g: int, f_l: int, f_int: int, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.open = False
        self.w_x = nn.Sequential(*conv_norm(dimensions, f_l, f_int, norm, kernel_size=1))
        self.w_g = nn.Sequential(*conv_norm(dimensions, f_g, f_int, norm, kernel_size=1))
        self.psi = self.make_psi(dimensions, f_int, norm)

    def make_psi(self, dimensions: int, f_int: int, norm: str) -> nn.Sequential:
        return nn.Sequential(*conv_norm(dimensions, f_int, self.heads, norm, kernel_size=1))

    def forward(
        self, skip: torch.Tensor, gating_signal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.open:
            return skip, _ones(skip, self.heads)
        alpha = self.attention(skip, gating_signal)
        return self.apply_attention(skip, alpha), alpha

    def attention(self, skip: torch.Tensor, gating_signal: torch.Tensor) -> torch.Tensor:
        """alpha, `(B, heads, *spatial)`, float32 (float64 for an input in float64)."""
        # W_g works on the coarse grid and only its F_int channels are interpolated.
        signal = resize(self.w_g(gating_signal), skip.shape[2:])
        score = self.psi(F.relu(self.w_x(skip) + signal, inplace=True))
        # In half precision the sigmoid is 1, its slope 0, from a score of 6 on.
        return self.coefficient(score.to(torch.promote_types(score.dtype, torch.float32)))

    def coefficient(self, score: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(score)

    def apply_attention(self, skip: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        return skip * alpha.to(skip.dtype)


class StableGate(AttentionGate):
    """A gate that starts open everywhere, at sigmoid(1) = 0.73, and never shuts or saturates.

    psi is a convolution with zero weights and bias 1 and has no norm after it: a norm would take
    the mean, and with it that bias, out of the score, and alpha would start at 0.5. (Its input is
    normed already.) Alpha stays within [0.01, 0.99]. The score is limited in the forward pass only:
    the backward pass goes straight through with the slope at the limit, 0.01, so that a gate
    that is saturated, however far, still learns.
    """

    def make_psi(self, dimensions: int, f_int: int, norm: str) -> nn.Sequential:
        psi = conv(dimensions, f_int, self.heads, kernel_size=1)
        nn.init.zeros_(psi.get_parameter("weight"))
        nn.init.constant_(psi.get_parameter("bias"), _STABLE_BIAS)
        return nn.Sequential(psi)

    def coefficient(self, score: torch.Tensor) -> torch.Tensor:
        limited = score.clamp(-_STABLE_LIMIT, _STABLE_LIMIT).detach()
        # The last bracket is zero; it carries the gradient past the clamp.
        return torch.sigmoid(limited + (score - score.detach()))


class DualGate(AttentionGate):
    """Spatial attention (the standard gate), then channel attention (Hu et al. 2018).

    Channel attention: global average pool, 1x1 to F_l / 16, ReLU, 1x1 to F_l, sigmoid. Alpha is
    the spatial part.
    """

    def __init__(
        self, dimensions: int, f_g: int, f_l: int, f_int: int, norm: str = "batch"
    ) -> None:
        super().__init__(dimensions, f_g, f_l, f_int, norm)
        hidden = max(1, f_l // 16)
        squeeze = conv(dimensions, f_l, hidden, kernel_size=1)
        # So few units are often all dead behind their ReLU from the start; this keeps them alive.
        nn.init.constant_(squeeze.get_parameter("bias"), _SQUEEZE_BIAS)
        self.channel_attention = nn.Sequential(
            squeeze,
            nn.ReLU(inplace=True),
            conv(dimensions, hidden, f_l, kernel_size=1),
            nn.Sigmoid(),
        )

    def apply_attention(self, skip: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        skip = super().apply_attention(skip, alpha)
        mean = skip.mean(dim=tuple(range(2, skip.ndim)), keepdim=True)
        return skip * self.channel_attention(mean).to(skip.dtype)


class MultiScaleGate(nn.Module):
    """Three gates, fed with `g`, `g` pooled by 2 and `g` pooled by 4; their outputs averaged.

    Alpha is the mean of the three alphas: `mean(alpha_i * x) = mean(alpha_i) * x`. Pooling leaves
    at least two voxels along each axis that has them, so that a norm has something to norm.
    """

    heads = 1

    def __init__(
        self, dimensions: int, f_g: int, f_l: int, f_int: int, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.open = False
        self.scales = nn.ModuleList(
            AttentionGate(dimensions, f_g, f_l, f_int, norm) for _ in range(3)
        )

    def forward(
        self, skip: torch.Tensor, gating_signal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.open:
            return skip, _ones(skip, self.heads)
        alphas = []
        for power, gate in enumerate(self.scales):
            assert isinstance(gate, AttentionGate)
            alphas.append(gate.attention(skip, _average_pool(gating_signal, 2**power)))
        alpha = torch.stack(alphas).mean(dim=0)
        return skip * alpha.to(skip.dtype), alpha


class MultiHeadGate(AttentionGate):
    """`heads` attention maps from one q, each for its own group of F_l / heads channels.

    In multi-class work one map is soon the large organs' alone; with several, a small organ can
    keep the channels that serve it.
    """

    def __init__(
        self,
        dimensions: int,
        f_g: int,
        f_l: int,
        f_int: int,
        norm: str = "batch",
        heads: int = 4,
    ) -> None:
        if f_l % heads:
            raise ValueError(f"{heads} heads do not divide {f_l} channels.")
        self.heads = heads
        super().__init__(dimensions, f_g, f_l, f_int, norm)

    def apply_attention(self, skip: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        weights = alpha.to(skip.dtype).repeat_interleave(skip.shape[1] // self.heads, dim=1)
        return skip * weights


_GATES: dict[str, type[AttentionGate] | type[MultiScaleGate]] = {
    "standard": AttentionGate,
    "stable": StableGate,
    "dual": DualGate,
    "multi-scale": MultiScaleGate,
}


def build_gate(
    gate: str, dimensions: int, f_g: int, f_l: int, f_int: int, norm: str, heads: int = 4
) -> AttentionGate | MultiScaleGate:
    """The gate of that name; f_g, f_l, f_int are the channels of g, of x and of q."""
    if gate == "multi-head":
        return MultiHeadGate(dimensions, f_g, f_l, f_int, norm, heads)
    return _GATES[gate](dimensions, f_g, f_l, f_int, norm)


def _ones(skip: torch.Tensor, heads: int) -> torch.Tensor:
    return torch.ones((), device=skip.device).expand(skip.shape[0], heads, *skip.shape[2:])


def _average_pool(x: torch.Tensor, scale: int) -> torch.Tensor:
    kernel = tuple(max(1, min(scale, size // 2)) for size in x.shape[2:])
    if all(width == 1 for width in kernel):
        return x
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    return pool(x, kernel, stride=kernel, ceil_mode=True)
