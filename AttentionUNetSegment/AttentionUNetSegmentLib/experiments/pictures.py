"""Pictures of an experiment: learning curves, focus ratios, and predictions on the same slices."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.attention_figures import LEVEL_COLOURS, PREDICTED, TRUTH, save_picture, smooth
from ..evaluation.attention_statistics import read_log
from .example_slices import ExampleSlice, load_example_slices
from .results import RunResult
from .variants import VARIANTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 100


def draw_curves(runs: Path, results: Sequence[RunResult], file: Path) -> bool:
    """Loss on training samples and Dice on held-out ones, a line a network, mean over its runs.

    Returns:
        Whether there was anything to draw; that of the other pictures too.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss_axes, dice_axes = figure.subplots(1, 2)
    for key, of_one in _by_variant(results).items():
        look = {"color": VARIANTS[key].colour, "label": VARIANTS[key].title}
        for axes, value in ((loss_axes, _loss), (dice_axes, _validation_dice)):
            steps, curves = _mean_curves(runs, of_one, value)
            if len(steps):
                axes.plot(steps, smooth(curves.mean(axis=0)), linewidth=1.6, **look)
                if len(curves) > 1:
                    low, high = curves.min(axis=0), curves.max(axis=0)
                    axes.fill_between(
                        steps, smooth(low), smooth(high), color=look["color"], alpha=0.08
                    )
    loss_axes.set(xlabel="step", ylabel="loss, training samples")
    dice_axes.set(xlabel="step", ylabel="Dice, held-out samples", ylim=(0, 1))
    if not loss_axes.lines:
        return False
    loss_axes.legend(frameon=False, fontsize=8)
    for axes in (loss_axes, dice_axes):
        axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, file)
    return True


