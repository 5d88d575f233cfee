"""Packages import from those below them, never from those above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import AttentionUNetSegmentLib
import pytest

LIBRARY = Path(AttentionUNetSegmentLib.__file__).parent
UPWARDS = ("datasets", "evaluation", "training", "experiments", "app")
ABOVE_ALL = ("scene", "panel", "attention_unet_effect")


def imported_packages(file: Path) -> Iterator[str]:
    """The library's packages that a module imports, at its head or within a function."""
    package = ("AttentionUNetSegmentLib", *file.relative_to(LIBRARY).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = (*base, *(node.module or "").split("."))
            # "from .. import training" names the package itself.
            names = [alias.name for alias in node.names] if not node.module else [""]
            for name in names:
                path = [part for part in (*parts, name) if part]
                if path[0] == "AttentionUNetSegmentLib" and len(path) > 1:
                    yield path[1]


@pytest.mark.parametrize("package", UPWARDS[:-1])
def test_no_arrow_runs_up(package: str) -> None:
    above = {*UPWARDS[UPWARDS.index(package) + 1 :], *ABOVE_ALL}
    found = {
        file.name: sorted(above & set(imported_packages(file)))
        for file in (LIBRARY / package).rglob("*.py")
    }
    assert {name: packages for name, packages in found.items() if packages} == {}


@pytest.mark.parametrize("package", ["networks", "models", "inference", "geometry", "io"])
def test_nothing_imports_training_at_inference_time(package: str) -> None:
    for file in (LIBRARY / package).rglob("*.py"):
        assert not {*UPWARDS} & set(imported_packages(file)), file
