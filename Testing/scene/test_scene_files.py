"""Results as files: what Slicer's writers wrote, read back by SimpleITK and by Slicer."""

from __future__ import annotations

import dataclasses
import gzip
import re
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import AttentionUNetSegmentLib.scene as scene_package
import nibabel
import numpy as np
import pytest
import scene_helpers
import SimpleITK
import slicer
from AttentionUNetSegmentLib.errors import OutputError
from AttentionUNetSegmentLib.geometry.grid import Region
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.io.gzip_writing import BLOCK_BYTES
from AttentionUNetSegmentLib.scene import PANCREAS, files
from AttentionUNetSegmentLib.scene.corrections import corrections
from AttentionUNetSegmentLib.scene.export import exportLabelmap
from AttentionUNetSegmentLib.scene.scene_file import saveSceneFile
from AttentionUNetSegmentLib.scene.segmentation_file import isOrdinary, writeSegmentationFile
from scene_helpers import (
    PLACES,
    SHAPE,
    SHIFT,
    TURN,
    HandMade,
    add_block,
    add_ct,
    add_segmentation,
    add_transform,
    hand_made,
    mask_world_points,
    node_ids,
    prediction_on,
    segment_world_points,
)

NAMES = (
    "segmentation.seg.nrrd",
    "probability.nrrd",
    "attention-level-1.nrrd",
    "attention-level-2.nrrd",
    "attention-level-3.nrrd",
    "attention-level-4.nrrd",
)

PATHS = [str(Path(scene_helpers.__file__).parent), str(Path(files.__file__).parents[2])]


@pytest.fixture
def scene() -> Iterator[Any]:
    with scene_package.headlessScene() as scene:
        yield scene


