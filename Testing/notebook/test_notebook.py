"""The library in a notebook: any image in, a result in that image's own terms out."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib import ImagePrediction, segment
from AttentionUNetSegmentLib.errors import InputError, OutputError
from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from AttentionUNetSegmentLib.inference import Volume
from AttentionUNetSegmentLib.notebook import segmenting
from AttentionUNetSegmentLib.notebook.orientation import find_orientation_conflicts
from AttentionUNetSegmentLib.synthetic import synthetic_abdomen
from command_line import hounsfield, save_random_model
from geometry import placed
from matplotlib.figure import Figure
from picture_texts import texts_of
from PIL import Image
from threshold_model import BRIGHT_HU, threshold_model

LIBRARY = Path(__file__).resolve().parents[2] / "AttentionUNetSegment"
SPACING = (4.0, 4.0, 5.0)  # i, j, k
ORIGIN = (100.0, -90.0, -400.0)  # LPS
AFFINE = np.array([[-4.0, 0, 0, -100], [0, -4, 0, 90], [0, 0, 5, -400], [0, 0, 0, 1]])


@pytest.fixture(scope="module", autouse=True)
def model_folder(tmp_path_factory: pytest.TempPathFactory):
    """The name of every model: one that takes what is bright for the organ."""
    folder = save_random_model(tmp_path_factory.mktemp("models") / "random")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "AttentionUNetSegmentLib.inference.predictor_cache.load_model",
            lambda folder: threshold_model(),
        )
        patch.setattr(segmenting, "find_model", lambda name: folder)
        segmenting._cache.cache_clear()
        yield folder
        segmenting._cache.cache_clear()


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """k, j, i."""
    return hounsfield()


def sitk_image(stack: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(stack)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    return image


def nibabel_image(stack: np.ndarray) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(np.ascontiguousarray(stack.T), AFFINE)


def predicted(kind: str, stack: np.ndarray, folder: Path) -> tuple[np.ndarray, ImagePrediction]:
    """The array that somebody would compare the mask with, and the prediction."""
    if kind == "path":
        sitk.WriteImage(sitk_image(stack), str(folder / "scan.nii.gz"))
        return stack, segment(folder / "scan.nii.gz")
    if kind == "SimpleITK":
        return stack, segment(sitk_image(stack))
    if kind == "nibabel":
        return stack.T, segment(nibabel_image(stack))
    if kind == "affine":
        return stack.T, segment(np.ascontiguousarray(stack.T), affine=AFFINE)
    if kind == "spacing":
        return stack, segment(stack, spacing=(5.0, 4.0, 4.0))
    turned = np.ascontiguousarray(stack.transpose(1, 2, 0)[::-1])  # A, L, S
    return turned, segment(turned, spacing=(4.0, 4.0, 5.0), orientation="ALS")


KINDS = ("path", "SimpleITK", "nibabel", "affine", "spacing", "orientation")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_gives_the_same_organ_in_its_own_order(kind, stack, tmp_path) -> None:
    array, prediction = predicted(kind, stack, tmp_path)
    organ = array == BRIGHT_HU
    for result in (prediction.mask != 0, prediction.probability > 0.5):
        assert result.shape == array.shape
        assert 2 * np.count_nonzero(result & organ) > 0.95 * (organ.sum() + result.sum())
    assert prediction.found
    assert prediction.statistics["volume_ml"] == pytest.approx(prediction.mask.sum() * 0.08)
    assert prediction.statistics["mean_hu"] == pytest.approx(array[prediction.mask != 0].mean())
    assert len(prediction.attention) == 4
    assert prediction.attention[0].shape == prediction.attention[-1].shape == array.shape
    assert len(list(prediction.attention)) == len(prediction.attention[1:]) + 1
    with pytest.raises(IndexError):
        prediction.attention[4]
    assert f"{prediction.statistics['volume_ml']:.1f} mL" in repr(prediction)


@pytest.mark.parametrize("image", [sitk_image, nibabel_image])
def test_a_mask_to_begin_from_has_the_axes_of_the_image(image, stack, tmp_path) -> None:
    organ = stack == BRIGHT_HU
    organ[:, :, : np.argwhere(organ)[:, 2].mean().astype(int)] = False
    given = organ if image is sitk_image else organ.T
    assert (segment(image(stack), start=given).mask.astype(bool) == given).all()
    mask = sitk_image(organ.astype(np.uint8))
    sitk.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    begun = segment(image(stack), start=tmp_path / "mask.nrrd")
    assert (begun.mask.astype(bool) == given).all()
    with pytest.raises(InputError, match="same grid"):
        segment(image(stack), start=given[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_come_out_lie_where_the_scan_lies(kind, stack, tmp_path) -> None:
    _, prediction = predicted(kind, stack, tmp_path)
    if kind in ("spacing", "orientation"):
        place = prediction.prediction.volume.ijk_to_ras
        assert np.abs(place[:3, 3]).max() == 0
    else:
        place = AFFINE
        image = prediction.to_sitk()
        assert image.GetSpacing() == SPACING
        assert image.GetOrigin() == ORIGIN
        assert np.allclose(image.GetDirection(), np.eye(3).ravel())
    # An organ's middle is in one place, whichever library is asked.
    found = prediction.to_nibabel()
    middle = np.argwhere(found.get_fdata() > 0).mean(axis=0)
    assert np.allclose(found.affine, place)
    image = prediction.to_sitk("probability")
    of_image = np.argwhere(sitk.GetArrayFromImage(image) > 0.5)[:, ::-1].mean(axis=0)
    ras = image.TransformContinuousIndexToPhysicalPoint(of_image.tolist()) * np.array([-1, -1, 1])
    assert np.allclose(ras, (found.affine @ [*middle, 1])[:3], atol=0.5)
    assert prediction.to_nibabel("attention-2").shape == found.shape


def test_what_there_is_not_is_told(stack) -> None:
    prediction = segment(sitk_image(stack))
    for what in ("attention-5", "attention-0", "attention", "logits"):
        with pytest.raises(InputError, match="attention-4"):
            prediction.to_sitk(what)


# Arrays and how they lie


def test_an_array_is_taken_for_an_axial_stack_and_that_is_said(stack) -> None:
    (warning, *_) = segment(stack, spacing=(5, 4, 4)).warnings
    assert (
        "slices from feet to head, rows from front to back, columns from right to left" in warning
    )
    assert not any(
        "does not say" in text
        for text in segment(stack, spacing=(5, 4, 4), orientation="SPL").warnings
    )


@pytest.mark.parametrize("kind", ["SimpleITK", "nibabel"])
def test_an_image_without_a_place_is_warned_of(kind, stack) -> None:
    image = sitk.GetImageFromArray(stack) if kind == "SimpleITK" else nibabel_image(stack)
    if kind == "nibabel":
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    assert "does not say how it lies" in segment(image).warnings[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "affine"),
        ({"spacing": (5, 4, 4), "affine": np.eye(4)}, "one of both"),
        ({"spacing": (5, 4)}, "three distances"),
        ({"spacing": (5, 4, 0)}, "above zero"),
        ({"spacing": "5,4,4"}, "three distances"),
        ({"affine": "RAS"}, "4x4"),
        ({"spacing": (5, 4, 4), "orientation": "SPR "}, "no orientation"),
        ({"spacing": (5, 4, 4), "orientation": "SIL"}, "no orientation"),
        ({"affine": AFFINE, "orientation": "SPL"}, "goes with a spacing"),
        ({"affine": np.eye(3)}, "4x4"),
        ({"spacing": (5, 4, 4), "clicks": [(1, 2, 3)]}, "no click"),
        ({"spacing": (5, 4, 4), "clicks": [((1, 2, 3), "+")]}, "True for inside"),
        ({"spacing": (5, 4, 4), "start": [[[1]]]}, "list is no mask to begin from"),
        ({"spacing": (5, 4, 4), "start": sitk.Image(3, 4, 5, sitk.sitkUInt8)}, "give an array"),
    ],
)
def test_an_array_whose_place_is_not_given_rightly_is_refused(arguments, words, stack) -> None:
    with pytest.raises(InputError, match=words):
        segment(stack, **arguments)


def test_a_spacing_in_the_other_order_is_refused() -> None:
    stack = hounsfield(shape=(50, 52, 52))
    with pytest.raises(InputError, match="in another order"):
        segment(stack, spacing=SPACING)
    assert segment(stack, spacing=SPACING[::-1]).found


@pytest.mark.parametrize("image", [3, [[1.0]], np.zeros((4, 5)), "there-is-none.nii.gz"])
def test_what_is_no_scan_is_refused(image) -> None:
    arguments = {"affine": np.eye(4)} if isinstance(image, np.ndarray) else {}
    with pytest.raises(InputError):
        segment(image, **arguments)
    with pytest.raises(InputError, match="A list is no scan"):
        segment([[[1.0]]], spacing=(5, 4, 4))
    with pytest.raises(InputError, match="for arrays"):
        segment("scan.nii.gz", spacing=(1, 1, 1))


@pytest.fixture(scope="module")
def abdomen() -> Volume:
    return synthetic_abdomen(1, (5.0, 5.0, 6.0)).ct


ORDERS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((0, 1), repeat=3))
)


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_any_order_of_voxels_is_right_with_its_own_directions(axes, flips, abdomen) -> None:
    assert find_orientation_conflicts(reorder_axes(abdomen, axes, flips)) == []


@pytest.mark.parametrize("axes", [axes for axes, flips in ORDERS if not any(flips)])
def test_a_transposed_array_is_refused(axes, abdomen) -> None:
    """With the directions of the array before; a swap within slices is seen by the bones."""
    turned = Volume(np.transpose(abdomen.array, axes), abdomen.ijk_to_ras)
    certain = [conflict.certain for conflict in find_orientation_conflicts(turned)]
    assert certain == {(0, 1, 2): [], (0, 2, 1): [False]}.get(axes, [True])
    if certain == [True]:
        with pytest.raises(InputError, match=r"transposed.*check_orientation"):
            segment(turned.array.T, affine=turned.ijk_to_ras)


@pytest.mark.parametrize(("axis", "words"), [(0, "upside down"), (1, "turned over")])
def test_an_array_that_is_flipped_is_refused_or_warned_of(axis, words, abdomen) -> None:
    array = np.flip(abdomen.array, axis)
    with pytest.raises(InputError, match=words):
        segment(array, spacing=abdomen.spacing_mm[::-1])
    assert words in segment(array.T, affine=abdomen.ijk_to_ras).warnings[0]
    sure = segment(array, spacing=abdomen.spacing_mm[::-1], check_orientation=False)
    assert not any(words in warning for warning in sure.warnings)


def test_a_crop_tells_nothing(abdomen) -> None:
    part = abdomen.array[10:20, 30:50, 20:60]
    for axes in itertools.permutations(range(3)):
        assert find_orientation_conflicts(Volume(np.transpose(part, axes), np.eye(4))) == []


def test_real_scans_lie_as_they_say(shared_data) -> None:
    for file in sorted((shared_data / "btcv" / "train").glob("*_ct.nii.gz")):
        volume = Volume.from_sitk(sitk.ReadImage(str(file)))
        assert find_orientation_conflicts(volume) == [], file.name
        (conflict,) = find_orientation_conflicts(Volume(volume.array.T, volume.ijk_to_ras))
        assert conflict.certain, file.name


# Files and pictures


def test_a_file_is_the_format_of_its_name(stack, tmp_path) -> None:
    prediction = segment(nibabel_image(stack))
    for name in ("a.nii.gz", "a.nii", "a.nrrd", "a.mha"):
        assert prediction.save(tmp_path / name) == tmp_path / name
        image = sitk.ReadImage(str(tmp_path / name))
        assert np.array_equal(sitk.GetArrayFromImage(image).T, prediction.mask)
        assert np.allclose(image.GetOrigin(), ORIGIN)
    prediction.save(tmp_path / "a.seg.nrrd")
    segmentation = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert segmentation.GetMetaData("Segment0_Name") == "Pancreas"
    assert np.array_equal(sitk.GetArrayFromImage(segmentation).T, prediction.mask)
    prediction.save(tmp_path / "a.stl")
    assert (tmp_path / "a.stl").stat().st_size > 1000
    names = {"a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.seg.nrrd", "a.stl"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_folder_gets_the_full_set(stack, tmp_path) -> None:
    segment(sitk_image(stack), clicks=[((-230, -20, -267), np.True_)]).save(tmp_path / "results")
    assert {path.name for path in (tmp_path / "results").iterdir()} >= {
        "segmentation.seg.nrrd",
        "probability.nrrd",
        "attention-level-4.nrrd",
        "overlay.png",
        "report.json",
    }


def test_what_cannot_be_saved_is_told_and_leaves_nothing(stack, tmp_path) -> None:
    sitk.WriteImage(sitk_image(stack), str(tmp_path / "scan.nii.gz"))
    prediction = segment(tmp_path / "scan.nii.gz")
    before = (tmp_path / "scan.nii.gz").read_bytes()
    with pytest.raises(InputError, match="written over"):
        prediction.save(tmp_path / "scan.nii.gz")
    assert (tmp_path / "scan.nii.gz").read_bytes() == before
    with pytest.raises(InputError, match="DICOM"):
        prediction.save(tmp_path / "a.dcm")
    empty = segment(sitk_image(np.where(stack == BRIGHT_HU, 40, stack).astype(np.int16)))
    with pytest.raises(OutputError, match="no surface"):
        empty.save(tmp_path / "a.stl")
    assert repr(empty).startswith("<ImagePrediction of image: no pancreas found")
    sheared = Volume(
        stack,
        placed(SPACING, (0, 0, 0))
        @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    tilted = segment(stack.T, affine=sheared.ijk_to_ras)
    for refused in (tilted.to_sitk, lambda: tilted.save(tmp_path / "a.nrrd")):
        with pytest.raises(InputError, match="tilted"):
            refused()
    assert np.allclose(tilted.to_nibabel().affine, sheared.ijk_to_ras)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_a_plot_is_a_figure(stack, tmp_path) -> None:
    figures: list[Figure] = []
    result = segment(sitk_image(stack))
    written = texts_of(lambda: figures.append(result.plot("A title")))
    assert {"A title", "Axial", "Coronal", "Sagittal", "Level 1", "Level 4"} <= set(written)
    figures[0].savefig(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] >= 1600


def test_the_model_is_loaded_once(stack, monkeypatch) -> None:
    loaded = []

    def load(folder: Path):
        loaded.append(folder)
        return threshold_model()

    monkeypatch.setattr("AttentionUNetSegmentLib.inference.predictor_cache.load_model", load)
    segmenting._cache.cache_clear()
    segment(sitk_image(stack))
    segment(nibabel_image(stack))
    assert len(loaded) == 1


def test_importing_it_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import AttentionUNetSegmentLib\n"
        "print([name for name in ('numpy', 'SimpleITK') if name in sys.modules])\n"
        "from AttentionUNetSegmentLib import ImagePrediction, segment\n"
        "heavy = 'slicer vtk SimpleITK matplotlib monai scipy rich typer'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split("\n")[:2] == ["[]", "[]"]
