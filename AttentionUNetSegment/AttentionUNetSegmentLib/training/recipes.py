"""The recipe of the shipped model: what ``train`` does when it is told nothing else."""

from __future__ import annotations

from typing import Any

from .datasets import BTCV_LABELS, PANCREAS
from .patches import AugmentationOptions, PatchOptions
from .schedule import Budget, LearningRate
from .trainer import StageOptions

WINDOW_HU = (-125.0, 275.0)


def attention_unet(
    channels: tuple[int, ...], in_channels: int, out_channels: int = len(BTCV_LABELS)
) -> dict[str, Any]:
    """A 3D Attention U-Net as both stages use it.

    Instance norm, because a patch is a batch of one.
    """
    return {
        "name": "AttentionUNet",
        "dimensions": 3,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": list(channels),
        "norm": "instance",
        "upsampling": "transposed",
        "gate": "standard",
        "gated_levels": "all",
        "deep_supervision": True,
    }


def locator_options(budget: Budget, seed: int = 0, learning_rate: float = 1e-3) -> StageOptions:
    """The first look: the whole abdomen at 6 mm, to find where the pancreas is."""
    return StageOptions(
        stage="locator",
        network=attention_unet((16, 24, 40, 64, 80), in_channels=1),
        patch=PatchOptions(
            size=(64, 64, 48),
            spacing_mm=(6.0, 6.0, 6.0),
            jitter_mm=(60, 50, 90),
            anywhere_probability=0.25,
        ),
        budget=budget,
        target_label=PANCREAS,
        window_hu=WINDOW_HU,
        seed=seed,
        learning_rate=LearningRate(peak=learning_rate),
        augmentation=AugmentationOptions(
            scale=0.25, cropped_view_probability=0.3, hidden_organ_probability=0.25
        ),
        kind_weights={"scan": 0.78, "synthetic": 0.12, "elsewhere": 0.1},
        all_organs=1.0,
        click_probability=0.0,
    )


def refiner_options(budget: Budget, seed: int = 0, learning_rate: float = 1e-3) -> StageOptions:
    """The second look: the region around the pancreas at 2 x 2 x 3 mm, with clicks."""
    return StageOptions(
        stage="refiner",
        network=attention_unet((16, 32, 64, 128, 192), in_channels=3),
        patch=PatchOptions(size=(96, 80, 48), spacing_mm=(2.0, 2.0, 3.0), jitter_mm=(35, 30, 30)),
        budget=budget,
        target_label=PANCREAS,
        window_hu=WINDOW_HU,
        seed=seed,
        learning_rate=LearningRate(peak=learning_rate),
    )
