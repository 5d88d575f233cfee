"""Labels from files, and a mask to begin from on its scan's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry.alignment import align_labels
from ..geometry.volume import Volume
from ..paths import printable
from .reading import read_volume

_ROUNDED = 0.01  # how far a label may be off a whole number: 0.9999 has been through a resampling
_MOST_NAMED = 8


def read_labels(file: Path) -> Volume:
    """Labels from a file; numbers that are whole but for rounding are whole.

    Raises:
        InputError: it cannot be read.
    """
    labels = read_volume(file)
    if labels.array.dtype.kind != "f":
        return labels
    whole = np.rint(labels.array)
    with np.errstate(invalid="ignore"):  # NaN is no label, and is told as such
        almost = bool((np.abs(labels.array - whole) <= _ROUNDED).all())
    return labels.with_array(whole) if almost else labels


def read_mask(file: Path, scan: Volume, label: int | None = None, option: str = "") -> np.ndarray:
    """One label of a file as a mask on the scan's grid.

    Args:
        label: its value; the only one of the file unless given.
        option: of the command line, that says which label, for messages.

    Returns:
        Boolean (k, j, i).

    Raises:
        InputError: the file cannot be read, lies on another grid, or does not say which label.
    """
    name = printable(file.name)
    labels = align_labels(scan, read_labels(file))
    if labels is None:
        raise InputError(
            f"'{name}' lies on another grid than the scan; resample it to the scan's grid, for "
            "example with the Resample Image module of 3D Slicer, nearest neighbour."
        )
    return choose_label(labels.array, name, label, option)


def choose_label(
    array: np.ndarray, name: str, label: int | None = None, option: str = ""
) -> np.ndarray:
    """Where an array of labels has one, or the only one that it has; as :func:`read_mask`.

    Raises:
        InputError: it has several, or not the one that is asked for.
    """
    values = np.unique(array[array != 0])
    listed = ", ".join(f"{value:g}" for value in values[:_MOST_NAMED])
    listed += ", ..." if len(values) > _MOST_NAMED else ""
    if label is None and len(values) > 1:
        how = f" with {option}" if option else ""
        raise InputError(
            f"'{name}' has several labels ({listed}); say which one to begin from{how}."
        )
    if label is not None and label not in values:
        raise InputError(f"'{name}' has no label {label}; it has {listed or 'none at all'}.")
    mask: np.ndarray = array != 0 if label is None else array == label
    return mask
