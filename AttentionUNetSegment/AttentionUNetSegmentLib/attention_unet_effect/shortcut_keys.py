"""Keys that work while an effect is being used, and at no other time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer


class ShortcutKeys:
    """Keys of the main window.

    Args:
        functions: by key sequence, what each does.
    """

    def __init__(self, functions: Mapping[str, Callable[[], None]]) -> None:
        self._functions = functions
        self._shortcuts: list[Any] = []

    def install(self) -> None:
        window = slicer.util.mainWindow()
        if window is None or self._shortcuts:
            return
        for keys, function in self._functions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
            shortcut.connect("activated()", function)
            self._shortcuts.append(shortcut)

    def remove(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
