"""A table of an experiment as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation.attention_statistics import PUBLISHED_FOCUS_RATIOS, percent
from ..evaluation.metrics import Mean
from ..markdown import markdown_table
from ..wording import counted
from .tables import Table, TableRow

NOTES = (
    "Dice, sensitivity, specificity and precision: means over patients; a patient's figure is the "
    "mean over his cases and over the seeds. In brackets: 95 % confidence interval over patients, "
    "Student's t. Spread: standard deviation of the mean Dice between runs (folds and seeds). "
    "Difference: Dice less that of the reference, paired by patient; better: in how many patients; "
    "p: Wilcoxon's signed-rank test over patients, two-sided, corrected for the number of rows "
    "(Holm); it is about other patients, not about other runs of the training, for which there are "
    "seeds. Gates: focus ratio is the share of voxels with alpha above 0.5, beside that published "
    "for Attention U-Net; alpha inside is the share of the sum of alpha that lies in the organ. "
    "They are means over cases, least and most are of all cases."
)


def table_lines(table: Table) -> list[str]:
    """The lines of a table with its heading, notes on failures, organs and gates."""
    comparison = table.comparison
    lines = [f"### {comparison.title}", ""]
    if not table.cells:
        return [*lines, "No seed and fold is finished in all rows yet."]
    seeds = sorted({seed for seed, _ in table.cells})
    folds = sorted({fold for _, fold in table.cells})
    lines += [
        f"{counted(len(table.cells), 'run')} a row ({counted(len(seeds), 'seed')}, "
        f"{counted(len(folds), 'fold')}), "
        f"{counted(table.patients, 'patient')}, {counted(table.cases, 'case')} held out.",
        "",
    ]
    reference = next(row.title for row in table.rows if row.key == comparison.reference)
    heading = [
        *("network", "parameters", "Dice", "spread", "sensitivity", "specificity", "precision"),
        *(f"difference to {reference}", "better", "p"),
    ]
    rows = [_cells(row) for row in table.rows]
    if comparison.published:
        # As many of the three as were published.
        measures = max(len(figures) for figures in comparison.published.values())
        heading.append(f"published {', '.join(('Dice', 'sens.', 'spec.')[:measures])}")
        for cells, row in zip(rows, table.rows, strict=True):
            figures = comparison.published.get(row.key, ())
            cells.append(", ".join(f"{figure:.2f}" for figure in figures))
    lines += [*markdown_table(heading, rows), ""]
    if len(seeds) > 1:
        lines += _by_seed(table, seeds)
    if table.unfinished:
        lines += [
            f"{table.unfinished} of {table.unfinished + len(table.cells)} seeds and folds are not "
            "finished in all rows and are left out.",
            "",
        ]
    for row in table.rows:
        lines += [f"- {row.title} failed, {failure}" for failure in row.failures]
    lines += [
        f"- {row.idle} of {counted(row.runs, 'run')} of {row.title} found nothing in any "
        "case held out, which counts as a Dice of 0. More --steps would show whether it is only "
        "slower."
        for row in table.rows
        if row.idle
    ]
    if any(row.failures or row.idle for row in table.rows):
        lines.append("")
    lines += _organs(table)
    lines += _gates(table)
    return lines


def _cells(row: TableRow) -> list[str]:
    if not row.runs:
        which = "its" if len(row.failures) == 1 else "all"
        failed = f"failed in {which} {counted(len(row.failures), 'run')}"
        return [row.title, "", failed, *[""] * 7]
    difference, better, p = "reference", "", ""
    if row.difference is not None:
        one = row.difference
        difference = _figure(one.mean, interval=True, signed=True)
        better = f"{one.better} of {one.count}"
        p = _p_value(one.p_holm)
    return [
        row.title,
        _millions(row.parameters),
        _figure(row.means["dice"], interval=True),
        "" if row.run_sd is None else f"{row.run_sd:.3f}",
        _figure(row.means["sensitivity"]),
        _figure(row.means["specificity"], digits=4),
        _figure(row.means["precision"]),
        difference,
        better,
        p,
    ]


def _figure(mean: Mean, interval: bool = False, digits: int = 3, signed: bool = False) -> str:
    if mean.mean is None:
        return "none"
    sign = "+" if signed else ""
    text = f"{mean.mean:{sign}.{digits}f}"
    if interval and mean.low is not None and mean.high is not None:
        text += f" ({mean.low:{sign}.{digits}f} to {mean.high:{sign}.{digits}f})"
    return text


def _p_value(p: float | None) -> str:
    if p is None:
        return "none"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.3g} M"


def _by_seed(table: Table, seeds: Sequence[int]) -> list[str]:
    rows = [
        [
            row.title,
            *(f"{row.seed_means[seed]:.3f}" if seed in row.seed_means else "" for seed in seeds),
        ]
        for row in table.rows
    ]
    return [*markdown_table(["Dice by seed", *(f"seed {seed}" for seed in seeds)], rows), ""]


def _organs(table: Table) -> list[str]:
    """Dice of each label, where there are several."""
    labels = list(dict.fromkeys(label for row in table.rows for label in row.label_dice))
    if not labels:
        return []
    rows = [
        [
            row.title,
            *(_figure(row.label_dice[one]) if one in row.label_dice else "" for one in labels),
        ]
        for row in table.rows
    ]
    return [*markdown_table(["Dice by label", *labels], rows), ""]


def _gates(table: Table) -> list[str]:
    """What the gates of each network do on the held-out cases."""
    gated = [(row.title, one) for row in table.rows for one in row.levels]
    if not gated:
        return []
    heading = (
        *("gates", "level", "focus ratio", "published", "alpha in the organ", "outside"),
        *("alpha inside", "organ's share", "least", "most", "verdict"),
    )
    rows = []
    for title, one in gated:
        known = one.level <= len(PUBLISHED_FOCUS_RATIOS)
        rows.append(
            [
                title,
                str(one.level),
                percent(one.focus_ratio),
                percent(PUBLISHED_FOCUS_RATIOS[one.level - 1]) if known else "",
                *("none" if x is None else f"{x:.2f}" for x in (one.inside, one.outside)),
                "none" if one.mass_inside is None else percent(one.mass_inside),
                percent(one.organ_share),
                f"{one.minimum:.2f}",
                f"{one.maximum:.2f}",
                one.verdict.value,
            ]
        )
    return [*markdown_table(heading, rows), ""]
