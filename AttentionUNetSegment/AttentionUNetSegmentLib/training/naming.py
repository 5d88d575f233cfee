"""What a trained model is called, and under which terms it stands."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.manifest import MANIFEST_FILE
from ..errors import InputError
from ..models import ModelCard, installed_models
from ..models.card import is_name
from .option_fields import GROUPS, option

MODEL = GROUPS[1]
FIRST_VERSION = "0.1.0"
NO_LICENCE = "Research use; the training data state no licence, so that their own terms apply"
_LONGEST = 300
_MOST_BYTES = 1_000_000
_DATA_CARDS = ("dataset.json", MANIFEST_FILE, "dataset_description.json")
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying)(\.(txt|md|rst))?", re.IGNORECASE)


@dataclass(frozen=True)
class Naming:
    """What a user says of a model to be trained; what is None is chosen.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``.
        title: a line that says what it segments.
        version: of the model.
        licence: of its weights.
        author: who answers for it.
        cite: works to cite beside the method, the data's own reference and those of the model that
            it started from.
    """

    name: str | None = option("Short name of the model; that of DIR unless given.", MODEL)
    title: str | None = option("A line that says what it segments.", MODEL)
    version: str | None = option(
        "Version of the model; 0.1.0, and one more each time that it is trained on.", MODEL
    )
    licence: str | None = option(
        "Licence of the weights; what the data's files say unless given.", MODEL
    )
    author: str | None = option("Who answers for the model.", MODEL)
    cite: tuple[str, ...] = option(
        "A work to cite. May be given several times.", MODEL, default=(), metavar="WORK"
    )

    def check(self) -> None:
        """Refuse what no card takes, before the long work.

        Raises:
            InputError: the name or one of the texts is not valid.
        """
        if self.name is not None and not is_name(self.name):
            raise InputError(
                f"'{self.name}' is no name of a model: it is made of letters, digits, '.', '_' and "
                "'-', 64 at most."
            )
        for what in ("title", "version", "licence", "author"):
            text = getattr(self, what)
            most = 64 if what == "version" else _LONGEST
            if text is not None and not (text.strip() and len(text) <= most):
                raise InputError(f"The {what} is a text of 1 to {most} characters.")


@dataclass(frozen=True)
class DataTerms:
    """What a data set's own files say of themselves; None where they say nothing."""

    licence: str | None = None
    reference: str | None = None


def read_data_terms(folder: Path) -> DataTerms:
    """Licence and reference of a data set, from its description (``dataset.json`` and the like) or
    its licence file. Nothing is concluded from how its files are named."""
    licence = reference = None
    for name in _DATA_CARDS:
        content = _json(folder / name)
        licence = licence or _text(content, "licence", "license", "License")
        reference = reference or _text(content, "reference", "ReferencesAndLinks", "citation")
    if licence is None and folder.is_dir():
        for file in sorted(folder.iterdir()):
            if file.is_file() and _LICENCE_FILE.fullmatch(file.name):
                line = _first_line(file)
                licence = f"{line} ({file.name} of the data)" if line else None
                break
    return DataTerms(licence, reference)


def complete_card(
    card: ModelCard,
    naming: Naming,
    terms: DataTerms,
    output: Path,
    *,
    before: ModelCard | None = None,
    start: ModelCard | None = None,
) -> ModelCard:
    """Give a fresh card its name, title, version, licence, author and works to cite.

    Args:
        card: the rest of it; its citation is the method's.
        output: folder of the run.
        before: the model that this run wrote earlier; its name stays, and its version counts up
            where it was trained on.
        start: the model that it started from.
    """
    run = re.sub(r"[^A-Za-z0-9._-]+", "-", output.resolve().name).strip("-._")[:40] or "model"
    today = datetime.date.today().isoformat()
    taken = {one.card.name for one in installed_models()}
    name = naming.name or (before.name if before else f"{run}-{today}" if run in taken else run)
    organ = card.target[:1].upper() + card.target[1:]
    title = naming.title or (before.title if before else f"{organ} in CT, {run}, {today}")
    if naming.version:
        version = naming.version
    elif before is not None:
        same = before.training.get("done") == card.training.get("done")
        version = before.version if same else next_version(before.version)
    else:
        version = next_version(start.version) if start else FIRST_VERSION
    cited = (
        *card.citation,
        *(start.citation if start else ()),
        *([terms.reference] if terms.reference else []),
        *naming.cite,
    )
    return dataclasses.replace(
        card,
        name=name,
        title=title,
        version=version,
        licence=naming.licence or _licence(terms, start),
        author=naming.author or (before.author if before else ""),
        citation=tuple(dict.fromkeys(cited)),
    )


def next_version(version: str) -> str:
    """Of a model that was trained on: other weights never have the version of those before."""
    numbers = re.fullmatch(r"(\d+)\.(\d+)\.\d+", version)
    if numbers is None:
        return f"{version}+trained.1"
    return f"{numbers[1]}.{int(numbers[2]) + 1}.0"


def _licence(terms: DataTerms, start: ModelCard | None) -> str:
    of_data = f"Research use; the training data say: {terms.licence}" if terms.licence else None
    if start is None:
        return of_data or NO_LICENCE
    further = f"the data of the further training say: {terms.licence}"
    if not terms.licence:
        further = "the data of the further training state no licence, so that their own terms apply"
    return f"{start.licence}; started from {start.name} {start.version}, {further}"


def _json(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return {}
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whoever reads the data set says what is wrong with it
        return {}
    return content if isinstance(content, dict) else {}


def _text(content: dict[str, Any], *names: str) -> str | None:
    for name in names:
        value = content.get(name)
        if isinstance(value, str) and value.strip():
            return " ".join(value.split())[:_LONGEST]
    return None


def _first_line(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            lines = stream.read(10_000).splitlines()
    except OSError:
        return None
    return next((" ".join(line.split())[:_LONGEST] for line in lines if line.strip(" #\t")), None)
