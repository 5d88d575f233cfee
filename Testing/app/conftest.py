"""Fixtures of several tests of the command line."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to nothing drawn, for tests of something else: drawing takes as long as all the rest."""
    from PIL import Image

    def draw(prediction: Any, file: Any, *arguments: str, **options: str) -> None:
        Image.new("RGB", (36, 24), "gray").save(file, "PNG")

    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", draw)
