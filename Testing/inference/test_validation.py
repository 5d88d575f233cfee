"""What is accepted as a CT in Hounsfield units, what is refused and why, and clicks outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.validation import check_clicks, check_ct
from AttentionUNetSegmentLib.io.reading import read_volume
from hypothesis import given
from hypothesis import strategies as st

SHAPE = (40, 64, 64)
BTCV_CASES = [5, 7, 9, 10, 21, 24, 26, 27, 28, 31, 33, 34, 37, 40]


def placed(array: np.ndarray, spacing: tuple[float, float, float] = (3.0, 3.0, 5.0)) -> Volume:
    return Volume(array, np.diag([*spacing, 1.0]))


def body(radius: float = 0.8, lean: bool = False, seed: int = 0) -> np.ndarray:
    """A cylinder of soft tissue with a coat of fat and a bony core in air, in HU."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    distance = np.hypot(x, y) / radius
    plane = np.full(SHAPE[1:], -1000.0)
    plane[distance < 1] = 50 if lean else -100
    plane[distance < 0.75] = 50
    plane[distance < 0.1] = 700
    return np.broadcast_to(plane, SHAPE) + random.normal(0, 12, SHAPE)


def mr(scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """The same cylinder as a T1-weighted MR shows it: bright fat, background of Rician noise."""
    random = np.random.default_rng(seed)
    hu = body(seed=seed)
    signal = np.where(hu < -500, 0.0, np.where(hu < -50, 900.0, np.where(hu > 400, 60.0, 350.0)))
    noise = random.normal(0, 15, (2, *SHAPE))
    return np.hypot(signal + noise[0], noise[1]) * scale


# --- geometry that was lost ---------------------------------------------------------------------


def ellipse(width: int, depth: int, length: int, margin: int = 20) -> np.ndarray:
    """A body of so many voxels from side to side, from front to back and along, in air."""
    y, x = np.mgrid[-1 : 1 : (depth + 2 * margin) * 1j, -1 : 1 : (width + 2 * margin) * 1j]
    inside = np.hypot(x * (1 + 2 * margin / width), y * (1 + 2 * margin / depth)) < 1
    plane = np.where(inside, np.where(x > 0, 40, -90), -1000).astype(np.int16)
    return np.repeat(plane[None], length, axis=0)


@pytest.mark.parametrize("origin", ["zero", "centre"])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, 1)])
@pytest.mark.parametrize(
    ("size", "lost"),
    [((460, 320, 93), True), ((330, 230, 90), True), ((222, 186, 200), True),
     ((330, 230, 250), False), ((400, 280, 400), False)],
)  # fmt: skip
def test_an_array_without_its_place_is_told_by_its_body(
    size: tuple[int, int, int], lost: bool, signs: tuple[int, int, int], origin: str
) -> None:
    array = ellipse(*size)
    place = np.diag([*signs, 1.0])
    if origin == "centre":  # as nibabel has it where a file says nothing
        place[:3, 3] = -np.array(signs) * (np.array(array.shape[::-1]) - 1) / 2
    said = [text for text in check_ct(Volume(array, place)) if "lost its voxel spacing" in text]
    assert len(said) == lost


def test_any_place_at_all_is_a_place() -> None:
    for place in (np.diag([1.0, 1, 1.25, 1]), np.diag([0.9, 0.9, 1, 1]), np.eye(4)):
        if place[2, 2] == place[0, 0]:
            place[:3, 3] = -120, 80.5, 900
        assert not any("lost" in text for text in check_ct(Volume(ellipse(222, 186, 87), place)))


# --- CT that must pass --------------------------------------------------------------------------


@pytest.mark.parametrize("case", BTCV_CASES)
def test_every_real_abdominal_ct_passes_without_a_warning(shared_data: Path, case: int) -> None:
    volume = read_volume(shared_data / "btcv" / "train" / f"case{case:04}_ct.nii.gz")
    assert check_ct(volume) == []


def test_real_crops_of_lean_patients_pass(shared_data: Path) -> None:
    for number in (499, 266, 129):
        volume = read_volume(shared_data / "panorama-roi" / f"panorama{number}_ct.nii.gz")
        check_ct(volume)


