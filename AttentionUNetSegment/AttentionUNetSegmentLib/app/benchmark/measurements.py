"""Times and memory of one contender."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """What repetitions of the same work took.

    Args:
        name: of the contender.
        title: what it does, for people.
        seconds: of each repetition, in their order.
        peak_mb: most memory that its process held, in MB (10^6 bytes); None where this system does
            not tell. It includes Python, the libraries and the scan.
        gpu_peak_mb: likewise of the GPU.
        note: what else is to be known.
        skipped: why there is nothing, where there is nothing.
        parts: median seconds of the steps that it consists of.
        details: what else was found, for JSON.
    """

    name: str
    title: str
    seconds: tuple[float, ...] = ()
    peak_mb: float | None = None
    gpu_peak_mb: float | None = None
    note: str = ""
    skipped: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median_s(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    def percentile_s(self, percent: float) -> float | None:
        """The repetition that this share of them did not take longer than (nearest rank)."""
        if not self.seconds:
            return None
        ranked = sorted(self.seconds)
        return ranked[min(int(len(ranked) * percent / 100), len(ranked) - 1)]

    def to_json(self) -> dict[str, Any]:
        seconds = [round(value, 4) for value in self.seconds]
        parts = {name: round(value, 4) for name, value in self.parts.items()}
        summary = {
            "median_s": _rounded(self.median_s),
            "lowest_s": _rounded(min(self.seconds, default=None)),
            "highest_s": _rounded(max(self.seconds, default=None)),
            "p95_s": _rounded(self.percentile_s(95)),
        }
        return {**asdict(self), "seconds": seconds, "parts": parts, **summary}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measurement:
        names = cls.__dataclass_fields__
        chosen = {name: value for name, value in values.items() if name in names}
        return cls(**{**chosen, "seconds": tuple(chosen.get("seconds", ()))})


def timed(work: Callable[[], object], repetitions: int, warm_ups: int = 1) -> tuple[float, ...]:
    """Seconds of each repetition, after some that do not count."""
    import time

    for _ in range(warm_ups):
        work()
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return tuple(seconds)


def medians(repetitions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median seconds of each step over repetitions of the same work."""
    names = dict.fromkeys(name for one in repetitions for name in one)
    return {name: statistics.median(one.get(name, 0.0) for one in repetitions) for name in names}


def peak_memory_mb(of_children: bool = False) -> float | None:
    """The most memory that this process (or its ended children) held; None on Windows."""
    if sys.platform == "win32":
        return None
    if sys.platform == "linux" and not of_children:
        # What getrusage tells includes what the parent held when it started this process.
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024e-6
    import resource

    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 1e6


def ratio(slower: Measurement | None, faster: Measurement | None) -> float | None:
    """How many times longer the one takes than the other."""
    if slower is None or faster is None or not slower.median_s or not faster.median_s:
        return None
    return slower.median_s / faster.median_s


def by_name(measurements: Sequence[Measurement]) -> dict[str, Measurement]:
    return {one.name: one for one in measurements}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
