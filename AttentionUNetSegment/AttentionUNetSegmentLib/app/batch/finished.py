"""How a finished study is recognised: by its scan's checksum, its model and its options."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...inference.clicks import Click
from ...io.formats import ITK_FORMATS, suffix_of
from ...io.voxel_files import voxel_files
from ...models import ModelCard
from ...networks.precision import AUTO
from ..segmenting import REPORT_FILE
from .sources import Study

ENTRY = "batch"
"""Of ``report.json``: what the study was made of, and the sizes of its files."""

_PIECE = 1 << 22


def checksum(study: Study) -> str:
    """SHA-256 of the files of a scan, whatever they are called and wherever they lie.

    Raises:
        OSError: one cannot be read.
        InputError: an image's voxels are missing, or lie elsewhere.
    """
    together = hashlib.sha256()
    for path in study.files or _with_voxels(study.path):
        together.update(_of_file(path))
    return together.hexdigest()


def entry(
    study: Study,
    input_sha256: str,
    card: ModelCard,
    also: Sequence[str],
    structure: str | None = None,
    precision: str = AUTO,
) -> dict[str, Any]:
    """What makes a study's results what they are, ready for JSON.

    Args:
        card: of the model.
        structure: what was segmented in the place of its targets.
        precision: as it was asked for; "auto" is whatever the machine takes.
    """
    editor = None if structure is None or card.editor is None else card.editor.weights
    return {
        "input_sha256": input_sha256,
        "model_sha256": card.weights.sha256 if card.weights else "",
        "clicks": [_text(click) for click in study.clicks],
        "also": sorted(also),
        # Reports of before there were these have none of them.
        "structure": structure,
        "editor_sha256": None if editor is None else editor.sha256,
        "precision": None if precision == AUTO else precision,
    }


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder, by name; hidden ones are no results."""
    return {
        path.name: path.stat().st_size
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


def finished_report(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The report in a folder if it is whole and of what is wanted, else None."""
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        made_of, files = report[ENTRY], report[ENTRY]["files"]
        if {name: made_of.get(name) for name in wanted} != wanted or "statistics" not in report:
            return None
        whole = all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return report if whole else None


def _with_voxels(path: str) -> Iterator[str]:
    """An image file, and those that its header names.

    Raises:
        InputError: they are missing, or lie elsewhere.
    """
    yield path
    kind, _ = ITK_FORMATS.get(suffix_of(Path(path)), ("", ""))
    for file in voxel_files(Path(path), kind, os.path.basename(path)) if kind else ():
        if file != Path(path):
            yield str(file)


def _of_file(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


def _text(click: Click) -> str:
    return ",".join(map(repr, click.position_ras)) + ("+" if click.inside else "-")
