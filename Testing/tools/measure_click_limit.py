"""How much of the error a click mends, and how much one could mend at most.

    python Testing/tools/measure_click_limit.py DATA [--model NAME] [--clicks 3] [--split S]

Clicks go where ``evaluate`` puts them, in the middle of the largest error. Beside what the model
makes of them stands what ideal ones would give, from the same answer without a click: such as make
everything right up to a distance, and such as make the whole largest error right and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import numpy as np
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_case
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.evaluation.simulated_user import click_on_largest_error, largest_error
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model

DISTANCES_MM = (10, 15, 20, 30)

Answer = Callable[[np.ndarray, list[Click]], np.ndarray]
"""The next mask, to the present one and the clicks so far."""


def ball(click: Click, place: Volume, radius_mm: float) -> np.ndarray:
    """The voxels up to a distance from a click."""
    i, j, k = (np.linalg.inv(place.ijk_to_ras) @ (*click.position_ras, 1.0))[:3]
    steps = place.spacing_mm[::-1]
    along = [
        (np.arange(count) - at) * step
        for count, at, step in zip(place.array.shape, (k, j, i), steps, strict=True)
    ]
    squares = [one * one for one in np.ix_(*along)]
    return np.asarray(sum(squares) <= radius_mm**2)


def scores(
    first: np.ndarray, truth: np.ndarray, place: Volume, clicks: int, answer: Answer
) -> list[float]:
    """Dice without a click, and after each."""
    mask, placed = first, []
    found = [dice(mask, truth)]
    for _ in range(clicks):
        click = click_on_largest_error(mask, truth, place)
        if click is not None:
            placed.append(click)
            mask = answer(mask, placed)
        found.append(dice(mask, truth))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--split", choices=("train", "validation"), default="validation")
    arguments = parser.parse_args()

    predictor = Predictor(load_model(find_model(arguments.model)), "cpu")
    found = find_data_set(arguments.data).relabelled([one.name for one in predictor.card.labels])
    train, validation = find_cases(found)
    rows: dict[str, list[list[float]]] = {}
    for files in train if arguments.split == "train" else validation:
        if files.kind != "scan":
            continue
        case = load_case(files)
        truth = case.labels.array == predictor.target_label
        session = Session(predictor, case.ct)
        first = session.predict([]).mask != 0

        def model(mask: np.ndarray, clicks: list[Click], session: Session = session) -> np.ndarray:
            return session.predict(clicks).mask != 0

        def whole(mask: np.ndarray, clicks: list[Click], truth: np.ndarray = truth) -> np.ndarray:
            error = largest_error(truth, mask)
            return mask if error is None else np.where(error[0], truth, mask)

        answers: dict[str, Answer] = {f"{predictor.card.name} {predictor.card.version}": model}
        for distance in DISTANCES_MM:

            def near(
                mask: np.ndarray,
                clicks: list[Click],
                truth: np.ndarray = truth,
                place: Volume = case.ct,
                distance: float = distance,
            ) -> np.ndarray:
                return np.where(ball(clicks[-1], place, distance), truth, mask)

            answers[f"ideal up to {distance} mm"] = near
        answers["ideal in the largest error"] = whole
        for name, answer in answers.items():
            rows.setdefault(name, []).append(
                scores(first, truth, case.ct, arguments.clicks, answer)
            )
    print("| mean Dice | " + " | ".join(str(n) for n in range(arguments.clicks + 1)) + " |")
    print("|---" * (arguments.clicks + 2) + "|")
    for name, cases in rows.items():
        means = [fmean(one) for one in zip(*cases, strict=True)]
        print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in means) + " |")


if __name__ == "__main__":
    main()
