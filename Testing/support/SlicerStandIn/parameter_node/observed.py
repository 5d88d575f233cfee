"""Lists and dictionaries that are read from a parameter node: changing one changes the node."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, MutableSequence
from typing import Any


class _Observed:
    """Changes ``_value``, writes it to the node, and takes what the node then has.

    What does not fit is refused by the serializer, and the node, and with it this, is as before.
    """

    def __init__(self, parameterNode: Any, serializer: Any, name: str, startingValue: Any) -> None:
        self._parameterNode = parameterNode
        self._serializer = serializer
        self._name = name
        self._value = startingValue

    def _change(self, method: str, *arguments: Any, **named: Any) -> Any:
        result = getattr(self._value, method)(*arguments, **named)
        try:
            self._serializer.write(self._parameterNode, self._name, self._value)
        finally:
            self._value = self._serializer.read(self._parameterNode, self._name)._value
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value})"

    def __eq__(self, other: object) -> bool:
        return self._value == (other._value if isinstance(other, _Observed) else other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._value)

    def __getitem__(self, key: Any) -> Any:
        return self._value[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._change("__setitem__", key, value)

    def __delitem__(self, key: Any) -> None:
        self._change("__delitem__", key)

    def clear(self) -> None:
        self._change("clear")


class ObservedList(_Observed, MutableSequence):
    """Each change is one event of the node, however many items it concerns."""

    def append(self, item: Any) -> None:
        self._change("append", item)

    def extend(self, other: Iterable[Any]) -> None:
        self._change("extend", other)

    def insert(self, index: int, item: Any) -> None:
        self._change("insert", index, item)

    def remove(self, item: Any) -> None:
        self._change("remove", item)

    def pop(self, i: int = -1) -> Any:
        return self._change("pop", i)

    def sort(self, *args: Any, **kwargs: Any) -> None:
        self._change("sort", *args, **kwargs)

    def reverse(self) -> None:
        self._change("reverse")

    def __iadd__(self, other: Iterable[Any]) -> ObservedList:
        self._change("__iadd__", other)
        return self

    def __imul__(self, factor: int) -> ObservedList:
        self._change("__imul__", factor)
        return self

    def _unobserved(self, other: Any) -> Any:
        raise NotImplementedError("An observed list is changed by += and *=; + and * are refused")

    __add__ = __radd__ = __mul__ = __rmul__ = _unobserved


class ObservedDict(_Observed, MutableMapping):
    def __iter__(self) -> Any:
        return iter(self._value)

    def get(self, key: Any) -> Any:  # type: ignore[override]
        """As in the original there is no other default than None."""
        return self._value.get(key)

    def pop(self, key: Any) -> Any:  # type: ignore[override]
        return self._change("pop", key)

    def popitem(self) -> Any:
        return self._change("popitem")
