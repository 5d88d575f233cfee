"""Measure what the limits of ``inference/quality.py`` rest on: usual scans, and scans made wrong.

    python Testing/tools/measure_quality_warnings.py DATA [--model MODEL]

``DATA`` is the folder of real CT that ``btcv/train`` lies in. For each scan, and for each of the
three validation scans made wrong in many ways, a line of a Markdown table: volume, pieces, mean
probability, mean intensity in the mask, Dice against the expert, and how many warnings were told.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.inference import Predictor, Volume, read_volume
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model

VALIDATION = ("case0010", "case0027", "case0031")


def cut(volume: Volume, start: int, stop: int | None, step: int = 1) -> Volume:
    """Some of its slices."""
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * start
    matrix[:3, 2] *= step
    return Volume(volume.array[start:stop:step], matrix)


def made_wrong(scan: Volume, organ: Volume) -> Iterator[tuple[str, Volume, Volume]]:
    """What was done to the scan, the scan after it, and where its organ is then."""

    def with_values(values: np.ndarray) -> Volume:
        return Volume(np.clip(values, -1024, 3000).astype(np.int16), scan.ijk_to_ras)

    hu = scan.array.astype(np.float32)
    random = np.random.default_rng(0)
    for deviation in (40, 80, 120, 200):
        noise = random.normal(0, deviation, hu.shape)
        yield f"noise of {deviation} HU", with_values(hu + noise), organ
    for shift in (-150, -100, -50, 50, 100, 150):
        yield f"{shift:+} HU", with_values(hu + shift), organ
    yield "inverted", with_values(150 - hu), organ
    gone = np.where(organ.array, -80 + random.normal(0, 10, hu.shape), hu)
    yield "organ replaced by fat", with_values(gone), organ
    for name, axis in (("upside down", 0), ("back to front", 1), ("mirrored", 2)):
        flipped = [Volume(np.flip(one.array, axis), scan.ijk_to_ras) for one in (scan, organ)]
        yield name, flipped[0], flipped[1]
    filled = np.flatnonzero(organ.array.any(axis=(1, 2)))
    middle = int(filled[0] + filled[-1]) // 2
    yield "lower half", cut(scan, 0, middle), cut(organ, 0, middle)
    yield "upper half", cut(scan, middle, None), cut(organ, middle, None)
    for step in (2, 3, 4, 6):
        apart = f"slices {step * scan.spacing_mm[2]:g} mm apart"
        yield apart, cut(scan, 0, None, step), cut(organ, 0, None, step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    arguments = parser.parse_args()
    predictor = Predictor(load_model(find_model(arguments.model)), "cpu")

    def measure(name: str, scan: Volume, organ: Volume) -> None:
        try:
            prediction = predictor.predict(scan)
        except InputError:
            print(f"| {name} | refused: no CT in Hounsfield units | | | | | |", flush=True)
            return
        inside = scan.array[prediction.mask != 0]
        print(
            f"| {name} | {prediction.volume_ml:.0f} | {prediction.pieces} "
            f"| {prediction.mean_probability or 0:.3f} | {inside.mean() if inside.size else 0:.0f} "
            f"| {dice(prediction.mask != 0, organ.array != 0):.2f} | {len(prediction.warnings)} |",
            flush=True,
        )

    print("| scan | mL | pieces | mean probability | mean HU | Dice | warnings |")
    print("|---|---|---|---|---|---|---|")
    for file in sorted((arguments.data / "btcv" / "train").glob("*_ct.nii.gz")):
        case = file.name.removesuffix("_ct.nii.gz")
        labels = read_volume(file.with_name(f"{case}_organs.nii.gz"))
        scan, organ = read_volume(file), Volume(labels.array == PANCREAS, labels.ijk_to_ras)
        measure(case + (", validation" if case in VALIDATION else ""), scan, organ)
        if case in VALIDATION:
            for name, wrong, place in made_wrong(scan, organ):
                measure(f"{case}: {name}", wrong, place)


if __name__ == "__main__":
    main()
