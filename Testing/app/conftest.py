"""Fixtures of several tests of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.geometry.volume import Volume


@pytest.fixture(scope="module")
def abdomen_file(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a module's ``volume``."""
    path = tmp_path_factory.mktemp("scans") / "abdomen.nii.gz"
    sitk.WriteImage(volume.to_sitk(), str(path))
    return path


@pytest.fixture
def quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to nothing drawn, for tests of something else: drawing takes as long as all the rest."""
    from PIL import Image

    def draw(prediction: Any, file: Any, *arguments: str, **options: str) -> None:
        Image.new("RGB", (36, 24), "gray").save(file, "PNG")

    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", draw)
