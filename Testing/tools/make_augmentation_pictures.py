"""Show every augmentation at its two ends, in 3D and in 2D, as PNG.

    python Testing/tools/make_augmentation_pictures.py SCAN LABELS FOLDER

for a scan with BTCV's labels.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from AttentionUNetSegmentLib.datasets.loading import PANCREAS, CaseFiles, load_case
from AttentionUNetSegmentLib.evaluation.attention_figures import save_picture
from AttentionUNetSegmentLib.training.click_simulation import patch_grid, simulate_clicks
from AttentionUNetSegmentLib.training.patches import (
    AugmentationOptions,
    IntensityAugmentation,
    PatchOptions,
    PatchSource,
    Sample,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ORGAN, CLICK = "#35c26b", "#ffc247"
DRAWS = 60
VOLUME = PatchOptions((144, 112, 64), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0), 0.0)
SLICE = PatchOptions((256, 256, 1), (1.6, 1.6, 3.0), (0.0, 0.0, 0.0), 0.0, around="scan")
NONE = AugmentationOptions(
    rotation_degrees=(0.0, 0.0, 0.0),
    scale=0.0,
    elastic_probability=0.0,
    thick_slices_probability=0.0,
    cropped_view_probability=0.0,
    hidden_organ_probability=0.0,
    brightness=0.0,
    contrast=0.0,
    gamma=(1.0, 1.0),
    noise=0.0,
    blur_voxels=(0.0, 0.0),
    intensity_probability=0.0,
)
DEFAULT = AugmentationOptions()
SHIFT = 0.1
PLACE: dict[str, dict[str, Any]] = {
    "shift, 0.1 of the size": {},
    "scale, 0.2": {"scale": DEFAULT.scale},
    "rotation about S, 30 degrees": {"rotation_degrees": (0.0, 0.0, 30.0)},
    "rotation about R and A, 12 degrees": {"rotation_degrees": (12.0, 12.0, 0.0)},
    "elastic deformation, 6 mm": {"elastic_probability": 1.0},
    "flip along R (off)": {"flip_probabilities": (1.0, 0.0, 0.0)},
    "quarter turns (off)": {"quarter_turn_probability": 1.0},
    "end of the field of view": {"cropped_view_probability": 1.0},
    "end of the scan, organ hidden": {"hidden_organ_probability": 1.0},
    "thick slices, 1.3 to 2.5": {"thick_slices_probability": 1.0},
}
INTENSITY: dict[str, dict[str, Any]] = {
    "brightness, 0.1": {"brightness": DEFAULT.brightness},
    "contrast, 0.3": {"contrast": DEFAULT.contrast},
    "gamma, 0.7 to 1.5": {"gamma": DEFAULT.gamma},
    "Gaussian noise, 0.06": {"noise": DEFAULT.noise},
    "Gaussian blur, 0.4 to 1 voxel": {"blur_voxels": DEFAULT.blur_voxels},
}
CLIPPED: dict[str, dict[str, Any]] = {"clipped intensities": {"clipped_probability": 1.0}}
"""Drawn when a sample is cut out, unlike the other changes of intensity."""
ONLY_3D = ("rotation about R", "end of the scan", "thick slices", "clipped")


class AtTheEnd:
    """A random generator that always gives the lowest, or the highest, of what it can give."""

    def __init__(self, highest: bool) -> None:
        self.highest = highest
        # What has no end is drawn, the same for both.
        self.normal = np.random.default_rng(3).normal
        self.choice = lambda values: values[len(values) // 2]

    def random(self, size: int | None = None) -> Any:
        return 0.0 if size is None else np.zeros(size)

    def uniform(self, low: Any, high: Any, size: int | None = None) -> Any:
        end = high if self.highest else low
        return end if size is None else np.full(size, end)

    def integers(self, low: int, high: int | None = None) -> int:
        low, high = (0, low) if high is None else (low, high)
        return high - 1 if self.highest else low


def moved(source: PatchSource, patch: PatchOptions, name: str, highest: bool) -> Sample:
    """A sample with one augmentation that is drawn with it, at one of its ends."""
    if name.startswith("shift"):
        i, j, k = (
            SHIFT * size * step for size, step in zip(patch.size, patch.spacing_mm, strict=True)
        )
        patch = dataclasses.replace(patch, jitter_mm=(i, j, k))
    options = dataclasses.replace(NONE, **(PLACE | CLIPPED)[name])
    return source.sample(patch, options, AtTheEnd(highest))  # type: ignore[arg-type]


def repainted(source: PatchSource, patch: PatchOptions, name: str) -> tuple[Sample, Sample]:
    """The two samples out of many that differ most in what an intensity augmentation changes."""
    options = dataclasses.replace(NONE, intensity_probability=1.0, **INTENSITY[name])
    augment, plain = IntensityAugmentation(options), plain_sample(source, patch)
    draws = [augment(plain.image, np.random.default_rng(seed)) for seed in range(DRAWS)]
    if name.startswith(("brightness", "gamma")):
        measures = [float(image.mean()) for image in draws]
    elif name.startswith("contrast"):
        measures = [float(image.std()) for image in draws]
    else:
        measures = [float((image - plain.image).abs().mean()) for image in draws]
        # Blur has half the chance of the others.
        changed = [number for number, value in enumerate(measures) if value > 0]
        draws, measures = [draws[n] for n in changed], [measures[n] for n in changed]
    low, high = (draws[index] for index in (int(np.argmin(measures)), int(np.argmax(measures))))
    return (
        dataclasses.replace(plain, image=low),
        dataclasses.replace(plain, image=high),
    )


def plain_sample(source: PatchSource, patch: PatchOptions) -> Sample:
    return source.sample(patch, NONE, AtTheEnd(False))  # type: ignore[arg-type]


def show(axes: Axes, sample: Sample, patch: PatchOptions, coronal: bool = False) -> None:
    """A plane through the organ, or the patch's middle, with outline and simulated clicks."""
    image, labels = sample.image[0, 0].numpy(), sample.labels[0]
    organ = (labels == PANCREAS).numpy()
    axis = 1 if coronal else 0
    areas = organ.sum(axis=tuple({0, 1, 2} - {axis}))
    at = int(areas.argmax()) if organ.any() else image.shape[axis] // 2
    plane, outline = image.take(at, axis)[::-1, ::-1], organ.take(at, axis)[::-1, ::-1]
    i, j, k = patch.spacing_mm
    axes.imshow(plane, cmap="gray", vmin=0, vmax=1, aspect=(k if coronal else j) / i)
    if outline.any():
        axes.contour(outline, [0.5], colors=ORGAN, linewidths=0.9)
    if organ.any():
        grid = patch_grid(labels.shape, patch.spacing_mm)
        clicks = simulate_clicks(labels, PANCREAS, grid, np.random.default_rng(1))
        inside = torch.nonzero(clicks[0, 0] > 0.99).numpy()
        rows, columns = inside[:, 0 if coronal else 1], inside[:, 2]
        axes.plot(
            plane.shape[1] - 1 - columns, plane.shape[0] - 1 - rows, ".", color=CLICK, markersize=5
        )
    axes.set(xticks=[], yticks=[])


