"""Any structure: begun by a click where the model has no label, and mended like all else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.grid import Grid, Region, box_corners
from AttentionUNetSegmentLib.inference import (
    Click,
    Lasso,
    Predictor,
    Scribble,
    Volume,
    known_organs,
    predictor_cache,
)
from AttentionUNetSegmentLib.inference.clicks import BALL_MM
from AttentionUNetSegmentLib.inference.known_organs import LEAST_PROBABILITY, _product
from AttentionUNetSegmentLib.inference.predictor_cache import PredictorCache, PredictorOptions
from AttentionUNetSegmentLib.inference.region_of_interest import region_of_box
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.inference.structures import EXPERIMENTAL, structure_label
from AttentionUNetSegmentLib.models import EDITOR, Model
from AttentionUNetSegmentLib.models.terminology import TISSUE, make_label
from AttentionUNetSegmentLib.networks import build_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threshold_model import (
    BRIGHT_HU,
    LESION_HU,
    STRUCTURE_HU,
    axial_scan,
    liver_and_spleen_model,
    save_card_of,
    threshold_model,
    with_ball,
    with_structure_editor,
)

SPACING = (3.0, 3.0, 4.0)
RADIUS_MM = 16.0
AWAY = np.array([-70.0, 0.0, 30.0])  # from the organ to the first ball
FURTHER = AWAY + np.array([0.0, 0.0, 60.0])  # to the second


@pytest.fixture(scope="module")
def organ_ras() -> np.ndarray:
    return axial_scan(SPACING)[1]


@pytest.fixture(scope="module")
def scan(organ_ras: np.ndarray) -> Volume:
    """An organ, and two balls of which the model knows nothing."""
    volume = axial_scan(SPACING)[0]
    for away in (AWAY, FURTHER):
        volume = with_ball(volume, organ_ras + away, RADIUS_MM, STRUCTURE_HU)
    return volume


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(with_structure_editor(threshold_model()), "cpu")


def ball(scan: Volume, centre_ras: np.ndarray) -> np.ndarray:
    """Where one of the balls lies."""
    nothing = scan.with_array(np.zeros_like(scan.array))
    return with_ball(nothing, centre_ras, RADIUS_MM, 1).array == 1


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (mask.astype(bool) & truth).sum() / (mask.sum() + truth.sum()))


def test_a_click_inside_begins_it_and_no_other_network_looks(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "run_refiner", None)  # would fail if they were run
    monkeypatch.setattr(Predictor, "run_locator", None)
    session = Session(predictor, scan, structure="cyst")
    update = session.add_click(organ_ras + AWAY, inside=True)
    assert dice(update.mask, ball(scan, organ_ras + AWAY)) > 0.85
    assert not (update.mask.astype(bool) & ball(scan, organ_ras + FURTHER)).any()
    prediction = update.prediction
    assert prediction.target == "cyst"
    assert prediction.any_structure
    assert prediction.place == "clicks"
    assert EXPERIMENTAL in prediction.warnings


def test_it_has_no_attention_and_nothing_that_is_known_of_the_target_alone(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    click = Click(tuple(organ_ras + AWAY), True)
    for start in (None, ball(scan, organ_ras + AWAY)):
        # Named as the target is, it is none the more that.
        session = Session(predictor, scan, structure="pancreas", start=start)
        prediction = session.predict([click], automatic=False)
        assert prediction.levels == 0
        assert prediction.attention_maps == ()
        assert prediction.attention_in_organ == prediction.attention_around_organ == ()
        assert prediction.dice_estimate is None
        assert prediction.doubtful_places == ()
        assert prediction.others == ()
        assert prediction.warnings[-1] == EXPERIMENTAL
        assert prediction.place == ("clicks" if start is None else "mask")
        probability = prediction.probability()
        assert probability.shape == scan.array.shape
        assert (probability[prediction.mask != 0] > 0.5).mean() > 0.9


def test_a_later_click_far_away_adds_to_it_and_takes_nothing_else(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    session = Session(predictor, scan, structure="cysts")
    first = session.add_click(organ_ras + AWAY, inside=True).mask
    both = session.add_click(organ_ras + FURTHER, inside=True).mask
    truth = ball(scan, organ_ras + AWAY) | ball(scan, organ_ras + FURTHER)
    assert dice(both, truth) > 0.85
    assert not (first.astype(bool) & ~both.astype(bool)).any()
    one = session.add_click(organ_ras + FURTHER, inside=False).mask
    assert not (one.astype(bool) & ball(scan, organ_ras + FURTHER)).any()
    np.testing.assert_array_equal(one[first != 0], 1)


def test_undo_and_redo_are_exact_down_to_nothing(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    session = Session(predictor, scan, structure="cyst")
    first = session.add_click(organ_ras + AWAY, inside=True).mask
    second = session.add_click(organ_ras + FURTHER, inside=True).mask
    np.testing.assert_array_equal(session.undo().mask, first)
    empty = session.undo()
    assert not empty.mask.any()
    assert not empty.prediction.found
    assert empty.prediction.place is None
    np.testing.assert_array_equal(session.redo().mask, first)
    np.testing.assert_array_equal(session.redo().mask, second)
    assert not session.reset().mask.any()


def test_scribbles_lassos_and_boxes_work_as_ever(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    centre = organ_ras + AWAY
    line = Scribble((tuple(centre - (10, 0, 0)), tuple(centre - (2, 0, 0))), True)
    mask = predictor.predict(scan, [line], structure="cyst").mask
    assert dice(mask, ball(scan, centre)) > 0.85
    # One that was drawn before the first click holds, too.
    half = Lasso.box(centre - 40, centre + np.array([0, 40, 40]))
    for prompts in ([half, line], [line, half]):
        cut = predictor.predict(scan, prompts, structure="cyst").mask.astype(bool)
        r = scan.grid.position_of(np.argwhere(cut)[:, ::-1])[:, 0]
        assert r.max() <= centre[0]
        assert cut.sum() > 0.4 * mask.sum()


def test_a_hole_in_it_stays(organ_ras: np.ndarray, predictor: Predictor) -> None:
    centre = organ_ras + AWAY
    shell = with_ball(axial_scan(SPACING)[0], centre, 22, STRUCTURE_HU)
    shell = with_ball(shell, centre, 12, 0)
    update = Session(predictor, shell, structure="cyst wall").add_click(
        centre + np.array([17.0, 0.0, 0.0]), True
    )
    assert dice(update.mask, shell.array == STRUCTURE_HU) > 0.8
    assert not (update.mask.astype(bool) & (shell.array == 0)).sum() > 50


def test_only_where_it_is_begun_anything_is_computed(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    inside = Click(tuple(organ_ras + AWAY), True)
    far = Click(tuple(organ_ras + 60), False)
    around = Lasso.box(organ_ras - 400, organ_ras + 400)
    alone = predictor.predict(scan, [inside], structure="cyst")
    after = predictor.predict(scan, [far, around, inside], structure="cyst")
    assert after.region == alone.region
    np.testing.assert_array_equal(after.mask, alone.mask)


def test_a_mask_of_anything_is_mended(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    truth = ball(scan, organ_ras + AWAY)
    start = truth.copy()
    start[: np.argwhere(truth)[:, 0].mean().astype(int)] = False
    session = Session(predictor, scan, structure="cyst", start=start)
    np.testing.assert_array_equal(session.predict().mask.astype(bool), start)
    missing = np.argwhere(truth & ~start)
    k, j, i = missing[len(missing) // 2]
    update = session.add_click(scan.grid.position_of((i, j, k)), inside=True)
    assert not (start & (update.mask == 0)).any()
    assert dice(update.mask, truth) > 0.85
    np.testing.assert_array_equal(session.undo().mask.astype(bool), start)
    # It may be mended by taking away alone.
    k, j, i = np.argwhere(start).mean(axis=0).round().astype(int)
    assert not session.add_click(scan.grid.position_of((i, j, k)), inside=False).mask.any()


def test_nothing_is_begun_without_a_click_inside(scan: Volume, predictor: Predictor) -> None:
    outside = Click((0.0, 0.0, -800.0), False)
    for clicks in ([], [outside]):
        with pytest.raises(InputError, match="click or draw a line inside it first"):
            predictor.predict(scan, clicks, structure="cyst")
    session = Session(predictor, scan, structure="cyst")
    with pytest.raises(InputError, match="click or draw a line inside it first"):
        session.add_click(outside.position_ras, inside=False)
    assert session.clicks == ()


def test_the_click_that_began_it_may_be_taken_away(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor
) -> None:
    session = Session(predictor, scan, structure="cyst")
    session.add_click(organ_ras + AWAY, inside=True)
    session.add_click(organ_ras + AWAY + (RADIUS_MM + 8, 0, 0), inside=False)
    assert not session.remove_click(0).mask.any()


def test_a_name_that_the_table_has_gets_its_code_and_any_other_is_a_tissue() -> None:
    assert structure_label("duodenum") == make_label(1, "duodenum")
    assert structure_label(" left   kidney").name == "left kidney"
    assert structure_label("cyst").terminology == TISSUE


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_name_that_is_none_is_refused(scan: Volume, predictor: Predictor, name: str) -> None:
    with pytest.raises(InputError, match="is no name for a structure"):
        Session(predictor, scan, structure=name)


def test_a_model_without_such_an_editor_refuses(scan: Volume) -> None:
    model = threshold_model()
    editor = with_structure_editor(model).card.editor
    assert editor is not None
    for_target = replace(model.card, editor=replace(editor, answers=("target",)))
    for card in (model.card, for_target):
        networks = {**model.networks, EDITOR: torch.nn.Identity()}
        with pytest.raises(InputError, match="answers clicks at the pancreas alone"):
            Session(Predictor(Model(card, networks, model.folder)), scan, structure="cyst")


def test_clicks_at_the_target_do_not_ask_that_editor(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = [Click(tuple(organ_ras), True), Click(tuple(organ_ras + 20), False)]
    plain = Predictor(threshold_model(), "cpu").predict(scan, clicks)
    monkeypatch.setattr(Predictor, "run_editor", None)  # would fail if it were run
    np.testing.assert_array_equal(predictor.predict(scan, clicks).mask, plain.mask)


# What the networks know


SPLEEN_RADIUS_MM = 24.0


@pytest.fixture(scope="module")
def knowing_predictor() -> Predictor:
    return Predictor(liver_and_spleen_model(), "cpu")


@pytest.fixture(scope="module")
def spleen_scan(scan: Volume, organ_ras: np.ndarray) -> Volume:
    away = np.array([70.0, 20.0, 20.0])
    return with_ball(scan, organ_ras + away, SPLEEN_RADIUS_MM, LESION_HU)


@pytest.fixture(scope="module")
def spleen(spleen_scan: Volume) -> np.ndarray:
    return spleen_scan.array == LESION_HU


@pytest.mark.parametrize("name", ["spleen", " Spleen "])
def test_what_the_networks_have_a_label_for_is_looked_for(
    spleen_scan: Volume, spleen: np.ndarray, knowing_predictor: Predictor, name: str
) -> None:
    prediction = knowing_predictor.predict(spleen_scan, structure=name)
    assert dice(prediction.mask, spleen) > 0.85
    assert prediction.any_structure
    assert prediction.place == "located"
    assert prediction.attention_maps == ()
    assert prediction.dice_estimate is None
    assert "know the spleen only as what lies around the liver" in prediction.warnings[-1]
    assert EXPERIMENTAL not in prediction.warnings


def test_clicks_at_what_was_found_mend_their_surroundings_and_do_not_ask_the_editor(
    spleen_scan: Volume,
    organ_ras: np.ndarray,
    spleen: np.ndarray,
    knowing_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = Session(knowing_predictor, spleen_scan, structure="spleen")
    found = session.predict().mask
    k, j, i = np.argwhere(spleen).mean(axis=0).round().astype(int)
    position = spleen_scan.grid.position_of((i, j, k))
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "run_editor", None)  # would fail if one of them were run
        patch.setattr(Predictor, "run_refiner", None)
        beside = session.add_click(position + np.array([SPLEEN_RADIUS_MM + 6, 0, 0]), True).mask
        less = session.add_click(position, inside=False).mask
    assert ((beside != found) & (found != 0)).sum() == 0
    assert 0 < (beside != found).sum() * spleen_scan.voxel_volume_ml < 10
    assert less[k, j, i] == 0
    assert less.sum() > 0.7 * beside.sum()
    # Beyond what was looked at nothing is known, and the editor begins there.
    far = organ_ras + AWAY
    both = session.add_click(far, inside=True).mask
    assert dice(both & ~less, ball(spleen_scan, far)) > 0.8
    for mask in (less, beside, found):
        np.testing.assert_array_equal(session.undo().mask, mask)
    np.testing.assert_array_equal(session.reset().mask, found)
    afresh = Session(knowing_predictor, spleen_scan, structure="spleen")
    session.redo()
    np.testing.assert_array_equal(afresh.predict(session.clicks).mask, session.undo().mask)


def test_where_the_networks_disagree_the_locators_word_counts_and_it_is_said(
    spleen_scan: Volume,
    spleen: np.ndarray,
    knowing_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = Predictor.run_all_labels

    def elsewhere(*arguments: Any) -> torch.Tensor:
        return plain(*arguments).roll(24, dims=-1)

    monkeypatch.setattr(Predictor, "run_all_labels", elsewhere)
    prediction = knowing_predictor.predict(spleen_scan, structure="spleen")
    assert dice(prediction.mask, spleen) > 0.7  # of 6 mm
    said = "disagree about the spleen: its outline is that of the one that sees 6 mm"
    assert any(said in text for text in prediction.warnings)


def test_for_further_organs_of_a_scan_the_locator_is_not_run_again(
    spleen_scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = with_ball(spleen_scan, spleen_scan.grid.bounds.centre_ras, 20, LESION_HU)
    predictor, runs = Predictor(liver_and_spleen_model(), "cpu"), []
    plain = Predictor.run_locator

    def counted(*arguments: Any) -> torch.Tensor:
        runs.append(1)
        return plain(*arguments)

    monkeypatch.setattr(Predictor, "run_locator", counted)
    first = predictor.predict(spleen_scan, structure="spleen").mask
    # It is known by what the network sees, not by the object that holds it.
    same = Volume(spleen_scan.array.copy(), spleen_scan.ijk_to_ras.copy())
    again = predictor.predict(same, structure="spleen").mask
    assert len(runs) == 1
    np.testing.assert_array_equal(again, first)
    other = predictor.predict(volume, structure="spleen").mask
    assert len(runs) == 2
    assert (other != first).any()
    monkeypatch.setattr(known_organs, "MOST_KEPT_BYTES", 0)
    for count in (3, 4):
        back = predictor.predict(spleen_scan, structure="spleen").mask
        assert len(runs) == count
        np.testing.assert_array_equal(back, first)
    assert predictor.located is None


def test_what_the_locator_said_is_forgotten_with_the_scans(
    spleen_scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(liver_and_spleen_model(), "cpu")
    monkeypatch.setattr(predictor_cache, "load_predictor", lambda _options: predictor)
    cache, folder = PredictorCache(), save_card_of(predictor.model, tmp_path / "liver")
    label = structure_label("spleen")
    with cache.session(PredictorOptions(folder), spleen_scan, "scan", structure=label) as session:
        session.predict()
    assert predictor.located is not None
    cache.forget_scans()
    assert predictor.located is None


def test_what_is_not_found_begins_with_a_click(
    scan: Volume, organ_ras: np.ndarray, knowing_predictor: Predictor
) -> None:
    session = Session(knowing_predictor, scan, structure="spleen")
    nothing = session.predict()
    assert not nothing.found
    assert "The spleen was not found in this scan; click inside it." in nothing.warnings
    update = session.add_click(organ_ras + AWAY, inside=True)
    assert dice(update.mask, ball(scan, organ_ras + AWAY)) > 0.85
    assert EXPERIMENTAL in update.prediction.warnings


@pytest.mark.parametrize(
    ("radius_mm", "sure"), [(12.0, 1.0), (SPLEEN_RADIUS_MM, 0.6), (SPLEEN_RADIUS_MM, 1.0)]
)
def test_too_little_or_nothing_clear_is_not_found(
    scan: Volume,
    organ_ras: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    radius_mm: float,
    sure: float,
) -> None:
    volume = with_ball(scan, organ_ras + np.array([70.0, 20.0, 20.0]), radius_mm, LESION_HU)
    for name in ("run_locator", "run_all_labels"):
        plain = getattr(Predictor, name)

        def less_sure(*arguments: Any, plain: Any = plain) -> torch.Tensor:
            probabilities = plain(*arguments)
            return sure * probabilities + (1 - sure) / probabilities.shape[1]

        monkeypatch.setattr(Predictor, name, less_sure)
    predictor = Predictor(liver_and_spleen_model(), "cpu")
    found = predictor.predict(volume, structure="spleen").found
    assert found == (radius_mm == SPLEEN_RADIUS_MM and sure == 1)


def test_by_clicks_alone_it_is_not_looked_for(
    spleen_scan: Volume,
    organ_ras: np.ndarray,
    knowing_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Predictor, "run_locator", None)  # would fail if it were run
    session = Session(knowing_predictor, spleen_scan, structure="spleen")
    update = session.add_click(organ_ras + AWAY, inside=True)
    assert update.prediction.place == "clicks"
    with pytest.raises(InputError, match="inside it first"):
        Session(knowing_predictor, spleen_scan, structure="spleen").add_click(organ_ras, False)
    start = ball(spleen_scan, organ_ras + AWAY)
    begun = knowing_predictor.predict(spleen_scan, structure="spleen", start=start)
    np.testing.assert_array_equal(begun.mask != 0, start)


def test_named_as_the_target_it_begins_as_the_target(scan: Volume, predictor: Predictor) -> None:
    named = predictor.predict(scan, structure="Pancreas")
    np.testing.assert_array_equal(named.mask, predictor.predict(scan).mask)
    assert named.found
    assert "clicks at the pancreas are answered more simply" in named.warnings[-1]
    without = scan.with_array(np.where(scan.array == BRIGHT_HU, 40, scan.array))
    nothing = predictor.predict(without, structure="pancreas")
    assert not nothing.found
    assert "The pancreas was not found in this scan; click inside it." in nothing.warnings


# In a region of interest


def box_of(volume: Volume, low_ras: np.ndarray, high_ras: np.ndarray) -> Region:
    return region_of_box(volume, box_corners(low_ras, high_ras))


def outside_of(mask: np.ndarray, region: Region) -> np.ndarray:
    """The mask without what is in a box."""
    rest = mask.copy()
    rest[region] = 0
    return rest


@pytest.fixture(scope="module")
def spleen_ras(organ_ras: np.ndarray) -> np.ndarray:
    return organ_ras + np.array([70.0, 20.0, 20.0])


@pytest.fixture(scope="module")
def upper_half(spleen_scan: Volume, spleen_ras: np.ndarray) -> Region:
    """A box that the middle of the spleen is the lower end of."""
    return box_of(spleen_scan, spleen_ras - [45, 45, 0], spleen_ras + 45)


def test_it_is_looked_for_and_drawn_in_the_region_alone(
    spleen_scan: Volume,
    spleen: np.ndarray,
    upper_half: Region,
    knowing_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = knowing_predictor.predict(spleen_scan, structure="spleen").mask
    seen = []
    plain = Predictor.run_all_labels

    def noted(*arguments: Any) -> torch.Tensor:
        seen.append(arguments[2].shape[2:])
        return plain(*arguments)

    monkeypatch.setattr(Predictor, "run_all_labels", noted)
    session = Session(knowing_predictor, spleen_scan, structure="spleen", interest=upper_half)
    prediction = session.predict()
    assert not outside_of(prediction.mask, upper_half).any()
    part = prediction.mask[upper_half]
    assert dice(part, spleen[upper_half]) > 0.85
    assert dice(part, whole[upper_half] == 1) > 0.97
    assert prediction.place == "located"
    (cut,) = [text for text in prediction.warnings if "edge of the region of interest" in text]
    assert cut.startswith("The spleen")
    assert "(feet)" in cut
    # The networks are shown what is around it.
    (shape,) = seen
    spacing_mm = knowing_predictor.card.stages["refiner"].spacing_mm
    assert (np.array(shape[::-1]) * spacing_mm >= 180).all()


def test_clicks_at_it_change_nothing_outside_of_the_region_and_none_is_there(
    spleen_scan: Volume,
    spleen_ras: np.ndarray,
    organ_ras: np.ndarray,
    upper_half: Region,
    knowing_predictor: Predictor,
) -> None:
    session = Session(knowing_predictor, spleen_scan, structure="spleen", interest=upper_half)
    before = session.predict().mask
    with pytest.raises(InputError, match="A click lies outside the region of interest"):
        session.add_click(spleen_ras - [0, 0, 10], True)
    assert session.clicks == ()
    at_its_edge = spleen_ras + np.array([SPLEEN_RADIUS_MM + 9, 0, 1])
    after = session.add_click(at_its_edge, True).mask
    assert after.sum() > before.sum()
    assert after[spleen_scan.grid.voxel_of(at_its_edge)]
    away = session.add_click(
        at_its_edge + np.array([0, 0, 40]), True
    ).mask  # which the editor answers
    for mask in (after, away):
        assert not outside_of(mask, upper_half).any()
    np.testing.assert_array_equal(session.undo().mask, after)


def test_of_two_places_that_in_the_region_is_found(
    spleen_scan: Volume, organ_ras: np.ndarray, spleen_ras: np.ndarray, knowing_predictor: Predictor
) -> None:
    other = organ_ras + np.array([-60.0, 0.0, -60.0])
    volume = with_ball(spleen_scan, other, SPLEEN_RADIUS_MM + 4, LESION_HU)
    for centre, radius_mm in ((other, SPLEEN_RADIUS_MM + 4), (spleen_ras, SPLEEN_RADIUS_MM)):
        region = box_of(volume, centre - 40, centre + 40)
        session = Session(knowing_predictor, volume, structure="spleen", interest=region)
        prediction = session.predict()
        nothing = volume.with_array(np.zeros_like(volume.array))
        assert dice(prediction.mask, with_ball(nothing, centre, radius_mm, 1).array == 1) > 0.85
        assert prediction.pieces == 1
        assert not any("edge of the region" in text for text in prediction.warnings)


@pytest.mark.parametrize("name", ["spleen", "liver"])
def test_what_is_not_in_the_region_is_not_found_and_begins_there_with_a_click(
    spleen_scan: Volume, organ_ras: np.ndarray, knowing_predictor: Predictor, name: str
) -> None:
    centre = organ_ras + AWAY
    region = box_of(spleen_scan, centre - 40, centre + np.array([20, 40, 8]))  # ends in the ball
    session = Session(knowing_predictor, spleen_scan, structure=name, interest=region)
    nothing = session.predict()
    assert not nothing.found
    (said,) = [text for text in nothing.warnings if "was not found" in text]
    assert said == (
        f"The {name} was not found in the region of interest; click inside it, or enlarge the "
        "region."
    )
    update = session.add_click(centre, inside=True)
    assert update.prediction.place == "clicks"
    truth = ball(spleen_scan, centre)
    assert dice(update.mask[region], truth[region]) > 0.85
    assert not outside_of(update.mask, region).any()
    assert outside_of(truth, region).any()
    with pytest.raises(InputError, match="outside the region of interest"):
        session.add_click(organ_ras + FURTHER, True)
    assert not any("edge of the region" in text for text in update.prediction.warnings)


def test_the_target_named_as_a_structure_is_looked_for_in_the_region(
    scan: Volume, organ_ras: np.ndarray, knowing_predictor: Predictor
) -> None:
    region = box_of(scan, organ_ras - [60, 40, 40], organ_ras + np.array([0, 40, 40]))
    named, target = (
        Session(knowing_predictor, scan, structure=name, interest=region).predict()
        for name in ("liver", None)
    )
    np.testing.assert_array_equal(named.mask, target.mask)
    assert 0 < named.mask.sum() < 0.7 * (scan.array == BRIGHT_HU).sum()


def test_a_model_without_a_locator_looks_for_nothing(scan: Volume, predictor: Predictor) -> None:
    card = predictor.card
    alone = replace(card, stages={"refiner": card.stages["refiner"]})
    networks = {name: one for name, one in predictor.model.networks.items() if name != "locator"}
    with pytest.raises(InputError, match="click or draw a line inside it first"):
        Predictor(Model(alone, networks, predictor.model.folder), "cpu").predict(
            scan, structure="pancreas"
        )


def test_both_networks_probabilities_are_multiplied() -> None:
    rng = np.random.default_rng(0)
    grid = Grid((4, 5, 6), np.diag([2.0, 2.0, 3.0, 1.0]))
    located, refined = (rng.dirichlet(np.full(3, 0.3), (4, 5, 6)) for _ in range(2))
    as_maps = [torch.from_numpy(np.moveaxis(one, -1, 0)[None]) for one in (located, refined)]
    found = _product(as_maps[0], grid, as_maps[1], grid, 1)[0, 0].numpy()
    both = [np.maximum(one, LEAST_PROBABILITY) for one in (located, refined)]
    logs = (np.log(both[0]) + np.log(both[1])) / 2
    expected = np.exp(logs[..., 1]) / np.exp(logs).sum(axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# Whatever the network answers


def test_what_is_larger_than_a_window_is_looked_at_in_a_wider_one(predictor: Predictor) -> None:
    scan = axial_scan((4.0, 4.0, 4.0))[0]
    array = np.where(scan.array == BRIGHT_HU, 20, scan.array)
    array[8:52, 8:52, 8:52] = STRUCTURE_HU  # 176 mm, where a window has 96
    array[28:32, 36:40, 28:32] = 20
    cube = scan.with_array(array)
    middle = cube.grid.position_of((30, 30, 30))
    update = Session(predictor, cube, structure="cube").add_click(middle, True)
    assert dice(update.mask, array == STRUCTURE_HU) > 0.9
    assert not update.mask[29:31, 37:39, 29:31].any(), "the narrow window's answer is kept inside"


def test_what_begins_is_no_larger_than_the_wider_look_says(
    scan: Volume, organ_ras: np.ndarray, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, ...]] = []

    def answer(_self: Predictor, inputs: torch.Tensor) -> torch.Tensor:
        """Near, all but the border; from further away 8 x 8 x 8 voxels of 4 x 4 x 6 mm."""
        shown.append(tuple(inputs.shape[2:]))
        here = torch.zeros_like(inputs[:, :1])
        k, j, i = (size // 2 for size in inputs.shape[2:])
        half = 4 if len(shown) == 2 else 15
        here[..., k - half : k + half, j - half : j + half, i - half : i + half] = 0.9
        return here

    monkeypatch.setattr(Predictor, "run_editor", answer)
    session = Session(predictor, scan, structure="cyst")
    mask = session.add_click(organ_ras + AWAY, inside=True).mask
    assert len(shown) == 2
    size_mm = (np.ptp(np.argwhere(mask), axis=0) + 1)[::-1] * SPACING
    np.testing.assert_allclose(size_mm, (32, 32, 48), atol=9)
    # Later clicks say what is missing.
    more = session.add_click(organ_ras + AWAY + np.array([20.0, 0.0, 0.0]), inside=True).mask
    assert len(shown) == 3
    assert more.sum() > 2 * mask.sum()


@pytest.fixture(scope="module")
def random_predictor() -> Predictor:
    """With an editor of the weights that it is born with: its answers are of any shape."""
    model = with_structure_editor(threshold_model())
    torch.manual_seed(3)
    assert model.card.editor is not None
    network = {**model.card.editor.network, "channels": [4, 4, 4]}
    return Predictor(
        Model(model.card, {**model.networks, EDITOR: build_network(network).eval()}, model.folder),
        "cpu",
    )


WIDE_REACH_MM = 96.0
"""Half of the editor's wide window."""
places = st.tuples(st.integers(5, 50), st.integers(15, 70), st.integers(15, 75))


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(places, st.booleans()), max_size=4), places, st.booleans())
def test_each_click_is_obeyed_changes_its_piece_alone_and_is_undone(
    scan: Volume, random_predictor: Predictor, later: list, first: tuple, begun: bool
) -> None:
    start = None
    if begun:
        start = np.zeros(scan.array.shape, bool)
        start[20:30, 30:45, 30:50] = True
    session = Session(random_predictor, scan, structure="any", start=start)
    before = session.predict(automatic=False).mask
    points = scan.grid.position_of(np.moveaxis(np.indices(scan.array.shape)[::-1], 0, -1))
    masks = [before]
    for (k, j, i), inside in [(first, True), *later]:
        position = scan.grid.position_of((i, j, k))
        mask = session.add_click(position, inside).mask
        assert bool(mask[k, j, i]) == inside
        changed = mask != before
        assert (mask[changed] == inside).all()
        far = np.abs(points - position).max(axis=-1) > WIDE_REACH_MM + BALL_MM + 2 * max(SPACING)
        assert not changed[far].any()
        masks.append(mask)
        before = mask
    afresh = Session(random_predictor, scan, structure="any", start=start)
    np.testing.assert_array_equal(afresh.predict(session.clicks).mask, before)
    for mask in reversed(masks[:-1]):
        np.testing.assert_array_equal(session.undo().mask, mask)
    for mask in masks[1:]:
        np.testing.assert_array_equal(session.redo().mask, mask)
