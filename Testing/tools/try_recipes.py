"""What may make the refiner better: the same short training with one thing changed, a table.

    OMP_NUM_THREADS=1 python Testing/tools/try_recipes.py DATA -o RUNS [--steps 1200]
        [--seeds 0 1] [--only NAMES] [--folds 5 --fold N]

A small refiner learns from scratch, once for each trial and seed, and is judged on the validation
cases by the mean Dice of the patch around the organ, without clicks. What no option of ``train``
does is done here, so that the product has no code of what may not pay. A run that is finished is
not run again: its figures are read from its log. With ``--folds`` scans are held out by patient
instead; regions are learnt from in all folds.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from AttentionUNetSegmentLib.datasets.cases import DataSet, LabelledCase
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_cases
from AttentionUNetSegmentLib.datasets.splits import Split, default_split, k_fold
from AttentionUNetSegmentLib.geometry.grid import bounding_region
from AttentionUNetSegmentLib.geometry.resampling import window_scan
from AttentionUNetSegmentLib.markdown import markdown_table
from AttentionUNetSegmentLib.networks import NetworkOutput, SegmentationNetwork
from AttentionUNetSegmentLib.networks.precision import AUTO, uses_bfloat16
from AttentionUNetSegmentLib.training import patches, sampling, trainer
from AttentionUNetSegmentLib.training.choices import Choices
from AttentionUNetSegmentLib.training.fat import FatTrainer, smooth_hu
from AttentionUNetSegmentLib.training.patches import (
    AugmentationOptions,
    IntensityAugmentation,
    PatchOptions,
    PatchSource,
    Sample,
)
from AttentionUNetSegmentLib.training.recipes import intensity_window, refiner_options
from AttentionUNetSegmentLib.training.sampling import BatchSampler
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from scipy import ndimage

SMALL = Choices(channels=(8, 16, 32, 64, 96), spacing_mm=(4.0, 4.0, 4.0), patch=(48, 48, 48))
HALF = [4, 8, 16, 32, 48]
SYNTHETIC = 8
"""Abdomens, and as many other parts of the body, as in ``train``."""
FURTHER = "validation_dice_of"
"""In a log's last line: the mean Dice of what a run gives beside its network."""

# Averages of the weights

Share = Callable[[int, int], float]
"""From a step's number and their count: how far an average goes to the weights of that step."""


def decaying(decay: float) -> Share:
    """As the option ``average_decay`` does it; it begins with a shorter memory."""
    return lambda step, steps: 1 - min(decay, (1 + step) / (10 + step))


def mean_of_last(part: float) -> Share:
    """The mean of the weights after each of the last steps."""
    return lambda step, steps: 1 / max(step - round(steps * (1 - part)) + 1, 1)


AVERAGES: dict[str, Share] = {
    "`--average-decay 0`: the last weights": decaying(0),
    "`--average-decay 0.99`": decaying(0.99),
    "`--average-decay 0.9995`": decaying(0.9995),
    "the mean of the weights in the last quarter": mean_of_last(0.25),
    "the mean of the weights in the last half": mean_of_last(0.5),
}


class Averaging(StageTrainer):
    """Keeps other averages of the weights beside the recipe's; no step depends on them."""

    @functools.cached_property
    def averages(self) -> dict[str, SegmentationNetwork]:
        return {title: copy.deepcopy(self.state.average) for title in AVERAGES}

    @property
    def can_pause(self) -> bool:
        return False  # a checkpoint does not hold the averages

    def update_ema(self) -> None:
        super().update_ema()
        steps = self.options.budget.steps
        assert steps is not None
        now = self.state.network.state_dict().values()
        for title, network in self.averages.items():
            share = AVERAGES[title](self.state.step, steps)
            for mean, weights in zip(network.state_dict().values(), now, strict=True):
                mean.lerp_(weights, share)

    def validate(self) -> dict[str, Any]:
        record, average = super().validate(), self.state.average
        record[FURTHER] = {}
        for title, network in self.averages.items():
            self.state.average = network
            record[FURTHER][title] = mean_dice(super().validate())
        self.state.average = average
        return record


# Two narrow networks

TOGETHER = "two of them with other seeds, their probabilities averaged"


class OneOfTwo(StageTrainer):
    """A network that is judged beside that of the seed before it, if its own is odd."""

    first: SegmentationNetwork | None = None

    def validate(self) -> dict[str, Any]:
        record = super().validate()
        if self.options.seed % 2:
            folder = seed_folder(self.run_folder.folder.parent, self.options.seed - 1)
            saved = torch.load(folder / "checkpoint.pt", weights_only=True)
            self.first = copy.deepcopy(self.state.average)
            self.first.load_state_dict(saved["average"])
            record[FURTHER] = {TOGETHER: mean_dice(super().validate())}
            self.first = None
        return record

    def predict_patch(self, network: SegmentationNetwork, inputs: torch.Tensor) -> NetworkOutput:
        output = super().predict_patch(network, inputs)
        if self.first is None:
            return output
        other = super().predict_patch(self.first, inputs).logits.float().softmax(dim=1)
        return output._replace(logits=output.logits.float().softmax(dim=1) + other)


