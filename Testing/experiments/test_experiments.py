"""Experiments from data to tables: what is run, resumed, refused and written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.datasets.loading import PANCREAS, find_data_set
from AttentionUNetSegmentLib.datasets.splits import load_splits
from AttentionUNetSegmentLib.errors import InputError, ModelError, OutputError, TrainingError
from AttentionUNetSegmentLib.evaluation.attention_statistics import read_log
from AttentionUNetSegmentLib.experiments import experiment, runs
from AttentionUNetSegmentLib.experiments.experiment import (
    report_finished_runs,
    run_experiment,
)
from AttentionUNetSegmentLib.experiments.results import Run, RunResult, load_result
from AttentionUNetSegmentLib.experiments.runs import (
    Settings,
    TrainingJob,
    choose_settings,
    find_experiment_data,
    run_options,
)
from AttentionUNetSegmentLib.experiments.variants import VARIANTS
from AttentionUNetSegmentLib.experiments.workers import do_runs
from AttentionUNetSegmentLib.inference.progress import ProgressCallback
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from data_set_makers import write_pairs
from fake_jobs import FakeJob, JobThatCannotStart
from PIL import Image
from small_cases import small_case, write_case

PATIENTS = 4
TWO = ("UNet", "AttentionUNet")
SETTINGS = Settings(
    data="slices", dimensions=2, size=32, spacing_mm=2.0, channels=(4, 4, 8), batch=2, steps=3,
    precision="float32",
)  # fmt: skip
OPTIONS = (
    *("--steps", "3", "--size", "32", "--channels", "4,4,8", "--batch-size", "2"),
    *("--folds", "2", "--seeds", "1", "--precision", "float32"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices each of four patients: 64 x 64, a bright ellipse, not in the middle."""
    folder = tmp_path_factory.mktemp("data") / "slices"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    j, i = np.indices((64, 64))
    for patient in range(1, PATIENTS + 1):
        for number in (10, 20):
            organ = ((i - 24 - patient) / 12) ** 2 + ((j - 38) / 8) ** 2 < 1
            grey = np.where(organ, 210, 90) + random.normal(0, 10, organ.shape)
            name = f"PANCREAS_{patient:04}-{number:04}"
            for image, file in (
                (np.clip(grey, 0, 255).astype(np.uint8), folder / "images" / f"{name}.jpg"),
                (255 * organ.astype(np.uint8), folder / "masks" / f"{name}.png"),
            ):
                sitk.WriteImage(sitk.GetImageFromArray(image), str(file))
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison of two networks over two folds; do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=2, seeds=1)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to go on in."""
    return shutil.copytree(finished, tmp_path / "experiment")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are done from now on; none is really trained."""
    names: list[str] = []

    def do(self: TrainingJob, run: Run, progress: ProgressCallback) -> RunResult:
        names.append(run.name)
        return RunResult(run, failure="Not really done.")

    monkeypatch.setattr(TrainingJob, "do", do)
    return names


# From data to tables


def test_tables_pictures_and_a_folder_for_each_run_are_written(finished: Path) -> None:
    assert {file.name for file in finished.iterdir() if not file.name.startswith(".")} == {
        "compare.json",
        "compare.md",
        "compare-attention.png",
        "compare-curves.png",
        "compare-focus.png",
        "compare-predictions.png",
        "experiment.json",
        "runs",
        "splits.json",
    }
    assert {run.name for run in (finished / "runs").iterdir()} == {
        f"{key}-seed0-fold{fold}" for key in TWO for fold in (0, 1)
    }
    text = (finished / "compare.md").read_text("utf-8")
    assert "| U-Net | " in text
    assert "size 32" in text
    assert "4 patients, 8 cases held out" in text
    for picture in finished.glob("*.png"):
        assert f"]({picture.name})" in text
        with Image.open(picture) as shown:
            assert min(shown.size) > 150


def test_the_json_has_what_the_markdown_has(finished: Path) -> None:
    content = json.loads((finished / "compare.json").read_text("utf-8"))
    (table,) = content["tables"]
    assert [row["key"] for row in table["rows"]] == list(TWO)
    assert table["published"]["UNet"] == [0.82, 0.80, 0.99]
    assert content["settings"]["channels"] == [4, 4, 8]
    assert content["settings"]["folds"] == 2
    text = (finished / "compare.md").read_text("utf-8")
    for row in table["rows"]:
        assert f"{row['means']['dice']['mean']:.3f}" in text
    assert [level["level"] for level in table["rows"][1]["levels"]] == [1, 2]


