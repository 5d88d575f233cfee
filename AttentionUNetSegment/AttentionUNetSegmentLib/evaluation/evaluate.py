"""How good a model is on labelled scans, without a click and with clicks of a simulated user."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.loading import LabelledCase, find_cases, find_data_set, load_case
from ..datasets.splits import kept_fold, load_splits
from ..errors import InputError, TrainingError
from ..files import explain_write_errors, require_takes_results, staged_folder
from ..inference.clicks import Click
from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..inference.progress import ProgressCallback, ignore_progress
from ..inference.session import Session
from ..markdown import markdown_table
from ..models import LARGEST_BYTES, find_model, load_model, require_writable, save_model
from ..networks.precision import BFLOAT16, FLOAT32
from ..wording import counted
from .error_figures import CaseErrors, draw_errors, find_worst_slices
from .metrics import Mean, Scores, dice, mean_over_cases, score
from .robustness import Robustness, measure_robustness
from .simulated_user import HumanUser, User, click_on_largest_error

SPLITS = ("validation", "train", "all")
IDEAL, HUMAN = "ideal", "human"
USERS = (IDEAL, HUMAN)
WORSE = 0.005
"""Of Dice, that a click costs before it counts as one that made the result worse."""
CLICK_FIGURE = "clicks.png"


@dataclass(frozen=True)
class CaseResult:
    """One case with a number of clicks.

    Mean attention is None where there is no voxel to take it of: inside where the labels have no
    organ in the region that was looked at, both where nothing was looked at.
    """

    case: str
    clicks: int
    scores: Scores
    focus_ratios: tuple[float, ...]
    attention_inside: tuple[float | None, ...]
    attention_outside: tuple[float | None, ...]
    elapsed_s: float
    device: str
    warnings: tuple[str, ...]
    patient: str = ""
    target_dice: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def known_focus_ratios(self) -> tuple[float | None, ...]:
        """None where nothing was looked at."""
        if {*self.attention_inside, *self.attention_outside} <= {None}:
            return (None,) * len(self.focus_ratios)
        return self.focus_ratios


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on the cases of a split."""

    model: str
    version: str
    weights_sha256: str
    split: str
    machine: str
    results: tuple[CaseResult, ...]
    precision: str = FLOAT32
    robustness: Robustness | None = None
    notes: tuple[str, ...] = ()
    user: str = IDEAL
    editor_sha256: str = ""

    @property
    def click_counts(self) -> list[int]:
        return sorted({result.clicks for result in self.results})

    def with_clicks(self, clicks: int) -> list[CaseResult]:
        return [result for result in self.results if result.clicks == clicks]

    def mean_dice(self, clicks: int = 0) -> float:
        mean = self.means(clicks)["dice"].mean
        assert mean is not None  # Dice is defined everywhere
        return mean

    def median_dice(self, clicks: int) -> float:
        return statistics.median(result.scores.dice for result in self.with_clicks(clicks))

    def share_worse(self) -> float | None:
        """Of all clicks, those after which Dice was lower by more than :data:`WORSE`; None where
        there are none."""
        dice = {(one.case, one.clicks): one.scores.dice for one in self.results}
        changes = [
            after - dice[case, clicks - 1]
            for (case, clicks), after in dice.items()
            if (case, clicks - 1) in dice
        ]
        return sum(change < -WORSE for change in changes) / len(changes) if changes else None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
            **({"editor_sha256": self.editor_sha256} if self.editor_sha256 else {}),
            "user": self.user,
            "median_dice": {str(clicks): self.median_dice(clicks) for clicks in self.click_counts},
            "share_of_clicks_worse": self.share_worse(),
            "split": self.split,
            "machine": self.machine,
            "precision": self.precision,
            **({"robustness": self.robustness.to_json()} if self.robustness else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"target_dice": self.target_dice()} if self.target_dice() else {}),
            "mean_dice": {str(clicks): self.mean_dice(clicks) for clicks in self.click_counts},
            "means": {
                str(clicks): {
                    name: dataclasses.asdict(mean) for name, mean in self.means(clicks).items()
                }
                for clicks in self.click_counts
            },
            "cases": [
                {
                    "case": result.case,
                    "patient": result.patient or result.case,
                    "clicks": result.clicks,
                    **result.scores.to_json(),
                    "focus_ratios": list(result.focus_ratios),
                    "attention_inside": list(result.attention_inside),
                    "attention_outside": list(result.attention_outside),
                    "elapsed_s": result.elapsed_s,
                    "warnings": list(result.warnings),
                    **({"target_dice": dict(result.target_dice)} if result.target_dice else {}),
                }
                for result in self.results
            ],
        }

    def figures(self) -> dict[str, Any]:
        """What a card tells: means, and each case, for some numbers of clicks."""
        return {
            "split": self.split,
            "machine": self.machine,
            "precision": self.precision,
            **self._attention(),
            **({"target_dice": self.target_dice()} if self.target_dice() else {}),
            **({"robustness": self.robustness.figures()} if self.robustness else {}),
            "clicks": {
                str(clicks): {
                    "mean": _rounded({name: one.mean for name, one in means.items()}),
                    "interval95": {
                        name: [_round(name, one.low), _round(name, one.high)]
                        for name, one in means.items()
                    },
                    "cases": {
                        result.case: _rounded(result.scores.to_json())
                        for result in self.with_clicks(clicks)
                    },
                }
                for clicks in self.click_counts
                if clicks in CARD_CLICKS
                for means in (self.means(clicks),)
            },
        }

    def target_dice(self) -> dict[str, float]:
        """Mean Dice of each further target, without a click, over the cases that have it or in
        which it was found."""
        found: dict[str, list[float]] = {}
        for result in self.with_clicks(0):
            for name, value in result.target_dice.items():
                found.setdefault(name, []).append(value)
        return {name: round(statistics.fmean(values), 3) for name, values in found.items()}

    def _attention(self) -> dict[str, list[float | None]]:
        """Without a click, by level: focus ratio, and mean alpha in the organ and around it, each
        over the cases that have it."""
        values = {
            "focus_ratios": [one.known_focus_ratios for one in self.with_clicks(0)],
            "attention_inside": [one.attention_inside for one in self.with_clicks(0)],
            "attention_outside": [one.attention_outside for one in self.with_clicks(0)],
        }
        return {
            name: [_known_mean(of_level) for of_level in zip(*of_cases, strict=True)]
            for name, of_cases in values.items()
        }

    def to_markdown(self) -> str:
        """A table, a row for each case and number of clicks, with the means below; then where the
        attention lies, and what changes of the scan cost, if that was measured."""
        rows: list[list[object]] = []
        for result in self.results:
            scores = result.scores.to_json()
            cells = [measure.text(scores[name]) for name, measure in MEASURES.items()]
            volumes = (result.scores.volume_ml, result.scores.true_volume_ml)
            rows.append([result.case, result.clicks, *cells, *(f"{ml:.0f}" for ml in volumes)])
        notes = [
            "Interval: 95 % confidence interval of the mean over patients, Student's t. Distances: "
            "from surface to surface, mm. Difference: volume less true volume."
        ]
        for clicks in self.click_counts:
            means = self.means(clicks)
            cells = [measure.text(means[name].mean) for name, measure in MEASURES.items()]
            cells[0] = f"**{cells[0]}**"
            rows.append(["**mean**", clicks, *cells])
            cells = [
                "" if (one := means[name]).low is None else measure.interval(one)
                for name, measure in MEASURES.items()
            ]
            rows.append(["interval", clicks, *cells])
            notes += [
                f"{MEASURES[name].title} with {counted(clicks, 'click')} is not defined "
                f"in {one.undefined} of {counted(one.count + one.undefined, 'case')}, which its "
                "mean leaves out."
                for name, one in means.items()
                if one.undefined
            ]
        if (worse := self.share_worse()) is not None:
            medians = ", ".join(
                f"{self.median_dice(clicks):.3f} ({clicks})" for clicks in self.click_counts
            )
            notes.append(
                f"Clicks of the {self.user} user. Median Dice (clicks): {medians}. "
                f"{worse:.0%} of the clicks made Dice worse by more than {WORSE}."
            )
        titles = [measure.title for measure in MEASURES.values()]
        lines = [
            f"Model {self.model} {self.version}, {self.split} cases, {self.machine}, "
            f"{self.precision}.",
            "",
            *markdown_table(["case", "clicks", *titles, "volume, mL", "truth, mL"], rows),
            "",
            *notes,
            "",
        ]
        lines += [
            f"- Dice of {name}, without a click: {value:.3f} on average."
            for name, value in self.target_dice().items()
        ]
        lines += [f"- {note}" for note in self.notes]
        attention = self._attention()
        for number, values in enumerate(zip(*attention.values(), strict=True), 1):
            focus, inside, outside = (
                "none" if value is None else f"{value:.2f}" for value in values
            )
            lines.append(
                f"- Level {number}: mean attention {inside} in the organ, {outside} elsewhere in "
                f"the region; focus ratio {focus}."
            )
        if self.robustness:
            lines += ["", self.robustness.to_markdown().rstrip()]
        return "\n".join(lines).rstrip() + "\n"

    def means(self, clicks: int) -> dict[str, Mean]:
        """Means over the cases with their confidence intervals, by measure.

        A patient with several scans counts once.
        """
        results = self.with_clicks(clicks)
        scores = [result.scores.to_json() for result in results]
        patients = [result.patient or result.case for result in results]
        return {
            name: mean_over_cases([one[name] for one in scores], measure.bounds, patients)
            for name, measure in MEASURES.items()
        }


