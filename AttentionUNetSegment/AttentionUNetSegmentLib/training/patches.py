"""Random patches: one interpolation from the scan to an augmented training sample.

Rotation, scaling, shift and elastic deformation are composed into one sampling grid, in 3D and in
millimetres, so that image, labels and valid region move together and nothing is interpolated twice.
Intensity augmentation follows, from MONAI where it has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..inference.resampling import (
    Grid,
    Source,
    aligned_grid,
    bounds_ras,
    grid_of,
    normalised_coordinates,
    windowed_source,
)
from .datasets import LabelledCase
from .losses import IGNORE


@dataclass(frozen=True)
class AugmentationOptions:
    """How far samples stray from the data (``attention-unet`` recipe: shift 0.1, scale 0.2, 30°).

    Flips are left out: the abdomen has a left and a right, and a mirrored one does not occur.
    """

    rotation_degrees: tuple[float, float, float] = (12.0, 12.0, 25.0)
    """Most rotation about the R, A and S axes."""
    scale: float = 0.2
    elastic_mm: float = 6.0
    elastic_step_mm: float = 48.0
    elastic_probability: float = 0.4
    thick_slices_probability: float = 0.25
    cropped_view_probability: float = 0.2
    hidden_organ_probability: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)
    noise: float = 0.06
    blur_voxels: tuple[float, float] = (0.4, 1.0)
    intensity_probability: float = 0.3


@dataclass(frozen=True)
class PatchOptions:
    """Size and place of patches.

    Args:
        size: voxels along i, j, k (R, A, S).
        spacing_mm: along R, A, S.
        jitter_mm: how far the patch's centre strays from that of the organ, so that the middle of a
            patch says nothing about where the organ is.
        anywhere_probability: how often a scan's patch lies anywhere instead.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    jitter_mm: tuple[float, float, float]
    anywhere_probability: float = 0.1

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.size
        return k, j, i


@dataclass(frozen=True, eq=False)
class Sample:
    """One augmented patch.

    Args:
        image: (1, 1, k, j, i) in [0, 1].
        labels: (1, k, j, i) int64, :data:`IGNORE` where unknown.
        organs_known: whether all organs are labelled, or the target only.
    """

    image: torch.Tensor
    labels: torch.Tensor
    organs_known: bool


