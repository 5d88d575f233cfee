"""A synthetic CT of the abdomen with the labels of its organs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.grid import transform_points
from ..geometry.itk import LPS_TO_RAS
from ..geometry.volume import Volume
from .canvas import Canvas
from .fields import SmoothField
from .gut import Bowel, Duodenum, Stomach
from .organs import Adrenals, Gallbladder, Kidney, Liver, Spleen
from .pancreas import Pancreas, Vessels
from .patient import WORLD_HIGH, WORLD_LOW, Patient
from .torso import Torso

ORGAN_LABELS: Mapping[str, int] = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "liver": 5,
    "stomach": 6,
    "aorta": 7,
    "pancreas": 8,
}
"""Label values, those of the BTCV collection."""

# Slices rendered at once: bounds the memory, and keeps the work in the cache.
_SLAB_SLICES = 24


@dataclass(frozen=True, eq=False)
class SyntheticAbdomen:
    """A made-up patient; say "synthetic" wherever it is shown.

    Args:
        ct: int16 Hounsfield units, not clipped, k, j, i order.
        labels: uint8, :data:`ORGAN_LABELS`, on the same grid.
        centrelines: centre lines in RAS mm, each (N, 3): "pancreas" from head to tail, "splenic
            vein" from the portal confluence to the hilum, "portal vein", "superior mesenteric
            vein" and "aorta".
        seed: what it was drawn from.
    """

    ct: Volume
    labels: Volume
    centrelines: Mapping[str, np.ndarray]
    seed: int


class _Anatomy:
    """One patient's organs, drawn in a fixed order, painted from back to front."""

    def __init__(self, seeds: np.random.SeedSequence) -> None:
        # A stream of its own for each part, so that a change to one leaves the others alone.
        streams = iter([np.random.default_rng(child) for child in seeds.spawn(16)])
        self.patient = patient = Patient(next(streams))
        field_rng = next(streams)
        coarse, medium, fine = (
            SmoothField(field_rng, WORLD_LOW, WORLD_HIGH, pitch) for pitch in (32.0, 13.0, 5.5)
        )
        self.fields = coarse, medium, fine
        self.torso = Torso(next(streams), patient)
        self.pancreas = Pancreas(next(streams), patient)
        tail = self.pancreas.tail[:3]
        self.spleen = Spleen(next(streams), patient, self.torso, float(tail[2]))
        hilum = np.array([min(tail[0] + 12, self.spleen.centre[0] - 14), tail[1] + 8, tail[2] + 6])
        self.kidneys = (Kidney(next(streams), patient, -1), Kidney(next(streams), patient, 1))
        self.liver = Liver(next(streams), patient, self.torso, self.kidneys[0])
        self.gallbladder = Gallbladder(next(streams), patient)
        self.adrenals = Adrenals(next(streams), patient)
        self.stomach = Stomach(next(streams), patient)
        self.duodenum = Duodenum(next(streams), patient, self.stomach.pylorus, self.pancreas.head)
        self.bowel = Bowel(next(streams), patient)
        hila = (np.array(self.kidneys[0].hilum), np.array(self.kidneys[1].hilum))
        self.vessels = Vessels(next(streams), patient, self.pancreas, hilum, hila)

    def paint(self, canvas: Canvas) -> None:
        self.torso.paint(canvas)
        for part in (
            self.bowel,
            self.adrenals,
            self.liver,
            self.spleen,
            *self.kidneys,
            self.stomach,
            self.gallbladder,
            self.duodenum,
            self.pancreas,
            self.vessels,
        ):
            part.paint(canvas)


def _blur_slices(hu: np.ndarray, spacing_mm: float, thickness_mm: float) -> None:
    """Mix neighbouring slices in place, as the slice profile of the scanner does."""
    side = 0.5 * (thickness_mm / 2.6 / spacing_mm) ** 2
    before = hu[0].copy()
    for k in range(len(hu)):
        here = hu[k].copy()
        after = hu[k + 1] if k + 1 < len(hu) else here
        hu[k] = (1 - 2 * side) * here + side * (before + after)
        before = here


