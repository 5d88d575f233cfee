"""``slicer.modules`` and the module manager: Slicer's own logics, and scripted modules from files.

A scripted module is loaded as by Slicer: its file is imported, the class of the file's name is
constructed with a ``qSlicerScriptedLoadableModule``; the widget is made when it is first asked for,
constructed with a ``qSlicerScriptedLoadableModuleWidget`` and set up, and ``enter`` and ``exit`` go
to the Python object where it has them.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
import vtk
from matplotlib import colormaps
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QVBoxLayout, QWidget

from .widgets.base_widgets import qSlicerWidget

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}
"""Slicer's own modules that are there, each with its logic and without a widget."""


class qSlicerAbstractCoreModule(QObject):
    def __init__(self, moduleName: str, path: str) -> None:
        super().__init__()
        self._name = moduleName
        self._path = path
        self._logic: Any = None

    def _getName(self) -> str:
        return self._name

    name = Property(str, _getName)

    def _getPath(self) -> str:
        return self._path

    path = Property(str, _getPath)

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:
        return None


class qSlicerAbstractModule(qSlicerAbstractCoreModule):
    pass


class qSlicerLoadableModule(qSlicerAbstractModule):
    pass


class qSlicerScriptedLoadableModule(qSlicerLoadableModule):
    def __init__(self, moduleName: str, path: str) -> None:
        super().__init__(moduleName, path)
        self._values: dict[str, Any] = {}
        self._widget: Any = None
        self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()

    def _kept(name: str, type_: Any, default: Any) -> Property:  # type: ignore[misc]
        def read(self: qSlicerScriptedLoadableModule) -> Any:
            return self._values.get(name, default)

        def write(self: qSlicerScriptedLoadableModule, value: Any) -> None:
            self._values[name] = value

        return Property(type_, read, write)

    title = _kept("title", str, "")
    categories = _kept("categories", "QStringList", [])
    contributors = _kept("contributors", "QStringList", [])
    associatedNodeTypes = _kept("associatedNodeTypes", "QStringList", [])
    helpText = _kept("helpText", str, "")
    acknowledgementText = _kept("acknowledgementText", str, "")
    icon = _kept("icon", QIcon, QIcon())
    hidden = _kept("hidden", bool, False)
    dependencies = _kept("dependencies", "QStringList", [])
    index = _kept("index", int, -1)

    def widgetRepresentation(self) -> Any:
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        widget = qSlicerScriptedLoadableModuleWidget()
        widget._moduleName = self._name
        widget.reload()
        widget.setMRMLScene(slicer.mrmlScene)
        return widget


