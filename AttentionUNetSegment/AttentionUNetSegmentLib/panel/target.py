"""What the chosen model outlines, for the texts and the results of the panel."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from slicer.i18n import tr as _

from ..errors import ModelError
from ..models import Label, find_model, read_card
from ..models.card import CARD_FILE


def targetLabel(model: str) -> Label | None:
    """The label that a model is for; None where its card cannot be read, which is said when the
    user wants to segment with it.

    Args:
        model: name of an installed model, or a model's folder.
    """
    try:
        folder = find_model(model)
        return _label(folder, (folder / CARD_FILE).stat().st_mtime_ns)
    except (ModelError, OSError):
        return None


@lru_cache(maxsize=8)
def _label(folder: Path, _modified: int) -> Label:
    """Asked for at every update of the panel; read again where the file became another one."""
    return read_card(folder).target_label


def organName(label: Label | None) -> str:
    """As it stands in the middle of a sentence."""
    return label.name if label is not None else _("organ")
