"""Small trainings of 2D networks on slices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from AttentionUNetSegmentLib.datasets.loading import LabelledCase
from AttentionUNetSegmentLib.training.patches import PatchOptions
from AttentionUNetSegmentLib.training.recipes import slice_options
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from small_cases import small_case

FLAT = PatchOptions((32, 32, 1), (4.0, 4.0, 3.0), (8.0, 8.0, 0.0), 0.0, around="scan")


CHANNELS = (4, 4, 4, 4, 4)


def slices(steps: int = 4, **changes: object) -> StageOptions:
    options = slice_options(Budget(steps=steps), FLAT.spacing_mm)
    network = {**options.network, "channels": list(CHANNELS), "out_channels": 9}
    return dataclasses.replace(
        options, **{"network": network, "patch": FLAT, "checkpoint_every_s": 0.0, **changes}
    )


def trainer(folder: Path, case: LabelledCase | None = None, **changes: object) -> StageTrainer:
    case = case or small_case()
    return StageTrainer(slices(**changes), [case], [case], folder)