# A wider view as a second input


class WiderViewTrainer(StageTrainer):
    """Of networks with a second view of the scan before the clicks."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.takes_clicks = True


class WiderViewSource(PatchSource):
    """Gives patches (B, 2, k, j, i): the scan, and around the same middle twice as much of it, in
    voxels twice as long. Augmentation is that of one patch of twice the size."""

    def _patch_at(
        self,
        centre: np.ndarray,
        patch: PatchOptions,
        augmentation: AugmentationOptions | None,
        rng: np.random.Generator,
        intensity: IntensityAugmentation | None,
    ) -> Sample:
        i, j, k = patch.size
        twice = replace(patch, size=(2 * i, 2 * j, 2 * k))
        sample = super()._patch_at(centre, twice, augmentation, rng, intensity)
        middle = tuple(slice(size // 2, size // 2 + size) for size in patch.shape)
        near = sample.image[(slice(None), slice(None), *middle)]
        wide = F.avg_pool3d(sample.image, 2)
        labels = sample.labels[(slice(None), *middle)]
        return Sample(torch.cat((near, wide), dim=1), labels, sample.organs_known)


def with_second_view(options: StageOptions) -> StageOptions:
    return replace(options, network={**options.network, "in_channels": 4})


# One patient's anatomy on another's label map

CARRIED = 0.5
"""Of the samples."""
CARRIED_REACH_MM = 80.0
MOST_STRETCHED = 1.6


def moments(case: LabelledCase, target: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Middle (3,) of an organ in RAS mm, and covariance (3, 3) of its voxels in mm2; None where
    there is none."""
    organ = np.argwhere(case.labels.array == target)
    if len(organ) < 4:
        return None
    points = case.ct.grid.position_of(organ[:, ::-1])
    return points.mean(axis=0), np.cov(points.T)


