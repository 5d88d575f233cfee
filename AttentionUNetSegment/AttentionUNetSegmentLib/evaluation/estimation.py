"""Fitting an estimate of the Dice, and how good such an estimate is. Only NumPy here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models import Interval

RIDGE = 1.0
"""Weight of the squared coefficients (of features in units of their standard deviation)."""
FOLDS = 10
COVERAGE = 0.9
WIDER = (0.9, 0.92, 0.94, 0.96, 0.98, 1.0)
_STEPS, _STEP_LEAST, _SHARE = 100, 1e-9, 1e-12


@dataclass(frozen=True)
class LogisticFit:
    """A logistic curve over a weighted sum: ``1 / (1 + exp(-intercept - features @ weights))``."""

    weights: np.ndarray
    intercept: float

    def estimate(self, features: np.ndarray) -> np.ndarray:
        """Of each row (N, F)."""
        total = self.intercept + features @ self.weights
        curve: np.ndarray = 1 / (1 + np.exp(-np.clip(total, -50, 50)))
        return curve


def fit_logistic(features: np.ndarray, dice: np.ndarray, ridge: float = RIDGE) -> LogisticFit:
    """Fit shares in [0, 1] by a logistic curve: least cross-entropy plus a ridge, by Newton's
    method.

    Args:
        features: (N, F).
        dice: (N,), between 0 and 1, both included.
        ridge: half of it times the squared weights of the standardised features is added.
    """
    middle, width = features.mean(axis=0), features.std(axis=0)
    width = np.where(width > _SHARE, width, 1.0)
    rows = np.column_stack([np.ones(len(features)), (features - middle) / width])
    penalty = np.diag([0.0] + [ridge] * features.shape[1])
    solution = np.zeros(rows.shape[1])

    def loss(at: np.ndarray) -> float:
        total = rows @ at
        return float((np.logaddexp(0, total) - dice * total).sum() + at @ penalty @ at / 2)

    for _ in range(_STEPS):
        curve = 1 / (1 + np.exp(-np.clip(rows @ solution, -50, 50)))
        gradient = rows.T @ (curve - dice) + penalty @ solution
        hessian = (rows * (curve * (1 - curve) + _SHARE)[:, None]).T @ rows + penalty
        step = np.linalg.solve(hessian, gradient)
        before = loss(solution)
        while loss(solution - step) > before and np.abs(step).max() > _STEP_LEAST:
            step = step / 2
        solution = solution - step
        if np.abs(step).max() < _STEP_LEAST:
            break
    weights = solution[1:] / width
    return LogisticFit(weights, float(solution[0] - middle @ weights))


def folds_by_patient(patients: Sequence[str], folds: int = FOLDS) -> np.ndarray:
    """To which fold each row belongs; all rows of a patient to the same one."""
    order = {
        name: n for n, name in enumerate(np.random.default_rng(0).permutation(sorted({*patients})))
    }
    return np.array([order[name] % min(folds, len(order)) for name in patients])


def cross_validate(
    features: np.ndarray, dice: np.ndarray, patients: Sequence[str], folds: int = FOLDS
) -> np.ndarray:
    """The estimate of each row by a fit on other patients."""
    return estimate_by_others(features, dice, patients, features, patients, folds)


def estimate_by_others(
    features: np.ndarray,
    dice: np.ndarray,
    patients: Sequence[str],
    asked: np.ndarray,
    asked_patients: Sequence[str],
    folds: int = FOLDS,
) -> np.ndarray:
    """The estimate of some rows, each by a fit on other patients than its own.

    Args:
        features, dice, patients: what is fitted on: (N, F), (N,) and N names.
        asked, asked_patients: what is estimated: (M, F) and M names, each among those fitted on.

    Returns:
        (M,).
    """
    fold = folds_by_patient(patients, folds)
    fold_of = dict(zip(patients, fold, strict=True))
    asked_fold = np.array([fold_of[name] for name in asked_patients])
    estimates = np.zeros(len(asked))
    for one in np.unique(asked_fold):
        fit = fit_logistic(features[fold != one], dice[fold != one])
        estimates[asked_fold == one] = fit.estimate(asked[asked_fold == one])
    return estimates


def fit_interval(estimate: np.ndarray, dice: np.ndarray, coverage: float = COVERAGE) -> Interval:
    """Between which ends the Dice lies in a share of the results, by the estimate: quantiles of
    what came out where the estimate was similar, made to rise with it.

    Args:
        estimate: of each result, by a fit that did not see it.
        dice: of each result.
    """
    order = np.argsort(estimate, kind="stable")
    estimate, dice = estimate[order], dice[order]
    size = len(estimate)
    window = max(10, size // 5)
    at, low, high = [], [], []
    for middle in np.linspace(0, size - 1, 9):
        start = int(np.clip(round(middle) - window // 2, 0, max(0, size - window)))
        part = slice(start, start + window)
        at.append(round(float(estimate[min(size - 1, round(middle))]), 4))
        # Of errors, so that a window that is wide in the estimate does not widen the interval.
        errors = dice[part] - estimate[part]
        ends = np.quantile(errors, [(1 - coverage) / 2, (1 + coverage) / 2])
        low.append(at[-1] + ends[0])
        high.append(at[-1] + ends[1])
    keep = [n for n in range(len(at)) if n == 0 or at[n] > at[n - 1]]
    lower = np.maximum.accumulate(np.clip([low[n] for n in keep], 0, 1))
    upper = np.maximum.accumulate(np.clip([high[n] for n in keep], 0, 1))
    return Interval(
        tuple(at[n] for n in keep),
        tuple(round(float(one), 3) for one in np.minimum(lower, upper)),
        tuple(round(float(one), 3) for one in upper),
        coverage,
    )


def widened_interval(
    estimate: np.ndarray, dice: np.ndarray, patients: Sequence[str]
) -> tuple[Interval, float]:
    """The narrowest interval that holds :data:`COVERAGE` of the results of other patients as well,
    and which share it does hold."""
    for quantiles in WIDER:
        share = interval_coverage(estimate, dice, patients, quantiles)
        if share >= COVERAGE:
            break
    return dataclasses.replace(fit_interval(estimate, dice, quantiles), coverage=COVERAGE), share


def interval_coverage(
    estimate: np.ndarray,
    dice: np.ndarray,
    patients: Sequence[str],
    quantiles: float = COVERAGE,
    folds: int = FOLDS,
) -> float:
    """Share of the results within the interval that other patients give.

    Args:
        quantiles: share of those others' results that it holds.
    """
    fold = folds_by_patient(patients, folds)
    within = 0
    for one in np.unique(fold):
        held_out = fold == one
        interval = fit_interval(estimate[~held_out], dice[~held_out], quantiles)
        for value, true in zip(estimate[held_out], dice[held_out], strict=True):
            low, high = interval.at(float(value))
            within += low <= true <= high
    return within / len(dice)


def area_under_curve(positive: np.ndarray, score: np.ndarray) -> float:
    """How often a positive has a higher score than a negative, ties counting half (the area under
    the receiver operating characteristic); NaN where there is only one kind."""
    high, low = score[positive], score[~positive]
    if not len(high) or not len(low):
        return float("nan")
    below = np.sort(low)
    wins = np.searchsorted(below, high, "left") + np.searchsorted(below, high, "right")
    return float(wins.sum() / (2 * len(high) * len(low)))


def risk_coverage(confidence: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """The mean of 1 - Dice of the results in which most confidence is put, for 1, 2, ... of them:
    (N,). Its mean is the area under the risk-coverage curve."""
    risk = 1 - dice[np.argsort(-confidence, kind="stable")]
    curve: np.ndarray = np.cumsum(risk) / np.arange(1, len(risk) + 1)
    return curve
