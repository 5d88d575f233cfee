"""What the network said about a scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..geometry.grid import GridImage, Region
from ..geometry.volume import Volume
from ..models import DiceEstimate
from .strokes import Prompt
from .uncertainty import DoubtfulPlace, uncertainty_of

if TYPE_CHECKING:
    from ..models import Label

FeatureMap = GridImage
"""Its former name."""
THRESHOLD = 0.5
"""Probability from which on a voxel belongs to the organ."""

Place = Literal["located", "second candidate", "region of interest", "whole scan", "clicks", "mask"]
"""How it came that the refiner looked where it did: the locator found the organ there, or thought
it possible; the user drew a box; the scan is so small that all of it was looked at; clicks without
an automatic result; a mask to begin from."""


@dataclass(frozen=True, eq=False)
class AllLabels:
    """What a network makes of all that it knows.

    Args:
        title: which network, how finely, and that it is no diagnosis.
        coarse: whether the locator made it.
        labels: uint8 (k, j, i), on the scan's grid: the card's label values, 0 outside of what was
            looked at.
        region: k, j, i box of the scan that was looked at.
        names: the labels that are in it.
    """

    title: str
    coarse: bool
    labels: np.ndarray
    region: Region
    names: tuple[Label, ...]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A segmentation of a scan, on the scan's own grid, with what led to it.

    Only the mask is held at full size. Probability and attention are kept as the network made them,
    on its own grid around the organ, and brought to the scan's grid when they are asked for.

    Args:
        volume: the scan.
        mask: uint8 (k, j, i), 1 in the organ.
        region: k, j, i box of the scan that the refiner looked at; empty where nothing was found.
        found: False where the scan shows no such organ.
        volume_ml: of the mask.
        focus_ratios: share of a level's voxels with attention above 0.5, shallow to deep; within
            the region that was looked at first, at the level's own resolution.
        timings_s: seconds by step.
        device: what computed, for people.
        warnings: sentences for the user.
        model_name, model_version, model_sha256: of the card, the last of its weights.
        place: how it came that the refiner looked at :attr:`region`; None where nothing was found.
        clicks: those that led to it, and scribbles and lassos, in their order.
        pieces: how many separate ones the mask has.
        mean_probability: over the mask, on the network's grid; None where nothing was found.
        label: what was segmented; None where nobody said so.
        part_of: name of the target that this one is a part of; empty where it is none.
        others: of a model with several targets, the predictions of the others, from the same look
            at the scan: each with its own mask, probability and clicks, and the same attention.
        all_labels: what else the networks know, where it was asked for.
        attention_in_organ, attention_around_organ: mean of each level in the mask, and in the rest
            of the region that was looked at first.
        dice_estimate: how good it probably is; None where nothing was found, where the mask is
            somebody else's, and where the model's card does not tell how to estimate it.
        doubtful_places: those most worth a look and a click, by the volume at stake around each.
        start: the mask (k, j, i) that the clicks mended, whoever made it; None where the network
            drew the organ itself.
        any_structure: the clicks are about a structure that the model need not have a label for:
            there is no attention, and nothing tells how good it is. Experimental.
    """

    volume: Volume
    mask: np.ndarray
    region: Region
    found: bool
    volume_ml: float
    focus_ratios: tuple[float, ...]
    timings_s: dict[str, float]
    device: str
    warnings: tuple[str, ...]
    model_name: str
    model_version: str
    probability_map: GridImage | None = None
    attention_maps: tuple[GridImage, ...] = field(default=())
    clicks: tuple[Prompt, ...] = ()
    pieces: int = 0
    mean_probability: float | None = None
    model_sha256: str = ""
    place: Place | None = None
    label: Label | None = None
    part_of: str = ""
    others: tuple[Prediction, ...] = ()
    all_labels: tuple[AllLabels, ...] = ()
    attention_in_organ: tuple[float, ...] = ()
    attention_around_organ: tuple[float, ...] = ()
    dice_estimate: DiceEstimate | None = None
    doubtful_places: tuple[DoubtfulPlace, ...] = ()
    start: np.ndarray | None = None
    any_structure: bool = False

    @property
    def targets(self) -> tuple[Prediction, ...]:
        """This one, and those of the other targets."""
        return (self, *self.others)

    @property
    def target(self) -> str:
        """Name of what was segmented."""
        return self.label.name if self.label is not None else "organ"

    def label_map(self) -> np.ndarray:
        """All targets in one label map: uint8 (k, j, i), 1 for the first, 2 for the second and so
        on, 0 where there is none. A part lies over the whole that it is part of."""
        labels = np.zeros(self.mask.shape, np.uint8)
        for number, one in enumerate(self.targets, start=1):  # a whole stands before its parts
            labels[one.region][one.mask[one.region] != 0] = number
        return labels

    @property
    def levels(self) -> int:
        """Number of attention maps."""
        return len(self.focus_ratios)

    def probability(self) -> np.ndarray:
        """Probability of the organ: float32 (k, j, i) in [0, 1], zero outside the region."""
        return self._on_scan(self.probability_in_region())

    def attention(self, level: int) -> np.ndarray:
        """The attention coefficients of a level, 1 (shallow) to :attr:`levels` (deep).

        Returns:
            float32 (k, j, i) in [0, 1], zero outside the region, where the refiner did not look.

        Raises:
            IndexError: there is no such level.
        """
        return self._on_scan(self.attention_in_region(level))

    def uncertainty(self) -> np.ndarray:
        """How undecided the network is: float32 (k, j, i) in [0, 1], 0 where its probability is 0
        or 1 and 1 where it is 0.5; zero outside the region."""
        return self._on_scan(self.uncertainty_in_region())

    def uncertainty_in_region(self, part: Region | None = None) -> np.ndarray:
        """The uncertainty in :attr:`region` only, or in a part of it."""
        return uncertainty_of(self.probability_in_region(part))

    def probability_in_region(self, part: Region | None = None) -> np.ndarray:
        """The probability in :attr:`region` only, or in a part of it."""
        return self._in_region(self.probability_map, part)

    def attention_in_region(self, level: int, part: Region | None = None) -> np.ndarray:
        """The attention of a level in :attr:`region` only, or in a part of it.

        Args:
            part: in the region's own indices.

        Raises:
            IndexError: there is no such level.
        """
        if not 1 <= level <= self.levels:
            raise IndexError(f"there are attention levels 1 to {self.levels}, not {level}")
        return self._in_region(
            self.attention_maps[level - 1] if self.attention_maps else None, part
        )

    def _in_region(self, feature: GridImage | None, part: Region | None = None) -> np.ndarray:
        from ..geometry.resampling import resample

        target = self.volume.grid.subgrid(self.region)
        if part is not None:
            target = target.subgrid(part)
        if feature is None:
            return np.zeros(target.shape, np.float32)
        values = resample(feature.values, feature.grid, target)[0, 0]
        return values.clamp_(0, 1).cpu().numpy()  # interpolation rounds beyond

    def _on_scan(self, values: np.ndarray) -> np.ndarray:
        full = np.zeros(self.volume.array.shape, np.float32)
        full[self.region] = values
        return full
