"""Where voxels lie: against closed formulas and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.geometry.grid import (
    Box,
    Grid,
    aligned_grid,
    box_corners,
    has_right_angles,
)
from AttentionUNetSegmentLib.geometry.itk import image_of_array
from AttentionUNetSegmentLib.geometry.volume import Volume
from geometry import placed, rotation

OBLIQUE = rotation(2, 17) @ rotation(0, 9) @ placed((0.7, 0.9, 2.5), (3, -4, 50))
SHEARED = placed((0.7, 0.9, 2.5), (3, -4, 50)) @ np.array(
    [[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
)


def test_indices_and_positions_are_those_of_simpleitk() -> None:
    image = image_of_array(np.zeros((6, 7, 8), np.uint8), OBLIQUE)
    grid = Grid((6, 7, 8), OBLIQUE)
    for index in ([0.0, 0.0, 0.0], [3.25, 1.5, 4.75], [-2.0, 9.0, 1.0]):
        lps = np.array(image.TransformContinuousIndexToPhysicalPoint(index))
        np.testing.assert_allclose(grid.position_of(index), lps * [-1, -1, 1], atol=1e-9)
        np.testing.assert_allclose(grid.index_of(lps * [-1, -1, 1]), index, atol=1e-9)


@pytest.mark.parametrize("matrix", [OBLIQUE, SHEARED])
def test_many_points_at_once_are_as_one_by_one_and_back_again(matrix: np.ndarray) -> None:
    grid = Grid((6, 7, 8), matrix)
    points = np.random.default_rng(0).normal(0, 40, (2, 5, 3))
    indices = grid.index_of(points)
    np.testing.assert_allclose(indices[1, 2], grid.index_of(points[1, 2]), atol=1e-12)
    np.testing.assert_allclose(grid.position_of(indices), points, atol=1e-9)


def test_a_point_lies_in_the_voxel_whose_middle_is_nearest_and_in_none_beyond_the_grid() -> None:
    grid = Grid((6, 7, 8), OBLIQUE)
    assert grid.voxel_of(grid.position_of((7.4, 0.4, 2.6))) == (3, 0, 7)
    assert grid.voxel_of(grid.position_of((-0.4, 6.4, 5.4))) == (5, 6, 0)
    for beyond in ((7.6, 0, 0), (0, -0.6, 0), (0, 0, 5.6)):
        assert grid.voxel_of(grid.position_of(beyond)) is None


def test_the_corners_of_a_grid_are_the_outer_ones_of_its_voxels() -> None:
    grid = Grid((2, 3, 4), np.diag([1.0, -2.0, 3.0, 1.0]))
    np.testing.assert_allclose(grid.bounds.low_ras, [-0.5, -5, -1.5])
    np.testing.assert_allclose(grid.bounds.high_ras, [3.5, 1, 4.5])
    np.testing.assert_allclose(grid.bounds.extent_mm, [4, 6, 6])
    assert len({tuple(corner) for corner in grid.corners_ras}) == 8


def test_axes_at_right_angles_are_told_from_sheared_ones() -> None:
    assert has_right_angles(OBLIQUE)
    assert not has_right_angles(SHEARED)


def test_a_box_cut_to_an_extent_stays_within_itself() -> None:
    box = Box(np.zeros(3), np.array([100.0, 20.0, 50.0]))
    cut = box.at_most((40, 40, 40), around=np.array([95.0, 10.0, 25.0]))
    np.testing.assert_allclose([cut.low_ras, cut.high_ras], [[60, 0, 5], [100, 20, 45]])


def test_a_volume_from_lps_lies_where_simpleitk_places_it() -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    ijk_to_lps = np.diag([0.5, 0.75, 2.0, 1.0])
    ijk_to_lps[:3, 3] = (10, -20, 30)
    of_matrix = Volume.from_lps(np.zeros((4, 5, 6), np.int16), ijk_to_lps)
    np.testing.assert_array_equal(of_matrix.ijk_to_ras, Volume.from_sitk(image).ijk_to_ras)
    np.testing.assert_allclose(of_matrix.grid.position_of((0, 0, 0)), [-10, 20, 30])


def test_an_aligned_grid_covers_its_box_and_is_centred_on_it() -> None:
    low, high = np.array([-10.0, 5.0, 100.0]), np.array([31.0, 55.0, 130.5])
    grid = aligned_grid(Box(low, high), (2.0, 2.0, 3.0), multiple=16)
    assert grid.shape == (16, 32, 32)
    assert (grid.bounds.low_ras <= low).all()
    assert (grid.bounds.high_ras >= high).all()
    np.testing.assert_allclose(grid.bounds.centre_ras, (low + high) / 2)


def test_snapped_grids_of_overlapping_boxes_share_their_voxels() -> None:
    low = np.array([-10.3, 5.7, 100.1])
    for shift in (0.0, 0.9, 1.7):
        grid = aligned_grid(Box(low + shift, low + 40 + shift), (2.0, 2.0, 3.0), 16, snap=True)
        steps = grid.ijk_to_ras[:3, 3] / [2.0, 2.0, 3.0]
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_a_subgrid_has_its_voxels_where_the_grid_has_them() -> None:
    grid = Grid((8, 9, 10), rotation(0, 20) @ placed((1.0, 2.0, 3.0), (1, 2, 3)))
    part = grid.subgrid((slice(2, 5), slice(1, 4), slice(3, 9)))
    assert part.shape == (3, 3, 6)
    np.testing.assert_allclose(part.ijk_to_ras[:, 3], grid.ijk_to_ras @ [3, 1, 2, 1])


def test_a_region_covers_a_box_and_is_clipped_to_the_grid() -> None:
    grid = Grid((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
    box = grid.region_of(box_corners([3.9, -50, 6], [8.1, 5, 100]))
    assert box == (slice(3, 10), slice(0, 4), slice(2, 5))
    outside = grid.region_of(box_corners([100, 100, 100], [110, 110, 110]))
    assert all(part.stop == part.start for part in outside)
