"""How each type is written to a parameter node and read back.

Names and text are those of the original: numbers as ``str`` gives them, "True" and "False", an
enumerator's name, a node as a reference of the parameter's name beside an empty parameter, the
items of a list as ``name.0`` ... with ``name.len``, a union's value as ``name.<which>``. So are the
questions that a serializer answers, and a module may register one of its own.
"""

from __future__ import annotations

import abc
import enum
import importlib
import logging
import pathlib
import types
import typing
from collections.abc import Iterable
from typing import Any

import qt
import slicer
import slicer.util

from ..not_imitated import NotImitatedError, Refused
from . import annotations as marks
from .observed import ObservedDict, ObservedList

PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)

_registered: list[type[Serializer]] = []


class Serializer(abc.ABC):
    """Writes values of one type to a parameter node, and reads them."""

    @staticmethod
    @abc.abstractmethod
    def canSerialize(type_: Any) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(type_: Any) -> Any:
        """A serializer with the checks of its type, or None where it cannot serialize it."""

    @abc.abstractmethod
    def default(self) -> Any: ...

    @abc.abstractmethod
    def isIn(self, parameterNode: Any, name: str) -> bool: ...

    @abc.abstractmethod
    def write(self, parameterNode: Any, name: str, value: Any) -> None: ...

    @abc.abstractmethod
    def read(self, parameterNode: Any, name: str) -> Any: ...

    @abc.abstractmethod
    def remove(self, parameterNode: Any, name: str) -> None: ...

    def supportsCaching(self) -> bool:
        """Whether a value that was read may be handed out again: it cannot change unnoticed."""
        return False


class ValidatedSerializer(Serializer):
    """Another serializer, before which validators are asked, in their order; nested ones merge."""

    def __init__(self, serializer: Any, validators: list[Any]) -> None:
        nested = isinstance(serializer, ValidatedSerializer)
        self.serializer = serializer.serializer if nested else serializer
        self.validators = [*(serializer.validators if nested else []), *validators]

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return False

    @staticmethod
    def create(type_: Any) -> Any:
        raise Exception("A validated serializer is made from another one")

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def default(self) -> Any:
        return self.serializer.default()

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self.serializer.isIn(parameterNode, name)

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        self.validate(value)
        self.serializer.write(parameterNode, name, value)

    def read(self, parameterNode: Any, name: str) -> Any:
        return self.serializer.read(parameterNode, name)

    def remove(self, parameterNode: Any, name: str) -> None:
        self.serializer.remove(parameterNode, name)

    def supportsCaching(self) -> bool:
        return self.serializer.supportsCaching()


def parameterNodeSerializer(classtype: Any = None) -> Any:
    """Class decorator: the first registered serializer that knows a type is taken for it."""

    def register(cls: Any) -> Any:
        if not issubclass(cls, Serializer):
            raise Exception("Only a Serializer can be registered")
        _registered.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createSerializer(type_: Any, annotations: Iterable[Any]) -> tuple[Serializer, list[Any]]:
    """The serializer of a type, and the annotations that it has no use for.

    Raises:
        NotImitatedError: Slicer stores the type, the stand-in does not.
        Exception: neither does.
    """
    validators, others = marks.part(annotations, marks.Validator)
    own, others = marks.part(others, Serializer)
    if len(own) > 1:
        raise Exception("Multiple serializers found")
    return ValidatedSerializer(own[0] if own else _serializerOf(type_), validators), others


def _serializerOf(type_: Any) -> Any:
    for cls in _registered:
        if cls.canSerialize(type_):
            return cls.create(type_)
    if isinstance(type_, Refused) or type_ is qt.QColor:
        raise NotImitatedError(f"fields of type {getattr(type_, '_what', 'qt.QColor')}")
    raise Exception(f"Unable to create serializer for type: {type_}")


def _ofElement(annotated: Any) -> Serializer:
    serializer, unused = createSerializer(*marks.split(annotated))
    if unused:
        logging.warning("Unused annotations: %s", unused)
    return serializer


