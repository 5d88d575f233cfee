"""What threads, precision, tiles and the device change: on real scans, with the shipped model.

    python Testing/tools/measure_same_output.py DATA/btcv/train [--cases case0010,case0027,case0031]
        [--smallest-tile 32]

Each is compared with float32 on one thread of the CPU in one pass. Prints a table in Markdown: Dice
of the masks, and the difference of the probability, on the average where it is above 0.01 and at
most; and the Dice with the expert's outline, which says whether it matters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with *_ct.nii.gz and *_organs.nii.gz in it")
    parser.add_argument("--cases", default="case0010,case0027,case0031")
    parser.add_argument("--smallest-tile", type=int, help="edge; that of the product unless given")
    options = parser.parse_args()

    import torch
    from AttentionUNetSegmentLib.datasets.loading import PANCREAS
    from AttentionUNetSegmentLib.evaluation.metrics import dice
    from AttentionUNetSegmentLib.inference import Predictor, read_volume, tiling
    from same_output import Difference, difference, fingerprint, predictor_of

    if options.smallest_tile:
        tiling.SMALLEST_TILE = options.smallest_tile
    settings: dict[str, tuple[int, Callable[[], Predictor]]] = {
        "float32, 1 thread": (1, lambda: predictor_of("float32")),
        "float32, 2 threads": (2, lambda: predictor_of("float32")),
        "float32, 4 threads": (4, lambda: predictor_of("float32")),
        "bfloat16": (1, lambda: predictor_of("bfloat16")),
        "float32, tiles of 128 x 128 x 128": (1, lambda: predictor_of("float32", "cpu", 128**3)),
        "float32, tiles of 64 x 64 x 64": (1, lambda: predictor_of("float32", "cpu", 64**3)),
        "float32, at most 100,000 voxels": (1, lambda: predictor_of("float32", "cpu", 100_000)),
    }
    if torch.cuda.is_available():
        for precision in ("float32", "bfloat16"):
            settings[f"{precision}, CUDA"] = (1, lambda p=precision: predictor_of(p, "cuda"))

    rows: dict[str, list[Difference]] = {name: [] for name in settings}
    truths: dict[str, list[float]] = {name: [] for name in settings}
    again = True
    cases = options.cases.split(",")
    for case in cases:
        scan = read_volume(options.folder / f"{case}_ct.nii.gz")
        truth = read_volume(options.folder / f"{case}_organs.nii.gz").array == PANCREAS
        exact = None
        for name, (threads, make) in settings.items():
            torch.set_num_threads(threads)
            predictor = make()
            prediction = predictor.predict(scan)
            again &= fingerprint(prediction) == fingerprint(predictor.predict(scan))
            exact = exact or prediction
            rows[name].append(difference(exact, prediction))
            truths[name].append(dice(prediction.mask != 0, truth))
        print(f"{case} done", file=sys.stderr, flush=True)
    print(f"{', '.join(cases)}; the same bits when repeated: {'yes' if again else 'NO'}")
    print("| setting | Dice, mean | worst | probability, mean | most | Dice with the outline |")
    print("|---|---|---|---|---|---|")
    for name, found in rows.items():
        dices = [one.dice for one in found]
        print(f"| {name} | {sum(dices) / len(dices):.4f} | {min(dices):.4f} "
              f"| {sum(one.mean for one in found) / len(found):.4f} "
              f"| {max(one.most for one in found):.3f} "
              f"| {sum(truths[name]) / len(cases):.4f} |")  # fmt: skip


if __name__ == "__main__":
    main()
