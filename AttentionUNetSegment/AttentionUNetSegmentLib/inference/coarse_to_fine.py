"""Coarse to fine: find the organ in the whole scan, then segment the region that it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..geometry.grid import Box, Grid, Region, aligned_grid
from ..geometry.volume import Volume
from ..models import Label, Search
from .click_update import pull_to_clicks
from .clicks import Click
from .engine import MULTIPLE, Engine
from .mirrored import check_orientation, unusual_disorder
from .prediction import THRESHOLD, Place
from .progress import StepTimer
from .quality import usual_ranges
from .refinement import Refinement
from .regions import (
    CLEAR_EVIDENCE,
    COMPANION_SHARE,
    LOCATOR_THRESHOLD,
    SECOND_EVIDENCE,
    SECOND_THRESHOLD,
    connected_components,
    find_clicks_box,
    find_organ_box,
    select_components,
    surroundings_of,
)

GROWTH_MM = 32.0
MOST_GROWTHS = 2
"""How often, and by how much, the region is widened where the organ reaches its border."""
BORDER_PROBABILITY = 0.2
"""From this on, in the two outermost planes of the region, the organ may go on beyond. In the scans
at hand, where it ends well within, it is 0.12 at most."""
NARROWER = 0.6
"""A small scan that was looked at directly is looked at again where the organ with its surroundings
takes up less than this share of it: the refiner knows regions, and errs more in larger ones. In a
box that the user drew this did not pay."""
LESS_SURE: dict[Place, float] = {"whole scan": 0.05, "second candidate": 0.02}
"""How far below what is usual the mean probability of an answer may lie where the locator did not
find the organ. A scan that was cut to the organ lacks what is around it. What the refiner outlines
where there is none is mostly less sure (``Testing/tools/measure_crops.py``)."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Where to look.

    Args:
        box: that the refiner is run on.
        place: how it was found.
    """

    box: Box
    place: Place


@dataclass(frozen=True, eq=False)
class RefinedRegion:
    """A region that was segmented.

    Args:
        refinement: of the region.
        selected: boolean, on its grid: the components that stay, with their holes filled.
        components: how many.
        cut: the organ still reaches its border, and was not followed any further.
    """

    refinement: Refinement
    selected: np.ndarray
    components: int
    cut: bool = False


def find_candidates(
    engine: Engine,
    volume: Volume,
    warnings: list[str],
    steps: StepTimer,
    interest: Region | None = None,
) -> Iterator[Candidate]:
    """Where the organ may be; each further place is for who does not find it in those before.

    In a box that the user drew the organ is not looked for: it is taken with as much around it as
    the scan has. So is a scan that is too small to hold an abdomen, which somebody cut to the
    organ, unless the locator sees it clearly: it knows whole abdomens. Where it sees too little in
    a larger scan, what it thinks possible is a second candidate. A model of one stage has no
    locator: its network sees the whole scan.

    Args:
        warnings: a sentence is added where memory did not suffice, where not all was looked at, and
            where the scan seems to be mirrored.
        interest: k, j, i box of the scan to look in.
    """
    scan, search = volume.grid.bounds, engine.card.search
    drawn = scan if interest is None else volume.grid.subgrid(interest).bounds
    given: Place = "whole scan" if interest is None else "region of interest"
    around = drawn.grown(search.margin_mm).within(scan)
    if not engine.has_locator:
        yield Candidate(drawn, given)
        return
    small = drawn.fits_in(search.largest_box_mm)
    if small and interest is not None:
        box = drawn.grown(search.margin_mm).at_least(search.smallest_box_mm)
        yield Candidate(box.within(scan), given)
        return
    with steps.step("locate", 0.05, f"Looking for the {engine.card.target}"):
        sampled, grid = locator_view(engine, volume, around)

        def locate(image: torch.Tensor) -> np.ndarray:
            """The probability of each label, (labels, k, j, i)."""
            # A GPU with too little memory may just have been given up.
            image = image.to(engine.device)
            return engine.run_locator(image, warnings, steps.cancel)[0].cpu().numpy()

        probabilities = locate(sampled)
        probability = probabilities[engine.all_channels].sum(axis=0)
        disorder = unusual_disorder(probabilities, around, engine.card.usual.organ_disorder)
        del probabilities  # a whole body's take as much memory as a layer of the next pass
        turned = None if disorder is None else check_orientation(sampled, disorder, locate)
        if turned is not None:
            warnings.append(turned)
        if interest is not None:
            probability = np.where(inside_of(drawn, grid), probability, 0)
        located = find_organ_box(probability, grid, search, warnings)
        clear = find_organ_box(probability, grid, search, [], LOCATOR_THRESHOLD, CLEAR_EVIDENCE)
    if small and clear is None and scan.extent_mm.min() >= search.least_side_mm:
        yield Candidate(scan, given)
    if located is not None:
        yield Candidate(located.within(around), "located")
    elif not small:
        second = find_organ_box(
            probability, grid, search, warnings, SECOND_THRESHOLD, SECOND_EVIDENCE
        )
        if second is not None:
            yield Candidate(second.within(around), "second candidate")
        if interest is not None:
            yield Candidate(drawn.at_most(search.largest_box_mm, around=drawn.centre_ras), given)


def holds_organ(refined: RefinedRegion, place: Place, engine: Engine) -> bool:
    """Whether an answer is believed. It is where the locator found the organ or the user drew a
    box; elsewhere there must be enough of it, and the refiner sure of it."""
    if place not in LESS_SURE or not engine.has_locator:
        return True
    values = refined.refinement.values
    inside = values[refined.selected & (values > THRESHOLD)]
    evidence_ml = inside.sum() * np.prod(refined.refinement.grid.spacing_mm) / 1000
    if evidence_ml < engine.card.search.least_volume_ml:
        return False
    least = usual_ranges(engine.card).least_probability
    return least is None or bool(inside.mean() >= least - LESS_SURE[place])


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
    direct: bool = False,
) -> RefinedRegion:
    """Run the refiner on a box, and again on a wider one where the organ reaches its border.

    Args:
        interest: k, j, i box of the scan beyond which the organ is not followed.
        target: what is segmented; the model's first target unless given.
        direct: nobody looked for the organ in the box before; where it takes up a small part only,
            the refiner is run again there.
    """
    name = engine.card.target if target is None else target.name
    whole = volume.grid
    limits = (whole if interest is None else whole.subgrid(interest)).bounds
    growths = 0
    while True:
        with steps.step("refine", 0.2 + 0.2 * growths, f"Segmenting the {name}"):
            spacing = engine.card.stages["refiner"].spacing_mm
            grid = aligned_grid(box, spacing, MULTIPLE, snap=True)
            scan = engine.sample(volume, grid)
            refinement = engine.run_refiner(scan, grid, clicks, warnings, steps.cancel, target)
            refinement = _pulled(refinement, scan, clicks)
            foreground = foreground_of(refinement, volume, interest)
            selected, components = select_components(foreground, grid, clicks)
        refined = RefinedRegion(refinement, selected, components)
        if direct:
            direct = False
            if (narrower := _narrowed(refined, whole.bounds, engine.card.search)) is not None:
                box = narrower
                continue
        wider = _widened(box, refined, limits)
        if wider is None:
            return refined
        if growths == MOST_GROWTHS:
            return replace(refined, cut=True)
        box = wider
        growths += 1


def foreground_of(
    refinement: Refinement, volume: Volume, interest: Region | None = None
) -> np.ndarray:
    """Where the organ is, by the network, in the user's box: bool (k, j, i) on its grid."""
    foreground = refinement.values > THRESHOLD
    if interest is not None:
        foreground &= inside_of(volume.grid.subgrid(interest).bounds, refinement.grid)
    return foreground


