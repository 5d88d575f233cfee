"""The command line: its files, its exit status, its one line, and that it leaves no half of it.

Most tests run `main` in this process, with networks whose answer is known in place of trained ones;
a few start a real process, because signals and limits are a process's.
"""

from __future__ import annotations

import dataclasses
import json
import os
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
from AttentionUNetSegmentLib import files, models
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.report import INTENDED_USE
from AttentionUNetSegmentLib.synthetic import synthetic_abdomen
from AttentionUNetSegmentLib.training.naming import Naming
from AttentionUNetSegmentLib.training.recipes import Choices
from AttentionUNetSegmentLib.training.training_options import TrainingOptions
from command_line import (
    LIBRARY,
    RESULTS,
    SHAPE,
    SPACING,
    assert_one_line,
    assert_refused,
    hounsfield,
    run,
    save_random_model,
    start,
    write_image,
)
from PIL import Image
from threshold_model import BRIGHT_HU, liver_and_spleen_model, save_card_of, threshold_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture
def bright(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model whose networks take what is bright for the organ."""

    def load(folder: Path) -> models.Model:
        assert folder == model_folder
        return threshold_model()

    monkeypatch.setattr(segmenting, "load_model", load)
    return model_folder


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(hounsfield(), tmp_path_factory.mktemp("scans") / "abdomen.nrrd")


@pytest.fixture(scope="session")
def result(scan: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a segmentation of the scan was written into."""
    folder = tmp_path_factory.mktemp("results") / "new" / "folder"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(segmenting, "load_model", lambda folder: threshold_model())
        assert run("segment", scan, "-o", folder, "--model", model_folder) == 0
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.iterdir()}


