"""``slicer.util.mainWindow()``: module panel on the left, views on the right."""

from __future__ import annotations

import slicer
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import QFrame, QMainWindow, QScrollArea, QSplitter, QToolBar, QWidget


class qSlicerModuleSelectorToolBar(QToolBar):
    moduleSelected = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._selected = ""

    def _getSelectedModule(self) -> str:
        return self._selected

    selectedModule = Property(str, _getSelectedModule)

    def selectModule(self, moduleName: str) -> None:
        if moduleName != self._selected:
            self._selected = moduleName
            self.moduleSelected.emit(moduleName)


class qSlicerMainWindow(QMainWindow):
    """A module that is selected is entered, the one before is left."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("qSlicerMainWindow")
        self._current = ""
        self._panel = QScrollArea()
        self._panel.setFrameShape(QFrame.NoFrame)
        self._panel.setWidgetResizable(True)
        self._panel.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self._views = QWidget()
        splitter = QSplitter(Qt.Horizontal)
        splitter.addWidget(self._panel)
        splitter.addWidget(self._views)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([420, 860])
        self.setCentralWidget(splitter)
        self._selector = qSlicerModuleSelectorToolBar(self)
        self._selector.hide()
        self._selector.moduleSelected.connect(self._onModuleSelected)
        self.resize(1280, 900)
        slicer.app.layoutManager().setViewport(self._views)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector

    def _onModuleSelected(self, name: str) -> None:
        self._leave()
        module = slicer.app.moduleManager().module(name)
        widget = None if module is None else module.widgetRepresentation()
        if widget is not None:
            self._current = name
            self._panel.setWidget(widget)
            widget.show()
            widget.enter()

    def _leave(self) -> None:
        module = slicer.app.moduleManager().module(self._current)
        if module is not None and self._panel.widget() is not None:
            module.widgetRepresentation().exit()
            self._panel.takeWidget().setParent(None)
        self._current = ""


CLASSES: tuple[type, ...] = (qSlicerMainWindow, qSlicerModuleSelectorToolBar)
