"""Text files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(file: Path, text: str) -> None:
    """Write a text file in one piece: readers see the old one or the new one."""
    temporary = file.with_suffix(file.suffix + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, file)
