"""The recipes of ``train``: of the shipped model, and of 2D networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..datasets.cases import DataSet
from ..datasets.loading import BTCV_LABELS, PANCREAS
from ..models import ModelCard, Stage
from ..models.card import EDITOR_CHANNELS
from .choices import Choices as Choices  # what to change in a recipe, imported from here
from .losses import LossWeights
from .patches import AugmentationOptions, PatchOptions
from .schedule import Budget, LearningRate
from .stage_options import StageOptions

WINDOW_HU = (-125.0, 275.0)
WINDOW_PICTURE = (0.0, 255.0)
SLICE_PIXELS = 256
SHIFT = 0.1
"""Of a slice's width: how far it is shifted at most (recipe)."""
CLIPPED = 0.3
"""Of samples: how often they are shown with clipped intensities; of PANORAMA's regions more than
half come so."""


def intensity_window(data: DataSet) -> tuple[float, float]:
    """Voxel values that become 0 and 1: HU, or grey values of pictures."""
    return WINDOW_HU if data.hounsfield else WINDOW_PICTURE


def count_trainings(card: ModelCard) -> int:
    """How often a model's weights learnt: once, and again for each model that they came from."""
    count, training = 0, card.training
    while isinstance(training, Mapping) and training:
        count += 1
        source = training.get("started_from", training.get("finetuned_from"))
        training = source.get("training", {}) if isinstance(source, Mapping) else {}
    return count


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
            scale=0.25,
            cropped_view_probability=0.3,
            hidden_organ_probability=0.25,
            clipped_probability=CLIPPED,
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
        augmentation=AugmentationOptions(clipped_probability=CLIPPED),
    )


def editor_options(
    budget: Budget, refiner: Stage, seed: int = 0, learning_rate: float = 1e-3
) -> StageOptions:
    """Clicks: a network like the refiner, from whose weights it starts.

    What the refiner has learnt of anatomy is what a mistake is known by. A patch is a scene, in
    which the editor sees windows around clicks.

    Args:
        refiner: that it is trained beside.
    """
    recipe = refiner_options(budget, seed, learning_rate)
    return replace(
        recipe,
        stage="editor",
        network={
            **refiner.network,
            "in_channels": EDITOR_CHANNELS,
            "out_channels": 2,
            "deep_supervision": False,
        },
        patch=replace(recipe.patch, spacing_mm=refiner.spacing_mm, anywhere_probability=0.05),
        augmentation=replace(recipe.augmentation, hidden_organ_probability=0.0),
        # Half of the question is how far a mistake goes, so the answer has to be calibrated: Dice
        # and focal loss alone say too much (3 mL to add become 15).
        loss_weights=LossWeights(dice=0.1, cross_entropy=0.9, focal=0.0),
        kind_weights={"scan": 0.4, "region": 0.55, "synthetic": 0.05},
        all_organs=0.0,
        gate_supervision=0.0,
        click_probability=0.0,
    )


def any_structure_options(editor: StageOptions) -> StageOptions:
    """The recipe of an editor that outlines whatever is clicked at: scans above all, in which many
    structures are labelled."""
    return replace(
        editor,
        any_structure=True,
        # What one click means is open: with cross-entropy nearly alone it learns to answer with
        # what is in all that it could mean, and less and less of an organ.
        loss_weights=LossWeights(dice=0.5, cross_entropy=0.5, focal=0.0),
        kind_weights={"scan": 0.65, "region": 0.25, "synthetic": 0.1},
    )


def slice_options(
    budget: Budget,
    spacing_mm: tuple[float, float, float],
    seed: int = 0,
    learning_rate: float = 1e-3,
) -> StageOptions:
    """A 2D network on whole slices: Adam, batch norm, gates open in the first half.

    Args:
        spacing_mm: of the pixels along R and A, and of the slices that are looked at.
    """
    in_plane = spacing_mm[0]
    shift_mm = SHIFT * SLICE_PIXELS * in_plane
    network = {
        **attention_unet((16, 32, 64, 128, 256), in_channels=1),
        "dimensions": 2,
        "norm": "batch",
    }
    return StageOptions(
        stage="refiner",
        network=network,
        patch=PatchOptions(
            size=(SLICE_PIXELS, SLICE_PIXELS, 1),
            spacing_mm=spacing_mm,
            jitter_mm=(shift_mm, shift_mm, 0.0),
            anywhere_probability=0.25,
            around="scan",
        ),
        budget=budget,
        target_label=PANCREAS,
        window_hu=WINDOW_HU,
        seed=seed,
        batch_size=4,
        optimizer="adam",
        weight_decay=0.0,
        learning_rate=LearningRate(peak=learning_rate),
        augmentation=AugmentationOptions(rotation_degrees=(0.0, 0.0, 30.0)),
        click_probability=0.0,
        gates_open_fraction=0.5,
    )
