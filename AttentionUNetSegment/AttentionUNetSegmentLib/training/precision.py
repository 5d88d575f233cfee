"""Which numbers training computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "bfloat16", "float32")
_OLD_SPELLINGS = {"bf16": "bfloat16"}


def precision_named(name: str) -> str:
    """One of :data:`PRECISIONS`, also from its older spelling "bf16".

    Raises:
        InputError: there is none of that name.
    """
    name = _OLD_SPELLINGS.get(name, name)
    if name not in PRECISIONS:
        raise InputError(f"'{name}' is no precision; choose one of {', '.join(PRECISIONS)}.")
    return name


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16; "auto" does where the device has instructions for it.

    Raises:
        InputError: there is no precision of that name.
    """
    from ..inference.device import computes_bfloat16  # not for the help, which is there at once

    name = precision_named(precision)
    return name == "bfloat16" or (name == "auto" and computes_bfloat16(device))
