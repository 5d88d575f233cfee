"""A benchmark as JSON, as a page and as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...markdown import markdown_table
from .measurements import Measurement, by_name
from .running import Benchmark, GrowthPoint

_GROUPS = {
    "From the command line": ("help", "first-progress", "job-cold", "job-cold-mask", "batch"),
    "The job, libraries loaded": ("job-warm", "job-scene", "prediction", "networks"),
    "The whole scan, in other programs' ways": (
        "monai-sliding-window",
        "nnunet",
        "nnunet-mirroring",
    ),
    "One pass over a patch": (
        "roofline",
        "pass",
        "pass-attention",
        "pass-float32",
        "pass-channels-last",
        "pass-compiled",
        "pass-monai",
        "train-step",
    ),
    "A click": ("click", "click-scene", "click-rerun"),
}
"""Of the picture: names of contenders by what they have in common."""


def write_benchmark(benchmark: Benchmark, folder: Path) -> list[Path]:
    """Write ``benchmark.json``, ``benchmark.md`` and ``benchmark.png``, and the growth curves.

    Raises:
        OutputError: the folder cannot be written to.
    """
    from ...files import explain_write_errors, staged_folder

    names = ["benchmark.json", "benchmark.md", "benchmark.png"]
    with staged_folder(folder, names) as staged, explain_write_errors(folder):
        paths = [staged.staging / name for name in names]
        text = json.dumps(benchmark.to_json(), indent=1) + "\n"
        paths[0].write_text(text, encoding="utf-8")
        paths[1].write_text(to_markdown(benchmark), encoding="utf-8")
        _draw_times(benchmark.measurements, paths[2])
        if benchmark.growth:
            names.append("growth.png")
            _draw_growth(benchmark.growth, staged.staging / names[-1])
        staged.publish(reversed(names))
    return [folder / name for name in names]


def to_markdown(benchmark: Benchmark) -> str:
    machine = benchmark.machine
    where = machine["gpu"] or f"{machine['processor'] or machine['system']}"
    lines = [
        f"Scan {benchmark.scan}, model {benchmark.model}, device {benchmark.device}; {where}, "
        f"{machine['threads']} threads, bfloat16 {'used' if machine['bfloat16'] else 'not used'}, "
        f"PyTorch {machine['torch']}.",
        "",
        *markdown_table(
            ["what", "median (s)", "lowest to highest", "95 %", "repetitions", "peak memory (MB)"],
            [_row(one) for one in benchmark.measurements],
        ),
        "",
        *markdown_table(
            ["ratio of the medians", "times"],
            [(title, f"{value:.1f}") for title, value in benchmark.ratios().items()],
        ),
    ]
    for one in benchmark.measurements:
        if one.parts:
            steps = [(step, _number(took, 3)) for step, took in one.parts.items()]
            lines += ["", *markdown_table([f"{one.title}: step", "median (s)"], steps)]
        lines += _roofline(one.details)
    if benchmark.growth:
        heading = (
            *("slices", "pixels", "prediction (s)", "its peak memory (MB)", "file to files (s)"),
            *("its peak memory (MB)", "scan and mask (MB)"),
        )
        rows = [
            (
                point.slices,
                point.pixels,
                _number(point.prediction.median_s, 2),
                _number(point.prediction.peak_mb, 0),
                _number(point.job.median_s, 2),
                _number(point.job.peak_mb, 0),
                f"{point.input_and_output_mb:.0f}",
            )
            for point in benchmark.growth
        ]
        lines += ["", *markdown_table(heading, rows)]
    return "\n".join(lines) + "\n"


def _roofline(found: Mapping[str, Any]) -> list[str]:
    """What the passes of the networks could take, where that was measured."""
    if "networks" not in found:
        return []
    rates, networks = found["rates"], found["networks"]
    lines = [
        "",
        f"At best the processor reached {rates['matrix_gflops']:.0f} GFLOP/s in a matrix product, "
        f"{rates['convolution_gflops']:.0f} in a convolution, and {rates['copy_gbs']:.1f} GB/s in "
        "a copy. The least is what each operation would take at these rates.",
        "",
        *markdown_table(
            (
                *("network", "voxels", "GFLOP", "GB", "FLOP a byte", "median (s)", "lowest (s)"),
                *("least (s)", "GFLOP/s", "share of the peak", "at the lowest"),
            ),
            [
                (
                    name,
                    " x ".join(str(edge) for edge in one["shape"]),
                    f"{one['gflop']:.1f}",
                    f"{one['gigabytes']:.2f}",
                    f"{one['flop_a_byte']:.0f}",
                    _number(one["median_s"], 3),
                    _number(one["lowest_s"], 3),
                    _number(one["least_s"], 3),
                    f"{one['gflops']:.0f}",
                    f"{100 * one['share_of_peak']:.0f} %",
                    f"{100 * one['best_share_of_peak']:.0f} %",
                )
                for name, one in networks.items()
            ],
        ),
    ]
    for name, one in networks.items():
        for key, title in (("by_operation", "operation"), ("by_layer", "layer")):
            rows = [
                (
                    row["what"],
                    _number(row["seconds"], 3),
                    f"{100 * row['seconds'] / sum(other['seconds'] for other in one[key]):.0f} %",
                    f"{row['gflop']:.2f}",
                    f"{row['gigabytes']:.3f}",
                    _number(row["least_s"], 3),
                )
                for row in one[key]
                if row["seconds"] >= 0.001
            ]
            heading = (f"{name}: {title}", "median (s)", "share", "GFLOP", "GB", "least (s)")
            lines += ["", *markdown_table(heading, rows)]
    return lines


def _row(one: Measurement) -> list[str]:
    if one.skipped:
        return [one.title, one.skipped]
    return [
        one.title,
        _number(one.median_s, 3),
        f"{min(one.seconds):.3f} to {max(one.seconds):.3f}",
        _number(one.percentile_s(95), 3),
        str(len(one.seconds)),
        _number(one.peak_mb, 0),
    ]


def _number(value: float | None, places: int) -> str:
    return "not measured" if value is None else f"{value:.{places}f}"


def _draw_times(measurements: Sequence[Measurement], path: Path) -> None:
    """A panel for each group, on one axis of time, since only what is alike is to be compared."""
    from matplotlib.figure import Figure

    timed = by_name([one for one in measurements if one.seconds])
    groups = {
        title: [timed[name] for name in names if name in timed] for title, names in _GROUPS.items()
    }
    groups = {title: shown for title, shown in groups.items() if shown}
    heights = [len(shown) + 0.7 for shown in groups.values()] or [1.0]
    figure = Figure(figsize=(10.5, 1.1 + 0.42 * sum(heights)), layout="constrained")
    panels = figure.subplots(
        len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axes, (title, shown) in zip(panels, groups.items(), strict=False):
        for row, one in enumerate(shown):
            low, median, high = min(one.seconds), one.median_s or 0.0, max(one.seconds)
            axes.plot([low, high], [row, row], "-", color="#8a94a0", linewidth=5, alpha=0.6)
            axes.plot(median, row, "o", color="#c05a1a", markersize=9)
            axes.annotate(
                f"{median:.3g} s", (high, row), (9, 0), textcoords="offset points", va="center",
                fontsize=11,
            )  # fmt: skip
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.set_yticks(range(len(shown)), [one.title for one in shown], fontsize=11)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.margins(x=0.12)
        axes.grid(axis="x", color="#d5dae0", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[-1].xaxis.set_major_formatter("{x:g}")
    panels[-1].tick_params(axis="x", labelsize=11)
    panels[-1].set_xlabel("seconds (dot: median; line: lowest to highest)", fontsize=11)
    figure.savefig(path, dpi=110)


def _draw_growth(points: tuple[GrowthPoint, ...], path: Path) -> None:
    from matplotlib.figure import Figure

    from .growth import FIXED_PIXELS, FIXED_SLICES

    figure = Figure(figsize=(9, 6), layout="constrained")
    series = {
        f"slices of {FIXED_PIXELS} x {FIXED_PIXELS} pixels": [
            (point.slices, point) for point in points if point.pixels == FIXED_PIXELS
        ],
        f"pixels along a side, {FIXED_SLICES} slices": sorted(
            (point.pixels, point) for point in points if point.slices == FIXED_SLICES
        ),
    }
    works = {
        "prediction": ("scan to mask", "#c05a1a"),
        "job": ("file to files", "#1f5f8b"),
    }
    for column, (title, pairs) in enumerate(series.items()):
        time, memory = (figure.add_subplot(2, 2, column + 1 + 2 * row) for row in range(2))
        for work, (label, color) in works.items():
            done = [(x, getattr(point, work)) for x, point in pairs]
            done = [(x, one) for x, one in done if one.seconds]
            x = [place for place, _ in done]
            time.plot(x, [one.median_s for _, one in done], "o-", color=color, label=label)
            peaks = [one.peak_mb or math.nan for _, one in done]
            memory.plot(x, peaks, "o-", color=color, label=f"peak, {label}")
        sizes = [point.input_and_output_mb for _, point in pairs]
        memory.plot(
            [place for place, _ in pairs], sizes, ".--", color="#777777", label="scan, mask"
        )
        time.set_ylabel("seconds")
        memory.set_ylabel("memory (MB)")
        memory.set_xlabel(title)
        for axes in (time, memory):
            axes.set_ylim(bottom=0)
            axes.legend(fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