def inside_of(box: Box, grid: Grid) -> np.ndarray:
    """Which voxels of a grid along R, A, S a box reaches: bool (k, j, i)."""
    inside = np.zeros(grid.shape, bool)
    inside[grid.region_of(box.corners_ras)] = True
    return inside


def _pulled(refinement: Refinement, scan: torch.Tensor, clicks: Sequence[Click]) -> Refinement:
    if not clicks:
        return refinement
    probability = refinement.probability.values
    # A GPU with too little memory may just have been given up.
    scan = scan.to(probability.device)
    return refinement.with_probability(pull_to_clicks(probability, scan, refinement.grid, clicks))


def _narrowed(refined: RefinedRegion, scan: Box, search: Search) -> Box | None:
    """The surroundings of the largest components; None where they are most of what was seen."""
    labels, count = connected_components(refined.selected)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes >= COMPANION_SHARE * sizes.max()) + 1
    grid = refined.refinement.grid
    box = surroundings_of(np.isin(labels, large), grid, search).within(scan)
    seen = grid.bounds.within(scan)
    return box if np.prod(box.extent_mm) < NARROWER * np.prod(seen.extent_mm) else None


def _widened(box: Box, refined: RefinedRegion, limits: Box) -> Box | None:
    """The box with those sides moved out beyond which the organ may go on; None where on none.

    A refiner that lacks what is around a voxel is seldom sure of it, so at the border less than
    the threshold counts.
    """
    if not refined.selected.any():
        return None
    low, high = box.low_ras.copy(), box.high_ras.copy()
    grid = refined.refinement.grid
    values = np.maximum(refined.refinement.values, refined.selected)
    values = np.where(inside_of(limits, grid), values, 0)
    seen = grid.bounds
    for axis, name in enumerate((2, 1, 0)):
        most = values.max(axis=tuple(a for a in range(3) if a != name))
        goes_on = most >= BORDER_PROBABILITY
        if goes_on[:2].any() and seen.low_ras[axis] > limits.low_ras[axis] + 1:
            low[axis] = max(seen.low_ras[axis] - GROWTH_MM, limits.low_ras[axis])
        if goes_on[-2:].any() and seen.high_ras[axis] < limits.high_ras[axis] - 1:
            high[axis] = min(seen.high_ras[axis] + GROWTH_MM, limits.high_ras[axis])
    if (low == box.low_ras).all() and (high == box.high_ras).all():
        return None
    return Box(np.minimum(low, box.low_ras), np.maximum(high, box.high_ras))
