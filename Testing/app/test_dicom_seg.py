"""The DICOM Segmentation of a batch, read by readers that are not its writer's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.app.batch.dicom_seg import write_dicom_seg
from AttentionUNetSegmentLib.app.batch.rows import StudyRow
from AttentionUNetSegmentLib.app.batch.sources import Study, find_studies
from AttentionUNetSegmentLib.app.batch.worker import BatchWorker
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.inference.uncertainty import DoubtfulPlace
from AttentionUNetSegmentLib.io.reading import read_volume
from AttentionUNetSegmentLib.models import DiceEstimate
from AttentionUNetSegmentLib.scene import PANCREAS
from batch_cases import hounsfield, save_model, write_scan
from odd_inputs import FRAMES_WHOLE, OddSeries, write_frames
from scan_files import AXIAL, stack, write_slices

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
pytestmark = pytest.mark.usefixtures("one_thread", "quick_picture")

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "chance")


def series(folder: Path, axes: tuple[tuple[float, ...], ...] = AXIAL, **tags: str) -> Path:
    """An axial CT whose files have what a scanner's have; the stack runs along its normal."""
    array = hounsfield()
    positions = stack(len(array), np.cross(*axes) * 2.5)
    for path in write_slices(folder, array, positions, axes):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "4711"
        dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.2.1125.77"
        for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
            setattr(dataset, name, "")
        dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
    return folder


def result(volume: Volume, mask: np.ndarray, **more: Any) -> Prediction:
    return Prediction(
        volume=volume,
        mask=mask,
        region=(slice(0, 1),) * 3,
        found=True,
        volume_ml=1.0,
        focus_ratios=(),
        timings_s={},
        device="CPU",
        model_name="m",
        model_version="1",
        **({"warnings": ()} | more),
    )


def run(source: Path, out: Path, model: Path) -> tuple[Study, StudyRow, Path]:
    (study,) = find_studies([source], str(model)).studies
    answer = BatchWorker(out, "cpu", ["dicom-seg", "nifti"]).run(study)
    return study, answer.row, out / "studies" / study.name


TURNED = ((np.cos(0.2), np.sin(0.2), 0.0), (-np.sin(0.2), np.cos(0.2), 0.0))


@pytest.mark.parametrize("axes", [AXIAL, TURNED], ids=["straight", "turned"])
def test_it_lies_where_the_mask_lies(
    axes: tuple[tuple[float, ...], ...], tmp_path: Path, model: Path
) -> None:
    """By the places that each frame names, and by the volume that two readers make of it."""
    study, row, folder = run(series(tmp_path / "in", axes), tmp_path / "out", model)
    assert (row.status, row.found) == ("done", "yes"), row.error
    mask = sitk.ReadImage(str(folder / "segmentation.nii.gz"))
    voxels = sitk.GetArrayFromImage(mask)
    assert 0 < voxels.sum() < voxels.size

    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    frames = dataset.pixel_array.reshape(-1, *voxels.shape[1:])
    placed = np.zeros_like(voxels)
    for frame, place in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(value) for value in place.PlanePositionSequence[0].ImagePositionPatient]
        i, j, k = mask.TransformPhysicalPointToContinuousIndex(position)
        assert (i, j) == pytest.approx((0, 0), abs=1e-3)
        assert k == pytest.approx(round(k), abs=1e-3)
        placed[round(k)] = frame
    assert (placed == voxels).all()

    volume = highdicom.seg.segread(folder / "segmentation.dcm").get_volume(
        combine_segments=True, rescale_fractional=False
    )
    read = np.argwhere(volume.array)
    lps = read @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = [
        mask.TransformIndexToPhysicalPoint([int(at) for at in kji[::-1]])
        for kji in np.argwhere(voxels)
    ]
    assert np.allclose(np.sort(lps, axis=0), np.sort(np.array(expected), axis=0), atol=1e-3)

    image = sitk.ReadImage(str(folder / "segmentation.dcm"))
    assert np.count_nonzero(sitk.GetArrayFromImage(image)) == voxels.sum()
    assert len(study.files) == len(voxels)


