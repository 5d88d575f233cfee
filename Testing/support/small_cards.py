"""A card for models that only tests have."""

from __future__ import annotations

from typing import Any

from AttentionUNetSegmentLib.models import Label, ModelCard, Stage


def card_of(**networks: dict[str, Any]) -> ModelCard:
    """A card without weights: two labels, and a stage of 2 x 2 x 3 mm for each network's config."""
    return ModelCard(
        name="random",
        version="7",
        title="Random",
        summary="For tests.",
        intended_use="Tests.",
        licence="CC0",
        citation=(),
        intensity_window_hu=(-125, 275),
        labels=(Label(0, "background"), Label(1, "pancreas")),
        target="pancreas",
        stages={name: Stage(config, (2.0, 2.0, 3.0)) for name, config in networks.items()},
    )
