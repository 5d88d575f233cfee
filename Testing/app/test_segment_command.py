"""What ``segment`` writes where: single files, chosen parts, the report alone; and its options.

The networks take what is bright for the organ, so that the right answer is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.geometry.volume import Volume, reorder_axes
from AttentionUNetSegmentLib.inference.device import choose_device
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.region_of_interest import parse_box
from AttentionUNetSegmentLib.scene import PANCREAS
from command_line import (
    DIRECTION,
    LIBRARY,
    ORIGIN,
    RESULTS,
    SHAPE,
    SPACING,
    assert_refused,
    hounsfield,
    run,
    save_random_model,
    write_image,
)
from scan_files import AXIAL, stack, write_slices
from threshold_model import BRIGHT_HU, threshold_model

pytestmark = pytest.mark.usefixtures("quick_picture")

LABEL_MAPS = ("mask.nii.gz", "mask.nii", "mask.nrrd", "mask.mha", "MASK.NII.GZ")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture
def bright(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model whose networks take what is bright for the organ."""
    model = threshold_model()
    labels = (models.Label(0, "background"), PANCREAS)
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, labels=labels))
    monkeypatch.setattr(segmenting, "load_model", lambda folder: model)
    return model_folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(hounsfield(), tmp_path_factory.mktemp("scans") / "abdomen.nrrd")


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series as a scanner writes it, its voxels 0.7 x 0.8 x 5 mm."""
    return write_series(tmp_path_factory.mktemp("dicom") / "series")


def write_series(folder: Path, step: tuple[float, float, float] = (0, 0, 5)) -> Path:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    array = np.repeat(np.repeat(hounsfield()[8:44], 5, axis=1), 5, axis=2)
    for path in write_slices(folder, array, stack(len(array), step), AXIAL):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "4711"
        dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.2.1125.77"
        for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
            setattr(dataset, name, "")
        dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        dataset.save_as(path)
    return folder


def voxels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# One file


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_a_file_name_gets_a_label_map_on_the_scans_grid_and_nothing_else(
    name: str, scan: Path, bright: Path, tmp_path: Path
) -> None:
    assert run("segment", scan, "-o", tmp_path / "new" / name, "--model", bright) == 0
    assert names(tmp_path / "new") == [name]
    mask = sitk.ReadImage(str(tmp_path / "new" / name))
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetSize() == SHAPE[::-1]
    assert mask.GetSpacing() == pytest.approx(SPACING, abs=1e-5)
    assert mask.GetOrigin() == pytest.approx(ORIGIN, abs=1e-4)
    assert mask.GetDirection() == pytest.approx(DIRECTION, abs=1e-5)
    inside, truth = sitk.GetArrayFromImage(mask), hounsfield() == BRIGHT_HU
    assert set(np.unique(inside)) == {0, 1}
    assert dice(inside == 1, truth) > 0.9


def test_a_segmentation_file_is_the_one_of_a_folder(
    scan: Path, bright: Path, tmp_path: Path
) -> None:
    assert run("segment", scan, "-o", tmp_path / "out", "--model", bright) == 0
    one = tmp_path / "one" / "mine.seg.nrrd"
    assert run("segment", scan, "-o", one, "--model", bright) == 0
    assert names(one.parent) == ["mine.seg.nrrd"]
    image, other = sitk.ReadImage(str(one)), sitk.ReadImage(str(tmp_path / "out" / RESULTS[0]))
    assert (sitk.GetArrayFromImage(image) == sitk.GetArrayFromImage(other)).all()
    for key in ("Segment0_Name", "Segment0_Color", "Segment0_Tags"):
        assert image.GetMetaData(key) == other.GetMetaData(key)


def test_a_surface_file_lies_where_the_organ_does(scan: Path, bright: Path, tmp_path: Path) -> None:
    import vtk

    assert run("segment", scan, "-o", tmp_path / "organ.stl", "--model", bright) == 0
    assert names(tmp_path) == ["organ.stl"]
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(tmp_path / "organ.stl"))
    reader.Update()
    bounds = np.array(reader.GetOutput().GetBounds()).reshape(3, 2)
    image = sitk.ReadImage(str(scan))
    points = [
        image.TransformIndexToPhysicalPoint([int(at) for at in kji[::-1]])
        for kji in np.argwhere(hounsfield() == BRIGHT_HU)
    ]
    assert bounds[:, 0] == pytest.approx(np.min(points, axis=0), abs=6)
    assert bounds[:, 1] == pytest.approx(np.max(points, axis=0), abs=6)


@pytest.mark.parametrize("flips", [(), (2,), (1, 2), (0, 1, 2)])
def test_a_surface_faces_outwards_however_the_axes_run(
    flips: tuple[int, ...], scan: Path, bright: Path, tmp_path: Path
) -> None:
    import vtk

    volume = Volume.from_sitk(sitk.ReadImage(str(scan)))
    turned = reorder_axes(volume, (0, 1, 2), tuple(axis in flips for axis in range(3)))
    sitk.WriteImage(turned.to_sitk(), str(tmp_path / "turned.nrrd"))
    organ = tmp_path / "organ.stl"
    assert run("segment", tmp_path / "turned.nrrd", "-o", organ, "--model", bright) == 0
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(organ))
    reader.Update()
    surface = reader.GetOutput()
    corners = np.array(
        [
            [surface.GetPoint(surface.GetCell(cell).GetPointId(corner)) for corner in range(3)]
            for cell in range(surface.GetNumberOfCells())
        ]
    )
    # By the divergence theorem: below 0 where it is turned inside out.
    volume_mm3 = np.einsum("ij,ij", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    measured = vtk.vtkMassProperties()
    measured.SetInputData(surface)
    assert volume_mm3 == pytest.approx(measured.GetVolume(), rel=0.02)


def test_a_dicom_segmentation_refers_to_its_series(
    dicom: Path, bright: Path, tmp_path: Path
) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    one = sorted(dicom.iterdir())[3]
    for source in (dicom, one):
        assert run("segment", source, "-o", tmp_path / "organ.dcm", "--model", bright) == 0
        assert names(tmp_path) == ["organ.dcm"]
        made = pydicom.dcmread(tmp_path / "organ.dcm")
        series = made.ReferencedSeriesSequence[0].SeriesInstanceUID
        assert series == pydicom.dcmread(one).SeriesInstanceUID
        assert made.pixel_array.any()


def test_an_earlier_file_is_replaced_only_by_a_whole_one(
    scan: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mask.nrrd"
    file.write_bytes(b"old")

    def fill(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segmenting, "write_segment", lambda *arguments: (fill, arguments)[0]())
        assert run("segment", scan, "-o", file, "--model", bright) == 2
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["mask.nrrd"]
    assert run("segment", scan, "-o", file, "--model", bright) == 0
    assert voxels(file).any()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mask.mhd", [], ["two files", ".mha"]),
        ("mask.nhdr", [], ["two files", ".nrrd"]),
        ("mask.nii.gz", ["--also", "stl"], ["folder", "mask.nii.gz"]),
        ("-", ["--also", "stl"], ["folder"]),
        ("mask.nii.gz", ["--only", "probability"], ["folder", "mask.nii.gz"]),
        ("organ.dcm", [], ["DICOM", "abdomen.nrrd"]),
        ("out", ["--also", "dicom-seg"], ["DICOM", "abdomen.nrrd"]),
        ("out", ["--only", "attention", "--no-attention"], ["nothing"]),
        ("out", ["--also", "png"], ["png", "nifti"]),
        ("out", ["--only", "masks"], ["masks", "probability"]),
        ("out", ["--region", "1,2,3"], ["1,2,3", "R,A,S,R,A,S"]),
        ("out", ["--region", "1,2,3,4,5,inf"], ["R,A,S,R,A,S"]),
        ("out", ["--region", "900,900,900,999,999,999"], ["outside the scan"]),
        ("out", ["--tile", "32"], ["--tile", "64."]),
        ("out", ["--precision", "int8"], ["int8", "bfloat16"]),
        ("out", ["--device", "cuda:x"], ["cuda:x", "cuda:N"]),
        ("out", ["--click", "12.5", "-30", "104", "+"], ["--click 12.5,-30,104,+"]),
        ("out", ["--click", "12.5", "30", "104"], ["--click 12.5,30,104,+"]),
        ("out", ["--click", "12.5,", "-30,", "104,", "-"], ["--click 12.5,-30,104,-"]),
        ("out", ["--click=-12.5", "-30", "104", "-"], ["--click -12.5,-30,104,-"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_cannot_be_is_told_in_one_line_and_nothing_is_written(
    name: str,
    options: list[str],
    words: list[str],
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status = run("segment", scan, "-o", name, "--model", bright, *options)
    assert_refused(capsys, status, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_file_is_refused(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mask.nii.gz").mkdir()
    status = run("segment", scan, "-o", tmp_path / "mask.nii.gz", "--model", bright)
    assert_refused(capsys, status, "mask.nii.gz", "folder")
    assert list((tmp_path / "mask.nii.gz").iterdir()) == []


def test_a_surface_of_nothing_is_refused(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    legs = write_image(hounsfield(organ=40), tmp_path / "legs.nrrd")
    status = run("segment", legs, "-o", tmp_path / "organ.stl", "--model", bright)
    assert_refused(capsys, status, "no pancreas", "nothing was written")
    assert names(tmp_path) == ["legs.nrrd"]


def test_the_scan_itself_is_not_written_over(
    scan: Path, dicom: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "scan.nrrd"
    mine.write_bytes(scan.read_bytes())
    assert_refused(capsys, run("segment", mine, "-o", mine, "--model", bright), "scan.nrrd")
    assert mine.read_bytes() == scan.read_bytes()
    one, other = sorted(dicom.iterdir())[:2]
    before = other.read_bytes()
    for source in (dicom, one):
        status = run("segment", source, "-o", other, "--model", bright)
        assert_refused(capsys, status, other.name)
        assert other.read_bytes() == before


# A folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--only", "mask"], {"segmentation.seg.nrrd"}),
        (["--only", "probability", "--only", "picture"], {"probability.nrrd", "overlay.png"}),
        (["--no-attention"], {"segmentation.seg.nrrd", "probability.nrrd", "overlay.png"}),
        (["--no-probability"], {*RESULTS} - {"probability.nrrd", "report.json"}),
        (
            ["--only", "mask", "--also", "nifti", "--also", "stl", "--also", "scene"],
            {
                "segmentation.seg.nrrd",
                "segmentation.nii.gz",
                "segmentation.stl",
                "scene.mrml",
            },
        ),
        (
            ["--only", "mask", "--also", "uncertainty"],
            {"segmentation.seg.nrrd", "uncertainty.nrrd"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_folder_gets_what_was_chosen_and_loses_what_is_no_longer_true(
    options: list[str], expected: set[str], scan: Path, bright: Path, tmp_path: Path
) -> None:
    for name in (*RESULTS, "segmentation.dcm", "notes.txt"):
        (tmp_path / name).write_text("old")
    assert run("segment", scan, "-o", tmp_path, "--model", bright, *options) == 0
    assert names(tmp_path) == sorted({*expected, "report.json", "notes.txt"})
    changed = {path.name for path in tmp_path.iterdir() if path.read_bytes() != b"old"}
    assert changed == {*expected, "report.json"}


def test_somebody_elses_files_in_the_folder_are_left_alone(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Many a data set has a ``segmentation.nii.gz`` beside each scan."""
    for name in ("segmentation.nii.gz", "scene.mrml", "overlay.png"):
        (tmp_path / name).write_text("mine")
    into = ["segment", scan, "-o", tmp_path, "--model", bright, "--only", "mask"]
    before = names(tmp_path)
    for option in (["--also", "nifti"], ["--also", "scene"], ["--only", "picture"]):
        assert_refused(capsys, run(*into, *option), "would be written over")
        assert names(tmp_path) == before
    assert run(*into) == 0
    mine = [name for name in before if (tmp_path / name).read_text() == "mine"]
    assert mine == before
    assert names(tmp_path) == sorted([*before, "segmentation.seg.nrrd", "report.json"])


