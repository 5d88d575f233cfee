"""The command line, a batch and Python with a model of an organ and its lesion."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import predictor_cache
from AttentionUNetSegmentLib.inference.predictor import Predictor
from test_segment_command import write_series
from threshold_model import LESION_HU, axial_scan, save_card_of, two_target_model, with_lesion

pytestmark = pytest.mark.usefixtures("quick_picture")


@pytest.fixture(scope="module")
def volume() -> Volume:
    scan, organ = axial_scan((4.0, 4.0, 5.0))
    return with_lesion(scan, organ)


@pytest.fixture(scope="module")
def scan(abdomen_file: Path) -> Path:
    return abdomen_file


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_card_of(two_target_model(), tmp_path_factory.mktemp("models") / "two")


@pytest.fixture
def model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(segmenting, "load_model", lambda _folder: two_target_model())
    monkeypatch.setattr(
        predictor_cache, "load_predictor", lambda _options: Predictor(two_target_model(), "cpu")
    )
    return saved


def segment(scan: Path, output: object, model: Path, *more: str) -> int:
    return main(["segment", str(scan), "-o", str(output), "--model", str(model), *more])


def labels_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_a_label_map_has_a_value_for_each_target(
    scan: Path, model: Path, volume: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, tmp_path / "both.nii.gz", model) == 0
    labels = labels_of(tmp_path / "both.nii.gz")
    assert set(np.unique(labels)) == {0, 1, 2}
    truth = volume.array == LESION_HU
    assert 2 * ((labels == 2) & truth).sum() / ((labels == 2).sum() + truth.sum()) > 0.85
    told = capsys.readouterr().out
    assert "Liver" in told
    assert "Tumour" in told


def test_separate_files_have_the_whole_organ_in_one_and_the_part_in_the_other(
    scan: Path, model: Path, tmp_path: Path
) -> None:
    assert segment(scan, tmp_path / "mask.nii.gz", model, "--separate") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mask-liver.nii.gz",
        "mask-tumour.nii.gz",
    ]
    liver, tumour = (labels_of(tmp_path / f"mask-{one}.nii.gz") for one in ("liver", "tumour"))
    assert tumour.any()
    assert not (tumour & ~liver & 1).any()


def test_the_report_tells_of_each_target(
    scan: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, "-", model) == 0
    report = json.loads(capsys.readouterr().out)
    liver, tumour = report["targets"]
    assert (liver["name"], liver["value"], liver["part_of"]) == ("liver", 1, None)
    assert (tumour["name"], tumour["value"], tumour["part_of"]) == ("tumour", 2, "liver")
    assert liver["volume_ml"] == report["volume_ml"] > tumour["volume_ml"] > 0
    assert tumour["statistics"]["mean_hu"] > liver["statistics"]["mean_hu"]


def test_clicks_name_their_target(
    scan: Path, model: Path, volume: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    where = volume.grid.position_of(np.argwhere(volume.array == LESION_HU).mean(axis=0)[::-1])
    click = ",".join(f"{value:.1f}" for value in where)
    assert segment(scan, "-", model, "--click", f"{click},-,tumour") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clicks"][0]["target"] == "tumour"
    assert segment(scan, "-", model, "--click", f"{click},-,spleen") == 2
    assert "none of the targets: liver, tumour" in capsys.readouterr().err


def test_a_folder_has_all_segments_and_a_surface_of_each(
    scan: Path, model: Path, tmp_path: Path
) -> None:
    slicer = pytest.importorskip("slicer")
    more = ("--also", "stl", "--also", "nifti", "--only", "mask", "--only", "picture")
    assert segment(scan, tmp_path, model, *more) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "segmentation.seg.nrrd", "segmentation.nii.gz", "segmentation-liver.stl",
        "segmentation-tumour.stl", "overlay.png", "report.json",
    }  # fmt: skip
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "segmentation.seg.nrrd"))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    read = [segmentation.GetNthSegment(n).GetName() for n in range(2)]
    assert read == ["Liver", "Tumour"]


def test_a_dicom_segmentation_has_a_segment_for_each(model: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    series = write_series(tmp_path / "series")
    assert segment(series, tmp_path / "seg.dcm", model) == 0
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [one.SegmentLabel for one in dataset.SegmentSequence] == ["Liver", "Tumour"]


def test_a_batch_has_a_row_for_each_target(scan: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("slicer")
    command = ["batch", str(scan.parent), "-o", str(tmp_path), "--model", str(model)]
    assert main(command) == 0
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["target"] for row in rows] == ["liver", "tumour"]
    assert rows[0]["study"] == rows[1]["study"]
    assert float(rows[0]["volume_ml"]) > float(rows[1]["volume_ml"]) > 0
    assert main(command) == 0  # what is finished gives the same rows
    with (tmp_path / "results.csv").open() as file:
        assert list(csv.DictReader(file)) == rows


def test_python_gives_each_target(scan: Path, model: Path, tmp_path: Path) -> None:
    from AttentionUNetSegmentLib import segment
    from AttentionUNetSegmentLib.notebook import segmenting as notebook

    notebook._cache.cache_clear()
    try:
        result = segment(scan, model=model)
    finally:
        notebook._cache.cache_clear()
    assert list(result.targets) == ["liver", "tumour"]
    tumour = result.targets["tumour"]
    assert tumour.label == "tumour"
    assert tumour.statistics["volume_ml"] < result.statistics["volume_ml"]
    np.testing.assert_array_equal(result.label_map == 2, tumour.mask != 0)
    result.save(tmp_path / "both.nii.gz")
    assert labels_of(tmp_path / "both.nii.gz").max() == 2


# All that the networks know


@pytest.fixture
def knowing(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the liver whose networks know a tumour, too."""
    model = two_target_model()
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, targets=()))
    monkeypatch.setattr(segmenting, "load_model", lambda _folder: model)
    return save_card_of(model, tmp_path_factory.mktemp("models") / "knowing")


def test_all_labels_are_written_beside_the_result_and_named_so_that_nobody_trusts_them(
    scan: Path, knowing: Path, tmp_path: Path, volume: Volume
) -> None:
    pytest.importorskip("slicer")
    assert segment(scan, tmp_path, knowing, "--all-labels", "--only", "mask") == 0
    region, coarse = "not-for-diagnosis-region.seg.nrrd", "not-for-diagnosis-coarse.seg.nrrd"
    report = json.loads((tmp_path / "report.json").read_text())
    assert [one["file"] for one in report["all_labels"]] == [region, coarse]
    assert report["all_labels"][1]["about"] == "all labels, coarse (6 mm), not for diagnosis"
    assert report["all_labels"][0]["labels"] == ["liver", "tumour"]
    header = (tmp_path / coarse).read_bytes()[:3000].decode("latin-1")
    assert "Tumour (coarse)" in header
    closely = labels_of(tmp_path / region)
    assert closely.shape[:3] == volume.array.shape
    assert segment(scan, tmp_path, knowing, "--only", "mask") == 0
    assert not list(tmp_path.glob("not-for-diagnosis*"))


def test_a_model_that_knows_no_more_and_a_single_file_are_refused(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, tmp_path / "out", model, "--all-labels") == 2
    assert "knows nothing but what it segments" in capsys.readouterr().err
    assert segment(scan, tmp_path / "out.nii.gz", model, "--all-labels") == 2
    assert "--all-labels" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
