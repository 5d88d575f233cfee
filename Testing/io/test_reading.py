"""Scans from files and DICOM folders: right voxels at the right place, or one clear sentence."""

from __future__ import annotations

import gc
import gzip
import itertools
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.io import nifti as nifti_reading
from AttentionUNetSegmentLib.io.headers import read_header
from AttentionUNetSegmentLib.io.reading import read_volume
from odd_inputs import OddSeries
from scan_files import AXIAL, METAIMAGE, NRRD, SECRET, hounsfield, stack, write_slices

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]


def turned() -> np.ndarray:
    """A direction matrix that is neither the identity nor symmetric: axes permuted, and oblique."""
    c, s = np.cos(0.3), np.sin(0.3)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return about_z @ np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]])


def image_of(array: np.ndarray, is_vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    if image.GetDimension() == 3:
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-100.5, 20.25, 990.0))
        image.SetDirection(turned().ravel().tolist())
    return image


def write(path: Path, array: np.ndarray, is_vector: bool = False) -> Path:
    sitk.WriteImage(image_of(array, is_vector), str(path), useCompression=True)
    return path


def refused(path: Path, capfd: pytest.CaptureFixture[str] | None = None) -> str:
    """The sentence with which a path is refused; nothing else is printed."""
    with pytest.raises(InputError) as refusal:
        read_volume(path)
    message = str(refusal.value)
    assert message.endswith(".")
    assert "\n" not in message
    for unwanted in ("ITK", "0x", ".cxx", str(path.parent), SECRET, "Exception"):
        assert unwanted not in message
    if capfd is not None:
        assert capfd.readouterr() == ("", "")
    return message


# --- files: voxels and place --------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8, np.int32, np.float64])
def test_every_format_gives_the_voxels_and_their_place(
    tmp_path: Path, suffix: str, dtype: Any
) -> None:
    array = hounsfield(dtype=np.int16).astype(dtype)
    path = write(tmp_path / f"scan{suffix}", array)
    volume = read_volume(path)
    assert volume.array.dtype == array.dtype
    assert (volume.array == array).all()
    reference = image_of(array)
    for i, j, k in [(0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (3, 2, 1)]:
        left, posterior, superior = reference.TransformIndexToPhysicalPoint((i, j, k))
        expected = (-left, -posterior, superior, 1)
        assert volume.ijk_to_ras @ (i, j, k, 1) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("suffix", [".NII.GZ", ".Nrrd", ".MHA"])
def test_the_case_of_the_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"scan{suffix.lower()}", hounsfield())
    path = path.rename(tmp_path / f"scan{suffix}")
    assert read_volume(str(path)).array.shape == (5, 6, 7)


def test_names_with_spaces_and_accents_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Müller – CT 1"
    folder.mkdir()
    path = write(tmp_path / "scan.nii.gz", hounsfield())
    assert read_volume(path.rename(folder / "früh & spät.nii.gz")).array.shape == (5, 6, 7)


def test_a_nifti_affine_in_ras_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Bytes put together from the NIfTI standard, no writer in between."""
    affine = [[0.0, -0.8, 0.0, 12.0], [0.7, 0.0, 0.0, -30.0], [0.0, 0.0, 2.5, 100.0]]
    array = hounsfield()
    write_nifti(tmp_path / "a.nii", array, affine, slope=2.0, intercept=-7.0)
    volume = read_volume(tmp_path / "a.nii")
    assert volume.ijk_to_ras == pytest.approx(np.array([*affine, [0, 0, 0, 1]]), abs=1e-4)
    assert (volume.array == array * 2.0 - 7.0).all()


STRAIGHT = [[0.7, 0, 0, 0], [0, 0.8, 0, 0], [0, 0, 2.5, 0]]


def write_nifti(
    path: Path,
    array: np.ndarray,
    affine: Sequence[Sequence[float]],
    spacing: Sequence[float] = (0.7, 0.8, 2.5),
    slope: float = 1.0,
    intercept: float = 0.0,
    codes: tuple[int, int] = (0, 1),
    quaternion: Sequence[float] = (0.0, 0.0, 0.0),
    offset: Sequence[float] | None = None,
    units: int = 2,
) -> None:
    """Args:
    codes: of the qform and the sform.
    offset: of the qform; the sform's unless given.
    units: 2 for millimetres.
    """
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, slope, intercept)
    header[123] = units
    struct.pack_into("<2h", header, 252, *codes)
    place = offset if offset is not None else [row[3] for row in affine]
    struct.pack_into("<6f", header, 256, *quaternion, *place)
    for row, values in enumerate(affine):
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + array.astype("<i2").tobytes())


def test_an_nrrd_in_ras_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Sheared axes too, which NRRD can say and ITK keeps."""
    array = hounsfield()
    space = (
        b"space: right-anterior-superior\n"
        b"space directions: (0.7,0,0) (0.2,0.8,0) (0,0,2.5)\nspace origin: (1,2,3)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(NRRD + space + array.astype("<i2").tobytes())
    volume = read_volume(tmp_path / "a.nrrd")
    expected = [[0.7, 0.2, 0, 1], [0, 0.8, 0, 2], [0, 0, 2.5, 3], [0, 0, 0, 1]]
    assert volume.ijk_to_ras == pytest.approx(np.array(expected), abs=1e-6)
    assert (volume.array == array).all()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path, suffix: str) -> None:
    array = hounsfield()
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.JoinSeries([image_of(array)]), str(path))
    volume = read_volume(path)
    assert (volume.array == array).all()
    assert volume.spacing_mm == pytest.approx((0.7, 0.8, 2.5), abs=1e-5)


def test_the_voxels_outlive_the_reader(tmp_path: Path) -> None:
    volumes = [read_volume(write(tmp_path / "a.nrrd", hounsfield())) for _ in range(3)]
    assert all((volume.array == hounsfield()).all() for volume in volumes)
    assert volumes[0].array.flags.writeable


def test_the_voxels_are_those_of_the_image_and_not_a_copy() -> None:
    """A copy would double what a long scan takes."""
    expected = hounsfield()
    image = image_of(expected)
    view = sitk.GetArrayViewFromImage(image)
    array = Volume.from_sitk(image, "scan").array
    assert np.shares_memory(array, view)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    del image, view
    gc.collect()
    others = [image_of(np.zeros_like(expected)) for _ in range(50)]  # would take memory given back
    np.testing.assert_array_equal(array, expected)
    assert len(others) == 50


def test_real_scans_are_read_at_their_place(shared_data: Path) -> None:
    path = shared_data / "btcv" / "train" / "case0027_ct.nii.gz"
    volume = read_volume(path)
    with gzip.open(path) as stream:
        header = stream.read(348)
    sform = np.array(struct.unpack_from("<12f", header, 280)).reshape(3, 4)
    assert struct.unpack_from("<h", header, 254)[0] > 0
    assert volume.ijk_to_ras[:3] == pytest.approx(sform, abs=1e-3)
    assert (volume.array.min(), volume.array.max()) == (-125, 275)


# --- files that cannot be used ------------------------------------------------------------------


def cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.fixture(params=["zlib-ng", "Python"])
def either_gzip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library that decompresses twice as fast, and without it, as in Slicer."""
    if request.param == "zlib-ng":
        gzip_ng = pytest.importorskip("zlib_ng.gzip_ng")
        assert nifti_reading.open_gzip is gzip_ng.open
    else:
        monkeypatch.setattr(nifti_reading, "open_gzip", gzip.open)


@pytest.mark.usefixtures("either_gzip")
@pytest.mark.parametrize("keep", [0.02, 0.6, 0.97])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_truncated_file_is_refused(
    tmp_path: Path, suffix: str, keep: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = cut(write(tmp_path / f"scan{suffix}", hounsfield((12, 20, 30))), keep)
    assert "cut short" in refused(path, capfd)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_truncated_or_missing_separate_voxels_are_refused(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"scan{suffix}", hounsfield((12, 20, 30)))
    (voxels,) = (file for file in tmp_path.iterdir() if file != path)
    cut(voxels, 0.6)
    assert "cut short" in refused(path, capfd)
    voxels.unlink()
    assert "cannot be read" in refused(path, capfd)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_or_senseless_file_is_refused(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"scan{suffix}"
    path.touch()
    assert "is empty" in refused(path, capfd)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert "cannot be read" in refused(path, capfd)
    path.write_text("To whom it may concern")
    refused(path, capfd)


@pytest.mark.usefixtures("either_gzip")
def test_a_nifti_of_several_gzip_members_is_whole(tmp_path: Path) -> None:
    """As bgzip writes it: the size in the last bytes is that of the last member only."""
    content = gzip.decompress(write(tmp_path / "a.nii.gz", hounsfield()).read_bytes())
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert (read_volume(path).array == hounsfield()).all()
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:-20]))
    assert "cut short" in refused(path)


@pytest.mark.usefixtures("either_gzip")
def test_damage_inside_a_gzip_is_found_by_its_empty_end(tmp_path: Path) -> None:
    """The size at the end of the file is right, but decompression stops half-way."""
    array = np.zeros((40, 60, 70), np.int16)
    array[:39] = hounsfield((39, 60, 70))
    path = write(tmp_path / "scan.nii.gz", array)
    assert (read_volume(path).array == array).all()  # an empty last slice alone is no fault
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF  # the checksum
    path.write_bytes(content)
    assert "damaged" in refused(path)


@pytest.mark.usefixtures("either_gzip")
def test_a_gzip_that_is_no_deflate_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz", hounsfield((12, 20, 30)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    assert "damaged" in refused(path)


def test_a_compressed_metaimage_that_does_not_decompress_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """MetaIO prints that it failed, and returns an image all the same."""
    path = write(tmp_path / "scan.mha", np.zeros((12, 20, 30), np.int16))
    content = path.read_bytes()
    start = content.index(b"LOCAL\n") + len(b"LOCAL\n")
    path.write_bytes(content[:start] + b"\xff" * (len(content) - start))
    assert "damaged" in refused(path, capfd)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: (hounsfield((6, 7)), False), "2D picture of 7 x 6"),
        (lambda: (hounsfield((5, 6, 7, 3), np.uint8), True), "3 values for each voxel"),
    ],
    ids=["2D", "RGB"],
)
def test_pictures_are_refused(
    tmp_path: Path, suffix: str, make: Callable[[], tuple[np.ndarray, bool]], said: str
) -> None:
    array, is_vector = make()
    assert said in refused(write(tmp_path / f"scan{suffix}", array, is_vector))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_series_in_time_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(sitk.JoinSeries([image_of(hounsfield())] * 3), str(path))
    assert "series of 3 volumes (4D)" in refused(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_complex_numbers_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"scan{suffix}", hounsfield().astype(np.complex64))
    assert "complex numbers" in refused(path)


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("TransformMatrix", "1 0 0 1 0 0 0 0 1", "axes"),
        ("TransformMatrix", "0 0 0 0 0 0 0 0 0", "axes"),
        ("ElementSpacing", "1 1 0", "spacing"),
        ("ElementSpacing", "1 nan 1", "spacing"),
        ("DimSize", "7 0 5", "no voxels"),
        ("DimSize", "7000 6000 5000", "far too small for an image of 7000 x 6000 x 5000"),
        ("DimSize", "70 6 5", "cut short"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(
    tmp_path: Path, entry: str, value: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan.mha"
    lines = "".join(f"{key} = {text}\n" for key, text in (METAIMAGE | {entry: value}).items())
    path.write_bytes((lines + "ElementDataFile = LOCAL\n").encode() + hounsfield().tobytes())
    assert said in refused(path, capfd)


def test_a_nifti_header_that_makes_no_sense_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.nii"
    coinciding = [[0.7, 0.7, 0, 0], [0, 0, 0, 0], [0, 0, 2.5, 0]]
    write_nifti(path, hounsfield(), coinciding)
    assert "two axes coincide" in refused(path, capfd)
    for step in (0.0, np.nan, np.inf):  # ITK, and nibabel for 0, would take it for 1 mm
        write_nifti(path, hounsfield(), STRAIGHT, spacing=(0.7, 0.8, step), codes=(1, 0))
        assert "no valid voxel spacing" in refused(path, capfd)
        write_nifti(path, hounsfield(), STRAIGHT, spacing=(0.7, 0.8, step), codes=(0, 0))
        assert "no valid voxel spacing" in refused(path, capfd)
    write_nifti(path, hounsfield(), [[np.nan, 0, 0, 0], *STRAIGHT[1:]])
    assert "not a finite" in refused(path, capfd)
    write_nifti(path, hounsfield(), STRAIGHT, codes=(1, 0), quaternion=(1.0, 1.0, 0.0))
    assert "no valid orientation" in refused(path, capfd)
    for length in (0, -5):  # ITK would take it for 1
        write_nifti(path, hounsfield(), STRAIGHT)
        content = bytearray(path.read_bytes())
        struct.pack_into("<h", content, 46, length)
        path.write_bytes(content)
        assert "no valid size" in refused(path, capfd)
    for slope, intercept in ((np.nan, -1024.0), (1.0, np.inf), (0.0, -1024.0)):
        write_nifti(path, hounsfield(), STRAIGHT, slope=slope, intercept=intercept)
        assert "intercept" in refused(path, capfd)


# --- NIfTI: several sources of one place --------------------------------------------------------


def nifti(folder: Path, affine: Sequence[Sequence[float]], **header: Any) -> tuple[Volume, str]:
    """What is read of such a file, and all that is said of it."""
    write_nifti(folder / "a.nii", hounsfield(), affine, **header)
    volume, warnings = read(folder / "a.nii")
    assert (volume.array == hounsfield()).all()
    return volume, " ".join(warnings)


def whole(affine: Sequence[Sequence[float]]) -> Any:
    return pytest.approx(np.array([*affine, [0, 0, 0, 1]]), abs=1e-4)


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1)])
def test_the_sign_of_a_spacing_mirrors_nobody(
    tmp_path: Path, signs: tuple[int, ...], codes: tuple[int, int]
) -> None:
    spacing = [sign * step for sign, step in zip(signs, (0.7, 0.8, 2.5), strict=True)]
    volume, said = nifti(tmp_path, STRAIGHT, spacing=spacing, codes=codes)
    assert volume.ijk_to_ras == whole(STRAIGHT)
    # Only a qform is made with it, so that its writer may have meant something by it.
    assert ("negative voxel spacing" in said) == (codes == (1, 0) and min(signs) < 0)


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (4, 1), (2, 3)])
def test_the_sform_goes_before_a_qform_that_differs_and_it_is_told(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    moved = [[0.7, 0, 0, 20], [0, 0.8, 0, -15], [0, 0, 2.5, 30]]
    volume, said = nifti(tmp_path, moved, codes=codes, offset=(0, 0, 0))
    assert volume.ijk_to_ras == whole(moved)
    assert "places the scan in two ways, up to 39.1 mm apart" in said
    tilted = [[0.7, 0, 0, 0], [0, 0.8, 0.5, 0], [0, 0, 2.5, 0]]
    volume, said = nifti(tmp_path, tilted, codes=codes, offset=(0, 0, 0))
    assert volume.ijk_to_ras == whole(tilted)
    assert "up to 2 mm apart" in said


@pytest.mark.parametrize("off_voxels", [0.05, 0.2])
def test_a_tenth_of_a_voxel_is_no_contradiction(tmp_path: Path, off_voxels: float) -> None:
    _, said = nifti(tmp_path, STRAIGHT, codes=(1, 1), offset=(0.7 * off_voxels, 0, 0))
    assert ("two ways" in said) == (off_voxels > 0.1)
    longer = [0.7, 0.8, 2.5 * (1 + off_voxels / 4)]  # over five slices
    _, said = nifti(tmp_path, STRAIGHT, spacing=longer)
    assert ("two voxel spacings" in said) == (off_voxels > 0.1)


def test_a_spacing_that_contradicts_the_sform_is_told(tmp_path: Path) -> None:
    volume, said = nifti(tmp_path, STRAIGHT, spacing=(1, 1, 1))
    assert volume.ijk_to_ras == whole(STRAIGHT)
    assert "1 x 1 x 1 mm and 0.7 x 0.8 x 2.5 mm" in said
    for step in (0.0, np.nan, np.inf):
        volume, said = nifti(tmp_path, STRAIGHT, spacing=(0.7, 0.8, step), codes=(1, 1))
        assert volume.ijk_to_ras == whole(STRAIGHT)
        assert "no valid voxel spacing" in said


@pytest.mark.parametrize("shear", [1e-5, 1e-4, 1e-2, 0.2])
def test_a_sheared_sform_is_kept(tmp_path: Path, shear: float) -> None:
    affine = [[0.7, 0, 0, 0], [0, 0.8, shear * 2.5, 0], [0, 0, 2.5, 0]]
    volume, _ = nifti(tmp_path, affine)
    assert volume.ijk_to_ras == whole(affine)


def test_a_file_that_does_not_say_how_the_patient_lies_is_told(tmp_path: Path) -> None:
    """The place that nibabel, FSL and Analyze take then: the first axis runs to the left."""
    volume, said = nifti(tmp_path, STRAIGHT, codes=(0, 0))
    assert volume.ijk_to_ras == whole(nibabel.load(tmp_path / "a.nii").affine[:3])
    assert (np.sign(np.diag(volume.ijk_to_ras)) == (-1, 1, 1, 1)).all()
    assert "does not say how the patient lies" in said


def test_a_valid_qform_stands_in_for_an_sform_that_is_none(tmp_path: Path) -> None:
    volume, said = nifti(tmp_path, np.zeros((3, 4)), codes=(1, 1), offset=(0, 0, 0))
    assert volume.ijk_to_ras == whole(STRAIGHT)
    assert "the qform is used" in said
    volume, said = nifti(tmp_path, STRAIGHT, codes=(1, 1), quaternion=(1.0, 1.0, 0.0))
    assert volume.ijk_to_ras == whole(STRAIGHT)
    assert "qform in the header of 'a.nii' is no valid place" in said


def test_what_a_quaternion_is_rounded_to_is_no_contradiction(tmp_path: Path) -> None:
    """A turn by nearly 180 degrees, as ITK writes it, loses half of its digits."""
    image = sitk.GetImageFromArray(np.zeros((3, 512, 512), np.int16))
    image.SetSpacing((0.7, 0.7, 2.5))
    for degrees in (0.01, 0.03, 0.1, 0.5, 3.0):
        angle = np.radians(degrees)
        turned = [np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1]
        image.SetDirection(turned)
        sitk.WriteImage(image, str(tmp_path / "turned.nii"))
        assert read(tmp_path / "turned.nii")[1] == []


@pytest.mark.parametrize(("code", "millimetres"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])
def test_a_place_in_other_units_comes_in_millimetres(
    tmp_path: Path, code: int, millimetres: float
) -> None:
    affine = np.array([[0.7, 0, 0, 5], [0, 0.8, 0, 6], [0, 0, 2.5, 7]])
    spacing = np.array([0.7, 0.8, 2.5]) / millimetres
    volume, said = nifti(tmp_path, affine / millimetres, spacing=spacing, units=code)
    assert volume.ijk_to_ras == whole(affine)
    assert said == ""


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_is_none_scales_nothing(tmp_path: Path, slope: float) -> None:
    for intercept in (0.0, np.nan) if slope else (0.0,):
        _, said = nifti(tmp_path, STRAIGHT, slope=slope, intercept=intercept)
        assert said == ""


def test_nifti_2_and_foreign_byte_orders_are_read(tmp_path: Path) -> None:
    affine = np.array([*STRAIGHT, [0, 0, 0, 1]])
    for number, order in enumerate("<>"):
        header = nibabel.Nifti2Header(endianness=order)
        image = nibabel.Nifti2Image(hounsfield().T, affine, header)
        nibabel.save(image, tmp_path / f"{number}.nii.gz")
        volume, warnings = read(tmp_path / f"{number}.nii.gz")
        assert (volume.array == hounsfield()).all()
        assert volume.array.dtype.isnative
        assert volume.ijk_to_ras == whole(STRAIGHT)
        assert warnings == []


@pytest.mark.parametrize("code", [1, 5, 6, 99])
def test_any_code_above_zero_says_that_there_is_a_place(tmp_path: Path, code: int) -> None:
    moved = [[0.7, 0, 0, 20], [0, 0.8, 0, -15], [0, 0, 2.5, 30]]
    for codes in ((0, code), (code, 0)):
        volume, said = nifti(tmp_path, moved, codes=codes)
        assert volume.ijk_to_ras == whole(moved)
        assert said == ""
    volume, said = nifti(tmp_path, moved, codes=(-1, -1))
    assert "does not say how the patient lies" in said


@pytest.mark.parametrize("offset", [0, -16, 10, 352])
def test_voxels_never_begin_within_the_header(tmp_path: Path, offset: int) -> None:
    """0 is what headers say whose voxels lie in a file of their own."""
    for kind, place, code in ((nibabel.Nifti1Image, 108, "<f"), (nibabel.Nifti2Image, 168, "<q")):
        path = tmp_path / "a.nii"
        nibabel.save(kind(hounsfield().T, np.eye(4)), path)
        content = bytearray(path.read_bytes())
        struct.pack_into(code, content, place, offset)
        path.write_bytes(content)
        assert (read(path)[0].array == hounsfield()).all()


@pytest.mark.parametrize("code", [0, 1, 999])
def test_a_type_of_voxels_that_is_not_known_is_told_as_such(tmp_path: Path, code: int) -> None:
    write_nifti(tmp_path / "a.nii", hounsfield(), STRAIGHT)
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", content, 70, code)
    (tmp_path / "a.nii").write_bytes(content)
    assert "voxels of a type that is not read here" in refused(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["plain.nii.gz", "packed.nii"])
def test_what_a_nifti_file_is_tells_and_not_its_suffix(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / "a.nii", hounsfield(), STRAIGHT)
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name == "packed.nii" else content)
    assert (read(tmp_path / name)[0].array == hounsfield()).all()


# --- NRRD and MetaImage: what a header says that ITK passes over ----------------------------------

LPS = "space: left-posterior-superior\n"
STEPS = "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\n"


def nrrd(folder: Path, fields: str, encoding: str = "raw") -> Path:
    header = NRRD.replace(b"raw", encoding.encode()) + fields.encode() + b"\n"
    (folder / "a.nrrd").write_bytes(header + hounsfield().astype("<i2").tobytes())
    return folder / "a.nrrd"


def metaimage(folder: Path, voxels: str = "LOCAL", **entries: str | None) -> Path:
    """Entries of None are left out."""
    lines = METAIMAGE | {"ElementSpacing": "0.7 0.8 2.5"} | entries | {"ElementDataFile": voxels}
    header = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
    (folder / "a.mha").write_bytes(header.encode() + hounsfield().astype("<i2").tobytes())
    return folder / "a.mha"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (LPS + STEPS, ""),
        ("space: RAS\n" + STEPS, ""),
        ("space dimension: 3\n" + STEPS, "how the patient lies"),
        ("space: scanner-xyz\n" + STEPS, "how the patient lies"),
        ("space: 3D-right-handed\n" + STEPS, "how the patient lies"),
        ("spacings: 0.7 0.8 2.5\n", "how the patient lies"),
        (LPS, "not give its voxel spacing; the voxels are taken for 1 mm"),
        ("", "neither its voxel spacing nor how the patient lies"),
        ("spacings: 0.7 -0.8 2.5\n", "negative voxel spacing"),
    ],
)
def test_what_the_header_of_an_nrrd_lacks_is_told(tmp_path: Path, fields: str, said: str) -> None:
    volume, warnings = read(nrrd(tmp_path, fields))
    assert (volume.array == hounsfield()).all()
    assert said in " ".join(warnings)
    assert bool(said) == bool(warnings)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, ""),
        ({"AnatomicalOrientation": "RAI"}, ""),
        ({"AnatomicalOrientation": "LPS"}, ""),  # to where the axes go, as others write it
        ({"AnatomicalOrientation": "???"}, ""),
        ({"AnatomicalOrientation": "RAS"}, "in two ways how the patient lies"),
        ({"AnatomicalOrientation": "RAS", "TransformMatrix": "1 0 0 0 1 0 0 0 -1"}, ""),
        ({"AnatomicalOrientation": "LAI", "TransformMatrix": None}, "in two ways how the patient"),
        ({"TransformMatrix": None}, "how the patient lies"),
        ({"ElementSpacing": None}, "not give its voxel spacing"),
        ({"ElementSpacing": None, "ElementSize": "0.7 0.8 2.5"}, ""),
        ({"ElementSpacing": None, "TransformMatrix": None}, "neither its voxel spacing"),
        ({"ElementSpacing": "-0.7 0.8 2.5"}, "negative voxel spacing"),
    ],
)
def test_what_the_header_of_a_metaimage_lacks_is_told(
    tmp_path: Path, entries: dict[str, str | None], said: str
) -> None:
    volume, warnings = read(metaimage(tmp_path, **entries))
    assert (volume.array == hounsfield()).all()
    assert said in " ".join(warnings)
    assert bool(said) == bool(warnings)


@pytest.mark.parametrize(
    ("unit", "millimetres"),
    [("mm", 1), ("cm", 10), ("m", 1000), ("um", 0.001), ("\u00b5m", 0.001), ("???", 1), ("", 1)],
)
def test_lengths_in_other_units_come_in_millimetres(
    tmp_path: Path, unit: str, millimetres: float
) -> None:
    expected = np.diag([-0.7, -0.8, 2.5]) * millimetres
    quoted = " ".join([f'"{unit}"'] * 3)
    paths = [
        nrrd(tmp_path, f"{LPS}{STEPS}space units: {quoted}\n"),
        metaimage(tmp_path, DistanceUnits=unit or None),
    ]
    for path in paths:
        volume, warnings = read(path)
        assert volume.ijk_to_ras[:3, :3] == pytest.approx(expected)
        assert read_header(path).ijk_to_ras == pytest.approx(volume.ijk_to_ras)
        assert warnings == []


@pytest.mark.parametrize(
    ("fields", "encoding", "said"),
    [
        (LPS + "space directions: (0.7,0,0) (0,0.8,0) none\n", "raw", "no voxel spacing for each"),
        ("spacings: 0.7 0.8 nan\n", "raw", "no voxel spacing for each"),
        (LPS + STEPS.replace("0.8", "1e300"), "raw", "no voxel spacing for each"),
        (LPS + STEPS + 'space units: "mm" "mm" "cm"\n', "raw", "several units"),
        (LPS + STEPS, "bzip2", "packed in a way that is not read here (bzip2)"),
        (LPS + STEPS, "\x1b[31m", "packed in a way that is not read here;"),
        ("space: right-posterior-inferior\n" + STEPS, "raw", "a space that NRRD does not have"),
    ],
)
def test_an_nrrd_that_would_be_guessed_at_is_refused(
    tmp_path: Path, fields: str, encoding: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(nrrd(tmp_path, fields, encoding), capfd)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1)),
        ("RAS", (1, 1)),
        ("left-anterior-superior", (-1, 1)),
        ("LAS", (-1, 1)),
        ("left-posterior-superior", (-1, -1)),
        ("LPS", (-1, -1)),
    ],
)
def test_the_space_of_an_nrrd_is_obeyed_with_an_axis_of_time_too(
    tmp_path: Path, space: str, signs: tuple[int, int]
) -> None:
    expected = np.diag([0.7 * signs[0], 0.8 * signs[1], 2.5, 1.0])
    expected[:3, 3] = (signs[0], 2 * signs[1], 3)
    volume, warnings = read(nrrd(tmp_path, f"space: {space}\n{STEPS}space origin: (1,2,3)\n"))
    assert volume.ijk_to_ras == pytest.approx(expected)
    assert warnings == []
    time = "T" if space.isupper() else "-time"
    fields = (
        f"space: {space}{time}\nspace origin: (1,2,3,0)\n"
        "space directions: (0.7,0,0,0) (0,0.8,0,0) (0,0,2.5,0) (0,0,0,1)\n"
    )
    path = nrrd(tmp_path, fields)
    content = path.read_bytes().replace(b"dimension: 3", b"dimension: 4")
    path.write_bytes(content.replace(b"sizes: 7 6 5", b"sizes: 7 6 5 1"))
    volume, warnings = read(path)
    assert volume.ijk_to_ras == pytest.approx(expected)
    assert warnings == []


def test_a_metaimage_whose_values_are_to_be_rescaled_is_refused(tmp_path: Path) -> None:
    one = {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"}
    assert read(metaimage(tmp_path, **one))[1] == []
    for entry, value in (("Slope", "2"), ("Offset", "-1024")):
        path = metaimage(tmp_path, **one | {f"ElementToIntensityFunction{entry}": value})
        assert "a slope and an intercept" in refused(path)


@pytest.mark.parametrize("voxels", ["LIST\n{}\n{}\n{}\n{}", "slice%d.raw 0 3 1"])
def test_a_list_of_slices_that_is_too_short_is_refused(tmp_path: Path, voxels: str) -> None:
    """ITK leaves what is missing as it finds the memory."""
    for number, plane in enumerate(hounsfield()):
        (tmp_path / f"slice{number}.raw").write_bytes(plane.astype("<i2").tobytes())
    names = [f"slice{number}.raw" for number in range(5)]
    assert "voxels are missing" in refused(metaimage(tmp_path, voxels.format(*names)))
    twice = metaimage(tmp_path, "\n".join(["LIST", *names[:4], names[3]]))
    assert (read(twice)[0].array[:4] == hounsfield()[:4]).all()


def test_a_header_alone_is_looked_at_as_closely(tmp_path: Path) -> None:
    """MetaIO writes beyond its memory where there are more axes than it has room for."""
    path = metaimage(tmp_path, NDims="100", DimSize=" ".join(["1"] * 100))
    with pytest.raises(InputError, match="no valid number of axes"):
        read_header(path)


@pytest.mark.parametrize("name", ["scan.png", "scan.txt", "scan", "scan.nii.zip", "scan.gz"])
def test_another_format_is_refused_with_those_that_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 200)
    message = refused(tmp_path / name)
    assert f"'{name}' is of no format" in message
    assert ".nii.gz" in message


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.nii.gz") == "There is no file or folder 'absent.nii.gz'."
    assert "absent" in refused(tmp_path / "absent")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scan.nii")
    assert "neither a file nor a folder" in refused(tmp_path / "scan.nii")


def test_stderr_is_collected_for_a_while_and_then_given_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from AttentionUNetSegmentLib.io.captured_stderr import capture_stderr

    with capture_stderr() as printed:
        os.write(2, b"from a library")
    with pytest.raises(OSError, match="descriptor"), capture_stderr():
        os.write(-1, b"")
    os.write(2, b"after")
    assert printed.text == "from a library"
    assert capfd.readouterr().err == "after"


# --- DICOM --------------------------------------------------------------------------------------


def read(path: Path) -> tuple[Volume, list[str]]:
    warnings: list[str] = []
    volume = read_volume(path, warnings.append)
    for warning in warnings:
        assert warning.endswith(".")
        assert SECRET not in warning
        assert "\n" not in warning
    return volume, warnings


def assert_placed(
    volume: Volume,
    array: np.ndarray,
    positions: Sequence[Sequence[float]],
    axes: Sequence[Sequence[float]] = AXIAL,
) -> None:
    """By the formula of the DICOM standard (PS3.3, C.7.6.2.1.1), slice by slice."""
    assert (volume.array == array).all()
    for k, position in enumerate(positions):
        for i, j in ((0, 0), (6, 0), (0, 5), (3, 2)):
            lps = np.array(position) + i * 0.7 * np.array(axes[0]) + j * 0.8 * np.array(axes[1])
            expected = (-lps[0], -lps[1], lps[2], 1)
            assert volume.ijk_to_ras @ (i, j, k, 1) == pytest.approx(expected, abs=1e-3)


def test_a_dicom_series_gives_hounsfield_units_at_their_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path, array, stack(9))
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, stack(9))
    assert warnings == []
    assert capfd.readouterr() == ("", "")


def test_slices_from_head_to_foot_are_put_in_order(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path, array, stack(9, (0, 0, -2.5)))
    volume, _ = read(tmp_path)
    assert_placed(volume, array[::-1], stack(9, (0, 0, -2.5))[::-1])


def test_an_oblique_series_is_placed(tmp_path: Path) -> None:
    """Coronal, turned: its slices lie along y and its rows are oblique."""
    axes = ((np.cos(0.2), np.sin(0.2), 0.0), (0.0, 0.0, -1.0))
    normal = np.cross(*axes)
    array = hounsfield((9, 6, 7))
    positions = stack(9, normal * 1.25)
    write_slices(tmp_path, array, positions, axes)
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, positions, axes)
    assert warnings == []


def test_a_tilted_gantry_is_kept_as_a_shear_and_told(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    positions = stack(9, (0, 0.5, 2.5))
    write_slices(tmp_path, array, positions)
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, positions)
    assert len(warnings) == 1
    assert "tilted by 11.3 degrees" in warnings[0]


def test_slices_with_rescales_of_their_own_are_each_rescaled(tmp_path: Path) -> None:
    """The first slice alone would be read as bytes, which hold no negative value."""
    array = hounsfield((9, 6, 7))
    array[:4] = array[:4] % 200
    first = array[:4].astype(np.uint8)
    write_slices(tmp_path, first, stack(9)[:4], prefix="A", t0028_1052="0")
    write_slices(
        tmp_path, array[4:], stack(9)[4:], uid=2, prefix="B",
        t0020_000e="1.2.826.0.1.3680043.2.1125.1", t0020_0011="1",
    )  # fmt: skip
    volume, _ = read(tmp_path)
    assert (volume.array == array).all()


def test_a_file_of_a_series_stands_for_the_series(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    path = write_slices(tmp_path, array, stack(9))[4]
    write_slices(tmp_path, array[:7] + 1, stack(7), uid=2, prefix="OTHER")
    volume, _ = read(path)
    assert_placed(volume, array, stack(9))
    bare = path.rename(tmp_path / "I5")  # without a suffix, as on a disc from a hospital
    volume, _ = read(bare)
    assert_placed(volume, array, stack(9))


def test_a_series_below_the_folder_is_found_beside_other_files(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path / "study" / "series", array, stack(9))
    (tmp_path / "README.txt").write_text("x" * 300)
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "study" / ".DS_Store").write_bytes(b"\0" * 300)
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, stack(9))
    assert warnings == []


def test_localizers_and_other_modalities_are_set_aside_with_a_warning(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path, array, stack(9), uid=3)
    sagittal = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
    write_slices(
        tmp_path,
        hounsfield((2, 30, 20)),
        stack(2),
        sagittal,
        uid=1,
        prefix="SCOUT",
        t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER",
    )
    write_slices(tmp_path, hounsfield((2, 30, 20)), stack(2), sagittal, uid=2, prefix="TOPO")
    write_slices(tmp_path, array, stack(9), uid=4, prefix="PET", t0008_0060="PT")
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, stack(9))
    assert len(warnings) == 1
    assert "13 images" in warnings[0]
    assert "series 3 (9 slices" in warnings[0]


def test_several_volumes_are_listed_and_none_is_chosen(tmp_path: Path) -> None:
    write_slices(tmp_path, hounsfield((9, 6, 7)), stack(9), uid=3, prefix="ART")
    write_slices(tmp_path, hounsfield((7, 6, 7)), stack(7), uid=4, prefix="VEN")
    message = refused(tmp_path)
    assert "2 CT volumes" in message
    assert "series 3 (9 slices, such as 'ART900.dcm')" in message
    assert "series 4 (7 slices, such as 'VEN900.dcm')" in message
    assert "any file of it" in message


def test_two_phases_in_one_series_are_told_apart_by_acquisition(tmp_path: Path) -> None:
    early, late = hounsfield((9, 6, 7)), hounsfield((9, 6, 7)) + 5
    write_slices(tmp_path, early, stack(9), prefix="A")
    chosen = write_slices(
        tmp_path, late, stack(9), uid=2, prefix="B", t0020_000e="1.2.826.0.1.3680043.2.1125.1",
        t0020_0012="2", t0020_0011="1",
    )  # fmt: skip
    assert "2 CT volumes" in refused(tmp_path)
    volume, _ = read(chosen[0])
    assert_placed(volume, late, stack(9))


def test_images_at_one_place_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path, hounsfield((9, 6, 7)), stack(9), prefix="A")
    write_slices(
        tmp_path, hounsfield((9, 6, 7)) + 5, stack(9), uid=2, prefix="B",
        t0020_000e="1.2.826.0.1.3680043.2.1125.1", t0020_0011="1",
    )  # fmt: skip
    assert "several images at the same place" in refused(tmp_path)


def changed(path: Path, **elements: Any) -> None:
    """Set elements of a DICOM file by their keyword; None takes one out."""
    from pydicom import config

    data = pydicom.dcmread(path)
    with config.disable_value_validation():
        for keyword, value in elements.items():
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value)
    data.save_as(path)


def whole_series(folder: Path, count: int = 12, **tags: str) -> tuple[np.ndarray, list[Path]]:
    array = hounsfield((count, 6, 7))
    return array, write_slices(folder, array, stack(count), **tags)


def test_directions_that_are_rounded_do_not_scale_the_spacing(tmp_path: Path) -> None:
    array, paths = whole_series(tmp_path)
    for path in paths:
        changed(path, ImageOrientationPatient=[0.99, 0, 0, 0, 0.98, 0])
    assert_placed(read(tmp_path)[0], array, stack(12))
    for path in paths:
        changed(path, ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0])
    assert "no two of them are parallel" in refused(tmp_path)


def test_a_negative_pixel_spacing_mirrors_nobody_and_is_told(tmp_path: Path) -> None:
    array, paths = whole_series(tmp_path)
    for path in paths:
        changed(path, PixelSpacing=[-0.8, 0.7])
    volume, (said,) = read(tmp_path)
    assert_placed(volume, array, stack(12))
    assert "negative pixel spacing" in said


def series_of(syntax: str, dtype: str) -> OddSeries:
    return OddSeries(
        5, 36, 37, dtype, 12, syntax, 1.0, -1024.0, "axial", (0.7, 0.7), 2.5, "none", 0
    )


@pytest.mark.parametrize(
    "syntax", ["explicit", "implicit", "big endian", "deflated", "RLE", "JPEG-LS", "JPEG 2000"]
)
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_an_inverted_display_inverts_no_values(tmp_path: Path, syntax: str, dtype: str) -> None:
    case = series_of(syntax, dtype)
    for path in case.write(tmp_path / "series"):
        changed(path, PhotometricInterpretation="MONOCHROME1")
    assert (read(tmp_path / "series")[0].array == case.hounsfield).all()


@pytest.mark.parametrize("which", [slice(None), slice(10, 12)])
def test_slices_that_share_a_uid_are_slices_all_the_same(tmp_path: Path, which: slice) -> None:
    array, paths = whole_series(tmp_path)
    for path in paths[which]:
        changed(path, SOPInstanceUID="1.2.3.4")
    assert_placed(read(tmp_path)[0], array, stack(12))


def test_slices_without_a_uid_are_read(tmp_path: Path) -> None:
    array, paths = whole_series(tmp_path)
    for path in paths:
        changed(path, SOPInstanceUID=None, SeriesInstanceUID=None)
    assert_placed(read(tmp_path)[0], array, stack(12))


def test_a_series_uid_for_each_slice_is_one_series(tmp_path: Path) -> None:
    from AttentionUNetSegmentLib.io.dicom_series import find_dicom_series

    array, paths = whole_series(tmp_path)
    for number, path in enumerate(paths):
        changed(path, SeriesInstanceUID=f"1.2.3.{number + 1}")
    assert_placed(read(tmp_path)[0], array, stack(12))
    assert_placed(read(paths[3])[0], array, stack(12))
    (found,) = find_dicom_series(map(str, paths))
    assert (len(found.files), found.reason, found.uid) == (12, "", "")


def test_slices_of_signed_and_of_unsigned_numbers_keep_their_values(tmp_path: Path) -> None:
    """The first slice's type alone would turn what it does not hold over by 65536."""
    array, paths = whole_series(tmp_path)
    array = array.astype(np.int32)
    for number, path in enumerate(paths):
        array[number] = array[number] - 2000 if number % 2 else array[number] % 60000
        dtype = "<i2" if number % 2 else "<u2"
        changed(
            path, PixelRepresentation=number % 2, RescaleIntercept="0",
            PixelData=array[number].astype(dtype).tobytes(),
        )  # fmt: skip
    assert (read(tmp_path)[0].array == array).all()


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big endian", "deflated"])
def test_a_slice_with_too_few_pixels_is_no_slice(tmp_path: Path, syntax: str) -> None:
    """GDCM takes whatever lies in memory for the others."""
    for path in series_of(syntax, "u2").write(tmp_path)[2:3]:
        changed(path, PixelData=pydicom.dcmread(path).PixelData[:-40])
    message = refused(tmp_path)
    assert "lacks slices" in message
    assert "is cut short: pixels are missing at its end" in message


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "deflated"])
def test_values_that_stand_in_a_table_are_refused(tmp_path: Path, syntax: str) -> None:
    """GDCM gives the stored values, as if there were no table."""
    table = pydicom.Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 16])
    table.ModalityLUTType = "HU"
    table.add_new(0x00283006, "OW", np.arange(4096, dtype="<u2").tobytes())
    paths = series_of(syntax, "u2").write(tmp_path)
    for path in paths:
        changed(path, ModalityLUTSequence=[])
    read(tmp_path)
    for path in paths:
        changed(path, ModalityLUTSequence=[table], RescaleSlope=None, RescaleIntercept=None)
    assert "has a table for its values (Modality LUT)" in refused(tmp_path)


