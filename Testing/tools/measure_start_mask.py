"""How much of a chunk that is missing from a mask, or too much in it, one click puts right.

    python Testing/tools/measure_start_mask.py DATA [--model NAME_OR_FOLDER] [--cases NAME...]

The experts' own mask of each held-out BTCV scan is spoilt: its part to the patient's left (the
tail) or right (the head) is cut off, or a ball beside it is added. One click goes to the middle of
the chunk. A row each: the share of the chunk that is put right, the Dice before and after, and what
else of the mask changed, in mL.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib.datasets.cases import load_case
from AttentionUNetSegmentLib.datasets.loading import find_data_set
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from scipy import ndimage

HELD_OUT = ("case0010", "case0027", "case0031")
CHUNK = 0.2
"""Share of the organ's voxels that is cut off."""
LEAK_MM = 14.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--cases", nargs="*", default=HELD_OUT)
    options = parser.parse_args()
    predictor = Predictor(load_model(find_model(options.model)), device="cpu")
    print("| scan | spoilt by | chunk, mL | put right | Dice before | after | else changed, mL |")
    print("|---|---|---|---|---|---|---|")
    shares = []
    for files in find_data_set(options.data / "btcv" / "train").cases:
        if files.name not in options.cases:
            continue
        case = load_case(files)
        truth = case.labels.array == 8
        for name, start in spoilt(truth, case.ct):
            chunk = truth ^ start
            inside = bool((chunk & truth).any())
            click = Click(middle(chunk, case.ct), inside)
            after = predictor.predict(case.ct, [click], start=start.astype(np.uint8)).mask > 0
            right = float((chunk & (after == truth)).sum() / chunk.sum())
            other = float(((after != start) & ~chunk).sum()) * case.ct.voxel_volume_ml
            shares.append(right)
            chunk_ml = chunk.sum() * case.ct.voxel_volume_ml
            print(
                f"| {files.name} | {name} | {chunk_ml:.1f} | {right:.0%} "
                f"| {dice(start, truth):.3f} | {dice(after, truth):.3f} | {other:.1f} |",
                flush=True,
            )
    print(f"\nput right on the average: {np.mean(shares):.0%}")


def spoilt(truth: np.ndarray, ct: Volume) -> Iterator[tuple[str, np.ndarray]]:
    """The mask with a chunk missing, at either end, and with one too much."""
    indices = np.argwhere(truth)
    right = ct.grid.position_of(indices[:, ::-1])[:, 0]
    for name, limit, beyond in (
        ("tail cut off", np.quantile(right, CHUNK), np.less),
        ("head cut off", np.quantile(right, 1 - CHUNK), np.greater),
    ):
        start = truth.copy()
        start[tuple(indices[beyond(right, limit)].T)] = False
        yield name, start
    # Beside the head, where the duodenum is.
    outermost = indices[right.argmax()][::-1]
    centre = ct.grid.position_of(outermost) + np.array([0.6 * LEAK_MM, 0, 0])
    at = ct.grid.position_of(np.moveaxis(np.indices(truth.shape)[::-1], 0, -1))
    yield "leak at the head", truth | (np.linalg.norm(at - centre, axis=-1) < LEAK_MM)


def middle(chunk: np.ndarray, ct: Volume) -> tuple[float, float, float]:
    """The deepest point of the chunk's largest piece."""
    pieces, _ = ndimage.label(chunk)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    depth = ndimage.distance_transform_edt(largest, sampling=ct.spacing_mm[::-1])
    r, a, s = ct.grid.position_of(np.unravel_index(depth.argmax(), depth.shape)[::-1])
    return float(r), float(a), float(s)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


if __name__ == "__main__":
    main()
