"""What a click would do with other settings than those of ``inference/click_update.py``.

    python Testing/tools/measure_click_settings.py DATA [--model NAME] [--threads 2]

One click of the simulated user, in the middle of the largest error, in each of three kinds of
scans: those that the model learnt from, those held out, and patients of another data set, put
together from pictures (``measure_unseen.py``). A row for each setting: mean Dice, and in all scans
together how many millilitres the click put right and how many wrong.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

import numpy as np
import torch
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_case
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.evaluation.simulated_user import click_on_largest_error
from AttentionUNetSegmentLib.geometry.grid import Region
from AttentionUNetSegmentLib.inference import Click, Predictor, click_update, scan_segmenter
from AttentionUNetSegmentLib.inference.click_update import update_with_click
from AttentionUNetSegmentLib.inference.refinement import Refinement
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from measure_finetuning import scans

SETTINGS: dict[str, dict[str, float]] = {
    "as it is": {},
    "a click reaches 60 mm instead of 45": {"REACH_MM": 60.0},
    "a click reaches 30 mm": {"REACH_MM": 30.0},
    "pull reaches 16 mm instead of 12": {"BUMP_MM": 16.0},
    "pull reaches 20 mm": {"BUMP_MM": 20.0},
    "pull to 0.99 instead of 0.95": {"CERTAINTY": 0.99},
    "pull to 0.998": {"CERTAINTY": 0.998},
    "pull over greater differences of intensity, 0.12 instead of 0.08": {"SIMILAR": 0.12},
    "what the click changed in the network's log-odds taken 1.5 times": {"guidance": 1.5},
    "taken twice": {"guidance": 2.0},
    "taken three times": {"guidance": 3.0},
    "not taken: the network does not see the click": {"guidance": 0.0},
}


class RememberingPredictor(Predictor):
    """Runs the networks once for each scan and click, however often it is asked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.known: dict[tuple[Any, ...], Any] = {}

    def run_locator(self, scan: Any, *rest: Any) -> Any:
        return self._once(("locator",), super().run_locator, scan, *rest)

    def run_refiner(self, scan: Any, grid: Any, clicks: Sequence[Click], *rest: Any) -> Refinement:
        key = ("refiner", grid.shape, grid.ijk_to_ras.tobytes(), tuple(clicks))
        refinement = self._once(key, super().run_refiner, scan, grid, clicks, *rest)
        assert isinstance(refinement, Refinement)
        return refinement

    def _once(self, key: tuple[Any, ...], function: Any, *arguments: Any) -> Any:
        if key not in self.known:
            self.known[key] = function(*arguments)
        return self.known[key]


@contextlib.contextmanager
def setting(values: dict[str, float]) -> Iterator[None]:
    """Compute with other constants, or with more of what the network says to a click."""

    def guided(
        before: Refinement,
        seen: Refinement,
        window: Region,
        scan: torch.Tensor,
        clicks: Sequence[Click],
    ) -> Refinement:
        part = before.probability.values[(slice(None), slice(None), *window)]
        first, then = (torch.logit(one, eps=1e-4) for one in (part, seen.probability.values))
        further = (first + values["guidance"] * (then - first)).sigmoid()
        return update_with_click(before, seen.with_probability(further), window, scan, clicks)

    with contextlib.ExitStack() as patches:
        for name, value in values.items():
            if name == "guidance":
                patches.enter_context(
                    mock.patch.object(scan_segmenter, "update_with_click", guided)
                )
            else:
                patches.enter_context(mock.patch.object(click_update, name, value))
        yield


@dataclass
class Outcome:
    """Of a setting, over the scans of one kind."""

    dice: list[float] = field(default_factory=list)
    right_ml: float = 0.0
    wrong_ml: float = 0.0


def kinds_of_scans(data: Path, predictor: Predictor) -> dict[str, list[LabelledCase]]:
    found = find_data_set(data).relabelled([one.name for one in predictor.card.labels])
    train, validation = find_cases(found)
    return {
        "learnt from": [load_case(one) for one in train if one.kind == "scan"],
        "held out": [load_case(one) for one in validation],
        "another data set": scans(data / "pancreas-ct-slices"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    predictor = RememberingPredictor(load_model(find_model(arguments.model)), "cpu", "float32")
    kinds = kinds_of_scans(arguments.data, predictor)
    without = {kind: Outcome() for kind in kinds}
    outcomes = {name: {kind: Outcome() for kind in kinds} for name in SETTINGS}
    for kind, cases in kinds.items():
        for case in cases:
            predictor.known.clear()
            truth = case.labels.array == predictor.target_label
            before = Session(predictor, case.ct).predict().mask != 0
            click = click_on_largest_error(before, truth, case.ct)
            if not before.any() or click is None:
                continue
            without[kind].dice.append(dice(before, truth))
            for name, values in SETTINGS.items():
                with setting(values):
                    after = Session(predictor, case.ct).predict([click]).mask != 0
                outcome = outcomes[name][kind]
                outcome.dice.append(dice(after, truth))
                ml, changed = case.ct.voxel_volume_ml, after != before
                outcome.right_ml += ml * int(np.count_nonzero(changed & (after == truth)))
                outcome.wrong_ml += ml * int(np.count_nonzero(changed & (after != truth)))
    print(f"Model {predictor.card.name} {predictor.card.version}, float32, CPU, one click.\n")
    print("| | " + " | ".join(f"{kind} ({len(without[kind].dice)})" for kind in kinds) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    print("| no click | " + " | ".join(f"{fmean(one.dice):.3f}" for one in without.values()) + " |")
    for name, of_kinds in outcomes.items():
        cells = [
            f"{fmean(one.dice):.3f} (+{one.right_ml:.0f} -{one.wrong_ml:.0f} mL)"
            for one in of_kinds.values()
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
