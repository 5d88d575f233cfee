"""The pancreas and the vessels that it lies on."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Tube
from .fields import smooth_curve
from .patient import Patient


class Pancreas:
    """Uncinate process, head, neck, body and tail, each lobulated and flattened.

    ``axis`` is the centre line in atlas coordinates, from the head to the tail: x, y, z, radius.
    """

    LABEL = 8

    def __init__(self, rng: np.random.Generator, patient: Patient) -> None:
        self.patient = patient
        build = patient.build
        size = float(np.clip(rng.normal(0.93, 0.06), 0.82, 1.02)) * (1.04 - 0.08 * build.age)
        arch = float(rng.uniform(-4, 6)) + 8 * build.visceral_fat
        rise = float(rng.uniform(2, 34))
        reach = float(rng.uniform(72, 88))
        curl = float(rng.uniform(-16, 8))  # the tail turns down or up
        head_low = float(rng.uniform(-36, -24))
        self.axis = np.array(
            [
                (-35, -32, head_low, 11.0),
                (-37, -34, head_low + 14, 14.0),
                (-33, -38, head_low + 28, 13.0),
                (-22, -43 - 0.6 * arch, 2, 9.4),
                (-10, -46 - arch, 6, 8.0),
                (8, -45 - arch, 8 + 0.2 * rise, 8.8),
                (28, -39 - 0.7 * arch, 8 + 0.55 * rise, 9.2),
                (0.66 * reach, -25 - 0.2 * arch, 8 + 0.9 * rise, 9.2),
                (0.84 * reach, -10, 8 + rise + 0.4 * curl, 9.4),
                (reach, 4, 8 + rise + curl, 7.0),
            ]
        )
        self.axis[:, :3] += rng.normal(0, 1.5, (len(self.axis), 3))
        self.axis[:, 3] *= size * rng.uniform(0.9, 1.1, len(self.axis))
        uncinate = np.array(
            [
                (-36, -30, head_low + 8, 10.5),
                (-26, -27, head_low - 2, 9.0),
                (-12, -27, head_low - 4, 5.5 * rng.uniform(0.7, 1.2)),
            ]
        )
        uncinate[:, 3] *= size
        self.body = Tube(self.axis, patient.deformation, height=1.55, step_mm=5.0)
        self.uncinate = Tube(uncinate, patient.deformation, height=1.4, step_mm=5.0)
        self.clefts = float(rng.uniform(2.0, 3.2)) + 1.4 * build.age
        self.fatty = float(np.clip(rng.normal(0.15, 0.15) + 0.5 * build.age**2, 0, 0.9))

    @property
    def head(self) -> np.ndarray:
        return self.axis[1]

    @property
    def tail(self) -> np.ndarray:
        return self.axis[-1]

    def behind(self, radius: float) -> np.ndarray:
        """Points along the back of neck, body and tail, where the splenic vein runs."""
        curve = smooth_curve(self.axis, 12.0)
        curve = curve[(curve[:, 0] > -12) & (np.arange(len(curve)) > 3)]
        way = np.gradient(curve[:, :2], axis=0)
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        # Turned towards the back: from (right to left) to (front to back).
        back = np.stack([-way[:, 1], way[:, 0]], axis=1)
        points = curve.copy()
        points[:, :2] += back * (0.92 * curve[:, 3:4] + 0.35 * radius)
        points[:, 2] += 3
        points[:, 3] = radius
        return points

    def paint(self, canvas: Canvas) -> None:
        low = np.minimum(self.body.low, self.uncinate.low)
        high = np.maximum(self.body.high, self.uncinate.high)
        if (slices := canvas.slices(low, high)) is None:
            return
        view = canvas.view(slices)
        shape = np.minimum(
            self.body.distance(canvas, slices), self.uncinate.distance(canvas, slices)
        )
        # Lobules: narrow clefts where the fine field changes sign, and broader bumps.
        cleft = np.float32(self.clefts) * (1 - np.minimum(np.abs(view.fine) * 1.4, 1))
        shape = shape - 1.1 + 1.3 * view.medium
        # Whoever outlines a pancreas goes over the clefts, not into each of them.
        outline = shape + 0.4 * cleft
        shape = shape + cleft
        tissues = self.patient.tissues
        fat = np.clip(0.55 * view.fine + 0.45 * view.medium + self.fatty - 0.35, 0, 1.2)
        hu = tissues.pancreas + 4 * view.fine - 85 * self.fatty * fat
        canvas.paint(view, shape, hu, halo_mm=1.0)
        canvas.labels[view.slices][outline < 0] = self.LABEL


class Vessels:
    """Aorta and its branches, vena cava, portal, splenic, mesenteric and renal veins."""

    AORTA = 7

    def __init__(
        self,
        rng: np.random.Generator,
        patient: Patient,
        pancreas: Pancreas,
        hilum: np.ndarray,
        kidneys: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self.patient = patient
        age = patient.build.age
        d = patient.deformation
        wide = rng.uniform(7.8, 9.4) + 2.0 * age
        bow = rng.normal(0, 3)
        self.aorta = Tube(
            np.array(
                [
                    (16, 12, 230, wide + 2),
                    (15, 6, 150, wide + 1.5),
                    (9 + 0.5 * bow, -4, 80, wide + 1),
                    (8 + bow, -10, 30, wide + 0.3),
                    (8 + bow, -12, -20, wide - 0.5),
                    (6 + bow, -13, -70, wide - 1.2),
                    (4, -14, -108, wide - 1.5),
                ]
            ),
            d,
            step_mm=10,
        )
        iliac = 0.62 * wide
        self.iliacs = [
            Tube(
                np.array(
                    [(4, -14, -105, iliac), (s * 18, -10, -135, iliac), (s * 34, 2, -180, iliac)]
                ),
                d,
            )
            for s in (-1, 1)
        ]
        self.calcified = age > 0.55
        cava = rng.uniform(9.0, 12.0)
        self.cava = Tube(
            np.array(
                [
                    (-14, -6, -180, cava),
                    (-19, -8, -110, cava),
                    (-22, -10, -40, cava + 0.5),
                    (-23, -12, 20, cava + 0.5),
                    (-25, -14, 70, cava + 1),
                    (-24, -22, 105, cava + 2),
                    (-18, -30, 135, cava + 2),
                ]
            ),
            d,
            step_mm=10,
        )
        vein = rng.uniform(3.2, 4.4)
        splenic = pancreas.behind(vein)
        splenic[:, 2] += rng.normal(0, 1.8, len(splenic))
        join = splenic[0, :3] + (-4.0, 2.0, -2.0)
        self.splenic_atlas = np.vstack([np.r_[join, vein + 0.8], splenic, np.r_[hilum, 0.8 * vein]])
        portal = rng.uniform(6.0, 7.4)
        self.portal_atlas = np.array(
            [
                (*join, portal),
                (join[0] - 8, join[1] + 3, join[2] + 16, portal),
                (-36, -33, 38, portal),
                (-44, -32, 48, portal - 0.6),
            ]
        )
        # In front of the uncinate process and of the third part of the duodenum.
        low = pancreas.head[2] - 24
        self.mesenteric_atlas = np.array(
            [
                (*join, portal - 0.8),
                (join[0] - 1, join[1] - 1, join[2] - 14, 5.2),
                (-13, -44, low, 4.8),
                (-11, -52, low - 30, 4.2),
                (-4, -56, low - 70, 3.0),
            ]
        )
        sma = rng.uniform(3.0, 3.8)
        aorta_front = -12 - wide
        self.arteries = [
            # Superior mesenteric artery, to the left of its vein.
            Tube(
                np.array(
                    [
                        (8 + bow, aorta_front + 2, 8, sma + 0.5),
                        (7 + bow, aorta_front - 9, -2, sma),
                        (4, -40, low, sma),
                        (3, -48, low - 32, sma - 0.4),
                        (8, -54, low - 70, sma - 1.2),
                    ]
                ),
                d,
            ),
            # Coeliac trunk and the hepatic artery.
            Tube(
                np.array(
                    [
                        (8 + bow, aorta_front + 2, 26, 3.4),
                        (5, aorta_front - 12, 28, 3.2),
                        (-12, aorta_front - 16, 25, 2.6),
                        (-32, -44, 32, 2.2),
                        (-44, -42, 46, 1.8),
                    ]
                ),
                d,
            ),
            self._splenic_artery(rng, splenic, aorta_front),
            *(
                Tube(
                    np.array(
                        [(8 + bow, -10, -14 + 2 * s, 2.6), (0.5 * h[0], 4, -16, 2.4), (*h, 2.2)]
                    ),
                    d,
                )
                for s, h in zip((-1, 1), kidneys, strict=True)
            ),
        ]
        right, left = kidneys
        self.veins = [
            Tube(self.splenic_atlas, d),
            Tube(self.portal_atlas, d),
            Tube(self.mesenteric_atlas, d),
            # The left renal vein passes between the aorta and the mesenteric artery.
            Tube(
                np.array(
                    [
                        (-20, -12, -14, 4.2),
                        (2, aorta_front - 3.0, -15, 3.4),
                        (20, aorta_front + 4, -15, 4.2),
                        (0.7 * left[0] + 6, 0.4 * left[1], left[2], 4.4),
                        (*left, 3.6),
                    ]
                ),
                d,
            ),
            Tube(np.array([(-22, -9, right[2] + 8, 4.4), (*right, 3.6)]), d),
        ]
        self.small = self._mesentery(rng, low)

    def _splenic_artery(self, rng: np.random.Generator, vein: np.ndarray, front: float) -> Tube:
        """Winds along the upper border of the pancreas."""
        path = vein[1::2].copy()
        path[:, 2] += 13 + rng.normal(0, 4, len(path))
        path[:, 1] -= 2 + rng.normal(0, 2, len(path))
        path[:, 3] = 2.2
        start = np.array([(5.0, front - 10, 28.0, 3.0)])
        path = path[path[:, 0] > 14]
        return Tube(np.vstack([start, path]), self.patient.deformation)

    def _mesentery(self, rng: np.random.Generator, low: float) -> list[Tube]:
        """Jejunal and ileal branches, fanning out in the mesenteric fat."""
        tubes = []
        for share in np.linspace(0.1, 1, 11):
            start = np.array([-4.0, -50, low - 15 - 70 * share])
            side = rng.choice((-1.0, 1.0), p=(0.4, 0.6))
            middle = start + rng.uniform((15, -14, -16), (28, -2, 0)) * (side, 1, 1)
            stop = middle + rng.uniform((12, -12, -18), (30, 6, -2)) * (side, 1, 1)
            points = [(*start, 2.4), (*middle, 1.9), (*stop, 1.3)]
            tubes.append(Tube(np.array(points), self.patient.deformation))
        return tubes

    def paint(self, canvas: Canvas) -> None:
        tissues = self.patient.tissues
        for tubes, hu in (
            (self.small, 0.5 * (tissues.portal + tissues.aorta)),
            ([self.cava], tissues.cava),
            (self.veins, tissues.portal),
            (self.arteries, tissues.aorta),
            (self.iliacs, tissues.aorta),
        ):
            for tube in tubes:
                if (found := canvas.tube(tube)) is None:
                    continue
                view, distance = found
                canvas.paint(view, distance, hu + view.fine, 0)
        if (found := canvas.tube(self.aorta)) is None:
            return
        view, distance = found
        canvas.paint(view, distance - 1.0, tissues.muscle)
        canvas.paint(view, distance, tissues.aorta + view.fine, self.AORTA)
        if self.calcified:
            plaque = np.maximum(np.abs(distance) - 1.0, 1.7 - view.medium)
            canvas.paint(view, plaque, 600.0, edge_mm=0.9)
