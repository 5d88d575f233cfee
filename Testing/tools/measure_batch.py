"""Measure how many studies a batch does: plain loop, 1 and 2 Ray workers.

    python Testing/tools/measure_batch.py SCAN [--studies 6] [--threads 1]

Copies of one scan stand for studies. Each run is a process of its own, from its start to its
summary; every worker computes with the same number of threads, the plain loop too. Prints a table
in Markdown, with the seconds a study spends in each step and the share of the whole, and in the end
how fast a tree of DICOM files is searched.
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
RUNS = {
    "plain loop": [],
    "Ray, 1 worker": ["--ray", "local", "--workers", "1"],
    "Ray, 2 workers": ["--ray", "local", "--workers", "2"],
}
STEPS = ("checksum_s", "reading_s", "network_s", "writing_s", "total_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(f"{options.studies} studies, {options.threads} thread(s) a worker")
    print("| run | start, s | a study, s | studies a minute | checksum | reading | network "
          "| writing | other | MB read | MB written |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "scans"
        scans.mkdir()
        suffix = "".join(options.scan.suffixes)
        for number in range(options.studies):
            shutil.copy(options.scan, scans / f"scan{number:03}{suffix}")
        for name, arguments in RUNS.items():
            print(f"| {name} | {measure(scans, Path(folder) / name, arguments, options.threads)} |")
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


def measure(scans: Path, out: Path, arguments: list[str], threads: int) -> str:
    environment = os.environ | {"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "AttentionUNetSegmentLib.app", "batch", str(scans), "-o"]
    process = subprocess.Popen([*command, str(out), *arguments], env=environment)
    # The first studies include the start of Ray and the first use of everything.
    arrivals: list[float] = []
    began = time.monotonic()
    while process.poll() is None:
        rows = read_rows(out)
        arrivals += [time.monotonic() - began] * (len(rows) - len(arrivals))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"batch ended with status {process.returncode}")
    rows = read_rows(out)
    workers = int(arguments[-1]) if arguments else 1
    usual = rows[workers:]  # without each worker's first
    seconds = (arrivals[-1] - arrivals[workers - 1]) / len(usual)
    mean = {step: sum(float(row[step]) for row in usual) / len(usual) for step in STEPS}
    whole = mean["total_s"] + mean["checksum_s"]
    shares = [mean[step] / whole for step in STEPS[:-1]]
    shares.append(1 - sum(shares))
    read = sum(path.stat().st_size for path in scans.iterdir()) / len(rows) / 1e6
    files = [path for path in (out / "studies").rglob("*") if path.is_file()]
    written = sum(path.stat().st_size for path in files) / len(rows) / 1e6
    start = arrivals[0] - float(rows[0]["total_s"]) - float(rows[0]["checksum_s"])
    cells = [f"{start:.1f}", f"{whole:.1f}", f"{60 / seconds:.2f}"]
    cells += [f"{100 * share:.0f} %" for share in shares]
    return " | ".join([*cells, f"{read:.0f}", f"{written:.0f}"])


def read_rows(out: Path) -> list[dict[str, str]]:
    try:
        with (out / "results.csv").open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["status"] == "done"]
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    main()
