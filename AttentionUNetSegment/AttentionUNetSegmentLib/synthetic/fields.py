"""Smooth random fields that are functions of the place in millimetres, not of a voxel grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The mean over a cell of the sum of squared cubic B-spline weights, in one dimension.
_MEAN_SQUARED_WEIGHT = 0.4794


def _bspline_weights(x_mm: np.ndarray, start_mm: float, pitch_mm: float, count: int) -> np.ndarray:
    """Weights of the ``count`` control points at each coordinate: (len(x_mm), count), float32."""
    position = (np.asarray(x_mm, dtype=np.float64) - start_mm) / pitch_mm
    cell = np.floor(position)
    f = position - cell
    pieces = (
        (1 - f) ** 3 / 6,
        (3 * f**3 - 6 * f**2 + 4) / 6,
        (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
        f**3 / 6,
    )
    weights = np.zeros((len(position), count))
    rows = np.arange(len(position))
    columns = cell.astype(np.int64)
    for offset, piece in enumerate(pieces):
        # Beyond the lattice several weights fall on its last point, so they add up.
        weights[rows, np.minimum(np.maximum(columns + (offset - 1), 0), count - 1)] += piece
    return weights.astype(np.float32)


class SmoothField:
    """A random scalar field of zero mean and unit variance, a cubic B-spline on a lattice.

    Being defined on a lattice in millimetres, it has the same value at the same place for every
    voxel grid; being separable, it costs one small matrix product an axis.

    Args:
        rng: where the control values are drawn from.
        low_mm, high_mm: corners (x, y, z) of the box to cover; beyond it the field is constant
            along the axis that was left.
        pitch_mm: distance of the control points; structures are about twice as wide.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        low_mm: tuple[float, float, float],
        high_mm: tuple[float, float, float],
        pitch_mm: float,
    ) -> None:
        self._start = tuple(low - pitch_mm for low in low_mm)
        self._pitch = pitch_mm
        self._count = tuple(
            int(np.ceil((high - low) / pitch_mm)) + 3
            for low, high in zip(low_mm, high_mm, strict=True)
        )
        values = rng.standard_normal(self._count[::-1], dtype=np.float32)
        np.clip(values, -2.5, 2.5, out=values)
        self._values = values * np.float32(_MEAN_SQUARED_WEIGHT**-1.5)

    def _weights(self, axis: int, x_mm: np.ndarray) -> np.ndarray:
        return _bspline_weights(x_mm, self._start[axis], self._pitch, self._count[axis])

    def on_grid(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        """The field on the product of three axes: (len(z), len(y), len(x)), float32."""
        along_z = np.tensordot(self._weights(2, z_mm), self._values, axes=1)
        along_y = np.matmul(self._weights(1, y_mm), along_z)
        # One product for all rows: many small ones are slow where BLAS has several threads.
        rows = along_y.reshape(-1, along_y.shape[-1]) @ self._weights(0, x_mm).T
        return rows.reshape(len(z_mm), len(y_mm), len(x_mm))

    @staticmethod
    def at_points(fields: Sequence[SmoothField], points_mm: np.ndarray) -> np.ndarray:
        """Fields that share a lattice, at (N, 3) points x, y, z: (N, len(fields)), float64."""
        first = fields[0]
        wx, wy, wz = (first._weights(axis, points_mm[:, axis]) for axis in range(3))
        values = np.stack([field._values for field in fields])
        along_z = np.tensordot(wz, values, axes=([1], [1]))
        along_y = np.einsum("py,pfyx->pfx", wy, along_z)
        return np.einsum("px,pfx->pf", wx, along_y).astype(np.float64)


def smooth_curve(points_mm: np.ndarray, step_mm: float) -> np.ndarray:
    """A curve through (N, M) points (x, y, z and anything that goes with them), densely sampled.

    A Catmull-Rom spline: it passes through every point, with a continuous tangent. Samples
    are about ``step_mm`` apart along x, y, z.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    pieces = []
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        length = float(np.linalg.norm((p2 - p1)[:3]))
        t = np.linspace(0.0, 1.0, max(2, int(np.ceil(length / step_mm)) + 1))[:-1, None]
        pieces.append(
            0.5
            * (
                2 * p1
                + (p2 - p0) * t
                + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
                + (3 * p1 - p0 - 3 * p2 + p3) * t**3
            )
        )
    return np.vstack([*pieces, points[-1:]])
