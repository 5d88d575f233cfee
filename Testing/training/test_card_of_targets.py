"""What the card of a trained model says of its targets, and how large they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib.datasets.cases import CaseFiles, DataSet, LabelledCase
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.models import Search, Target
from AttentionUNetSegmentLib.training import model_card
from geometry import placed

DATA = DataSet(
    "pairs",
    ("background", "liver", "tumour"),
    "liver",
    (CaseFiles("a", Path("a"), Path("b")),),
    part_of={"tumour": "liver"},
)


def case_of(extent: tuple[int, int, int], tumour: int = 2) -> LabelledCase:
    """A block of 10 mm voxels, with a tumour in its corner."""
    array = np.zeros((40, 45, 50), np.uint8)
    array[: extent[0], : extent[1], : extent[2]] = 1
    array[:tumour, :tumour, :tumour] = 2
    labels = Volume(array, placed((10.0, 10.0, 10.0), (0, 0, 0)))
    return LabelledCase("a", labels, labels, "scan", True)


def test_a_lesion_of_the_target_is_a_target_too() -> None:
    assert model_card.card_targets(DATA) == (Target("liver"), Target("tumour", "liver"))
    alone = dataclasses.replace(DATA, target="tumour")
    assert model_card.card_targets(alone) == ()


def test_what_was_learnt_from_says_how_large_the_target_is() -> None:
    search = model_card._search(DATA, [case_of((20, 20, 30)), case_of((25, 20, 20))])
    assert search.largest_box_mm[0] >= 1.2 * 300 + 2 * search.margin_mm[0]
    assert search.click_margin_mm[0] >= 180
    small = model_card._search(DATA, [case_of((1, 2, 4), tumour=1)])
    assert small.least_volume_ml == 2.0
    assert small.largest_box_mm == Search().largest_box_mm


def test_crops_say_nothing_of_sizes() -> None:
    crop = dataclasses.replace(case_of((30, 30, 40)), kind="region")
    assert model_card._search(DATA, [crop]) == Search()
