"""The trunk: skin, fat, muscle, spine, ribs, lungs, heart, and the table below."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, CanvasView, Tube, ellipsoid, smooth_union
from .patient import Patient


def oval(x: np.ndarray, y: np.ndarray, half_width: float, front: float, back: float) -> np.ndarray:
    """Approximate signed distance in mm to a squarish oval about x = 0 from front to back."""
    half_depth = 0.5 * (back - front)
    yc = y - np.float32(0.5 * (back + front))
    u = x * np.float32(1 / half_width)
    u *= u
    v = yc * np.float32(1 / half_depth)
    v *= v
    reach = np.sqrt(x * x + yc * yc)
    # u + v = 1 is the ellipse; taking off a share of u * v moves it towards its rectangle.
    rho = np.sqrt(u + v - np.float32(0.35) * np.minimum(u, 1.5) * np.minimum(v, 1.5))
    rho += np.float32(1e-4)
    return (1 - 1 / rho) * reach


class Torso:
    """Body wall, and everything that does not belong to the abdomen's organs."""

    def __init__(self, rng: np.random.Generator, patient: Patient) -> None:
        self.patient = patient
        build = patient.build
        self.right_dome = (-66.0, -8.0, 20.0), (84.0, 92.0, float(rng.uniform(98, 116)))
        self.left_dome = (66.0, 2.0, 20.0), (78.0, 90.0, float(rng.uniform(84, 104)))
        low = min(self.right_dome[1][2], self.left_dome[1][2]) - 8
        self.tendon = (0.0, -30.0, 20.0), (60.0, 70.0, low)
        self.recess = float(rng.uniform(18, 45))
        self.spine_curve = float(rng.uniform(0.6, 1.6))
        self.disc_phase = float(rng.uniform(0, 34))
        self.table_gap = float(rng.uniform(4, 12))
        self.heart = (
            float(rng.uniform(15, 35)),
            patient.forward(-52),
            float(rng.uniform(122, 134)),
        )
        self.ribs = [
            rib
            for number in range(7)
            for side in (-1, 1)
            for rib in self._rib(rng, number, side, build.cavity_half_width + 5)
        ]

    def _rib(
        self, rng: np.random.Generator, number: int, side: int, half_width: float
    ) -> list[Tube]:
        """Rib 12 (number 0) upwards: from the spine round the chest wall, falling forwards."""
        build = self.patient.build
        top = 26.0 + 27.0 * number + rng.uniform(-3, 3)
        sweep = np.radians((80, 108, 128, 138, 145, 150, 152)[number])
        fall = (32, 48, 62, 70, 76, 80, 84)[number]
        angles = np.linspace(np.radians(14), sweep, 9 + 2 * number)
        middle = 0.5 * (build.cavity_back + build.cavity_front)
        depth = 0.5 * (build.cavity_back - build.cavity_front) + 5
        share = (angles - angles[0]) / np.pi
        points = np.stack(
            [
                side * half_width * np.sin(angles) ** 0.85,
                middle + depth * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** 0.9,
                top - fall * np.sin(share * np.pi / 1.4),
                np.full(len(angles), rng.uniform(3.4, 4.2)),
            ],
            axis=1,
        )
        head = np.array([[side * 22.0, 38.0, top + 15, 3.0], [side * 36.0, 55.0, top + 10, 3.4]])
        return [Tube(np.vstack([head, points]), self.patient.deformation, height=1.3, step_mm=9.0)]

    def paint(self, canvas: Canvas) -> None:
        view = canvas.whole()
        self._table(canvas)
        self._wall(canvas, view)
        self._chest(canvas, view)
        self._back(canvas)
        self._spine(canvas)
        for rib in self.ribs:
            if (found := canvas.tube(rib)) is not None:
                part, distance = found
                inner = np.clip((distance + 1.9) / 1.0, 0, 1)
                canvas.paint(part, distance, 150 + 480 * inner, halo_mm=0, edge_mm=0.9)

    def _table(self, canvas: Canvas) -> None:
        """A curved carbon table, fixed in the scanner whatever the patient does."""
        build = self.patient.build
        below = build.cavity_back + 22 + build.fat_back + 14 + self.table_gap
        x, y = canvas.x[None, :], canvas.y[:, None]
        depth = np.abs(y - (below - 0.0011 * x**2)) - 1.3
        shell = np.clip(0.5 - depth / 1.6, 0, 1) * (np.abs(x) < 175)
        canvas.hu += (shell * 1150).astype(np.float32)[None]

    def _wall(self, canvas: Canvas, view: CanvasView) -> None:
        build, tissues = self.patient.build, self.patient.tissues
        x, y, z = view.x, view.y, view.z
        # The pelvis is wider and the chest rounder than the waist.
        flare = 1 + np.float32(4e-6) * z * z
        x = x / flare
        muscle_back = build.cavity_back + 22
        skin = oval(
            x,
            y,
            build.cavity_half_width + build.wall + build.fat_side,
            build.cavity_front - 0.8 * build.wall - build.fat_front,
            muscle_back + build.fat_back,
        )
        # Lying on the table flattens the back.
        flat = y - np.float32(muscle_back + build.fat_back - 9)
        skin = -smooth_union(-skin, -flat, 16)
        canvas.paint(view, skin, 10.0)
        texture = 6 * view.fine + 4 * view.medium
        canvas.paint(view, skin + 2.5, tissues.fat + texture, edge_mm=0.8)
        muscle = oval(
            x,
            y,
            build.cavity_half_width + build.wall,
            build.cavity_front - 0.8 * build.wall,
            muscle_back,
        )
        muscle += 0.8 * view.medium
        # Between the two straight muscles there is only the linea alba.
        gap = np.exp(-((x / 7) ** 2)) * (y < 0)
        muscle += gap * np.float32(0.55 * build.wall)
        # Thin planes of fat between the three flank muscles.
        layer = np.abs(np.mod(muscle, np.float32(4.6)) - 2.3)
        planes = np.clip((layer - 1.5) / 0.8, 0, 1) * (np.abs(x) > 55) * (y < 50)
        hu = tissues.muscle + 5 * view.fine - 75 * planes
        canvas.paint(view, muscle, hu)
        cavity = oval(x, y, build.cavity_half_width, build.cavity_front, build.cavity_back)
        cavity += 1.0 * view.medium
        canvas.cavity[:] = cavity
        strands = np.clip(np.abs(view.fine) - 1.5, 0, 1.2) * 45
        canvas.paint(view, cavity, tissues.fat - 4 + 5 * view.medium + strands)

    def domes(self, view: CanvasView) -> np.ndarray:
        """Signed distance to the underside of the diaphragm: negative in the abdomen."""
        right = ellipsoid(view, *self.right_dome)
        left = ellipsoid(view, *self.left_dome)
        domes = smooth_union(right, left, 40)
        # The central tendon, under the heart.
        middle = ellipsoid(view, self.tendon[0], self.tendon[1])
        domes = smooth_union(domes, middle, 25)
        # Below its attachment the diaphragm lies against the wall: no lung there.
        attached = np.float32(self.recess) + np.clip(-view.y, 0, 90) * 0.55
        return np.minimum(domes, (view.z - attached) * np.float32(0.5))

    def _chest(self, canvas: Canvas, view: CanvasView) -> None:
        tissues = self.patient.tissues
        if float(view.z.max()) < self.recess - 5:
            return
        domes = self.domes(view)
        chest = np.maximum(3.0 - domes, view.cavity + 1)
        vessels = np.clip(view.fine - 1.2, 0, 1.5) * 220
        canvas.paint(view, np.maximum(-domes, view.cavity), tissues.muscle)
        canvas.paint(view, chest, -860 + vessels + 20 * view.medium)
        # Mediastinum: fat and muscle in front of the spine.
        part = canvas.box((-28, -30, 40), (42, 60, 240))
        if part is not None:
            column = ellipsoid(part, (6, 18, 140), (26, 34, 140))
            canvas.paint(part, np.maximum(column, part.cavity), tissues.fat + 12)
        hx, hy, hz = self.heart
        part = canvas.box((hx - 75, hy - 55, hz - 50), (hx + 75, hy + 55, hz + 60))
        if part is not None:
            heart = ellipsoid(part, self.heart, (60, 44, 46))
            heart = np.maximum(heart, part.cavity + 2)
            canvas.paint(part, heart - 5, tissues.fat)
            blood = 0.5 * (tissues.aorta + tissues.cava)
            canvas.paint(part, heart, 0.6 * blood + 40)
            canvas.paint(part, heart + 10 + 3 * part.medium, blood)

    def _back(self, canvas: Canvas) -> None:
        build, tissues = self.patient.build, self.patient.tissues
        for side in (-1, 1):
            part = canvas.box((min(0, side * 80), 20, -220), (max(0, side * 80), 110, 240))
            if part is None:
                continue
            streaks = part.fine - 0.9 * np.abs(part.medium) + 0.8 * build.age
            marbled = tissues.muscle + 3 * part.fine - np.clip(streaks - 1, 0, 1.5) * 70
            low = np.clip(-part.z / 120, 0, 1)
            for centre, radii in (
                ((side * 33.0, 71.0, -20.0), (29.0, 23.0, 400.0)),
                ((side * 66.0, 55.0, -70.0), (22.0, 10.0, 90.0)),
            ):
                distance = ellipsoid(part, centre, radii) + 0.8 * part.medium
                canvas.paint(part, distance - 1.2, tissues.fat)
                canvas.paint(part, distance, marbled)
            # The psoas grows downwards beside the spine.
            psoas_x = part.x - side * (30 + 10 * low)
            psoas_y = part.y - (26 + 2 * low)
            radius = np.clip(7 + 17 * low - np.clip(part.z - 5, 0, 100), -20, 30)
            psoas = np.sqrt(psoas_x**2 + (0.85 * psoas_y) ** 2) - radius
            canvas.paint(part, psoas - 1.5, tissues.fat)
            canvas.paint(part, psoas, tissues.muscle + 4 * part.fine)
            crus = np.sqrt((part.x - side * 13) ** 2 + ((part.y + 1) * 0.8) ** 2) - np.clip(
                4.5 + 0.05 * part.z, 0, 7
            )
            canvas.paint(part, crus, tissues.muscle)

    def _spine(self, canvas: Canvas) -> None:
        tissues = self.patient.tissues
        part = canvas.box((-48, -8, -220), (48, 100, 240))
        if part is None:
            return
        x, y, z = part.x, part.y, part.z
        # Lumbar lordosis.
        y = y + np.float32(self.spine_curve * 4e-4) * (z + 10) ** 2 - 2
        level = np.mod(z + np.float32(self.disc_phase), np.float32(34.0))
        from_middle = np.abs(level - 17)
        end_plate = from_middle - 13.2
        waist = np.clip(1 - (from_middle / 13.2) ** 2, 0, 1) * 1.6
        body = np.sqrt(x**2 + (1.28 * (y - 20)) ** 2) - (23 - waist)
        trabecular = tissues.bone + 45 * part.fine + 20 * part.medium
        canvas.paint(part, np.maximum(body, -end_plate), 85.0)
        bone = np.maximum(body, end_plate)
        canvas.paint(part, bone, np.where(bone > -2.2, 430.0, trabecular))
        # Arch: pedicles, laminae, spinous and transverse processes, around the canal.
        canal = np.sqrt(x**2 + (1.15 * (y - 45)) ** 2) - 9.5
        arch = np.maximum(canal - 5.5, np.abs(from_middle - 5) - 12)
        spinous = np.maximum(np.abs(x) - 3.4, np.abs(y - 68) - 17)
        spinous = np.maximum(spinous, np.abs(level - 9) - 10)
        transverse = np.maximum(np.abs(y - 44 - 0.16 * np.abs(x)) - 3.0, np.abs(x) - 38)
        transverse = np.maximum(transverse, np.abs(level - 19) - 5)
        arch = smooth_union(smooth_union(arch, spinous, 4), transverse, 4)
        canvas.paint(part, arch, np.where(arch > -2.0, 520.0, trabecular + 60))
        canvas.paint(part, canal, tissues.fat + 40)
        canvas.paint(part, canal + 2.5, 32.0)
