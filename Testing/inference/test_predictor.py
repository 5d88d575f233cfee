"""The coarse-to-fine predictor: places, sizes, clicks, cancellation, memory.

The network here is one whose answer is known, so that what is tested is all that lies around it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.errors import Cancelled, DeviceError, InputError
from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from AttentionUNetSegmentLib.inference import CancelToken, Click, Predictor, Volume, refinement
from AttentionUNetSegmentLib.inference.click_update import window_around
from geometry import centre_ras, placed, rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from threshold_model import (
    BRIGHT_HU,
    assert_organ_found,
    axial_scan,
    scan_with_organ,
    threshold_model,
)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(threshold_model(), "cpu")


def test_the_organ_is_found_where_it_is(predictor: Predictor) -> None:
    volume, organ = axial_scan()
    prediction = predictor.predict(volume)
    assert prediction.found
    assert prediction.mask.shape == volume.array.shape
    assert prediction.mask.dtype == np.uint8
    assert_organ_found(prediction, volume, organ, within_mm=1.0)


def test_memory_slabs_do_not_show_in_the_mask(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, _ = axial_scan()
    whole = predictor.predict(volume).mask
    monkeypatch.setattr(refinement, "SLAB_VOXELS", 5000)  # a slice or two
    np.testing.assert_array_equal(predictor.predict(volume).mask, whole)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(False, False, True), (True, True, True)])
def test_storage_order_and_flips_move_nothing(
    predictor: Predictor, axes: tuple[int, int, int], flips: tuple[bool, ...]
) -> None:
    volume, organ = axial_scan((3.0, 3.0, 4.0))
    stored = reorder_axes(volume, axes, flips)
    prediction = predictor.predict(stored)
    assert_organ_found(prediction, stored, organ, within_mm=1.0)
    expected = predictor.predict(volume)
    undone = np.flip(prediction.mask, [axis for axis in range(3) if flips[axis]])
    undone = np.transpose(undone, np.argsort(axes))
    # All but voxels that lie on the threshold exactly.
    assert (undone != expected.mask).sum() < 0.02 * expected.mask.sum()


@settings(max_examples=8)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(2.2, 5.0)] * 3),
    mirrored=st.booleans(),
    shift=st.tuples(*[st.floats(-2000, 2000)] * 3),
    shear=st.floats(-0.2, 0.2),
)
def test_any_placement_gives_the_organ_at_its_place_in_the_world(
    angles: tuple[float, ...],
    spacing: tuple[float, ...],
    mirrored: bool,
    shift: tuple[float, ...],
    shear: float,
) -> None:
    matrix = rotation(0, angles[0]) @ rotation(1, angles[1]) @ rotation(2, angles[2])
    matrix = matrix @ np.array([[1, shear, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    matrix = matrix @ np.diag([*spacing, 1.0]) @ np.diag([-1.0 if mirrored else 1.0, 1, 1, 1])
    matrix[:3, 3] = shift
    shape = tuple(int(250 / step) for step in spacing[::-1])
    organ = (matrix @ [*(np.array(shape[::-1]) / 2), 1.0])[:3] + np.array([8.0, -5.0, 6.0])
    volume = scan_with_organ(matrix, shape, organ)
    prediction = Predictor(threshold_model(), "cpu").predict(volume)
    assert_organ_found(prediction, volume, organ, within_mm=1.5)


def test_probability_and_attention_lie_on_the_scans_grid(predictor: Predictor) -> None:
    volume, organ = axial_scan()
    prediction = predictor.predict(volume)
    assert prediction.levels == 4
    for values in (prediction.probability(), *(prediction.attention(n) for n in (1, 2, 3, 4))):
        assert values.shape == volume.array.shape
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1
        outside = np.ones(values.shape, bool)
        outside[prediction.region] = False
        assert not values[outside].any()
        brightest = values > 0.9 * values.max()
        assert np.linalg.norm(centre_ras(brightest, volume.ijk_to_ras) - organ) < 8
    np.testing.assert_array_equal(
        prediction.attention(2)[prediction.region], prediction.attention_in_region(2)
    )
    with pytest.raises(IndexError, match="1 to 4"):
        prediction.attention(5)


def test_focus_ratios_are_shares_of_each_levels_own_voxels(predictor: Predictor) -> None:
    volume, _ = axial_scan()
    prediction = predictor.predict(volume)
    for ratio, feature in zip(prediction.focus_ratios, prediction.attention_maps, strict=True):
        assert ratio == pytest.approx(float((feature.values > 0.5).float().mean()))


def test_a_scan_without_the_organ_gives_an_empty_result_and_says_so(predictor: Predictor) -> None:
    volume, _ = axial_scan()
    empty = volume.with_array(np.minimum(volume.array, 40))
    prediction = predictor.predict(empty)
    assert not prediction.found
    assert prediction.volume_ml == 0
    assert not prediction.mask.any()
    assert not prediction.probability().any()
    assert not prediction.attention(4).any()
    assert len(prediction.focus_ratios) == 4
    assert any("No pancreas" in warning for warning in prediction.warnings)


def test_a_few_bright_voxels_are_no_organ(predictor: Predictor) -> None:
    """7 mL: the locator sees them, but an organ is larger."""
    volume, organ = axial_scan()
    k, j, i = np.indices(volume.array.shape)
    ras = (volume.ijk_to_ras @ np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)]))[:3].T
    ball = (((ras - organ) ** 2).sum(axis=1) < 12**2).reshape(volume.array.shape)
    array = np.where(ball, BRIGHT_HU, np.minimum(volume.array, 40)).astype(np.int16)
    assert not predictor.predict(volume.with_array(array)).found


def test_a_click_inside_shows_where_to_look(predictor: Predictor) -> None:
    """An organ too small for the locator: nothing without a click, the refiner's answer with."""
    volume, organ = axial_scan()
    # A single bright sliver is too little for the locator's six millimetres.
    sliver = np.where(volume.array == BRIGHT_HU, 40, volume.array).astype(np.int16)
    k, j, i = np.round(volume.ras_to_ijk @ [*organ, 1.0])[2::-1].astype(int)
    sliver[k - 1 : k + 2, j - 2 : j + 2, i - 2 : i + 2] = BRIGHT_HU
    volume = volume.with_array(sliver)
    assert not predictor.predict(volume).found
    prediction = predictor.predict(volume, [Click((organ[0], organ[1], organ[2]), True)])
    assert prediction.found
    assert np.linalg.norm(centre_ras(prediction.mask, volume.ijk_to_ras) - organ) < 3


