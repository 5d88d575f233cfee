"""``slicer.i18n`` in English: every text is its own translation."""

from __future__ import annotations

import os


def translate(context: str, text: str) -> str:
    return text


def getContext(sourceFile: str) -> str:
    """The translation context of a Python file: its name, or its folder's for ``__init__.py``."""
    name = os.path.splitext(os.path.basename(sourceFile))[0]
    if name == "__init__":
        return os.path.basename(os.path.dirname(sourceFile))
    return name


def tr(text: str) -> str:
    return text
