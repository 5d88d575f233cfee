"""Finetuning: what is learnt from and judged by, what is written, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.loading import BTCV_LABELS, PANCREAS
from AttentionUNetSegmentLib.errors import InputError, ModelError, OutputError, TrainingError
from AttentionUNetSegmentLib.evaluation.evaluate import Evaluation
from AttentionUNetSegmentLib.evaluation.metrics import score
from AttentionUNetSegmentLib.files import locked_folder
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.models import (
    Editor,
    Label,
    Model,
    ModelCard,
    Stage,
    find_model,
    load_model,
    save_model,
)
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training import finetuning
from AttentionUNetSegmentLib.training.finetuning import (
    FinetuningOptions,
    choose_held_out,
    finetune_model,
    finetuning_stage_options,
    match_labels,
)
from AttentionUNetSegmentLib.training.patches import PatchOptions
from AttentionUNetSegmentLib.training.recipes import count_trainings
from AttentionUNetSegmentLib.training.schedule import Budget, LearningRate
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from small_cases import small_case, write_case
from threshold_model import threshold_model

PATCH = PatchOptions(size=(32, 32, 16), spacing_mm=(3.0, 3.0, 4.0), jitter_mm=(10, 10, 10))


@pytest.fixture(scope="module")
def card() -> ModelCard:
    network = {
        "name": "AttentionUNet",
        "dimensions": 3,
        "in_channels": 3,
        "out_channels": len(BTCV_LABELS),
        "channels": [4, 4, 4, 4, 4],
        "norm": "instance",
        "deep_supervision": True,
    }
    return dataclasses.replace(
        threshold_model().card,
        name="small",
        version="1.2",
        licence="CC BY-NC 4.0",
        citation=("Somebody 2020",),
        labels=tuple(Label(value, name) for value, name in enumerate(BTCV_LABELS)),
        stages={
            "locator": Stage({**network, "in_channels": 1}, (6.0, 6.0, 6.0)),
            "refiner": Stage(network, PATCH.spacing_mm),
        },
        training={"cases": 11},
        figures={"validation": 0.7},
    )


@pytest.fixture
def model(card: ModelCard, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    networks = {name: build_network(dict(stage.network)) for name, stage in card.stages.items()}
    save_model(tmp_path / "small", card, networks)
    return tmp_path / "small"


def write_corrected(folder: Path, count: int, patients: dict[str, str] | None = None) -> Path:
    """A data set as the panel collects it: one organ, as label 1."""
    cases = []
    for number in range(1, count + 1):
        name, case = f"case-{number:04d}", small_case()
        organ = case.labels.with_array((case.labels.array == PANCREAS).astype(np.uint8))
        ct = case.ct.with_array(case.ct.array + number)
        write_case(folder / "files", name, dataclasses.replace(case, ct=ct, labels=organ))
        entry = {"name": name}
        for key, ending in (("image", "_ct"), ("label", "_organs")):
            target = folder / f"{key}s" / f"{name}.nii.gz"
            target.parent.mkdir(exist_ok=True)
            (folder / "files" / f"{name}{ending}.nii.gz").rename(target)
            entry[key] = f"{key}s/{name}.nii.gz"
        if patients and name in patients:
            entry["patient"] = patients[name]
        cases.append(entry)
    (folder / "files").rmdir()
    manifest = {"format": 1, "labels": {"0": "background", "1": "pancreas"}, "cases": cases}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def corrected(tmp_path: Path) -> Path:
    return write_corrected(tmp_path / "corrected", 5)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    for name in ("case0005", "case0007", "case0010"):
        write_case(tmp_path / "original" / "btcv" / "train", name, small_case())
    region = small_case("region")
    write_case(tmp_path / "original" / "panorama-roi", "panorama001", region, "_pancreas")
    return tmp_path / "original"


@pytest.fixture
def small_patches(monkeypatch: pytest.MonkeyPatch) -> list[StageTrainer]:
    """Both recipes with small patches, and ever better; the trainers that were made."""
    made: list[StageTrainer] = []

    def options(name: str, card: ModelCard, given: FinetuningOptions) -> StageOptions:
        full = finetuning_stage_options(name, card, given)
        spacing = full.patch.spacing_mm
        return dataclasses.replace(full, patch=dataclasses.replace(PATCH, spacing_mm=spacing))

    class Remembered(StageTrainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

        def validate(self) -> dict[str, Any]:
            return {**super().validate(), "validation_dice": {"any": self.state.step / 1000}}

    monkeypatch.setattr(finetuning, "finetuning_stage_options", options)
    monkeypatch.setattr(finetuning, "StageTrainer", Remembered)
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Stands for the measurement: Dice of each model by its name; others' is that of "small"."""
    dice = {"small": 0.5, "small-finetuned": 0.6}

    def evaluate(
        model: Model,
        cases: list[LabelledCase],
        split: str,
        device: str = "auto",
        clicks: int = 0,
    ) -> Evaluation:
        from AttentionUNetSegmentLib.evaluation.evaluate import CaseResult

        results = []
        for case in cases:
            truth = case.labels.array == PANCREAS
            scores = dataclasses.replace(
                score(truth, truth, case.ct), dice=dice.get(model.card.name, dice["small"])
            )
            results += [
                CaseResult(case.name, count, scores, (), (), (), 0.1, "CPU", ())
                for count in range(clicks + 1)
            ]
        return Evaluation(model.card.name, model.card.version, "", split, "test", tuple(results))

    monkeypatch.setattr(finetuning, "evaluate_cases", evaluate)
    return dice


