"""All that a model's networks know, beside what the model is for.

A network that was taught to tell several organs apart was judged by one of them. The others are
written for orientation only: nobody has measured them, and beyond the region that the refiner
looked at there is the locator alone, with voxels of 6 mm.

>>> closely, coarsely = with_all_labels(predictor, prediction).all_labels
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..geometry.grid import Grid, Region, aligned_grid
from ..geometry.resampling import resample
from .engine import MULTIPLE, Engine
from .prediction import AllLabels, Prediction
from .progress import CancelToken


def with_all_labels(
    engine: Engine, prediction: Prediction, cancel: CancelToken | None = None
) -> Prediction:
    """A prediction with all labels of the model's networks on its scan.

    Args:
        engine: the model that made the prediction.
        prediction: says which region the refiner looked at.
        cancel: checked between the passes.

    Returns:
        The same with ``all_labels`` by the refiner, in its region, and by the locator, in the whole
        scan: without the first where no region was looked at, without the second for a model of
        one stage. Where memory did not suffice a warning is added.

    Raises:
        Cancelled: the token was set.
    """
    volume, card = prediction.volume, engine.card
    found: list[AllLabels] = []
    warnings = list(prediction.warnings)
    whole: Region = (
        slice(0, volume.array.shape[0]),
        slice(0, volume.array.shape[1]),
        slice(0, volume.array.shape[2]),
    )
    places: list[tuple[str, Region, Grid]] = []
    probability = prediction.probability_map
    if probability is not None:
        places.append(("refiner", prediction.region, probability.grid))
    if engine.has_locator:
        spacing = card.stages["locator"].spacing_mm
        places.append(("locator", whole, aligned_grid(volume.grid.bounds, spacing, MULTIPLE)))
    for stage, region, grid in places:
        if cancel is not None:
            cancel.raise_if_cancelled()
        with torch.inference_mode():
            scan = engine.sample(volume, grid)
            probabilities = engine.run_all_labels(stage, scan, warnings, cancel)
            labels = np.zeros(volume.array.shape, np.uint8)
            labels[region] = _most_probable(probabilities, grid, volume.grid.subgrid(region))
        present = set(np.unique(labels[region]).tolist()) - {0}
        step = max(card.stages[stage].spacing_mm)
        coarse = stage == "locator"
        title = (
            f"all labels, coarse ({step:g} mm), not for diagnosis"
            if coarse
            else "all labels in the region, not for diagnosis"
        )
        names = tuple(label for label in card.labels if label.value in present)
        found.append(AllLabels(title, coarse, labels, region, names))
    return replace(prediction, all_labels=tuple(found), warnings=tuple(warnings))


def _most_probable(probabilities: torch.Tensor, grid: Grid, target: Grid) -> np.ndarray:
    """The most probable label in each voxel of a grid: uint8 (k, j, i). One label is brought there
    at a time."""
    best = torch.zeros((1, 1, *target.shape), device=probabilities.device)
    labels = torch.zeros((1, 1, *target.shape), dtype=torch.uint8, device=probabilities.device)
    for value in range(probabilities.shape[1]):
        here = resample(probabilities[:, value, None], grid, target)
        more = here > best
        best = torch.where(more, here, best)
        labels[more] = value
    return labels[0, 0].cpu().numpy()
