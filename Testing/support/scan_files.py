"""Scans as files that tests write: slices of DICOM, NRRD and MetaImage headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

SECRET = "Musterfrau^Erika"


def hounsfield(shape: tuple[int, ...] = (5, 6, 7), dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(dtype)


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n"


METAIMAGE = {
    "NDims": "3",
    "BinaryData": "True",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "0 0 0",
    "ElementSpacing": "1 1 1",
    "DimSize": "7 6 5",
    "ElementType": "MET_SHORT",
}


AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def write_slices(
    folder: Path,
    array: np.ndarray,
    positions: Sequence[Sequence[float]],
    axes: Sequence[Sequence[float]] = AXIAL,
    uid: int = 1,
    prefix: str = "IM",
    **tags: str,
) -> list[Path]:
    """A CT series, one file a slice; file names run against the order in space."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for index, (plane, position) in enumerate(zip(array, positions, strict=True)):
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((0.7, 0.8))
        values = {
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{uid}.{index + 1}",
            "0008|0060": "CT",
            "0010|0010": SECRET,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{uid}",
            "0020|0011": str(uid),
            "0020|0012": "1",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.9f}" for axis in axes for value in axis),
            "0028|1052": "-1024",
            "0028|1053": "1",
        } | {key.replace("_", "|").removeprefix("t"): value for key, value in tags.items()}
        for key, value in values.items():
            image.SetMetaData(key, value)
        path = folder / f"{prefix}{900 - index}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(image)
        paths.append(path)
    return paths


def stack(count: int, step: Sequence[float] = (0, 0, 2.5)) -> list[list[float]]:
    return [[-100 + n * step[0], -90 + n * step[1], 30 + n * step[2]] for n in range(count)]
