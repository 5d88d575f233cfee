"""Clicks on a scan: what they change, what they leave alone, and what undo brings back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.errors import Cancelled, InputError
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.inference import CancelToken, Click, Predictor, Volume
from AttentionUNetSegmentLib.inference import session as session_module
from AttentionUNetSegmentLib.inference.click_update import REACH_MM, window_around
from AttentionUNetSegmentLib.inference.clicks import BALL_MM, satisfy_clicks
from AttentionUNetSegmentLib.inference.regions import connected_components
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import Model
from AttentionUNetSegmentLib.networks import build_network
from geometry import placed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threshold_model import BRIGHT_HU, threshold_model

SHAPE = (40, 60, 64)
SPACING = (3.0, 3.0, 4.0)


def scan(seed: int = 0, oblique: bool = False) -> Volume:
    """A soft body with a bright organ of two lobes in it, and noise."""
    matrix = placed(SPACING, (20.0, -30.0, -500.0))
    if oblique:
        turn = np.eye(4)
        c, s = math.cos(0.5), math.sin(0.5)
        turn[:2, :2] = [[c, -s], [s, c]]
        matrix = turn @ matrix
    k, j, i = np.indices(SHAPE)
    hu = np.full(SHAPE, -1000.0)
    hu[(((k - 20) / 40) ** 2 + ((j - 30) / 28) ** 2 + ((i - 32) / 30) ** 2) < 1] = 40
    for centre, radius in (((18, 28, 26), 7), ((22, 30, 38), 6)):
        squares = [((at - c) / radius) ** 2 for at, c in zip((k * 1.3, j, i), centre, strict=True)]
        hu[sum(squares) < 1] = BRIGHT_HU
    hu += np.random.default_rng(seed).normal(0, 8, SHAPE)
    return Volume(hu.astype(np.int16), matrix)


def random_network_model() -> Model:
    """Real networks, with the weights that they are born with: their answers are of any shape."""
    model = threshold_model()
    torch.manual_seed(4)
    stages = model.card.stages
    return Model(
        model.card,
        {
            "locator": model.networks["locator"],
            "refiner": build_network(stages["refiner"].network).eval(),
        },
        model.folder,
    )


@pytest.fixture(scope="module", params=["threshold", "network"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    model = threshold_model() if request.param == "threshold" else random_network_model()
    return Predictor(model, "cpu", "float32")


def ras(volume: Volume, kji: tuple[float, float, float]) -> tuple[float, float, float]:
    r, a, s = (volume.ijk_to_ras @ (*reversed(kji), 1.0))[:3]
    return float(r), float(a), float(s)


def voxel(volume: Volume, click: Click) -> tuple[int, int, int]:
    # A point half way between two voxels belongs to the upper one.
    i, j, k = np.floor((volume.ras_to_ijk @ (*click.position_ras, 1.0))[:3] + 0.5).astype(int)
    return int(k), int(j), int(i)


def assert_satisfied(mask: np.ndarray, volume: Volume, clicks: tuple[Click, ...]) -> None:
    """Each click lies on its side; of several in one voxel the last one."""
    for at, click in {voxel(volume, click): click for click in clicks}.items():
        assert bool(mask[at]) == click.inside, (at, click)


# A click inside or outside at a voxel of the scan's middle, or a change of those that are there.
places = st.tuples(st.integers(6, 33), st.integers(12, 48), st.integers(12, 52))
actions = st.one_of(
    st.tuples(st.just("add"), places, st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("move"), st.integers(0, 5), places),
    st.tuples(st.sampled_from(["undo", "redo", "reset"])),
)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(actions, min_size=1, max_size=8), st.booleans())
def test_any_sequence_of_clicks(predictor: Predictor, todo: list, automatic: bool) -> None:
    volume = scan(oblique=automatic)
    session = Session(predictor, volume, checked=True)
    before = session.predict(automatic=automatic).mask
    done: list[tuple[tuple[Click, ...], np.ndarray]] = []
    undone: list[tuple[tuple[Click, ...], np.ndarray]] = []
    for what, *how in todo:
        clicks = session.clicks
        if what in ("remove", "move"):
            if how[0] >= len(clicks):
                with pytest.raises(IndexError):
                    session.remove_click(how[0])
                continue
            update = (
                session.remove_click(how[0])
                if what == "remove"
                else session.move_click(how[0], ras(volume, how[1]))
            )
        elif what == "add":
            update = session.add_click(ras(volume, how[0]), how[1])
        else:
            update = getattr(session, what)()
        assert_satisfied(update.mask, volume, session.clicks)
        outside = np.ones(SHAPE, bool)
        outside[update.box] = False
        np.testing.assert_array_equal(update.mask[outside], before[outside])
        if what == "undo":
            if done:
                undone.append((clicks, before))
                expected = done.pop()
                assert session.clicks == expected[0]
                np.testing.assert_array_equal(update.mask, expected[1])
            else:
                np.testing.assert_array_equal(update.mask, before)
        elif what == "redo":
            if undone:
                done.append((clicks, before))
                expected = undone.pop()
                assert session.clicks == expected[0]
                np.testing.assert_array_equal(update.mask, expected[1])
            else:
                np.testing.assert_array_equal(update.mask, before)
        else:
            done.append((clicks, before))
            undone = []
        before = update.mask
    afresh = Session(predictor, volume, checked=True)
    prediction = afresh.predict(session.clicks, automatic=automatic)
    np.testing.assert_array_equal(prediction.mask, before)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(places, st.booleans()), min_size=1, max_size=4))
def test_a_click_changes_what_it_points_at_in_its_own_direction_only(
    predictor: Predictor, placed_clicks: list
) -> None:
    volume = scan()
    session = Session(predictor, volume, checked=True)
    before = session.predict()
    points = np.moveaxis(np.indices(SHAPE)[::-1], 0, -1) @ volume.ijk_to_ras[:3, :3].T
    points = points + volume.ijk_to_ras[:3, 3]
    for at, inside in placed_clicks:
        update = session.add_click(ras(volume, at), inside)
        far = np.abs(points - ras(volume, at)).max(axis=-1) > REACH_MM + BALL_MM + 2 * max(SPACING)
        assert far.any()
        np.testing.assert_array_equal(update.mask[far], before.mask[far])
        changed = update.mask != before.mask
        # A second click in the same voxel may contradict the first: then both balls are one.
        assert (update.mask[changed] == inside).all()
        # Each piece of the change holds a click, or lies in the ball of one that is obeyed anew.
        pieces, count = connected_components(changed)
        for number in range(1, count + 1):
            piece = points[pieces == number]
            away = [
                np.linalg.norm(piece - one.position_ras, axis=1).min() for one in session.clicks
            ]
            assert min(away) < BALL_MM + max(SPACING)
        before = update.prediction


def test_the_first_click_alone_segments_the_organ_around_it() -> None:
    volume = scan()
    predictor = Predictor(threshold_model(), "cpu")
    session = Session(predictor, volume, checked=True)
    update = session.add_click(ras(volume, (14, 28, 26)), inside=True)
    truth = volume.array > 120
    assert 2 * (update.mask & truth).sum() / (update.mask.sum() + truth.sum()) > 0.9
    assert predictor.model.networks["locator"].passes == []
    assert update.prediction.found
    assert update.prediction.clicks == session.clicks


def test_a_click_outside_where_nothing_is_computes_nothing() -> None:
    volume = scan()
    predictor = Predictor(threshold_model(), "cpu")
    session = Session(predictor, volume, checked=True)
    assert session.add_click(ras(volume, (20, 30, 30)), inside=False).mask.sum() == 0
    session.predict((), automatic=True)
    passes = len(predictor.model.networks["refiner"].passes)
    session.predict([Click(ras(volume, (38, 55, 60)), False)])
    assert len(predictor.model.networks["refiner"].passes) == passes


def test_a_click_costs_one_pass_of_the_refiner_and_undo_none() -> None:
    volume = scan()
    predictor = Predictor(threshold_model(), "cpu")
    session = Session(predictor, volume, checked=True)
    session.predict()
    networks = predictor.model.networks
    count = [len(networks[name].passes) for name in ("locator", "refiner")]
    session.add_click(ras(volume, (20, 30, 30)), inside=False)
    session.add_click(ras(volume, (18, 28, 26)), inside=True)
    assert [len(networks[name].passes) for name in ("locator", "refiner")] == [
        count[0],
        count[1] + 2,
    ]
    session.undo()
    session.undo()
    session.redo()
    assert len(networks["refiner"].passes) == count[1] + 2
    shapes = {passes[2:] for passes in networks["refiner"].passes[count[1] :]}
    assert len(shapes) == 1


def test_a_click_that_the_network_ignores_pulls_its_surroundings_along() -> None:
    """Not a single odd voxel: like tissue around it, and no other."""
    volume = scan()
    session = Session(Predictor(threshold_model(), "cpu", "float32"), volume, checked=True)
    before = session.predict().mask
    update = session.add_click(ras(volume, (20, 44, 30)), inside=True)
    added = (update.mask != 0) & (before == 0)
    volume_ml = added.sum() * volume.voxel_volume_ml
    assert 0.5 < volume_ml < 30
    assert not (added & (volume.array < -500)).any()
    away = session.add_click(ras(volume, (18, 28, 26)), inside=False)
    removed = (update.mask != 0) & (away.mask == 0)
    assert 0.5 < removed.sum() * volume.voxel_volume_ml < 30


def test_a_click_far_from_the_organ_widens_the_region() -> None:
    volume = scan()
    session = Session(Predictor(threshold_model(), "cpu", "float32"), volume, checked=True)
    before = session.predict()
    click = Click(ras(volume, (36, 14, 50)), True)
    after = session.predict([click])
    assert_satisfied(after.mask, volume, (click,))
    # What was known elsewhere is still there, at its place.
    far = np.zeros(SHAPE, bool)
    far[:20, 20:, :30] = True
    np.testing.assert_array_equal(after.mask[far], before.mask[far])
    np.testing.assert_allclose(after.probability()[far], before.probability()[far], atol=1e-5)
    for level in range(1, after.levels + 1):
        assert after.attention(level).max() > 0


def test_old_states_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KEPT_STATES", 4)
    volume = scan()
    session = Session(Predictor(threshold_model(), "cpu", "float32"), volume, checked=True)
    masks = [session.predict().mask]
    rng = np.random.default_rng(1)
    for _ in range(8):
        at = tuple(rng.integers((10, 18, 16), (30, 42, 48)))
        masks.append(session.add_click(ras(volume, at), bool(rng.random() < 0.5)).mask)
    assert len(session._states) == 4
    for mask in reversed(masks[:-1]):
        np.testing.assert_array_equal(session.undo().mask, mask)


def test_what_is_refused_or_cancelled_changes_nothing() -> None:
    volume = scan()
    session = Session(Predictor(threshold_model(), "cpu", "float32"), volume, checked=True)
    before = session.add_click(ras(volume, (18, 28, 26)), True).mask
    clicks = session.clicks
    with pytest.raises(InputError, match="outside"):
        session.add_click((9000.0, 0.0, 0.0), True)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        session.predict((*clicks, Click(ras(volume, (20, 40, 30)), True)), cancel=token)
    assert session.clicks == clicks
    np.testing.assert_array_equal(session.redo().mask, before)
    session.undo()
    assert session.clicks == ()


class TestSatisfiedClicks:
    """On any grid, without a network."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.tuples(*[st.floats(-0.49, 11.49)] * 3), st.booleans()),
            max_size=8,
        ),
        st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (2.0, 2.0, 3.0), (6.0, 6.0, 6.0)]),
        st.integers(0, 3),
    )
    def test_all_are_and_nothing_far_changes(self, marks, spacing, seed) -> None:
        matrix = placed(spacing, (3.0, -7.0, 11.0))
        mask = (np.random.default_rng(seed).random((12, 12, 12)) < seed / 3).astype(np.uint8)
        original = mask.copy()
        volume = Volume(mask, matrix)
        clicks = tuple(Click(ras(volume, at), inside) for at, inside in marks)
        result = satisfy_clicks(mask, volume.grid, clicks)
        np.testing.assert_array_equal(mask, original)
        assert_satisfied(result, volume, clicks)
        for at in np.argwhere(result != mask):
            where = ras(volume, tuple(at))
            own = {voxel(volume, click) for click in clicks}
            assert tuple(at) in own or any(
                math.dist(where, click.position_ras) <= BALL_MM
                and click.inside == bool(result[tuple(at)])
                for click in clicks
            )

    def test_a_mask_that_agrees_is_returned_as_it_is(self) -> None:
        mask = np.zeros((4, 5, 6), np.uint8)
        mask[2, 2, 2] = 1
        clicks = [Click((2.0, 2.0, 2.0), True), Click((0.0, 0.0, 0.0), False)]
        assert satisfy_clicks(mask, Grid(mask.shape, np.eye(4)), clicks) is mask
        assert (
            satisfy_clicks(mask, Grid(mask.shape, np.eye(4)), [Click((90.0, 0.0, 0.0), True)])
            is mask
        )

    def test_a_ball_not_a_voxel(self) -> None:
        mask = np.zeros((20, 20, 20), np.uint8)
        result = satisfy_clicks(
            mask, Grid(mask.shape, np.eye(4)), [Click((10.0, 10.0, 10.0), True)]
        )
        assert result.sum() == pytest.approx(4 / 3 * math.pi * BALL_MM**3, rel=0.1)

    def test_opposite_clicks_share_the_space_between_them(self) -> None:
        mask = np.zeros((20, 20, 20), np.uint8)
        clicks = [Click((8.0, 10.0, 10.0), True), Click((10.0, 10.0, 10.0), False)]
        result = satisfy_clicks(mask, Grid(mask.shape, np.eye(4)), clicks)
        assert result[10, 10, 8] == 1
        assert result[10, 10, 10] == 0
        assert result.sum() < 10


def test_windows_line_up_with_the_coarse_maps_and_hold_the_click() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = tuple(int(n) * 8 for n in rng.integers(2, 20, 3))
        grid = Grid(sizes, placed((2.0, 2.0, 3.0), (0.0, 0.0, 0.0)))
        at = rng.uniform(-30, 30, 3) + rng.random(3) * sizes
        click = Click(tuple((grid.ijk_to_ras @ (*at[::-1], 1.0))[:3]), True)
        for part, centre, size in zip(window_around(click, grid), at, sizes, strict=True):
            assert part.start % 8 == 0
            assert (part.stop - part.start) % 16 == 0
            assert part.stop - part.start <= max(size, 16)
            assert part.start + 3 <= centre <= part.stop - 4 or part.stop - part.start == 16
