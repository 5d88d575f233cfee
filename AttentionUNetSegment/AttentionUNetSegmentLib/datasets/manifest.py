"""``manifest.json``: what the labels of a data set are called, and which cases it has.

::

    {"format": 1, "labels": {"0": "background", "1": "pancreas"},
     "cases": [{"name": "a", "image": "images/a.nii.gz", "label": "labels/a.nii.gz"}]}

Training reads it (``layouts/pairs.py``); the panel writes it (``scene/collection.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import TrainingError

MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 1


def read_manifest(file: Path) -> dict[str, Any]:
    """What a manifest says, checked; its labels by value as numbers. Empty where there is none.

    Raises:
        TrainingError: it cannot be read, or says what cannot be.
    """
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise TrainingError(f"'{file}' cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise TrainingError(f"'{file}' is not valid JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != MANIFEST_FORMAT:
        raise TrainingError(
            f"'{file}' is no list of cases of a format that is read here; it starts with "
            f'{{"format": {MANIFEST_FORMAT}.'
        )
    manifest = dict(content)
    if "labels" in manifest:
        manifest["labels"] = label_names(manifest["labels"], file)
    if "cases" in manifest and not isinstance(manifest["cases"], list):
        raise TrainingError(f"The cases in '{file}' must be a list.")
    part_of = manifest.get("part_of", {})
    if not isinstance(part_of, dict) or not all(
        isinstance(text, str) for pair in part_of.items() for text in pair
    ):
        raise TrainingError(f"In '{file}', part_of must give the name of a label for another one.")
    return manifest


def label_names(labels: Any, file: Path) -> dict[int, str]:
    """Label names by value, from JSON's object of texts.

    Raises:
        TrainingError: a value is not 0 to 254, a name is missing or stands twice, or there is no
            label but the background.
    """
    try:
        names = {int(value): name for value, name in labels.items()}
    except (AttributeError, TypeError, ValueError):
        raise TrainingError(
            f'The labels in \'{file}\' must be numbers with a name each, as {{"0": "background", '
            '"1": "pancreas"}.'
        ) from None
    names.setdefault(0, "background")
    wrong = [value for value in names if not 0 <= value <= 255]
    if wrong:
        raise TrainingError(f"The label {wrong[0]} in '{file}' is outside 0 to 255.")
    texts = list(names.values())
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise TrainingError(f"Each label in '{file}' must have a name.")
    if len({text.casefold() for text in texts}) < len(texts):
        raise TrainingError(f"Two labels in '{file}' have the same name.")
    if len(names) < 2:
        raise TrainingError(f"'{file}' names no label but the background.")
    return names
