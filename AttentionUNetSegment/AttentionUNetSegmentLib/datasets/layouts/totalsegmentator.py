"""TotalSegmentator's layout: ``sNNNN/ct.nii.gz`` with ``segmentations/NAME.nii.gz``, one mask each.

Wasserthal et al. 2023, TotalSegmentator. The masks of a subject become one label map; where two
overlap, the later name in the alphabet counts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...geometry.volume import Volume
from ...io.label_maps import read_labels
from ...io.reading import read_volume
from ..cases import CaseFiles, DataSet

IMAGE, MASKS, ENDING = "ct.nii.gz", "segmentations", ".nii.gz"


def find_totalsegmentator(folder: Path) -> DataSet | None:
    """The subjects of a folder; None where it holds none."""
    subjects = sorted(path.parent for path in folder.glob(f"*/{IMAGE}"))
    subjects = [one for one in subjects if (one / MASKS).is_dir()]
    if not subjects:
        return None
    masks = {
        one: {file.name: file for file in (one / MASKS).glob(f"*{ENDING}")} for one in subjects
    }
    files = tuple(sorted({name for of_one in masks.values() for name in of_one}))
    problems = [
        f"'{one.name}/{MASKS}' lacks '{name}', which other subjects have."
        for one in subjects
        for name in files
        if name not in masks[one]
    ]
    if not files:
        problems = [f"'{one.name}/{MASKS}' holds no masks." for one in subjects]
    labels = ("background", *(label_of(name) for name in files))
    return DataSet(
        "totalsegmentator",
        labels,
        labels[1] if len(labels) > 1 else "",
        tuple(
            CaseFiles(
                one.name,
                one / IMAGE,
                one / MASKS / files[0],
                read=functools.partial(read_subject, names=files),
            )
            for one in subjects
            if len(masks[one]) == len(files) > 0
        ),
        problems=tuple(problems),
    )


def label_of(name: str) -> str:
    """The label of a mask's file: ``adrenal_gland_left.nii.gz`` is the left adrenal gland's."""
    return name.removesuffix(ENDING).replace("_", " ")


def read_subject(files: CaseFiles, names: Sequence[str]) -> tuple[Volume, Volume]:
    """The scan and one label map of its masks: value n for the n-th name. Masks that are mapped to
    the background are not read.

    Raises:
        InputError: one cannot be read, or they lie on different grids.
    """
    merged: Volume | None = None
    for value, name in enumerate(names, start=1):
        if merged is not None and files.label_map and not files.label_map.get(value):
            continue
        mask = read_labels(files.image.parent / MASKS / name)
        if merged is None:
            merged = mask.with_array(np.zeros(mask.array.shape, np.uint8))
        if mask.array.shape != merged.array.shape:
            raise InputError(f"'{name}' lies on another grid than the other masks.")
        merged.array[mask.array != 0] = value
    assert merged is not None
    return read_volume(files.image), merged