@pytest.fixture
def ct(scene: Any) -> Any:
    return add_ct("CT")


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array (k, j, i) and the 4x4 from indices to RAS."""
    image = SimpleITK.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), np.diag([-1.0, -1, 1, 1]) @ matrix


@pytest.mark.parametrize("with_volumes", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_files_have_the_inputs_grid(
    scene: Any, tmp_path: Path, place: str, with_volumes: bool
) -> None:
    ct = add_ct("CT", PLACES[place])
    prediction = prediction_on(ct)
    result = scene_package.writePrediction(prediction, ct, withVolumes=with_volumes)
    paths = scene_package.saveResult(result, tmp_path)
    assert paths == tuple(tmp_path / name for name in NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    expected = [prediction.mask, prediction.probability(), *map(prediction.attention, range(1, 5))]
    for path, values in zip(paths, expected, strict=True):
        array, matrix = read(path)
        np.testing.assert_array_equal(array, values)
        assert array.dtype == values.dtype
        np.testing.assert_allclose(matrix, PLACES[place], atol=1e-6)


def test_a_volume_says_what_it_is_and_how_to_show_it(ct: Any, tmp_path: Path) -> None:
    scene_package.saveResult(scene_package.writePrediction(prediction_on(ct), ct), tmp_path)
    for name, title, colors in (
        ("probability.nrrd", "probability", "Viridis"),
        ("attention-level-2.nrrd", "attention level 2", "Inferno"),
    ):
        image = SimpleITK.ReadImage(str(tmp_path / name))
        keys = {key: image.GetMetaData(key) for key in ("Name", "Window", "ColorMap")}
        assert keys == {"Name": title, "Window": "0 1", "ColorMap": colors}
        assert "from 0 to 1" in image.GetMetaData("Units")


def test_the_scene_file_opens_all_in_colour_wherever_the_folder_is(
    scene: Any, ct: Any, tmp_path: Path
) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    scene_package.saveResult(result, tmp_path / "made", NAMES[:3])
    saveSceneFile(result, tmp_path / "made", tmp_path / "made" / "scene.mrml")
    assert str(tmp_path) not in (tmp_path / "made" / "scene.mrml").read_text()
    (tmp_path / "made").rename(tmp_path / "moved")
    with scene_package.headlessScene() as opened:
        opened.SetURL(str(tmp_path / "moved" / "scene.mrml"))
        assert opened.Import()
        volumes = {
            node.GetName(): node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", opened)
        }
        assert set(volumes) == {"probability", "attention level 1"}
        for name, level in (("probability", 1), ("attention level 1", 2)):
            node, display = volumes[name], volumes[name].GetDisplayNode()
            array, _ = read(tmp_path / "moved" / NAMES[level])
            assert (slicer.util.arrayFromVolume(node) == array).all()
            assert display.GetColorNode() is not None
            assert display.GetColorNodeID() != "vtkMRMLColorTableNodeGrey"
            assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
            assert node.GetVoxelValueUnits().GetCodeMeaning() == "no units"
        (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", opened)
        (segment_id,) = segmentation.GetSegmentation().GetSegmentIDs()
        assert segmentation.GetSegmentation().GetSegment(segment_id).GetName() == "Pancreas"


def test_files_are_compressed(ct: Any, tmp_path: Path) -> None:
    for path in scene_package.saveResult(
        scene_package.writePrediction(prediction_on(ct), ct), tmp_path
    ):
        assert b"encoding: gzip" in path.read_bytes()


def test_segmentation_file_carries_terminology_and_colour(ct: Any, tmp_path: Path) -> None:
    scene_package.saveResult(scene_package.writePrediction(prediction_on(ct), ct), tmp_path)
    image = SimpleITK.ReadImage(str(tmp_path / NAMES[0]))
    assert image.GetMetaData("Segment0_Name") == "Pancreas"
    assert "~SCT^123037004^Anatomical Structure~SCT^15776009^Pancreas~" in image.GetMetaData(
        "Segment0_Tags"
    )
    color = [float(part) for part in image.GetMetaData("Segment0_Color").split()]
    np.testing.assert_allclose(color, np.array([249, 180, 111]) / 255, atol=1e-5)
    assert not image.HasMetaDataKey("Segment1_Name")


def test_segmentation_file_opens_in_slicer_and_is_found_again(
    scene: Any, ct: Any, tmp_path: Path
) -> None:
    first = scene_package.writePrediction(prediction_on(ct), ct)
    scene_package.saveResult(first, tmp_path)
    scene.RemoveNode(first.segmentationNode)
    loaded = slicer.modules.segmentations.logic().LoadSegmentationFromFile(
        str(tmp_path / NAMES[0]), False, "loaded"
    )
    again = scene_package.writePrediction(prediction_on(ct), ct, loaded)
    assert again.segmentId == first.segmentId
    assert loaded.GetSegmentation().GetNumberOfSegments() == 1


@pytest.mark.parametrize("with_volumes", [False, True])
def test_empty_prediction_has_the_inputs_grid_too(
    ct: Any, tmp_path: Path, with_volumes: bool
) -> None:
    nothing = prediction_on(ct, mask=np.zeros(SHAPE, np.uint8), found=False)
    result = scene_package.writePrediction(nothing, ct, withVolumes=with_volumes)
    for path in scene_package.saveResult(result, tmp_path):
        array, matrix = read(path)
        np.testing.assert_array_equal(array, np.zeros(SHAPE))
        np.testing.assert_allclose(matrix, PLACES["oblique"], atol=1e-6)


def test_segment_that_the_user_emptied_is_written_empty(ct: Any, tmp_path: Path) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    result.segmentationNode.GetSegmentation().ClearSegment(result.segmentId)
    array, _ = read(scene_package.saveResult(result, tmp_path)[0])
    np.testing.assert_array_equal(array, np.zeros(SHAPE))


def test_files_lie_in_the_inputs_own_coordinates(scene: Any, ct: Any, tmp_path: Path) -> None:
    ct.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    result = scene_package.writePrediction(prediction_on(ct), ct)
    for path in scene_package.saveResult(result, tmp_path):
        np.testing.assert_allclose(read(path)[1], PLACES["oblique"], atol=1e-6)


def test_only_our_segment_is_written_wherever_it_lives(scene: Any, ct: Any, tmp_path: Path) -> None:
    ct.SetAndObserveTransformNodeID(add_transform(scene, SHIFT).GetID())
    node = add_segmentation(scene, add_ct("grid", PLACES["permuted"]))
    node.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    add_block(node, "other", PLACES["permuted"])
    prediction = prediction_on(ct)
    result = scene_package.writePrediction(prediction, ct, node)
    array, matrix = read(scene_package.saveResult(result, tmp_path)[0])
    np.testing.assert_array_equal(array, prediction.mask)
    np.testing.assert_allclose(matrix, PLACES["oblique"], atol=1e-6)


def test_saving_changes_nothing_in_the_scene(scene: Any, ct: Any, tmp_path: Path) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    before = node_ids(scene), result.segmentationNode.GetMTime(), result.probabilityNode.GetMTime()
    scene_package.saveResult(result, tmp_path)
    after = node_ids(scene), result.segmentationNode.GetMTime(), result.probabilityNode.GetMTime()
    assert after == before


@dataclasses.dataclass(frozen=True, eq=False)
class Watched(HandMade):
    """Notes whether what it returned last is still held when the next is asked for."""

    last: list[Any] = dataclasses.field(default_factory=list)
    held: list[bool] = dataclasses.field(default_factory=list)

    def probability_in_region(self, part: Region | None = None) -> np.ndarray:
        return self._watch(super().probability_in_region(part))

    def attention_in_region(self, level: int, part: Region | None = None) -> np.ndarray:
        self.held.append(self.last[-1]() is not None)
        return self._watch(super().attention_in_region(level, part))

    def _watch(self, array: np.ndarray) -> np.ndarray:
        self.last.append(weakref.ref(array))
        return array


def test_volumes_without_nodes_are_in_memory_one_at_a_time(ct: Any, tmp_path: Path) -> None:
    made = prediction_on(ct)
    fields = [field.name for field in dataclasses.fields(made)]
    prediction = Watched(**{name: getattr(made, name) for name in fields})
    result = scene_package.writePrediction(prediction, ct, withVolumes=False)
    assert prediction.last == []
    scene_package.saveResult(result, tmp_path)
    assert prediction.held == [False] * 4
    assert prediction.last[-1]() is None


def test_volumes_are_never_in_memory_as_a_whole(ct: Any, tmp_path: Path) -> None:
    """A long scan has four bytes for each of its voxels in each volume."""
    shape = (400, 256, 256)
    mask = np.zeros(shape, np.uint8)
    mask[200:204, 100:140, 100:140] = 1
    long = hand_made(Volume(mask, PLACES["plain"]), mask=mask)
    files.writeVolumeFiles(long, tmp_path, NAMES[1:2])  # whatever is imported late
    tracemalloc.start()
    try:
        files.writeVolumeFiles(long, tmp_path, NAMES[1:])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * BLOCK_BYTES < mask.nbytes
    array, _ = read(tmp_path / NAMES[2])
    np.testing.assert_array_equal(array, long.attention(1))


@pytest.mark.parametrize("place", sorted({*PLACES} - {"sheared"}))
def test_volumes_are_as_slicers_own_writer_makes_them(
    scene: Any, tmp_path: Path, place: str
) -> None:
    ct = add_ct("CT", PLACES[place])
    prediction = prediction_on(ct)
    files.writeVolumeFiles(prediction, tmp_path, NAMES[1:2])
    node = scene_package.addVolumeNode(Volume(prediction.probability(), PLACES[place]), "theirs")
    image = SimpleITK.ReadImage(str(tmp_path / NAMES[1]))
    for key in ("Name", "Units", "Window", "ColorMap"):
        node.SetAttribute(key, image.GetMetaData(key))
    storage = scene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    files.writeNode(storage, node, tmp_path / "theirs.nrrd")
    ours, theirs = (split(tmp_path / name) for name in (NAMES[1], "theirs.nrrd"))
    assert ours[1] == theirs[1]
    assert ours[0].keys() == theirs[0].keys()
    for field, text in theirs[0].items():
        if field in ("space directions", "space origin"):
            assert_same_numbers(ours[0][field], text)
        else:
            assert ours[0][field] == text


@pytest.mark.parametrize("place", PLACES)
def test_an_unchanged_segment_is_as_slicers_own_writer_makes_it(
    scene: Any, tmp_path: Path, place: str
) -> None:
    """The code that stands in for Slicer, whose import takes longer than all that is written."""
    ct = add_ct("CT", PLACES[place])
    prediction = prediction_on(ct)
    files.saveSegment(
        scene_package.writePrediction(prediction, ct, withVolumes=False), tmp_path / "theirs.nrrd"
    )
    assert isOrdinary(prediction, PANCREAS)
    writeSegmentationFile(prediction, PANCREAS, tmp_path / "ours.nrrd")
    ours, theirs = (split(tmp_path / name) for name in ("ours.nrrd", "theirs.nrrd"))
    assert ours[1] == theirs[1]
    assert list(ours[0]) == list(theirs[0])
    for field, text in theirs[0].items():
        if field in ("space directions", "space origin"):
            assert_same_numbers(ours[0][field], text)
        elif field == "Segmentation_ConversionParameters":
            assert conversion(ours[0][field]) == conversion(text)
        else:
            assert ours[0][field] == text


def conversion(parameters: str) -> dict[str, str]:
    """Names and values; not what Slicer tells its users of each."""
    parts = [one.split("|") for one in parameters.split("&") if one]
    return {name: value for name, value, _ in parts}


def test_an_unchanged_segment_opens_in_slicer_and_nothing_of_it_is_the_users(
    scene: Any, ct: Any, tmp_path: Path
) -> None:
    prediction = prediction_on(ct)
    writeSegmentationFile(prediction, PANCREAS, tmp_path / NAMES[0])
    loaded = slicer.modules.segmentations.logic().LoadSegmentationFromFile(
        str(tmp_path / NAMES[0]), False, "loaded"
    )
    (segment_id,) = loaded.GetSegmentation().GetSegmentIDs()
    assert not corrections(loaded, segment_id).any
    drawn = scene_package.writePrediction(prediction, ct, withVolumes=False).segmentationNode
    for name in ("Smoothing factor", "Reference image geometry", "Oversampling factor"):
        ours, theirs = (
            node.GetSegmentation().GetConversionParameter(name) for node in (loaded, drawn)
        )
        assert ours == theirs
    np.testing.assert_allclose(
        segment_world_points(loaded, segment_id), mask_world_points(prediction), atol=1e-6
    )
    again = scene_package.writePrediction(prediction, ct, loaded)
    assert again.segmentId == segment_id
    assert not again.outcome.changed


def test_what_is_out_of_the_ordinary_is_left_to_slicers_writer(ct: Any) -> None:
    usual = prediction_on(ct)
    assert isOrdinary(usual, PANCREAS)
    nothing = np.zeros(SHAPE, np.uint8)
    for odd, label in (
        (prediction_on(ct, mask=nothing, found=False), PANCREAS),
        (prediction_on(ct, clicks=(Click((0.0, 0.0, 0.0), True),)), PANCREAS),
        (prediction_on(ct, others=(usual,)), PANCREAS),
        (usual, dataclasses.replace(PANCREAS, color=None)),
        (usual, dataclasses.replace(PANCREAS, terminology=None)),
        (usual, dataclasses.replace(PANCREAS, name="a|b")),
    ):
        assert not isOrdinary(odd, label)


def assert_same_numbers(ours: str, theirs: str) -> None:
    """To all but the last digits: Slicer takes a matrix apart and puts it together again."""
    numbers = [[float(n) for n in re.findall(r"[-+.e\d]+", text)] for text in (ours, theirs)]
    np.testing.assert_allclose(*numbers, rtol=0, atol=1e-12)


def split(path: Path) -> tuple[dict[str, str], bytes]:
    """The fields of a NRRD file's header, in their order, and its voxels."""
    header, packed = path.read_bytes().split(b"\n\n", 1)
    lines = header.decode().splitlines()
    fields = dict(re.split(":=|: ", line, maxsplit=1) for line in lines[3:])
    return {"magic": lines[0], **fields}, gzip.decompress(packed)


