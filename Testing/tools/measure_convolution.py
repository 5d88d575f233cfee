"""What the layers that are our own bring on this CPU, in float32, against PyTorch's.

    python Testing/tools/measure_convolution.py [--scan SCAN] [--threads 2] [--repetitions 10]
                                                [--masks SCAN ...]

The shipped networks on a patch of the size that the refiner was trained on, in turns: with
PyTorch's convolution; with volumes in halves (``networks/volume_conv.py``); and with the channels
last in memory (``networks/channels_last.py``), which is for answers only. Of the refiner also the
forward and backward pass of a training step, and with a scan the whole prediction and a click after
it. With --masks the masks of scans by PyTorch's layers and by ours are compared.

Where others use the processor too, the lowest times say more than the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from AttentionUNetSegmentLib.inference import Predictor, read_volume
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, Model, find_model, load_model
from AttentionUNetSegmentLib.networks import network as network_module
from AttentionUNetSegmentLib.networks.channels_last import to_channels_last
from AttentionUNetSegmentLib.networks.volume_conv import VolumeConv
from AttentionUNetSegmentLib.training.recipes import refiner_options
from AttentionUNetSegmentLib.training.schedule import Budget
from torch import nn


class TheirConv(VolumeConv):
    """PyTorch's convolution, of what is joined where there are two."""

    def forward(self, input: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        joined = input if isinstance(input, torch.Tensor) else torch.cat(input, dim=1)
        return nn.Conv3d._conv_forward(self, joined, self.weight, self.bias)


WAYS = ("PyTorch's", "halves", "channels last")


def compute(model: Model, way: str) -> None:
    """Have a model's networks computed in one of the ways from now on."""
    kind = TheirConv if way == "PyTorch's" else VolumeConv
    for network in model.networks.values():
        for module in network.modules():
            if isinstance(module, VolumeConv):
                module.__class__ = kind
    unchanged: Callable[[torch.Tensor], torch.Tensor] = lambda x: x  # noqa: E731
    network_module.to_channels_last = to_channels_last if way == "channels last" else unchanged


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--masks", type=Path, nargs="+", default=[], metavar="SCAN")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(find_model(DEFAULT_MODEL))
    refiner, locator = model.networks["refiner"], model.networks["locator"]
    patch = refiner_options(Budget(steps=1)).patch
    random = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *patch.shape, generator=random)

    @torch.inference_mode()
    def answer() -> torch.Tensor:
        return torch.as_tensor(refiner(image))

    @torch.inference_mode()
    def first_look() -> torch.Tensor:
        return torch.as_tensor(locator(image[:, :1]))

    def step() -> None:
        refiner.requires_grad_(True).zero_grad()
        refiner(image).square().mean().backward()

    actions: dict[str, Callable[[], object]] = {
        "locator": first_look,
        "refiner": answer,
        "a training step": step,
    }
    if arguments.scan is not None:
        volume, predictor = read_volume(arguments.scan), Predictor(model, "cpu", "float32")
        session = Session(predictor, volume)
        k, j, i = np.argwhere(session.predict().mask).mean(axis=0).round()
        r, a, s = (volume.ijk_to_ras @ (i, j, k, 1.0))[:3]

        def click() -> None:
            # Elsewhere each time, or the answer would be known.
            nonlocal r
            r += 0.1
            session.add_click((r, a, s), inside=False)
            session.undo()

        actions |= {"scan to mask": lambda: predictor.predict(volume), "a click": click}

    print(f"Patch {patch.shape}, float32, {arguments.threads} threads, seconds: median (lowest)")
    for name, action in actions.items():
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(arguments.repetitions + 1):
            for way in WAYS:
                compute(model, way)
                times[way].append(seconds(action))
        # The first of each allocates.
        middle = {way: statistics.median(times[way][1:]) for way in WAYS}
        least = {way: min(times[way][1:]) for way in WAYS}
        told = [f"{way} {middle[way]:.3f} ({least[way]:.3f})" for way in WAYS]
        ratios = [
            f"{middle[way] / middle[WAYS[0]]:.2f} ({least[way] / least[WAYS[0]]:.2f})"
            for way in WAYS[1:]
        ]
        print(f"{name}: {', '.join(told)}; ratios {', '.join(ratios)}", flush=True)
    answers = []
    for way in WAYS:
        compute(model, way)
        answers.append(answer())
    print(
        f"Largest logit {answers[0].abs().max():.1f}; largest differences from PyTorch's: ", end=""
    )
    print(", ".join(f"{(one - answers[0]).abs().max():.1e}" for one in answers[1:]))
    for scan in arguments.masks:
        compare_masks(model, scan)


def compare_masks(model: Model, scan: Path) -> None:
    volume, predictor = read_volume(scan), Predictor(model, "cpu", "float32")
    masks = []
    for way in (WAYS[0], WAYS[-1]):
        compute(model, way)
        masks.append(predictor.predict(volume).mask != 0)
    theirs, ours = masks
    different = np.count_nonzero(theirs != ours)
    print(
        f"{scan.name}: {np.count_nonzero(ours)} voxels, {different} of them different", flush=True
    )


if __name__ == "__main__":
    main()
