"""Where the gates of a network look, in figures.

For each gated level of a model on labelled scans: how far its coefficients ``alpha`` reach, how
much of the picture is above 0.5 (the focus ratio), how ``alpha`` inside the organ compares with
``alpha`` outside, and how much of all ``alpha`` lies inside. A level that is open everywhere, shut
everywhere or the same everywhere is named as such.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, TrainingError
from ..files import explain_write_errors, staged_folder
from ..markdown import markdown_table
from ..networks.focus import focus_ratio, is_open, is_shut
from ..wording import counted

if TYPE_CHECKING:
    from ..inference.progress import ProgressCallback

FLAT = 0.05
"""Difference between the least and the most alpha below which a level counts as uniform, and that
between inside and outside below which it does not tell the organ from the rest."""
PUBLISHED_FOCUS_RATIOS = (0.45, 0.25, 0.08, 0.03)
"""Of levels 1 to 4, as published (Oktay et al. 2018, summaries of it)."""


@dataclass(frozen=True)
class LevelStatistics:
    """One gated level on one case.

    Args:
        case: its name.
        level: 1 is the shallowest.
        minimum, mean, maximum: of alpha.
        focus_ratio: share of voxels with alpha above 0.5.
        inside, outside: mean alpha in the organ and in the rest; None where there is no such voxel.
        mass_inside: share of the sum of alpha that lies in the organ; None if alpha is 0 all over.
        organ_share: share of the voxels that are organ; what ``mass_inside`` would be if alpha were
            the same everywhere.
    """

    case: str
    level: int
    minimum: float
    mean: float
    maximum: float
    focus_ratio: float
    inside: float | None
    outside: float | None
    mass_inside: float | None
    organ_share: float


def level_statistics(
    case: str, level: int, alpha: np.ndarray, organ: np.ndarray
) -> LevelStatistics:
    """The figures of a level.

    Args:
        alpha: in [0, 1], (..., *spatial); several heads count as so many more voxels.
        organ: boolean, *spatial, on the same grid.

    Raises:
        ValueError: the grids differ, or the map is empty.
    """
    if alpha.shape[alpha.ndim - organ.ndim :] != organ.shape:
        raise ValueError(f"the map's grid {alpha.shape} is not the organ's {organ.shape}")
    ratio = focus_ratio(alpha)
    alpha = np.asarray(alpha, np.float64)
    within = np.broadcast_to(organ != 0, alpha.shape)
    total, in_organ = float(alpha.sum()), float(alpha[within].sum())
    count = int(np.count_nonzero(within))
    return LevelStatistics(
        case,
        level,
        minimum=float(alpha.min()),
        mean=total / alpha.size,
        maximum=float(alpha.max()),
        focus_ratio=ratio,
        inside=in_organ / count if count else None,
        outside=(total - in_organ) / (alpha.size - count) if count < alpha.size else None,
        mass_inside=in_organ / total if total else None,
        organ_share=count / alpha.size,
    )


class GateVerdict(Enum):
    """What kind of gate a level turned out to be."""

    OPEN = "open everywhere"
    SHUT = "shut everywhere"
    UNIFORM = "the same everywhere"
    ORGAN = "looks at the organ"
    ELSEWHERE = "looks away from the organ"
    INDIFFERENT = "does not tell the organ from the rest"


@dataclass(frozen=True)
class LevelSummary:
    """A level over all cases: means of the figures, the extremes of alpha, and what that says."""

    level: int
    minimum: float
    mean: float
    maximum: float
    focus_ratio: float
    inside: float | None
    outside: float | None
    mass_inside: float | None
    organ_share: float
    cases: int
    verdict: GateVerdict

    @property
    def sentence(self) -> str:
        """The verdict, for people."""
        share = f"alpha is above 0.5 in {percent(self.focus_ratio)} of the voxels"
        reach = f"alpha runs from {self.minimum:.2f} to {self.maximum:.2f}"
        if self.verdict is GateVerdict.OPEN:
            says = f"is open everywhere: {share}, so it passes its skip on nearly as a U-Net does"
        elif self.verdict is GateVerdict.SHUT:
            says = f"is shut everywhere: {share}; {reach}, so little of its skip gets through"
        elif self.verdict is GateVerdict.UNIFORM:
            says = f"is the same everywhere: {reach}, so it scales its skip and selects nothing"
        else:
            if self.inside is None or self.outside is None:
                return f"Level {self.level} {self.verdict.value}."
            where = f"alpha is {self.inside:.2f} in the organ and {self.outside:.2f} outside it"
            says = f"{self.verdict.value}: {where}; {share}"
        return f"Level {self.level} {says}."

    def to_json(self) -> dict[str, Any]:
        figures = asdict(self)
        del figures["verdict"]
        return {**figures, "finding": self.verdict.value, "sentence": self.sentence}


def summarise_levels(statistics_of_cases: Sequence[LevelStatistics]) -> tuple[LevelSummary, ...]:
    """Each level over its cases, level 1 first.

    A level is open, shut or uniform only where it is so in every case.
    """
    return tuple(
        _summary([one for one in statistics_of_cases if one.level == level])
        for level in sorted({one.level for one in statistics_of_cases})
    )


def _summary(of_level: Sequence[LevelStatistics]) -> LevelSummary:
    inside = _mean(one.inside for one in of_level)
    outside = _mean(one.outside for one in of_level)
    # The sides are compared in the cases that have both.
    ahead = [
        one.inside - one.outside
        for one in of_level
        if one.inside is not None and one.outside is not None
    ]
    if all(is_open(one.focus_ratio) for one in of_level):
        verdict = GateVerdict.OPEN
    elif all(one.maximum - one.minimum < FLAT for one in of_level):
        verdict = GateVerdict.UNIFORM
    elif all(is_shut(one.focus_ratio) for one in of_level):
        verdict = GateVerdict.SHUT
    elif not ahead or abs(statistics.fmean(ahead)) < FLAT:
        verdict = GateVerdict.INDIFFERENT
    elif statistics.fmean(ahead) > 0:
        verdict = GateVerdict.ORGAN
    else:
        verdict = GateVerdict.ELSEWHERE
    return LevelSummary(
        of_level[0].level,
        minimum=min(one.minimum for one in of_level),
        mean=statistics.fmean(one.mean for one in of_level),
        maximum=max(one.maximum for one in of_level),
        focus_ratio=statistics.fmean(one.focus_ratio for one in of_level),
        inside=inside,
        outside=outside,
        mass_inside=_mean(one.mass_inside for one in of_level),
        organ_share=statistics.fmean(one.organ_share for one in of_level),
        cases=len(of_level),
        verdict=verdict,
    )


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def percent(share: float) -> str:
    """A share for people: "45 %", "3.2 %"."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


