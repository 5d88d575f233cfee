"""A scan that lies otherwise than its file says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.geometry.grid import Box
from AttentionUNetSegmentLib.inference.mirrored import (
    BEGINNING,
    EXCHANGED,
    check_orientation,
    measure_disorder,
    unusual_disorder,
)
from scipy.ndimage import label as label_pieces
from scipy.stats import entropy

TRUNK = Box(np.array([-150.0, -100.0, -150.0]), np.array([150.0, 100.0, 150.0]))
SHAPE = (16, 20, 24)


def body() -> np.ndarray:
    """Three organs in the corners of a scan, each with a value of its own: (k, j, i)."""
    scan = np.zeros(SHAPE, np.float32)
    scan[2:8, 2:9, 2:9] = 1
    scan[9:14, 12:18, 3:10] = 2
    scan[3:9, 11:17, 14:21] = 3
    return scan


def locate(scan: torch.Tensor) -> np.ndarray:
    """Sure where the scan looks as it should, unsure and in shreds where it does not."""
    given, expected = scan[0, 0].numpy(), body()
    probabilities = np.full((4, *SHAPE), 0.01)
    for organ in range(4):
        probabilities[organ][given == organ] = 0.97
    odd = (given > 0) & (given != expected)
    for organ in range(1, 4):
        probabilities[organ][odd] = 0.3 + 0.1 * (given[odd] == organ)
    probabilities[:, odd & (np.indices(SHAPE).sum(axis=0) % 7 == 0)] = np.array(
        [[0.7], [0.1], [0.1], [0.1]]
    )
    return probabilities / probabilities.sum(axis=0)


def check(scan: np.ndarray, seen: Box = TRUNK, most: float | None = -6.0) -> str | None:
    image = torch.from_numpy(np.ascontiguousarray(scan))[None, None]
    disorder = unusual_disorder(locate(image), seen, most)
    return None if disorder is None else check_orientation(image, disorder, locate)


def test_disorder_is_the_entropy_of_the_organs_and_their_pieces() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.3] * 5, SHAPE).transpose(3, 0, 1, 2)
    labels = probabilities.argmax(axis=0)
    inside = float(entropy(probabilities, axis=0)[labels > 0].mean())
    largest = 0
    for organ in range(1, 5):
        pieces, _ = label_pieces(labels == organ, np.ones((3, 3, 3)))
        largest += np.bincount(pieces.ravel())[1:].max()
    share = 1 - largest / (labels > 0).sum()
    expected = np.log(inside) + 0.2 * np.log(share + 0.003)
    assert measure_disorder(probabilities) == pytest.approx(expected)


def test_disorder_is_not_told_of_too_few_organs() -> None:
    assert measure_disorder(np.ones((3, *SHAPE)) / 3) is None
    nothing = np.zeros((9, *SHAPE))
    nothing[0] = 1
    assert measure_disorder(nothing) is None


def test_a_scan_in_order_is_left_alone() -> None:
    assert check(body()) is None


@pytest.mark.parametrize("axes", EXCHANGED)
def test_each_exchange_is_told_by_its_name(axes: tuple[bool, bool, bool]) -> None:
    wrong = np.flip(body(), [2 - axis for axis in range(3) if axes[axis]])
    told = check(wrong)
    assert told is not None
    assert told.startswith(BEGINNING)
    assert EXCHANGED[axes] in told
    assert "situs inversus" in told


def test_nothing_is_told_of_a_part_of_a_trunk_or_by_a_card_without_a_limit() -> None:
    wrong = np.flip(body(), 2)
    part = Box(TRUNK.low_ras, TRUNK.high_ras - (0, 0, 150))
    assert check(wrong, seen=part) is None
    assert check(wrong, most=None) is None


def test_the_scan_is_shown_again_only_where_there_is_disorder() -> None:
    shown: list[int] = []

    def counting(scan: torch.Tensor) -> np.ndarray:
        shown.append(1)
        return locate(scan)

    image = torch.from_numpy(body())[None, None]
    disorder = measure_disorder(locate(image))
    assert disorder is not None
    assert unusual_disorder(locate(image), TRUNK, disorder + 0.1) is None
    assert unusual_disorder(locate(image), TRUNK, disorder - 0.1) == disorder
    check_orientation(image, disorder, counting)
    assert len(shown) == len(EXCHANGED)