def test_every_network_is_judged_on_every_patient_that_it_has_not_seen(finished: Path) -> None:
    splits = load_splits(finished / "splits.json")
    for key in TWO:
        judged = []
        for fold, split in enumerate(splits):
            result = load_result(finished / "runs" / f"{key}-seed0-fold{fold}")
            assert result is not None
            assert not result.failure
            assert result.steps == SETTINGS.steps
            cases = [case.case for case in result.cases]
            assert sorted(cases) == sorted(split.validation)
            trained = {name.rpartition("-")[0] for name in split.train}
            assert not trained & {case.patient for case in result.cases}
            judged += cases
        assert len(judged) == len(set(judged)) == 2 * PATIENTS


def test_a_network_learns_and_what_it_marks_is_what_is_scored(data: Path, tmp_path: Path) -> None:
    """A bright ellipse is learnt in a minute's fraction; on other patients, over whole slices."""
    settings = dataclasses.replace(SETTINGS, steps=60, learning_rate=1e-2, channels=(8, 8, 8))
    run_experiment("compare", data, tmp_path, settings, networks=["UNet"], folds=1, seeds=1)
    result = load_result(tmp_path / "runs" / "UNet-seed0-fold0")
    assert result is not None
    assert not result.failure
    assert result.dice > 0.7
    log = [one for one in read_log(tmp_path / "runs" / "UNet-seed0-fold0") if "loss" in one]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]


def test_volumes_are_learnt_in_2d_and_in_3d(tmp_path: Path) -> None:
    data = tmp_path / "pairs"
    write_pairs(data, ("a", "b", "c", "d"))
    for dimensions, size in ((2, 32), (3, 16)):
        settings = dataclasses.replace(
            choose_settings(
                data, dimensions=dimensions, size=size, channels=(4, 4, 8), steps=2, batch=1
            ),
            precision="float32",
        )
        report = run_experiment(
            "compare", data, tmp_path / str(dimensions), settings, networks=["AttentionUNet"],
            folds=2, seeds=1,
        )  # fmt: skip
        assert report.failures == ()
        (table,) = report.tables
        assert table.patients == 4
        # Two labels: the organ and a lesion in it.
        assert len(table.rows[0].label_dice) == 2


def test_crops_around_the_organ_are_neither_learnt_from_nor_judged_by(tmp_path: Path) -> None:
    for name in ("case0005", "case0010"):
        write_case(tmp_path / "btcv" / "train", name, small_case())
    write_case(tmp_path / "panorama-roi", "panorama001", small_case("region"), "_pancreas")
    assert len(find_data_set(tmp_path).cases) == 3
    assert [case.name for case in find_experiment_data(tmp_path).cases] == ["case0005", "case0010"]
    with pytest.raises(TrainingError, match="no whole scans"):
        find_experiment_data(tmp_path / "panorama-roi")


def test_an_organ_and_its_lesion_are_compared_on_crops_and_the_lesion_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "crops"
    small = small_case("region")
    labels = (small.labels.array == PANCREAS).astype(np.uint8)
    labels[12:16, 24:29, 10:15] *= 2
    small = dataclasses.replace(small, labels=small.labels.with_array(labels))
    for number in range(4):
        write_case(data, f"panorama{number:03}", small, "_pancreas")
    command = ["experiments", "lesion", str(data), "-o", str(tmp_path / "out"), *OPTIONS]
    command[command.index("--size") + 1] = "16"
    assert main([*command, "--channels", "4,4,8"]) == 0
    printed = capsys.readouterr().out
    assert "multi-head gate" in printed
    assert "target tumour, crops True" in printed
    assert "| Dice by label | pancreas | tumour |" in printed
    result = load_result(tmp_path / "out" / "runs" / "multi-head-seed0-fold0")
    assert result is not None
    case = result.cases[0]
    assert case.scores["dice"] == case.label_dice["tumour"]