# A model on labelled scans


@dataclass(frozen=True)
class AttentionStatistics:
    """What a model's gates do on the cases of a split."""

    model: str
    version: str
    data: str
    split: str
    cases: tuple[LevelStatistics, ...]

    @property
    def levels(self) -> tuple[LevelSummary, ...]:
        return summarise_levels(self.cases)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "data": self.data,
            "split": self.split,
            "levels": [level.to_json() for level in self.levels],
            "cases": [asdict(one) for one in self.cases],
        }

    def to_markdown(self) -> str:
        """A verdict for each level, and the figures behind it."""
        cases = sorted({one.case for one in self.cases})
        lines = [
            f"Model {self.model} {self.version}, {counted(len(cases), f'{self.split} case')} of "
            f"{self.data}: "
            f"{', '.join(cases)}.",
            "",
            *(f"- {level.sentence}" for level in self.levels),
            "",
            *attention_table(self.levels),
            "",
            *TABLE_NOTES,
        ]
        return "\n".join(lines) + "\n"


TABLE_NOTES = (
    "Extremes over all cases, the rest means over cases, within the region that the network looked "
    "at closely. Published: focus ratio of a trained network. Alpha inside: share of the sum of "
    "alpha that lies in the organ; an alpha that is the same everywhere would have the organ's "
    "share.",
)


