"""The command that fits the estimate of the Dice: what it runs, fits, tells and writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.errors import InputError, TrainingError
from AttentionUNetSegmentLib.evaluation import trust
from AttentionUNetSegmentLib.evaluation.spoiling import AS_IT_IS, MIRRORED
from AttentionUNetSegmentLib.evaluation.trust import (
    RUNS_FILE,
    Run,
    is_seen,
    measure_trust,
    share_near,
    to_markdown,
)
from AttentionUNetSegmentLib.inference import Predictor
from AttentionUNetSegmentLib.models import Model, read_card, save_model
from AttentionUNetSegmentLib.networks import build_network
from small_cases import small_case, write_case
from threshold_model import threshold_model

SEEN = "case0005"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(11):
        write_case(folder, f"case{number + 5:04}", small_case())
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, for which the threshold model is loaded."""
    bright = threshold_model(PANCREAS)
    card = dataclasses.replace(bright.card, training={"cases": {"scan": [SEEN]}})
    networks = {name: build_network(stage.network) for name, stage in card.stages.items()}
    save_model(tmp_path / "model", card, networks)
    loaded = read_card(tmp_path / "model")
    monkeypatch.setattr(
        trust, "load_model", lambda folder: Model(loaded, bright.networks, Path(folder))
    )
    # What is written is the card alone: the threshold model has no weights.
    monkeypatch.setattr(
        trust,
        "save_model",
        lambda folder, card, *_: (Path(folder) / "model.json").write_text(card.to_json()),
    )
    return tmp_path / "model"


def test_it_fits_reports_and_writes_the_card(data: Path, model: Path, tmp_path: Path) -> None:
    result = measure_trust(str(model), data, tmp_path / "out", changes=1, write_card=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"trust.md", "trust.json", "calibration.png", RUNS_FILE}
    by_case = {run.case: [] for run in result.runs}
    for run in result.runs:
        by_case[run.case].append(run.change)
    assert len(by_case) == 11
    assert sorted(by_case[SEEN]) == sorted([AS_IT_IS, *MIRRORED])
    assert all(not run.seen for run in result.fitted)
    assert {run.case for run in result.fitted} == {*by_case} - {SEEN}
    estimator = read_card(model).dice_estimate
    assert estimator == result.estimator
    assert estimator is not None
    assert estimator.measured["patients"] == 10
    # What the card says is what the session then finds in the features.
    run = result.fitted[0]
    assert estimator.estimate(run.features or {}).value == pytest.approx(run.dice, abs=0.2)
    text = to_markdown(result)
    assert text == (tmp_path / "out" / "trust.md").read_text("utf-8")
    for words in ("10 patients", "AUC, Dice < 0.7", "mirrored or turned", "doubtful places"):
        assert words in text
    assert len(json.loads((tmp_path / "out" / "trust.json").read_text("utf-8"))["runs"]) > 10


def test_a_run_that_was_stopped_goes_on(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_trust(str(model), data, tmp_path / "out", changes=0)
    runs = tmp_path / "out" / RUNS_FILE
    lines = runs.read_text("utf-8").splitlines(keepends=True)
    runs.write_text("".join(lines[:-2]), "utf-8")
    ran: list[str] = []
    run = trust._run

    def noted(predictor: Predictor, case: object, change: str, seen: bool) -> Run | None:
        ran.append(change)
        return run(predictor, case, change, seen)  # type: ignore[arg-type]

    monkeypatch.setattr(trust, "_run", noted)
    measure_trust(str(model), data, tmp_path / "out", changes=0)
    assert len(ran) == 2
    assert runs.read_text("utf-8").splitlines(keepends=True) == lines
    other = json.dumps({"weights_sha256": "another"})
    runs.write_text(other + "\n", "utf-8")
    with pytest.raises(InputError, match="of another model"):
        measure_trust(str(model), data, tmp_path / "out")
    runs.write_text("{", "utf-8")
    with pytest.raises(InputError, match="damaged"):
        measure_trust(str(model), data, tmp_path / "out")


def test_too_few_patients_are_refused(model: Path, tmp_path: Path) -> None:
    for name in ("case0005", "case0010"):
        write_case(tmp_path / "few", name, small_case())
    with pytest.raises(TrainingError, match="fewer than ten patients"):
        measure_trust(str(model), tmp_path / "few", tmp_path / "out", changes=0)


def test_a_case_was_seen_where_its_card_names_it_and_does_not_hold_it_out() -> None:
    training = {
        "cases": {"scan": ["a"]},
        "held_out": ["b"],
        "started_from": {"training": {"cases": {"region": ["c"]}}},
    }
    assert [is_seen(name, training) for name in "abcd"] == [True, False, True, False]


def test_the_share_near_is_that_of_a_plain_search() -> None:
    random = np.random.default_rng(0)
    points, places = random.uniform(0, 50, (300, 3)), random.uniform(0, 50, (3, 3))
    distances = np.linalg.norm(points[:, None] - places[None], axis=2).min(axis=1)
    assert share_near(points, places) == pytest.approx((distances <= 10).mean())
