"""Pictures of attention: the levels on a case, and the focus ratios through training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import replaced_file
from .attention_statistics import PUBLISHED_FOCUS_RATIOS, FocusCurves, level_statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..inference.prediction import Prediction

LEVEL_COLOURS = ("#c1662b", "#a13d63", "#5b4b9a", "#1f6f8b", "#3b7d4f", "#777777")
TRUTH, PREDICTED = "#35c26b", "#ffc247"
_STEP_MM = 1.0


def save_picture(figure: Figure, file: Path, dpi: int = 100, *, few_colors: bool = True) -> None:
    """Write a figure as PNG, whole or not at all.

    Args:
        few_colors: see :func:`write_picture`.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_file(file) as beside:
        write_picture(figure, beside, dpi, few_colors=few_colors)


def write_picture(figure: Figure, file: Path, dpi: int = 100, *, few_colors: bool = True) -> None:
    """Write a figure as PNG into a folder that others do not see yet.

    Args:
        few_colors: 256 of them, at a third of the size; of a scan's greys they leave a few steps.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # The octree spreads its colours over all that occur, rare ones too; the colour bar needs that.
    picture = drawn.quantize(256, method=Image.Quantize.FASTOCTREE) if few_colors else drawn
    picture.save(file, format="PNG", optimize=True)


def draw_focus_ratios(curves: FocusCurves, file: Path, title: str = "") -> None:
    """The focus ratio of each level against the training step, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for index in range(len(curves.ratios[0])):
        colour = LEVEL_COLOURS[index % len(LEVEL_COLOURS)]
        values = [100 * ratios[index] for ratios in curves.ratios]
        axes.plot(curves.steps, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(
            curves.steps, smooth(values), color=colour, linewidth=1.8, label=f"level {index + 1}"
        )
    axes.set(xlabel="step", ylabel="focus ratio, %", ylim=(-2, 102), title=title)
    axes.legend(frameon=False, ncols=2, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    write_picture(figure, file)


def smooth(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """A running mean over about a twentieth of the run; the patches differ from step to step."""
    width = max(len(values) // 20, 1)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def draw_levels(
    prediction: Prediction,
    organ: np.ndarray,
    window_hu: tuple[float, float],
    file: Path,
    title: str = "",
) -> None:
    """The gated levels on the slices with the most organ, axial and coronal, as PNG.

    As the paper shows them: the scan with the outlines of the truth and of the result, then alpha
    over the scan, from the shallowest level to the deepest.

    Args:
        prediction: with its attention maps; its region must not be empty.
        organ: boolean, the truth on the scan's grid.
        window_hu: shown from black to white.
    """
    from matplotlib.figure import Figure

    views = _views(prediction, organ, window_hu)
    columns = prediction.levels + 1
    heights = [view.image.shape[0] for view in views]
    width = views[0].image.shape[1]
    figure = Figure(
        figsize=(2.6 * columns + 0.7, 2.6 * sum(heights) / width + 1.0), layout="constrained"
    )
    panels = figure.subplots(2, columns, squeeze=False, height_ratios=heights)
    shown = None
    for row, view in zip(panels, views, strict=True):
        for column, axes in enumerate(row):
            axes.axis("off")
            axes.imshow(view.image, cmap="gray", vmin=0, vmax=1, origin="lower")
            if column:
                shown = axes.imshow(
                    view.alphas[column - 1],
                    cmap="inferno",
                    vmin=0,
                    vmax=1,
                    alpha=0.6,
                    origin="lower",
                )
            outline(axes, view.organ, TRUTH)
            if column == 0:
                outline(axes, view.mask, PREDICTED)
    panels[0][0].set_title("truth green, result yellow", fontsize=9)
    region = organ[prediction.region]
    for level in range(1, columns):
        found = level_statistics("", level, prediction.attention_in_region(level), region)
        published = (
            f" (published {100 * PUBLISHED_FOCUS_RATIOS[level - 1]:.0f} %)"
            if level <= len(PUBLISHED_FOCUS_RATIOS)
            else ""
        )
        inside, outside = (
            "none" if value is None else f"{value:.2f}" for value in (found.inside, found.outside)
        )
        panels[0][level].set_title(
            f"level {level}\nfocus {100 * found.focus_ratio:.0f} %{published}\n"
            f"alpha in the organ {inside}, outside {outside}",
            fontsize=9,
        )
    if shown is not None:
        figure.colorbar(shown, ax=panels[:, -1], label="alpha", shrink=0.7)
    figure.suptitle(title, fontsize=11)
    write_picture(figure, file)


@dataclass(frozen=True, eq=False)
class _View:
    """A slice: the scan in [0, 1], truth and result, and alpha of each level, all on one grid."""

    image: np.ndarray
    organ: np.ndarray
    mask: np.ndarray
    alphas: list[np.ndarray]


def _views(
    prediction: Prediction, organ: np.ndarray, window_hu: tuple[float, float]
) -> list[_View]:
    """The axial and the coronal slice with the most organ, of the region, along R, A and S."""
    import torch

    from ..geometry.grid import aligned_grid
    from ..geometry.resampling import resample, sample_scan

    volume_grid = prediction.volume.grid
    grid = aligned_grid(volume_grid.subgrid(prediction.region).bounds, (_STEP_MM,) * 3)

    def on_grid(mask: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
        return resample(tensor, volume_grid, grid, "nearest")[0, 0].numpy() > 0.5

    image = sample_scan(prediction.volume, grid, window_hu)[0, 0].numpy()
    truth, mask = on_grid(organ), on_grid(prediction.mask)
    alphas = [
        resample(one.values.float().cpu(), one.grid, grid)[0, 0].numpy()
        for one in prediction.attention_maps
    ]
    counted = truth if truth.any() else mask
    views = []
    for axis in (0, 1):
        others = tuple(other for other in range(3) if other != axis)
        index = int(counted.sum(axis=others).argmax())

        def cut(array: np.ndarray, axis: int = axis, index: int = index) -> np.ndarray:
            # The patient's right is on the left, as radiologists look at it.
            return np.take(array, index, axis=axis)[:, ::-1]

        views.append(_View(cut(image), cut(truth), cut(mask), [cut(alpha) for alpha in alphas]))
    return views


def outline(axes: Axes, mask: np.ndarray, colour: str) -> None:
    """Draw the border of a boolean picture, if there is anything in it."""
    if mask.any():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.1)
