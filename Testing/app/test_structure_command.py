"""``segment --structure``: any structure, from the clicks that are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import predictor_cache
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.structures import EXPERIMENTAL
from AttentionUNetSegmentLib.notebook import segment as segment_image
from command_line import assert_refused, run
from test_segment_command import write_series
from threshold_model import (
    LESION_HU,
    STRUCTURE_HU,
    axial_scan,
    liver_and_spleen_model,
    save_card_of,
    threshold_model,
    with_ball,
    with_structure_editor,
)

pytestmark = pytest.mark.usefixtures("quick_picture")


@pytest.fixture(scope="module")
def volume() -> Volume:
    scan, organ = axial_scan((4.0, 4.0, 5.0))
    return with_ball(scan, organ + np.array([-70, 0, 30]), 18, STRUCTURE_HU)


@pytest.fixture(scope="module")
def truth(volume: Volume) -> np.ndarray:
    return volume.array == STRUCTURE_HU


@pytest.fixture(scope="module")
def click(volume: Volume, truth: np.ndarray) -> str:
    position = volume.grid.position_of(np.argwhere(truth).mean(axis=0)[::-1])
    return ",".join(f"{value:.1f}" for value in position)


@pytest.fixture(scope="module")
def scan(abdomen_file: Path) -> Path:
    return abdomen_file


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "any"
    return save_card_of(with_structure_editor(threshold_model()), folder)


@pytest.fixture
def model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = with_structure_editor(threshold_model())
    monkeypatch.setattr(segmenting, "load_model", lambda _folder: model)
    return saved


def mask_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))) != 0


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_a_label_map_and_the_report_are_the_structures(
    scan: Path, model: Path, truth: np.ndarray, click: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file, name = tmp_path / "cyst.nii.gz", ("--structure", "cyst")
    assert run("segment", scan, "-o", file, "--model", model, *name, "--click", f"{click},+") == 0
    printed = capsys.readouterr()
    assert "Cyst" in printed.out
    assert EXPERIMENTAL in printed.err
    assert overlap(mask_of(file), truth) > 0.85

    assert run("segment", scan, "-o", "-", "--model", model, *name, "--click", f"{click},+") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["structure"] == {"name": "cyst", "experimental": True}
    assert [target["name"] for target in report["targets"]] == ["cyst"]
    assert report["place"] == "clicks"
    assert report["attention"] == report["focus_ratios"] == report["doubtful_places"] == []
    assert report["dice_estimate"] is None
    assert EXPERIMENTAL in report["warnings"]


def test_without_a_structure_the_report_has_none(
    scan: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("segment", scan, "-o", "-", "--model", model) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["structure"] is None
    assert [target["name"] for target in report["targets"]] == ["pancreas"]


@pytest.mark.parametrize(
    ("name", "shown", "code"), [("duodenum", "Duodenum", "38848004"), ("cyst", "Cyst", "85756007")]
)
def test_a_folder_has_a_segment_of_its_name_and_no_attention(
    scan: Path, model: Path, click: str, tmp_path: Path, name: str, shown: str, code: str
) -> None:
    slicer = pytest.importorskip("slicer")
    (tmp_path / "attention-level-1.nrrd").write_text("of an earlier result")
    more = ("--also", "stl", "--also", "uncertainty", "--structure", name, "--click", f"{click},+")
    assert run("segment", scan, "-o", tmp_path, "--model", model, *more) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "segmentation.seg.nrrd", "segmentation.stl", "probability.nrrd", "uncertainty.nrrd",
        "overlay.png", "report.json",
    }  # fmt: skip
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "segmentation.seg.nrrd"))
    assert storage.ReadData(node)
    segment = node.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == shown
    from AttentionUNetSegmentLib.scene import segments

    assert code in segments.tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
    assert segments.tag(segment, segments.STRUCTURE_TAG) == name
    assert segments.tag(segment, segments.TARGET_TAG) is None


def test_a_dicom_segmentation_has_a_code_for_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom")
    import pydicom
    from AttentionUNetSegmentLib.io.reading import read_volume

    series = write_series(tmp_path / "series")
    volume = read_volume(series)
    i, j, k = (size // 2 for size in volume.shape_ijk)
    at = ",".join(f"{value:.1f}" for value in volume.grid.position_of((i, j, k)))
    more = ("--model", model, "--structure", "cyst", "--click", f"{at},+")
    assert run("segment", series, "-o", tmp_path / "cyst.dcm", *more) == 0, capsys.readouterr().err
    (segment,) = pydicom.dcmread(tmp_path / "cyst.dcm").SegmentSequence
    assert segment.SegmentLabel == "Cyst"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"


def test_a_mask_of_anything_is_mended(
    scan: Path, model: Path, volume: Volume, truth: np.ndarray, tmp_path: Path
) -> None:
    start = truth.copy()
    start[: np.argwhere(truth)[:, 0].mean().astype(int)] = False
    file = tmp_path / "start.nii.gz"
    sitk.WriteImage(volume.with_array(start.astype(np.uint8)).to_sitk(), str(file))
    missing = np.argwhere(truth & ~start)
    k, j, i = missing[len(missing) // 2]
    at = ",".join(f"{value:.1f}" for value in volume.grid.position_of((i, j, k)))
    more = ("--model", model, "--structure", "cyst", "--start", file)
    assert run("segment", scan, "-o", tmp_path / "same.nii.gz", *more) == 0
    assert (mask_of(tmp_path / "same.nii.gz") == start).all()
    assert run("segment", scan, "-o", tmp_path / "more.nii.gz", *more, "--click", f"{at},+") == 0
    assert overlap(mask_of(tmp_path / "more.nii.gz"), truth) > 0.85


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "click or draw a line inside it first"),
        (("--click", "0,0,0,-"), "click or draw a line inside it first"),
        (("--click", "0,0,-800,+", "--region", "0,0,0,9,9,9"), "leave out --region"),
        (("--click", "0,0,-800,+", "--all-labels"), "leave out --structure"),
    ],
)
def test_what_makes_no_structure_is_refused_before_the_scan_is_read(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple, words: str
) -> None:
    arguments = ("segment", tmp_path / "none.nii.gz", "-o", tmp_path / "out", "--model", model)
    assert_refused(capsys, run(*arguments, "--structure", "cyst", *more), words)
    assert not (tmp_path / "out").exists()


def test_a_model_without_such_an_editor_is_refused_in_a_sentence(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = save_card_of(threshold_model(), tmp_path / "plain")
    arguments = ("segment", scan, "-o", "-", "--model", plain, "--click", "0,0,-800,+")
    assert_refused(
        capsys, run(*arguments, "--structure", "cyst"), "'bright' answers clicks at the pancreas"
    )


def test_what_the_model_knows_needs_no_click(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    knowing = liver_and_spleen_model()
    folder = save_card_of(knowing, tmp_path / "liver")
    monkeypatch.setattr(segmenting, "load_model", lambda _folder: knowing)
    middle = volume.grid.bounds.centre_ras
    scan = with_ball(volume, middle, 24, LESION_HU)
    sitk.WriteImage(scan.to_sitk(), str(tmp_path / "scan.nii.gz"))
    arguments = ("segment", tmp_path / "scan.nii.gz", "--model", folder, "--structure")
    assert run(*arguments, "Spleen", "-o", tmp_path / "spleen.nii.gz") == 0
    assert "know the spleen only as what lies around the liver" in capsys.readouterr().err
    assert overlap(mask_of(tmp_path / "spleen.nii.gz"), scan.array == LESION_HU) > 0.8
    assert_refused(capsys, run(*arguments, "cyst", "-o", "-"), "are found: liver, spleen.")
    # In a region of interest that part of it alone.
    part = tmp_path / "part.nii.gz"
    corners = np.concatenate([middle - [40, 40, 40], middle + np.array([40, 40, 0])])
    region = ("--region", ",".join(map(str, corners)))
    assert run(*arguments, "spleen", "-o", part, *region) == 0
    assert "reaches the edge of the region of interest (head)" in capsys.readouterr().err
    k = int(scan.grid.index_of(middle)[2])
    whole, half = mask_of(tmp_path / "spleen.nii.gz"), mask_of(part)
    assert half.any()
    assert not half[k + 2 :].any()
    np.testing.assert_array_equal(half[:k], whole[:k])
    for height, status in ((-20, 0), (20, 2)):
        at = ",".join(map(str, middle + np.array([0, 0, height])))
        assert run(*arguments, "spleen", "-o", part, *region, "--click", f"{at},-") == status
    assert "A click lies outside the region of interest" in capsys.readouterr().err
    assert 0 < mask_of(part).sum() < half.sum()


def test_in_python_it_is_one_argument(
    scan: Path, saved: Path, truth: np.ndarray, click: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(with_structure_editor(threshold_model()), "cpu")
    monkeypatch.setattr(predictor_cache, "load_predictor", lambda _options: predictor)
    position = tuple(map(float, click.split(",")))
    found = segment_image(scan, model=saved, structure="cyst", clicks=[(position, True)])
    assert found.prediction.target == "cyst"
    assert EXPERIMENTAL in found.warnings
    assert found.statistics["volume_ml"] > 0
