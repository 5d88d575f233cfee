"""Batches in the plain loop: what is found, what is written, and that a second run goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.app.batch import batching, worker
from AttentionUNetSegmentLib.app.batch.rows import StudyRow, done_row
from AttentionUNetSegmentLib.app.batch.sources import Study, find_studies
from AttentionUNetSegmentLib.app.batch.summary import SORTING, doubtful_first, list_warnings
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.inference import Predictor, predictor_cache
from AttentionUNetSegmentLib.inference.predictor_cache import PredictorOptions
from batch_cases import batch, hounsfield, results_of, save_model, table, write_scan, write_scans
from command_line import assert_refused, start
from filelock import FileLock
from scan_files import AXIAL, SECRET, stack, write_slices
from threshold_model import (
    LESION_HU,
    axial_scan,
    liver_and_spleen_model,
    save_card_of,
    with_ball,
)

pytestmark = pytest.mark.usefixtures("one_thread")

pytestmark = pytest.mark.usefixtures("quick_picture")

CONTRACT = {
    "segmentation.seg.nrrd",
    "probability.nrrd",
    *(f"attention-level-{level}.nrrd" for level in (1, 2, 3, 4)),
    "overlay.png",
    "report.json",
}
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "chance")


def dicom_tree(folder: Path) -> np.ndarray:
    """An axial CT in HU, k, j, i, and beside it a coronal one and a PET."""
    array = hounsfield()
    write_slices(folder / "DOE^JANE" / "axial", array, stack(len(array)), AXIAL)
    write_slices(folder / "DOE^JANE" / "coronal", array[:9], stack(9, (0, 2.5, 0)), CORONAL, uid=2)
    write_slices(folder / "PET", array[:9], stack(9), uid=3, t0008_0060="PT")
    return array


# What is found


def test_sources_are_files_folders_dicom_trees_and_manifests(tmp_path: Path) -> None:
    write_scan(tmp_path / "folder" / "deep" / "a.nii.gz")
    write_scan(tmp_path / "folder" / "b.mha")
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    write_scan(tmp_path / "c.nrrd")
    dicom_tree(tmp_path / "tree")
    write_scan(tmp_path / "d.nrrd")
    manifest = tmp_path / "list.csv"
    manifest.write_text('scan,clicks,model,name\nd.nrrd,"1,2,3,+; 4,5,6,-",liver,first\n')
    plan = find_studies([tmp_path / "folder", tmp_path / "c.nrrd", tmp_path / "tree", manifest])
    names = [study.name for study in plan.studies]
    assert names[:3] == ["b", "a", "c"]
    assert re.fullmatch(r"series-[0-9a-f]{12}", names[3])
    assert names[4:] == ["first"]
    assert len(plan.studies[3].files) == len(hounsfield())
    last = plan.studies[-1]
    assert last.model == "liver"
    assert [click.inside for click in last.clicks] == [True, False]
    assert last.clicks[1].position_ras == (4.0, 5.0, 6.0)


def test_a_scan_that_is_listed_again_keeps_its_place_and_a_second_name_is_told(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        write_scan(tmp_path / f"{name}.nrrd")
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "scan,name,model,\na.nrrd,first,,\nb.nrrd,,,\na.nrrd,other,liver,\na.nrrd,second,,\n"
        "b.nrrd,late,,\n"
    )
    plan = find_studies([manifest, tmp_path / "a.nrrd"])
    assert [study.name for study in plan.studies] == ["first", "late", "other"]
    assert [(Path(one.path).name, one.reason) for one in plan.left_out] == [
        ("a.nrrd", "'second' is the study 'first': the same scan, clicks and model.")
    ]


def test_a_series_that_is_no_axial_ct_is_left_out_with_the_reason(tmp_path: Path) -> None:
    dicom_tree(tmp_path)
    plan = find_studies([tmp_path])
    assert len(plan.studies) == 1
    reasons = {Path(one.path).name: one.reason for one in plan.left_out}
    assert "coronal" in reasons["coronal"]
    assert "9 images of PT" in reasons["PET"]


def test_a_file_of_a_series_stands_for_it(tmp_path: Path) -> None:
    array = hounsfield()
    file = write_slices(tmp_path, array, stack(len(array)))[3]
    write_slices(tmp_path, array, stack(len(array)), uid=2, prefix="OTHER")
    plan = find_studies([file])
    assert [len(study.files) for study in plan.studies] == [len(array)]
    assert str(file) in plan.studies[0].files


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Größe 1 (alt).nii.gz", "Gr_e_1_alt"),
        ("..nrrd", "scan-"),
        ("con.nrrd", "scan-con"),
        ("-o.nrrd", "o"),
        ("a" * 200 + ".nrrd", "a" * 80),
    ],
)
def test_folder_names_are_safe(name: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert find_studies([tmp_path / name]).studies[0].name == expected


def test_no_two_studies_share_a_folder(tmp_path: Path) -> None:
    for folder in ("one", "two", "three"):
        name = "CT.nrrd" if folder == "three" else "ct.nrrd"
        write_scan(tmp_path / folder / name)
    plan = find_studies([tmp_path, tmp_path / "one"])
    names = [study.name.lower() for study in plan.studies]
    assert len(names) == len(set(names)) == 3
    again = find_studies([tmp_path / "two", tmp_path])
    assert {study.name for study in again.studies} == {study.name for study in plan.studies}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path\nx.nrrd\n", "needs the column 'scan'"),
        ("scan,click\nx.nrrd,\n", "needs the column 'scan', and may have"),
        ("scan,clicks\n\n,+\n", "Line 3"),
        ('scan,clicks\nx.nrrd,"1,2,+"\n', "Line 2 .*no click"),
        ("scan\nx.nrrd,12.5,-30,104,+\n", "Line 2 .*put quotes around"),
        ("", "it has: none"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        find_studies([tmp_path / "list.csv"])


def test_the_results_are_no_source(tmp_path: Path, model: Path) -> None:
    write_scan(tmp_path / "a.nrrd")
    assert batch(tmp_path, "-o", tmp_path / "out", "--model", model) == 0
    plan = find_studies([tmp_path], skip=tmp_path / "out")
    assert [study.name for study in plan.studies] == ["a"]


def test_an_empty_folder_and_a_missing_one_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    plan = find_studies([tmp_path / "empty"])
    assert plan.studies == []
    assert [one.reason for one in plan.left_out] == ["No image was found in this folder."]
    with pytest.raises(InputError, match="no file or folder"):
        find_studies([tmp_path / "gone"])


# What is written


def test_each_study_gets_the_files_of_the_contract_and_a_row(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "scans", 2)
    (scans / "broken.nii.gz").write_bytes(b"broken")
    out = tmp_path / "out"
    assert batch(scans, "-o", out, "--model", model) == 2
    printed = capsys.readouterr()
    assert "here, one after the other" in printed.err
    assert printed.err.endswith("damaged, cut short or of another format.\n")
    assert "1 of 3 studies failed" in printed.err
    assert sorted(path.name for path in (out / "studies").iterdir()) == ["scan0", "scan1"]
    for name in ("scan0", "scan1"):
        assert {path.name for path in (out / "studies" / name).iterdir()} == CONTRACT
    rows = table(out)
    assert [(row["study"], row["status"]) for row in rows] == [
        ("broken", "failed"), ("scan0", "done"), ("scan1", "done"),
    ]  # fmt: skip
    assert "damaged" in rows[0]["error"]
    report = json.loads((out / "studies" / "scan1" / "report.json").read_text())
    assert float(rows[2]["volume_ml"]) == report["volume_ml"] > 0
    assert float(rows[2]["network_s"]) == report["timings_s"]["network"]
    measured = report["statistics"]
    for name in ("mean_hu", "sd_hu", "median_hu", "surface_mm2", "length_mm", "pieces"):
        assert float(rows[2][name]) == measured[name]
    extent = [float(rows[2][f"extent_{axis}_mm"]) for axis in "ras"]
    assert extent == measured["extent_mm"]
    assert report["model"]["name"] == "chance"
    assert {path.name for path in out.iterdir()} - {".lock"} == {
        "results.csv", "sources.csv", "studies", "summary.html",
    }  # fmt: skip


def test_nothing_but_the_list_of_sources_names_a_patient(tmp_path: Path, model: Path) -> None:
    """The tree's folders and the files' headers do."""
    dicom_tree(tmp_path / "in")
    out = tmp_path / "out"
    assert batch(tmp_path / "in", "-o", out, "--model", model) == 0
    assert "DOE^JANE" in (out / "sources.csv").read_text()
    for path in [out, *out.rglob("*")]:
        for secret in ("DOE", "JANE", SECRET, "1.2.826.0.1.3680043.2.1125"):
            assert secret not in path.name
            if path.is_file() and path.name != "sources.csv":
                assert secret.encode() not in path.read_bytes(), path


def test_clicks_and_model_of_a_row_are_used(tmp_path: Path, model: Path) -> None:
    write_scan(tmp_path / "a.nrrd")
    other = save_model(tmp_path / "other", "8")
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "scan,clicks,model,name\n"
        f"a.nrrd,,{model},plain\n"
        f'a.nrrd,"20,10,70,+",{other},clicked\n'
        "gone.nrrd,,,gone\n"
        "a.nrrd,,no-such-model,unknown\n"
    )
    assert batch(manifest, "-o", tmp_path / "out", "--model", model) == 2
    rows = {row["study"]: row for row in table(tmp_path / "out")}
    assert list(rows) == ["plain", "clicked", "gone", "unknown"]
    assert rows["plain"]["model"] == "chance 7"
    assert rows["clicked"]["model"] == "chance 8"
    assert "no such file" in rows["gone"]["error"]
    assert "no model 'no-such-model'" in rows["unknown"]["error"]
    report = json.loads((tmp_path / "out/studies/clicked/report.json").read_text())
    assert report["clicks"] == [{"position_ras": [20.0, 10.0, 70.0], "inside": True}]


def test_a_model_is_loaded_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AttentionUNetSegmentLib.inference import predictor_cache

    loaded: list[Path] = []

    def load(folder: Path) -> Any:
        loaded.append(folder)
        return real(folder)

    real = predictor_cache.load_model
    monkeypatch.setattr(predictor_cache, "load_model", load)
    scans = write_scans(tmp_path / "scans", 3)
    assert batch(scans, "-o", tmp_path / "out", "--model", model) == 0
    assert loaded == [model]


@pytest.mark.parametrize(
    "problem", [MemoryError(), OSError(5, "Input/output error"), RuntimeError("a bug")], ids=repr
)
def test_one_bad_study_never_stops_the_rest(
    problem: Exception, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, name: str) -> Any:
        if path.name == "scan1.nrrd":
            raise problem
        return real(path, name)

    real = worker.read_scan
    monkeypatch.setattr(worker, "read_scan", read)
    out = tmp_path / "out"
    assert batch(write_scans(tmp_path / "scans", 3), "-o", out, "--model", model) == 2
    rows = table(out)
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["error"].endswith(".") or "a bug" in rows[1]["error"]
    assert not (out / "studies" / "scan1").exists()


def test_the_table_grows_as_it_runs(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    class Watched(worker.BatchWorker):
        def run(self, study: Study, *arguments: Any) -> Any:
            seen.append([row["study"] for row in table(self.directory)])
            return super().run(study, *arguments)

    monkeypatch.setattr(batching, "BatchWorker", Watched)
    scans = write_scans(tmp_path / "scans", 3)
    assert batch(scans, "-o", tmp_path / "out", "--model", model) == 0
    assert seen == [[], ["scan0"], ["scan0", "scan1"]]


# Going on


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that were segmented into, in their order."""
    folders: list[str] = []
    real = worker.segment_into

    def segment_into(folder: Path, *arguments: Any, **options: Any) -> Any:
        folders.append(folder.name)
        return real(folder, *arguments, **options)

    monkeypatch.setattr(worker, "segment_into", segment_into)
    return folders