def test_without_a_lesion_there_is_nothing_to_compare(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiments", "lesion", str(data), "-o", str(tmp_path / "out"), *OPTIONS]
    assert main(command) == 2
    assert "none is a part of another one's organ" in capsys.readouterr().err


def test_what_was_not_asked_for_is_not_among_the_settings() -> None:
    """So that a folder of before there was a choice is gone on with."""
    assert not {"target", "crops"} & SETTINGS.to_json().keys()


# Resuming


def test_finished_runs_are_never_repeated(data: Path, folder: Path, done: list[str]) -> None:
    report = run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=2, seeds=1)
    assert done == []
    assert report.unfinished == 0
    run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=2, seeds=2)
    assert done == [f"{key}-seed1-fold{fold}" for fold in (0, 1) for key in TWO]


def test_the_tables_of_an_ablation_share_their_runs(
    data: Path, folder: Path, done: list[str]
) -> None:
    networks = ("UNet", "AttentionUNet", "stable")
    run_experiment("ablate", data, folder, SETTINGS, networks=networks, folds=2, seeds=1)
    assert done == ["stable-seed0-fold0", "stable-seed0-fold1"]


def test_a_whole_seed_comes_before_the_next(data: Path, tmp_path: Path, done: list[str]) -> None:
    run_experiment("ablate", data, tmp_path, SETTINGS, folds=2, seeds=2)
    half = len(done) // 2
    assert len(done) == len(set(done)) == 8 * 2 * 2
    assert all("seed0" in name for name in done[:half])
    assert {name.partition("-seed0")[0] for name in done[:8]} == {
        key for key in VARIANTS if key not in ("FCN", "ResUNet")
    }


def test_a_failed_run_is_tried_again(data: Path, folder: Path, done: list[str]) -> None:
    file = folder / "runs" / "UNet-seed0-fold1" / "result.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "failure": "The disk was full."}))
    report = run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=2, seeds=1)
    assert done == ["UNet-seed0-fold1"]
    assert report.failures == ("UNet-seed0-fold1: Not really done.",)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    data: Path, finished: Path, folder: Path
) -> None:
    """Its checkpoint is that of two steps of three."""
    name = "AttentionUNet-seed0-fold0"
    where = folder / "runs" / name
    shutil.rmtree(where)
    found = find_data_set(data)
    (split, *_) = load_splits(folder / "splits.json")
    options = run_options(SETTINGS, Run("AttentionUNet", 0, 0), found)
    job = TrainingJob(SETTINGS, data, (split,), folder / "runs")
    train, held_out = (
        [job._case(found, one) for one in names] for names in (split.train, split.validation)
    )

    class StoppedError(Exception):
        pass

    class StopsAfterTwo(StageTrainer):
        def train_step(self, *args: object, **named: object) -> dict[str, object]:
            if self.state.step == 2:
                self.save_checkpoint()
                raise StoppedError
            return super().train_step(*args, **named)  # type: ignore[arg-type]

    with pytest.raises(StoppedError):
        StopsAfterTwo(options, train, held_out[:1], where).run()
    run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=2, seeds=1)
    ours, theirs = (load_result(one / "runs" / name) for one in (folder, finished))
    assert ours is not None
    assert theirs is not None
    assert dataclasses.replace(ours, elapsed_s=0) == dataclasses.replace(theirs, elapsed_s=0)


def test_other_settings_or_folds_are_refused_in_the_same_folder(data: Path, folder: Path) -> None:
    wider = dataclasses.replace(SETTINGS, channels=(8, 8, 8))
    with pytest.raises(TrainingError, match=r"other settings \(channels\)"):
        run_experiment("compare", data, folder, wider, networks=TWO, folds=2)
    with pytest.raises(TrainingError, match=r"other settings \(folds\)"):
        run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=3)


def test_other_cases_are_refused_in_the_same_folder(
    data: Path, folder: Path, tmp_path: Path
) -> None:
    """A new case would be in no fold, and one that is gone would make its runs fail."""
    other = shutil.copytree(data, tmp_path / data.name)
    for part, suffix in (("images", ".jpg"), ("masks", ".png")):
        first = other / part / f"PANCREAS_0001-0010{suffix}"
        shutil.copy(first, first.with_name(f"PANCREAS_0009-0010{suffix}"))
    with pytest.raises(TrainingError, match=r"other cases \('PANCREAS_0009-0010' is new\)"):
        run_experiment("compare", other, folder, SETTINGS, networks=TWO, folds=2, seeds=1)
    for file in other.glob("*/PANCREAS_000[19]-0010.*"):
        file.unlink()
    with pytest.raises(TrainingError, match=r"\('PANCREAS_0001-0010' is gone\); choose another"):
        run_experiment("compare", other, folder, SETTINGS, networks=TWO, folds=2, seeds=1)


