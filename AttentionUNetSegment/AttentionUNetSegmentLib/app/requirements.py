"""Packages that not every installation has, asked for before the work that needs them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from ..errors import AttentionUNetSegmentError

DISTRIBUTION = "attention-unet-segment"

_OWN_PACKAGE = __name__.partition(".")[0]
_BY_HAND = {
    # Its releases do not say what building them needs, so no extra of ours can name it.
    "radiomics": "pip install numpy versioneer, and then: "
    "pip install --no-build-isolation pyradiomics==3.0.1",
}


def require(extra: str, *modules: str) -> None:
    """Make sure that modules can be imported, without importing them.

    Raises:
        AttentionUNetSegmentError: one is missing; the message says how to install the extra.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise _missing(module, extra)


@contextmanager
def extra_needed(extra: str) -> Iterator[None]:
    """For ``import`` statements: what they miss is explained by the extra that brings it.

    Raises:
        AttentionUNetSegmentError: a module that is not part of this package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", _OWN_PACKAGE):
            raise
        raise _missing(missing, extra) from error


def install_command(extra: str) -> str:
    """What installs an extra's packages wherever this package came from: a clone, a wheel or a path
    only. Quoted so that every shell, that of Windows too, takes it as it is meant."""
    if extra in _BY_HAND:
        return _BY_HAND[extra]
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return f'pip install -e ".[{extra}]" in the folder of the sources'
    packages = []
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker):
            packages.append(f'"{package.strip()}"')
    return f"pip install {' '.join(packages)}"


def _missing(module: str, extra: str) -> AttentionUNetSegmentError:
    return AttentionUNetSegmentError(
        f"The Python module '{module}' is missing; install it with: {install_command(extra)}"
    )
