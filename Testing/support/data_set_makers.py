"""Small data sets as they come: each layout with real files in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from AttentionUNetSegmentLib.geometry.volume import Volume
from geometry import placed

SPACING = (2.0, 2.0, 3.0)


def blobs(
    shape: tuple[int, int, int] = (16, 40, 50), matrix: np.ndarray | None = None, seed: int = 0
) -> tuple[Volume, Volume]:
    """An abdomen with an organ (1) off the middle along every axis, and a lesion (2) in it."""
    k, j, i = (index / size for index, size in zip(np.indices(shape), shape, strict=True))
    body = ((i - 0.5) / 0.45) ** 2 + ((j - 0.5) / 0.4) ** 2 < 1
    organ = ((i - 0.3) / 0.15) ** 2 + ((j - 0.35) / 0.12) ** 2 + ((k - 0.3) / 0.2) ** 2 < 1
    lesion = organ & (i > 0.33)
    noise = np.random.default_rng(seed).normal(0, 8, shape)
    # Fat around the organ, so that labels in another place lie in something else.
    hu = np.where(organ, 90, np.where(body, -90, -1000)) + noise
    matrix = placed(SPACING, (50, 40, -700)) if matrix is None else matrix
    labels = organ.astype(np.uint8) + lesion.astype(np.uint8)
    return Volume(hu.astype(np.int16), matrix), Volume(labels, matrix)


def write_image(file: Path, volume: Volume) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(lps[:3, 3])
    image.SetDirection((lps[:3, :3] / volume.spacing_mm).ravel())
    sitk.WriteImage(image, str(file))
    return file


def write_dicom(folder: Path, volume: Volume, number: int = 1) -> None:
    """An axial CT series, a file a slice; the first instance is the lowest slice."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    axes = lps[:3, :2] / volume.spacing_mm[:2]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, plane in enumerate(volume.array):
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing(volume.spacing_mm[:2])
        position = (lps @ (0, 0, index, 1))[:3]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{number}.{index + 1}",
            "0008|0060": "CT",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{number}",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.9f}" for axis in axes.T for value in axis),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"1-{index + 1:03}.dcm"))
        writer.Execute(image)


def write_pancreas_ct(folder: Path, numbers: tuple[int, ...] = (1, 2, 3)) -> dict[int, np.ndarray]:
    """As the archive gives it: DICOM, and labels whose header turns them upside down.

    Returns:
        The labels on the grid of each scan, (k, j, i).
    """
    truth = {}
    for number in numbers:
        scan, labels = blobs(seed=number)
        study = folder / "Pancreas-CT" / f"PANCREAS_{number:04}" / "11-24-2015-59801"
        write_dicom(study / "43931.000000-Pancreas-18957", scan, number)
        truth[number] = (labels.array > 0).astype(np.uint8)
        # Voxel by voxel those of the scan, but said to run to the right and to the front.
        header = np.diag([*SPACING, 1.0])
        where = folder / "TCIA_pancreas_labels-02-05-2017" / f"label{number:04}.nii.gz"
        write_image(where, Volume(truth[number], header))
    return truth


def write_lits(folder: Path, numbers: tuple[int, ...] = (0, 1, 10)) -> None:
    for number in numbers:
        scan, labels = blobs(seed=number)
        # They are spread over the archives' parts.
        write_image(folder / f"Training Batch {number % 2 + 1}" / f"volume-{number}.nii", scan)
        write_image(
            folder / f"Training Batch {number % 2 + 1}" / f"segmentation-{number}.nii", labels
        )
    write_image(folder / "Test" / "test-volume-0.nii", blobs()[0])


def write_decathlon(
    folder: Path, names: tuple[str, ...] = ("a", "b", "c"), **changes: object
) -> None:
    for number, name in enumerate(names):
        scan, labels = blobs(seed=number)
        write_image(folder / "imagesTr" / f"pancreas_{name}.nii.gz", scan)
        write_image(folder / "labelsTr" / f"pancreas_{name}.nii.gz", labels)
    content: dict[str, object] = {
        "name": "Pancreas",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "pancreas", "2": "cancer"},
        "training": [
            {
                "image": f"./imagesTr/pancreas_{name}.nii.gz",
                "label": f"./labelsTr/pancreas_{name}.nii.gz",
            }
            for name in names
        ],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(content | changes))


def write_pairs(
    folder: Path,
    names: tuple[str, ...] = ("a", "b", "c"),
    image: str = "images/{}.nii.gz",
    label: str = "labels/{}.nii.gz",
) -> None:
    for number, name in enumerate(names):
        scan, labels = blobs(seed=number)
        write_image(folder / image.format(name), scan)
        write_image(folder / label.format(name), labels)


def write_slices(
    folder: Path, names: tuple[str, ...] = ("P_0001-10", "P_0001-11", "P_0002-7")
) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number, name in enumerate(names):
        scan, _ = blobs((1, 40, 50), seed=number)
        grey = np.clip((scan.array[0] + 125.0) / 400 * 255, 0, 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(folder / "images" / f"{name}.jpg"))
        organ = np.zeros((40, 50), np.uint8)
        organ[10:20, 5:25] = 255
        sitk.WriteImage(sitk.GetImageFromArray(organ), str(folder / "masks" / f"{name}.png"))
