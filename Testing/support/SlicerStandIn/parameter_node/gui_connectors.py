"""Which widget can show which type, and how it is read, written and listened to.

As in the original the exact widget class counts (a ``ctkMenuButton`` is no ``QPushButton``), ranges
and steps are taken from the annotations, combo boxes are filled with the choices, and node
selectors get the field's node type. Of the original's widgets those are here that the stand-in has.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import types
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from . import annotations as marks


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
    """None where the widget tells nothing."""
    _callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if self.signal is None:
            return
        if callback is None:
            self.signal.disconnect(self.changed)
        else:
            self.signal.connect(self.changed)

    def changed(self, *_: Any) -> None:
        if self._callback is not None:
            self._callback()


def createGuiConnector(widget: Any, datatype: Any) -> Connector:
    """
    Raises:
        RuntimeError: the widget cannot show the type.
    """
    type_, annotations = marks.split(datatype)
    kind = type(widget)
    if kind is qt.QCheckBox and type_ is bool:
        return _attribute(widget, "checked", widget.stateChanged)
    if kind is qt.QPushButton and type_ is bool:
        if not widget.checkable:
            logging.warning("Making the push button %s checkable, to show a bool", widget)
            widget.checkable = True
        return _attribute(widget, "checked", widget.toggled)
    if kind in (qt.QSlider, qt.QSpinBox) and type_ is int:
        limits = (-(2**31), 2**31 - 1)
        return _number(widget, annotations, limits, kind is qt.QSlider, int)
    if kind in (qt.QDoubleSpinBox, ctk.ctkSliderWidget) and type_ in (float, int):
        if type_ is int:
            widget.decimals = 0
            annotations = marks.part(annotations, Decimals)[1]
        limits = (float("-inf"), float("inf"))
        return _number(widget, annotations, limits, kind is ctk.ctkSliderWidget, type_)
    if kind is qt.QComboBox:
        if type_ in (int, float, str, bool):
            return _choices(widget, annotations)
        # With a type that is no class this is a TypeError, as in the original.
        if issubclass(type_, enum.Enum):
            return _members(widget, type_)
    if kind is qt.QLineEdit and type_ is str:
        return _line(widget)
    if kind is qt.QLabel and type_ is str:
        return _attribute(widget, "text", None)
    if kind is qt.QTextEdit and type_ is str:
        return Connector(widget.toPlainText, widget.setPlainText, widget.textChanged)
    if kind is slicer.qMRMLNodeComboBox and isNodeOrUnionOfNodes(datatype):
        widget.nodeTypes = getNodeTypes(datatype)
        return Connector(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{datatype}' to widget type '{kind}'"
    )


def _attribute(widget: Any, name: str, signal: Any) -> Connector:
    return Connector(
        lambda: getattr(widget, name), lambda value: setattr(widget, name, value), signal
    )


def _line(widget: Any) -> Connector:
    def write(value: str) -> None:
        # Writing moves the cursor to the end, also while somebody types in the middle.
        if value != widget.text:
            widget.text = value

    return Connector(lambda: widget.text, write, widget.textChanged)


def _number(
    widget: Any, annotations: Any, unbounded: tuple, needsBounds: bool, type_: type
) -> Connector:
    decimals = marks.first(annotations, Decimals)
    step = marks.first(annotations, SingleStep)
    within = marks.first(annotations, marks.WithinRange)
    minimum = within or marks.first(annotations, marks.Minimum)
    maximum = within or marks.first(annotations, marks.Maximum)
    if decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    if needsBounds and (minimum is None or maximum is None):
        raise RuntimeError(f"Cannot have a connection to {type(widget)} without bounds")
    widget.minimum = unbounded[0] if minimum is None else minimum.minimum
    widget.maximum = unbounded[1] if maximum is None else maximum.maximum
    return Connector(
        lambda: type_(widget.value),
        lambda value: setattr(widget, "value", type_(value)),
        widget.valueChanged,
    )


def _choices(widget: Any, annotations: Any) -> Connector:
    choice = marks.first(annotations, marks.Choice)
    if choice is None:
        raise RuntimeError("A combo box needs the Choice annotation")
    _fill(widget, [str(one) for one in choice.choices])
    return _selection(widget, choice.choices)


def _members(widget: Any, type_: Any) -> Connector:
    label = getattr(type_, "label", lambda member: member.name)
    connector = _selection(widget, list(type_))
    # As many items are in the .ui file at most as the enumeration has members: else an IndexError.
    before = connector.read()
    _fill(widget, [label(member) for member in type_])
    connector.write(before)
    return connector


def _fill(widget: Any, texts: list[str]) -> None:
    widget.clear()
    for text in texts:
        widget.addItem(text)


def _selection(widget: Any, values: Any) -> Connector:
    def write(value: Any) -> None:
        if value not in values:
            raise ValueError(f"Unable to find value {value} in choices {values}")
        widget.currentIndex = list(values).index(value)

    return Connector(lambda: values[widget.currentIndex], write, widget.currentIndexChanged)


def isNodeOrUnionOfNodes(datatype: Any) -> bool:
    """A node class, or a union of such and of None, each annotated or not."""
    return all(
        isinstance(one, type) and issubclass(one, (slicer.vtkMRMLNode, type(None)))
        for one in _parts(datatype)
    ) and _parts(datatype) != [type(None)]


def getNodeTypes(datatype: Any) -> tuple[str, ...]:
    """
    Raises:
        TypeError: neither a node class nor a union, or an abstract node class.
    """
    nodes = [one for one in _parts(datatype) if isinstance(one, type)]
    nodes = [one for one in nodes if issubclass(one, slicer.vtkMRMLNode)]
    if not nodes and len(_parts(datatype)) == 1:
        raise TypeError(f"Cannot handle type {datatype}")
    return tuple(one().GetClassName() for one in nodes)


def _parts(datatype: Any) -> list[Any]:
    type_ = marks.split(datatype)[0]
    isUnion = typing.get_origin(type_) in (typing.Union, types.UnionType)
    return [marks.split(one)[0] for one in typing.get_args(type_)] if isUnion else [type_]