def test_a_high_bit_that_is_not_the_last_stored_one_is_told(tmp_path: Path) -> None:
    case = series_of("explicit", "u2")
    for path in case.write(tmp_path):
        changed(path, HighBit=15)
    volume, (said,) = read(tmp_path)
    assert (volume.array == case.hounsfield).all()
    assert "the last of 12 stored bits is bit 15" in said


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("second", [slice(1, None, 2), slice(6, None)])
def test_two_patients_under_one_series_uid_are_no_volume(
    tmp_path: Path, tag: str, second: slice
) -> None:
    array, paths = whole_series(tmp_path)
    for path in paths:
        changed(path, **{tag: "1.2.3"})
    assert_placed(read(tmp_path)[0], array, stack(12))
    for path in paths[second]:
        changed(path, **{tag: "1.2.4"})
    assert "holds 2 CT volumes" in refused(tmp_path)
    # Of all images but one, which is a scout's, it says nothing.
    changed(paths[0], **{tag: "1.2.5"})
    for path in paths[1:]:
        changed(path, **{tag: "1.2.3"})
    assert_placed(read(tmp_path)[0], array, stack(12))


@pytest.mark.parametrize("uid", ["1.2.3", None])
@pytest.mark.parametrize("off_mm", [0.0, 1.25, 30.0])
def test_patients_under_one_series_uid_are_told_apart_by_their_folders(
    tmp_path: Path, uid: str | None, off_mm: float
) -> None:
    from AttentionUNetSegmentLib.io.dicom_series import find_dicom_series

    array, paths = whole_series(tmp_path / "a")
    places = np.array(stack(12)) + np.array([0, 0, off_mm])
    paths += write_slices(tmp_path / "b", array + 1, places, uid=2, t0020_0011="1")
    for path in paths:
        changed(path, SeriesInstanceUID=uid)
    found = find_dicom_series(map(str, paths))
    assert sorted(len(one.files) for one in found) == [12, 12]
    assert {one.reason for one in found} == {""}
    assert "holds 2 CT volumes" in refused(tmp_path)
    assert_placed(read(paths[0])[0], array, stack(12))


