"""What the work costs, counted rather than timed: passes, voxels and bytes do not depend on a
machine's mood. A change that makes any of them grow fails here."""

from __future__ import annotations

import gc
import math
import tracemalloc
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.geometry import resampling
from AttentionUNetSegmentLib.geometry.grid import Grid, Region, aligned_grid
from AttentionUNetSegmentLib.inference import Predictor, Volume, coarse_to_fine, refinement
from AttentionUNetSegmentLib.inference.click_update import LARGEST_WINDOW
from AttentionUNetSegmentLib.inference.engine import Engine
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.networks import build_network, channels_last
from AttentionUNetSegmentLib.training.recipes import attention_unet
from geometry import placed
from threshold_model import BRIGHT_HU, threshold_model

SPACING = (0.8, 0.8, 2.5)
SHAPE = (160, 480, 480)
RADIUS_MM = 30.0
"""Of the organ, a ball of as many millilitres as a large pancreas."""


@dataclass
class Cost:
    """What was asked of the networks and of the interpolation."""

    predictor: Predictor
    volume: Volume
    sampled: list[int] = field(default_factory=list)
    resampled: list[int] = field(default_factory=list)

    @property
    def passes(self) -> dict[str, list[tuple[int, ...]]]:
        networks: Mapping[str, Any] = self.predictor.model.networks
        return {name: network.passes for name, network in networks.items()}

    @contextmanager
    def counted(self) -> Iterator[Cost]:
        """A count from zero, of what happens inside."""
        for passes in self.passes.values():
            passes.clear()
        self.sampled.clear()
        self.resampled.clear()
        yield self


def ball() -> Volume:
    """A scan of 384 x 384 x 400 mm of soft tissue with a bright ball in it, aside of the middle."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    hu = np.full(SHAPE, 40, np.int16)
    squares = ((k - 70) * 2.5) ** 2 + ((j - 200) * 0.8) ** 2 + ((i - 280) * 0.8) ** 2
    hu[squares < RADIUS_MM**2] = BRIGHT_HU
    hu[:, :8] = hu[:, -8:] = -1000
    return Volume(hu, placed(SPACING, (0.0, 0.0, 0.0)))


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Cost:
    counted = Cost(Predictor(threshold_model(), "cpu", "float32"), ball())

    original = resampling.resample

    def counting(voxels: list[int]) -> Callable[..., torch.Tensor]:
        def resample(
            image: torch.Tensor, source: Grid, target: Grid, mode: str = "bilinear"
        ) -> torch.Tensor:
            voxels.append(math.prod(target.shape))
            return original(image, source, target, mode)

        return resample

    # Of a network's answer to the scan's grid, and of the scan to a network's grid.
    monkeypatch.setattr(refinement, "resample", counting(counted.resampled))
    monkeypatch.setattr(resampling, "resample", counting(counted.sampled))
    return counted


def voxels_in(region: Region) -> int:
    return math.prod(part.stop - part.start for part in region)


def test_a_prediction_is_one_pass_over_the_body_and_one_over_the_organ(cost: Cost) -> None:
    with cost.counted():
        prediction = Session(cost.predictor, cost.volume).predict()
    assert len(cost.passes["locator"]) == 1
    assert len(cost.passes["refiner"]) == 1
    extent_mm = np.array(SHAPE[::-1]) * SPACING
    coarse = math.prod(np.ceil(extent_mm / 6.0 / 16) * 16)
    assert math.prod(cost.passes["locator"][0][2:]) <= coarse
    # The organ with as much around it as the region rule adds, a small part of the scan.
    seen_mm3 = math.prod(cost.passes["refiner"][0][2:]) * 2.0 * 2.0 * 3.0
    assert seen_mm3 < 0.12 * math.prod(extent_mm)
    assert prediction.found


def test_the_answer_is_brought_back_to_its_region_only(cost: Cost) -> None:
    with cost.counted():
        prediction = Session(cost.predictor, cost.volume).predict()
    region = voxels_in(prediction.region)
    assert region < 0.15 * math.prod(SHAPE)
    # The probability, and the pieces that stay with their holes. No attention: nobody asked yet.
    assert cost.resampled == [region] * 3
    passes = [math.prod(shape[2:]) for stage in cost.passes.values() for shape in stage]
    assert sorted(cost.sampled) == sorted(passes)


def test_attention_is_interpolated_when_it_is_asked_for_and_in_its_region(cost: Cost) -> None:
    prediction = Session(cost.predictor, cost.volume).predict()
    with cost.counted():
        prediction.attention(2)
    assert cost.sampled == [voxels_in(prediction.region)]
    assert cost.passes == {"locator": [], "refiner": []}


def test_a_click_is_one_small_pass_and_taking_it_back_is_none(cost: Cost) -> None:
    session = Session(cost.predictor, cost.volume)
    prediction = session.predict()
    edge = cost.volume.ijk_to_ras @ [280, 200 + RADIUS_MM / 0.8 + 2, 70, 1]
    with cost.counted():
        update = session.add_click(edge[:3], inside=True)
    assert cost.passes["locator"] == []
    (seen,) = cost.passes["refiner"]
    assert math.prod(seen[2:]) <= math.prod(LARGEST_WINDOW)
    assert cost.sampled == [math.prod(seen[2:])]
    assert max(cost.resampled) <= voxels_in(update.prediction.region)
    assert 0 < voxels_in(update.box) < 0.02 * math.prod(SHAPE)

    with cost.counted():
        session.undo()
        session.redo()
    assert cost.passes == {"locator": [], "refiner": []}
    assert cost.sampled == cost.resampled == []
    assert prediction.mask.sum() != update.mask.sum()


def test_a_second_click_nearby_reads_the_scan_no_more(cost: Cost) -> None:
    session = Session(cost.predictor, cost.volume)
    session.predict()
    places = [cost.volume.ijk_to_ras @ [280 + shift, 240, 70, 1] for shift in (0, 1)]
    session.add_click(places[0][:3], inside=True)
    with cost.counted():
        session.add_click(places[1][:3], inside=True)
    assert len(cost.passes["refiner"]) == 1
    assert cost.sampled == []


def test_no_copy_of_the_scan_is_made(cost: Cost) -> None:
    """NumPy's memory; that of PyTorch is bounded by the passes and by what is resampled."""
    session = Session(cost.predictor, cost.volume)
    tracemalloc.start()
    try:
        session.predict()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    mask = math.prod(SHAPE)
    slab = resampling.SLAB_VOXELS * 4
    assert peak < mask + 2 * slab + 8e6
    assert mask + 2 * slab + 8e6 < 2 * cost.volume.array.nbytes


