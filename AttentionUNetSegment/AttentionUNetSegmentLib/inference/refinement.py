"""What the refiner says about a region of a scan, and the mask that it gives on the scan's grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.grid import Grid, GridImage, Region
from ..geometry.resampling import SLAB_VOXELS, resample, widened
from ..geometry.volume import Volume
from .prediction import THRESHOLD

LEAN = 0.05
"""How far from the threshold a probability is put that has to agree with a mask."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """What the refiner says about a region.

    Args:
        grid: along R, A, S; the refiner's spacing.
        probability: on that grid.
        attention: a map a gate, shallow to deep, each on a whole fraction of that grid.
        others: probabilities of the model's other targets, by name; those of the network's own
            answer only, for nothing that is done to this one is done to them.
    """

    grid: Grid
    probability: GridImage
    attention: tuple[GridImage, ...]
    others: Mapping[str, GridImage] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        grid: Grid,
        probability: torch.Tensor,
        alphas: Sequence[torch.Tensor],
    ) -> Refinement:
        """From the maps (1, 1, k, j, i) of one pass over ``grid``."""
        attention = tuple(
            GridImage(alpha, grid.coarsened(grid.shape[0] // alpha.shape[2])) for alpha in alphas
        )
        return cls(grid, GridImage(probability, grid), attention)

    @property
    def values(self) -> np.ndarray:
        """The probability, float32 (k, j, i)."""
        return self.probability.values[0, 0].cpu().numpy()

    def to(self, device: torch.device) -> Refinement:
        """The same on another device."""
        return Refinement.of(
            self.grid,
            self.probability.values.to(device),
            [alpha.values.to(device) for alpha in self.attention],
        )

    def with_probability(self, values: torch.Tensor) -> Refinement:
        """The same attention with another probability."""
        return replace(self, probability=GridImage(values, self.grid))

    def agreeing_with(self, mask: torch.Tensor) -> Refinement:
        """The same with a probability that lies, where it does not, just on the mask's side of the
        threshold.

        Args:
            mask: boolean (1, 1, k, j, i) on the grid.
        """
        values = self.probability.values
        inside = values.clamp(min=THRESHOLD + LEAN)
        return self.with_probability(torch.where(mask, inside, values.clamp(max=THRESHOLD - LEAN)))

    def extended_to(self, box: Region, multiple: int) -> tuple[Refinement, Region]:
        """The same on a grid that holds a box of indices, which may lie beyond its own.

        Args:
            multiple: the grid grows by multiples of this, so that the coarse maps grow with it.

        Returns:
            The wider one, zero where the network was not run yet, and the box in its indices.
        """
        before, after = [], []
        for part, size in zip(box, self.grid.shape, strict=True):
            before.append(math.ceil(max(-part.start, 0) / multiple) * multiple)
            after.append(math.ceil(max(part.stop - size, 0) / multiple) * multiple)
        k, j, i = (
            slice(part.start + shift, part.stop + shift)
            for part, shift in zip(box, before, strict=True)
        )
        if not any(before) and not any(after):
            return self, (k, j, i)
        whole = tuple(
            slice(-shift, size + more)
            for shift, size, more in zip(before, self.grid.shape, after, strict=True)
        )
        padding = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]

        def padded(values: torch.Tensor) -> torch.Tensor:
            factor = self.grid.shape[0] // values.shape[2]
            return F.pad(values, [n // factor for n in padding])

        wide = Refinement.of(
            self.grid.subgrid((whole[0], whole[1], whole[2])),
            padded(self.probability.values),
            [padded(alpha.values) for alpha in self.attention],
        )
        return wide, (k, j, i)

    def crop(self, box: Region) -> Refinement:
        """The part in a box of indices, which begins and ends where coarse voxels do."""

        def cut(values: torch.Tensor) -> torch.Tensor:
            factor = self.grid.shape[0] // values.shape[2]
            k, j, i = (slice(one.start // factor, one.stop // factor) for one in box)
            return values[:, :, k, j, i]

        return Refinement.of(
            self.grid.subgrid(box),
            cut(self.probability.values),
            [cut(alpha.values) for alpha in self.attention],
        )

    def blend(self, other: Refinement, box: Region, weight: torch.Tensor) -> Refinement:
        """The same with a new refinement of a part of it mixed in.

        Args:
            other: on the sub-grid ``box`` of this one's.
            weight: (1, 1, k, j, i) of the box, 1 where only the new one counts.
        """

        def mixed(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
            factor = other.grid.shape[0] // theirs.shape[2]
            share = weight if factor == 1 else F.avg_pool3d(weight, factor)
            part = (
                slice(None),
                slice(None),
                *(slice(one.start // factor, one.stop // factor) for one in box),
            )
            result = mine.clone()
            result[part] += share * (theirs - result[part])
            return result

        return Refinement.of(
            self.grid,
            mixed(self.probability.values, other.probability.values),
            [
                mixed(mine.values, theirs.values)
                for mine, theirs in zip(self.attention, other.attention, strict=True)
            ],
        )


def region_on_scan(volume: Volume, refinement: Refinement) -> Region:
    """The k, j, i box of the scan that a refinement covers."""
    return volume.grid.region_of(refinement.grid.corners_ras)


def mask_on_scan(
    volume: Volume, refinement: Refinement, selected: np.ndarray, region: Region
) -> np.ndarray:
    """The mask in a box of the scan: uint8 (k, j, i) of that box.

    The threshold is taken there, where the outline is drawn. Which components stay, and which
    holes are filled, was decided on the network's grid.

    Args:
        selected: boolean, on the refinement's grid.
        region: k, j, i of the scan.
    """
    probability = refinement.probability.values
    components = torch.from_numpy(selected).to(probability.device)[None, None]
    filled = (components & (probability <= THRESHOLD)).float()
    # A voxel wider, so that the coarser grid's steps do not cut the outline.
    components = widened(components).float()
    target = volume.grid.subgrid(region)
    mask = np.empty(target.shape, np.uint8)
    slices = max(1, SLAB_VOXELS // max(1, target.shape[1] * target.shape[2]))
    for start in range(0, target.shape[0], slices):
        slab = slice(start, min(start + slices, target.shape[0]))
        part = target.subgrid((slab, slice(0, target.shape[1]), slice(0, target.shape[2])))
        foreground = (
            (resample(probability, refinement.grid, part) > THRESHOLD)
            & (resample(components, refinement.grid, part, "nearest") > 0.5)
        ) | (resample(filled, refinement.grid, part, "nearest") > 0.5)
        mask[slab] = foreground[0, 0].cpu().numpy()
    return mask
