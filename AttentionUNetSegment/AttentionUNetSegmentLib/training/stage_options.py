"""Everything that decides what a stage, the locator or the refiner, learns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..errors import TrainingError
from .losses import LossWeights
from .patches import AugmentationOptions, PatchOptions
from .schedule import Budget, LearningRate

CHANGEABLE = {
    "budget",
    "checkpoint_every_s",
    "validate_every_s",
    "log_every",
    "learning_rate",
    "clip_norm",
}
"""Options with which a run may be continued; any other would make it another run."""

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@dataclass(frozen=True)
class StageOptions:
    """Everything that decides what a stage learns; saved with the run.

    Args:
        stage: its name, "locator" or "refiner".
        network: the builder's config. Its first input channel is the scan; two more are clicks.
            One of two dimensions takes flat patches.
        patch: what a training sample shows.
        target_label: the organ that counts.
        window_hu: HU that become 0 and 1.
        seed: of the first weights and of the samples.
        trainings_before: that the first weights had; each training sees other samples, so that
            going on brings more than the same again.
        batch_size: patches a step, of all processes together.
        optimizer: "adam" or "adamw".
        learning_rate: over the budget.
        weight_decay: of the optimizer.
        clip_norm: longest gradient; a longer one is scaled down to it.
        loss_weights: Dice, cross-entropy and focal.
        kind_weights: how often a sample comes from each kind of case; others are not used.
        all_organs: weight of the loss over all labels beside that of the target against the rest.
        deep_supervision: weights of the decoder levels, for networks that have heads there.
        click_probability: share of samples with clicks (none for a network without click channels).
        click_error_probability: share of those whose clicks go, one after the other, where the
            network is most wrong.
        dispute_probability: share of the latter in which the labels are changed first, at one
            place of the organ's border, and the first click says so.
        gate_supervision: weight of :func:`.losses.gate_loss`; 0 leaves the gates to themselves.
        gate_reach_mm: widening of the organ at each gate, level 1 first.
        gates_open_fraction: share of the budget in which the gates are frozen and pass everything
            (progressive training, phase 1).
        any_structure: of an editor: learn to outline whatever is clicked at, not the target alone.
        average_decay: of the exponential moving average of the weights, which is what is kept; 0
            keeps the weights themselves.
        checkpoint_every_s: how much work a kill can cost.
        validate_every_s, validate_every_steps: how often the network is judged; by the clock where
            no number of steps is given.
        patience: training ends after so many validations without a better mean Dice, and the best
            weights are kept; 0 goes on until the budget is used up. Looks in phase 1 do not count.
        log_every: steps between lines of the log.
    """

    stage: str
    network: dict[str, Any]
    patch: PatchOptions
    budget: Budget
    target_label: int
    window_hu: tuple[float, float] = (-125.0, 275.0)
    seed: int = 0
    trainings_before: int = 0
    batch_size: int = 1
    optimizer: str = "adamw"
    learning_rate: LearningRate = field(default_factory=LearningRate)
    weight_decay: float = 1e-5
    clip_norm: float = 5.0
    loss_weights: LossWeights = field(default_factory=LossWeights)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    kind_weights: dict[str, float] = field(
        default_factory=lambda: {
            "scan": 0.57,
            "region": 0.32,
            "synthetic": 0.08,
            "elsewhere": 0.03,
        }
    )
    all_organs: float = 0.5
    deep_supervision: tuple[float, ...] = (1.0, 0.5, 0.25)
    click_probability: float = 0.5
    click_error_probability: float = 0.75
    dispute_probability: float = 0.5
    gate_supervision: float = 0.1
    gate_reach_mm: tuple[float, ...] = (30.0, 20.0, 10.0, 5.0)
    gates_open_fraction: float = 0.0
    any_structure: bool = False
    average_decay: float = 0.998
    checkpoint_every_s: float = 120.0
    validate_every_s: float = 300.0
    validate_every_steps: int = 0
    patience: int = 0
    log_every: int = 20

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise TrainingError(
                f"'{self.optimizer}' is no optimizer; choose one of {', '.join(OPTIMIZERS)}."
            )
        if min(self.batch_size, self.log_every) < 1:
            raise TrainingError("A batch, and the distance of two log lines, is at least one.")
        if self.network["dimensions"] == 2 and not self.patch.flat:
            raise TrainingError("A network of two dimensions takes patches of one slice.")

    @property
    def spatial_spacing_mm(self) -> tuple[float, ...]:
        """Of the network's spatial axes: k, j, i, or j, i in two dimensions."""
        return self.patch.spacing_mm[::-1][3 - int(self.network["dimensions"]) :]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
