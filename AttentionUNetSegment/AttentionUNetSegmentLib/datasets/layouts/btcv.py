"""BTCV ("Beyond the Cranial Vault") abdomens as ``NAME_ct.nii.gz`` and ``NAME_organs.nii.gz``.

With crops around tumours of the pancreas from PANORAMA beside them, where there are any.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..cases import CaseFiles, DataSet

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
PANORAMA_LABELS = ("background", "pancreas", "tumour")


def find_btcv(folder: Path) -> DataSet | None:
    """``btcv/train`` and ``panorama-roi`` below the folder, or BTCV cases in the folder itself."""
    nested = folder / "btcv" / "train"
    scans, problems = _beside(nested if nested.is_dir() else folder, "_organs")
    if not scans:
        return None
    crops, more_problems = _beside(folder / "panorama-roi", "_pancreas")
    cases = [CaseFiles(name, image, labels) for name, image, labels in scans]
    cases += [
        # 1 parenchyma, 2 tumour: one organ here.
        CaseFiles(name, image, labels, "region", False, {1: PANCREAS, 2: PANCREAS})
        for name, image, labels in crops
    ]
    return DataSet(
        "btcv",
        BTCV_LABELS,
        "pancreas",
        tuple(cases),
        held_out=tuple(case.name for case in cases if case.name in BTCV_VALIDATION),
        problems=(*problems, *more_problems),
    )


def find_panorama(folder: Path) -> DataSet | None:
    """Crops of PANORAMA by themselves: pancreas and tumour as two classes."""
    crops, problems = _beside(folder, "_pancreas")
    if not crops:
        return None
    return DataSet(
        "panorama",
        PANORAMA_LABELS,
        "pancreas",
        tuple(CaseFiles(name, image, labels, "region") for name, image, labels in crops),
        part_of={"tumour": "pancreas"},
        problems=problems,
    )


def tell_tumours_apart(found: DataSet) -> DataSet:
    """The same data set with PANORAMA's tumours as a label of their own, a part of the pancreas;
    another layout's as it is."""
    if found.layout != "btcv" or found.labels != BTCV_LABELS:
        return found
    tumour = len(found.labels)
    cases = tuple(
        dataclasses.replace(case, label_map={1: PANCREAS, 2: tumour})
        if case.kind == "region"
        else case
        for case in found.cases
    )
    return dataclasses.replace(
        found,
        labels=(*found.labels, PANORAMA_LABELS[2]),
        cases=cases,
        part_of={PANORAMA_LABELS[2]: "pancreas"},
    )


def _beside(folder: Path, ending: str) -> tuple[list[tuple[str, Path, Path]], tuple[str, ...]]:
    """Names, images and labels of a folder, and what is missing; nothing where no pair is."""
    pairs, problems = [], []
    for image in sorted(folder.glob("*_ct.nii.gz")):
        name = image.name.removesuffix("_ct.nii.gz")
        labels = image.with_name(f"{name}{ending}.nii.gz")
        if labels.exists():
            pairs.append((name, image, labels))
        else:
            problems.append(f"'{image.name}' has no labels beside it: '{labels.name}' is missing.")
    return pairs, tuple(problems) if pairs else ()
