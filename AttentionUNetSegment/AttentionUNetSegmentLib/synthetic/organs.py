"""Liver, gallbladder, spleen, kidneys, adrenals."""

from __future__ import annotations

import numpy as np

from .canvas import (
    Canvas,
    Tube,
    ellipsoid,
    smooth_difference,
    smooth_intersection,
    smooth_union,
    turn_about,
)
from .patient import Patient
from .torso import Torso


class Liver:
    """Fills the right dome of the diaphragm and reaches across the midline in front."""

    LABEL = 5

    def __init__(
        self, rng: np.random.Generator, patient: Patient, torso: Torso, kidney: Kidney
    ) -> None:
        self.patient = patient
        self.torso = torso
        self.kidney = kidney
        self.tip = float(rng.uniform(-20, 25))  # how low the right lobe reaches
        self.left_reach = float(rng.uniform(48, 88))
        self.left_thick = float(rng.uniform(26, 38))
        self.left_low = float(rng.uniform(-6, 10))
        self.waist = float(rng.uniform(-8, 8))
        tissues = patient.tissues
        self.vein_hu = 0.5 * (tissues.portal + tissues.cava)
        self.portal_hu = tissues.portal
        d = patient.deformation

        def jitter(points: list[tuple[float, ...]]) -> np.ndarray:
            array = np.array(points)
            array[1:, :3] += rng.normal(0, 4, array[1:, :3].shape)
            return array

        confluence = (-24.0, -12.0, 100.0)
        self.hepatic_veins = [
            Tube(jitter([(*confluence, 5.0), (-55, -8, 88, 4.4), (-100, 5, 62, 2.6)]), d),
            Tube(jitter([(*confluence, 5.0), (-48, -38, 82, 4.2), (-72, -62, 48, 2.4)]), d),
            Tube(jitter([(*confluence, 4.5), (-18, -42, 88, 3.6), (10, -62, 76, 2.0)]), d),
            Tube(jitter([(-80, -2, 74, 3.0), (-105, -25, 62, 2.0)]), d),
            Tube(jitter([(-60, -50, 66, 3.0), (-92, -58, 58, 2.0)]), d),
        ]
        gate = (-44.0, -32.0, 48.0)
        self.portal_branches = [
            Tube(
                jitter([(*gate, 6.0), (-72, -22, 54, 5.2), (-92, 5, 48, 3.4), (-112, 18, 36, 2.2)]),
                d,
            ),
            Tube(jitter([(-72, -22, 54, 4.6), (-90, -42, 46, 3.2), (-108, -52, 34, 2.0)]), d),
            Tube(
                jitter(
                    [(*gate, 5.2), (-30, -52, 62, 4.6), (-14, -66, 64, 3.2), (12, -68, 66, 2.0)]
                ),
                d,
            ),
            Tube(jitter([(-90, -2, 50, 3.2), (-108, -4, 68, 2.2), (-112, -8, 84, 1.6)]), d),
            Tube(jitter([(-88, 2, 46, 3.0), (-94, 20, 16, 2.0), (-96, 24, -6, 1.4)]), d),
        ]

    def paint(self, canvas: Canvas) -> None:
        view = canvas.box((-150, -130, self.tip - 55), (self.left_reach + 25, 90, 150))
        if view is None:
            return
        front = self.patient.forward
        right = ellipsoid(view, (-92, -8, 45), (66, 98, 62 + 35 - self.tip * 0.6))
        left = ellipsoid(
            view,
            (self.left_reach - 90, front(-62), 72 + self.left_low),
            (90, 46, self.left_thick + 16),
        )
        # The left lobe thins out to the left.
        left += np.clip(view.x + 10, 0, 100) * np.float32(0.10)
        shape = smooth_union(right, left, 22)
        # The visceral face: duodenum, kidney, stomach and spine press into it.
        hollow = ellipsoid(view, (6 + self.waist, 14, -8), (64, 62, 62))
        shape = smooth_difference(shape, hollow, 16)
        kidney = ellipsoid(view, self.kidney.centre, self.kidney.radii, self.kidney.turn)
        shape = smooth_difference(shape, kidney - 2.5, 5)
        stomach = ellipsoid(view, (62, 8, 72), (52, 56, 60))
        shape = smooth_difference(shape, stomach, 14)
        # The umbilical fissure.
        fissure = ellipsoid(view, (-26 + self.waist, front(-78), 40), (3, 24, 34))
        shape = smooth_difference(shape, fissure, 6)
        shape = shape + 2.0 * view.coarse + 0.8 * view.medium
        domes = self.torso.domes(view)
        shape = smooth_intersection(shape, domes + 0.2, 3)
        shape = smooth_intersection(shape, view.cavity + 0.8, 3)
        tissues = self.patient.tissues
        hu = tissues.liver + 2.5 * view.fine + 1.5 * view.medium
        canvas.paint(view, shape, hu, self.LABEL, halo_mm=1.0)
        for tubes, value in (
            (self.hepatic_veins, self.vein_hu),
            (self.portal_branches, self.portal_hu),
        ):
            for tube in tubes:
                found = canvas.tube(tube)
                if found is None:
                    continue
                part, distance = found
                # Vessels end inside the liver.
                inside = canvas.labels[part.slices] == self.LABEL
                distance = np.where(inside, distance, 20).astype(np.float32)
                canvas.paint(part, distance, value)


