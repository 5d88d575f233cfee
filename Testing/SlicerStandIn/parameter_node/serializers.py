"""How each type is written to a parameter node and read back.

A serializer has ``default``, ``isIn``, ``write``, ``read`` and ``remove``. Names and text are those
of the original: numbers as ``str`` gives them, "True" and "False", an enumerator's name, a node as
a reference of the parameter's name beside an empty parameter, list items as ``name_0`` ... with
``name_len``, a union's value as ``name_<which>``.
"""

from __future__ import annotations

import collections.abc
import enum
import pathlib
import types
import typing
from typing import Any

import slicer
import slicer.util

from . import annotations as marks


class Serializer:
    """A value of one type; ``validators`` are asked before writing, in their order."""

    def __init__(self, type_: Any, validators: list[marks.Validator]) -> None:
        self.type = type_
        self.validators = validators

    def default(self) -> Any:
        return self.type()

    def isIn(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, self.toText(value))

    def read(self, node: Any, name: str) -> Any:
        return self.fromText(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

    def toText(self, value: Any) -> str:
        return str(value)

    def fromText(self, text: str) -> Any:
        return self.type(text)


class NumberSerializer(Serializer):
    def default(self) -> Any:
        return 0


class BoolSerializer(Serializer):
    def toText(self, value: Any) -> str:
        return "True" if value else "False"

    def fromText(self, text: str) -> bool:
        return text == "True"


class EnumSerializer(Serializer):
    def default(self) -> Any:
        return next(iter(self.type))

    def toText(self, value: Any) -> str:
        return value.name

    def fromText(self, text: str) -> Any:
        try:
            return self.type[text]
        except KeyError as error:
            raise ValueError(
                f"Found {text!r} in parameter node, which is none of {self.type!r}"
            ) from error


class NoneSerializer(Serializer):
    def default(self) -> None:
        return None

    def toText(self, value: Any) -> str:
        return "True"

    def fromText(self, text: str) -> None:
        return None


class NodeSerializer(Serializer):
    def default(self) -> None:
        return None

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class ObservedList(collections.abc.MutableSequence):
    """A list in a parameter node; changing it changes the node."""

    def __init__(
        self, parameterNode: Any, serializer: ListSerializer, name: str, items: list
    ) -> None:
        self._parameterNode = parameterNode
        self._serializer = serializer
        self._name = name
        self._list = items

    def _save(self) -> None:
        try:
            self._serializer.write(self._parameterNode, self._name, self._list)
        finally:
            self._list = self._serializer.read(self._parameterNode, self._name)._list

    def __repr__(self) -> str:
        return f"ObservedList({self._list})"

    def __eq__(self, other: object) -> bool:
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._list)

    def __getitem__(self, index: Any) -> Any:
        return self._list[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._list[index] = value
        self._save()

    def __delitem__(self, index: Any) -> None:
        del self._list[index]
        self._save()

    def insert(self, index: int, value: Any) -> None:
        self._list.insert(index, value)
        self._save()


class ListSerializer(Serializer):
    def __init__(self, element: Serializer, validators: list[marks.Validator]) -> None:
        super().__init__(list, validators)
        self.element = element

    def isIn(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}_len"))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        values = list(value)
        for one in values:
            self.element.validate(one)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            node.SetParameter(f"{name}_len", str(len(values)))
            for index, one in enumerate(values):
                self.element.write(node, f"{name}_{index}", one)

    def read(self, node: Any, name: str) -> ObservedList:
        length = int(node.GetParameter(f"{name}_len") or 0)
        items = [self.element.read(node, f"{name}_{index}") for index in range(length)]
        return ObservedList(node, self, name, items)

    def remove(self, node: Any, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index in range(int(node.GetParameter(f"{name}_len") or 0)):
                self.element.remove(node, f"{name}_{index}")
            node.UnsetParameter(f"{name}_len")


class UnionSerializer(Serializer):
    def __init__(self, choices: list[Serializer], validators: list[marks.Validator]) -> None:
        super().__init__(object, validators)
        self.choices = choices

    def default(self) -> Any:
        if len(self.choices) == 2 and isinstance(self.choices[1], NoneSerializer):
            return None
        return self.choices[0].default()

    def isIn(self, node: Any, name: str) -> bool:
        return self._stored(node, name) is not None

    def _stored(self, node: Any, name: str) -> int | None:
        found = (n for n, one in enumerate(self.choices) if one.isIn(node, f"{name}_{n}"))
        return next(found, None)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        index = self._fitting(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self.choices[index].write(node, f"{name}_{index}", value)

    def _fitting(self, value: Any) -> int:
        problem: Exception = TypeError(f"Unable to write {value!r} of type {type(value)}")
        for index, choice in enumerate(self.choices):
            if type(_serializer(type(value), [])) is type(choice):
                try:
                    choice.validate(value)
                except (TypeError, ValueError) as error:
                    problem = error
                else:
                    return index
        raise problem

    def read(self, node: Any, name: str) -> Any:
        index = self._stored(node, name)
        if index is None:
            raise KeyError(f"Unable to find value for name: {name}")
        return self.choices[index].read(node, f"{name}_{index}")

    def remove(self, node: Any, name: str) -> None:
        for index, choice in enumerate(self.choices):
            choice.remove(node, f"{name}_{index}")


def split(annotated: Any) -> tuple[Any, list[Any]]:
    """``Annotated[type, ...]`` as the type and its annotations."""
    if typing.get_origin(annotated) is typing.Annotated:
        return annotated.__origin__, list(annotated.__metadata__)
    return annotated, []


def createSerializer(annotated: Any) -> Serializer:
    """
    Raises:
        TypeError: a type that cannot be stored.
    """
    type_, annotations = split(annotated)
    return _serializer(type_, marks.validators(annotations))


def _serializer(type_: Any, own: list[marks.Validator]) -> Serializer:
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is list:
        return ListSerializer(createSerializer(arguments[0]), [marks.NotNone(), *own])
    # The original knows Optional and Union, and not "int | None".
    if origin is typing.Union:
        return UnionSerializer([createSerializer(one) for one in arguments], own)
    if isinstance(type_, type) and not isinstance(type_, types.GenericAlias):
        if type_ is bool:
            return BoolSerializer(type_, [marks.NotNone(), marks.IsInstance(bool), *own])
        if type_ in (int, float):
            allowed = (int, float) if type_ is float else int
            return NumberSerializer(type_, [marks.NotNone(), marks.IsInstance(allowed), *own])
        if type_ is str or issubclass(type_, pathlib.PurePath):
            return Serializer(type_, [marks.NotNone(), marks.IsInstance(type_), *own])
        if issubclass(type_, enum.Enum):
            return EnumSerializer(type_, [marks.NotNone(), marks.IsInstance(type_), *own])
        if issubclass(type_, slicer.vtkMRMLNode):
            return NodeSerializer(type_, [marks.IsInstance(type_), *own])
        if type_ is type(None):
            return NoneSerializer(type_, [marks.IsNone(), *own])
    raise TypeError(f"Unable to create serializer for type: {type_}")
