"""What a user changes in the recipe of ``train``. No torch here: the command line shows it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .option_fields import GROUPS, option

if TYPE_CHECKING:
    from .patches import AugmentationOptions
    from .stage_options import StageOptions

_, _, DATA, NETWORK, LOSS, OPTIMISATION, AUGMENTATION = GROUPS

MOST_ELASTIC_MM = 48.0
"""The distance of the deformation's knots: beyond it hardly a neighbour stays one."""


@dataclass(frozen=True)
class Choices:
    """What a user changes in a recipe; what is None stays as it is.

    Args:
        network, gate, gated_levels, heads, norm, upsampling: of the builder's config.
        deep_supervision: heads at the coarser decoder levels, and their part in the loss.
        channels, patch, spacing_mm: of the refiner; the locator keeps its own.
        dice, cross_entropy, focal: weights of the loss.
        all_organs, gate_supervision, gates_open, average_decay: see
            :class:`.stage_options.StageOptions`.
        learning_rate, final_learning_rate, warmup, warmup_start: see :class:`LearningRate`.
        flips, quarter_turns: probabilities; flips along R and A.
        fat: whether the refiner tells it from the rest, see :mod:`.fat`; a run that starts from a
            model does as that one did.
        regions: share of the refiner's samples that come from cropped regions, where there are
            some; the other kinds keep their proportions.
        cut_out: probability for the locator; the refiner's regions are cut already.
        shift: of the patch's size.
        rotation_degrees: most about S.
        others: as the field of the same name of the stage's or the augmentation's options.

    Raises:
        InputError: a range's low end is above its high one.
    """

    network: str | None = option("Which network: FCN, UNet, ResUNet or AttentionUNet.", NETWORK)
    gate: str | None = option(
        "Which gate: standard, stable, dual, multi-scale or multi-head.", NETWORK
    )
    gated_levels: str | None = option("Levels with a gate: all or deepest.", NETWORK)
    heads: int | None = option("Number of heads of the multi-head gate.", NETWORK, 1)
    channels: tuple[int, ...] | None = option(
        "Channels of the refiner, shallow to deep; fewer take less memory.",
        NETWORK,
        metavar="N,N,...",
    )
    norm: str | None = option("Normalisation: batch, instance or group.", NETWORK)
    upsampling: str | None = option("Upsampling: transposed or interpolated.", NETWORK)
    patch: tuple[int, int, int] | None = option(
        "Voxels of the refiner's patches; K is 1 in 2D.", NETWORK, metavar="I,J,K"
    )
    spacing_mm: tuple[float, float, float] | None = option(
        "Of the refiner's voxels, in mm.", NETWORK, metavar="I,J,K"
    )
    dice: float | None = option("Weight of the Dice loss; 0.4.", LOSS, 0)
    cross_entropy: float | None = option("Weight of the cross-entropy; 0.3.", LOSS, 0)
    focal: float | None = option("Weight of the focal loss; 0.3.", LOSS, 0)
    all_organs: float | None = option("Weight of all labels beside the target.", LOSS, 0)
    fat: bool | None = option(
        "The refiner tells body fat from the rest of the background; off.", LOSS
    )
    deep_supervision: bool | None = option("A loss at coarser levels too.", LOSS)
    gate_supervision: float | None = option(
        "Weight with which gates are taught to look at the target; 0.1.", LOSS, 0
    )
    optimizer: str | None = option("Optimiser: adam or adamw.", OPTIMISATION)
    batch_size: int | None = option("Patches a step.", OPTIMISATION, 1, 1024)
    learning_rate: float | None = option("Peak of the learning rate; 1e-3.", OPTIMISATION, 1e-12)
    final_learning_rate: float | None = option(
        "The learning rate at the end; 1e-6.", OPTIMISATION, 0
    )
    warmup: float | None = option(
        "Share of the budget in which the learning rate rises; 0.05.", OPTIMISATION, 0, 0.99
    )
    warmup_start: float | None = None
    weight_decay: float | None = option(
        "Pull of the weights to zero; 1e-5, 0 in 2D.", OPTIMISATION, 0
    )
    clip_norm: float | None = option(
        "Largest norm of the gradient; 5.", OPTIMISATION, 1e-6, flag="--clip"
    )
    average_decay: float | None = option(
        "Decay of the averaged weights; 0.998, 0 for none.", OPTIMISATION, 0, 0.99999
    )
    gates_open: float | None = option(
        "Share of the budget with gates frozen and open; 0.5 in 2D, else 0.", OPTIMISATION, 0, 1
    )
    patience: int | None = option(
        "Stop after so many validations without a better Dice; 0: never.", OPTIMISATION, 0
    )
    validate_every: int | None = option(
        "Steps between validations; every 5 minutes.", OPTIMISATION, 1
    )
    regions: float | None = option(
        "Share of the refiner's samples that come from cropped regions; 0.32.", DATA, 0, 0.99
    )
    cut_out: float | None = option(
        "Share of the locator's samples that are cut to the target, as crops and slabs are; 0.",
        AUGMENTATION,
        0,
        1,
    )
    rotation_degrees: float | None = option(
        "Most degrees about the body's axis; 25, 30 in 2D.",
        AUGMENTATION,
        0,
        180,
        flag="--rotation",
    )
    scale: float | None = option("Most scaling, as a logarithm; 0.2.", AUGMENTATION, 0)
    shift: float | None = option("Farthest shift, a share of the patch's size.", AUGMENTATION, 0)
    flips: float | None = option(
        "Probability of mirroring, each in R and A; 0.", AUGMENTATION, 0, 1
    )
    quarter_turns: float | None = option(
        "Probability of turning by 90, 180 or 270 degrees; 0.", AUGMENTATION, 0, 1
    )
    elastic_mm: float | None = option(
        "Strongest elastic deformation; 6.", AUGMENTATION, 0, MOST_ELASTIC_MM
    )
    brightness: float | None = option("Most change of brightness; 0.1.", AUGMENTATION, 0)
    contrast: float | None = option("Most change of contrast; 0.3.", AUGMENTATION, 0)
    gamma: tuple[float, float] | None = option(
        "Range of gamma; 0.7,1.5.", AUGMENTATION, metavar="LOW,HIGH"
    )
    noise: float | None = option("Strongest Gaussian noise; 0.06.", AUGMENTATION, 0)
    blur_voxels: tuple[float, float] | None = option(
        "Range of Gaussian blur, in voxels; 0.4,1.0.",
        AUGMENTATION,
        0,
        metavar="LOW,HIGH",
        flag="--blur",
    )

    def __post_init__(self) -> None:
        for flag, limits in (("--gamma", self.gamma), ("--blur", self.blur_voxels)):
            if limits is not None and limits[0] > limits[1]:
                low, high = (f"{limit:g}" for limit in limits)
                raise InputError(
                    f"{flag} takes the low end of a range first: {high},{low}, not {low},{high}."
                )

    def applied_to(self, options: StageOptions) -> StageOptions:
        """The options with these changes.

        Raises:
            InputError: a patch and the network do not go together.
        """
        network = {
            **options.network,
            **_without_none(
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
            network.update(_without_none(channels=self.channels and list(self.channels)))
            network.update(_without_none(background_classes=2 if self.fat else None))
            patch = dataclasses.replace(
                patch, **_without_none(size=self.patch, spacing_mm=self.spacing_mm)
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
            augmentation=self._augmentation(options.augmentation, options.stage),
            loss_weights=dataclasses.replace(
                options.loss_weights,
                **_without_none(dice=self.dice, cross_entropy=self.cross_entropy, focal=self.focal),
            ),
            learning_rate=dataclasses.replace(
                options.learning_rate,
                **_without_none(
                    peak=self.learning_rate,
                    final=self.final_learning_rate,
                    warmup_fraction=self.warmup,
                    warmup_start=self.warmup_start,
                ),
            ),
            kind_weights=self._kind_weights(options.kind_weights),
            **_without_none(
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

    def _kind_weights(self, weights: dict[str, float]) -> dict[str, float]:
        if self.regions is None or "region" not in weights:
            return weights
        others = sum(weights.values()) - weights["region"]
        shares = {
            kind: weight / others * (1 - self.regions)
            for kind, weight in weights.items()
            if kind != "region"
        }
        return {**shares, "region": self.regions}

    def _augmentation(self, options: AugmentationOptions, stage: str) -> AugmentationOptions:
        turned = self.rotation_degrees
        return dataclasses.replace(
            options,
            **_without_none(
                flip_probabilities=None if self.flips is None else (self.flips, self.flips, 0.0),
                quarter_turn_probability=self.quarter_turns,
                rotation_degrees=(
                    None if turned is None else (*options.rotation_degrees[:2], turned)
                ),
                cut_out_probability=self.cut_out if stage == "locator" else None,
                scale=self.scale,
                elastic_mm=self.elastic_mm,
                brightness=self.brightness,
                contrast=self.contrast,
                gamma=self.gamma,
                noise=self.noise,
                blur_voxels=self.blur_voxels,
            ),
        )


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
