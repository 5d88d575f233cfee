"""How the result gets better with a simulated user's clicks, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evaluate import Evaluation


def draw_clicks(evaluation: Evaluation, path: Path) -> None:
    """Draw Dice over the number of clicks: a line for each case, a thick one for their mean."""
    from matplotlib.figure import Figure

    from .attention_figures import save_picture

    counts = evaluation.click_counts
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, first in enumerate(evaluation.with_clicks(counts[0])):
        dice = [evaluation.with_clicks(clicks)[number].scores.dice for clicks in counts]
        (line,) = axes.plot(counts, dice, "o-", markersize=3, linewidth=1, label=first.case)
        end = (counts[-1], dice[-1])
        axes.annotate(f" {dice[-1]:.2f}", end, color=line.get_color(), fontsize=8)
    means = [evaluation.mean_dice(clicks) for clicks in counts]
    axes.plot(counts, means, "o-", color="black", linewidth=2.5, markersize=5, label="mean")
    axes.set_xlabel("clicks, each in the middle of the largest error")
    axes.set_ylabel("Dice")
    axes.set_xticks(counts)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    save_picture(figure, path, dpi=110)
