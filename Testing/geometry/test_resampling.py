"""Resampling to grids and back: against SciPy and closed formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.grid import Box, Grid, aligned_grid
from AttentionUNetSegmentLib.geometry.resampling import resample, sample_scan, widened, window_scan
from AttentionUNetSegmentLib.geometry.volume import Volume, reorder_axes
from geometry import placed, rotation
from scipy import ndimage

WINDOW = (0.0, 1.0)


def random_volume(shape: tuple[int, int, int], matrix: np.ndarray, seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).random(shape).astype(np.float32)
    return Volume(array, matrix)


@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_trilinear_interpolation_agrees_with_scipy(degrees: float) -> None:
    matrix = rotation(2, degrees) @ rotation(0, degrees / 2) @ placed((1.1, 0.9, 2.0), (7, -3, 50))
    volume = random_volume((9, 12, 11), matrix)
    target = aligned_grid(volume.grid.bounds.grown(-1), (1.3, 1.4, 1.7))
    ours = sample_scan(volume, target, WINDOW)[0, 0].numpy()

    k, j, i = np.meshgrid(*(np.arange(n) for n in target.shape), indexing="ij")
    indices = np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])
    source = np.linalg.inv(matrix) @ target.ijk_to_ras @ indices
    reference = ndimage.map_coordinates(
        volume.array, source[[2, 1, 0]], order=1, mode="constant", cval=np.nan
    ).reshape(target.shape)
    inside = np.isfinite(reference)
    assert inside.sum() > 50
    np.testing.assert_allclose(ours[inside], reference[inside], atol=1e-4)


def test_nothing_is_seen_beyond_the_scan() -> None:
    volume = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    target = Grid(
        (12, 12, 12), np.array([[1, 0, 0, -4], [0, 1, 0, -4], [0, 0, 1, -4], [0, 0, 0, 1.0]])
    )
    image = sample_scan(volume, target, WINDOW)[0, 0].numpy()
    expected = np.zeros((12, 12, 12), np.float32)
    expected[4:8, 4:8, 4:8] = 1
    np.testing.assert_allclose(image, expected, atol=1e-6)


def test_a_grid_far_away_from_the_scan_is_black() -> None:
    volume = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    low = np.array([500.0, 500, 500])
    image = sample_scan(volume, aligned_grid(Box(low, low + 20), (2.0, 2.0, 2.0)), WINDOW)
    assert float(image.abs().max()) == 0


def test_intensities_are_windowed_and_clipped() -> None:
    array = np.array([-1024, -125, 75, 275, 3071], np.int16).reshape(5, 1, 1)
    volume = Volume(np.broadcast_to(array, (5, 3, 3)), np.eye(4))
    image = sample_scan(volume, volume.grid, (-125.0, 275.0))[0, 0, :, 1, 1]
    np.testing.assert_allclose(image.numpy(), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_a_coarser_grid_averages_instead_of_skipping() -> None:
    """A checkerboard at a quarter of the resolution is grey; picking voxels would give 0 or 1."""
    k, j, i = np.indices((16, 16, 16))
    volume = Volume(((k + j + i) % 2).astype(np.float32), np.eye(4))
    image = sample_scan(volume, aligned_grid(volume.grid.bounds, (4.0, 4.0, 4.0)), WINDOW)
    np.testing.assert_allclose(image.numpy(), 0.5, atol=1e-6)


def test_averaging_is_the_mean_over_blocks_also_where_the_last_block_is_partial() -> None:
    volume = random_volume((7, 6, 9), np.eye(4))
    source = window_scan(volume, Grid((3, 3, 4), np.diag([2.0, 2.0, 2.0, 1.0])), WINDOW)
    assert source.values.shape[2:] == (4, 3, 5)
    np.testing.assert_allclose(
        source.values[0, 0, 1, 1, 1], volume.array[2:4, 2:4, 2:4].mean(), rtol=1e-6
    )
    np.testing.assert_allclose(
        source.values[0, 0, 3, 2, 4], volume.array[6, 4:6, 8].mean(), rtol=1e-6
    )
    # The first averaged voxel lies between the first two.
    np.testing.assert_allclose(source.grid.ijk_to_ras[:3, 3], 0.5)


@pytest.mark.parametrize("slices", [1, 2, 7, 25])
def test_a_last_slab_that_is_thinner_than_a_voxel_of_the_target(
    slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = random_volume((slices, 5, 5), np.eye(4))
    target = Grid((slices // 6 + 1, 1, 1), np.diag([6.0, 6.0, 6.0, 1.0]))
    monkeypatch.setattr("AttentionUNetSegmentLib.geometry.resampling.SLAB_VOXELS", 300)
    source = window_scan(volume, target, WINDOW)
    means = [volume.array[start : start + 6].mean() for start in range(0, slices, 6)]
    np.testing.assert_allclose(source.values.numpy().ravel(), means, rtol=1e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)])
def test_the_storage_order_of_a_scan_does_not_matter(
    axes: tuple[int, int, int], flips: tuple[bool, ...]
) -> None:
    volume = random_volume((10, 14, 12), rotation(1, 8) @ placed((1.0, 1.0, 2.5), (3, 4, 5)))
    target = aligned_grid(volume.grid.bounds, (1.5, 1.5, 3.0))
    expected = sample_scan(volume, target, WINDOW)
    stored = sample_scan(reorder_axes(volume, axes, flips), target, WINDOW)
    np.testing.assert_allclose(stored.numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("mode", "order"), [("bilinear", 1), ("nearest", 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_straight_and_mirrored_grids_agree_with_scipy(
    mode: str, order: int, signs: tuple[int, int, int]
) -> None:
    """Such grids are interpolated axis by axis, growing along some and shrinking along others."""
    volume = random_volume((9, 11, 8), placed((0.7, 1.9, 3.3), (-3, 4, 5)))
    matrix = np.diag([1.3 * signs[0], 0.8 * signs[1], 4.1 * signs[2], 1.0])
    bounds = volume.grid.bounds
    # It begins within, and ends far beyond.
    matrix[:3, 3] = np.where(np.array(signs) > 0, bounds.low_ras + 0.43, bounds.high_ras - 0.43)
    target = Grid((12, 40, 21), matrix)
    image = torch.from_numpy(volume.array)[None, None]
    ours = resample(image, volume.grid, target, mode)[0, 0].numpy()

    k, j, i = np.indices(target.shape)
    ijk = (
        np.linalg.inv(volume.ijk_to_ras) @ matrix @ [i.ravel(), j.ravel(), k.ravel(), k.size * [1]]
    )
    at = ijk[2::-1]
    theirs = ndimage.map_coordinates(volume.array, at, order=order, mode="nearest")
    ends = np.array(volume.array.shape)[:, None] - 0.5
    theirs[((at < -0.5) | (at > ends)).any(axis=0)] = 0
    assert 0 < np.count_nonzero(theirs) < theirs.size
    np.testing.assert_allclose(ours.ravel(), theirs, atol=1e-5)


def test_memory_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = random_volume((21, 16, 15), rotation(2, 5))
    target = aligned_grid(volume.grid.bounds, (2.0, 2.2, 3.1))
    whole = sample_scan(volume, target, WINDOW)
    monkeypatch.setattr("AttentionUNetSegmentLib.geometry.resampling.SLAB_VOXELS", 400)
    np.testing.assert_allclose(
        sample_scan(volume, target, WINDOW).numpy(), whole.numpy(), atol=1e-6
    )


def test_there_and_back_keeps_a_smooth_image() -> None:
    k, j, i = np.indices((20, 24, 22)) / 8.0
    smooth = (0.5 + 0.5 * np.sin(k) * np.cos(j) * np.sin(i)).astype(np.float32)
    volume = Volume(smooth, rotation(2, 12) @ placed((1.0, 1.0, 1.5), (0, 0, 0)))
    grid = volume.grid
    fine = aligned_grid(volume.grid.bounds, (0.7, 0.7, 0.7))
    there = sample_scan(volume, fine, WINDOW)
    back = resample(there, fine, grid)[0, 0].numpy()
    middle = (slice(3, -3),) * 3
    np.testing.assert_allclose(back[middle], smooth[middle], atol=0.02)


def test_a_coarsened_grid_places_the_voxels_of_pooled_maps() -> None:
    grid = Grid((16, 16, 16), np.diag([2.0, 2.0, 3.0, 1.0]))
    image = torch.arange(16.0).view(1, 1, 16, 1, 1).expand(1, 1, 16, 16, 16)
    pooled = torch.nn.functional.avg_pool3d(image, 4)
    back = resample(pooled, grid.coarsened(4), grid)
    # Linear in k, so pooling and interpolating gives the same values away from the ends.
    np.testing.assert_allclose(back[0, 0, 2:14], image[0, 0, 2:14], atol=1e-4)


@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        (np.diag([1.0, 1.0, 0.0, 1.0]), "spacing"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "axes"),
        (np.full((4, 4), np.nan), "finite"),
    ],
)
def test_a_volume_that_cannot_be_placed_is_refused(matrix: np.ndarray, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Volume(np.zeros((3, 3, 3)), matrix)


def test_the_voxel_volume_takes_shear_into_account() -> None:
    sheared = np.array([[1, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    assert Volume(np.zeros((2, 2, 2)), sheared).voxel_volume_ml == pytest.approx(0.006)


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 8, 2)])
@pytest.mark.parametrize("voxels", [1, 4])
def test_widening_agrees_with_scipy(voxels: int, shape: tuple[int, int, int]) -> None:
    region = np.random.default_rng(0).random(shape) > 0.97
    region[0, 3, 1] = True
    before = region.copy()
    expected = ndimage.binary_dilation(region, np.ones((2 * voxels + 1,) * 3))
    given = torch.from_numpy(region)[None, None]
    np.testing.assert_array_equal(widened(given, voxels)[0, 0].numpy(), expected)
    np.testing.assert_array_equal(region, before)