class _InOneParameter(Serializer):
    """A value that is kept as the text of one parameter and cannot change by itself."""

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return bool(parameterNode.HasParameter(name))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        parameterNode.SetParameter(name, str(value))

    def remove(self, parameterNode: Any, name: str) -> None:
        parameterNode.UnsetParameter(name)

    def supportsCaching(self) -> bool:
        return True


@parameterNodeSerializer
class NumberSerializer(_InOneParameter):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ in (int, float)

    @staticmethod
    def create(type_: Any) -> Any:
        allowed = (int, float) if type_ is float else int
        checks = [marks.NotNone(), marks.IsInstance(allowed)]
        return ValidatedSerializer(NumberSerializer(type_), checks)

    def __init__(self, type: Any) -> None:
        self.type = type

    def default(self) -> int:
        return 0

    def read(self, parameterNode: Any, name: str) -> Any:
        return self.type(parameterNode.GetParameter(name))


@parameterNodeSerializer
class StringSerializer(_InOneParameter):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is str

    @staticmethod
    def create(type_: Any) -> Any:
        return ValidatedSerializer(StringSerializer(), [marks.NotNone(), marks.IsInstance(str)])

    def default(self) -> str:
        return ""

    def read(self, parameterNode: Any, name: str) -> str:
        return parameterNode.GetParameter(name)


@parameterNodeSerializer
class PathSerializer(_InOneParameter):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ in PATHS

    @staticmethod
    def create(type_: Any) -> Any:
        checks = [marks.NotNone(), marks.IsInstance(type_)]
        return ValidatedSerializer(PathSerializer(type_), checks)

    def __init__(self, pathtype: Any) -> None:
        self.type = pathtype

    def default(self) -> Any:
        return self.type()

    def read(self, parameterNode: Any, name: str) -> Any:
        return self.type(parameterNode.GetParameter(name))


@parameterNodeSerializer
class BoolSerializer(_InOneParameter):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is bool

    @staticmethod
    def create(type_: Any) -> Any:
        return ValidatedSerializer(BoolSerializer(), [marks.NotNone(), marks.IsInstance(bool)])

    def default(self) -> bool:
        return False

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        super().write(parameterNode, name, bool(value))

    def read(self, parameterNode: Any, name: str) -> bool:
        return parameterNode.GetParameter(name) == "True"


@parameterNodeSerializer
class NodeSerializer(_InOneParameter):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)

    @staticmethod
    def create(type_: Any) -> Any:
        return ValidatedSerializer(NodeSerializer(), [marks.IsInstance(type_)])

    def default(self) -> None:
        return None

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        # The empty parameter tells "no node" from "never written".
        parameterNode.SetParameter(name, "")
        parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, parameterNode: Any, name: str) -> Any:
        return parameterNode.GetNodeReference(name)

    def remove(self, parameterNode: Any, name: str) -> None:
        super().remove(parameterNode, name)
        parameterNode.RemoveNodeReferenceIDs(name)


@parameterNodeSerializer
class ListSerializer(Serializer):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is list or typing.get_origin(type_) is list

    @staticmethod
    def create(type_: Any) -> Any:
        elements = typing.get_args(type_)
        if len(elements) != 1:
            logging.warning("A list without the type of its items: %s", type_)
        return ListSerializer(_ofElement(elements[0] if elements else Any))

    def __init__(self, elementTypeSerializer: Any) -> None:
        self._element = elementTypeSerializer
        self._length = NumberSerializer(int)

    def default(self) -> list:
        return []

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._length.isIn(parameterNode, f"{name}.len")

    def _count(self, node: Any, name: str) -> int:
        return self._length.read(node, f"{name}.len") if self.isIn(node, name) else 0

    def write(self, parameterNode: Any, name: str, values: Any) -> None:
        with slicer.util.NodeModify(parameterNode):
            before = self.read(parameterNode, name) if self.isIn(parameterNode, name) else None
            count = len(values)
            try:
                for index, value in enumerate(values):
                    self._element.write(parameterNode, f"{name}.{index}", value)
                surplus = range(count, self._count(parameterNode, name))
                self._length.write(parameterNode, f"{name}.len", count)
                for index in surplus:
                    self._element.remove(parameterNode, f"{name}.{index}")
            except Exception:
                # Half of the list is not to stay.
                if before is None:
                    self.remove(parameterNode, name)
                else:
                    self.write(parameterNode, name, before)
                raise

    def read(self, parameterNode: Any, name: str) -> ObservedList:
        indices = range(self._count(parameterNode, name))
        items = [self._element.read(parameterNode, f"{name}.{index}") for index in indices]
        return ObservedList(parameterNode, self, name, items)

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            for index in range(self._count(parameterNode, name)):
                self._element.remove(parameterNode, f"{name}.{index}")
            self._length.remove(parameterNode, f"{name}.len")

    def supportsCaching(self) -> bool:
        return self._element.supportsCaching()


