"""How good a result probably is, in a line: for the panel and the Segment Editor effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from ..inference.prediction import Prediction


def estimateText(prediction: Prediction) -> str:
    """Empty where the model does not tell."""
    estimate = prediction.dice_estimate
    if estimate is None:
        return ""
    return _(
        "Estimated Dice {value:.2f} ({low:.2f} to {high:.2f} in {coverage:.0%} of such results)"
    ).format(**vars(estimate))
