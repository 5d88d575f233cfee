"""Losses against MONAI and closed formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.training.losses import (
    IGNORE,
    LossWeights,
    OrganLoss,
    binary_log_probabilities,
    combined_loss,
    gate_loss,
    subsample,
)
from monai.losses import DeepSupervisionLoss, DiceLoss, FocalLoss

ONLY_DICE = LossWeights(1, 0, 0)
ONLY_CROSS_ENTROPY = LossWeights(0, 1, 0)
ONLY_FOCAL = LossWeights(0, 0, 1)


def batch(shape: tuple[int, ...], classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((shape[0], classes, *shape[1:]), generator=generator)
    return logits, torch.randint(0, classes, shape, generator=generator)


MONAI_DICE = DiceLoss(
    include_background=False,
    softmax=True,
    to_onehot_y=True,
    batch=True,
    smooth_nr=1e-5,
    smooth_dr=1e-5,
)


@pytest.mark.parametrize("shape", [(2, 9, 8), (1, 6, 7, 5)])
@pytest.mark.parametrize("classes", [2, 4])
def test_dice_agrees_with_monai(shape: tuple[int, ...], classes: int) -> None:
    logits, target = batch(shape, classes)
    reference = MONAI_DICE(logits, target[:, None])
    ours = combined_loss(torch.log_softmax(logits, 1), target, ONLY_DICE)
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("shape", [(2, 9, 8), (1, 6, 7, 5)])
def test_focal_agrees_with_monai(shape: tuple[int, ...]) -> None:
    logits, target = batch(shape, 3)
    reference = FocalLoss(gamma=2.0, to_onehot_y=True, use_softmax=True, reduction="none")(
        logits, target[:, None]
    )
    ours = combined_loss(torch.log_softmax(logits, 1), target, ONLY_FOCAL)
    # MONAI averages over voxels and classes, the paper sums over classes.
    torch.testing.assert_close(ours, reference.sum(dim=1).mean())


def test_dice_passes_over_classes_that_do_not_occur() -> None:
    """Without a voxel of it, any prediction of a class has the same overlap: none."""
    logits, target = batch((1, 6, 7, 5), 2)
    two = combined_loss(torch.log_softmax(logits, 1), target, ONLY_DICE)
    never = torch.full_like(logits[:, :1], -20.0)
    three = torch.log_softmax(torch.cat((logits, never), dim=1), 1)
    torch.testing.assert_close(combined_loss(three, target, ONLY_DICE), two)


def test_cross_entropy_agrees_with_pytorch_and_passes_over_the_unknown() -> None:
    logits, target = batch((2, 5, 6, 7), 3)
    target[0, :2] = IGNORE
    reference = torch.nn.functional.cross_entropy(logits, target, ignore_index=IGNORE)
    ours = combined_loss(torch.log_softmax(logits, 1), target, ONLY_CROSS_ENTROPY)
    torch.testing.assert_close(ours, reference)


def test_the_mixture_is_the_weighted_sum() -> None:
    logits, target = batch((1, 6, 7, 5), 3)
    log_probabilities = torch.log_softmax(logits, 1)
    parts = [
        combined_loss(log_probabilities, target, one)
        for one in (ONLY_DICE, ONLY_CROSS_ENTROPY, ONLY_FOCAL)
    ]
    mixture = combined_loss(log_probabilities, target, LossWeights())
    torch.testing.assert_close(mixture, 0.4 * parts[0] + 0.3 * parts[1] + 0.3 * parts[2])


def test_what_is_predicted_where_nothing_is_known_does_not_matter() -> None:
    logits, target = batch((1, 6, 7, 5), 3)
    target[0, 3:] = IGNORE
    expected = combined_loss(torch.log_softmax(logits, 1), target, LossWeights())
    logits[:, :, 3:] = 50 * torch.randn_like(logits[:, :, 3:])
    changed = combined_loss(torch.log_softmax(logits, 1), target, LossWeights())
    torch.testing.assert_close(changed, expected)


def test_one_label_against_the_rest_sums_the_rest() -> None:
    logits, _ = batch((2, 4, 4, 4), 5)
    probabilities = logits.softmax(1)
    ours = binary_log_probabilities(logits, 3).exp()
    torch.testing.assert_close(ours[:, 1], probabilities[:, 3])
    torch.testing.assert_close(ours[:, 0], 1 - probabilities[:, 3])


def test_a_case_with_the_target_only_does_not_punish_other_organs() -> None:
    """Where only the pancreas is labelled, calling a voxel liver or background costs the same."""
    labels = torch.zeros((1, 4, 4, 4), dtype=torch.long)
    labels[0, :2] = 2
    as_background = torch.zeros((1, 4, 4, 4, 4))
    as_background[:, 2, :2] = 5
    as_liver = as_background.clone()
    as_background[:, 0, 2:], as_liver[:, 1, 2:] = 5, 5
    loss = OrganLoss(target_label=2)
    one, other = (
        loss([logits.movedim(1, 1)], labels, organs_known=[False])
        for logits in (as_background, as_liver)
    )
    torch.testing.assert_close(one, other)
    assert loss([as_liver], labels, organs_known=[True]) > loss(
        [as_background], labels, organs_known=[True]
    )


def test_deep_supervision_looks_at_every_level() -> None:
    labels = torch.randint(0, 3, (1, 8, 8, 8))
    levels = [torch.randn(1, 3, size, size, size, requires_grad=True) for size in (8, 4, 2)]
    OrganLoss(target_label=2)(levels, labels, organs_known=[True]).backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in levels)


def test_subsampling_takes_the_middle_of_each_block() -> None:
    labels = torch.arange(8).view(1, 8, 1, 1).expand(1, 8, 4, 4)
    assert subsample(labels, 4, (2, 1, 1))[0, :, 0, 0].tolist() == [2, 6]


def test_a_gate_that_looks_at_the_organ_costs_least() -> None:
    labels = torch.zeros((1, 16, 16, 16), dtype=torch.long)
    labels[0, 6:10, 6:10, 6:10] = 1
    wide = torch.zeros((1, 1, 16, 16, 16))
    wide[0, 0, 4:12, 4:12, 4:12] = 1  # widened by 4 mm at 2 mm
    costs = {
        name: float(gate_loss([alpha], labels, 1, (4.0,), (2.0, 2.0, 2.0)))
        for name, alpha in {
            "right": wide.clamp(0.02, 0.98),
            "open": torch.full_like(wide, 0.98),
            "shut": torch.full_like(wide, 0.02),
            "inverted": (1 - wide).clamp(0.02, 0.98),
        }.items()
    }
    assert costs["right"] == pytest.approx(-2 * np.log(0.98), abs=1e-4)
    assert costs["right"] < min(costs["open"], costs["shut"]) < costs["inverted"]


def test_gate_supervision_reaches_coarse_levels_and_passes_over_the_unknown() -> None:
    labels = torch.full((1, 16, 16, 16), IGNORE)
    alpha = torch.full((1, 2, 4, 4, 4), 0.7, requires_grad=True)
    loss = gate_loss([alpha], labels, 1, (4.0,), (2.0, 2.0, 2.0))
    assert loss.item() == 0
    labels[0, :8] = 0
    labels[0, 2, 2, 2] = 1
    full = torch.full((1, 1, 16, 16, 16), 0.5)
    gate_loss([full, alpha], labels, 1, (2.0, 2.0), (2.0, 2.0, 2.0)).backward()
    assert alpha.grad is not None
    assert float(alpha.grad.abs().sum()) > 0


@pytest.mark.parametrize("shape", [(2, 9, 8), (1, 6, 7, 5)])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_mixture_agrees_with_monai(shape: tuple[int, ...], classes: int) -> None:
    logits, target = batch(shape, classes)
    dice = MONAI_DICE(logits, target[:, None])
    entropy = torch.nn.functional.cross_entropy(logits, target)
    focal = FocalLoss(gamma=2.0, to_onehot_y=True, use_softmax=True, reduction="none")(
        logits, target[:, None]
    )
    ours = combined_loss(torch.log_softmax(logits, 1), target, LossWeights())
    # MONAI averages the focal loss over voxels and classes, the paper sums over classes.
    expected = 0.4 * dice + 0.3 * entropy + 0.3 * focal.sum(dim=1).mean()
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 8, 8, 8)])
def test_deep_supervision_is_monais_weighted_mean_over_levels(shape: tuple[int, ...]) -> None:
    """MONAI's DeepSupervisionLoss on labels that are constant in blocks, in 2D and 3D."""
    _, coarse = batch((shape[0], *(size // 4 for size in shape[1:])), 2)
    labels = coarse
    for axis in range(1, len(shape)):
        labels = labels.repeat_interleave(4, dim=axis)
    generator = torch.Generator().manual_seed(1)
    levels = [
        torch.randn((shape[0], 2, *(size // 2**level for size in shape[1:])), generator=generator)
        for level in range(3)
    ]
    ours = OrganLoss(1, ONLY_CROSS_ENTROPY, levels=(1.0, 0.5, 0.25))(
        levels, labels, [True] * shape[0]
    )
    reference = DeepSupervisionLoss(
        lambda logits, target: torch.nn.functional.cross_entropy(logits, target[:, 0].long()),
        weights=[1.0, 0.5, 0.25],
    )(levels, labels[:, None].float())
    torch.testing.assert_close(ours, reference / 1.75)


def test_each_sample_of_a_batch_says_itself_which_organs_are_known() -> None:
    logits, labels = batch((2, 6, 7, 5), 4)
    loss = OrganLoss(target_label=2, levels=(1.0,))
    target_only = loss([logits], labels, [False, False])
    both = loss([logits], labels, [True, True])
    first = loss([logits], labels, [True, False])
    organs = combined_loss(torch.log_softmax(logits[:1], 1), labels[:1], LossWeights())
    torch.testing.assert_close(first, target_only + 0.5 * organs / 2)
    assert target_only < first < both
