"""The command that fits the estimate of the Dice: what it runs, fits, tells and writes."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib import files
from AttentionUNetSegmentLib.datasets.loading import PANCREAS, LabelledCase
from AttentionUNetSegmentLib.errors import InputError, OutputError, TrainingError
from AttentionUNetSegmentLib.evaluation import trust
from AttentionUNetSegmentLib.evaluation.evaluate import is_seen
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.evaluation.spoiling import AS_IT_IS, MIRRORED, ORIENTATIONS
from AttentionUNetSegmentLib.evaluation.trust import (
    RUNS_FILE,
    Run,
    TrustReport,
    measure_trust,
    share_near,
    to_markdown,
)
from AttentionUNetSegmentLib.inference import Predictor
from AttentionUNetSegmentLib.inference.features import SCALE_AGREEMENT
from AttentionUNetSegmentLib.inference.mirrored import BEGINNING
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import Model, read_card, save_model
from AttentionUNetSegmentLib.networks import build_network
from data_set_makers import write_image
from scipy.special import expit
from small_cases import small_case, write_case
from threshold_model import threshold_model

SEEN = "case0005"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven cases, whose voxels nobody looks at."""
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
    # The card alone is written: the threshold model has no weights.
    monkeypatch.setattr(
        trust,
        "save_model",
        lambda folder, card, *_: (Path(folder) / "model.json").write_text(card.to_json()),
    )
    return tmp_path / "model"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """In the place of each segmentation a result whose soft Dice tells its Dice: case, change."""
    done: list[tuple[str, str]] = []

    def made_up(
        _predictor: Predictor, case: LabelledCase, change: str, seen: bool, clicks: int
    ) -> list[Run]:
        done.append((case.name, change))
        random = np.random.default_rng(zlib.crc32(f"{case.name} {change}".encode()))
        logit = float(random.normal(0.8, 1.2))
        others = [f"attention_around_{level}" for level in (1, 2)]
        features = {name: float(random.random()) for name in [SCALE_AGREEMENT, *others]}
        run = Run(
            case=case.name,
            patient=case.name,
            change=change,
            seen=seen,
            whole=True,
            dice=float(np.clip(expit(logit) + random.normal(0, 0.03), 0, 1)),
            found=True,
            warnings=(f"{BEGINNING} mirrored.",) if change in MIRRORED else (),
            features={"soft_dice_logit": logit, "log_pieces": 0.0, "log_ml": 4.0, **features},
            disorder=-1.5 if change in ORIENTATIONS else -2.5,
            found_errors=0.12,
            random_errors=0.06,
        )
        after = dataclasses.replace(run, clicks=1, dice=min(run.dice + 0.1, 1.0))
        return [run, after] if clicks else [run]

    monkeypatch.setattr(trust, "_run", made_up)
    return done


def clicked_mean(result: TrustReport) -> float:
    """Mean Dice after a click, of which nothing is fitted on."""
    assert {run.clicks for run in result.fitted} == {0}
    assert {run.clicks for run in result.clicked} == {1}
    # The features are those before the click, which added 0.1.
    assert (result.clicked_estimates < [run.dice for run in result.clicked]).mean() > 0.8
    return float(np.mean([run.dice for run in result.clicked]))