class Gallbladder:
    LABEL = 4

    def __init__(self, rng: np.random.Generator, patient: Patient) -> None:
        self.patient = patient
        length, width = rng.uniform(20, 38), rng.uniform(8, 16)
        top = np.array([-52.0, patient.forward(-46), 24.0])
        way = np.array([-0.30, -0.62, -0.70]) * length
        points = [
            (*(top - way * 0.25), 2.0),
            (*top, 0.45 * width),
            (*(top + way * 0.8), width),
            (*(top + way * 1.5), 0.92 * width),
        ]
        self.tube = Tube(np.array(points), patient.deformation)
        self.hu = float(rng.uniform(2, 22))

    def paint(self, canvas: Canvas) -> None:
        if (found := canvas.tube(self.tube)) is None:
            return
        view, distance = found
        distance = np.maximum(distance, view.cavity + 2)
        canvas.paint(view, distance - 1.2, 70.0, halo_mm=0.8)
        canvas.paint(view, distance, self.hu + view.fine, self.LABEL)


class Spleen:
    LABEL = 1

    def __init__(
        self, rng: np.random.Generator, patient: Patient, torso: Torso, hilum_z: float
    ) -> None:
        self.patient = patient
        self.torso = torso
        self.size = float(np.clip(rng.lognormal(0.12, 0.11), 0.92, 1.4))
        self.centre = (
            patient.build.cavity_half_width - 20 * self.size,
            float(rng.uniform(22, 34)),
            hilum_z + float(rng.uniform(8, 26)),
        )
        self.turn = turn_about(0, float(rng.uniform(-25, 0))) @ turn_about(
            2, float(rng.uniform(-30, -8))
        )

    def paint(self, canvas: Canvas) -> None:
        size, (cx, cy, cz) = self.size, self.centre
        reach = 72 * size
        view = canvas.box((cx - 60, cy - reach, cz - reach), (cx + 60, cy + reach, cz + reach))
        if view is None:
            return
        shape = ellipsoid(view, self.centre, (32 * size, 48 * size, 52 * size), self.turn)
        hilum = ellipsoid(view, (cx - 42 * size, cy - 14, cz - 6), (32, 34, 44))
        shape = smooth_difference(shape, hilum, 10) + 1.8 * view.coarse + 0.8 * view.medium
        shape = smooth_intersection(shape, self.torso.domes(view) + 0.5, 3)
        shape = smooth_intersection(shape, view.cavity + 1.0, 3)
        hu = self.patient.tissues.spleen + 2 * view.fine
        canvas.paint(view, shape, hu, self.LABEL, halo_mm=1.8)


