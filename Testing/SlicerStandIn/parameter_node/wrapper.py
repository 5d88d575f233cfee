"""The decorator ``parameterNodeWrapper`` and the methods that it adds to a class of fields."""

from __future__ import annotations

import logging
import typing
import weakref
from typing import Any

import qt
import slicer
import slicer.util
import vtk

from . import annotations as marks
from .gui_connectors import Connector, Decimals, SingleStep, createGuiConnector
from .serializers import Serializer, createSerializer, split

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Field:
    """One field of the class."""

    def __init__(self, classtype: type, name: str, datatype: Any) -> None:
        self.name = name
        self.datatype = datatype
        self.serializer: Serializer = createSerializer(datatype)
        annotations = split(datatype)[1]
        if hasattr(classtype, name):
            self.default = marks.Default(getattr(classtype, name))
        else:
            default = marks.first(annotations, marks.Default)
            self.default = default or marks.Default(generator=self.serializer.default)
        known = (marks.Validator, marks.Default, Decimals, SingleStep, type)
        unused = [one for one in annotations if not isinstance(one, known)]
        if unused:
            logging.warning("Unused annotations: %s", unused)


class _Value:
    """One field of one object: its value, kept until the node is modified by someone else."""

    def __init__(self, field: _Field, node: Any, prefix: str) -> None:
        self.field = field
        self.node = node
        self.name = prefix + field.name
        self.writing = False
        if not field.serializer.isIn(node, self.name):
            field.serializer.write(node, self.name, field.default.value)
        self.value = field.serializer.read(node, self.name)
        weak = weakref.ref(self)

        def modified(caller: Any, event: str) -> None:
            alive = weak()
            if alive is not None and not alive.writing:
                alive.refresh()

        self.tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)

    def __del__(self) -> None:
        self.node.RemoveObserver(self.tag)

    def refresh(self) -> None:
        serializer, node = self.field.serializer, self.node
        if not serializer.isIn(node, self.name):
            # The scene was closed: parameters are gone, fields have their defaults.
            serializer.write(node, self.name, self.field.default.value)
        self.value = serializer.read(node, self.name)

    def write(self, value: Any) -> None:
        self.writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.field.serializer.write(self.node, self.name, value)
                self.value = self.field.serializer.read(self.node, self.name)
        finally:
            self.writing = False


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: annotated fields become properties that are kept in a parameter node."""
    return _process if classtype is None else _process(classtype)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    return None


def _process(classtype: Any) -> Any:
    members = typing.get_type_hints(classtype, include_extras=True)
    fields = {name: _Field(classtype, name, datatype) for name, datatype in members.items()}
    for name in fields:
        setattr(classtype, name, _property(name))
    added = {"allParameters": fields, "_is_parameter_node_wrapper": True, **_METHODS}
    for name, value in added.items():
        if hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, value)
    classtype.__init__ = _init
    return classtype


def _property(name: str) -> property:
    return property(
        lambda self: self._values[name].value,
        lambda self, value: self._values[name].write(value),
    )


def _init(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
    self.parameterNode = parameterNode
    self._parameterGUIs = {}
    self._nextParameterGUIsTag = 0
    self._updatingGUIFromParameterNode = False
    self._values = {
        name: _Value(field, parameterNode, prefix or "")
        for name, field in self.allParameters.items()
    }


def _check(self: Any, name: str) -> None:
    if name not in self.allParameters:
        raise ValueError(
            f"Cannot find a param with the given name: {name}; found {list(self.allParameters)}"
        )


def _getValue(self: Any, name: str) -> Any:
    _check(self, name)
    return self._values[name].value


def _setValue(self: Any, name: str, value: Any) -> None:
    _check(self, name)
    self._values[name].write(value)


def _connectGui(self: Any, gui: Any) -> None:
    """Binds each widget that carries the dynamic property ``SlicerParameterName``.

    Returns nothing, as the original: only ``connectParametersToGui`` gives a tag.
    """
    widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
    mapping = {}
    for widget in widgets:
        name = widget.property(SlicerParameterNamePropertyName)
        if name:
            mapping[name] = widget
    _connectParametersToGui(self, mapping)


def _connectParametersToGui(self: Any, mapping: dict[str, Any]) -> int:
    for name in mapping:
        _check(self, name)
    connectors = {
        name: createGuiConnector(widget, self.allParameters[name].datatype)
        for name, widget in mapping.items()
    }
    tag = self._nextParameterGUIsTag
    self._nextParameterGUIsTag += 1
    self._parameterGUIs[tag] = connectors
    for name, connector in connectors.items():
        connector.write(_getValue(self, name))
        connector.onChanged(_guiToParameter(self, name, connector))
    # As in the original: this observer stays, whatever is disconnected.
    self.AddObserver(vtk.vtkCommand.ModifiedEvent, _GuiUpdate(self))
    return tag


class _GuiUpdate:
    """An observer that outlives what it updates.

    With a lambda, as the original has it, Python may clear the lambda when nothing but the node
    itself, as VTK sees it, leads to it any more; to call it then ends the process.
    """

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper

    def __call__(self, caller: Any, event: str) -> None:
        wrapper = vars(self).get("wrapper")
        if wrapper is not None:
            _updateGui(wrapper)


def _guiToParameter(self: Any, name: str, connector: Connector) -> Any:
    def changed() -> None:
        if not self._updatingGUIFromParameterNode:
            with slicer.util.NodeModify(self):
                _setValue(self, name, connector.read())

    return changed


def _updateGui(self: Any) -> None:
    if self._updatingGUIFromParameterNode:
        return
    self._updatingGUIFromParameterNode = True
    try:
        with slicer.util.NodeModify(self):
            for connectors in self._parameterGUIs.values():
                for name, connector in connectors.items():
                    connector.write(_getValue(self, name))
    finally:
        self._updatingGUIFromParameterNode = False


def _disconnectGui(self: Any, guiTag: Any) -> None:
    for connector in self._parameterGUIs.pop(guiTag, {}).values():
        connector.onChanged(None)


def _default(self: Any, paramName: str) -> marks.Default:
    _check(self, paramName)
    return self.allParameters[paramName].default


def _isCached(self: Any, paramName: str) -> bool:
    _check(self, paramName)
    return True


def _dataType(self: Any, membername: str) -> Any:
    _check(self, membername)
    return self.allParameters[membername].datatype


_METHODS = {
    "default": _default,
    "isCached": _isCached,
    "dataType": _dataType,
    "getValue": _getValue,
    "setValue": _setValue,
    "connectGui": _connectGui,
    "connectParametersToGui": _connectParametersToGui,
    "disconnectGui": _disconnectGui,
    "StartModify": lambda self: self.parameterNode.StartModify(),
    "EndModify": lambda self, wasModified: self.parameterNode.EndModify(wasModified),
    "AddObserver": lambda self, event, callback, priority=0.0: self.parameterNode.AddObserver(
        event, callback, priority
    ),
    "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
    "Modified": lambda self: self.parameterNode.Modified(),
}