def root(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix whose eigenvalues are positive."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 1e-9)) @ vectors.T


def stretch(seen: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The linear map (3, 3) of what is seen to the source that moves least, where an organ with
    the covariance ``source`` is to be seen with the covariance ``seen``.

    Its eigenvalues are limited: faded out as in :class:`OtherAnatomy` it folds nothing then, for
    a displacement of 0.6 of the distance changes by less than 0.66 of a step.
    """
    half = root(seen)
    inverse = np.linalg.inv(half)
    values, vectors = np.linalg.eigh(inverse @ root(half @ source @ half) @ inverse)
    return vectors * np.clip(values, 1 / MOST_STRETCHED, MOST_STRETCHED) @ vectors.T


class OtherAnatomy(PatchSource):
    """Now and then deforms a scan so that its organ lies and is shaped, by its moments, as that
    of another patient; what is around it goes along, less and less with the distance."""

    others: Sequence[np.ndarray] = ()
    """Covariances of the organ in all cases."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.moments = moments(self.case, self.target_label)
        self.stretch: np.ndarray | None = None

    def _patch_at(
        self,
        centre: np.ndarray,
        patch: PatchOptions,
        augmentation: AugmentationOptions | None,
        rng: np.random.Generator,
        intensity: IntensityAugmentation | None,
    ) -> Sample:
        self.stretch = None
        if augmentation is not None and self.moments is not None and rng.random() < CARRIED:
            seen = self.others[int(rng.integers(len(self.others)))]
            self.stretch = stretch(seen, self.moments[1])
        return super()._patch_at(centre, patch, augmentation, rng, intensity)

    def _read(
        self,
        image: torch.Tensor,
        grid: Any,
        patch: PatchOptions,
        to_ras: np.ndarray,
        bend: torch.Tensor | None,
        mode: str,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.stretch is not None:
            assert self.moments is not None
            indices = np.stack(np.indices(patch.shape)[::-1], axis=-1)
            at = indices @ to_ras[:3, :3].T + to_ras[:3, 3] - self.moments[0]
            fading = np.exp(-(at**2).sum(axis=-1, keepdims=True) / (2 * CARRIED_REACH_MM**2))
            moved = fading * (at @ (self.stretch - np.eye(3)).T)
            along = torch.from_numpy(moved).float()[None]
            bend = along if bend is None else bend + along
        return super()._read(image, grid, patch, to_ras, bend, mode)


class OtherAnatomySampler(BatchSampler):
    """Tells each source the organs of all."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        sources = [one for of_kind in self.sources.values() for one in of_kind]
        others = [one.moments[1] for one in sources if one.moments is not None]
        for one in sources:
            one.others = others


# Patches where it hurts

SMALL_PATCH = (32, 32, 32)
SMALL_JITTER_MM = (10.0, 10.0, 10.0)
SHELL_MM = 5.0


@functools.cache
def lookalikes(case: LabelledCase, target: int) -> np.ndarray:
    """Places (N, 3) in RAS mm just outside an organ that look as most of the organ does: bowel and
    vessels beside it, mostly; empty where there is none."""
    spacing = case.ct.spacing_mm[::-1]
    reach = [2 * round(SHELL_MM / mm) + 1 for mm in spacing]
    box = bounding_region(case.labels.array == target)
    if box is None:
        return np.empty((0, 3))
    around = tuple(
        slice(max(one.start - size, 0), one.stop + size)
        for one, size in zip(box, reach, strict=True)
    )
    organ = case.labels.array[around] == target
    smooth = smooth_hu(case.ct.array[around], case.ct.spacing_mm)
    low, high = np.quantile(smooth[organ], (0.05, 0.95))
    beside = ndimage.maximum_filter(organ, reach) & ~organ
    found = np.argwhere(beside & (smooth > low) & (smooth < high))
    return case.ct.grid.position_of((found + [one.start for one in around])[:, ::-1])


class BorderSampler(BatchSampler):
    """Draws every second patch small, around a place at the border that looks like the organ."""

    def draw(self, source: PatchSource, rng: np.random.Generator, step: int, number: int) -> Sample:
        places = lookalikes(source.case, self.options.target_label)
        if step % 2 == 0 or not len(places):
            return super().draw(source, rng, step, number)
        small = replace(self.options.patch, size=SMALL_PATCH, jitter_mm=SMALL_JITTER_MM)
        around = places[int(rng.integers(len(places)))]
        return source.sample(small, self.options.augmentation, rng, self.intensity, around)


class SizesTrainer(StageTrainer):
    """Of patches of several sizes: clicks are made on the grid of each."""

    def _click(
        self, image: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        k, j, i = labels.shape
        patch = replace(self.options.patch, size=(i, j, k))
        with mock.patch.object(self, "options", replace(self.options, patch=patch)):
            return super()._click(image, labels, rng)


# The trials


def with_spoilt_scans(options: StageOptions) -> StageOptions:
    """Twice as often, and further."""
    spoilt = replace(
        options.augmentation,
        thick_slices_probability=0.5,
        cropped_view_probability=0.4,
        clipped_probability=0.6,
        intensity_probability=0.6,
        brightness=0.15,
        contrast=0.5,
        gamma=(0.6, 1.8),
        noise=0.12,
        blur_voxels=(0.4, 1.5),
    )
    return replace(options, augmentation=spoilt)


def told_from_fat(options: StageOptions) -> StageOptions:
    return Choices(fat=True).applied_to(options)


def with_half_the_width(options: StageOptions) -> StageOptions:
    return replace(options, network={**options.network, "channels": HALF})


@dataclass(frozen=True)
class Trial:
    """The recipe with one thing changed.

    Args:
        title: of its row.
        options, case: what is changed in the options and in each case.
        trainer, source, sampler: what does the work of the class of that name.
        networks: trained for each seed, with seeds of their own.
    """

    title: str
    options: Callable[[StageOptions], StageOptions] = lambda options: options
    case: Callable[[LabelledCase], LabelledCase] = lambda case: case
    trainer: type[StageTrainer] = StageTrainer
    source: type[PatchSource] = PatchSource
    sampler: type[BatchSampler] = BatchSampler
    networks: int = 1


TRIALS = {
    "recipe": Trial("the recipe", trainer=Averaging),
    "spoilt": Trial("noise, poor contrast, thick slices, cut views", with_spoilt_scans),
    "fat": Trial("`--fat`: fat is told from the rest", told_from_fat, trainer=FatTrainer),
    "wider": Trial(
        "the scan at twice the voxel length as a further input",
        with_second_view,
        trainer=WiderViewTrainer,
        source=WiderViewSource,
    ),
    "anatomy": Trial(
        "shaped as another patient's organ", source=OtherAnatomy, sampler=OtherAnatomySampler
    ),
    "border": Trial(
        "every second patch small and at the border", trainer=SizesTrainer, sampler=BorderSampler
    ),
    "halves": Trial("half the width", with_half_the_width, trainer=OneOfTwo, networks=2),
}


@dataclass
class Cases:
    """The cases of a split, read when a run first needs them."""

    found: DataSet
    split: Split
    windowed: dict[int, Any] = field(default_factory=dict)

    @functools.cached_property
    def both(self) -> tuple[list[LabelledCase], list[LabelledCase]]:
        """To learn from, and held out."""
        train, held_out = find_cases(self.found, self.split)
        return load_cases(train, SYNTHETIC), load_cases(held_out)

    def window_once(self, volume: Any, *arguments: Any) -> Any:
        """A scan on the grid of the patches, which is the same in all runs."""
        if id(volume) not in self.windowed:
            self.windowed[id(volume)] = window_scan(volume, *arguments)
        return self.windowed[id(volume)]


def run(trial: Trial, options: StageOptions, cases: Cases, folder: Path, device: str) -> None:
    """Train once; a run that was stopped goes on."""
    train, held_out = ([trial.case(case) for case in part] for part in cases.both)
    with ExitStack() as changed:
        for module, name, value in (
            (patches, "window_scan", cases.window_once),
            (sampling, "PatchSource", trial.source),
            (trainer, "BatchSampler", trial.sampler),
        ):
            changed.enter_context(mock.patch.object(module, name, value))
        bfloat16 = uses_bfloat16(AUTO, torch.device(device))
        trial.trainer(options, train, held_out, folder, device, bfloat16).run()


def finished(folder: Path, steps: int) -> tuple[dict[str, Any], float] | None:
    """The last line of a run's log and the seconds of a step; None where it is not finished."""
    file = folder / "log.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    records = [json.loads(line) for line in lines]
    if not records or records[-1]["step"] != steps or "validation_dice" not in records[-1]:
        return None
    elapsed_s = [record["elapsed_s"] for record in records if "elapsed_s" in record]
    return records[-1], elapsed_s[-1] / steps


def mean_dice(record: dict[str, Any]) -> float:
    return statistics.fmean(record["validation_dice"].values())


def seed_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def choose_split(found: DataSet, folds: int | None, fold: int) -> Split:
    """The data set's own, or one of so many by patient, of whole scans alone."""
    if folds is None:
        return default_split(found)
    scans = [case for case in found.cases if case.kind == "scan"]
    others = tuple(case.name for case in found.cases if case.kind != "scan")
    split = k_fold(scans, folds)[fold]
    return replace(split, train=split.train + others)


def table(figures: dict[str, dict[int, float]], seconds: dict[str, float]) -> list[str]:
    """A row for each trial: the Dice of each seed, their mean and how much it is more than that of
    the first row with the same seeds, and the seconds of a step where they are known."""
    seeds = sorted({seed for by_seed in figures.values() for seed in by_seed})
    recipe = next(iter(figures.values()))
    rows = []
    for title, by_seed in figures.items():
        cells = [f"{by_seed[seed]:.3f}" if seed in by_seed else "" for seed in seeds]
        both = [seed for seed in by_seed if seed in recipe]
        more = statistics.fmean(by_seed[seed] - recipe[seed] for seed in both) if both else 0.0
        change = f"{round(more, 3) + 0.0:+.3f}" if both and by_seed is not recipe else ""
        took = f"{seconds[title]:.2f}" if title in seconds else ""
        rows.append([title, *cells, f"{statistics.fmean(by_seed.values()):.3f}", change, took])
    heading = ["", *(f"seed {seed}" for seed in seeds), "mean", "change", "s per step"]
    return markdown_table(heading, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--folds", type=int)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    found = find_data_set(options.data)
    cases = Cases(found, choose_split(found, options.folds, options.fold))
    part = "" if options.folds is None else f"-fold-{options.fold}-of-{options.folds}"
    output = options.output / f"steps-{options.steps}{part}"
    figures: dict[str, dict[int, float]] = {}
    seconds: dict[str, float] = {}
    for name in options.only:
        trial = TRIALS[name]
        for seed in options.seeds:
            # The last network of several is judged together with those before.
            for own in range(seed * trial.networks, (seed + 1) * trial.networks):
                folder = seed_folder(output / name, own)
                recipe = small_recipe(found, options.steps, own)
                if finished(folder, options.steps) is None:
                    run(trial, trial.options(recipe), cases, folder, options.device)
            done = finished(folder, options.steps)
            assert done is not None, f"the run in '{folder}' is not finished"
            record, seconds[trial.title] = done
            dice = {trial.title: mean_dice(record), **record.get(FURTHER, {})}
            for title, value in dice.items():
                figures.setdefault(title, {})[seed] = value
                print(f"{title}, seed {seed}: {value:.3f}", flush=True)
    print(*table(figures, seconds), sep="\n")


def small_recipe(found: DataSet, steps: int, seed: int) -> StageOptions:
    """The refiner's recipe at the small budget, judged once, at the end."""
    options = SMALL.applied_to(refiner_options(Budget(steps=steps), seed))
    return replace(
        options,
        network={**options.network, "out_channels": len(found.labels)},
        target_label=found.labels.index(found.target),
        window_hu=intensity_window(found),
        validate_every_steps=steps,
    )


if __name__ == "__main__":
    main()
