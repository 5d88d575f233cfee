"""What tests do to the application as a person would: wait, close, save, load, look."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import PySide6
import shiboken6
import slicer
import slicer.util
from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, QPointF, Qt, QThread, QTimer
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QWidget


def pump(until: Callable[[], bool] = lambda: False, timeout_s: float = 10.0) -> bool:
    """Let the event loop run until something holds; whether it did in time."""
    if _gilHeld:
        return _runHeld(until, timeout_s)
    end = time.monotonic() + timeout_s
    while not until():
        if time.monotonic() > end:
            return False
        processEvents()
        QThread.msleep(2)
    return True


def settle(most_s: float = 0.15) -> None:
    """Let the event loop run until nothing comes any more, at most so long.

    Nothing for 25 ms: a timer of the module that gives its worker time ticks more often, and those
    that put something off wait longer than ``most_s``.
    """
    if _gilHeld:
        _runHeld(lambda: False, most_s)
        return
    loop, end = QEventLoop(), time.monotonic() + most_s
    last = now = time.monotonic()
    while now < end:
        came = loop.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete)
        if came:
            last = time.monotonic()
        elif now - last > 0.025:
            return
        QThread.msleep(2)
        now = time.monotonic()


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


def doubleClickInView(view: Any, x: int, y: int, ctrl: bool = False) -> None:
    """Both clicks, at a pixel of a view; the second press comes as a double click."""
    clickInView(view, x, y, ctrl)
    view.interactor().InvokeEvent("LeftButtonDoubleClickEvent")
    view.interactor().InvokeEvent("LeftButtonReleaseEvent")


def quitApplication() -> None:
    """File, Exit: what the application does before Python ends; the process goes on.

    Raises:
        AssertionError: a thread is left that Python did not wait for. In the middle of one of
            PyTorch's operations it would end the process with ``std::terminate``.
    """
    slicer.app.aboutToQuit.emit()
    left = [one.name for one in threading.enumerate() if one.daemon and "AttentionUNet" in one.name]
    assert not left, f"threads that are left when Python ends: {left}"


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


def drawWithMouse(
    view: Any,
    pixels: Sequence[tuple[int, int]],
    *,
    ctrl: bool = False,
    shift: bool = False,
    release: bool = True,
) -> None:
    """A person at a view, through Qt: the left button goes down at the first pixel (counted from
    the lower left corner), the mouse moves over the others, and the button comes up."""
    held = Qt.KeyboardModifier.NoModifier
    held |= Qt.KeyboardModifier.ControlModifier if ctrl else held
    held |= Qt.KeyboardModifier.ShiftModifier if shift else held
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def send(kind: QEvent.Type, x: int, y: int, button: Any, buttons: Any) -> None:
        place = QPointF(x, view.renderWindow().GetSize()[1] - 1 - y)
        event = QMouseEvent(kind, place, view.mapToGlobal(place), button, buttons, held)
        QCoreApplication.sendEvent(view, event)
        processEvents()

    send(QEvent.Type.MouseMove, *pixels[0], none, none)
    send(QEvent.Type.MouseButtonPress, *pixels[0], left, left)
    for x, y in pixels[1:]:
        send(QEvent.Type.MouseMove, x, y, none, left)
    if release:
        send(QEvent.Type.MouseButtonRelease, *pixels[-1], left, none)


@contextmanager
def gilHeld() -> Iterator[None]:
    """The main thread keeps the GIL while it waits in Qt's event loop, as in Slicer.

    PythonQt's support of threads is off there: a Python thread runs only while the main thread is
    in Python code.
    """
    global _gilHeld
    before, _gilHeld = _gilHeld, True
    try:
        yield
    finally:
        _gilHeld = before


@cache
def _heldExec() -> Any:
    """``QEventLoop::exec`` by its C++ name, called without giving the GIL away.

    Raises:
        NotImplementedError: Qt's libraries are named otherwise on this system.
    """
    folder = Path(PySide6.__file__).parent / "Qt" / "lib"
    libraries = sorted(folder.glob("libQt6Core.so*"))
    if not libraries:
        raise NotImplementedError("the GIL can be held in Qt's event loop on Linux only")
    name = "_ZN10QEventLoop4execE6QFlagsINS_17ProcessEventsFlagEE"
    function = ctypes.PyDLL(str(libraries[0]))[name]
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_int
    return function


_gilHeld = False


def _runHeld(until: Callable[[], bool], timeout_s: float) -> bool:
    """The event loop runs in C++ alone, as in Slicer; now and then it is asked whether to end."""
    loop, timer, end = QEventLoop(), QTimer(), time.monotonic() + timeout_s
    outcome: list[bool] = []

    def ask() -> None:
        if not outcome and (until() or time.monotonic() > end):
            outcome.append(until())
            loop.quit()

    timer.timeout.connect(ask)
    # Seldom: whenever Python code runs here, other threads get a turn that Slicer would not give.
    timer.start(100)
    _heldExec()(shiboken6.getCppPointer(loop)[0], 0)
    timer.stop()
    return outcome[0]
