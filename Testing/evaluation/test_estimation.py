"""The fit of the Dice's estimate and the measures of it, against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from AttentionUNetSegmentLib.evaluation.estimation import (
    area_under_curve,
    cross_validate,
    estimate_by_others,
    fit_interval,
    fit_logistic,
    folds_by_patient,
    interval_coverage,
    risk_coverage,
    widened_interval,
)
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import mannwhitneyu

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal((3.0, -40.0, 0.0), (1.0, 20.0, 0.01), (200, 3))
DICE = np.clip(
    expit(-0.4 + 1.5 * (FEATURES[:, 0] - 3) - 0.02 * (FEATURES[:, 1] + 40))
    + RANDOM.normal(0, 0.1, 200),
    0,
    1,
)
PATIENTS = [f"patient {number % 40}" for number in range(200)]


def test_the_fit_is_the_one_that_a_general_optimiser_finds() -> None:
    middle, width = FEATURES.mean(axis=0), FEATURES.std(axis=0)
    rows = (FEATURES - middle) / width

    def loss(at: np.ndarray) -> float:
        total = at[0] + rows @ at[1:]
        return float((np.logaddexp(0, total) - DICE * total).sum() + 1.7 * (at[1:] ** 2).sum() / 2)

    best = minimize(loss, np.zeros(4), tol=1e-10).x
    fit = fit_logistic(FEATURES, DICE, ridge=1.7)
    assert fit.weights * width == pytest.approx(best[1:], abs=1e-4)
    assert fit.estimate(FEATURES) == pytest.approx(expit(best[0] + rows @ best[1:]), abs=1e-5)


def test_a_feature_that_never_varies_and_outcomes_at_the_ends_do_no_harm() -> None:
    features = np.column_stack([np.ones(6), np.arange(6.0)])
    fit = fit_logistic(features, np.array([0.0, 0, 0, 1, 1, 1]))
    assert np.isfinite(fit.weights).all()
    assert (np.diff(fit.estimate(features)) > 0).all()


def test_no_patient_is_in_two_folds_and_none_is_estimated_by_itself() -> None:
    fold = folds_by_patient(PATIENTS)
    assert all(len({*fold[np.array(PATIENTS) == one]}) == 1 for one in PATIENTS)
    assert len({*fold}) == 10
    # A patient whose Dice is another one changes nobody's estimate but others'.
    changed = DICE.copy()
    mine = np.array(PATIENTS) == "patient 3"
    changed[mine] = 1 - changed[mine]
    before, after = (cross_validate(FEATURES, dice, PATIENTS) for dice in (DICE, changed))
    same_fold = fold == fold[mine][0]
    assert after[same_fold] == pytest.approx(before[same_fold])
    assert np.abs(after[~same_fold] - before[~same_fold]).max() > 1e-4


def test_area_under_curve_is_that_of_the_rank_test() -> None:
    score = np.round(RANDOM.normal(0, 1, 100), 1)  # with ties
    positive = RANDOM.random(100) < 0.3
    expected = mannwhitneyu(score[positive], score[~positive]).statistic
    expected /= positive.sum() * (~positive).sum()
    assert area_under_curve(positive, score) == pytest.approx(expected)
    assert np.isnan(area_under_curve(np.ones(3, bool), np.arange(3.0)))


def test_risk_is_the_mean_of_those_that_are_kept() -> None:
    confidence, dice = RANDOM.random(20), RANDOM.random(20)
    curve = risk_coverage(confidence, dice)
    for kept in range(1, 21):
        surest = sorted(range(20), key=lambda n: -confidence[n])[:kept]
        assert curve[kept - 1] == pytest.approx(np.mean([1 - dice[n] for n in surest]))


def test_the_interval_holds_the_share_that_it_promises() -> None:
    estimate = RANDOM.uniform(0.05, 0.95, 2000)
    dice = np.clip(estimate + RANDOM.normal(0, 0.2, 2000) * (1 - estimate), 0, 1)
    patients = [str(number // 10) for number in range(2000)]
    assert interval_coverage(estimate, dice, patients) == pytest.approx(0.9, abs=0.03)
    interval = fit_interval(estimate, dice)
    wide, narrow = interval.at(0.4), interval.at(0.9)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_an_interval_is_widened_until_it_holds_for_other_patients() -> None:
    random = np.random.default_rng(1)
    patients = [str(number // 6) for number in range(120)]
    shift = np.repeat(random.normal(0, 0.15, 20), 6)  # of each patient, so that others tell little
    estimate = random.uniform(0.3, 0.7, 120)
    dice = np.clip(estimate + shift + random.normal(0, 0.02, 120), 0, 1)
    assert interval_coverage(estimate, dice, patients) < 0.9
    interval, share = widened_interval(estimate, dice, patients)
    assert share >= 0.9
    assert interval.coverage == 0.9
    narrow = fit_interval(estimate, dice)
    assert interval.at(0.5)[1] - interval.at(0.5)[0] > narrow.at(0.5)[1] - narrow.at(0.5)[0]


def test_what_was_not_fitted_on_is_estimated_by_other_patients() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(60, 2))
    true = 1 / (1 + np.exp(-features @ [1.0, -0.5]))
    patients = [f"p{number // 3}" for number in range(60)]
    own = cross_validate(features, true, patients)
    order = random.permutation(60)[:25]
    asked = estimate_by_others(
        features, true, patients, features[order], [patients[number] for number in order]
    )
    np.testing.assert_array_equal(asked, own[order])
    none = estimate_by_others(features, true, patients, features[:0], [])
    assert none.shape == (0,)
