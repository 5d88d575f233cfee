"""Thousands of odd scans: each gives the right voxels at the right place, or one clear sentence."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.batch.rows import ResultsFile, StudyRow, write_table
from AttentionUNetSegmentLib.app.batch.sources import SOURCES_FILE, Plan, find_studies
from AttentionUNetSegmentLib.errors import InputError, OutputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.io.reading import read_volume
from AttentionUNetSegmentLib.scene import volumes
from command_line import RESULTS, assert_one_line, run, save_random_model
from geometry import SCANNER, centre_ras
from hypothesis import strategies as st
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from odd_inputs import (
    BROKEN,
    DISTINCT,
    FRAMES_WHOLE,
    MOST_SLICES,
    NAMES,
    NOT_UTF8,
    ORGAN_HU,
    SCAN_NAMES,
    SUFFIXES,
    SYNTAXES,
    UNKNOWN_SYNTAX,
    WHOLE,
    Damage,
    Odd,
    OddFile,
    OddSeries,
    OddTree,
    damages,
    deny_private,
    hold_file,
    odd_files,
    odd_frames,
    odd_series,
    odd_trees,
    plain_volumes,
    run_cases,
    save_slice,
    scan_volumes,
    write_frames,
)
from scene_helpers import TURN, add_transform
from scene_helpers import assert_same_place as assert_segment_in_place
from threshold_model import threshold_model

CASES = {
    "files": 600,
    "damaged files": 500,
    "other suffixes": 100,
    "names": 150,
    "series": 400,
    "damaged series": 150,
    "frames": 150,
    "predictor": 250,
    "scene": 120,
    "segment": 150,
    "trees": 100,
    "tables": 60,
}


def test_there_are_two_thousand_distinct_cases() -> None:
    assert DISTINCT * sum(CASES.values()) > 2000


def sentence(error: Exception) -> str:
    """The message of an error, which is one line of plain words and names nobody's folders."""
    text = str(error)
    assert text.endswith((".", ")"))
    assert "\n" not in text
    for unwanted in ("ITK", "0x", ".cxx", "Traceback", "Exception", tempfile.gettempdir()):
        assert unwanted not in text
    return text


def read(path: Path) -> tuple[Volume | None, str]:
    """The volume, or else the sentence with which the path is refused."""
    try:
        return read_volume(path, lambda warning: None), ""
    except InputError as error:
        return None, sentence(error)


