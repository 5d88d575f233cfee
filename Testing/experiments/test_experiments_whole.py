"""A network on whole held-out cases, and the slices of them that are shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.errors import TrainingError
from AttentionUNetSegmentLib.experiments import full_volume as whole
from AttentionUNetSegmentLib.experiments.example_slices import (
    EXAMPLES_FILE,
    choose_example_cases,
    cut_example_slice,
    load_example_slices,
    save_example_slices,
)
from AttentionUNetSegmentLib.experiments.full_volume import VolumePrediction, predict_volume
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.networks import SegmentationNetwork, build_network
from geometry import placed, rotation
from torch.nn import functional as F

WINDOW = (0.0, 255.0)


def network(dimensions: int = 2, **options: object) -> SegmentationNetwork:
    torch.manual_seed(0)
    config = {
        "name": "AttentionUNet",
        "dimensions": dimensions,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [4, 4, 4],
        "norm": "instance",
        **options,
    }
    return build_network(config)


def picture(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """Noise whose axes run as those of the grids that networks see: R, A, S."""
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return Volume(array, np.diag([*spacing, 1.0]))


# Whole cases


def test_a_2d_network_sees_each_slice_by_itself() -> None:
    """Against the network applied to the slices by hand, with voxels that need no resampling."""
    volume, net = picture((3, 16, 20), (1.0, 1.0, 5.0)), network()
    found = predict_volume(net, volume, (1.0, 1.0, 1.0), WINDOW)
    assert found.labels.shape == volume.array.shape
    net.eval()
    for k, plane in enumerate(volume.array):
        with torch.no_grad():
            output = net(torch.from_numpy(plane)[None, None] / 255, return_attention=True)
        logits = output.logits[0].numpy()
        clear = np.abs(logits[1] - logits[0]) > 1e-3
        np.testing.assert_array_equal(found.labels[k][clear], logits.argmax(axis=0)[clear])
        np.testing.assert_allclose(found.alphas[0][k], output.attention[0][0, 0].numpy(), atol=1e-4)
        deep = F.interpolate(output.attention[1], scale_factor=2, mode="bilinear")
        np.testing.assert_allclose(found.alphas[1][k], deep[0, 0].numpy(), atol=1e-4)


def test_answers_come_back_on_the_cases_own_grid() -> None:
    """At half the resolution, from a scan that lies askew."""
    array = np.zeros((4, 24, 32), np.uint8)
    array[:, 6:14, 10:22] = 255
    volume = Volume(array, rotation(2, 20) @ placed((1.0, 1.0, 3.0), (7, 8, 9)))

    class BrightIsOne(torch.nn.Module):
        """Answers 1 where the picture is bright; its alpha is the brightness."""

        config = network().config
        stride = 4
        gated_levels = (1,)

        def forward(self, image: torch.Tensor, return_attention: bool) -> object:
            logits = torch.cat((0.5 - image, image - 0.5), dim=1)
            return dataclasses.make_dataclass("Output", ["logits", "attention"])(logits, [image])

    found = predict_volume(BrightIsOne(), volume, (2.0, 2.0, 2.0), WINDOW)  # type: ignore[arg-type]
    bright = array > 0
    assert 2 * (found.labels[bright] == 1).sum() / (bright.sum() + found.labels.sum()) > 0.9
    (alpha,) = found.alphas
    assert alpha[:, 8:12, 13:19].min() > 0.9
    assert alpha[:, :3, :4].max() < 0.1


def test_a_3d_network_sees_a_large_scan_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles give what one pass gives, away from where their borders were."""
    volume, net = picture((24, 24, 40), (2.0, 2.0, 2.0)), network(3, norm="batch")
    in_one = predict_volume(net, volume, (2.0, 2.0, 2.0), WINDOW)
    monkeypatch.setattr(whole, "DEFAULT_TILE_VOXELS", 24 * 24 * 32)
    in_tiles = predict_volume(net, volume, (2.0, 2.0, 2.0), WINDOW)
    assert in_one.labels.shape == volume.array.shape
    assert len(in_one.alphas) == 2
    assert (in_one.labels == in_tiles.labels).mean() > 0.98
    assert np.abs(in_one.alphas[0] - in_tiles.alphas[0]).mean() < 0.02


