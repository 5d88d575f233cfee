"""Where the refiner looks: what the locator found, what the user drew, what was cut out.

The network here is one whose answer is known: what is bright is the organ, and a little less bright
is a little less sure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.geometry.grid import Region, aligned_grid, box_corners
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume, coarse_to_fine
from AttentionUNetSegmentLib.inference.engine import MULTIPLE
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import Search
from geometry import placed
from threshold_model import (
    BRIGHT_HU,
    assert_organ_found,
    axial_scan,
    scan_with_organ,
    threshold_model,
)

UNSURE_HU = 154
"""HU at which the network's probability is 0.69: less than what is believed without the locator."""
PERHAPS_HU = 146
"""HU at which it is 0.31."""


def passes(predictor: Predictor) -> dict[str, int]:
    networks = predictor.model.networks
    return {name: len(network.passes) for name, network in networks.items()}


def box_around(volume: Volume, organ_ras: np.ndarray, half_mm: tuple[float, ...]) -> Region:
    return volume.grid.region_of(box_corners(organ_ras - half_mm, organ_ras + half_mm))


def part_of(volume: Volume, region: Region) -> Volume:
    return Volume(volume.array[region], volume.grid.subgrid(region).ijk_to_ras)


def dimmed(volume: Volume, hu: int) -> Volume:
    return volume.with_array(np.where(volume.array == BRIGHT_HU, hu, volume.array))


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(threshold_model(), "cpu", "float32")