# What can go wrong


def test_folder_is_made_and_older_results_are_replaced(ct: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    result = scene_package.writePrediction(prediction_on(ct), ct)
    scene_package.saveResult(result, folder)
    (folder / NAMES[0]).write_text("old")
    (folder / "notes.txt").write_text("mine")
    scene_package.saveResult(result, folder)
    assert read(folder / NAMES[0])[0].any()
    assert (folder / "notes.txt").read_text() == "mine"


def test_folder_below_a_file_is_refused(ct: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = scene_package.writePrediction(prediction_on(ct), ct)
    with pytest.raises(OutputError, match="cannot be written into"):
        scene_package.saveResult(result, tmp_path / "file" / "folder")


def test_folder_that_may_not_be_written_to_is_refused(
    ct: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    result = scene_package.writePrediction(prediction_on(ct), ct)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match=r"Permission denied.*choose a folder"):
        scene_package.saveResult(result, tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_result_in_the_way_is_refused_before_anything_is_written(ct: Any, tmp_path: Path) -> None:
    (tmp_path / NAMES[5]).mkdir()
    result = scene_package.writePrediction(prediction_on(ct), ct)
    with pytest.raises(OutputError, match="is a folder"):
        scene_package.saveResult(result, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[5]]


def test_deleted_segment_cannot_be_saved(ct: Any, tmp_path: Path) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    result.segmentationNode.GetSegmentation().RemoveSegment(result.segmentId)
    with pytest.raises(OutputError, match="deleted"):
        scene_package.saveResult(result, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failure_in_the_middle_leaves_older_files(ct: Any, tmp_path: Path) -> None:
    good = scene_package.writePrediction(prediction_on(ct), ct, withVolumes=False)
    scene_package.saveResult(good, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    failing = prediction_on(ct, mask=np.ones(SHAPE, np.uint8), failing_level=3)
    with pytest.raises(MemoryError):
        scene_package.saveResult(
            scene_package.writePrediction(failing, ct, withVolumes=False), tmp_path
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("cut", [1, 8, 60, -1])
def test_truncated_file_is_noticed(ct: Any, tmp_path: Path, cut: int) -> None:
    paths = scene_package.saveResult(scene_package.writePrediction(prediction_on(ct), ct), tmp_path)
    for path in paths:
        assert files.isComplete(path)
        content = path.read_bytes()
        path.write_bytes(content[:-cut] if cut > 0 else b"")
        assert not files.isComplete(path)
    assert not files.isComplete(tmp_path / "none.nrrd")


def test_incomplete_file_is_an_error_even_if_the_writer_is_content(
    ct: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    monkeypatch.setattr(files, "isComplete", lambda path: path.name != NAMES[0])
    with pytest.raises(OutputError, match=NAMES[0]):
        scene_package.saveResult(result, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on a file's size to set there")
def test_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    code = f"""
        import resource, signal, sys
        import numpy as np
        sys.path[:0] = {PATHS!r}
        from AttentionUNetSegmentLib import scene
        from AttentionUNetSegmentLib.errors import OutputError
        from scene_helpers import *
        with scene.headlessScene():
            ct = add_ct("CT")
            rng = np.random.default_rng(0)  # more than the beginning needs: fails in the middle
            noise = np.ldexp(rng.random(SHAPE), rng.integers(-99, 99, SHAPE)).astype(np.float32)
            HandMade.attention_in_region = lambda self, level: noise
            everywhere = prediction_on(ct, mask=np.ones(SHAPE, np.uint8))
            result = scene.writePrediction(everywhere, ct, withVolumes=False)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4400, resource.RLIM_INFINITY))
            try:
                scene.saveResult(result, {str(tmp_path / "out")!r})
            except OutputError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "the disk is probably full" in run.stdout
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", PLACES)
def test_an_exported_label_map_lies_on_the_volume_whatever_its_axes(
    place: str, tmp_path: Path
) -> None:
    """By nibabel, which no code here had a hand in: a shear is in the sform."""
    with scene_package.headlessScene():
        ct = add_ct("CT", PLACES[place])
        result = scene_package.writePrediction(prediction_on(ct), ct)
        path = tmp_path / "mask.nii.gz"
        exportLabelmap(result.segmentationNode, result.segmentId, ct, path)
        expected = result.prediction.mask
    image = nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, expected)
    np.testing.assert_allclose(image.affine, PLACES[place], atol=1e-4)
