"""Data sets in each layout that is read: which cases, which labels, and that both lie together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.datasets.cases import load_case
from AttentionUNetSegmentLib.datasets.layouts import find_data_set
from AttentionUNetSegmentLib.datasets.loading import BTCV_LABELS, PANCREAS, find_cases
from AttentionUNetSegmentLib.errors import InputError, TrainingError
from AttentionUNetSegmentLib.geometry.alignment import align_labels
from AttentionUNetSegmentLib.geometry.volume import Volume, reorder_axes
from data_set_makers import (
    blobs,
    write_decathlon,
    write_image,
    write_lits,
    write_pairs,
    write_pancreas_ct,
    write_slices,
)
from geometry import placed, rotation
from hypothesis import given
from hypothesis import strategies as st
from small_cases import small_case, write_case


def assert_organ_is_bright(case: Any) -> None:
    """In what is made here the organ is 90 HU and all around it is not."""
    organ = case.labels.array > 0
    assert organ.any()
    assert case.ct.array[organ].mean() > 80
    assert case.ct.array[~organ].mean() < 0


# --- Pancreas-CT --------------------------------------------------------------------------------


def test_pancreas_ct_is_read_from_dicom_with_its_turned_labels(tmp_path: Path) -> None:
    truth = write_pancreas_ct(tmp_path)
    data = find_data_set(tmp_path)
    assert (data.layout, data.labels, data.problems) == (
        "pancreas-ct",
        ("background", "pancreas"),
        (),
    )
    assert [case.name for case in data.cases] == ["PANCREAS_0001", "PANCREAS_0002", "PANCREAS_0003"]
    case = load_case(data.cases[1])
    np.testing.assert_array_equal(case.labels.array, truth[2])
    np.testing.assert_allclose(case.ct.ijk_to_ras, blobs()[0].ijk_to_ras, atol=1e-4)
    assert_organ_is_bright(case)


def test_labels_of_pancreas_ct_with_a_true_header_are_read_by_it(tmp_path: Path) -> None:
    """As they are once somebody has put them right, stored in another order."""
    write_pancreas_ct(tmp_path, (1,))
    _, labels = blobs(seed=1)
    for file in tmp_path.rglob("label0001.nii.gz"):
        write_image(file, reorder_axes(labels, (0, 1, 2), (True, True, False)))
    case = load_case(find_data_set(tmp_path).cases[0])
    np.testing.assert_array_equal(case.labels.array, labels.array)
    assert_organ_is_bright(case)


def test_labels_of_pancreas_ct_that_mark_no_soft_tissue_are_refused(tmp_path: Path) -> None:
    truth = write_pancreas_ct(tmp_path, (1,))
    for file in tmp_path.rglob("label0001.nii.gz"):
        write_image(file, Volume(truth[1][:, ::-1, ::-1], np.diag([2.0, 2.0, 3.0, 1.0])))
    with pytest.raises(TrainingError, match="less soft tissue"):
        load_case(find_data_set(tmp_path).cases[0])


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    truth = write_pancreas_ct(tmp_path, (1,))
    for file in tmp_path.rglob("label0001.nii.gz"):
        write_image(file, Volume(truth[1][:-1], np.diag([2.0, 2.0, 3.0, 1.0])))
    with pytest.raises(TrainingError, match="50 x 40 x 15 voxels, but the scan in 'PANCREAS_0001'"):
        load_case(find_data_set(tmp_path).cases[0])


def test_a_scan_of_pancreas_ct_without_labels_is_told_and_withdrawn_scans_are_not(
    tmp_path: Path,
) -> None:
    write_pancreas_ct(tmp_path, (1, 2))
    folder = tmp_path / "TCIA_pancreas_labels-02-05-2017"
    write_image(folder / "label0025.nii.gz", blobs()[1])  # its scan was withdrawn
    assert find_data_set(tmp_path).problems == ()
    (folder / "label0002.nii.gz").unlink()
    data = find_data_set(tmp_path)
    assert [case.name for case in data.cases] == ["PANCREAS_0001"]
    with pytest.raises(TrainingError, match=r"'PANCREAS_0002' has no labels: 'label0002.nii.gz'"):
        find_cases(data)


# --- LiTS ---------------------------------------------------------------------------------------


def test_lits_is_read_with_liver_and_tumour(tmp_path: Path) -> None:
    write_lits(tmp_path)
    data = find_data_set(tmp_path)
    assert data.layout == "lits"
    assert data.labels == ("background", "liver", "tumour")
    assert [case.name for case in data.cases] == ["volume-0", "volume-1", "volume-10"]
    case = load_case(data.cases[2])
    assert set(np.unique(case.labels.array)) == {0, 1, 2}
    assert_organ_is_bright(case)


def test_lits_says_what_has_no_partner(tmp_path: Path) -> None:
    write_lits(tmp_path)
    next(tmp_path.rglob("segmentation-1.nii")).unlink()
    next(tmp_path.rglob("volume-10.nii")).unlink()
    data = find_data_set(tmp_path)
    assert [case.name for case in data.cases] == ["volume-0"]
    assert [problem.split(":")[0] for problem in data.problems] == [
        "'volume-1.nii' has no labels",
        "'segmentation-10.nii' has no scan",
    ]


# --- Decathlon ----------------------------------------------------------------------------------


def test_a_task_of_the_decathlon_is_read_with_its_label_names(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    data = find_data_set(tmp_path)
    assert data.layout == "decathlon"
    assert data.labels == ("background", "pancreas", "cancer")
    assert data.target == "pancreas"
    assert dict(data.part_of) == {"cancer": "pancreas"}
    assert [case.name for case in data.cases] == ["pancreas_a", "pancreas_b", "pancreas_c"]
    case = load_case(data.cases[0])
    assert set(np.unique(case.labels.array)) == {0, 1, 2}
    assert_organ_is_bright(case)


def test_the_way_of_nnunet_is_read_too(tmp_path: Path) -> None:
    write_decathlon(
        tmp_path,
        labels={"background": 0, "pancreas": 1, "cancer": 2},
        channel_names={"0": "CT"},
        modality={"0": "CT"},
    )
    content = json.loads((tmp_path / "dataset.json").read_text())
    del content["training"], content["modality"]
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    for image in (tmp_path / "imagesTr").iterdir():
        image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))
    data = find_data_set(tmp_path)
    assert data.labels == ("background", "pancreas", "cancer")
    assert_organ_is_bright(load_case(data.cases[0]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modality": {"0": "MRI"}}, "other than CT"),
        ({"modality": {"0": "CT", "1": "PET"}}, "of one channel"),
        ({"labels": {"0": "background"}}, "no label but the background"),
        ({"labels": {"0": "background", "1": "a", "2": "A"}}, "the same name"),
        ({"labels": {"x": "background"}}, "must be numbers"),
        ({"training": []}, "no training cases"),
        ({"training": [{"image": 3}]}, "damaged"),
    ],
)
def test_a_wrong_description_of_a_task_gets_a_sentence(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    write_decathlon(tmp_path, ("a",), **changes)
    with pytest.raises(TrainingError, match=said):
        find_data_set(tmp_path)


def test_a_missing_file_of_a_task_is_named(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    (tmp_path / "labelsTr" / "pancreas_b.nii.gz").unlink()
    (problem,) = find_data_set(tmp_path).problems
    assert "labelsTr/pancreas_b.nii.gz" in problem


# --- pairs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.nii.gz", "labels/{}.nii.gz"),
        ("images/{}.nii.gz", "masks/{}.nrrd"),
        ("images/{}_0000.mha", "labels/{}.mha"),
        ("imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz"),
        ("{}.nii.gz", "{}_label.nii.gz"),
        ("{}.nrrd", "{}-seg.nrrd"),
        ("{}.nrrd", "{}.seg.nrrd"),
        ("{}_image.nii", "{}_mask.nii.gz"),
    ],
)
def test_pairs_are_found_by_their_names(tmp_path: Path, image: str, label: str) -> None:
    write_pairs(tmp_path, image=image, label=label)
    data = find_data_set(tmp_path)
    assert data.layout == "pairs"
    assert data.problems == ()
    assert [case.name for case in data.cases] == ["a", "b", "c"]
    assert data.labels == ("background", "label 1", "label 2")
    for files in data.cases:
        assert_organ_is_bright(load_case(files))


def test_a_manifest_names_labels_and_lists_cases(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    manifest = {
        "format": 1,
        "labels": {"0": "background", "1": "pancreas", "2": "cyst"},
        "part_of": {"cyst": "pancreas"},
        "cases": [
            {"name": "first", "image": "images/a.nii.gz", "label": "labels/a.nii.gz"},
            {
                "name": "second",
                "image": "images/b.nii.gz",
                "label": "labels/b.nii.gz",
                "patient": "P",
                "added": "2026-11-23",
            },
        ],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    data = find_data_set(tmp_path)
    assert data.labels == ("background", "pancreas", "cyst")
    assert data.target == "pancreas"
    assert [(case.name, case.patient) for case in data.cases] == [
        ("first", "first"),
        ("second", "P"),
    ]


def test_a_manifest_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As editors on Windows write it."""
    write_pairs(tmp_path)
    text = json.dumps({"format": 1, "labels": {"1": "pancreas", "2": "cyst"}})
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8-sig")
    assert find_data_set(tmp_path).labels == ("background", "pancreas", "cyst")


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ("images/a_ct.nii.gz", "each the image of case 'a'"),
        ("images/a.nrrd", "each the image of case 'a'"),
        ("labels/a-seg.nii.gz", "each the label file of case 'a'"),
    ],
)
def test_two_files_for_one_case_are_told(tmp_path: Path, again: str, said: str) -> None:
    """None of them is chosen: the other one may be what was meant."""
    write_pairs(tmp_path)
    shutil.copy(tmp_path / again[:6] / "b.nii.gz", tmp_path / again)
    data = find_data_set(tmp_path)
    (problem,) = data.problems
    assert said in problem
    assert again in problem
    with pytest.raises(TrainingError, match=said):
        find_cases(data)


