"""Scans with labels, as training sees them.

Each case is kept in memory as it was acquired (after the averaging that its training grid allows);
patches are interpolated from it with their augmentation in one go, so that nothing is resampled
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from ..errors import TrainingError
from ..geometry.volume import Volume
from .cases import CaseFiles, CaseKind, DataSet, LabelledCase, labelled_case, load_case
from .checker import Finding, require_sound
from .layouts import find_data_set
from .layouts.btcv import BTCV_LABELS, BTCV_VALIDATION, PANCREAS
from .splits import Split, default_split

__all__ = [
    "BTCV_LABELS",
    "BTCV_VALIDATION",
    "PANCREAS",
    "CaseFiles",
    "CaseKind",
    "DataSet",
    "LabelledCase",
    "Split",
    "case_elsewhere",
    "find_cases",
    "find_data_set",
    "load_case",
    "load_cases",
    "load_sound_cases",
    "synthetic_case",
]


def find_cases(
    data: Path | DataSet, split: Split | None = None
) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """What a data folder holds: cases to train on, and cases held out for validation.

    Args:
        data: a folder of any layout, or what was found in it.
        split: which are which; the data set's own, or one by patient, unless given.

    Raises:
        TrainingError: there is no such folder, no case in it, a file is missing, or the split names
            a case that is not there.
    """
    found = data if isinstance(data, DataSet) else find_data_set(data)
    if found.problems:
        more = f" ({len(found.problems)} problems in all)" if len(found.problems) > 1 else ""
        raise TrainingError(f"{found.problems[0]}{more}")
    chosen = split or default_split(found)
    return (
        [found.case(name) for name in chosen.train],
        [found.case(name) for name in chosen.validation],
    )


def synthetic_case(seed: int) -> LabelledCase:
    """A made-up abdomen, mixed into training in small part."""
    from ..synthetic import synthetic_abdomen

    abdomen = synthetic_abdomen(seed)
    return LabelledCase(f"synthetic{seed}", abdomen.ct, abdomen.labels, "synthetic", True)


def case_elsewhere(seed: int) -> LabelledCase:
    """A made-up scan of thighs or a head: what the network must not find a pancreas in."""
    from ..synthetic import BODY_PARTS, synthetic_body_part

    part = BODY_PARTS[seed % len(BODY_PARTS)]
    ct = synthetic_body_part(part, seed)
    nothing = ct.with_array(np.zeros(ct.array.shape, np.uint8))
    return LabelledCase(f"synthetic {part} {seed}", ct, nothing, "elsewhere", True)


def load_cases(
    files: Sequence[CaseFiles],
    synthetic: int = 0,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> list[LabelledCase]:
    """Read cases, and make ``synthetic`` abdomens, and as many other body parts, beside them."""
    cases = []
    total = len(files) + synthetic
    for index, case in enumerate(files):
        progress(index / total, f"Reading {case.name}")
        cases.append(load_case(case))
    for seed in range(synthetic):
        progress((len(files) + seed) / total, f"Making synthetic abdomen {seed}")
        # Seeds far from those that demo and the tests use, so that they stay unseen.
        cases.append(synthetic_case(10_000 + seed))
        cases.append(case_elsewhere(10_000 + seed))
    return cases


def load_sound_cases(
    data: DataSet,
    wanted: Collection[str],
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> tuple[dict[str, LabelledCase], list[Finding]]:
    """Check all of a data set, and keep the cases that are wanted; each file is read once.

    Args:
        wanted: names of cases.
        progress: told which case is looked at.

    Returns:
        The cases by name, and the warnings.

    Raises:
        TrainingError: there are errors, as of :func:`.checker.require_sound`.
    """
    cases: dict[str, LabelledCase] = {}

    def keep(files: CaseFiles, image: Volume, labels: Volume) -> None:
        if files.name in wanted:
            cases[files.name] = labelled_case(files, image, labels)

    warnings = require_sound(data, progress, keep)
    return cases, warnings