@pytest.fixture
def see(predictor: Predictor) -> Callable[[float], None]:
    """Have the locator see a share of what it would."""

    def see(share: float) -> None:
        def weakened(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
            organ = (share * logits.softmax(dim=1)[:, 1:]).clamp(min=1e-9)
            return torch.cat((1 - organ, organ), dim=1).log()

        predictor.networks["locator"].register_forward_hook(weakened)

    return see


# A box that the user drew


def test_a_box_is_looked_at_whatever_the_locator_says(predictor: Predictor) -> None:
    volume, organ = axial_scan()
    for margin in (0, 10):
        half = tuple(np.array([45.0, 22.0, 18.0]) + margin)
        interest = box_around(volume, organ, half)
        prediction = Session(predictor, volume, interest=interest).predict()
        assert prediction.place == "region of interest"
        assert_organ_found(prediction, volume, organ, within_mm=2.0)
    assert passes(predictor)["locator"] == 0


def test_in_a_large_box_the_locator_is_asked_with_what_is_around_it(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    volume, organ = axial_scan()
    interest = (slice(5, 75), slice(3, 127), slice(0, 140))
    assert not volume.grid.subgrid(interest).bounds.fits_in(Search().largest_box_mm)
    prediction = Session(predictor, volume, interest=interest).predict()
    assert prediction.place == "located"
    assert_organ_found(prediction, volume, organ, within_mm=1.0)
    see(0)
    silent = Session(predictor, volume, interest=interest).predict()
    assert silent.place == "region of interest"
    assert_organ_found(silent, volume, organ, within_mm=1.0)


def test_in_a_large_box_only_what_lies_in_it_counts(predictor: Predictor) -> None:
    """The larger one of two organs is beside the box."""
    matrix, shape = placed((4.0, 4.0, 4.0), (160.0, 120.0, 0.0)), (60, 60, 110)
    hu = np.full(shape, 40, np.int16)
    hu[:, :3] = -1000
    hu[25:35, 25:35, 20:30] = BRIGHT_HU
    hu[20:40, 20:40, 85:105] = BRIGHT_HU
    volume = Volume(hu, matrix)
    interest = (slice(0, 60), slice(0, 60), slice(0, 75))
    prediction = Session(predictor, volume, interest=interest).predict()
    assert prediction.place == "located"
    assert prediction.mask[30, 30, 25] == 1
    assert not prediction.mask[:, :, 75:].any()
    assert prediction.region[2].stop < 100


# A scan that is too small to hold an abdomen


@pytest.mark.parametrize("margin", [5, 20])
def test_a_crop_is_looked_at_directly_where_the_locator_does_not_see_the_organ_clearly(
    predictor: Predictor, see: Callable[[float], None], margin: float
) -> None:
    see(0.5)
    volume, organ = axial_scan()
    crop = part_of(volume, box_around(volume, organ, (45.0 + margin, 22.0 + margin, 21.0 + margin)))
    prediction = predictor.predict(crop, checked=True)
    assert prediction.place == "whole scan"
    assert passes(predictor) == {"locator": 1, "refiner": 1}
    assert_organ_found(prediction, crop, organ, within_mm=1.5)


def test_in_a_small_scan_with_the_organ_in_its_surroundings_the_locator_keeps_its_word(
    predictor: Predictor,
) -> None:
    volume, organ = axial_scan()
    crop = part_of(volume, box_around(volume, organ, (120.0, 100.0, 110.0)))
    prediction = predictor.predict(crop, checked=True)
    assert prediction.place == "located"
    assert passes(predictor) == {"locator": 1, "refiner": 1}


def test_in_a_large_crop_the_organ_is_looked_at_again_from_nearer(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    see(0)
    volume, organ = axial_scan()
    crop = part_of(volume, box_around(volume, organ, (120.0, 100.0, 110.0)))
    assert crop.grid.bounds.fits_in(Search().largest_box_mm)
    prediction = predictor.predict(crop, checked=True)
    assert prediction.place == "whole scan"
    assert passes(predictor) == {"locator": 1, "refiner": 2}
    first, second = (np.prod(shape) for shape in predictor.model.networks["refiner"].passes)
    assert second < 0.7 * first
    assert_organ_found(prediction, crop, organ, within_mm=1.0)


def test_a_crop_of_something_else_holds_none(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    """Where the refiner is not sure, and where there is only a speck of it."""
    see(0)
    volume, organ = axial_scan()
    crop = part_of(volume, box_around(volume, organ, (70.0, 50.0, 45.0)))
    speck = scan_with_organ(volume.ijk_to_ras, volume.array.shape, organ)
    k, j, i = np.ogrid[tuple(slice(size) for size in speck.array.shape)]
    at = np.round(volume.grid.index_of(organ))
    ball = (3 * (k - at[2])) ** 2 + (2 * (j - at[1])) ** 2 + (2 * (i - at[0])) ** 2 < 12**2
    hu = np.where((speck.array == BRIGHT_HU) & ~ball, 40, speck.array).astype(np.int16)
    small = part_of(volume.with_array(hu), box_around(volume, organ, (70.0, 50.0, 45.0)))
    for nothing in (dimmed(crop, 40), dimmed(crop, UNSURE_HU), small):
        prediction = predictor.predict(nothing, checked=True)
        assert not prediction.found
        assert prediction.place is None
        assert any("No pancreas" in warning for warning in prediction.warnings)
    # A click is the user's word.
    clicked = predictor.predict(small, [Click(tuple(organ), True)], checked=True)
    assert clicked.found
    assert clicked.place == "clicks"


def test_of_a_place_that_is_not_believed_nothing_is_said(
    predictor: Predictor, see: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    refine = coarse_to_fine.refine_region
    monkeypatch.setattr(
        coarse_to_fine, "refine_region", lambda *given: replace(refine(*given), cut=True)
    )
    see(0)
    volume, organ = axial_scan()
    crop = part_of(volume, box_around(volume, organ, (70.0, 50.0, 45.0)))
    said = "reaches the border of the region"
    assert any(said in warning for warning in predictor.predict(crop, checked=True).warnings)
    unsure = predictor.predict(dimmed(crop, UNSURE_HU), checked=True)
    assert not unsure.found
    assert not any(said in warning for warning in unsure.warnings)


def test_where_the_refiner_is_unsure_of_a_crop_the_locator_has_its_say(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    see(0.6)
    volume, organ = axial_scan()
    crop = part_of(volume, box_around(volume, organ, (90.0, 60.0, 60.0)))
    prediction = predictor.predict(dimmed(crop, UNSURE_HU), checked=True)
    assert prediction.place == "located"
    assert prediction.found


# A larger scan in which the locator sees too little


def test_what_the_locator_thinks_possible_is_a_second_candidate(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    see(0.2)
    volume, organ = axial_scan()
    prediction = predictor.predict(volume)
    assert prediction.place == "second candidate"
    assert passes(predictor) == {"locator": 1, "refiner": 1}
    assert_organ_found(prediction, volume, organ, within_mm=1.0)
    assert any("not clear whether the scan shows" in warning for warning in prediction.warnings)


def test_of_a_second_candidate_the_refiner_must_be_sure(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    see(0.28)
    volume, _ = axial_scan()
    assert not predictor.predict(dimmed(volume, UNSURE_HU)).found
    assert passes(predictor) == {"locator": 1, "refiner": 1}


def test_where_the_locator_sees_nothing_the_refiner_is_not_asked(
    predictor: Predictor, see: Callable[[float], None]
) -> None:
    see(0)
    volume, _ = axial_scan()
    assert not predictor.predict(volume).found
    assert passes(predictor) == {"locator": 1, "refiner": 0}


# The region follows the organ


def test_an_organ_that_may_go_on_beyond_the_region_is_followed(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of which the network is not sure leads out of the box to one of which it is."""
    hu = np.full((60, 130, 200), 40, np.int16)
    hu[:, :10] = -1000
    hu[25:35, 55:75, 60:90] = BRIGHT_HU
    hu[25:35, 55:75, 90:118] = PERHAPS_HU
    hu[25:35, 55:75, 118:130] = BRIGHT_HU
    # The locator is shown the first part only.
    volume = Volume(hu, placed((2.0, 2.0, 3.0), (200.0, 130.0, 0.0)))
    alone = volume.with_array(np.where(np.arange(200) < 90, hu, np.minimum(hu, 40)))
    before = predictor.predict(alone)
    assert before.region[2].stop <= 118
    run_locator, grid = predictor.run_locator, aligned_grid(alone.grid.bounds, (6, 6, 6), MULTIPLE)
    monkeypatch.setattr(
        predictor,
        "run_locator",
        lambda scan, *rest: run_locator(predictor.sample(alone, grid), *rest),
    )
    prediction = predictor.predict(volume)
    assert prediction.region[2].stop > 130
    assert prediction.mask[30, 65, 125] == 1


def test_an_organ_that_ends_well_within_the_region_costs_one_pass(predictor: Predictor) -> None:
    volume, _ = axial_scan()
    assert predictor.predict(volume).place == "located"
    assert passes(predictor) == {"locator": 1, "refiner": 1}
