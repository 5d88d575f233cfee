"""What tests do to the application as a person would: wait, close, save, load, look."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6.QtCore import QCoreApplication, QEvent, QThread
from PySide6.QtWidgets import QWidget


def pump(until: Callable[[], bool] = lambda: False, timeout_s: float = 10.0) -> bool:
    """Let the event loop run until something holds; whether it did in time."""
    end = time.monotonic() + timeout_s
    while not until():
        if time.monotonic() > end:
            return False
        processEvents()
        QThread.msleep(2)
    return True


def processEvents() -> None:
    """Once, with the deletions that were put off."""
    QCoreApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete)


def closeScene() -> None:
    """File, Close scene."""
    slicer.mrmlScene.Clear(0)
    processEvents()


def saveScene(path: Path) -> None:
    """File, Save, as one ``.mrb`` or ``.mrml`` file."""
    assert slicer.util.saveScene(str(path), {})


def loadScene(path: Path) -> None:
    """File, Add data, with a scene: it takes the place of the present one."""
    slicer.util.loadScene(str(path), {})
    processEvents()


def grab(widget: QWidget, path: Path) -> None:
    """A PNG of a widget as it looks now; views are rendered for it."""
    processEvents()
    assert widget.grab().save(str(path))


def moveMouse(view: Any, x: int, y: int, ctrl: bool = False) -> None:
    """In a view, over a pixel counted from its lower left corner."""
    interactor = view.interactor()
    interactor.SetEventInformation(x, y, int(ctrl), 0)
    interactor.InvokeEvent("MouseMoveEvent")


def clickInView(view: Any, x: int, y: int, ctrl: bool = False) -> None:
    """The left button, at a pixel of a view."""
    dragInView(view, (x, y), (x, y), ctrl)


def dragInView(view: Any, start: tuple[int, int], end: tuple[int, int], ctrl: bool = False) -> None:
    """With the left button held, in a few steps."""
    moveMouse(view, *start, ctrl)
    view.interactor().InvokeEvent("LeftButtonPressEvent")
    steps = 5
    for step in range(1, steps + 1) if start != end else ():
        x, y = (round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))
        moveMouse(view, x, y, ctrl)
        processEvents()
    view.interactor().InvokeEvent("LeftButtonReleaseEvent")


@contextmanager
def failOnSlotErrors() -> Iterator[list[BaseException]]:
    """Exceptions in slots, which Qt only prints, are raised at the end of the block."""
    errors: list[BaseException] = []
    before = sys.excepthook

    def collect(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        errors.append(error)
        before(kind, error, traceback)

    sys.excepthook = collect
    try:
        yield errors
    finally:
        sys.excepthook = before
    if errors:
        raise errors[0]
