"""Studies to workers: here, one after the other, or wherever Ray has room for a worker.

A worker's death, a lost node and a full disk cost time, never a study. Ray places the workers,
notices that one died and starts it again where there is room. A study whose worker died goes back
to the others instead of waiting for that one: after the loss of a node there may be no room for it.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import AttentionUNetSegmentError
from ...inference.progress import ProgressCallback, ignore_progress
from ..requirements import require
from .rows import Answer, StudyRow
from .sources import Study
from .worker import BatchWorker

MOST_TRIES = 3
"""How often a study is begun before its worker's death is taken for its own fault."""

_ANSWER_S = 10.0

MakeWorker = Callable[[], BatchWorker]


def run_here(
    studies: Sequence[Study], worker: BatchWorker, progress: ProgressCallback = ignore_progress
) -> Iterator[Answer]:
    """The plain loop; progress is that of the study being run."""
    for study in studies:
        yield worker.run(study, progress)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Ray, on this machine ("local") or on a cluster that is there already.

    Raises:
        AttentionUNetSegmentError: Ray is not installed, or nobody answers at the address.
    """
    require("batch", "ray")
    import ray

    end_request = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(
            address="local" if address == "local" else address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise AttentionUNetSegmentError(
            f"No Ray cluster answers at '{address}' ({error}); start one with 'ray start --head', "
            "or use --ray local."
        ) from error
    # Ray has put in a handler that ends the process at once.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end_request)
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens, which Ray itself takes minutes to find out."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
            pass


def run_on_ray(
    studies: Sequence[Study],
    make_worker: MakeWorker,
    *,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
) -> Iterator[Answer]:
    """The same through Ray's workers, in the order in which they finish.

    A worker gets its next study when it has given back the last one, so that neither Ray nor this
    process ever holds more than one study a worker.

    Args:
        studies: to be run.
        make_worker: called once in each worker's process.
        workers: how many; those that there is no room for wait. As many as there is room for
            unless given.
        gpus_per_worker: share of a GPU that each gets; 1, or 0 where there is none, unless given.
    """
    import ray

    resources = ray.cluster_resources()
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
    if workers is None:
        workers = room(resources, gpus_per_worker)
    # Ray brings a worker back; only the sign of life waits for it.
    make_remote: Any = ray.remote(num_cpus=1, num_gpus=gpus_per_worker, max_restarts=-1)
    remote = make_remote(_RemoteWorker)
    pool = _ActorPool([remote.remote(make_worker) for _ in range(min(workers, len(studies)))])
    try:
        yield from pool.run(studies)
    finally:
        for actor in pool.actors:
            ray.kill(actor)


def room(resources: dict[str, float], gpus_per_worker: float) -> int:
    """How many workers a cluster takes: by its GPUs, or by its cores where they use none."""
    by_cores = int(resources.get("CPU", 1))
    by_gpus = int(resources.get("GPU", 0) / gpus_per_worker) if gpus_per_worker else by_cores
    return max(1, min(by_cores, by_gpus))


class _RemoteWorker:
    """A worker in a process of Ray's."""

    def __init__(self, make_worker: MakeWorker) -> None:
        self.worker = make_worker()

    def ready(self) -> None:
        """Answer as soon as there is room for the worker."""

    def run(self, study: Study) -> Answer:
        return self.worker.run(study)


class _ActorPool:
    """Which actor runs which study."""

    def __init__(self, actors: list[Any]) -> None:
        self.actors = actors
        # Answers that are awaited: of a study, or of an actor that is being started.
        self.awaited: dict[Any, tuple[Any, Study | None]] = {}
        for actor in actors:
            self._await_start(actor)

    def run(self, studies: Sequence[Study]) -> Iterator[Answer]:
        import ray

        waiting = deque(studies)
        tries: dict[str, int] = {}
        unfinished = len(studies)
        idle: list[Any] = []
        while unfinished:
            while idle and waiting:
                self._send(idle.pop(), waiting.popleft())
            (done,), _ = ray.wait(list(self.awaited), num_returns=1)
            actor, study = self.awaited.pop(done)
            try:
                answer = ray.get(done)
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
                if study is None:  # Ray tries again for all but an error of the worker's own
                    self._dismiss(actor)
                    if not self.actors:
                        raise _no_worker(error) from error
                    continue
                self._await_start(actor)
                answer = _died(study)
            else:
                if answer is None or not answer.elsewhere or len(self.actors) == 1:
                    idle.append(actor)
                else:  # its disk is full, for instance: it would spoil one study after the other
                    self._dismiss(actor)
            if study is None or answer is None:
                continue
            tries[study.name] = tries.get(study.name, 0) + 1
            if answer.elsewhere and tries[study.name] < MOST_TRIES:
                waiting.append(study)
                continue
            unfinished -= 1
            yield answer

    def _send(self, actor: Any, study: Study) -> None:
        self.awaited[actor.run.remote(study)] = (actor, study)

    def _await_start(self, actor: Any) -> None:
        start = actor.ready.options(max_task_retries=-1)
        self.awaited[start.remote()] = (actor, None)

    def _dismiss(self, actor: Any) -> None:
        import ray

        self.actors.remove(actor)
        ray.kill(actor)


def _no_worker(error: Exception) -> AttentionUNetSegmentError:
    reason = str(error).strip().splitlines()[-1]
    return AttentionUNetSegmentError(
        "No Ray worker could start; this package, with its extra 'standalone', must be installed "
        f"on every node ({reason})."
    )


def _died(study: Study) -> Answer:
    reason = (
        f"Its worker died {MOST_TRIES} times; the scan may be too large for the worker's memory."
    )
    return Answer(StudyRow(study.name, "failed", error=reason), elsewhere=True)
