"""Measure how many studies a batch does: 1, 2 and 4 plain loops, and as many Ray workers.

    python Testing/tools/measure_batch.py SCAN [--studies 3] [--threads 1] [--against CHECKOUT]

Copies of one scan stand for studies. Each run is from its start to its summary; every worker
computes with the same number of threads, the plain loops too, of which several are as many batches
of a part of the studies each, at the same time. Prints a table in Markdown, with the seconds a
study takes, what of them the processors worked, the share of each step, and in the end how fast a
tree of DICOM files is searched.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "AttentionUNetSegment"
WORKERS = (1, 2, 4)
KINDS = ("plain", "Ray")
STEPS = ("checksum_s", "reading_s", "network_s", "writing_s", "total_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--studies", type=int, default=3, help="of each worker")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--against", type=Path, help="another checkout, from before a change")
    options = parser.parse_args()
    checkouts = {"": LIBRARY}
    if options.against:
        before = options.against.resolve() / "AttentionUNetSegment"
        checkouts = {", before": before, ", now": LIBRARY}
    print(f"{options.studies} studies and {options.threads} thread(s) a worker")
    print("| run | start, s | a study, s | of it processors, s | studies a minute | checksum "
          "| reading | network | writing | other | MB read | MB written |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kind or KINDS:
            for workers in options.workers or WORKERS:
                for when, library in checkouts.items():
                    name = f"{kind}, {workers} worker{'s' * (workers > 1)}{when}"
                    run = Run(options, Path(folder) / name, library, workers)
                    print(f"| {name} | {run.measure(kind == 'Ray')} |", flush=True)
        print(f"DICOM files searched: {measure_search(Path(folder) / 'dicom'):.0f} a second")


def measure_search(folder: Path, slices: int = 200) -> float:
    sys.path.insert(0, str(LIBRARY))
    import numpy as np
    import SimpleITK as sitk
    from AttentionUNetSegmentLib.app.batch.sources import find_studies

    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(slices):
        image = sitk.GetImageFromArray(np.zeros((512, 512), np.int16))
        for key, value in {
            "0008|0018": f"1.2.3.{number + 1}",
            "0008|0060": "CT",
            "0020|000e": "1.2.3",
            "0020|0032": f"0\\0\\{number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)
    began = time.perf_counter()
    assert len(find_studies([folder]).studies) == 1
    return slices / (time.perf_counter() - began)


class Run:
    """One batch by so many workers."""

    def __init__(
        self, options: argparse.Namespace, folder: Path, library: Path, workers: int
    ) -> None:
        self.options = options
        self.folder = folder
        self.library = library
        self.workers = workers

    def measure(self, ray: bool) -> str:
        batches = 1 if ray else self.workers
        started = [self.start(number, ray) for number in range(batches)]
        outs = [out for _, out in started]
        # The first studies include the start of Ray and the first use of everything.
        arrivals: list[float] = []
        began = time.monotonic()
        used = 0.0
        running = [process for process, _ in started]
        while running:
            done = sum(len(read_rows(out)) for out in outs)
            arrivals += [time.monotonic() - began] * (done - len(arrivals))
            for process in list(running):
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    running.remove(process)
                    used += usage.ru_utime + usage.ru_stime
                    if status:
                        raise SystemExit(f"batch ended with status {status}")
            time.sleep(0.05)
        rows = sorted(
            (row for out in outs for row in read_rows(out)), key=lambda row: float(row["total_s"])
        )
        return " | ".join(self.cells(rows, arrivals, None if ray else used, outs))

    def start(self, number: int, ray: bool) -> tuple[subprocess.Popen[bytes], Path]:
        scans, out = self.folder / f"scans{number}", self.folder / f"out{number}"
        scans.mkdir(parents=True)
        suffix = "".join(self.options.scan.suffixes)
        for copy in range(self.options.studies * (self.workers if ray else 1)):
            shutil.copy(self.options.scan, scans / f"scan{copy:03}{suffix}")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                [str(self.library), *other_paths(os.environ.get("PYTHONPATH", ""))]
            ),
            "OMP_NUM_THREADS": str(self.options.threads),
        }
        command = [sys.executable, "-m", "AttentionUNetSegmentLib.app", "batch", str(scans), "-o"]
        more = ["--ray", "local", "--workers", str(self.workers)] if ray else []
        process = subprocess.Popen(
            [*command, str(out), *more], env=environment, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return process, out

    def cells(
        self,
        rows: list[dict[str, str]],
        arrivals: list[float],
        used_s: float | None,
        outs: list[Path],
    ) -> list[str]:
        usual = rows[: len(rows) - self.workers]  # without each worker's first, which is slowest
        seconds = (arrivals[-1] - arrivals[self.workers - 1]) / len(usual)
        mean = {step: sum(float(row[step]) for row in usual) / len(usual) for step in STEPS}
        whole = mean["total_s"] + mean["checksum_s"]
        shares = [mean[step] / whole for step in STEPS[:-1]]
        shares.append(1 - sum(shares))
        read = self.options.scan.stat().st_size / 1e6
        files = [path for out in outs for path in (out / "studies").rglob("*") if path.is_file()]
        written = sum(path.stat().st_size for path in files) / len(rows) / 1e6
        start = arrivals[0] - float(rows[-1]["total_s"]) - float(rows[-1]["checksum_s"])
        cells = [f"{start:.1f}", f"{whole:.2f}"]
        cells.append("" if used_s is None else f"{used_s / len(rows):.2f} with the start")
        cells.append(f"{60 / seconds:.1f}")
        cells += [f"{100 * share:.0f} %" for share in shares]
        return [*cells, f"{read:.0f}", f"{written:.0f}"]


def other_paths(paths: str) -> list[str]:
    """Where else modules are looked for, but for other checkouts."""
    ours = "AttentionUNetSegment"
    return [path for path in paths.split(os.pathsep) if path and not path.endswith(ours)]


def read_rows(out: Path) -> list[dict[str, str]]:
    try:
        with (out / "results.csv").open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["status"] == "done"]
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    main()
