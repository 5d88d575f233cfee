"""Training of an editor that outlines whatever is clicked at, from nothing.

As in ``training.editor`` a simulated user clicks at one mistake after the other, but what is to be
outlined changes from scene to scene: any labelled organ, a part of one such as a tumour, or now and
then a made-up structure, tissue of like intensity around a place. Most scenes begin with an empty
mask. A part of them is shown at twice the voxel size, as the second, wider window of
:mod:`.inference.editing` shows large structures.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..datasets.cases import LabelledCase
from ..inference.editing import WIDE_FACTOR
from .click_simulation import patch_grid
from .editor import EditorSampler, EditorTrainer, Scene
from .losses import IGNORE
from .mistakes import ball
from .patches import PatchOptions, PatchSource, Sample

EMPTY, OWN_ANSWER = 0.6, 0.15
"""Shares of the scenes that begin with nothing, and with what the refiner says of an organ; the
others begin from the truth with mistakes."""
WIDE = 0.25
"""Share of the scenes at twice the voxel size."""
MADE_UP = 0.06
"""Share of the scenes with a made-up structure."""
ALIKE_RADIUS_MM = (8.0, 30.0)
ALIKE_DIFFERENCE = (0.03, 0.1)
"""Of a made-up structure: its largest radius, and how far its intensity strays (of the window)."""
FEWEST_VOXELS = 60
"""Of a structure in view; less of one is not asked for."""
JITTER_MM = (30.0, 30.0, 24.0)
PLACES = 256
"""Voxels of each structure of a case that patches are drawn around."""


def coarsened(sample: Sample) -> Sample:
    """A sample at twice the voxel size; its sides are even."""
    factor = WIDE_FACTOR
    return Sample(
        F.avg_pool3d(sample.image, factor),
        sample.labels[:, ::factor, ::factor, ::factor].contiguous(),
        sample.organs_known,
    )


def tissue_alike(
    scan: np.ndarray, spacing_mm: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """A made-up structure: connected tissue of like intensity around a random place.

    Args:
        scan: (k, j, i), windowed to [0, 1].
        spacing_mm: along i, j, k.

    Returns:
        Boolean (k, j, i), not empty.
    """
    from scipy import ndimage

    steps = np.asarray(spacing_mm, dtype=float)[::-1]
    smooth = ndimage.uniform_filter(scan, 3)
    tissue = np.flatnonzero((smooth > 0.15) & (smooth < 0.98))
    place = int(rng.choice(tissue)) if len(tissue) else scan.size // 2
    centre = np.array(np.unravel_index(place, scan.shape))
    k, j, i = (int(at) for at in centre)
    near = ball(scan.shape, centre, rng.uniform(*ALIKE_RADIUS_MM), steps)
    alike = near & (np.abs(smooth - smooth[k, j, i]) < rng.uniform(*ALIKE_DIFFERENCE))
    pieces, _ = ndimage.label(alike)
    grown: np.ndarray = ndimage.binary_fill_holes(pieces == pieces[k, j, i])
    return grown


class StructureSampler(EditorSampler):
    """Patches around random places of random structures, now and then at twice the voxel size."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        rng = np.random.default_rng(self.options.seed)
        self._places = {
            source.case.name: structure_places(source, rng)
            for sources in self.sources.values()
            for source in sources
        }

    def is_wide(self, step: int, number: int) -> bool:
        """Whether a patch of a step's batch has twice the voxel size."""
        drawn = np.random.default_rng([self.options.seed, step, number, 1]).random()
        return bool(drawn < WIDE)

    def draw(self, source: PatchSource, rng: np.random.Generator, step: int, number: int) -> Sample:
        patch = replace(self.options.patch, jitter_mm=JITTER_MM)
        wide = self.is_wide(step, number)
        if wide:
            patch = widened(patch)
        places = self._places[source.case.name]
        around = None
        if places:
            of_one = places[int(rng.integers(len(places)))]
            around = of_one[int(rng.integers(len(of_one)))]
        sample = source.sample(patch, self.options.augmentation, rng, self.intensity, around)
        return coarsened(sample) if wide else sample


def widened(patch: PatchOptions) -> PatchOptions:
    """Patches with twice the voxels along each side."""
    i, j, k = (WIDE_FACTOR * size for size in patch.size)
    return replace(patch, size=(i, j, k))


