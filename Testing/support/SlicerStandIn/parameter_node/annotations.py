"""What may stand in ``Annotated[type, ...]``: validators and the default value."""

from __future__ import annotations

import abc
import typing
from typing import Any


class Validator(abc.ABC):
    @abc.abstractmethod
    def validate(self, value: Any) -> None:
        """Raises ``ValueError`` (``TypeError`` by :class:`IsInstance`) for a value not allowed."""

    def __repr__(self) -> str:
        arguments = ", ".join(str(one) for one in vars(self).values())
        return f"{type(self).__name__}({arguments})"


class IsNone(Validator):
    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError("Value must be None")


class NotNone(Validator):
    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    """None passes: a field that must not be None says so with :class:`NotNone`."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Expected {self.classtype}, got {type(value)} ({value!r})")


class WithinRange(Validator):
    """As in the original nothing is said about a minimum above the maximum; no value passes."""

    def __init__(self, minimum: Any, maximum: Any) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


class Minimum(Validator):
    def __init__(self, minimum: Any) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


class Maximum(Validator):
    def __init__(self, maximum: Any) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is greater than {self.maximum}")


class Choice(Validator):
    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class Exclude(Validator):
    def __init__(self, excludedValues: Any) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is not allowed")


class Default:
    def __init__(self, value: Any = None, *, generator: Any = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Default) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Default(value={self._value}, generator={self._generator})"


def split(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    """``Annotated[type, ...]`` as the type and its annotations."""
    if typing.get_origin(annotated) is typing.Annotated:
        return annotated.__origin__, annotated.__metadata__
    return annotated, ()


def first(annotations: Any, kind: type) -> Any:
    """The first annotation of a class, or None."""
    return next((one for one in annotations if isinstance(one, kind)), None)


def part(annotations: Any, kind: type) -> tuple[list[Any], list[Any]]:
    """The annotations of a class, themselves classes or objects, and the others."""
    fitting, others = [], []
    for one in annotations:
        isKind = issubclass(one, kind) if isinstance(one, type) else isinstance(one, kind)
        (fitting if isKind else others).append(one)
    return fitting, others