# The interface


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from AttentionUNetSegmentLib.app.main import main\n"
        "for arguments in (['--help'], ['segment', '--help'], ['models', '--help']):\n"
        "    assert main(arguments) == 0\n"
        "heavy = 'numpy torch slicer vtk SimpleITK matplotlib monai scipy rich'.split()\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    assert shown.stdout.endswith("HEAVY []\n")
    for word in ("segment", "demo", "train", "evaluate", "models", "--click", "Research use only"):
        assert word in shown.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("attention-unet-segment ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], ["--nonsense"]),
        (["sgment", "x"], ["sgment", "segment"]),
        (["segment"], ["INPUT"]),
        (["segment", "x.nrrd"], ["--output"]),
        (["segment", "x.nrrd", "-o", "out", "--device", "quantum"], ["quantum", "cuda"]),
        (["segment", "x.nrrd", "-o", "out", "--click", "1,2,+"], ["1,2,+", "R,A,S,+"]),
        (["segment", "x.nrrd", "-o", "out", "--click", "nan,1,2,+"], ["nan", "finite"]),
        (["segment", "x.nrrd", "-o", "out", "--model", "liver"], ["no model 'liver'"]),
        (["segment", "x.nrrd", "-o", "out", "--model", "a\nb"], ["no model 'a b'"]),
        (["segment", "x.nrrd", "y.nrrd", "-o", "out"], ["y.nrrd"]),
        (["demo", "--seed", "-1"], ["seed"]),
        (["demo", "--seed", "1", "--input", "x.nrrd"], ["seed", "--input"]),
        (["train", "data", "-o", "run", "--precision", "int8"], ["int8"]),
        (["models", "verify", "liver"], ["no model 'liver'"]),
        (["models", "remove"], ["remove"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_use_is_told_in_one_line(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, run(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("segment", "--precision", "'auto', 'bfloat16', 'float32'"),
        ("segment", "--only", "'mask', 'probability', 'attention', 'picture'"),
        ("train", "--stage", "'all', 'locator', 'refiner', 'editor'"),
    ],
)
def test_a_value_that_is_none_of_those_there_are_is_told_in_one_plain_sentence(
    command: str, option: str, values: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, tmp_path, "-o", tmp_path / "out", option, "x: Value error, y") == 2
    assert capsys.readouterr().err == (
        f"Error: Invalid value for '{option}': 'x: Value error, y' is not one of {values}. "
        f"Try 'attention-unet-segment {command} --help'.\n"
    )


# What segment writes


def test_all_files_of_the_contract_are_written_and_no_other(result: Path) -> None:
    assert sorted(path.name for path in result.iterdir()) == sorted(RESULTS)


def test_volumes_are_on_the_grid_of_the_input(scan: Path, result: Path) -> None:
    expected = sitk.ReadImage(str(scan))
    for name in RESULTS[:6]:
        image = sitk.ReadImage(str(result / name))
        assert image.GetSize() == expected.GetSize(), name
        for place in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(
                getattr(image, place)(), getattr(expected, place)(), atol=1e-5, err_msg=name
            )
        if name != RESULTS[0]:
            array = sitk.GetArrayFromImage(image)
            assert array.dtype == np.float32
            assert array.min() >= 0
            assert array.max() <= 1
            assert array.max() > 0.5


def test_the_segment_is_the_organ_with_its_terminology(scan: Path, result: Path) -> None:
    image = sitk.ReadImage(str(result / "segmentation.seg.nrrd"))
    mask = sitk.GetArrayFromImage(image) != 0
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(scan))) == BRIGHT_HU
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9
    assert image.GetMetaData("Segment0_Name") == "Pancreas"
    voxel_ml = np.prod(SPACING) / 1000
    report = json.loads((result / "report.json").read_text())
    assert report["volume_ml"] == pytest.approx(mask.sum() * voxel_ml, abs=0.01)


def test_the_report_tells_what_was_done(result: Path, model_folder: Path) -> None:
    report = json.loads((result / "report.json").read_text())
    assert report["intended_use"] == INTENDED_USE
    assert report["found"] is True
    assert len(report["focus_ratios"]) == 4
    assert report["threshold"] == 0.5
    assert report["device"].startswith(("CPU", "GPU", "Apple"))
    assert report["model"]["name"] == "bright"
    assert set(report["model"]) == {"name", "version", "sha256", "target"}
    assert report["input"] == {
        "name": "abdomen.nrrd",
        "shape": list(SHAPE[::-1]),
        "spacing_mm": list(SPACING),
    }
    assert report["clicks"] == []
    assert report["warnings"] == []
    timings = report["timings_s"]
    assert {"reading", "network", "writing", "total"} <= set(timings)
    assert list(timings)[-1] == "total"
    assert timings["reading"] + timings["network"] + timings["writing"] <= timings["total"]
    assert "abdomen" not in json.dumps(report | {"input": None})
    assert str(result) not in json.dumps(report)


def test_the_picture_is_there(result: Path) -> None:
    with Image.open(result / "overlay.png") as picture:
        assert picture.size[0] >= 1600
        assert picture.format == "PNG"


@pytest.mark.usefixtures("quick_picture")
def test_the_summary_goes_to_stdout(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point = "-60,-40,-280,+"  # coordinates may be negative
    report_of = tmp_path / "out" / "report.json"
    assert run("segment", scan, "-o", tmp_path / "out", "--model", bright, "--click", point) == 0
    printed = capsys.readouterr()
    report = json.loads(report_of.read_text())
    assert report["clicks"] == [{"position_ras": [-60.0, -40.0, -280.0], "inside": True}]
    assert f"{report['volume_ml']:.1f} mL" in printed.out
    assert str(tmp_path / "out") in printed.out
    assert INTENDED_USE in printed.out
    # Nothing but what there is to be warned of, which depends on what these weights happen to find.
    assert printed.err == "".join(f"Warning: {text}\n" for text in report["warnings"])


@pytest.mark.usefixtures("quick_picture")
def test_warnings_go_to_stderr_and_into_the_report(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five_slices = write_image(hounsfield()[25:30], tmp_path / "five.nii.gz")
    assert run("segment", five_slices, "-o", tmp_path / "out", "--model", bright) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["warnings"]
    assert report["input"]["shape"] == [56, 52, 5]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"Warning: {warning}" for warning in report["warnings"]]


def test_voxels_of_20_mm_are_segmented(bright: Path, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(hounsfield()[::4, ::5, ::5])
    image.SetSpacing((20.0, 20.0, 20.0))
    sitk.WriteImage(image, str(tmp_path / "coarse.mha"))
    out = tmp_path / "out"
    assert run("segment", tmp_path / "coarse.mha", "-o", out, "--model", bright) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS)


def test_a_scan_without_the_organ_gives_an_empty_segment_and_says_so(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    legs = write_image(hounsfield(organ=40), tmp_path / "legs.nrrd")
    out = tmp_path / "out"
    assert run("segment", legs, "-o", out, "--model", bright) == 0
    printed = capsys.readouterr()
    assert "none found" in printed.out
    assert "No pancreas was found" in printed.err
    report = json.loads((out / "report.json").read_text())
    assert report["found"] is False
    assert report["volume_ml"] == 0
    segmentation = sitk.ReadImage(str(out / "segmentation.seg.nrrd"))
    assert segmentation.GetSize() == SHAPE[::-1]
    assert sitk.GetArrayFromImage(segmentation).max() == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS)


# Bad input

SMALL = np.random.default_rng(0).integers(-1000, 1000, (8, 9, 10)).astype(np.int16)


def _text(path: Path) -> Path:
    path.with_suffix(".nii").write_text("not an image")
    return path.with_suffix(".nii")


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _folder(path: Path) -> Path:
    path.with_suffix("").mkdir()
    return path.with_suffix("")


def _colour(path: Path) -> Path:
    return write_image(np.zeros((8, 9, 10, 3), np.uint8), path, vector=True)


def _series(path: Path) -> Path:
    array = np.broadcast_to(SMALL, (4, *SMALL.shape)).copy()
    return write_image(array, path, (1, 1, 1, 1))


def _not_a_number(path: Path) -> Path:
    array = hounsfield().astype(np.float32)
    array[3, 4, 5] = np.nan
    return write_image(array, path)


def _infinite(path: Path) -> Path:
    array = hounsfield().astype(np.float32)
    array[3, 4, 5] = np.inf
    return write_image(array, path)


def _magnetic_resonance(path: Path) -> Path:
    rng = np.random.default_rng(1)
    inside = hounsfield() > -1000
    return write_image((inside * rng.integers(100, 900, SHAPE)).astype(np.uint16), path)


BAD_INPUT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda path: path, "no file"),
    "not an image": (_text, "scan.nii"),
    "an empty file": (_empty, "empty"),
    "a folder without DICOM": (_folder, "scan"),
    "2D": (lambda path: write_image(SMALL[0], path, (1.0, 1.0)), "2D"),
    "4D": (_series, "4D"),
    "RGB": (_colour, "3 values"),
    "all one value": (
        lambda path: write_image(np.full(SHAPE, 40, np.int16), path),
        "all its voxels",
    ),
    "NaN": (_not_a_number, "NaN"),
    "infinite": (_infinite, "infinite"),
    "MR": (_magnetic_resonance, "Hounsfield"),
}