def test_the_network_sees_the_clicks_where_they_were_placed() -> None:
    model = threshold_model()
    seen: list[torch.Tensor] = []
    refiner = model.networks["refiner"]
    refiner.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    volume, organ = axial_scan()
    outside = organ + np.array([40.0, 0.0, 0.0])
    clicks = [Click(tuple(organ), True), Click(tuple(outside), False)]
    prediction = Predictor(model, "cpu").predict(volume, clicks)
    whole = prediction.probability_map.grid
    grid = whole.subgrid(window_around(clicks[-1], whole))
    for channel, point in ((1, organ), (2, outside)):
        at = np.unravel_index(int(seen[-1][0, channel].argmax()), grid.shape)
        where = (grid.ijk_to_ras @ [*at[::-1], 1.0])[:3]
        assert np.abs(where - point).max() <= 1.5
        assert float(seen[-1][0, channel].max()) > 0.8


def test_an_organ_that_leaves_the_region_is_followed(predictor: Predictor) -> None:
    """A second, faint part continues beyond the box: the box grows until it is all in."""
    shape, spacing = (60, 130, 200), (2.0, 2.0, 3.0)
    matrix = placed(spacing, (200.0, 130.0, 0.0))
    hu = np.full(shape, 40, np.int16)
    hu[:, :10] = -1000
    hu[25:35, 55:75, 60:90] = BRIGHT_HU  # what the locator sees
    hu[29:32, 64:67, 90:140] = BRIGHT_HU  # a tail that leads out of the box around it
    volume = Volume(hu, matrix)
    prediction = predictor.predict(volume)
    assert prediction.mask[30, 65, 138] == 1


def test_specks_are_dropped_and_holes_filled(predictor: Predictor) -> None:
    volume, organ = axial_scan()
    k, j, i = np.round(volume.ras_to_ijk @ [*organ, 1.0])[2::-1].astype(int)
    hu = volume.array.copy()
    hu[k - 1 : k + 2, j - 1 : j + 2, i - 2 : i + 2] = 40  # a hole
    hu[k + 14 : k + 16, j : j + 3, i : i + 3] = BRIGHT_HU  # a speck
    prediction = predictor.predict(volume.with_array(hu))
    assert prediction.mask[k, j, i] == 1
    assert prediction.mask[k + 15, j + 1, i + 1] == 0


