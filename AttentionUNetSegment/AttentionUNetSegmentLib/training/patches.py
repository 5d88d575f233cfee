"""Random patches: one interpolation from the scan to an augmented training sample.

Rotation, scaling, shift and elastic deformation are composed into one sampling grid, in 3D and in
millimetres, so that image, labels and valid region move together and nothing is interpolated twice.
Intensity augmentation follows, from MONAI where it has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from ..datasets.cases import LabelledCase
from ..geometry.grid import Grid, GridImage, aligned_grid
from ..geometry.resampling import normalised_coordinates, window_scan
from .losses import IGNORE

VALIDATION_SLICES = 12
"""Slices by which a 2D network is judged on a volume while it trains."""


@dataclass(frozen=True)
class AugmentationOptions:
    """How far samples stray from the data (``attention-unet`` recipe: shift 0.1, scale 0.2, 30°).

    Flips and quarter turns are off: the abdomen has a left and a right, and a mirrored or lying
    one does not occur. The shift is :attr:`PatchOptions.jitter_mm`.
    """

    flip_probabilities: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of mirroring along R, A and S."""
    quarter_turn_probability: float = 0.0
    """Of turning by 90, 180 or 270 degrees about S."""
    rotation_degrees: tuple[float, float, float] = (12.0, 12.0, 25.0)
    """Most rotation about the R, A and S axes."""
    scale: float = 0.2
    elastic_mm: float = 6.0
    elastic_step_mm: float = 48.0
    elastic_probability: float = 0.4
    thick_slices_probability: float = 0.25
    cropped_view_probability: float = 0.2
    hidden_organ_probability: float = 0.08
    cut_out_probability: float = 0.0
    """Of cutting the view to the organ, as people cut scans to it: a crop or a slab, now and then
    with a part of the organ only."""
    cut_out_margin_mm: tuple[float, float] = (-15.0, 40.0)
    """Least and most that is left around the organ, each side for itself."""
    clipped_probability: float = 0.0
    """Of clipping the intensities to a narrower window, as data sets are found clipped. Off in
    2D, whose pictures are windowed already."""
    clipped_low: tuple[float, float] = (0.05, 0.25)
    clipped_high: tuple[float, float] = (0.65, 0.9)
    """Of the network's window: where the narrower window may begin and end."""
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
        jitter_mm: how far the patch's centre strays from what it is around, so that the middle of
            a patch says nothing about where the organ is.
        anywhere_probability: how often a scan's patch lies anywhere instead, or a flat one in any
            slice.
        around: "organ", or "scan" for whole slices, whose middle must not tell where the organ is.

    A patch of one voxel along k is flat: a slice, for networks of two dimensions. It lies in a
    slice with the organ and is augmented within its plane.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    jitter_mm: tuple[float, float, float]
    anywhere_probability: float = 0.1
    around: Literal["organ", "scan"] = "organ"

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.size
        return k, j, i

    @property
    def flat(self) -> bool:
        return self.size[2] == 1


@dataclass(frozen=True, eq=False)
class Sample:
    """An augmented patch, or a batch of them.

    Args:
        image: (B, 1, k, j, i) in [0, 1].
        labels: (B, k, j, i) int64, :data:`IGNORE` where unknown.
        organs_known: of each patch, whether all organs are labelled, or the target only.
    """

    image: torch.Tensor
    labels: torch.Tensor
    organs_known: tuple[bool, ...]


def collate_samples(samples: Sequence[Sample]) -> Sample:
    """Samples of the same size as one."""
    if len(samples) == 1:
        return samples[0]
    return Sample(
        torch.cat([one.image for one in samples]),
        torch.cat([one.labels for one in samples]),
        tuple(known for one in samples for known in one.organs_known),
    )