class PatchSource:
    """A case prepared for fast random patches: windowed and averaged to the training grid."""

    def __init__(
        self,
        case: LabelledCase,
        target_label: int,
        window_hu: tuple[float, float],
        spacing_mm: tuple[float, float, float],
    ) -> None:
        self.case = case
        self.target_label = target_label
        grid = grid_of(case.ct)
        low, high = bounds_ras(grid)
        source = windowed_source(case.ct, aligned_grid(low, high, spacing_mm), window_hu)
        # Half precision holds 4,096 HU steps of a 400 HU window: enough, at half the memory.
        self.source = Source(source.image.half(), source.grid)
        self.labels = torch.from_numpy(case.labels.array)[None, None]
        self.label_grid = grid
        self.low_ras, self.high_ras = low, high
        organ = np.argwhere(case.labels.array == target_label)
        if len(organ):
            middle = (organ.min(axis=0) + organ.max(axis=0)) / 2
            self.organ_centre_ras = (grid.ijk_to_ras @ np.array([*middle[::-1], 1.0]))[:3]
        else:
            self.organ_centre_ras = (low + high) / 2

    def sample(
        self,
        patch: PatchOptions,
        augmentation: AugmentationOptions | None,
        rng: np.random.Generator,
        intensity: IntensityAugmentation | None = None,
    ) -> Sample:
        """Draw a patch; without augmentation, the one centred on the organ."""
        if augmentation is None:
            centre, linear = self.organ_centre_ras, np.eye(3)
        else:
            centre, linear = self._random_centre(patch, rng), random_linear(augmentation, rng)
        spacing = np.asarray(patch.spacing_mm)
        to_ras = np.eye(4)
        to_ras[:3, :3] = linear * spacing
        to_ras[:3, 3] = centre - to_ras[:3, :3] @ ((np.asarray(patch.size) - 1) / 2)

        bend = None
        if augmentation is not None and rng.random() < augmentation.elastic_probability:
            bend = random_bend(patch, augmentation, rng)
        image, within = self._read(
            self.source.image, self.source.grid, patch, to_ras, bend, "bilinear"
        )
        labels, _ = self._read(self.labels, self.label_grid, patch, to_ras, bend, "nearest")
        if self.case.kind == "region":
            labels = torch.where(within, labels, torch.full_like(labels, IGNORE))
        if augmentation is not None:
            if rng.random() < augmentation.hidden_organ_probability:
                image, labels = hide_organ(image, labels, self.target_label, rng)
            if rng.random() < augmentation.cropped_view_probability:
                image, labels = crop_view(image, labels, rng)
            if rng.random() < augmentation.thick_slices_probability:
                image = thicken_slices(image, rng)
            if intensity is not None:
                image = intensity(image, rng)
        return Sample(image, labels[:, 0].long(), self.case.organs_known)

    def _random_centre(self, patch: PatchOptions, rng: np.random.Generator) -> np.ndarray:
        if self.case.kind != "region" and rng.random() < patch.anywhere_probability:
            return rng.uniform(self.low_ras, self.high_ras)
        return self.organ_centre_ras + rng.uniform(-1, 1, 3) * np.asarray(patch.jitter_mm)

    def _read(
        self,
        image: torch.Tensor,
        grid: Grid,
        patch: PatchOptions,
        to_ras: np.ndarray,
        bend: torch.Tensor | None,
        mode: str,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        to_source = np.linalg.inv(grid.ijk_to_ras) @ to_ras
        positions = normalised_coordinates(grid, to_source, patch.shape)
        if bend is not None:
            sizes = np.array(grid.shape[::-1])
            mm_to_unit = np.linalg.inv(grid.ijk_to_ras)[:3, :3] * (2 / sizes)[:, None]
            positions = positions + bend @ torch.from_numpy(mm_to_unit.T).float()
        within = (positions.abs() <= 1).all(dim=-1)[:, None]
        # Only the part that the patch can see is converted to float for the interpolation.
        piece, positions = _narrow(image, positions)
        sampled = F.grid_sample(
            piece.float(), positions, mode=mode, padding_mode="border", align_corners=False
        )
        return sampled * within, within


def _narrow(image: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut an image to the box that sampling positions reach, and express them in that box."""
    positions = positions.clone()
    box: list[slice] = []
    for axis, size in enumerate(reversed(image.shape[2:])):
        index = ((positions[..., axis] + 1) * size - 1) / 2
        start = int(index.min().clamp(0, size - 1).floor().item())
        stop = min(int(index.max().clamp(0, size - 1).floor().item()) + 2, size)
        positions[..., axis] = (2 * (index - start) + 1) / (stop - start) - 1
        box.insert(0, slice(start, stop))
    return image[:, :, box[0], box[1], box[2]], positions


def random_linear(options: AugmentationOptions, rng: np.random.Generator) -> np.ndarray:
    """A random rotation with scaling, 3 x 3 in RAS."""
    linear = np.eye(3)
    for axis, most in enumerate(options.rotation_degrees):
        angle = math.radians(rng.uniform(-most, most))
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        linear = linear @ turn
    overall = rng.uniform(-options.scale, options.scale)
    each = rng.uniform(-options.scale, options.scale, 3) / 3
    return linear * np.exp(overall + each)


def random_bend(
    patch: PatchOptions, options: AugmentationOptions, rng: np.random.Generator
) -> torch.Tensor:
    """A smooth random displacement: (1, k, j, i, 3) in mm along R, A, S."""
    extent = np.asarray(patch.shape) * np.asarray(patch.spacing_mm[::-1])
    knots = np.maximum(np.ceil(extent / options.elastic_step_mm).astype(int) + 1, 2)
    strength = rng.uniform(0, options.elastic_mm)
    coarse = torch.from_numpy(rng.normal(0, strength, (1, 3, *knots)).astype(np.float32))
    fine = F.interpolate(coarse, size=patch.shape, mode="trilinear", align_corners=True)
    return fine.movedim(1, -1)


def crop_view(
    image: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Black out one side, as where the field of view ends; what is not seen is not labelled.

    Crops around the organ have such black surroundings too; whole scans must have them as often, or
    a black border would come to mean "the pancreas is near".
    """
    axis = int(rng.integers(2, 5))
    size = image.shape[axis]
    length = int(size * rng.uniform(0.05, 0.35))
    start = 0 if rng.random() < 0.5 else size - length
    image, labels = image.clone(), labels.clone()
    image.narrow(axis, start, length).zero_()
    hidden = labels.narrow(axis, start, length)
    hidden[hidden != IGNORE] = 0
    return image, labels


def hide_organ(
    image: torch.Tensor, labels: torch.Tensor, target_label: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Black out the slices of the organ and all on one side, as where a scan ends short of it.

    Without such samples a network learns that there is a pancreas in every scan, and finds one in
    the chest and in the pelvis.
    """
    slices = torch.nonzero((labels == target_label).any(dim=4).any(dim=3)[0, 0]).flatten()
    if len(slices) == 0:
        return image, labels
    margin = int(rng.integers(0, 4))
    below = max(int(slices[0]) - margin, 0)
    above = min(int(slices[-1]) + 1 + margin, image.shape[2])
    # The side where more is left to see, mostly; the other now and then.
    keep_below = (below > image.shape[2] - above) == (rng.random() < 0.75)
    hidden = slice(below, None) if keep_below else slice(None, above)
    image, labels = image.clone(), labels.clone()
    image[:, :, hidden] = 0
    labels[:, :, hidden][labels[:, :, hidden] != IGNORE] = 0
    return image, labels


def thicken_slices(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Average neighbouring slices and interpolate them back, as a scan with thick slices shows."""
    factor = float(rng.uniform(1.3, 2.5))
    depth = image.shape[2]
    slices = max(int(depth / factor), 2)
    thick = F.adaptive_avg_pool3d(image, (slices, image.shape[3], image.shape[4]))
    return F.interpolate(thick, size=image.shape[2:], mode="trilinear", align_corners=False)


class IntensityAugmentation:
    """Brightness, contrast, gamma, blur and noise on a windowed image, through MONAI."""

    def __init__(self, options: AugmentationOptions) -> None:
        from monai import transforms

        chance, blur = options.intensity_probability, options.blur_voxels
        self._pipeline: Any = transforms.Compose(
            [
                transforms.RandGaussianSmooth(blur, blur, blur, prob=chance / 2),
                transforms.RandScaleIntensityFixedMean(
                    factors=options.contrast, fixed_mean=True, prob=chance
                ),
                transforms.RandShiftIntensity(options.brightness, prob=chance),
                transforms.RandAdjustContrast(prob=chance, gamma=options.gamma),
                transforms.RandGaussianNoise(prob=chance, std=options.noise),
            ]
        )

    def __call__(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        self._pipeline.set_random_state(seed=int(rng.integers(2**31)))
        air = image[0] <= 0
        result = torch.as_tensor(self._pipeline(image[0])).as_subclass(torch.Tensor)
        # What is black by clipping stays black, as it does in a scanner's air.
        return torch.where(air, image[0], result.clamp(0, 1))[None].float()
