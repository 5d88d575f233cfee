"""Evaluation: what is scored, what is written, and what goes into the card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.datasets.splits import Split, load_splits, save_splits
from AttentionUNetSegmentLib.errors import InputError, OutputError, TrainingError
from AttentionUNetSegmentLib.evaluation import evaluate as evaluation
from AttentionUNetSegmentLib.evaluation import trust
from AttentionUNetSegmentLib.evaluation.evaluate import (
    MEASURES,
    CaseResult,
    Evaluation,
    evaluate_case,
    evaluate_model,
)
from AttentionUNetSegmentLib.evaluation.metrics import score
from AttentionUNetSegmentLib.inference import Click, Prediction, Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import load_model, read_card, save_model
from AttentionUNetSegmentLib.networks import build_network
from data_set_makers import blobs, write_decathlon, write_slices
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
    assert "| interval | 2 |" in table
    for picture in ("clicks.png", "errors.png"):
        assert (tmp_path / "out" / picture).read_bytes()[:4] == b"\x89PNG"
    # Two cases that are alike: the mean is theirs, and its interval has no width.
    means = written["means"]["0"]
    assert means["dice"]["mean"] == pytest.approx(result.mean_dice())
    assert means["dice"]["low"] == pytest.approx(means["dice"]["high"])
    assert all(means[name]["count"] == 2 for name in MEASURES)


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


@pytest.mark.usefixtures("known_answer")
def test_what_a_run_held_out_can_be_scored(data: Path, tmp_path: Path) -> None:
    splits = [Split(("case0010",), ("case0005",)), Split(("case0005",), ("case0027",))]
    save_splits(tmp_path / "splits.json", splits)
    for fold, held_out in enumerate(("case0005", "case0027")):
        result = evaluate_model(
            "any", data, splits=tmp_path / "splits.json", fold=fold, clicks=0, device="cpu"
        )
        assert [one.case for one in result.results] == [held_out]
    save_splits(tmp_path / "splits.json", splits, fold=1)  # as a run of the second keeps them
    result = evaluate_model("any", data, splits=tmp_path / "splits.json", clicks=0, device="cpu")
    assert [one.case for one in result.results] == ["case0027"]
    with pytest.raises(InputError, match="no fold 2"):
        evaluate_model("any", data, splits=tmp_path / "splits.json", fold=2, device="cpu")


def test_cases_that_a_model_has_learnt_from_are_told(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a run on another fold than the data set's own split, which is what is taken."""
    model = threshold_model(PANCREAS)
    training = {"cases": {"scan": ["case0005", "case0010"]}, "held_out": ["case0027"]}
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, training=training))
    monkeypatch.setattr(evaluation, "find_model", Path)
    monkeypatch.setattr(evaluation, "load_model", lambda folder: model)
    result = evaluate_model("any", data, clicks=0, device="cpu")
    assert "has learnt from 1 of the 2 cases ('case0010')" in result.to_markdown()
    for split in ("train", "all"):  # which are asked for by these words
        assert not evaluate_model("any", data, split=split, clicks=0, device="cpu").notes


@pytest.mark.usefixtures("known_answer")
def test_another_data_sets_labels_are_matched_by_name(tmp_path: Path) -> None:
    """Label 1 there is label 8 of the model; the tumour counts as pancreas."""
    write_decathlon(tmp_path / "data")
    result = evaluate_model("any", tmp_path / "data", split="all", clicks=0, device="cpu")
    truths = {round(one.scores.true_volume_ml, 3) for one in result.results}
    assert truths == {round(float((blobs()[1].array > 0).sum()) * 0.012, 3)}


@pytest.mark.usefixtures("known_answer")
def test_pictures_and_empty_splits_are_refused(data: Path, tmp_path: Path) -> None:
    write_slices(tmp_path / "slices")
    with pytest.raises(TrainingError, match="pictures"):
        evaluate_model("any", tmp_path / "slices", device="cpu")
    for name in ("case0010", "case0027"):
        for file in data.glob(f"{name}*"):
            file.unlink()
    save_splits(tmp_path / "splits.json", [Split(("case0005",), ())])
    with pytest.raises(TrainingError, match="no cases in the split 'validation'"):
        evaluate_model("any", data, splits=tmp_path / "splits.json", device="cpu")


def test_what_is_not_defined_is_said_below_the_table() -> None:
    case = small_case()
    truth = case.labels.array == PANCREAS
    results = tuple(
        CaseResult(name, 0, score(mask, truth, case.ct), (), (), (), 1.0, "cpu", ())
        for name, mask in (("a", truth), ("b", np.zeros_like(truth)))
    )
    table = Evaluation("m", "1", "", "all", "here", results).to_markdown()
    row = next(line for line in table.splitlines() if line.startswith("| b |"))
    assert row.split(" | ")[2:9] == ["0.000", "0.000", "0.000", "1.0000", "none", "none", "none"]
    assert "HD95, mm with 0 clicks is not defined in 1 of 2 cases" in table
    means = Evaluation("m", "1", "", "all", "here", results).means(0)
    assert means["hausdorff95_mm"].mean == 0
    assert means["dice"].mean == pytest.approx(0.5)


