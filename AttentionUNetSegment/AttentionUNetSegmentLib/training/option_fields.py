"""Options that are declared once: a field of a dataclass that says how the command line shows it.

No torch here, and no typer: the library declares, ``app`` makes a command of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OPTION = "option"
"""Key of an :class:`Option` in a field's metadata."""
GROUPS = ("Budget", "Model", "Data", "Network", "Loss", "Optimisation", "Augmentation")
"""Headings of the help, in their order."""


@dataclass(frozen=True)
class Option:
    """How a field is shown on the command line.

    Args:
        help: what it says there; also the usual value where the default is None.
        group: one of :data:`GROUPS`, or none.
        minimum, maximum: of a number. A list of numbers is above zero, or from zero where that is
            its minimum.
        metavar: stands for the value in the help.
        flag: its spelling, where it is not the field's name.
        choices: all values that there are.
        old_spellings: what was written before, with what it means now, as the command line takes
            it: ``{"--old": "--new", "--option old": "--option=new"}``.
    """

    help: str
    group: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    flag: str | None = None
    choices: Sequence[str] = ()
    old_spellings: Mapping[str, str] = field(default_factory=dict)


def option(
    help: str,
    group: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    *,
    default: Any = None,
    metavar: str | None = None,
    flag: str | None = None,
    choices: Sequence[str] = (),
    old_spellings: Mapping[str, str] | None = None,
) -> Any:
    """A field of a dataclass that is an option; arguments as :class:`Option`, and its default."""
    shown = Option(help, group, minimum, maximum, metavar, flag, choices, dict(old_spellings or {}))
    return field(default=default, metadata={OPTION: shown})
