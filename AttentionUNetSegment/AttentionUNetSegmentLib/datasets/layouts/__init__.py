"""The layouts that a data folder may have, one module each.

Each module has a function that looks at a folder and returns what it holds as a
:class:`~..cases.DataSet`, or None where the folder has another layout.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import TrainingError
from ..cases import DataSet
from ..manifest import MANIFEST_FILE
from .btcv import find_btcv, find_panorama
from .decathlon import find_decathlon
from .lits import find_lits
from .pairs import FILE_ENDINGS, find_pairs
from .pancreas_ct import find_pancreas_ct
from .slices import find_slices
from .totalsegmentator import find_totalsegmentator

LAYOUTS: dict[str, tuple[Callable[[Path], DataSet | None], str]] = {
    "btcv": (find_btcv, "btcv/train, or *_ct.nii.gz with *_organs.nii.gz beside each"),
    "panorama": (find_panorama, "*_ct.nii.gz with *_pancreas.nii.gz beside each"),
    "decathlon": (find_decathlon, "dataset.json with imagesTr and labelsTr"),
    "lits": (find_lits, "volume-N.nii with segmentation-N.nii"),
    "pancreas-ct": (find_pancreas_ct, "PANCREAS_NNNN folders of DICOM with labelNNNN.nii.gz"),
    "totalsegmentator": (
        find_totalsegmentator,
        "sNNNN folders of ct.nii.gz with segmentations/NAME.nii.gz",
    ),
    "slices": (find_slices, "images/*.jpg with masks/*.png"),
    "pairs": (find_pairs, "images/ and labels/, or scans with *_label files beside them"),
}
"""In the order in which they are tried, the most particular first, and how each is recognised."""

__all__ = ["LAYOUTS", "find_data_set"]


def find_data_set(folder: Path, layout: str = "auto") -> DataSet:
    """What a data folder holds.

    Args:
        folder: of any layout.
        layout: one of :data:`LAYOUTS`, or "auto" for the first that fits; a folder with a
            manifest is one of pairs.

    Raises:
        TrainingError: there is no such folder or layout, or no case in the folder.
    """
    if not folder.is_dir():
        raise TrainingError(f"There is no data folder '{folder}'.")
    if layout not in ("auto", *LAYOUTS):
        raise TrainingError(
            f"'{layout}' is no layout of a data set; choose auto or one of {', '.join(LAYOUTS)}."
        )
    if layout == "auto" and (folder / MANIFEST_FILE).exists():
        layout = "pairs"
    for name, (find, _) in LAYOUTS.items():
        if layout in ("auto", name):
            found = find(folder)
            if found is not None:
                return found
    lonely = [file.name for file in folder.iterdir() if file.name.lower().endswith(FILE_ENDINGS)]
    known = "; ".join(
        description for name, (_, description) in LAYOUTS.items() if layout in ("auto", name)
    )
    raise TrainingError(
        f"'{folder}' holds no training cases"
        + (f" ('{min(lonely)}' has no labels beside it)" if lonely else "")
        + f"; what is read: {known}."
    )
