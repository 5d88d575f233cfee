"""What averages of two models' refiners give: Dice without a click, for several shares.

    python Testing/tools/measure_average.py DATA --other MODEL --splits SPLITS.json
        [--model NAME] [--precision P]

OTHER is a model that was trained further from the first one, so that their weights can be averaged.
A row for each share of its weights: the mean Dice of the held-out BTCV scans, of the regions of
PANORAMA that the splits leave out, and of the patients of another data set, put together from
pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.loading import find_data_set, load_cases
from AttentionUNetSegmentLib.datasets.splits import load_splits
from AttentionUNetSegmentLib.evaluation.evaluate import true_mask
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.inference import Predictor
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, Model, find_model, load_model
from measure_finetuning import scans

SHARES = (0.0, 0.3, 0.5, 0.7, 1.0)


def averaged(model: Path, other: Path, share: float) -> Model:
    """The first model with an average of both refiners' weights.

    Args:
        share: of the other's.
    """
    mean, further = load_model(model), load_model(other)
    ours, theirs = (one.networks["refiner"].state_dict() for one in (mean, further))
    weights = {name: (1 - share) * ours[name] + share * theirs[name] for name in ours}
    mean.networks["refiner"].load_state_dict(weights)
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--other", required=True)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--precision", default="auto", help="float32, bfloat16 or auto")
    options = parser.parse_args()
    model, other = find_model(options.model), find_model(options.other)
    card = load_model(model).card
    found = find_data_set(options.data).relabelled([one.name for one in card.labels], card.target)
    (split, *_others) = load_splits(options.splits)
    known = {*split.train, *split.validation}
    left_out = [one for one in found.cases if one.kind == "region" and one.name not in known]
    held_out = [one for one in found.cases if one.name in split.validation]
    groups: list[Sequence[LabelledCase]] = [
        load_cases(held_out),
        load_cases(left_out),
        scans(options.data / "pancreas-ct-slices"),
    ]
    counts = " | ".join(
        f"{title} ({len(group)})"
        for title, group in zip(
            ("held-out scans", "held-out regions", "another data set"), groups, strict=True
        )
    )
    print(f"| share | {counts} |")
    print("|---" * 4 + "|")
    for share in SHARES:
        predictor = Predictor(averaged(model, other, share), "cpu", options.precision)
        means = [fmean(_dice(predictor, case) for case in group) for group in groups]
        print(f"| {share:g} | {' | '.join(f'{one:.3f}' for one in means)} |", flush=True)


def _dice(predictor: Predictor, case: LabelledCase) -> float:
    truth = true_mask(predictor, case, predictor.card.target)
    return dice(predictor.predict(case.ct).mask != 0, truth)


if __name__ == "__main__":
    main()