def test_values_with_gaps_become_consecutive(tmp_path: Path) -> None:
    scan, labels = blobs()
    write_image(tmp_path / "images" / "a.nii.gz", scan)
    gaps = labels.with_array(np.array([0, 3, 7], np.uint8)[labels.array])
    write_image(tmp_path / "labels" / "a.nii.gz", gaps)
    data = find_data_set(tmp_path)
    assert data.labels == ("background", "label 3", "label 7")
    np.testing.assert_array_equal(load_case(data.cases[0]).labels.array, labels.array)


@pytest.mark.parametrize("value", [255, 0.9999, 1.00001, 3])
def test_a_mask_of_any_two_values_is_background_and_an_organ(tmp_path: Path, value: float) -> None:
    scan, labels = blobs()
    inside = labels.array == 1
    dtype = np.float32 if value % 1 else np.uint8
    write_image(tmp_path / "images" / "a.nii.gz", scan)
    write_image(tmp_path / "labels" / "a.nii.gz", labels.with_array((inside * value).astype(dtype)))
    data = find_data_set(tmp_path)
    assert len(data.labels) == 2
    np.testing.assert_array_equal(load_case(data.cases[0]).labels.array, inside)


def test_a_map_of_probabilities_is_told_as_such(tmp_path: Path) -> None:
    scan, labels = blobs()
    write_image(tmp_path / "images" / "a.nii.gz", scan)
    shares = (labels.array * 0.37).astype(np.float32)
    write_image(tmp_path / "labels" / "a.nii.gz", labels.with_array(shares))
    with pytest.raises(TrainingError, match="hold fractions"):
        find_data_set(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("{", "not valid JSON"),
        ('{"format": 2}', "format"),
        ('{"format": 1, "labels": {"1": ""}}', "must have a name"),
        ('{"format": 1, "labels": {"300": "a"}}', "outside 0 to 255"),
        ('{"format": 1, "labels": {"1": "a"}, "cases": {}}', "must be a list"),
        ('{"format": 1, "labels": {"1": "a"}, "cases": [{"image": "a"}]}', "lacks its image or"),
        ('{"format": 1, "cases": [{"image": "../a.nii", "label": "b.nii"}]}', "leads out of"),
        ('{"format": 1, "cases": [{"image": "/a.nii", "label": "b.nii"}]}', "leads out of"),
        ('{"format": 1, "labels": {"1": "a"}, "target": "b"}', "none of its labels"),
        ('{"format": 1, "labels": {"1": "a"}, "part_of": 3}', "part_of"),
    ],
)
def test_a_wrong_manifest_gets_a_sentence(tmp_path: Path, manifest: str, said: str) -> None:
    write_pairs(tmp_path, ("a",))
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(TrainingError, match=said):
        find_data_set(tmp_path)


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "labels" / "b.nii.gz").unlink()
    (tmp_path / "images" / "c.nii.gz").unlink()
    data = find_data_set(tmp_path)
    assert [case.name for case in data.cases] == ["a"]
    assert data.problems == (
        "'images/b.nii.gz' has no label file.",
        "'labels/c.nii.gz' has no image.",
    )
    with pytest.raises(TrainingError, match="2 problems"):
        find_cases(data)