def test_a_patient_with_several_scans_counts_once() -> None:
    case = small_case()
    truth = case.labels.array == PANCREAS
    found, missed = (score(mask, truth, case.ct) for mask in (truth, np.zeros_like(truth)))
    results = [
        CaseResult(name, 0, scores, (), (), (), 1.0, "cpu", (), patient)
        for name, scores, patient in (
            ("a1", found, "a"),
            ("a2", found, "a"),
            ("a3", found, "a"),
            ("b", missed, "b"),
        )
    ]
    evaluation = Evaluation("m", "1", "", "all", "here", tuple(results))
    assert evaluation.mean_dice() == pytest.approx(0.5)
    assert evaluation.means(0)["dice"].low == 0  # two patients, as different as can be


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_figures_go_into_the_card_and_leave_the_weights_alone(
    data: Path, tmp_path: Path, precision: str
) -> None:
    folder = tmp_path / "model"
    card = threshold_model(PANCREAS).card
    networks = {name: build_network(stage.network) for name, stage in card.stages.items()}
    before = save_model(folder, card, networks)
    options: dict[str, Any] = {"precision": precision, "device": "cpu", "clicks": 0}
    result = evaluate_model(str(folder), data, tmp_path / "out", write_card=True, **options)
    assert not (tmp_path / "out" / "clicks.png").exists()
    after = read_card(folder)
    assert after.weights == before.weights
    figures = after.figures["validation"]
    assert figures["precision"] == precision
    assert precision in result.to_markdown()
    # What the quicker numbers cost is told, and only where they were used.
    assert ("mean_dice_float32" in figures) == (precision == "bfloat16")
    if precision == "bfloat16":
        exact = evaluate_model(str(folder), data, **{**options, "precision": "float32"})
        assert figures["mean_dice_float32"] == round(exact.mean_dice(), 3)
    assert set(figures["clicks"]["0"]["cases"]) == {"case0010", "case0027"}
    assert set(figures["clicks"]["0"]["mean"]) == {
        "dice",
        "iou",
        "sensitivity",
        "specificity",
        "precision",
        "hausdorff95_mm",
        "mean_surface_distance_mm",
        "volume_difference_ml",
    }
    assert figures["clicks"]["0"]["interval95"].keys() == figures["clicks"]["0"]["mean"].keys()
    load_model(folder)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_takes_no_results_is_refused_before_anything_is_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(evaluation, "find_model", lambda name: pytest.fail("began"))
    with pytest.raises(OutputError, match="choose another output folder"):
        evaluate_model("any", data, tmp_path / place, device="cpu")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("why", ["no part of a model", "a folder that may not be written"])
def test_a_card_that_cannot_be_written_is_refused_before_anything_is_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    card = threshold_model(PANCREAS).card
    networks = {name: build_network(stage.network) for name, stage in card.stages.items()}
    save_model(tmp_path / "model", card, networks)
    told = "notes.txt"
    if why == "no part of a model":
        (tmp_path / "model" / "notes.txt").write_text("kept")
    else:
        make = Path.mkdir
        told = "Permission denied"

        def refuse(self: Path, *args: Any, **options: Any) -> None:
            if self.parent == tmp_path / "model":
                raise PermissionError(13, "Permission denied")
            make(self, *args, **options)

        monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(evaluation, "find_data_set", lambda folder: pytest.fail("began"))
    options: dict[str, Any] = {"device": "cpu", "write_card": True}
    with pytest.raises(OutputError, match=told):
        evaluate_model(str(tmp_path / "model"), data, **options)
    monkeypatch.setattr(trust, "find_data_set", lambda folder: pytest.fail("began"))
    with pytest.raises(OutputError, match=told):
        trust.measure_trust(str(tmp_path / "model"), data, tmp_path / "out", **options)


@pytest.mark.usefixtures("known_answer")
def test_an_evaluation_is_written_whole_and_holds_nothing_of_the_one_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate_model("any", data, out, clicks=1, device="cpu")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert set(before) == {"clicks.png", "errors.png", "evaluation.json", "evaluation.md"}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "draw_errors", full)
        with pytest.raises(OutputError, match="No space left"):
            evaluate_model("any", data, out, split="all", clicks=0, device="cpu")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    evaluate_model("any", data, out, clicks=0, device="cpu")
    assert {file.name for file in out.iterdir()} == set(before) - {"clicks.png"}


@pytest.mark.usefixtures("known_answer")
def test_a_case_that_is_refused_is_named(data: Path) -> None:
    case = small_case()
    no_ct = case.ct.with_array((case.ct.array.astype(np.int32) * 10 + 3000).astype(np.int16))
    write_case(data, "case0027", dataclasses.replace(case, ct=no_ct))
    with pytest.raises(TrainingError, match=r"^Case 'case0027': The image is no CT"):
        evaluate_model("any", data, clicks=0, device="cpu")


def test_a_fold_without_a_file_of_splits_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text('{"format": 1, "splits": []}')
    with pytest.raises(TrainingError, match="holds no splits"):
        load_splits(tmp_path / "splits.json")
    with pytest.raises(InputError, match="give that file too"):
        evaluate_model("pancreas-ct", data, fold=1, device="cpu")


@pytest.mark.usefixtures("known_answer")
def test_attention_in_an_organ_that_is_not_there_is_left_out_of_the_mean(data: Path) -> None:
    case = small_case()
    without = case.labels.with_array(np.where(case.labels.array == PANCREAS, 0, case.labels.array))
    before = evaluate_model("any", data, clicks=0, device="cpu").figures()
    write_case(data, "case0027", dataclasses.replace(case, labels=without))
    result = evaluate_model("any", data, clicks=0, device="cpu")
    assert result.results[1].attention_inside == (None,) * 4
    assert json.loads(json.dumps(result.to_json()))["cases"][1]["attention_inside"] == [None] * 4
    assert result.figures()["attention_inside"] == before["attention_inside"]
    nothing = dataclasses.replace(result, results=result.results[1:])
    assert "mean attention none in the organ" in nothing.to_markdown()
