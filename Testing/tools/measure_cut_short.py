"""What a model finds in scans that end short of the pancreas: nothing, it is hoped.

    python Testing/tools/measure_cut_short.py DATA [--model NAME] [--gap 15] [--least 60]

Of each BTCV scan the part above the pancreas and the part below it, ``gap`` mm away from it, where
that is at least ``least`` mm high.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_case
from AttentionUNetSegmentLib.inference import Predictor, Volume
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--gap", type=float, default=15.0, help="mm")
    parser.add_argument("--least", type=float, default=60.0, help="mm")
    arguments = parser.parse_args()

    predictor = Predictor(load_model(find_model(arguments.model)), "cpu")
    found = find_data_set(arguments.data).relabelled([one.name for one in predictor.card.labels])
    train, validation = find_cases(found)
    pieces, false, scans = 0, 0, 0
    print("| scan | part | height, mm | found, mL |")
    print("|---|---|---|---|")
    for files in sorted((*train, *validation), key=lambda one: one.name):
        if files.kind != "scan":
            continue
        case = load_case(files)
        filled = np.flatnonzero((case.labels.array == predictor.target_label).any(axis=(1, 2)))
        spacing, count = case.ct.spacing_mm[2], case.ct.array.shape[0]
        gap = int(np.ceil(arguments.gap / spacing))
        ends = (0, filled[0] - gap), (filled[-1] + 1 + gap, count)
        names = ("below", "above") if case.ct.ijk_to_ras[2, 2] > 0 else ("above", "below")
        used = False
        for name, (start, stop) in zip(names, ends, strict=True):
            height = (stop - start) * spacing
            if height < arguments.least:
                continue
            matrix = case.ct.ijk_to_ras.copy()
            matrix[:3, 3] += matrix[:3, 2] * start
            prediction = predictor.predict(Volume(case.ct.array[start:stop], matrix))
            print(
                f"| {case.name} | {name} | {height:.0f} | {prediction.volume_ml:.0f} |", flush=True
            )
            pieces, false, used = pieces + 1, false + prediction.found, True
        scans += used
    print(f"\n{pieces} parts of {scans} scans; something was found in {false}.")


if __name__ == "__main__":
    main()
