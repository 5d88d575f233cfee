"""A case small enough to train and evaluate on in a test, in memory and on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from AttentionUNetSegmentLib.datasets.loading import PANCREAS, LabelledCase
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.training.patches import PatchOptions
from AttentionUNetSegmentLib.training.recipes import refiner_options
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from geometry import placed


def small_case(kind: str = "scan", matrix: np.ndarray | None = None) -> LabelledCase:
    """An abdomen of blobs: a bright liver, a smaller pancreas."""
    shape = (30, 50, 60)
    matrix = placed((2.0, 2.0, 3.0), (60, 50, 0)) if matrix is None else matrix
    k, j, i = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    labels[((i - 40) / 14) ** 2 + ((j - 24) / 14) ** 2 + ((k - 15) / 10) ** 2 < 1] = 5
    labels[((i - 15) / 11) ** 2 + ((j - 26) / 8) ** 2 + ((k - 14) / 6) ** 2 < 1] = PANCREAS
    hu = np.choose(np.minimum(labels, 9), [-60, 0, 0, 0, 0, 110, 0, 0, 230, 0])
    hu = hu + np.random.default_rng(0).normal(0, 5, shape)
    return LabelledCase(
        "small", Volume(hu.astype(np.int16), matrix), Volume(labels, matrix), kind, kind != "region"
    )


def write_case(folder: Path, name: str, case: LabelledCase, suffix: str = "_organs") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for volume, ending in ((case.ct, "_ct"), (case.labels, suffix)):
        image = sitk.GetImageFromArray(volume.array)
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
        image.SetSpacing(volume.spacing_mm)
        image.SetOrigin(lps[:3, 3])
        image.SetDirection((lps[:3, :3] / volume.spacing_mm).ravel())
        sitk.WriteImage(image, str(folder / f"{name}{ending}.nii.gz"))


PATCH = PatchOptions(size=(32, 32, 16), spacing_mm=(3.0, 3.0, 4.0), jitter_mm=(10, 10, 10))


def tiny_editor_options(steps: int, checkpoint_every_s: float = 1e9) -> StageOptions:
    """Likewise of an editor."""
    options = tiny_options(steps, checkpoint_every_s)
    network = {
        **options.network,
        "in_channels": EDITOR_CHANNELS,
        "out_channels": 2,
        "channels": [4, 4],
        "deep_supervision": False,
    }
    return dataclasses.replace(options, stage="editor", network=network, gate_supervision=0.0)


def tiny_options(steps: int, checkpoint_every_s: float = 1e9) -> StageOptions:
    """Without checkpoints between the steps, unless asked for: one takes as long as a step."""
    options = refiner_options(Budget(steps=steps))
    return dataclasses.replace(
        options,
        network={**options.network, "channels": [4, 4, 4, 4, 4]},
        patch=PATCH,
        kind_weights={"scan": 0.5, "region": 0.5},
        checkpoint_every_s=checkpoint_every_s,
    )
