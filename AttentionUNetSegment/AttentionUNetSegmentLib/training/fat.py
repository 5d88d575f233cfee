"""Body fat as a kind of background of its own, which the refiner tells from the rest.

Fat lies around the organs, and where it is the scan itself tells. That the network has to tell it
from the rest teaches it what borders on the organs; it still answers with the labels alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..datasets.cases import LabelledCase
from ..networks import outline_network
from .checkpoint import StageState
from .recipes import WINDOW_HU
from .sampling import BatchSampler
from .trainer import StageTrainer

FAT_HU = (-120.0, -30.0)
SMOOTHING_MM = 2.0
FROM_AIR_MM = 5.0


def smooth_hu(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """HU (k, j, i) without most of their noise, float32; clipped, as some data sets come.

    Args:
        spacing_mm: along i, j, k.
    """
    from scipy import ndimage

    clipped = np.clip(hu, *WINDOW_HU).astype(np.float32)
    return ndimage.gaussian_filter(clipped, [SMOOTHING_MM / mm for mm in reversed(spacing_mm)])


def with_fat(case: LabelledCase, value: int) -> LabelledCase:
    """A case whose fat has a label, too: what has fat's HU, and is no organ and not close to air.

    The border of air with anything else passes through the same HU. Where the target alone is
    labelled nothing changes: nothing is said of other tissue there.
    """
    from scipy import ndimage

    if not case.organs_known:
        return case
    smooth = smooth_hu(case.ct.array, case.ct.spacing_mm)
    reach = [2 * round(FROM_AIR_MM / mm) + 1 for mm in reversed(case.ct.spacing_mm)]
    near_air = ndimage.maximum_filter(smooth < FAT_HU[0], reach)
    fat = (smooth < FAT_HU[1]) & ~near_air & (case.labels.array == 0)
    labels = case.labels.array.copy()
    labels[fat] = value
    return replace(case, labels=case.labels.with_array(labels))


def learns_fat(network: Mapping[str, Any]) -> bool:
    """Whether a stage's network is one that tells fat from the rest."""
    return int(network.get("background_classes", 1)) > 1


class FatTrainer(StageTrainer):
    """Trains a network with two kinds of background; arguments as of StageTrainer."""

    def _initial_state(self) -> StageState:
        state = super()._initial_state()
        # The averaged one is judged as it will be used.
        state.network.set_background_apart(True)
        return state

    def make_sampler(self, train: Sequence[LabelledCase], share: range) -> BatchSampler:
        value = int(self.options.network["out_channels"])
        return super().make_sampler([with_fat(case, value) for case in train], share)


def with_background_classes(
    network: nn.Module, wanted: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The weights with which a network with further kinds of background begins as this one.

    Each kind begins as the background, with an equal part of its probability, so that the answers
    are the same. The weights themselves, where the background is as wanted.

    Args:
        network: with one kind of background, or as many as are wanted; no FCN, whose outputs
            depend on one another.
        wanted: the configuration of the other, which is this one's but for them.
    """
    weights = dict(network.state_dict())
    for name, one in outline_network(wanted).state_dict().items():
        lacking = len(one) - len(weights[name]) if one.ndim else 0
        if lacking <= 0:
            continue
        value = torch.cat((weights[name], weights[name][:1].repeat(lacking, *[1] * (one.ndim - 1))))
        if name.endswith("bias"):
            value[[0, *range(-lacking, 0)]] -= math.log(lacking + 1)
        weights[name] = value
    return weights
