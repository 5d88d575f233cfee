"""How well any structure is outlined, click by click: a table by structure, from nothing, and one
of the organs that the model's networks look for, from what these find.

    python Testing/tools/measure_structures.py DATA [--model NAME] [--splits FILE] [--clicks 10]
        [--precision P] [--cases NAME ...] [--begin nothing|found] [--pictures DIR] [--write-card]

The cases are those that the split does not learn from: whole scans with their organs, and regions
with tumours. The user clicks in the middle of the largest error. With --pictures the slice with
most of each structure of the first case is drawn: after one click and after the last, from nothing;
and as it was found, and after the last click, of the organs that are looked for.
With --write-card both tables go into the model's card, as the figures of its editor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from AttentionUNetSegmentLib.inference.structures import known_organ
from AttentionUNetSegmentLib.markdown import markdown_table
from AttentionUNetSegmentLib.models import (
    DEFAULT_MODEL,
    LARGEST_BYTES,
    find_model,
    load_model,
    save_model,
)
from measure_clicks import WORSE, grid_of_axes

SHOWN = (0, 1, 3, 5, 10)
"""Clicks; 0 only of what is looked for."""
FEWEST_ML = 0.5
"""Of a structure; a smaller one is left out."""
TRUTH, FIRST, LAST = "#3ec13e", "#4aa3ff", "#ffd23e"


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    size = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / size if size else 1.0


@dataclass
class Curves:
    """Of one way to begin: for each structure, the Dice before and after each click in each case;
    and seconds of each click.

    Args:
        first: the first click after which there is a result.
    """

    first: int
    by_structure: dict[str, list[list[float]]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def share_of_worse(self) -> float:
        """Of the clicks at a result, those that made it worse by more than :data:`.WORSE`."""
        steps = [
            after - before
            for of_one in self.by_structure.values()
            for one in of_one
            for before, after in pairwise(one[self.first :])
        ]
        return sum(step < -WORSE for step in steps) / max(len(steps), 1)

    def mean(self, name: str, clicks: int) -> float:
        return fmean(one[clicks] for one in self.by_structure[name])


def follow(
    predictor: Predictor,
    case: LabelledCase,
    truth: np.ndarray,
    name: str,
    count: int,
    looked_for: bool,
) -> tuple[list[float], list[np.ndarray], list[float]]:
    """Dice before and after each click, the masks at the beginning and at the end, and seconds of
    each click. The first mask from nothing is that after one click."""
    session = Session(predictor, case.ct, structure=name)
    mask = session.predict(automatic=looked_for).mask != 0
    scores = [dice(mask, truth)]
    kept = [mask] if looked_for else []
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
    scores += scores[-1:] * (count + 1 - len(scores))
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
    parser.add_argument("--cases", nargs="+", help="instead of those that are not learnt from")
    parser.add_argument("--begin", choices=["nothing", "found"], help="only one of the tables")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--write-card", action="store_true")
    options = parser.parse_args(arguments)

    predictor = Predictor(load_model(find_model(options.model)), "cpu", options.precision)
    found = tell_tumours_apart(find_data_set(options.data))
    split = load_splits(options.splits)[0] if options.splits else default_split(found, 0)
    from_nothing, found_ones = Curves(1), Curves(0)
    drawn = False
    for files in found.cases:
        measured = files.name in options.cases if options.cases else files.name not in split.train
        if not measured:
            continue
        case = load_case(files)
        pictured: dict[bool, dict[str, tuple[np.ndarray, list[np.ndarray]]]] = {}
        for value, name in enumerate(found.labels):
            if value == 0 or (files.kind == "region" and name not in found.part_of):
                continue
            parts = [found.labels.index(p) for p, whole in found.part_of.items() if whole == name]
            truth = np.isin(case.labels.array, [value, *parts])
            if truth.sum() * case.ct.voxel_volume_ml < FEWEST_ML:
                continue
            for curves, looked_for in ((from_nothing, False), (found_ones, True)):
                if options.begin == ("nothing" if looked_for else "found"):
                    continue
                if looked_for and known_organ(predictor.card, name) is None:
                    continue
                scores, masks, took = follow(
                    predictor, case, truth, name, options.clicks, looked_for
                )
                curves.by_structure.setdefault(name, []).append(scores)
                curves.seconds += took
                pictured.setdefault(looked_for, {})[name] = truth, masks
                way = "found" if looked_for else "from nothing"
                print(case.name, name, way, *(f"{one:.3f}" for one in scores), flush=True)
        if options.pictures and not drawn and files.kind != "region":
            for looked_for, of_one in pictured.items():
                name = "found-organs" if looked_for else "any-structure"
                draw(case, of_one, options.pictures / f"{name}.png")
            drawn = True

    shown = [count for count in SHOWN if count <= options.clicks]
    for title, curves in (("from nothing", from_nothing), ("looked for", found_ones)):
        if not curves.by_structure:
            continue
        columns = [count for count in shown if count or curves is found_ones]
        rows = [
            [name, len(of_one), *(f"{curves.mean(name, count):.3f}" for count in columns)]
            for name, of_one in curves.by_structure.items()
        ]
        print(title)
        print(*markdown_table(["structure", "cases", *map(str, columns)], rows), sep="\n")
        worse = f"{curves.share_of_worse:.0%}"
        print(f"clicks at a result that made it worse by more than {WORSE}: {worse}")
        took = f"median {median(curves.seconds):.2f}, most {max(curves.seconds):.2f}"
        print(f"seconds a click: {took}")
    if options.write_card:
        write_card(predictor, {"any_structure": from_nothing, "found_organs": found_ones}, shown)


def write_card(predictor: Predictor, measured: dict[str, Curves], shown: list[int]) -> None:
    """Keep the mean Dice of each structure after some clicks in the model's folder."""
    card, model = predictor.card, predictor.model
    assert card.editor is not None
    figures = {
        key: {
            "user": "ideal",
            "precision": "bfloat16" if predictor.bfloat16 else "float32",
            "share_of_later_clicks_that_made_it_worse": round(curves.share_of_worse, 3),
            "mean_dice": {
                name: {
                    "cases": len(of_one),
                    **{
                        str(count): round(curves.mean(name, count), 3)
                        for count in shown
                        if count or key == "found_organs"
                    },
                }
                for name, of_one in curves.by_structure.items()
            },
        }
        for key, curves in measured.items()
        if curves.by_structure
    }
    editor = replace(card.editor, figures={**card.editor.figures, **figures})
    save_model(model.folder, replace(card, editor=editor), model.networks, LARGEST_BYTES)


if __name__ == "__main__":
    main()