def test_a_series_in_two_folders_is_one(tmp_path: Path) -> None:
    """As discs have it; and copies of all of its images in another folder count once."""
    array, paths = whole_series(tmp_path / "all" / "a")
    (tmp_path / "all" / "b").mkdir()
    for path in paths[6:]:
        path.rename(tmp_path / "all" / "b" / path.name)
    assert_placed(read(tmp_path)[0], array, stack(12))
    shutil.copytree(tmp_path / "all", tmp_path / "again")
    assert_placed(read(tmp_path)[0], array, stack(12))


def test_copies_under_other_uids_count_once(tmp_path: Path) -> None:
    array, paths = whole_series(tmp_path)
    for number, path in enumerate(paths):
        copy = tmp_path / f"copy{number}.dcm"
        shutil.copy(path, copy)
        changed(copy, SOPInstanceUID=f"1.2.3.{number + 1}")
    assert_placed(read(tmp_path)[0], array, stack(12))


@pytest.mark.parametrize("shared", [1, 2])
def test_slabs_that_share_slices_are_one_volume(tmp_path: Path, shared: int) -> None:
    array, paths = whole_series(tmp_path, 20)
    for number, path in enumerate(paths):
        changed(path, AcquisitionNumber=1 if number < 10 else 2)
    for number in range(10 - shared, 10):  # taken a second time, with other noise
        write_slices(
            tmp_path, array[number : number + 1] + 3, stack(20)[number : number + 1],
            uid=2, prefix=f"again{number}", t0020_000e="1.2.826.0.1.3680043.2.1125.1",
            t0020_0011="1", t0020_0012="2", t0008_0018=f"1.2.3.{number}",
        )  # fmt: skip
    volume, (said,) = read(tmp_path)
    assert_placed(volume, array, stack(20))
    assert "set aside" in said


