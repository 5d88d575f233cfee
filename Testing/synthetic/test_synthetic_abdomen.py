"""The synthetic abdomen: the same for a seed, different between seeds, anatomically in order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.validation import check_ct
from AttentionUNetSegmentLib.synthetic import (
    BODY_PARTS,
    ORGAN_LABELS,
    BodyPart,
    SyntheticAbdomen,
    synthetic_abdomen,
    synthetic_body_part,
)
from AttentionUNetSegmentLib.synthetic.canvas import Canvas, Tube, ellipsoid
from AttentionUNetSegmentLib.synthetic.fields import SmoothField, smooth_curve
from AttentionUNetSegmentLib.synthetic.patient import WORLD_HIGH, WORLD_LOW, draw_deformation

SEEDS = range(5)
SPACING_MM = (3.0, 3.0, 5.0)

# What is seen in adults with contrast in the portal venous or late arterial phase.
PLAUSIBLE_ML = {
    "spleen": (60, 600),
    "right kidney": (60, 280),
    "left kidney": (60, 280),
    "gallbladder": (2, 90),
    "liver": (900, 2900),
    "stomach": (120, 900),
    "aorta": (35, 220),
    "pancreas": (40, 130),
}
PLAUSIBLE_MEDIAN_HU = {
    "spleen": (95, 150),
    "right kidney": (130, 230),
    "left kidney": (130, 230),
    "gallbladder": (-5, 40),
    "liver": (45, 135),
    "aorta": (130, 330),
    "pancreas": (30, 130),
}


@pytest.fixture(scope="module")
def abdomens() -> list[SyntheticAbdomen]:
    return [synthetic_abdomen(seed, SPACING_MM) for seed in SEEDS]


def _positions_ras(labels: Volume, value: int) -> np.ndarray:
    ijk = np.argwhere(labels.array == value)[:, ::-1]
    return ijk @ labels.ijk_to_ras[:3, :3].T + labels.ijk_to_ras[:3, 3]


def _centre_ras(abdomen: SyntheticAbdomen, organ: str) -> np.ndarray:
    return _positions_ras(abdomen.labels, ORGAN_LABELS[organ]).mean(axis=0)


def test_same_seed_gives_the_same_abdomen(abdomens: list[SyntheticAbdomen]) -> None:
    again = synthetic_abdomen(0, SPACING_MM)
    np.testing.assert_array_equal(again.ct.array, abdomens[0].ct.array)
    np.testing.assert_array_equal(again.labels.array, abdomens[0].labels.array)
    np.testing.assert_array_equal(again.ct.ijk_to_ras, abdomens[0].ct.ijk_to_ras)


def test_seeds_differ_in_more_than_noise(abdomens: list[SyntheticAbdomen]) -> None:
    sizes_ml, aorta_hu, widths_mm = [], [], []
    for abdomen in abdomens:
        ct, labels = abdomen.ct.array, abdomen.labels.array
        counts = np.bincount(labels.ravel(), minlength=9)[1:]
        sizes_ml.append(counts * abdomen.labels.voxel_volume_ml)
        aorta_hu.append(np.median(ct[labels == ORGAN_LABELS["aorta"]]))
        body = (ct > -300).any(axis=(0, 1))
        widths_mm.append(body.sum() * SPACING_MM[0])
    spread = np.std(sizes_ml, axis=0) / np.mean(sizes_ml, axis=0)
    assert (spread > 0.04).all(), spread
    assert np.std(aorta_hu) > 5
    assert len(set(widths_mm)) > 1
    starts = {tuple(a.ct.ijk_to_ras[:3, 3]) for a in abdomens}
    assert len(starts) == len(abdomens)


def test_grid_is_that_of_a_scanner(abdomens: list[SyntheticAbdomen]) -> None:
    for abdomen in abdomens:
        ct, labels = abdomen.ct, abdomen.labels
        assert ct.array.dtype == np.int16
        assert labels.array.dtype == np.uint8
        np.testing.assert_array_equal(ct.ijk_to_ras, labels.ijk_to_ras)
        np.testing.assert_allclose(ct.spacing_mm, SPACING_MM)
        # i to the left, j to the back, k to the head.
        np.testing.assert_array_equal(np.sign(np.diag(ct.ijk_to_ras)), (-1, -1, 1, 1))
        extent = np.array(ct.shape_ijk) * SPACING_MM
        assert 317 <= extent[0] <= 383
        assert extent[0] == extent[1]
        assert 240 <= extent[2] <= 300


def test_every_label_is_there_and_no_other(abdomens: list[SyntheticAbdomen]) -> None:
    for abdomen in abdomens:
        assert set(np.unique(abdomen.labels.array)) == {0, *ORGAN_LABELS.values()}


@pytest.mark.parametrize("organ", PLAUSIBLE_ML)
def test_volumes_are_plausible(abdomens: list[SyntheticAbdomen], organ: str) -> None:
    low, high = PLAUSIBLE_ML[organ]
    for abdomen in abdomens:
        count = np.count_nonzero(abdomen.labels.array == ORGAN_LABELS[organ])
        assert low <= count * abdomen.labels.voxel_volume_ml <= high, abdomen.seed


@pytest.mark.parametrize("organ", PLAUSIBLE_MEDIAN_HU)
def test_organs_have_plausible_hounsfield_units(
    abdomens: list[SyntheticAbdomen], organ: str
) -> None:
    low, high = PLAUSIBLE_MEDIAN_HU[organ]
    for abdomen in abdomens:
        inside = abdomen.ct.array[abdomen.labels.array == ORGAN_LABELS[organ]]
        assert low <= np.median(inside) <= high, abdomen.seed


def test_ct_is_not_clipped(abdomens: list[SyntheticAbdomen]) -> None:
    for abdomen in abdomens:
        ct = abdomen.ct.array
        corner = ct[:, :6, :6]
        assert abs(corner.mean() + 1000) < 10
        assert corner.std() > 1  # a scanner's air is noisy
        assert ct.max() > 400  # bone
        lungs = (ct[-1] > -950) & (ct[-1] < -700)
        assert lungs.mean() > 0.03
        fat = (ct > -130) & (ct < -70)
        assert fat.mean() > 0.1


def test_organs_lie_where_they_belong(abdomens: list[SyntheticAbdomen]) -> None:
    for abdomen in abdomens:
        at = {organ: _centre_ras(abdomen, organ) for organ in ORGAN_LABELS}
        right, anterior, superior = 0, 1, 2
        # Right is positive in RAS.
        assert at["liver"][right] > at["aorta"][right] > at["spleen"][right]
        assert at["right kidney"][right] > at["aorta"][right] > at["left kidney"][right]
        assert at["gallbladder"][right] > at["pancreas"][right]
        assert at["stomach"][right] < at["liver"][right]
        assert at["stomach"][anterior] > at["spleen"][anterior]
        for kidney in ("right kidney", "left kidney"):
            assert at[kidney][anterior] < at["pancreas"][anterior]
        assert at["pancreas"][anterior] > at["aorta"][anterior]
        assert at["spleen"][superior] > at["left kidney"][superior]
        assert at["liver"][superior] > at["right kidney"][superior]


def test_pancreas_runs_from_the_right_head_to_the_left_tail(
    abdomens: list[SyntheticAbdomen],
) -> None:
    for abdomen in abdomens:
        line = abdomen.centrelines["pancreas"]
        head, tail = line[0], line[-1]
        assert head[0] - tail[0] > 80
        assert tail[2] > head[2]  # the tail lies higher
        assert tail[1] < line[:, 1].max() - 15  # the body arches forwards, over the spine
        mesenteric = abdomen.centrelines["superior mesenteric vein"][1]
        assert head[0] > mesenteric[0]
        spleen = _positions_ras(abdomen.labels, ORGAN_LABELS["spleen"])
        assert np.linalg.norm(spleen - tail, axis=1).min() < 40
        # The centre line is inside the organ, but for a vessel or a cleft here and there.
        ras = np.c_[line, np.ones(len(line))]
        ijk = np.rint(ras @ abdomen.labels.ras_to_ijk.T).astype(int)
        values = abdomen.labels.array[ijk[:, 2], ijk[:, 1], ijk[:, 0]]
        assert (values == ORGAN_LABELS["pancreas"]).mean() > 0.8


def test_splenic_vein_runs_behind_the_pancreas(abdomens: list[SyntheticAbdomen]) -> None:
    for abdomen in abdomens:
        pancreas = _positions_ras(abdomen.labels, ORGAN_LABELS["pancreas"])
        # Without the confluence and the hilum.
        for point in abdomen.centrelines["splenic vein"][1:-2]:
            beside = pancreas[np.abs(pancreas[:, 0] - point[0]) < 4]
            beside = beside[np.abs(beside[:, 2] - point[2]) < 8]
            assert len(beside), abdomen.seed
            assert beside[:, 1].mean() > point[1], abdomen.seed
            assert np.linalg.norm(pancreas - point, axis=1).min() < 8, abdomen.seed


def test_vessels_are_bright_where_their_centre_lines_are() -> None:
    abdomen = synthetic_abdomen(2, (1.5, 1.5, 3.0), size_ijk=(130, 130, 40), noise_hu=0)
    fat_and_muscle = 75
    for name in ("portal vein", "splenic vein", "aorta"):
        line = abdomen.centrelines[name]
        ijk = np.rint(np.c_[line, np.ones(len(line))] @ abdomen.ct.ras_to_ijk.T).astype(int)[:, :3]
        ijk = ijk[((ijk >= 0) & (ijk < abdomen.ct.shape_ijk)).all(axis=1)]
        assert len(ijk) >= 2
        hu = abdomen.ct.array[ijk[:, 2], ijk[:, 1], ijk[:, 0]]
        assert np.median(hu) > fat_and_muscle, name


def test_another_spacing_samples_the_same_patient(abdomens: list[SyntheticAbdomen]) -> None:
    other = synthetic_abdomen(1, (4.0, 4.0, 4.0))
    for organ, value in ORGAN_LABELS.items():
        here, there = _centre_ras(abdomens[1], organ), _centre_ras(other, organ)
        assert np.linalg.norm(here - there) < 3.0, organ
        sizes = [
            np.count_nonzero(a.labels.array == value) * a.labels.voxel_volume_ml
            for a in (abdomens[1], other)
        ]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.15), organ
    for name, line in abdomens[1].centrelines.items():
        np.testing.assert_allclose(line, other.centrelines[name])


def test_size_crops_about_the_same_centre() -> None:
    whole = synthetic_abdomen(3, (4.0, 4.0, 6.0), noise_hu=0)
    i, j, k = whole.ct.shape_ijk
    part = synthetic_abdomen(3, (4.0, 4.0, 6.0), size_ijk=(i - 20, j - 30, k - 10), noise_hu=0)
    np.testing.assert_array_equal(part.labels.array, whole.labels.array[5:-5, 15:-15, 10:-10])
    # The first and last slices have other neighbours to be blurred with.
    np.testing.assert_allclose(part.ct.array[1:-1], whole.ct.array[6:-6, 15:-15, 10:-10], atol=1)


def test_noise_is_as_strong_as_asked_and_correlated() -> None:
    spacing_mm, size = (0.8, 0.8, 3.0), (90, 90, 4)
    clean = synthetic_abdomen(4, spacing_mm, size, noise_hu=0).ct.array.astype(float)
    noisy = synthetic_abdomen(4, spacing_mm, size, noise_hu=20).ct.array.astype(float)
    soft = (clean > 0) & (clean < 150)
    grain = noisy - clean
    assert grain[soft].std() == pytest.approx(20, rel=0.15)
    assert abs(grain[soft].mean()) < 1
    neighbours = np.corrcoef(grain[:, :, 1:].ravel(), grain[:, :, :-1].ravel())[0, 1]
    assert neighbours > 0.35
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"spacing_mm": (0.0, 1.0, 1.0)},
        {"spacing_mm": (1.0, float("nan"), 1.0)},
        {"spacing_mm": (1.0, 1.0)},
        {"size_ijk": (10, 0, 10)},
    ],
)
def test_unusable_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(InputError):
        synthetic_abdomen(**arguments)


def _canvas(spacing_mm: float = 1.0) -> Canvas:
    rng = np.random.default_rng(0)
    fields = [SmoothField(rng, WORLD_LOW, WORLD_HIGH, 60.0) for _ in range(3)]
    axis = np.arange(-30, 30.1, spacing_mm)
    shape = (len(axis),) * 3
    return Canvas(
        axis,
        axis,
        axis,
        draw_deformation(rng),
        (fields[0], fields[1], fields[2]),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.uint8),
    )


def test_smooth_field_has_unit_variance_and_no_mean() -> None:
    rng = np.random.default_rng(1)
    axis = np.arange(-150, 150, 4.0)
    values = SmoothField(rng, (-150,) * 3, (150,) * 3, 9.0).on_grid(axis, axis, axis)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.06)


def test_smooth_field_is_the_same_on_a_grid_and_at_points() -> None:
    fields = [SmoothField(np.random.default_rng(n), (-20,) * 3, (20,) * 3, 11.0) for n in (2, 3)]
    # Beyond the box too.
    x, y, z = np.array([-40.0, -3, 17]), np.array([0.5, 9, 60]), np.array([-19.0, 2])
    points = np.array([(a, b, c) for c in z for b in y for a in x])
    values = SmoothField.at_points(fields, points)
    for column, field in zip(values.T, fields, strict=True):
        np.testing.assert_allclose(column, field.on_grid(x, y, z).ravel(), atol=1e-5)


def test_deformation_returns_to_where_it_came_from() -> None:
    deformation = draw_deformation(np.random.default_rng(5))
    atlas = np.random.default_rng(6).uniform(-80, 80, (20, 3))
    world = deformation.to_world(atlas)
    for point, expected in zip(world, atlas, strict=True):
        grids = deformation.atlas_grid(*(point[axis : axis + 1] for axis in range(3)))
        np.testing.assert_allclose([grid.item() for grid in grids], expected, atol=0.05)


def test_ellipsoid_is_a_sphere_for_equal_radii() -> None:
    canvas = _canvas(5.0)
    view = canvas.whole()
    expected = np.sqrt(view.x**2 + view.y**2 + view.z**2) - 12
    np.testing.assert_allclose(ellipsoid(view, (0, 0, 0), (12, 12, 12)), expected, atol=2e-2)


def test_tube_distance_is_that_to_its_centre_line() -> None:
    canvas = _canvas(2.0)
    points = np.array([(-15.0, 0, 0, 4), (0, 6, 3, 4), (15, 0, 8, 4)])
    tube = Tube(points, canvas.deformation, step_mm=2.0)
    found = canvas.tube(tube)
    assert found is not None
    view, distance = found
    z, y, x = (
        axis[part] for axis, part in zip((canvas.z, canvas.y, canvas.x), view.slices, strict=True)
    )
    grid = np.stack(np.broadcast_arrays(x, y[:, None], z[:, None, None]), axis=-1)
    # Densely sampled, independent of the capsules.
    dense = np.concatenate(
        [a + (b - a) * np.linspace(0, 1, 9)[:, None] for a, b in pairwise(tube.points)]
    )
    expected = np.linalg.norm(grid[..., None, :] - dense, axis=-1).min(axis=-1) - 4
    near = expected < 3
    np.testing.assert_allclose(distance[near], expected[near], atol=0.05)


def test_smooth_curve_passes_through_its_points() -> None:
    points = np.array([(0.0, 0, 0, 1), (10, 5, 0, 2), (20, 0, 5, 3)])
    curve = smooth_curve(points, 1.0)
    for point in points:
        assert np.abs(curve - point).max(axis=1).min() < 1e-9
    assert np.linalg.norm(np.diff(curve[:, :3], axis=0), axis=1).max() < 1.5


@pytest.mark.parametrize("part", BODY_PARTS)
def test_a_body_part_is_a_ct_drawn_from_its_seed(part: BodyPart) -> None:
    first, again, other = (synthetic_body_part(part, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.array, again.array)
    assert first.array.shape != other.array.shape or (first.array != other.array).any()
    assert first.array.dtype == np.int16
    assert check_ct(first) == []
    # Air around it, soft tissue, and bone.
    assert first.array.min() < -900
    assert 0.05 < ((first.array > 0) & (first.array < 120)).mean() < 0.6
    assert (first.array > 700).mean() > 0.002


def test_an_unknown_body_part_is_refused() -> None:
    with pytest.raises(InputError, match="thighs, head"):
        synthetic_body_part("tail")  # type: ignore[arg-type]
