"""What is wrong with a data set, before training finds out.

Headers are compared first, which takes moments; then every voxel is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError, TrainingError
from ..geometry.alignment import align_labels, match_axes
from ..geometry.grid import Grid
from ..geometry.volume import Volume
from ..inference.validation import check_ct
from ..io.headers import read_header
from .cases import CaseFiles, DataSet, read_pair
from .layouts.pairs import has_fractions, values_in

FEWEST_PATIENTS = 2
_SPACING_SHARE = 1e-3
_DIRECTION = 1e-3


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        severity: with an error the data set cannot be trained on as it is.
        text: a sentence that names the file or the case.
    """

    severity: Literal["error", "warning"]
    text: str


ReadCallback = Callable[[CaseFiles, Volume, Volume], None]
"""Told a case without errors, and its image and labels as they were read."""


def require_sound(
    data: DataSet,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    on_read: ReadCallback = lambda case, image, labels: None,
) -> list[Finding]:
    """Check a data set and return the warnings.

    Args:
        progress, on_read: as of :func:`check_data`.

    Raises:
        TrainingError: there are errors; the first is told, and how many more there are.
    """
    findings = check_data(data, progress=progress, on_read=on_read)
    errors = [finding.text for finding in findings if finding.severity == "error"]
    if errors:
        more = f" There are {len(errors) - 1} more errors." if len(errors) > 1 else ""
        raise TrainingError(f"{errors[0]}{more} The command check-data lists all there is.")
    return findings


def check_data(
    data: DataSet,
    *,
    quick: bool = False,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    on_read: ReadCallback = lambda case, image, labels: None,
) -> list[Finding]:
    """All that is wrong with a data set, errors first.

    Args:
        data: as ``find_data_set`` found it.
        quick: look at the headers only.
        progress: told which case is looked at.
        on_read: told each case without errors, with the image and the labels that were read, so
            that nobody has to read them again.
    """
    findings = [Finding("error", problem) for problem in data.problems]
    findings += _check_names(data)
    same: dict[str, str] = {}
    labels_seen: set[int] = set()
    for number, case in enumerate(data.cases):
        progress(number / len(data.cases), f"Checking {case.name}")
        headers = list(_check_headers(case))
        findings += headers
        if not quick and not headers:
            findings += _check_voxels(case, data, same, labels_seen, on_read)
    if not quick:
        findings += [
            Finding("warning", f"No case holds the label '{name}' ({value}).")
            for value, name in enumerate(data.labels)
            if value and labels_seen and value not in labels_seen
        ]
    progress(1.0, "Done")
    return sorted(findings, key=lambda finding: finding.severity)


def _check_names(data: DataSet) -> Iterator[Finding]:
    names: set[str] = set()
    images: dict[str, str] = {}
    for case in data.cases:
        if case.name in names:
            yield Finding("error", f"Two cases have the name '{case.name}'.")
        names.add(case.name)
        place = str(case.image.resolve())
        if place in images:
            yield Finding(
                "error",
                f"The cases '{images[place]}' and '{case.name}' have the same image, "
                f"'{case.image.name}'.",
            )
        images[place] = case.name
    patients = {case.patient for case in data.cases}
    if not data.cases:
        yield Finding("error", "No case has both an image and labels.")
    elif len(patients) < FEWEST_PATIENTS:
        yield Finding(
            "warning", f"All cases are of one patient, '{min(patients)}'; none can be held out."
        )


# Headers


def _check_headers(case: CaseFiles) -> Iterator[Finding]:
    """What the headers alone tell; nothing for a layout that has a way of its own to read."""
    if case.read is not read_pair or case.image.is_dir():
        return
    headers = []
    for file in (case.image, case.labels):
        try:
            headers.append(read_header(file))
        except InputError as error:
            yield Finding("error", f"Case '{case.name}': {error}")
    if len(headers) == 2:
        for difference in _differences(*headers):
            yield Finding(
                "error",
                f"Case '{case.name}': the image '{case.image.name}' and the labels "
                f"'{case.labels.name}' {difference}.",
            )


