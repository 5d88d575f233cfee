"""What can be done to a model's answers without training it again, and what it gives.

    python Testing/tools/measure_tricks.py DATA [--model NAME] [--run RUN] [--split S]
        [--cases NAME...] [--bfloat16]

A row for each trick: Dice without a click of every case, and the mean. RUN is the folder of the
training run that the model came from: the weights before they were put into half precision. The
split "slices" is the patients of another data set, put together from pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_cases
from AttentionUNetSegmentLib.evaluation.metrics import score
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.geometry.resampling import resample
from AttentionUNetSegmentLib.inference import (
    Prediction,
    Predictor,
    coarse_to_fine,
    refinement,
    regions,
    scan_segmenter,
)
from AttentionUNetSegmentLib.inference.refinement import Refinement
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, Model, find_model, load_model
from AttentionUNetSegmentLib.networks import NetworkOutput
from AttentionUNetSegmentLib.networks.blocks import resize
from measure_finetuning import scans
from torch import nn

THRESHOLDS = (0.3, 0.4, 0.6, 0.7)
LOCATOR_SHARES = (0.1, 0.2, 0.5)


class Mirrored(nn.Module):
    """The mean of the answers to an image and to its mirror image, right for left."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.gates = getattr(network, "gates", ())

    def forward(self, image: torch.Tensor, return_attention: bool = False) -> Any:
        output = self.network(image, return_attention=True)
        mirrored = self.network(image.flip(-1)).flip(-1)
        mean = (output.logits.float().softmax(dim=1) + mirrored.float().softmax(dim=1)) / 2
        return NetworkOutput(mean.clamp_min(1e-9).log(), output.attention, ())


class Zoomed(nn.Module):
    """The mean of the answers to an image, and to it at other sizes."""

    def __init__(self, network: nn.Module, scales: Sequence[float] = (0.9, 1.1)) -> None:
        super().__init__()
        self.network = network
        self.scales = scales
        self.gates = getattr(network, "gates", ())

    def forward(self, image: torch.Tensor, return_attention: bool = False) -> Any:
        output = self.network(image, return_attention=True)
        answers = [output.logits.float().softmax(dim=1)]
        for scale in self.scales:
            size = [round(length * scale) for length in image.shape[2:]]
            logits = self.network(resize(image, tuple(size))).float()
            answers.append(resize(logits.softmax(dim=1), image.shape[2:]))
        mean = torch.stack(answers).mean(dim=0)
        return NetworkOutput(mean.clamp_min(1e-9).log(), output.attention, ())


class Shifted(nn.Module):
    """The mean of the answers to an image, and to it moved by some voxels each way."""

    def __init__(self, network: nn.Module, voxels: int = 8) -> None:
        super().__init__()
        self.network = network
        self.voxels = voxels
        self.gates = getattr(network, "gates", ())

    def forward(self, image: torch.Tensor, return_attention: bool = False) -> Any:
        output = self.network(image, return_attention=True)
        total = output.logits.float().softmax(dim=1)
        count = torch.ones_like(total)
        for axis in (2, 3, 4):
            for step in (self.voxels, -self.voxels):
                size = image.shape[axis]
                # What moves out of the image is not asked for; its last slice fills what comes in.
                taken = (torch.arange(size) + step).clamp(0, size - 1)
                answer = self.network(image.index_select(axis, taken)).float().softmax(dim=1)
                kept = slice(max(step, 0), size + min(step, 0))
                given = slice(max(-step, 0), size - max(step, 0))
                here = (*[slice(None)] * axis, kept)
                total[here] += answer[(*[slice(None)] * axis, given)]
                count[here] += 1
        return NetworkOutput((total / count).clamp_min(1e-9).log(), output.attention, ())


