"""Which widget can show which type, and how it is read, written and listened to.

As in the original the exact widget class counts (a ``ctkCheckBox`` is no ``QCheckBox``), ranges and
steps are taken from the annotations, combo boxes are filled with the choices, and node selectors
get the field's node type.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from . import annotations as marks
from .serializers import split


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float | int


@dataclasses.dataclass
class Connector:
    read: Callable[[], Any]
    write: Callable[[Any], None]
    signal: Any
    _callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        if callback is not None:
            self.signal.connect(self.changed)
        elif self._callback is not None:
            self.signal.disconnect(self.changed)
        self._callback = callback

    def changed(self, *_: Any) -> None:
        if self._callback is not None:
            self._callback()


def createGuiConnector(widget: Any, datatype: Any) -> Connector:
    """
    Raises:
        RuntimeError: the widget cannot show the type.
    """
    type_, annotations = split(datatype)
    kind = type(widget)
    make = None
    if type_ is bool and kind is qt.QCheckBox:
        make = _attribute(widget, "checked", widget.stateChanged)
    elif type_ is bool and kind is qt.QPushButton:
        widget.checkable = True
        make = _attribute(widget, "checked", widget.toggled)
    elif type_ is int and kind in (qt.QSlider, qt.QSpinBox):
        make = _number(widget, annotations, (-(2**31), 2**31 - 1), kind is qt.QSlider)
    elif type_ in (float, int) and kind in (qt.QDoubleSpinBox, ctk.ctkSliderWidget):
        limits = (float("-inf"), float("inf"))
        make = _number(widget, annotations, limits, kind is ctk.ctkSliderWidget, type_)
    elif type_ in (int, float, str, bool) and kind is qt.QComboBox:
        choice = marks.first(annotations, marks.Choice)
        if choice is None:
            raise RuntimeError("A combo box needs the Choice annotation")
        make = _choices(widget, [(str(one), one) for one in choice.choices])
    elif isinstance(type_, type) and issubclass(type_, enum.Enum) and kind is qt.QComboBox:
        label = getattr(type_, "label", lambda member: member.name)
        make = _choices(widget, [(label(member), member) for member in type_])
    elif type_ is str and kind is qt.QLineEdit:
        make = _attribute(widget, "text", widget.textChanged)
    elif type_ is str and kind is qt.QTextEdit:
        make = Connector(widget.toPlainText, widget.setPlainText, widget.textChanged)
    elif _isPath(type_) and kind.__name__ == "ctkPathLineEdit":
        make = Connector(
            lambda: type_(widget.currentPath),
            lambda value: setattr(widget, "currentPath", str(value)),
            widget.currentPathChanged,
        )
    elif kind is slicer.qMRMLNodeComboBox and _nodeTypes(type_):
        widget.nodeTypes = _nodeTypes(type_)
        make = Connector(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)
    if make is None:
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{datatype}' to widget type '{kind}'"
        )
    return make


def _attribute(widget: Any, name: str, signal: Any) -> Connector:
    return Connector(
        lambda: getattr(widget, name), lambda value: setattr(widget, name, value), signal
    )


def _number(
    widget: Any, annotations: list, unbounded: tuple, needsBounds: bool, type_: type = int
) -> Connector:
    decimals = marks.first(annotations, Decimals)
    step = marks.first(annotations, SingleStep)
    within = marks.first(annotations, marks.WithinRange)
    minimum = within or marks.first(annotations, marks.Minimum)
    maximum = within or marks.first(annotations, marks.Maximum)
    if needsBounds and (minimum is None or maximum is None):
        raise RuntimeError(f"Cannot have a connection to {type(widget)} without bounds")
    if decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    widget.minimum = unbounded[0] if minimum is None else minimum.minimum
    widget.maximum = unbounded[1] if maximum is None else maximum.maximum
    return Connector(
        lambda: type_(widget.value),
        lambda value: setattr(widget, "value", value),
        widget.valueChanged,
    )


def _choices(widget: Any, items: list[tuple[str, Any]]) -> Connector:
    widget.clear()
    for text, _ in items:
        widget.addItem(text)
    values = [value for _, value in items]

    def write(value: Any) -> None:
        if value not in values:
            raise ValueError(f"Unable to find value {value} in choices {values}")
        widget.currentIndex = values.index(value)

    return Connector(lambda: values[widget.currentIndex], write, widget.currentIndexChanged)


def _isPath(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, pathlib.PurePath)


def _nodeTypes(type_: Any) -> list[str]:
    """Class names of a node type, or of a union of node types and None; else none."""
    union = typing.get_origin(type_) is typing.Union
    parts = typing.get_args(type_) if union else (type_,)
    nodes = [one for one in parts if isinstance(one, type) and one is not type(None)]
    if not all(issubclass(one, slicer.vtkMRMLNode) for one in nodes):
        return []
    return [one.__name__ for one in nodes]