def attention_table(levels: Sequence[LevelSummary]) -> list[str]:
    """The lines of a Markdown table, a row for each level."""
    heading = (
        *("level", "alpha, least", "mean", "most", "focus ratio", "published", "in the organ"),
        *("outside", "alpha inside", "organ's share", "verdict"),
    )
    rows = []
    for one in levels:
        known = one.level <= len(PUBLISHED_FOCUS_RATIOS)
        published = percent(PUBLISHED_FOCUS_RATIOS[one.level - 1]) if known else ""
        rows.append(
            [
                one.level,
                *(f"{alpha:.2f}" for alpha in (one.minimum, one.mean, one.maximum)),
                percent(one.focus_ratio),
                published,
                *("none" if x is None else f"{x:.2f}" for x in (one.inside, one.outside)),
                "none" if one.mass_inside is None else percent(one.mass_inside),
                percent(one.organ_share),
                one.verdict.value,
            ]
        )
    return markdown_table(heading, rows)


def measure_attention(
    model: str,
    data: Path,
    output: Path,
    *,
    split: str = "validation",
    cases: Sequence[str] = (),
    run: Path | None = None,
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> AttentionStatistics:
    """Measure a model's attention on labelled scans, and write the figures and pictures.

    Args:
        model: an installed model's name or a folder.
        data: a folder of any layout. Its labels are matched with the model's by their names.
        output: folder for ``evidence.json``, ``evidence.md``, ``levels-CASE.png`` of each case, and
            ``focus-ratios.png`` where a run is given.
        split: "validation", "train" or "all".
        cases: names of those of the split to look at; all of it unless given.
        run: folder of the training run with its ``log.jsonl``, for the focus ratios through it.

    Raises:
        InputError: an option is unknown, or the model has no gates.
        ModelError: the model cannot be loaded.
        TrainingError: the data or the log cannot be read, or the split is empty.
        OutputError: the results cannot be written; none of them are, then.
    """
    from ..datasets.loading import find_cases, find_data_set, load_case
    from ..inference.predictor import Predictor
    from ..inference.progress import ignore_progress
    from ..models import find_model, load_model
    from .attention_figures import draw_focus_ratios, draw_levels
    from .evaluate import SPLITS

    if split not in SPLITS:
        raise InputError(f"'{split}' is no split; choose one of {', '.join(SPLITS)}.")
    report = progress or ignore_progress
    curves = read_focus_ratios(run) if run is not None else None
    predictor = Predictor(load_model(find_model(model)), device)
    card = predictor.card
    if not getattr(predictor.networks["refiner"], "gates", ()):
        raise InputError(f"The model '{card.name}' has no attention gates to look at.")
    data_set = find_data_set(data)
    if not data_set.hounsfield:
        raise TrainingError(f"'{data}' holds pictures, not CT in Hounsfield units.")
    train, validation = find_cases(
        data_set.relabelled([label.name for label in card.labels], card.target)
    )
    files = {"validation": validation, "train": train, "all": [*train, *validation]}[split]
    if not files:
        raise TrainingError(f"'{data}' has no cases in the split '{split}'; choose another.")
    names = [one.name for one in files]
    for name in cases:
        if name not in names:
            raise InputError(
                f"'{name}' is no case of the split '{split}'; choose from {', '.join(names)}."
            )
    files = [one for one in files if not cases or one.name in cases]
    found: list[LevelStatistics] = []
    with staged_folder(output, ["evidence.json"]) as staged:
        folder = staged.staging
        for number, case_files in enumerate(files):
            report(number / len(files), f"Looking at {case_files.name}")
            case = load_case(case_files)
            prediction = predictor.predict(case.ct)
            organ = case.labels.array[prediction.region] == predictor.target_label
            if not prediction.found:
                continue
            for level in range(1, prediction.levels + 1):
                found.append(
                    level_statistics(case.name, level, prediction.attention_in_region(level), organ)
                )
            with explain_write_errors(output):
                draw_levels(
                    prediction,
                    case.labels.array == predictor.target_label,
                    card.intensity_window_hu,
                    folder / f"levels-{case.name}.png",
                    f"{case.name}, {card.name} {card.version}",
                )
        if not found:
            raise TrainingError(f"The model found no {card.target} in any of the cases.")
        result = AttentionStatistics(card.name, card.version, data.name, split, tuple(found))
        with explain_write_errors(output):
            if curves is not None:
                draw_focus_ratios(curves, folder / "focus-ratios.png")
            (folder / "evidence.md").write_text(result.to_markdown(), encoding="utf-8")
            names = sorted(file.name for file in folder.glob("[!.]*"))
            text = json.dumps(result.to_json(), indent=1) + "\n"
            (folder / "evidence.json").write_text(text, encoding="utf-8")
        staged.publish([*names, "evidence.json"], _pictures_before(output) - {*names})
    report(1.0, "Done")
    return result


def _pictures_before(output: Path) -> set[str]:
    """Names of the pictures that the evidence in a folder came with; no others are touched."""
    try:
        cases = json.loads((output / "evidence.json").read_text("utf-8"))["cases"]
        names = {"focus-ratios.png", *(f"levels-{one['case']}.png" for one in cases)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return names & {file.name for file in output.iterdir()}


@dataclass(frozen=True)
class FocusCurves:
    """Focus ratios through a training run.

    Args:
        steps: at which the log has them.
        ratios: one for each step, each with a ratio a level, level 1 first.
    """

    steps: tuple[int, ...]
    ratios: tuple[tuple[float, ...], ...]


def read_focus_ratios(run: Path) -> FocusCurves:
    """The focus ratios in the log of a training run: those of its training samples.

    Args:
        run: its folder, or that of one of its stages; of the whole run, the refiner's are taken.

    Raises:
        TrainingError: there is no log, or it has no focus ratios.
    """
    if not (run / "log.jsonl").exists() and (run / "refiner").is_dir():
        run = run / "refiner"
    steps, ratios = [], []
    for record in read_log(run):
        if record.get("focus_ratios"):
            steps.append(int(record["step"]))
            ratios.append(tuple(float(ratio) for ratio in record["focus_ratios"]))
    if not steps:
        if _has_gates(run):
            raise TrainingError(
                f"The log of '{run}' has no focus ratios yet, though its network has gates: no "
                "step of it was logged; train longer."
            )
        raise TrainingError(f"The log of '{run}' has no focus ratios; its network has no gates.")
    return FocusCurves(tuple(steps), tuple(ratios))


def _has_gates(run: Path) -> bool:
    """Whether the network of a stage has them, by the options that it was trained with."""
    try:
        options = json.loads((run / "options.json").read_text("utf-8"))
        return bool(options["network"]["name"] == "AttentionUNet")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_log(run: Path) -> list[dict[str, Any]]:
    """The records of a run's ``log.jsonl``, as the trainer wrote them.

    Raises:
        TrainingError: there is none, or a line is no record.
    """
    file = run / "log.jsonl"
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise TrainingError(f"'{run}' holds no log of a run: {error.strerror or error}.") from error
    try:
        records = [json.loads(line) for line in lines]
    except ValueError as error:
        raise TrainingError(f"The log '{file}' is damaged ({error}).") from error
    if not all(isinstance(record, dict) and "step" in record for record in records):
        raise TrainingError(f"'{file}' is no log of a training run.")
    return records