def test_two_commands_do_not_work_in_one_folder(data: Path, folder: Path) -> None:
    from filelock import FileLock

    with FileLock(folder / ".lock"), pytest.raises(InputError, match="Another program"):
        run_experiment("compare", data, folder, SETTINGS, networks=TWO, folds=2, seeds=1)


def test_tables_are_written_anew_from_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "runs" / "UNet-seed0-fold1")
    (folder / "compare.md").unlink()
    drawn: list[str] = []
    for name in ("curves", "focus", "predictions", "attention"):
        monkeypatch.setattr(
            experiment,
            f"draw_{name}",
            lambda _runs, results, _file: bool(drawn.extend(one.run.name for one in results)),
        )
    report = report_finished_runs("compare", folder)
    assert report.unfinished == 1
    # A curve over two folds beside one over one would compare patients, not networks.
    assert set(drawn) == {"UNet-seed0-fold0", "AttentionUNet-seed0-fold0"}
    (table,) = report.tables
    assert table.cells == ((0, 0),)
    assert (folder / "compare.md").read_text("utf-8") == report.text
    with pytest.raises(TrainingError, match="holds no experiment"):
        report_finished_runs("compare", folder / "runs")
    assert "Which gate" in report_finished_runs("ablate", folder).text


# What goes wrong


