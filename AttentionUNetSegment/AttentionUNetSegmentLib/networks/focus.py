"""The focus ratio of an attention map. No torch here: it reads arrays as well as tensors."""

from __future__ import annotations

import math
from typing import Any

OPEN_RATIO, SHUT_RATIO = 0.99, 0.001
"""Focus ratios from which on a gate counts as open everywhere, and up to which as shut."""


def is_open(ratio: float) -> bool:
    """Whether a gate with this focus ratio lets the image through everywhere: it chose nothing."""
    return ratio >= OPEN_RATIO


def is_shut(ratio: float) -> bool:
    """Whether a gate with this focus ratio lets next to nothing through."""
    return ratio <= SHUT_RATIO


def focus_ratio(alpha: Any, threshold: float = 0.5) -> float:
    """Share of voxels, in [0, 1], whose attention coefficient is above `threshold`.

    alpha is a numpy array or a torch tensor of any shape; several heads count as so many more
    voxels. 1 is a gate open everywhere, 0 one shut everywhere. ValueError for an empty map.
    """
    voxels = math.prod(alpha.shape)
    if voxels == 0:
        raise ValueError("The focus ratio of an empty attention map is not defined.")
    return int((alpha > threshold).sum()) / voxels
