"""A prediction whose volumes are computed already, so that writing it into a scene is quick."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from ..geometry.grid import Region
from .prediction import Prediction
from .progress import CancelToken, ProgressCallback, ignore_progress
from .uncertainty import uncertainty_of


@dataclass(frozen=True, eq=False)
class PreparedPrediction(Prediction):
    """A prediction that holds its probability and attention on the scan's grid.

    Args:
        parts: probability, then attention from level 1: float32 (k, j, i), of the region only.
        undecided: the uncertainty, likewise.
    """

    parts: tuple[np.ndarray, ...] = ()
    undecided: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))

    def uncertainty_in_region(self, part: Region | None = None) -> np.ndarray:
        return self.undecided if part is None else self.undecided[part]

    def probability_in_region(self, part: Region | None = None) -> np.ndarray:
        return self.parts[0] if part is None else self.parts[0][part]

    def attention_in_region(self, level: int, part: Region | None = None) -> np.ndarray:
        if not 1 <= level <= self.levels:
            raise IndexError(f"there are attention levels 1 to {self.levels}, not {level}")
        return self.parts[level] if part is None else self.parts[level][part]


def prepare_volumes(
    prediction: Prediction,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> PreparedPrediction:
    """Compute the volumes of a prediction now, in this thread.

    Raises:
        Cancelled: the token was set.
    """
    parts: list[np.ndarray] = []
    for level in range(prediction.levels + 1):
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress(level / (prediction.levels + 1), "Bringing the attention to the scan's grid")
        parts.append(
            prediction.attention_in_region(level) if level else prediction.probability_in_region()
        )
    fields = {one.name: getattr(prediction, one.name) for one in dataclasses.fields(prediction)}
    undecided = uncertainty_of(parts[0])
    return PreparedPrediction(**fields | {"parts": tuple(parts), "undecided": undecided})
