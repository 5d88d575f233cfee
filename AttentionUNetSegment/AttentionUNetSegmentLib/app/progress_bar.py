"""What long work shows of itself while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..inference.progress import ProgressCallback


@contextmanager
def shown_progress(plain_every_s: float = 20.0) -> Iterator[ProgressCallback]:
    """Show a bar with stage and time left on stderr; it is gone in the end.

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
        task = bar.add_task("", total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text)


def part_of(progress: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """A callback for a step that takes the whole from one fraction to another.

    That the step is done is not passed on: the next one says what comes.
    """

    def report(fraction: float, text: str) -> None:
        if fraction < 1:
            progress(start + (end - start) * fraction, text)

    return report


class _Lines:
    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self.began = self.last = time.monotonic()

    def __call__(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        if now - self.last < self.every_s or fraction >= 1:
            return
        self.last = now
        line = f"{text}: {100 * fraction:.0f} %"
        if fraction > 0.02:
            line += f", about {_duration((now - self.began) * (1 - fraction) / fraction)} left"
        print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