def assert_same_voxels(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def assert_same_place(found: np.ndarray, expected: np.ndarray, shape: tuple[int, ...]) -> None:
    """No corner is off by a thousandth of a voxel, or what a header's 32 bits hold."""
    k, j, i = shape
    corners = np.array([(a, b, c, 1.0) for a in (0, i) for b in (0, j) for c in (0, k)]).T
    there = (expected @ corners)[:3]
    off = np.abs((found @ corners)[:3] - there).max()
    least = np.linalg.norm(expected[:3, :3], axis=0).min()
    assert off <= 1e-3 * least + 1e-6 * np.abs(there).max() + 1e-9, (found, expected)


def test_image_files() -> None:
    run_cases(odd_files, CASES["files"], check_file)


def check_file(case: OddFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = case.write(Path(folder))
        volume, refusal = read(path)
    image = case.image
    is_nifti = case.suffix.startswith(".nii")
    has_slope = bool(case.slope) and not np.isnan(case.slope)
    intercept_alone = is_nifti and not has_slope and case.intercept != 0
    # Directions need not be right where they are not in the file.
    straight = is_nifti and case.place == "neither" and min(image.spacing) >= 1e-4
    if volume is None:
        sheared = image.is_sheared and case.suffix in (".mha", ".mhd")  # which ITK cannot read
        assert intercept_alone or sheared or not (straight or is_plain(image)), refusal
        if sheared and is_plain(image):
            assert "resample it to a grid with right angles" in refusal
        return
    assert straight or not image.is_singular
    assert not intercept_alone
    expected = image.array
    if is_nifti and has_slope:
        expected = expected * case.slope + case.intercept
        np.testing.assert_allclose(volume.array, expected, rtol=1e-5)
    else:
        assert_same_voxels(volume.array, expected)
    assert_same_place(volume.ijk_to_ras, case.ijk_to_ras, image.shape)


def is_plain(image: Odd) -> bool:
    """Whether there is no excuse for refusing it."""
    return not image.is_singular and min(image.spacing) >= 1e-4


def test_dicom_series() -> None:
    run_cases(odd_series, CASES["series"], check_series)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_slice_is_what_pydicom_writes(syntax: str, tmp_path: Path) -> None:
    """Where each element is encoded once for all slices that have it."""
    case = OddSeries(
        3, 64, 40, "u2", 16, syntax, 0.5, -1000.5, "oblique", (0.5, 0.9), 2.5, "none", 1
    )
    for index in range(case.slices):
        ds = case.dataset(index)
        written = save_slice(ds, tmp_path / "slice.dcm").read_bytes()
        implicit, little = syntax == "implicit", syntax != "big endian"
        ds.save_as(
            tmp_path / "slice.dcm",
            enforce_file_format=True,
            implicit_vr=implicit,
            little_endian=little,
        )
        assert written == (tmp_path / "slice.dcm").read_bytes()


def check_series(case: OddSeries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        case.write(Path(folder) / "series")
        volume, refusal = read(Path(folder) / "series")
    if volume is None:
        assert case.oddity not in WHOLE, refusal
        assert case.oddity != "unknown compression" or UNKNOWN_SYNTAX in refusal
        return
    assert case.oddity not in BROKEN
    if case.oddity in ("none", *WHOLE):
        assert_same_voxels(volume.array, case.hounsfield)
        assert_same_place(volume.ijk_to_ras, case.ijk_to_ras, volume.array.shape)


# --- damage, names, suffixes ---------------------------------------------------------------------


def test_damaged_image_files() -> None:
    files = st.builds(
        OddFile, image=plain_volumes, suffix=st.sampled_from(SUFFIXES), big_endian=st.booleans()
    )
    run_cases(st.tuples(files, damages), CASES["damaged files"], check_damaged_file)


def check_damaged_file(case: tuple[OddFile, Damage]) -> None:
    """Damage that can be seen is seen; where it cannot, an independent reader reads the same."""
    file, damage = case
    with tempfile.TemporaryDirectory() as folder:
        path = file.write(Path(folder))
        content = path.read_bytes()
        path.write_bytes(damage.apply(content))
        volume, _ = read(path)
        if volume is None or damage.apply(content) == content:
            return
        if file.suffix == ".nii":
            assert_as_nibabel(volume, path)
        packed = file.suffix == ".nii.gz" or is_beyond_header(file, content, damage)
        if damage.kind == "cut" or packed:
            assert_same_voxels(volume.array, file.image.array)
            assert_same_place(volume.ijk_to_ras, file.image.ijk_to_ras, file.image.shape)


def is_beyond_header(file: OddFile, content: bytes, damage: Damage) -> bool:
    """Whether the damage is in compressed voxels, whose checksum tells."""
    if file.image.seed % 2 or file.suffix not in (".nrrd", ".mha"):
        return False
    mark = b"LOCAL\n" if file.suffix == ".mha" else b"\n\n"
    return damage.where * len(content) >= content.index(mark) + len(mark) + 1


def assert_as_nibabel(volume: Volume, path: Path) -> None:
    try:
        image = nibabel.load(path)
        expected = np.asarray(image.dataobj)
        places = [image.get_sform(), image.get_qform()]
    except (ImageFileError, HeaderDataError, ValueError, OSError, OverflowError):
        return
    assert_same_voxels(volume.array, expected.reshape(expected.shape[:3]).T)
    if image.header["sform_code"] > 0 or image.header["qform_code"] > 0:
        assert any(np.allclose(volume.ijk_to_ras, place, atol=1e-2) for place in places)


def test_files_under_another_suffix() -> None:
    files = st.builds(OddFile, image=plain_volumes, suffix=st.sampled_from(SUFFIXES))
    others = st.sampled_from([*SUFFIXES, ".dcm", ".png", ".txt", ".gz", ""])
    run_cases(st.tuples(files, others), CASES["other suffixes"], check_other_suffix)


def check_other_suffix(case: tuple[OddFile, str]) -> None:
    file, suffix = case
    with tempfile.TemporaryDirectory() as folder:
        path = file.write(Path(folder))
        volume, _ = read(path.rename(path.with_name(f"scan{suffix}")))
    if volume is not None:
        assert_same_voxels(volume.array, file.image.array)
        assert_same_place(volume.ijk_to_ras, file.image.ijk_to_ras, file.image.shape)


def test_names_of_every_kind() -> None:
    files = st.builds(OddFile, image=plain_volumes, suffix=st.sampled_from(SUFFIXES))
    run_cases(st.tuples(files, NAMES, st.integers(0, 12)), CASES["names"], check_name)


def check_name(case: tuple[OddFile, str, int]) -> None:
    """In a folder of that name, up to some 1,500 characters down."""
    file, name, depth = case
    if name not in NOT_UTF8:
        name = name.encode()[:120].decode(errors="ignore").strip("/") or "x"
    name = "dots" if set(name) == {"."} else name
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top, *[name] * (1 + depth))
        try:
            folder.mkdir(parents=True)
            path = file.write(folder, name)
        except OSError:
            return  # no such name on this system
        volume, refusal = read(path)
    if name.startswith("~") and file.suffix in (".nhdr", ".mhd"):  # could be somebody's home
        assert "outside its own folder" in refusal
        return
    assert volume is not None, refusal
    assert_same_voxels(volume.array, file.image.array)
    assert_same_place(volume.ijk_to_ras, file.image.ijk_to_ras, file.image.shape)


# --- more of DICOM -------------------------------------------------------------------------------


def test_damaged_dicom_series() -> None:
    series = odd_series.map(lambda case: replace(case, oddity="none"))
    cases = st.tuples(series, damages, st.booleans())
    run_cases(cases, CASES["damaged series"], check_damaged_series)


def check_damaged_series(case: tuple[OddSeries, Damage, bool]) -> None:
    """One slice is damaged, or all are in the same way; what is read has the right number of voxels
    at a place that the files name."""
    series, damage, everywhere = case
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "series"
        paths = series.write(folder)
        for path in paths if everywhere else paths[len(paths) // 2 :][:1]:
            path.write_bytes(damage.apply(path.read_bytes()))
        volume, _ = read(folder)
        if volume is None:
            return
        slices = [pydicom.dcmread(path, force=True) for path in paths]
    assert min(volume.array.shape) > 0
    origin = SCANNER @ volume.ijk_to_ras @ (0, 0, 0, 1)
    positions = [ds.get("ImagePositionPatient") for ds in slices]
    assert any(np.allclose(origin[:3], [float(v) for v in p], atol=1e-3) for p in positions if p)


def test_three_thousand_slices(tmp_path: Path) -> None:
    case = OddSeries(
        MOST_SLICES, 2, 3, "i2", 12, "explicit", 1.0, -1024.0, "axial", (0.7, 0.7), 0.3,
        "out of order", 0,
    )  # fmt: skip
    write_in_a_moment(case, tmp_path / "series")
    volume, refusal = read(tmp_path / "series")
    assert volume is not None, refusal
    assert_same_voxels(volume.array, case.hounsfield)
    assert_same_place(volume.ijk_to_ras, case.ijk_to_ras, volume.array.shape)


def write_in_a_moment(case: OddSeries, folder: Path) -> None:
    """An uncompressed axial series out of order, whose files are the first one with other bytes in
    the same places: pydicom would take a quarter of a minute for thousands of them."""
    first = replace(case, slices=1).write(folder)[0]
    ds = pydicom.dcmread(first)
    uid = f"{ds.SeriesInstanceUID}.90000"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.InstanceNumber = 4567
    ds.ImagePositionPatient[2] = "98765.43"
    ds.save_as(first)
    model = first.read_bytes()
    names = np.random.default_rng(case.seed).permutation(case.slices)
    for index, (name, position) in enumerate(zip(names, case.positions, strict=True)):
        content = model
        for old, new, times in (
            (uid.encode(), f"{uid[:-5]}{10_000 + index}".encode(), 2),
            (b"4567", f"{index + 1:<4}".encode(), 1),
            (b"98765.43", f"{position[2]:<8.7g}".encode(), 1),
            (ds.PixelData, case.stored[index].astype("<i2").tobytes(), 1),
        ):
            assert content.count(old) == times
            assert len(old) == len(new)
            content = content.replace(old, new)
        (folder / f"IM{name:04}.dcm").write_bytes(content)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000", "JPEGLS"])
def test_lossless_jpeg_as_another_writer_makes_it(tmp_path: Path, compressor: str) -> None:
    """JPEG Lossless, the most usual of them, is none that pydicom writes."""
    case = OddSeries(
        4, 64, 64, "u2", 12, "explicit", 1.0, -1024.0, "axial", (0.7, 0.7), 2.5, "none", 0
    )
    syntaxes = set()
    for path in case.write(tmp_path / "series"):
        image = sitk.ReadImage(str(path))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.SetFileName(str(path))
        writer.Execute(image)
        syntaxes.add(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    assert syntaxes <= {
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
    }
    volume, refusal = read(tmp_path / "series")
    assert volume is not None, refusal
    assert_same_voxels(volume.array, case.hounsfield)
    assert_same_place(volume.ijk_to_ras, case.ijk_to_ras, volume.array.shape)


def test_multi_frame_files() -> None:
    run_cases(odd_frames, CASES["frames"], check_frames)


def check_frames(case: OddSeries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.dcm"
        write_frames(case, path)
        volume, refusal = read(path)
    assert (volume is not None) == (case.oddity in FRAMES_WHOLE), refusal
    if volume is not None:
        assert_same_voxels(volume.array, case.hounsfield)
        assert_same_place(volume.ijk_to_ras, case.ijk_to_ras, volume.array.shape)


# --- batches -------------------------------------------------------------------------------------


def test_trees_of_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    deny_private(monkeypatch)
    run_cases(st.tuples(odd_trees, st.sampled_from(SCAN_NAMES)), CASES["trees"], check_tree)


def check_tree(case: tuple[OddTree, str]) -> None:
    """Each scan is a study, what cannot be one is named, and a scan that comes later, whatever its
    name, renames no study."""
    tree, further = case
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scans, left_out = tree.write(root)
        plan = find_studies([root / "tree"], skip=root)
        assert {study.path for study in plan.studies} == scans
        assert left_out <= {one.path for one in plan.left_out}
        if scans or left_out:
            assert left_out == {one.path for one in plan.left_out}
        assert all(one.reason.endswith(".") for one in plan.left_out)
        assert_safe_names(plan)
        rows = [(study.name, study.path, "") for study in plan.studies]
        write_table(root / SOURCES_FILE, ("study", "source", "left_out_because"), rows)
        for place in (" before", "zz after"):
            (root / "tree" / place).mkdir()
            (root / "tree" / place / further).touch()
        later = find_studies([root / "tree"], skip=root)
        assert len(later.studies) == len(plan.studies) + 2
        assert_safe_names(later)
        assert {(study.path, study.name) for study in plan.studies} <= {
            (study.path, study.name) for study in later.studies
        }


def assert_safe_names(plan: Plan) -> None:
    names = [study.name.lower() for study in plan.studies]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name)
        assert name not in ("con", "nul")


def test_tables_that_are_open_elsewhere_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = [False]
    hold_file(monkeypatch, "results.csv", lambda: held[0])
    cases = st.tuples(st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
    run_cases(cases, CASES["tables"], lambda case: check_table(*case, held))


def check_table(open_elsewhere: list[bool], in_the_end: bool, held: list[bool]) -> None:
    """With the first row that can be written come all before it; nothing is lost, nothing twice."""
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsFile(Path(folder))
        rows = [StudyRow(f"study{number}", "done") for number in range(len(open_elsewhere))]
        for number, held[0] in enumerate(open_elsewhere):
            results.add(rows[number])
            if not held[0]:
                assert studies_in(results.path) == [row.study for row in rows[: number + 1]]
        held[0] = in_the_end
        if in_the_end:
            with pytest.raises(OutputError, match="open in another program"):
                results.finish(rows)
        else:
            results.finish(rows)
            assert studies_in(results.path) == [row.study for row in rows]
        held[0] = False


def studies_in(table: Path) -> list[str]:
    with table.open(newline="", encoding="utf-8") as file:
        return [row["study"] for row in csv.DictReader(file)]


# --- the whole way -------------------------------------------------------------------------------


def test_odd_volumes_are_segmented_in_their_place() -> None:
    predictor = Predictor(threshold_model(), "cpu")
    run_cases(
        scan_volumes, CASES["predictor"], lambda case: check_prediction(case, predictor.predict)
    )


def test_a_place_beyond_the_earth_is_refused() -> None:
    """Before numbers overflow, which numpy would tell on stderr."""
    for matrix in (np.diag([1e300, 1, 1, 1]), np.eye(4) + np.eye(4, k=3) * 1e10):
        with pytest.raises(InputError, match="1,000 km"):
            Volume(np.zeros((2, 2, 2)), matrix)


def test_interpolation_does_not_round_a_probability_beyond_one() -> None:
    case = Odd((2, 2, 3), "i2", "noise", "oblique", (8.0, 30.0, 12.0), (-100.5, 0.0, 0.0), 0)
    check_prediction(case, Predictor(threshold_model(), "cpu").predict)


def check_prediction(case: Odd, segment: Callable[[Volume], Prediction]) -> None:
    try:
        prediction = segment(Volume(case.array, case.ijk_to_ras))
    except InputError as error:
        refusal = sentence(error)
    else:
        assert_sound(prediction, case)
        return
    assert not is_ordinary(case), refusal


def is_ordinary(case: Odd) -> bool:
    """Whether there is no excuse for not segmenting it."""
    return (
        case.content == "organ"
        and case.dtype in ("i2", "i4", "i8", "f4", "f8")
        and not case.is_singular
        and min(case.shape) >= 4
        and set(case.spacing) <= {4.0, 8.0, 12.0, 15.0, 30.0}
        and max(np.array(case.shape[::-1]) * case.spacing) < 1000
    )


def assert_sound(prediction: Prediction, case: Odd, to_world: np.ndarray | None = None) -> None:
    """A mask and a probability on the scan's grid, and the mask where what is bright is.

    Args:
        to_world: 4x4 of the transform that the scan is under.
    """
    place = case.ijk_to_ras if to_world is None else to_world @ case.ijk_to_ras
    mask = prediction.mask
    assert (mask.shape, mask.dtype) == (case.shape, np.uint8)
    assert mask.max() <= 1
    probability = prediction.probability_in_region()
    assert np.isfinite(probability).all()
    assert 0 <= probability.min(initial=0) <= probability.max(initial=0) <= 1
    assert prediction.found == mask.any()
    voxel_ml = abs(np.linalg.det(case.ijk_to_ras[:3, :3])) / 1000
    assert prediction.volume_ml == pytest.approx(mask.sum() * voxel_ml, rel=1e-5)
    for warning in prediction.warnings:
        assert "\n" not in warning
    if mask.any() and case.content == "organ":
        bright = np.argwhere(case.array == ORGAN_HU)[:, ::-1]
        there = bright @ place[:3, :3].T + place[:3, 3]
        # Half a voxel of the scan, and one of the network's own.
        room = np.abs(place[:3, :3]).sum(axis=1) / 2 + 3
        centre = centre_ras(mask, prediction.volume.ijk_to_ras)
        assert (centre >= there.min(axis=0) - room).all()
        assert (centre <= there.max(axis=0) + room).all()
    if is_ordinary(case) and (case.array == ORGAN_HU).sum() * voxel_ml > 60:
        assert prediction.found


def test_odd_volume_nodes_are_segmented_in_their_place() -> None:
    """Through real MRML nodes, whose matrices may be anything, under a transform or none."""
    predictor = Predictor(threshold_model(), "cpu")
    cases = st.tuples(scan_volumes, st.sampled_from([None, "turned", "singular"]))
    run_cases(cases, CASES["scene"], lambda case: check_node(*case, predictor))


def check_node(case: Odd, transform: str | None, predictor: Predictor) -> None:
    with scene.headlessScene() as mrml:
        array = case.array
        if array.dtype.itemsize == 8 and array.dtype.kind in "iu":
            array = array.astype(np.float64)  # Slicer has no volumes of such integers
        node = mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "odd")
        node.SetAndObserveImageData(volumes.imageFromArray(np.ascontiguousarray(array)))
        volumes.setIjkToRas(node, case.ijk_to_ras)
        if transform is not None:
            matrix = TURN if transform == "turned" else np.diag([1.0, 0, 1, 1])
            node.SetAndObserveTransformNodeID(add_transform(mrml, matrix).GetID())
        nodes = mrml.GetNumberOfNodes()
        result = None
        try:
            result = scene.segmentVolumeNode(node, predictor, withVolumes=False)
        except InputError as error:
            sentence(error)
        if result is None:
            assert mrml.GetNumberOfNodes() == nodes
            return
        assert transform != "singular"
        assert_sound(result.prediction, case, TURN if transform == "turned" else None)
        if result.prediction.found and case.array.size < 2000:
            assert_same_place(
                result.prediction.volume.ijk_to_ras,
                (TURN if transform else np.eye(4)) @ case.ijk_to_ras,
                case.shape,
            )
            assert_segment_in_place(result)


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that takes what is bright for the organ; nothing is drawn, which takes long."""

    def draw(prediction: Prediction, file: Path, *arguments: str, **options: str) -> None:
        file.write_bytes(b"a picture")

    monkeypatch.setattr(segmenting, "load_model", lambda folder: threshold_model())
    monkeypatch.setattr("AttentionUNetSegmentLib.app.overlay.render_overlay", draw)
    return save_random_model(tmp_path / "random")


def test_odd_files_through_the_command(bright: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = st.builds(OddFile, image=scan_volumes, suffix=st.sampled_from(SUFFIXES))
    cases = st.tuples(files, st.one_of(st.none(), st.none(), damages))
    run_cases(cases, CASES["segment"], lambda case: check_command(*case, bright, capfd))


def check_command(
    file: OddFile, damage: Damage | None, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All files and status 0, or one line, status 2 and nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = file.write(Path(folder))
        if damage is not None:
            path.write_bytes(damage.apply(path.read_bytes()))
        out = Path(folder) / "out"
        status = run("segment", path, "-o", out, "--model", model, "--device", "cpu")
        printed = capfd.readouterr()
        if status == 0:
            assert {one.name for one in out.iterdir()} == set(RESULTS)
            report = json.loads((out / "report.json").read_text())
            assert report["input"]["shape"] == list(file.image.shape[::-1]) or damage
            written = sitk.ReadImage(str(out / "probability.nrrd"))
            assert np.isfinite(sitk.GetArrayViewFromImage(written)).all()
        else:
            assert_one_line(printed.err)
            assert status == 2
            assert not out.exists()
            assert damage or not is_ordinary(file.image) or file.image.is_sheared
