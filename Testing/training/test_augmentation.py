"""Each augmentation, in 3D and 2D, against SciPy, MONAI or its formula."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.training.click_simulation import patch_grid, simulate_clicks
from AttentionUNetSegmentLib.training.patches import (
    AugmentationOptions,
    IntensityAugmentation,
    PatchOptions,
    PatchSource,
    collate_samples,
    random_bend,
    random_linear,
    restrict_to_plane,
)
from geometry import placed
from monai import transforms
from scipy.spatial.transform import Rotation
from small_cases import small_case

# The scan itself: 60 x 50 x 30 voxels of 2 x 2 x 3 mm, and one slice of it.
VOLUME = PatchOptions((50, 50, 30), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0), 0.0, around="scan")
SLICE = dataclasses.replace(VOLUME, size=(50, 50, 1))
NONE = AugmentationOptions(
    rotation_degrees=(0.0, 0.0, 0.0),
    scale=0.0,
    elastic_probability=0.0,
    thick_slices_probability=0.0,
    cropped_view_probability=0.0,
    hidden_organ_probability=0.0,
)
SIZES = pytest.mark.parametrize("patch", [VOLUME, SLICE], ids=["3D", "2D"])


@pytest.fixture(scope="module")
def source() -> PatchSource:
    case = small_case(matrix=placed((2.0, 2.0, 3.0), (0, 0, 0)))
    return PatchSource(case, PANCREAS, (-125.0, 275.0), VOLUME.spacing_mm)


def drawn(
    source: PatchSource, patch: PatchOptions, seed: int = 0, **changes: object
) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels (k, j, i) with nothing but the augmentation named."""
    options = dataclasses.replace(NONE, **changes)
    sample = source.sample(patch, options, np.random.default_rng(seed))
    return sample.image[0, 0].numpy(), sample.labels[0].numpy()


@SIZES
def test_a_flip_mirrors_image_and_labels(source: PatchSource, patch: PatchOptions) -> None:
    plain, flipped = drawn(source, patch), drawn(source, patch, flip_probabilities=(1.0, 0.0, 0.0))
    if patch is VOLUME:
        for before, after in zip(plain, flipped, strict=True):
            np.testing.assert_allclose(after, before[:, :, ::-1], atol=1e-3)
    # The slices may differ: the flip draws numbers too.
    places = [np.argwhere(labels == PANCREAS)[:, 2].mean() for _, labels in (plain, flipped)]
    assert abs(places[0] - 24.5) > 10
    assert sum(places) == pytest.approx(49, abs=1)


def test_quarter_turns_are_numpys(source: PatchSource) -> None:
    plain = drawn(source, VOLUME)
    turns = set()
    for seed in range(8):
        image, labels = drawn(source, VOLUME, seed, quarter_turn_probability=1.0)
        for number in (1, 2, 3):
            if np.allclose(image, np.rot90(plain[0], number, axes=(1, 2)), atol=1e-3):
                np.testing.assert_array_equal(labels, np.rot90(plain[1], number, axes=(1, 2)))
                turns.add(number)
    assert turns == {1, 2, 3}