def _differences(image: Grid, labels: Grid) -> Iterator[str]:
    """How two grids differ, in words; nothing where every voxel of one is a voxel of the other."""
    if match_axes(image, labels) is not None:
        return
    if image.shape_ijk != labels.shape_ijk:
        yield (
            f"have different sizes, {_listed(image.shape_ijk)} and {_listed(labels.shape_ijk)} "
            "voxels"
        )
        return
    spacing, other_spacing = image.spacing_mm, labels.spacing_mm
    axes, other_axes = (
        header.ijk_to_ras[:3, :3] / np.array(header.spacing_mm) for header in (image, labels)
    )
    if not np.allclose(spacing, other_spacing, rtol=_SPACING_SHARE):
        yield (
            f"have different voxel spacings, {_listed(spacing)} and {_listed(other_spacing)} mm; "
            "correct the header that is wrong"
        )
    elif not np.allclose(axes, other_axes, atol=_DIRECTION):
        yield (
            "have axes in different directions, so that they do not lie on each other; correct "
            "the header that is wrong"
        )
    else:
        shift = labels.ijk_to_ras[:3, 3] - image.ijk_to_ras[:3, 3]
        yield (
            f"begin at different places, {np.linalg.norm(shift):.3g} mm apart; correct the header "
            "that is wrong, or resample the labels to the image"
        )


def _listed(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


# Voxels


def _check_voxels(
    case: CaseFiles,
    data: DataSet,
    same: dict[str, str],
    labels_seen: set[int],
    on_read: ReadCallback,
) -> list[Finding]:
    """What the voxels tell; notes the image in ``same`` and the labels in ``labels_seen``."""
    try:
        image, labels = case.read(case)
    except InputError as error:
        return [Finding("error", f"Case '{case.name}': {error}")]
    findings = []
    if align_labels(image, labels) is None:
        # The layout reads it in its own way, so that the headers were not compared before.
        findings.append(
            Finding(
                "error",
                f"Case '{case.name}': image and labels lie on different grids; resample the labels "
                "to the image.",
            )
        )
    digest = hashlib.sha256(image.array.tobytes()).hexdigest()
    twin = same.setdefault(digest, case.patient)
    if twin != case.patient:
        findings.append(
            Finding(
                "error",
                f"'{case.image.name}' of '{case.patient}' is the same image as one of '{twin}'; "
                "remove one, or give both the same patient, so that they are not split apart.",
            )
        )
    findings += _check_intensities(case, image, data.hounsfield)
    findings += _check_labels(case, labels.array, data, labels_seen)
    if not any(finding.severity == "error" for finding in findings):
        on_read(case, image, labels)
    return findings


def _check_intensities(case: CaseFiles, image: Volume, hounsfield: bool) -> Iterator[Finding]:
    name = case.image.name
    if image.array.dtype.kind == "f" and not np.isfinite(image.array).all():
        count = int(np.count_nonzero(~np.isfinite(image.array)))
        yield Finding("error", f"'{name}' holds {count} voxels that are no finite numbers.")
        return
    if not hounsfield:
        if np.ptp(image.array) == 0:
            yield Finding("error", f"'{name}' is of one grey value all over.")
        return
    try:
        warnings = check_ct(image)
    except InputError as error:
        yield Finding("error", f"'{name}': {error}")
    else:
        if case.kind == "scan":  # a crop is small on purpose
            yield from (Finding("warning", f"'{name}': {warning}") for warning in warnings)


def _check_labels(
    case: CaseFiles, array: np.ndarray, data: DataSet, labels_seen: set[int]
) -> Iterator[Finding]:
    name = case.labels.name
    if has_fractions(array):
        yield Finding(
            "error", f"The labels '{name}' hold fractions; they must be whole numbers, one a class."
        )
        return
    values = values_in(array)
    known = case.label_map if case.label_map is not None else range(len(data.labels))
    unexpected = sorted(value for value in values if value and value not in known)
    if unexpected:
        yield Finding(
            "error",
            f"The labels '{name}' hold {_few(unexpected)}, but the data set has "
            f"{_few(sorted(set(known) | {0}))}.",
        )
    if not values - {0}:
        yield Finding("warning", f"The labels '{name}' are empty: all of it is background.")
    ours = case.label_map
    labels_seen |= {(ours.get(value, 0) if ours is not None else value) for value in values}


def _few(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"{shown} and more" if len(values) > 8 else shown
