"""What the chosen model outlines, for the texts and the results of the panel."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..errors import ModelError
from ..inference.structures import known_organs
from ..models import Label, ModelCard, find_model, read_card
from ..models.card import CARD_FILE
from ..scene import segments


def targetLabels(model: str) -> tuple[Label, ...]:
    """The labels that a model is for, the first the organ that it is named after; none where its
    card cannot be read, which is said when the user wants to segment with it.

    Args:
        model: name of an installed model, or a model's folder.
    """
    card = modelCard(model)
    return card.target_labels if card is not None else ()


def modelCard(model: str) -> ModelCard | None:
    """The card of a model, named or in a folder; None where it cannot be read."""
    try:
        folder = find_model(model)
        return _card(folder, (folder / CARD_FILE).stat().st_mtime_ns)
    except (ModelError, OSError):
        return None


@lru_cache(maxsize=8)
def _card(folder: Path, _modified: int) -> ModelCard:
    """Asked for at every update of the panel; read again where the file became another one."""
    return read_card(folder)


def takesAnyStructure(model: str) -> bool:
    """Whether a model answers clicks at any structure; False where its card cannot be read."""
    card = modelCard(model)
    return card is not None and card.takes_any_structure


def foundOrgansText(model: str) -> str:
    """Which structures are found without a click; empty where none is."""
    card = modelCard(model)
    names = [organ.name for organ in known_organs(card)] if card is not None else []
    if not names:
        return ""
    return _("Found without a click: {names}.").format(names=", ".join(names))


def noStructuresText() -> str:
    """Why any structure is not offered."""
    return _(
        "The chosen model answers clicks at what it is for alone; choose one with an editor for "
        "any structure."
    )


def targetOfSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode | None, segmentId: str | None, model: str
) -> str:
    """Which of a model's targets a segment shows, by its tag; empty where it is none of them."""
    if segmentationNode is None or segmentId is None:
        return ""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    name = segments.tag(segment, segments.TARGET_TAG) if segment is not None else None
    return name if name in [label.name for label in targetLabels(model)] else ""


def isOfTarget(
    segmentationNode: slicer.vtkMRMLSegmentationNode | None, segmentId: str | None, model: str
) -> bool:
    """Whether a segment shows one of a model's targets, and is named so: it is never one of any
    structure, for the organ's own network draws it best."""
    target = targetOfSegment(segmentationNode, segmentId, model)
    if not target or segmentationNode is None:
        return False
    name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
    return name.casefold() == target.casefold()


def organName(label: Label | None) -> str:
    """As it stands in the middle of a sentence."""
    return label.name if label is not None else _("organ")