def test_rotations_agree_with_scipy() -> None:
    options = dataclasses.replace(NONE, rotation_degrees=(12.0, 12.0, 25.0))
    for seed in range(20):
        linear = random_linear(options, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        angles = [rng.uniform(-most, most) for most in options.rotation_degrees]
        # The middle axis turns the other way round.
        expected = Rotation.from_euler("XYZ", [angles[0], -angles[1], angles[2]], degrees=True)
        np.testing.assert_allclose(linear, expected.as_matrix(), atol=1e-12)


def test_scaling_stays_in_its_range_and_uses_it() -> None:
    options = dataclasses.replace(NONE, scale=0.2)
    factors = [np.diag(random_linear(options, np.random.default_rng(seed))) for seed in range(200)]
    logs = np.log(factors)
    assert np.abs(logs).max() <= 0.2 * 4 / 3
    assert logs.mean(axis=1).min() < -0.18
    assert logs.mean(axis=1).max() > 0.18


def test_clipped_intensities_are_numpys_clip_within_the_scan(source: PatchSource) -> None:
    # The patch reaches beyond the scan, where nothing was measured: that stays black.
    beyond = dataclasses.replace(VOLUME, size=(70, 50, 30))
    plain, labels = drawn(source, beyond)
    within, outside = plain[:, :, 5:65], np.s_[:, :, [0, -1]]
    for seed in range(5):
        image, same = drawn(
            source,
            beyond,
            seed,
            clipped_probability=1.0,
            clipped_low=(0.17, 0.18),
            clipped_high=(0.6, 0.7),
        )
        low, high = image[:, :, 5:65].min(), image.max()
        assert 0.17 <= low <= 0.18
        assert 0.6 <= high <= 0.7
        np.testing.assert_allclose(image[:, :, 5:65], np.clip(within, low, high), atol=1e-6)
        assert not image[outside].any()
        np.testing.assert_array_equal(same, labels)


@SIZES
def test_the_shift_stays_in_its_range_and_uses_it(source: PatchSource, patch: PatchOptions) -> None:
    shifted = dataclasses.replace(patch, jitter_mm=(10.0, 10.0, 0.0))
    starts = []
    for seed in range(30):
        _, labels = drawn(source, shifted, seed)
        liver = np.argwhere(labels == 5)
        starts.append((liver[:, 1:].min(axis=0) + liver[:, 1:].max(axis=0)) / 2)
    _, labels = drawn(source, patch)
    liver = np.argwhere(labels == 5)
    middle = (liver[:, 1:].min(axis=0) + liver[:, 1:].max(axis=0)) / 2
    moved_mm = 2.0 * (np.array(starts) - middle)
    assert np.abs(moved_mm[:, 0]).max() <= 12
    assert np.abs(moved_mm[:, 0]).max() > 6


@SIZES
def test_elastic_deformation_is_smooth_and_stays_in_the_plane_of_a_slice(
    patch: PatchOptions,
) -> None:
    options = dataclasses.replace(NONE, elastic_mm=6.0)
    for seed in range(10):
        bend = random_bend(patch, options, np.random.default_rng(seed))
        assert bend.shape == (1, *patch.shape, 3)
        assert float(bend.abs().max()) < 6 * 5  # five standard deviations
        for axis in (2, 3):
            step = bend.diff(dim=axis).abs().max()
            assert float(step) < 2 * 6 * 5 * 2.0 / options.elastic_step_mm * 2
        assert (float(bend[..., 2].abs().max()) == 0) == patch.flat


@SIZES
def test_image_labels_and_clicks_move_together(source: PatchSource, patch: PatchOptions) -> None:
    """Only the pancreas is above 200 HU: labels and clicks must lie where it is bright."""
    options = AugmentationOptions(
        flip_probabilities=(0.5, 0.5, 0.0),
        quarter_turn_probability=0.5,
        elastic_probability=1.0,
        thick_slices_probability=0.0,
    )
    moved = dataclasses.replace(patch, jitter_mm=(10.0, 10.0, 6.0))
    seen = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sample = source.sample(moved, options, rng)
        bright, organ = sample.image[0, 0] > 0.75, sample.labels[0] == PANCREAS
        if organ.sum() < 60:
            continue
        seen += 1
        assert 2 * (bright & organ).sum() / (bright.sum() + organ.sum()) > 0.8
        grid = patch_grid(sample.labels.shape[1:], patch.spacing_mm)
        clicks = simulate_clicks(sample.labels[0], PANCREAS, grid, rng)
        inside = clicks[0, 0] > 0.99
        assert inside.any()
        assert float(sample.image[0, 0][inside].mean()) > 0.6
    assert seen >= 8


@SIZES
def test_everything_together_depends_on_the_seed_alone(
    source: PatchSource, patch: PatchOptions
) -> None:
    options = AugmentationOptions(quarter_turn_probability=0.5, intensity_probability=1.0)
    intensity = IntensityAugmentation(options)

    def sample(seed: int) -> torch.Tensor:
        return source.sample(patch, options, np.random.default_rng(seed), intensity).image

    first = sample(1)
    sample(2)
    np.random.default_rng(0)
    torch.manual_seed(3)
    torch.testing.assert_close(sample(1), first, rtol=0, atol=0)
    assert not torch.equal(sample(2), first)


@SIZES
@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "noise", "blur"])
def test_intensities_are_monais(patch: PatchOptions, name: str) -> None:
    """With one augmentation switched on, the result is that of MONAI's transform alone."""
    off = {"brightness": 0.0, "contrast": 0.0, "gamma": (1.0, 1.0), "noise": 0.0}
    on = {"brightness": 0.1, "contrast": 0.3, "gamma": (0.7, 1.5), "noise": 0.06}
    changes = {key: on[key] if key == name else value for key, value in off.items()}
    blur = (0.4, 1.0) if name == "blur" else (0.0, 0.0)
    options = AugmentationOptions(intensity_probability=1.0, blur_voxels=blur, **changes)
    image = torch.rand((1, 1, *patch.shape), generator=torch.Generator().manual_seed(0))
    image = 0.3 + 0.4 * image
    picture = image[0, :, 0] if patch.flat else image[0]
    for seed in range(6):
        result = IntensityAugmentation(options)(image, np.random.default_rng(seed))
        assert result.shape == image.shape
        change = (result - image).double()
        if name == "brightness":
            assert float(change.std()) < 1e-6
            assert float(change.abs().max()) <= 0.1 + 1e-6
        elif name == "contrast":
            centred, was = result - result.mean(), image - image.mean()
            factor = float(centred.std() / was.std())
            assert 0.7 <= factor <= 1.3
            torch.testing.assert_close(centred, factor * was, atol=1e-5, rtol=0)
        elif name == "gamma":
            low, high = image.min(), image.max()
            unit = (image - low) / (high - low)
            gamma = float(torch.log((result - low) / (high - low))[unit.isclose(unit.median())][0])
            gamma /= float(torch.log(unit.median()))
            assert 0.7 - 1e-3 <= gamma <= 1.5 + 1e-3
            expected = transforms.AdjustContrast(gamma)(picture)
            torch.testing.assert_close(
                result.flatten(), torch.as_tensor(expected).flatten(), atol=1e-3, rtol=0
            )
        elif name == "noise":
            assert float(change.std()) <= 0.062
            assert abs(float(change.mean())) < 0.01
        elif float(change.abs().max()) > 1e-3:  # blur has half the chance
            # MONAI takes zeros beyond the image, so that its rim darkens.
            inner = (..., *[slice(6, -6)] * (2 if patch.flat else 3))
            mild, strong = (
                float(torch.as_tensor(transforms.GaussianSmooth(sigma)(picture))[inner].std())
                for sigma in blur
            )
            blurred = float(result.reshape(picture.shape)[inner].std())
            assert strong - 1e-4 <= blurred <= mild + 1e-4


