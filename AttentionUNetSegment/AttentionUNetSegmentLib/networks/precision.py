"""Which numbers networks compute in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import torch

AUTO, BFLOAT16, FLOAT32 = "auto", "bfloat16", "float32"
PRECISIONS = (AUTO, BFLOAT16, FLOAT32)
PRECISION_ALIASES = {"bf16": BFLOAT16}


def parse_precision(name: str) -> str:
    """One of :data:`PRECISIONS`, from its name or an alias.

    Raises:
        InputError: there is none of that name.
    """
    name = PRECISION_ALIASES.get(name, name)
    if name not in PRECISIONS:
        raise InputError(f"'{name}' is no precision; choose one of {', '.join(PRECISIONS)}.")
    return name


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16; "auto" does where the device has instructions for it.

    Raises:
        InputError: there is no precision of that name.
    """
    name = parse_precision(precision)
    return name == BFLOAT16 or (name == AUTO and computes_bfloat16(device))


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, so that it is faster and not only smaller."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type == "cpu":
        # Older versions of PyTorch cannot tell; float32 is right everywhere.
        capabilities = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False
