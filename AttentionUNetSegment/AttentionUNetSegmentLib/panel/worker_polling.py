"""The worker thread in Slicer's event loop: given time to run, and asked how far it is.

Slicer's main thread keeps Python's lock (GIL) while it waits for events, so that another Python
thread runs only while the main thread is in Python code. A timer therefore waits for the worker
with the lock let go, most of the time, as long as the worker has anything to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt

if TYPE_CHECKING:
    from ..inference.worker import Job, Work, Worker

TICK_MS = 10
"""For the events of the application, between two waits."""
WAIT_S = 0.03
"""For the worker; so long the application does not answer, too short to be noticed."""


class WorkerPolling:
    """Runs jobs in a worker and tells in the main thread how they are getting on.

    >>> job = polling.run(lambda progress, cancel: compute(), lambda job: print(job.progress))

    It goes on until the worker is idle, also after a job was cancelled or nobody follows it.

    Args:
        worker: may be given jobs by others too; they must call :meth:`follow` for them.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._followed: list[tuple[Job, Callable[[Any], None]]] = []
        self._timer: Any = qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)

    def run(self, work: Work, onTick: Callable[[Any], None] | None = None) -> Job:
        """Have work done; as :meth:`follow` for what is told."""
        job: Job = self.worker.submit(work)
        self.follow(job, onTick)
        return job

    def follow(self, job: Job, onTick: Callable[[Any], None] | None = None) -> None:
        """Give the worker time.

        Args:
            onTick: called with the job several times a second, for the last time when it is
                finished.
        """
        if onTick is not None:
            self._followed.append((job, onTick))
        self._timer.start()

    def giveTime(self) -> None:
        """To what the worker still has to do, though nobody follows it."""
        self._timer.start()

    def _tick(self) -> None:
        self.worker.wait(WAIT_S)
        followed = self._followed
        self._followed = [one for one in followed if not one[0].finished]
        if self.worker.idle and not self._followed:
            self._timer.stop()
        # What is called may run or cancel further jobs.
        for job, onTick in followed:
            onTick(job)
