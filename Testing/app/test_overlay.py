"""The picture of a result: planes, orientation, outline, attention, and what is written on it."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from AttentionUNetSegmentLib.app import overlay
from AttentionUNetSegmentLib.geometry.grid import Box, Region
from AttentionUNetSegmentLib.geometry.reslice import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    SliceRectangle,
    body_box,
    interpolate,
)
from AttentionUNetSegmentLib.geometry.volume import Volume, reorder_axes
from AttentionUNetSegmentLib.inference.uncertainty import DoubtfulPlace
from AttentionUNetSegmentLib.models import DiceEstimate
from geometry import placed, rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from picture_texts import texts_of
from PIL import Image
from scipy import ndimage

BODY_MM = np.array([150.0, 110.0, 120.0])
ORGAN_MM = np.array([26.0, 14.0, 16.0])
# Towards the patient's left, back and feet, seen from the middle of the body.
ORGAN_OFFSET_RAS = np.array([-60.0, -35.0, -30.0])
MIDDLE_RAS = np.array([12.0, -20.0, 300.0])


def ellipsoid(ras: np.ndarray, middle: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return (((ras - middle) / axes) ** 2).sum(axis=-1) < 1


def body(spacing: tuple[float, float, float] = (5.0, 5.0, 6.0)) -> Volume:
    """A body of 40 HU with an organ of 120 HU, in air."""
    shape = tuple(int(size) for size in np.array([270, 250, 330]) / np.array(spacing[::-1]))
    matrix = placed(spacing, (0.0, 0.0, 0.0))
    matrix[:3, 3] = MIDDLE_RAS - matrix[:3, :3] @ (np.array(shape[::-1]) / 2)
    ijk = np.stack(np.indices(shape)[::-1], axis=-1)
    ras = ijk @ matrix[:3, :3].T + matrix[:3, 3]
    hu = np.where(ellipsoid(ras, MIDDLE_RAS, BODY_MM), 40, -1000)
    hu[ellipsoid(ras, MIDDLE_RAS + ORGAN_OFFSET_RAS, ORGAN_MM)] = 120
    return Volume(hu.astype(np.int16), matrix)


class HandMade(SimpleNamespace):
    """What :func:`render_overlay` reads of a prediction; counts the maps that it asks for."""

    def attention_in_region(self, level: int, part: Region) -> np.ndarray:
        self.asked.append(level)
        self.voxels.append(math.prod(one.stop - one.start for one in part))
        return (self.mask[self.region][part] * np.float32(0.9)).astype(np.float32)

    def uncertainty_in_region(self, part: Region) -> np.ndarray:
        return (self.mask[self.region][part] * np.float32(0.6)).astype(np.float32)


def hand_made(volume: Volume, mask: np.ndarray | None = None, **changes: Any) -> Any:
    if mask is None:
        mask = (volume.array == 120).astype(np.uint8)
    levels = changes.get("levels", 4)
    where = np.argwhere(mask) if mask.any() else np.zeros((1, 3), int)
    region = tuple(
        slice(max(int(low) - 5, 0), int(high) + 6)
        for low, high in zip(where.min(axis=0), where.max(axis=0), strict=True)
    )
    content = {
        "volume": volume,
        "mask": mask,
        "region": region,
        "found": True,
        "target": "pancreas",
        "others": (),
        "levels": levels,
        "volume_ml": float(mask.sum()) * volume.voxel_volume_ml,
        "attention_in_organ": (0.89, 0.9, 0.94, 0.95, 0.96)[:levels],
        "attention_around_organ": (0.43, 0.34, 0.27, 0.18, 0.1)[:levels],
        "dice_estimate": None,
        "doubtful_places": (),
        "warnings": (),
        "model_name": "pancreas-ct",
        "model_version": "1.2.3",
        "model_sha256": "0123456789abcdef",
        "asked": [],
        "voxels": [],
    }
    return HandMade(**content | changes)


def nothing_found(volume: Volume) -> Any:
    return hand_made(
        volume,
        np.zeros(volume.array.shape, np.uint8),
        region=(slice(0, 0),) * 3,
        found=False,
        volume_ml=0.0,
        attention_in_organ=(0.0,) * 4,
        attention_around_organ=(0.0,) * 4,
    )


def texts(prediction: Any, title: str = "scan.nii.gz", note: str = "") -> list[str]:
    return texts_of(lambda: overlay.draw_overlay(prediction, title, note, organ="pancreas"))


def rendered(prediction: Any, folder: Path, **options: str) -> np.ndarray:
    file = folder / "overlay.png"
    overlay.render_overlay(prediction, file, "scan.nii.gz", **options)
    return np.asarray(Image.open(file).convert("RGB"), dtype=int)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The picture of a usual result."""
    return rendered(hand_made(body()), tmp_path_factory.mktemp("page"))


