"""Observers of MRML objects that end with the Qt widget they belong to."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import vtk


class Observations:
    """What a widget observes. A widget that C++ has deleted hears nothing any more."""

    def __init__(self) -> None:
        self._observed: list[tuple[Any, int]] = []

    def add(self, subject: Any, event: Any, method: Callable, nodeGiven: bool = False) -> None:
        """``method(caller, event)``; with ``nodeGiven`` the event's node comes third."""
        weak = weakref.WeakMethod(method)

        def called(*arguments: Any) -> None:
            alive = weak()
            if alive is not None and shiboken6.isValid(alive.__self__):
                alive(*arguments)

        if nodeGiven:
            called.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        self._observed.append((subject, subject.AddObserver(event, called)))

    def removeFrom(self, subject: Any) -> None:
        for one, tag in self._observed:
            if one is subject:
                subject.RemoveObserver(tag)
        self._observed = [one for one in self._observed if one[0] is not subject]

    def clear(self) -> None:
        for subject, tag in self._observed:
            subject.RemoveObserver(tag)
        self._observed = []

    def __del__(self) -> None:
        self.clear()
