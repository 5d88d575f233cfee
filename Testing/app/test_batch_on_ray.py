"""Batches on a real Ray of two nodes: what breaks costs time, and nothing else."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from AttentionUNetSegmentLib.app import overlay
from AttentionUNetSegmentLib.app.batch import batching, running
from AttentionUNetSegmentLib.app.batch.batching import BatchOptions, BatchOutcome, run_batch
from AttentionUNetSegmentLib.app.batch.sources import find_studies
from AttentionUNetSegmentLib.app.batch.worker import BatchWorker
from AttentionUNetSegmentLib.errors import AttentionUNetSegmentError
from batch_cases import (
    Death,
    draw_quickly,
    results_of,
    save_model,
    troubled_worker,
    write_scans,
)

pytestmark = [
    # Imported by the process that runs these tests alone, not by each that collects them.
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed, or has no wheel for this Python",
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="Ray's test cluster needs POSIX"),
    pytest.mark.usefixtures("one_thread"),
]

STUDIES = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "chance")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"), STUDIES)


def start(scans: Path, model: Path, options: BatchOptions) -> BatchOutcome:
    return run_batch(find_studies([scans], str(model)), options, lambda fraction, text: None)


@pytest.fixture(scope="module")
def plain(scans: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain loop makes of it."""
    directory = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "render_overlay", draw_quickly)
        outcome = start(scans, model, BatchOptions(directory))
    assert [row.found for row in outcome.rows] == ["yes"] * STUDIES
    assert len({row.volume_ml for row in outcome.rows}) > 1
    return directory


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with room for a worker each."""
    from ray.cluster_utils import Cluster

    root = Path(__file__).resolve().parents[2]
    paths = [str(root / "AttentionUNetSegment"), str(root / "Testing" / "support")]
    end_request = signal.getsignal(signal.SIGTERM)  # the nodes put in one of their own
    with pytest.MonkeyPatch.context() as patch:
        # As installed on every node.
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        # Nothing that takes time beside the two nodes.
        unneeded = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
        head = {"num_cpus": 1, **unneeded}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.second = cluster.add_node(num_cpus=1)
        signal.signal(signal.SIGTERM, end_request)
        yield cluster
        cluster.shutdown()


def assert_nothing_lost(directory: Path, plain: Path, outcome: BatchOutcome) -> None:
    """Nothing lost, nothing twice, the same bits."""
    assert outcome.failed == []
    assert results_of(directory) == results_of(plain)
    tables = [list(csv.DictReader((one / "results.csv").open())) for one in (directory, plain)]
    for rows in tables:
        for row in rows:
            for name in list(row):
                if name.endswith("_s"):
                    del row[name]
    assert tables[0] == tables[1]


Replace = Callable[..., None]


@pytest.fixture
def workers_are(monkeypatch: pytest.MonkeyPatch) -> Replace:
    def replace(make: Callable[..., BatchWorker], **trouble: Any) -> None:
        monkeypatch.setattr(batching, "BatchWorker", partial(make, **trouble))

    return replace


def test_what_befalls_the_workers_costs_time_and_a_study_that_kills_each_only_itself(
    scans: Path,
    model: Path,
    plain: Path,
    cluster: Any,
    tmp_path: Path,
    workers_are: Replace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On one node the disk is full. The other's worker dies at its first study, and each time at
    another: all in one run, for every worker is a process that has to start."""
    full, once, always = (tmp_path / name for name in ("full", "once", "always"))
    out = tmp_path / "out"
    # The worker whose disk is full gets no second study.
    deaths = (Death("", once), Death("scan2", always, always=True))
    with monkeypatch.context() as patch:
        patch.setattr(running, "MOST_TRIES", 2)
        node = cluster.second.node_id
        workers_are(troubled_worker, node_id=node, trouble="full", marker=full, deaths=deaths)
        outcome = start(scans, model, BatchOptions(out, ray=cluster.address))
    assert full.exists()
    assert once.exists()
    assert always.exists()
    assert [row.study for row in outcome.failed] == ["scan2"]
    assert "died 2 times" in outcome.failed[0].error
    assert results_of(out) == {
        name: content for name, content in results_of(plain).items() if "scan2" not in name
    }
    # And a node that is lost in the middle: what is finished is kept, the rest is as the plain loop
    # has it.
    marker = tmp_path / "at work"
    workers_are(troubled_worker, node_id=node, trouble="lost", marker=marker)

    def remove() -> None:
        while not marker.exists():
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    again = start(scans, model, BatchOptions(out, ray=cluster.address))
    remover.join(30)
    assert marker.exists()
    assert again.kept == STUDIES - 1
    assert_nothing_lost(out, plain, again)


def test_an_address_where_nobody_answers_is_one_sentence(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(AttentionUNetSegmentError, match=r"No Ray cluster answers at '127.0.0.1:9'"):
        start(scans, model, BatchOptions(tmp_path, ray="127.0.0.1:9"))
