"""Progress and cancellation, passed down from the panel or the command line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import Cancelled

ProgressCallback = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a short text of what is being done."""


def ignore_progress(fraction: float, text: str) -> None:
    """The callback of a caller that does not want to know."""


class CancelToken:
    """Set from one thread, checked between steps by another."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises:
        Cancelled: somebody called :meth:`cancel`.
        """
        if self._event.is_set():
            raise Cancelled()


@dataclass
class StepTimer:
    """Reports progress, measures time and honours cancellation between steps."""

    progress: ProgressCallback
    cancel: CancelToken | None
    timings_s: dict[str, float] = field(default_factory=dict)
    _reached: float = field(default=0.0, init=False)

    @contextmanager
    def step(self, name: str, fraction: float, text: str) -> Iterator[None]:
        if self.cancel is not None:
            self.cancel.raise_if_cancelled()
        # Of a step that is taken again, at another place.
        self._reached = max(self._reached, fraction)
        self.progress(self._reached, text)
        began = time.perf_counter()
        yield
        self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - began
