"""Any structure: what the user points at, whether the model has a label for it or not.

A network that outlines one organ has an editor beside it that knows no organ: it is shown the scan,
the mask and the clicks, and says what belongs to the structure that is pointed at. Experimental.
"""

from __future__ import annotations

import dataclasses

from ..errors import InputError, ModelError
from ..models import Label, ModelCard
from ..models.terminology import TISSUE, make_label

_EXPERIMENTAL = "Any structure is experimental: "
EXPERIMENTAL = f"{_EXPERIMENTAL}the outline comes from your clicks alone; check it in every slice."


def known_organs(card: ModelCard) -> tuple[Label, ...]:
    """What the model's networks look for in the whole scan, for any structure of that name."""
    if "locator" not in card.stages or not card.takes_any_structure:
        return ()
    return tuple(label for label in card.labels if label.value)


def known_organ(card: ModelCard, name: str) -> Label | None:
    """The one of that name, whatever its case; None where clicks alone say what it is."""
    wanted = " ".join(name.split()).casefold()
    return next((one for one in known_organs(card) if one.name.casefold() == wanted), None)


def click_first_text(card: ModelCard) -> str:
    """What to do about a structure that nothing looks for."""
    text = "Nothing looks for this structure in the scan: click or draw a line inside it first."
    names = ", ".join(organ.name for organ in known_organs(card))
    return f"{text} By their names are found: {names}." if names else text


def experimental_text(card: ModelCard, organ: Label | None) -> str:
    """What a result says of how it came about.

    Args:
        organ: that was looked for in the scan; None where the outline is from clicks alone.
    """
    if organ is None:
        return EXPERIMENTAL
    if organ.name == card.target:
        return (
            f"{_EXPERIMENTAL}clicks at the {organ.name} are answered more simply than where it is "
            "the model's own organ; check the outline in every slice."
        )
    return (
        f"{_EXPERIMENTAL}the networks know the {organ.name} only as what lies around the "
        f"{card.target}; check the outline in every slice."
    )


def says_experimental(text: str) -> bool:
    """Whether a result's warning is one that each result of any structure has."""
    return text.startswith(_EXPERIMENTAL)


def not_found_text(organ: Label, in_region: bool = False) -> str:
    """What to do about an organ that was looked for.

    Args:
        in_region: in a region of interest only.
    """
    if in_region:
        return (
            f"The {organ.name} was not found in the region of interest; click inside it, or "
            "enlarge the region."
        )
    return f"The {organ.name} was not found in this scan; click inside it."


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
