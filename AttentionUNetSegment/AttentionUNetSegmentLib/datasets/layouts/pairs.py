"""A plain folder of images with a label file each, named alike.

Either ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``, or both in one folder as
``NAME.nii.gz`` and ``NAME_label.nii.gz``. A ``manifest.json`` may name the labels and list the
cases; see :mod:`..manifest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...errors import InputError, TrainingError
from ..cases import CaseFiles, DataSet, read_labels
from ..manifest import MANIFEST_FILE, read_manifest

FILE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
IMAGE_FOLDERS = ("images", "image", "imagesTr", "scans", "ct")
LABEL_FOLDERS = ("labels", "label", "labelsTr", "masks", "mask", "segmentations", "segmentation")
IMAGE_MARKS = ("ct", "image", "img", "scan", "volume", "0000")
LABEL_MARKS = (
    *("label", "labels", "seg", "segmentation", "mask", "masks", "organs", "organ", "gt"),
    *("pancreas", "tumour", "tumor", "liver"),
)
"""What a file's name ends in after ``_``, ``-`` or ``.`` where it is a scan, or its labels."""


@dataclass(frozen=True)
class Pair:
    """An image and its labels."""

    name: str
    image: Path
    labels: Path
    patient: str = ""


def find_pairs(folder: Path) -> DataSet | None:
    """The pairs of a folder; None where it holds none.

    Where no manifest names the labels, every label file is read for the values in it.

    Raises:
        TrainingError: the manifest is wrong, or a label file cannot be read.
    """
    manifest = read_manifest(folder / MANIFEST_FILE)
    if "cases" in manifest:
        pairs, problems = _listed(folder, manifest["cases"])
    else:
        pairs, problems = _in_two_folders(folder)
        if not pairs and not problems:
            pairs, problems = _in_one_folder(folder)
        if not pairs:
            return None
    named = "labels" in manifest
    names = manifest["labels"] if named else _values_as_names(pairs)
    label_map = {value: index for index, value in enumerate(sorted(names))}
    labels = tuple(names[value] for value in label_map)
    in_order = all(value == index for value, index in label_map.items())
    return DataSet(
        "pairs",
        labels,
        _target(manifest.get("target"), labels),
        tuple(
            CaseFiles(
                pair.name,
                pair.image,
                pair.labels,
                label_map=None if in_order else label_map,
                patient=pair.patient,
            )
            for pair in pairs
        ),
        part_of=manifest.get("part_of", {}),
        named=named,
        problems=tuple(problems),
    )


def stem(file: Path) -> str | None:
    """The name without its ending; None for a file of another format."""
    name = file.name
    for ending in FILE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return None


def _listed(folder: Path, cases: Sequence[Any]) -> tuple[list[Pair], list[str]]:
    pairs, problems = [], []
    names: set[str] = set()
    for entry in cases:
        where = [entry.get(key) for key in ("image", "label")] if isinstance(entry, Mapping) else []
        texts = [text for text in where if isinstance(text, str) and text]
        if len(texts) != 2:
            raise TrainingError(
                f"A case in '{folder / MANIFEST_FILE}' lacks its image or its label."
            )
        image, labels = (_inside(folder, text) for text in texts)
        name = str(entry.get("name") or stem(image) or image.name)
        if name in names:
            raise TrainingError(f"The case '{name}' stands twice in '{folder / MANIFEST_FILE}'.")
        names.add(name)
        missing = [file for file in (image, labels) if not file.exists()]
        if missing:
            problems.append(
                f"Case '{name}' is in {MANIFEST_FILE}, but '{missing[0].relative_to(folder)}' is "
                "missing."
            )
        else:
            pairs.append(Pair(name, image, labels, str(entry.get("patient") or "")))
    return pairs, problems


def _inside(folder: Path, text: str) -> Path:
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise TrainingError(
            f"'{text}' in '{folder / MANIFEST_FILE}' leads out of the data folder; give paths "
            "within it."
        )
    return folder / path


# Names alike


