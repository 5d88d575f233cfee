"""The networks that are compared, and the tables that they make up.

No torch here: the command line lists the names in its help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class Variant:
    """A network of an experiment.

    Args:
        key: names it in folders and files, and in ``--networks``.
        title: names it in tables.
        network: what of the builder's config sets it apart from the others.
        colour: in curves, so that a network has the same one everywhere.
    """

    key: str
    title: str
    network: Mapping[str, Any]
    colour: str


@dataclass(frozen=True)
class Comparison:
    """One table.

    Args:
        name: of its files.
        title: above the table.
        variants: keys of its rows, in order.
        reference: the row that differences are taken to.
        published: Dice, sensitivity, specificity as published (Pancreas-CT), by key; those of the
            ablation are Dice only.
    """

    name: str
    title: str
    variants: tuple[str, ...]
    reference: str
    published: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def _attention(key: str, title: str, colour: str, **network: Any) -> Variant:
    return Variant(key, title, {"name": "AttentionUNet", **network}, colour)


VARIANTS = {
    one.key: one
    for one in (
        Variant("FCN", "FCN", {"name": "FCN"}, "#8c8c8c"),
        Variant("UNet", "U-Net", {"name": "UNet"}, "#1f77b4"),
        Variant("ResUNet", "ResUNet", {"name": "ResUNet"}, "#2ca02c"),
        _attention("AttentionUNet", "Attention U-Net", "#d62728"),
        _attention("deepest", "gate at the deepest level only", "#ff9f4a", gated_levels="deepest"),
        _attention(
            "deep-supervision",
            "gates at all levels + deep supervision",
            "#7b3fa0",
            deep_supervision=True,
        ),
        _attention("stable", "stable gate", "#17a2b8", gate="stable"),
        _attention("dual", "dual gate", "#bcbd22", gate="dual"),
        _attention("multi-scale", "multi-scale gate", "#e377c2", gate="multi-scale"),
        _attention("multi-head", "multi-head gate", "#8c564b", gate="multi-head"),
    )
}

EXPERIMENTS = {
    "compare": (
        Comparison(
            "networks",
            "Networks",
            ("FCN", "UNet", "ResUNet", "AttentionUNet"),
            "UNet",
            {
                "FCN": (0.68, 0.65, 0.98),
                "UNet": (0.82, 0.80, 0.99),
                "ResUNet": (0.84, 0.82, 0.99),
                "AttentionUNet": (0.86, 0.85, 0.99),
            },
        ),
    ),
    "ablate": (
        Comparison(
            "levels",
            "Where the gates are",
            ("UNet", "deepest", "AttentionUNet", "deep-supervision"),
            "UNet",
            {
                "UNet": (0.82,),
                "deepest": (0.84,),
                "AttentionUNet": (0.86,),
                "deep-supervision": (0.87,),
            },
        ),
        Comparison(
            "gates",
            "Which gate (at all levels)",
            ("AttentionUNet", "stable", "dual", "multi-scale", "multi-head"),
            "AttentionUNet",
        ),
    ),
    "lesion": (
        Comparison(
            "lesion",
            "Organ and lesion: one map a gate, or one for each of several heads",
            ("AttentionUNet", "multi-head"),
            "AttentionUNet",
        ),
    ),
}
"""The tables of each of the ``experiments``."""


def choose_comparisons(experiment: str, networks: tuple[str, ...] = ()) -> tuple[Comparison, ...]:
    """The tables of an experiment, with those rows only that were asked for.

    Raises:
        InputError: a network is not part of the experiment.
    """
    tables = EXPERIMENTS[experiment]
    known = [key for table in tables for key in table.variants]
    for key in networks:
        if key not in known:
            raise InputError(
                f"'{key}' is not part of 'experiments {experiment}'; choose from "
                f"{', '.join(dict.fromkeys(known))}."
            )
    kept = []
    for table in tables:
        rows = tuple(key for key in table.variants if not networks or key in networks)
        if not rows:
            continue
        # Without the usual reference, the first row that is there takes its place.
        reference = table.reference if table.reference in rows else rows[0]
        kept.append(
            Comparison(
                table.name,
                table.title,
                rows,
                reference,
                {key: table.published[key] for key in rows if key in table.published},
            )
        )
    return tuple(kept)