class qSlicerAbstractModuleWidget(qSlicerWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entered = False

    def _getIsEntered(self) -> bool:
        return self._entered

    isEntered = Property(bool, _getIsEntered)

    def enter(self) -> None:
        self._entered = True

    def exit(self) -> None:
        self._entered = False


class qSlicerScriptedLoadableModuleWidget(qSlicerAbstractModuleWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLayout(QVBoxLayout())
        self._moduleName = ""
        self._python: Any = None

    def _getModuleName(self) -> str:
        return self._moduleName

    moduleName = Property(str, _getModuleName)

    def self(self) -> Any:
        """The Python object, an instance of ``<Module>Widget``."""
        return self._python

    def reload(self) -> None:
        name = f"{self._moduleName}Widget"
        self._python = getattr(sys.modules[self._moduleName], name)(self)
        setattr(slicer.modules, name, self._python)
        self._python.setup()

    def enter(self) -> None:
        super().enter()
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        super().exit()
        if hasattr(self._python, "exit"):
            self._python.exit()


class qSlicerModuleFactoryManager(QObject):
    def __init__(self, modules: dict[str, qSlicerAbstractCoreModule]) -> None:
        super().__init__()
        self._modules = modules

    def loadedModuleNames(self) -> list[str]:
        return sorted(self._modules)

    def isLoaded(self, name: str) -> bool:
        return name in self._modules


class qSlicerModuleManager(QObject):
    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, qSlicerAbstractCoreModule] = {}
        self._factory = qSlicerModuleFactoryManager(self._modules)

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return sorted(self._modules)

    def factoryManager(self) -> qSlicerModuleFactoryManager:
        return self._factory

    def _add(self, module: qSlicerAbstractCoreModule) -> None:
        self._modules[module._name] = module
        setattr(slicer.modules, module._name.lower(), module)
        self.moduleLoaded.emit(module._name)

    def _remove(self, name: str) -> None:
        self.moduleAboutToBeUnloaded.emit(name)
        module = self._modules.pop(name)
        if isinstance(module, qSlicerScriptedLoadableModule) and module._widget is not None:
            module._widget.deleteLater()
            module._widget = None
        for attribute in (name.lower(), f"{name}Widget", f"{name}Instance"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)


def addLogics(manager: qSlicerModuleManager, scene: Any) -> None:
    """Slicer's own modules; making their logics registers their nodes with the scene."""
    for name, className in LOGICS.items():
        module = qSlicerLoadableModule(name, "")
        module._logic = getattr(slicer, className)()
        if hasattr(module._logic, "SetMRMLApplicationLogic"):
            module._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        slicer.app.applicationLogic().SetModuleLogic(name, module._logic)
        # That of Colors complains that Slicer's own files are not there; they come below.
        vtk.vtkObject.SetGlobalWarningDisplay(name != "Colors")
        module._logic.SetMRMLScene(scene)
        vtk.vtkObject.SetGlobalWarningDisplay(True)
        manager._add(module)
    for table in ("Inferno", "Magma", "Plasma", "Viridis"):
        colors = [colormaps[table.lower()](index) for index in range(256)]
        _addColorFile(scene, table, colors)
    # That of label maps: as many colours that differ from their neighbours, the first one clear.
    labels = [colormaps["tab20"](index % 20) for index in range(256)]
    _addColorFile(scene, "GenericColors", [(0.0, 0.0, 0.0, 0.0), *labels])


def _addColorFile(scene: Any, name: str, colors: Sequence[tuple[float, ...]]) -> None:
    """A colour table that Slicer's Colors module reads from a file of its own."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(name)
    node.SetSingletonTag(f"File{name}.txt")
    node.SetSaveWithScene(False)
    node.SetNumberOfColors(len(colors))
    for index, color in enumerate(colors):
        node.SetColor(index, str(index), *color)
    scene.AddNode(node)


OF_MODULES = re.compile(
    r"vtkMRML(Markups|Segment|Annotation|VolumeRendering)\w*|vtkSlicer\w*Logic|qSlicer\w+Widget"
    r"|qMRML(Segment|Markups)\w*"
)
"""Classes that belong to modules of Slicer, not to its core."""
OF_APPLICATION = {
    "qSlicerAbstractModuleWidget",
    "qSlicerScriptedLoadableModuleWidget",
    "vtkSlicerApplicationLogic",
    "vtkSlicerModuleLogic",
    "vtkSlicerScriptedLoadableModuleLogic",
}


@contextmanager
def _otherModulesUnknown() -> Iterator[None]:
    """Modules are made in alphabetical order, and ``slicer`` has the classes of one only from then
    on: a file that is being imported cannot count on them."""
    hidden = {name: value for name, value in vars(slicer).items() if OF_MODULES.fullmatch(name)}
    for name in OF_APPLICATION & hidden.keys():
        del hidden[name]
    for name in hidden:
        delattr(slicer, name)
    try:
        yield
    finally:
        vars(slicer).update(hidden)


def loadModule(path: Path) -> tuple[Any, Any]:
    """Load a scripted module from its file.

    Returns:
        The ``qSlicerScriptedLoadableModule`` and the object of the module's own class.
    """
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    python: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    with _otherModulesUnknown():
        spec.loader.exec_module(python)
        module = qSlicerScriptedLoadableModule(name, str(path))
        instance = getattr(python, name)(module)
    slicer.app.moduleManager()._add(module)
    setattr(slicer.modules, f"{name}Instance", instance)
    return module, instance


CLASSES: tuple[type, ...] = (
    qSlicerAbstractCoreModule,
    qSlicerAbstractModule,
    qSlicerAbstractModuleWidget,
    qSlicerLoadableModule,
    qSlicerModuleFactoryManager,
    qSlicerModuleManager,
    qSlicerScriptedLoadableModule,
    qSlicerScriptedLoadableModuleWidget,
)
