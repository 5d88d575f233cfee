"""However a scan is stored, placed, turned, sampled or cut, and whichever way it comes in, the
result of the shipped model is where the organ is.

Distances are between surfaces, in mm. The same table over all real scans is made by
``measure_geometry.py``; what it says is in ``README.md`` of this folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from AttentionUNetSegmentLib.inference import Predictor, Volume, read_volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.synthetic import ORGAN_LABELS, synthetic_abdomen
from geometry import placed
from moved_scans import (
    ROUTES,
    SHIFTED,
    STORED,
    TRANSFORMATIONS,
    Distance,
    Placed,
    brought_back,
    cropped,
    image_of,
    model_without_estimate,
    surface_distance,
    turned,
)

CHOSEN = (
    "axes permuted (k, i, j)",
    "all flipped and permuted",
    "shifted by any length",
    "turned 10 degrees about R",
    "turned 5 degrees about A",
    "turned 10 degrees about S",
    "oblique grid",
    "resampled finer",
    "resampled coarser in plane",
    "padded with air",
    "cropped 60 mm on all sides",
)
"""One or two of each kind: all of them, on all scans, take minutes."""
SCAN = "case0031"
VOXEL_MM = (1.5, 1.5, 3.0)
"""Of that scan."""
MARGIN_MM = (70, 80, 80)
"""Of the scans around the organ, along k, j and i."""


def tolerance(name: str) -> Distance:
    """What is the same for the network may only differ by rounding. Else half a voxel in plane on
    the average, and a voxel across slices for 95 % of the surface, which may be just that."""
    if name in STORED or name == "shifted by whole centimetres":
        return Distance(0.15, 1.0)
    return Distance(VOXEL_MM[0] / 2, 1.001 * VOXEL_MM[2])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(model_without_estimate(), "cpu")


class RememberingPredictor(Predictor):
    """One that predicts once what comes in by several ways: the very same voxels, not a thousandth
    of a mm apart."""

    known: tuple[tuple[Volume, Prediction], ...] = ()
    """The last two: DICOM has axes of its own, and a file or a node comes after it."""

    def predict(self, volume: Volume, *arguments: Any, **options: Any) -> Prediction:
        for other, prediction in self.known:
            if np.array_equal(volume.array, other.array) and np.allclose(
                volume.ijk_to_ras, other.ijk_to_ras, rtol=0, atol=1e-3
            ):
                return prediction
        prediction = super().predict(volume, *arguments, **options)
        self.known = ((volume, prediction), *self.known[:1])
        return prediction


@pytest.fixture(scope="module")
def remembering(predictor: Predictor) -> Predictor:
    return RememberingPredictor(predictor.model, "cpu")


@pytest.fixture(scope="module")
def real_scan(shared_data: Path, predictor: Predictor) -> tuple[Volume, Placed]:
    """The surroundings of the organ in a scan that the model was not trained on, and the result:
    the whole scan would take three times as long, and oblique grids that hold it ten times.

    Its axes are those that DICOM would have (right-handed), so that most of what comes in by DICOM
    is the very same as what comes in as a file."""
    folder = shared_data / "btcv" / "train"
    whole = read_volume(folder / f"{SCAN}_ct.nii.gz")
    organ = read_volume(folder / f"{SCAN}_organs.nii.gz").array == 8
    scan = reorder_axes(cropped(whole, organ, MARGIN_MM).volume, (0, 1, 2), (False, False, True))
    assert np.linalg.det(scan.ijk_to_ras) > 0
    assert scan.spacing_mm == pytest.approx(VOXEL_MM)
    return scan, Placed(predictor.predict(scan).mask != 0, scan.ijk_to_ras)


@pytest.fixture(scope="module")
def made_up_scan(predictor: Predictor) -> tuple[Volume, Placed]:
    """Likewise of a synthetic abdomen, in fewer voxels."""
    abdomen = synthetic_abdomen(7, (2.0, 2.0, 3.0))
    organ = abdomen.labels.array == ORGAN_LABELS["pancreas"]
    scan = cropped(abdomen.ct, organ, MARGIN_MM).volume
    return scan, Placed(predictor.predict(scan).mask != 0, scan.ijk_to_ras)


def assert_moved_with_it(
    scan: tuple[Volume, Placed], name: str, route: str, predictor: Predictor, folder: Path
) -> None:
    volume, reference = scan
    moved = TRANSFORMATIONS[name](volume, reference.mask)
    result = brought_back(ROUTES[route](moved, predictor, folder), moved)
    distance, most = surface_distance(reference, result), tolerance(name)
    assert distance.mean_mm <= most.mean_mm, distance
    assert distance.p95_mm <= most.p95_mm, distance


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", CHOSEN)
def test_the_result_on_a_real_scan_moves_with_it(
    real_scan: tuple[Volume, Placed], remembering: Predictor, tmp_path: Path, name: str, route: str
) -> None:
    assert_moved_with_it(real_scan, name, route, remembering, tmp_path)


@pytest.mark.parametrize(
    ("name", "route"), [(name, list(ROUTES)[at % len(ROUTES)]) for at, name in enumerate(CHOSEN)]
)
def test_the_result_on_a_made_up_scan_moves_with_it(
    made_up_scan: tuple[Volume, Placed], predictor: Predictor, tmp_path: Path, name: str, route: str
) -> None:
    assert_moved_with_it(made_up_scan, name, route, predictor, tmp_path)


def test_what_is_the_same_for_the_network_gives_the_very_same_voxels(
    made_up_scan: tuple[Volume, Placed], predictor: Predictor
) -> None:
    """Whole centimetres are whole steps of the networks' grids."""
    volume, reference = made_up_scan
    moved = SHIFTED["shifted by whole centimetres"](volume, reference.mask)
    np.testing.assert_array_equal(predictor.predict(moved.volume).mask != 0, reference.mask)


