"""Packages that not every installation has, asked for before the work that needs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import AttentionUNetSegmentError

_OWN_PACKAGE = __name__.partition(".")[0]


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


def _missing(module: str, extra: str) -> AttentionUNetSegmentError:
    return AttentionUNetSegmentError(
        f"The Python module '{module}' is missing; install it with: "
        f"pip install 'attention-unet-segment[{extra}]'"
    )
