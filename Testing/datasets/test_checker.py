"""What the checker finds in a data set, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.checker import Finding, check_data, require_sound
from AttentionUNetSegmentLib.datasets.layouts import find_data_set
from AttentionUNetSegmentLib.errors import TrainingError
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

NAMES = '{"format": 1, "labels": {"0": "background", "1": "organ", "2": "lesion"}}'


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_pairs(tmp_path)
    (tmp_path / "manifest.json").write_text(NAMES)
    return tmp_path


def errors(folder: Path, quick: bool = False) -> list[str]:
    """The errors of a data set, each one sentence or two that name a file or a case."""
    found = check_data(find_data_set(folder), quick=quick)
    assert found == sorted(found, key=lambda finding: finding.severity)
    for finding in found:
        assert finding.text.endswith(".")
        assert "'" in finding.text
        assert "\n" not in finding.text
    return [finding.text for finding in found if finding.severity == "error"]


def warnings(folder: Path) -> list[str]:
    findings = check_data(find_data_set(folder))
    return [finding.text for finding in findings if finding.severity == "warning"]


@pytest.mark.parametrize(
    "write", [write_pairs, write_lits, write_decathlon, write_pancreas_ct, write_slices]
)
def test_nothing_is_wrong_with_a_sound_data_set(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path)
    assert errors(tmp_path) == []
    assert errors(tmp_path, quick=True) == []
    require_sound(find_data_set(tmp_path))


SCAN, LABELS = blobs(seed=1)
MATRIX = LABELS.ijk_to_ras


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (Volume(LABELS.array[:-1], MATRIX), "different sizes, 50 x 40 x 16 and 50 x 40 x 15"),
        (
            Volume(LABELS.array, placed((2.0, 2.0, 2.5), (50, 40, -700))),
            "different voxel spacings, 2 x 2 x 3 and 2 x 2 x 2.5 mm",
        ),
        (
            Volume(LABELS.array, placed((2.0, 2.0, 3.0), (50, 40, -688))),
            "begin at different places, 12 mm apart",
        ),
        (Volume(LABELS.array, rotation(2, 10) @ MATRIX), "axes in different directions"),
        (
            Volume(LABELS.array, np.diag([-2.0, 2.0, 3.0, 1.0])),
            "axes in different directions",
        ),
    ],
)
def test_geometry_that_differs_is_seen_in_the_headers(
    pairs: Path, labels: Volume, said: str
) -> None:
    write_image(pairs / "labels" / "b.nii.gz", labels)
    for quick in (True, False):
        (error,) = errors(pairs, quick)
        assert said in error
        assert "'b.nii.gz'" in error


def test_another_order_of_the_same_voxels_is_no_error(pairs: Path) -> None:
    write_image(pairs / "labels" / "b.nii.gz", reorder_axes(LABELS, (0, 2, 1), (True, False, True)))
    assert errors(pairs) == []


def test_missing_partners_are_errors(pairs: Path) -> None:
    (pairs / "images" / "a.nii.gz").unlink()
    (error,) = errors(pairs, quick=True)
    assert error == "'labels/a.nii.gz' has no image."


def test_a_file_that_cannot_be_read_is_named(pairs: Path) -> None:
    file = pairs / "images" / "c.nii.gz"
    file.write_bytes(file.read_bytes()[:200])
    (error,) = errors(pairs, quick=True)
    assert "Case 'c': The file 'c.nii.gz' is cut short or damaged" in error
    file.write_bytes(b"no image")
    (error,) = errors(pairs)
    assert "'c.nii.gz'" in error


def test_damage_behind_the_header_is_found_too(pairs: Path) -> None:
    file = pairs / "images" / "c.nii.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2 - 4) + content[-4:]
    file.write_bytes(bytes(content))
    assert errors(pairs, quick=True) == []
    (error,) = errors(pairs)
    assert "'c.nii.gz' is cut short or damaged" in error


def test_labels_that_the_data_set_does_not_name_are_errors(pairs: Path) -> None:
    array = LABELS.array.copy()
    array[0, 0, :3] = 9
    write_image(pairs / "labels" / "b.nii.gz", LABELS.with_array(array))
    assert errors(pairs) == ["The labels 'b.nii.gz' hold 9, but the data set has 0, 1, 2."]
    write_image(pairs / "labels" / "b.nii.gz", LABELS.with_array(LABELS.array.astype(np.int16) - 1))
    (error,) = errors(pairs)
    assert "hold -1" in error


def test_fractions_and_values_that_are_no_numbers_are_errors(pairs: Path) -> None:
    write_image(
        pairs / "labels" / "b.nii.gz", LABELS.with_array(LABELS.array.astype(np.float32) / 2)
    )
    scan = SCAN.array.astype(np.float32)
    scan[3, 4, 5:7] = np.nan
    (pairs / "images" / "c.nii.gz").unlink()
    # ITK turns what is no number into zero where it reads NIfTI.
    write_image(pairs / "images" / "c.nrrd", SCAN.with_array(scan))
    assert errors(pairs) == [
        "The labels 'b.nii.gz' hold fractions; they must be whole numbers, one a class.",
        "'c.nrrd' holds 2 voxels that are no finite numbers.",
    ]


def test_images_that_are_no_hounsfield_units_are_errors(pairs: Path) -> None:
    write_image(pairs / "images" / "b.nii.gz", SCAN.with_array(SCAN.array + 1024))
    (error,) = errors(pairs)
    assert error.startswith("'b.nii.gz': The image")
    assert "rescale" in error


def test_empty_labels_and_labels_that_are_nowhere_are_warnings(pairs: Path) -> None:
    write_image(pairs / "labels" / "b.nii.gz", LABELS.with_array(np.zeros_like(LABELS.array)))
    assert errors(pairs) == []
    assert "The labels 'b.nii.gz' are empty: all of it is background." in warnings(pairs)
    (pairs / "manifest.json").write_text(NAMES.replace('"lesion"', '"lesion", "3": "cyst"'))
    assert "No case holds the label 'cyst' (3)." in warnings(pairs)


def test_the_same_image_under_two_patients_is_an_error(pairs: Path) -> None:
    write_image(pairs / "images" / "c.nii.gz", SCAN)
    (error,) = errors(pairs)
    assert "'c.nii.gz' of 'c' is the same image as one of 'b'" in error


def test_one_patient_alone_cannot_be_split(tmp_path: Path) -> None:
    write_slices(tmp_path, ("P-1", "P-2"))
    assert any("one patient, 'P'" in text for text in warnings(tmp_path))


def test_a_label_that_is_turned_against_its_scan_is_an_error(tmp_path: Path) -> None:
    """Pancreas-CT has a way of its own to be read, which notices."""
    truth = write_pancreas_ct(tmp_path)
    for file in tmp_path.rglob("label0002.nii.gz"):
        turned = Volume(np.ascontiguousarray(truth[2][:, ::-1, ::-1]), np.diag([2.0, 2.0, 3.0, 1]))
        write_image(file, turned)
    (error,) = errors(tmp_path)
    assert "'label0002.nii.gz' marks less soft tissue" in error


def test_training_is_told_the_first_error_and_how_many_more(pairs: Path) -> None:
    for name in ("a", "b"):
        write_image(pairs / "labels" / f"{name}.nii.gz", Volume(LABELS.array[:-1], MATRIX))
    with pytest.raises(TrainingError, match=r"^Case 'a'.* There are 1 more errors\. The command"):
        require_sound(find_data_set(pairs))


def test_every_case_is_looked_at_and_progress_told(pairs: Path) -> None:
    told: list[str] = []
    check_data(find_data_set(pairs), progress=lambda fraction, text: told.append(text))
    assert told == ["Checking a", "Checking b", "Checking c", "Done"]


def test_the_data_at_hand_is_sound(shared_data: Path) -> None:
    found: list[Finding] = check_data(find_data_set(shared_data / "btcv" / "train"), quick=True)
    assert found == []
