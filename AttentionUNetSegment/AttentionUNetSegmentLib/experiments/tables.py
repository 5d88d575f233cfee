"""From the results of runs to a table: means, intervals, and paired differences.

The unit is the patient. A patient's score with a network is the mean over his cases and over the
seeds, so that neither many slices of one person nor many seeds pass for many people.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..evaluation.attention_statistics import LevelSummary, summarise_levels
from ..evaluation.metrics import Mean, mean_over_cases
from .results import MEASURES, Run, RunResult
from .variants import VARIANTS, Comparison

FEWEST_PAIRS = 6
"""With fewer pairs not even the clearest difference reaches p = 0.05 in Wilcoxon's test."""


@dataclass(frozen=True)
class Difference:
    """Dice of a row less that of the reference, patient by patient.

    Args:
        mean: with its 95 % confidence interval over patients.
        better: how many patients have more with this row; ``count`` of how many.
        p: of Wilcoxon's signed-rank test, two-sided; None with too few pairs or no difference.
        p_holm: corrected for the number of rows of the table (Holm 1979).
    """

    mean: Mean
    better: int
    count: int
    p: float | None
    p_holm: float | None = None


@dataclass(frozen=True)
class TableRow:
    """A network over the cells (seeds and folds) of a table.

    Args:
        runs: that succeeded; none leaves all that follows empty.
        failures: what went wrong in the others, a sentence each.
        idle: of the runs that succeeded, those that found nothing in any case they held out.
        means: by measure, with 95 % confidence intervals over patients.
        run_sd: standard deviation of the mean Dice between runs (folds and seeds).
        seed_means: mean Dice over all patients, by seed.
        label_dice: of each label of a data set with several.
        levels: what its gates do on the held-out cases.
    """

    key: str
    title: str
    parameters: int
    runs: int
    failures: tuple[str, ...]
    idle: int
    means: Mapping[str, Mean]
    run_sd: float | None
    seed_means: Mapping[int, float]
    label_dice: Mapping[str, Mean]
    levels: tuple[LevelSummary, ...]
    elapsed_s: float | None
    difference: Difference | None = None


@dataclass(frozen=True)
class Table:
    """A comparison's figures.

    Args:
        cells: seeds and folds that all rows have in common.
        unfinished: cells that some row still lacks, which are left out of all rows.
    """

    comparison: Comparison
    rows: tuple[TableRow, ...]
    cells: tuple[tuple[int, int], ...]
    unfinished: int
    patients: int
    cases: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.comparison.name,
            "title": self.comparison.title,
            "reference": self.comparison.reference,
            "published": dict(self.comparison.published),
            "cells": [{"seed": seed, "fold": fold} for seed, fold in self.cells],
            "unfinished_cells": self.unfinished,
            "patients": self.patients,
            "cases": self.cases,
            "rows": [
                {**asdict(row), "levels": [level.to_json() for level in row.levels]}
                for row in self.rows
            ],
        }


def make_table(
    comparison: Comparison, results: Iterable[RunResult], wanted: Iterable[Run]
) -> Table:
    """Compute the rows of a table.

    Args:
        results: of finished runs, failed ones too; others than the comparison's are passed over.
        wanted: all runs that were asked for. A cell that one row lacks is left out of all rows, so
            that all of them are judged on the same cases.
    """
    finished = {(one.run.variant, one.run.cell): one for one in results}
    asked = sorted({run.cell for run in wanted})
    cells = tuple(
        cell for cell in asked if all((key, cell) in finished for key in comparison.variants)
    )
    by_row = {
        key: [finished[key, cell] for cell in cells if not finished[key, cell].failure]
        for key in comparison.variants
    }
    rows = []
    for key in comparison.variants:
        row = _row(key, [finished[key, cell] for cell in cells])
        if key != comparison.reference:
            row = replace(row, difference=_difference(by_row[key], by_row[comparison.reference]))
        rows.append(row)
    seen = {
        (case.patient, case.case)
        for of_row in by_row.values()
        for one in of_row
        for case in one.cases
    }
    return Table(
        comparison,
        _corrected(rows),
        cells,
        len(asked) - len(cells),
        len({patient for patient, _ in seen}),
        len(seen),
    )


def _row(key: str, results: Sequence[RunResult]) -> TableRow:
    good = [one for one in results if not one.failure]
    cases = [case for one in good for case in one.cases]
    patients = [case.patient for case in cases]
    means = {
        name: mean_over_cases([case.scores[name] for case in cases], (0, 1), patients)
        for name in MEASURES
    }
    seeds = sorted({one.run.seed for one in good})
    seed_means = {}
    for seed in seeds:
        of_seed = [case for one in good if one.run.seed == seed for case in one.cases]
        mean = mean_over_cases(
            [case.scores["dice"] for case in of_seed], (0, 1), [case.patient for case in of_seed]
        ).mean
        assert mean is not None
        seed_means[seed] = mean
    labels = list(dict.fromkeys(name for case in cases for name in case.label_dice))
    return TableRow(
        key,
        VARIANTS[key].title,
        parameters=good[0].parameters if good else 0,
        runs=len(good),
        failures=tuple(
            f"seed {one.run.seed}, fold {one.run.fold}: {one.failure}"
            for one in results
            if one.failure
        ),
        idle=sum(one.dice == 0 for one in good),
        means=means,
        run_sd=statistics.stdev(one.dice for one in good) if len(good) > 1 else None,
        seed_means=seed_means,
        label_dice={
            name: mean_over_cases([case.label_dice.get(name) for case in cases], (0, 1), patients)
            for name in labels
        }
        if len(labels) > 1
        else {},
        levels=summarise_levels([level for one in good for level in one.attention]),
        elapsed_s=statistics.fmean(one.elapsed_s for one in good) if good else None,
    )


def _difference(ours: Sequence[RunResult], theirs: Sequence[RunResult]) -> Difference | None:
    """Paired over the cases of the runs that succeeded on both sides."""
    from scipy import stats

    reference = {
        (one.run.cell, case.case): case.scores["dice"] for one in theirs for case in one.cases
    }
    by_patient: dict[str, list[float]] = {}
    for one in ours:
        for case in one.cases:
            dice, other = case.scores["dice"], reference.get((one.run.cell, case.case))
            if dice is not None and other is not None:
                by_patient.setdefault(case.patient, []).append(dice - other)
    if not by_patient:
        return None
    paired = [statistics.fmean(values) for values in by_patient.values()]
    p = None
    if len(paired) >= FEWEST_PAIRS and any(paired):
        p = float(stats.wilcoxon(paired).pvalue)
    return Difference(
        mean_over_cases(paired, (-1, 1)), sum(value > 0 for value in paired), len(paired), p
    )


def _corrected(rows: Sequence[TableRow]) -> tuple[TableRow, ...]:
    """Holm's correction over the rows that were tested."""
    tested = {
        row.key: row.difference.p
        for row in rows
        if row.difference is not None and row.difference.p is not None
    }
    corrected = holm(tested)
    return tuple(
        replace(row, difference=replace(row.difference, p_holm=corrected[row.key]))
        if row.difference is not None and row.key in corrected
        else row
        for row in rows
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for their number: step-down, never below that of a smaller one."""
    corrected, least = {}, 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for index, (key, p) in enumerate(ordered):
        least = max(least, min((len(ordered) - index) * p, 1.0))
        corrected[key] = least
    return corrected
