"""Losses: Dice, cross-entropy, focal, their combination, and supervision of the gates.

All take logits ``(B, C, *spatial)`` and integer targets ``(B, *spatial)``, in 2D and 3D. Voxels
whose target is :data:`IGNORE` count nowhere: they are padding, or nobody knows what they are.

Sums over the batch go through a function ``total``: where several processes have a part of the
batch each, it adds up theirs (:meth:`.distributed.Processes.total`), and the loss is that of the
whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..errors import TrainingError

IGNORE = 255
"""Target value of voxels that no loss looks at."""

DICE_SMOOTHING = 1e-5

Total = Callable[[torch.Tensor], torch.Tensor]


def of_one_process(part: torch.Tensor) -> torch.Tensor:
    """The total where one process has the whole batch."""
    return part


def soft_dice_loss(
    probabilities: torch.Tensor,
    onehot: torch.Tensor,
    valid: torch.Tensor,
    total: Total = of_one_process,
) -> torch.Tensor:
    """One minus the soft Dice overlap, averaged over the classes that occur in the batch.

    Args:
        probabilities: (B, C, *spatial).
        onehot: the same shape, 0 or 1.
        valid: (B, 1, *spatial), 1 where the target is known.
        total: of sums over the batch.

    A class that occurs nowhere has no overlap to speak of; its false positives are the business of
    the other losses.
    """
    axes = (0, *range(2, probabilities.ndim))
    probabilities, onehot = probabilities * valid, onehot * valid
    overlap = total((probabilities * onehot).sum(axes))
    occurrence = total(onehot.sum(axes))
    size = total(probabilities.sum(axes)) + occurrence
    dice = (2 * overlap + DICE_SMOOTHING) / (size + DICE_SMOOTHING)
    present = (occurrence > 0).to(dice.dtype)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def dice_loss(
    log_probabilities: torch.Tensor, target: torch.Tensor, total: Total = of_one_process
) -> torch.Tensor:
    """:func:`soft_dice_loss` of the classes other than the background, over known voxels.

    Args:
        log_probabilities: (B, C, *spatial), normalised over C.
        target: (B, *spatial), integers below C, or :data:`IGNORE`.
        total: of sums over the batch.
    """
    index, valid = _index_and_validity(log_probabilities, target)
    foreground = F.one_hot(index, log_probabilities.shape[1]).movedim(-1, 1)[:, 1:]
    return soft_dice_loss(log_probabilities[:, 1:].exp(), foreground.to(valid.dtype), valid, total)


def cross_entropy_loss(
    log_probabilities: torch.Tensor, target: torch.Tensor, total: Total = of_one_process
) -> torch.Tensor:
    """Mean of ``-log p`` of the true class over known voxels; arguments as :func:`dice_loss`."""
    log_true, count = _log_true(log_probabilities, target, total)
    return -total(log_true.sum()) / count


def focal_loss(
    log_probabilities: torch.Tensor,
    target: torch.Tensor,
    gamma: float = 2.0,
    total: Total = of_one_process,
) -> torch.Tensor:
    """Mean of ``-(1 - p)^gamma log p`` of the true class over known voxels (Lin et al. 2017).

    What is right already counts little; gamma 0 is cross-entropy. Arguments as :func:`dice_loss`.
    """
    log_true, count = _log_true(log_probabilities, target, total)
    return -total(((1 - log_true.exp()) ** gamma * log_true).sum()) / count


@dataclass(frozen=True)
class LossWeights:
    """The recipe's mixture; ``focal_gamma`` is that of Lin et al. 2017.

    Raises:
        TrainingError: all of them are zero.
    """

    dice: float = 0.4
    cross_entropy: float = 0.3
    focal: float = 0.3
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        if not any((self.dice, self.cross_entropy, self.focal)):
            raise TrainingError(
                "Dice, cross-entropy and focal loss all have the weight 0, so nothing would be "
                "learnt; give one of them a weight above it."
            )


def combined_loss(
    log_probabilities: torch.Tensor,
    target: torch.Tensor,
    weights: LossWeights,
    total: Total = of_one_process,
) -> torch.Tensor:
    """``0.4 Dice + 0.3 cross-entropy + 0.3 focal`` over known voxels; arguments as there."""
    return (
        weights.dice * dice_loss(log_probabilities, target, total)
        + weights.cross_entropy * cross_entropy_loss(log_probabilities, target, total)
        + weights.focal * focal_loss(log_probabilities, target, weights.focal_gamma, total)
    )


def _index_and_validity(
    log_probabilities: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The target with 0 where it is unknown, and (B, 1, *spatial), 1 where it is known."""
    known = target != IGNORE
    index = torch.where(known, target, torch.zeros_like(target)).long()
    return index, known.unsqueeze(1).to(log_probabilities.dtype)


