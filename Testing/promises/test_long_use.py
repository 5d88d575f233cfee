"""Many segmentations and clicks in one process leave nothing behind: no memory, no thread, no open
file, no node, no observer, no temporary folder.

With tiny networks on a small scan; 200 segmentations and 2,000 clicks with LONG_USE_WHOLE=1 in the
environment. ``measure_long_use.py`` does as many with the shipped model.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import batch_cases
import numpy as np
import panel_driver
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.inference import Predictor, Volume
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import load_model
from long_use import (
    MOST_MB,
    Course,
    click_around,
    grown,
    observer_count,
    places,
    predict_again,
    repeated,
    segment_with_logic,
    work_at_panel,
)
from threshold_model import threshold_model

WHOLE = bool(os.environ.get("LONG_USE_WHOLE"))
SEGMENTATIONS, CLICKS, PANEL_ROUNDS = (200, 2000, 8) if WHOLE else (32, 100, 2)
CLICKS_A_ROUND = 25
MOST_OBJECTS = 30
"""Of one class: one for each scan that came and went would be more. Libraries keep some."""
SHAPE = (36, 104, 120)


@pytest.fixture(scope="module", autouse=True)
def one_itk_thread() -> Iterator[None]:
    """For images as small as these, to start threads takes longer than the work."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def assert_nothing_left(course: Course) -> None:
    warm, end = course.warm, course.end
    assert end.memory_mb - warm.memory_mb < MOST_MB
    more = {kind: count for kind, count in grown(warm, end).items() if count > MOST_OBJECTS}
    assert not more
    assert end.threads <= warm.threads
    assert end.python_threads == warm.python_threads
    assert end.files <= warm.files
    assert end.nodes == warm.nodes
    assert end.observers == warm.observers


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own for temporary files, which has to be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return batch_cases.save_model(tmp_path_factory.mktemp("models") / "chance")


@pytest.fixture(scope="module")
def predictor(model_folder: Path, one_thread: None) -> Predictor:
    return Predictor(load_model(model_folder), "cpu")


@pytest.fixture(scope="module")
def volume() -> Volume:
    return panel_driver.bright_scan(SHAPE, (2.0, 2.0, 4.0), 30.0)


@pytest.fixture(scope="module")
def points(predictor: Predictor, volume: Volume) -> list[tuple[float, float, float]]:
    organ = predictor.predict(volume).mask
    assert organ.any()  # random networks, but they find something
    return places(volume, organ, CLICKS)


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    """Before the folder for temporary files is chosen: the application keeps its own to the end."""
    yield panel_driver.start_module()
    panel_driver.stop_module()


@pytest.fixture
def driver(module: Any, model_folder: Path) -> Iterator[Any]:
    from SlicerStandIn import driving

    driving.closeScene()
    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    driver.parameters.model = str(model_folder)
    driver.model = str(model_folder)
    yield driver
    driver.representation.exit()
    driving.closeScene()


def test_many_segmentations_in_the_library(predictor: Predictor, volume: Volume) -> None:
    assert_nothing_left(repeated(lambda: predict_again(predictor, volume), SEGMENTATIONS, 6))


@pytest.fixture
def undo_steps(monkeypatch: pytest.MonkeyPatch) -> int:
    """Fewer than usual, which are filled with fewer clicks."""
    monkeypatch.setattr("AttentionUNetSegmentLib.inference.session.UNDO_STEPS", 20)
    return 20


@pytest.mark.usefixtures("undo_steps")
def test_many_clicks_on_one_scan(
    predictor: Predictor, volume: Volume, points: list[tuple[float, float, float]]
) -> None:
    """Around the network: it is one whose answer costs nothing. The clicks before the first look
    are more than there are states kept."""
    quick = threshold_model()
    stages = quick.card.stages.items()
    coarse = {name: replace(stage, spacing_mm=(8.0, 8.0, 8.0)) for name, stage in stages}
    session = Session(Predictor(replace(quick, card=replace(quick.card, stages=coarse))), volume)
    session.predict()
    rounds = CLICKS // CLICKS_A_ROUND
    parts = itertools.cycle([points[at::rounds] for at in range(rounds)])
    course = repeated(lambda: click_around(session, next(parts)), rounds, warm_up=4)
    assert_nothing_left(course)


def test_what_can_be_undone_is_not_more_and_more(
    predictor: Predictor, volume: Volume, undo_steps: int
) -> None:
    """Each step of the way back holds all the clicks that there were; it leads to the click no
    more once there were so many steps since."""
    session = Session(predictor, volume)
    session.predict()
    session.add_click(places(volume, session.predict().mask, 1)[0], inside=True)
    for steps, clicks in ((undo_steps, 1), (undo_steps + 1, 0)):
        for _ in range(steps):
            session.reset()
        for _ in range(steps + 10):
            session.undo()
        assert len(session.clicks) == clicks


def test_many_segmentations_in_the_module(driver: Any, volume: Volume) -> None:
    from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions

    options = SegmentationOptions(driver.model, "cpu")
    logic = driver.widget.logic
    course = repeated(
        lambda: segment_with_logic(logic, volume, options), SEGMENTATIONS // 2, warm_up=4
    )
    assert_nothing_left(course)


def test_a_day_at_the_panel(
    driver: Any, volume: Volume, points: list[tuple[float, float, float]]
) -> None:
    def day() -> None:
        driver.parameters.model = driver.model  # it is the scene's, which is closed each time
        work_at_panel(driver, volume, points[:4])

    assert_nothing_left(repeated(day, PANEL_ROUNDS, warm_up=3))


def test_a_closed_scene_takes_its_parameters_along(driver: Any) -> None:
    """Slicer keeps the node of a module's parameters, and all that observes it."""
    from SlicerStandIn import driving

    counts = set()
    for _ in range(4):
        driving.closeScene()
        driver.pump()
        counts.add(observer_count(driver.parameters.parameterNode))
    assert len(counts) == 1
    assert counts.pop() > 0


def test_the_worker_thread_ends_when_the_module_does(driver: Any, volume: Volume) -> None:
    from AttentionUNetSegmentLib import scene

    driver.choose(scene.addVolumeNode(volume, "CT"))
    driver.segment()
    worker = driver.panel.hub.worker
    thread = worker.thread
    assert thread is not None
    driver.widget.logic.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert worker.thread is None


# What counts is itself counted


def test_observers_are_counted_as_vtk_has_them() -> None:
    vtk = pytest.importorskip("vtk", reason="VTK comes with slicer-core")
    one = vtk.vtkObject()
    assert observer_count(one) == 0
    tags = [one.AddObserver("ModifiedEvent", lambda *_: None) for _ in range(3)]
    assert observer_count(one) == 3
    one.RemoveObserver(tags[0])
    assert observer_count(one) == 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells the memory")
def test_masks_that_stay_are_seen(predictor: Predictor, volume: Volume) -> None:
    kept: list[np.ndarray] = []
    mask = predictor.predict(volume).mask
    course = repeated(lambda: kept.append(mask + 1), SEGMENTATIONS, 5)
    with pytest.raises(AssertionError):
        assert_nothing_left(course)


def test_the_stand_in_for_slicer_leaves_no_folder(tmp_path: Path) -> None:
    """Of its settings and its cache, when the process ends."""
    code = (
        "import SlicerStandIn; app = SlicerStandIn.start(); print(app.cachePath);"
        "app.settings().setValue('one', 1)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(panel_driver.__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    cache = Path(process.stdout.strip())
    assert str(cache).startswith(tempfile.gettempdir())  # which has to be empty in the end