class _Noise:
    """Quantum noise after filtered back-projection: a ramp at low and a cut at high frequencies."""

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int],
        spacing: tuple[float, float],
        hu: float,
    ) -> None:
        self._rng = rng
        self._shape = shape
        fy = np.fft.fftfreq(shape[0], spacing[1])[:, None]
        fx = np.fft.rfftfreq(shape[1], spacing[0])[None, :]
        f = np.hypot(fx, fy)
        gain = np.sqrt(f + 0.012) * np.exp(-((f / 0.36) ** 2))
        # Normalised for the noise, white in each voxel, that it filters.
        full = np.concatenate([gain, gain[:, 1 : (shape[1] + 1) // 2]], axis=1)
        self._gain = (gain * (hu / np.sqrt(np.mean(full**2)))).astype(np.float32)

    def slice(self) -> np.ndarray:
        white = self._rng.standard_normal(self._shape, dtype=np.float32)
        spectrum = np.fft.rfft2(white)
        spectrum *= self._gain
        return np.fft.irfft2(spectrum, s=self._shape).astype(np.float32)


def synthetic_abdomen(
    seed: int = 0,
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 3.0),
    size_ijk: tuple[int, int, int] | None = None,
    noise_hu: float | None = None,
) -> SyntheticAbdomen:
    """Draw a contrast-enhanced abdominal CT with eight labelled organs.

    Everything varies with the seed: build and fat, size, place and tilt of the organs, phase of
    contrast, content of the bowel, noise. Only the noise depends on the grid: another spacing
    samples the same patient at the same place in the world.

    Args:
        seed: the patient. The same seed gives the same CT everywhere, up to the rounding of the
            platform's arithmetic.
        spacing_mm: along i, j, k (to the patient's left, back and head).
        size_ijk: voxels along i, j, k, about the same centre; by default they cover the field of
            view, 320 to 380 mm square and 250 to 290 mm high.
        noise_hu: standard deviation of the noise; drawn from the seed where it is None.

    Returns:
        The CT, its labels and a few centre lines.

    Raises:
        InputError: the seed is negative, or the spacing or the size is not positive.
    """
    if seed < 0:
        raise InputError("The seed of the synthetic abdomen must not be negative.")
    if not all(np.isfinite(s) and s > 0 for s in spacing_mm) or len(spacing_mm) != 3:
        raise InputError("The spacing of the synthetic abdomen must be three positive numbers.")
    if size_ijk is not None and (len(size_ijk) != 3 or min(size_ijk) < 1):
        raise InputError("The size of the synthetic abdomen must be three positive numbers.")
    body, scanner, grain = np.random.SeedSequence(seed).spawn(3)
    scanner_rng = np.random.default_rng(scanner)
    anatomy = _Anatomy(body)
    build = anatomy.patient.build
    width = 2 * (build.cavity_half_width + build.wall + build.fat_side) + 24
    field_mm = float(np.clip(width * scanner_rng.uniform(1.0, 1.05), 320, 380))
    height_mm = float(scanner_rng.uniform(250, 290))
    centre = np.array([0.0, 14.0, 8.0]) + scanner_rng.normal(0, (4, 4, 8))
    offset_lps = np.round(scanner_rng.uniform((-12, -190, -900), (12, -150, -100)), 1)
    # Thin slices are noisier; the other reasons are the patient's size and the dose.
    sigma = float(scanner_rng.uniform(7, 14)) * np.sqrt(3.0 / np.clip(spacing_mm[2], 1.0, 6.0))
    thickness_mm = float(scanner_rng.uniform(2, 4.5))
    if noise_hu is not None:
        sigma = noise_hu

    if size_ijk is None:
        extent = (field_mm, field_mm, height_mm)
        size_ijk = tuple(max(1, round(e / s)) for e, s in zip(extent, spacing_mm, strict=True))  # type: ignore[assignment]
    assert size_ijk is not None
    x, y, z = (
        c + (np.arange(n) - 0.5 * (n - 1)) * s
        for c, n, s in zip(centre, size_ijk, spacing_mm, strict=True)
    )
    hu = np.full((len(z), len(y), len(x)), -1000.0, dtype=np.float32)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    for start in range(0, len(z), _SLAB_SLICES):
        part = slice(start, start + _SLAB_SLICES)
        canvas = Canvas(
            x, y, z[part], anatomy.patient.deformation, anatomy.fields, hu[part], labels[part]
        )
        anatomy.paint(canvas)
    _blur_slices(
        hu, spacing_mm[2], float(np.clip(thickness_mm, spacing_mm[2], 1.6 * spacing_mm[2]))
    )

    noise = _Noise(
        np.random.default_rng(grain), hu.shape[1:], (spacing_mm[0], spacing_mm[1]), sigma
    )
    ct = np.empty(hu.shape, dtype=np.int16)
    for k, clean in enumerate(hu):
        # Less noise in the air, where fewer photons are lost.
        loss = np.clip(0.35 + (clean + 1000) / 1400, 0.35, 1.1)
        ct[k] = np.clip(np.rint(clean + loss * noise.slice()), -1024, 3071)

    ijk_to_lps = np.diag([*spacing_mm, 1.0])
    ijk_to_lps[:3, 3] = np.array([x[0], y[0], z[0]]) + offset_lps
    vessels, deformation = anatomy.vessels, anatomy.patient.deformation
    centrelines = {
        name: transform_points(LPS_TO_RAS, points + offset_lps)
        for name, points in (
            ("pancreas", anatomy.pancreas.body.points),
            ("splenic vein", deformation.to_world(vessels.splenic_atlas[1:, :3])),
            ("portal vein", deformation.to_world(vessels.portal_atlas[:, :3])),
            ("superior mesenteric vein", deformation.to_world(vessels.mesenteric_atlas[:, :3])),
            ("aorta", vessels.aorta.points),
        )
    }
    return SyntheticAbdomen(
        Volume.from_lps(ct, ijk_to_lps), Volume.from_lps(labels, ijk_to_lps), centrelines, seed
    )
