"""What is to be segmented: files, folders of images, DICOM trees and manifests, as studies."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import InputError
from ...inference.clicks import Click
from ...io.dicom_series import DicomSeries, find_dicom_series
from ...models import DEFAULT_MODEL
from ...paths import in_home
from ..segmenting import ALSO_FILES, REPORT_FILE, is_result_name

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
SOURCES_FILE = "sources.csv"
"""Of a batch: which scan is which study."""

_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz")
_COLUMNS = ("scan", "clicks", "model", "name")
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Study:
    """One scan that is to be segmented.

    Args:
        name: of its folder: safe, unlike any other, without anything of the patient.
        path: of the image, or of the folder of its DICOM files.
        files: of a DICOM series, in spatial order; empty for an image file.
        clicks: points inside and outside the organ.
        model: name of an installed model, or a folder.
    """

    name: str
    path: str
    files: tuple[str, ...] = ()
    clicks: tuple[Click, ...] = ()
    model: str = DEFAULT_MODEL


@dataclass(frozen=True)
class LeftOut:
    """Something that was found and will not be segmented."""

    path: str
    reason: str


@dataclass
class Plan:
    """The studies, in the order of the sources, and what was left out."""

    studies: list[Study] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def find_studies(sources: Sequence[Path], model: str = DEFAULT_MODEL, skip: Path = Path()) -> Plan:
    """Look for studies.

    Args:
        sources: image files, DICOM files, folders that are searched, CSV manifests.
        model: for those whose manifest names none.
        skip: the folder of the results, which is not searched; what a study was called there
            before, it is called again.

    Raises:
        InputError: a source does not exist, or a manifest cannot be used.
    """
    plan = Plan()
    for source in sources:
        found = (
            _from_manifest(source, model)
            if source.suffix.lower() == ".csv" and source.is_file()
            else _from_source(source, Study("", "", model=model), skip)
        )
        plan.studies += found.studies
        plan.left_out += found.left_out
    studies, again = _once(plan.studies)
    plan.studies = _named(studies, _earlier_names(skip))
    plan.left_out += again
    return plan


def _from_source(source: Path, blank: Study, skip: Path = Path()) -> Plan:
    """The studies of a file or a folder; blank says what they have in common."""
    if source.name.upper() == "DICOMDIR" and source.is_file():
        source = source.resolve().parent  # it lists what lies beside and below it
    if source.is_dir():
        left_out: list[LeftOut] = []
        paths = list(_walk(source, skip, left_out))
        images = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
        others = [path for path in paths if not path.lower().endswith(IMAGE_SUFFIXES)]
        plan = _from_series(find_dicom_series(others), blank)
        results = [path for path in images if _is_result(path)]
        # A pipe would be waited for.
        special = [path for path in images if os.path.exists(path) and not os.path.isfile(path)]
        left_out += [LeftOut(path, "It is neither a file nor a folder.") for path in special]
        left_out += [LeftOut(path, why) for path in others if (why := _why_not_read(path))]
        left_out += [
            LeftOut(folder, "Its results of an earlier run are not segmented.")
            for folder in sorted({os.path.dirname(path) for path in results})
        ]
        plan.studies = [
            replace(blank, path=path) for path in images if path not in {*results, *special}
        ] + plan.studies
        plan.left_out = left_out + plan.left_out
        if not plan.studies and not plan.left_out:
            plan.left_out.append(LeftOut(str(source), "No image was found in this folder."))
        return plan
    if not source.is_file():
        raise InputError(f"There is no file or folder '{source}'.")
    if source.name.lower().endswith(IMAGE_SUFFIXES):
        return Plan([replace(blank, path=str(source))])
    try:
        beside = sorted(str(path) for path in source.parent.iterdir())
    except OSError as error:
        raise InputError(f"'{source.parent}' cannot be opened: {error.strerror}.") from error
    plan = _from_series(find_dicom_series(beside), blank)
    plan.studies = [study for study in plan.studies if str(source) in study.files]
    plan.left_out = []
    if not plan.studies:
        reason = _why_not_read(str(source)) or "It is no image, or no slice of an axial CT."
        plan.left_out.append(LeftOut(str(source), reason))
    return plan


def _why_not_read(path: str) -> str:
    """For a file that may well hold a scan."""
    name = path.lower()
    if name.endswith(_ARCHIVES):
        return "It is an archive; unpack it."
    if name.endswith(".hdr"):
        return "It is one of a pair of files (Analyze); save the scan as .nii.gz."
    return ""


def _from_series(found: Sequence[DicomSeries], blank: Study) -> Plan:
    plan = Plan()
    for series in found:
        folder = os.path.dirname(series.files[0])
        if series.reason:
            place = folder if len(series.files) > 1 else series.files[0]
            plan.left_out.append(LeftOut(place, series.reason))
        else:
            # Nothing can be read from it, and another run gives the same.
            code = hashlib.sha256(os.fsencode(series.uid or series.files[0])).hexdigest()[:12]
            name = f"series-{code}"
            plan.studies.append(replace(blank, name=name, path=folder, files=series.files))
    return plan


def _from_manifest(manifest: Path, model: str) -> Plan:
    """One study a row; paths are relative to the manifest.

    Raises:
        InputError: a column is missing or unknown, or a row cannot be used; it says which.
    """
    plan = Plan()
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=_delimiter(file.readline()))
            file.seek(0)
            # Spreadsheets write empty columns and rows too.
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            named = [column for column in columns if column]
            if "scan" not in named or any(column not in _COLUMNS for column in named):
                raise InputError(
                    f"The manifest '{manifest.name}' needs the column 'scan', and may have "
                    f"{', '.join(_COLUMNS[1:])}; it has: {', '.join(named) or 'none'}."
                )
            if len(set(named)) < len(named):
                raise InputError(f"The manifest '{manifest.name}' has a column twice; remove one.")
            for row in reader:
                if not any(cell.strip() for cell in row.values() if isinstance(cell, str)):
                    continue
                found = _from_row(row, manifest, reader.line_num, model)
                plan.studies += found.studies
                plan.left_out += found.left_out
    except UnicodeDecodeError as error:
        raise InputError(
            f"The manifest '{manifest.name}' is not in UTF-8; save it as 'CSV UTF-8'."
        ) from error
    except (OSError, csv.Error) as error:
        raise InputError(f"The manifest '{manifest.name}' cannot be read: {error}.") from error
    if not plan.studies and not plan.left_out:
        plan.left_out.append(LeftOut(str(manifest), "It lists no scan."))
    return plan


def _delimiter(first_line: str) -> str:
    """What a spreadsheet puts between cells: a semicolon where numbers have a comma."""
    columns = first_line.replace('"', "")
    return next((mark for mark in ";\t" if mark in columns and "," not in columns), ",")


def _from_row(row: dict[str, str | None], manifest: Path, line: int, model: str) -> Plan:
    cells = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    where = f"Line {line} of the manifest '{manifest.name}'"
    # Beyond the columns csv gives a list, under no name.
    if any(cell.strip() for cell in row.get(None) or ()):  # type: ignore[call-overload]
        raise InputError(
            f"{where} has more cells than the first line has columns; put quotes around a cell "
            "that has commas in it, such as a click."
        )
    if not cells["scan"]:
        raise InputError(f"{where} names no scan.")
    if "\0" in cells["scan"]:
        raise InputError(f"{where} is damaged: it has a zero byte in the name of the scan.")
    try:
        clicks = tuple(
            Click.parse(text) for text in re.split(r"[;\s]+", cells.get("clicks", "")) if text
        )
    except InputError as error:
        raise InputError(f"{where}: {error} Several are separated by semicolons.") from error
    blank = Study(cells.get("name", ""), "", clicks=clicks, model=cells.get("model", "") or model)
    scan = manifest.parent / in_home(cells["scan"])
    try:
        if not scan.exists():  # one bad row does not stop the rest
            return Plan([replace(blank, path=str(scan))])
        plan = _from_source(scan, blank)
    except (InputError, OSError) as error:
        return Plan(left_out=[LeftOut(str(scan), str(error))])
    if blank.name:
        plan.studies = [replace(study, name=blank.name) for study in plan.studies]
    if len(plan.studies) > 1:
        reason = f"{where} names a folder of {len(plan.studies)} scans; give one of them."
        return Plan(left_out=[LeftOut(str(scan), reason)])
    return plan


def _walk(folder: Path, skip: Path, left_out: list[LeftOut]) -> Iterator[str]:
    """All files below a folder, in order; folders that are not searched are noted."""
    results = skip.resolve()

    def note(error: OSError) -> None:
        left_out.append(LeftOut(str(error.filename), f"It cannot be opened: {error.strerror}."))

    for parent, folders, files in os.walk(folder, onerror=note):
        folders[:] = sorted(
            one
            for one in folders
            if not one.startswith(".") and Path(parent, one).resolve() != results
        )
        # A link may lead to where the search came from, or to all that there is.
        left_out += [
            LeftOut(os.path.join(parent, one), "It is a link to a folder; give that folder too.")
            for one in folders
            if os.path.islink(os.path.join(parent, one))
        ]
        yield from (os.path.join(parent, file) for file in sorted(files) if file[0] != ".")


def _once(studies: Sequence[Study]) -> tuple[list[Study], list[LeftOut]]:
    """In their order, without those that two sources led to; who gave such a one a name of its own
    is told that it has another."""
    kept: dict[tuple[object, ...], Study] = {}
    again = []
    for one in studies:
        key = (os.path.realpath(one.path), one.files, one.clicks, one.model)
        first = kept.setdefault(key, one)
        if not first.name:
            kept[key] = replace(first, name=one.name)
        elif one.name not in ("", first.name):
            reason = f"'{one.name}' is the study '{first.name}': the same scan, clicks and model."
            again.append(LeftOut(one.path, reason))
    return list(kept.values()), again


def _is_result(path: str) -> bool:
    """Whether it is a file that this program writes beside its report, or a segmentation."""
    name = os.path.basename(path)
    return name.lower().endswith(".seg.nrrd") or (
        (is_result_name(name) or name in ALSO_FILES.values())
        and os.path.isfile(os.path.join(os.path.dirname(path), REPORT_FILE))
    )


def _earlier_names(results: Path) -> dict[str, set[str]]:
    """What the scan at a path is called in a folder of results."""
    names: dict[str, set[str]] = {}
    try:
        with (results / SOURCES_FILE).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("study") and row.get("source"):
                    names.setdefault(_place(row["source"]), set()).add(row["study"])
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return names


def _place(path: str) -> str:
    """As :func:`write_table` writes it, also where its name is no UTF-8."""
    return os.path.abspath(path).encode("utf-8", "backslashreplace").decode()


def _named(studies: Sequence[Study], earlier: dict[str, set[str]]) -> list[Study]:
    """With names that are safe for a folder on any system, and no two alike."""
    wanted = [_safe(study.name or stem_of(study.path)) for study in studies]
    turns: dict[str, list[int]] = {}
    for index, name in enumerate(wanted):
        turns.setdefault(name.lower(), []).append(index)
    named = []
    for index, study in enumerate(studies):
        name = wanted[index]
        alike = turns[name.lower()]
        # Who had the name alone before another scan of that name came keeps it.
        had_it = [one for one in alike if wanted[one] in earlier.get(_place(studies[one].path), ())]
        if len(alike) > 1 and had_it != [index]:
            # By what it is and not by its turn, so that another run finds it again.
            key = f"{os.path.abspath(study.path)} {study.files[:1]} {study.clicks} {study.model}"
            name = f"{name}-{hashlib.sha256(os.fsencode(key)).hexdigest()[:8]}"
        named.append(replace(study, name=name))
    return named


def stem_of(path: str) -> str:
    name = os.path.basename(path)
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _safe(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_LONGEST_NAME].strip("._-")
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", safe)
    return f"scan-{safe}" if reserved or not safe else safe
