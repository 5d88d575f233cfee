"""From the locator's probability to the box that the refiner is run on, and from the refiner's to
the components that are kept.

Connected components come from SimpleITK; the maps are small (6 mm voxels, or a region's).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.grid import Box, Grid
from .clicks import Click

LOCATOR_THRESHOLD = 0.3
"""Probability at which the locator's coarse voxels count: low, since it only has to be near."""
SMALLEST_ORGAN_ML = 12.0
"""Less evidence than this (probability times volume) is no organ. On the scans at hand the locator
sees 44 mL and more where the pancreas is in view, and mostly below 12 mL where a scan ends 15 mm
short of it."""
CLEAR_ORGAN_ML = 30.0
"""As much evidence, even in a small scan, is the organ in its usual surroundings. With less, in
crops, the locator may see a half of it only."""
SECOND_THRESHOLD, SECOND_ORGAN_ML = 0.1, 6.0
"""The same where that gives nothing: the place is then a second candidate, and the refiner's answer
decides. With all that the locator is unsure of, whole scans have 9 mL and more."""
COMPANION_SHARE = 0.2
"""Another component with at least this share of the largest one's evidence belongs to it too."""
MARGIN_MM = (24.0, 22.0, 24.0)
"""Room around the locator's box along R, A, S: its own error, and context for the refiner."""
SMALLEST_BOX_MM = (160.0, 128.0, 120.0)
LARGEST_BOX_MM = (280.0, 220.0, 260.0)
"""The most that the refiner is run on; a scan that is no larger was cut out of one."""
LEAST_SIDE_MM = 40.0
"""What is smaller along any axis cannot hold a pancreas and what surrounds it."""
LONE_CLICK_MM = (70.0, 50.0, 50.0)
"""Half the box around a lone click, which lies in an organ of about 140 x 80 x 90 mm."""
SMALLEST_SHARE = 0.1
"""Components of the result smaller than this share of the largest are dropped."""


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
    threshold: float = LOCATOR_THRESHOLD,
    smallest_ml: float = SMALLEST_ORGAN_ML,
) -> Box | None:
    """Where the organ is, or None where there is none.

    Args:
        probability: (k, j, i), the locator's, on a grid along R, A, S.
        threshold: from which on its voxels count.
        smallest_ml: less evidence is no organ.
    """
    labels, count = connected_components(probability > threshold)
    if count == 0:
        return None
    evidence = np.bincount(labels.ravel(), weights=probability.ravel(), minlength=count + 1)[1:]
    best = int(evidence.argmax())
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    if evidence[best] * voxel_ml < smallest_ml:
        return None
    keep = np.flatnonzero(evidence >= COMPANION_SHARE * evidence[best]) + 1
    box = surroundings_of(np.isin(labels, keep), grid)
    weights = probability * (labels == best + 1)
    return box.at_most(LARGEST_BOX_MM, around=centre_of_mass(weights, grid))


def surroundings_of(region: np.ndarray, grid: Grid) -> Box:
    """The box of an organ's voxels, with room for what was missed and for the refiner's context."""
    return box_of_voxels(region, grid).grown(MARGIN_MM).at_least(SMALLEST_BOX_MM)


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


def find_clicks_box(clicks: Sequence[Click]) -> Box | None:
    """The surroundings of the clicks inside; None without any."""
    points = np.array([click.position_ras for click in clicks if click.inside])
    if len(points) == 0:
        return None
    return Box.around(points).grown(LONE_CLICK_MM)


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
