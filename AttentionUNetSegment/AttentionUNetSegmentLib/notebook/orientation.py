"""Does a scan lie in the patient as is said? What the image itself tells of it.

An array carries no directions, and those that are given with one are easily those of another order
of its axes. A network draws something plausible in such a scan too. Three things can be seen in a
CT of the trunk without knowing anything else: the body runs on beyond the ends of one axis, which
is that from the feet to the head; its bones lie at the back; and the lungs lie at the top. What is
left and what is right cannot be told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.volume import Volume, reorder_axes

_SAMPLES_AN_AXIS = 96
_TISSUE_HU = -120.0
_BONE_HU = 250.0
_LUNG_HU = -400.0

_LEAST_CUT = 0.2
"""Share of tissue in the end planes from which on a body is cut there; 0.25 and more at the ends of
16 abdominal scans (``Testing/tools/measure_orientation.py``), 0.28 at most at their sides."""
_CLEARLY = 1.5
_BONES_BACK = 0.06
"""Of the body's extent, how far the bones' middle lies from the body's; forward of it by 0.02 at
most in those scans."""
_LEAST_LUNG = 0.2
_FEWEST_BONE_VOXELS = 30
_NAMES = ("feet to head", "back to front", "left to right")


@dataclass(frozen=True)
class OrientationConflict:
    """Something in the image that contradicts its directions.

    Args:
        sentence: that says what.
        certain: no scan of a trunk that lies as is said looks like that.
    """

    sentence: str
    certain: bool


def find_orientation_conflicts(volume: Volume) -> list[OrientationConflict]:
    """What of a scan contradicts the way that it is said to lie; empty where nothing can be seen,
    as in a head or in a crop."""
    image = _sample_along_patient(volume)
    tissue = image > max(_TISSUE_HU, float(image.min()))
    ends = [
        (float(tissue.take(0, axis).mean()) + float(tissue.take(-1, axis).mean())) / 2
        for axis in range(3)
    ]
    order = sorted(range(3), key=lambda axis: -ends[axis])
    if ends[order[0]] < _LEAST_CUT or ends[order[0]] < _CLEARLY * ends[order[1]]:
        return []  # no trunk that is cut off above and below
    if order[0] != 0:
        return [
            OrientationConflict(
                "The scan seems to be transposed: the body is cut off along the axis that is said "
                f"to run from {_NAMES[order[0]]}, as only that from feet to head is.",
                certain=True,
            )
        ]
    return [*_check_bones(image, tissue), *_check_lungs(image, tissue)]


def _check_bones(image: np.ndarray, tissue: np.ndarray) -> list[OrientationConflict]:
    bone = np.argwhere(image > _BONE_HU)
    if len(bone) < _FEWEST_BONE_VOXELS:
        return []
    body = np.argwhere(tissue)
    extent = np.percentile(body, 98, axis=0) - np.percentile(body, 2, axis=0)
    _, forward, sideways = (bone.mean(axis=0) - body.mean(axis=0)) / np.maximum(extent, 1)
    if forward > _BONES_BACK and forward > abs(sideways):
        return [
            OrientationConflict(
                "The scan seems to be turned over: its bones lie at the front.", certain=False
            )
        ]
    if abs(sideways) > max(_BONES_BACK, 2 * abs(forward)) and extent[1] > extent[2]:
        return [
            OrientationConflict(
                "The scan seems to lie on its side: its bones are at the left or the right, and it "
                "is deeper than wide.",
                certain=False,
            )
        ]
    return []


def _check_lungs(image: np.ndarray, tissue: np.ndarray) -> list[OrientationConflict]:
    inside = _has_tissue_on_both_sides(tissue, 1) & _has_tissue_on_both_sides(tissue, 2)
    lung = inside & (image < max(_LUNG_HU, float(image.min()) + 5))
    part = max(1, len(image) // 5)
    feet, head = (
        float(lung[of].sum()) / max(int(inside[of].sum()), 1)
        for of in (slice(None, part), slice(-part, None))
    )
    if feet > _LEAST_LUNG and feet > 2 * head:
        return [
            OrientationConflict(
                "The scan seems to be upside down: the lungs lie at its lower end.", certain=False
            )
        ]
    return []


def _has_tissue_on_both_sides(tissue: np.ndarray, axis: int) -> np.ndarray:
    """Whether there is tissue on both sides along an axis."""
    after = np.maximum.accumulate(tissue, axis)
    before = np.flip(np.maximum.accumulate(np.flip(tissue, axis), axis), axis)
    return after & before


def _sample_along_patient(volume: Volume) -> np.ndarray:
    """A sparse sample whose axes run to the head, to the front and to the right, as far as the
    scan's own do."""
    sparse = volume.array[
        tuple(slice(None, None, max(1, size // _SAMPLES_AN_AXIS)) for size in volume.array.shape)
    ].astype(np.float32)
    directions = volume.ijk_to_ras[:3, :3] / volume.spacing_mm
    # The pairing of axes and directions that fits best, each once.
    axes, flips = [0, 0, 0], [False, False, False]
    left = np.abs(directions)
    for _ in range(3):
        along, column = np.unravel_index(int(left.argmax()), left.shape)
        left[along, :] = left[:, column] = -1
        axes[2 - along], flips[2 - along] = 2 - int(column), bool(directions[along, column] < 0)
    return reorder_axes(Volume(sparse, np.eye(4)), (axes[0], axes[1], axes[2]), tuple(flips)).array
