"""What a session tells of its results: features, the estimate, places, and attention in figures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.geometry.grid import Box, Grid
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume
from AttentionUNetSegmentLib.inference.features import (
    SCALE_AGREEMENT,
    measure_scale_agreement,
    result_features,
    summarise_attention,
)
from AttentionUNetSegmentLib.inference.refinement import Refinement
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DiceEstimator, Interval
from threshold_model import axial_scan, threshold_model

SHAPE = (16, 32, 48)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 3.0, 1.0]))
RANDOM = np.random.default_rng(0)
PROBABILITY = RANDOM.random(SHAPE).astype(np.float32)
MASK = PROBABILITY > 0.7
LEVELS = [RANDOM.random([n // 2**level for n in SHAPE]).astype(np.float32) for level in range(3)]
LOW_ESTIMATE = DiceEstimator(
    {"log_ml": 0.0}, 0.0, Interval((0.1, 0.9), (0.0, 0.8), (0.6, 0.9), 0.9), 0.7
)


def made() -> Refinement:
    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values)[None, None]

    return Refinement.of(GRID, tensor(PROBABILITY), [tensor(level) for level in LEVELS])


def part(low_mm: tuple[float, ...], high_mm: tuple[float, ...]) -> Box:
    return Box(np.array(low_mm), np.array(high_mm))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_attention_is_averaged_in_the_mask_and_around_it(level: int) -> None:
    factor = 2**level
    (summary) = summarise_attention(made(), MASK, GRID.bounds)[level]
    fine = LEVELS[level].repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
    assert summary.in_organ == pytest.approx(fine[MASK].mean(), rel=1e-4)
    assert summary.around_organ == pytest.approx(fine[~MASK].mean(), rel=1e-4)
    assert summary.focus_ratio == pytest.approx((LEVELS[level] > 0.5).mean())


def test_only_what_was_looked_at_first_counts() -> None:
    # The first 32 of 48 columns, and all else.
    within = part((-1, -1, -1.5), (63, 63, 46.5))
    for level, summary in enumerate(summarise_attention(made(), MASK, within)):
        seen = LEVELS[level][..., : 32 // 2**level]
        assert summary.focus_ratio == pytest.approx((seen > 0.5).mean())


def test_features_are_what_their_names_say() -> None:
    attention = summarise_attention(made(), MASK, GRID.bounds)
    found = result_features(made(), MASK, 3, attention)
    p, m = PROBABILITY.astype(np.float64), MASK
    soft = 2 * (p * m).sum() / (p.sum() + m.sum())
    assert found["soft_dice_logit"] == pytest.approx(math.log(soft / (1 - soft)))
    assert found["mean_probability"] == pytest.approx(p[m].mean())
    wrong = np.minimum(p, 1 - p)
    assert found["doubt_inside"] == pytest.approx(math.log(wrong[m].sum() / m.sum()), abs=1e-4)
    assert found["doubt_outside"] == pytest.approx(math.log(wrong[~m].sum() / m.sum()), abs=1e-4)
    assert found["log_ml"] == pytest.approx(math.log(m.sum() * 0.012))
    assert found["log_pieces"] == pytest.approx(math.log(3))
    assert found["attention_around_2"] == attention[1].around_organ
    assert all(math.isfinite(value) for value in found.values())


@pytest.fixture(scope="module")
def scan() -> tuple[Volume, np.ndarray]:
    return axial_scan((3.0, 3.0, 4.0))


def session_on(volume: Volume, estimator: DiceEstimator | None, **options: object) -> Session:
    predictor = Predictor(threshold_model(), "cpu", "float32")
    predictor.card = dataclasses.replace(predictor.card, dice_estimate=estimator)
    return Session(predictor, volume, **options)  # type: ignore[arg-type]


def test_a_low_estimate_is_a_warning(scan: tuple[Volume, np.ndarray]) -> None:
    prediction = session_on(scan[0], LOW_ESTIMATE).predict()
    estimate = prediction.dice_estimate
    assert estimate is not None
    assert estimate.value == pytest.approx(0.5)
    (told,) = [one for one in prediction.warnings if "estimated Dice" in one]
    assert str(estimate) in told


def test_a_card_without_estimator_says_nothing(scan: tuple[Volume, np.ndarray]) -> None:
    prediction = session_on(scan[0], None).predict()
    assert prediction.dice_estimate is None
    assert not any("estimated" in one for one in prediction.warnings)


def test_a_mask_of_somebody_else_is_not_estimated(scan: tuple[Volume, np.ndarray]) -> None:
    start = (scan[0].array == 200).astype(np.uint8)
    prediction = session_on(scan[0], LOW_ESTIMATE, start=start).predict()
    assert prediction.found
    assert prediction.dice_estimate is None


def test_a_click_far_away_changes_no_figure_of_attention(scan: tuple[Volume, np.ndarray]) -> None:
    volume, _ = scan
    session = session_on(volume, None)
    before = session.predict()
    r, a, s = before.volume.grid.subgrid(before.region).bounds.low_ras
    after = session.predict([Click((float(r) + 10, float(a) + 10, float(s) - 30), True)])
    assert after.region != before.region
    assert after.focus_ratios == pytest.approx(before.focus_ratios, abs=0.01)
    assert after.attention_around_organ == pytest.approx(before.attention_around_organ, abs=0.01)


def test_no_place_lies_outside_of_the_users_box(scan: tuple[Volume, np.ndarray]) -> None:
    volume, organ = scan
    k, j, i = (round(at) for at in reversed(volume.grid.index_of(organ)))
    box = (slice(k - 3, k + 12), slice(j - 30, j + 30), slice(i - 30, i + 30))
    prediction = session_on(volume, None, interest=box).predict()
    limits = volume.grid.subgrid(box).bounds.grown(4.0)
    assert prediction.doubtful_places
    for place in prediction.doubtful_places:
        assert (limits.low_ras <= place.position_ras).all()
        assert (place.position_ras <= limits.high_ras).all()


def test_uncertainty_lies_on_the_scan_and_is_that_of_the_probability(
    scan: tuple[Volume, np.ndarray],
) -> None:
    prediction = session_on(scan[0], None).predict()
    expected = 1 - np.abs(2 * prediction.probability() - 1)
    outside = np.ones(expected.shape, bool)
    outside[prediction.region] = False
    expected[outside] = 0
    np.testing.assert_allclose(prediction.uncertainty(), expected, atol=1e-6)


def estimator_of(*names: str) -> DiceEstimator:
    return dataclasses.replace(LOW_ESTIMATE, coefficients=dict.fromkeys(names, 1.0))


def test_a_second_look_is_had_where_the_card_weighs_it_only(
    scan: tuple[Volume, np.ndarray],
) -> None:
    session = session_on(scan[0], estimator_of("log_ml"))
    session.predict()
    passes = refiner_passes(session)
    assert len(passes) == 1
    assert SCALE_AGREEMENT not in (session.features or {})

    session = session_on(scan[0], estimator_of("log_ml", SCALE_AGREEMENT))
    session.predict()
    fine, coarse = refiner_passes(session)
    assert fine == passes[0]
    assert math.prod(coarse) <= math.prod(fine)
    # The organ is the same in larger voxels, but for its rim.
    assert 0.85 < (session.features or {})[SCALE_AGREEMENT] < 1


def refiner_passes(session: Session) -> list[tuple[int, ...]]:
    return session.predictor.networks["refiner"].passes  # type: ignore[return-value]


def test_a_click_does_not_look_a_second_time_again(scan: tuple[Volume, np.ndarray]) -> None:
    volume, (r, a, s) = scan
    session = session_on(volume, estimator_of("log_ml", SCALE_AGREEMENT))
    session.predict()
    before, told = len(refiner_passes(session)), dict(session.features or {})
    prediction = session.predict([Click((float(r), float(a), float(s)), False)])
    assert len(refiner_passes(session)) == before + 1
    assert (session.features or {})[SCALE_AGREEMENT] == told[SCALE_AGREEMENT]
    assert prediction.dice_estimate is not None


def test_what_clicks_found_alone_is_estimated_too(scan: tuple[Volume, np.ndarray]) -> None:
    volume, (r, a, s) = scan
    session = session_on(volume, estimator_of("log_ml", SCALE_AGREEMENT))
    click = Click((float(r), float(a), float(s)), True)
    assert session.predict([click], automatic=False).dice_estimate is not None


class TwoAnswers:
    """An engine that says something else on every other grid than the first."""

    def __init__(self, fine: Callable[[np.ndarray], np.ndarray]) -> None:
        self.fine = fine

    def sample(self, volume: Volume, grid: Grid) -> torch.Tensor:
        return torch.full((1, 1, *grid.shape), 0.25)

    def run_refiner(self, scan: torch.Tensor, grid: Grid, *_: object) -> Refinement:
        return answer(grid, self.fine)


def answer(grid: Grid, says: Callable[[np.ndarray], np.ndarray]) -> Refinement:
    k, j, i = np.indices(grid.shape)
    places = grid.position_of(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    values = says(places).reshape(grid.shape).astype(np.float32)
    return Refinement.of(grid, torch.from_numpy(values)[None, None], [])


def test_the_agreement_is_the_dice_of_both_answers() -> None:
    def ball(places: np.ndarray) -> np.ndarray:
        return np.clip((30 - np.linalg.norm(places - (47, 31, 22), axis=1)) / 20, 0, 1)

    def smaller(places: np.ndarray) -> np.ndarray:
        return np.clip((24 - np.linalg.norm(places - (50, 31, 22), axis=1)) / 20, 0, 1)

    known = answer(GRID, ball)
    engine, volume = TwoAnswers(smaller), axial_scan((3.0, 3.0, 4.0))[0]
    found = measure_scale_agreement(engine, volume, known, (), [])  # type: ignore[arg-type]
    one, other = known.values, answer(GRID, smaller).values
    expected = 2 * np.minimum(one, other).sum() / (one.sum() + other.sum())
    assert 0.4 < expected < 0.8
    assert found == pytest.approx(expected, abs=0.01)
    nothing = measure_scale_agreement(
        TwoAnswers(lambda places: 0 * places[:, 0]),  # type: ignore[arg-type]
        volume,
        answer(GRID, lambda places: 0 * places[:, 0]),
        (),
        [],
    )
    assert nothing == 0
