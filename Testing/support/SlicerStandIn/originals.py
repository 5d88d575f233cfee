"""What Slicer's own classes and Python files offer to a script, for the classes used here.

``originals.json`` beside this file holds, for each Qt class, its ``base``, ``properties``,
``slots``, ``invokable``, ``signals`` and ``enums`` as PythonQt shows them, and for each Python file
its functions, classes and methods. They are facts read from the public headers of Slicer and CTK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# In the C++ headers too, but by macros that the list was not read from; slicer.util
# and ScriptedLoadableModule.py use them.
UNLISTED = {
    "qSlicerAbstractCoreModule": {"name", "path", "logic", "widgetRepresentation"},
    "qSlicerScriptedLoadableModule": {"createNewWidgetRepresentation"},
}

LIST = Path(__file__).with_name("originals.json")


@dataclass(frozen=True)
class Call:
    """One C++ signature, as ``setActiveEffectByName(const QString& effectName)``."""

    name: str
    types: tuple[str, ...]
    arguments: tuple[str, ...]
    required: int


def parse(signature: str) -> Call:
    name, _, rest = signature.partition("(")
    inner = rest.rstrip()[:-1].strip()
    parts = _split(inner) if inner else []
    types, arguments, required = [], [], 0
    for position, part in enumerate(parts):
        declaration, _, default = part.partition("=")
        required += not default
        match = re.fullmatch(r"(.*[\s*&>])(\w+)", declaration.strip())
        known = match is not None and match.group(1).strip() not in ("const", "unsigned")
        types.append(match.group(1).strip() if match and known else declaration.strip())
        arguments.append(match.group(2) if match and known else f"argument{position}")
    return Call(name.strip(), tuple(types), tuple(arguments), required)


def _split(arguments: str) -> list[str]:
    depth, parts, current = 0, [], ""
    for character in arguments:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()]


@cache
def contents() -> dict[str, Any]:
    return json.loads(LIST.read_text(encoding="utf-8"))


def qtClasses() -> dict[str, Any]:
    return contents()["qt"]


def ancestry(className: str) -> Iterator[str]:
    """The class and those of Slicer and CTK that it derives from, nearest first."""
    classes = qtClasses()
    while className in classes:
        yield className
        className = classes[className]["base"]


def properties(className: str) -> set[str]:
    return {name for one in ancestry(className) for name in qtClasses()[one]["properties"]}


def signals(className: str) -> list[Call]:
    return _calls(className, "signals")


def calls(className: str) -> list[Call]:
    return _calls(className, "slots") + _calls(className, "invokable")


def enums(className: str) -> set[str]:
    return {name for one in ancestry(className) for name in qtClasses()[one]["enums"]}


def unlisted(className: str) -> set[str]:
    """Names that the list lacks: unlisted ones, and static functions that decorators add."""
    found = {name for one in ancestry(className) for name in UNLISTED.get(one, ())}
    slots = [parse(text).name for entry in qtClasses().values() for text in entry["slots"]]
    for one in ancestry(className):
        prefix = f"static_{one}_"
        found |= {slot.removeprefix(prefix) for slot in slots if slot.startswith(prefix)}
    return found


def names(className: str) -> set[str]:
    """All that an object of the class has beside what its Qt base has."""
    offered = {one.name for one in calls(className) + signals(className)}
    return offered | properties(className) | unlisted(className)


def qtBase(className: str) -> str:
    """The class of Qt that it derives from; of a Qt class itself."""
    classes = qtClasses()
    while className in classes:
        className = classes[className]["base"]
    return className


def extract(folder: Path) -> dict[str, Any]:
    """The same contents, newly taken from a folder with the full lists.

    Args:
        folder: holds ``qt-classes.json`` and ``python.json``.
    """
    full = json.loads((folder / "qt-classes.json").read_text(encoding="utf-8"))
    python = json.loads((folder / "python.json").read_text(encoding="utf-8"))
    return {"python": python, "qt": {name: full[name] for name in sorted(qtClasses())}}


def _calls(className: str, kind: str) -> list[Call]:
    return [parse(text) for one in ancestry(className) for text in qtClasses()[one][kind]]
