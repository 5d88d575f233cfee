"""The benchmark: its arithmetic, its processes, its page and pictures; never its times."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttentionUNetSegmentLib.app.benchmark import running, worker
from AttentionUNetSegmentLib.app.benchmark.contenders import CONTENDERS, Bench
from AttentionUNetSegmentLib.app.benchmark.growth import grown, input_and_output_mb
from AttentionUNetSegmentLib.app.benchmark.measurements import (
    Measurement,
    by_name,
    medians,
    peak_memory_mb,
    ratio,
    timed,
)
from AttentionUNetSegmentLib.app.benchmark.report import to_markdown, write_benchmark
from AttentionUNetSegmentLib.app.benchmark.running import Benchmark, GrowthPoint, run_benchmark
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.features import SCALE_AGREEMENT
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, DiceEstimator, Interval
from batch_cases import save_model, write_scan
from geometry import placed

MACHINE: dict[str, Any] = {
    "gpu": None,
    "processor": "A processor",
    "system": "Linux",
    "threads": 2,
    "bfloat16": False,
    "torch": "2",
}


def test_the_summary_of_repetitions() -> None:
    one = Measurement("click", "A click", tuple(float(n) for n in range(1, 101)))
    assert one.median_s == 50.5
    assert one.percentile_s(95) == 96.0  # 95 of the 100 took less
    assert Measurement("x", "X").median_s is None
    assert Measurement("x", "X").percentile_s(95) is None
    json_ = one.to_json()
    assert (json_["lowest_s"], json_["highest_s"]) == (1.0, 100.0)
    assert Measurement.from_json(json.loads(json.dumps(json_))) == one


def test_the_median_of_each_step_counts_a_missing_one_as_nothing() -> None:
    assert medians([{"a": 1.0}, {"a": 3.0, "b": 3.0}, {"a": 2.0}]) == {"a": 2.0, "b": 0.0}


def test_ratios_need_both_sides() -> None:
    slow, fast = Measurement("s", "S", (8.0, 4.0, 6.0)), Measurement("f", "F", (2.0,))
    assert ratio(slow, fast) == 3.0
    assert ratio(None, fast) is None
    assert ratio(slow, Measurement("f", "F", skipped="no")) is None


def test_warm_ups_do_not_count() -> None:
    done: list[None] = []
    assert len(timed(lambda: done.append(None), 3, warm_ups=2)) == 3
    assert len(done) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak")
def test_the_peak_of_memory_is_in_megabytes() -> None:
    before = peak_memory_mb()
    assert before is not None
    held = np.ones(400_000_000, np.uint8)
    after = peak_memory_mb()
    assert after is not None
    assert held.sum() > 0
    assert after > 400
    assert after < before + 2000


def test_a_grown_scan_has_the_content_of_the_other_one_mirrored_along_the_body() -> None:
    array = np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8)
    scan = Volume(array, placed((1.0, 1.0, 2.0), (0, 0, 0)))
    big = grown(scan, 20, 12)
    assert big.array.shape == (20, 12, 12)
    np.testing.assert_allclose(big.spacing_mm, (8 / 12, 6 / 12, 1.0))
    # 3 slices of 2 mm on, back at the first one after 12 mm.
    np.testing.assert_array_equal(big.array[[0, 6, 12], ::2, :][:, :, 0], array[[0, 3, 0], :, 0])
    assert input_and_output_mb(1000, 1000) == 3000.0


def test_a_page_says_what_was_measured_and_what_not(tmp_path: Path) -> None:
    measured = (
        Measurement("prediction", "Prediction", (0.5, 0.7, 0.6), 900.0, parts={"locate": 0.2}),
        Measurement("monai-sliding-window", "MONAI", (12.0,), 1900.0),
        Measurement("nnunet", "nnU-Net", skipped="nnU-Net is not installed."),
    )
    growth = tuple(
        GrowthPoint(
            slices,
            512,
            Measurement("prediction", "P", (slices / 100,), 1000.0 + slices),
            Measurement("job-warm", "J", (slices / 50,), 1500.0 + slices),
        )
        for slices in (100, 200)
    )
    benchmark = Benchmark(MACHINE, "scan.nii.gz", "pancreas-ct", "cpu", measured, growth)
    assert benchmark.ratios() == {"MONAI sliding window / our prediction": 20.0}
    paths = write_benchmark(benchmark, tmp_path / "new")
    assert [path.name for path in paths] == [
        "benchmark.json",
        "benchmark.md",
        "benchmark.png",
        "growth.png",
    ]
    page = paths[1].read_text(encoding="utf-8")
    assert page == to_markdown(benchmark)
    for line in (
        "| Prediction | 0.600 | 0.500 to 0.700 | 0.700 | 3 | 900 |",
        "| nnU-Net | nnU-Net is not installed. | | | | |",
        "| MONAI sliding window / our prediction | 20.0 |",
        "| locate | 0.200 |",
        "| 200 | 512 | 2.00 | 1200 | 4.00 | 1700 | 157 |",
    ):
        assert line in page.splitlines()
    assert json.loads(paths[0].read_text(encoding="utf-8"))["measurements"][0]["p95_s"] == 0.7
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths[2:])


def test_an_unknown_part_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'clik' is no part of it; choose from .*click"):
        run_benchmark(tmp_path, model=DEFAULT_MODEL, only=["clik"])
    with pytest.raises(InputError, match="does not exist"):
        run_benchmark(tmp_path / "none.nii.gz", model=DEFAULT_MODEL)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tiny networks: each part is measured, and nobody looks at how long it took. With an estimate
    of the Dice, which is a step of its own."""
    interval = Interval((0.1, 0.9), (0.0, 0.8), (0.6, 0.9), 0.9)
    estimate = DiceEstimator({SCALE_AGREEMENT: 1.0}, 0.0, interval, 0.7)
    return str(save_model(tmp_path_factory.mktemp("models") / "chance", estimate=estimate))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs the parts: to start a process for each takes longer than the parts."""

    def measured(spec: dict[str, Any]) -> Measurement:
        answer = worker.measure(json.loads(json.dumps(spec)))
        return Measurement.from_json(json.loads(json.dumps(answer.to_json())))

    monkeypatch.setattr(running, "_in_own_process", measured)


def test_parts_run_in_processes_of_their_own(scan: Path, model: str) -> None:
    names = ["help", "prediction"]
    measured = run_benchmark(scan, model=model, repetitions=1, threads=2, only=names)
    assert [one.name for one in measured.measurements] == names
    for one in measured.measurements:
        assert not one.skipped
        assert len(one.seconds) == 1
    prediction = measured.measurements[1]
    assert set(prediction.parts) == {"check", "locate", "refine", "resample", "estimate"}
    assert prediction.peak_mb is None or prediction.peak_mb > 100
    assert measured.machine["threads"] == 2
    assert measured.scan == scan.name


def test_a_mask_and_a_batch_are_had_from_the_command_line(
    scan: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "BATCH_STUDIES", 2)
    names = ["job-cold-mask", "batch"]
    measured = run_benchmark(
        scan, model=model, precision="float32", repetitions=1, threads=2, only=names
    )
    assert [one.name for one in measured.measurements] == names
    for one in measured.measurements:
        assert not one.skipped
        assert len(one.seconds) == 1


@pytest.mark.usefixtures("in_this_process")
def test_a_pass_and_a_step_of_training_are_measured(scan: Path, model: str) -> None:
    names = ["pass", "train-step"]
    measured = run_benchmark(scan, model=model, repetitions=1, only=names)
    assert [one.name for one in measured.measurements] == names
    for one in measured.measurements:
        assert not one.skipped
        assert len(one.seconds) == 1


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_measured_computes_in_the_precision_asked_for(
    scan: Path, model: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(bench: Bench) -> tuple[float, ...]:
        return (float(bench.predictor.bfloat16),)

    monkeypatch.setitem(CONTENDERS, "pass", ("Whether it is in halves", half))
    measured = run_benchmark(scan, model=model, precision=precision, only=["pass"])
    wanted = precision == "bfloat16"
    assert measured.measurements[0].seconds == (float(wanted),)
    assert measured.machine["bfloat16"] is wanted


@pytest.mark.usefixtures("in_this_process", "quick_picture")
def test_growth_measures_scans_of_each_size(
    scan: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SLICES", ())
    monkeypatch.setattr(running, "PIXELS", (96, 128))
    monkeypatch.setattr(running, "FIXED_SLICES", 50)
    monkeypatch.setattr(running, "FIXED_PIXELS", 128)
    measured = run_benchmark(scan, model=model, repetitions=1, only=["help"], with_growth=True)
    assert [(point.slices, point.pixels) for point in measured.growth] == [(50, 96)]
    for point in measured.growth:
        assert point.prediction.seconds
        assert point.job.seconds


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_the_first_progress_is_what_a_terminal_shows(scan: Path, model: str) -> None:
    measured = run_benchmark(scan, model=model, repetitions=1, only=["first-progress"])
    assert len(measured.measurements[0].seconds) == 1


@pytest.mark.usefixtures("in_this_process")
def test_what_fails_is_said_and_does_not_stop_the_rest(tmp_path: Path, model: str) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    measured = run_benchmark(
        broken, model=model, repetitions=1, only=["prediction", "job-cold", "help"]
    )
    found = by_name(measured.measurements)
    assert found["job-cold"].skipped
    assert "broken" in found["prediction"].skipped
    assert found["help"].seconds


def test_the_processor_is_named_without_the_computer() -> None:
    import platform

    machine = running.machine_of()
    assert machine["cores"]
    assert platform.node() not in json.dumps(machine) or not platform.node()


def test_a_folder_that_takes_no_results_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(running, "run_benchmark", lambda *_, **__: pytest.fail("began"))
    scan = write_scan(tmp_path / "scan.nii.gz")
    assert main(["benchmark", str(scan), "-o", str(tmp_path / "file")]) == 2
    assert "choose another output folder" in capsys.readouterr().err
