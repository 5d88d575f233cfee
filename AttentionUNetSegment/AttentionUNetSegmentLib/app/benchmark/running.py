"""Runs the contenders, each in a process of its own, and writes what came out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import InputError
from ...inference.progress import ProgressCallback, ignore_progress
from ...models import find_model
from ...networks.precision import AUTO, uses_bfloat16
from .contenders import CONTENDERS
from .growth import (
    FIXED_PIXELS,
    FIXED_SLICES,
    PIXELS,
    SLICES,
    grown,
    input_and_output_mb,
    write_volume,
)
from .measurements import Measurement, by_name, peak_memory_mb, ratio

BATCH_STUDIES = 4
"""Copies of the scan, so that what is done once a batch counts a quarter for each."""
COMMANDS = {
    "help": "attention-unet-segment --help",
    "first-progress": "attention-unet-segment segment, start to first progress",
    "job-cold": "Whole job, file to files, from the command line",
    "job-cold-mask": "Mask only (-o mask.nii.gz), from the command line",
    "batch": f"batch: each of {BATCH_STUDIES} studies, one after the other, start included",
}


@dataclass(frozen=True)
class GrowthPoint:
    """What a scan of some size takes.

    Args:
        prediction: scan to mask.
        job: file to files.
    """

    slices: int
    pixels: int
    prediction: Measurement
    job: Measurement

    @property
    def input_and_output_mb(self) -> float:
        return input_and_output_mb(self.slices, self.pixels)

    def to_json(self) -> dict[str, Any]:
        return {
            "slices": self.slices,
            "pixels": self.pixels,
            "input_and_output_mb": round(self.input_and_output_mb, 1),
            "prediction": self.prediction.to_json(),
            "job": self.job.to_json(),
        }


@dataclass(frozen=True)
class Benchmark:
    """All that was measured on one scan."""

    machine: dict[str, Any]
    scan: str
    model: str
    device: str
    measurements: tuple[Measurement, ...]
    growth: tuple[GrowthPoint, ...] = ()

    def ratios(self) -> dict[str, float]:
        """How many times longer the alternatives take."""
        found = by_name(self.measurements)
        pairs = {
            "MONAI sliding window / our prediction": ("monai-sliding-window", "prediction"),
            "nnU-Net / our prediction": ("nnunet", "prediction"),
            "nnU-Net with mirroring / our prediction": ("nnunet-mirroring", "prediction"),
            "computing all again / a click": ("click-rerun", "click"),
            "MONAI AttentionUnet / our network with attention": ("pass-monai", "pass-attention"),
        }
        values = {
            title: ratio(found.get(slower), found.get(faster))
            for title, (slower, faster) in pairs.items()
        }
        return {title: round(value, 2) for title, value in values.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "scan": self.scan,
            "model": self.model,
            "device": self.device,
            "measurements": [one.to_json() for one in self.measurements],
            "ratios": self.ratios(),
            "growth": [point.to_json() for point in self.growth],
        }


def run_benchmark(
    scan: Path,
    *,
    model: str,
    device: str = "auto",
    precision: str = AUTO,
    repetitions: int = 10,
    threads: int | None = None,
    only: Sequence[str] = (),
    with_growth: bool = False,
    progress: ProgressCallback | None = None,
) -> Benchmark:
    """Measure everything on one scan.

    Args:
        scan: file or DICOM folder.
        model: name or folder.
        precision: what the networks compute in.
        repetitions: of quick work.
        threads: of the CPU for each contender; those that PyTorch takes unless given.
        only: names of contenders; all unless given.
        with_growth: also predict on scans of growing size.

    Raises:
        InputError: a name is unknown, or there is no such scan.
        ModelError: there is no such model.
    """
    names = {**COMMANDS, **{name: title for name, (title, _) in CONTENDERS.items()}}
    for name in only:
        if name not in names:
            raise InputError(f"'{name}' is no part of it; choose from {', '.join(names)}.")
    if not scan.exists():
        raise InputError(f"'{scan}' does not exist; give a CT file or a DICOM folder.")
    report = progress or ignore_progress
    folder = find_model(model)
    wanted = [name for name in names if not only or name in only]
    sizes = _sizes() if with_growth else []
    spec: dict[str, Any] = {
        "scan": str(scan),
        "model": str(folder),
        "device": device,
        "precision": precision,
        "repetitions": repetitions,
        "threads": threads,
    }
    total = len(wanted) + len(sizes)
    measurements = []
    for number, name in enumerate(wanted):
        report(number / total, names[name])
        if name in COMMANDS:
            measurements.append(_command(name, spec))
        else:
            measurements.append(_in_own_process({**spec, "contender": name}))
    points = []
    for number, (slices, pixels) in enumerate(sizes, start=len(wanted)):
        report(number / total, f"{slices} slices of {pixels} x {pixels}")
        points.append(_growth_point(spec, slices, pixels))
    report(1.0, "Done")
    return Benchmark(
        machine_of(threads, device, precision),
        scan.name,
        folder.name,
        device,
        tuple(measurements),
        tuple(points),
    )


def machine_of(
    threads: int | None = None, device: str = "auto", precision: str = AUTO
) -> dict[str, Any]:
    """What the figures hold for; no name of a computer or a person."""
    import torch

    from ...inference.device import choose_device

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "gpu": gpu,
        "bfloat16": uses_bfloat16(precision, choose_device(device)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "version": __version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def _sizes() -> list[tuple[int, int]]:
    along = [(slices, FIXED_PIXELS) for slices in SLICES]
    across = [(FIXED_SLICES, pixels) for pixels in PIXELS if pixels != FIXED_PIXELS]
    return [*along, *across]


def _growth_point(spec: dict[str, Any], slices: int, pixels: int) -> GrowthPoint:
    from ...io.reading import read_volume

    with tempfile.TemporaryDirectory() as folder:
        of_size = {**spec, "scan": str(Path(folder) / "grown.nrrd")}
        write_volume(grown(read_volume(Path(spec["scan"])), slices, pixels), Path(of_size["scan"]))
        of_size["repetitions"] = max(spec["repetitions"] // 5, 1)
        prediction, job = (
            _in_own_process({**of_size, "contender": name}) for name in ("prediction", "job-warm")
        )
    return GrowthPoint(slices, pixels, prediction, job)


def _environment(threads: int | None) -> dict[str, str]:
    """A child finds this very package, wherever it was imported from."""
    package = Path(__file__).resolve().parents[3]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **limits}


def _in_own_process(spec: dict[str, Any]) -> Measurement:
    command = [sys.executable, "-m", f"{__package__}.worker", json.dumps(spec)]
    done = subprocess.run(
        command, env=_environment(spec["threads"]), capture_output=True, text=True, check=False
    )
    name = spec["contender"]
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return Measurement(name, CONTENDERS[name][0], skipped=f"It failed: {last[0]}")
    # Some of the other projects print to stdout; ours is the last line.
    return Measurement.from_json(json.loads(done.stdout.strip().splitlines()[-1]))


def _command(name: str, spec: dict[str, Any]) -> Measurement:
    program = [sys.executable, "-m", "AttentionUNetSegmentLib.app"]
    environment = _environment(spec["threads"])
    options = ["--model", spec["model"], "--device", spec["device"]]
    options += ["--precision", spec["precision"]]
    quick = name in ("help", "first-progress")
    studies = BATCH_STUDIES if name == "batch" else 1
    seconds = []
    for _ in range(spec["repetitions"] if quick else max(spec["repetitions"] // 3, 1)):
        with tempfile.TemporaryDirectory() as folder:
            output = str(Path(folder) / ("mask.nii.gz" if name == "job-cold-mask" else "results"))
            arguments = ["segment", spec["scan"], "-o", output, *options]
            if name == "help":
                arguments = ["--help"]
            elif name == "batch":
                arguments = ["batch", _write_list(spec, Path(folder)), "-o", output, *options]
            began = time.perf_counter()
            if name == "first-progress":
                ended = _until_it_shows_something([*program, *arguments], environment)
                if ended is None:
                    return Measurement(
                        name, COMMANDS[name], skipped="There are no terminals to ask here."
                    )
                seconds.append(ended - began)
                continue
            done = subprocess.run(
                [*program, *arguments], env=environment, capture_output=True, check=False
            )
            if done.returncode:
                return Measurement(name, COMMANDS[name], skipped="It failed; run it by itself.")
            seconds.append((time.perf_counter() - began) / studies)
    measured = Measurement(name, COMMANDS[name], tuple(seconds))
    return measured if quick else replace(measured, peak_mb=peak_memory_mb(True))


def _write_list(spec: dict[str, Any], folder: Path) -> str:
    """A batch's list of the same scan several times."""
    import csv

    path = folder / "studies.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["scan", "name"])
        scan = Path(spec["scan"]).absolute()
        rows.writerows([scan, f"study-{number}"] for number in range(BATCH_STUDIES))
    return str(path)


def _until_it_shows_something(command: list[str], environment: dict[str, str]) -> float | None:
    """When a command that thinks it is watched first says how far it is; None where this system
    has no terminals of that kind."""
    if sys.platform == "win32":
        return None
    import pty

    ours, its = pty.openpty()
    with subprocess.Popen(
        command,
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.DEVNULL,
        stderr=its,
    ) as process:
        os.close(its)
        shown = b""
        try:
            while b"%" not in shown:
                shown += os.read(ours, 4096)
            return time.perf_counter()
        finally:
            process.terminate()
            os.close(ours)
