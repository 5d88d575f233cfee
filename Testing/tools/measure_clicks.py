"""What ten clicks do, click by click: a table of both simulated users, and pictures.

    python Testing/tools/measure_clicks.py DATA [--model NAME] [--split S] [--clicks 10]
        [--precision P] [--pictures DIR --cases CASE CASE]

The users are those of ``evaluate``. The split "unseen" is all cases that neither the model learnt
from nor are held out; "slices" is patients of another data set, put together from pictures. A
picture has a case's slice through each click of the ideal user, with the outlines of the experts'
mask, of the result before the click and of that after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_case
from AttentionUNetSegmentLib.evaluation.attention_figures import outline, save_picture
from AttentionUNetSegmentLib.evaluation.evaluate import CaseResult, evaluate_case, true_mask
from AttentionUNetSegmentLib.evaluation.simulated_user import (
    HumanUser,
    User,
    click_on_largest_error,
)
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume
from AttentionUNetSegmentLib.markdown import markdown_table
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from measure_finetuning import scans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = (0, 1, 2, 3, 5, 10)
WORSE = 0.005
"""Of Dice, from which on a click made it worse."""
HALF_WIDTH_MM = 55.0
"""Of what a picture shows around a click."""
TRUTH, BEFORE, AFTER = "#3ec13e", "#4aa3ff", "#ffd23e"


@dataclass
class Course:
    """A case from its first answer to the last click."""

    dice: list[float]
    masks: list[np.ndarray]
    clicks: list[Click]


def follow(predictor: Predictor, case: LabelledCase, count: int, user: User) -> Course:
    """Let a simulated user click so often."""
    course = Course([], [], [])

    def click(mask: np.ndarray, truth: np.ndarray, place: Volume) -> Click | None:
        made = user(mask, truth, place)
        if made is not None:
            course.clicks.append(made)
        return made

    def keep(result: CaseResult, mask: np.ndarray) -> None:
        course.dice.append(result.scores.dice)
        course.masks.append(mask != 0)

    evaluate_case(predictor, case, count, keep, click)
    course.dice += course.dice[-1:] * (count + 1 - len(course.dice))
    return course


def grid_of_axes(
    count: int, columns: int, size_inches: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """A figure with room for so many pictures, each of a size, in rows; no axes are drawn."""
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    width, height = size_inches
    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in places:
        axes.axis("off")
    return figure, places


def draw(
    case: LabelledCase, truth: np.ndarray, course: Course, window: Sequence[float], file: Path
) -> None:
    """The slices through the clicks, in their order."""
    shown = course.clicks[: len(course.masks) - 1]
    figure, places = grid_of_axes(len(shown), 5, (2.9, 3.2))
    low, high = window
    in_plane = case.ct.spacing_mm[:2]
    # The patient's right on the left, and front above, whichever way the scan's axes point.
    r_step, a_step = case.ct.ijk_to_ras[0, 0], case.ct.ijk_to_ras[1, 1]
    for number, (axes, click) in enumerate(zip(places, shown, strict=False), start=1):
        i, j, k = case.ct.grid.index_of(click.position_ras)
        at = round(float(k))
        axes.imshow(case.ct.array[at], cmap="gray", vmin=low, vmax=high)
        outline(axes, course.masks[number - 1][at], BEFORE)
        outline(axes, course.masks[number][at], AFTER)
        outline(axes, truth[at], TRUTH)
        axes.plot(i, j, "+" if click.inside else "x", color="white", markersize=9, mew=2)
        width, height = (HALF_WIDTH_MM / step for step in in_plane)
        axes.set_xlim(i + np.sign(r_step) * width, i - np.sign(r_step) * width)
        axes.set_ylim(j - np.sign(a_step) * height, j + np.sign(a_step) * height)
        axes.set_aspect(in_plane[1] / in_plane[0])
        before, after = course.dice[number - 1], course.dice[number]
        side = "inside" if click.inside else "outside"
        axes.set_title(f"{number}, {side}: {before:.3f} to {after:.3f}", fontsize=10)
    figure.suptitle(
        f"{case.name}: Dice before and after each click; experts green, before blue, after yellow",
        fontsize=12,
    )
    save_picture(figure, file, few_colors=False)


def table(courses: dict[str, list[Course]], cases: Sequence[str], count: int) -> str:
    """Dice of each case and user, their means, how much these are above no click, and medians."""
    shown = [clicks for clicks in SHOWN if clicks <= count]
    rows = []
    for user, of_user in courses.items():
        lines = {case: one.dice for case, one in zip(cases, of_user, strict=True)}
        columns = list(zip(*lines.values(), strict=True))
        lines["**mean**"] = [fmean(column) for column in columns]
        lines["gain"] = [mean - lines["**mean**"][0] for mean in lines["**mean**"]]
        lines["median"] = [median(column) for column in columns]
        for case, dice in lines.items():
            rows.append([user, case, *(f"{dice[clicks]:.3f}" for clicks in shown)])
    return "\n".join(markdown_table(["user", "case", *shown], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    splits = ("train", "validation", "unseen", "slices")
    parser.add_argument("--split", choices=splits, default="validation")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--precision", default="float32", help="float32, bfloat16 or auto")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each case")
    parser.add_argument("--cases", nargs="+", help="of which; all unless given")
    arguments = parser.parse_args()

    predictor = Predictor(load_model(find_model(arguments.model)), "cpu", arguments.precision)
    card = predictor.card
    found = find_data_set(arguments.data)
    found = found.relabelled([one.name for one in card.labels], card.target)
    train, validation = find_cases(found)
    learnt = {name for names in card.training["cases"].values() for name in names}
    cases: Iterable[LabelledCase]
    if arguments.split == "slices":
        cases = scans(arguments.data / "pancreas-ct-slices")
    elif arguments.split == "unseen":
        cases = (load_case(one) for one in train if one.name not in learnt)
    else:
        cases = (load_case(one) for one in (train if arguments.split == "train" else validation))
    courses: dict[str, list[Course]] = {"ideal": [], "human": []}
    names = []
    for number, case in enumerate(cases):
        names.append(case.name)
        users: dict[str, User] = {"ideal": click_on_largest_error, "human": HumanUser(number)}
        for name, user in users.items():
            courses[name].append(follow(predictor, case, arguments.clicks, user))
        if arguments.pictures and (not arguments.cases or case.name in arguments.cases):
            truth = true_mask(predictor, case, card.target)
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            file = arguments.pictures / f"ten-clicks-{case.name}.png"
            draw(case, truth, courses["ideal"][-1], card.intensity_window_hu, file)
        for of_user in courses.values():  # they are large
            of_user[-1].masks.clear()
    print(table(courses, names, arguments.clicks))
    for name, of_user in courses.items():
        steps = np.concatenate([np.diff(course.dice) for course in of_user])
        worse = f"{(steps < -WORSE).mean():.0%}"
        print(f"\n{name}: {worse} of the clicks made Dice worse by more than {WORSE}.")


if __name__ == "__main__":
    main()