@parameterNodeSerializer
class TupleSerializer(Serializer):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) is tuple

    @staticmethod
    def create(type_: Any) -> Any:
        elements = typing.get_args(type_)
        if not elements:
            raise Exception("A tuple needs the types of its items")
        return TupleSerializer([_ofElement(one) for one in elements])

    def __init__(self, serializers: list[Any]) -> None:
        self._elements = serializers

    def default(self) -> Any:
        # A generator in the original too: it serves one object, and is used up for the next.
        return (one.default() for one in self._elements)

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._elements[0].isIn(parameterNode, f"{name}.0")

    def write(self, parameterNode: Any, name: str, values: Any) -> None:
        values = tuple(values)
        if len(values) != len(self._elements):
            raise ValueError(f"Expected {len(self._elements)} values, got {len(values)}")
        with slicer.util.NodeModify(parameterNode):
            for index, (one, value) in enumerate(zip(self._elements, values, strict=True)):
                one.write(parameterNode, f"{name}.{index}", value)

    def read(self, parameterNode: Any, name: str) -> tuple:
        pairs = enumerate(self._elements)
        return tuple(one.read(parameterNode, f"{name}.{index}") for index, one in pairs)

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            for index, one in enumerate(self._elements):
                one.remove(parameterNode, f"{name}.{index}")

    def supportsCaching(self) -> bool:
        return all(one.supportsCaching() for one in self._elements)


@parameterNodeSerializer
class DictSerializer(Serializer):
    """Kept as a list of pairs, and so in its order."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is dict or typing.get_origin(type_) is dict

    @staticmethod
    def create(type_: Any) -> Any:
        key, value = typing.get_args(type_) or (Any, Any)
        return DictSerializer(_ofElement(key), _ofElement(value))

    def __init__(self, keySerializer: Any, valueSerializer: Any) -> None:
        self._pairs = ListSerializer(TupleSerializer([keySerializer, valueSerializer]))

    def default(self) -> dict:
        return {}

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._pairs.isIn(parameterNode, name)

    def write(self, parameterNode: Any, name: str, dictionary: Any) -> None:
        self._pairs.write(parameterNode, name, dictionary.items())

    def read(self, parameterNode: Any, name: str) -> ObservedDict:
        return ObservedDict(parameterNode, self, name, dict(self._pairs.read(parameterNode, name)))

    def remove(self, parameterNode: Any, name: str) -> None:
        self._pairs.remove(parameterNode, name)

    def supportsCaching(self) -> bool:
        return self._pairs.supportsCaching()


@parameterNodeSerializer
class NoneSerializer(_InOneParameter):
    """None, as one of a union."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is type(None) or type_ is object

    @staticmethod
    def create(type_: Any) -> Any:
        return ValidatedSerializer(NoneSerializer(), [marks.IsNone()])

    def default(self) -> dict:
        return {}  # as in the original, which therefore has no field that can only be None

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        super().write(parameterNode, name, True)

    def read(self, parameterNode: Any, name: str) -> None:
        return None