def test_heads_are_averaged_and_the_mode_of_the_network_is_left_as_it_was() -> None:
    volume, net = picture((1, 16, 16), (1.0, 1.0, 1.0)), network(gate="multi-head", heads=2)
    net.train()
    (shallow, _) = predict_volume(net, volume, (1.0, 1.0, 1.0), WINDOW).alphas
    assert net.training
    net.eval()
    with torch.no_grad():
        output = net(torch.from_numpy(volume.array)[None].float() / 255, return_attention=True)
    mean = output.attention[0].mean(dim=1)[0].numpy()
    np.testing.assert_allclose(shallow[0], mean, atol=1e-4)


# Slices to show


def labelled(name: str, patient: str, size: int) -> LabelledCase:
    """A case whose organ is largest on slice 2."""
    matrix = placed((1.0, 1.0, 4.0), (0, 0, 0))
    shape = (4, 20, 20)
    labels = np.zeros(shape, np.uint8)
    labels[1, :2, :2] = 1
    labels[2, :size, : size + 1] = 1
    image = np.where(labels > 0, 200, 50).astype(np.uint8)
    return LabelledCase(name, Volume(image, matrix), Volume(labels, matrix), "scan", True, patient)


def test_the_case_with_the_most_organ_is_shown_of_patients_spread_over_all() -> None:
    cases = [
        labelled(f"{patient}-{size}", patient, size) for patient in "abcdefgh" for size in (3, 6, 4)
    ]
    assert choose_example_cases(cases, 1) == ["a-6", "c-6", "e-6", "g-6"]
    assert choose_example_cases(cases[::-1], 1) == ["a-6", "c-6", "e-6", "g-6"]
    assert choose_example_cases(cases[:3], 1) == ["a-6"]


AXES = {
    "to the left and to the back": np.diag([-1.0, -1.0, 4.0, 1.0]),
    "to the right and to the front": np.diag([1.0, 1.0, 4.0, 1.0]),
    "slices from above": np.diag([-1.0, -1.0, -4.0, 1.0]),
    "j and i swapped": np.array([[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("axes", AXES)
def test_a_slice_is_shown_as_radiologists_see_it_whatever_its_axes(axes: str) -> None:
    """The patient's front is up and his right on the left."""
    matrix = AXES[axes]
    shape = (4, 20, 20)
    k, j, i = np.indices(shape)
    ras = np.einsum("ab,b...->a...", matrix, np.stack([i, j, k, np.ones(shape)]))
    middle = ras.reshape(4, -1).mean(axis=1)
    # An organ towards the right (R) and a bit towards the front (A) of the middle.
    right, front = ras[0] - middle[0], ras[1] - middle[1]
    organ = (right > 5) & (np.abs(front - 3) < 2)
    case = LabelledCase(
        "a",
        Volume(np.where(organ, 255, 0).astype(np.uint8), matrix),
        Volume(organ.astype(np.uint8), matrix),
        "scan",
        True,
    )
    alpha = organ.astype(np.float32)
    one = cut_example_slice(
        case, VolumePrediction(case.labels.array, (alpha, 1 - alpha)), 1, WINDOW
    )
    rows, columns = np.nonzero(one.truth)
    assert columns.max() < 10
    assert rows.max() < 10
    np.testing.assert_array_equal(one.mask, one.truth)
    np.testing.assert_array_equal(one.image, one.truth.astype(np.float32))
    np.testing.assert_array_equal(one.alphas[0], one.truth)
    np.testing.assert_array_equal(one.alphas[1], ~one.truth)
    assert one.dice == 1


def test_slices_are_kept_in_few_bytes_and_read_back(tmp_path: Path) -> None:
    case = labelled("a", "a", 5)
    prediction = VolumePrediction(case.labels.array, (np.full(case.ct.array.shape, 0.25),))
    one = cut_example_slice(case, prediction, 1, WINDOW)
    save_example_slices(tmp_path, [one])
    (back,) = load_example_slices(tmp_path)
    assert back.case == "a"
    np.testing.assert_allclose(back.image, one.image, atol=1 / 255)
    np.testing.assert_allclose(back.alphas, one.alphas, atol=1 / 255)
    np.testing.assert_array_equal(back.mask, one.mask)
    (tmp_path / EXAMPLES_FILE).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(TrainingError, match="damaged"):
        load_example_slices(tmp_path)
    (tmp_path / EXAMPLES_FILE).unlink()
    assert load_example_slices(tmp_path) == []