def state(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: network.state_dict() for name, network in load_model(folder).networks.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def options(**changes: Any) -> FinetuningOptions:
    return FinetuningOptions(**{"steps": 2, "device": "cpu", "precision": "float32", **changes})


# What is learnt from and judged by


def test_corrected_cases_teach_their_organ_only(card: ModelCard, corrected: Path) -> None:
    """The shipped networks know eight organs; the labels know one, and 0 is not "no organ"."""
    data = match_labels(card, corrected, kind="corrected")
    assert data.labels == BTCV_LABELS
    assert {case.kind for case in data.cases} == {"corrected"}
    assert not any(case.organs_known for case in data.cases)
    case = finetuning.load_cases(data.cases[:1])[0]
    assert set(np.unique(case.labels.array)) == {0, PANCREAS}


def test_data_without_the_models_organ_is_refused(
    card: ModelCard, corrected: Path, tmp_path: Path
) -> None:
    other = dataclasses.replace(card, target="liver")
    with pytest.raises(TrainingError, match="segments liver"):
        match_labels(other, corrected)
    with pytest.raises(TrainingError, match="no data folder"):
        match_labels(card, tmp_path / "nowhere")


@pytest.mark.parametrize(("wanted", "count"), [("0.2", 1), ("0.4", 2), ("0.01", 1), ("0.99", 4)])
def test_a_share_of_the_cases_is_held_out(
    card: ModelCard, corrected: Path, wanted: str, count: int
) -> None:
    split = choose_held_out(match_labels(card, corrected), wanted)
    assert len(split.validation) == count
    assert len(split.train) == 5 - count
    assert not set(split.train) & set(split.validation)


def test_cases_are_held_out_by_name(card: ModelCard, corrected: Path) -> None:
    data = match_labels(card, corrected)
    split = choose_held_out(data, "case-0002, case-0004")
    assert split.validation == ("case-0002", "case-0004")
    assert split.train == ("case-0001", "case-0003", "case-0005")
    for wrong in ("case-0009", " ,", "1.5", "0", "nan"):
        with pytest.raises(InputError):
            choose_held_out(data, wrong)
    with pytest.raises(TrainingError, match="none is left"):
        choose_held_out(data, ",".join(case.name for case in data.cases))


def test_a_case_whose_name_is_a_number_is_held_out_by_name(
    card: ModelCard, corrected: Path
) -> None:
    data = match_labels(card, corrected)
    cases = [
        dataclasses.replace(case, name=f"{number:04}") for number, case in enumerate(data.cases, 31)
    ]
    data = dataclasses.replace(data, cases=tuple(cases))
    assert choose_held_out(data, "0031").validation == ("0031",)
    assert len(choose_held_out(data, "0.4").validation) == 2


def test_scans_of_one_patient_are_on_one_side(card: ModelCard, tmp_path: Path) -> None:
    patients = {"case-0001": "A", "case-0002": "A", "case-0003": "A"}
    data = match_labels(card, write_corrected(tmp_path / "set", 4, patients))
    for seed in range(4):
        split = choose_held_out(data, "0.5", seed)
        for side in (split.train, split.validation):
            assert len(set(side) & set(patients)) in (0, 3)
    with pytest.raises(TrainingError, match="hold out both"):
        choose_held_out(data, "case-0001,case-0002")


@pytest.mark.parametrize("patients", [{}, {"case-0001": "A", "case-0002": "A"}])
def test_too_few_patients_are_refused(
    card: ModelCard, tmp_path: Path, patients: dict[str, str]
) -> None:
    data = match_labels(card, write_corrected(tmp_path / "set", 1 + len(patients) // 2, patients))
    with pytest.raises(TrainingError, match="at least two"):
        choose_held_out(data, "0.2")


def test_half_of_the_samples_come_from_the_corrected_cases(card: ModelCard) -> None:
    made = finetuning_stage_options("refiner", card, options(learning_rate=3e-5))
    assert made.kind_weights["corrected"] == pytest.approx(0.5)
    assert sum(made.kind_weights.values()) == pytest.approx(1)
    assert made.learning_rate == LearningRate(peak=3e-5)
    assert made.target_label == PANCREAS
    assert made.network == card.stages["refiner"].network
    assert made.patch.spacing_mm == card.stages["refiner"].spacing_mm
    assert (made.patience, made.validate_every_steps) == (8, 25)  # it ends early


def test_trainings_are_counted_through_all_models_that_a_model_comes_from(card: ModelCard) -> None:
    def trained(training: Mapping[str, Any]) -> int:
        made = dataclasses.replace(card, training=training)
        assert finetuning_stage_options(
            "refiner", made, options()
        ).trainings_before == count_trainings(made)
        return count_trainings(made)

    first = {"machine": "a laptop"}
    second = {"started_from": {"name": "a", "training": first}}
    third = {"finetuned_from": {"name": "b", "training": second}}
    assert [trained(one) for one in ({}, first, second, third)] == [0, 1, 2, 3]
    assert trained({"started_from": "somewhere"}) == 1  # what a card tells of training is free


def test_a_model_is_trained_as_its_card_says(card: ModelCard) -> None:
    labels = (Label(0, "background"), Label(1, "pancreas"), *card.labels[1:-1])
    labels = tuple(Label(value, label.name) for value, label in enumerate(labels))
    other = dataclasses.replace(card, labels=labels, intensity_window_hu=(-200, 300))
    made = finetuning_stage_options("refiner", other, options())
    assert (made.target_label, made.window_hu) == (1, (-200, 300))
    assert made.budget == Budget(steps=2)
    both = options(stage="all", steps=100)
    budgets = [
        finetuning_stage_options(name, card, both).budget.steps for name in ("locator", "refiner")
    ]
    assert budgets == [30, 70]


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 1.0},
        {"steps": 0},
        {"steps": None, "minutes": float("nan")},
        {"stage": "third"},
        {"precision": "int8"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
    ],
)
def test_wrong_options_get_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        options(**wrong)


def test_without_a_budget_it_is_half_an_hour_at_most() -> None:
    assert FinetuningOptions().budget(0.5) == Budget(minutes=15)


# The run


@pytest.mark.usefixtures("measured")
def test_the_refiner_learns_from_where_the_model_was(
    model: Path, corrected: Path, tmp_path: Path, small_patches: list[StageTrainer]
) -> None:
    before = state(model)
    outcome = finetune_model(str(model), corrected, tmp_path / "run", options())
    (trainer,) = small_patches
    assert trainer.options.stage == "refiner"
    assert outcome.folder == tmp_path / "run" / "model"
    after = state(outcome.folder)
    assert same(before["locator"], after["locator"])
    assert not same(before["refiner"], after["refiner"])
    # Two gentle steps from there, not from anywhere else.
    change = max(
        float((after["refiner"][name] - before["refiner"][name]).abs().max())
        for name in before["refiner"]
    )
    assert change < 0.01


@pytest.mark.usefixtures("measured", "small_patches")
@pytest.mark.parametrize(
    ("stage", "learns"), [("locator", {"locator"}), ("all", {"locator", "refiner"})]
)
def test_other_stages_learn_if_asked_for(
    model: Path, corrected: Path, tmp_path: Path, stage: str, learns: set[str]
) -> None:
    outcome = finetune_model(str(model), corrected, tmp_path / "run", options(stage=stage))
    assert outcome.folder is not None
    before, after = state(model), state(outcome.folder)
    assert {name for name in before if not same(before[name], after[name])} == learns


def test_an_editor_is_adapted_beside_networks_that_stay(
    card: ModelCard,
    model: Path,
    corrected: Path,
    tmp_path: Path,
    small_patches: list[StageTrainer],
    measured: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ModelError, match="has no editor"):
        finetune_model(str(model), corrected, tmp_path / "none", options(stage="editor"))
    network = dict(card.stages["refiner"].network)
    editor = {**network, "in_channels": EDITOR_CHANNELS, "out_channels": 2, "channels": [4, 4]}
    editor["deep_supervision"] = False
    networks = {**load_model(model).networks, "editor": build_network(editor)}
    save_model(model, dataclasses.replace(card, editor=Editor(editor)), networks)
    monkeypatch.setattr(
        finetuning.EditorTrainer,
        "validate",
        lambda self: {"validation_dice": {"any": self.state.step / 1000}, "findings": []},
    )
    told: list[str] = []
    outcome = finetune_model(
        str(model), corrected, tmp_path / "run", options(stage="editor"), tell=told.append
    )
    before, after = state(model), state(tmp_path / "run" / "model")
    assert {name for name in before if not same(before[name], after[name])} == {"editor"}
    assert outcome.clicks == finetuning.EDITOR_CLICKS
    assert "after 3 clicks" in outcome.to_markdown()
    assert not any("finetune --stage editor" in text for text in told)
    # A refiner that learns says that its editor does not.
    finetune_model(str(model), corrected, tmp_path / "refiner", options(), tell=told.append)
    assert any("finetune --stage editor" in text for text in told)


@pytest.mark.usefixtures("measured")
def test_the_original_data_is_mixed_in_and_judged_by_too(
    model: Path,
    corrected: Path,
    original: Path,
    tmp_path: Path,
    small_patches: list[StageTrainer],
) -> None:
    outcome = finetune_model(str(model), corrected, tmp_path / "run", options(original=original))
    (trainer,) = small_patches
    sources = {
        kind: [source.case.name for source in sources]
        for kind, sources in trainer.sampler.sources.items()
    }
    assert len(sources["corrected"]) == 4
    assert sources["scan"] == ["case0005", "case0007"]
    assert sources["region"] == ["panorama001"]
    assert outcome.original_before is not None
    assert [one.case for one in outcome.original_before.results] == ["case0010"]
    assert "forgotten" in (tmp_path / "run" / "finetuning.md").read_text()


@pytest.mark.usefixtures("measured", "small_patches")
def test_the_card_says_where_the_model_comes_from(
    model: Path, corrected: Path, tmp_path: Path, card: ModelCard
) -> None:
    first = finetune_model(str(model), corrected, tmp_path / "run", options())
    assert first.folder is not None
    made = load_model(first.folder).card
    assert (made.name, made.version) == ("small-finetuned", "1.2+finetuned.1")
    assert (made.licence, made.citation) == (card.licence, card.citation)
    origin = made.training["finetuned_from"]
    assert (origin["name"], origin["version"]) == ("small", "1.2")
    assert origin["weights_sha256"] == load_model(model).card.weights.sha256  # type: ignore[union-attr]
    assert origin["training"] == {"cases": 11}
    assert made.training["cases"]["corrected"] == 4
    assert made.training["held_out"]["corrected"] == 1
    assert set(made.figures) == {"held_out"}
    assert made.figures["held_out"]["after"]["clicks"]["0"]["mean"]["dice"] == 0.6
    assert "4 cases" in made.summary

    again = finetune_model(
        str(first.folder), corrected, tmp_path / "second", options(even_if_worse=True)
    )
    assert again.folder is not None
    made = load_model(again.folder).card
    assert (made.name, made.version) == ("small-finetuned", "1.2+finetuned.2")
    assert made.title.count("finetuned") == 1


@pytest.mark.usefixtures("small_patches")
def test_a_model_that_is_not_better_is_not_written(
    model: Path, corrected: Path, tmp_path: Path, measured: dict[str, float]
) -> None:
    measured["small-finetuned"] = 0.5
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"not better.*0\.500 before, 0\.500 after"):
        finetune_model(str(model), corrected, run, options())
    assert not (run / "model").exists()
    assert "**not better**" in (run / "finetuning.md").read_text()
    assert json.loads((run / "finetuning.json").read_text())["better"] is False
    # Asked for, it is written, from what was learnt already, and says what it is.
    outcome = finetune_model(str(model), corrected, run, options(even_if_worse=True))
    assert outcome.folder is not None
    figures = load_model(outcome.folder).card.figures["held_out"]
    assert figures["after"]["clicks"]["0"]["mean"]["dice"] == 0.5