@pytest.mark.parametrize("told_apart", [True, False])
def test_images_that_watch_the_bolus_are_set_aside(tmp_path: Path, told_apart: bool) -> None:
    array, _ = whole_series(tmp_path, 12)
    for number in range(6):
        # On a slice where an element tells them apart, else between two.
        place = [stack(12)[5] if told_apart else [-100, -90, 38.0]]
        write_slices(
            tmp_path, array[:1] + number, place, uid=2, prefix=f"bolus{number}",
            t0020_000e="1.2.826.0.1.3680043.2.1125.1", t0020_0011="1",
            t0020_0012="2" if told_apart else "1", t0008_0018=f"1.2.3.{number}",
        )  # fmt: skip
    volume, (said,) = read(tmp_path)
    assert_placed(volume, array, stack(12))
    assert "6 images" in said


def test_images_that_watch_the_bolus_in_another_field_are_set_aside(tmp_path: Path) -> None:
    array, _ = whole_series(tmp_path, 12)
    for number in range(10):
        write_slices(
            tmp_path, hounsfield((1, 9, 9)), [stack(12)[5]], uid=2, prefix=f"bolus{number}",
            t0020_000e="1.2.826.0.1.3680043.2.1125.1", t0020_0011="1", t0008_0018=f"1.2.3.{number}",
        )  # fmt: skip
    volume, (said,) = read(tmp_path)
    assert_placed(volume, array, stack(12))
    assert "10 images" in said