# What measures the distances is itself measured: against a formula, and against MONAI.


def ball(centre_ras: tuple[float, float, float], radius_mm: float, to_ras: np.ndarray) -> Placed:
    shape = (40, 60, 60)
    ijk = np.moveaxis(np.indices(shape)[::-1], 0, -1)
    where = ijk @ to_ras[:3, :3].T + to_ras[:3, 3]
    return Placed(((where - centre_ras) ** 2).sum(axis=-1) < radius_mm**2, to_ras)


def test_two_balls_are_as_far_apart_as_they_are() -> None:
    grid = placed((1.0, 1.0, 1.5), (30.0, 30.0, -30.0))
    inner, outer = ball((0, 0, 0), 15, grid), ball((0, 0, 0), 19, grid)
    distance = surface_distance(inner, outer)
    assert distance.mean_mm == pytest.approx(4, abs=0.25)
    assert distance.p95_mm == pytest.approx(4, abs=0.8)
    assert surface_distance(inner, inner) == Distance(0, 0)


def test_a_ball_on_two_grids_is_the_same_ball() -> None:
    straight = placed((1.0, 1.0, 1.5), (30.0, 30.0, -30.0))
    oblique = turned(Volume(np.zeros((40, 60, 60), np.int16), straight), 1, 25).volume.ijk_to_ras
    distance = surface_distance(ball((0, 0, 0), 17, straight), ball((0, 0, 0), 17, oblique))
    assert distance.mean_mm < 0.3


def test_distances_are_those_of_monai() -> None:
    """Between voxels of the rims there, between the surfaces here: close, not the same."""
    metrics = pytest.importorskip("monai.metrics", reason="compares with MONAI")
    torch = pytest.importorskip("torch")
    grid = placed((1.0, 1.0, 1.5), (30.0, 30.0, -30.0))
    one, other = ball((0, 0, 0), 15, grid), ball((3, -2, 4), 17, grid)
    masks = [torch.from_numpy(mask.mask)[None, None].float() for mask in (one, other)]
    spacing = (1.5, 1.0, 1.0)
    mean = metrics.compute_average_surface_distance(
        *masks, include_background=True, symmetric=True, spacing=spacing
    )
    p95 = metrics.compute_hausdorff_distance(
        *masks, include_background=True, percentile=95, spacing=spacing
    )
    distance = surface_distance(one, other)
    assert distance.mean_mm == pytest.approx(float(mean), abs=0.35)
    assert distance.p95_mm == pytest.approx(float(p95), abs=0.6)


def test_the_command_line_writes_the_segmentation_where_the_organ_is(
    made_up_scan: tuple[Volume, Placed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file on an oblique grid, with other axes, to ``segmentation.seg.nrrd``."""
    import SimpleITK as sitk
    from AttentionUNetSegmentLib.app import segmenting
    from geometry import SCANNER

    volume, reference = made_up_scan
    moved = turned(reorder_axes(volume, (2, 0, 1), (False, True, False)), 2, 5)
    sitk.WriteImage(image_of(moved.volume), str(tmp_path / "scan.nrrd"))
    monkeypatch.setattr(segmenting, "load_model", lambda folder: model_without_estimate())
    segmenting.segment_into(
        tmp_path / "out",
        segmenting.SegmentationJob(
            lambda: segmenting.read_scan(tmp_path / "scan.nrrd"), device="cpu"
        ),
    )
    image = sitk.ReadImage(str(tmp_path / "out" / "segmentation.seg.nrrd"))
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    result = Placed(sitk.GetArrayFromImage(image) != 0, SCANNER @ lps)
    distance = surface_distance(reference, brought_back(result, moved))
    assert distance.mean_mm <= VOXEL_MM[0] / 2, distance
    assert distance.p95_mm <= VOXEL_MM[2], distance
