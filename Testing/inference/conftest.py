"""A scan with one bright organ, and the model that finds it; files with others define their own."""

from __future__ import annotations

import numpy as np
import pytest
from AttentionUNetSegmentLib.inference import Predictor, Volume
from threshold_model import BRIGHT_HU, axial_scan, threshold_model


@pytest.fixture(scope="module")
def scan() -> Volume:
    return axial_scan((3.0, 3.0, 4.0))[0]


@pytest.fixture(scope="module")
def organ(scan: Volume) -> np.ndarray:
    return scan.array == BRIGHT_HU


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(threshold_model())