def test_an_image_taken_before_the_scan_is_set_aside(tmp_path: Path) -> None:
    array, _ = whole_series(tmp_path, 12)
    write_slices(
        tmp_path, array[:1], [[-100, -90, 38.0]], uid=2, prefix="before",
        t0020_000e="1.2.826.0.1.3680043.2.1125.1", t0020_0011="1", t0020_0012="0",
    )  # fmt: skip
    assert_placed(read(tmp_path)[0], array, stack(12))


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_and_suffix_are_read(tmp_path: Path, implicit: bool) -> None:
    array, paths = whole_series(tmp_path / "series")
    for path in paths:
        data = pydicom.dcmread(path)
        del data.file_meta
        data.preamble = None
        bare = path.with_suffix("")
        pydicom.dcmwrite(
            bare, data, implicit_vr=implicit, little_endian=True, enforce_file_format=False
        )
        path.unlink()
    (tmp_path / "series" / "notes").write_text("The patient came on Monday. " * 20)
    assert_placed(read(tmp_path / "series")[0], array, stack(12))
    assert_placed(read(bare)[0], array, stack(12))


PIXELS = struct.pack("<2H", 0x7FE0, 0x0010) + b"OW"


@pytest.mark.parametrize("vr", [b"OB", b"UN", b"UT"])
@pytest.mark.parametrize("length", [40, 100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_private_value_that_begins_like_an_item_is_read(
    tmp_path: Path, vr: bytes, length: int
) -> None:
    case = series_of("explicit", "i2")
    value = struct.pack("<2HI", 0xFFFE, 0xE000, length) + b"\x12" * 40
    private = struct.pack("<2H2sH8s", 0x6021, 0x0010, b"LO", 8, b"CREATOR ")
    private += struct.pack("<2H2s2xI", 0x6021, 0x1002, vr, len(value)) + value
    for path in case.write(tmp_path / "series"):
        content = path.read_bytes()
        at = content.rindex(PIXELS)
        path.write_bytes(content[:at] + private + content[at:])
    assert (read(tmp_path / "series")[0].array == case.hounsfield).all()


@pytest.mark.parametrize(
    "behind",
    [b"\0", bytes(511), b"some text behind", b"\xff" * 100, b"\x10\x32\x54" * 50,
     struct.pack("<2H2s2xI", 0xFFFC, 0xFFFC, b"OB", 4) + bytes(4)],
)  # fmt: skip
@pytest.mark.parametrize("packed", [True, False])
def test_bytes_behind_the_pixels_are_nobodys(tmp_path: Path, behind: bytes, packed: bool) -> None:
    array = hounsfield((12, 40, 41))  # GDCM's decoders want a picture of some size
    for path in write_slices(tmp_path, array, stack(12)):
        if packed:
            data = pydicom.dcmread(path)
            data.compress(pydicom.uid.RLELossless)
            data.save_as(path)
        path.write_bytes(path.read_bytes() + behind)
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, stack(12))
    assert warnings == []


def test_a_dicomdir_stands_for_its_disc(tmp_path: Path) -> None:
    array, _ = whole_series(tmp_path / "IMAGES" / "S1")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert_placed(read(tmp_path / "DICOMDIR")[0], array, stack(12))


def test_a_compression_that_is_not_known_is_named(tmp_path: Path) -> None:
    _, paths = whole_series(tmp_path)
    for path in paths:
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2K
        codestream = b"\xff\x4f\xff\x51" + bytes(range(200)) * 10
        data.PixelData = pydicom.encaps.encapsulate([codestream])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
    for given in (tmp_path, paths[0]):
        assert "transfer syntax 1.2.840.10008.1.2.4.203" in refused(given)


def test_slices_off_a_straight_row_are_not_called_unevenly_spaced(tmp_path: Path) -> None:
    array = hounsfield((12, 6, 7))
    positions = stack(12)
    positions[5][0] += 0.5
    write_slices(tmp_path, array, positions)
    volume, (said,) = read(tmp_path)
    assert_placed(volume, array, stack(12))
    assert "2.50 mm apart, but not in a straight and even row" in said
    assert "moves one by 0.5 mm" in said


def test_the_same_images_twice_count_once(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path / "series", array, stack(9))
    shutil.copytree(tmp_path / "series", tmp_path / "copy")
    volume, _ = read(tmp_path)
    assert_placed(volume, array, stack(9))


def test_a_missing_slice_is_refused_with_its_place(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, hounsfield((9, 6, 7)), stack(9))
    paths[4].unlink()
    message = refused(tmp_path)
    assert "slices 4 and 5 are 5.00 mm apart, the others 2.50 mm" in message


@pytest.mark.parametrize(("shift", "expected"), [(0.02, 0), (0.5, 1)])
def test_an_uneven_spacing_is_told_beyond_one_percent(
    tmp_path: Path, shift: float, expected: int
) -> None:
    positions = stack(9)
    positions[4][2] += shift
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path, array, positions)
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, stack(9))
    assert len(warnings) == expected
    if warnings:
        assert "2.00 to 3.00 mm" in warnings[0]