def draw_focus(runs: Path, results: Sequence[RunResult], file: Path) -> bool:
    """Focus ratio of each level through training, a panel a network, mean over its runs."""
    from matplotlib.figure import Figure

    gated = {key: of_one for key, of_one in _by_variant(results).items() if of_one[0].attention}
    if not gated:
        return False
    columns = min(len(gated), 4)
    rows = -(-len(gated) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.4, 2.7 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes in panels[len(gated) :]:
        axes.axis("off")
    for axes, (key, of_one) in zip(panels, gated.items(), strict=False):
        levels = sorted({one.level for one in of_one[0].attention})
        for index, level in enumerate(levels):
            steps, curves = _mean_curves(runs, of_one, _focus_ratio(index))
            if len(steps):
                colour = LEVEL_COLOURS[(level - 1) % len(LEVEL_COLOURS)]
                label = f"level {level}"
                axes.plot(steps, 100 * smooth(curves.mean(axis=0)), color=colour, label=label)
                axes.fill_between(
                    steps,
                    100 * smooth(curves.min(axis=0)),
                    100 * smooth(curves.max(axis=0)),
                    color=colour,
                    alpha=0.12,
                )
        axes.set_title(VARIANTS[key].title, fontsize=10)
        axes.set(xlabel="step", ylim=(-2, 102))
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("focus ratio, %")
    save_picture(figure, file)
    return True


def draw_predictions(runs: Path, results: Sequence[RunResult], file: Path) -> bool:
    """A row for each case, a column for each network: truth green, prediction yellow.

    The half of the picture around the organ is shown.
    """
    from matplotlib.figure import Figure

    shown = _load_examples(runs, results)
    if not shown:
        return False
    rows = len(next(iter(shown.values())))
    columns = len(shown) + 1
    figure = Figure(figsize=(1.8 * columns, 1.8 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for column, key in enumerate(["", *shown]):
        slices = shown[key] if key else next(iter(shown.values()))
        title = textwrap.fill(VARIANTS[key].title if key else "truth", 22)
        panels[0][column].set_title(title, fontsize=8)
        for axes, one in zip(panels[:, column], slices, strict=True):
            _show(axes, one)
            _look_at(axes, one.truth)
            if key:
                _outline(axes, one.mask, PREDICTED)
                _note(axes, f"Dice {one.dice:.2f}")
            else:
                _note(axes, one.case)
    save_picture(figure, file)
    return True


def draw_attention(runs: Path, results: Sequence[RunResult], file: Path) -> bool:
    """A row for each network with gates, a column for each level, on the first case."""
    from matplotlib.figure import Figure

    levels = {one.run.variant: [level.level for level in one.attention] for one in results}
    shown = {
        key: slices[0]
        for key, slices in _load_examples(runs, results).items()
        if len(slices[0].alphas)
    }
    if not shown:
        return False
    columns = max(max(levels[key]) for key in shown)
    height, width = next(iter(shown.values())).image.shape
    figure = Figure(
        figsize=(1.7 * columns + 0.8, (1.7 * height / width + 0.2) * len(shown)),
        layout="constrained",
    )
    panels = figure.subplots(len(shown), columns, squeeze=False)
    drawn = None
    for row, (key, one) in zip(panels, shown.items(), strict=True):
        for axes in row:
            axes.axis("off")
        for level, alpha in zip(sorted(set(levels[key])), one.alphas, strict=True):
            axes = row[level - 1]
            _show(axes, one)
            drawn = axes.imshow(alpha, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
            axes.set_title(f"{key}, level {level}", fontsize=7)
    if drawn is not None:
        figure.colorbar(drawn, ax=panels[:, -1], label="alpha", shrink=0.6)
    save_picture(figure, file)
    return True


def _by_variant(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    by_variant: dict[str, list[RunResult]] = {}
    for one in results:
        by_variant.setdefault(one.run.variant, []).append(one)
    return by_variant


def _load_examples(runs: Path, results: Sequence[RunResult]) -> dict[str, list[ExampleSlice]]:
    """The slices of each network, of the first run that kept some."""
    shown: dict[str, list[ExampleSlice]] = {}
    for one in results:
        if one.run.variant not in shown and (slices := load_example_slices(runs / one.run.name)):
            shown[one.run.variant] = slices
    return shown


def _mean_curves(
    runs: Path, results: Sequence[RunResult], value: Callable[[dict[str, Any]], float | None]
) -> tuple[np.ndarray, np.ndarray]:
    """One curve a run, (runs, points), all at the same steps: logs are not all of one length."""
    logs = []
    for one in results:
        known = [
            (record["step"], found)
            for record in read_log(runs / one.run.name)
            if (found := value(record)) is not None
        ]
        if known:
            logs.append(np.array(known, dtype=float).T)
    if not logs:
        return np.zeros(0), np.zeros((0, 0))
    start, end = max(steps[0] for steps, _ in logs), min(steps[-1] for steps, _ in logs)
    steps = np.linspace(start, max(end, start), _POINTS)
    return steps, np.array([np.interp(steps, *log) for log in logs])


def _loss(record: dict[str, Any]) -> float | None:
    return record.get("loss")


def _validation_dice(record: dict[str, Any]) -> float | None:
    dice = record.get("validation_dice")
    return float(np.mean(list(dice.values()))) if dice else None


def _focus_ratio(index: int) -> Callable[[dict[str, Any]], float | None]:
    def value(record: dict[str, Any]) -> float | None:
        ratios = record.get("focus_ratios")
        return float(ratios[index]) if ratios else None

    return value


def _show(axes: Axes, one: ExampleSlice) -> None:
    axes.axis("off")
    axes.imshow(one.image, cmap="gray", vmin=0, vmax=1)
    _outline(axes, one.truth, TRUTH)


def _look_at(axes: Axes, mask: np.ndarray) -> None:
    """Half of the picture's width and height, around the middle of a mask."""
    limits = []
    for axis, size in enumerate(mask.shape):
        at = np.flatnonzero(mask.any(axis=1 - axis))
        middle = (at[0] + at[-1]) / 2 if len(at) else size / 2
        start = float(np.clip(middle - size / 4, 0, size / 2))
        limits.append((start, start + size / 2))
    (top, bottom), (left, right) = limits
    axes.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))


def _outline(axes: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=0.8)


def _note(axes: Axes, text: str) -> None:
    behind = {"facecolor": "black", "edgecolor": "none", "pad": 1.5}
    axes.text(0.03, 0.04, text, color="white", fontsize=7, transform=axes.transAxes, bbox=behind)
