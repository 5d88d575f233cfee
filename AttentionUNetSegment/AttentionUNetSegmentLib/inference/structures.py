"""Any structure: what the user points at, whether the model has a label for it or not.

A network that outlines one organ has an editor beside it that knows no organ: it is shown the scan,
the mask and the clicks, and says what belongs to the structure that is pointed at. Experimental.
"""

from __future__ import annotations

import dataclasses

from ..errors import InputError, ModelError
from ..models import Label, ModelCard
from ..models.terminology import TISSUE, make_label

EXPERIMENTAL = (
    "Any structure is experimental: the outline comes from your clicks alone; check it in every "
    "slice."
)
CLICK_FIRST = (
    "Any structure begins with a click: nothing looks for it in the scan, so click or draw a line "
    "inside it first."
)


def require_any_structure(card: ModelCard) -> None:
    """Raises:
    InputError: the model answers clicks at its targets alone.
    """
    if not card.takes_any_structure:
        names = " and the ".join(label.name for label in card.target_labels)
        raise InputError(
            f"The model '{card.name}' answers clicks at the {names} alone, for it has no editor "
            "for any structure; choose a model that has one."
        )


def structure_label(name: str) -> Label:
    """The label of a structure: as in the table where that has the name, else a tissue.

    Raises:
        InputError: it is no name.
    """
    try:
        label = make_label(1, " ".join(name.split()))
    except ModelError as error:
        raise InputError(f"'{name}' is no name for a structure.") from error
    return label if label.terminology else dataclasses.replace(label, terminology=TISSUE)