class Kidney:
    def __init__(self, rng: np.random.Generator, patient: Patient, side: int) -> None:
        """``side`` is -1 for the right, 1 for the left kidney."""
        self.patient = patient
        self.side = side
        self.label = 2 if side < 0 else 3
        size = float(np.clip(rng.lognormal(0.06, 0.07), 0.9, 1.25))
        self.radii = (27 * size, 23 * size, 51 * size)
        self.centre = (
            side * (58 + 5 * patient.build.visceral_fat) + float(rng.normal(0, 3)),
            28 + float(rng.normal(0, 3)),
            (-30.0 if side < 0 else -14.0) + float(rng.normal(0, 6)),
        )
        # Upper pole towards the spine and the back; the hilum looks forwards and inwards.
        self.turn = (
            turn_about(2, side * float(rng.uniform(18, 38)))
            @ turn_about(1, side * float(rng.uniform(8, 16)))
            @ turn_about(0, float(rng.uniform(4, 14)))
        )
        self.pelvis_hu = float(rng.uniform(5, 25))

    @property
    def hilum(self) -> tuple[float, float, float]:
        own = np.array([-self.side * self.radii[0] * 0.75, 0.0, 0.0])
        x, y, z = np.array(self.centre) + self.turn.T @ own
        return float(x), float(y), float(z)

    def paint(self, canvas: Canvas) -> None:
        cx, cy, cz = self.centre
        reach = self.radii[2] + 10
        view = canvas.box((cx - 48, cy - 48, cz - reach), (cx + 48, cy + 48, cz + reach))
        if view is None:
            return
        tissues = self.patient.tissues
        shape = ellipsoid(view, self.centre, self.radii, self.turn)
        shape += 1.0 * view.coarse + 0.9 * view.medium
        # Sinus: fat and the dark pelvis, open towards the hilum.
        hx, hy, hz = self.hilum
        mid = (0.45 * cx + 0.55 * hx, 0.45 * cy + 0.55 * hy, cz)
        sinus = ellipsoid(
            view, mid, (0.55 * self.radii[0], 0.34 * self.radii[1], 0.50 * self.radii[2]), self.turn
        )
        gate = ellipsoid(view, (hx, hy, hz), (16, 9, 13), self.turn)
        sinus = smooth_union(sinus, gate, 6) + 3.2 * view.fine + 1.5 * view.medium
        shape = smooth_difference(shape, sinus, 3)
        depth = -shape + 2.0 * view.medium
        rays = np.clip((depth - 6) / 3, 0, 1) * np.clip(0.6 + 0.5 * view.fine, 0, 1)
        hu = tissues.kidney_cortex + (tissues.kidney_medulla - tissues.kidney_cortex) * rays
        canvas.paint(view, shape, hu + 3 * view.fine, self.label, halo_mm=2.5)
        pelvis = ellipsoid(
            view,
            mid,
            (0.42 * self.radii[0], 0.17 * self.radii[1], 0.22 * self.radii[2]),
            self.turn,
        )
        pelvis = np.maximum(pelvis + 1.2 * view.fine, -shape + 0.5)
        canvas.paint(view, pelvis, self.pelvis_hu)


class Adrenals:
    """Thin limbs above the kidneys: an inverted Y on the left, a line on the right."""

    def __init__(self, rng: np.random.Generator, patient: Patient) -> None:
        self.patient = patient
        z = float(rng.uniform(24, 34))
        d = patient.deformation
        self.tubes = [
            Tube(
                np.array([(-24, 8, z + 4, 2.6), (-29, 20, z + 2, 2.2), (-33, 34, z - 2, 1.8)]),
                d,
                4.0,
            ),
            Tube(np.array([(30, -2, z, 2.8), (34, 14, z - 4, 2.2), (34, 26, z - 6, 1.8)]), d, 4.0),
            Tube(np.array([(30, -2, z, 2.8), (42, 10, z - 4, 2.2), (47, 20, z - 7, 1.8)]), d, 3.5),
        ]

    def paint(self, canvas: Canvas) -> None:
        for tube in self.tubes:
            if (found := canvas.tube(tube)) is not None:
                view, distance = found
                canvas.paint(view, distance, self.patient.tissues.muscle + 25, 0, halo_mm=2)