def outline_pixels(picture: np.ndarray) -> np.ndarray:
    """Rows and columns of the pixels in the colour of the outline."""
    colour = tuple(int(overlay._OUTLINE[start : start + 2], 16) for start in (1, 3, 5))
    return np.argwhere(np.abs(picture - colour).max(axis=2) < 12)


# Planes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(1, 6)] * 3))
def test_interpolation_agrees_with_scipy(seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(-1000, 1000, shape).astype(np.int16)
    ijk = rng.uniform(-0.5, np.array(shape[::-1]) - 0.5, (40, 3))
    values, inside = interpolate(array, ijk)
    expected = ndimage.map_coordinates(
        array.astype(float), ijk[:, ::-1].T, order=1, mode="nearest", output=float
    )
    assert inside.all()
    np.testing.assert_allclose(values, expected, atol=1e-2)


@pytest.mark.parametrize(("turn", "most"), [(0.0, 0.02), (0.002, 4.0), (0.02, 0.02), (20.0, 0.02)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("view", [AXIAL, CORONAL, SAGITTAL], ids=lambda view: view.name)
def test_a_slice_agrees_with_scipy(
    view: Any, axes: tuple[int, int, int], turn: float, most: float
) -> None:
    """Of a scan of noise that lies straight, off by less than a thousandth of a voxel, by more, or
    turned; its axes in any order, as a view."""
    array = np.random.default_rng(0).integers(-1000, 1000, (9, 14, 17)).astype(np.int16)
    matrix = rotation(0, turn) @ rotation(2, turn) @ placed((2.0, 3.0, 4.0), (17.3, 20.4, -18.9))
    volume = reorder_axes(Volume(array, matrix), axes, (True, False, True))
    box = Box(np.array([-22.0, -20.0, -24.0]), np.array([19.0, 23.0, 21.0]))
    frame = SliceRectangle(view, 2.7, box)
    values, inside = frame.sample(volume.array, volume.ras_to_ijk, 0.7)
    rows, columns = values.shape
    places = np.zeros((rows, columns, 3))
    places[..., view.normal_axis] = 2.7
    for axis, direction, count, picture_axis in (
        (view.right_axis, view.right, columns, 1),
        (view.down_axis, view.down, rows, 0),
    ):
        ends = box.low_ras[axis], box.high_ras[axis]
        first, last = ends if direction.sum() > 0 else ends[::-1]
        at = first + (np.arange(count) + 0.5) / count * (last - first)
        places[..., axis] = at[None, :] if picture_axis else at[:, None]
    ijk = (places - volume.ijk_to_ras[:3, 3]) @ np.linalg.inv(volume.ijk_to_ras[:3, :3]).T
    expected = ndimage.map_coordinates(
        volume.array.astype(float), np.moveaxis(ijk[..., ::-1], -1, 0), order=1, mode="nearest"
    )
    reached = ((ijk >= -0.5) & (ijk <= np.array(volume.shape_ijk) - 0.5)).all(axis=-1)
    assert 0 < reached.sum() < reached.size
    np.testing.assert_array_equal(inside, reached)
    np.testing.assert_allclose(values, np.where(reached, expected, 0), atol=most)


def test_a_point_outside_the_scan_has_no_value() -> None:
    values, inside = interpolate(
        np.ones((2, 3, 4)), np.array([[3.4, 0, 0], [3.6, 0, 0], [0, -1, 0]])
    )
    assert inside.tolist() == [True, False, False]
    assert values.tolist() == [1, 0, 0]


@pytest.mark.parametrize("view", [AXIAL, CORONAL, SAGITTAL], ids=lambda view: view.name)
def test_pictures_are_in_radiological_orientation(view: Any) -> None:
    """Each pixel shows the place that the letters at the edges promise."""
    low, high = np.array([-30.0, -40.0, -50.0]), np.array([50.0, 60.0, 70.0])
    frame = SliceRectangle(view, 5.0, Box(low, high))
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    left, right, top, bottom = view.letters
    ras_to_ijk = np.eye(4)
    ras_to_ijk[:3, 3] = 75
    ijk = np.indices((150, 150, 150), np.float32)[::-1]
    for axis in range(3):  # a volume whose values are the coordinate along R, A or S
        coordinate, inside = frame.sample(ijk[axis] - 75, ras_to_ijk, 1.0)
        assert inside.all()
        edges = {
            left: coordinate[:, 0].mean() - coordinate[:, -1].mean(),
            top: coordinate[0].mean() - coordinate[-1].mean(),
        }
        for letter, difference in edges.items():
            its_axis, sign = towards[letter]
            length = (high - low)[axis] - 1
            assert difference == pytest.approx(sign * length if its_axis == axis else 0, abs=0.01)
        if axis == view.normal_axis:
            np.testing.assert_allclose(coordinate, 5.0, atol=1e-3)
    assert towards[left][0] == towards[right][0]
    assert towards[top][0] == towards[bottom][0]


@pytest.mark.parametrize(
    ("axes", "flips"), [((1, 0, 2), (True, False, False)), ((2, 0, 1), (False, True, True))]
)
def test_a_scan_stored_in_another_order_gives_the_same_picture(
    axes: tuple[int, int, int], flips: tuple[bool, ...], tmp_path: Path, page: np.ndarray
) -> None:
    picture = rendered(hand_made(reorder_axes(body(), axes, flips)), tmp_path)
    assert picture.shape == page.shape
    # Rounding moves an edge by a pixel here and there.
    assert (np.abs(picture - page).max(axis=2) > 24).mean() < 0.004


def test_an_oblique_scan_shows_the_organ_where_it_is() -> None:
    volume = body()
    turned = Volume(volume.array, rotation(2, 25) @ rotation(0, 15) @ volume.ijk_to_ras)
    drawing = overlay._Drawing(hand_made(turned), "pancreas")
    expected = (rotation(2, 25) @ rotation(0, 15) @ [*(MIDDLE_RAS + ORGAN_OFFSET_RAS), 1])[:3]
    np.testing.assert_allclose(drawing.centre, expected, atol=4)
    for view in (AXIAL, CORONAL, SAGITTAL):
        frame = SliceRectangle(view, float(drawing.centre[view.normal_axis]), drawing.shown)
        mask, _ = frame.sample(turned.array == 120, turned.ras_to_ijk, 2.0)
        assert mask.max() == pytest.approx(1)


def test_the_room_around_the_patient_is_left_out() -> None:
    volume = body()
    box = body_box(volume)
    low, high = box.low_ras, box.high_ras
    np.testing.assert_array_less(MIDDLE_RAS - BODY_MM - 20, low)
    np.testing.assert_array_less(high, MIDDLE_RAS + BODY_MM + 20)
    np.testing.assert_array_less(low, MIDDLE_RAS - BODY_MM * 0.85)
    np.testing.assert_array_less(MIDDLE_RAS + BODY_MM * 0.85, high)


def test_a_scan_of_air_is_shown_whole() -> None:
    volume = Volume(np.full((4, 5, 6), -1000, np.int16), np.diag([2.0, 3.0, 4.0, 1.0]))
    box = body_box(volume)
    np.testing.assert_allclose([box.low_ras, box.high_ras], [[-1, -1.5, -2], [11, 13.5, 14]])


# The page


def test_the_outline_lies_where_the_organ_is(tmp_path: Path) -> None:
    picture = rendered(hand_made(body((2.0, 2.0, 2.0)), levels=0), tmp_path)
    pixels = outline_pixels(picture)
    width = picture.shape[1]
    axial, coronal, sagittal = (
        pixels[(pixels[:, 1] > start * width) & (pixels[:, 1] < end * width)]
        for start, end in ((0.0, 0.36), (0.36, 0.71), (0.71, 1.0))
    )
    assert min(map(len, (axial, coronal, sagittal))) > 100
    # Widths of the outlines: the organ's, all three at one scale.
    widths = [float(np.ptp(part[:, 1])) for part in (axial, coronal, sagittal)]
    heights = [float(np.ptp(part[:, 0])) for part in (axial, coronal, sagittal)]
    assert widths[0] == pytest.approx(widths[1], rel=0.08)
    assert widths[0] / heights[0] == pytest.approx(ORGAN_MM[0] / ORGAN_MM[1], rel=0.1)
    assert widths[1] / heights[1] == pytest.approx(ORGAN_MM[0] / ORGAN_MM[2], rel=0.1)
    assert widths[2] / heights[2] == pytest.approx(ORGAN_MM[1] / ORGAN_MM[2], rel=0.1)
    # It lies at the patient's left, which is the right of the picture, towards the back and feet.
    dense = np.argwhere((picture[:, : int(0.36 * width)] > 90).all(axis=2))
    assert np.median(axial[:, 1]) > np.median(dense[:, 1]) + 50
    assert np.median(coronal[:, 0]) > np.median(axial[:, 0]) - 60


def test_attention_is_asked_for_once_a_level() -> None:
    prediction = hand_made(body())
    texts(prediction)
    assert prediction.asked == [1, 2, 3, 4]


def test_no_more_attention_is_computed_than_is_drawn() -> None:
    """Four slices around the drawn one, of all that the network looked at."""
    prediction = hand_made(body())
    overlay.draw_overlay(prediction, "scan.nii.gz")
    k, j, i = (part.stop - part.start for part in prediction.region)
    assert k > 10
    assert max(prediction.voxels) <= 4 * j * i


def test_a_scan_that_is_a_view_gives_the_same_slice() -> None:
    array = np.random.default_rng(0).random((9, 14, 17)).astype(np.float32)
    points = np.random.default_rng(1).uniform(-2, 18, (40, 50, 3))
    expected = interpolate(array, points)
    for view in (np.asfortranarray(array), array[::-1][::-1], np.repeat(array, 2, 1)[:, ::2]):
        for given_points in (points, points[:1] + 40):
            values, inside = interpolate(view, given_points)
            of_array = interpolate(array, given_points)
            np.testing.assert_allclose(values, of_array[0], atol=1e-5)
            np.testing.assert_array_equal(inside, of_array[1])
    assert expected[1].any()


@given(shift=st.floats(-40, 40), turn=st.floats(-40, 40))
@settings(max_examples=30, deadline=None)
def test_a_slice_of_the_part_that_it_reads_is_a_slice_of_all(shift: float, turn: float) -> None:
    array = np.random.default_rng(0).random((9, 14, 17)).astype(np.float32)
    matrix = rotation(0, turn) @ rotation(2, 20) @ np.diag([3.0, 2.5, 4.0, 1.0])
    volume = Volume(array, matrix)
    for orientation in (AXIAL, CORONAL, SAGITTAL):
        frame = SliceRectangle(orientation, shift, Box(np.full(3, -12.0), np.full(3, 21.0)))
        part = frame.region_of(volume.grid)
        whole = frame.sample(array, volume.ras_to_ijk, 1.3)
        read = frame.sample(array[part], volume.grid.subgrid(part).ras_to_ijk, 1.3)
        np.testing.assert_array_equal(read[1], whole[1])
        np.testing.assert_allclose(read[0], whole[0], atol=1e-5)


@pytest.mark.parametrize(("turn", "most_px"), [(0.0, 1.5), (20.0, 6.0)])
def test_the_boxes_of_the_organ_are_as_far_from_its_outline_as_they_say(
    turn: float, most_px: float, tmp_path: Path
) -> None:
    """Where the scan lies straight; in a turned one the organ reaches further in other slices."""
    volume = body((2.0, 2.0, 2.0))
    prediction = hand_made(Volume(volume.array, rotation(2, turn) @ volume.ijk_to_ras), levels=0)
    outline = outline_pixels(rendered(prediction, tmp_path))
    with Image.open(tmp_path / "overlay.png") as image:
        boxes = json.loads(image.info[overlay.ORGAN_KEY])
    assert len(boxes) == 3
    drawing = overlay._Drawing(prediction, "")
    for panel, (left, top, right, bottom) in zip(drawing._slice_panels(122), boxes, strict=True):
        # From the middle of the outermost voxels, and the outline is around them.
        margin = (overlay._ORGAN_MARGIN_MM - 1) / panel.pixel_mm
        its = (outline > (panel.y, panel.x)) & (outline < (panel.bottom, panel.right))
        upper, lower = (edge(outline[its.all(axis=1)], axis=0) for edge in (np.min, np.max))
        assert upper - (top, left) == pytest.approx(margin, abs=most_px)
        assert (bottom, right) - lower == pytest.approx(margin, abs=most_px)


def test_voxels_do_not_show_as_blocks(tmp_path: Path) -> None:
    """Of a scan that gets brighter evenly from left to right, as large as its voxels may be."""
    shape = (12, 14, 15)
    hu = np.broadcast_to(np.linspace(-150, 230, shape[2]), shape).astype(np.int16)
    volume = Volume(hu, placed((20.0, 20.0, 25.0), (0.0, 0.0, 0.0)))
    drawing = overlay._Drawing(nothing_found(volume), "")
    picture = rendered(nothing_found(volume), tmp_path)
    panel = drawing._slice_panels(122)[0]
    row = picture[(panel.y + panel.bottom) // 2, panel.x + 2 : panel.right - 2, 0]
    assert row[-1] - row[0] > 220
    # No step, but for half a voxel at either border, is a fifth of a voxel's.
    assert 0 <= np.diff(row).min() <= np.diff(row).max() <= 3


@pytest.mark.parametrize("name", ["inferno", "viridis"])
def test_a_map_lies_over_the_scan_as_pillow_would_lay_it(name: str) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    values = rng.uniform(-0.05, 1.05, (40, 50)).astype(np.float32)
    painted = colormaps[name](values.clip(0, 1))
    painted[..., 3] = overlay._opacity(values)
    assert painted[..., 3].max() == pytest.approx(0.74)
    below = Image.fromarray(grey).convert("RGBA")
    above = Image.fromarray(np.rint(255 * painted).astype(np.uint8))
    expected = np.asarray(Image.alpha_composite(below, above).convert("RGB"), int)
    assert np.abs(overlay._over(grey, values, name) - expected).max() <= 1


def test_a_map_is_shown_where_the_network_looked_and_the_scan_around_it() -> None:
    """Opaque where the attention is high, and the bare CT where it is not."""
    prediction = hand_made(body())
    with patch.object(overlay, "_over", wraps=overlay._over) as over:
        overlay.draw_overlay(prediction, "scan.nii.gz")
    grey, values, _ = over.call_args_list[0].args
    painted = overlay._over(grey, values, "inferno").astype(int)
    bare = values == 0
    assert 0.2 < bare.mean() < 0.95
    assert (painted[bare] == grey[bare][:, None]).all()
    assert (np.ptp(painted[values > 0.8], axis=1) > 100).all()


def test_a_figure_shows_what_the_file_holds(tmp_path: Path) -> None:
    """Also at a screen's double resolution, and cut to what is in it, as notebooks do."""
    drawn = rendered(hand_made(body()), tmp_path)
    figure = overlay.draw_overlay(hand_made(body()), "scan.nii.gz")
    for options, expected in (
        ({}, drawn),
        ({"dpi": 2 * figure.dpi}, drawn.repeat(2, axis=0).repeat(2, axis=1)),
        ({"bbox_inches": "tight", "pad_inches": 0}, drawn),
    ):
        figure.savefig(tmp_path / "figure.png", **options)
        shown = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"), dtype=int)
        np.testing.assert_array_equal(shown, expected)


def test_attention_is_drawn_in_colour(page: np.ndarray) -> None:
    # 0.9 of the colour map is orange over grey; above it there is none but the outline.
    lower = page[page.shape[0] * 6 // 10 :]
    orange = (lower[..., 0] - lower[..., 2] > 90) & (lower[..., 0] > 150)
    columns = np.flatnonzero(orange.any(axis=0))
    # Four maps, their colour scale, and the yellow end of that of the uncertainty.
    assert 4 <= (np.diff(columns) > 40).sum() + 1 <= 6


def test_what_is_written_on_it() -> None:
    prediction = hand_made(body())
    written = texts(prediction, title="abdomen.nii.gz")
    assert f"Pancreas  {prediction.volume_ml:.1f} mL" in written
    assert "abdomen.nii.gz" in written
    assert "Model pancreas-ct 1.2.3 (01234567)" in written
    assert "Research use only" in written
    for level, around in enumerate(("0.43", "0.34", "0.27", "0.18"), start=1):
        assert f"Level {level}" in written
        assert any(text.endswith(f"inside, {around} around") for text in written)
    assert "Uncertainty" in written
    assert not any("Estimated Dice" in text for text in written)
    assert written.count("50 mm") == 2
    assert {"R", "L", "A", "P", "S", "I"} <= set(written)


def test_the_estimate_and_the_warnings_are_written_on_it() -> None:
    told = ("The outline is probably not good.", "The segmentation consists of 2 pieces.")
    estimate = DiceEstimate(0.764, 0.61, 0.85, 0.9)
    written = texts(hand_made(body(), dice_estimate=estimate, warnings=told))
    assert "Estimated Dice 0.76  (0.61 to 0.85 in 90 % of such results)" in written
    assert set(told) <= set(written)


def test_of_a_long_warning_the_first_sentence_is_written() -> None:
    long = "The scan seems to be mirrored: look. " + "It may also be the patient. " * 8
    written = texts(hand_made(body(), warnings=(long,)))
    assert "The scan seems to be mirrored: look." in written


def test_the_uncertainty_is_shown_where_the_most_doubtful_place_is(tmp_path: Path) -> None:
    position = MIDDLE_RAS + ORGAN_OFFSET_RAS + (0, 0, 9)
    prediction = hand_made(body(), doubtful_places=(DoubtfulPlace(tuple(position), 1.0),))
    assert f"S {position[2]:.1f} mm" in texts(prediction)
    with_ring, without = rendered(prediction, tmp_path), rendered(hand_made(body()), tmp_path)
    lower = slice(with_ring.shape[0] * 6 // 10, None)
    assert len(outline_pixels(with_ring[lower])) > len(outline_pixels(without[lower])) + 50


def test_a_note_stands_beside_the_intended_use() -> None:
    written = texts(hand_made(body()), note="Synthetic abdomen, seed 0: not a patient")
    (notice,) = [text for text in written if "Synthetic abdomen" in text]
    assert notice.endswith("Research use only")


def test_without_a_result_the_middle_of_the_scan_is_shown(tmp_path: Path) -> None:
    prediction = nothing_found(body())
    assert "No pancreas was found in this scan" in texts(prediction)
    picture = rendered(prediction, tmp_path)
    assert len(outline_pixels(picture)) == 0
    assert prediction.asked == []
    assert (picture.max(axis=2) > 90).mean() > 0.05


@pytest.mark.parametrize("levels", [0, 1, 5])
def test_any_number_of_levels(levels: int) -> None:
    prediction = hand_made(body(), levels=levels)
    written = texts(prediction)
    assert prediction.asked == list(range(1, levels + 1))
    assert [text for text in written if text.startswith("Level")] == [
        f"Level {level}" for level in range(1, levels + 1)
    ]
    assert ("Where the network looked" in written) == (levels > 0)


@pytest.mark.parametrize("one_voxel_along", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_a_scan_of_one_voxel_along_an_axis_is_drawn(
    one_voxel_along: tuple[int, ...], tmp_path: Path
) -> None:
    whole = body()
    middle = np.argwhere(whole.array == 120).mean(axis=0).astype(int)
    k, j, i = (
        slice(middle[axis], middle[axis] + 1) if axis in one_voxel_along else slice(None)
        for axis in range(3)
    )
    flat = Volume(whole.array[k, j, i], whole.ijk_to_ras)
    picture = rendered(hand_made(flat, levels=1), tmp_path)
    colours = int((picture.max(axis=2) - picture.min(axis=2) > 60).sum())
    assert colours > 1000


def test_a_scale_bar_longer_than_its_slice_lies_over_the_next_one(tmp_path: Path) -> None:
    narrow = Volume(body().array[:, :, 35:37], body().ijk_to_ras)
    prediction = hand_made(narrow, levels=1)
    drawing = overlay._Drawing(prediction, "")
    axial, coronal, _ = drawing._slice_panels(122)
    length = 50 / axial.pixel_mm
    assert axial.x + 14 + length > coronal.right
    row = rendered(prediction, tmp_path)[axial.bottom - 14]
    bright = (row > 200).all(axis=1)
    assert bright.sum() == pytest.approx(length, abs=3)


@pytest.mark.parametrize("thickness_mm", [6.0, 60.0])
def test_five_slices_are_enough(thickness_mm: float, tmp_path: Path) -> None:
    whole = body()
    few = Volume(whole.array[20:25], whole.ijk_to_ras @ np.diag([1, 1, thickness_mm / 6, 1.0]))
    mask = np.zeros(few.array.shape, np.uint8)
    mask[2:4, 20:30, 20:40] = 1
    picture = rendered(hand_made(few, mask, levels=1), tmp_path)
    assert len(outline_pixels(picture)) > 100


@pytest.mark.parametrize(
    "title", ["$x^2$ 100 % {0}.nii", "腹部.nrrd", "a" * 300, "one\ntwo", "\udcff.nii"]
)
def test_any_title_is_drawn_as_it_is(title: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        overlay.render_overlay(hand_made(body(), levels=0), tmp_path / "o.png", title)
    shown = texts(hand_made(body(), levels=0), title)
    assert title.replace("\n", " ") in shown or "a" * 41 + "…" + "a" * 42 in shown


def test_a_picture_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        overlay.render_overlay(hand_made(body(), levels=0), tmp_path / "absent" / "o.png", "scan")
