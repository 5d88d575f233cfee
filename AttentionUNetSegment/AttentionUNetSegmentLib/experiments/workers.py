"""Runs spread over processes, one of which may die without taking the others along."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from ..inference.progress import ProgressCallback
from .results import Run, RunResult

_SLOW_IMPORTS = ("AttentionUNetSegmentLib.experiments.experiment", "monai", "torch._dynamo")
"""Of every training; PyTorch's optimizers import the last."""


class RunJob(Protocol):
    """Does runs; sent to each process once, so that it can keep what the runs share."""

    def do(self, run: Run, progress: ProgressCallback) -> RunResult:
        """Train and judge one network. What the user can cause is told in the result."""


def do_runs(
    job: RunJob, runs: Sequence[Run], workers: int, progress: ProgressCallback
) -> Iterator[RunResult]:
    """Do runs in the order given, and yield their results as they come.

    Args:
        workers: 1 works in this process, with all its threads; more take a process each, with one
            thread.
    """
    if workers == 1:
        yield from _do_here(job, runs, progress)
    else:
        yield from _ProcessPool(job, runs, min(workers, len(runs)), progress).results()


def _do_here(job: RunJob, runs: Sequence[Run], progress: ProgressCallback) -> Iterator[RunResult]:
    for number, run in enumerate(runs):

        def report(fraction: float, text: str, number: int = number, run: Run = run) -> None:
            progress((number + fraction) / len(runs), f"{run.name}: {text}")

        yield job.do(run, report)


def _context() -> Any:
    """How processes begin: on Linux as forks of one that has imported what takes seconds, and
    computed nothing, since threads do not fork; elsewhere anew, since macOS's own libraries do not
    stand a fork, and Windows has none."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_SLOW_IMPORTS])
    return context


class _ProcessPool:
    """Processes that each take the next run when they are done with one."""

    def __init__(
        self, job: RunJob, runs: Sequence[Run], workers: int, progress: ProgressCallback
    ) -> None:
        self.job = job
        self.waiting = list(reversed(runs))
        self.total = len(runs)
        self.done = 0
        self.progress = progress
        self.context = _context()
        self.fractions: dict[Connection, float] = {}
        self.running: dict[Connection, tuple[BaseProcess, Run]] = {}
        self.workers = workers

    def results(self) -> Iterator[RunResult]:
        try:
            for _ in range(self.workers):
                self._start()
            while self.running:
                ended: Any = multiprocessing.connection.wait(list(self.running))
                for ready in ended:
                    result = self._hear(ready)
                    if result is not None:
                        self.done += 1
                        yield result
        finally:
            for process, _ in self.running.values():
                process.terminate()
            for process, _ in self.running.values():
                process.join()

    def _start(self) -> None:
        ours: Any
        ours, theirs = self.context.Pipe()  # of another class on Windows than elsewhere
        process = self.context.Process(target=_work, args=(self.job, theirs), daemon=True)
        process.start()
        theirs.close()
        self._give(ours, process)

    def _give(self, connection: Connection, process: BaseProcess) -> None:
        """The next run for a process, or its end if there is none."""
        if self.waiting:
            run = self.waiting.pop()
            self.running[connection] = (process, run)
            self.fractions[connection] = 0.0
            with suppress(ConnectionError):  # it has died, as is heard next
                connection.send(run)
        else:
            connection.close()
            process.join()

    def _hear(self, connection: Connection) -> RunResult | None:
        process, run = self.running[connection]
        try:
            message: Any = connection.recv()
        except (EOFError, ConnectionError):
            # The process died: out of memory, killed, or a bug whose traceback it has printed.
            del self.running[connection], self.fractions[connection]
            connection.close()
            process.join()
            if self.waiting:
                self._start()
            return RunResult(run, failure=_death(process.exitcode))
        if isinstance(message, RunResult):
            del self.running[connection], self.fractions[connection]
            self._give(connection, process)
            return message
        fraction, text = message
        self.fractions[connection] = fraction
        whole = (self.done + sum(self.fractions.values())) / self.total
        self.progress(min(whole, 1.0), f"{run.name}: {text}")
        return None


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; the memory may not have sufficed" if name == "SIGKILL" else ""
        return f"Its process was ended by {name}{hint}. Give the command again to go on with it."
    return f"Its process ended with exit status {exit_code}; see what it printed."


def _work(job: RunJob, connection: Connection) -> None:
    """What a process does until no run is left or the one that started it is gone."""
    import torch

    # The starting process is told to stop, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    report: Callable[[float, str], None] = lambda fraction, text: connection.send((fraction, text))  # noqa: E731
    while True:
        try:
            run = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            connection.send(job.do(run, report))
        except ConnectionError:
            return
