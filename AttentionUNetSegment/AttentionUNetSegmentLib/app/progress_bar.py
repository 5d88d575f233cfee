"""What long work shows of itself while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..wording import duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..inference.progress import ProgressCallback


EARLIER = 0.1
"""A step as long as that is what an earlier run did, as of a training that goes on: what comes
after it tells the time that is left."""


class ShownProgress(Protocol):
    """Takes what is done, as any progress callback; and lines that stay."""

    def __call__(self, fraction: float, text: str) -> None:
        """What is being done."""

    def line(self, text: str) -> None:
        """A line that stays."""


@contextmanager
def shown_progress(plain_every_s: float = 20.0) -> Iterator[ShownProgress]:
    """Show a bar with stage and time left on stderr; it is gone in the end, its lines stay.

    Where stderr is no terminal, a line now and then, the first one only when the work has taken a
    while, so that a log is not flooded and a refused input is told in one line.

    Args:
        plain_every_s: seconds between those lines.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield _Lines(plain_every_s)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeLeft(),
        TextColumn("left"),
    )
    bar = Progress(
        *columns, console=Console(stderr=True), transient=True, speed_estimate_period=300.0
    )
    with bar:
        yield _Bar(bar)


def part_of(progress: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """A callback for a step that takes the whole from one fraction to another.

    That the step is done is not passed on: the next one says what comes.
    """

    def report(fraction: float, text: str) -> None:
        if fraction < 1:
            progress(start + (end - start) * fraction, text)

    return report


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task = bar.add_task("", total=1.0)
        self.done = 0.0

    def __call__(self, fraction: float, text: str) -> None:
        if fraction - self.done > EARLIER:
            # Typed as whole numbers, which "update" does not ask for either.
            self.bar.reset(self.task, completed=fraction)  # type: ignore[arg-type]
        self.done = fraction
        self.bar.update(self.task, completed=fraction, description=text)

    def line(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self.began = self.last = time.monotonic()
        self.done = self.earlier = 0.0

    def __call__(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        if fraction - self.done > EARLIER:
            self.began, self.earlier = now, fraction
        self.done = fraction
        if now - self.last < self.every_s or fraction >= 1:
            return
        self.last = now
        line = f"{text}: {100 * fraction:.0f} %"
        done = fraction - self.earlier
        if done > 0.02 * (1 - self.earlier):
            line += f", about {duration((now - self.began) * (1 - fraction) / done)} left"
        self.line(line)

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