def test_a_slice_undergoes_nothing_that_needs_neighbours() -> None:
    flat = restrict_to_plane(AugmentationOptions(flip_probabilities=(0.5, 0.5, 0.5)))
    assert flat.rotation_degrees[:2] == (0.0, 0.0)
    assert flat.flip_probabilities == (0.5, 0.5, 0.0)
    assert flat.thick_slices_probability == flat.hidden_organ_probability == 0.0
    assert flat.elastic_mm == AugmentationOptions().elastic_mm


def test_samples_are_batched_in_their_order(source: PatchSource) -> None:
    samples = [source.sample(SLICE, NONE, np.random.default_rng(seed)) for seed in range(3)]
    batch = collate_samples(samples)
    assert batch.image.shape == (3, 1, 1, 50, 50)
    assert batch.organs_known == (True,) * 3
    for number, sample in enumerate(samples):
        torch.testing.assert_close(batch.image[number : number + 1], sample.image)
        torch.testing.assert_close(batch.labels[number : number + 1], sample.labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_patches_are_made_on_the_gpu(source: PatchSource) -> None:
    options = AugmentationOptions(intensity_probability=1.0)
    intensity = IntensityAugmentation(options)
    on_gpu = PatchSource(source.case, PANCREAS, (-125.0, 275.0), VOLUME.spacing_mm, "cuda")
    for seed in range(3):
        there, here = (
            one.sample(VOLUME, options, np.random.default_rng(seed), intensity)
            for one in (on_gpu, source)
        )
        assert there.image.is_cuda
        assert there.labels.is_cuda
        torch.testing.assert_close(there.image.cpu(), here.image, atol=0.02, rtol=0)
        assert (there.labels.cpu() == here.labels).float().mean() > 0.999