def test_what_a_killed_process_left_of_a_result_is_replaced(
    scan: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = ["segment", scan, "-o", tmp_path, "--model", bright, "--only", "mask"]
    assert run(*into, "--also", "nifti") == 0
    code = (
        "import os, sys\n"
        "from AttentionUNetSegmentLib.app.main import main\n"
        "replace = os.replace\n"
        "os.replace = lambda source, target: "
        "os._exit(9) if str(target).endswith('.seg.nrrd') else replace(source, target)\n"
        "main(sys.argv[1:])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    killed = subprocess.run([sys.executable, "-c", code, *map(str, into)], env=environment)
    assert killed.returncode == 9
    assert "report.json" not in names(tmp_path)
    assert run(*into) == 0
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["report.json", "segmentation.seg.nrrd"]


def test_a_tilted_scan_is_written_where_the_format_can_hold_it(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gantry that was tilted: of label maps, NIfTI alone has axes not at right angles."""
    tilted = write_series(tmp_path / "tilted", (0, 1, 5))
    out = tmp_path / "out"
    options = ["--only", "mask", "--also", "nifti", "--also", "stl"]
    assert run("segment", tilted, "-o", out, "--model", bright, *options) == 0
    written = ["report.json", "segmentation.nii.gz", "segmentation.seg.nrrd", "segmentation.stl"]
    assert names(out) == written
    assert "not written" not in capsys.readouterr().err
    report = json.loads((out / "report.json").read_text())
    assert any("tilted" in warning for warning in report["warnings"])
    assert report["statistics"]["surface_mm2"] is None
    status = run("segment", tilted, "-o", tmp_path / "mask.nrrd", "--model", bright)
    assert_refused(capsys, status, "tilted", ".seg.nrrd")
    assert names(tmp_path) == ["out", "tilted"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on other systems")
def test_a_name_that_is_not_utf8_is_shown_as_it_can_be(
    scan: Path, bright: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"M\xfcller.nrrd")
    shutil.copy(scan, odd)
    assert run("segment", odd, "-o", tmp_path / "out", "--model", bright, "--only", "picture") == 0
    assert (tmp_path / "out" / "overlay.png").stat().st_size > 0


# The report alone, and what is said


def test_the_report_goes_to_stdout_and_nothing_to_the_disk(
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("segment", scan, "-o", "-", "--model", bright) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["found"] is True
    assert report["place"] == "located"
    assert list(tmp_path.iterdir()) == []
    assert run("segment", scan, "-o", "m.mha", "--json", "--model", bright) == 0
    assert json.loads(capsys.readouterr().out)["volume_ml"] == report["volume_ml"]
    assert names(tmp_path) == ["m.mha"]


def test_the_report_measures_the_mask(scan: Path, bright: Path, tmp_path: Path) -> None:
    assert run("segment", scan, "-o", tmp_path, "--only", "mask", "--model", bright) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    inside = voxels(tmp_path / "segmentation.seg.nrrd") != 0
    values = hounsfield()[inside].astype(float)
    statistics = report["statistics"]
    assert statistics["volume_ml"] == report["volume_ml"]
    assert statistics["mean_hu"] == pytest.approx(values.mean(), abs=0.01)
    assert statistics["sd_hu"] == pytest.approx(values.std(), abs=0.01)
    assert statistics["median_hu"] == np.median(values)
    assert statistics["pieces"] == 1
    assert 0.9 < statistics["mean_probability"] <= 1
    assert statistics["length_mm"] == pytest.approx(80, abs=8)
    assert len(statistics["extent_mm"]) == 3


def test_quiet_says_nothing_and_verbose_says_each_step(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mask.nrrd"
    assert run("segment", scan, "-o", file, "--model", bright, "-q") == 0
    assert tuple(capsys.readouterr()) == ("", "")
    assert run("segment", scan, "-o", file, "--model", bright, "-v") == 0
    printed = capsys.readouterr()
    assert "mL" in printed.out
    for words in ("Reading the scan", "Looking for the pancreas", "Took: reading "):
        assert words in printed.err


def test_warnings_are_heard_also_in_quiet(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    legs = write_image(hounsfield(organ=40), tmp_path / "legs.nrrd")
    assert run("segment", legs, "-o", tmp_path / "m.nrrd", "-q", "--model", bright) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Warning: No pancreas was found")


# Options


def test_a_region_is_looked_in_and_nowhere_else(
    scan: Path, bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the organ lies in the box: that half is found, and it is said that it is cut."""
    image = sitk.ReadImage(str(scan))
    organ = np.argwhere(hounsfield() == BRIGHT_HU)
    middle = image.TransformIndexToPhysicalPoint([int(at) for at in organ.mean(axis=0)[::-1]])
    r, a, s = -middle[0], -middle[1], middle[2]
    box = f"{r},{a - 60},{s - 60},{r + 90},{a + 60},{s + 60}"
    options = ["--only", "mask", "--model", bright]
    assert run("segment", scan, "-o", tmp_path / "all", *options) == 0
    capsys.readouterr()
    assert run("segment", scan, "-o", tmp_path / "box", *options, "--region", box) == 0
    assert "edge of the region of interest" in capsys.readouterr().err
    whole, part = (voxels(tmp_path / name / RESULTS[0]) for name in ("all", "box"))
    for kji in np.argwhere(part):
        x, y, z = image.TransformIndexToPhysicalPoint([int(at) for at in kji[::-1]])
        # The box of voxels that a box in the world reaches is wider where the scan is turned.
        assert -x > r - 60
        assert np.abs([-y - a, z - s]).max() < 100
    assert 0.2 * whole.sum() < part.sum() < 0.95 * whole.sum()
    report = json.loads((tmp_path / "box" / "report.json").read_text())
    assert report["region_ras"][0] == pytest.approx([r, a - 60, s - 60], abs=1e-3)
    assert report["place"] in ("located", "region of interest")
    assert json.loads((tmp_path / "all" / "report.json").read_text())["region_ras"] is None


@pytest.fixture(scope="module")
def organ_file(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The organ without a third of it, as another program would hand it over."""
    image = sitk.ReadImage(str(scan))
    organ = (hounsfield() == BRIGHT_HU).astype(np.uint8)
    low, high = np.flatnonzero(organ.any(axis=(0, 1)))[[0, -1]]
    organ[:, :, (low + 2 * high) // 3 :] = 0
    mask = sitk.GetImageFromArray(organ)
    mask.CopyInformation(image)
    path = tmp_path_factory.mktemp("masks") / "organ.nii.gz"
    sitk.WriteImage(mask, str(path))
    return path


def test_a_mask_to_begin_from_is_mended_by_a_click(
    scan: Path, bright: Path, organ_file: Path, tmp_path: Path
) -> None:
    options = ["--only", "mask", "--model", bright, "--start", organ_file]
    assert run("segment", scan, "-o", tmp_path / "as it is", *options) == 0
    given = sitk.GetArrayFromImage(sitk.ReadImage(str(organ_file)))
    assert (voxels(tmp_path / "as it is" / RESULTS[0]) == given).all()
    missing = np.argwhere((hounsfield() == BRIGHT_HU) & (given == 0)).mean(axis=0)
    point = sitk.ReadImage(str(scan)).TransformIndexToPhysicalPoint(
        [int(at) for at in missing[::-1]]
    )
    click = f"{-point[0]},{-point[1]},{point[2]},+"
    assert run("segment", scan, "-o", tmp_path / "mended", *options, f"--click={click}") == 0
    mended = voxels(tmp_path / "mended" / RESULTS[0])
    assert not (given & ~(mended > 0)).any()
    assert mended.sum() > 1.2 * given.sum()
    report = json.loads((tmp_path / "mended" / "report.json").read_text())
    assert report["began_from_mask"]


def test_a_mask_that_cannot_be_begun_from_is_refused(
    scan: Path, bright: Path, organ_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sitk.ReadImage(str(organ_file))
    several = image * 3 + sitk.Cast(image == 0, sitk.sitkUInt8) * 5
    sitk.WriteImage(several, str(tmp_path / "several.nrrd"))
    sitk.WriteImage(image[:, :, 1:], str(tmp_path / "smaller.nrrd"))
    base = ("segment", scan, "-o", tmp_path / "out", "--only", "mask", "--model", bright)
    for options, words in (
        (("--start", tmp_path / "several.nrrd"), ("several labels", "3, 5", "with --start-label.")),
        (("--start", tmp_path / "several.nrrd", "--start-label", 4), ("no label 4", "3, 5")),
        (("--start", tmp_path / "smaller.nrrd"), ("another grid", "resample")),
        (("--start", organ_file, "--region", "0,0,0,9,9,9"), ("--region",)),
        (("--start-label", 1), ("--start",)),
    ):
        assert_refused(capsys, run(*base, *options), *words)
        assert not (tmp_path / "out").exists()
    assert run(*base, "--start", tmp_path / "several.nrrd", "--start-label", 3) == 0


def test_lines_boxes_and_lassos_are_obeyed_and_reported(
    scan: Path, bright: Path, tmp_path: Path
) -> None:
    image = sitk.ReadImage(str(scan))
    organ = np.argwhere(hounsfield() == BRIGHT_HU)
    middle = organ.mean(axis=0).round().astype(int)

    def at(k: float, j: float, i: float) -> str:
        x, y, z = image.TransformContinuousIndexToPhysicalPoint([float(n) for n in (i, j, k)])
        return f"{-x},{-y},{z}"

    k, j, i = middle.tolist()
    options = ["--only", "mask", "--model", bright]
    assert run("segment", scan, "-o", tmp_path / "plain", *options) == 0
    line = f"--scribble={at(k, j, i - 2)}/{at(k, j, i)}/{at(k, j, i + 2)},-"
    corners = [(k, j - 40, i - 40), (k, j - 40, i + 1), (k, j + 40, i + 1), (k, j + 40, i - 40)]
    lasso = "--lasso=" + "/".join(at(*corner) for corner in corners)
    assert run("segment", scan, "-o", tmp_path / "drawn", *options, line, lasso) == 0
    plain, drawn = (voxels(tmp_path / name / RESULTS[0]) > 0 for name in ("plain", "drawn"))
    assert plain[k, j, i - 2 : i + 3].all()
    assert not drawn[k, j, i - 2 : i + 3].any()
    assert plain[:, :, i + 2 :].any()
    assert not drawn[:, :, i + 2 :].any()
    assert not (drawn & ~plain).any()
    report = json.loads((tmp_path / "drawn" / "report.json").read_text())
    assert report["clicks"] == []
    assert [len(one["points_ras"]) for one in report["scribbles"]] == [3]
    assert not report["scribbles"][0]["inside"]
    assert [len(one["points_ras"]) for one in report["lassos"]] == [4]
    x, y, z = image.TransformIndexToPhysicalPoint([i, j, k])
    reach = [f"{-x + side * 15},{-y + side * 400},{z + side * 400}" for side in (-1, 1)]
    box = f"--box={reach[0]}/{reach[1]}"
    assert run("segment", scan, "-o", tmp_path / "box", *options, box) == 0
    left = np.argwhere(voxels(tmp_path / "box" / RESULTS[0]) > 0)
    assert len(left)
    for kji in left[::50]:
        px, *_ = image.TransformIndexToPhysicalPoint([int(n) for n in kji[::-1]])
        assert abs(px - x) <= 15


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--scribble=1,2,3,+", "no scribble"),
        ("--box=1,2,3", "no box"),
        ("--lasso=0,0,0/1,0,0/2,0,0", "encloses an area"),
        ("--scribble=9000,0,0/9000,9,0,+", "outside the scan"),
    ],
)
def test_a_stroke_that_cannot_be_used_is_refused(
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    words: str,
) -> None:
    base = ("segment", scan, "-o", tmp_path / "out", "--only", "mask", "--model", bright)
    assert_refused(capsys, run(*base, option), words)
    assert not (tmp_path / "out").exists()


def test_a_region_is_the_panels_region(scan: Path) -> None:
    """By the task that the panel starts, with a ROI of the same box."""
    import slicer
    from AttentionUNetSegmentLib import scene
    from AttentionUNetSegmentLib.inference.region_of_interest import predict_in_box, region_of_box
    from AttentionUNetSegmentLib.io.reading import read_volume
    from AttentionUNetSegmentLib.scene.tasks import roiCorners

    volume = read_volume(scan)
    corners = parse_box("-150,0,-400,0,120,-200")
    with scene.headlessScene() as mrml:
        roi = mrml.AddNode(slicer.vtkMRMLMarkupsROINode())
        roi.SetCenter(-75, 60, -300)
        roi.SetSize(150, 120, 200)
        assert region_of_box(volume, roiCorners(roi)) == region_of_box(volume, corners)
    prediction = predict_in_box(Predictor(threshold_model(), "cpu"), volume, corners)
    assert prediction.mask.shape == volume.array.shape
    outside = np.ones(volume.array.shape, bool)
    outside[region_of_box(volume, corners)] = False
    assert not prediction.mask[outside].any()


def test_precision_tile_and_device_reach_the_predictor(
    scan: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[object, ...]] = []

    class Noted(Predictor):
        def __init__(self, model: models.Model, *options: Any) -> None:
            made.append(options)
            super().__init__(model, *options)

    monkeypatch.setattr("AttentionUNetSegmentLib.inference.predictor.Predictor", Noted)
    options = ["--device", "cpu", "--precision", "float32", "--tile", "64"]
    assert run("segment", scan, "-o", tmp_path / "m.nrrd", "--model", bright, *options) == 0
    assert made == [("cpu", "float32", 64**3)]


def test_a_gpu_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from AttentionUNetSegmentLib.errors import DeviceError, InputError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match="no GPU number 2"):
        choose_device("cuda:2")
    for wrong in ("cuda:", "cuda:-1", "cpu:0", "cuda:1 "):
        with pytest.raises(InputError, match="no device"):
            choose_device(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no CUDA GPU"):
        choose_device("cuda:0")


# A zip archive


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"study/series/{path.name}")
    return file


def test_a_zip_of_a_series_is_the_series(
    dicom: Path, bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    archive = zipped(dicom, tmp_path / "scan.zip")
    assert run("segment", dicom, "-o", tmp_path / "one.nrrd", "--model", bright) == 0
    options = ["--only", "mask", "--also", "dicom-seg"]
    assert run("segment", archive, "-o", tmp_path / "out", "--model", bright, *options) == 0
    assert (voxels(tmp_path / "one.nrrd") == voxels(tmp_path / "out" / RESULTS[0])).all()
    assert (tmp_path / "out" / "segmentation.dcm").exists()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["input"]["name"] == "scan.zip"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_zip_that_cannot_be_used_is_told(
    scan: Path,
    dicom: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def assert_told(archive: Path, *words: str) -> None:
        status = run("segment", archive, "-o", tmp_path / "out", "--model", bright)
        assert_refused(capsys, status, archive.name.removesuffix(".zip"), *words)
        assert not (tmp_path / "out").exists()
        assert list((tmp_path / "temporary").iterdir()) == []

    (tmp_path / "text.zip").write_text("no archive")
    assert_told(tmp_path / "text.zip", "damaged")
    archive = zipped(dicom, tmp_path / "cut.zip")
    content = bytearray(archive.read_bytes())
    content[2000:2100] = bytes(100)
    archive.write_bytes(content)
    assert_told(archive, "damaged")
    with zipfile.ZipFile(tmp_path / "image.zip", "w") as made:
        made.write(scan, f"below/{scan.name}")
    assert_told(tmp_path / "image.zip", "zip archive", "1 file of another format; unpack it")
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as made:
        made.writestr("notes.txt", "nothing")
    assert_told(tmp_path / "texts.zip", "zip archive", "no DICOM images; give one of")
    archive = zipped(dicom, tmp_path / "large.zip")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
        assert_told(archive, "GB")
    with monkeypatch.context() as patch:
        patch.setattr("AttentionUNetSegmentLib.io.zipped.MOST_FILES", 3)
        assert_told(archive, "more than 3 files")
    content = bytearray(zipped(dicom, tmp_path / "secret.zip").read_bytes())
    at = content.rfind(b"PK\x01\x02")
    content[at + 8] |= 1  # the directory says that the last member is encrypted
    (tmp_path / "secret.zip").write_bytes(content)
    assert_told(tmp_path / "secret.zip", "encrypted")


def test_nothing_is_unpacked_beside_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AttentionUNetSegmentLib.io.zipped import unzip

    # As deep as the paths go up, and nobody else's.
    temporary = tmp_path / "one" / "two" / "three"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.dcm", b"x")
        archive.writestr("/evil.dcm", b"x")
    with unzip(tmp_path / "evil.zip") as folder:
        assert temporary in folder.parents
        found = list(tmp_path.rglob("evil.dcm"))
        assert found
        assert all(folder in path.parents for path in found)


# The command itself


def test_no_arguments_give_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "\n  segment " in printed.out
    assert printed.out.count("\n") > 15


def test_the_shell_completes_commands_and_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--help") == 0
    assert "--show-completion" in capsys.readouterr().out
    monkeypatch.setenv("_ATTENTION_UNET_SEGMENT_COMPLETE", "complete_bash")
    for words, at, expected in (
        ("attention-unet-segment seg", "1", "segment"),
        ("attention-unet-segment segment --reg", "2", "--region"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", at)
        assert main([]) == 0
        assert expected in capsys.readouterr().out.split()


# Radiomics


def test_radiomics_without_pyradiomics_says_how_to_install_it(
    scan: Path,
    bright: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "radiomics" else real(name)
    )
    status = run("segment", scan, "-o", tmp_path / "out", "--model", bright, "--radiomics")
    assert_refused(capsys, status, "radiomics", "pyradiomics==")
    assert list(tmp_path.iterdir()) == []


def test_radiomics_are_those_of_pyradiomics(
    scan: Path, bright: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("radiomics", reason="pyradiomics is not installed")
    assert run("segment", scan, "-o", "-", "--model", bright, "--radiomics") == 0
    report = json.loads(capsys.readouterr().out)
    features, statistics = report["radiomics"]["features"], report["statistics"]
    assert len(features) > 90
    assert features["original_shape_VoxelVolume"] == pytest.approx(
        1000 * statistics["volume_ml"], rel=1e-3
    )
    assert features["original_firstorder_Mean"] == pytest.approx(statistics["mean_hu"], abs=0.01)
    assert features["original_firstorder_Median"] == statistics["median_hu"]
    surface = features["original_shape_SurfaceArea"]
    assert statistics["surface_mm2"] == pytest.approx(surface, rel=0.1)


def test_radiomics_of_nothing_are_none() -> None:
    pytest.importorskip("radiomics", reason="pyradiomics is not installed")
    from AttentionUNetSegmentLib.app.radiomic_features import radiomic_features

    volume = Volume(hounsfield(), np.diag([4.0, 4.0, 5.0, 1.0]))
    assert radiomic_features(volume, np.zeros(SHAPE, np.uint8))["features"] == {}


# What it costs, counted in modules


IMPORTED = f"""
import dataclasses, json, sys
sys.path[:0] = [{str(LIBRARY)!r}, {str(Path(__file__).parents[1] / "support")!r}]
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.models.terminology import PANCREAS
from threshold_model import threshold_model
model = threshold_model()
labels = (models.Label(0, "background"), PANCREAS)
model = dataclasses.replace(model, card=dataclasses.replace(model.card, labels=labels))
segmenting.load_model = lambda folder: model
heavy = "slicer slicer_core vtk vtkmodules matplotlib monai ray highdicom pydicom tensorboard"
heavy = [*heavy.split(), "AttentionUNetSegmentLib.evaluation"]
told = []
for arguments in json.loads(sys.argv[1]):
    status = main(arguments)
    told.append([status, [name for name in heavy if name in sys.modules]])
    with open(sys.argv[2], "w") as file:
        json.dump(told, file)
"""


def test_nothing_is_imported_that_what_is_written_does_not_need(
    scan: Path, model_folder: Path, tmp_path: Path
) -> None:
    """Slicer's libraries take a second, Matplotlib a half. One process writes one after the other,
    what needs something last."""
    cases: list[tuple[str, tuple[str, ...], list[str]]] = [
        ("mask.nii.gz", (), []),
        ("mask.seg.nrrd", (), []),
        ("-", ("--quiet",), []),
        ("masks", ("--only", "mask", "--only", "probability", "--only", "attention"), []),
        ("out", (), ["matplotlib"]),
    ]
    asked = []
    for output, options, _ in cases:
        place = output if output == "-" else str(tmp_path / output)
        asked.append(["segment", str(scan), "-o", place, "--model", str(model_folder), *options])
    program = [sys.executable, "-c", IMPORTED, json.dumps(asked), str(tmp_path / "told.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(program, env=environment, capture_output=True)
    assert process.returncode == 0, process.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert told == [[0, needed] for _, _, needed in cases], process.stderr


def test_pytorch_is_imported_while_a_large_file_is_read(
    scan: Path,
    bright: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(segmenting, "import_beside", begun.append)
    arguments = ("segment", scan, "-o", tmp_path / "mask.nii.gz", "--model", bright)
    assert run(*arguments) == 0
    assert begun == []
    monkeypatch.setattr(segmenting, "_LARGE_BYTES", 1)
    assert run(*arguments) == 0
    assert begun == ["torch"]


def test_an_import_that_fails_beside_says_so_where_it_is_needed() -> None:
    segmenting.import_beside("there_is_no_such_module")
    with pytest.raises(ImportError, match="there_is_no_such_module"):
        importlib.import_module("there_is_no_such_module")
    for thread in threading.enumerate():
        if thread.name == "import there_is_no_such_module":
            thread.join()  # it turns the search for garbage on again, which the next test asks for


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("module", ["a_large_library", "there_is_no_such_module"])
def test_no_garbage_is_looked_for_among_what_an_import_makes(
    module: str, enabled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_large_library.py").write_text(
        "import gc\nenabled = gc.isenabled()\nmade = []\nmade.append(made)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    (gc.enable if enabled else gc.disable)()
    try:
        with contextlib.suppress(ModuleNotFoundError):
            segmenting.import_uncollected(module)
        assert gc.isenabled() == enabled
        if made := sys.modules.pop(module, None):
            assert not made.enabled
            assert not any(one is made.made for one in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.enable()


def test_pydicom_is_there_after_nibabel_was_imported_without_it() -> None:
    code = (
        "import sys\n"
        "from AttentionUNetSegmentLib.app.segmenting import import_nibabel_alone\n"
        "import_nibabel_alone()\n"
        "print(sorted({'nibabel', 'pydicom'} & {*sys.modules}))\n"
        "import pydicom\n"
        "pydicom.Dataset()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "['nibabel']\n"
