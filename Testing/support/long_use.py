"""Hours of use in one process, and what it has left behind.

The three routes: a session of the library, the module's logic, and the panel with a person at it.
Counting is independent of the product where it can be: the operating system says how many threads
and files are open and how much memory there is, Python which objects live, and VTK itself which
observers an object has.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from AttentionUNetSegmentLib.inference import Predictor, Volume
from AttentionUNetSegmentLib.inference.session import Session

PROC = Path("/proc/self")
"""Linux tells there what a process has; elsewhere only Python's side is counted."""
MOST_MB = 12.0
"""What counts as flat: if the masks of 32 small segmentations stayed, they would be 14 MB."""


@dataclass(frozen=True)
class Holdings:
    """What the process has at a moment.

    Args:
        memory_mb: resident, after everything that can be given back was given back; 0 unknown.
        objects: that Python's collector knows, by their class.
        threads: of the operating system.
        python_threads: their names.
        files: open descriptors.
        nodes: of the scene; 0 without one.
        observers: of the scene and of all nodes in it.
    """

    memory_mb: float
    objects: Counter[str]
    threads: int
    python_threads: tuple[str, ...]
    files: int
    nodes: int
    observers: int


def holdings() -> Holdings:
    for _ in range(3):  # what an object held that was only now let go
        if not gc.collect():
            break
    kinds: Counter[str] = Counter()
    for kind, count in Counter(map(type, gc.get_objects())).items():
        kinds[f"{kind.__module__}.{kind.__qualname__}"] += count
    nodes = _scene_nodes()
    return Holdings(
        memory_mb=_resident_mb(),
        objects=kinds,
        threads=_entries("task") or threading.active_count(),
        python_threads=tuple(sorted(thread.name for thread in threading.enumerate())),
        files=_entries("fd"),
        nodes=len(nodes),
        observers=sum(map(observer_count, nodes)),
    )


def grown(before: Holdings, after: Holdings) -> Counter[str]:
    """The classes of which there are more objects than before, most first."""
    return Counter(dict((after.objects - before.objects).most_common()))


def observer_count(vtk_object: Any) -> int:
    """VTK has no function that counts them, but it numbers an object's observers from 1 on, and
    tells which command a number stands for."""
    last = vtk_object.AddObserver("UserEvent", lambda *_: None)
    vtk_object.RemoveObserver(last)
    return sum(vtk_object.GetCommand(number) is not None for number in range(1, last))


def _entries(kind: str) -> int:
    return len(os.listdir(PROC / kind)) if PROC.is_dir() else 0


def _resident_mb() -> float:
    if not PROC.is_dir():
        return 0.0
    # Freed blocks that the C library keeps for later are no leak.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int((PROC / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _scene_nodes() -> list[Any]:
    import sys

    mrml = getattr(sys.modules.get("slicer"), "mrmlScene", None)
    if mrml is None:
        return []
    nodes = [mrml.GetNthNode(index) for index in range(mrml.GetNumberOfNodes())]
    return [mrml, *nodes]


# The routes: each is a round of work that can be done again and again


def places(volume: Volume, organ: np.ndarray, count: int) -> list[tuple[float, float, float]]:
    """Points in the world in and around the organ, the same ones each time."""
    rng = np.random.default_rng(1)
    inside = np.argwhere(organ)[:, ::-1]
    chosen = inside[rng.integers(len(inside), size=count)] + rng.integers(-3, 4, (count, 3))
    chosen = np.clip(chosen, 0, np.array(volume.shape_ijk) - 1)
    points = np.column_stack([chosen, np.ones(count)]) @ volume.ijk_to_ras.T
    return [(float(r), float(a), float(s)) for r, a, s, _ in points]


def click_around(session: Session, points: Iterable[tuple[float, float, float]]) -> int:
    """A click at each point, by turns inside and outside; in between some are moved, removed,
    undone and redone, and all are taken away from time to time. Gives the number of clicks."""
    count = 0
    for count, point in enumerate(points, start=1):
        session.add_click(point, inside=count % 2 == 1)
        if count % 5 == 0:
            session.move_click(len(session.clicks) - 1, point)
        if count % 7 == 0:
            session.remove_click(len(session.clicks) - 1)
        if count % 3 == 0:
            session.undo()
        if count % 6 == 0:
            session.redo()
        if count % 10 == 0:
            session.reset()
    return count


def predict_again(predictor: Predictor, volume: Volume) -> None:
    """A scan as if it were a new one, with the probability and an attention map of it."""
    prediction = predictor.predict(Volume(volume.array.copy(), volume.ijk_to_ras))
    prediction.probability()
    prediction.attention(1)


def segment_with_logic(logic: Any, volume: Volume, options: Any) -> None:
    """A scan comes into the scene, is segmented twice, and goes with all that was made of it."""
    from AttentionUNetSegmentLib import scene
    from SlicerStandIn import driving

    node = scene.addVolumeNode(Volume(volume.array.copy(), volume.ijk_to_ras), "CT")
    for _ in range(2):
        logic.segment(node, options=options)
    driving.closeScene()


def work_at_panel(driver: Any, volume: Volume, points: list[tuple[float, float, float]]) -> None:
    """Two scans, a result on each, clicks that are answered, undone and taken away; the module is
    left and entered; the scene is closed."""
    import vtk
    from AttentionUNetSegmentLib import scene
    from SlicerStandIn import driving

    nodes = [
        scene.addVolumeNode(Volume(volume.array.copy(), volume.ijk_to_ras), name)
        for name in ("first", "second")
    ]
    for node in nodes:
        driver.choose(node)
        driver.segment()
    driver.ui.insideButton.click()
    for point in points:
        driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(*point))
        driver.wait_for_answer()
    for button in ("undoClickButton", "redoClickButton", "resetClicksButton"):
        getattr(driver.ui, button).click()
        driver.wait_for_answer()
    driver.choose(nodes[0])
    driver.representation.exit()
    driver.representation.enter()
    driving.closeScene()
    driver.pump()


@dataclass(frozen=True)
class Course:
    """What the process had when buffers and caches were filled, and what it had in the end."""

    warm: Holdings
    end: Holdings


def repeated(round_: Callable[[], object], rounds: int, warm_up: int) -> Course:
    """Work for some rounds before the first look at what the process has, and for more after.

    Memory goes up and down by some megabytes from round to round, as libraries take and give it;
    what a leak has taken never comes back. So where there is too much, it is worked on as long
    again, and the least counts.
    """
    gc.freeze()  # what was there before is not searched for garbage each time
    for _ in range(warm_up):
        round_()
    holdings()  # to look leaves something behind itself, the first time
    warm = holdings()
    for _ in range(rounds):
        round_()
    end = holdings()
    for _ in range(rounds):
        if end.memory_mb - warm.memory_mb < MOST_MB:
            break
        round_()
        now = holdings()
        end = replace(now, memory_mb=min(now.memory_mb, end.memory_mb))
    return Course(warm, end)
