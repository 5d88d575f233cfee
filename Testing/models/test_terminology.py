"""Labels that are known have their codes and Slicer's colours, wherever a model comes from."""

from __future__ import annotations

from AttentionUNetSegmentLib.datasets.cases import DataSet
from AttentionUNetSegmentLib.models.terminology import PANCREAS, make_label
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.training.model_card import card_labels


def test_a_trained_model_s_labels_are_those_of_an_imported_one() -> None:
    names = ("background", "Liver", "cyst", "pancreas")
    labels = card_labels(DataSet("pairs", names, "cyst", ()))
    assert [labels[1], labels[3]] == [make_label(1, "Liver"), make_label(3, "pancreas")]
    assert labels[1].terminology is not None
    assert labels[1].terminology.type == ("SCT", "10200004", "Liver")
    tumour = make_label(2, "tumour").terminology
    assert tumour is not None
    assert tumour.type[2] == "Neoplasm"
    assert labels[0].color is None
    assert labels[2].color is not None  # the target has one, known or not
    assert labels[2].terminology is None


def test_the_scene_s_pancreas_is_that_of_the_table() -> None:
    assert segments.PANCREAS == PANCREAS == make_label(1, "pancreas")
