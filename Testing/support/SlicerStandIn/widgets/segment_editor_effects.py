"""Scripted effects of the Segment Editor: their C++ side, their factory and their Python base.

Reproduced of ``qSlicerSegmentEditorScriptedEffect``: a Python file is loaded as a module named
after the file's folder, and the class of the file's name in it gets this object; the editor makes a
clone of each registered effect. Volumes of an effect and modifying a segment through it are not
here: the module changes segments by itself.
"""

from __future__ import annotations

import importlib.util
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, QPoint, Signal
from PySide6.QtGui import QIcon, QVector3D
from PySide6.QtWidgets import QFormLayout, QFrame, QLabel, QLayout, QWidget


def ifInScene(node: Any) -> Any:
    """As the original's weak pointer has it: a node that was removed from the scene is gone."""
    return node if node is not None and node.GetScene() is not None else None


class _ConfirmationResult(IntEnum):
    NotConfirmed = 0
    ConfirmedWithoutDialog = 1
    ConfirmedWithDialog = 2


class qSlicerSegmentEditorAbstractEffect(QObject):
    ConfirmationResult = _ConfirmationResult
    NotConfirmed = _ConfirmationResult.NotConfirmed
    ConfirmedWithoutDialog = _ConfirmationResult.ConfirmedWithoutDialog
    ConfirmedWithDialog = _ConfirmationResult.ConfirmedWithDialog

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._values: dict[str, Any] = {}
        self._editor: Any = None
        self._given: Any = None
        self._isActive = False
        self._frame = QFrame()
        self._layout = QFormLayout(self._frame)

    def _kept(name: str, type_: Any, default: Any) -> Property:  # type: ignore[misc]
        def read(self: qSlicerSegmentEditorAbstractEffect) -> Any:
            return self._values.get(name, default)

        def write(self: qSlicerSegmentEditorAbstractEffect, value: Any) -> None:
            self._values[name] = value

        return Property(type_, read, write)

    name = _kept("name", str, "")
    title = _kept("title", str, "")
    perSegment = _kept("perSegment", bool, True)
    requireSegments = _kept("requireSegments", bool, True)
    showEffectCursorInSliceView = _kept("showEffectCursorInSliceView", bool, True)
    showEffectCursorInThreeDView = _kept("showEffectCursorInThreeDView", bool, False)

    def active(self) -> bool:
        return self._isActive

    def activate(self) -> None:
        self._isActive = True
        self._frame.setVisible(True)

    def deactivate(self) -> None:
        self._isActive = False
        self._frame.setVisible(False)

    @property
    def _node(self) -> Any:
        return ifInScene(self._given)

    def parameterSetNode(self) -> Any:
        return self._node

    def setParameterSetNode(self, node: Any) -> None:
        self._given = node

    def scene(self) -> Any:
        return self._node.GetScene() if self._node is not None else None

    def saveStateForUndo(self) -> None:
        """Of the editor that the effect is in; none is in the registered one."""
        if self._editor is not None:
            self._editor.saveStateForUndo()

    def selectEffect(self, effectName: str) -> None:
        if self._editor is not None:
            self._editor.setActiveEffectByName(effectName)

    def confirmCurrentSegmentVisible(self) -> int:
        """Without the question that the original asks about a segment that is hidden."""
        return self.ConfirmedWithoutDialog

    def optionsFrame(self) -> QFrame:
        return self._frame

    def optionsLayout(self) -> QFormLayout:
        return self._layout

    def addOptionsWidget(self, newOptionsWidget: QWidget | QLayout) -> None:
        self._layout.addRow(newOptionsWidget)

    def addLabeledOptionsWidget(
        self, label: str, newOptionsWidget: QWidget | QLayout
    ) -> QLabel | None:
        self._layout.addRow(label, newOptionsWidget)
        return self._layout.labelForField(newOptionsWidget)

    # Places in views

    def renderWindow(self, viewWidget: Any) -> Any:
        return viewWidget.viewWidget().renderWindow()

    def renderer(self, viewWidget: Any) -> Any:
        return self.renderWindow(viewWidget).GetRenderers().GetFirstRenderer()

    def viewNode(self, viewWidget: Any) -> Any:
        isSlice = viewWidget.className() == "qMRMLSliceWidget"
        return viewWidget.mrmlSliceNode() if isSlice else viewWidget.mrmlViewNode()

    def xyToRas(self, xy: QPoint, sliceWidget: Any) -> QVector3D:
        return self.xyzToRas(QVector3D(xy.x(), xy.y(), 0), sliceWidget)

    def xyzToRas(self, inputXyz: QVector3D, sliceWidget: Any) -> QVector3D:
        matrix = sliceWidget.mrmlSliceNode().GetXYToRAS()
        point = (inputXyz.x(), inputXyz.y(), inputXyz.z(), 1)
        return QVector3D(*matrix.MultiplyPoint(point)[:3])

    def rasToXy(self, ras: QVector3D, sliceWidget: Any) -> QPoint:
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(sliceWidget.mrmlSliceNode().GetXYToRAS(), matrix)
        x, y, *_ = matrix.MultiplyPoint((ras.x(), ras.y(), ras.z(), 1))
        return QPoint(round(x), round(y))

    # What an effect does of its own

    def updateGUIFromMRML(self) -> None:
        """Nothing: for those that derive."""

    def updateMRMLFromGUI(self) -> None:
        """Nothing: for those that derive."""

    def cleanup(self) -> None:
        """Nothing: for those that derive."""

    def createCursor(self, viewWidget: Any) -> Any:
        return viewWidget.cursor()

    def helpText(self) -> str:
        return ""


