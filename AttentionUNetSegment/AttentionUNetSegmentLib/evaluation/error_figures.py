"""Pictures of where a model is wrong: the slices with the most of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..geometry.grid import Box, Grid, aligned_grid
from ..geometry.resampling import resample, sample_scan
from ..geometry.volume import Volume
from .attention_figures import PREDICTED, TRUTH, outline, save_picture

MOST_CASES = 6
_STEP_MM = 1.0
_MARGIN_MM = 25.0


@dataclass(frozen=True, eq=False)
class ErrorSlice:
    """A slice along R and A, or along R and S: the scan in [0, 1], truth and result."""

    title: str
    image: np.ndarray
    truth: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class CaseErrors:
    """The worst slices of a case."""

    name: str
    dice: float
    slices: tuple[ErrorSlice, ...]


def find_worst_slices(
    name: str,
    dice: float,
    scan: Volume,
    truth: np.ndarray,
    mask: np.ndarray,
    window_hu: tuple[float, float],
) -> CaseErrors:
    """The axial slices with the most missed and the most wrongly marked, and the worst coronal one.

    Args:
        truth, mask: boolean, on the scan's grid.
        window_hu: shown from black to white.
    """
    import torch

    grid = _around(scan.grid, truth | mask)

    def on_grid(region: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(region, dtype=np.float32))[None, None]
        return resample(tensor, scan.grid, grid, "nearest")[0, 0].numpy() > 0.5

    image = sample_scan(scan, grid, window_hu)[0, 0].numpy()
    organ, marked = on_grid(truth), on_grid(mask)
    missed, extra = organ & ~marked, marked & ~organ
    voxel_ml = scan.voxel_volume_ml

    def worst_slice(title: str, wrong: np.ndarray, axis: int) -> ErrorSlice:
        others = tuple(other for other in range(3) if other != axis)
        index = int(wrong.sum(axis=others).argmax())

        def cut(array: np.ndarray) -> np.ndarray:
            # The patient's right is on the left, as radiologists look at it.
            return np.take(array, index, axis=axis)[:, ::-1]

        return ErrorSlice(title, cut(image), cut(organ), cut(marked))

    return CaseErrors(
        name,
        dice,
        (
            worst_slice(
                f"most missed ({(truth & ~mask).sum() * voxel_ml:.0f} mL in all)", missed, 0
            ),
            worst_slice(f"most extra ({(mask & ~truth).sum() * voxel_ml:.0f} mL in all)", extra, 0),
            worst_slice("coronal, most of both", missed | extra, 1),
        ),
    )


def _around(grid: Grid, region: np.ndarray) -> Grid:
    """A grid along R, A and S around a region, or over all of the scan where it is empty."""
    box = grid.bounds
    where = np.argwhere(region)
    if len(where):
        box = Box.around(grid.position_of(where[:, ::-1])).grown(_MARGIN_MM).within(box)
    return aligned_grid(box, (_STEP_MM,) * 3)


def draw_errors(cases: Sequence[CaseErrors], file: Path) -> None:
    """The cases with the lowest Dice, a row each, as PNG."""
    from matplotlib.figure import Figure

    worst = sorted(cases, key=lambda case: case.dice)[:MOST_CASES]
    figure = Figure(figsize=(10.5, 3.0 * len(worst) + 0.4), layout="constrained")
    rows = figure.subplots(len(worst), 3, squeeze=False)
    for row, case in zip(rows, worst, strict=True):
        for axes, one in zip(row, case.slices, strict=True):
            axes.axis("off")
            axes.imshow(one.image, cmap="gray", vmin=0, vmax=1, origin="lower")
            outline(axes, one.truth, TRUTH)
            outline(axes, one.mask, PREDICTED)
            axes.set_title(one.title, fontsize=12)
        row[0].set_title(f"{case.name}, Dice {case.dice:.2f}\n{case.slices[0].title}", fontsize=12)
    figure.suptitle("truth green, result yellow", fontsize=13)
    save_picture(figure, file, few_colors=False)
