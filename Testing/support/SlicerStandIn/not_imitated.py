"""Refusals by name of what Slicer has and the stand-in does not imitate."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class NotImitatedError(Exception):
    """A feature of Slicer's that the stand-in does not imitate."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the stand-in does not imitate {what}")


class NotImitatedNameError(NotImitatedError, AttributeError):
    """A name that a module of Slicer's has; ``hasattr`` says that it is not there."""


class Refused:
    """In place of a class or function: it can be imported, and whatever is done with it refused."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, *_arguments: Any, **_named: Any) -> Any:
        raise NotImitatedError(self._what)

    def __mro_entries__(self, bases: tuple) -> Any:
        raise NotImitatedError(f"{self._what} as a base class")

    def __getattr__(self, name: str) -> Any:
        # Python itself asks for names such as __origin__, and takes no for an answer.
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImitatedError(f"{self._what}.{name}")


def refuseWidgets(module: ModuleType, prefixes: tuple[str, ...]) -> None:
    """Let a module refuse, by name, the widgets of Slicer's and CTK's that are not in it."""

    def missing(name: str) -> Any:
        if name.startswith(prefixes):
            raise NotImitatedNameError(f"{module.__name__}.{name}")
        raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")

    module.__getattr__ = missing  # type: ignore[method-assign]