@pytest.mark.parametrize("kind", BAD_INPUT)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(
    kind: str, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = BAD_INPUT[kind]
    path = make(tmp_path / "scan.nrrd")
    before = sorted(tmp_path.rglob("*"))
    status = run("segment", path, "-o", tmp_path / "new" / "out", "--model", bright)
    assert_refused(capsys, status, words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_click_outside_the_scan_is_refused(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    click = ("--click", "5000,0,0,+")
    status = run("segment", scan, "-o", tmp_path / "out", "--model", bright, *click)
    assert_refused(capsys, status, "outside the scan")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_input_in_a_process_of_its_own(model_folder: Path, tmp_path: Path) -> None:
    """Nothing that a library prints on its own comes between."""
    damaged = _text(tmp_path / "damaged")
    process = start("segment", damaged, "-o", tmp_path / "out", "--model", model_folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert out == ""
    assert_one_line(err, "damaged.nii")
    assert not (tmp_path / "out").exists()


# The output folder


def _never(*arguments: object) -> None:
    raise AssertionError("the long work began all the same")


def test_an_output_folder_that_is_a_file_is_refused_before_the_work(
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segmenting, "load_model", _never)
    monkeypatch.setattr("AttentionUNetSegmentLib.io.reading.read_volume", _never)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert_refused(capsys, run("segment", scan, "-o", out, "--model", bright), "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody can write to")
def test_a_read_only_output_folder_is_refused_before_the_work(
    scan: Path,
    bright: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segmenting, "load_model", _never)
    monkeypatch.setattr("AttentionUNetSegmentLib.io.reading.read_volume", _never)
    for out in ("/proc", "/proc/results"):
        status = run("segment", scan, "-o", out, "--model", bright)
        assert_refused(capsys, status, "cannot be written", out)


def test_a_folder_in_the_place_of_a_file_is_refused(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").mkdir()
    assert_refused(capsys, run("segment", scan, "-o", tmp_path, "--model", bright), "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_scan_is_not_written_over(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("probability.nrrd", "attention-level-2.nrrd"):
        mine = tmp_path / name
        mine.write_bytes(scan.read_bytes())
        status = run("segment", mine, "-o", tmp_path, "--model", bright)
        assert_refused(capsys, status, name)
        assert mine.read_bytes() == scan.read_bytes()
        mine.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_picture")
def test_an_earlier_result_is_replaced_as_a_whole(scan: Path, bright: Path, tmp_path: Path) -> None:
    for name in (
        *RESULTS,
        "attention-level-5.nrrd",
        "attention-level-12.nrrd",
        "synthetic-ct.nrrd",
    ):
        (tmp_path / name).write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "attention-level-5.txt").write_text("mine")
    assert run("segment", scan, "-o", tmp_path, "--model", bright) == 0
    left = content(tmp_path)
    assert sorted(left) == sorted([*RESULTS, "notes.txt", "attention-level-5.txt"])
    assert [name for name, value in left.items() if value == b"old"] == []


class BugError(Exception):
    """What a bug raises."""


def _break(*arguments: object, **options: object) -> None:
    raise BugError("a bug")


def _fill(*arguments: object, **options: object) -> None:
    raise OSError(28, "No space left on device")


def _terminate(*arguments: object, **options: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def _interrupt(*arguments: object, **options: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("failure", "status", "line"),
    [
        (_fill, 2, "Error: Results cannot be written"),
        (_terminate, 143, "Stopped."),
        (_interrupt, 130, "Stopped."),
    ],
)
def test_an_earlier_result_survives_a_run_that_fails_at_the_end(
    failure: Callable[..., None],
    status: int,
    line: str,
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in RESULTS:
        (tmp_path / name).write_text("old")
    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", failure)
    assert run("segment", scan, "-o", tmp_path, "--model", bright) == status
    assert content(tmp_path) == dict.fromkeys(RESULTS, b"old")
    printed = capsys.readouterr()
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_bug_keeps_its_traceback_and_leaves_nothing(
    scan: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", _break)
    with pytest.raises(BugError):
        run("segment", scan, "-o", tmp_path / "out", "--model", bright)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_picture")
def test_a_stop_while_files_move_into_place_waits_until_all_have(
    scan: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def replace_and_stop(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).parent == tmp_path and Path(target).name == RESULTS[0]:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(os, "replace", replace_and_stop)
    assert run("segment", scan, "-o", tmp_path, "--model", bright) == 143
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(RESULTS)


@pytest.mark.usefixtures("quick_picture")
def test_nothing_is_staged_inside_the_staged_folder(
    scan: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    staging_folder, folder_beside = files.staging_folder, files.folder_beside

    def told(kind: str, function: Any) -> Any:
        def tell(path: Path) -> Any:
            made.append(kind)
            return function(path)

        return tell

    monkeypatch.setattr(files, "staging_folder", told("inside", staging_folder))
    monkeypatch.setattr(files, "folder_beside", told("beside", folder_beside))
    assert run("segment", scan, "-o", tmp_path / "out", "--model", bright) == 0
    assert run("segment", scan, "-o", tmp_path / "surface.stl", "--model", bright) == 0
    assert made == ["inside", "inside"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(
    model_folder: Path, tmp_path: Path
) -> None:
    import resource

    noise = np.random.default_rng(0).normal(0, 15, SHAPE)
    path = write_image((hounsfield() + noise).astype(np.int16), tmp_path / "scan.nrrd")
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    process = start(
        *("segment", path, "-o", out, "--model", model_folder),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert_one_line(err)
    assert content(out) == {"report.json": b"old"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_process_leaves_nothing(
    number: int, status: int, scan: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    process = start("segment", scan, "-o", out, "--model", model_folder)
    while process.poll() is None and not list(out.glob(".attention-unet-segment-*")):
        time.sleep(0.01)
    process.send_signal(number)
    printed, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert err == "Stopped.\n"
    assert printed == ""
    assert list(tmp_path.iterdir()) == []


def test_not_enough_memory_is_told_in_one_line(
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhaust(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("AttentionUNetSegmentLib.scene.files.writeVolumeFiles", exhaust)
    status = run("segment", scan, "-o", tmp_path / "out", "--model", bright)
    assert_refused(capsys, status, "memory")
    assert list(tmp_path.iterdir()) == []


# Demo


@pytest.fixture
def small_abdomen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The synthetic abdomen on a coarse grid, its pancreas as bright as the model wants it."""

    def coarse(seed: int) -> Any:
        abdomen = synthetic_abdomen(seed, (6.0, 6.0, 6.0), noise_hu=0.0)
        ct = np.minimum(abdomen.ct.array, 90)
        ct[abdomen.labels.array == 8] = BRIGHT_HU
        return type(abdomen)(
            abdomen.ct.with_array(ct), abdomen.labels, abdomen.centrelines, abdomen.seed
        )

    monkeypatch.setattr("AttentionUNetSegmentLib.synthetic.synthetic_abdomen", coarse)


def test_demo_segments_the_synthetic_abdomen_and_says_that_it_is(
    bright: Path,
    small_abdomen: None,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    notes: list[str] = []
    draw = __import__("AttentionUNetSegmentLib.app.overlay", fromlist=["x"]).render_overlay

    def noted(prediction: Any, file: Path, title: str, note: str, **options: str) -> None:
        notes.append(note)
        draw(prediction, file, title, note, **options)

    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", noted)
    assert run("demo", "--seed", "3", "--model", bright) == 0
    out = tmp_path / "demo-output"
    assert sorted(path.name for path in out.iterdir()) == sorted([*RESULTS, "synthetic-ct.nrrd"])
    printed = capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["synthetic"]["seed"] == 3
    assert report["synthetic"]["dice"] > 0.7
    assert report["input"]["name"] == "synthetic abdomen, seed 3"
    assert notes == ["Synthetic abdomen, seed 3: not a patient"]
    assert f"{report['volume_ml']:.1f} mL" in printed
    assert f"{report['synthetic']['dice']:.2f}" in printed
    assert "synthetic abdomen" in printed
    assert str(out) in printed
    image, mask = (sitk.ReadImage(str(out / name)) for name in ("synthetic-ct.nrrd", RESULTS[0]))
    assert image.GetSize() == mask.GetSize()
    np.testing.assert_allclose(image.GetOrigin(), mask.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), mask.GetDirection(), atol=1e-6)

    # A real scan afterwards, into the same folder, leaves nothing synthetic there.
    assert run("demo", "--input", scan, "--model", bright) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS)
    assert "synthetic" not in json.loads((out / "report.json").read_text())
    assert "ynthetic" not in capsys.readouterr().out
    assert notes[1:] == [""]


def test_the_shipped_model_finds_the_pancreas_of_the_synthetic_abdomen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of coarser voxels than the demo's own, of which there are four times as many."""
    monkeypatch.setattr(
        "AttentionUNetSegmentLib.synthetic.synthetic_abdomen",
        lambda seed: synthetic_abdomen(seed, (2.5, 2.5, 4.0)),
    )
    folder = models.MODELS_FOLDER / models.DEFAULT_MODEL
    if not folder.is_dir():
        pytest.skip(f"the shipped model is not there: {folder}")
    assert run("demo", "-o", tmp_path, "--device", "cpu") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["found"]
    assert report["synthetic"]["dice"] > 0.6
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*RESULTS, "synthetic-ct.nrrd"]
    )


# Models


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed models with one in it."""
    save_random_model(tmp_path / "random")
    monkeypatch.setattr("AttentionUNetSegmentLib.models.installed.MODELS_FOLDER", tmp_path)
    return tmp_path


def test_models_shows_a_card_with_its_figures(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models") == 0
    assert "random 7: Bright is organ\n" in capsys.readouterr().out
    assert run("models", "show", "random") == 0
    printed = capsys.readouterr().out
    for words in ("random 7: Bright is organ", "Tests.", str(installed / "random")):
        assert words in printed
    # A line for each group of measures, however many a card has.
    assert "      no click: dice 0.5123, iou 0.34\n" in printed
    assert "      interval95: dice [0.4, 0.6]\n" in printed


def test_models_shows_what_an_editor_answers_and_finds_and_its_figures(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = liver_and_spleen_model()
    assert model.card.editor is not None
    figures = {"any_structure": {"mean_dice": {"cyst": {"cases": 2, "1": 0.4567}}}}
    editor = dataclasses.replace(model.card.editor, figures=figures)
    card = dataclasses.replace(model.card, editor=editor)
    save_card_of(models.Model(card, model.networks, model.folder), installed / "liver")
    assert run("models", "show", "liver") == 0
    printed = capsys.readouterr().out
    assert "answers clicks at any structure" in printed
    assert "for any structure of these names: liver, spleen\n" in printed
    assert "cyst: cases 2, 1 0.4567\n" in printed
    assert run("models", "show", "random") == 0
    assert "any structure" not in capsys.readouterr().out


def test_models_verify_says_which_are_intact(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ((), ("random",), (installed / "random",)):
        assert run("models", "verify", *arguments) == 0
        assert capsys.readouterr().out.startswith("random 7: intact")
    weights = installed / "random" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert_refused(capsys, run("models", "verify"), "weights")
    (installed / "random" / "model.json").write_text("{}")
    assert_refused(capsys, run("models", "verify"), "model.json")


def test_no_models_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("AttentionUNetSegmentLib.models.installed.MODELS_FOLDER", tmp_path)
    assert run("models") == 0
    assert "No model is installed" in capsys.readouterr().out
    assert_refused(capsys, run("models", "verify"), "no model is installed")


# Training and evaluation


def test_train_passes_its_options_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def train_model(data: Path, output: Path, options: TrainingOptions, **others: Any) -> Path:
        others.pop("progress")(0.5, "Training")
        others.pop("note")("The gate is shut.")
        others.pop("tell")("refiner, step 2: loss 0.5")
        assert others.pop("processes").size == 1
        calls.append((data, output, options, others))
        return output / "model"

    monkeypatch.setattr("AttentionUNetSegmentLib.training.pipeline.train_model", train_model)
    options = (
        "--steps 7 --stage locator --from mine --synthetic 2 --seed 4 --device cpu "
        "--precision bf16 --dimensions 3 --target liver --folds 5 --fold 1 --gate multi-head "
        "--channels 4,8,16 --learning-rate 0.01 --gates-open 0.5 --patience 3 --blur 0,0 "
        "--no-deep-supervision --name liver-1 --title Livers --version 2 --licence CC0 --cite A "
        "--cite B"
    )
    author = ("--author", "A hospital")
    assert run("train", "data", "-o", tmp_path, *options.split(), *author) == 0
    assert calls == [
        (
            Path("data"),
            tmp_path,
            TrainingOptions(
                steps=7,
                stage="locator",
                start_from="mine",
                synthetic=2,
                seed=4,
                device="cpu",
                precision="bfloat16",
                dimensions=3,
                target="liver",
                folds=5,
                fold=1,
            ),
            {
                "choices": Choices(
                    gate="multi-head",
                    channels=(4, 8, 16),
                    learning_rate=0.01,
                    gates_open=0.5,
                    patience=3,
                    blur_voxels=(0.0, 0.0),
                    deep_supervision=False,
                ),
                "naming": Naming("liver-1", "Livers", "2", "CC0", "A hospital", ("A", "B")),
            },
        )
    ]
    captured = capsys.readouterr()
    assert str(tmp_path / "model") in captured.out
    assert captured.err == "refiner, step 2: loss 0.5\nNote: The gate is shut.\n"
    for wrong in ("--channels 4,x", "--patch 4,4", "--gamma 0,1", "--blur=-1,1"):
        status = run("train", "data", "-o", tmp_path, "--steps", "1", *wrong.split())
        assert_refused(capsys, status, wrong[:6])


def test_training_without_a_budget_or_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert_refused(capsys, run("train", tmp_path, "-o", out, "--device", "cpu"), "budget")
    status = run("train", tmp_path, "-o", out, "--steps", "1", "--device", "cpu")
    assert_refused(capsys, status)
    assert not out.exists()


def test_evaluate_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evaluation:
        def to_markdown(self) -> str:
            return "| case | Dice |\n"

    calls: list[Any] = []

    def evaluate_model(*arguments: Any, **options: Any) -> Evaluation:
        options.pop("progress")
        calls.append((arguments, options))
        return Evaluation()

    monkeypatch.setattr(
        "AttentionUNetSegmentLib.evaluation.evaluate.evaluate_model", evaluate_model
    )
    options = "--model mine --split all --splits splits.json --fold 2 --clicks 3 --device cpu "
    options += "--precision float32 --robustness"
    assert run("evaluate", "data", "-o", tmp_path, *options.split()) == 0
    assert calls == [
        (
            ("mine", Path("data"), tmp_path),
            {
                "split": "all",
                "splits": Path("splits.json"),
                "fold": 2,
                "clicks": 3,
                "user": "ideal",
                "device": "cpu",
                "precision": "float32",
                "robustness": True,
                "write_card": False,
            },
        )
    ]
    assert capsys.readouterr().out == "| case | Dice |\n"


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("monai", ("train", "data", "-o", "out", "--steps", "1"), "train"),
        ("monai", ("evaluate", "data"), "train"),
        ("slicer", ("demo",), "standalone"),
        ("matplotlib", ("demo",), "standalone"),
        ("typer", ("--help",), "standalone"),
    ],
)
def test_a_missing_extra_is_named(
    missing: str,
    arguments: tuple[str, ...],
    extra: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    words = (missing, "pip install ", {"train": '"monai>=', "standalone": '"slicer-core'}[extra])
    assert_refused(capsys, run(*arguments), *words)
    assert list(tmp_path.iterdir()) == []
