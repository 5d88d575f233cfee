"""How good a model is on labelled scans, without a click and with clicks of a simulated user."""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..inference.clicks import Click
from ..inference.predictor import Predictor
from ..inference.progress import ProgressCallback, ignore_progress
from ..inference.session import Session
from ..inference.volume import Volume
from ..models import find_model, load_model, save_model
from .datasets import LabelledCase, find_cases, load_case
from .metrics import Scores, score
from .trainer import replace_text

SPLITS = ("validation", "train", "all")


@dataclass(frozen=True)
class CaseResult:
    """One case with a number of clicks."""

    case: str
    clicks: int
    scores: Scores
    focus_ratios: tuple[float, ...]
    attention_inside: tuple[float, ...]
    attention_outside: tuple[float, ...]
    elapsed_s: float
    device: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on the cases of a split."""

    model: str
    version: str
    weights_sha256: str
    split: str
    machine: str
    results: tuple[CaseResult, ...]

    @property
    def click_counts(self) -> list[int]:
        return sorted({result.clicks for result in self.results})

    def with_clicks(self, clicks: int) -> list[CaseResult]:
        return [result for result in self.results if result.clicks == clicks]

    def mean_dice(self, clicks: int = 0) -> float:
        return statistics.fmean(result.scores.dice for result in self.with_clicks(clicks))

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
            "split": self.split,
            "machine": self.machine,
            "mean_dice": {str(clicks): self.mean_dice(clicks) for clicks in self.click_counts},
            "cases": [
                {
                    "case": result.case,
                    "clicks": result.clicks,
                    **result.scores.to_json(),
                    "focus_ratios": list(result.focus_ratios),
                    "attention_inside": list(result.attention_inside),
                    "attention_outside": list(result.attention_outside),
                    "elapsed_s": result.elapsed_s,
                    "warnings": list(result.warnings),
                }
                for result in self.results
            ],
        }

    def figures(self) -> dict[str, Any]:
        """What a card tells: means, and each case, for every number of clicks."""
        rounded = {"dice": 3, "sensitivity": 3, "specificity": 5, "hausdorff95_mm": 1}
        return {
            "split": self.split,
            "machine": self.machine,
            "focus_ratios": [
                round(statistics.fmean(ratios), 3)
                for ratios in zip(
                    *(result.focus_ratios for result in self.with_clicks(0)), strict=True
                )
            ],
            "clicks": {
                str(clicks): {
                    "mean": _rounded(self.means(clicks), rounded),
                    "cases": {
                        result.case: _rounded(result.scores.to_json(), rounded)
                        for result in self.with_clicks(clicks)
                    },
                }
                for clicks in self.click_counts
            },
        }

    def to_markdown(self) -> str:
        """A table, a row for each case and number of clicks, with the means below."""
        lines = [
            f"Model {self.model} {self.version}, {self.split} cases, {self.machine}.",
            "",
            "| case | clicks | Dice | sensitivity | specificity | HD95, mm | volume, mL | truth |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for result in self.results:
            scores = result.scores
            lines.append(
                f"| {result.case} | {result.clicks} | {scores.dice:.3f} | {scores.sensitivity:.3f} "
                f"| {scores.specificity:.4f} | {_distance(scores.hausdorff95_mm)} "
                f"| {scores.volume_ml:.0f} | {scores.true_volume_ml:.0f} |"
            )
        for clicks in self.click_counts:
            means = self.means(clicks)
            lines.append(
                f"| **mean** | {clicks} | **{means['dice']:.3f}** | {means['sensitivity']:.3f} "
                f"| {means['specificity']:.4f} | {_distance(means['hausdorff95_mm'])} | | |"
            )
        return "\n".join(lines) + "\n"

    def means(self, clicks: int) -> dict[str, Any]:
        """Means over the cases; the distance's only where every case has one."""
        scores = [result.scores for result in self.with_clicks(clicks)]
        distances = [one.hausdorff95_mm for one in scores]
        known = [distance for distance in distances if distance is not None]
        return {
            "dice": statistics.fmean(one.dice for one in scores),
            "sensitivity": statistics.fmean(one.sensitivity for one in scores),
            "specificity": statistics.fmean(one.specificity for one in scores),
            "hausdorff95_mm": statistics.fmean(known) if len(known) == len(distances) else None,
        }


def _rounded(values: Mapping[str, float | None], digits: Mapping[str, int]) -> dict[str, Any]:
    return {
        name: None if (value := values[name]) is None else round(value, places)
        for name, places in digits.items()
    }


