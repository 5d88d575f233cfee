"""``slicer.packaging``: what is installed is looked up for real; nothing is ever installed here.

``pip_install``, and so ``pip_ensure`` for a package that is missing, raises ``RuntimeError`` after
the question that the original asks; a test puts its own function in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from packaging.requirements import Requirement


def load_requirements(path: str | Path) -> list[Requirement]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    texts = [line.partition(" #")[0].strip() for line in lines]
    return [Requirement(text) for text in texts if text and text[0] not in "#-"]


def pip_check(
    req: str | Requirement | list[str | Requirement],
    _seen: set[tuple[str, frozenset[str]]] | None = None,
) -> bool:
    """True where all requirements are installed in a version that fits."""
    return all(_isInstalled(one) for one in _list(req))


def isPipInstallInProgress() -> bool:
    return False


def pip_ensure(
    requirements: str | Requirement | list[str | Requirement],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    missing = [str(one) for one in _list(requirements) if not pip_check(one)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    if prompt_install and not slicer.util.confirmOkCancelDisplay(
        f"{requester or 'A module'} needs Python packages: {', '.join(missing)}. Install them?",
        "Install Python packages",
    ):
        raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints, skip_packages=skip_packages, requester=requester)


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: Any = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    raise RuntimeError(f"The stand-in for Slicer installs nothing, not {requirements}")


def pip_uninstall(
    requirements: str | list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    raise RuntimeError(f"The stand-in for Slicer removes nothing, not {requirements}")


def _list(requirements: Any) -> list[Requirement]:
    several = isinstance(requirements, (list, tuple))
    return [Requirement(str(one)) for one in (requirements if several else [requirements])]


def _isInstalled(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