def test_a_single_label_without_a_name_is_taken_for_the_organ_and_told(
    model: Path, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    case = small_case()
    organ = case.labels.with_array((case.labels.array == PANCREAS).astype(np.uint8))
    for number in range(10):
        write_image(tmp_path / "data" / "images" / f"s{number}.nii.gz", case.ct)
        write_image(tmp_path / "data" / "labels" / f"s{number}.nii.gz", organ)
    measure_trust(str(model), tmp_path / "data", tmp_path / "out", changes=0)
    assert {name for name, _ in ran} == {f"s{number}" for number in range(10)}
    told = "what is not background was taken for pancreas"
    assert told in (tmp_path / "out" / "trust.md").read_text("utf-8")
    assert told in json.loads((tmp_path / "out" / "trust.json").read_text("utf-8"))["notes"][0]


def test_it_fits_reports_and_writes_the_card(
    data: Path, model: Path, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    result = measure_trust(str(model), data, tmp_path / "out", changes=1, write_card=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"trust.md", "trust.json", "calibration.png", RUNS_FILE}
    by_case: dict[str, list[str]] = {}
    for case, change in ran:
        by_case.setdefault(case, []).append(change)
    assert len(by_case) == 11
    assert by_case.pop(SEEN) == [AS_IT_IS, *MIRRORED]
    assert all(len(one) == 2 + len(ORIENTATIONS) for one in by_case.values())
    assert ran[-1][0] == SEEN  # the unseen ones come first
    assert {run.case for run in result.fitted} == {*by_case}
    card = read_card(model)
    assert card.dice_estimate == result.estimator
    assert card.dice_estimate is not None
    assert card.dice_estimate.measured["patients"] == 10
    assert card.dice_estimate.measured["auc_dice_below_0.7"] > 0.9
    assert card.usual.organ_disorder == pytest.approx(-1.7)
    # What the card says of a result is what the fit does.
    for run, estimate in zip(result.fitted, result.estimates, strict=True):
        assert card.dice_estimate.estimate(run.features or {}).value == pytest.approx(
            estimate, abs=0.1
        )
    text = to_markdown(result)
    assert text == (tmp_path / "out" / "trust.md").read_text("utf-8")
    for words in ("10 patients", "AUC, Dice < 0.7", "12 %", "6 % near", "1 case that"):
        assert words in text
    assert "| left and right exchanged | 10 of 10 | 1 of 1 |" in text
    assert "| as it is | 0 of 10 | 0 of 1 |" in text
    assert len(json.loads((tmp_path / "out" / "trust.json").read_text("utf-8"))["runs"]) == 70
    assert "| without the second look | " in text
    assert f"| 1 | 10 | {clicked_mean(result):.3f} |" in text


def test_a_run_that_was_stopped_goes_on(
    data: Path, model: Path, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    measure_trust(str(model), data, tmp_path / "out", changes=0)
    runs = tmp_path / "out" / RUNS_FILE
    lines = runs.read_text("utf-8").splitlines(keepends=True)
    runs.write_text("".join(lines[:-2]), "utf-8")
    ran.clear()
    measure_trust(str(model), data, tmp_path / "out", changes=0)
    assert len(ran) == 2
    assert runs.read_text("utf-8").splitlines(keepends=True) == lines
    runs.write_text(json.dumps({"weights_sha256": "another"}) + "\n", "utf-8")
    with pytest.raises(InputError, match="of another model"):
        measure_trust(str(model), data, tmp_path / "out")
    runs.write_text("{", "utf-8")
    with pytest.raises(InputError, match="damaged"):
        measure_trust(str(model), data, tmp_path / "out")


def test_a_result_is_measured_against_its_truth() -> None:
    predictor = Predictor(threshold_model(PANCREAS), "cpu", "float32")
    case = small_case()
    (run,) = trust._run(predictor, case, AS_IT_IS, seen=False, clicks=0)
    prediction = Session(predictor, case.ct).predict()
    truth = case.labels.array == PANCREAS
    assert run.dice == pytest.approx(dice(prediction.mask != 0, truth), abs=0.02)
    assert run.dice > 0.9
    assert set(run.features or {}) >= {"soft_dice_logit", "log_pieces", "log_ml"}
    assert not run.whole  # it is as small as a region
    assert 0 <= (run.found_errors or 0) <= 1


def test_clicks_mend_what_they_are_about_and_are_counted() -> None:
    predictor = Predictor(threshold_model(PANCREAS), "cpu", "float32")
    case = small_case()
    # The expert drew a slice less than is bright.
    labels = case.labels.array.copy()
    labels[np.argwhere(labels == PANCREAS)[:, 0].max()] = 0
    case = dataclasses.replace(case, labels=case.labels.with_array(labels))
    runs = trust._run(predictor, case, AS_IT_IS, seen=False, clicks=2)
    assert [run.clicks for run in runs] == [0, 1, 2]
    assert runs[0].dice < runs[1].dice
    assert all(run.features is not None for run in runs)


def test_too_few_patients_are_refused_before_they_are_measured(
    model: Path, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    for name in ("case0005", "case0010"):
        write_case(tmp_path / "few", name, small_case())
    with pytest.raises(TrainingError, match="fewer than 10 patients"):
        measure_trust(str(model), tmp_path / "few", tmp_path / "out", changes=0)
    assert ran == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_takes_no_results_is_refused_before_anything_is_measured(
    data: Path, model: Path, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="choose another output folder"):
        measure_trust(str(model), data, tmp_path / "file", changes=0)
    assert ran == []


def test_what_a_full_disk_stops_goes_on_from_whole_lines(
    data: Path,
    model: Path,
    ran: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flush, left = files.flush_to_disk, [3]

    def full(file: Path) -> None:
        """The disk has no room for the second change."""
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        flush(file)

    with monkeypatch.context() as patch:
        patch.setattr(files, "flush_to_disk", full)
        with pytest.raises(OutputError, match="No space left"):
            measure_trust(str(model), data, tmp_path / "out", changes=0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [RUNS_FILE]
    first, second = ran
    ran.clear()
    measure_trust(str(model), data, tmp_path / "out", changes=0)
    assert first not in ran
    assert second in ran


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
