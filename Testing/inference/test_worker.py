"""The worker thread: order, progress, cancellation, errors, and its end."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from AttentionUNetSegmentLib.errors import Cancelled, InputError
from AttentionUNetSegmentLib.inference.worker import Worker

LONG_S = 10


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def test_a_job_returns_what_its_work_returned(worker):
    job = worker.submit(lambda progress, cancel: 6 * 7)
    assert job.wait(LONG_S)
    assert job.result() == 42


def test_all_jobs_run_in_one_thread_that_is_not_the_callers(worker):
    jobs = [worker.submit(lambda progress, cancel: threading.get_ident()) for _ in range(3)]
    assert all(job.wait(LONG_S) for job in jobs)
    threads = {job.result() for job in jobs}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_no_thread_is_there_before_the_first_job(worker):
    assert worker.thread is None


def test_progress_is_seen_from_outside_and_kept_within_its_range(worker):
    told, go_on = threading.Event(), threading.Event()

    def work(progress, cancel):
        progress(1.7, "Looking")
        told.set()
        go_on.wait(LONG_S)

    job = worker.submit(work)
    assert told.wait(LONG_S)
    assert job.started
    assert not job.finished
    assert job.progress == (1.0, "Looking")
    with pytest.raises(RuntimeError):
        job.result()
    go_on.set()
    assert job.wait(LONG_S)


def test_jobs_are_done_in_their_order(worker):
    done = []
    jobs = [worker.submit(lambda p, c, number=number: done.append(number)) for number in range(5)]
    assert jobs[-1].wait(LONG_S)
    assert done == [0, 1, 2, 3, 4]


def test_an_error_comes_out_of_the_result_and_the_thread_lives_on(worker):
    def work(progress, cancel):
        raise InputError("It is no CT.")

    job = worker.submit(work)
    assert job.wait(LONG_S)
    with pytest.raises(InputError, match="no CT"):
        job.result()
    after = worker.submit(lambda progress, cancel: "well")
    assert after.wait(LONG_S)
    assert after.result() == "well"


def test_the_work_hears_of_a_cancellation(worker):
    running = threading.Event()

    def work(progress, cancel):
        running.set()
        while not cancel.cancelled:
            running.wait(0.001)
        cancel.raise_if_cancelled()

    job = worker.submit(work)
    assert running.wait(LONG_S)
    job.cancel()
    assert job.wait(LONG_S)
    with pytest.raises(Cancelled):
        job.result()


def test_work_that_ends_before_it_notices_is_cancelled_all_the_same(worker):
    running, go_on = threading.Event(), threading.Event()

    def work(progress, cancel):
        running.set()
        go_on.wait(LONG_S)
        return "a result that nobody wants"

    job = worker.submit(work)
    assert running.wait(LONG_S)
    job.cancel()
    go_on.set()
    assert job.wait(LONG_S)
    with pytest.raises(Cancelled):
        job.result()


def test_a_job_that_is_cancelled_in_the_queue_is_never_begun(worker):
    running, go_on, begun = threading.Event(), threading.Event(), []

    def work(progress, cancel):
        running.set()
        go_on.wait(LONG_S)

    first = worker.submit(work)
    second = worker.submit(lambda progress, cancel: begun.append(True))
    assert running.wait(LONG_S)
    assert not second.started
    second.cancel()
    go_on.set()
    assert first.wait(LONG_S)
    assert second.wait(LONG_S)
    assert begun == []


def test_stopping_ends_the_thread_and_cancels_what_waits(worker):
    running = threading.Event()

    def work(progress, cancel):
        running.set()
        while not cancel.cancelled:
            running.wait(0.001)

    jobs = [worker.submit(work), worker.submit(work)]
    assert running.wait(LONG_S)
    thread = worker.thread
    worker.stop()
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert all(job.cancelled and job.finished for job in jobs)


def test_a_stopped_worker_works_again_in_a_new_thread(worker):
    before = worker.submit(lambda progress, cancel: threading.get_ident())
    assert before.wait(LONG_S)
    worker.stop()
    after = worker.submit(lambda progress, cancel: "again")
    assert after.wait(LONG_S)
    assert after.result() == "again"


def test_the_thread_holds_no_result_while_it_waits_for_the_next_job(worker):
    class Large:
        pass

    job = worker.submit(lambda progress, cancel: Large())
    assert job.wait(LONG_S)
    result = weakref.ref(job.result())
    worker.submit(lambda progress, cancel: None).wait(LONG_S)
    del job
    gc.collect()
    assert result() is None
