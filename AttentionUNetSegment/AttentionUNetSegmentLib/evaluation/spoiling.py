"""Scans spoilt on purpose, to see whether a result says that it is bad.

Each case is changed together with its truth, in ways that a scan, a file or a user can be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..datasets.cases import LabelledCase
from ..geometry.grid import Region, bounding_region
from ..geometry.volume import Volume
from .robustness import add_noise, change_slice_thickness

AS_IT_IS = "as it is"
R, A, S = range(3)
CROP_MM = (15.0, 15.0, 20.0)
"""Around the organ, along i, j and k: as regions are cut that others pass on."""

Spoil = Callable[[LabelledCase, int], LabelledCase]


def flip(case: LabelledCase, *axes_ras: int) -> LabelledCase:
    """The voxels in reverse order along axes of the patient; where they lie stays as it was said.

    Args:
        axes_ras: 0, 1 or 2 for R, A or S; of an oblique scan the axis nearest to it.
    """
    along = tuple(2 - int(np.abs(case.ct.ijk_to_ras[axis, :3]).argmax()) for axis in axes_ras)

    def flipped(volume: Volume) -> Volume:
        return volume.with_array(np.ascontiguousarray(np.flip(volume.array, along)))

    return replace(case, ct=flipped(case.ct), labels=flipped(case.labels))


def cut(case: LabelledCase, region: Region) -> LabelledCase:
    """A part of a case."""

    def part(volume: Volume) -> Volume:
        matrix = volume.grid.subgrid(region).ijk_to_ras
        return Volume(np.ascontiguousarray(volume.array[region]), matrix)

    return replace(case, ct=part(case.ct), labels=part(case.labels))


def cut_end(case: LabelledCase, axis_ras: int, *, low: bool, keep: float) -> LabelledCase:
    """A share of a case along an axis of the patient.

    Args:
        low: which end stays: that of the lesser coordinates, or the other.
    """
    along = 2 - int(np.abs(case.ct.ijk_to_ras[axis_ras, :3]).argmax())
    size = case.ct.array.shape[along]
    kept = max(1, round(keep * size))
    at_start = low == (case.ct.ijk_to_ras[axis_ras, 2 - along] > 0)
    parts = [slice(0, n) for n in case.ct.array.shape]
    parts[along] = slice(0, kept) if at_start else slice(size - kept, size)
    return cut(case, (parts[0], parts[1], parts[2]))


def cut_through_organ(case: LabelledCase, target: int, *, low: bool) -> LabelledCase:
    """The scan below or above the organ's middle."""
    organ = bounding_region(case.labels.array == target)
    if organ is None:
        return case
    along = 2 - int(np.abs(case.ct.ijk_to_ras[S, :3]).argmax())
    size = case.ct.array.shape[along]
    middle = (organ[along].start + organ[along].stop) / 2
    upwards = case.ct.ijk_to_ras[S, 2 - along] > 0
    share = middle / size if low == upwards else 1 - middle / size
    return cut_end(case, S, low=low, keep=share)


def crop(case: LabelledCase, target: int) -> LabelledCase:
    """The organ with :data:`CROP_MM` around it."""
    organ = bounding_region(case.labels.array == target)
    if organ is None:
        return case
    k, j, i = (
        slice(
            max(0, part.start - round(margin / step)), min(size, part.stop + round(margin / step))
        )
        for part, margin, step, size in zip(
            organ,
            reversed(CROP_MM),
            reversed(case.ct.spacing_mm),
            case.ct.array.shape,
            strict=True,
        )
    )
    return cut(case, (k, j, i))


def blur(case: LabelledCase, deviation_mm: float) -> LabelledCase:
    """The scan smoothed by a Gaussian."""
    from scipy.ndimage import gaussian_filter

    deviations = [deviation_mm / step for step in reversed(case.ct.spacing_mm)]
    return _with_hounsfield(case, lambda hu: gaussian_filter(hu, deviations))


def _with_hounsfield(
    case: LabelledCase, change: Callable[[np.ndarray], np.ndarray]
) -> LabelledCase:
    changed = np.clip(np.round(change(case.ct.array.astype(np.float32))), -1024, 3071)
    return replace(case, ct=case.ct.with_array(changed.astype(np.int16)))


def _hounsfield(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    return lambda case, target: _with_hounsfield(case, change)


ORIENTATIONS: dict[str, Spoil] = {
    "left and right exchanged": lambda case, target: flip(case, R),
    "front and back exchanged": lambda case, target: flip(case, A),
    "head and feet exchanged": lambda case, target: flip(case, S),
    "turned about the long axis": lambda case, target: flip(case, R, A),
}
MIRRORED = ("left and right exchanged", "front and back exchanged")

EVERYWHERE: dict[str, Spoil] = {
    **ORIENTATIONS,
    "noise of 30 HU": _hounsfield(lambda hu: add_noise(hu, 30.0)),
    "noise of 80 HU": _hounsfield(lambda hu: add_noise(hu, 80.0)),
    "60 HU darker": _hounsfield(lambda hu: hu - 60),
    "60 HU brighter": _hounsfield(lambda hu: hu + 60),
    "120 HU brighter": _hounsfield(lambda hu: hu + 120),
    "half the contrast": _hounsfield(lambda hu: 0.5 * hu + 20),
    "1.6 times the contrast": _hounsfield(lambda hu: 1.6 * hu - 24),
    "blurred by 2 mm": lambda case, target: blur(case, 2.0),
    "blurred by 4 mm": lambda case, target: blur(case, 4.0),
    "slices of 8 mm": lambda case, target: change_slice_thickness(case, target, 8.0),
}

OF_REGIONS: dict[str, Spoil] = {
    "right half": lambda case, target: cut_end(case, R, low=False, keep=0.5),
    "left half": lambda case, target: cut_end(case, R, low=True, keep=0.5),
    "upper half": lambda case, target: cut_end(case, S, low=False, keep=0.5),
    "lower two thirds": lambda case, target: cut_end(case, S, low=True, keep=0.67),
    "front two thirds": lambda case, target: cut_end(case, A, low=False, keep=0.67),
}

OF_SCANS: dict[str, Spoil] = {
    "below the organ's middle": lambda case, target: cut_through_organ(case, target, low=True),
    "above the organ's middle": lambda case, target: cut_through_organ(case, target, low=False),
    "cropped": crop,
    "cropped, left and right exchanged": lambda case, target: flip(crop(case, target), R),
    "cropped, front and back exchanged": lambda case, target: flip(crop(case, target), A),
    "cropped, head and feet exchanged": lambda case, target: flip(crop(case, target), S),
}


def spoilings(case: LabelledCase) -> dict[str, Spoil]:
    """What can be done to a case, by name."""
    return {**EVERYWHERE, **(OF_SCANS if case.kind == "scan" else OF_REGIONS)}
