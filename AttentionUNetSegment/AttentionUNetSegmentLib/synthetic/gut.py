"""Stomach, duodenum, small bowel and colon, with what they hold."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, CanvasView, Tube
from .patient import Patient

GAS_HU = -930.0


def fill(
    view: CanvasView, distance: np.ndarray, fluid: float, gas_above_y: float | None
) -> np.ndarray:
    """HU of a lumen of a patient on the back: gas lies in front of a flat fluid level."""
    hu = np.full(distance.shape, np.float32(fluid))
    hu += 3 * view.fine
    if gas_above_y is not None:
        gas = np.clip((np.float32(gas_above_y) - view.y) / 1.6 + 0.5, 0, 1)
        hu += gas * (GAS_HU - hu)
    return hu


class Stomach:
    LABEL = 6

    def __init__(self, rng: np.random.Generator, patient: Patient) -> None:
        self.patient = patient
        front = patient.forward
        full = rng.uniform(0.74, 1.1)
        x = rng.normal(0, 4)
        self.atlas = np.array(
            [
                (58 + x, 12, 92, 20 * full),
                (66 + x, 2, 82, 32 * full),
                (70 + x, front(-28), 62, 34 * full),
                (66 + x, front(-52), 40, 27 * full),
                (46 + x, front(-66), 24, 21 * full),
                (18, front(-70), 12, 12 + 6 * full),
                (-10, front(-68), 8, 13),
                (-30, front(-56), 12, 9),
            ]
        )
        self.atlas[:, :3] += rng.normal(0, 2.5, (len(self.atlas), 3))
        self.tube = Tube(self.atlas, patient.deformation, height=1.2, step_mm=9.0)
        self.wall = float(rng.uniform(2.5, 4.5))
        kind = rng.random()
        # Water, a meal, or positive oral contrast.
        self.fluid = float(
            rng.uniform(5, 30)
            if kind < 0.55
            else rng.uniform(35, 75)
            if kind < 0.8
            else rng.uniform(120, 260)
        )
        self.meal = float(rng.uniform(0, 45)) if kind >= 0.55 else 0.0
        self.level = front(-50) - float(rng.uniform(0, 25)) if rng.random() < 0.85 else None

    @property
    def pylorus(self) -> np.ndarray:
        return self.atlas[-1]

    def paint(self, canvas: Canvas) -> None:
        if (found := canvas.tube(self.tube)) is None:
            return
        view, distance = found
        distance = distance + 1.5 * view.coarse + 0.9 * view.medium
        distance = np.maximum(distance, view.cavity + 3)
        # Not into the chest: the oblique roof of the left dome.
        distance = np.maximum(distance, (view.z - 118) * 0.9)
        tissues = self.patient.tissues
        canvas.paint(view, distance, tissues.bowel_wall, self.LABEL, halo_mm=2.0)
        hu = fill(view, distance, self.fluid, self.level)
        hu += self.meal * np.where(hu > -200, np.clip(view.fine, -2, 2), 0)
        folds = distance + self.wall + np.clip(0.9 * view.fine, 0, 2)
        canvas.paint(view, folds, hu, edge_mm=0.9)


class Duodenum:
    """The C that holds the head of the pancreas."""

    def __init__(
        self, rng: np.random.Generator, patient: Patient, pylorus: np.ndarray, head: np.ndarray
    ) -> None:
        self.patient = patient
        hx, hy, hz, radius = head
        r = rng.uniform(8.5, 12.0)
        right = hx - radius - 0.75 * r
        low = hz - 38
        points = [
            (*pylorus[:3], 7.5),
            (right + 12, hy - 14, hz + 26, r),
            (right + 1, hy - 3, hz + 16, r),
            (right - 1, hy + 3, hz - 4, r),
            (right + 4, hy + 5, hz - 24, r),
            (right + 22, hy + 6, low, r),
            (-12, -31, low - 2, 0.8 * r),
            (12, -32, low + 2, 0.8 * r),
            (32, -26, low + 14, r),
            (42, -36, low + 26, r),
        ]
        self.tube = Tube(np.array(points), patient.deformation)
        self.fluid = float(rng.uniform(10, 45))
        self.gas = hy - 6 - float(rng.uniform(0, 8)) if rng.random() < 0.4 else None

    def paint(self, canvas: Canvas) -> None:
        if (found := canvas.tube(self.tube)) is None:
            return
        view, distance = found
        distance = distance + 0.8 * view.medium
        tissues = self.patient.tissues
        canvas.paint(view, distance, tissues.bowel_wall, 0, halo_mm=1.0)
        lumen = fill(view, distance, self.fluid, self.gas)
        canvas.paint(view, distance + 2.8 + np.clip(view.fine, 0, 2), lumen)


class Bowel:
    """Loops of jejunum and ileum, and the frame of the colon around them."""

    def __init__(self, rng: np.random.Generator, patient: Patient) -> None:
        self.patient = patient
        self.loops = self._loops(rng)
        self.colon = self._colon(rng)

    def _loops(self, rng: np.random.Generator) -> list[tuple[Tube, float, float | None]]:
        front, build = self.patient.forward, self.patient.build
        loops = []
        centres: list[np.ndarray] = []
        apart = 20.0 + 6 * build.visceral_fat
        contrast = rng.uniform(120, 260) if rng.random() < 0.3 else 0.0
        for _ in range(1600):
            x = rng.uniform(-92, 96)
            y = rng.uniform(front(-78), -30)
            z = rng.uniform(-165, -8)
            high = -12 if x > 22 else -48
            if z > high or (abs(x) < 24 and y > -46) or (x / 104) ** 2 + ((y + 10) / 85) ** 2 > 1:
                continue
            centre = np.array([x, y, z])
            if any(np.linalg.norm(centre - other) < apart for other in centres):
                continue
            centres.append(centre)
            way = rng.normal(0, 1, 3) * (1.0, 0.7, 0.7)
            way *= rng.uniform(9, 17) / np.linalg.norm(way)
            side = rng.normal(0, 5, 3)
            radius = rng.uniform(8.0, 12.5)
            points = [
                (*(centre - way), 0.9 * radius),
                (*(centre + side), radius),
                (*(centre + way), 0.9 * radius),
            ]
            tube = Tube(np.array(points), self.patient.deformation)
            fluid = float(rng.uniform(15, 70))
            if contrast and rng.random() < 0.6:
                fluid = float(contrast * rng.uniform(0.6, 1.2))
            gas = y - 0.3 * radius if rng.random() < 0.16 else None
            loops.append((tube, fluid, gas))
        return loops

    def _colon(self, rng: np.random.Generator) -> list[tuple[Tube, float, float | None]]:
        front, build = self.patient.forward, self.patient.build
        edge = build.cavity_half_width - 26
        r = rng.uniform(15, 22, 4)
        sag = rng.uniform(-75, -25)
        paths = (
            [
                (-edge, -2, -170, r[0]),
                (-edge, 2, -110, r[0]),
                (-edge + 4, 0, -70, r[0]),
                (-edge + 8, -8, -38, 17),
            ],
            [
                (-edge + 8, -14, -34, 17),
                (-66, front(-62), -32, r[1]),
                (-30, front(-74), sag + 12, r[1]),
                (5, front(-76), sag, r[1]),
                (40, front(-72), sag + 16, r[1]),
                (78, front(-58), -6, r[2]),
                (edge + 2, -22, 16, 15),
            ],
            [
                (edge + 4, -10, 10, 14),
                (edge + 6, 16, -20, 13),
                (edge + 4, 18, -70, 13),
                (edge, 12, -170, 13),
            ],
        )
        colon = []
        for path in paths:
            points = np.array(path)
            points[:, :3] += rng.normal(0, 2.0, (len(points), 3))
            tube = Tube(points, self.patient.deformation)
            # Haustra: the bowel is pinched every three centimetres or so.
            along = np.cumsum(np.r_[0, np.linalg.norm(np.diff(tube.points, axis=0), axis=1)])
            tube.radii = tube.radii * (1 + 0.13 * np.sin(along / rng.uniform(4.5, 6.0)))
            stool = float(rng.uniform(0, 1))
            gas = (
                float(np.median(points[:, 1]) - rng.uniform(-4, 10)) if rng.random() < 0.8 else None
            )
            colon.append((tube, stool, gas))
        return colon

    def paint(self, canvas: Canvas) -> None:
        tissues = self.patient.tissues
        for tube, fluid, gas in self.loops:
            if (found := canvas.tube(tube)) is None:
                continue
            view, distance = found
            distance = np.maximum(distance + 0.9 * view.medium, view.cavity + 2)
            canvas.paint(view, distance, tissues.bowel_wall + 4 * view.fine, halo_mm=1.2)
            lumen = fill(view, distance, fluid, gas)
            canvas.paint(view, distance + 3.0 + np.clip(1.2 * view.fine, 0, 3), lumen)
        for tube, stool, gas in self.colon:
            if (found := canvas.tube(tube)) is None:
                continue
            view, distance = found
            distance = np.maximum(distance + 1.0 * view.medium, view.cavity + 2)
            canvas.paint(view, distance, tissues.bowel_wall - 15, halo_mm=1.5)
            lumen = fill(view, distance, 30.0, gas)
            lumen += stool * np.where(view.fine > 1.0, -420 * (view.fine - 1), 25 * view.fine)
            canvas.paint(view, distance + 2.2, np.maximum(lumen, GAS_HU), edge_mm=0.9)
