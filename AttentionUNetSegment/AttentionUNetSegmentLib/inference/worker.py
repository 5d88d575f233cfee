"""One thread for all long work, watched from another.

The panel submits a job, polls it with a timer and takes its result. The thread is started by the
first job and stays, so that PyTorch always runs in the same one; it knows neither Qt nor MRML.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import Cancelled
from .progress import CancelToken, ProgressCallback

T = TypeVar("T")
Work = Callable[[ProgressCallback, CancelToken], T]


class Job(Generic[T]):
    """Work that was submitted: how far it is, and what came out of it.

    All of it may be called from any thread.
    """

    def __init__(self, work: Work[T]) -> None:
        self._work: Work[T] | None = work
        self._token = CancelToken()
        self._finished = threading.Event()
        self._started = threading.Event()
        self._progress: tuple[float, str] = (0.0, "")
        self._result: T | None = None
        self._error: BaseException | None = None

    @property
    def started(self) -> bool:
        """False while an earlier job is still being worked on."""
        return self._started.is_set()

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for it; the work may still be going on."""
        return self._token.cancelled

    @property
    def progress(self) -> tuple[float, str]:
        """Fraction done (0 to 1), and what is being done."""
        return self._progress

    def cancel(self) -> None:
        """Ask to stop. Returns at once; a job that was not begun will never be, and lets go of
        what it was to work on."""
        self._token.cancel()
        self._work = None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it is finished; False where the time was too short."""
        return self._finished.wait(timeout_s)

    def result(self) -> T:
        """What the work returned.

        Raises:
            RuntimeError: it is not finished.
            Cancelled: it was cancelled, even where it came to its end before it noticed.
            BaseException: what the work raised.
        """
        if not self.finished:
            raise RuntimeError("the job is not finished")
        if self.cancelled:
            raise Cancelled()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _report(self, fraction: float, text: str) -> None:
        self._progress = (min(max(fraction, 0.0), 1.0), text)

    def _run(self) -> None:
        """For the worker's thread only."""
        work, self._work = self._work, None
        try:
            if work is not None and not self.cancelled:
                self._started.set()
                self._result = work(self._report, self._token)
        # Whatever it is belongs to whoever asks for the result; the thread must live on.
        except BaseException as error:
            # Without this frame, which holds the job, which holds the error: a circle.
            self._error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        finally:
            if self.cancelled:
                # Nobody will ask for either, and both hold the scan.
                self._result = self._error = None
            self._finished.set()


class Worker:
    """A thread that does one job after the other, in the order in which they came."""

    def __init__(self, name: str = "AttentionUNetSegment") -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pending: list[Job] = []
        self._stopped: list[threading.Thread] = []

    @property
    def idle(self) -> bool:
        """Nothing is being worked on or waits for its turn, also of what was cancelled."""
        return self._next() is None and not any(one.is_alive() for one in self._stopped)

    def wait(self, timeout_s: float) -> None:
        """Block until the present job is finished or the time is up.

        The waiting thread lets go of Python's lock (GIL) meanwhile. Whoever polls in an event loop
        that keeps it, as Slicer's does, has to call this: the worker would not get on otherwise.
        """
        job = self._next()
        if job is not None:
            job.wait(timeout_s)
            return
        for thread in self._stopped:
            thread.join(timeout_s)

    @property
    def thread(self) -> threading.Thread | None:
        """None before the first job and after :meth:`stop`."""
        return self._thread

    def submit(self, work: Work[T]) -> Job[T]:
        """Queue work; it is called with a progress callback and a cancel token."""
        job: Job[T] = Job(work)
        with self._lock:
            self._pending = [other for other in self._pending if not other.finished]
            self._pending.append(job)
            if self._thread is None:
                # A daemon: the application must be able to quit in the middle of a network pass.
                self._thread = threading.Thread(
                    target=_work_off, args=(self._jobs,), name=self._name, daemon=True
                )
                self._thread.start()
            self._jobs.put(job)
        return job

    def stop(self, wait_s: float = 0.0) -> bool:
        """Cancel everything and let the thread end; a later job starts anew.

        Args:
            wait_s: how long to wait for the end of what has been begun; else it returns at once.

        Returns:
            Whether the thread has ended.
        """
        with self._lock:
            for job in self._pending:
                job.cancel()
            self._pending = []
            if self._thread is not None:
                self._jobs.put(None)
                self._stopped.append(self._thread)
                # The old thread ends with its own queue; a new one must not share it.
                self._thread, self._jobs = None, queue.SimpleQueue()
            self._stopped = [one for one in self._stopped if one.is_alive()]
        end = time.monotonic() + wait_s
        for thread in self._stopped:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(one.is_alive() for one in self._stopped)

    def _next(self) -> Job | None:
        with self._lock:
            return next((job for job in self._pending if not job.finished), None)


def _work_off(jobs: queue.SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job._run()
        del job  # while waiting for the next one, the last one's result is not held
