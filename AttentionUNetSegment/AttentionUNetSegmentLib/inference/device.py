"""Which device computes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import DeviceError, InputError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cuda", "cuda:N", "mps", "cpu")

_DEVICE = re.compile(r"(auto|mps|cpu|cuda)|cuda:(\d{1,3})")


def check_device_name(name: str) -> None:
    """Raises:
    InputError: the name is none of :data:`DEVICES`, where N is the number of a GPU, from 0.
    """
    if not _DEVICE.fullmatch(name):
        raise InputError(f"'{name}' is no device; choose one of {', '.join(DEVICES)}.")


def choose_device(name: str = "auto") -> torch.device:
    """Turn a user's choice into a device.

    ``auto`` is the first of CUDA, Apple's MPS and the CPU that is there. A device that was named is
    used or refused, never replaced by another.

    Raises:
        InputError: the name is none of :data:`DEVICES`.
        DeviceError: the device is not there.
    """
    import torch

    check_device_name(name)
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    kind, _, number = name.partition(":")
    if not available[kind]:
        what = {"cuda": "CUDA GPU", "mps": "Apple GPU"}[kind]
        raise DeviceError(
            f"PyTorch sees no {what} on this machine; choose the device 'cpu' or 'auto', or "
            "install the PyTorch build that fits the GPU and its driver."
        )
    if number and int(number) >= torch.cuda.device_count():
        raise DeviceError(
            f"PyTorch sees no GPU number {number} on this machine: it counts from 0, and there are "
            f"{torch.cuda.device_count()}; choose another number, or the device 'cuda' or 'auto'."
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """A device's name for people: the GPU's model, or the number of CPU threads."""
    import torch

    if device.type == "cuda":
        return f"GPU, {torch.cuda.get_device_name(device)}"
    if device.type == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads != 1 else ''}"


def is_lost_device(error: BaseException) -> bool:
    """Whether PyTorch says that a GPU does not answer any more: unplugged, reset or hung."""
    import torch

    # An error of its own since PyTorch 2.8.
    kind = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)
    if isinstance(error, kind) and not isinstance(error, torch.OutOfMemoryError):
        return True
    words = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "HIP error", "MPS")
    return isinstance(error, RuntimeError) and any(one in str(error) for one in words)
