"""Evaluation: what is scored, what is written, and what goes into the card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.inference import Click, Prediction, Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import load_model, read_card, save_model
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training import evaluation
from AttentionUNetSegmentLib.training.datasets import PANCREAS
from AttentionUNetSegmentLib.training.evaluation import evaluate_case, evaluate_model
from small_cases import small_case, write_case
from threshold_model import threshold_model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("case0005", "case0010", "case0027"):
        write_case(tmp_path / "data", name, small_case())
    return tmp_path / "data"


@pytest.fixture
def known_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that marks what is bright, which in the small cases is the pancreas."""
    monkeypatch.setattr(evaluation, "find_model", Path)
    monkeypatch.setattr(evaluation, "load_model", lambda folder: threshold_model(PANCREAS))


@pytest.mark.usefixtures("known_answer")
def test_every_case_of_a_split_is_scored_without_and_with_clicks(
    data: Path, tmp_path: Path
) -> None:
    told: list[float] = []
    result = evaluate_model(
        "any",
        data,
        tmp_path / "out",
        clicks=2,
        device="cpu",
        progress=lambda fraction, text: told.append(fraction),
    )
    assert [(one.case, one.clicks) for one in result.results] == [
        ("case0010", 0),
        ("case0010", 1),
        ("case0010", 2),
        ("case0027", 0),
        ("case0027", 1),
        ("case0027", 2),
    ]
    assert result.mean_dice() > 0.9
    assert all(len(one.focus_ratios) == 4 for one in result.results)
    # The attention of this model is the brightness, and the organ is the brightest.
    for one in result.results:
        pairs = zip(one.attention_inside, one.attention_outside, strict=True)
        assert all(inside > outside for inside, outside in pairs)
    assert told[-1] == 1.0

    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["mean_dice"]["0"] == pytest.approx(result.mean_dice())
    assert len(written["cases"]) == 6
    table = (tmp_path / "out" / "evaluation.md").read_text()
    assert table == result.to_markdown()
    assert "| **mean** | 2 |" in table


@pytest.mark.usefixtures("known_answer")
@pytest.mark.parametrize(
    ("split", "cases"),
    [("train", ["case0005"]), ("all", ["case0005", "case0010", "case0027"])],
)
def test_a_split_decides_which_cases(data: Path, split: str, cases: list[str]) -> None:
    result = evaluate_model("any", data, split=split, clicks=0, device="cpu")
    assert [one.case for one in result.results] == cases


def test_each_click_is_kept_for_the_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that never finds anything is clicked on again and again, inside the organ."""
    predictor = Predictor(threshold_model(PANCREAS), "cpu")
    predict, seen = Session.predict, []

    def find_nothing(session: Session, clicks: list[Click]) -> Prediction:
        seen.append(list(clicks))
        prediction = predict(session, clicks)
        return dataclasses.replace(prediction, mask=np.zeros_like(prediction.mask))

    monkeypatch.setattr(Session, "predict", find_nothing)
    case = small_case()
    results = evaluate_case(predictor, case, clicks=2)
    assert [len(clicks) for clicks in seen] == [0, 1, 2]
    assert [result.clicks for result in results] == [0, 1, 2]
    for click in seen[-1]:
        i, j, k = np.round(case.ct.ras_to_ijk @ [*click.position_ras, 1.0])[:3].astype(int)
        assert click.inside
        assert case.labels.array[k, j, i] == PANCREAS


def test_an_unknown_split_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="validation, train, all"):
        evaluate_model("any", data, split="test")


def test_figures_go_into_the_card_and_leave_the_weights_alone(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    card = threshold_model(PANCREAS).card
    networks = {name: build_network(stage.network) for name, stage in card.stages.items()}
    before = save_model(folder, card, networks)
    evaluate_model(str(folder), data, clicks=0, device="cpu", write_card=True)
    after = read_card(folder)
    assert after.weights == before.weights
    figures = after.figures["validation"]
    assert set(figures["clicks"]["0"]["cases"]) == {"case0010", "case0027"}
    assert set(figures["clicks"]["0"]["mean"]) == {
        "dice",
        "sensitivity",
        "specificity",
        "hausdorff95_mm",
    }
    load_model(folder)
