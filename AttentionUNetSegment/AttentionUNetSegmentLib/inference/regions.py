"""From the locator's probability to the box that the refiner is run on, and from the refiner's to
the components that are kept.

Connected components come from SimpleITK; the maps are small (6 mm voxels, or a region's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.grid import Box, Grid
from .clicks import Click

if TYPE_CHECKING:
    from ..models import Search

LOCATOR_THRESHOLD = 0.3
"""Probability at which the locator's coarse voxels count: low, since it only has to be near."""
CLEAR_EVIDENCE = 2.5
"""So many times the least evidence that the card asks for (30 mL of pancreas), even in a small
scan, is the organ in its usual surroundings. With less, in crops, the locator may see a half of it
only."""
SECOND_THRESHOLD, SECOND_EVIDENCE = 0.1, 0.5
"""The same, and the share of the least evidence, where that gives nothing: the place is then a
second candidate, and the refiner's answer decides. With all that the locator is unsure of, whole
scans have 9 mL of pancreas and more, of 12."""
COMPANION_SHARE = 0.2
"""Another component with at least this share of the largest one's evidence belongs to it too."""
SMALLEST_SHARE = 0.05
"""Components of the result smaller than this share of the largest are dropped. In three of 39 scans
that `pancreas-ct` did not learn from it outlines a piece of 0.05 to 0.15 of the largest, each time
rightly."""


def connected_components(region: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the components of a boolean (k, j, i) array, 1 the largest; corners connect."""
    import SimpleITK as sitk

    labelled = sitk.ConnectedComponent(sitk.GetImageFromArray(region.astype(np.uint8)), True)
    labelled = sitk.RelabelComponent(labelled, sortByObjectSize=True)
    labels = sitk.GetArrayFromImage(labelled)
    return labels, int(labels.max(initial=0))


def find_organ_box(
    probability: np.ndarray,
    grid: Grid,
    search: Search,
    warnings: list[str],
    threshold: float = LOCATOR_THRESHOLD,
    evidence_share: float = 1.0,
) -> Box | None:
    """Where the organ is, or None where there is none.

    Args:
        probability: (k, j, i), the locator's, on a grid along R, A, S.
        search: of the model's card.
        warnings: a sentence is added where a second piece lies too far away to be in the box.
        threshold: from which on its voxels count.
        evidence_share: of the least evidence that the card asks for.
    """
    labels, count = connected_components(probability > threshold)
    if count == 0:
        return None
    evidence = np.bincount(labels.ravel(), weights=probability.ravel(), minlength=count + 1)[1:]
    best = int(evidence.argmax())
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    if evidence[best] * voxel_ml < evidence_share * search.least_volume_ml:
        return None
    keep = np.flatnonzero(evidence >= COMPANION_SHARE * evidence[best]) + 1
    pieces = box_of_voxels(np.isin(labels, keep), grid)
    largest_piece = box_of_voxels(labels == best + 1, grid).grown(search.margin_mm)
    middle = centre_of_mass(probability * (labels == best + 1), grid)
    box = surroundings_of(np.isin(labels, keep), grid, search)
    box = box.at_most(search.largest_box_mm, around=middle)
    box = Box(
        np.minimum(box.low_ras, largest_piece.low_ras),
        np.maximum(box.high_ras, largest_piece.high_ras),
    )
    if (pieces.low_ras < box.low_ras).any() or (pieces.high_ras > box.high_ras).any():
        warnings.append(
            "A second piece of what looks like the organ is too far from the first, and was not "
            "looked at; click in it if it belongs to the organ."
        )
    return box


def surroundings_of(region: np.ndarray, grid: Grid, search: Search) -> Box:
    """The box of an organ's voxels, with room for what was missed and for the refiner's context."""
    return box_of_voxels(region, grid).grown(search.margin_mm).at_least(search.smallest_box_mm)


def box_of_voxels(region: np.ndarray, grid: Grid) -> Box:
    """The box of a region's voxels on a grid along R, A, S."""
    indices = np.argwhere(region)[:, ::-1]
    origin, spacing = grid.ijk_to_ras[:3, 3], np.asarray(grid.spacing_mm)
    return Box(
        origin + (indices.min(axis=0) - 0.5) * spacing,
        origin + (indices.max(axis=0) + 0.5) * spacing,
    )


def centre_of_mass(weights: np.ndarray, grid: Grid) -> np.ndarray:
    """R, A, S of the weighted middle."""
    total = weights.sum()
    index = [
        float((weights.sum(axis=tuple(a for a in range(3) if a != axis)) * np.arange(size)).sum())
        / total
        for axis, size in enumerate(weights.shape)
    ]
    return grid.position_of(index[::-1])


def find_clicks_box(clicks: Sequence[Click], search: Search) -> Box | None:
    """The surroundings of the clicks inside; None without any."""
    points = np.array([click.position_ras for click in clicks if click.inside])
    if len(points) == 0:
        return None
    return Box.around(points).grown(search.click_margin_mm)


def select_components(
    foreground: np.ndarray, grid: Grid, clicks: Sequence[Click]
) -> tuple[np.ndarray, int]:
    """Drop small connected components, fill holes.

    Args:
        foreground: boolean (k, j, i) on a grid along R, A, S.
        clicks: a component that holds a click inside is kept, however small.

    Returns:
        The region that stays, and the number of its components.
    """
    import SimpleITK as sitk

    labels, count = connected_components(foreground)
    if count == 0:
        return foreground, 0
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    keep = {index + 1 for index in np.flatnonzero(sizes >= SMALLEST_SHARE * sizes.max())}
    for click in clicks:
        voxel = grid.voxel_of(click.position_ras)
        if click.inside and voxel is not None:
            keep.add(int(labels[voxel]))
    kept = np.isin(labels, sorted(keep - {0}))
    filled = sitk.BinaryFillhole(
        sitk.GetImageFromArray(kept.astype(np.uint8)), fullyConnected=False
    )
    return sitk.GetArrayFromImage(filled).astype(bool), len(keep - {0})