def _distance(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def evaluate_model(
    model: str,
    data: Path,
    output: Path | None = None,
    *,
    split: str = "validation",
    clicks: int = 1,
    device: str = "auto",
    write_card: bool = False,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Segment labelled scans and score the results.

    Args:
        model: an installed model's name or a folder.
        data: as ``train`` reads it.
        output: folder for ``evaluation.json`` and ``evaluation.md``.
        split: "validation", "train" or "all".
        clicks: up to how many clicks the simulated user adds, one after the other.
        write_card: write the figures into the model's card, in place of those of the same split.

    Raises:
        InputError: an option is unknown.
        ModelError: the model cannot be loaded.
        TrainingError: the data cannot be read.
    """
    if split not in SPLITS:
        raise InputError(f"'{split}' is no split; choose one of {', '.join(SPLITS)}.")
    report = progress or ignore_progress
    predictor = Predictor(load_model(find_model(model)), device)
    train, validation = find_cases(data)
    scans = [case for case in train if case.kind == "scan"]
    files = {"validation": validation, "train": scans, "all": [*scans, *validation]}[split]
    results: list[CaseResult] = []
    for number, case_files in enumerate(files):
        report(number / max(len(files), 1), f"Evaluating {case_files.name}")
        results.extend(evaluate_case(predictor, load_case(case_files), clicks))
    weights = predictor.card.weights
    evaluation = Evaluation(
        predictor.card.name,
        predictor.card.version,
        weights.sha256 if weights else "",
        split,
        f"{platform.system()} {platform.machine()}, {results[0].device if results else ''}",
        tuple(results),
    )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        replace_text(output / "evaluation.json", json.dumps(evaluation.to_json(), indent=1) + "\n")
        replace_text(output / "evaluation.md", evaluation.to_markdown())
    if write_card:
        model_folder = predictor.model.folder
        figures = {**predictor.card.figures, split: evaluation.figures()}
        card = dataclasses.replace(predictor.card, figures=figures)
        save_model(model_folder, card, predictor.model.networks)
    report(1.0, "Done")
    return evaluation


def evaluate_case(predictor: Predictor, case: LabelledCase, clicks: int) -> list[CaseResult]:
    """A case without a click, then with one more click at a time where the result is most wrong."""
    truth = case.labels.array == predictor.target_label
    session = Session(predictor, case.ct)
    placed: list[Click] = []
    results = []
    for count in range(clicks + 1):
        prediction = session.predict(placed)
        inside, outside = [], []
        for level in range(1, prediction.levels + 1):
            alpha = prediction.attention_in_region(level)
            organ = truth[prediction.region]
            inside.append(float(alpha[organ].mean()) if organ.any() else 0.0)
            outside.append(float(alpha[~organ].mean()) if not organ.all() else 0.0)
        result = CaseResult(
            case.name,
            count,
            score(prediction.mask, truth, case.ct),
            prediction.focus_ratios,
            tuple(inside),
            tuple(outside),
            prediction.timings_s["total"],
            prediction.device,
            prediction.warnings,
        )
        results.append(result)
        if count < clicks:
            click = click_on_largest_error(prediction.mask != 0, truth, case.ct)
            if click is None:
                # Nothing is wrong, so nothing would be clicked: the result stays what it is.
                more = range(count + 1, clicks + 1)
                return [*results, *(dataclasses.replace(result, clicks=n) for n in more)]
            placed.append(click)
    return results


def click_on_largest_error(mask: np.ndarray, truth: np.ndarray, place: Volume) -> Click | None:
    """Where a user would click next: the deepest point of the largest wrong piece.

    Args:
        mask, truth: boolean (k, j, i).
        place: a volume on that grid.

    Returns:
        None where nothing is wrong.
    """
    from scipy import ndimage

    best: tuple[int, np.ndarray, bool] | None = None
    for wrong, inside in ((truth & ~mask, True), (mask & ~truth, False)):
        labels, count = ndimage.label(wrong)
        if count == 0:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        largest = int(sizes.argmax())
        if best is None or sizes[largest] > best[0]:
            best = (int(sizes[largest]), labels == largest + 1, inside)
    if best is None:
        return None
    _, piece, inside = best
    # A rim of nothing around the scan: depth counts from its border too.
    box = ndimage.find_objects(piece.astype(np.uint8))[0]
    padded = np.pad(piece[box], 1)
    depth = ndimage.distance_transform_edt(padded, sampling=list(reversed(place.spacing_mm)))
    at = np.array(np.unravel_index(int(depth.argmax()), depth.shape)) - 1
    k, j, i = (int(offset) + part.start for offset, part in zip(at, box, strict=True))
    r, a, s = (place.ijk_to_ras @ np.array([i, j, k, 1.0]))[:3]
    return Click((float(r), float(a), float(s)), inside)
