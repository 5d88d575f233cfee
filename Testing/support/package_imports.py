"""Which module and which package of the library imports which, read from the sources."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "AttentionUNetSegment" / "AttentionUNetSegmentLib"


@cache
def modules() -> dict[str, Path]:
    """The library's files by the names that they have within it; packages by their own."""
    named = {}
    for file in sorted(LIBRARY.rglob("*.py")):
        parts = file.relative_to(LIBRARY).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return named


def imported(name: str) -> Iterator[str]:
    """What a module imports, wherever in its text: the library's modules as :func:`modules` names
    them, others by their own names."""
    file = modules()[name]
    package = name.split(".") if name else []
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            of = (node.module or "").split(".") if node.module else []
            if node.level:
                of = [*package[: len(package) - node.level + 1], *of]
            elif of[:1] == [LIBRARY.name]:
                of = of[1:]
            else:
                yield ".".join(of)
                continue
            for alias in node.names:
                whole = ".".join([*of, alias.name])
                yield whole if whole in modules() else ".".join(of)


@cache
def edges() -> dict[str, set[str]]:
    """For each module those of the library that it imports, the facade above all packages left out:
    what imports the library's version does not need it."""
    return {
        name: {other for other in imported(name) if other in modules()} - {"", name}
        for name in modules()
        if name
    }


def package_of(module: str) -> str:
    return module.split(".")[0]


def package_imports() -> dict[str, set[str]]:
    """For each package, and each single module beside them, those that it imports: early, late, or
    for type hints alone."""
    imports: dict[str, set[str]] = {}
    for name, others in edges().items():
        package = package_of(name)
        imports.setdefault(package, set()).update({package_of(other) for other in others})
    return {package: others - {package} for package, others in imports.items()}


def reduced(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others."""
    return {
        name: {
            target
            for target in targets
            if not any(target in reachable(imports, other) for other in targets - {target})
        }
        for name, targets in imports.items()
    }


def levels(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """How far above the ground each stands: above all that it imports.

    Raises:
        ValueError: packages import one another in a circle.
    """
    level: dict[str, int] = {}
    while len(level) < len(imports):
        ready = [one for one in imports if one not in level and imports[one] <= level.keys()]
        if not ready:
            circle = sorted(one for one in imports if one not in level)
            raise ValueError(f"These import one another in a circle: {', '.join(circle)}.")
        for one in ready:
            level[one] = max((level[target] + 1 for target in imports[one]), default=0)
    return level


def circles(graph: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """The sets of nodes that lead to each other."""
    reached = {node: reachable(graph, node) for node in graph}
    found = {
        frozenset(other for other in reached[node] if node in reached.get(other, ()))
        for node in graph
        if node in reached[node]
    }
    return sorted(found, key=sorted)


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph.get(start, ()))
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += graph.get(node, ())
    return seen


def count_lines() -> dict[str, int]:
    """Of each package."""
    lines: dict[str, int] = defaultdict(int)
    for name, file in modules().items():
        lines[package_of(name)] += len(file.read_text(encoding="utf-8").splitlines())
    return dict(lines)
