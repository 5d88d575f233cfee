"""``report.json``: the result in figures, and what it was made of. Nothing of the patient."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..inference.prediction import THRESHOLD

if TYPE_CHECKING:
    from ..inference.clicks import Click
    from ..inference.prediction import Prediction
    from ..models import ModelCard

INTENDED_USE = "Research use only; not for diagnosis or treatment."


def make_report(
    prediction: Prediction,
    card: ModelCard,
    name: str,
    clicks: Sequence[Click],
    warnings: Sequence[str],
    timings_s: Mapping[str, float],
) -> dict[str, Any]:
    """What ``report.json`` says, ready for JSON.

    Args:
        prediction: the result.
        card: of the model that made it.
        name: of the input, without the folders that it lies in.
        clicks: that were given.
        warnings: all of them, in plain sentences.
        timings_s: seconds a stage, and in all.
    """
    volume = prediction.volume
    return {
        "format": 1,
        "intended_use": INTENDED_USE,
        "found": prediction.found,
        "volume_ml": round(prediction.volume_ml, 3),
        "focus_ratios": [round(ratio, 4) for ratio in prediction.focus_ratios],
        "threshold": THRESHOLD,
        "timings_s": {stage: round(seconds, 3) for stage, seconds in timings_s.items()},
        "device": prediction.device,
        "model": {
            "name": card.name,
            "version": card.version,
            "sha256": card.weights.sha256 if card.weights else None,
            "target": card.target,
        },
        "input": {
            "name": name,
            "shape": list(volume.shape_ijk),
            "spacing_mm": [round(step, 6) for step in volume.spacing_mm],
        },
        "clicks": [
            {"position_ras": list(click.position_ras), "inside": click.inside} for click in clicks
        ],
        "warnings": list(warnings),
        "software": {"name": "attention-unet-segment", "version": __version__},
    }


def to_json(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
