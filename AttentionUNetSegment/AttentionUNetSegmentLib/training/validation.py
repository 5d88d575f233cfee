"""How good a network in training is on the cases that are held out, and what to warn of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..datasets.cases import LabelledCase
from ..networks import SegmentationNetwork
from ..networks.focus import is_open, is_shut
from .patches import Sample


@dataclass(frozen=True, eq=False)
class ValidationCase:
    """A case that is held out, and the patches that a network is judged on."""

    case: LabelledCase
    patches: Sample


Prediction = tuple[torch.Tensor, list[float]]
"""Labels (1, *spatial) of a patch, and the focus ratio of each gate, level 1 first."""


def validate_network(
    network: SegmentationNetwork,
    cases: Sequence[ValidationCase],
    target_label: int,
    predict: Callable[[torch.Tensor], Prediction],
    to_network_shape: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, Any]:
    """A line of the log: Dice of each case and label, mean focus ratios, and warnings.

    Two empty masks agree (1). By label, the mean over the cases that have it or are given it, where
    all organs are labelled.

    Args:
        predict: what the network says of an image (1, 1, k, j, i).
        to_network_shape: labels (B, k, j, i) as the network's.
    """
    scores: dict[str, float] = {}
    by_label: dict[str, list[float]] = {}
    ratios: list[list[float]] = []
    marked = 0
    for one in cases:
        patches = one.patches
        predictions = [predict(image[None]) for image in patches.image]
        predicted = torch.cat([labels for labels, _ in predictions])
        ratios += [of_levels for _, of_levels in predictions]
        truth = to_network_shape(patches.labels.to(predicted.device))
        marked += int((predicted == target_label).sum())
        scores[one.case.name] = mask_dice(predicted == target_label, truth == target_label)
        for label in range(1, network.config.out_channels):
            ours, theirs = predicted == label, truth == label
            known = one.case.organs_known or label == target_label
            if known and (ours.any() or theirs.any()):
                by_label.setdefault(str(label), []).append(mask_dice(ours, theirs))
    mean_ratios = np.mean(ratios, axis=0).tolist() if ratios else []
    gates_open = any(getattr(gate, "open", False) for gate in network.gates)
    levels = [] if gates_open else list(zip(network.gated_levels, mean_ratios, strict=False))
    return {
        "validation_dice": scores,
        "validation_dice_by_label": {
            label: statistics.fmean(values) for label, values in by_label.items()
        },
        "validation_focus_ratios": mean_ratios,
        "findings": network_warnings(bool(scores) and not marked, levels),
    }


def mask_dice(mask: torch.Tensor, truth: torch.Tensor) -> float:
    """Of two boolean masks; two empty ones agree (1)."""
    size = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / size if size else 1.0


def network_warnings(marks_nothing: bool, levels: Sequence[tuple[int, float]]) -> list[str]:
    """What a user should know of a network, a sentence each.

    Args:
        marks_nothing: in no case does it mark a voxel as the target.
        levels: of the gates, and the mean focus ratio of each.
    """
    warnings = []
    if marks_nothing:
        warnings.append(
            "The network marks nothing in any validation case; train longer, raise the learning "
            "rate or check the labels."
        )
    for level, ratio in levels:
        state = "open" if is_open(ratio) else "shut" if is_shut(ratio) else ""
        if state:
            warnings.append(
                f"The gate of level {level} is {state} everywhere (focus ratio {ratio:.3f}); it "
                "tells nothing apart. Train longer, or try gate supervision or the stable gate."
            )
    return warnings
