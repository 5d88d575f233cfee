"""Volumes in every kind of position, and where things in them are in the world."""

from __future__ import annotations

import numpy as np

SCANNER = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(axis: int, degrees: float) -> np.ndarray:
    """4x4 rotation about R (0), A (1) or S (2)."""
    angle = np.radians(degrees)
    a, b = (other for other in range(3) if other != axis)
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def placed(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    """IJK to RAS of an axial scan: i to the left, j to the back, k to the head."""
    matrix = SCANNER @ np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return matrix


def centre_ras(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """The middle of a mask in the world."""
    middle = np.argwhere(mask).mean(axis=0)[::-1]
    return (ijk_to_ras @ np.array([*middle, 1.0]))[:3]
