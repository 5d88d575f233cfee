"""Scans from files and DICOM folders: right voxels at the right place, or one clear sentence."""

from __future__ import annotations

import gc
import gzip
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.inference.reading import read_volume, volume_from_image
from AttentionUNetSegmentLib.inference.volume import Volume

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]
SECRET = "Musterfrau^Erika"


def hounsfield(shape: tuple[int, ...] = (5, 6, 7), dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(dtype)


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


def write_nifti(
    path: Path,
    array: np.ndarray,
    affine: Sequence[Sequence[float]],
    spacing: Sequence[float] = (0.7, 0.8, 2.5),
    slope: float = 1.0,
    intercept: float = 0.0,
) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, slope, intercept)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)  # the sform holds
    for row, values in enumerate(affine):
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + array.astype("<i2").tobytes())


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n"


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
    array = volume_from_image(image, "scan").array
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


def test_a_nifti_of_several_gzip_members_is_whole(tmp_path: Path) -> None:
    """As bgzip writes it: the size in the last bytes is that of the last member only."""
    content = gzip.decompress(write(tmp_path / "a.nii.gz", hounsfield()).read_bytes())
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert (read_volume(path).array == hounsfield()).all()
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:-20]))
    assert "cut short" in refused(path)


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


METAIMAGE = {
    "NDims": "3",
    "BinaryData": "True",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "0 0 0",
    "ElementSpacing": "1 1 1",
    "DimSize": "7 6 5",
    "ElementType": "MET_SHORT",
}


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
    straight = [[0.7, 0, 0, 0], [0, 0.8, 0, 0], [0, 0, 2.5, 0]]
    sheared = [[0.7, 0.5, 0, 0], [0, 0.8, 0, 0], [0, 0, 2.5, 0]]
    write_nifti(path, hounsfield(), sheared)
    assert "sheared or coincide" in refused(path, capfd)
    for step in (0.0, np.nan, np.inf):  # ITK would take it for 1 mm
        write_nifti(path, hounsfield(), straight, spacing=(0.7, 0.8, step))
        assert "no valid voxel spacing" in refused(path, capfd)
    write_nifti(path, hounsfield(), [[np.nan, 0, 0, 0], *straight[1:]])
    refused(path, capfd)
    for length in (0, -5):  # ITK would take it for 1
        write_nifti(path, hounsfield(), straight)
        content = bytearray(path.read_bytes())
        struct.pack_into("<h", content, 46, length)
        path.write_bytes(content)
        assert "no valid size" in refused(path, capfd)
    for slope, intercept in ((np.nan, 0.0), (1.0, np.inf), (0.0, -1024.0)):
        write_nifti(path, hounsfield(), straight, slope=slope, intercept=intercept)
        assert "intercept" in refused(path, capfd)


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
    from AttentionUNetSegmentLib.inference.captured_stderr import captured_stderr

    with captured_stderr() as printed:
        os.write(2, b"from a library")
    with pytest.raises(OSError, match="descriptor"), captured_stderr():
        os.write(-1, b"")
    os.write(2, b"after")
    assert printed.text == "from a library"
    assert capfd.readouterr().err == "after"


# --- DICOM --------------------------------------------------------------------------------------

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def write_slices(
    folder: Path,
    array: np.ndarray,
    positions: Sequence[Sequence[float]],
    axes: Sequence[Sequence[float]] = AXIAL,
    uid: int = 1,
    prefix: str = "IM",
    **tags: str,
) -> list[Path]:
    """A CT series, one file a slice; file names run against the order in space."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for index, (plane, position) in enumerate(zip(array, positions, strict=True)):
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((0.7, 0.8))
        values = {
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{uid}.{index + 1}",
            "0008|0060": "CT",
            "0010|0010": SECRET,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{uid}",
            "0020|0011": str(uid),
            "0020|0012": "1",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.9f}" for axis in axes for value in axis),
            "0028|1052": "-1024",
            "0028|1053": "1",
        } | {key.replace("_", "|").removeprefix("t"): value for key, value in tags.items()}
        for key, value in values.items():
            image.SetMetaData(key, value)
        path = folder / f"{prefix}{900 - index}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(image)
        paths.append(path)
    return paths


def stack(count: int, step: Sequence[float] = (0, 0, 2.5)) -> list[list[float]]:
    return [[-100 + n * step[0], -90 + n * step[1], 30 + n * step[2]] for n in range(count)]


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
        tmp_path, hounsfield((9, 6, 7)), stack(9), uid=2, prefix="B",
        t0020_000e="1.2.826.0.1.3680043.2.1125.1", t0020_0011="1",
    )  # fmt: skip
    assert "several images at the same place" in refused(tmp_path)


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