class Clipped(nn.Module):
    """The mean of the log-odds of an image, and of it with its intensities clipped further."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network = network
        self.low, self.high = low, high
        self.gates = getattr(network, "gates", ())

    def forward(self, image: torch.Tensor, return_attention: bool = False) -> Any:
        output = self.network(image, return_attention=True)
        clipped = torch.cat((image[:, :1].clamp(self.low, self.high), image[:, 1:]), dim=1)
        answers = (output.logits, self.network(clipped))
        mean = torch.stack([one.float().log_softmax(dim=1) for one in answers]).mean(dim=0)
        return NetworkOutput(mean, output.attention, ())


class WithLocator(Predictor):
    """Adds a part of what the locator says, as log-odds, to what the refiner says of the target."""

    share = 0.0
    coarsely: tuple[torch.Tensor, Grid] | None = None

    def predict(self, *arguments: Any, **settings: Any) -> Prediction:
        self.coarsely = None
        view = coarse_to_fine.locator_view

        def locator_view(*where: Any) -> tuple[torch.Tensor, Grid]:
            sampled, self.view = view(*where)
            return sampled, self.view

        with mock.patch.object(coarse_to_fine, "locator_view", locator_view):
            return super().predict(*arguments, **settings)

    def run_locator(self, *arguments: Any) -> torch.Tensor:
        answer = super().run_locator(*arguments)
        self.coarsely = self.coarsely or (answer[:, self.target_label, None], self.view)
        return answer

    def run_refiner(self, scan: torch.Tensor, grid: Grid, *rest: Any) -> Refinement:
        refined = super().run_refiner(scan, grid, *rest)
        if self.coarsely is None:
            return refined
        # Not all of its certainty: at 6 mm much of the border is on the wrong side.
        coarse = resample(*self.coarsely, grid).clamp(0.02, 0.98)
        logits = torch.logit(refined.probability.values, eps=1e-4) + self.share * coarse.logit()
        return refined.with_probability(logits.sigmoid())


@contextlib.contextmanager
def threshold(value: float) -> Iterator[None]:
    """A voxel belongs to the organ from another probability on."""
    with contextlib.ExitStack() as patches:
        for module in (refinement, coarse_to_fine, scan_segmenter):
            patches.enter_context(mock.patch.object(module, "THRESHOLD", value))
        yield


@contextlib.contextmanager
def every_piece() -> Iterator[None]:
    """Specks stay and holes are not filled."""

    def select_all(foreground: np.ndarray, *_: Any) -> tuple[np.ndarray, int]:
        return foreground, 1

    with contextlib.ExitStack() as patches:
        for module in (coarse_to_fine, scan_segmenter):
            patches.enter_context(mock.patch.object(module, "select_components", select_all))
        yield


@contextlib.contextmanager
def smallest_share(value: float) -> Iterator[None]:
    """A piece stays from another share of the largest on."""
    with mock.patch.object(regions, "SMALLEST_SHARE", value):
        yield


def before_halving(model: Model, run: Path) -> Model:
    """The model with its run's weights in float32; a stage that did not learn keeps its own."""
    for name, network in model.networks.items():
        file = run / name / "checkpoint.pt"
        if file.exists():
            saved = torch.load(file, map_location="cpu", weights_only=True)
            network.load_state_dict(saved["average"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--bfloat16", action="store_true", help="slow where a CPU has none")
    splits = ("validation", "train", "slices")
    parser.add_argument("--split", choices=splits, default="validation")
    parser.add_argument("--cases", nargs="+", help="of the split; all unless given")
    arguments = parser.parse_args()

    folder = find_model(arguments.model)
    usual = Predictor(load_model(folder), "cpu", "float32")
    if arguments.split == "slices":
        cases = scans(arguments.data / "pancreas-ct-slices")
    else:
        found = find_data_set(arguments.data).relabelled([one.name for one in usual.card.labels])
        train, validation = find_cases(found)
        chosen = validation if arguments.split == "validation" else train
        wanted = arguments.cases or [one.name for one in chosen]
        cases = load_cases([one for one in chosen if one.kind == "scan" and one.name in wanted])
    print(f"Model {usual.card.name} {usual.card.version}, {arguments.split} cases, CPU.\n")
    print(f"| | {' | '.join(case.name for case in cases)} | mean Dice |")
    print("|---" * (len(cases) + 2) + "|")

    def row(title: str, asked: Predictor, trick: Any = contextlib.nullcontext) -> None:
        with trick():
            dice = [dice_of(asked, case) for case in cases]
        cells = " | ".join(f"{one:.3f}" for one in dice)
        print(f"| {title} | {cells} | {statistics.fmean(dice):.4f} |", flush=True)

    row("as shipped, in float32", usual)
    if arguments.bfloat16:
        row("in bfloat16", Predictor(load_model(folder), "cpu", "bfloat16"))
    if arguments.run is not None:
        unhalved = before_halving(load_model(folder), arguments.run)
        row(
            "with the weights before half precision",
            Predictor(unhalved, "cpu", "float32"),
        )
    for value in THRESHOLDS:
        row(f"threshold {value}", usual, lambda value=value: threshold(value))
    row("pieces from a tenth of the largest on", usual, lambda: smallest_share(0.1))
    row("every piece and hole kept", usual, every_piece)
    for share in LOCATOR_SHARES:
        asked = WithLocator(load_model(folder), "cpu", "float32")
        asked.share = share
        row(f"{share} of the locator's log-odds added", asked)
    averaged: dict[str, Callable[[nn.Module], nn.Module]] = {
        "mirrored too": Mirrored,
        "smaller and larger too": Zoomed,
        "moved by 8 voxels each way too": Shifted,
        "clipped to 0.17 to 0.76 of the window too": partial(Clipped, low=0.17, high=0.76),
        "clipped to 0.76 of the window too": partial(Clipped, low=0.0, high=0.76),
    }
    for title, trick in averaged.items():
        model = load_model(folder)
        model.networks["refiner"] = trick(model.networks["refiner"])  # type: ignore[index]
        row(f"{title}, and averaged", Predictor(model, "cpu", "float32"))


def dice_of(asked: Predictor, case: LabelledCase) -> float:
    truth = case.labels.array == asked.target_label
    return score(asked.predict(case.ct).mask, truth, case.ct).dice


if __name__ == "__main__":
    main()
