"""Progress and cancellation, passed down from the panel or the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable

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