def test_a_long_scan_is_read_through_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer for each slab, with what came of it in between, would scatter over the memory."""
    volume = Volume(np.zeros((120, 40, 40), np.int16), np.diag([1.0, 1.0, 1.0, 1.0]))
    target = aligned_grid(volume.grid.bounds, (6, 6, 6))
    monkeypatch.setattr(resampling, "SLAB_VOXELS", 12 * 40 * 40)
    pool, slabs = resampling.F.avg_pool3d, []

    def spy(values: torch.Tensor, *sizes: Any, **options: Any) -> torch.Tensor:
        slabs.append((values.shape[2], values.data_ptr()))
        return pool(values, *sizes, **options)

    monkeypatch.setattr(resampling.F, "avg_pool3d", spy)
    source = resampling.window_scan(volume, target, (-100, 240))
    assert [slices for slices, _ in slabs] == [12] * 10
    assert len({place for _, place in slabs}) == 1
    assert source.grid.shape == (20, 7, 7)


def test_a_prediction_keeps_only_what_lies_in_its_region(cost: Cost) -> None:
    session = Session(cost.predictor, cost.volume)
    prediction = session.predict()
    maps = [prediction.probability_map, *prediction.attention_maps]
    held = sum(one.values.numel() * one.values.element_size() for one in maps if one is not None)
    assert held < 3 * math.prod(cost.passes["refiner"][0][2:]) * 4


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_pass_holds_no_feature_that_nobody_needs_any_more(bfloat16: bool) -> None:
    """What is joined is the largest of a pass: a quarter of the memory that a whole body takes."""
    network: Any = build_network(attention_unet((4, 8, 12), in_channels=1, out_channels=2)).eval()
    image = torch.rand(1, 1, 16, 32, 48)
    sizes = (image.shape[2:], torch.Size(size // 2 for size in image.shape[2:]))
    held: list[int] = []

    def count(*_: Any) -> None:
        features = [
            one for one in gc.get_objects()
            if type(one) is torch.Tensor and one.shape[2:] in sizes and one.shape[1] > 1
        ]  # fmt: skip
        storages = {one.untyped_storage().data_ptr(): one.shape[1] for one in features}
        held.append(sum(storages.values()))

    network.decoder[0][3].register_forward_pre_hook(count)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        network(image)
    joins = bfloat16 or not channels_last._is_measured()
    assert held == [(4 + 4 if joins else 0) + 4]


def test_probabilities_of_all_labels_are_dropped_before_the_scan_is_looked_at_again(
    cost: Cost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, held, there = Engine.run_locator, list[Any](), list[bool]()

    def locate(*arguments: Any) -> torch.Tensor:
        probabilities = run(*arguments).numpy()
        held.append(weakref.ref(probabilities))
        return torch.from_numpy(probabilities)

    def look_again(*_: Any) -> None:
        there.extend(one() is not None for one in held)

    monkeypatch.setattr(Engine, "run_locator", locate)
    monkeypatch.setattr(coarse_to_fine, "unusual_disorder", lambda *_: 1.0)
    monkeypatch.setattr(coarse_to_fine, "check_orientation", look_again)
    Session(cost.predictor, cost.volume).predict()
    assert there == [False]
