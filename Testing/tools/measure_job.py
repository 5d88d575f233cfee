"""Measure the whole job, file to files: from the command line, in a process that has the libraries
already, and its memory on a long scan; of two checkouts in turns, to compare them.

    python Testing/tools/measure_job.py SCAN [--against CHECKOUT] [--repetitions 5] [--slices 2000]
    python Testing/tools/measure_job.py SCAN --only codecs

Prints tables in Markdown: medians of seconds and of the processors' seconds, with the lowest and
the highest, and the peak memory of the process. What each kind of file takes with each way to
compress is measured on the files of the scan's own result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
ROWS = ("files", "mask", "loaded", "memory", "codecs")

LOADED = """
import json, sys, time
from pathlib import Path
from AttentionUNetSegmentLib.app.segmenting import SegmentationJob, read_scan, segment_into
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.models import find_model, load_model
scan, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
predictor = Predictor(load_model(find_model("pancreas-ct")))
for number in range(count + 1):
    began, used = time.perf_counter(), time.process_time()
    outcome = segment_into(out, SegmentationJob(lambda: read_scan(scan), predictor=predictor))
    took = time.perf_counter() - began, time.process_time() - used
    if number:
        print(json.dumps([*took, outcome.report["timings_s"]]), flush=True)
"""
MASK = """
import sys
from AttentionUNetSegmentLib.inference import Predictor, read_volume
from AttentionUNetSegmentLib.models import find_model, load_model
Predictor(load_model(find_model("pancreas-ct"))).predict(read_volume(sys.argv[1]))
"""
GROWN = """
import sys
from pathlib import Path
from AttentionUNetSegmentLib.app.benchmark.growth import grown, write_volume
from AttentionUNetSegmentLib.inference import read_volume
volume = grown(read_volume(sys.argv[1]), int(sys.argv[3]), 512)
write_volume(volume, Path(sys.argv[2]))
"""


@dataclass(frozen=True)
class Run:
    """One process: seconds, the processors' seconds, and the most memory, MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--against", type=Path, help="another checkout, from before a change")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--only", choices=ROWS, action="append")
    options = parser.parse_args()
    checkouts = {"before": options.against.resolve()} if options.against else {}
    checkouts["now"] = ROOT
    rows = options.only or ROWS
    with tempfile.TemporaryDirectory() as folder:
        measuring = Measuring(options.scan.resolve(), Path(folder), checkouts, options.repetitions)
        if {"files", "mask", "loaded"} & {*rows}:
            print("| what | checkout | s | lowest to highest | processors, s | peak, MB |")
            print("|---|---|---|---|---|---|")
        if "files" in rows:
            measuring.processes("start to all files", measuring.command("out"))
        if "mask" in rows:
            measuring.processes("start to the mask", measuring.command("mask.nii.gz"))
        if "loaded" in rows:
            measuring.loaded()
        if "memory" in rows:
            measuring.memory(options.slices)
        if "codecs" in rows:
            measuring.codecs()