def draw(source: dict[str, PatchSource], names: list[str], file: Path) -> None:
    """A row for each augmentation: both ends, axial and coronal in 3D, and the slice in 2D."""
    figure = Figure(figsize=(11.5, 1.62 * (len(names) + 1)), layout="constrained")
    grid = figure.subplots(len(names) + 1, 6)
    heads = ("3D axial", "3D axial", "3D coronal", "3D coronal", "2D", "2D")
    for column, head in enumerate(heads):
        grid[0][column].set_title(f"{head}, {'high' if column % 2 else 'low'} end", fontsize=9)
    for row, name in enumerate(["as it is", *names]):
        for columns, patch, key in (((0, 1), VOLUME, "3D"), ((4, 5), SLICE, "2D")):
            flat = key == "2D"
            if flat and name.startswith(ONLY_3D):
                for column in columns:
                    grid[row][column].axis("off")
                continue
            if name == "as it is":
                ends = (plain_sample(source[key], patch),) * 2
            elif name in INTENSITY:
                ends = repainted(source[key], patch, name)
            else:
                ends = tuple(moved(source[key], patch, name, end) for end in (False, True))
            for column, sample in zip(columns, ends, strict=True):
                show(grid[row][column], sample, patch)
                if not flat:
                    show(grid[row][column + 2], sample, patch, coronal=True)
        words = name.replace(", ", ",\n")
        grid[row][0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
    save_picture(figure, file, dpi=80)


def main(scan: Path, labels: Path, folder: Path) -> None:
    case = load_case(CaseFiles("case", scan, labels))
    source = {
        key: PatchSource(case, PANCREAS, (-125.0, 275.0), patch.spacing_mm)
        for key, patch in (("3D", VOLUME), ("2D", SLICE))
    }
    folder.mkdir(parents=True, exist_ok=True)
    draw(source, list(PLACE), folder / "augmentation-place.png")
    draw(source, [*INTENSITY, *CLIPPED], folder / "augmentation-intensity.png")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("Usage: python Testing/tools/make_augmentation_pictures.py SCAN LABELS FOLDER")
    main(*(Path(argument) for argument in sys.argv[1:]))
