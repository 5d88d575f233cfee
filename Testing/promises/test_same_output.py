"""The same scan, settings and machine give the same bits; other settings nearly the same organ.

How near, on real scans with the shipped model, is measured by ``measure_same_output.py`` and stated
in ``README.md`` of this folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.inference import Click, Volume, read_volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.networks.precision import computes_bfloat16
from same_output import (
    Difference,
    difference,
    fingerprint,
    made_up_scan,
    plain_predictor_of,
    predictor_of,
)

ROOT = Path(__file__).resolve().parents[2]
SCAN = "case0031"

OTHER_PROCESS = f"""
import sys
sys.path[:0] = [{str(ROOT / "AttentionUNetSegment")!r}, {str(ROOT / "Testing" / "support")!r}]
import torch
import same_output as same
torch.set_num_threads(1)
print(same.fingerprint(same.plain_predictor_of("float32").predict(same.made_up_scan())))
"""


USUAL = "bfloat16" if computes_bfloat16(torch.device("cpu")) else "float32"
"""What a predictor takes by itself on this CPU."""
in_bfloat16 = pytest.mark.skipif(
    USUAL != "bfloat16",
    reason="this CPU has no instructions for bfloat16: a pass takes minutes, and none is made",
)


THREADS = Difference(dice=0.9999, mean=0.0001, most=0.005)
BFLOAT16 = Difference(dice=0.99, mean=0.005, most=0.1)
TILES = Difference(dice=0.9, mean=0.08, most=1.0)
"""What may come between float32 in one pass and other settings."""


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    """The number of threads is one of the settings."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scan() -> Volume:
    return made_up_scan()


@pytest.fixture(scope="module")
def exact(scan: Volume) -> Prediction:
    """What all others are compared with: float32, in one pass."""
    return plain_predictor_of("float32").predict(scan)


# The same settings


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=in_bfloat16)])
def test_the_same_bits_again_and_after_other_work(scan: Volume, precision: str) -> None:
    predictor = predictor_of(precision)
    first = fingerprint(predictor.predict(scan))
    predictor.predict(Volume(np.ascontiguousarray(scan.array[8:, ::-1]), scan.ijk_to_ras))
    assert fingerprint(predictor.predict(scan)) == first
    assert fingerprint(plain_predictor_of(precision).predict(scan)) == first


def test_the_same_bits_in_another_process(scan: Volume) -> None:
    torch.set_num_threads(1)
    here = fingerprint(plain_predictor_of("float32").predict(scan))
    torch.set_num_threads(2)
    # Strings are hashed otherwise in each process, and sets then run in another order.
    environment = os.environ | {"PYTHONHASHSEED": "17"}
    process = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS], env=environment, capture_output=True, text=True
    )
    assert process.stdout.strip() == here, process.stderr


def test_the_same_bits_in_tiles(scan: Volume) -> None:
    tiled = plain_predictor_of(USUAL, tile_voxels=100_000)
    assert fingerprint(tiled.predict(scan)) == fingerprint(tiled.predict(scan))


def test_the_same_clicks_in_the_same_order_give_the_same_bits(
    scan: Volume, exact: Prediction
) -> None:
    """One after the other, all at once, and on the way back from others."""
    predictor = plain_predictor_of(USUAL)
    clicks = around_the_organ(exact, scan)
    one_by_one = Session(predictor, scan)
    one_by_one.predict()
    for click in clicks:
        update = one_by_one.add_click(click.position_ras, click.inside)
    expected = fingerprint(update.prediction)
    one_by_one.remove_click(0)
    assert fingerprint(one_by_one.undo().prediction) == expected
    assert fingerprint(predictor.predict(scan, clicks)) == expected


def test_the_order_of_clicks_is_part_of_the_input(scan: Volume) -> None:
    """Of two clicks in one voxel the last one counts, so order cannot be ignored."""
    predictor = plain_predictor_of(USUAL)
    session, point = Session(predictor, scan), middle(scan)
    masks = [
        session.predict([Click(point, inside), Click(point, not inside)]).mask
        for inside in (True, False)
    ]
    assert (masks[0] != masks[1]).any()


# Other settings


def test_the_number_of_threads_changes_hardly_anything(scan: Volume, exact: Prediction) -> None:
    torch.set_num_threads(1)
    other = plain_predictor_of("float32").predict(scan)
    torch.set_num_threads(2)
    assert_within(difference(exact, other), THREADS)


@in_bfloat16
def test_bfloat16_changes_little(scan: Volume, exact: Prediction) -> None:
    other = plain_predictor_of("bfloat16").predict(scan)
    assert_within(difference(exact, other), BFLOAT16)


def test_tiles_change_little_however_small_they_shall_be(scan: Volume, exact: Prediction) -> None:
    other = plain_predictor_of("float32", tile_voxels=100_000).predict(scan)
    assert_within(difference(exact, other), TILES)


def test_float32_on_a_gpu_changes_little(scan: Volume, exact: Prediction) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU on this machine")
    other = predictor_of("float32", "cuda").predict(scan)
    assert_within(difference(exact, other), BFLOAT16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_bits_on_a_gpu(scan: Volume, precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU on this machine")
    predictor = predictor_of(precision, "cuda")
    assert fingerprint(predictor.predict(scan)) == fingerprint(predictor.predict(scan))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Volume:
    return read_volume(shared_data / "btcv" / "train" / f"{SCAN}_ct.nii.gz")


@pytest.fixture(scope="module")
def exact_of_real(real: Volume) -> Prediction:
    return plain_predictor_of("float32").predict(real)


@in_bfloat16
def test_bfloat16_changes_little_on_a_real_scan(real: Volume, exact_of_real: Prediction) -> None:
    assert_within(difference(exact_of_real, plain_predictor_of("bfloat16").predict(real)), BFLOAT16)


def test_tiles_change_little_on_a_real_scan(real: Volume, exact_of_real: Prediction) -> None:
    tiled = plain_predictor_of("float32", tile_voxels=100_000).predict(real)
    assert_within(difference(exact_of_real, tiled), TILES)


def assert_within(actual: Difference, most: Difference) -> None:
    assert actual.dice >= most.dice, actual
    assert actual.mean <= most.mean, actual
    assert actual.most <= most.most, actual


def middle(scan: Volume) -> tuple[float, float, float]:
    r, a, s = (scan.ijk_to_ras @ (*((np.array(scan.shape_ijk) - 1) / 2), 1.0))[:3]
    return float(r), float(a), float(s)


def around_the_organ(prediction: Prediction, scan: Volume) -> list[Click]:
    """Inside, where the mask begins, and outside, in the middle of it."""
    voxels = np.argwhere(prediction.mask)[:, ::-1]
    clicks = []
    for at, inside, shift in ((0, True, -2), (len(voxels) // 2, False, 0)):
        r, a, s = (scan.ijk_to_ras @ (*(voxels[at] + shift), 1.0))[:3]
        clicks.append(Click((float(r), float(a), float(s)), inside))
    return clicks
