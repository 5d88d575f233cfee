"""A batch from its sources to its table and its page."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...errors import InputError, ModelError, OutputError
from ...files import STAGING_PREFIX, explain_write_errors, locked_folder
from ...inference.progress import ProgressCallback
from ...inference.quality import usual_ranges
from ...models import find_model, read_card
from ...networks.precision import AUTO
from ...paths import printable
from ..requirements import require
from ..segmenting import ALSO_FILES
from .rows import RESULTS_FILE, Answer, ResultsFile, StudyRow, write_table
from .running import connected, run_here, run_on_ray
from .sources import SOURCES_FILE, Plan, Study
from .summary import SUMMARY_FILE, write_summary
from .worker import STUDIES_FOLDER, BatchWorker

_SOURCES_COLUMNS = ("study", "source", "left_out_because")


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run.

    Args:
        directory: gets everything.
        device: as :func:`~...inference.device.choose_device` takes it.
        also: keys of ``ALSO_FILES``.
        structure: what is segmented in the place of the models' targets, by any name.
        precision: what the networks compute in: "auto", "float32" or "bfloat16".
        ray: None for the plain loop, "local", or a cluster's address.
        workers: how many Ray workers; None for as many as there is room for.
        gpus_per_worker: None for 1, or 0 where there is no GPU.
    """

    directory: Path
    device: str = "auto"
    also: tuple[str, ...] = ()
    structure: str | None = None
    precision: str = AUTO
    ray: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None


@dataclass(frozen=True)
class BatchOutcome:
    """A row for each study, in the order of the sources, and how many were finished before."""

    rows: list[StudyRow]
    kept: int

    @property
    def failed(self) -> list[StudyRow]:
        return [row for row in self.rows if row.status == "failed"]


def check(options: BatchOptions) -> None:
    """Refuse what can be refused before the sources are searched.

    Raises:
        AttentionUNetSegmentError: an option is wrong, or a package is missing.
    """
    unknown = [name for name in options.also if name not in ALSO_FILES]
    if unknown:
        raise InputError(f"'{unknown[0]}' is no further format; there are {', '.join(ALSO_FILES)}.")
    require("standalone", "torch", "slicer", "matplotlib", "PIL")
    if "dicom-seg" in options.also:
        require("batch", "highdicom", "pydicom")
    if options.ray is not None:
        require("batch", "ray")


def run_batch(plan: Plan, options: BatchOptions, progress: ProgressCallback) -> BatchOutcome:
    """Run all studies of a plan and write the table and the page.

    Raises:
        AttentionUNetSegmentError: nothing can be written, another batch is writing there, or Ray is
            not there. What goes wrong
            with a single study is in its row.
    """
    directory = options.directory.resolve()
    _keep_others(directory)
    studies_folder = directory / STUDIES_FOLDER
    with explain_write_errors(directory):
        studies_folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with explain_write_errors(directory):
            stack.enter_context(locked_folder(directory))
        _write_sources(plan, directory)
        results = ResultsFile(directory)
        tally = _Tally(len(plan.studies), progress)
        answers = stack.enter_context(closing(_answers(plan.studies, options, directory, tally)))
        for answer in answers:
            for row in (answer.row, *answer.further):
                results.add(row)
            tally.add(answer)
        rows = [tally.rows[study.name] for study in plan.studies]
        _sweep(studies_folder)
        tally.tell("Writing the summary")
        write_summary(
            directory,
            rows,
            None if options.structure else _usual_ml(plan.studies),
            structure=options.structure or "",
        )
        results.finish([one for row in rows for one in (row, *tally.further[row.study])])
    return BatchOutcome(rows, tally.kept)


def _usual_ml(studies: Sequence[Study]) -> tuple[float, float] | None:
    """The usual volume of the organ, where all studies are of one model that tells it."""
    models = {study.model for study in studies}
    if len(models) != 1:
        return None
    try:
        return usual_ranges(read_card(find_model(models.pop()))).volume_ml
    except ModelError:
        return None  # which is in the row of each study


def _answers(
    studies: Sequence[Study], options: BatchOptions, directory: Path, tally: _Tally
) -> Generator[Answer, None, None]:
    make_worker = partial(
        BatchWorker,
        directory,
        options.device,
        options.also,
        options.structure,
        options.precision,
    )
    if options.ray is None:
        yield from run_here(studies, make_worker(), tally.tell_part)
        return
    with connected(options.ray):
        yield from run_on_ray(
            studies, make_worker, workers=options.workers, gpus_per_worker=options.gpus_per_worker
        )


class _Tally:
    """Counts the answers, and says how it goes."""

    def __init__(self, count: int, progress: ProgressCallback) -> None:
        self.count = count
        self.progress = progress
        self.rows: dict[str, StudyRow] = {}
        self.further: dict[str, tuple[StudyRow, ...]] = {}
        self.kept = self.failed = 0
        self.began = time.monotonic()
        progress(0.0, self.text)

    @property
    def text(self) -> str:
        """Studies that were finished before say nothing of how fast it goes."""
        ran = len(self.rows) - self.kept
        per_minute = 60 * ran / max(time.monotonic() - self.began, 1e-3)
        return (
            f"{len(self.rows)} of {self.count} studies, {per_minute:.1f} a minute, "
            f"{self.failed} failed"
        )

    def add(self, answer: Answer) -> None:
        self.rows[answer.row.study] = answer.row
        self.further[answer.row.study] = answer.further
        self.kept += answer.kept
        self.failed += answer.row.status == "failed"
        self.tell_part(0.0, "")

    def tell_part(self, of_study: float, step: str) -> None:
        """How far it is, with the study that is being run."""
        ran, to_run = len(self.rows) - self.kept, self.count - self.kept
        self.progress(min((ran + of_study) / max(to_run, 1), 0.999), self.text)

    def tell(self, text: str) -> None:
        self.progress(0.999, text)


def _write_sources(plan: Plan, directory: Path) -> None:
    """Which scan is which study. Paths may name patients, so they are in no other file."""
    rows = [(study.name, study.path, "") for study in plan.studies]
    rows += [("", one.path, one.reason) for one in plan.left_out]
    write_table(directory / SOURCES_FILE, _SOURCES_COLUMNS, rows)


def _keep_others(directory: Path) -> None:
    """Raise OutputError where a file would be written over that is of no earlier batch, such as
    the list of the scans: the list of sources, which is written first, vouches for the others."""
    try:
        first = (directory / SOURCES_FILE).read_bytes().partition(b"\n")[0]
    except OSError:
        first = b""
    # As a spreadsheet saves it, too.
    if tuple(re.split("[,;\t]", first.decode("utf-8-sig", "replace").strip())) == _SOURCES_COLUMNS:
        return
    for name in (SOURCES_FILE, RESULTS_FILE, SUMMARY_FILE):
        if (directory / name).is_file():
            raise OutputError(
                f"'{printable(str(directory / name))}' would be written over, and it is of no "
                "earlier batch; choose another output folder."
            )


def _sweep(studies_folder: Path) -> None:
    """Remove what killed processes left."""
    for staging in studies_folder.glob(f"*/{STAGING_PREFIX}*"):
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # results lie in it
            staging.parent.rmdir()
