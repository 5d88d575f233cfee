"""Scans of any size, to see how time and memory grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...geometry.itk import image_of_array
from ...geometry.volume import Volume

SLICES = (100, 200, 600, 1000, 2000)
PIXELS = (256, 512, 768, 1024)
FIXED_SLICES = 200
FIXED_PIXELS = 512


def grown(volume: Volume, slices: int, pixels: int) -> Volume:
    """A scan of ``slices`` x ``pixels`` x ``pixels`` voxels with the content of another one.

    The content keeps its size in mm in plane; along the body it is mirrored again and again, with
    slices of 1 mm, as in a thin-slice scan of the whole trunk.

    Args:
        volume: an axial scan.
    """
    k, j, i = volume.array.shape
    rows = (np.arange(pixels) * j // pixels).astype(np.intp)
    columns = (np.arange(pixels) * i // pixels).astype(np.intp)
    step_mm = volume.spacing_mm[2]
    at = np.arange(slices) / step_mm  # 1 mm slices, in slices of the scan
    there = np.abs((at + k - 1) % (2 * (k - 1)) - (k - 1)).round().astype(np.intp)
    plane = volume.array[:, rows][:, :, columns]
    scale = np.diag([i / pixels, j / pixels, 1 / step_mm, 1.0])
    return Volume(plane[there], volume.ijk_to_ras @ scale)


def write_volume(volume: Volume, path: Path) -> None:
    """Write a scan without compression, as quickly as it can be read again."""
    import SimpleITK as sitk

    sitk.WriteImage(image_of_array(volume.array, volume.ijk_to_ras), str(path))


def input_and_output_mb(slices: int, pixels: int) -> float:
    """An int16 scan and its uint8 mask."""
    return slices * pixels * pixels * 3 / 1e6
