"""A made-up CT in the scene, with a block for a segment."""

from __future__ import annotations

from typing import Any

import AttentionUNetSegmentLib.scene as scene_package
import numpy as np
from AttentionUNetSegmentLib.geometry.volume import Volume
from scene_helpers import PLACES, add_block, add_segmentation

SHAPE = (24, 26, 30)  # k, j, i


def add_ct(place: np.ndarray = PLACES["plain"], seed: int = 0) -> Any:
    """Noise that passes for a CT: fat and soft tissue."""
    rng = np.random.default_rng(seed)
    array = np.where(rng.random(SHAPE) < 0.5, -100, 40) + rng.integers(-20, 20, SHAPE)
    return scene_package.addVolumeNode(
        Volume(array.astype(np.int16), place @ np.diag([4.0, 4, 4, 1])), "Doe^Jane 1970"
    )


def with_block(scene: Any, ct: Any, place: np.ndarray | None = None, start: int = 3) -> Any:
    node = add_segmentation(scene, ct)
    matrix = scene_package.volumes.ijkToRas(ct) if place is None else place
    add_block(node, "block", matrix, start)
    return node
