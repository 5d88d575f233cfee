"""A model of several targets: an organ and the lesion that is part of it, or two side by side."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import InputError, ModelError
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import ModelCard, Target, WeightsFile
from threshold_model import (
    BRIGHT_HU,
    LESION_HU,
    axial_scan,
    threshold_model,
    two_target_model,
    with_lesion,
)

WEIGHTS = WeightsFile("weights.safetensors", "0" * 64, 1)


@pytest.fixture(scope="module")
def scan() -> tuple[Volume, np.ndarray]:
    volume, organ = axial_scan((3.0, 3.0, 4.0))
    return with_lesion(volume, organ), organ


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(two_target_model(), "cpu")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


# The card


def test_a_card_of_one_target_stays_as_it_was() -> None:
    card = threshold_model().card.with_weights(WEIGHTS)
    assert "targets" not in json.loads(card.to_json())
    assert ModelCard.from_json(card.to_json()).target_labels == (card.target_label,)
    assert card.channels_of(card.target_label) == (1,)


def test_a_card_says_its_targets_and_which_is_part_of_which() -> None:
    card = two_target_model().card.with_weights(WEIGHTS)
    read = ModelCard.from_json(card.to_json())
    assert read == card
    liver, tumour = read.target_labels
    assert (liver.name, tumour.name) == ("liver", "tumour")
    assert read.channels_of(liver) == (1, 2)
    assert read.channels_of(tumour) == (2,)
    assert read.part_of(tumour) == "liver"
    assert tumour.terminology is not None
    beside = two_target_model(beside=True).card
    assert beside.channels_of(liver) == (1,)


@pytest.mark.parametrize(
    "targets",
    [
        ("tumour", "liver"),
        ("liver", "spleen"),
        ("liver", "liver"),
        (Target("liver"), Target("tumour", "spleen")),
        (Target("liver", "tumour"), Target("tumour", "liver")),
    ],
)
def test_targets_that_make_no_sense_are_refused(targets: tuple[object, ...]) -> None:
    made = tuple(Target(one) if isinstance(one, str) else one for one in targets)
    with pytest.raises(ModelError, match="target"):
        dataclasses.replace(two_target_model().card, targets=made)


def test_a_network_that_was_shown_clicks_in_another_way_is_refused() -> None:
    content = json.loads(two_target_model().card.with_weights(WEIGHTS).to_json())
    assert "clicks" not in content  # as today's cards
    same = {**content, "clicks": {"kind": "gaussian", "width_mm": 5}}
    assert ModelCard.from_json(json.dumps(same)).target == "liver"
    for other in ({"kind": "ball"}, {"width_mm": 3}):
        with pytest.raises(ModelError, match="draws them as gaussian of 5 mm"):
            ModelCard.from_json(json.dumps({**content, "clicks": other}))


# The prediction


def test_each_target_has_a_prediction_and_the_part_lies_in_the_whole(
    predictor: Predictor, scan: tuple[Volume, np.ndarray]
) -> None:
    volume, _ = scan
    liver = predictor.predict(volume)
    (tumour,) = liver.others
    assert [one.target for one in liver.targets] == ["liver", "tumour"]
    assert dice(liver.mask != 0, volume.array >= BRIGHT_HU) > 0.9
    assert dice(tumour.mask != 0, volume.array == LESION_HU) > 0.85
    assert not ((tumour.mask != 0) & (liver.mask == 0)).any()
    assert tumour.part_of == "liver"
    assert 0 < tumour.volume_ml < liver.volume_ml
    assert tumour.levels == liver.levels
    assert tumour.probability().shape == volume.array.shape


def test_what_lies_beside_is_not_in_the_other(scan: tuple[Volume, np.ndarray]) -> None:
    volume, _ = scan
    liver = Predictor(two_target_model(beside=True), "cpu").predict(volume)
    (tumour,) = liver.others
    assert not ((tumour.mask != 0) & (liver.mask != 0)).any()
    assert dice(tumour.mask != 0, volume.array == LESION_HU) > 0.85


def test_all_targets_come_from_one_pass_of_the_network(scan: tuple[Volume, np.ndarray]) -> None:
    model = two_target_model()
    Predictor(model, "cpu").predict(scan[0])
    assert len(model.networks["refiner"].passes) == 1


def test_a_scan_without_a_lesion_has_none_and_an_empty_scan_has_neither(
    predictor: Predictor,
) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    liver = predictor.predict(volume)
    assert liver.found
    assert not liver.others[0].found
    dark = volume.with_array(np.minimum(volume.array, 40))
    nothing = predictor.predict(dark)
    assert not nothing.found
    assert not nothing.others[0].found


# Clicks


def test_a_click_changes_its_own_target_only(
    predictor: Predictor, scan: tuple[Volume, np.ndarray]
) -> None:
    volume, organ = scan
    session = Session(predictor, volume)
    before = session.predict()
    beside = tuple(organ + np.array([25.0, 0.0, 0.0]))
    after = session.predict([Click(beside, True, "tumour")])
    voxel = volume.grid.voxel_of(beside)
    assert before.others[0].mask[voxel] == 0
    assert after.others[0].mask[voxel] == 1
    assert after.others[0].clicks == (Click(beside, True, "tumour"),)
    assert after.clicks == ()
    np.testing.assert_array_equal(after.mask, before.mask)
    outside = session.predict([Click(tuple(organ), False, "liver")])
    assert outside.mask[volume.grid.voxel_of(organ)] == 0
    np.testing.assert_array_equal(outside.others[0].mask, before.others[0].mask)
    again = session.predict([Click(beside, True, "tumour")])
    np.testing.assert_array_equal(again.others[0].mask, after.others[0].mask)


def test_a_click_about_what_the_model_does_not_have_is_refused(
    predictor: Predictor, scan: tuple[Volume, np.ndarray]
) -> None:
    with pytest.raises(InputError, match="'spleen', which is none of the targets: liver, tumour"):
        predictor.predict(scan[0], [Click(tuple(scan[1]), True, "spleen")])


def test_a_mask_to_begin_from_may_show_any_target(
    predictor: Predictor, scan: tuple[Volume, np.ndarray]
) -> None:
    volume, _ = scan
    tumour = predictor.card.target_labels[1]
    start = (volume.array == LESION_HU).astype(np.uint8)
    start[3:6, 3:6, 3:6] = 1
    session = Session(predictor, volume, start=start, start_label=tumour)
    prediction = session.predict()
    assert prediction.target == "tumour"
    assert not prediction.others
    np.testing.assert_array_equal(prediction.mask, start)
    r, a, s = volume.grid.position_of((4, 4, 4))
    mended = session.predict([Click((float(r), float(a), float(s)), False, "tumour")]).mask
    assert not mended[3:6, 3:6, 3:6].any()
    np.testing.assert_array_equal(mended.astype(bool), volume.array == LESION_HU)
    with pytest.raises(InputError, match="none of the targets"):
        session.predict([Click((float(r), float(a), float(s)), False, "liver")])


def test_the_first_click_alone_looks_for_all_targets_around_it(
    predictor: Predictor, scan: tuple[Volume, np.ndarray]
) -> None:
    volume, organ = scan
    session = Session(predictor, volume)
    prediction = session.predict([Click(tuple(organ), True)], automatic=False)
    assert prediction.found
    assert dice(prediction.others[0].mask != 0, volume.array == LESION_HU) > 0.85


def test_a_click_may_be_written_with_its_target() -> None:
    assert Click.parse("1,2,3,+,tumour") == Click((1.0, 2.0, 3.0), True, "tumour")
    with pytest.raises(InputError, match="no click"):
        Click.parse("1,2,3,+,tumour,more")


def test_who_mends_a_mask_gets_that_target_alone(
    predictor: Predictor, scan: tuple[Volume, np.ndarray]
) -> None:
    volume, _ = scan
    start = (volume.array >= BRIGHT_HU).astype(np.uint8)
    assert predictor.predict(volume, start=start).others == ()