def _log_true(
    log_probabilities: torch.Tensor, target: torch.Tensor, total: Total
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probability of the true class, 0 where it is unknown, and how many are known."""
    index, valid = _index_and_validity(log_probabilities, target)
    log_true = log_probabilities.gather(1, index.unsqueeze(1)) * valid
    return log_true, total(valid.sum()).clamp(min=1)


def binary_log_probabilities(logits: torch.Tensor, label: int) -> torch.Tensor:
    """Log probabilities of "not this label" and "this label" from logits over many labels."""
    others = [channel for channel in range(logits.shape[1]) if channel != label]
    rest = torch.logsumexp(logits[:, others], dim=1)
    return torch.log_softmax(torch.stack((rest, logits[:, label]), dim=1), dim=1)


@dataclass(frozen=True)
class OrganLoss:
    """What the network is trained on: the target organ, and all organs where they are known.

    Args:
        target_label: the organ that counts.
        weights: of the mixture.
        all_organs: weight of the loss over all labels beside that over target against the rest; of
            no consequence for two classes, where both are the same.
        levels: weights of the decoder levels, shallow first (deep supervision); normalised.
        total: of sums over the batch.
    """

    target_label: int
    weights: LossWeights = LossWeights()
    all_organs: float = 0.5
    levels: tuple[float, ...] = (1.0, 0.5, 0.25)
    total: Total = of_one_process

    def __call__(
        self, logits: Sequence[torch.Tensor], labels: torch.Tensor, organs_known: Sequence[bool]
    ) -> torch.Tensor:
        """
        Args:
            logits: of each decoder level, shallow first; level l is smaller by 2**l.
            labels: (B, *spatial) at full resolution, :data:`IGNORE` where unknown. Where only the
                target organ is known, every other known voxel is 0.
            organs_known: of each sample, whether 0 means "none of the organs" or merely "not the
                target".
        """
        used = min(len(logits), len(self.levels))
        known = [number for number, one in enumerate(organs_known) if one]
        all_organs = self.all_organs if logits[0].shape[1] > 2 else 0.0
        # A process without such samples still has a part, nothing, in the sums of the others.
        counts = torch.tensor([len(known), len(organs_known)], dtype=torch.float64)
        known_count, count = self.total(counts).tolist()
        mean = logits[0].new_zeros((), dtype=torch.float32)
        for level in range(used):
            level_logits = logits[level].float()
            level_labels = subsample(labels, 2**level, level_logits.shape[2:])
            target = torch.where(
                level_labels == IGNORE,
                level_labels,
                (level_labels == self.target_label).to(labels.dtype),
            )
            loss = combined_loss(
                binary_log_probabilities(level_logits, self.target_label),
                target,
                self.weights,
                self.total,
            )
            if known_count > 0 and all_organs > 0:
                organs = combined_loss(
                    torch.log_softmax(level_logits[known], 1),
                    level_labels[known],
                    self.weights,
                    self.total,
                )
                loss = loss + all_organs * organs * known_count / count
            mean = mean + self.levels[level] * loss
        return mean / sum(self.levels[:used])


def subsample(labels: torch.Tensor, factor: int, shape: Sequence[int]) -> torch.Tensor:
    """Labels of a coarser level: the voxel nearest to each block's middle."""
    if factor == 1:
        return labels
    for axis, size in enumerate(shape, start=1):
        at = torch.arange(size, device=labels.device) * factor + factor // 2
        labels = labels.index_select(axis, at.clamp(max=labels.shape[axis] - 1))
    return labels


def gate_loss(
    attention: Sequence[torch.Tensor],
    labels: torch.Tensor,
    target_label: int,
    reach_mm: Sequence[float],
    spacing_mm: Sequence[float],
    total: Total = of_one_process,
) -> torch.Tensor:
    """Teach each gate where to look: the organ, widened by a reach that shrinks with depth.

    The published maps cover 45, 25, 8 and 3 % of the image at levels 1 to 4: shallow gates let
    through the organ's surroundings, deep ones the organ. Left to the segmentation loss alone,
    short training leaves them open or shut at random, and the user is shown them.

    Args:
        attention: (B, heads, *spatial of the level), shallow first.
        labels: (B, *spatial) at full resolution.
        reach_mm: by how much the organ is widened at each level.
        spacing_mm: of the full resolution, in the order of the spatial axes.
        total: of sums over the batch.

    Returns:
        Binary cross-entropy, organ and background weighed alike, averaged over the levels.
    """
    organ = (labels == target_label).float().unsqueeze(1)
    known = (labels != IGNORE).float().unsqueeze(1)
    pool = F.max_pool3d if labels.ndim == 4 else F.max_pool2d
    loss = organ.new_zeros(())
    for alpha, reach in zip(attention, reach_mm, strict=True):
        factor = -(-labels.shape[-1] // alpha.shape[-1])
        wide = pool(organ, factor, ceil_mode=True) if factor > 1 else organ
        seen = pool(known, factor, ceil_mode=True) if factor > 1 else known
        radius = [round(reach / (step * factor)) for step in spacing_mm]
        for axis, r in enumerate(radius):
            if r > 0:
                kernel = [1] * len(radius)
                kernel[axis] = 2 * r + 1
                wide = pool(wide, kernel, stride=1, padding=[size // 2 for size in kernel])
        mean_alpha = alpha.float().mean(dim=1, keepdim=True).clamp(1e-4, 1 - 1e-4)
        entropy = F.binary_cross_entropy(mean_alpha, wide, reduction="none")
        inside, outside = wide * seen, (1 - wide) * seen
        loss = loss + (
            total((entropy * inside).sum()) / total(inside.sum()).clamp(min=1)
            + total((entropy * outside).sum()) / total(outside.sum()).clamp(min=1)
        )
    return loss / max(len(attention), 1)
