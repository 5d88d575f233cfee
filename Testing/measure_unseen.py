"""How models do on patients of a data set that none of them has seen.

    python Testing/measure_unseen.py DATA [--model NAME]...

The patients are those of Pancreas-CT that ``measure_finetuning.py`` puts together from pictures of
slices, whose spacing and HU have to be guessed: figures to compare models by, no more. All without
a click. The change is from the first model to each other one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from AttentionUNetSegmentLib.training.finetuning import evaluate_cases
from AttentionUNetSegmentLib.training.metrics import mean_over_cases
from measure_finetuning import scans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    cases = scans(arguments.data / "pancreas-ct-slices")
    models = [load_model(find_model(name)) for name in arguments.model or [DEFAULT_MODEL]]
    found = [
        {one.case: one.scores.dice for one in evaluate_cases(model, cases, "unseen", "cpu").results}
        for model in models
    ]
    names = [f"{model.card.name} {model.card.version}" for model in models]
    print(f"| patient | {' | '.join(names)} |")
    print("|---" * (len(models) + 1) + "|")
    for case in cases:
        print(f"| {case.name} | {' | '.join(f'{dice[case.name]:.3f}' for dice in found)} |")
    means = [mean_over_cases(list(dice.values()), (0, 1)) for dice in found]
    cells = [f"**{mean.mean:.3f}** ({mean.low:.3f} to {mean.high:.3f})" for mean in means]
    print(f"| mean (95 % interval) | {' | '.join(cells)} |\n")
    for name, dice in zip(names[1:], found[1:], strict=True):
        changes = [dice[case] - before for case, before in found[0].items()]
        mean = mean_over_cases(changes, (-1, 1))
        better, worse = sum(one > 0 for one in changes), sum(one < 0 for one in changes)
        print(
            f"{name}: change {mean.mean:+.3f}, 95 % interval {mean.low:+.3f} to {mean.high:+.3f}; "
            f"better in {better}, worse in {worse} of {len(changes)} patients."
        )


if __name__ == "__main__":
    main()
