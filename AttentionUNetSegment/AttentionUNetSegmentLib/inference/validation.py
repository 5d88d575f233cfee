"""Is this a CT that the network can be asked about, and are the clicks in it?

The network was trained on Hounsfield units, and on anything else it draws something without a
warning, so what is clearly no CT in Hounsfield units is refused here. Which part of the body it
shows does not matter: a CT of the legs gives an empty result, not an error.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import InputError, OutsideRegionError
from ..geometry.grid import Region
from ..geometry.volume import Volume
from .clicks import Click
from .strokes import Lasso, Prompt, Scribble, check_lasso, points_of

# Hounsfield units: air -1000, fat about -100, water 0, soft tissue 20 to 100, bone up to 2000.
_PADDING = -1500  # below any tissue: what scanners write outside their circular field
_FAT_OR_AIR = -50
_LITTLE_FAT_OR_AIR = 0.05  # share of the voxels; hardly any whole scan has less than a fifth
_LEAST_FAT_OR_AIR = 0.002  # a crop of the organs of somebody lean
_DENSE = 600
_SOFT_TISSUE = (-150, 200)
_LEAST_SOFT_TISSUE = 0.005
_DENSEST = 5000  # 99 % of the voxels of any scan are below; metal is a few
_NARROWEST = 50  # a windowed CT spans hundreds; a normalised image a few
_UNSCALED = (850, 1300)  # soft tissue and fat where 1000 or 1024 was not taken off
_UNSCALED_AIR = 300
_SAMPLES_AN_AXIS = 64

_FINE_MM = 0.2
_THIN_STACK_MM = 60.0
_NO_ORGAN_MM = 10.0
LONGEST_MM = 2500.0
"""No scan is longer: nobody is, and no scanner's table goes as far."""
# Of an adult's trunk from right to left, from front to back and along: whoever is outside of it has
# seldom been scanned with a spacing of exactly 1 mm from exactly 0.
_BODY_MM = ((250.0, 450.0), (150.0, 330.0), (150.0, LONGEST_MM))
_AIR = -500
_BODY_SHARE = 0.05  # of a plane of voxels


def check_ct(volume: Volume) -> list[str]:
    """Refuse what cannot be used, and say what may go less well.

    Args:
        volume: any; its voxels are looked at in place (one pass for the extremes, a sparse sample
            for the rest).

    Returns:
        Warnings, each a plain sentence; none for an ordinary abdominal CT.

    Raises:
        InputError: voxels that are no real numbers, or not finite; fewer than two along an axis;
            all of one value; not in Hounsfield units; a scan smaller than any organ or longer
            than any person.
    """
    array = volume.array
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"The image's voxels are of type {array.dtype}; a CT has one real number for each."
        )
    if array.size == 0:
        raise InputError("The image is empty: it has no voxels.")
    size = " x ".join(map(str, volume.shape_ijk))
    if min(array.shape) < 2:
        raise InputError(f"The image is a single slice ({size} voxels); a 3D scan is needed.")
    warnings = _check_extent(volume)
    _check_hounsfield(array)
    return warnings + _check_geometry(volume)


