"""Dice on scans that were cut to the pancreas, as people do before any AI.

    python Testing/tools/measure_crops.py DATA [--model NAME_OR_FOLDER] [--every 1]

Each scan of DATA's BTCV folder whole, cut to the box of its true pancreas with margins of 0 to 40
mm, and whole with a region of interest of those margins; the regions of PANORAMA as they are; and
parts of the BTCV scans without any pancreas, as large as such crops are. What the model's card
names as learnt from has lines of its own. The Dice of a crop is over the crop; below the table
stands how often the networks were run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from AttentionUNetSegmentLib.datasets.cases import LabelledCase, load_case
from AttentionUNetSegmentLib.datasets.loading import find_data_set
from AttentionUNetSegmentLib.geometry.grid import Region
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model

PARTS = ("crops", "boxes", "others")
MARGINS_MM = (0, 5, 10, 20, 40)
HELD_OUT = {"case0010", "case0027", "case0031"}
PANCREAS = 8
CLIPPED_HU = -56
OTHER_MM = ((100.0, 80.0, 60.0), (220.0, 180.0, 160.0))
"""Least and most extent of the parts without pancreas, along i, j, k."""
OTHERS_A_SCAN, TRIES = 3, 200
LEAST_BODY = 0.6
"""Share of such a part that is neither air nor lung."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--cases", nargs="*", default=())
    parser.add_argument("--every", type=int, default=1, help="of PANORAMA's regions; 0 for none")
    parser.add_argument("--parts", choices=PARTS, nargs="*", default=PARTS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = Predictor(load_model(find_model(options.model)), device="cpu")
    learnt = {name for kind in predictor.card.training["cases"].values() for name in kind}
    cases = [
        files
        for files in find_data_set(options.data / "btcv" / "train").cases
        if not options.cases or files.name in options.cases
    ]
    if "crops" in options.parts:
        _crops(predictor, map(load_case, cases), learnt, "boxes" in options.parts)
    if "others" in options.parts:
        _others(predictor, map(load_case, cases))
    if options.every:
        regions = find_data_set(options.data / "panorama-roi").cases[:: options.every]
        _regions(predictor, map(load_case, regions), learnt)


def _crops(
    predictor: Predictor, cases: Iterable[LabelledCase], learnt: set[str], drawn: bool
) -> None:
    """Crops of whole scans, and with ``drawn`` the same boxes as regions of interest."""
    names = [f"crop {margin} mm" for margin in MARGINS_MM]
    names += [f"region {margin} mm" for margin in MARGINS_MM if drawn]
    print("| scan | whole | " + " | ".join(names) + " |")
    print("|---|" + "---|" * (1 + len(names)))
    rows: dict[str, list[float]] = {}
    passes: dict[str, list[int]] = {name: [] for name in ("whole", *names)}
    for case in cases:
        truth = case.labels.array == PANCREAS
        boxes = [_box(truth, case.ct, margin) for margin in MARGINS_MM]
        parts: list[tuple[Volume, Region | None, np.ndarray]] = [(case.ct, None, truth)]
        parts += [(_part(case.ct, box), None, truth[box]) for box in boxes]
        parts += [(case.ct, box, truth) for box in boxes if drawn]
        rows[case.name] = []
        for name, (ct, interest, expected) in zip(passes, parts, strict=True):
            with _counted_passes(predictor) as counted:
                prediction = Session(predictor, ct, checked=True, interest=interest).predict()
            rows[case.name].append(_dice(prediction.mask > 0, expected))
            passes[name].append(sum(counted.values()))
        _print(case.name, rows[case.name])
    others = set(rows) - HELD_OUT - learnt
    for title, chosen in (
        ("held out", HELD_OUT),
        ("not seen", others),
        ("learnt from", learnt),
        ("all", set(rows)),
    ):
        if kept := [rows[name] for name in rows if name in chosen]:
            _print(f"**{title}** ({len(kept)})", list(np.mean(kept, axis=0)))
    print("| least less whole | | " + " | ".join(
        f"{min(row[at] - row[0] for row in rows.values()):+.3f}" for at in range(1, 1 + len(names))
    ) + " |")  # fmt: skip
    print("| passes | " + " | ".join(f"{np.mean(one):.1f}" for one in passes.values()) + " |")


def _regions(predictor: Predictor, cases: Iterable[LabelledCase], learnt: set[str]) -> None:
    """Crops around pancreases with tumours, as they are."""
    figures: dict[str, dict[str, float]] = {}
    for case in cases:
        kind = "clipped" if int(case.ct.array.min()) == CLIPPED_HU else "unclipped"
        kind += ", learnt from" if case.name in learnt else ", not seen"
        found = predictor.predict(case.ct, checked=True).mask > 0
        figures.setdefault(kind, {})[case.name] = _dice(found, case.labels.array > 0)
    print("\n| regions with tumours | patients | Dice | least and most | nothing found |")
    print("|---|---|---|---|---|")
    for kind, one in sorted(figures.items()):
        dice = list(one.values())
        print(
            f"| {kind} | {len(dice)} | {np.mean(dice):.3f} | {min(dice):.2f} to {max(dice):.2f} "
            f"| {dice.count(0.0)} |"
        )
    for kind, one in sorted(figures.items()):
        print(f"\n{kind}: " + ", ".join(f"{name} {dice:.2f}" for name, dice in one.items()))


def _others(predictor: Predictor, cases: Iterable[LabelledCase]) -> None:
    """Crops of something else."""
    rng = np.random.default_rng(0)
    found_ml = []
    for case in cases:
        for part in _parts_without(case.labels.array == PANCREAS, case.ct, rng):
            found_ml.append(predictor.predict(part, checked=True).volume_ml)
    false = sorted(volume for volume in found_ml if volume > 0)
    print(
        f"\nOf {len(found_ml)} crops without pancreas something was found in {len(false)}: "
        + ", ".join(f"{volume:.1f}" for volume in false)
        + " mL"
    )


def _parts_without(truth: np.ndarray, ct: Volume, rng: np.random.Generator) -> Iterator[Volume]:
    given = 0
    for _ in range(TRIES):
        size = np.minimum(rng.uniform(*OTHER_MM) / ct.spacing_mm, ct.shape_ijk).astype(int)[::-1]
        start = [int(at) for at in rng.integers(0, truth.shape - size + 1)]
        k, j, i = (slice(at, at + int(one)) for at, one in zip(start, size, strict=True))
        if truth[k, j, i].any() or (ct.array[k, j, i] > -100).mean() < LEAST_BODY:
            continue
        yield _part(ct, (k, j, i))
        given += 1
        if given == OTHERS_A_SCAN:
            return


@contextmanager
def _counted_passes(predictor: Predictor) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()
    run = predictor._run

    def counting(name, *arguments):  # type: ignore[no-untyped-def]
        counted[name] += 1
        return run(name, *arguments)

    with mock.patch.object(predictor, "_run", counting):
        yield counted


def _part(ct: Volume, box: Region) -> Volume:
    return Volume(ct.array[box], ct.grid.subgrid(box).ijk_to_ras)


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
