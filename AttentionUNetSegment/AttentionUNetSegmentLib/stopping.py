"""Ctrl-C and the system's request to end, as an exception that lets everything tidy up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


@contextmanager
def stops_raised() -> Iterator[None]:
    """Raise :class:`Stopped` in the main thread where a signal would end the process.

    A signal that is ignored, such as one of a process started with ``nohup``, stays ignored.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled_by(stop):
        yield


@contextmanager
def stops_postponed() -> Iterator[None]:
    """Let a short step that must not be torn apart end first."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    with _handled_by(remember):
        yield
    if received:
        signal.raise_signal(received[0])


@contextmanager
def _handled_by(handler: object) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread only
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    changed = [number for number, old in before.items() if old not in (signal.SIG_IGN, None)]
    try:
        for number in changed:
            signal.signal(number, handler)  # type: ignore[arg-type]
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])
