"""What the roofline counts; never its times."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from AttentionUNetSegmentLib.app.benchmark import roofline
from AttentionUNetSegmentLib.app.benchmark.measurements import Measurement
from AttentionUNetSegmentLib.app.benchmark.report import to_markdown
from AttentionUNetSegmentLib.app.benchmark.roofline import Operation, Rates, measure_roofline
from AttentionUNetSegmentLib.app.benchmark.running import Benchmark
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from AttentionUNetSegmentLib.networks.precision import computes_bfloat16
from torch.utils.flop_counter import FlopCounterMode

SHAPE = (16, 32, 32)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "bfloat16" and not computes_bfloat16(torch.device("cpu")):
        pytest.skip("this processor has no instructions for bfloat16: to emulate it takes minutes")
    predictor = Predictor(load_model(find_model(DEFAULT_MODEL)), "cpu", request.param)
    shapes = dict.fromkeys(("locator", "refiner", "editor"), SHAPE)
    with pytest.MonkeyPatch.context() as patch:
        # What the machine can do is measured with less: it would take longer than all the passes.
        patch.setattr(roofline, "_MATRIX", 512)
        patch.setattr(roofline, "_CONVOLVED", (64, 8, 20, 20))
        patch.setattr(roofline, "_COPIED", 1 << 22)
        seconds, found = measure_roofline(predictor, shapes, 2)
    assert len(seconds) == 2
    return found


@pytest.mark.parametrize("name", ["locator", "refiner"])
def test_operations_are_those_that_pytorch_counts(found: dict[str, Any], name: str) -> None:
    network = load_model(find_model(DEFAULT_MODEL)).networks[name].double()
    channels = {"locator": 1, "refiner": 3}[name]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, channels, *SHAPE, dtype=torch.float64))
    ours = found["networks"][name]["gflop"]
    assert ours == pytest.approx(counter.get_total_flops() / 1e9, rel=0.01)


@pytest.mark.parametrize("name", ["locator", "refiner", "editor"])
def test_both_tables_tell_of_the_whole_pass(found: dict[str, Any], name: str) -> None:
    network = found["networks"][name]
    for key in ("by_operation", "by_layer"):
        for what in ("gflop", "gigabytes"):
            total = sum(row[what] for row in network[key])
            assert total == pytest.approx(network[what], rel=0.05, abs=0.006)
    layers = {row["what"] for row in network["by_layer"]}
    assert {"encoder.0", "decoder.0", "upsamplings.0", "gates.0", "head"} <= layers
    kinds = {row["what"] for row in network["by_operation"]}
    assert {"convolution 3 x 3 x 3", "convolution 1 x 1 x 1", "norm", "ReLU"} <= kinds
    assert 0 < network["share_of_peak"] <= network["best_share_of_peak"]


def test_the_least_is_by_what_takes_longer() -> None:
    rates = Rates(matrix_gflops=100.0, convolution_gflops=50.0, copy_gbs=10.0)
    assert Operation("", "", 0.0, 10**9, 10**6).least_s(rates) == pytest.approx(0.01)
    assert Operation("", "", 0.0, 10**6, 10**9).least_s(rates) == pytest.approx(0.1)


def test_the_page_shows_it(found: dict[str, Any]) -> None:
    measured = Measurement("roofline", "Passes", (0.5,), details=found)
    machine: dict[str, Any] = {
        "gpu": None,
        "processor": "A processor",
        "threads": 2,
        "bfloat16": False,
        "torch": "2",
    }
    page = to_markdown(Benchmark(machine, "scan.nii.gz", "pancreas-ct", "cpu", (measured,)))
    assert "| refiner | 16 x 32 x 32 |" in page
    assert "| refiner: layer |" in page
    assert Measurement.from_json(measured.to_json()) == measured
