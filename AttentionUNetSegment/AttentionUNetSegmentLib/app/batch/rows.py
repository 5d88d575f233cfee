"""``results.csv``: a row for each study, and one more for each further target of its model."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...errors import OutputError
from ...files import explain_write_errors, replaced_file
from ...inference.structures import says_experimental
from .finished import ENTRY

RESULTS_FILE = "results.csv"


@dataclass(frozen=True)
class StudyRow:
    """What became of a study; the fields are the columns of ``results.csv``.

    Args:
        study: name of its folder.
        status: "done" or "failed".
        found: "yes" or "no"; empty where it failed.
        volume_ml to length_mm: as in :class:`~...inference.statistics.MaskStatistics`; the extent
            along R, A and S in columns of their own.
        pieces: separate ones.
        mean_probability: over the mask.
        dice_estimate, dice_low, dice_high: that it probably has, and between which it lies; empty
            where the model does not tell.
        warnings: sentences, one after the other.
        checksum_s: seconds for reading the files once to recognise them.
        error: a sentence; empty where it is done.
    """

    study: str
    status: str
    found: str = ""
    volume_ml: float | None = None
    mean_hu: float | None = None
    sd_hu: float | None = None
    median_hu: float | None = None
    surface_mm2: float | None = None
    extent_r_mm: float | None = None
    extent_a_mm: float | None = None
    extent_s_mm: float | None = None
    length_mm: float | None = None
    pieces: int | None = None
    mean_probability: float | None = None
    dice_estimate: float | None = None
    dice_low: float | None = None
    dice_high: float | None = None
    warnings: str = ""
    checksum_s: float | None = None
    reading_s: float | None = None
    network_s: float | None = None
    writing_s: float | None = None
    total_s: float | None = None
    device: str = ""
    model: str = ""
    target: str = ""
    input_sha256: str = ""
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What a worker gives back.

    Args:
        row: for the table.
        further: rows of the further targets.
        kept: the study was finished before.
        elsewhere: it failed for what may be the worker's own machine: its disk, memory or device.
    """

    row: StudyRow
    further: tuple[StudyRow, ...] = ()
    kept: bool = False
    elsewhere: bool = False


COLUMNS = tuple(field.name for field in fields(StudyRow))


def done_row(study: str, report: dict[str, Any]) -> StudyRow:
    """The row of a study, from its report alone: a finished one always has the same."""
    timings, statistics = report["timings_s"], dict(report["statistics"])
    extent = statistics.pop("extent_mm") or (None, None, None)
    # A report of an earlier version does not have it.
    estimate = report.get("dice_estimate") or {}
    return StudyRow(
        study,
        "done",
        "yes" if report["found"] else "no",
        **statistics,
        **dict(zip(("extent_r_mm", "extent_a_mm", "extent_s_mm"), extent, strict=True)),
        dice_estimate=estimate.get("value"),
        dice_low=estimate.get("low"),
        dice_high=estimate.get("high"),
        # That a structure is experimental is no reason to look at one study more than at another.
        warnings=" ".join(text for text in report["warnings"] if not says_experimental(text)),
        checksum_s=report[ENTRY].get("checksum_s"),
        reading_s=timings["reading"],
        network_s=timings["network"],
        writing_s=timings["writing"],
        total_s=timings["total"],
        device=report["device"],
        model=f"{report['model']['name']} {report['model']['version']}",
        target=(report.get("structure") or {}).get("name") or report["model"]["target"],
        input_sha256=report[ENTRY]["input_sha256"],
    )


def further_rows(study: str, report: dict[str, Any]) -> tuple[StudyRow, ...]:
    """The rows of the further targets of a study, with what is about a target alone."""
    first = done_row(study, report)
    rows = []
    for target in report.get("targets", ())[1:]:
        statistics = dict(target["statistics"])
        extent = statistics.pop("extent_mm") or (None, None, None)
        row = StudyRow(
            study,
            "done",
            "yes" if target["found"] else "no",
            **statistics,
            **dict(zip(("extent_r_mm", "extent_a_mm", "extent_s_mm"), extent, strict=True)),
            model=first.model,
            target=target["name"],
            input_sha256=first.input_sha256,
        )
        rows.append(row)
    return tuple(rows)


class ResultsFile:
    """Grows by a row at a time, and is put into the order of the sources in the end.

    A program that shows the file keeps Windows from writing it; it is then written as a whole with
    the next row.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / RESULTS_FILE
        self._rows: list[StudyRow] = []
        self._is_behind = False
        self._replace(self._rows)

    def add(self, row: StudyRow) -> None:
        self._rows.append(row)
        if self._is_behind:
            self._replace(self._rows)
            return
        try:
            # In one piece, so that who reads the file meanwhile sees whole rows.
            with self.path.open("ab", buffering=0) as file:
                file.write(_text([_cells(row)]))
        except PermissionError:
            self._is_behind = True
        except OSError:
            with explain_write_errors(self.directory):
                raise

    def finish(self, rows: Sequence[StudyRow]) -> None:
        """Raises:
        OutputError: it cannot be written.
        """
        self._replace(rows)
        if self._is_behind:
            raise OutputError(
                f"'{self.path}' is open in another program, so that the last rows are missing; "
                "close it there and run the same command again, which does nothing twice."
            )

    def _replace(self, rows: Sequence[StudyRow]) -> None:
        try:
            write_table(self.path, COLUMNS, [_cells(row) for row in rows])
        except OutputError as error:
            if not isinstance(error.__cause__, PermissionError) or not self.path.exists():
                raise
            self._is_behind = True
        else:
            self._is_behind = False


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with explain_write_errors(path.parent), replaced_file(path) as beside:
        beside.write_bytes(_text([columns, *rows]))


def _cells(row: StudyRow) -> list[object]:
    values = (getattr(row, column) for column in COLUMNS)
    return ["" if value is None else value for value in values]


def _text(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # A path may have bytes that are no UTF-8.
    return text.getvalue().encode("utf-8", "backslashreplace")
