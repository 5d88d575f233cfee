"""Whatever holds a scan in Python, as a volume that knows where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume
from .orientation import find_orientation_conflicts

STACK = "SPL"
_ADVICE = (
    "If its axes lie as you say all the same, give check_orientation=False; else give the array's "
    "own affine, or orientation with a letter for each axis."
)


@dataclass(frozen=True, eq=False)
class GivenImage:
    """A scan as it was given.

    Args:
        volume: its voxels, k, j, i.
        name: what to call it; a file's name without the folders that it lies in.
        axes: of the array that the user knows: "kji" as in SimpleITK's arrays, "ijk" as in
            nibabel's.
        warnings: what reading it brought up.
        source: the file or folder that it comes from.
    """

    volume: Volume
    name: str
    axes: str
    warnings: tuple[str, ...] = ()
    source: Path | None = None

    def as_given(self, array: np.ndarray) -> np.ndarray:
        """An array (k, j, i) in the order of the axes of what was given."""
        return array if self.axes == "kji" else array.transpose(2, 1, 0)


def load_image(
    image: Any,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    orientation: str | None = None,
    check_orientation: bool = True,
) -> GivenImage:
    """A scan from a path, a SimpleITK or nibabel image, or a NumPy array; see ``segment``.

    Raises:
        InputError: it is none of them, cannot be used, or lies otherwise than is said.
    """
    if isinstance(image, np.ndarray):
        return _load_array(image, spacing, affine, orientation, check_orientation)
    is_file = isinstance(image, (str, Path))
    is_sitk = hasattr(image, "GetDirection") and hasattr(image, "GetNumberOfComponentsPerPixel")
    is_nibabel = hasattr(image, "dataobj") and hasattr(image, "affine")
    if not (is_file or is_sitk or is_nibabel):
        raise InputError(
            f"A {type(image).__name__} is no scan; give a path, a SimpleITK image, a nibabel "
            "image, or a NumPy array with its spacing or affine."
        )
    if spacing is not None or affine is not None or orientation is not None:
        raise InputError(
            "Spacing, affine and orientation are for arrays; files and images have their own."
        )
    if is_file:
        return _load_file(Path(image))
    if is_sitk:
        volume = Volume.from_sitk(image)
        return _check_image(volume, "kji", _is_unplaced(volume), check_orientation, "image")
    volume = Volume.from_nibabel(image)
    unplaced = _is_unplaced(volume) or _has_no_form(image)
    return _check_image(volume, "ijk", unplaced, check_orientation, "image")


def _load_file(path: Path) -> GivenImage:
    from ..io.reading import read_volume

    warnings: list[str] = []
    volume = read_volume(path, warnings.append)
    return GivenImage(volume, path.name or path.resolve().name, "kji", tuple(warnings), path)


def _load_array(
    array: np.ndarray,
    spacing: Sequence[float] | None,
    affine: np.ndarray | None,
    orientation: str | None,
    check: bool,
) -> GivenImage:
    if orientation is not None and spacing is None:
        raise InputError("An orientation goes with a spacing; an affine says both by itself.")
    volume = Volume.from_array(array, affine, spacing_mm=spacing, orientation=orientation or STACK)
    if affine is not None:
        return _check_image(volume, "ijk", _is_unplaced(volume), check, "array")
    assert spacing is not None
    _check_order(array.shape, spacing)
    return _check_image(volume, "kji", orientation is None, check, "array")


def _check_order(shape: Sequence[int], spacing: Sequence[float]) -> None:
    """Refuse a spacing in the order of SimpleITK's GetSpacing, which is not that of its arrays.

    Two axes that are equally long are those of a slice, whose voxels are square.
    """
    in_plane = [axis for axis in range(3) if list(shape).count(shape[axis]) == 2]
    backwards = list(reversed(list(spacing)))

    def square(steps: Sequence[float]) -> bool:
        return abs(steps[in_plane[0]] - steps[in_plane[1]]) <= 1e-3 * steps[in_plane[0]]

    if in_plane and square(backwards) and not square(spacing):
        given = ", ".join(f"{step:g}" for step in spacing)
        raise InputError(
            f"The spacing ({given}) seems to be in another order than the axes of the array "
            f"{tuple(shape)}, whose slices are square; give it an axis at a time, in the array's "
            "order."
        )


def _is_unplaced(volume: Volume) -> bool:
    """Whether it is placed as an image is of which nobody said where it lies."""
    matrix = volume.ijk_to_ras
    return bool(np.array_equal(np.abs(matrix), np.eye(4)))


def _has_no_form(image: Any) -> bool:
    """Whether a NIfTI image has neither of the two matrices that its header has room for."""
    header = getattr(image, "header", {})
    try:
        return int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0
    except (KeyError, TypeError, ValueError, IndexError):
        return False


def _check_image(volume: Volume, axes: str, unplaced: bool, check: bool, name: str) -> GivenImage:
    """Compare what the image shows with how it is said to lie.

    Raises:
        InputError: it contradicts it.
    """
    warnings = []
    conflicts = find_orientation_conflicts(volume) if check and _is_image(volume) else []
    for conflict in conflicts:
        if conflict.certain or unplaced:
            raise InputError(f"{conflict.sentence} {_ADVICE}")
        warnings.append(f"{conflict.sentence} Check its affine.")
    if unplaced:
        warnings.append(
            f"The {name} does not say how it lies in the patient; it was taken for "
            f"{_describe_axes(volume)}. If that is wrong, so is the result; left and right cannot "
            "be told from the image."
        )
    return GivenImage(volume, name, axes, tuple(warnings))


def _is_image(volume: Volume) -> bool:
    """Whether it is worth looking at; what is not is refused later, with a better sentence."""
    array = volume.array
    return array.size > 0 and array.dtype.kind in "iuf" and bool(np.isfinite(array).all())


def _describe_axes(volume: Volume) -> str:
    words = {0: ("left to right", "right to left"), 1: ("back to front", "front to back")}
    words[2] = ("feet to head", "head to feet")
    named = []
    for axis, name in zip((2, 1, 0), ("slices", "rows", "columns"), strict=True):
        direction = volume.ijk_to_ras[:3, axis]
        along = int(np.abs(direction).argmax())
        named.append(f"{name} from {words[along][int(direction[along] < 0)]}")
    return ", ".join(named)
