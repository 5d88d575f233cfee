"""The measures of a mask, against formulas for bodies whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest
from AttentionUNetSegmentLib.geometry.volume import Volume, reorder_axes
from AttentionUNetSegmentLib.inference.statistics import MaskStatistics, mask_statistics
from AttentionUNetSegmentLib.synthetic import ORGAN_LABELS, synthetic_abdomen

SPACINGS = [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0), (0.7, 0.7, 5.0)]
BOX_MM = 130.0


def body(spacing: tuple[float, float, float], kind: str) -> tuple[Volume, np.ndarray]:
    """A body in the middle of a box, and a scan whose values rise along R."""
    shape = [round(BOX_MM / step) for step in reversed(spacing)]
    k, j, i = np.indices(shape)
    x, y, z = (at * step - BOX_MM / 2 for at, step in zip((i, j, k), spacing, strict=True))
    inside = {
        "ball": x**2 + y**2 + z**2 < 30**2,
        "rod": (np.abs(x) < 50) & (y**2 + z**2 < 8**2),
        "bow": ((np.hypot(x, y) - 40) ** 2 + z**2 < 8**2) & (y > 0),
    }[kind]
    matrix = np.diag([*spacing, 1.0])
    return Volume((10 * x).astype(np.int16), matrix), inside.astype(np.uint8)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_volume_and_surface_of_a_ball(spacing: tuple[float, float, float]) -> None:
    measured = mask_statistics(*body(spacing, "ball"))
    assert measured.volume_ml == pytest.approx(4 / 3 * np.pi * 30**3 / 1000, rel=0.01)
    assert measured.surface_mm2 == pytest.approx(4 * np.pi * 30**2, rel=0.03)
    assert measured.extent_mm == pytest.approx((60, 60, 60), abs=max(spacing))


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize(("kind", "length_mm"), [("rod", 100.0), ("bow", np.pi * 40)])
def test_length_of_a_rod_straight_and_bent(
    kind: str, length_mm: float, spacing: tuple[float, float, float]
) -> None:
    """The way takes the inner side of the bend, and begins and ends in a corner."""
    volume, mask = body(spacing, kind)
    measured = mask_statistics(volume, mask)
    assert measured.length_mm == pytest.approx(length_mm, rel=0.08)
    speck = mask.copy()
    speck[1, 1, 1] = 1
    assert mask_statistics(volume, speck).length_mm == pytest.approx(measured.length_mm)


def test_length_is_that_of_the_pancreas_middle_line() -> None:
    """Which the synthetic abdomen knows; the organ goes on for its own radius at both ends."""
    for seed in (0, 1):
        abdomen = synthetic_abdomen(seed, (2.0, 2.0, 3.0))
        mask = abdomen.labels.array == ORGAN_LABELS["pancreas"]
        steps = np.linalg.norm(np.diff(abdomen.centrelines["pancreas"], axis=0), axis=1)
        measured = mask_statistics(abdomen.ct, mask).length_mm
        assert measured is not None
        assert steps.sum() < measured < steps.sum() + 30


def test_intensities_are_those_in_the_mask() -> None:
    volume, mask = body((2.0, 2.0, 3.0), "rod")
    values = volume.array[mask != 0].astype(float)
    measured = mask_statistics(volume, mask)
    assert measured.mean_hu == pytest.approx(values.mean())
    assert measured.sd_hu == pytest.approx(np.sqrt(((values - values.mean()) ** 2).mean()))
    assert measured.median_hu == np.median(values)


def test_the_order_of_the_voxels_and_the_place_do_not_matter() -> None:
    volume, mask = body((1.0, 2.0, 3.0), "bow")
    expected = mask_statistics(volume, mask)
    axes, flips = (2, 0, 1), (False, True, True)
    moved = reorder_axes(volume, axes, flips)
    other = reorder_axes(volume.with_array(mask), axes, flips)
    for name, value in vars(mask_statistics(moved, other.array)).items():
        assert value == pytest.approx(getattr(expected, name), rel=0.01), name
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]
    turned = mask_statistics(Volume(volume.array, turn @ volume.ijk_to_ras), mask)
    assert turned.length_mm == expected.length_mm
    assert expected.extent_mm is not None
    r, a, s = expected.extent_mm
    assert turned.extent_mm == pytest.approx((a, r, s))


def test_extent_on_an_oblique_grid_is_that_of_the_voxels_corners() -> None:
    volume, mask = body((2.0, 2.0, 3.0), "rod")
    c, s = np.cos(0.5), np.sin(0.5)
    turn = np.array([[c, -s, 0, 7], [s, c, 0, -3], [0, 0, 1, 11], [0, 0, 0, 1]])
    matrix = turn @ volume.ijk_to_ras
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
    points = (np.argwhere(mask)[:, None, ::-1] + corners).reshape(-1, 3) @ matrix[:3, :3].T
    measured = mask_statistics(Volume(volume.array, matrix), mask)
    assert measured.extent_mm == pytest.approx(tuple(points.max(axis=0) - points.min(axis=0)))


def test_a_sheared_grid_has_a_volume_and_no_surface() -> None:
    volume, mask = body((2.0, 2.0, 3.0), "ball")
    matrix = volume.ijk_to_ras.copy()
    matrix[1, 2] = 1.0
    measured = mask_statistics(Volume(volume.array, matrix), mask)
    assert measured.volume_ml == pytest.approx(mask.sum() * 12 / 1000)
    assert measured.surface_mm2 is None
    assert measured.length_mm is None


def test_nothing_has_no_measures() -> None:
    volume, mask = body((2.0, 2.0, 3.0), "ball")
    assert mask_statistics(volume, np.zeros_like(mask)) == MaskStatistics(0.0)


def test_one_voxel_has_measures() -> None:
    volume, mask = body((2.0, 2.0, 3.0), "ball")
    mask[:] = 0
    mask[5, 6, 7] = 1
    measured = mask_statistics(volume, mask)
    assert measured.extent_mm == pytest.approx((2, 2, 3))
    assert measured.sd_hu == 0
    assert measured.length_mm == pytest.approx(7 / 3)


def test_the_length_does_not_depend_on_what_memory_held_before() -> None:
    volume, mask = body((2.0, 2.0, 3.0), "bow")
    lengths, kept = set(), []
    for _ in range(20):
        lengths.add(mask_statistics(volume, mask).length_mm)
        kept.append(np.full(mask.shape, 1e9, np.float64))
    assert len(lengths) == 1