@dataclass(frozen=True)
class Measure:
    """How a measure is shown: its title, its digits, and what it can be."""

    title: str
    digits: int
    bounds: tuple[float, float]

    def text(self, value: float | None) -> str:
        return "none" if value is None else f"{value:.{self.digits}f}"

    def interval(self, mean: Mean) -> str:
        return f"{self.text(mean.low)} to {self.text(mean.high)}"


MEASURES = {
    "dice": Measure("Dice", 3, (0, 1)),
    "iou": Measure("IoU", 3, (0, 1)),
    "sensitivity": Measure("sensitivity", 3, (0, 1)),
    "specificity": Measure("specificity", 4, (0, 1)),
    "precision": Measure("precision", 3, (0, 1)),
    "hausdorff95_mm": Measure("HD95, mm", 1, (0, math.inf)),
    "mean_surface_distance_mm": Measure("ASSD, mm", 2, (0, math.inf)),
    "volume_difference_ml": Measure("difference, mL", 1, (-math.inf, math.inf)),
}
"""Those of :class:`~.metrics.Scores` that means are taken of."""

CARD_CLICKS = (0, 1, 3, 5, 10)
CARD_DIGITS = {"specificity": 5, "volume_ml": 1, "true_volume_ml": 1}


def _known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 3) if known else None


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _round(name, value) for name, value in values.items()}


