"""The decorator ``parameterNodeWrapper`` and the methods that it adds to a class of fields."""

from __future__ import annotations

import dataclasses
import logging
import typing
import weakref
from typing import Any

import qt
import slicer
import slicer.util
import vtk

from ..not_imitated import NotImitatedError
from . import annotations as marks
from .gui_connectors import Connector, createGuiConnector
from .serializers import Serializer, createSerializer

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclasses.dataclass
class ParameterInfo:
    """One field of the class, as ``allParameters`` has it."""

    basename: str
    serializer: Serializer
    default: marks.Default
    unalteredType: Any


class _Value:
    """One field of one object, in its parameter node."""

    def __init__(self, field: ParameterInfo, node: Any, prefix: str) -> None:
        self.field = field
        self.node = node
        self.name = prefix + field.basename
        if not field.serializer.isIn(node, self.name):
            field.serializer.write(node, self.name, field.default.value)

    def read(self) -> Any:
        serializer = self.field.serializer
        if not serializer.isIn(self.node, self.name):
            # The scene was closed: parameters are gone, fields have their defaults.
            serializer.write(self.node, self.name, self.field.default.value)
        return serializer.read(self.node, self.name)

    def write(self, value: Any) -> None:
        self.field.serializer.write(self.node, self.name, value)


class _CachedValue(_Value):
    """The value is kept until the node is modified by someone else."""

    def __init__(self, field: ParameterInfo, node: Any, prefix: str) -> None:
        super().__init__(field, node, prefix)
        self.value = super().read()
        self.writing = False
        weak = weakref.ref(self)

        def modified(caller: Any, event: str) -> None:
            alive = weak()
            if alive is not None and not alive.writing:
                alive.value = _Value.read(alive)

        self.tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)

    def __del__(self) -> None:
        self.node.RemoveObserver(self.tag)

    def read(self) -> Any:
        return self.value

    def write(self, value: Any) -> None:
        self.writing = True
        try:
            # Who is told of the change is told the new value.
            with slicer.util.NodeModify(self.node):
                super().write(value)
                self.value = super().read()
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
    if "." in parameter:
        raise NotImitatedError("widgets for the parts of a parameter pack")
    raise RecursionError(f"No widget shows {parameter}; the original looks for it for ever")


def _process(classtype: Any) -> Any:
    members = typing.get_type_hints(classtype, include_extras=True)
    fields = {name: _field(classtype, name, datatype) for name, datatype in members.items()}
    for name in fields:
        setattr(classtype, name, _property(name))
    added = {
        "allParameters": fields,
        "_is_parameter_node_wrapper": True,
        "dataType": staticmethod(lambda membername: _known(fields, membername).unalteredType),
        **_METHODS,
    }
    for name, value in added.items():
        if hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, value)
    classtype.__init__ = _init
    return classtype


def _field(classtype: type, name: str, datatype: Any) -> ParameterInfo:
    type_, annotations = marks.split(datatype)
    try:
        serializer, unused = createSerializer(type_, annotations)
    except NotImitatedError:
        raise
    except Exception as error:
        raise Exception(f"Unable to create serializer for {classtype} member {name}") from error
    if hasattr(classtype, name):
        default = marks.Default(getattr(classtype, name))
    else:
        given = [one for one in unused if isinstance(one, marks.Default)]
        unused = [one for one in unused if not isinstance(one, marks.Default)]
        if len(given) > 1:
            raise Exception("Multiple defaults found")
        default = given[0] if given else marks.Default(serializer.default())
    if unused:
        # Those for widgets too: the original does not know them here.
        logging.warning("Unused annotations: %s", unused)
    return ParameterInfo(name, serializer, default, datatype)


def _property(name: str) -> property:
    return property(
        lambda self: self._values[name].read(),
        lambda self, value: self._values[name].write(value),
    )


def _init(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
    self.parameterNode = parameterNode
    self._parameterGUIs = {}
    self._nextParameterGUIsTag = 0
    self._guiVtkObserverTags = {}
    self._updatingGUIFromParameterNode = False
    self._values = {
        name: (_CachedValue if field.serializer.supportsCaching() else _Value)(
            field, parameterNode, prefix or ""
        )
        for name, field in self.allParameters.items()
    }


def _known(named: dict[str, Any], name: str) -> Any:
    if name not in named:
        raise ValueError(f"Cannot find a param with the given name: {name}; found {list(named)}")
    return named[name]


def _getValue(self: Any, name: str) -> Any:
    return _known(self._values, name).read()


def _setValue(self: Any, name: str, value: Any) -> None:
    _known(self._values, name).write(value)


def _connectGui(self: Any, gui: Any) -> int:
    """Binds each widget that carries the dynamic property ``SlicerParameterName``."""
    widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
    mapping = {}
    for widget in widgets:
        name = widget.property(SlicerParameterNamePropertyName)
        if name:
            mapping[name] = widget
    return _connectParametersToGui(self, mapping)


def _connectParametersToGui(self: Any, mapping: dict[str, Any]) -> int:
    fields = {name: _known(self.allParameters, name) for name in mapping}
    connectors = {
        name: createGuiConnector(widget, fields[name].unalteredType)
        for name, widget in mapping.items()
    }
    tag = self._nextParameterGUIsTag
    self._nextParameterGUIsTag += 1
    self._parameterGUIs[tag] = connectors
    for name, connector in connectors.items():
        connector.write(_getValue(self, name))
        connector.onChanged(_guiToParameter(self, name, connector))
    observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, _GuiUpdate(self))
    self._guiVtkObserverTags[tag] = observer
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
    if guiTag in self._guiVtkObserverTags:
        self.RemoveObserver(self._guiVtkObserverTags.pop(guiTag))


def _default(self: Any, paramName: str) -> marks.Default:
    return _known(self.allParameters, paramName).default


def _isCached(self: Any, paramName: str) -> bool:
    return isinstance(_known(self._values, paramName), _CachedValue)


_METHODS = {
    "default": _default,
    "isCached": _isCached,
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