def test_a_model_is_measured_as_the_panel_would_segment() -> None:
    case = small_case()
    result = finetuning.evaluate_cases(threshold_model(PANCREAS), [case, case], "held out", "cpu")
    assert [one.clicks for one in result.results] == [0, 0]
    assert result.mean_dice() > 0.9
    assert (result.model, result.split) == ("bright", "held out")
    dark = dataclasses.replace(case, ct=case.ct.with_array(case.ct.array - 100))
    worse = finetuning.evaluate_cases(threshold_model(PANCREAS), [dark, case], "x", "cpu")
    rows = finetuning.comparison_table(result, worse)
    old, new = result.mean_dice(), worse.mean_dice()
    assert rows[-1] == f"| **mean** | {old:.3f} | {new:.3f} | {new - old:+.3f} |"
    assert len(rows) == 5


@pytest.mark.usefixtures("measured", "small_patches")
def test_a_model_is_installed_under_a_name_of_its_own(
    model: Path, corrected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTENTION_UNET_SEGMENT_MODELS", str(tmp_path / "own"))
    outcome = finetune_model(
        str(model), corrected, tmp_path / "run", options(install=True, steps=1)
    )
    assert outcome.folder == tmp_path / "own" / "small-finetuned"
    assert find_model("small-finetuned") == outcome.folder  # what the panel lists and loads
    assert same(state(outcome.folder)["refiner"], state(tmp_path / "run" / "model")["refiner"])
    with pytest.raises(ModelError, match="installed already"):
        finetune_model(str(model), corrected, tmp_path / "again", options(install=True))
    assert not (tmp_path / "again").exists()  # before any work


def test_data_that_is_not_sound_is_refused(model: Path, corrected: Path, tmp_path: Path) -> None:
    shutil.copy(
        corrected / "images" / "case-0001.nii.gz", corrected / "images" / "case-0004.nii.gz"
    )
    with pytest.raises(TrainingError, match="same image"):
        finetune_model(str(model), corrected, tmp_path / "run", options())


def test_a_model_that_cannot_be_finetuned_is_refused(
    card: ModelCard, corrected: Path, tmp_path: Path
) -> None:
    refiner = card.stages["refiner"]
    flat = Stage({**refiner.network, "dimensions": 2}, refiner.spacing_mm)
    for stages, stage, told in (
        ({"refiner": flat}, "refiner", "slices one by one"),
        ({"refiner": refiner}, "locator", "no locator"),
    ):
        folder = tmp_path / told
        networks = {name: build_network(dict(one.network)) for name, one in stages.items()}
        save_model(folder, dataclasses.replace(card, stages=stages), networks)
        with pytest.raises(ModelError, match=told):
            finetune_model(str(folder), corrected, tmp_path / "run", options(stage=stage))


@pytest.mark.usefixtures("measured", "small_patches")
def test_a_held_out_scan_is_not_learnt_from_as_one_of_the_original_data(
    model: Path, corrected: Path, tmp_path: Path
) -> None:
    """It is there under another name and turned, another patient's under its name."""
    case = small_case()
    held_out = np.flip(case.ct.array + 2, 0).transpose(0, 2, 1)  # case-0002 as it was collected
    learnt = case.ct.array + 1
    data = tmp_path / "mine"
    scans = {
        "case-0002": case.ct.array + 70,
        "liver_07": case.ct.array + 80,  # drawn to be held out
        "liver_08": held_out,
        "liver_09": case.ct.array + 90,
        "liver_10": learnt,
    }
    entries = []
    for name, array in scans.items():
        labels = case.labels.array == PANCREAS
        if array is held_out:
            labels = np.flip(labels, 0).transpose(0, 2, 1)
        made = dataclasses.replace(
            case,
            ct=Volume(np.ascontiguousarray(array), case.ct.ijk_to_ras),
            labels=Volume(np.ascontiguousarray(labels, np.uint8), case.ct.ijk_to_ras),
        )
        write_case(data, name, made)
        entry = {"name": name, "image": f"{name}_ct.nii.gz", "label": f"{name}_organs.nii.gz"}
        entries.append(entry | ({"patient": "P"} if name in ("liver_08", "liver_09") else {}))
    manifest = {
        "format": 1,
        "labels": {"0": "background", "1": "pancreas"},
        "cases": entries,
    }
    (data / "manifest.json").write_text(json.dumps(manifest))
    told: list[str] = []
    outcome = finetune_model(
        str(model),
        corrected,
        tmp_path / "run",
        options(held_out="case-0002", original=data),
        tell=told.append,
    )
    assert outcome.folder is not None
    training = load_model(outcome.folder).card.training
    assert training["cases"]["original"] == ["liver_10"]  # what is learnt from both is no matter
    assert json.loads((tmp_path / "run" / "run.json").read_text())["original"] == ["liver_10"]
    assert (
        "Of the original data, 3 cases (case-0002, liver_08, liver_09) of patients whose corrected "
        "scans are held out will not be learnt from."
    ) in told


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_place_of_the_run_gets_a_sentence(
    model: Path, corrected: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError) as error:
        finetune_model(str(model), corrected, tmp_path / place, options())
    assert str(error.value) == (
        f"Results cannot be written into '{tmp_path / place}': it is, or lies in, a file and no "
        "folder; choose another output folder."
    )


def test_a_place_that_takes_no_model_is_refused_before_the_training(
    model: Path, corrected: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "notes.txt").write_text("kept")
    with pytest.raises(OutputError, match=r"run.model"):
        finetune_model(str(model), corrected, tmp_path / "run", options())
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.usefixtures("measured", "small_patches")
def test_a_run_goes_on_with_the_same_model_and_cases_only(
    model: Path, corrected: Path, tmp_path: Path, card: ModelCard
) -> None:
    run = tmp_path / "run"
    finetune_model(str(model), corrected, run, options(steps=1))
    with locked_folder(run), pytest.raises(InputError, match="Another program is working in"):
        finetune_model(str(model), corrected, run, options(steps=2))
    finetune_model(str(model), corrected, run, options(steps=2))
    with pytest.raises(TrainingError, match="held_out"):
        finetune_model(str(model), corrected, run, options(held_out="0.4"))
    write_corrected(corrected, 6)
    with pytest.raises(TrainingError, match="another model or other cases"):
        finetune_model(str(model), corrected, run, options())


@pytest.mark.usefixtures("small_patches")
def test_the_command_finetunes_and_says_what_came_out(
    model: Path,
    corrected: Path,
    tmp_path: Path,
    measured: dict[str, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["finetune", str(corrected), "--model", str(model), "--device", "cpu"]
    worse = [*command, "-o", str(tmp_path / "worse"), "--steps", "1", "--name", "mine"]
    assert main(worse) == 2
    told = capsys.readouterr().err
    assert "not better" in told
    assert "refiner, done: 1 step in " in told
    measured["mine"] = 0.7
    assert main(worse) == 2
    assert "finished; nothing was done" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path / "run"), "--steps", "1", "--name", "mine"]) == 0
    told = capsys.readouterr().out
    assert "| **mean** | 0.500 | 0.700 | +0.200 |" in told
    assert f"Model: {tmp_path / 'run' / 'model'}" in told
    assert load_model(tmp_path / "run" / "model").card.name == "mine"

    budgets = ["--steps", "1", "--minutes", "1"]
    assert main([*command, "-o", str(tmp_path / "other"), *budgets]) == 2
    assert "minutes or in steps" in capsys.readouterr().err