def test_a_slice_out_of_line_is_refused(tmp_path: Path) -> None:
    positions = stack(9)
    positions[4][0] += 20
    write_slices(tmp_path, hounsfield((9, 6, 7)), positions)
    assert "20.00 mm off its place" in refused(tmp_path)


def test_a_truncated_slice_is_no_slice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = write_slices(tmp_path, hounsfield((9, 60, 70)), stack(9))
    cut(paths[4], 0.5)
    refused(tmp_path, capfd)


def test_damaged_dicom_files_beside_a_whole_series_are_told(tmp_path: Path) -> None:
    array = hounsfield((9, 6, 7))
    write_slices(tmp_path, array, stack(9))
    (tmp_path / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 200)
    volume, warnings = read(tmp_path)
    assert_placed(volume, array, stack(9))
    assert warnings == [f"1 DICOM file in '{tmp_path.name}' holds no readable image; left out."]


def test_a_dicom_folder_of_another_modality_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path, hounsfield((9, 6, 7)), stack(9), t0008_0060="MR")
    assert "holds no CT: it has 9 images of MR" in refused(tmp_path)


def test_a_single_slice_is_no_volume(tmp_path: Path) -> None:
    (path,) = write_slices(tmp_path, hounsfield((1, 6, 7)), stack(1))
    assert "no CT volume" in refused(path)
    assert "no CT volume" in refused(tmp_path)


