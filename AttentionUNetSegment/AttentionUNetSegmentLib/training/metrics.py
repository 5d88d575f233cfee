"""How well a mask agrees with the truth, in physical units.

Overlap is counted; surface distances come from MONAI. Where both masks are empty they agree:
Dice and sensitivity are 1 and the distance is 0. Where one is empty, Dice is 0 and there is no
distance (``None``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ..inference.volume import Volume


@dataclass(frozen=True)
class Scores:
    """Agreement of a mask with the truth; counts are over the whole scan."""

    dice: float
    sensitivity: float
    specificity: float
    hausdorff95_mm: float | None
    volume_ml: float
    true_volume_ml: float

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)


def score(mask: np.ndarray, truth: np.ndarray, place: Volume) -> Scores:
    """Compare two masks on the same grid.

    Args:
        mask, truth: (k, j, i), non-zero in the organ.
        place: a volume on that grid, for spacing and voxel volume.
    """
    predicted, true = mask != 0, truth != 0
    both = int(np.count_nonzero(predicted & true))
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    outside = predicted.size - n_true
    false_positive = n_predicted - both
    return Scores(
        dice=2 * both / (n_predicted + n_true) if n_predicted + n_true else 1.0,
        sensitivity=both / n_true if n_true else 1.0,
        specificity=(outside - false_positive) / outside if outside else 1.0,
        hausdorff95_mm=hausdorff95_mm(predicted, true, place.spacing_mm),
        volume_ml=n_predicted * place.voxel_volume_ml,
        true_volume_ml=n_true * place.voxel_volume_ml,
    )


def hausdorff95_mm(
    predicted: np.ndarray, true: np.ndarray, spacing_mm: tuple[float, float, float]
) -> float | None:
    """The 95th percentile of the distances between two surfaces, both ways, in mm.

    Args:
        predicted, true: boolean (k, j, i).
        spacing_mm: along i, j, k.
    """
    import torch
    from monai.metrics import compute_hausdorff_distance

    if not predicted.any() and not true.any():
        return 0.0
    if not predicted.any() or not true.any():
        return None
    where = np.argwhere(predicted | true)
    box = tuple(
        slice(max(int(low) - 1, 0), int(high) + 2)
        for low, high in zip(where.min(axis=0), where.max(axis=0), strict=True)
    )
    one, other = (torch.from_numpy(region[box])[None, None].float() for region in (predicted, true))
    distance = compute_hausdorff_distance(
        one, other, include_background=True, percentile=95, spacing=list(reversed(spacing_mm))
    )
    return float(distance[0, 0])