@parameterNodeSerializer
class UnionSerializer(Serializer):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return typing.get_origin(type_) in (typing.Union, types.UnionType)

    @staticmethod
    def create(type_: Any) -> Any:
        return UnionSerializer([_ofElement(one) for one in typing.get_args(type_)])

    def __init__(self, serializers: list[Any]) -> None:
        self._choices = [ValidatedSerializer(one, []) for one in serializers]

    def default(self) -> Any:
        last = self._choices[-1].serializer
        isOptional = len(self._choices) == 2 and type(last) is NoneSerializer
        return None if isOptional else self._choices[0].default()

    def _stored(self, node: Any, name: str) -> int | None:
        found = (n for n, one in enumerate(self._choices) if one.isIn(node, f"{name}.{n}"))
        return next(found, None)

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._stored(parameterNode, name) is not None

    def _fitting(self, value: Any) -> int:
        problem: Exception = TypeError(f"Unable to write {value!r} of type {type(value)}")
        for index, choice in enumerate(self._choices):
            if choice.serializer.canSerialize(type(value)):
                try:
                    choice.validate(value)
                except Exception as error:
                    problem = error
                else:
                    return index
        raise problem

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(parameterNode):
            index = self._fitting(value)
            wasIn = self.isIn(parameterNode, name)
            before = self.read(parameterNode, name) if wasIn else None
            try:
                self.remove(parameterNode, name)
                self._choices[index].write(parameterNode, f"{name}.{index}", value)
            except Exception:
                if wasIn:
                    self.write(parameterNode, name, before)
                else:
                    self.remove(parameterNode, name)
                raise

    def read(self, parameterNode: Any, name: str) -> Any:
        index = self._stored(parameterNode, name)
        if index is None:
            raise KeyError(f"Unable to find value for name: {name}")
        return self._choices[index].read(parameterNode, f"{name}.{index}")

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            for index, choice in enumerate(self._choices):
                choice.remove(parameterNode, f"{name}.{index}")

    def supportsCaching(self) -> bool:
        return all(one.supportsCaching() for one in self._choices)


@parameterNodeSerializer
class EnumSerializer(_InOneParameter):
    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isinstance(type_, type) and issubclass(type_, enum.Enum)

    @staticmethod
    def create(type_: Any) -> Any:
        # None passes here, and then has no name: an AttributeError, as in the original.
        return ValidatedSerializer(EnumSerializer(type_), [marks.IsInstance(type_)])

    def __init__(self, enum_: Any) -> None:
        self.enum = enum_
        if not len(enum_):
            raise ValueError(f"{enum_} has no members")

    def default(self) -> Any:
        return next(iter(self.enum))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        super().write(parameterNode, name, value.name)

    def read(self, parameterNode: Any, name: str) -> Any:
        text = parameterNode.GetParameter(name)
        try:
            return self.enum[text]
        except KeyError as error:
            raise ValueError(
                f"Found {text!r} in parameter node, which is none of {self.enum!r}"
            ) from error


@parameterNodeSerializer
class AnySerializer(Serializer):
    """A value of any type that has a serializer, with the type's name beside it."""

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return type_ is Any

    @staticmethod
    def create(type_: Any) -> Any:
        return AnySerializer()

    def __init__(self) -> None:
        self._types = TupleSerializer([StringSerializer(), StringSerializer()])

    def default(self) -> None:
        return None

    def isIn(self, parameterNode: Any, name: str) -> bool:
        return self._types.isIn(parameterNode, f"{name}.type")

    def _stored(self, node: Any, name: str) -> Serializer:
        module, cls = self._types.read(node, f"{name}.type")
        isNone = (module, cls) == ("builtins", "NoneType")
        return _ofElement(type(None) if isNone else getattr(importlib.import_module(module), cls))

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        self.remove(parameterNode, name)
        cls = type(value)
        _ofElement(cls).write(parameterNode, f"{name}.value", value)
        self._types.write(parameterNode, f"{name}.type", (cls.__module__, cls.__name__))

    def read(self, parameterNode: Any, name: str) -> Any:
        return self._stored(parameterNode, name).read(parameterNode, f"{name}.value")

    def remove(self, parameterNode: Any, name: str) -> None:
        if self.isIn(parameterNode, name):
            self._stored(parameterNode, name).remove(parameterNode, f"{name}.value")
            self._types.remove(parameterNode, f"{name}.type")
