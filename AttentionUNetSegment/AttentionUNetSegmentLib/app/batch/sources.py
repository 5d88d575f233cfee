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
from ...inference.dicom_series import FoundSeries, find_dicom_series
from ...models import DEFAULT_MODEL

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
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
        skip: a folder that is not searched: that of the results.

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
    plan.studies = _named(_once(plan.studies))
    return plan


def _from_source(source: Path, blank: Study, skip: Path = Path()) -> Plan:
    """The studies of a file or a folder; blank says what they have in common."""
    if source.is_dir():
        paths = list(_walk(source, skip))
        images = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
        others = [path for path in paths if not path.lower().endswith(IMAGE_SUFFIXES)]
        plan = _from_series(find_dicom_series(others), blank)
        plan.studies = [replace(blank, path=path) for path in images] + plan.studies
        if not plan.studies and not plan.left_out:
            plan.left_out.append(LeftOut(str(source), "No image was found in this folder."))
        return plan
    if not source.is_file():
        raise InputError(f"There is no file or folder '{source}'.")
    if source.name.lower().endswith(IMAGE_SUFFIXES):
        return Plan([replace(blank, path=str(source))])
    beside = sorted(str(path) for path in source.parent.iterdir())
    plan = _from_series(find_dicom_series(beside), blank)
    plan.studies = [study for study in plan.studies if str(source) in study.files]
    plan.left_out = []
    if not plan.studies:
        plan.left_out.append(LeftOut(str(source), "It is no image, or no slice of an axial CT."))
    return plan


def _from_series(found: Sequence[FoundSeries], blank: Study) -> Plan:
    plan = Plan()
    for series in found:
        folder = os.path.dirname(series.files[0]) if series.files else ""
        if series.reason:
            plan.left_out.append(LeftOut(folder, series.reason))
        else:
            # Nothing can be read from it, and another run gives the same.
            code = hashlib.sha256((series.uid or series.files[0]).encode()).hexdigest()[:12]
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
            reader = csv.DictReader(file)
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            unknown = [column for column in columns if column not in _COLUMNS]
            if "scan" not in columns or unknown:
                raise InputError(
                    f"The manifest '{manifest.name}' needs the column 'scan', and may have "
                    f"{', '.join(_COLUMNS[1:])}; it has: {', '.join(columns) or 'none'}."
                )
            for row in reader:
                found = _from_row(row, manifest, reader.line_num, model)
                plan.studies += found.studies
                plan.left_out += found.left_out
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The manifest '{manifest.name}' cannot be read: {error}.") from error
    return plan


def _from_row(row: dict[str, str | None], manifest: Path, line: int, model: str) -> Plan:
    cells = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    where = f"Line {line} of the manifest '{manifest.name}'"
    if not cells["scan"]:
        raise InputError(f"{where} names no scan.")
    try:
        clicks = tuple(
            Click.parse(text) for text in re.split(r"[;\s]+", cells.get("clicks", "")) if text
        )
    except InputError as error:
        raise InputError(f"{where}: {error} Several are separated by semicolons.") from error
    blank = Study(cells.get("name", ""), "", clicks=clicks, model=cells.get("model", "") or model)
    scan = manifest.parent / Path(cells["scan"]).expanduser()
    if not scan.exists():  # one bad row does not stop the rest
        return Plan([replace(blank, path=str(scan))])
    plan = _from_source(scan, blank)
    if blank.name:
        plan.studies = [replace(study, name=blank.name) for study in plan.studies]
    if len(plan.studies) > 1:
        reason = f"{where} names a folder of {len(plan.studies)} scans; give one of them."
        return Plan(left_out=[LeftOut(str(scan), reason)])
    return plan


def _walk(folder: Path, skip: Path) -> Iterator[str]:
    """All files below a folder, in order."""
    left_out = skip.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            one
            for one in folders
            if not one.startswith(".") and Path(parent, one).resolve() != left_out
        )
        yield from (os.path.join(parent, file) for file in sorted(files) if file[0] != ".")


def _once(studies: Sequence[Study]) -> list[Study]:
    """Without those that two sources led to."""
    return list(
        {
            (os.path.realpath(one.path), one.files, one.clicks, one.model): one
            for one in reversed(studies)
        }.values()
    )[::-1]


def _named(studies: Sequence[Study]) -> list[Study]:
    """With names that are safe for a folder on any system, and no two alike."""
    wanted = [_safe(study.name or _stem(study.path)) for study in studies]
    taken: dict[str, list[int]] = {}
    for index, name in enumerate(wanted):
        taken.setdefault(name.lower(), []).append(index)
    named = []
    for index, study in enumerate(studies):
        name = wanted[index]
        if len(taken[name.lower()]) > 1:
            # By what it is and not by its turn, so that another run finds it again.
            key = f"{os.path.abspath(study.path)} {study.files[:1]} {study.clicks} {study.model}"
            name = f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        named.append(replace(study, name=name))
    return named


def _stem(path: str) -> str:
    name = os.path.basename(path)
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _safe(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_LONGEST_NAME].strip("._-")
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", safe)
    return f"scan-{safe}" if reserved or not safe else safe