def test_tiles_give_the_result_of_one_pass() -> None:
    volume, organ = axial_scan()
    whole = Predictor(threshold_model(), "cpu").predict(volume)
    model = threshold_model()
    tiled = Predictor(model, "cpu", tile_voxels=40_000).predict(volume)
    assert len(model.networks["refiner"].passes) > 1
    assert_organ_found(tiled, volume, organ, within_mm=1.0)
    np.testing.assert_allclose(tiled.probability(), whole.probability(), atol=1e-5)
    np.testing.assert_allclose(tiled.attention(3), whole.attention(3), atol=1e-5)


def test_progress_rises_to_one_and_names_what_is_done(predictor: Predictor) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    told: list[tuple[float, str]] = []
    predictor.predict(volume, progress=lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert all(text for _, text in told)


@pytest.mark.parametrize("stop_at", ["Checking", "Looking", "Segmenting", "Bringing"])
def test_a_cancelled_run_stops_at_the_next_step(predictor: Predictor, stop_at: str) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    token = CancelToken()
    later: list[str] = []

    def progress(fraction: float, text: str) -> None:
        if token.cancelled:
            later.append(text)
        if text.startswith(stop_at):
            token.cancel()

    if stop_at == "Bringing":
        # The last step is short and runs to its end.
        predictor.predict(volume, progress=progress, cancel=token)
    else:
        with pytest.raises(Cancelled):
            predictor.predict(volume, progress=progress, cancel=token)
        assert later == []


def test_too_little_gpu_memory_means_smaller_tiles_then_the_cpu_and_is_said() -> None:
    model = threshold_model()
    refiner = model.networks["refiner"]
    most = 200_000

    def allocate(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0][0, 0].numel() > most:
            raise torch.OutOfMemoryError("out of memory")

    refiner.register_forward_pre_hook(allocate)
    volume, organ = axial_scan()
    prediction = Predictor(model, "cpu").predict(volume)
    assert_organ_found(prediction, volume, organ, within_mm=1.0)
    assert any("smaller tiles" in warning for warning in prediction.warnings)

    most = 0
    with pytest.raises(DeviceError, match="memory"):
        Predictor(model, "cpu").predict(volume)


def test_a_click_outside_the_scan_is_refused(predictor: Predictor) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    with pytest.raises(InputError, match="outside"):
        predictor.predict(volume, [Click((5000.0, 0.0, 0.0), True)])


def test_a_spacing_that_cannot_be_is_refused(predictor: Predictor) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, :3] *= 20
    with pytest.raises(InputError, match="spacing"):
        predictor.predict(Volume(volume.array, matrix))


@pytest.mark.parametrize(("option", "value"), [("device", "tpu"), ("precision", "float8")])
def test_unknown_options_are_refused(option: str, value: str) -> None:
    with pytest.raises(InputError, match=value):
        Predictor(threshold_model(), **{option: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_device_that_is_not_there_is_refused_and_not_replaced() -> None:
    with pytest.raises(DeviceError, match="cpu"):
        Predictor(threshold_model(), "cuda")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, ">i2"])
def test_every_pixel_type_gives_the_same_answer(predictor: Predictor, dtype: object) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    expected = predictor.predict(volume)
    prediction = predictor.predict(volume.with_array(volume.array.astype(dtype)))
    np.testing.assert_array_equal(prediction.mask, expected.mask)


def test_the_same_scan_gives_the_same_answer(predictor: Predictor) -> None:
    volume, _ = axial_scan((3.0, 3.0, 4.0))
    first, second = predictor.predict(volume), predictor.predict(volume)
    np.testing.assert_array_equal(first.probability(), second.probability())


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,*", "a,2,3,+", "1,2,nan,+", "1,2,3,+,4,5", ""])
def test_a_click_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Click.parse(text)


def test_a_click_is_read() -> None:
    assert Click.parse("12.5, -30,104,+") == Click((12.5, -30.0, 104.0), True)
    assert Click.parse("0,0,0,-") == Click((0.0, 0.0, 0.0), False)