# --- slices and the data sets at hand -----------------------------------------------------------


def test_slices_are_volumes_of_one_layer(tmp_path: Path) -> None:
    write_slices(tmp_path)
    data = find_data_set(tmp_path)
    assert (data.layout, data.dimensions, data.hounsfield) == ("slices", 2, False)
    assert [case.patient for case in data.cases] == ["P_0001", "P_0001", "P_0002"]
    case = load_case(data.cases[0])
    assert case.ct.array.shape == case.labels.array.shape == (1, 40, 50)
    assert case.ct.array.dtype == np.uint8
    assert case.patient == "P_0001"
    assert set(np.unique(case.labels.array)) == {0, 1}
    assert (case.labels.array[0, 10:20, 5:25] == 1).all()
    assert (case.labels.array == 1).sum() == 200


def test_a_coloured_picture_is_refused_and_a_grey_one_in_colours_is_not(tmp_path: Path) -> None:
    write_slices(tmp_path, ("P-1",))
    file = tmp_path / "images" / "P-1.jpg"
    grey = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    (tmp_path / "images" / "P-1.jpg").unlink()
    colours = np.stack([grey] * 3, axis=-1)
    sitk.WriteImage(
        sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "images" / "P-1.png")
    )
    np.testing.assert_array_equal(load_case(find_data_set(tmp_path).cases[0]).ct.array[0], grey)
    colours[5:9, 5:9, 0] = 255
    colours[5:9, 5:9, 1] = 0
    sitk.WriteImage(
        sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "images" / "P-1.png")
    )
    with pytest.raises(TrainingError, match="colour picture"):
        load_case(find_data_set(tmp_path).cases[0])