class Measuring:
    def __init__(
        self, scan: Path, folder: Path, checkouts: dict[str, Path], repetitions: int
    ) -> None:
        self.scan = scan
        self.folder = folder
        self.checkouts = checkouts
        self.repetitions = repetitions

    def command(self, output: str) -> list[str]:
        command = ["-m", "AttentionUNetSegmentLib.app", "segment", str(self.scan), "-o"]
        return [*command, str(self.folder / output), "--quiet"]

    def processes(self, what: str, arguments: list[str]) -> None:
        runs: dict[str, list[Run]] = {name: [] for name in self.checkouts}
        for _ in range(self.repetitions):
            for name in self.checkouts:
                runs[name].append(self.run(name, arguments))
        for name, made in runs.items():
            print_row(what, name, [r.wall_s for r in made], [r.cpu_s for r in made],
                      max(r.peak_mb for r in made))  # fmt: skip

    def loaded(self) -> None:
        """Some jobs in a process of each, and these processes in turns."""
        walls: dict[str, list[float]] = {name: [] for name in self.checkouts}
        cpus: dict[str, list[float]] = {name: [] for name in self.checkouts}
        steps: dict[str, list[dict[str, float]]] = {name: [] for name in self.checkouts}
        for _ in range(2):
            for name in self.checkouts:
                arguments = [str(self.scan), str(self.folder / "loaded"), str(self.repetitions)]
                for line in self.output(name, ["-c", LOADED, *arguments]).splitlines():
                    wall, cpu, timings = json.loads(line)
                    walls[name].append(wall)
                    cpus[name].append(cpu)
                    steps[name].append(timings)
        for name in self.checkouts:
            print_row("libraries loaded, file to files", name, walls[name], cpus[name], None)
        for name, taken in steps.items():
            shown = {step: median(one[step] for one in taken) for step in taken[0]}
            print(f"\n{name}: " + ", ".join(f"{step} {s:.3f}" for step, s in shown.items()))

    def memory(self, slices: int) -> None:
        long = self.folder / "long.nrrd"
        self.output("now", ["-c", GROWN, str(self.scan), str(long), str(slices)])
        both = slices * 512 * 512 * 3 / 1e6
        print(f"\n{slices} slices; scan and mask are {both:.0f} MB\n")
        print("| what | checkout | s | peak, MB | of scan and mask |")
        print("|---|---|---|---|---|")
        command = ["-m", "AttentionUNetSegmentLib.app", "segment", str(long), "--quiet", "-o"]
        for what, arguments in (
            ("scan to mask, no file", ["-c", MASK, str(long)]),
            ("file to files", [*command, str(self.folder / "long")]),
        ):
            for name in self.checkouts:
                run = self.run(name, arguments)
                share = run.peak_mb / both
                print(f"| {what} | {name} | {run.wall_s:.1f} | {run.peak_mb:.0f} | {share:.2f} |")

    def codecs(self) -> None:
        self.run("now", self.command("files"))
        print("\n| file | way | processor, s | MB |")
        print("|---|---|---|---|")
        for file in ("segmentation.seg.nrrd", "probability.nrrd", *(
            f"attention-level-{level}.nrrd" for level in (1, 4)
        )):  # fmt: skip
            content = (self.folder / "files" / file).read_bytes()
            voxels = zlib.decompress(content[content.index(b"\n\n") + 2 :], 31)
            for way, compress in ways():
                seconds = []
                for _ in range(self.repetitions):
                    began = time.thread_time()
                    packed = compress(voxels)
                    seconds.append(time.thread_time() - began)
                print(f"| {file} | {way} | {median(seconds):.3f} | {len(packed) / 1e6:.2f} |")

    def run(self, checkout: str, arguments: list[str]) -> Run:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], env=self.environment(checkout), stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{arguments} ended with {status}")
        unit = 1 if sys.platform == "darwin" else 1024
        wall = time.perf_counter() - began
        return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6)

    def output(self, checkout: str, arguments: list[str]) -> str:
        return subprocess.run(
            [sys.executable, *arguments], env=self.environment(checkout), check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip

    def environment(self, checkout: str) -> dict[str, str]:
        library = str(self.checkouts[checkout] / "AttentionUNetSegment")
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        kept = [path for path in others if path and not path.endswith("AttentionUNetSegment")]
        return os.environ | {"PYTHONPATH": os.pathsep.join([library, *kept])}


def print_row(
    what: str, checkout: str, wall: list[float], cpu: list[float], peak_mb: float | None
) -> None:
    spread = f"{min(wall):.2f} to {max(wall):.2f}"
    peak = "" if peak_mb is None else f"{peak_mb:.0f}"
    print(f"| {what} | {checkout} | {median(wall):.2f} | {spread} | {median(cpu):.2f} | {peak} |",
          flush=True)  # fmt: skip


def ways() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    def of(module: object, *how: int) -> Callable[[bytes], bytes]:
        def compress(content: bytes) -> bytes:
            packer = module.compressobj(*how)  # type: ignore[attr-defined]
            return packer.compress(content) + packer.flush()

        return compress

    for level in (1, 6):
        yield f"zlib, level {level}", of(zlib, level, zlib.DEFLATED, -15, 9)
    yield "zlib, runs only", of(zlib, 1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return
    for level in (1, 2):
        yield f"zlib-ng, level {level}", of(zlib_ng, level, zlib.DEFLATED, -15, 9)
    yield "zlib-ng, runs only", of(zlib_ng, 1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)


if __name__ == "__main__":
    main()