def test_it_refers_to_its_slices_and_has_the_right_codes(tmp_path: Path, model: Path) -> None:
    study, _, folder = run(series(tmp_path / "in"), tmp_path / "out", model)
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in study.files]
    assert dataset.SOPClassUID == SEGMENTATION_STORAGE
    assert dataset.Modality == "SEG"
    assert dataset.SegmentationType == "BINARY"
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[name].value == sources[0][name].value
    assert dataset.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == sources[0].SeriesInstanceUID

    by_position = {
        tuple(round(float(value), 3) for value in one.ImagePositionPatient): one.SOPInstanceUID
        for one in sources
    }
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        expected = by_position[tuple(round(float(value), 3) for value in position)]
        assert image.ReferencedSOPInstanceUID == expected

    (segment,) = dataset.SegmentSequence
    assert segment.SegmentLabel == "Pancreas"
    from highdicom.color import CIELabColor

    shown = CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
    assert shown == pytest.approx(PANCREAS.color, abs=2)
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    for sequence, value, meaning in (
        (segment.SegmentedPropertyCategoryCodeSequence, "123037004", "Anatomical Structure"),
        (segment.SegmentedPropertyTypeCodeSequence, "15776009", "Pancreas"),
    ):
        assert sequence[0].CodingSchemeDesignator == "SCT"
        assert (sequence[0].CodeValue, sequence[0].CodeMeaning) == (value, meaning)
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("chance", "7")


@pytest.mark.parametrize("order", FRAMES_WHOLE[:3])
def test_frames_in_any_order_get_the_planes_that_lie_there(order: str, tmp_path: Path) -> None:
    """An Enhanced CT is one file, whose frames may run from head to feet, or anyhow."""
    case = OddSeries(
        slices=6, rows=4, columns=5, dtype="i2", bits=16, syntax="explicit", slope=1.0,
        intercept=-1024.0, axes="axial", spacing=(0.7, 0.9), step=2.5, oddity=order, seed=1,
    )  # fmt: skip
    source = tmp_path / "frames.dcm"
    write_frames(case, source)
    dataset = pydicom.dcmread(source)
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.2.1125.77"
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate",
                 "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        setattr(dataset, name, "")
    dataset.save_as(source)
    volume = read_volume(source)
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[1, 2, 3] = mask[4, 1, 0] = 1
    prediction = result(volume, mask)
    write_dicom_seg(prediction, PANCREAS, [str(source)], tmp_path / "seg.dcm")
    read = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(
        combine_segments=True, rescale_fractional=False
    )
    places = np.argwhere(read.array) @ read.affine[:3, :3].T + read.affine[:3, 3]
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    expected = np.argwhere(mask)[:, ::-1] @ to_lps[:3, :3].T + to_lps[:3, 3]
    assert np.allclose(places[places[:, 2].argsort()], expected, atol=1e-3)


def test_it_is_the_same_but_for_the_time_when_it_was_made(tmp_path: Path, model: Path) -> None:
    source = series(tmp_path / "in")
    both = []
    for out in ("one", "two"):
        _, _, folder = run(source, tmp_path / out, model)
        dataset = pydicom.dcmread(folder / "segmentation.dcm")
        for name in (
            "ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime",
            "SeriesDate", "SeriesTime",
        ):  # fmt: skip
            if name in dataset:
                del dataset[name]
        for maker in dataset.ContributingEquipmentSequence:
            del maker.ContributionDateTime
        both.append(dataset)
    assert both[0].to_json() == both[1].to_json()


def test_a_scan_that_was_no_dicom_has_none(tmp_path: Path, model: Path) -> None:
    _, row, folder = run(write_scan(tmp_path / "a.nrrd"), tmp_path / "out", model)
    assert row.status == "done"
    assert not (folder / "segmentation.dcm").exists()
    assert (folder / "segmentation.nii.gz").exists()


def test_it_says_how_good_the_result_is_and_what_was_warned_of(tmp_path: Path) -> None:
    files = find_studies([series(tmp_path / "in")]).studies[0].files
    volume = read_volume(tmp_path / "in")
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[1:3, 4:8, 4:8] = 1
    prediction = result(
        volume,
        mask,
        warnings=("It has 2 pieces; check them, all of them.", "It is unsure."),
        dice_estimate=DiceEstimate(0.764, 0.6, 0.85, 0.9),
        doubtful_places=(DoubtfulPlace((1.0, -2.0, 3.5), 1.0),),
    )
    write_dicom_seg(prediction, PANCREAS, files, tmp_path / "seg.dcm")
    dataset = highdicom.seg.segread(tmp_path / "seg.dcm")
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentDescription == " ".join(prediction.warnings)
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert dict(one.split("=") for one in algorithm.AlgorithmParameters.split(",")) == {
        "Estimated Dice": "0.76 (0.60 to 0.85)",
        "Most doubtful place": "1.0 -2.0 3.5 mm in RAS",
    }
