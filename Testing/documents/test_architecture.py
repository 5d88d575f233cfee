"""The house: which package may import which, and no circles; from the imports, late ones and those
for type checkers included."""

from __future__ import annotations

import pytest
from package_imports import LIBRARY, circles, edges, imported, modules, package_imports, package_of

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
    "scene": ("inference", "datasets"),
    "panel": ("scene", "synthetic"),
    "attention_unet_effect": ("panel",),
    "app": ("experiments", "scene"),
    "notebook": ("app",),
}
"""What each package stands on; it may import that, and what that stands on in turn. The modules
beside the packages (errors, files...) are for everybody; ``__init__`` shows what users need."""

ONLY_ERRORS = ("geometry",)
"""Of the modules beside the packages these import the errors alone."""

KNOWN_CIRCLES = (
    # Each section knows the panel that it stands in, for type checkers.
    frozenset({"panel.panel", "panel.section"})
    | {
        f"panel.{name}_section"
        for name in (
            *("advanced", "attention", "begin", "clicks", "correction"),
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


def foundation(package: str) -> set[str]:
    """All that a package may import."""
    lower = set(BELOW[package])
    return lower.union(*(foundation(each) for each in lower)) if lower else lower


def test_every_package_has_its_place() -> None:
    folders = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert folders == set(BELOW)


@pytest.mark.parametrize("package", sorted(BELOW))
def test_arrows_point_down(package: str) -> None:
    allowed = foundation(package) | {package}
    up = {
        f"{name} -> {other}"
        for name, others in edges().items()
        if package_of(name) == package
        for other in others
        if (target := package_of(other)) in BELOW and target not in allowed
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
    assert circles(package_imports()) == []


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
