"""How much longer: a number that is right more often than a fraction alone makes it."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_ELAPSED_S = 0.7
_LEAST_FRACTION = 0.15


class RemainingTime:
    """Estimates the time left from the run before, else from the fraction that is done.

    Args:
        clock: seconds, ever growing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._lastTotal_s: float | None = None
        self._fraction = 0.0
        self._end_s: float | None = None

    def start(self) -> None:
        self._began = self._clock()
        self._fraction, self._end_s = 0.0, None

    def finish(self) -> float:
        """Note that the run came to its end; returns how long it took, in seconds."""
        self._lastTotal_s = self.elapsed_s
        return self._lastTotal_s

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._began

    def left_s(self, fraction: float) -> float | None:
        """Seconds left; None where it is too early, or a step takes so long that it cannot be said.

        The estimate is made when a step ends, and counted down until the next one does.
        """
        elapsed = self.elapsed_s
        if self._lastTotal_s is not None and elapsed < self._lastTotal_s:
            return self._lastTotal_s - elapsed
        if fraction > self._fraction:
            self._fraction = fraction
            known = elapsed >= _LEAST_ELAPSED_S and fraction >= _LEAST_FRACTION
            self._end_s = elapsed / fraction if known else None
        if self._end_s is None or self._end_s <= elapsed:
            return None
        return self._end_s - elapsed
