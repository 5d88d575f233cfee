"""What it brings on this CPU that volumes are convolved in halves. See ``networks/volume_conv.py``.

    python Testing/tools/measure_convolution.py [--scan SCAN] [--threads 2] [--repetitions 10]

The shipped refiner on a patch of the size that it was trained on, in float32, with our convolution
and with PyTorch's, in turns: an answer, and the forward and backward pass of a training step. With
a scan also the whole prediction, and a click after it.
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
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from AttentionUNetSegmentLib.networks.volume_conv import VolumeConv
from AttentionUNetSegmentLib.training.recipes import refiner_options
from AttentionUNetSegmentLib.training.schedule import Budget
from torch import nn


def convolve_with(kind: type[nn.Conv3d], network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.__class__ = kind


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(find_model(DEFAULT_MODEL))
    network = model.networks["refiner"]
    network.requires_grad_(True)
    patch = refiner_options(Budget(steps=1)).patch
    image = torch.rand(1, 3, *patch.shape, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def answer() -> torch.Tensor:
        return torch.as_tensor(network(image))

    def step() -> None:
        network.zero_grad()
        network(image).square().mean().backward()

    actions: dict[str, Callable[[], object]] = {"an answer": answer, "a training step": step}
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

    kinds: dict[str, type[nn.Conv3d]] = {"PyTorch's": nn.Conv3d, "ours": VolumeConv}
    print(f"Patch {patch.shape}, float32, {arguments.threads} threads, medians in seconds:")
    for name, action in actions.items():
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(arguments.repetitions + 1):
            for kind, convolution in kinds.items():
                for one in model.networks.values():
                    convolve_with(convolution, one)
                times[kind].append(seconds(action))
        # The first of each allocates.
        theirs, ours = (statistics.median(one[1:]) for one in times.values())
        print(f"{name}: PyTorch's {theirs:.2f}, ours {ours:.2f}, ratio {ours / theirs:.2f}")
    with torch.inference_mode():
        answers = []
        for convolution in kinds.values():
            convolve_with(convolution, network)
            answers.append(answer())
    print(f"Largest difference of the logits: {(answers[0] - answers[1]).abs().max():.1e}")


if __name__ == "__main__":
    main()
