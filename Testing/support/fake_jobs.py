"""Jobs that train nothing, for the processes of experiments: with few imports of their own."""

from __future__ import annotations

import os
import time
from typing import Any

from AttentionUNetSegmentLib.experiments.results import Run, RunResult
from AttentionUNetSegmentLib.inference.progress import ProgressCallback


class FakeJob:
    """Ends as its run's variant says, in whatever process it is sent to."""

    def do(self, run: Run, progress: ProgressCallback) -> RunResult:
        progress(0.5, "half way")
        if run.variant == "dies":
            os._exit(3)
        if run.variant == "raises":
            raise ZeroDivisionError("a bug")
        if run.variant == "slow":
            time.sleep(0.5)
        return RunResult(run, steps=os.getpid())


class JobThatCannotStart(FakeJob):
    """Ends the process that it is sent to before it takes a run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)
