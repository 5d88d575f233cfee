"""How far the result moves against the organ: every transformation, on every real scan.

    python Testing/tools/measure_geometry.py DATA/btcv/train [--cases CASE,CASE] [--routes MRML]
    python Testing/tools/measure_geometry.py DATA/btcv/train --cases case0010 --regions

Without ``--routes``, the scan goes to the predictor as an array: what is measured is the network
and its grids. Prints a table in Markdown: mean and 95th percentile of the distance between the two
surfaces in mm, each as the mean over the scans and as the worst one. With ``--regions`` the scans
stay as they are, and the region that the network looks at closely is moved and enlarged instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from AttentionUNetSegmentLib.inference import Predictor, Volume
    from moved_scans import Placed

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with *_ct.nii.gz in it")
    parser.add_argument("--cases", default="", help="names, with commas; all unless given")
    parser.add_argument("--routes", default="", help="NIfTI,NRRD,DICOM,MRML")
    parser.add_argument("--regions", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    import torch
    from AttentionUNetSegmentLib.inference import Predictor, read_volume
    from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
    from moved_scans import (
        ROUTES,
        TRANSFORMATIONS,
        Distance,
        Moved,
        Placed,
        brought_back,
        surface_distance,
    )

    def directly(moved: Moved, predictor: Predictor, _folder: Path) -> Placed:
        prediction = predictor.predict(moved.volume)
        return Placed(prediction.mask != 0, moved.volume.ijk_to_ras)

    names = [name for name in options.cases.split(",") if name]
    names = names or [path.name[:-10] for path in sorted(options.folder.glob("*_ct.nii.gz"))]
    routes = {name: ROUTES[name] for name in options.routes.split(",") if name}
    routes = routes or {"array": directly}
    torch.set_num_threads(options.threads)
    predictor = Predictor(load_model(find_model(DEFAULT_MODEL)), "cpu")
    measured: dict[tuple[str, str], list[Distance]] = {}
    for name in names:
        volume = read_volume(options.folder / f"{name}_ct.nii.gz")
        reference = directly(Moved(volume), predictor, Path())
        if options.regions:
            for title, placed in other_regions(predictor, volume):
                measured.setdefault((title, ""), []).append(surface_distance(reference, placed))
            continue
        for title, transformation in TRANSFORMATIONS.items():
            moved = transformation(volume, reference.mask)
            for route, function in routes.items():
                with tempfile.TemporaryDirectory() as folder:
                    result = function(moved, predictor, Path(folder))
                distance = surface_distance(reference, brought_back(result, moved))
                measured.setdefault((title, route), []).append(distance)
        print(f"{name} done", file=sys.stderr, flush=True)
    print(f"{len(names)} scans, {options.threads} thread(s), shipped model")
    print("| transformation | route | mean, mm | worst mean | 95 %, mm | worst 95 % |")
    print("|---|---|---|---|---|---|")
    for (title, route), distances in measured.items():
        means = np.array([one.mean_mm for one in distances])
        p95s = np.array([one.p95_mm for one in distances])
        print(f"| {title} | {route} | {means.mean():.2f} | {means.max():.2f} "
              f"| {p95s.mean():.2f} | {p95s.max():.2f} |")  # fmt: skip


def other_regions(predictor: Predictor, volume: Volume) -> Iterator[tuple[str, Placed]]:
    """The result where the first look had given another box."""
    from AttentionUNetSegmentLib.geometry.grid import Box
    from AttentionUNetSegmentLib.inference import coarse_to_fine
    from AttentionUNetSegmentLib.inference.progress import StepTimer, ignore_progress
    from moved_scans import Placed

    steps = StepTimer(ignore_progress, None)
    first = next(coarse_to_fine.find_candidates(predictor, volume, [], steps))
    box = first.box
    boxes = {
        f"moved by {step} mm along {axis}": Box(box.low_ras + shift, box.high_ras + shift)
        for step in (2, 6)
        for axis, shift in zip("RAS", step * np.eye(3), strict=True)
    }
    boxes |= {f"{margin} mm more on each side": box.grown([margin] * 3) for margin in (4, 20)}
    for title, other in boxes.items():
        candidate = coarse_to_fine.Candidate(other, first.place)
        with mock.patch.object(coarse_to_fine, "find_candidates", lambda *_, one=candidate: [one]):
            yield title, Placed(predictor.predict(volume).mask != 0, volume.ijk_to_ras)


if __name__ == "__main__":
    main()
