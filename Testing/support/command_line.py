"""The command line, run in a process of its own or here, and what it is given."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.networks import SegmentationNetwork, build_network
from threshold_model import BRIGHT_HU, NETWORK, threshold_model

LIBRARY = Path(__file__).resolve().parents[2] / "AttentionUNetSegment"


RESULTS = (
    "segmentation.seg.nrrd",
    "probability.nrrd",
    *(f"attention-level-{level}.nrrd" for level in (1, 2, 3, 4)),
    "overlay.png",
    "report.json",
)


SPACING = (4.0, 4.0, 5.0)


SHAPE = (50, 52, 56)  # k, j, i


ORIGIN = (100.0, -90.0, -400.0)  # LPS


DIRECTION = (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1)


def hounsfield(organ: int = BRIGHT_HU, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A body of 40 HU in air, with an organ (of `organ` HU) a little off its middle."""
    k, j, i = np.indices(shape)
    where = np.stack([k, j, i], axis=-1) - (np.array(shape) - 1) / 2
    hu = np.full(shape, -1000, np.int16)
    hu[((where * [5, 4, 4] / 100) ** 2).sum(axis=-1) < 1] = 40
    hu[((where * [5, 4, 4] - [10, 8, 20]) ** 2 / np.square([20, 20, 40])).sum(axis=-1) < 1] = organ
    return hu


def write_image(
    array: np.ndarray, path: Path, spacing: tuple[float, ...] = SPACING, vector: bool = False
) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing(spacing)
    if image.GetDimension() == 3:
        image.SetOrigin(ORIGIN)
        image.SetDirection(DIRECTION)
    sitk.WriteImage(image, str(path))
    return path


def save_random_model(folder: Path) -> Path:
    """A model whose answers mean nothing, for what needs a folder."""
    card = dataclasses.replace(
        threshold_model().card,
        name="random",
        version="7",
        stages={
            "locator": models.Stage(NETWORK, (12.0, 12.0, 12.0)),
            "refiner": models.Stage(NETWORK, (6.0, 6.0, 6.0)),
        },
        figures={
            "validation": {
                "no click": {"dice": 0.51234, "iou": 0.34},
                "interval95": {"dice": [0.4, 0.6]},
                "cases": [{"dice": 0.25}],
            }
        },
    )
    models.save_model(folder, card, _random_networks())
    return folder


@functools.cache
def _random_networks() -> dict[str, SegmentationNetwork]:
    """Built once for all models: that takes longer than to save one."""
    return {name: build_network(dict(NETWORK)) for name in ("locator", "refiner")}


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "AttentionUNetSegmentLib.app", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes | options)


def assert_refused(capsys: pytest.CaptureFixture[str], status: int, *words: str) -> None:
    """Exit status 2 and one plain line on stderr."""
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert_one_line(printed.err, *words)


def assert_one_line(text: str, *words: str) -> None:
    assert text.startswith("Error: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "Traceback" not in text
    assert "Value error" not in text
    for word in words:
        assert word.lower() in text.lower()
