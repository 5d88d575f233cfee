"""What is written on a picture, told by the page that it is drawn on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from AttentionUNetSegmentLib.app.page import Page


def texts_of(draw: Callable[[], object]) -> list[str]:
    """All that is written while something is drawn, in turn."""
    written, original = [], Page.text

    def noted(page: Page, x: float, y: float, text: str, *rest: Any, **how: Any) -> None:
        written.append(text)
        original(page, x, y, text, *rest, **how)

    with patch.object(Page, "text", noted):
        draw()
    return written
