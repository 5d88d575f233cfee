"""Slicer's error log: what its "Report a Bug" would send, and the red cross in the status bar.

Warnings and errors of Python's logging, of Qt and of VTK, and the tracebacks of slots, threads and
destructors. What the stand-in's own C++ imitations complain about comes through :func:`critical`.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import vtk
from PySide6.QtCore import QtMsgType, qInstallMessageHandler

NOISE = re.compile(
    # Of Qt without a window system.
    "This plugin does not support|propagateSizeHints|bad X server connection"
    # PySide6 says so where PythonQt's objects are compared by their pointers.
    "|QVariant::load|Could not parse stylesheet"
)


class ErrorLog:
    """The entries since it was emptied last."""

    def __init__(self) -> None:
        self._entries: list[str] = []

    @property
    def entries(self) -> list[str]:
        return list(self._entries)

    def add(self, text: str) -> None:
        if not NOISE.search(text):
            self._entries.append(text)

    def clear(self) -> None:
        self._entries.clear()

    def take(self, pattern: str) -> str:
        """The entries that match a pattern, which are no fault then.

        Raises:
            AssertionError: there is none.
        """
        taken = [one for one in self._entries if re.search(pattern, one)]
        assert taken, f"no entry matches '{pattern}': {self._entries}"
        self._entries = [one for one in self._entries if one not in taken]
        return "\n".join(taken)


log = ErrorLog()


def critical(text: str) -> None:
    """As ``qCritical`` in Slicer's C++."""
    log.add(f"critical: {text}")


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        log.add(f"{record.levelname.lower()}: {record.name}: {text}")


def _onQt(kind: QtMsgType, _context: Any, message: str) -> None:
    if kind not in (QtMsgType.QtDebugMsg, QtMsgType.QtInfoMsg):
        log.add(f"Qt: {message}")
    print(message, file=sys.stderr)


def _onVtk(_window: Any, event: str, text: str = "") -> None:
    log.add(f"VTK {event}: {text}")


_onVtk.CallDataType = vtk.VTK_STRING  # type: ignore[attr-defined]


def _chained(before: Any, describe: Any) -> Any:
    def hook(*arguments: Any) -> None:
        log.add("traceback: " + describe(*arguments))
        before(*arguments)

    return hook


_installed = False


def install() -> None:
    """Listen to all that Slicer's error log listens to; once for the process."""
    global _installed
    if _installed:
        return
    _installed = True
    logging.getLogger().addHandler(_Handler(logging.WARNING))
    qInstallMessageHandler(_onQt)
    window = vtk.vtkOutputWindow.GetInstance()
    window.AddObserver("ErrorEvent", _onVtk)
    window.AddObserver("WarningEvent", _onVtk)
    sys.excepthook = _chained(
        sys.excepthook, lambda kind, error, tb: "".join(traceback.format_exception(error))
    )
    threading.excepthook = _chained(
        threading.excepthook, lambda one: "".join(traceback.format_exception(one.exc_value))
    )
    sys.unraisablehook = _chained(
        sys.unraisablehook, lambda one: f"{one.err_msg}: {one.exc_value!r} in {one.object!r}"
    )


@contextmanager
def mustStayEmpty() -> Iterator[ErrorLog]:
    """Raises AssertionError at the end where an entry came in the meantime."""
    log.clear()
    try:
        yield log
        entries = log.entries
        assert not entries, "The error log has entries:\n" + "\n".join(entries)
    finally:
        log.clear()