def _round(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, CARD_DIGITS[name] if name in CARD_DIGITS else MEASURES[name].digits)


def evaluate_model(
    model: str,
    data: Path,
    output: Path | None = None,
    *,
    split: str = "validation",
    splits: Path | None = None,
    fold: int | None = None,
    clicks: int = 1,
    user: str = IDEAL,
    device: str = "auto",
    precision: str = "auto",
    robustness: bool = False,
    write_card: bool = False,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Segment labelled scans and score the results.

    Args:
        model: an installed model's name or a folder.
        data: a folder of any layout. Its labels are matched with the model's by their names.
        output: folder for ``evaluation.json`` and ``evaluation.md``, for ``errors.png`` with the
            worst slices of the worst cases, and for ``clicks.png`` where there are clicks.
        split: "validation", "train" or "all".
        splits: a run's ``splits.json``, to score the cases that it held out; the data set's own
            split unless given.
        fold: which of the splits in it, from 0; the one that the run used unless given.
        clicks: up to how many clicks the simulated user adds, one after the other.
        user: "ideal" clicks in the middle of the largest mistake, "human" near it, and now and
            then at the second-largest.
        precision: as of :class:`~..inference.predictor.Predictor`.
        robustness: also measure how the results change with the scan, see :mod:`.robustness`.
        write_card: write the figures into the model's card, in place of those of the same split.
            Where bfloat16 was computed in, the card also tells the mean Dice in float32, without a
            click: what the speed costs.

    Raises:
        InputError: an option is unknown.
        ModelError: the model cannot be loaded.
        TrainingError: the data cannot be read, or the split is empty.
        OutputError: the results, or the card, cannot be written; none of them are, then.
    """
    if split not in SPLITS:
        raise InputError(f"'{split}' is no split; choose one of {', '.join(SPLITS)}.")
    if user not in USERS:
        raise InputError(f"'{user}' is no user; choose one of {', '.join(USERS)}.")
    report = progress or ignore_progress
    if output is not None:
        require_takes_results(output, _files(clicks))
    predictor = Predictor(load_model(find_model(model)), device, precision)
    if write_card:
        require_writable(predictor.model.folder)
    found = find_data_set(data)
    if not found.hounsfield:
        raise TrainingError(f"'{data}' holds pictures, not CT in Hounsfield units.")
    card = predictor.card
    found = found.relabelled([label.name for label in card.labels], card.target)
    if splits is None and fold:
        raise InputError("A fold is one of a file of splits; give that file too.")
    chosen = load_splits(splits) if splits is not None else [None]
    if fold is None:
        fold = 0 if splits is None else kept_fold(splits)
    if not 0 <= fold < len(chosen):
        raise InputError(f"There is no fold {fold}; '{splits}' has 0 to {len(chosen) - 1}.")
    train, validation = find_cases(found, chosen[fold])
    # Crops beside whole scans are for training; they show no surroundings to be judged in.
    scans = [case for case in train if case.kind == "scan"] or train
    files = {"validation": validation, "train": scans, "all": [*scans, *validation]}[split]
    if not files:
        raise TrainingError(f"'{data}' has no cases in the split '{split}'; choose another.")
    notes = list(found.notes)
    known = [one.name for one in files if is_seen(one.name, card.training)]
    if split == "validation" and known:
        notes.append(
            f"{card.name} has learnt from {len(known)} of the {counted(len(files), 'case')} "
            f"('{known[0]}'), so that these figures are too good; give the splits.json of its run "
            "with --splits."
        )
    results: list[CaseResult] = []
    errors: list[CaseErrors] = []
    window = predictor.card.intensity_window_hu
    share = 0.5 if robustness else 1.0
    for number, case_files in enumerate(files):
        report(share * number / len(files), f"Evaluating {case_files.name}")
        case = load_case(case_files)

        def keep_errors(result: CaseResult, mask: np.ndarray, case: LabelledCase = case) -> None:
            if output is not None and result.clicks == 0:
                truth = true_mask(predictor, case, card.target)
                errors.append(
                    find_worst_slices(
                        case.name, result.scores.dice, case.ct, truth, mask != 0, window
                    )
                )

        person = HumanUser(number) if user == HUMAN else click_on_largest_error
        try:
            results.extend(evaluate_case(predictor, case, clicks, keep_errors, person))
        except InputError as error:
            raise TrainingError(f"Case '{case.name}': {error}") from error
    weights = predictor.card.weights
    evaluation = Evaluation(
        predictor.card.name,
        predictor.card.version,
        weights.sha256 if weights else "",
        split,
        f"{platform.system()} {platform.machine()}, {results[0].device}",
        tuple(results),
        BFLOAT16 if predictor.bfloat16 else FLOAT32,
        measure_robustness(
            predictor,
            [load_case(one) for one in files],
            lambda done, text: report(0.5 + 0.5 * done, f"Evaluating {text}"),
        )
        if robustness
        else None,
        tuple(notes),
        user,
        predictor.card.editor.sha256 if predictor.card.editor else "",
    )
    if output is not None:
        _write(evaluation, errors, output, _files(clicks))
    if write_card:
        model_folder = predictor.model.folder
        of_split = evaluation.figures()
        if predictor.bfloat16:
            predictor.precision = FLOAT32
            exact = [evaluate_case(predictor, load_case(one), 0)[0] for one in files]
            mean = dataclasses.replace(evaluation, results=tuple(exact)).mean_dice()
            of_split["mean_dice_float32"] = round(mean, 3)
        figures = {**predictor.card.figures, split: of_split}
        card = dataclasses.replace(predictor.card, figures=figures)
        save_model(model_folder, card, predictor.model.networks, LARGEST_BYTES)
    report(1.0, "Done")
    return evaluation


def _files(clicks: int) -> list[str]:
    """Names of what is written, the figures last."""
    return ["errors.png", *([CLICK_FIGURE] if clicks else []), "evaluation.md", "evaluation.json"]


def is_seen(name: str, training: Mapping[str, Any]) -> bool:
    """Whether a case is named anywhere in what a card tells of the training, but held out."""

    def names(content: Any) -> bool:
        if isinstance(content, Mapping):
            return any(names(value) for key, value in content.items() if key != "held_out")
        if isinstance(content, (list, tuple)):
            return any(names(value) for value in content)
        return bool(content == name)

    return names(training)


def _write(
    evaluation: Evaluation, errors: Sequence[CaseErrors], output: Path, names: Sequence[str]
) -> None:
    """Write all files or none, in the place of those of an earlier evaluation."""
    with staged_folder(output, names) as staged:
        with explain_write_errors(output):
            draw_errors(errors, staged.staging / "errors.png")
            if CLICK_FIGURE in names:
                from .click_figure import draw_clicks

                draw_clicks(evaluation, staged.staging / CLICK_FIGURE)
            (staged.staging / "evaluation.md").write_text(evaluation.to_markdown(), "utf-8")
            text = json.dumps(evaluation.to_json(), indent=1) + "\n"
            (staged.staging / "evaluation.json").write_text(text, "utf-8")
        staged.publish(names, {CLICK_FIGURE} - {*names})


def evaluate_case(
    predictor: Predictor,
    case: LabelledCase,
    clicks: int,
    on_answer: Callable[[CaseResult, np.ndarray], None] = lambda result, mask: None,
    user: User = click_on_largest_error,
) -> list[CaseResult]:
    """A case without a click, then with one more click at a time where the result is most wrong.

    Args:
        on_answer: told each result that was computed, with its mask on the scan's grid.
        user: who clicks.
    """
    card = predictor.card
    truth = true_mask(predictor, case, card.target)
    session = Session(predictor, case.ct)
    placed: list[Click] = []
    results = []
    for count in range(clicks + 1):
        prediction = session.predict(placed)
        inside, outside = [], []
        for level in range(1, prediction.levels + 1):
            alpha = prediction.attention_in_region(level)
            organ = truth[prediction.region]
            inside.append(float(alpha[organ].mean()) if organ.any() else None)
            outside.append(float(alpha[~organ].mean()) if not organ.all() else None)
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
            case.patient,
            _target_dice(predictor, case, prediction) if count == 0 else {},
        )
        results.append(result)
        on_answer(result, prediction.mask)
        if count < clicks:
            click = user(prediction.mask != 0, truth, case.ct)
            if click is None:
                # Nothing is wrong, so nothing would be clicked: the result stays what it is.
                more = range(count + 1, clicks + 1)
                return [*results, *(dataclasses.replace(result, clicks=n) for n in more)]
            placed.append(click)
    return results


def true_mask(predictor: Predictor, case: LabelledCase, target: str) -> np.ndarray:
    """Where a target is by the case's labels: bool (k, j, i), with what is part of it."""
    return np.isin(case.labels.array, predictor.target_channels[target])


def _target_dice(
    predictor: Predictor, case: LabelledCase, prediction: Prediction
) -> dict[str, float]:
    """Dice of each further target that the case has, or that was found in it."""
    scores = {}
    for other in prediction.others:
        truth, mask = true_mask(predictor, case, other.target), other.mask != 0
        if truth.any() or mask.any():
            scores[other.target] = dice(mask, truth)
    return scores
