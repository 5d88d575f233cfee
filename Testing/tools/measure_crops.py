"""Dice on scans that were cut to the pancreas, as people do before any AI.

    python Testing/tools/measure_crops.py DATA [--model NAME_OR_FOLDER] [--regions 15]

Each scan of DATA's BTCV folder whole, cut to the box of its true pancreas with margins of 0 to 40
mm, and whole with a region of interest of those margins; then the first regions of PANORAMA that
came clipped (the shipped model has not seen these), as they are. The Dice of a crop is over the
crop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib.datasets.cases import load_case
from AttentionUNetSegmentLib.datasets.loading import find_data_set
from AttentionUNetSegmentLib.geometry.grid import Region
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model

MARGINS_MM = (0, 5, 10, 20, 40)
HELD_OUT = {"case0010", "case0027", "case0031"}
CLIPPED_HU = -56


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--regions", type=int, default=15)
    parser.add_argument("--cases", nargs="*", default=())
    options = parser.parse_args()
    predictor = Predictor(load_model(find_model(options.model)), device="cpu")
    names = [f"crop {margin} mm" for margin in MARGINS_MM]
    names += [f"region {margin} mm" for margin in MARGINS_MM]
    print("| scan | whole | " + " | ".join(names) + " |")
    print("|---|" + "---|" * (1 + len(names)))
    rows = {}
    for files in find_data_set(options.data / "btcv" / "train").cases:
        if options.cases and files.name not in options.cases:
            continue
        case = load_case(files)
        truth = case.labels.array == 8
        figures = [_dice(predictor.predict(case.ct).mask > 0, truth)]
        boxes = [_box(truth, case.ct, margin) for margin in MARGINS_MM]
        for box in boxes:
            part = Volume(case.ct.array[box], case.ct.grid.subgrid(box).ijk_to_ras)
            figures.append(_dice(predictor.predict(part).mask > 0, truth[box]))
        for box in boxes:
            mask = Session(predictor, case.ct, checked=True, interest=box).predict().mask
            figures.append(_dice(mask > 0, truth))
        rows[files.name] = figures
        _print(files.name, figures)
    for title, chosen in (("held out", HELD_OUT), ("all", set(rows))):
        if kept := [rows[name] for name in rows if name in chosen]:
            _print(f"**{title}** ({len(kept)})", list(np.mean(kept, axis=0)))
    if options.regions:
        _regions(predictor, options.data, options.regions)


def _regions(predictor: Predictor, data: Path, most: int) -> None:
    """Crops around pancreases with tumours, which the model looks at as they are."""
    figures = []
    for files in find_data_set(data / "panorama-roi").cases:
        if len(figures) == most:
            break
        case = load_case(files)
        if int(case.ct.array.min()) == CLIPPED_HU:
            found = predictor.predict(case.ct, checked=True).mask > 0
            figures.append(_dice(found, case.labels.array > 0))
    if figures:
        low, high, nothing = min(figures), max(figures), sum(one == 0 for one in figures)
        print(
            f"\nRegions with tumours, clipped ({len(figures)}): mean {np.mean(figures):.3f} "
            f"({low:.2f} to {high:.2f}), nothing found in {nothing}"
        )


def _box(truth: np.ndarray, ct: Volume, margin_mm: float) -> Region:
    ends = []
    for axis, spacing in enumerate(ct.spacing_mm[::-1]):
        hit = np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis)))
        more = round(margin_mm / spacing)
        ends.append(slice(max(hit[0] - more, 0), min(hit[-1] + 1 + more, truth.shape[axis])))
    return ends[0], ends[1], ends[2]


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))


def _print(name: str, figures: list[float]) -> None:
    print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
