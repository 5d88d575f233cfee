"""An experiment from data to tables: which runs there are, which are left, and what came out."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.cases import DataSet
from ..datasets.splits import SPLITS_FILE, Split, default_split, k_fold, load_splits, save_splits
from ..errors import InputError, OutputError, TrainingError
from ..files import locked_folder, replace_text
from ..inference.progress import ProgressCallback, ignore_progress
from ..networks.precision import parse_precision
from ..wording import counted, duration
from .markdown import NOTES, table_lines
from .pictures import draw_attention, draw_curves, draw_focus, draw_predictions
from .results import Run, RunResult, load_result, save_result
from .runs import Settings, TrainingJob, find_experiment_data
from .tables import Table, make_table
from .variants import EXPERIMENTS, Comparison, choose_comparisons
from .workers import do_runs

SETTINGS_FILE = "experiment.json"
RUNS_FOLDER = "runs"


@dataclass(frozen=True)
class Report:
    """What an experiment has to show so far.

    Args:
        failures: of runs, a sentence each.
        unfinished: runs that are still to be done.
    """

    experiment: str
    tables: tuple[Table, ...]
    failures: tuple[str, ...]
    unfinished: int
    text: str


def run_experiment(
    experiment: str,
    data: Path,
    folder: Path,
    settings: Settings,
    *,
    networks: Sequence[str] = (),
    folds: int = 5,
    seeds: int = 3,
    workers: int = 1,
    device: str = "auto",
    progress: ProgressCallback | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Train and judge the networks of an experiment, and write its tables and pictures.

    All networks with the first seed come first, then all with the second, so that there is a whole
    table early. ``compare`` and ``ablate`` share their runs if they share the folder.

    Args:
        experiment: "compare", "ablate" or "lesion".
        data: a folder of any layout.
        folder: of the experiment; the tables (``compare.md``, ``compare.json``) and the pictures
            appear in it, and each run has a folder below ``runs``.
        settings: equal for all runs; those of an earlier call in the same folder must be the same.
        networks: keys of :data:`VARIANTS` to do; all of the experiment unless given.
        folds: parts that the patients are split into; 1 takes the data set's own split.
        seeds: how many; more than in an earlier call add to it.
        workers: processes, of one thread each if there are several.
        tell: told a line for each run that is done.

    Raises:
        InputError: an option is wrong.
        TrainingError: the data cannot be used, or the folder holds another experiment.
        OutputError: the folder cannot be written to.
    """
    if experiment not in EXPERIMENTS:
        raise InputError(
            f"'{experiment}' is no experiment; choose one of {', '.join(EXPERIMENTS)}."
        )
    for name, value in (("folds", folds), ("seeds", seeds), ("workers", workers)):
        if value < 1:
            raise InputError(f"The number of {name} must be at least 1.")
    comparisons = choose_comparisons(experiment, tuple(networks))
    report = progress or ignore_progress
    found = find_experiment_data(data, settings.target, settings.crops)
    if found.problems:
        raise TrainingError(f"{found.problems[0]} Run 'check-data' for all that is wrong.")
    settings.check(found)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(folder):
            splits = _prepare_splits(found, folder, settings, folds)
            runs = _runs(comparisons, seeds, len(splits))
            job = TrainingJob(settings, data, tuple(splits), folder / RUNS_FOLDER, device)
            _do_what_is_left(job, runs, folder, workers, report, tell)
            report(1.0, "Writing the tables")
            return write_report(experiment, folder, runs, comparisons)


def _prepare_splits(found: DataSet, folder: Path, settings: Settings, folds: int) -> list[Split]:
    """The splits of an experiment; they and its settings stay as they were the first time."""
    _keep_settings(folder / SETTINGS_FILE, {**settings.to_json(), "folds": folds})
    file = folder / SPLITS_FILE
    if not file.exists():
        splits = [default_split(found)] if folds == 1 else k_fold(found.cases, folds)
        save_splits(file, splits, data=settings.data, by="patient")
    splits = load_splits(file)
    now = {case.name for case in found.cases}
    changed = sorted(now ^ {*splits[0].train, *splits[0].validation})
    if changed:
        raise TrainingError(
            f"'{folder}' holds an experiment on other cases ('{changed[0]}' is "
            f"{'new' if changed[0] in now else 'gone'}); choose another folder or the same cases."
        )
    return splits


def _keep_settings(file: Path, settings: dict[str, Any]) -> None:
    settings = json.loads(json.dumps(settings))
    if file.exists():
        before = json.loads(file.read_text("utf-8"))
        if "precision" in before:  # which was spelled otherwise once
            before["precision"] = parse_precision(before["precision"])
        changed = sorted(
            key for key in {*before, *settings} if before.get(key) != settings.get(key)
        )
        if changed:
            raise TrainingError(
                f"'{file.parent}' holds an experiment with other settings ({', '.join(changed)}); "
                "choose another folder or the same settings."
            )
    replace_text(file, json.dumps(settings, indent=1) + "\n")


def _runs(comparisons: Sequence[Comparison], seeds: int, folds: int) -> list[Run]:
    """All runs, seed by seed and fold by fold; a network of two tables is run once."""
    keys = list(dict.fromkeys(key for table in comparisons for key in table.variants))
    return [Run(key, seed, fold) for seed in range(seeds) for fold in range(folds) for key in keys]


