"""How well any structure is outlined from nothing, click by click: a table by structure.

    python Testing/tools/measure_structures.py DATA [--model NAME] [--splits FILE] [--clicks 10]
        [--precision P] [--pictures DIR] [--write-card]

The cases are those that the split does not learn from: whole scans with their organs, and regions
with tumours. The user clicks in the middle of the largest error. With --pictures the slice with
most of each structure of the first case is drawn, after one click and after the last.
With --write-card the table goes into the model's card, as the figures of its editor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np
from AttentionUNetSegmentLib.datasets.cases import LabelledCase, load_case
from AttentionUNetSegmentLib.datasets.layouts.btcv import tell_tumours_apart
from AttentionUNetSegmentLib.datasets.loading import find_data_set
from AttentionUNetSegmentLib.datasets.splits import default_split, load_splits
from AttentionUNetSegmentLib.evaluation.attention_figures import outline, save_picture
from AttentionUNetSegmentLib.evaluation.simulated_user import click_on_largest_error
from AttentionUNetSegmentLib.inference import Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.markdown import markdown_table
from AttentionUNetSegmentLib.models import (
    DEFAULT_MODEL,
    LARGEST_BYTES,
    find_model,
    load_model,
    save_model,
)
from measure_clicks import WORSE, grid_of_axes

SHOWN = (1, 3, 5, 10)
FEWEST_ML = 0.5
"""Of a structure; a smaller one is left out."""
TRUTH, FIRST, LAST = "#3ec13e", "#4aa3ff", "#ffd23e"


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    size = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / size if size else 1.0


def follow(
    predictor: Predictor, case: LabelledCase, truth: np.ndarray, name: str, count: int
) -> tuple[list[float], list[np.ndarray], list[float]]:
    """Dice after each click, the masks after the first and the last, and seconds of each click."""
    session = Session(predictor, case.ct, structure=name)
    mask = np.zeros(truth.shape, bool)
    scores: list[float] = []
    kept: list[np.ndarray] = []
    seconds: list[float] = []
    for _ in range(count):
        click = click_on_largest_error(mask, truth, case.ct)
        if click is None:
            break
        began = time.perf_counter()
        mask = session.add_click(click.position_ras, click.inside).mask != 0
        seconds.append(time.perf_counter() - began)
        scores.append(dice(mask, truth))
        kept = [*kept[:1], mask.copy()]
    scores += scores[-1:] * (count - len(scores))
    return scores, kept, seconds


def draw(case: LabelledCase, structures: dict[str, tuple[np.ndarray, list]], file: Path) -> None:
    """The slice of each structure with most of it."""
    figure, places = grid_of_axes(len(structures), 4, (3.0, 3.1))
    step_i, step_j, _ = case.ct.grid.spacing_mm
    for axes, (name, (truth, masks)) in zip(places, structures.items(), strict=False):
        k = int(truth.sum(axis=(1, 2)).argmax())
        axes.imshow(case.ct.array[k], cmap="gray", vmin=-125, vmax=275, aspect=step_j / step_i)
        for mask, color in ((truth, TRUTH), (masks[0], FIRST), (masks[-1], LAST)):
            if mask[k].any():
                outline(axes, mask[k], color)
        if case.ct.ijk_to_ras[1, 1] > 0:
            axes.invert_yaxis()  # the patient's front is up
        axes.set_title(f"{name}: {dice(masks[0], truth):.2f}, {dice(masks[-1], truth):.2f}")
    save_picture(figure, file)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--write-card", action="store_true")
    options = parser.parse_args(arguments)

    predictor = Predictor(load_model(find_model(options.model)), "cpu", options.precision)
    found = tell_tumours_apart(find_data_set(options.data))
    split = load_splits(options.splits)[0] if options.splits else default_split(found, 0)
    curves: dict[str, list[list[float]]] = {}
    seconds: list[float] = []
    drawn = False
    for files in found.cases:
        if files.name in split.train:
            continue
        case = load_case(files)
        pictured: dict[str, tuple[np.ndarray, list[np.ndarray]]] = {}
        for value, name in enumerate(found.labels):
            if value == 0 or (files.kind == "region" and name not in found.part_of):
                continue
            parts = [found.labels.index(p) for p, whole in found.part_of.items() if whole == name]
            truth = np.isin(case.labels.array, [value, *parts])
            if truth.sum() * case.ct.voxel_volume_ml < FEWEST_ML:
                continue
            scores, masks, took = follow(predictor, case, truth, name, options.clicks)
            curves.setdefault(name, []).append(scores)
            seconds += took
            pictured[name] = truth, masks
            print(case.name, name, *(f"{one:.3f}" for one in scores), flush=True)
        if options.pictures and not drawn and files.kind != "region":
            draw(case, pictured, options.pictures / "any-structure.png")
            drawn = True

    shown = [count for count in SHOWN if count <= options.clicks]
    rows = [
        [name, len(of_one), *(f"{fmean(one[n - 1] for one in of_one):.3f}" for n in shown)]
        for name, of_one in curves.items()
    ]
    print(*markdown_table(["structure", "cases", *map(str, shown)], rows), sep="\n")
    steps = [
        after - before
        for of_one in curves.values()
        for one in of_one
        for before, after in pairwise(one)
    ]
    worse = sum(step < -WORSE for step in steps) / max(len(steps), 1)
    print(f"later clicks that made it worse by more than {WORSE}: {worse:.0%}")
    print(f"seconds a click: median {median(seconds):.2f}, most {max(seconds):.2f}")
    if options.write_card:
        write_card(predictor, curves, shown, worse)


def write_card(
    predictor: Predictor, curves: dict[str, list[list[float]]], shown: list[int], worse: float
) -> None:
    """Keep the mean Dice of each structure after some clicks in the model's folder."""
    card, model = predictor.card, predictor.model
    assert card.editor is not None
    figures = {
        "user": "ideal",
        "precision": "bfloat16" if predictor.bfloat16 else "float32",
        "share_of_later_clicks_that_made_it_worse": round(worse, 3),
        "mean_dice": {
            name: {
                "cases": len(of_one),
                **{str(n): round(fmean(one[n - 1] for one in of_one), 3) for n in shown},
            }
            for name, of_one in curves.items()
        },
    }
    editor = replace(card.editor, figures={**card.editor.figures, "any_structure": figures})
    save_model(model.folder, replace(card, editor=editor), model.networks, LARGEST_BYTES)


if __name__ == "__main__":
    main()
