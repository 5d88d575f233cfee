"""Which package of the library imports which, read from the sources."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "AttentionUNetSegment" / "AttentionUNetSegmentLib"


def package_imports(library: Path = LIBRARY) -> dict[str, set[str]]:
    """For each package or single module at the top of the library, those that it imports: early,
    late, or for type hints alone."""
    imports: dict[str, set[str]] = {name: set() for name in top_names(library)}
    for file in sorted(library.rglob("*.py")):
        importer = top_name(file, library)
        if importer is not None:
            imports[importer] |= {name for name in imported_by(file, library) if name in imports}
            imports[importer].discard(importer)
    return imports


def top_names(library: Path = LIBRARY) -> list[str]:
    return sorted({name for file in library.rglob("*.py") if (name := top_name(file, library))})


def top_name(file: Path, library: Path = LIBRARY) -> str | None:
    """The package that a file is in; the module itself beside the packages; None for the front
    door, the library's own ``__init__.py``."""
    parts = file.relative_to(library).with_suffix("").parts
    return None if parts == ("__init__",) else parts[0]


def imported_by(file: Path, library: Path = LIBRARY) -> Iterator[str]:
    """The names at the top of the library that a file imports from."""
    package = (library.name, *file.relative_to(library).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        above = package[: len(package) - node.level + 1] if node.level else ()
        path = (*above, *(node.module.split(".") if node.module else ()))
        if path[:1] != (library.name,):
            continue
        if len(path) > 1:
            yield path[1]
        else:
            yield from (alias.name for alias in node.names)


def reduced(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others."""
    return {
        name: {
            target
            for target in targets
            if not any(target in reached(other, imports) for other in targets - {target})
        }
        for name, targets in imports.items()
    }


def reached(name: str, imports: Mapping[str, set[str]]) -> set[str]:
    """All that a package imports, itself or through others."""
    seen: set[str] = set()
    fresh = set(imports[name])
    while fresh:
        seen |= fresh
        fresh = {target for one in fresh for target in imports[one]} - seen
    return seen


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


def counts(library: Path = LIBRARY) -> dict[str, int]:
    """Lines of each."""
    lines: dict[str, int] = defaultdict(int)
    for file in library.rglob("*.py"):
        name = top_name(file, library)
        if name is not None:
            lines[name] += len(file.read_text(encoding="utf-8").splitlines())
    return dict(lines)
