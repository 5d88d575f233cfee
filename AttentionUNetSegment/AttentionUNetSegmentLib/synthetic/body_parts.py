"""Synthetic scans of other parts of the body: thighs and a head, without any abdominal organ.

A network that only ever saw abdomens finds a pancreas in everything. These scans, far simpler than
the abdomen, show it (in training) and the tests that there are others.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume
from .fields import SmoothField

BodyPart = Literal["thighs", "head"]
BODY_PARTS: tuple[BodyPart, ...] = ("thighs", "head")

_AIR, _FAT, _MUSCLE, _MARROW, _BONE, _BRAIN, _FLUID, _VESSEL = (
    -1000.0,
    -100.0,
    55.0,
    20.0,
    950.0,
    36.0,
    6.0,
    160.0,
)


def synthetic_body_part(
    part: BodyPart, seed: int = 0, spacing_mm: tuple[float, float, float] = (3.0, 3.0, 4.0)
) -> Volume:
    """A made-up CT without a pancreas.

    Args:
        part: "thighs" or "head".
        seed: decides size, build, tilt and noise.
        spacing_mm: along i, j, k (to the patient's left, back and head).

    Returns:
        int16 HU, unclipped like a scanner's.

    Raises:
        InputError: the part or the spacing is none of the possible ones.
    """
    if part not in BODY_PARTS:
        raise InputError(f"'{part}' is no body part; choose one of {', '.join(BODY_PARTS)}.")
    if not all(0.5 <= step <= 20 for step in spacing_mm):
        raise InputError("The spacing of a synthetic scan must lie between 0.5 and 20 mm.")
    rng = np.random.default_rng([seed, BODY_PARTS.index(part)])
    extent = np.array((420.0, 300.0, 360.0) if part == "thighs" else (260.0, 280.0, 300.0))
    counts = np.maximum((extent / np.asarray(spacing_mm)).astype(int), 2)
    x, y, z = (
        (np.arange(count, dtype=np.float32) - (count - 1) / 2) * np.float32(step)
        for count, step in zip(counts, spacing_mm, strict=True)
    )
    tilt = rng.uniform(-0.08, 0.08, 2)
    grid = np.broadcast_arrays(x[None, None, :], y[None, :, None], z[:, None, None])
    lateral = grid[0] + tilt[0] * grid[2]
    depth = grid[1] + tilt[1] * grid[2]
    right, back, top = (float(side) / 2 for side in extent)
    wobble = SmoothField(rng, (-right, -back, -top), (right, back, top), 60.0).on_grid(x, y, z)
    draw = _thighs if part == "thighs" else _head
    hu = draw(rng, lateral, depth, grid[2], 4.0 * wobble)
    hu += rng.normal(0, rng.uniform(6, 18), hu.shape)
    matrix = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    matrix[:3, 3] = np.array([x[-1], y[-1], z[0]]) + rng.uniform(-300, 300, 3)
    return Volume(np.clip(np.round(hu), -1024, 3071).astype(np.int16), matrix)


def _distance(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]
) -> np.ndarray:
    """About the distance in mm to an ellipse in the plane: negative inside."""
    scaled = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return (scaled - 1) * min(radii)


def _thighs(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray, wobble: np.ndarray
) -> np.ndarray:
    hu = np.full(x.shape, _AIR, np.float32)
    radius, apart = rng.uniform(65, 95), rng.uniform(1.02, 1.25)
    fat, muscle = rng.uniform(6, 28), _MUSCLE + rng.uniform(-10, 20)
    taper = 1 + rng.uniform(0.0005, 0.0015) * z
    for side in (-1.0, 1.0):
        centre = (side * radius * apart, rng.uniform(-8, 8))
        across, back = (x - centre[0]) / taper, (y - centre[1]) / taper
        limb = _distance(across, back, (0, 0), (radius, radius * rng.uniform(0.9, 1.1))) + wobble
        hu[limb < 0] = _FAT
        hu[limb < -fat] = muscle
        # The seams of fat between the muscles.
        seams = np.abs(np.sin(3 * np.arctan2(back, across) + 0.02 * z + rng.uniform(0, 6)))
        hu[(limb < -fat) & (seams < 0.06)] = _FAT
        bone = _distance(across, back, (side * 6, -8), (15, 15))
        hu[bone < 0] = _BONE
        hu[bone < -6] = _MARROW
        for offset in ((-18.0, 16.0), (-26.0, 6.0)):
            vessel = _distance(across, back, (side * offset[0], offset[1] - 20), (5, 5))
            hu[vessel < 0] = _VESSEL + rng.uniform(-60, 60)
    return hu


def _head(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray, wobble: np.ndarray
) -> np.ndarray:
    hu = np.full(x.shape, _AIR, np.float32)
    width, length, height = rng.uniform(68, 80), rng.uniform(85, 100), rng.uniform(85, 105)
    neck = _distance(x, y, (0, 18), (rng.uniform(52, 68), rng.uniform(55, 70))) + wobble
    low = z < -20
    hu[low & (neck < 0)] = _FAT
    hu[low & (neck < -7)] = _MUSCLE
    spine = _distance(x, y, (0, 30), (22, 20))
    hu[low & (spine < 0)] = 0.5 * _BONE
    hu[low & (_distance(x, y, (0, 48), (9, 8)) < 0)] = _BRAIN
    hu[low & (_distance(x, y, (0, -12), (9, 9)) < 0)] = _AIR

    skull = (np.sqrt((x / width) ** 2 + (y / length) ** 2 + ((z - 40) / height) ** 2) - 1) * width
    scalp, bone = skull + 0.4 * wobble, rng.uniform(5, 9)
    hu[scalp < 7] = 0.5 * (_FAT + _MUSCLE)
    hu[skull < 0] = _BONE
    brain = skull < -bone
    hu[brain] = _BRAIN
    ventricle = np.minimum(_distance(x, y, (-10, 0), (5, 30)), _distance(x, y, (10, 0), (5, 30)))
    hu[brain & (ventricle < 0) & (np.abs(z - 45) < 22)] = _FLUID
    sinus = _distance(x, y, (0, -length + 26), (26, 16))
    hu[(skull < -2) & (sinus < 0) & (z < 0)] = _AIR + 150
    return hu