def test_what_goes_wrong_in_a_run_is_its_result_and_the_others_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: dict[str, Exception] = {
        "FCN": MemoryError(),
        "ResUNet": TrainingError("The loss is not a number."),
    }
    real = runs.StageTrainer

    def trainer(options: StageOptions, *others: object) -> StageTrainer:
        if options.stage in failures:
            raise failures[options.stage]
        return real(options, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "StageTrainer", trainer)
    networks = ("FCN", "UNet", "ResUNet")
    report = run_experiment(
        "compare", data, tmp_path, SETTINGS, networks=networks, folds=1, seeds=1
    )
    memory, number = report.failures
    assert memory.startswith("FCN-seed0-fold0: The memory did not suffice; choose")
    assert number == "ResUNet-seed0-fold0: The loss is not a number."
    assert "failed in its 1 run" in report.text
    fcn, unet, _ = report.tables[0].rows
    assert (fcn.runs, unet.runs) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"minutes": 1.0}, "in steps or in minutes, one of them"),
        ({"steps": None}, "in steps or in minutes, one of them"),
        ({"batch": 0}, "batch must be above zero"),
        ({"dimensions": 4}, "2 or 3 dimensions, not 4"),
        ({"dimensions": 3}, "holds single slices"),
        ({"precision": "half"}, "'half' is no precision"),
        ({"size": 0}, "size must be above zero"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(
    data: Path, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=sentence):
        run_experiment("compare", data, tmp_path / "out", settings, folds=2)
    assert not (tmp_path / "out").exists()


def test_wrong_names_and_channels_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'race' is no experiment"):
        run_experiment("race", data, tmp_path, SETTINGS)
    with pytest.raises(InputError, match="number of folds must be at least 1"):
        run_experiment("compare", data, tmp_path, SETTINGS, folds=0)
    # Four heads do not divide six channels, which is known before the other networks have run.
    odd = dataclasses.replace(SETTINGS, channels=(6, 6, 8))
    with pytest.raises(ModelError, match="heads"):
        run_experiment("compare", data, tmp_path, odd)


def test_a_file_in_the_folders_place_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run_experiment("compare", data, tmp_path / "taken", SETTINGS)


# What all runs have in common


def test_runs_differ_in_their_network_and_seed_alone(data: Path) -> None:
    found = find_data_set(data)
    options = {
        run: run_options(SETTINGS, run, found).to_json()
        for run in (Run("UNet", 0, 0), Run("stable", 0, 0), Run("UNet", 1, 3))
    }
    plain, gated, seeded = options.values()
    assert {key for key in plain if plain[key] != gated[key]} == {"stage", "network"}
    assert {key for key in plain if plain[key] != seeded[key]} == {"seed"}
    # Nothing but the segmentation teaches the gates, and there are no clicks.
    assert gated["gate_supervision"] == 0
    assert gated["click_probability"] == 0
    assert gated["optimizer"] == "adam"


def test_settings_fit_the_data_unless_given(data: Path, tmp_path: Path) -> None:
    flat = choose_settings(data, channels=(4, 4, 8), steps=1)
    assert (flat.dimensions, flat.size, flat.batch) == (2, 256, 8)
    assert flat.spacing_mm == pytest.approx(64 / 256)  # a slice is seen whole
    write_pairs(tmp_path)
    deep = choose_settings(tmp_path, channels=(4, 4, 8), steps=1)
    assert (deep.dimensions, deep.size, deep.batch, deep.spacing_mm) == (3, 64, 2, 4.0)


# Processes


@pytest.mark.parametrize("workers", [1, 2])
def test_every_run_is_done_once_and_reported(workers: int) -> None:
    told: list[tuple[float, str]] = []
    wanted = [Run("plain", 0, fold) for fold in range(5)]
    results = list(do_runs(FakeJob(), wanted, workers, lambda *one: told.append(one)))
    assert sorted(one.run.fold for one in results) == list(range(5))
    assert all(one.run.name in {text.partition(":")[0] for _, text in told} for one in results)
    assert all(0 <= fraction <= 1 for fraction, _ in told)
    here = {one.steps == os.getpid() for one in results}
    assert here == {workers == 1}


def test_a_process_that_dies_takes_no_other_run_with_it() -> None:
    wanted = [Run(name, 0, 0) for name in ("slow", "dies", "plain", "raises", "other")]
    results = {one.run.variant: one for one in do_runs(FakeJob(), wanted, 2, lambda *one: None)}
    assert len(results) == 5
    assert "exit status 3" in results["dies"].failure
    assert "exit status 1" in results["raises"].failure
    assert not results["slow"].failure
    assert not results["plain"].failure
    assert not results["other"].failure


def test_processes_that_die_before_they_take_a_run_are_told_of() -> None:
    wanted = [Run("plain", 0, fold) for fold in range(3)]
    results = list(do_runs(JobThatCannotStart(), wanted, 2, lambda *one: None))
    assert sorted(one.run.fold for one in results) == [0, 1, 2]
    assert all("exit status 3" in one.failure for one in results)


def test_no_process_is_left_when_the_results_are_not_wanted_any_more() -> None:
    results = do_runs(FakeJob(), [Run("plain", 0, fold) for fold in range(9)], 2, lambda *one: None)
    process = next(results).steps
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_runs_in_processes_end_as_runs_in_this_one(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    run_experiment("compare", data, tmp_path, SETTINGS, networks=TWO, folds=2, seeds=1, workers=2)
    for name in ("UNet-seed0-fold0", "AttentionUNet-seed0-fold1"):
        here, there = (load_result(one / "runs" / name) for one in (finished, tmp_path))
        assert here is not None
        assert there is not None
        assert here.dice == pytest.approx(there.dice, abs=0.02)


# The command line


def test_the_command_prints_the_table_and_writes_the_files(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out"
    command = ["experiments", "compare", str(data), "-o", str(output), *OPTIONS]
    assert main([*command, "--networks", "FCN, UNet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (output / "compare.md").read_text("utf-8")
    assert "in all, counted over all runs" in printed.out
    assert "0.0 hours" not in printed.out
    assert "FCN-seed0-fold0, 1 of 4: 3 steps in " in printed.err
    with monkeypatch.context() as patch:  # what is finished is not looked at again
        patch.setattr("AttentionUNetSegmentLib.experiments.experiment.run_experiment", None)
        assert main([*command, "--networks", "FCN, UNet"]) == 0
    assert capsys.readouterr().out == printed.out
    (output / "compare.json").unlink()
    assert main(["experiments", "report", "compare", str(output)]) == 0
    assert (output / "compare.json").exists()
    assert main([*command, "--learning-rate", "0.5"]) == 2
    assert "other settings (learning_rate)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--networks", "SegNet"), "'SegNet' is not part of"),
        (("--channels", "4,x"), "takes numbers above zero with commas"),
        (("--minutes", "1"), "in steps or in minutes"),
    ],
)
def test_wrong_options_are_told_in_one_line(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    sentence: str,
) -> None:
    command = ["experiments", "ablate", str(data), "-o", str(tmp_path / "out"), *OPTIONS]
    assert main([*command, *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
