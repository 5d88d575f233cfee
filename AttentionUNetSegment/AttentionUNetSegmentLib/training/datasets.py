"""Scans with labels, as training sees them.

Each case is kept in memory as it was acquired (after the averaging that its training grid allows);
patches are interpolated from it with their augmentation in one go, so that nothing is resampled
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import InputError, TrainingError
from ..inference.reading import read_volume
from ..inference.volume import Volume

BTCV_VALIDATION = ("case0010", "case0027", "case0031")
BTCV_LABELS = (
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "liver",
    "stomach",
    "aorta",
    "pancreas",
)
PANCREAS = BTCV_LABELS.index("pancreas")

CaseKind = Literal["scan", "region", "synthetic", "elsewhere"]


@dataclass(frozen=True)
class CaseFiles:
    """Where a case is, and what its labels say.

    Args:
        name: identifies the case in logs and tables.
        kind: "scan" shows the whole abdomen; "region" is a crop around the organ, beyond which
            nothing is known; "synthetic" is a made-up abdomen; "elsewhere" a made-up part of the
            body without any of the organs.
        organs_known: whether the labels name all organs, or the target only.
        label_map: from the file's label values to ours; what is missing becomes background.
    """

    name: str
    image: Path
    labels: Path
    kind: CaseKind = "scan"
    organs_known: bool = True
    label_map: dict[int, int] | None = None


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A case in memory: the scan in HU and the labels (uint8) on the same grid."""

    name: str
    ct: Volume
    labels: Volume
    kind: CaseKind
    organs_known: bool


def btcv_cases(folder: Path) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """The BTCV cases of a folder: those to train on and those to validate on.

    Raises:
        TrainingError: there are none.
    """
    cases = [
        CaseFiles(image.name.removesuffix("_ct.nii.gz"), image, _beside(image, "_ct", "_organs"))
        for image in sorted(folder.glob("*_ct.nii.gz"))
    ]
    if not cases:
        raise TrainingError(
            f"'{folder}' holds no training cases: *_ct.nii.gz with *_organs.nii.gz beside each."
        )
    train = [case for case in cases if case.name not in BTCV_VALIDATION]
    return train, [case for case in cases if case.name in BTCV_VALIDATION]


def find_cases(folder: Path) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """What a data folder holds: cases to train on, and cases held out for validation.

    Reads ``btcv/train`` and ``panorama-roi`` below the folder, or BTCV cases in the folder itself.

    Raises:
        TrainingError: there is no such folder, or no case in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"There is no data folder '{folder}'.")
    nested = folder / "btcv" / "train"
    train, validation = btcv_cases(nested if nested.is_dir() else folder)
    return [*train, *panorama_cases(folder / "panorama-roi")], validation


def panorama_cases(folder: Path) -> list[CaseFiles]:
    """The crops around pancreas and tumour of a folder (1 parenchyma, 2 tumour: one organ here)."""
    return [
        CaseFiles(
            image.name.removesuffix("_ct.nii.gz"),
            image,
            _beside(image, "_ct", "_pancreas"),
            kind="region",
            organs_known=False,
            label_map={1: PANCREAS, 2: PANCREAS},
        )
        for image in sorted(folder.glob("*_ct.nii.gz"))
    ]


def _beside(image: Path, suffix: str, other: str) -> Path:
    labels = image.with_name(image.name.replace(f"{suffix}.nii.gz", f"{other}.nii.gz"))
    if not labels.exists():
        raise TrainingError(f"'{image.name}' has no labels beside it: '{labels.name}' is missing.")
    return labels


def load_case(files: CaseFiles) -> LabelledCase:
    """Read a case and check that image and labels belong together.

    Raises:
        TrainingError: they do not, or one cannot be read.
    """
    try:
        ct, labels = read_volume(files.image), read_volume(files.labels)
    except InputError as error:
        raise TrainingError(f"Case '{files.name}' cannot be read: {error}") from error
    if ct.array.shape != labels.array.shape or not np.allclose(
        ct.ijk_to_ras, labels.ijk_to_ras, atol=1e-2
    ):
        raise TrainingError(
            f"Case '{files.name}': image and labels lie on different grids; resample the labels "
            "to the image."
        )
    values = labels.array
    if values.min() < 0 or values.max() > 254:
        raise TrainingError(f"Case '{files.name}' has labels outside 0 to 254.")
    if files.label_map is not None:
        mapped = np.zeros(values.shape, np.uint8)
        for value, ours in files.label_map.items():
            mapped[values == value] = ours
        values = mapped
    return LabelledCase(
        files.name,
        ct,
        labels.with_array(np.ascontiguousarray(values, dtype=np.uint8)),
        files.kind,
        files.organs_known,
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