def test_a_localizer_given_by_name_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path, hounsfield((9, 6, 7)), stack(9))
    (scout,) = write_slices(
        tmp_path, hounsfield((1, 6, 7)), stack(1), uid=1, prefix="SCOUT",
        t0008_0018="1.2.3.4", t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER",
    )  # fmt: skip
    assert "localizer" in refused(scout)


def test_colour_pictures_in_dicom_are_no_volume(tmp_path: Path) -> None:
    writer = sitk.ImageFileWriter()
    for index in range(3):
        image = sitk.GetImageFromArray(np.zeros((6, 7, 3), np.uint8), isVector=True)
        image.SetMetaData("0008|0060", "CT")
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.Execute(image)
    assert "no CT volume" in refused(tmp_path)


def test_a_folder_without_images_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "holds no DICOM images." in refused(tmp_path, capfd)
    (tmp_path / "notes.txt").write_text("x" * 500)
    assert "holds no DICOM images." in refused(tmp_path, capfd)
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 99)
    assert "(1 in all) holds an image" in refused(tmp_path, capfd)
    assert "not a DICOM image" in refused(tmp_path / "broken.dcm", capfd)


def test_a_folder_with_a_nifti_says_to_give_the_file(tmp_path: Path) -> None:
    write(tmp_path / "scan.nii.gz", hounsfield())
    assert "give the file itself, as 'scan.nii.gz'" in refused(tmp_path)


def test_without_a_callback_warnings_go_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_slices(tmp_path, hounsfield((9, 6, 7)), stack(9, (0, 0.5, 2.5)))
    read_volume(tmp_path)
    assert "tilted" in caplog.text


def test_names_that_modules_had_before_are_the_same_objects() -> None:
    """Scripts were written for them."""
    from AttentionUNetSegmentLib.geometry import volume
    from AttentionUNetSegmentLib.inference import reading as old_reading
    from AttentionUNetSegmentLib.inference import volume as old_volume
    from AttentionUNetSegmentLib.io import reading

    assert old_reading.read_volume is reading.read_volume
    assert old_volume.Volume is volume.Volume