CTS: dict[str, Callable[[], np.ndarray]] = {
    "int16": lambda: body().astype(np.int16),
    "float32": lambda: body().astype(np.float32),
    "float64": body,
    "int32": lambda: body().astype(np.int32),
    "big endian": lambda: body().astype(">i2"),
    "windowed": lambda: body().clip(-125, 275).astype(np.int16),
    "windowed otherwise": lambda: body().clip(-160, 240).astype(np.float32),
    "unclipped with metal": lambda: np.where(body() > 690, 3071, body()).astype(np.int16),
    "padded with -2000": lambda: np.where(body() < -990, -2000, body()).astype(np.int16),
    "padded with -3024": lambda: np.where(body() < -990, -3024, body()).astype(np.int16),
    "a leg": lambda: body(radius=0.15).astype(np.int16),
    "a lean body": lambda: body(radius=0.95, lean=True).astype(np.int16),
    "a crop of lean organs": lambda: np.where(
        np.random.default_rng(0).random(SHAPE) < 0.01, -80.0, body(radius=9, lean=True).clip(0, 90)
    ),
    "half cut off": lambda: body()[:, 32:].astype(np.int16),
    "not contiguous": lambda: np.asfortranarray(body())[::-1, :, ::-1],
}


@pytest.mark.parametrize("name", CTS)
def test_ct_in_hounsfield_units_passes(name: str) -> None:
    assert check_ct(placed(CTS[name]())) == []


def test_the_voxels_are_only_looked_at() -> None:
    array = body().astype(np.int16)
    before = array.copy()
    array.flags.writeable = False
    check_ct(placed(array))
    assert (array == before).all()


# --- what is no CT ------------------------------------------------------------------------------


def ringing_mr() -> np.ndarray:
    """MR after interpolation with a kernel that overshoots at edges, as resampling leaves it."""
    image = np.kron(mr(), np.ones((1, 4, 4)))  # edges are as rare as in an image of 256 x 256
    for axis in (1, 2):
        image = (-np.roll(image, 1, axis) + 10 * image - np.roll(image, -1, axis)) / 8
    assert (image < -50).mean() > 0.002
    return image


OTHERS: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "MR": (lambda: mr().astype(np.uint16), "MR, PET"),
    "MR in float": (mr, "MR, PET"),
    "bright MR": (lambda: mr(20).astype(np.uint16), "MR, PET"),
    "MR after interpolation": (ringing_mr, "MR, PET"),
    "z-scored MR": (lambda: (mr() - mr().mean()) / mr().std(), "normalised"),
    "MR scaled to 0..1": (lambda: mr() / mr().max(), "normalised"),
    "CT scaled to 0..1": (lambda: (body().clip(-125, 275) + 125) / 400, "normalised"),
    "CT scaled to -1..1": (lambda: (body().clip(-125, 275) - 75) / 200, "normalised"),
    "PET in SUV": (lambda: np.random.default_rng(0).gamma(0.5, 3, SHAPE), "PET has"),
    "PET in Bq/mL": (lambda: np.random.default_rng(0).gamma(0.5, 3e3, SHAPE), "MR, PET"),
    "unscaled CT": (lambda: (body() + 1024).clip(0).astype(np.uint16), "rescale intercept"),
    "unscaled, lean": (lambda: (body(lean=True) + 1000).clip(0), "rescale intercept"),
    "unscaled, padded": (
        lambda: np.where(body() < -990, -2000, body() + 1024).astype(np.int16),
        "rescale intercept",
    ),
    "intercept taken off twice": (lambda: (body() - 1024).astype(np.int16), "soft tissue"),
    "8-bit picture": (
        lambda: ((body().clip(-125, 275) + 125) / 400 * 255).astype(np.uint8),
        "8-bit",
    ),
    "8-bit picture in int16": (
        lambda: ((body().clip(-125, 275) + 125) / 400 * 255).astype(np.int16),
        "8-bit",
    ),
    "signed 8 bit": (lambda: (body().clip(-125, 275) / 4).astype(np.int8), "8-bit"),
    "labels": (lambda: (body() > 0).astype(np.uint8), "label map"),
    "a mask": (lambda: body() > 0, "type bool"),
    "complex": (lambda: body().astype(np.complex64), "type complex64"),
    "text": (lambda: body().astype("U8"), "type <U8"),
    "all one value": (lambda: np.zeros(SHAPE, np.int16), "all its voxels have the value 0"),
    "all air": (lambda: np.full(SHAPE, -1000.0), "all its voxels have the value -1000"),
    "only padding": (
        lambda: np.where(body() > 0, -2000, -3000).astype(np.int16),
        "soft tissue",
    ),
    "no voxels": (lambda: np.zeros((0, 4, 4)), "no voxels"),
    "one slice": (lambda: body()[:1], "single slice (64 x 64 x 1"),
    "one column": (lambda: body()[:, :, :1], "single slice (1 x 64 x 40"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_ct_is_refused_in_one_sentence(name: str) -> None:
    make, said = OTHERS[name]
    with pytest.raises(InputError) as refusal:
        check_ct(placed(make()))
    message = str(refusal.value)
    assert said in message
    assert "\n" not in message
    assert message.endswith(".")


@given(
    position=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_one_voxel_that_is_not_finite_is_found_anywhere(
    position: tuple[int, int, int], value: float, dtype: type
) -> None:
    array = body().astype(dtype)
    array[position] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        check_ct(placed(array))


@given(
    seed=st.integers(0, 1000),
    radius=st.floats(0.2, 0.95),
    low=st.integers(-3024, -120),
    high=st.integers(250, 4000),
)
def test_any_usual_window_of_a_ct_passes(seed: int, radius: float, low: int, high: int) -> None:
    check_ct(placed(body(radius, seed=seed).clip(low, high).astype(np.int16)))


# --- extent and spacing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "spacing", "said"),
    [
        ((40, 64, 64), (3, 3, 5), None),
        ((40, 64, 64), (3, 3, 6), None),
        ((40, 64, 64), (3, 3, 20), None),  # thick for some models: test_trust.py
        ((5, 64, 64), (3, 3, 5), "only 192 x 192 x 25 mm"),
        ((40, 64, 64), (0.15, 3, 5), "only 0.15 mm apart"),
    ],
)
def test_an_unusual_grid_is_told_as_a_warning(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], said: str | None
) -> None:
    warnings = check_ct(placed(body()[: shape[0]], spacing))
    assert all(warning.endswith(".") and "\n" not in warning for warning in warnings)
    if said is None:
        assert warnings == []
    else:
        assert said in " ".join(warnings)


