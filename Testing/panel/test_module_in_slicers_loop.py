"""The panel where the main thread keeps the GIL while it waits for events, as it does in Slicer.

A Python thread runs there only while the main thread is in Python code; what only waits for the
worker in the event loop takes several times as long, or for ever.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import numpy as np
import panel_driver
import pytest
from AttentionUNetSegmentLib.inference.worker import Worker
from panel_driver import Gate, add_ct, dice, segment_mask

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the C++ event loop is called by its Linux name"
)

HANDOFFS = 300
"""How often the work lets go of the GIL, as PyTorch does at each operation."""


@pytest.fixture(autouse=True)
def held(module):
    from SlicerStandIn import driving

    with driving.gilHeld():
        yield


def handing_off(_progress, cancel):
    """Work of many short operations."""
    for _ in range(HANDOFFS):
        cancel.raise_if_cancelled()
        time.sleep(0)
        time.sleep(0.0002)
    return "done"


def test_a_thread_that_nobody_gives_time_stands_still(module):
    """The mode is what it says: nothing but the loop's own look at the condition helps."""
    from SlicerStandIn import driving

    worker = Worker()
    job = worker.submit(handing_off)
    assert not driving.pump(lambda: job.finished, 1.0)
    assert worker.stop(wait_s=panel_driver.LONG_S)


def test_the_worker_gets_many_turns_a_poll(module):
    from AttentionUNetSegmentLib.panel.worker_polling import WorkerPolling
    from SlicerStandIn import driving

    worker = Worker()
    polling = WorkerPolling(worker)
    polls = []
    job = polling.run(handing_off, lambda job: polls.append(job.finished))
    assert driving.pump(lambda: job.finished and polls and polls[-1], panel_driver.LONG_S)
    assert job.result() == "done"
    # With one turn a poll there would be as many as handoffs.
    assert len(polls) < HANDOFFS / 3
    assert driving.pump(lambda: not polling._timer.active, panel_driver.LONG_S)  # nothing is left
    assert worker.stop(wait_s=panel_driver.LONG_S)


def test_the_main_job(driver, ct):
    driver.segment()
    assert dice(segment_mask(driver, ct), panel_driver.bright_scan().array > 200) > 0.85


def test_a_click_is_answered(driver, ct):
    import vtk
    from AttentionUNetSegmentLib.scene.corrections import readClicks

    driver.segment()
    driver.ui.insideButton.click()
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(0, 0, -40 + 6 * 12))
    driver.wait_for_answer()
    found = driver.panel.resultNodes
    answered = readClicks(found.segmentationNode, found.segmentId)
    assert answered == driver.panel.clicks.clicks
    assert len(answered) == 1


def test_cancel_is_immediate_and_the_worker_comes_to_its_end(driver, ct, monkeypatch):
    gate = Gate(monkeypatch, "Segmenting")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    job = driver.panel.hub.runner._job
    driver.press_segment()
    assert not driver.panel.busy
    assert "Cancelled" in driver.message
    gate.opened.set()
    assert driver.pump(lambda: job.finished)
    assert driver.pump(lambda: driver.panel.hub.worker.idle)


def test_a_cancelled_job_lets_go_of_the_scan(driver, ct, monkeypatch):
    gate = Gate(monkeypatch, "Segmenting")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    scan = weakref.ref(driver.panel.hub.runner.task._scan)
    assert scan() is not None
    driver.press_segment()
    gate.opened.set()
    assert driver.pump(lambda: driver.panel.hub.worker.idle)
    driver.panel.hub.cache.forget_scans()  # what was computed on it is kept for the next click
    gc.disable()
    try:
        assert driver.pump(lambda: scan() is None)
    finally:
        gc.enable()


def test_the_devices_are_listed(driver):
    driver.ui.deviceLabel.text = ""
    driver.unfold("advanced")
    assert driver.pump(lambda: driver.ui.deviceLabel.text != "")
    driver.ui.advancedCollapsibleButton.collapsed = True


def test_the_scene_is_closed_and_the_scans_are_forgotten(driver, ct, monkeypatch):
    from SlicerStandIn import driving

    driver.segment()
    hub = driver.panel.hub
    assert hub.cache._sessions
    gate = Gate(monkeypatch, "Segmenting")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    driving.closeScene()
    gate.opened.set()
    assert driver.pump(lambda: hub.worker.idle)
    assert not hub.cache._sessions
    assert not driver.panel.busy


def test_reloading_the_module_while_it_works(driver, ct, monkeypatch):
    import slicer.util

    gate = Gate(monkeypatch, "Segmenting")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    hub, old = driver.panel.hub, driver.panel
    slicer.util.reloadScriptedModule("AttentionUNetSegment")
    gate.opened.set()
    assert driver.pump(lambda: hub.worker.idle)
    assert driver.panel is not old
    driver.representation.enter()
    driver.segment()
    assert driver.panel.hasSegment


def test_quitting_while_it_works_leaves_no_thread_behind(driver, ct, monkeypatch):
    from SlicerStandIn import driving

    gate = Gate(monkeypatch, "Segmenting")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    gate.opened.set()
    driving.quitApplication()
    assert not driver.panel.busy
    # The stand-in's process goes on, and so does the module.
    driver.segment()
    assert driver.panel.hasSegment


def test_the_first_press_finds_the_model_loaded(driver, monkeypatch):
    """PyTorch and the model come in the worker as soon as there is a CT, before any press, and each
    network has been run once."""
    from AttentionUNetSegmentLib.inference import predictor_cache

    loads, load = [], predictor_cache.load_predictor
    monkeypatch.setattr(
        predictor_cache, "load_predictor", lambda one: loads.append(one) or load(one)
    )
    hub = driver.panel.hub
    hub.cache.clear()
    hub._prepared = None
    node = add_ct(driver)
    assert driver.pump(lambda: hub.worker.idle and len(loads) == 1)
    assert not driver.panel.busy  # nothing blocks the panel meanwhile
    networks = hub.cache._predictor.networks
    assert {name: len(network.passes) for name, network in networks.items()} == {
        "locator": 1,
        "refiner": 1,
    }
    driver.segment()
    assert len(loads) == 1
    assert np.any(segment_mask(driver, node))


def test_a_press_does_not_wait_for_what_is_prepared(driver, monkeypatch):
    """Of the warming up no more than the network that runs."""
    from AttentionUNetSegmentLib.inference.engine import Engine

    reached, opened, cancelled = threading.Event(), threading.Event(), []

    def warm_up(self, cancel):
        reached.set()
        opened.wait(30)
        cancelled.append(cancel.cancelled)
        cancel.raise_if_cancelled()

    monkeypatch.setattr(Engine, "warm_up", warm_up)
    hub = driver.panel.hub
    hub.cache.clear()
    hub._prepared = None
    add_ct(driver)
    assert driver.pump(reached.is_set)
    driver.press_segment()
    assert driver.panel.busy
    opened.set()
    assert driver.pump(lambda: not driver.panel.busy)
    assert cancelled == [True]
    assert driver.panel.hasSegment


def test_without_torch_nothing_is_loaded_beforehand(driver, monkeypatch):
    from AttentionUNetSegmentLib.panel import installation

    monkeypatch.setattr(installation, "installed", lambda name: name != "torch")
    hub = driver.panel.hub
    hub._prepared = None
    submitted = []
    monkeypatch.setattr(hub.worker, "submit", submitted.append)
    add_ct(driver)
    assert submitted == []