def test_what_is_finished_is_not_done_again(
    tmp_path: Path, model: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = write_scans(tmp_path / "scans", 3), tmp_path / "out"
    assert batch(scans, "-o", out, "--model", model) == 0
    results, rows = results_of(out), (out / "results.csv").read_bytes()
    page = (out / "summary.html").read_bytes()
    ran.clear()
    assert batch(scans, "-o", out, "--model", model) == 0
    assert ran == []
    assert "3 of 3 studies, 3 of them before" in capsys.readouterr().out
    assert results_of(out) == results
    assert (out / "results.csv").read_bytes() == rows
    assert (out / "summary.html").read_bytes() == page


def change_scan(tmp_path: Path, out: Path) -> dict[str, Any]:
    write_scan(tmp_path / "scans" / "scan1.nrrd", 199)
    return {}


def damage_a_result(tmp_path: Path, out: Path) -> dict[str, Any]:
    (out / "studies" / "scan1" / "probability.nrrd").write_bytes(b"cut")
    return {}


def lose_a_result(tmp_path: Path, out: Path) -> dict[str, Any]:
    (out / "studies" / "scan1" / "overlay.png").unlink()
    return {}


def lose_the_report(tmp_path: Path, out: Path) -> dict[str, Any]:
    (out / "studies" / "scan1" / "report.json").unlink()
    return {}


@pytest.mark.parametrize("change", [change_scan, damage_a_result, lose_a_result, lose_the_report])
def test_what_is_not_what_was_asked_for_is_done_again(
    change: Callable[[Path, Path], dict[str, Any]], tmp_path: Path, model: Path, ran: list[str]
) -> None:
    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    assert batch(scans, "-o", out, "--model", model) == 0
    ran.clear()
    change(tmp_path, out)
    assert batch(scans, "-o", out, "--model", model) == 0
    assert ran == ["scan1"]


def test_another_model_or_option_is_another_result(
    tmp_path: Path, model: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out = write_scans(tmp_path / "scans", 1), tmp_path / "out"
    again = {
        "plain": ["--model", model],
        "the same": ["--model", model],
        "also": ["--model", model, "--also", "nifti"],
        "no more": ["--model", model],
        "model": ["--model", save_model(tmp_path / "new", "8")],
        "in halves": ["--model", model, "--precision", "bfloat16"],
        "in halves again": ["--model", model, "--precision", "bfloat16"],
        "as the machine takes it": ["--model", model],
    }
    computed_in = []
    real = predictor_cache.load_predictor

    def load_predictor(options: PredictorOptions) -> Predictor:
        computed_in.append(options.precision)
        return real(options)

    monkeypatch.setattr(predictor_cache, "load_predictor", load_predictor)
    counts = []
    for options in again.values():
        ran.clear()
        assert batch(scans, "-o", out, *options) == 0
        counts.append(len(ran))
    # Weights are what makes a model, not its version.
    assert counts == [1, 0, 1, 1, 0, 1, 0, 1]
    assert computed_in == ["auto"] * 3 + ["bfloat16", "auto"]
    assert not (out / "studies" / "scan0" / "segmentation.nii.gz").exists()


def test_a_structure_that_the_model_knows_is_found_in_each_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    knowing = liver_and_spleen_model()
    folder = save_card_of(knowing, tmp_path / "liver")
    monkeypatch.setattr(predictor_cache, "load_predictor", lambda _: Predictor(knowing, "cpu"))
    scan, _ = axial_scan((4.0, 4.0, 5.0))
    with_spleen = with_ball(scan, scan.grid.bounds.centre_ras, 24, LESION_HU)
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for name, volume in (("a", with_spleen), ("b", scan)):
        sitk.WriteImage(volume.to_sitk(), str(scans / f"{name}.nii.gz"))
    arguments = (scans, "-o", out, "--model", folder, "--device", "cpu")
    assert batch(*arguments, "--structure", "spleen") == 0
    rows = table(out)
    assert [row["found"] for row in rows] == ["yes", "no"]
    assert [row["target"] for row in rows] == ["spleen"] * 2
    assert float(rows[0]["volume_ml"]) == pytest.approx(58, rel=0.2)
    assert rows[0]["warnings"] == ""
    assert "The spleen was not found in this scan" in rows[1]["warnings"]
    page = (out / "summary.html").read_text(encoding="utf-8")
    assert "Segmented: spleen. Any structure is experimental" in page
    # The same again is kept; the model's own organ is another result.
    capsys.readouterr()
    assert batch(*arguments, "--structure", "spleen") == 0
    assert "2 of them before" in capsys.readouterr().out
    assert batch(*arguments) == 0
    assert "0 of them before" in capsys.readouterr().out
    assert [row["target"] for row in table(out)] == ["liver"] * 2
    assert "experimental" not in (out / "summary.html").read_text(encoding="utf-8")


def test_a_structure_that_nothing_begins_is_refused_before_the_first_scan(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scans(tmp_path / "scans", 1)
    folder = save_card_of(liver_and_spleen_model(), tmp_path / "liver")
    arguments = (tmp_path / "scans", "-o", tmp_path / "out", "--structure")
    for name, chosen, words in (
        ("cyst", folder, "click or draw a line inside it first"),
        ("x" * 101, folder, "is no name for a structure"),
        ("cyst", model, "answers clicks at the pancreas alone"),
    ):
        assert_refused(capsys, batch(*arguments, name, "--model", chosen), words)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is for POSIX")
def test_a_killed_run_goes_on(tmp_path: Path, model: Path, ran: list[str]) -> None:
    scans, out = write_scans(tmp_path / "scans", 4), tmp_path / "out"
    process = start("batch", scans, "-o", out, "--model", model)  # draws its pictures
    while not (out / "studies" / "scan1").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.communicate()
    assert batch(scans, "-o", out, "--model", model) == 0
    assert "scan0" not in ran
    assert ran[-2:] == ["scan2", "scan3"]
    whole = tmp_path / "whole"
    assert batch(scans, "-o", whole, "--model", model) == 0
    pictures = {f"studies/scan{number}/overlay.png" for number in range(4)}
    one, other = results_of(out), results_of(whole)
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} <= pictures | {
        f"studies/scan{number}/report.json"
        for number in range(2)  # with the pictures' sizes
    }


# What is said


def test_two_batches_do_not_work_in_one_folder(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "a.nrrd")
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        assert batch(tmp_path / "a.nrrd", "-o", out, "--model", model) == 2
        assert "Another program is working in" in capsys.readouterr().err
        assert not list((out / "studies").iterdir())
    assert batch(tmp_path / "a.nrrd", "-o", out, "--model", model) == 0


def test_why_a_series_fails_names_no_file(tmp_path: Path, model: Path) -> None:
    array = hounsfield()
    places = stack(len(array))
    for place in places[4:]:
        place[2] += 20  # slices are missing
    write_slices(tmp_path / "in", array, places, AXIAL, prefix="DOE")
    assert batch(tmp_path / "in", "-o", tmp_path / "out", "--model", model) == 2
    (row,) = table(tmp_path / "out")
    assert "lacks slices" in row["error"]
    assert "DOE" not in row["error"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dicom_tree(tmp_path / "tree")
    scans = write_scans(tmp_path / "scans", 1)
    out = tmp_path / "out"
    options = ["-o", out, "--model", model, "--ray", "local", "--dry-run"]
    pytest.importorskip("ray", reason="Ray is not installed, or has no wheel for this Python")
    assert batch(scans, tmp_path / "tree", *options) == 0
    printed = capsys.readouterr().out
    assert "2 studies would run with Ray on this machine" in printed
    assert f"scan0: {scans}" in printed
    assert "20 files" in printed
    assert "Left out:" in printed
    assert "coronal" in printed
    assert not out.exists()


def test_progress_tells_studies_a_minute_and_failures(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "scans", 2)
    (scans / "bad.nrrd").write_bytes(b"bad")
    said: list[tuple[float, str]] = []
    options = batching.BatchOptions(tmp_path / "out")
    plan = find_studies([scans], str(model))
    batching.run_batch(plan, options, lambda fraction, text: said.append((fraction, text)))
    assert said[0] == (0.0, "0 of 3 studies, 0.0 a minute, 0 failed")
    assert re.fullmatch(r"3 of 3 studies, [1-9]\d*\.\d a minute, 1 failed", said[-2][1])
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--also", "obj"], "nifti, stl, dicom-seg"),
        (["--workers", "2"], "--ray"),
        (["--gpus-per-worker", "0.5"], "--ray"),
        (["--model", "liver"], "no model 'liver'"),
    ],
)
def test_wrong_options_are_refused(
    options: list[str],
    words: str,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_scan(tmp_path / "a.nrrd")
    arguments = ["--model", model, *options]
    assert batch(tmp_path / "a.nrrd", "-o", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("module", "options"), [("ray", ["--ray", "local"]), ("highdicom", ["--also", "dicom-seg"])]
)
def test_a_missing_package_is_told_with_its_extra(
    module: str,
    options: list[str],
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == module else real(name)
    )
    scan = write_scan(tmp_path / "a.nrrd")
    assert batch(scan, "-o", tmp_path / "out", "--model", model, *options) == 2
    assert f"'{module}' is missing; install it with: " in (error := capsys.readouterr().err)
    assert f'"{module}>=' in error
    assert batch(scan, "-o", tmp_path / "out", "--model", model) == 0
    if module == "ray":
        assert "Ray is not installed" in capsys.readouterr().err


# The page


def row(study: str, **values: Any) -> StudyRow:
    usual = {"status": "done", "found": "yes", "volume_ml": 80.0, "target": "pancreas"}
    return StudyRow(study, **(usual | values))


def test_doubtful_studies_come_first() -> None:
    rows = [
        row("usual"),
        row("small", volume_ml=5.0, warnings="The pancreas measures 5.0 mL."),
        row("warned", warnings="The slices are thick."),
        row("nothing", found="no", volume_ml=0.0),
        row("huge", volume_ml=300.0, warnings="The pancreas measures 300.0 mL."),
        row("bad", status="failed", found="", volume_ml=None, error="It is damaged."),
    ]
    ordered = [one.study for one in doubtful_first(rows)]
    assert ordered == ["bad", "nothing", "small", "warned", "huge", "usual"]
    assert list_warnings(rows[0]) == []
    assert list_warnings(rows[1]) == ["The pancreas measures 5.0 mL."]


def test_among_the_doubtful_and_among_the_rest_the_worse_by_the_estimate_come_first() -> None:
    rows = [
        row("good", dice_estimate=0.85),
        row("unknown"),
        row("fair", dice_estimate=0.75),
        row("warned", dice_estimate=0.8, warnings="It has pieces."),
        row("poor", dice_estimate=0.4, warnings="It is probably not good."),
    ]
    ordered = [one.study for one in doubtful_first(rows)]
    assert ordered == ["poor", "warned", "fair", "good", "unknown"]


def test_a_row_has_the_estimate_of_its_report() -> None:
    report = {
        "found": True,
        "statistics": {"volume_ml": 1.0, "extent_mm": None},
        "timings_s": dict.fromkeys(("reading", "network", "writing", "total"), 1.0),
        "warnings": [],
        "device": "CPU",
        "model": {"name": "m", "version": "1", "target": "pancreas"},
        "batch": {"input_sha256": ""},
    }
    assert done_row("old", report).dice_estimate is None  # of an earlier version
    report["dice_estimate"] = {"value": 0.76, "low": 0.6, "high": 0.85, "coverage": 0.9}
    one = done_row("new", report)
    assert (one.dice_estimate, one.dice_low, one.dice_high) == (0.76, 0.6, 0.85)


def test_the_page_needs_nothing_else(tmp_path: Path, model: Path) -> None:
    scans = write_scans(tmp_path / "scans", 2)
    (scans / "<b>&.nrrd").write_bytes(b"bad")
    batch(scans, "-o", tmp_path / "out", "--model", model)
    page = (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    assert page.count("src='data:image/jpeg;base64,") == 2
    assert not re.search(r"src\s*=\s*['\"](?!data:)", page)
    links = re.findall(r"href='([^']*)'", page)
    assert {"studies/scan0/", "studies/scan1/overlay.png"} <= set(links)
    assert all((tmp_path / "out" / link).exists() for link in links)
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("<script>") == 1
    assert page.count("<th scope='col'>") == 9
    assert "<b>" not in page
    assert "<svg" in page
    assert "Research use only" in page
    assert page.index("damaged") < page.index("scan0")


def test_a_click_on_a_title_sorts_by_numbers_and_a_second_one_back() -> None:
    """The page's script in a JavaScript engine, on a table of three rows."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js to run the page's script")
    program = (
        """
        function head() {
          const of = {};
          return {
            getAttribute: name => of[name], setAttribute: (name, value) => { of[name] = value; },
            removeAttribute: name => { delete of[name]; },
            addEventListener: (kind, act) => { of.act = act; }, click: () => of.act(),
          };
        }
        const cell = (text, value) => ({textContent: text, dataset: {value: value}});
        const row = (name, value) => ({cells: [cell(name), cell("", value)]});
        const rows = [row("b", "88.47"), row("a", ""), row("c", "9.5")];
        const body = {
          rows: rows, append: one => { rows.splice(rows.indexOf(one), 1); rows.push(one); }
        };
        const heads = [head(), head()];
        const document = {querySelectorAll: () => heads, querySelector: () => body};
        const order = () => rows.map(one => one.cells[0].textContent).join("");
        """
        + SORTING
        + """
        heads[1].click(); const up = order();
        heads[1].click(); const down = order();
        heads[0].click(); console.log(up, down, order());
        """
    )
    printed = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "acb bca abc\n"


# Other formats


def test_a_tilted_study_has_a_label_map(tmp_path: Path, model: Path) -> None:
    """In the sform; what a format cannot hold is in test_batch_odd.py."""
    array = hounsfield()
    write_slices(tmp_path / "in", array, stack(len(array), (0, 1, 2.5)))
    out = tmp_path / "out"
    assert batch(tmp_path / "in", "-o", out, "--model", model, "--also", "nifti") == 0
    (row,) = table(out)
    assert row["status"] == "done"
    assert "not written" not in row["warnings"]
    written = {path.name for path in (out / "studies" / row["study"]).iterdir()}
    assert written == CONTRACT | {"segmentation.nii.gz"}


def test_nifti_and_stl_hold_the_segment(tmp_path: Path, model: Path) -> None:
    scans, out = write_scans(tmp_path / "scans", 1), tmp_path / "out"
    assert batch(scans, "-o", out, "--model", model, "--also", "nifti", "--also", "stl") == 0
    folder = out / "studies" / "scan0"
    assert {path.name for path in folder.iterdir()} == CONTRACT | {
        "segmentation.nii.gz", "segmentation.stl",
    }  # fmt: skip
    mask = sitk.ReadImage(str(folder / "segmentation.nii.gz"))
    expected = sitk.ReadImage(str(folder / "segmentation.seg.nrrd"))
    assert (sitk.GetArrayFromImage(mask) == sitk.GetArrayFromImage(expected)).all()
    assert sitk.GetArrayFromImage(mask).any()
    np.testing.assert_allclose(mask.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetSpacing(), expected.GetSpacing(), atol=1e-5)
    assert (folder / "segmentation.stl").stat().st_size > 84
