"""The estimator of the Dice in a model's card."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.models import DiceEstimator, Interval, ModelCard, WeightsFile
from small_cards import card_of

NETWORK = {
    "name": "UNet",
    "dimensions": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
}
INTERVAL = Interval((0.2, 0.6, 0.9), (0.0, 0.3, 0.8), (0.5, 0.8, 0.95), 0.9)
ESTIMATOR = DiceEstimator({"a": 2.0, "b": -1.0}, 0.5, INTERVAL, 0.7, {"patients": 3})


def card_text(**changes: Any) -> str:
    card = dataclasses.replace(card_of(refiner=NETWORK), dice_estimate=ESTIMATOR)
    content = json.loads(card.with_weights(WeightsFile("w.safetensors", "0" * 64, 1)).to_json())
    content["dice_estimate"] |= changes
    return json.dumps(content)


def test_it_is_a_logistic_curve_of_the_weighted_sum() -> None:
    estimate = ESTIMATOR.estimate({"a": 0.3, "b": 0.2, "unused": 9.0})
    assert estimate.value == pytest.approx(1 / (1 + math.exp(-(0.5 + 2 * 0.3 - 0.2))))
    assert estimate.coverage == 0.9
    assert str(estimate) == f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def test_the_most_extreme_features_give_a_number() -> None:
    assert ESTIMATOR.estimate({"a": 1e9, "b": 0.0}).value == pytest.approx(1)
    assert ESTIMATOR.estimate({"a": -1e9, "b": 0.0}).value == pytest.approx(0)


@pytest.mark.parametrize("at", [0.0, 0.2, 0.35, 0.6, 0.77, 0.9])
def test_the_interval_is_interpolated_and_holds_the_estimate(at: float) -> None:
    low, high = INTERVAL.at(at)
    assert low == pytest.approx(min(at, np.interp(at, INTERVAL.estimate, INTERVAL.low)))
    assert high == pytest.approx(max(at, np.interp(at, INTERVAL.estimate, INTERVAL.high)))


def test_a_card_keeps_it() -> None:
    card = ModelCard.from_json(card_text())
    assert card.dice_estimate == ESTIMATOR
    assert ModelCard.from_json(card.to_json()) == card


def test_a_card_without_it_has_none() -> None:
    content = json.loads(card_text())
    del content["dice_estimate"]
    card = ModelCard.from_json(json.dumps(content))
    assert card.dice_estimate is None
    assert "dice_estimate" not in json.loads(card.to_json())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"coefficients": {}}, "coefficients"),
        ({"coefficients": {"a": "1"}}, "coefficient of 'a'"),
        ({"coefficients": {"a": True}}, "coefficient of 'a'"),
        ({"intercept": 1e9}, "intercept"),
        ({"usual": 2}, "usual"),
        ({"interval": {}}, "lacks"),
        ({"interval": {"estimate": [0.1], "low": [0], "high": [1], "coverage": 0.9}}, "estimate"),
        (
            {"interval": {"estimate": [0.5, 0.1], "low": [0, 0], "high": [1, 1], "coverage": 0.9}},
            "ascending",
        ),
        (
            {"interval": {"estimate": [0.1, 0.5], "low": [0, 1], "high": [1, 0], "coverage": 0.9}},
            "lower end first",
        ),
        (
            {"interval": {"estimate": [0.1, 0.5], "low": [0], "high": [1, 1], "coverage": 0.9}},
            "low of the interval",
        ),
        ({"unknown": 1}, "does not know"),
    ],
)
def test_what_is_no_estimator_is_refused_in_a_sentence(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        ModelCard.from_json(card_text(**changes))


def test_a_block_that_is_no_object_is_refused() -> None:
    content = json.loads(card_text()) | {"dice_estimate": []}
    with pytest.raises(ModelError, match="dice_estimate"):
        ModelCard.from_json(json.dumps(content))
