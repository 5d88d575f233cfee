"""The devices of this computer and their memory, for people."""

from __future__ import annotations

import os
import sys


def device_report() -> list[str]:
    """A line for each device, those that ``auto`` prefers first. Imports PyTorch."""
    import torch

    lines = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        lines.append(
            f"GPU: {torch.cuda.get_device_name(index)}, {_gb(free)} of {_gb(total)} GB free"
        )
    if torch.backends.mps.is_available():
        lines.append("GPU: Apple (MPS), shares the computer's memory")
    cpu = f"CPU: {torch.get_num_threads()} of {os.cpu_count() or 1} threads"
    free_bytes = _free_memory()
    lines.append(cpu if free_bytes is None else f"{cpu}, {_gb(free_bytes)} GB of memory free")
    return lines


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"


def _free_memory() -> int | None:
    """Bytes that the computer's memory has free; None where the system does not say."""
    if sys.platform == "win32":  # it has no sysconf
        return None
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
