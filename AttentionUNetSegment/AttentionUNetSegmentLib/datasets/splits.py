"""Which cases to learn from and which to be judged by, split by patient and kept as JSON.

All cases of a patient are on one side, since two scans, or two slices, of one person are nearly the
same picture.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TrainingError
from ..files import replace_text
from ..wording import counted
from .cases import CaseFiles, DataSet

SPLITS_FILE = "splits.json"
FORMAT = 1
DEFAULT_VALIDATION = 0.2
"""Share of the patients that is held out where the data set itself says nothing."""


@dataclass(frozen=True)
class Split:
    """Names of the cases to train on and to validate on, each sorted."""

    train: tuple[str, ...]
    validation: tuple[str, ...]

    def __post_init__(self) -> None:
        both = sorted(set(self.train) & set(self.validation))
        if both:
            raise TrainingError(f"The case '{both[0]}' is on both sides of the split.")


def default_split(data: DataSet, seed: int = 0) -> Split:
    """The split that a data set itself names, or else a fifth of its patients held out."""
    if not data.held_out:
        return held_out_split(data.cases, seed=seed)
    held_out = set(data.held_out)
    return Split(
        tuple(case.name for case in data.cases if case.name not in held_out),
        tuple(case.name for case in data.cases if case.name in held_out),
    )


def held_out_split(
    cases: Sequence[CaseFiles], share: float = DEFAULT_VALIDATION, seed: int = 0
) -> Split:
    """A share of the patients held out, at least one where there are two.

    The same cases, share and seed give the same split, in whatever order the cases come.
    """
    patients = _shuffled_patients(cases, seed)
    count = min(max(round(share * len(patients)), 1), len(patients) - 1)
    return _split(cases, set(patients[:count]))


def k_fold(cases: Sequence[CaseFiles], folds: int, seed: int = 0) -> list[Split]:
    """Splits of which each holds out another part of the patients, all parts together everybody.

    Raises:
        TrainingError: there are fewer than two folds, or fewer patients than folds.
    """
    patients = _shuffled_patients(cases, seed)
    if not 2 <= folds <= len(patients):
        raise TrainingError(
            f"{counted(len(patients), 'patient')} cannot be split into {folds} folds; choose 2 to "
            f"{len(patients)}."
        )
    return [_split(cases, set(patients[fold::folds])) for fold in range(folds)]


def save_splits(file: Path, splits: Sequence[Split], **about: Any) -> None:
    """Write splits so that :func:`load_splits` gives them back.

    Args:
        about: what else to keep beside them, such as the seed.

    Raises:
        TrainingError: the file cannot be written.
    """
    content = {"format": FORMAT, **about, "splits": [dataclasses.asdict(one) for one in splits]}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise TrainingError(
            f"The splits cannot be written to '{file}': {error.strerror or error}."
        ) from error


def load_splits(file: Path) -> list[Split]:
    """Splits as they were saved.

    Raises:
        TrainingError: the file is not there or holds no splits.
    """
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise TrainingError(
            f"The splits '{file}' cannot be read: {error.strerror or error}."
        ) from error
    except ValueError as error:
        raise TrainingError(f"The splits '{file}' are not valid JSON ({error}).") from error
    try:
        if content["format"] != FORMAT:
            raise TrainingError(f"The splits '{file}' are of another format.")
        if not content["splits"]:
            raise TrainingError(f"'{file}' holds no splits of cases.")
        return [Split(_names(one["train"]), _names(one["validation"])) for one in content["splits"]]
    except (KeyError, TypeError) as error:
        raise TrainingError(f"'{file}' holds no splits of cases.") from error


def kept_fold(file: Path) -> int:
    """Which of the splits that :func:`load_splits` gives a run used; the first where it is no
    run's file."""
    fold = json.loads(file.read_text("utf-8-sig")).get("fold")
    return fold if isinstance(fold, int) else 0


def _names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError
    return tuple(names)


def _shuffled_patients(cases: Sequence[CaseFiles], seed: int) -> list[str]:
    patients = sorted({case.patient for case in cases})
    return [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]


def _split(cases: Sequence[CaseFiles], held_out: set[str]) -> Split:
    names: dict[bool, list[str]] = {True: [], False: []}
    for case in cases:
        names[case.patient in held_out].append(case.name)
    return Split(tuple(sorted(names[False])), tuple(sorted(names[True])))