class qSlicerSegmentEditorScriptedEffect(qSlicerSegmentEditorAbstractEffect):
    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._python: Any = None
        self._source = ""

    def pythonSource(self) -> str:
        return self._source

    def self(self) -> Any:
        return self._python

    def setPythonSource(self, newPythonSource: str) -> bool:
        path = Path(newPythonSource)
        moduleName, className = path.parent.name, path.stem
        if not className.endswith("Effect"):
            className += "Effect"
        module = sys.modules.setdefault(moduleName, ModuleType(moduleName))
        if not hasattr(module, className):
            spec = importlib.util.spec_from_file_location(moduleName, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[moduleName] = module
            spec.loader.exec_module(module)
        self._python = getattr(module, className)(self)
        self._source = newPythonSource
        setattr(slicer, moduleName, self._python)
        return True

    def activate(self) -> None:
        super().activate()
        self._call("activate")

    def deactivate(self) -> None:
        super().deactivate()
        self._call("deactivate")

    def cleanup(self) -> None:
        self._call("cleanup")

    def createCursor(self, viewWidget: Any) -> Any:
        return self._call("createCursor", viewWidget)

    def helpText(self) -> str:
        return self._call("helpText") or ""

    def updateGUIFromMRML(self) -> None:
        self._call("updateGUIFromMRML")

    def updateMRMLFromGUI(self) -> None:
        self._call("updateMRMLFromGUI")

    def _icon(self) -> QIcon:
        return self._call("icon") or QIcon()

    def _clone(self) -> qSlicerSegmentEditorScriptedEffect:
        clone = self._call("clone")
        assert isinstance(clone, qSlicerSegmentEditorScriptedEffect)
        return clone

    def _call(self, method: str, *arguments: Any) -> Any:
        function = getattr(self._python, method, None)
        return function(*arguments) if function is not None else None


class qSlicerSegmentEditorEffectFactory(QObject):
    effectRegistered = Signal(str)

    _only: qSlicerSegmentEditorEffectFactory | None = None

    def __init__(self) -> None:
        super().__init__()
        self._effects: list[qSlicerSegmentEditorScriptedEffect] = []

    @staticmethod
    def instance() -> qSlicerSegmentEditorEffectFactory:
        factory = qSlicerSegmentEditorEffectFactory
        if factory._only is None:
            factory._only = factory()
        return factory._only

    def registerEffect(self, effect: qSlicerSegmentEditorScriptedEffect) -> bool:
        """An effect of a name that is registered already is refused."""
        if not effect.name or any(one.name == effect.name for one in self._effects):
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect.name)
        return True

    def registeredEffects(self) -> list[qSlicerSegmentEditorScriptedEffect]:
        return list(self._effects)


def effectsModule() -> ModuleType:
    """``qSlicerSegmentationsEditorEffectsPythonQt``."""
    module = ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    for one in (qSlicerSegmentEditorAbstractEffect, qSlicerSegmentEditorScriptedEffect):
        setattr(module, one.__name__, one)
    return module


CLASSES: tuple[type, ...] = (
    qSlicerSegmentEditorAbstractEffect,
    qSlicerSegmentEditorEffectFactory,
    qSlicerSegmentEditorScriptedEffect,
)
