"""The sizes of an organ: the model's card says them, and nothing is cut without a word."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.inference import Predictor, Volume, coarse_to_fine
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.regions import find_clicks_box, find_organ_box
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import ModelCard, Search, WeightsFile
from geometry import placed
from threshold_model import BRIGHT_HU, threshold_model

GRID = Grid((60, 60, 80), placed((6.0, 6.0, 6.0), (0.0, 0.0, 0.0)))

CARD = threshold_model().card.with_weights(WeightsFile("weights.safetensors", "0" * 64, 1))


def balls(*places_mm: tuple[float, float, float, float]) -> np.ndarray:
    """Balls (R, A, S of the middle, radius) on the locator's grid."""
    points = np.indices(GRID.shape)[::-1] * 6.0
    found = np.zeros(GRID.shape, np.float32)
    for *middle, radius in places_mm:
        found[((points - np.reshape(middle, (3, 1, 1, 1))) ** 2).sum(0) < radius**2] = 1
    return found


def test_a_card_says_the_sizes_and_an_old_one_means_those_of_before() -> None:
    card = CARD
    assert "search" not in json.loads(card.to_json())
    assert ModelCard.from_json(card.to_json()).search == Search()
    gland = dataclasses.replace(
        card, search=Search(least_volume_ml=1, largest_box_mm=(400, 300, 300))
    )
    assert ModelCard.from_json(gland.to_json()).search == gland.search


@pytest.mark.parametrize(
    "wrong",
    [
        {"least_volume_ml": -1},
        {"margin_mm": [1, 2]},
        {"smallest_box_mm": [300, 100, 100]},
        {"largest": [1, 1, 1]},
        [],
    ],
)
def test_sizes_that_are_none_are_refused(wrong: object) -> None:
    content = json.loads(CARD.to_json())
    with pytest.raises(ModelError, match="search"):
        ModelCard.from_json(json.dumps({**content, "search": wrong}))


def test_the_least_volume_is_the_cards() -> None:
    small = balls((200, 180, 180, 12))  # 7 mL
    assert find_organ_box(small, GRID, Search(), []) is None
    assert find_organ_box(small, GRID, Search(least_volume_ml=3), []) is not None


def test_lone_clicks_are_given_the_cards_room() -> None:
    click = Click((100.0, 100.0, 100.0), True)
    box = find_clicks_box([click], Search(click_margin_mm=(10, 20, 30)))
    assert box is not None
    assert tuple(box.extent_mm) == (20, 40, 60)


def test_one_piece_is_never_cut_and_a_far_one_is_not_left_out_without_a_word() -> None:
    warnings: list[str] = []
    long = np.zeros(GRID.shape, np.float32)
    long[28:32, 28:32, 10:65] = 1  # 330 mm
    box = find_organ_box(long, GRID, Search(), warnings)
    assert box is not None
    assert box.low_ras[0] <= 57 - 24
    assert box.high_ras[0] >= 387 + 24
    assert warnings == []
    two = balls((60, 180, 180, 40), (400, 180, 180, 30))
    box = find_organ_box(two, GRID, Search(), warnings)
    assert box is not None
    assert box.high_ras[0] < 400
    assert [text for text in warnings if "second piece" in text]
    warnings.clear()
    wide = find_organ_box(two, GRID, Search(largest_box_mm=(450, 220, 260)), warnings)
    assert wide is not None
    assert wide.high_ras[0] > 430
    assert warnings == []


@pytest.fixture(scope="module")
def wide_organ() -> Volume:
    """350 mm from side to side."""
    shape = (50, 55, 105)
    hu = np.full(shape, 40, np.int16)
    hu[:2] = -1000  # the table
    points = np.indices(shape)[::-1] * 4.0 - np.reshape((208, 108, 98), (3, 1, 1, 1))
    axes = np.reshape((175.0, 30.0, 24.0), (3, 1, 1, 1))
    hu[((points / axes) ** 2).sum(0) < 1] = BRIGHT_HU
    return Volume(hu, placed((4.0, 4.0, 4.0), (0.0, 0.0, 0.0)))


def test_an_organ_wider_than_a_pancreas_is_segmented_whole(wide_organ: Volume) -> None:
    prediction = Predictor(threshold_model(organ="liver"), "cpu").predict(wide_organ)
    truth = wide_organ.array == BRIGHT_HU
    assert (prediction.mask[truth] != 0).mean() > 0.97
    assert not [text for text in prediction.warnings if "border" in text]


def test_an_organ_that_leaves_the_region_is_said_to(
    wide_organ: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse_to_fine, "GROWTH_MM", 4.0)
    predictor = Predictor(threshold_model(organ="liver"), "cpu")
    at = wide_organ.ijk_to_ras @ [52, 27, 24, 1]
    session = Session(predictor, wide_organ)
    prediction = session.add_click(at[:3], True).prediction
    assert [text for text in prediction.warnings if "liver reaches the border" in text]
