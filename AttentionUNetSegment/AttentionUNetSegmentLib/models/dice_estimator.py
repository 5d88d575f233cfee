"""How good a result probably is, from what the network knows of it: an estimator in the card.

The Dice is estimated by a logistic curve over a weighted sum of features, and lies between two
further curves of the estimate in the share of results that the card tells. All of it is fitted by
``attention-unet-segment trust`` on scans with known truth; a card without it gives no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import checks

FEWEST_KNOTS, MOST_KNOTS = 2, 50
MOST_FEATURES = 30
LARGEST = 1e4


@dataclass(frozen=True)
class DiceEstimate:
    """The Dice that a result probably has against an expert's outline.

    Args:
        value: estimated.
        low, high: between which it lies in a share of :attr:`coverage` of such results.
        coverage: that share.
    """

    value: float
    low: float
    high: float
    coverage: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Interval:
    """Where the Dice lies by the estimate: between these points in straight lines, and beyond the
    outermost as at them.

    Args:
        estimate: ascending.
        low, high: of each.
        coverage: share of the results whose Dice lies between.
    """

    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    coverage: float

    def __post_init__(self) -> None:
        size = len(checks.items(self.estimate, "estimate", FEWEST_KNOTS, MOST_KNOTS))
        for name in ("estimate", "low", "high"):
            where = f"{name} of the interval"
            values = checks.items(getattr(self, name), where, size, size)
            values = tuple(checks.number(value, where, 0.0, 1.0) for value in values)
            object.__setattr__(self, name, values)
        if list(self.estimate) != sorted(set(self.estimate)):
            checks.refuse("estimate of the interval", "ascending", self.estimate)
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            checks.refuse("the interval", "a range at each estimate, its lower end first", self.low)
        checks.number(self.coverage, "coverage of the interval", 0.5, 1.0)

    def at(self, estimate: float) -> tuple[float, float]:
        """The lower and the upper end, which the estimate itself lies between."""
        low, high = (_interpolated(estimate, self.estimate, ends) for ends in (self.low, self.high))
        return min(low, estimate), max(high, estimate)


@dataclass(frozen=True)
class DiceEstimator:
    """Estimates the Dice of a result.

    Args:
        coefficients: of each feature, by its name.
        intercept: of the weighted sum.
        interval: around the estimate.
        usual: least Dice that is estimated for results as they mostly are; a lower estimate is
            warned of.
        measured: on how many scans and patients, and how well; free.
    """

    coefficients: Mapping[str, float]
    intercept: float
    interval: Interval
    usual: float
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = "coefficients of dice_estimate"
        found = checks.mapping(self.coefficients, where)
        if not 1 <= len(found) <= MOST_FEATURES:
            checks.refuse(where, f"of 1 to {MOST_FEATURES} features", sorted(found))
        found = {
            name: checks.number(value, f"the coefficient of '{name}'", -LARGEST, LARGEST)
            for name, value in found.items()
        }
        object.__setattr__(self, "coefficients", found)
        checks.number(self.intercept, "intercept of dice_estimate", -LARGEST, LARGEST)
        checks.number(self.usual, "usual of dice_estimate", 0.0, 1.0)
        object.__setattr__(self, "measured", checks.plain_json(self.measured, "measured"))

    @classmethod
    def from_mapping(cls, content: object) -> DiceEstimator:
        """Read the block of a card.

        Raises:
            ModelError: it is none.
        """
        names = ("coefficients", "intercept", "interval", "usual")
        found = checks.entries(content, "dice_estimate", names, ("measured",))
        ends = ("estimate", "low", "high", "coverage")
        interval = Interval(**checks.entries(found["interval"], "the interval", ends))
        return cls(**found | {"interval": interval})

    def estimate(self, features: Mapping[str, float]) -> DiceEstimate:
        """Estimate the Dice of a result.

        Args:
            features: of the result, those of the coefficients among them.

        Raises:
            KeyError: one is missing.
        """
        total = self.intercept + sum(
            weight * features[name] for name, weight in self.coefficients.items()
        )
        value = 1 / (1 + math.exp(-max(-50.0, min(50.0, total))))
        low, high = self.interval.at(value)
        return DiceEstimate(value, low, high, self.interval.coverage)


def _interpolated(at: float, points: tuple[float, ...], values: tuple[float, ...]) -> float:
    if at <= points[0]:
        return values[0]
    for left, right, a, b in zip(points, points[1:], values, values[1:], strict=False):
        if at <= right:
            return a + (b - a) * (at - left) / (right - left)
    return values[-1]
