"""Answers about one volume on a CPU with the channels last in memory.

oneDNN convolves volumes that lie so without copying them to and fro, and PyTorch pools, upsamples
and joins them faster. What it does not do well in float32 is here: instance norm, which it copies,
or sums in single precision along a whole volume; transposed convolution, which it leaves to a slow
routine for few voxels; and convolution, of which the same is true (see ``volume_conv.py``).

In bfloat16, on processors with AMX, only instance norm is here, and every layer gives the same
answer to the bit as in the other layout.

A network's pass begins with :func:`to_channels_last`, which decides; each layer then goes by how
its input lies.
"""

from __future__ import annotations

from typing import Any

import torch

_MEASURED = ("AVX2", "AVX512")
"""Processors whose routines oneDNN has for this layout, by their name in PyTorch."""

_AT_ONCE = 1 << 20
"""Numbers, so that what is made of them fits in the processor's cache."""


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """`x`, `(B, C, k, j, i)`, with its channels last in memory where that is faster."""
    if not (_is_answered(x) and x.dtype == torch.float32 and x.shape[0] == 1):
        return x
    if not torch.backends.mkldnn.is_available():
        return x
    if not (_has_amx() if _is_bfloat16_wanted() else _is_measured()):
        return x
    # Not `contiguous`: a single channel counts as lying last already, but not to the next layer.
    return torch.empty_like(x, memory_format=torch.channels_last_3d).copy_(x)


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether a pass in float32 has `x`, one volume, with its channels last in memory."""
    return x.dtype == torch.float32 and not _is_bfloat16_wanted() and _lies_so(x)


def is_channels_last_bfloat16(x: torch.Tensor) -> bool:
    """The same of a pass in bfloat16."""
    return x.dtype == torch.bfloat16 and _is_bfloat16_wanted() and _lies_so(x)


def _lies_so(x: torch.Tensor) -> bool:
    return (
        _is_answered(x)
        and x.shape[0] == 1
        and x.stride(1) == 1
        and x.permute(0, 2, 3, 4, 1).is_contiguous()
    )


def _is_answered(x: torch.Tensor) -> bool:
    return (
        x.ndim == 5
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def _is_bfloat16_wanted() -> bool:
    return torch.is_autocast_enabled("cpu")


def _is_measured() -> bool:
    return torch.backends.cpu.get_cpu_capability() in _MEASURED


def _has_amx() -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
    return bool(capabilities.get("amx_bf16"))


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: tuple[int, ...]
) -> torch.Tensor:
    """A convolution of stride 1, always by oneDNN."""
    return torch.mkldnn_convolution(x, weight, bias, padding, (1, 1, 1), (1, 1, 1), 1)


def convolve_joined(
    parts: list[torch.Tensor],
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: tuple[int, ...],
) -> torch.Tensor:
    """:func:`convolve` of two inputs joined along their channels, without joining them: the joined
    one is the largest of a pass, and memory that is new each time takes as long as a norm. The list
    is emptied, each input let go of when it is convolved."""
    before = parts[0].shape[1]
    output = convolve(parts.pop(0), weight[:, :before], bias, padding)
    output += convolve(parts.pop(), weight[:, before:], None, padding)
    return output


def upsample(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A transposed convolution 2x2x2 of stride 2: products of matrices, for no two voxels of its
    output come of more than one of its input."""
    channels, (k, j, i) = weight.shape[1], x.shape[2:]
    output = x.new_empty(k, 2, j, 2, i, 2 * channels)
    rows, twice = _as_rows(x), bias.repeat(2)
    for plane in range(2):
        for line in range(2):
            matrix = weight[:, :, plane, line].transpose(1, 2).reshape(x.shape[1], -1)
            pairs = torch.addmm(twice, rows, matrix)
            output[:, plane, :, line] = pairs.view(k, j, i, -1)
    return output.view(1, 2 * k, 2 * j, 2 * i, channels).permute(0, 4, 1, 2, 3)


def normalise(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Instance norm, written over its input; as exact as where PyTorch sums in double, for it sums
    by halves here."""
    rows = _as_rows(x)
    rows -= rows.mean(dim=0)
    squares = torch.zeros_like(weight)
    for part in rows.split(max(_AT_ONCE // x.shape[1], 1)):
        squares += part.square().sum(dim=0)
    variance = squares / len(rows)
    torch.addcmul(bias, rows, weight * torch.rsqrt(variance + eps), out=rows)
    return x


def normalise_bfloat16(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Instance norm as PyTorch has it, written over its input. It sums a channel's voxels in
    another order where the channels lie last, so that they do not lie so for it."""
    planes = _as_rows(x).t().contiguous()  # as a matrix, which PyTorch turns faster than a volume
    normed = torch.instance_norm(planes[None], weight, bias, None, None, True, 0.0, eps, False)
    return x.copy_(normed.view(x.shape))


def _as_rows(x: torch.Tensor) -> torch.Tensor:
    """A row of channels a voxel; a view."""
    return x.permute(0, 2, 3, 4, 1).view(-1, x.shape[1])
