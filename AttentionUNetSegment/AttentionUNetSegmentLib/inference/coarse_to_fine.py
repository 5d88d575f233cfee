"""Coarse to fine: find the organ in the whole scan, then segment the region that it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.grid import Box, Grid, Region, aligned_grid
from ..geometry.volume import Volume
from ..models import Label
from .click_update import pull_to_clicks
from .clicks import Click
from .engine import MULTIPLE, Engine
from .mirrored import check_orientation
from .prediction import THRESHOLD
from .progress import CancelToken, StepTimer
from .refinement import Refinement
from .regions import find_clicks_box, find_organ_box, select_components

GROWTH_MM = 32.0
MOST_GROWTHS = 2
"""How often, and by how much, the region is widened where the organ reaches its border."""


@dataclass(frozen=True, eq=False)
class RefinedRegion:
    """A region that was segmented.

    Args:
        refinement: of the region.
        selected: boolean, on its grid: the components that stay, with their holes filled.
        components: how many.
    """

    refinement: Refinement
    selected: np.ndarray
    components: int


def locate_organ(
    engine: Engine,
    volume: Volume,
    warnings: list[str],
    cancel: CancelToken | None = None,
    interest: Region | None = None,
) -> Box | None:
    """Where the organ is in the whole scan, or None.

    In a box that the user drew the organ is not looked for: it is taken with as much around it as
    the scan has. So is a scan that somebody cut to the organ, where the locator, which knows whole
    abdomens, finds nothing. A model of one stage has no locator: its network sees the whole scan.

    Args:
        warnings: a sentence is added where memory did not suffice, where not all was looked at, and
            where the scan seems to be mirrored.
        interest: k, j, i box of the scan to look in.
    """
    scan = volume.grid.bounds
    place = scan if interest is None else volume.grid.subgrid(interest).bounds
    if not engine.has_locator:
        return place
    search = engine.card.search
    small = place.fits_in(search.largest_box_mm)
    if small and interest is not None:
        return place.grown(search.margin_mm).at_least(search.smallest_box_mm).within(scan)
    sampled, grid = locator_view(engine, volume, place)

    def locate(image: torch.Tensor) -> np.ndarray:
        """The probability of each label, (labels, k, j, i)."""
        # A GPU with too little memory may just have been given up.
        image = image.to(engine.device)
        return engine.run_locator(image, warnings, cancel)[0].cpu().numpy()

    probabilities = locate(sampled)
    most_disorder = engine.card.usual.organ_disorder
    turned = check_orientation(sampled, probabilities, locate, place, most_disorder)
    if turned is not None:
        warnings.append(turned)
    probability = probabilities[engine.all_channels].sum(axis=0)
    box = find_organ_box(probability, grid, search, warnings)
    if box is None:
        cut_out = small and place.extent_mm.min() >= search.least_side_mm
        return place if cut_out else None
    return box.within(place)


def locator_view(engine: Engine, volume: Volume, place: Box) -> tuple[torch.Tensor, Grid]:
    """A part of the scan as the locator sees it: (1, 1, k, j, i), and where that lies."""
    grid = aligned_grid(place, engine.card.stages["locator"].spacing_mm, MULTIPLE)
    return engine.sample(volume, grid), grid


def locate_clicks(engine: Engine, volume: Volume, clicks: Sequence[Click]) -> Box | None:
    """Where to look when there are clicks only; None where none of them is inside."""
    box = find_clicks_box(clicks, engine.card.search)
    return box if box is None else _whole_slices(engine, volume, box)


def locate_mask(engine: Engine, volume: Volume, region: Region) -> Box:
    """The surroundings of a mask that is there already.

    Args:
        region: k, j, i of the scan that holds the mask.
    """
    scan, search = volume.grid.bounds, engine.card.search
    box = volume.grid.subgrid(region).bounds.grown(search.margin_mm)
    box = box.at_least(search.smallest_box_mm)
    return _whole_slices(engine, volume, box.within(scan))


def _whole_slices(engine: Engine, volume: Volume, box: Box) -> Box:
    """The box itself, but for a 2D network that always sees whole slices."""
    if not engine.slicewise or engine.has_locator:
        return box
    scan = volume.grid.bounds
    return Box(
        np.array([*scan.low_ras[:2], box.low_ras[2]]),
        np.array([*scan.high_ras[:2], box.high_ras[2]]),
    )


def refine_region(
    engine: Engine,
    volume: Volume,
    box: Box,
    clicks: Sequence[Click],
    warnings: list[str],
    steps: StepTimer,
    interest: Region | None = None,
    target: Label | None = None,
) -> RefinedRegion:
    """Run the refiner on a box, and again on a wider one where the organ reaches its border.

    Args:
        interest: k, j, i box of the scan beyond which the organ is not followed.
        target: what is segmented; the model's first target unless given.
    """
    name = engine.card.target if target is None else target.name
    whole = volume.grid
    limits = (whole if interest is None else whole.subgrid(interest)).bounds
    for growth in range(MOST_GROWTHS + 1):
        with steps.step("refine", 0.2 + 0.2 * growth, f"Segmenting the {name}"):
            spacing = engine.card.stages["refiner"].spacing_mm
            grid = aligned_grid(box, spacing, MULTIPLE, snap=True)
            scan = engine.sample(volume, grid)
            refinement = engine.run_refiner(scan, grid, clicks, warnings, steps.cancel, target)
            refinement = _pulled(refinement, scan, clicks)
            foreground = foreground_of(refinement, volume, interest)
            selected, components = select_components(foreground, grid, clicks)
        wider = _widened(box, selected, grid, limits)
        if wider is None:
            break
        box = wider
    else:
        warnings.append(
            f"The {name} reaches the border of the region that was looked at, also "
            "after it was widened; click inside in what is missing."
        )
    return RefinedRegion(refinement, selected, components)


def foreground_of(
    refinement: Refinement, volume: Volume, interest: Region | None = None
) -> np.ndarray:
    """Where the organ is, by the network, in the user's box: bool (k, j, i) on its grid."""
    foreground = refinement.values > THRESHOLD
    if interest is not None:
        box = volume.grid.subgrid(interest).bounds
        outside = np.ones(foreground.shape, bool)
        outside[refinement.grid.region_of(box.corners_ras)] = False
        foreground &= ~outside
    return foreground


def _pulled(refinement: Refinement, scan: torch.Tensor, clicks: Sequence[Click]) -> Refinement:
    if not clicks:
        return refinement
    probability = refinement.probability.values
    # A GPU with too little memory may just have been given up.
    scan = scan.to(probability.device)
    return refinement.with_probability(pull_to_clicks(probability, scan, refinement.grid, clicks))


def _widened(box: Box, selected: np.ndarray, grid: Grid, scan: Box) -> Box | None:
    """The box with those sides moved out that the organ touches; None where it touches none."""
    low, high = box.low_ras.copy(), box.high_ras.copy()
    seen = grid.bounds
    for axis, name in enumerate((2, 1, 0)):
        planes = np.atleast_1d(selected.any(axis=tuple(a for a in range(3) if a != name)))
        if planes[:2].any() and seen.low_ras[axis] > scan.low_ras[axis] + 1:
            low[axis] = max(seen.low_ras[axis] - GROWTH_MM, scan.low_ras[axis])
        if planes[-2:].any() and seen.high_ras[axis] < scan.high_ras[axis] - 1:
            high[axis] = min(seen.high_ras[axis] + GROWTH_MM, scan.high_ras[axis])
    if (low == box.low_ras).all() and (high == box.high_ras).all():
        return None
    return Box(np.minimum(low, box.low_ras), np.maximum(high, box.high_ras))
