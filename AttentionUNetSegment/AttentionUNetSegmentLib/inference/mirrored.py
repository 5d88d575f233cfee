"""Does a scan lie in the patient as its file says? The organs that the locator finds tell.

A network that learnt organs where they are sees them less clearly, and in more pieces, in a scan
that is mirrored or turned: part of a liver on the left looks like a spleen. So the scan is shown
to the locator a few times more, flipped, and if another orientation makes clearly more sense, that
is told. It is done only where the organs look disorderly at the first look, by a limit that the
model's card tells, and only in a scan of a whole trunk: a part of one has too few organs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from ..geometry.grid import Box, bounding_region
from .regions import connected_components

TRUNK_MM = (250.0, 170.0, 200.0)
"""Along R, A and S: what is smaller shows too few organs. Of the lower halves of the scans at hand
one made more sense mirrored."""
CLEARLY = 0.1
"""By how much the disorder of another orientation is less. Of the scans at hand it is less by 0.2
and more if they were mirrored, and never less if they were not."""
FEWEST_ORGANS = 3
"""Beside the background, that a locator has to know."""
FEWEST_VOXELS = 200
_LEAST_PIECES = 0.003
_WEIGHT_OF_PIECES = 0.2

BEGINNING = "This scan seems to be"
"""How the sentence begins that says so."""

EXCHANGED = {
    (True, False, False): "left and right",
    (False, True, False): "front and back",
    (False, False, True): "head and feet",
    (True, True, False): "left and right, and front and back,",
}
"""Along R, A and S, and what is then in each other's place."""


def measure_disorder(probabilities: np.ndarray) -> float | None:
    """How little order there is in the organs that a network sees: the higher, the less.

    The logarithm of the mean entropy (in nats) within the organs, plus a fifth of the logarithm of
    the share of them that is not in an organ's largest piece. A pattern that the network knows is
    seen with little entropy and in whole organs.

    Args:
        probabilities: (labels, k, j, i), the first of the background.

    Returns:
        None where it cannot be told: too few organs are known, or seen.
    """
    labels = probabilities.argmax(axis=0)
    voxels = int(np.count_nonzero(labels))
    if len(probabilities) <= FEWEST_ORGANS or voxels < FEWEST_VOXELS:
        return None
    inside = probabilities[:, labels > 0]
    surprise = inside * np.log(np.maximum(inside, 1e-9))
    entropy = -float(surprise.sum(axis=0).mean(dtype=np.float64))
    whole = 0
    for label in range(1, len(probabilities)):
        organ = labels == label
        box = bounding_region(organ)
        if box is not None:
            pieces, _ = connected_components(organ[box])
            whole += int(np.count_nonzero(pieces == 1))
    return math.log(max(entropy, 1e-9)) + _WEIGHT_OF_PIECES * math.log(
        1 - whole / voxels + _LEAST_PIECES
    )


def unusual_disorder(
    probabilities: np.ndarray, seen: Box, most_disorder: float | None
) -> float | None:
    """The disorder of the organs where there is more of it than is usual.

    Args:
        probabilities: (labels, k, j, i), what the locator said of a scan.
        seen: what of the patient is in the scan.
        most_disorder: that is usual; None where the model's card does not tell, so that nothing is
            checked.

    Returns:
        None where the scan seems to be in order, or nothing can be told.
    """
    if most_disorder is None or not (seen.extent_mm >= TRUNK_MM).all():
        return None
    disorder = measure_disorder(probabilities)
    return None if disorder is None or disorder <= most_disorder else disorder


def check_orientation(
    scan: torch.Tensor, disorder: float, locate: Callable[[torch.Tensor], np.ndarray]
) -> str | None:
    """Say so where a scan seems to lie otherwise than its file says.

    Args:
        scan: (1, 1, k, j, i) as the locator sees it, along R, A and S.
        disorder: of the organs in it, as of :func:`unusual_disorder`.
        locate: gives the probabilities of a flipped scan, (labels, k, j, i).

    Returns:
        A sentence; None where no other orientation makes clearly more sense.
    """
    least, exchanged = disorder - CLEARLY, None
    for axes, words in EXCHANGED.items():
        flipped = torch.flip(scan, [4 - axis for axis in range(3) if axes[axis]])
        other = measure_disorder(locate(flipped))
        if other is not None and other < least:
            least, exchanged = other, words
    if exchanged is None:
        return None
    kind = "turned" if exchanged.endswith(",") else "mirrored"
    return (
        f"{BEGINNING} {kind}: the organs look as they do with {exchanged} exchanged. "
        "Check the orientation in its file; if that is right, the organs may lie the other way "
        "round in this patient (situs inversus), which the model does not know."
    )
