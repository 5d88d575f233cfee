"""The part of a scan that a region of interest covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry.grid import Region, box_corners
from ..geometry.volume import Volume
from ..models import Search
from .prediction import Prediction
from .progress import ProgressCallback, ignore_progress
from .strokes import Prompt

if TYPE_CHECKING:
    from .predictor import Predictor


def parse_box(text: str) -> np.ndarray:
    """Read ``R,A,S,R,A,S``, two opposite corners of a box along R, A and S, in mm.

    Returns:
        Its eight corners, 8 x 3.

    Raises:
        InputError: the text is anything else.
    """
    try:
        ends = np.array([float(part) for part in text.split(",")]).reshape(2, 3)
    except ValueError:
        ends = np.full((2, 3), np.nan)
    if not np.isfinite(ends).all():
        raise InputError(
            f"'{text}' is no region: write R,A,S,R,A,S for two opposite corners of a box, in "
            "millimetres, for example -20,-60,50,160,80,190."
        )
    return box_corners(*ends)


def region_of_box(volume: Volume, corners_ras: np.ndarray, search: Search | None = None) -> Region:
    """The voxels (k, j, i) that a box reaches, whatever its directions.

    Args:
        corners_ras: N x 3, in mm in the world.
        search: of the model's card.

    Raises:
        InputError: the box lies outside the scan, or too little of the scan is in it.
    """
    region = volume.grid.region_of(corners_ras)
    least_mm = (search or Search()).least_side_mm
    for part, size, step in zip(reversed(region), volume.shape_ijk, volume.spacing_mm, strict=True):
        if part.stop <= part.start:
            raise InputError(
                "The region of interest lies outside the scan; move it over the upper abdomen, or "
                "choose none."
            )
        side_mm = step * (part.stop - part.start)
        if side_mm < min(least_mm, step * size):
            raise InputError(
                f"Only {side_mm:.0f} mm of the scan are in the region of interest along one axis; "
                f"make it at least {least_mm:.0f} mm wide, or choose none."
            )
    return region


def predict_in_box(
    predictor: Predictor,
    volume: Volume,
    corners_ras: np.ndarray,
    clicks: Sequence[Prompt] = (),
    progress: ProgressCallback = ignore_progress,
    structure: str | None = None,
) -> Prediction:
    """Segment a scan, looking for the organ in a box only.

    Args:
        predictor: holds the model.
        volume: the whole scan.
        corners_ras: N x 3, the box's corners, in mm in the world.
        clicks: all in the box.
        progress: told what is being done.
        structure: what is looked for in the place of the model's targets, by its name.

    Returns:
        The prediction on the whole scan.

    Raises:
        InputError: the scan, the box or a click cannot be used.
        MemoryError: not even the CPU's memory suffices.
    """
    from .session import Session

    region = region_of_box(volume, corners_ras, predictor.card.search)
    session = Session(predictor, volume, interest=region, structure=structure)
    return session.predict(clicks, progress)
