"""``qMRMLWidget`` and ``qSlicerWidget``: widgets that know the scene and pass it on."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget


class qMRMLWidget(QWidget):
    """Sends ``mrmlSceneChanged`` when it is given another scene; ``.ui`` files connect to it."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, newScene: Any) -> None:
        if newScene is self._scene:
            return
        self._scene = newScene
        self.mrmlSceneChanged.emit(newScene)


class qSlicerWidget(QWidget):
    """The same for Slicer's own widgets; the scene cannot be asked for."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


CLASSES: tuple[type, ...] = (qMRMLWidget, qSlicerWidget)