class Killed(BaseException):
    """Stands for the process's end at any point."""


@pytest.mark.usefixtures("measured", "small_patches")
def test_a_killed_run_goes_on_exactly(
    model: Path, corrected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune_model(str(model), corrected, tmp_path / "whole", options(steps=4))
    learn = StageTrainer.train_step

    def die_at_third(self: StageTrainer, *args: Any) -> dict[str, Any]:
        if self.state.step == 2:
            self.save_checkpoint()
            raise Killed
        return learn(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "train_step", die_at_third)
        with pytest.raises(Killed):
            finetune_model(str(model), corrected, tmp_path / "killed", options(steps=4))
    resumed = finetune_model(str(model), corrected, tmp_path / "killed", options(steps=4))
    assert whole.folder is not None
    assert resumed.folder is not None
    assert same(state(whole.folder)["refiner"], state(resumed.folder)["refiner"])


# When training ends


def continued(
    folder: Path, dice: list[float], steps: int, checkpoint_every_s: float = 1e9
) -> StageTrainer:
    """A run whose held-out Dice, look by look, is given; looks are taken at every other step."""

    class Told(StageTrainer):
        def validate(self) -> dict[str, Any]:
            look = min(-(-self.state.step // 2), len(dice) - 1)
            return {"validation_dice": {"one": dice[look], "two": dice[look]}}

    network = {
        "name": "AttentionUNet",
        "dimensions": 3,
        "in_channels": 3,
        "out_channels": len(BTCV_LABELS),
        "channels": [4, 4, 4, 4, 4],
        "norm": "instance",
        "deep_supervision": True,
    }
    stage = StageOptions(
        "refiner",
        network,
        PATCH,
        Budget(steps=steps),
        PANCREAS,
        learning_rate=LearningRate(peak=1e-3),
        kind_weights={"corrected": 1.0},
        checkpoint_every_s=checkpoint_every_s,
        validate_every_steps=2,
        patience=3,
    )
    case = dataclasses.replace(small_case(), kind="corrected", organs_known=False)
    return Told(stage, [case], [case], folder, initial_weights=start(network))


def start(network: dict[str, Any]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_network(network).state_dict()


def test_training_ends_when_the_held_out_cases_get_no_better(tmp_path: Path) -> None:
    # Best after step 2; steps 4, 6 and 8 are no better, and 100 are not taken.
    run = continued(tmp_path, [0.5, 0.6, 0.55, 0.6, 0.59, 0.9], steps=100)
    found = run.run()
    assert run.state.step == 8
    assert run.state.best is not None
    assert run.state.best.step == 2
    assert not found.training
    assert same(run.state.best.weights, found.state_dict())
    assert not same(start(run.options.network), found.state_dict())
    records = map(json.loads, run.log_file.read_text().splitlines())
    dice = [one["validation_dice"]["one"] for one in records if "validation_dice" in one]
    assert dice == [0.5, 0.6, 0.55, 0.6, 0.59]


def test_what_never_got_better_is_what_it_was(tmp_path: Path) -> None:
    run = continued(tmp_path, [0.5, 0.4, 0.5, 0.3, 0.2], steps=100)
    found = run.run().state_dict()
    assert run.state.step == 6
    assert same(start(run.options.network), found)


def test_a_killed_run_remembers_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its best look, at it and after it: the same run, again and again."""
    dice = [0.5, 0.6, 0.7, 0.6, 0.5, 0.5, 0.9]
    expected = continued(tmp_path / "whole", dice, steps=30).run().state_dict()
    learn = StageTrainer.train_step

    def die_at(step: int) -> Any:
        def dying(self: StageTrainer, *args: Any) -> dict[str, Any]:
            if self.state.step == step:
                raise Killed
            return learn(self, *args)

        return dying

    folder = tmp_path / "killed"
    for step in (1, 3, 4, 7):
        with monkeypatch.context() as patch:
            patch.setattr(StageTrainer, "train_step", die_at(step))
            with pytest.raises(Killed):
                continued(folder, dice, steps=30, checkpoint_every_s=0.0).run()
        resumed = continued(folder, dice, steps=30)
        assert resumed.state.step == step
    assert same(expected, resumed.run().state_dict())
    assert resumed.state.best is not None
    assert (resumed.state.best.step, resumed.state.step) == (4, 10)