def check_clicks(volume: Volume, clicks: Iterable[Prompt]) -> None:
    """Refuse clicks that are in no voxel of the volume, scribbles of which no point is in one, and
    lassos that enclose nothing.

    Raises:
        InputError: the first that is outside, or has no finite position.
    """
    shape = np.array(volume.shape_ijk)
    for click in clicks:
        if not isinstance(click, Click):
            _check_stroke(volume, click)
            continue
        position = np.array(click.position_ras, dtype=np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise InputError(
                f"A click's position must be three finite numbers, not {click.position_ras}."
            )
        index = volume.grid.index_of(position)
        # A voxel reaches half a step around its centre; the rounding of a click on the very edge
        # is not the user's fault.
        if (index < -0.5 - 1e-6).any() or (index > shape - 0.5 + 1e-6).any():
            bounds = volume.grid.bounds
            raise InputError(
                f"The click at {_point(position)} (R, A, S in mm) lies outside the scan, which "
                f"reaches from {_point(bounds.low_ras)} to {_point(bounds.high_ras)}."
            )


def check_clicks_in_region(volume: Volume, region: Region, clicks: Iterable[Prompt]) -> None:
    """Raises:
    OutsideRegionError: clicks or points of scribbles lie outside the region.
    """

    def is_inside(point: tuple[float, float, float]) -> bool:
        ijk = volume.grid.index_of(point)
        return all(
            part.start - 0.5 <= index <= part.stop - 0.5
            for index, part in zip(ijk, reversed(region), strict=True)
        )

    outside = tuple(
        number
        for number, click in enumerate(clicks)
        if not isinstance(click, Lasso) and not all(map(is_inside, points_of(click)))
    )
    if outside:
        raise OutsideRegionError(outside)


def _check_stroke(volume: Volume, stroke: Scribble | Lasso) -> None:
    points = np.array(stroke.points_ras, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError("The points of a scribble or lasso are three finite numbers each.")
    if isinstance(stroke, Lasso):
        check_lasso(stroke)
        return
    if all(volume.grid.voxel_of(point) is None for point in points):
        place = _point(points[0])
        raise InputError(f"The scribble at {place} (R, A, S in mm) lies outside the scan.")


def _check_extent(volume: Volume) -> list[str]:
    spacing = np.array(volume.spacing_mm)
    extent = spacing * volume.shape_ijk
    extent_text = " x ".join(f"{length:.3g}" for length in extent)
    spacing_text = " x ".join(f"{step:.3g}" for step in spacing)
    if extent.max() < _NO_ORGAN_MM:
        raise InputError(
            f"The scan measures only {extent_text} mm, less than any organ; its voxel spacing "
            f"({spacing_text} mm) is probably wrong."
        )
    if extent.max() > LONGEST_MM:
        raise InputError(
            f"The scan measures {extent_text} mm, more than any person, so its voxel spacing "
            f"({spacing_text} mm) is wrong; correct it and try again."
        )
    warnings = []
    if extent.min() < _THIN_STACK_MM:
        warnings.append(
            f"The scan measures only {extent_text} mm; the network was trained on whole abdomens, "
            "so it may miss the organ or a part of it."
        )
    if spacing.min() < _FINE_MM:
        warnings.append(
            f"The voxels are only {spacing.min():.2g} mm apart along one axis, finer than a body "
            "CT; check the voxel spacing."
        )
    return warnings


def _check_geometry(volume: Volume) -> list[str]:
    """Whether the volume seems to be an array that was written without its place: the commonest
    slip in Python gives 1 mm, straight axes and 0."""
    matrix, shape = volume.ijk_to_ras, np.array(volume.shape_ijk)
    origin = np.abs(matrix[:3, 3])
    lost = np.array_equal(np.abs(matrix[:3, :3]), np.eye(3)) and (
        not origin.any() or np.array_equal(origin, (shape - 1) / 2)
    )
    if not lost:
        return []
    sample, strides = _sample(volume.array)
    inside = sample > max(_AIR, float(sample.min()))
    size = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = inside.mean(axis=others) > _BODY_SHARE
        size.append(int(np.count_nonzero(filled)) * strides[axis])
    size_mm = [min(length, n) for length, n in zip(reversed(size), shape.tolist(), strict=True)]
    if all(low <= mm <= high for mm, (low, high) in zip(size_mm, _BODY_MM, strict=True)):
        return []
    return [
        "The image seems to have lost its voxel spacing and orientation: it has 1 mm along all axes"
        f" from 0 on, and the body would then measure {' x '.join(map(str, size_mm))} mm. Neither "
        "place nor volume can be relied on; load the original scan."
    ]


def _sample(array: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Some of the voxels, and every how many there is one along each axis."""
    strides = tuple(max(1, n // _SAMPLES_AN_AXIS) for n in array.shape)
    return array[tuple(slice(None, None, stride) for stride in strides)], strides


def _check_hounsfield(array: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        lowest, highest = float(array.min()), float(array.max())
    # A NaN anywhere makes both NaN, and an infinite value is the one or the other.
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise InputError(
            "The image has voxels that are NaN or infinite; replace them (air is -1000) and try "
            "again."
        )
    if lowest == highest:
        raise InputError(f"The image is empty: all its voxels have the value {lowest:g}.")
    values = f"values from {lowest:.6g} to {highest:.6g}"
    if array.dtype.itemsize == 1 or (lowest >= 0 and 50 < highest <= 255):
        raise InputError(
            f"The image is an 8-bit picture or a label map ({values}), not a CT in Hounsfield "
            "units; load the original DICOM series."
        )
    if highest - lowest < _NARROWEST:
        raise InputError(
            f"The image is no CT in Hounsfield units: it has {values}, as a normalised image "
            "or a PET has; load the original CT."
        )

    sample, _ = _sample(array)
    tissue = sample[sample > _PADDING].astype(np.float32)
    soft = _share((tissue > _SOFT_TISSUE[0]) & (tissue < _SOFT_TISSUE[1]))
    dense = _share(tissue > _DENSE)
    fat_or_air = _share(tissue < _FAT_OR_AIR)
    is_lean_crop = fat_or_air > _LEAST_FAT_OR_AIR and soft > 0.75 and dense < 0.01
    if tissue.size and fat_or_air < _LITTLE_FAT_OR_AIR and not is_lean_crop:
        body = tissue[tissue > _UNSCALED_AIR]
        if _share((body > _UNSCALED[0]) & (body < _UNSCALED[1])) > 0.6:
            raise InputError(
                f"The image seems to be a CT stored without its rescale intercept ({values}, soft "
                "tissue near 1000 instead of 0); load the original DICOM series, or subtract 1024."
            )
        raise InputError(
            f"The image is no CT in Hounsfield units, where air is -1000 and fat about -100: it "
            f"has {values} and next to none below zero; MR, PET and other scans cannot be used."
        )
    if soft < _LEAST_SOFT_TISSUE or _share(tissue > _DENSEST) > 0.01:
        raise InputError(
            f"The image is no CT of a body in Hounsfield units: it has {values}, and next to none "
            "where soft tissue lies (0 to 100); load the original DICOM series."
        )


def _share(where: np.ndarray) -> float:
    return float(where.mean()) if where.size else 0.0


def _point(position: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in position) + ")"
