"""``slicer.app``: the application object, with its settings in a folder of its own.

Reproduced of ``qSlicerApplication``: settings, versions and folders, testing mode, pausing of
rendering, the managers of modules, layout and files, the application logic of slicer-core.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import Any

import slicer
from PySide6.QtCore import Property, QCoreApplication, QSettings, Signal
from PySide6.QtWidgets import QApplication


class qSlicerApplication(QApplication):
    startupCompleted = Signal()
    renderPaused = Signal(bool)
    mrmlSceneChanged = Signal(object)

    _testing = False

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        self._temporary = tempfile.mkdtemp(prefix="SlicerStandIn-")
        QSettings.setDefaultFormat(QSettings.IniFormat)
        QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, self._temporary)
        QCoreApplication.setOrganizationName("SlicerStandIn")
        QCoreApplication.setApplicationName("Slicer")
        self._settings = QSettings()
        atexit.register(self._removeTemporary)
        self._applicationLogic = slicer.vtkSlicerApplicationLogic()
        self._moduleManager: Any = None
        self._layoutManager: Any = None
        self._ioManager: Any = None
        self._mainWindow: Any = None
        self._pauses = 0
        self._dialogs: list[str] = []
        """Names of the windows that were opened; none of them is there."""

    def _removeTemporary(self) -> None:
        """As the process ends; what the settings have not written by then would come after it."""
        self._settings.sync()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _setCache(self, scene: Any) -> None:
        """Where scene bundles are unpacked."""
        self._cacheManager = slicer.vtkCacheManager()
        self._cacheManager.SetRemoteCacheDirectory(self.cachePath)
        self._cacheManager.SetMRMLScene(scene)
        self._dataManager = slicer.vtkDataIOManager()
        self._dataManager.SetCacheManager(self._cacheManager)
        scene.SetCacheManager(self._cacheManager)
        scene.SetDataIOManager(self._dataManager)
        self._applicationLogic.SetTemporaryPath(self._temporary)

    def _constant(type_: Any, value: Any) -> Property:  # type: ignore[misc]
        return Property(type_, lambda self: value)

    majorVersion = _constant(int, 5)
    minorVersion = _constant(int, 12)
    revision = _constant(str, "")
    isInstalled = _constant(bool, False)
    documentationBaseUrl = _constant(str, "https://slicer.readthedocs.io/en/latest/")

    def _getTemporaryPath(self) -> str:
        return self._temporary

    temporaryPath = Property(str, _getTemporaryPath)

    def _getCachePath(self) -> str:
        folder = os.path.join(self._temporary, "cache")
        os.makedirs(folder, exist_ok=True)
        return folder

    cachePath = Property(str, _getCachePath)

    def _getSlicerHome(self) -> str:
        return self._temporary

    slicerHome = Property(str, _getSlicerHome)

    def moduleDocumentationUrl(self, moduleName: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{moduleName.lower()}.html"

    @staticmethod
    def testingEnabled() -> bool:
        return qSlicerApplication._testing

    def settings(self) -> QSettings:
        return self._settings

    def userSettings(self) -> QSettings:
        return self._settings

    def revisionUserSettings(self) -> QSettings:
        return self._settings

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._applicationLogic

    def moduleManager(self) -> Any:
        return self._moduleManager

    def moduleLogic(self, moduleName: str) -> Any:
        module = self._moduleManager.module(moduleName)
        return None if module is None else module.logic()

    def layoutManager(self) -> Any:
        return self._layoutManager

    def setLayoutManager(self, layoutManager: Any) -> None:
        self._layoutManager = layoutManager

    def coreIOManager(self) -> Any:
        return self._ioManager

    def ioManager(self) -> Any:
        return self._ioManager

    def openExtensionsManagerDialog(self) -> None:
        self._dialogs.append("Extensions Manager")

    def pauseRender(self) -> None:
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        self.setRenderPaused(False)

    def setRenderPaused(self, pause: bool) -> None:
        """Pauses are counted: views draw again when each has been resumed."""
        self._pauses = max(0, self._pauses + (1 if pause else -1))
        if self._layoutManager is not None:
            self._layoutManager.setRenderPaused(pause)
        self.renderPaused.emit(self._pauses > 0)


CLASSES: tuple[type, ...] = (qSlicerApplication,)
