"""One segmentation at a time, in the logic's worker thread, polled by a timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt

from ..errors import Cancelled
from .remaining_time import RemainingTime

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from ..inference.worker import Job
    from ..scene.tasks import SegmentationTask

POLL_MS = 40


class Runner:
    """Starts a task, follows it, and hands its outcome over in the main thread.

    A job that is cancelled is forgotten at once: the panel is free again while the network comes to
    its next stop, and what it may still deliver is dropped.

    Args:
        start: submits a task to the worker.
        onProgress: fraction done, what is being done, and seconds left or None.
        onDone: the task, the prediction and the seconds that it took.
        onFailed: the exception.
    """

    def __init__(
        self,
        start: Callable[[SegmentationTask], Job],
        onProgress: Callable[[float, str, float | None], None],
        onDone: Callable[[SegmentationTask, Prediction, float], None],
        onFailed: Callable[[BaseException], None],
    ) -> None:
        self._start = start
        self._onProgress = onProgress
        self._onDone = onDone
        self._onFailed = onFailed
        self._job: Job | None = None
        self.task: SegmentationTask | None = None
        self.time = RemainingTime()
        self._timer: Any = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    @property
    def busy(self) -> bool:
        return self._job is not None

    def start(self, task: SegmentationTask) -> None:
        """Begin with a task; one that is running is cancelled."""
        self.cancel()
        self.task = task
        self._job = self._start(task)
        self.time.start()
        self._timer.start()
        self._onProgress(0.0, "", None)

    def cancel(self) -> bool:
        """Forget the running task; False where there is none."""
        if self._job is None:
            return False
        self._job.cancel()
        self._forget()
        return True

    def _forget(self) -> None:
        self._timer.stop()
        self._job = self.task = None

    def _poll(self) -> None:
        job, task = self._job, self.task
        if job is None or task is None:
            self._timer.stop()
            return
        if not job.finished:
            fraction, text = job.progress
            self._onProgress(fraction, text, self.time.left_s(fraction))
            return
        self._forget()
        try:
            prediction = job.result()
        except Cancelled:
            return
        # Whatever the work raised is for the panel to show.
        except BaseException as error:
            self._onFailed(error)
            return
        self._onDone(task, prediction, self.time.finish())
