"""Where each frame of a multi-frame DICOM CT lies.

GDCM decodes the frames, but gives their place for those alone that are in order and evenly spaced;
so the functional groups are read with pydicom, which Slicer brings along.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import pydicom

# What pydicom raises for damaged files, beside its own InvalidDicomError, which is an Exception.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


_SHORTEST = 1e-3
_MOST_SKEW = 0.02  # cosine between a row and a column: what two digits round to


@dataclass(frozen=True, eq=False)
class Frame:
    """The place of one frame: as a slice's own file would have it, LPS, mm."""

    position: np.ndarray
    axes: np.ndarray
    spacing_mm: tuple[float, float]


def read_frames(path: str, count: int, name: str) -> list[Frame]:
    """The frames of an Enhanced CT or Legacy Converted Enhanced CT, in the file's order.

    Args:
        count: how many there must be.
        name: what to call the file in messages.

    Raises:
        InputError: a frame has no place, or they are not all rescaled alike; or pydicom is missing.
        OSError: the file cannot be read.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise InputError(
            f"'{name}' is a multi-frame DICOM file, which needs the package pydicom; install it, "
            "or export the scan as a series with a file for each slice."
        ) from error
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        shared = _only(dataset.get("SharedFunctionalGroupsSequence"))
        groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
        frames = [_frame(group, shared) for group in groups]
        rescales = {_rescale(group, shared) for group in groups}
    except (*_DAMAGE, InvalidDicomError) as error:
        raise InputError(
            f"The frames of '{name}' have no position, orientation and pixel spacing each; export "
            "the scan as a series with a file for each slice."
        ) from error
    if len(frames) != count:
        raise InputError(f"'{name}' says where {len(frames)} of its {count} frames lie.")
    if len(rescales) > 1:
        raise InputError(
            f"The frames of '{name}' are each rescaled to Hounsfield units in another way; export "
            "the scan as a series with a file for each slice."
        )
    return frames


def unit_axes(values: np.ndarray) -> np.ndarray:
    """The directions of a row and of a column, 2x3, from the six numbers of a file: rounded ones
    are no longer of length 1, and would scale the spacing.

    Raises:
        ValueError: they are no two directions at right angles.
    """
    axes = values.reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if lengths.min() < _SHORTEST:
        raise ValueError("a direction without a length")
    axes = axes / lengths[:, None]
    if abs(float(axes[0] @ axes[1])) > _MOST_SKEW:
        raise ValueError("two directions that are not at right angles")
    return axes


def _only(sequence: Any) -> pydicom.Dataset:
    import pydicom

    return sequence[0] if sequence else pydicom.Dataset()


def _frame(group: pydicom.Dataset, shared: pydicom.Dataset) -> Frame:
    position = _macro(group, shared, "PlanePositionSequence").ImagePositionPatient
    axes = _macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient
    # DICOM gives the distance between rows (along j) first.
    spacing = _macro(group, shared, "PixelMeasuresSequence").PixelSpacing
    j, i = np.abs(_finite(spacing, 2)).tolist()
    return Frame(_finite(position, 3), unit_axes(_finite(axes, 6)), (i, j))


def _macro(group: pydicom.Dataset, shared: pydicom.Dataset, name: str) -> pydicom.Dataset:
    """A functional group: the frame's own, or else that of all."""
    return _only(group.get(name) or shared.get(name))


def _finite(values: Any, count: int) -> np.ndarray:
    array = np.array([float(value) for value in values])
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError("not so many finite numbers")
    return array


def _rescale(group: pydicom.Dataset, shared: pydicom.Dataset) -> tuple[float, float]:
    macro = _macro(group, shared, "PixelValueTransformationSequence")
    return float(macro.get("RescaleSlope", 1)), float(macro.get("RescaleIntercept", 0))
