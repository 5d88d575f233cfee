"""How much a scribble helps against a click, and how far apart its points should be.

    python Testing/tools/measure_scribbles.py DATA [--model NAME_OR_FOLDER] [--prompts 3]

A simulated user mends the automatic result of each held-out BTCV scan: in the slice with the
deepest point of the largest error they click there, or draw a line along the middle of the error.
A row for each way: the mean Dice after each prompt, the share of the piece that the first one put
right, and seconds for a prompt.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib.datasets.cases import load_case
from AttentionUNetSegmentLib.datasets.loading import find_data_set
from AttentionUNetSegmentLib.evaluation.simulated_user import (
    click_at,
    deepest_voxel,
    largest_error,
)
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import click_update, scan_segmenter
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.inference.strokes import Prompt, Scribble
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from scipy import ndimage

HELD_OUT = ("case0010", "case0027", "case0031")
WAYS = {
    "click": (0.0, 0.0, 0.0),
    **{
        f"line, {step:g} mm, {full:g} to {reach:g} mm": (step, full, reach)
        for step in (6.0, 15.0)
        for full, reach in ((5.0, 10.0), (10.0, 20.0))
    },
}
"""How far apart the points are that the network is shown, and how far its answer counts."""
BIN_MM = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=HELD_OUT)
    options = parser.parse_args()
    predictor = Predictor(load_model(find_model(options.model)), device="cpu")
    found: dict[str, list[tuple[list[float], float, float]]] = {way: [] for way in WAYS}
    for files in find_data_set(options.data / "btcv" / "train").cases:
        if files.name not in options.cases:
            continue
        case = load_case(files)
        truth = case.labels.array == 8
        for way, (step_mm, full_mm, reach_mm) in WAYS.items():
            if step_mm:
                scan_segmenter.NETWORK_STEP_MM = step_mm
                click_update.LINE_FULL_MM, click_update.LINE_REACH_MM = full_mm, reach_mm
            found[way].append(mend(predictor, case.ct, truth, step_mm > 0, options.prompts))
            print(files.name, way, found[way][-1], flush=True)
    numbers = range(options.prompts + 1)
    print("\n| way | " + " | ".join(map(str, numbers)) + " | put right by the first | s |")
    print("|---|" + "---|" * (options.prompts + 3))
    for way, results in found.items():
        dices = np.mean([one[0] for one in results], axis=0)
        right, seconds = np.mean([one[1:] for one in results], axis=0)
        cells = " | ".join(f"{value:.3f}" for value in dices)
        print(f"| {way} | {cells} | {right:.0%} | {seconds:.2f} |")


def mend(
    predictor: Predictor, ct: Volume, truth: np.ndarray, scribbles: bool, number: int
) -> tuple[list[float], float, float]:
    """Dice before and after each prompt, the share of the first piece that the first one put right,
    and seconds for a prompt."""
    session, prompts = Session(predictor, ct), list[Prompt]()
    mask = session.predict().mask > 0
    dices, right, elapsed_s = [dice(mask, truth)], 0.0, 0.0
    for count in range(number):
        error = largest_error(truth, mask)
        if error is None:
            break
        prompts.append(prompt_at(*error, ct, scribbles))
        began = time.perf_counter()
        after = session.predict(prompts).mask > 0
        elapsed_s += time.perf_counter() - began
        if count == 0:
            right = float((error[0] & (after == truth)).sum() / error[0].sum())
        mask = after
        dices.append(dice(mask, truth))
    return dices, right, elapsed_s / number


def prompt_at(piece: np.ndarray, missing: bool, ct: Volume, scribbles: bool) -> Prompt:
    """A click at the deepest point of a piece, or a line along its middle in that slice."""
    voxel = deepest_voxel(piece, ct.spacing_mm)
    click = click_at(voxel, missing, ct.grid)
    if not scribbles:
        return click
    k, j, i = voxel
    labels, _ = ndimage.label(piece[k])
    section = labels == labels[j, i]
    depth = ndimage.distance_transform_edt(np.pad(section, 1), sampling=ct.spacing_mm[1::-1])
    depth = depth[1:-1, 1:-1]
    indices = np.argwhere(section)
    places = indices * np.array(ct.spacing_mm[1::-1])
    centred = places - places.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    bins = np.round(centred @ axis / BIN_MM).astype(int)
    points = []
    for one in np.unique(bins):
        of_bin = indices[bins == one]
        row, column = of_bin[depth[tuple(of_bin.T)].argmax()]
        points.append(click_at((k, int(row), int(column)), missing, ct.grid).position_ras)
    return Scribble(tuple(points), missing) if len(points) > 1 else click


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


if __name__ == "__main__":
    main()