@pytest.mark.parametrize(
    ("folder", "layout", "patterns"),
    [
        ("", "btcv", ("btcv/train/*_ct.nii.gz", "panorama-roi/*_ct.nii.gz")),
        ("btcv/train", "btcv", ("*_ct.nii.gz",)),
        ("panorama-roi", "panorama", ("*_ct.nii.gz",)),
        ("pancreas-ct-slices", "slices", ("images/*.jpg",)),
    ],
)
def test_the_data_at_hand(
    shared_data: Path, folder: str, layout: str, patterns: tuple[str, ...]
) -> None:
    """Every image in the folder is a case, however many there are by now."""
    root = shared_data / folder
    images = sorted(file for pattern in patterns for file in root.glob(pattern))
    data = find_data_set(root)
    assert data.layout == layout
    assert sorted(case.image for case in data.cases) == images
    # Slices are named PANCREAS_PATIENT-NUMBER, all else by its patient.
    patients = {file.name.split("-")[0].split("_ct")[0] for file in images}
    assert len({case.patient for case in data.cases}) == len(patients)
    assert load_case(data.cases[0]).labels.array.any()


def test_real_slices_and_their_masks_are_stored_alike(shared_data: Path) -> None:
    """The organ is neither black nor white; what lies there in a mirrored picture often is."""
    kept, mirrored = [], []
    for files in find_data_set(shared_data / "pancreas-ct-slices").cases[::8]:
        case = load_case(files)
        grey = (case.ct.array > 25) & (case.ct.array < 235)
        organ = case.labels.array > 0
        kept.append(grey[organ].mean())
        mirrored.append(max(grey[np.flip(organ, axis)].mean() for axis in (1, 2)))
    assert np.mean(kept) > 0.9
    assert np.mean(mirrored) < 0.85


