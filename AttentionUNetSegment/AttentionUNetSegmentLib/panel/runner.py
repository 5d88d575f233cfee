"""One segmentation at a time, in the worker thread, followed from the main thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import Cancelled
from .remaining_time import RemainingTime

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from ..inference.worker import Job
    from ..scene.tasks import SegmentationTask


class Runner:
    """Starts a task, follows it, and hands its outcome over in the main thread.

    A job that is cancelled is forgotten at once: the panel is free again while the network comes to
    its next stop, and what it may still deliver is dropped.

    Args:
        start: has the worker do a task, and calls a function with the job now and then.
        onProgress: fraction done, what is being done, and seconds left or None.
        onDone: the task, the prediction and the seconds that it took.
        onFailed: the exception.
    """

    def __init__(
        self,
        start: Callable[[SegmentationTask, Callable[[Job], None]], Job],
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

    @property
    def busy(self) -> bool:
        return self._job is not None

    def start(self, task: SegmentationTask) -> None:
        """Begin with a task; one that is running is cancelled."""
        self.cancel()
        self.task = task
        self._job = self._start(task, self._onTick)
        self.time.start()
        self._onProgress(0.0, "", None)

    def cancel(self) -> bool:
        """Forget the running task; False where there is none."""
        if self._job is None:
            return False
        self._job.cancel()
        self._job = self.task = None
        return True

    def _onTick(self, job: Job) -> None:
        task = self.task
        if job is not self._job or task is None:
            return
        if not job.finished:
            fraction, text = job.progress
            self._onProgress(fraction, text, self.time.left_s(fraction))
            return
        self._job = self.task = None
        try:
            prediction = job.result()
        except Cancelled:
            return
        # Whatever the work raised is for the panel to show.
        except BaseException as error:
            self._onFailed(error)
            return
        self._onDone(task, prediction, self.time.finish())
