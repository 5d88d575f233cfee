"""The house: which package may import which, and no circles; from the imports, late ones and those
for type checkers included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

LIBRARY = "AttentionUNetSegmentLib"
ROOT = Path(__file__).resolve().parents[2] / "AttentionUNetSegment" / LIBRARY

BELOW: dict[str, tuple[str, ...]] = {
    "geometry": (),
    "networks": (),
    "io": ("geometry",),
    "synthetic": ("geometry",),
    "models": ("networks",),
    "inference": ("models", "io"),
    "datasets": ("inference", "synthetic"),
    "evaluation": ("datasets",),
    "training": ("evaluation",),
    "experiments": ("training",),
    "scene": ("inference",),
    "panel": ("scene", "synthetic"),
    "attention_unet_effect": ("panel",),
    "app": ("experiments", "scene"),
    "notebook": ("app",),
}
"""What each package stands on; it may import that, and what that stands on in turn. The modules
beside the packages (errors, files...) are for everybody; ``__init__`` shows what users need."""

ONLY_ERRORS = ("geometry",)
"""Of the modules beside the packages these import the errors alone."""

KNOWN_ARROWS_UP = {
    # The simulated user is still among the clicks of training.
    ("evaluation", "training"),
}
KNOWN_CIRCLES = (
    # Each section knows the panel that it stands in, for type checkers.
    frozenset({"panel.panel", "panel.section"})
    | {
        f"panel.{name}_section"
        for name in (
            *("advanced", "attention", "clicks", "correction"),
            *("input", "result", "segment"),
        )
    },
    # Results draw their own figures, which take results.
    frozenset(
        f"evaluation.{name}"
        for name in (
            *("attention_figures", "attention_statistics", "click_figure"),
            *("error_figures", "evaluate"),
        )
    ),
)

WITHOUT_SLICER = (
    *("geometry", "networks", "io", "synthetic", "models", "inference"),
    *("datasets", "evaluation", "training", "experiments"),
)
SLICERS = {"slicer", "vtk", "qt", "ctk", "PySide6", "mrml"}


@cache
def modules() -> dict[str, Path]:
    """The library's files by the names that they have within it; packages by their own."""
    named = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
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
            elif of[:1] == [LIBRARY]:
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


def foundation(package: str) -> set[str]:
    """All that a package may import."""
    lower = set(BELOW[package])
    return lower.union(*(foundation(each) for each in lower)) if lower else lower


def circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """The sets of nodes that lead to each other."""
    reached = {node: reachable(graph, node) for node in graph}
    found = {
        frozenset(other for other in reached[node] if node in reached.get(other, ()))
        for node in graph
        if node in reached[node]
    }
    return sorted(found, key=sorted)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph.get(start, ()))
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += graph.get(node, ())
    return seen


def test_every_package_has_its_place() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == set(BELOW)


@pytest.mark.parametrize("package", sorted(BELOW))
def test_arrows_point_down(package: str) -> None:
    allowed = foundation(package) | {package}
    up = {
        f"{name} -> {other}"
        for name, others in edges().items()
        if package_of(name) == package
        for other in others
        if (target := package_of(other)) in BELOW
        and target not in allowed
        and (package, target) not in KNOWN_ARROWS_UP
    }
    assert not up


def test_the_modules_beside_the_packages_import_none_of_them() -> None:
    for name, others in edges().items():
        if package_of(name) not in BELOW:
            assert not {package_of(other) for other in others} & set(BELOW), name


@pytest.mark.parametrize("package", ONLY_ERRORS)
def test_the_lowest_package_imports_the_errors_alone(package: str) -> None:
    others = {
        package_of(other)
        for name, others in edges().items()
        if package_of(name) == package
        for other in others
    }
    assert others <= {package, "errors"}


def test_packages_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, others in edges().items():
        package = package_of(name)
        arrows = {package_of(other) for other in others} - {package}
        graph.setdefault(package, set()).update(
            target for target in arrows if (package, target) not in KNOWN_ARROWS_UP
        )
    assert circles(graph) == []


def test_modules_form_no_circle_but_the_known_ones() -> None:
    unknown = [
        sorted(circle)
        for circle in circles(edges())
        if not any(circle <= known for known in KNOWN_CIRCLES)
    ]
    assert unknown == []


@pytest.mark.parametrize("package", WITHOUT_SLICER)
def test_what_runs_without_slicer_never_imports_it(package: str) -> None:
    for name in modules():
        if package_of(name) == package:
            tops = {other.split(".")[0] for other in imported(name)}
            assert not tops & SLICERS, name


def test_imports_in_functions_and_for_type_checkers_are_seen() -> None:
    """What the rest of this file stands on."""
    assert "inference.session" in edges()["inference.predictor_cache"]  # in a function
    assert "inference.worker" in edges()["panel.worker_polling"]  # under TYPE_CHECKING
    assert "inference.clicks" in edges()["attention_unet_effect.AttentionUNetEffect"]  # absolute
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [frozenset("abc")]