# --- labels by name -----------------------------------------------------------------------------


def test_labels_are_matched_with_a_models_by_name(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    data = find_data_set(tmp_path).relabelled(BTCV_LABELS)
    assert data.labels == BTCV_LABELS
    assert data.target == "pancreas"
    case = load_case(data.cases[0])
    # The tumour is a part of the pancreas; the other organs are not labelled here.
    original = load_case(find_data_set(tmp_path).cases[0]).labels.array
    np.testing.assert_array_equal(case.labels.array, PANCREAS * (original > 0))
    assert not case.organs_known
    same = find_data_set(tmp_path).relabelled(("background", "Cancer", "Pancreas"))
    case = load_case(same.cases[0])
    assert set(np.unique(case.labels.array)) == {0, 1, 2}
    assert case.organs_known
    assert ((case.labels.array == 1) == (original == 2)).all()
    with pytest.raises(TrainingError, match="knows none"):
        find_data_set(tmp_path).relabelled(("background", "spleen"))


def test_labels_that_were_mapped_before_are_mapped_on(tmp_path: Path) -> None:
    write_case(tmp_path / "btcv" / "train", "case0005", small_case())
    write_case(tmp_path / "panorama-roi", "panorama001", small_case("region"), "_pancreas")
    data = find_data_set(tmp_path).relabelled(("background", "pancreas", "liver"))
    scan, region = (load_case(case).labels.array for case in data.cases)
    assert set(np.unique(scan)) == {0, 1, 2}
    assert set(np.unique(region)) <= {0, 1}


# --- same grid, other order ---------------------------------------------------------------------

MAKERS: dict[str, Callable[[Path], object]] = {
    "pairs": write_pairs,
    "lits": write_lits,
    "decathlon": write_decathlon,
    "slices": write_slices,
    "pancreas-ct": write_pancreas_ct,
}


@pytest.mark.parametrize("layout", MAKERS)
def test_a_layout_can_be_asked_for(tmp_path: Path, layout: str) -> None:
    MAKERS[layout](tmp_path)
    assert find_data_set(tmp_path, layout).layout == layout
    assert find_data_set(tmp_path).layout == layout
    with pytest.raises(TrainingError, match="no layout"):
        find_data_set(tmp_path, "zip")


@given(
    st.permutations([0, 1, 2]),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.floats(-40, 40),
)
def test_labels_in_another_order_of_voxels_are_put_in_the_images(
    axes: list[int], flips: tuple[bool, bool, bool], degrees: float
) -> None:
    matrix = rotation(0, degrees) @ rotation(2, degrees / 2) @ placed((1.0, 1.5, 4.0), (3, 4, 5))
    array = np.random.default_rng(0).integers(0, 5, (3, 4, 5)).astype(np.uint8)
    image, labels = Volume(np.zeros((3, 4, 5), np.int16), matrix), Volume(array, matrix)
    moved = reorder_axes(labels, (axes[0], axes[1], axes[2]), flips)
    aligned = align_labels(image, moved)
    assert aligned is not None
    np.testing.assert_array_equal(aligned.array, array)
    np.testing.assert_array_equal(aligned.ijk_to_ras, matrix)


@pytest.mark.parametrize(
    "other",
    [
        placed((2.0, 2.0, 3.05), (50, 40, -700)),
        placed((2.0, 2.0, 3.0), (50.5, 40, -700)),
        rotation(2, 1) @ placed((2.0, 2.0, 3.0), (50, 40, -700)),
        rotation(2, 45) @ placed((2.0, 2.0, 3.0), (50, 40, -700)),
    ],
)
def test_another_grid_is_not_taken_for_the_same(other: np.ndarray) -> None:
    image, labels = blobs()
    assert align_labels(image, Volume(labels.array, other)) is None
    assert align_labels(image, Volume(labels.array[1:], labels.ijk_to_ras)) is None


# --- TotalSegmentator, and labels without names --------------------------------------------------


def write_subjects(folder: Path, names: tuple[str, ...] = ("kidney_left", "liver")) -> np.ndarray:
    ct, labels = blobs()
    for subject in ("s0001", "s0002"):
        write_image(folder / subject / "ct.nii.gz", ct)
        for value, name in enumerate(names, start=1):
            mask = labels.with_array((labels.array == value).astype(np.uint8))
            write_image(folder / subject / "segmentations" / f"{name}.nii.gz", mask)
    return labels.array


def test_the_masks_of_a_subject_become_one_label_map(tmp_path: Path) -> None:
    truth = write_subjects(tmp_path)
    data = find_data_set(tmp_path)
    assert data.layout == "totalsegmentator"
    assert data.labels == ("background", "kidney left", "liver")
    assert [case.name for case in data.cases] == ["s0001", "s0002"]
    np.testing.assert_array_equal(load_case(data.cases[0]).labels.array, truth)
    liver = data.with_labels(["Liver"])
    assert (liver.labels, liver.target) == (("background", "liver"), "liver")
    np.testing.assert_array_equal(load_case(liver.cases[0]).labels.array, truth == 2)
    with pytest.raises(InputError, match="no label 'spleen'"):
        data.with_labels(["spleen"])


def test_a_mask_that_a_subject_lacks_is_told(tmp_path: Path) -> None:
    write_subjects(tmp_path)
    (tmp_path / "s0002" / "segmentations" / "liver.nii.gz").unlink()
    data = find_data_set(tmp_path)
    assert [case.name for case in data.cases] == ["s0001"]
    assert "'s0002/segmentations' lacks 'liver.nii.gz'" in data.problems[0]


def test_some_labels_keep_what_is_part_of_what(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    data = find_data_set(tmp_path)
    both = data.with_labels(["pancreas", "cancer"])
    assert both.part_of == {"cancer": "pancreas"}
    organ = data.with_labels(["pancreas"])
    assert organ.part_of == {}
    assert (load_case(organ.cases[0]).labels.array == 1).sum() == (
        load_case(data.cases[0]).labels.array > 0
    ).sum()


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_without_a_name_is_taken_for_the_models_target_and_said_to_be(
    tmp_path: Path, value: int
) -> None:
    ct, labels = blobs()
    mask = (labels.array > 0).astype(np.uint8)
    write_image(tmp_path / "images" / "a.nii.gz", ct)
    write_image(tmp_path / "labels" / "a.nii.gz", labels.with_array(mask * np.uint8(value)))
    data = find_data_set(tmp_path).relabelled(("background", "spleen", "liver"), "liver")
    assert data.target == "liver"
    assert "taken for liver" in data.notes[0]
    np.testing.assert_array_equal(load_case(data.cases[0]).labels.array, 2 * mask)
    with pytest.raises(TrainingError, match="knows none"):
        find_data_set(tmp_path).relabelled(("background", "spleen", "liver"))
