"""What convolutions in 8-bit integers would give: time of a pass, and Dice, on real scans.

    python Testing/tools/measure_int8.py DATA/btcv/train [--threads 2]

Each 3 x 3 x 3 convolution of the refiner is replaced by PyTorch's quantized one: a scale for each
output channel of its weights, one for its input and one for its output, from the least and greatest
values on a training scan. What lies between (instance norm, activations, gates) stays float32.
The times are medians of passes that take turns.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]


class Int8Convolution(nn.Module):
    """Takes and gives float32; sees values for its scales until it is frozen."""

    def __init__(self, original: nn.Conv3d) -> None:
        super().__init__()
        self.original = original
        self.ranges = {"in": [0.0, 0.0], "out": [0.0, 0.0]}
        self.packed = None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.packed is None:
            result = self.original(image)
            for values, limits in (image, self.ranges["in"]), (result, self.ranges["out"]):
                limits[:] = min(limits[0], float(values.min())), max(limits[1], float(values.max()))
            return result
        codes = torch.quantize_per_tensor(image, *self.scale("in"), torch.quint8)
        return torch.ops.quantized.conv3d(codes, self.packed, *self.scale("out")).dequantize()

    def scale(self, end: str) -> tuple[float, int]:
        low, high = self.ranges[end]
        step = (high - low) / 255
        return step, round(-low / step)

    def freeze(self) -> None:
        conv = self.original
        weight = conv.weight.detach().float()
        scales = weight.abs().amax(dim=(1, 2, 3, 4)).clamp(min=1e-8) / 127
        codes = torch.quantize_per_channel(
            weight, scales.double(), torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8
        )
        bias = None if conv.bias is None else conv.bias.detach().float()
        self.packed = torch.ops.quantized.conv3d_prepack(
            codes, bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )


def with_int8(network: nn.Module) -> nn.Module:
    """A copy whose 3x3x3 convolutions will be in 8 bits."""
    network = copy.deepcopy(network).float()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and child.kernel_size == (3, 3, 3):
                setattr(parent, name, Int8Convolution(child))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with *_ct.nii.gz and *_organs.nii.gz in it")
    parser.add_argument("--cases", default="case0010,case0027,case0031")
    parser.add_argument("--calibration", default="case0005", help="a training scan")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=10)
    options = parser.parse_args()

    from AttentionUNetSegmentLib.datasets.loading import PANCREAS
    from AttentionUNetSegmentLib.evaluation.metrics import dice
    from AttentionUNetSegmentLib.inference import read_volume
    from same_output import predictor_of

    torch.set_num_threads(options.threads)
    predictors = {name: predictor_of(name) for name in ("float32", "bfloat16")}
    predictors["int8"] = predictor_of("float32")
    refiner = with_int8(predictors["int8"].networks["refiner"])
    predictors["int8"].networks["refiner"] = refiner
    predictors["int8"].predict(read_volume(options.folder / f"{options.calibration}_ct.nii.gz"))
    quantized = [part for part in refiner.modules() if isinstance(part, Int8Convolution)]
    for part in quantized:
        part.freeze()
    print(f"{len(quantized)} convolutions, engine {torch.backends.quantized.engine}\n")

    scores: dict[str, list[float]] = {name: [] for name in predictors}
    for case in options.cases.split(","):
        scan = read_volume(options.folder / f"{case}_ct.nii.gz")
        truth = read_volume(options.folder / f"{case}_organs.nii.gz").array == PANCREAS
        for name, predictor in predictors.items():
            scores[name].append(dice(predictor.predict(scan).mask > 0, truth))
    times: dict[str, list[float]] = {name: [] for name in predictors}
    channels = 3 if predictors["float32"].takes_clicks else 1
    image = torch.rand(1, channels, 64, 96, 128)
    with torch.inference_mode():
        for turn in range(options.passes + 1):
            for name, predictor in predictors.items():
                began = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=name == "bfloat16"):
                    predictor.networks["refiner"](image, return_attention=True)
                if turn:
                    times[name].append(time.perf_counter() - began)
    print("| precision | pass, s |", " | ".join(options.cases.split(",")), "| mean Dice |")
    print("|---" * (len(options.cases.split(",")) + 3) + "|")
    for name, dices in scores.items():
        median = sorted(times[name])[len(times[name]) // 2]
        figures = " | ".join(f"{value:.3f}" for value in dices)
        print(f"| {name} | {median:.3f} | {figures} | {sum(dices) / len(dices):.3f} |")


if __name__ == "__main__":
    main()