def _do_what_is_left(
    job: TrainingJob,
    runs: Sequence[Run],
    folder: Path,
    workers: int,
    progress: ProgressCallback,
    tell: Callable[[str], None],
) -> None:
    """Do the runs that have no result, and again those that failed."""
    left = []
    for run in runs:
        result = load_result(folder / RUNS_FOLDER / run.name)
        if result is None or result.failure:
            left.append(run)
    done = ended = len(runs) - len(left)

    def report(fraction: float, text: str) -> None:
        progress((done + fraction * len(left)) / len(runs), text)

    for result in do_runs(job, left, workers, report):
        where = folder / RUNS_FOLDER / result.run.name
        where.mkdir(parents=True, exist_ok=True)
        save_result(where, result)
        ended += 1
        outcome = _describe_result(result)
        tell(f"{result.run.name}, {ended} of {len(runs)}: {outcome}; log: {where}/log.jsonl")


def _describe_result(result: RunResult) -> str:
    """What a run came to, for people."""
    if result.failure:
        return f"failed: {result.failure}"
    dice = statistics.fmean(case.scores["dice"] or 0.0 for case in result.cases)
    return f"{counted(result.steps, 'step')} in {duration(result.elapsed_s)}, mean Dice {dice:.3f}"


def report_finished_runs(experiment: str, folder: Path) -> Report:
    """Write an experiment's tables from the runs that are finished, without doing any.

    Raises:
        InputError: it is no experiment.
        TrainingError: the folder holds no experiment.
        OutputError: the folder cannot be written to.
    """
    if experiment not in EXPERIMENTS:
        raise InputError(
            f"'{experiment}' is no experiment; choose one of {', '.join(EXPERIMENTS)}."
        )
    if not (folder / SETTINGS_FILE).exists():
        raise TrainingError(f"'{folder}' holds no experiment; it has no '{SETTINGS_FILE}'.")
    known = {key for table in EXPERIMENTS[experiment] for key in table.variants}
    found = [
        result
        for where in sorted((folder / RUNS_FOLDER).glob("*"))
        if (result := load_result(where)) is not None and result.run.variant in known
    ]
    if not found:
        raise TrainingError(f"No run of 'experiments {experiment}' is finished in '{folder}'.")
    comparisons = choose_comparisons(experiment, tuple(sorted({one.run.variant for one in found})))
    seeds, folds = (1 + max(one.run.cell[part] for one in found) for part in (0, 1))
    with _writing(folder):
        return write_report(experiment, folder, _runs(comparisons, seeds, folds), comparisons)


def write_report(
    experiment: str, folder: Path, runs: Sequence[Run], comparisons: Sequence[Comparison]
) -> Report:
    """Tables in Markdown and JSON, learning curves, focus ratios and the page of pictures."""
    loaded = (load_result(folder / RUNS_FOLDER / run.name) for run in runs)
    results = [result for result in loaded if result is not None]
    tables = tuple(
        make_table(one, results, [run for run in runs if run.variant in one.variants])
        for one in comparisons
    )
    settings = json.loads((folder / SETTINGS_FILE).read_text("utf-8"))
    # Curves compare rows as the tables do: on the seeds and folds that all have.
    common = {
        (key, cell) for one in tables for key in one.comparison.variants for cell in one.cells
    }
    shown = [
        one for one in results if not one.failure and (one.run.variant, one.run.cell) in common
    ]
    drawn = [
        name
        for name, draw in (
            (f"{experiment}-curves.png", draw_curves),
            (f"{experiment}-focus.png", draw_focus),
            (f"{experiment}-predictions.png", draw_predictions),
            (f"{experiment}-attention.png", draw_attention),
        )
        if draw(folder / RUNS_FOLDER, shown, folder / name)
    ]
    text = _markdown(experiment, settings, tables, results, drawn)
    content = {
        "experiment": experiment,
        "settings": settings,
        "machine": f"{platform.system()} {platform.machine()}",
        "tables": [table.to_json() for table in tables],
    }
    replace_text(folder / f"{experiment}.json", json.dumps(content, indent=1) + "\n")
    replace_text(folder / f"{experiment}.md", text)
    return Report(
        experiment,
        tables,
        tuple(f"{one.run.name}: {one.failure}" for one in results if one.failure),
        len(runs) - len(results),
        text,
    )


def _markdown(
    experiment: str,
    settings: dict[str, Any],
    tables: Sequence[Table],
    results: Sequence[RunResult],
    pictures: Sequence[str],
) -> str:
    told = ", ".join(
        f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in settings.items()
        if value is not None
    )
    lines = [f"## experiments {experiment}", "", f"Equal for all rows: {told}.", ""]
    for table in tables:
        lines += table_lines(table)
    lines += [NOTES, ""]
    took = duration(sum(one.elapsed_s for one in results))
    lines += [f"Training took {took} in all, counted over all runs.", ""]
    lines += [f"![{name}]({name})" for name in pictures]
    return "\n".join(lines).rstrip() + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The experiment cannot be written to '{folder}' ({error.strerror or error}); choose a "
            "folder that you may write to, on a disk with some room. What is finished is kept."
        ) from error