class PatchSource:
    """A case prepared for fast random patches: windowed and averaged to the training grid.

    Args:
        case: the scan and its labels.
        target_label: the organ that patches are drawn around.
        window_hu: HU that become 0 and 1.
        spacing_mm: of the patches, along R, A and S.
        device: where patches are interpolated and augmented; only what a patch can see of the scan
            is brought there.
    """

    def __init__(
        self,
        case: LabelledCase,
        target_label: int,
        window_hu: tuple[float, float],
        spacing_mm: tuple[float, float, float],
        device: torch.device | str = "cpu",
    ) -> None:
        self.case = case
        self.target_label = target_label
        self.device = torch.device(device)
        grid, box = case.ct.grid, case.ct.grid.bounds
        source = window_scan(case.ct, aligned_grid(box, spacing_mm), window_hu)
        # Half precision holds 4,096 HU steps of a 400 HU window: enough, at half the memory.
        self.source = GridImage(source.values.half(), source.grid)
        self.labels = torch.from_numpy(case.labels.array)[None, None]
        self.label_grid = grid
        self.low_ras, self.high_ras = box.low_ras, box.high_ras
        organ = np.argwhere(case.labels.array == target_label)
        if len(organ):
            middle = (organ.min(axis=0) + organ.max(axis=0)) / 2
            self.organ_centre_ras = grid.position_of(middle[::-1])
            heights = organ[:, ::-1] @ grid.ijk_to_ras[2, :3] + grid.ijk_to_ras[2, 3]
            self.organ_heights_ras = np.unique(np.round(heights, 2))
        else:
            self.organ_centre_ras = box.centre_ras
            self.organ_heights_ras = self.organ_centre_ras[2:]

    def sample(
        self,
        patch: PatchOptions,
        augmentation: AugmentationOptions | None,
        rng: np.random.Generator,
        intensity: IntensityAugmentation | None = None,
        around_ras: np.ndarray | None = None,
    ) -> Sample:
        """Draw a patch; without augmentation, the one in the middle of what it is around.

        Args:
            around_ras: what an augmented patch lies around, in the place of the options' choice.
        """
        if augmentation is None:
            return self._patch_at(self._middle(patch), patch, None, rng, None)
        if patch.flat:
            augmentation = restrict_to_plane(augmentation)
        centre = (
            self._random_centre(patch, rng)
            if around_ras is None
            else around_ras + rng.uniform(-1, 1, 3) * np.asarray(patch.jitter_mm)
        )
        return self._patch_at(centre, patch, augmentation, rng, intensity)

    def validation_patches(self, patch: PatchOptions) -> Sample:
        """What a network is judged on while it trains: the middle patch, or slices of a volume.

        Of a volume, a flat patch takes slices at equal distances through the organ and a fourth of
        its height beyond either end.
        """
        centre = self._middle(patch)
        heights = centre[2:]
        if patch.flat and self.source.grid.shape[0] > 1:
            low, high = self.organ_heights_ras[0], self.organ_heights_ras[-1]
            beyond = (high - low) / 4
            low = max(low - beyond, self.low_ras[2])
            high = min(high + beyond, self.high_ras[2])
            heights = np.linspace(low, high, VALIDATION_SLICES)
        none = np.random.default_rng(0)
        return collate_samples(
            [
                self._patch_at(np.array([*centre[:2], height]), patch, None, none, None)
                for height in heights
            ]
        )

    def _patch_at(
        self,
        centre: np.ndarray,
        patch: PatchOptions,
        augmentation: AugmentationOptions | None,
        rng: np.random.Generator,
        intensity: IntensityAugmentation | None,
    ) -> Sample:
        linear = np.eye(3) if augmentation is None else random_linear(augmentation, rng)
        spacing = np.asarray(patch.spacing_mm)
        to_ras = np.eye(4)
        to_ras[:3, :3] = linear * spacing
        to_ras[:3, 3] = centre - to_ras[:3, :3] @ ((np.asarray(patch.size) - 1) / 2)

        bend = None
        if augmentation is not None and rng.random() < augmentation.elastic_probability:
            bend = random_bend(patch, augmentation, rng).to(self.device)
        image, within = self._read(
            self.source.values, self.source.grid, patch, to_ras, bend, "bilinear"
        )
        labels, _ = self._read(self.labels, self.label_grid, patch, to_ras, bend, "nearest")
        if self.case.kind == "region":
            labels = torch.where(within, labels, torch.full_like(labels, IGNORE))
        if augmentation is not None:
            # Nothing is drawn for what is off, so that samples of older runs stay what they were.
            clipped = augmentation.clipped_probability
            if clipped and rng.random() < clipped:
                image = clip_intensities(image, within, augmentation, rng)
            if rng.random() < augmentation.hidden_organ_probability:
                image, labels = hide_organ(image, labels, self.target_label, rng)
            if rng.random() < augmentation.cropped_view_probability:
                image, labels = crop_view(image, labels, rng)
            cut_out = augmentation.cut_out_probability
            if cut_out and rng.random() < cut_out:
                margin = augmentation.cut_out_margin_mm
                image, labels = cut_to_organ(
                    image, labels, self.target_label, margin, patch.spacing_mm, rng
                )
            if rng.random() < augmentation.thick_slices_probability:
                image = thicken_slices(image, rng)
            if intensity is not None:
                image = intensity(image, rng)
        return Sample(image, labels[:, 0].long(), (self.case.organs_known,))

    def _middle(self, patch: PatchOptions) -> np.ndarray:
        if patch.around == "organ":
            return self.organ_centre_ras
        return (self.low_ras + self.high_ras) / 2

    def _random_centre(self, patch: PatchOptions, rng: np.random.Generator) -> np.ndarray:
        anywhere = self.case.kind != "region" and rng.random() < patch.anywhere_probability
        if anywhere and not patch.flat:
            return rng.uniform(self.low_ras, self.high_ras)
        centre = self._middle(patch) + rng.uniform(-1, 1, 3) * np.asarray(patch.jitter_mm)
        if patch.flat:
            if anywhere:
                centre[2] = rng.uniform(self.low_ras[2], self.high_ras[2])
            else:
                centre[2] = rng.choice(self.organ_heights_ras)
        return centre

    def _read(
        self,
        image: torch.Tensor,
        grid: Grid,
        patch: PatchOptions,
        to_ras: np.ndarray,
        bend: torch.Tensor | None,
        mode: str,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        to_source = grid.ras_to_ijk @ to_ras
        positions = normalised_coordinates(grid, to_source, patch.shape).to(self.device)
        if bend is not None:
            sizes = np.array(grid.shape[::-1])
            mm_to_unit = grid.ras_to_ijk[:3, :3] * (2 / sizes)[:, None]
            positions = positions + bend @ torch.from_numpy(mm_to_unit.T).float().to(self.device)
        within = (positions.abs() <= 1).all(dim=-1)[:, None]
        # Only the part that the patch can see is converted to float for the interpolation.
        piece, positions = _narrow(image, positions)
        sampled = F.grid_sample(
            piece.to(self.device).float(),
            positions,
            mode=mode,
            padding_mode="border",
            align_corners=False,
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


def restrict_to_plane(options: AugmentationOptions) -> AugmentationOptions:
    """What of the augmentation a slice can undergo; it has no neighbours to take anything from.

    The organ is not hidden either: a slice without it is drawn often enough.
    """
    return replace(
        options,
        flip_probabilities=(*options.flip_probabilities[:2], 0.0),
        rotation_degrees=(0.0, 0.0, options.rotation_degrees[2]),
        thick_slices_probability=0.0,
        hidden_organ_probability=0.0,
    )


def random_linear(options: AugmentationOptions, rng: np.random.Generator) -> np.ndarray:
    """A random flip, rotation and scaling, 3 x 3 in RAS."""
    linear = np.eye(3)
    # Nothing is drawn for what is off, so that the shipped recipe's samples stay what they were.
    if any(options.flip_probabilities):
        mirrored = rng.random(3) < np.asarray(options.flip_probabilities)
        linear = linear * np.where(mirrored, -1.0, 1.0)
    if options.quarter_turn_probability and rng.random() < options.quarter_turn_probability:
        quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        linear = linear @ np.linalg.matrix_power(quarter, int(rng.integers(1, 4)))
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
    """A smooth random displacement: (1, k, j, i, 3), mm along R, A, S; none along S if flat."""
    extent = np.asarray(patch.shape) * np.asarray(patch.spacing_mm[::-1])
    knots = np.maximum(np.ceil(extent / options.elastic_step_mm).astype(int) + 1, 2)
    strength = rng.uniform(0, options.elastic_mm)
    coarse = torch.from_numpy(rng.normal(0, strength, (1, 3, *knots)).astype(np.float32))
    if patch.flat:
        coarse[:, 2] = 0
    fine = F.interpolate(coarse, size=patch.shape, mode="trilinear", align_corners=True)
    return fine.movedim(1, -1)


def clip_intensities(
    image: torch.Tensor,
    within: torch.Tensor,
    options: AugmentationOptions,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Flatten what is dark and what is bright, as in a scan that somebody clipped.

    Some regions around the pancreas come clipped, and whole scans do not; without such samples
    flat fat and flat vessels would come to mean "the pancreas is near". Beyond the scan (where
    ``within`` is false) stays black.
    """
    low, high = rng.uniform(*options.clipped_low), rng.uniform(*options.clipped_high)
    return torch.where(within, image.clamp(low, high), image)


def crop_view(
    image: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Black out one side, as where the field of view ends; what is not seen is not labelled.

    Crops around the organ have such black surroundings too; whole scans must have them as often, or
    a black border would come to mean "the pancreas is near".
    """
    flat = image.shape[2] == 1
    axis = int(rng.integers(3 if flat else 2, 5))
    size = image.shape[axis]
    length = int(size * rng.uniform(0.05, 0.35))
    start = 0 if rng.random() < 0.5 else size - length
    image, labels = image.clone(), labels.clone()
    image.narrow(axis, start, length).zero_()
    hidden = labels.narrow(axis, start, length)
    hidden[hidden != IGNORE] = 0
    return image, labels


def cut_to_organ(
    image: torch.Tensor,
    labels: torch.Tensor,
    target_label: int,
    margin_mm: tuple[float, float],
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Black out all but the organ's box, or all but its slices; what is not seen is not labelled.

    Without such samples a network knows the organ among all others only, and finds nothing in what
    somebody cut to it.

    Args:
        margin_mm: least and most that is left around it; less than 0 cuts the organ.
        spacing_mm: along R, A and S.
    """
    organ = torch.nonzero(labels[0, 0] == target_label)
    if len(organ) == 0:
        return image, labels
    slab = rng.random() < 0.5
    shown = torch.zeros_like(labels, dtype=torch.bool)
    box = []
    for axis, spacing in enumerate(reversed(spacing_mm)):
        before, after = (round(at / spacing) for at in rng.uniform(*margin_mm, 2))
        low, high = int(organ[:, axis].min()) - before, int(organ[:, axis].max()) + 1 + after
        whole = slab and axis > 0
        box.append(slice(None) if whole else slice(max(low, 0), max(high, 0)))
    k, j, i = box
    shown[:, :, k, j, i] = True
    hidden = ~shown & (labels != IGNORE)
    return image * shown, labels.masked_fill(hidden, 0)


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
    """Brightness, contrast, gamma, blur and noise on a windowed image, through MONAI.

    On whatever device the image is; a flat one is treated as the picture it is.
    """

    def __init__(self, options: AugmentationOptions) -> None:
        from monai import transforms

        chance, blur = options.intensity_probability, options.blur_voxels
        smooth = [transforms.RandGaussianSmooth(blur, blur, blur, prob=chance / 2)]
        self._pipeline: Any = transforms.Compose(
            [
                *(smooth if blur[1] > 0 else []),
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
        flat = image.shape[2] == 1
        before = image[0, :, 0] if flat else image[0]
        result = torch.as_tensor(self._pipeline(before)).as_subclass(torch.Tensor)
        # What is black by clipping stays black, as it does in a scanner's air.
        after = torch.where(before <= 0, before, result.clamp(0, 1)).float()
        return after.reshape(image.shape)
