"""Whether two runs give the same, bit by bit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from AttentionUNetSegmentLib.inference import Predictor, Volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, Model, find_model, load_model
from AttentionUNetSegmentLib.synthetic import ORGAN_LABELS, synthetic_abdomen
from moved_scans import cropped, model_without_estimate


@dataclass(frozen=True)
class Difference:
    """Of two predictions on a scan.

    Args:
        dice: of the masks.
        mean: of the probability's absolute difference where either is above 0.01.
        most: of any voxel.
    """

    dice: float
    mean: float
    most: float


def difference(one: Prediction, other: Prediction) -> Difference:
    masks = one.mask != 0, other.mask != 0
    dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    probabilities = one.probability(), other.probability()
    apart = np.abs(probabilities[0] - probabilities[1])
    somewhere = np.maximum(*probabilities) > 0.01
    return Difference(float(dice), float(apart[somewhere].mean()), float(apart.max()))


def fingerprint(prediction: Prediction) -> str:
    """Of every bit of the mask, the probability and the attention."""
    digest = hashlib.sha256()
    for array in (
        prediction.mask,
        prediction.probability(),
        *(prediction.attention(level) for level in range(1, prediction.levels + 1)),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def shipped_model() -> Model:
    return load_model(find_model(DEFAULT_MODEL))


def predictor_of(precision: str, device: str = "cpu", tile_voxels: int | None = None) -> Predictor:
    return Predictor(shipped_model(), device, precision, tile_voxels)


def plain_predictor_of(precision: str, tile_voxels: int | None = None) -> Predictor:
    """On the CPU, and without the estimate: for what compares one setting with another."""
    return Predictor(model_without_estimate(), "cpu", precision, tile_voxels)


def made_up_scan() -> Volume:
    """The surroundings of the organ in a synthetic abdomen, which there is everywhere."""
    abdomen = synthetic_abdomen(7, (2.5, 2.5, 4.0))
    organ = abdomen.labels.array == ORGAN_LABELS["pancreas"]
    return cropped(abdomen.ct, organ, (30, 30, 30)).volume