def _in_two_folders(folder: Path) -> tuple[list[Pair], list[str]]:
    where = [
        next((folder / name for name in names if (folder / name).is_dir()), None)
        for names in (IMAGE_FOLDERS, LABEL_FOLDERS)
    ]
    if where[0] is None or where[1] is None:
        return [], []
    images, labels = (_files(one) for one in where if one is not None)
    return _matched(
        [(_without_mark(name, IMAGE_MARKS), file) for name, file in images],
        [(_without_mark(name, LABEL_MARKS), file) for name, file in labels],
        folder,
    )


def _in_one_folder(folder: Path) -> tuple[list[Pair], list[str]]:
    images, labels = [], []
    for name, file in _files(folder):
        bare = _without_mark(name, LABEL_MARKS)
        if bare != name:
            labels.append((bare, file))
        else:
            images.append((_without_mark(name, IMAGE_MARKS), file))
    # Without a single label the folder is of something else, not of pairs with labels missing.
    return _matched(images, labels, folder) if labels else ([], [])


def _files(folder: Path) -> list[tuple[str, Path]]:
    named = [(stem(file), file) for file in sorted(folder.iterdir())]
    return [(name, file) for name, file in named if name and not name.startswith(".")]


def _without_mark(name: str, marks: Sequence[str]) -> str:
    lower = name.lower()
    for mark in marks:
        if lower.endswith(tuple(separator + mark for separator in "_-.")):
            return name[: -len(mark) - 1]
    return name


def _matched(
    images: Sequence[tuple[str, Path]], labels: Sequence[tuple[str, Path]], folder: Path
) -> tuple[list[Pair], list[str]]:
    """Args:
    images, labels: with the names of their cases.
    """
    image_of, label_of, problems = dict(images), dict(labels), []
    for files, found, kind in ((images, image_of, "image"), (labels, label_of, "label file")):
        for name, file in files:
            if found[name] != file:
                one, other = (path.relative_to(folder) for path in (file, found[name]))
                problems.append(
                    f"'{one}' and '{other}' are each the {kind} of case '{name}'; remove one, or "
                    f"list the cases in a {MANIFEST_FILE}."
                )
    pairs = [
        Pair(name, image_of[name], label_of[name]) for name in sorted(image_of.keys() & label_of)
    ]
    problems += [
        f"'{image_of[name].relative_to(folder)}' has no label file."
        for name in sorted(image_of.keys() - label_of.keys())
    ]
    problems += [
        f"'{label_of[name].relative_to(folder)}' has no image."
        for name in sorted(label_of.keys() - image_of.keys())
    ]
    return pairs, problems


# Labels without names


def _values_as_names(pairs: Sequence[Pair]) -> dict[int, str]:
    """Names for the values that the label files hold."""
    values = {0}
    for pair in pairs:
        try:
            array = read_labels(pair.labels).array
        except InputError as error:
            raise TrainingError(f"Case '{pair.name}' cannot be read: {error}") from error
        if has_fractions(array):
            raise TrainingError(
                f"The labels of case '{pair.name}' hold fractions; they must be whole numbers, one "
                "a class: cut them at a threshold first."
            )
        values |= values_in(array)
    if values == {0, 255}:  # a mask as a picture has it
        return {0: "background", 255: "label 255"}
    wrong = [value for value in values if not 0 <= value <= 254]
    if wrong:
        raise TrainingError(
            f"The label files hold {wrong[0]}, which is outside 0 to 254; list in a "
            f"{MANIFEST_FILE} which values are labels, or change the files."
        )
    if len(values) < 2:
        raise TrainingError("The label files hold nothing but background.")
    return {value: f"label {value}" if value else "background" for value in sorted(values)}


def has_fractions(array: np.ndarray) -> bool:
    """Whether not all values are whole numbers."""
    if array.dtype.kind != "f":
        return False
    return not bool((np.isfinite(array) & (array == np.rint(array))).all())


def values_in(array: np.ndarray) -> set[int]:
    """The whole numbers in an array; a fraction counts as the number below."""
    if array.dtype == np.uint8:
        return set(np.flatnonzero(np.bincount(array.ravel(), minlength=256)).tolist())
    return {int(value) for value in np.unique(array)}


def _target(wanted: Any, labels: Sequence[str]) -> str:
    if wanted is not None and wanted not in labels[1:]:
        raise TrainingError(f"The target '{wanted}' in {MANIFEST_FILE} is none of its labels.")
    return wanted or ("pancreas" if "pancreas" in labels else labels[1])
