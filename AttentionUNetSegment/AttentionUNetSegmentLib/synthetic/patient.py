"""Who lies in the scanner: build, fat, and how the tissues look in this phase of contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Deformation, turn_about
from .fields import SmoothField

# World box that every field covers, in mm around the first lumbar vertebra.
WORLD_LOW = (-200.0, -170.0, -170.0)
WORLD_HIGH = (200.0, 170.0, 200.0)


@dataclass(frozen=True)
class Tissues:
    """Mean Hounsfield units of what the contrast agent, fat or age change."""

    aorta: float
    cava: float
    portal: float
    liver: float
    spleen: float
    kidney_cortex: float
    kidney_medulla: float
    pancreas: float
    bowel_wall: float
    muscle: float
    fat: float
    bone: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tissues:
        """A phase from late arterial (0) to portal venous (1), mostly the latter."""
        phase = rng.uniform(0.7, 1.0) if rng.random() < 0.85 else rng.uniform(0.3, 0.7)
        dose = rng.uniform(0.85, 1.2)
        steatosis = rng.uniform(0, 8) if rng.random() < 0.75 else rng.uniform(8, 35)
        return cls(
            aorta=40 + dose * (235 - 110 * phase),
            cava=40 + dose * (20 + 85 * phase),
            portal=40 + dose * (55 + 72 * phase),
            liver=58 - steatosis + dose * (14 + 40 * phase),
            spleen=46 + dose * (62 + 10 * phase),
            kidney_cortex=42 + dose * (122 + 8 * phase),
            kidney_medulla=38 + dose * (30 + 90 * phase),
            pancreas=40 + dose * (72 - 14 * phase) - rng.uniform(0, 12),
            bowel_wall=45 + dose * 35,
            muscle=rng.uniform(50, 66),
            fat=rng.uniform(-112, -98),
            bone=rng.uniform(130, 230),
        )


@dataclass(frozen=True)
class Build:
    """Sizes of the body, in atlas mm (before the deformation scales them)."""

    cavity_half_width: float
    cavity_front: float  # y of the inside of the front wall, negative
    cavity_back: float
    wall: float
    fat_side: float
    fat_front: float
    fat_back: float
    visceral_fat: float  # 0 lean to 1 ample
    age: float  # 0 young to 1 old: fatty pancreas, calcified arteries, thin muscle

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        fat = rng.beta(1.6, 2.2)
        visceral = float(np.clip(0.65 * fat + 0.35 * rng.random() + rng.normal(0, 0.08), 0, 1))
        return cls(
            cavity_half_width=120 + 14 * visceral + rng.normal(0, 3),
            cavity_front=-(86 + 34 * visceral + rng.normal(0, 3)),
            cavity_back=rng.uniform(70, 78),
            wall=rng.uniform(10, 14),
            fat_side=6 + 38 * fat,
            fat_front=7 + 30 * fat,
            fat_back=8 + 30 * fat,
            visceral_fat=visceral,
            age=rng.random(),
        )


def draw_deformation(rng: np.random.Generator) -> Deformation:
    """Size, tilt and smooth bending of this patient."""
    size = rng.uniform(0.92, 1.08)
    stretch = np.clip(rng.normal(1.0, 0.03, 3), 0.93, 1.07) * size
    turn = (
        turn_about(2, np.clip(rng.normal(0, 3), -7, 7))
        @ turn_about(1, np.clip(rng.normal(0, 2), -5, 5))
        @ turn_about(0, np.clip(rng.normal(0, 2.5), -6, 6))
    )
    bends = tuple(SmoothField(rng, WORLD_LOW, WORLD_HIGH, 70.0) for _ in range(3))
    return Deformation(np.diag(1 / stretch) @ turn, bends, (2.4, 2.4, 3.0))  # type: ignore[arg-type]


class Patient:
    """Everything about one patient that more than one organ must know."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.build = Build.draw(rng)
        self.tissues = Tissues.draw(rng)
        self.deformation = draw_deformation(rng)

    def forward(self, y: float) -> float:
        """The atlas depth of a front organ, adapted to a deep or a shallow belly."""
        return y if y > -25 else -25 + (y + 25) * (self.build.cavity_front + 25) / (-90 + 25)
