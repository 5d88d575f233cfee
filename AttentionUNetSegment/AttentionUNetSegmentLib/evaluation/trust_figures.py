"""The estimate of the Dice as a picture: against the Dice that came out, and as a risk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..models import Interval
from .estimation import risk_coverage


def draw_calibration(
    true: np.ndarray,
    estimates: np.ndarray,
    interval: Interval,
    kinds: Mapping[str, np.ndarray],
    path: Path,
) -> None:
    """Draw the Dice over its estimate with the interval of the card, and the mean of 1 - Dice over
    the share of the results that are kept, the surest first.

    Args:
        true: Dice of each result.
        estimates: of each.
        kinds: which results are of which kind, by its name; two kinds.
    """
    from matplotlib.figure import Figure

    from .attention_figures import save_picture

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    at = np.linspace(0, 1, 101)
    ends = np.array([interval.at(float(value)) for value in at])
    left.fill_between(
        at,
        ends[:, 0],
        ends[:, 1],
        color="#d9dee4",
        label=f"{100 * interval.coverage:.0f} % interval",
    )
    left.plot([0, 1], [0, 1], color="#5c6672", linewidth=1)
    for (name, chosen), colour, marker in zip(
        kinds.items(), ("#1f6fb2", "#d98a1f"), ("o", "x"), strict=True
    ):
        left.scatter(estimates[chosen], true[chosen], s=16, c=colour, marker=marker, label=name)
    left.set_xlabel("estimated Dice, by other patients")
    left.set_ylabel("Dice")
    left.set_xlim(0, 1)
    left.set_ylim(-0.02, 1)
    left.legend(fontsize=8, frameon=False, loc="upper left")
    share = np.arange(1, len(true) + 1) / len(true)
    right.plot(share, risk_coverage(estimates, true), color="#1f6fb2", label="by the estimate")
    right.plot(share, risk_coverage(true, true), "--", color="#5c6672", label="by the truth")
    right.axhline(1 - true.mean(), color="#d98a1f", linewidth=1, label="by chance")
    right.set_xlabel("share of the results that is kept, the surest first")
    right.set_ylabel("mean of 1 - Dice")
    right.set_xlim(0, 1)
    right.set_ylim(bottom=0)
    right.legend(fontsize=8, frameon=False, loc="upper left")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path, dpi=110)
