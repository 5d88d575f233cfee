"""The recipes of ``train``: of the shipped model, of 2D networks, and what to change in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..datasets.loading import BTCV_LABELS, PANCREAS
from ..errors import InputError
from ..models import ModelCard
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


def trainings_of(card: ModelCard) -> int:
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


@dataclass(frozen=True)
class Choices:
    """What a user changes in a recipe; what is None stays as it is.

    Args:
        network, gate, gated_levels, heads, norm, upsampling: of the builder's config.
        deep_supervision: heads at the coarser decoder levels, and their part in the loss.
        channels, patch, spacing_mm: of the refiner; the locator keeps its own.
        dice, cross_entropy, focal: weights of the loss.
        all_organs, gate_supervision, gates_open, average_decay: see :class:`.trainer.StageOptions`.
        learning_rate, final_learning_rate, warmup, warmup_start: see :class:`LearningRate`.
        flips, quarter_turns: probabilities; flips along R and A.
        regions: share of the refiner's samples that come from cropped regions, where there are
            some; the other kinds keep their proportions.
        shift: of the patch's size.
        rotation_degrees: most about S.
        others: as the field of the same name of the stage's or the augmentation's options.
    """

    network: str | None = None
    gate: str | None = None
    gated_levels: str | None = None
    heads: int | None = None
    norm: str | None = None
    upsampling: str | None = None
    deep_supervision: bool | None = None
    channels: tuple[int, ...] | None = None
    patch: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    dice: float | None = None
    cross_entropy: float | None = None
    focal: float | None = None
    all_organs: float | None = None
    gate_supervision: float | None = None
    optimizer: str | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    final_learning_rate: float | None = None
    warmup: float | None = None
    warmup_start: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    average_decay: float | None = None
    gates_open: float | None = None
    patience: int | None = None
    validate_every: int | None = None
    regions: float | None = None
    flips: float | None = None
    quarter_turns: float | None = None
    shift: float | None = None
    scale: float | None = None
    rotation_degrees: float | None = None
    elastic_mm: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    gamma: tuple[float, float] | None = None
    noise: float | None = None
    blur_voxels: tuple[float, float] | None = None

    def applied_to(self, options: StageOptions) -> StageOptions:
        """The options with these changes.

        Raises:
            InputError: a patch and the network do not go together.
        """
        network = {
            **options.network,
            **_given(
                name=self.network,
                gate=self.gate,
                gated_levels=self.gated_levels,
                heads=self.heads,
                norm=self.norm,
                upsampling=self.upsampling,
                deep_supervision=self.deep_supervision,
            ),
        }
        patch = options.patch
        if options.stage == "refiner":
            network.update(_given(channels=self.channels and list(self.channels)))
            patch = dataclasses.replace(
                patch, **_given(size=self.patch, spacing_mm=self.spacing_mm)
            )
            if patch.flat != (network["dimensions"] == 2):
                raise InputError(
                    "A patch of a 2D network is I,J,1; one of a 3D network is thicker."
                )
        if self.shift is not None:
            i, j, k = (
                self.shift * n * mm for n, mm in zip(patch.size, patch.spacing_mm, strict=True)
            )
            patch = dataclasses.replace(patch, jitter_mm=(i, j, k))
        return dataclasses.replace(
            options,
            network=network,
            patch=patch,
            augmentation=self._augmentation(options.augmentation),
            loss_weights=dataclasses.replace(
                options.loss_weights,
                **_given(dice=self.dice, cross_entropy=self.cross_entropy, focal=self.focal),
            ),
            learning_rate=dataclasses.replace(
                options.learning_rate,
                **_given(
                    peak=self.learning_rate,
                    final=self.final_learning_rate,
                    warmup_fraction=self.warmup,
                    warmup_start=self.warmup_start,
                ),
            ),
            kind_weights=self._kinds(options.kind_weights),
            **_given(
                all_organs=self.all_organs,
                gate_supervision=self.gate_supervision,
                optimizer=self.optimizer,
                batch_size=self.batch_size,
                weight_decay=self.weight_decay,
                clip_norm=self.clip_norm,
                average_decay=self.average_decay,
                gates_open_fraction=self.gates_open,
                patience=self.patience,
                validate_every_steps=self.validate_every,
            ),
        )

    def _kinds(self, weights: dict[str, float]) -> dict[str, float]:
        if self.regions is None or "region" not in weights:
            return weights
        others = sum(weights.values()) - weights["region"]
        shares = {
            kind: weight / others * (1 - self.regions)
            for kind, weight in weights.items()
            if kind != "region"
        }
        return {**shares, "region": self.regions}

    def _augmentation(self, options: AugmentationOptions) -> AugmentationOptions:
        turned = self.rotation_degrees
        return dataclasses.replace(
            options,
            **_given(
                flip_probabilities=None if self.flips is None else (self.flips, self.flips, 0.0),
                quarter_turn_probability=self.quarter_turns,
                rotation_degrees=(
                    None if turned is None else (*options.rotation_degrees[:2], turned)
                ),
                scale=self.scale,
                elastic_mm=self.elastic_mm,
                brightness=self.brightness,
                contrast=self.contrast,
                gamma=self.gamma,
                noise=self.noise,
                blur_voxels=self.blur_voxels,
            ),
        )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