def test_a_scan_smaller_than_any_organ_is_refused() -> None:
    with pytest.raises(InputError, match="less than any organ"):
        check_ct(placed(body(), (0.003, 0.003, 0.005)))  # metres for millimetres
    with pytest.raises(InputError, match="less than any organ"):
        check_ct(placed(body(), (0.1, 0.1, 0.1)))


def test_a_scan_longer_than_any_person_is_refused() -> None:
    check_ct(placed(body(), (3, 3, 60)))
    with pytest.raises(InputError, match="more than any person"):
        check_ct(placed(body(), (3, 3, 70)))


# --- clicks -------------------------------------------------------------------------------------


def oblique() -> Volume:
    """Flipped, permuted, turned and sheared."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.3, -2.0, 0.1], [-1.0, -0.4, 0.6], [0.0, 0.2, 3.0]]
    matrix[:3, 3] = (50, -20, 900)
    return Volume(np.zeros((10, 20, 30)), matrix)


@given(st.tuples(*(st.floats(-3, 3) for _ in range(3))))
def test_a_click_is_in_the_scan_where_it_is_in_a_voxel(parts: tuple[float, float, float]) -> None:
    volume = oblique()
    index = np.array(volume.shape_ijk) * parts
    inside = all(-0.5 <= value <= n - 0.5 for value, n in zip(index, volume.shape_ijk, strict=True))
    margins = [
        min(abs(v + 0.5), abs(v - n + 0.5)) for v, n in zip(index, (30, 20, 10), strict=True)
    ]
    if min(margins) < 1e-5:
        return  # on the very edge either is right
    right, anterior, superior = (volume.ijk_to_ras @ [*index, 1])[:3]
    clicks = [Click((right, anterior, superior), True)]
    if inside:
        check_clicks(volume, clicks)
    else:
        with pytest.raises(InputError, match="outside the scan"):
            check_clicks(volume, clicks)


def test_a_click_on_the_edge_of_the_last_voxel_is_inside() -> None:
    volume = placed(np.zeros((4, 4, 4)), (1, 1, 1))
    check_clicks(volume, [Click((-0.5, 3.5, 0), True), Click((3.5, -0.5, 3.5), False)])
    check_clicks(volume, [])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("place", [-0.6, 3.6])
def test_a_click_just_beyond_the_last_voxel_is_outside(axis: int, place: float) -> None:
    volume = placed(np.zeros((4, 4, 4)), (1, 1, 1))
    right, anterior, superior = np.insert([1.0, 1.0], axis, place)
    with pytest.raises(InputError, match="outside the scan"):
        check_clicks(volume, [Click((right, anterior, superior), True)])


def test_a_click_outside_is_told_with_the_scans_bounds() -> None:
    volume = placed(np.zeros((4, 4, 4)), (2, 2, 2))
    with pytest.raises(InputError) as refusal:
        check_clicks(volume, [Click((0, 0, 0), True), Click((0, 0, 100), False)])
    assert "(0.0, 0.0, 100.0)" in str(refusal.value)
    assert "from (-1.0, -1.0, -1.0) to (7.0, 7.0, 7.0)" in str(refusal.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_click_that_is_nowhere_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="three finite numbers"):
        check_clicks(oblique(), [Click((0, value, 0), True)])