def structure_places(source: PatchSource, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions (n, 3) in RAS of some voxels of each structure of a case."""
    labels = source.case.labels.array
    found = []
    for label in np.unique(labels):
        if label == 0:
            continue
        voxels = np.flatnonzero(labels == label)
        chosen = rng.choice(voxels, min(PLACES, len(voxels)), replace=False)
        indices = np.stack(np.unravel_index(chosen, labels.shape), axis=-1)[:, ::-1]
        to_ras = source.label_grid.ijk_to_ras
        found.append(indices @ to_ras[:3, :3].T + to_ras[:3, 3])
    return found


class StructureTrainer(EditorTrainer):
    """Trains an editor of any structure.

    Args:
        parts: from a label's value to that of the organ that it is a part of.
        args, settings: as of :class:`.editor.EditorTrainer`.
    """

    def __init__(self, *args: Any, parts: Mapping[int, int] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.parts = dict(parts or {})

    def make_sampler(self, train: Sequence[LabelledCase], share: range) -> StructureSampler:
        return StructureSampler(self.options, train, share, self.device, new=self.new_cases)

    def begin_scene(
        self, first: int, number: int, sample: Sample, rng: np.random.Generator
    ) -> Scene:
        assert isinstance(self.sampler, StructureSampler)
        wide = self.sampler.is_wide(first, number)
        labels = sample.labels[0].cpu().numpy()
        scan = sample.image[0, 0].float().cpu().numpy()
        spacing_mm = [step * (WIDE_FACTOR if wide else 1) for step in self.options.patch.spacing_mm]
        visible = self.structures_in(labels)
        label = 0
        if visible and rng.random() >= MADE_UP:
            label = visible[int(rng.integers(len(visible)))]
            truth = self.truth_of(labels, label)
        else:
            truth = tissue_alike(scan, spacing_mm, rng)
        drawn = rng.random()
        if not wide and 0 < label < self.refiner.config.out_channels and drawn < OWN_ANSWER:
            scene = self.make_scene(first, sample, label)
            scene.truth = truth
            return scene
        scene = empty_scene(first, sample, truth, spacing_mm, self.device)
        if drawn >= OWN_ANSWER + EMPTY:
            # Of a mask that somebody else made nothing is known but that it is there.
            mask = torch.from_numpy(self.spoilt(scene, truth, rng))
            scene.probability = mask[None, None].to(scene.probability)
        return scene

    def structures_in(self, labels: np.ndarray) -> list[int]:
        """Values of the structures that enough of is in view."""
        values, counts = np.unique(labels, return_counts=True)
        return [
            int(value)
            for value, count in zip(values, counts, strict=True)
            if value not in (0, IGNORE) and count >= FEWEST_VOXELS
        ]

    def truth_of(self, labels: np.ndarray, label: int) -> np.ndarray:
        """A structure with its parts: boolean (k, j, i)."""
        parts = [part for part, whole in self.parts.items() if whole == label]
        return np.isin(labels, [label, *parts])

    def validate(self) -> dict[str, Any]:
        """Outline each structure of the validation cases from nothing.

        Returns:
            A line of the log: mean Dice of each case's structures after the last click, and the
            mean of all after each.
        """
        scores: dict[str, float] = {}
        by_label: dict[str, list[float]] = {}
        curves: list[list[float]] = []
        for one in self.validation_cases:
            labels = one.patches.labels[0].cpu().numpy()
            of_case = []
            for label in self.structures_in(labels):
                truth = self.truth_of(labels, label)
                spacing_mm = self.options.patch.spacing_mm
                scene = empty_scene(0, one.patches, truth, spacing_mm, self.device)
                curve = self.mended(scene)
                of_case.append(curve[-1])
                curves.append(curve)
                by_label.setdefault(str(label), []).append(curve[1])
            scores[one.case.name] = statistics.fmean(of_case) if of_case else 0.0
        return {
            "validation_dice": scores,
            "validation_dice_by_clicks": [
                statistics.fmean(column) for column in zip(*curves, strict=True)
            ],
            "validation_dice_after_one_click": {
                label: statistics.fmean(values) for label, values in by_label.items()
            },
            "findings": [],
        }


def empty_scene(
    first: int,
    sample: Sample,
    truth: np.ndarray,
    spacing_mm: Sequence[float],
    device: torch.device,
) -> Scene:
    """A patch with nothing outlined yet.

    Args:
        first: the step at which it is made.
        sample: one patch.
        truth: boolean (k, j, i), what is to be outlined.
        spacing_mm: along i, j, k.
    """
    image = sample.image.to(device)
    labels = sample.labels[0].cpu().numpy()
    grid = patch_grid(image.shape[2:], spacing_mm)
    return Scene(first, image, torch.zeros_like(image), truth, labels != IGNORE, grid)
