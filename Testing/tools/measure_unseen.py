"""How models do on patients of a data set that none of them has seen.

    python Testing/tools/measure_unseen.py DATA [--model NAME]... [--clicks 3]

The patients are those of Pancreas-CT that ``measure_finetuning.py`` puts together from pictures of
slices, whose spacing and HU have to be guessed: figures to compare models by, no more. Clicks go
where ``evaluate`` puts them, in the middle of the largest error. The change is from the first model
to each other one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from AttentionUNetSegmentLib.evaluation.evaluate import evaluate_case
from AttentionUNetSegmentLib.evaluation.metrics import Mean, mean_over_cases
from AttentionUNetSegmentLib.inference import Predictor
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from measure_finetuning import scans

Dice = dict[str, list[float]]
"""By patient, without a click and after each."""


def row(title: str, cells: list[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def mean_of(found: Dice, clicks: int) -> Mean:
    return mean_over_cases([dice[clicks] for dice in found.values()], (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--clicks", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    cases = scans(arguments.data / "pancreas-ct-slices")
    names: list[str] = []
    found: list[Dice] = []
    for model in map(load_model, map(find_model, arguments.model or [DEFAULT_MODEL])):
        predictor = Predictor(model, "cpu")
        names.append(f"{model.card.name} {model.card.version}")
        found.append(
            {
                case.name: [
                    result.scores.dice
                    for result in evaluate_case(predictor, case, arguments.clicks)
                ]
                for case in cases
            }
        )
    print(row("without a click", names))
    print("|---" * (len(names) + 1) + "|")
    for case in cases:
        print(row(case.name, [f"{dice[case.name][0]:.3f}" for dice in found]))
    for clicks in range(arguments.clicks + 1):
        means = [mean_of(dice, clicks) for dice in found]
        cells = [f"**{one.mean:.3f}** ({one.low:.3f} to {one.high:.3f})" for one in means]
        print(row(f"mean (95 % interval), clicks: {clicks}", cells))
    print()
    for name, dice in zip(names[1:], found[1:], strict=True):
        for clicks in range(arguments.clicks + 1):
            changes = [dice[case][clicks] - before[clicks] for case, before in found[0].items()]
            mean = mean_over_cases(changes, (-1, 1))
            better, worse = sum(one > 0 for one in changes), sum(one < 0 for one in changes)
            print(
                f"{name}, clicks: {clicks}: change {mean.mean:+.3f}, 95 % interval {mean.low:+.3f} "
                f"to {mean.high:+.3f}; better in {better}, worse in {worse} of {len(changes)}."
            )


if __name__ == "__main__":
    main()
