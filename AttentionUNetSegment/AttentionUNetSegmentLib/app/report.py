"""``report.json``: the result in figures, and what it was made of. Nothing of the patient."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..inference.clicks import Click
from ..inference.prediction import THRESHOLD
from ..inference.strokes import Scribble, lassos_of

if TYPE_CHECKING:
    import numpy as np

    from ..inference.prediction import Prediction
    from ..inference.statistics import MaskStatistics
    from ..models import ModelCard

INTENDED_USE = "Research use only; not for diagnosis or treatment."


def make_report(
    prediction: Prediction,
    card: ModelCard,
    name: str,
    statistics: Sequence[MaskStatistics],
    warnings: Sequence[str],
    timings_s: Mapping[str, float],
    box: np.ndarray | None = None,
    *,
    began_from_mask: bool = False,
) -> dict[str, Any]:
    """What ``report.json`` says, ready for JSON.

    Args:
        prediction: the result.
        card: of the model that made it.
        name: of the input, without the folders that it lies in.
        statistics: of the mask of each target.
        warnings: all of them, in plain sentences.
        timings_s: seconds a stage, and in all.
        box: corners (R, A, S in mm) of the box that was looked in; None for the whole scan.
        began_from_mask: the clicks changed a mask that was given, not an automatic result.
    """
    volume = prediction.volume
    return {
        "format": 1,
        "intended_use": INTENDED_USE,
        "found": prediction.found,
        "volume_ml": round(prediction.volume_ml, 3),
        "statistics": _statistics(statistics[0], prediction),
        "targets": [
            {
                "name": one.target,
                "part_of": one.part_of or None,
                "value": number,
                "found": one.found,
                "volume_ml": round(one.volume_ml, 3),
                "statistics": _statistics(measured, one),
            }
            for number, (one, measured) in enumerate(
                zip(prediction.targets, statistics, strict=True), start=1
            )
        ],
        "dice_estimate": _estimate(prediction),
        "doubtful_places": [
            {
                "position_ras": [round(at, 1) for at in place.position_ras],
                "volume_ml": round(place.volume_ml, 2),
            }
            for place in prediction.doubtful_places
        ],
        "attention": [
            {"in_organ": round(inside, 4), "around_organ": round(around, 4)}
            for inside, around in zip(
                prediction.attention_in_organ, prediction.attention_around_organ, strict=True
            )
        ],
        "focus_ratios": [round(ratio, 4) for ratio in prediction.focus_ratios],
        "threshold": THRESHOLD,
        "timings_s": {stage: round(seconds, 3) for stage, seconds in timings_s.items()},
        "device": prediction.device,
        "model": {
            "name": card.name,
            "version": card.version,
            "sha256": card.weights.sha256 if card.weights else None,
            **({"editor_sha256": card.editor.sha256} if card.editor else {}),
            "target": card.target,
        },
        "input": {
            "name": name,
            "shape": list(volume.shape_ijk),
            "spacing_mm": [round(step, 6) for step in volume.spacing_mm],
        },
        "clicks": [
            {"position_ras": list(click.position_ras), "inside": click.inside}
            | ({"target": click.target} if click.target else {})
            for one in prediction.targets
            for click in one.clicks
            if isinstance(click, Click)
        ],
        "scribbles": [
            {"points_ras": [list(point) for point in scribble.points_ras]}
            | {"inside": scribble.inside}
            | ({"target": scribble.target} if scribble.target else {})
            for one in prediction.targets
            for scribble in one.clicks
            if isinstance(scribble, Scribble)
        ],
        "lassos": [
            {"points_ras": [list(point) for point in lasso.points_ras]}
            | {"depth_mm": lasso.depth_mm, "closed": lasso.closed}
            for one in prediction.targets
            for lasso in lassos_of(one.clicks)
        ],
        "began_from_mask": began_from_mask,
        "structure": {"name": prediction.target, "experimental": True}
        if prediction.any_structure
        else None,
        "place": prediction.place,
        "region_ras": None
        if box is None
        else [[round(float(at), 3) for at in end] for end in (box.min(axis=0), box.max(axis=0))],
        "warnings": list(warnings),
        "software": {"name": "attention-unet-segment", "version": __version__},
    }


def _estimate(prediction: Prediction) -> dict[str, float] | None:
    """The Dice that the result probably has; None where that is not told."""
    estimate = prediction.dice_estimate
    if estimate is None:
        return None
    return {name: round(value, 3) for name, value in vars(estimate).items()}


def _statistics(measured: MaskStatistics, prediction: Prediction) -> dict[str, Any]:
    """Measures as JSON has them, with what only the prediction knows."""

    def rounded(value: float | None, digits: int) -> float | None:
        return None if value is None else round(value, digits)

    extent = measured.extent_mm
    return {
        "volume_ml": rounded(measured.volume_ml, 3),
        "mean_hu": rounded(measured.mean_hu, 2),
        "sd_hu": rounded(measured.sd_hu, 2),
        "median_hu": rounded(measured.median_hu, 2),
        "surface_mm2": rounded(measured.surface_mm2, 1),
        "extent_mm": None if extent is None else [round(length, 1) for length in extent],
        "length_mm": rounded(measured.length_mm, 1),
        "pieces": prediction.pieces,
        "mean_probability": rounded(prediction.mean_probability, 4),
    }


def to_json(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
