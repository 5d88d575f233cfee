"""A first outline of an organ that the networks know beside what the model is for.

Locator and refiner were taught to tell several organs apart, of which one is the target. The
locator sees the whole of each, coarsely; the refiner draws fine outlines, but knows them only as
what lies around the target. Both together know more than either, so their probabilities are
multiplied (a product of experts, Hinton 2002, doi:10.1162/089976602760128018).
"""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.grid import Grid, Region, aligned_grid
from ..geometry.resampling import resample
from ..geometry.volume import Volume
from ..models import Label
from .coarse_to_fine import foreground_of, inside_of, locator_view
from .engine import MULTIPLE, Engine
from .features import probability_dice
from .prediction import THRESHOLD
from .progress import CancelToken, StepTimer
from .refinement import Refinement
from .regions import box_of_voxels, connected_components, select_components

LEAST_ML = 10.0
"""Of an organ that the locator sees, in one piece, and of what is outlined; less may be
anything."""
LEAST_MEAN_PROBABILITY = 0.75
"""Of what is outlined. Of organs that are in the scan it was 0.8 and more; of what was outlined in
parts of scans that end short of them 0.8 at most, and a few millilitres."""
AROUND_MM = 30.0
"""So much around it the refiner is shown."""
LEAST_VIEW_MM = (200.0, 180.0, 180.0)
"""But so much at least, along R, A, S, for it knows views like this: in a smaller one it takes one
kidney for the other, and loses the aorta (mean Dice of six organs in three scans 0.84 instead of
0.89)."""
LEAST_AGREEMENT = 0.35
"""Dice of both networks' probabilities from which on both count. Below it the refiner, far from
what it is for, has lost the organ: in two of 36 organs, with 0.20 and 0.28, where the locator alone
had a Dice of 0.87 and 0.88; in the others it was 0.44 and more, and both together were better."""
MOST_KEPT_BYTES = 1 << 25
"""Of the locator's answer: a scan of the abdomen has a third of it, a whole body more."""
LEAST_PROBABILITY = 1e-4
"""Neither network is so sure that the other counts for nothing."""


def outline_known_organ(
    engine: Engine,
    volume: Volume,
    label: Label,
    warnings: list[str],
    steps: StepTimer,
    interest: Region | None = None,
) -> tuple[Refinement, np.ndarray, int] | None:
    """Where an organ is, in a scan that nothing is known of yet.

    Args:
        label: one of the card's, whose value is the networks' output channel.
        warnings: a sentence is added where memory did not suffice, and where the networks disagree.
        interest: k, j, i box of the scan to look in. The networks are shown what is around it, too.

    Returns:
        The probability of it in its surroundings; which voxels are it, boolean on that grid; and
        the number of their components. None where too little of it is seen, or not clearly.

    Raises:
        Cancelled: the token of the steps was set.
    """
    with steps.step("locate", 0.05, f"Looking for the {label.name}"):
        image, coarse = locator_view(engine, volume, volume.grid.bounds)
        located = _located(engine, image, warnings, steps.cancel)
        seen = (located.argmax(dim=1) == label.value)[0].cpu().numpy()
        if interest is not None:
            seen &= inside_of(volume.grid.subgrid(interest).bounds, coarse)
        pieces, count = connected_components(seen)
        if count == 0:
            return None
        largest = pieces == 1
        if largest.sum() * np.prod(coarse.spacing_mm) / 1000 < LEAST_ML:
            return None
    with steps.step("refine", 0.3, f"Segmenting the {label.name}"):
        box = box_of_voxels(largest, coarse).grown(AROUND_MM).at_least(LEAST_VIEW_MM)
        box = box.within(volume.grid.bounds)
        spacing = engine.card.stages["refiner"].spacing_mm
        grid = aligned_grid(box, spacing, MULTIPLE, snap=True)
        refined = engine.run_all_labels(
            "refiner", engine.sample(volume, grid), warnings, steps.cancel
        )
        located, channel = located.to(refined.device), label.value
        probability = resample(located[:, channel, None], coarse, grid)
        if probability_dice(probability, refined[:, channel, None]) < LEAST_AGREEMENT:
            step = max(engine.card.stages["locator"].spacing_mm)
            warnings.append(
                f"The networks disagree about the {label.name}: its outline is that of the one "
                f"that sees {step:g} mm, and coarse."
            )
        else:
            probability = _product(located, coarse, refined, grid, channel)
        refinement = Refinement.of(grid, probability, ())
        values = refinement.values
        foreground = foreground_of(refinement, volume, interest)
        selected, components = select_components(foreground, grid, ())
    inside = values[selected & (values > THRESHOLD)]
    if inside.size * np.prod(grid.spacing_mm) / 1000 < LEAST_ML:
        return None
    return (refinement, selected, components) if inside.mean() > LEAST_MEAN_PROBABILITY else None


def _located(
    engine: Engine, image: torch.Tensor, warnings: list[str], cancel: CancelToken | None
) -> torch.Tensor:
    """The locator's answer to a scan; the one before where it is shown the very same, as by each
    further organ that is looked for in it."""
    if engine.located is not None:
        shown, answer = engine.located
        if shown.device == image.device and torch.equal(shown, image):
            return answer
    engine.located, said = None, len(warnings)
    answer = engine.run_locator(image, warnings, cancel)
    if answer.nbytes <= MOST_KEPT_BYTES and len(warnings) == said:
        engine.located = image, answer
    return answer


def _product(
    located: torch.Tensor, coarse: Grid, refined: torch.Tensor, grid: Grid, channel: int
) -> torch.Tensor:
    """The normalised geometric mean of two networks' probabilities, of one label.

    Args:
        located: (1, labels, k, j, i) on ``coarse``.
        refined: likewise on ``grid``.

    Returns:
        (1, 1, k, j, i) on ``grid``.
    """
    total, one = torch.zeros_like(refined[:, :1]), torch.zeros_like(refined[:, :1])
    for number in range(refined.shape[1]):  # one label at a time: all would be a third copy
        part = slice(number, number + 1)
        coarsely = resample(located[:, part], coarse, grid).clamp(min=LEAST_PROBABILITY)
        both = (coarsely * refined[:, part].clamp(min=LEAST_PROBABILITY)).sqrt()
        total += both
        if number == channel:
            one = both
    return one / total
