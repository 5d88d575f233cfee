"""Fixtures of several tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.geometry.volume import Volume
from batch_cases import draw_quickly


@pytest.fixture(scope="module")
def abdomen_file(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a module's ``volume``."""
    path = tmp_path_factory.mktemp("scans") / "abdomen.nii.gz"
    sitk.WriteImage(volume.to_sitk(), str(path))
    return path


@pytest.fixture
def quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to nothing drawn, for tests of something else: drawing takes as long as all the rest."""
    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", draw_quickly)
