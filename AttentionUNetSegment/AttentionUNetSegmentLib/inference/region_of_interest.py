"""The part of a scan that a region of interest covers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .clicks import Click
from .prediction import Region
from .volume import Volume

LEAST_SIDE_MM = 40.0
"""A smaller region of interest cannot hold a pancreas and what surrounds it."""


def region_of_box(volume: Volume, corners_ras: np.ndarray) -> Region:
    """The voxels (k, j, i) that a box reaches, whatever its directions.

    Args:
        corners_ras: N x 3, in mm in the world.

    Raises:
        InputError: the box lies outside the scan, or too little of the scan is in it.
    """
    corners = np.column_stack([corners_ras, np.ones(len(corners_ras))])
    ijk = (corners @ volume.ras_to_ijk.T)[:, :3]
    region: list[slice] = []
    for axis, size in enumerate(volume.shape_ijk):
        start = max(0, math.floor(ijk[:, axis].min() + 0.5))
        stop = min(size, math.floor(ijk[:, axis].max() + 0.5) + 1)
        if stop <= start:
            raise InputError(
                "The region of interest lies outside the scan; move it over the upper abdomen, or "
                "choose none."
            )
        sides_mm = volume.spacing_mm[axis] * (stop - start)
        if sides_mm < min(LEAST_SIDE_MM, volume.spacing_mm[axis] * size):
            raise InputError(
                f"Only {sides_mm:.0f} mm of the scan are in the region of interest along one axis; "
                f"make it at least {LEAST_SIDE_MM:.0f} mm wide, or choose none."
            )
        region.insert(0, slice(start, stop))
    return region[0], region[1], region[2]


def check_clicks_in_region(volume: Volume, region: Region, clicks: Sequence[Click]) -> None:
    """Raises:
    InputError: a click lies outside the region.
    """
    for click in clicks:
        ijk = (volume.ras_to_ijk @ (*click.position_ras, 1.0))[:3]
        inside = [
            part.start - 0.5 <= index <= part.stop - 0.5
            for index, part in zip(ijk, reversed(region), strict=True)
        ]
        if not all(inside):
            raise InputError(
                "A click lies outside the region of interest; enlarge the region or remove the "
                "click."
            )
