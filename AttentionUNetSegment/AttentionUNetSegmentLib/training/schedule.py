"""How far a run has come, and the learning rate that belongs there."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """When to stop: after a number of steps, or after a time.

    Counted in steps, a run that was killed and resumed ends at the very same weights as one that
    was not. Counted in time, it ends on time, and the schedule follows the clock.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give a budget in steps or in minutes")

    def fraction(self, step: int, elapsed_s: float) -> float:
        """The share that is used up, 0 to 1."""
        if self.steps is not None:
            return min(step / max(self.steps, 1), 1.0)
        assert self.minutes is not None
        return min(elapsed_s / max(self.minutes * 60, 1e-9), 1.0)


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up from a tenth, then cosine annealing (recipe: 5 of 100 epochs, to 1e-6)."""

    peak: float = 1e-4
    final: float = 1e-6
    warmup_fraction: float = 0.05
    warmup_start: float = 0.1

    def at(self, fraction: float) -> float:
        if fraction < self.warmup_fraction:
            rise = fraction / self.warmup_fraction
            return self.peak * (self.warmup_start + (1 - self.warmup_start) * rise)
        fall = (fraction - self.warmup_fraction) / (1 - self.warmup_fraction)
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * min(fall, 1.0))) / 2
