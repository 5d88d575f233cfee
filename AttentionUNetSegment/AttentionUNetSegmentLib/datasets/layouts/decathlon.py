"""A task of the Medical Segmentation Decathlon: ``dataset.json``, ``imagesTr``, ``labelsTr``.

Antonelli et al. 2022, The Medical Segmentation Decathlon. Task07 is pancreas and tumour, Task03
liver and tumour. Data sets that were arranged for nnU-Net are alike and are read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import TrainingError
from ..cases import CaseFiles, DataSet
from ..manifest import label_names
from .pairs import FILE_ENDINGS, stem

DESCRIPTION = "dataset.json"
LESIONS = ("cancer", "tumour", "tumor")


def find_decathlon(folder: Path) -> DataSet | None:
    """A task's training cases; those without public labels (``imagesTs``) are left alone.

    Raises:
        TrainingError: ``dataset.json`` is wrong, or the task is no CT of one channel.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise TrainingError(f"'{file}' cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise TrainingError(f"'{file}' is not valid JSON ({error}).") from error
    if not isinstance(content, dict) or "labels" not in content:
        raise TrainingError(f"'{file}' describes no task: it has no labels.")
    channels = content.get("modality", content.get("channel_names", {"0": "CT"}))
    if not isinstance(channels, Mapping) or [
        str(channel).upper() for channel in channels.values()
    ] != ["CT"]:
        raise TrainingError(f"'{file}' describes images other than CT of one channel: {channels}.")

    names = label_names(_by_value(content["labels"]), file)
    label_map = {value: index for index, value in enumerate(sorted(names))}
    labels = tuple(names[value] for value in label_map)
    cases, problems = [], []
    for name, image, label in _training(folder, content):
        missing = [path for path in (image, label) if not path.exists()]
        if missing:
            problems.append(
                f"Case '{name}' is in {DESCRIPTION}, but '{missing[0].relative_to(folder)}' is "
                "missing."
            )
        else:
            cases.append(CaseFiles(name, image, label, label_map=label_map))
    if not cases and not problems:
        raise TrainingError(f"'{file}' lists no training cases.")
    organ = "pancreas" if "pancreas" in labels else labels[1]
    return DataSet(
        "decathlon",
        labels,
        organ,
        tuple(sorted(cases, key=lambda case: case.name)),
        part_of={name: organ for name in labels if name.casefold() in LESIONS and name != organ},
        problems=tuple(problems),
    )


def _by_value(labels: Any) -> Any:
    """Names by value: the Decathlon writes them so, nnU-Net the other way round."""
    if isinstance(labels, Mapping) and all(isinstance(value, int) for value in labels.values()):
        return {str(value): name for name, value in labels.items()}
    return labels


def _training(folder: Path, content: Mapping[str, Any]) -> list[tuple[str, Path, Path]]:
    listed = content.get("training")
    if isinstance(listed, list) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("image"), str)
        and isinstance(entry.get("label"), str)
        for entry in listed
    ):
        found = []
        for entry in listed:
            # By name, not by the path in the list, so that nothing outside the folder is read.
            image = folder / "imagesTr" / Path(entry["image"]).name
            label = folder / "labelsTr" / Path(entry["label"]).name
            found.append((_case_name(label), _with_channel(image), label))
        return found
    if listed is not None:
        raise TrainingError(f"The list of training cases in '{folder / DESCRIPTION}' is damaged.")
    return [
        (_case_name(label), _with_channel(folder / "imagesTr" / label.name), label)
        for label in sorted((folder / "labelsTr").glob("[!.]*"))
        if stem(label)
    ]


def _case_name(label: Path) -> str:
    return stem(label) or label.name


def _with_channel(image: Path) -> Path:
    """The image itself, or as nnU-Net names it, with its channel's number."""
    for ending in FILE_ENDINGS:
        if not image.exists() and image.name.endswith(ending):
            numbered = image.with_name(f"{image.name.removesuffix(ending)}_0000{ending}")
            return numbered if numbered.exists() else image
    return image
