"""Corrected cases collected into a data set: what is written, and that it is never half written."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import AttentionUNetSegmentLib.scene as scene_package
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from AttentionUNetSegmentLib.datasets.checker import check_data
from AttentionUNetSegmentLib.datasets.loading import find_data_set, load_case
from AttentionUNetSegmentLib.errors import InputError, OutputError
from AttentionUNetSegmentLib.files import LOCK_FILE, STAGING_PREFIX
from AttentionUNetSegmentLib.io.reading import read_volume
from AttentionUNetSegmentLib.models import Label
from AttentionUNetSegmentLib.scene import collection, segments
from AttentionUNetSegmentLib.scene.collection import addToDataSet, maskOnVolume
from block_scene import SHAPE, add_ct, with_block
from scene_helpers import (
    PLACES,
    SHIFT,
    TURN,
    add_block,
    add_transform,
    node_ids,
    voxels,
    world_points,
)

BLOCK = (slice(3, 7), slice(3, 7), slice(3, 7))  # what add_block makes


@pytest.fixture
def scene() -> Iterator[Any]:
    with scene_package.headlessScene() as scene:
        yield scene


@pytest.fixture
def ct(scene: Any) -> Any:
    return add_ct()


@pytest.fixture
def segmentation(scene: Any, ct: Any) -> Any:
    node = with_block(scene, ct)
    # As the network's own segments have it.
    node.GetSegmentation().GetSegment("block").SetTag(segments.TARGET_TAG, "pancreas")
    return node


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def assert_readable(folder: Path) -> list[str]:
    """Every case that is listed is there, whole, on one grid; and nothing is in the making."""
    names = []
    for case in manifest(folder)["cases"]:
        image, labels = (read_volume(folder / case[key]) for key in ("image", "label"))
        assert image.array.shape == labels.array.shape
        np.testing.assert_allclose(image.ijk_to_ras, labels.ijk_to_ras, atol=1e-4)
        assert labels.array.any()
        names.append(case["name"])
    return names


@pytest.mark.parametrize("place", PLACES)
def test_a_case_has_the_voxels_and_the_place_of_the_nodes(
    scene: Any, tmp_path: Path, place: str
) -> None:
    ct = add_ct(PLACES[place])
    case = addToDataSet(tmp_path / "new" / "set", ct, with_block(scene, ct), "block")
    image, labels = read_volume(case.image), read_volume(case.labels)
    np.testing.assert_array_equal(image.array, voxels(ct))
    assert image.array.dtype == np.int16
    expected = np.zeros(SHAPE, np.uint8)
    expected[BLOCK] = 1
    np.testing.assert_array_equal(labels.array, expected)
    for written in (image, labels):
        np.testing.assert_allclose(
            written.ijk_to_ras, scene_package.volumeFromNode(ct).ijk_to_ras, atol=1e-4
        )
    assert case.volumeMl == pytest.approx(64 * image.voxel_volume_ml, rel=1e-4)
    assert (case.name, case.replaced, case.cases) == ("case-0001", False, 1)
    files = [file for file in (tmp_path / "new" / "set").rglob("[!.]*") if file.is_file()]
    assert {file.name for file in files} == {"case-0001.nii.gz", "manifest.json"}
    assert {case.image, case.labels} < set(files)
    assert len(files) == 3


def test_the_manifest_says_what_is_needed_and_nothing_of_the_patient(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    ct.SetAttribute("DICOM.PatientID", "123456")
    ct.SetDescription("Jane Doe")
    segmentation.SetName("Doe^Jane")
    addToDataSet(tmp_path, ct, segmentation, "block", model="pancreas-ct 0.1.0")
    content = manifest(tmp_path)
    assert (content["format"], content["labels"]) == (1, {"0": "background", "1": "pancreas"})
    (case,) = content["cases"]
    assert (case["name"], case["image"], case["label"], case["model"]) == (
        "case-0001",
        "images/case-0001.nii.gz",
        "labels/case-0001.nii.gz",
        "pancreas-ct 0.1.0",
    )
    assert case["spacing"] == [8.0, 6.0, 12.0]
    for file in tmp_path.rglob("*"):
        if not file.is_file():
            continue
        content_bytes = file.read_bytes()
        if file.suffix == ".gz":
            assert content_bytes[3] & 8 == 0  # no file name in gzip's own header either
            content_bytes = gzip.decompress(content_bytes)[:352]
        for secret in (b"Doe", b"Jane", b"123456"):
            assert secret not in content_bytes
    header = sitk.ReadImage(str(tmp_path / "images" / "case-0001.nii.gz"))
    assert [header.GetMetaData(key) for key in ("descrip", "aux_file", "intent_name")] == [""] * 3


def test_training_reads_what_was_collected(scene: Any, tmp_path: Path) -> None:
    for start, scan in enumerate([add_ct(seed=seed) for seed in range(2)], 3):
        block = with_block(scene, scan, start=start)
        addToDataSet(tmp_path, scan, block, "block", segments.PANCREAS)
    (tmp_path / "images" / "case-0009.nii.gz").write_bytes(b"what a killed process left")
    data = find_data_set(tmp_path)
    assert (data.layout, data.labels, data.target) == (
        "pairs",
        ("background", "pancreas"),
        "pancreas",
    )
    assert [case.name for case in data.cases] == ["case-0001", "case-0002"]
    assert [finding for finding in check_data(data) if finding.severity == "error"] == []
    second = load_case(data.cases[1])
    np.testing.assert_array_equal(second.ct.array, voxels(scan))
    assert second.labels.array[4:8, 4:8, 4:8].all()
    assert second.labels.array.sum() == 64


def test_cases_are_numbered_and_the_same_scan_replaces_its_own(scene: Any, tmp_path: Path) -> None:
    scans = [add_ct(seed=seed) for seed in range(3)]
    for scan in scans:
        addToDataSet(tmp_path, scan, with_block(scene, scan), "block")
    image = (tmp_path / "images" / "case-0002.nii.gz").stat().st_ino
    again = addToDataSet(tmp_path, scans[1], with_block(scene, scans[1], start=8), "block")
    assert (again.name, again.replaced, again.cases) == ("case-0002", True, 3)
    assert assert_readable(tmp_path) == ["case-0001", "case-0002", "case-0003"]
    assert read_volume(again.labels).array[8:12, 8:12, 8:12].all()
    assert read_volume(again.labels).array.sum() == 64
    assert again.image.stat().st_ino == image  # what did not change is not written again


def test_the_same_scan_in_another_place_replaces_image_and_labels(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    addToDataSet(tmp_path, ct, segmentation, "block")
    transform = add_transform(scene, TURN)
    for node in (ct, segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    case = addToDataSet(tmp_path, ct, segmentation, "block")
    assert case.replaced
    assert assert_readable(tmp_path) == ["case-0001"]
    np.testing.assert_allclose(
        read_volume(case.image).ijk_to_ras, TURN @ scene_package.volumes.ijkToRas(ct), atol=1e-4
    )


@pytest.mark.parametrize("moved", ["both", "volume", "segmentation"])
def test_parent_transforms_are_applied(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path, moved: str
) -> None:
    """The organ stays where the user sees it: in the world."""
    transform = add_transform(scene, SHIFT * np.array([[1, 1, 1, 8], *[[1, 1, 1, 6]] * 2, [1] * 4]))
    if moved in ("both", "volume"):
        ct.SetAndObserveTransformNodeID(transform.GetID())
    if moved in ("both", "segmentation"):
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
    case = addToDataSet(tmp_path, ct, segmentation, "block")
    image, labels = read_volume(case.image), read_volume(case.labels)
    np.testing.assert_allclose(
        image.ijk_to_ras, scene_package.volumeFromNode(ct).ijk_to_ras, atol=1e-4
    )
    block = np.zeros(SHAPE)
    block[BLOCK] = 1
    local = scene_package.volumes.ijkToRas(ct)
    to_world = scene_package.volumes.nodeToWorld(segmentation) @ local
    expected = world_points(np.argwhere(block)[:, ::-1], to_world)
    found = world_points(np.argwhere(labels.array)[:, ::-1], labels.ijk_to_ras)
    assert np.abs(found.mean(axis=0) - expected.mean(axis=0)).max() < 6.1  # half a voxel


def test_a_segment_on_a_finer_grid_is_brought_to_the_volumes(scene: Any, ct: Any) -> None:
    fine = scene_package.volumes.ijkToRas(ct) @ np.diag([0.25, 0.25, 0.25, 1])
    segmentation = with_block(scene, ct, fine, start=20)  # 20 to 23 of the fine: 5 to 5.75 of ours
    before = node_ids(scene)
    mask = maskOnVolume(ct, segmentation, "block")
    assert np.argwhere(mask).tolist() == [[5, 5, 5]]
    assert node_ids(scene) == before


def test_one_segment_of_several_is_taken(scene: Any, ct: Any, segmentation: Any) -> None:
    add_block(segmentation, "other", scene_package.volumes.ijkToRas(ct), 5)
    assert maskOnVolume(ct, segmentation, "block").sum() == 64
    assert maskOnVolume(ct, segmentation, "other")[5:9, 5:9, 5:9].all()


def refused(folder: Path, *arguments: Any, match: str, **named: Any) -> None:
    """A sentence, and not a trace in the folder."""
    before = sorted(folder.rglob("*"))
    with pytest.raises((InputError, OutputError), match=match):
        addToDataSet(folder, *arguments, **named)
    assert sorted(folder.rglob("*")) == before


def test_what_cannot_be_learnt_from_is_refused(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    refused(tmp_path, ct, segmentation, "gone", match="deleted")
    grid = scene_package.volumes.ijkToRas(ct)
    empty = segments.addSegment(segmentation, segments.PANCREAS, grid)
    refused(tmp_path, ct, segmentation, empty, match="no voxel")
    outside = grid @ np.array([[1, 0, 0, 90], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    elsewhere = with_block(scene, ct, outside)
    refused(tmp_path, ct, elsewhere, "block", match="no voxel")
    voxels(ct)[:] = 0
    refused(tmp_path, ct, segmentation, "block", match="one value|same value|all")
    assert list(tmp_path.iterdir()) == []


def test_a_non_linear_transform_is_refused(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    bend = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    segmentation.SetAndObserveTransformNodeID(bend.GetID())
    if bend.IsTransformToWorldLinear():
        import vtk

        spline = vtk.vtkThinPlateSplineTransform()
        points = vtk.vtkPoints()
        for corner in np.eye(4, 3) * 50:
            points.InsertNextPoint(corner)
        spline.SetSourceLandmarks(points)
        spline.SetTargetLandmarks(points)
        bend.SetAndObserveTransformToParent(spline)
    refused(tmp_path, ct, segmentation, "block", match="non-linear")


def test_a_data_set_is_about_one_organ(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    addToDataSet(tmp_path, ct, segmentation, "block")
    refused(tmp_path, ct, segmentation, "block", match="of pancreas", label=Label(5, "liver"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 7, "labels": {}, "cases": []}', b"\xff\xfe",
                '{"format": 1, "labels": {}, "cases": [{"name": "x"}]}']
)  # fmt: skip
def test_a_foreign_manifest_is_left_alone(
    ct: Any, segmentation: Any, tmp_path: Path, content: str | bytes
) -> None:
    file = tmp_path / "manifest.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    before = file.read_bytes()
    refused(tmp_path, ct, segmentation, "block", match="damaged")
    assert file.read_bytes() == before


def test_images_of_somebody_else_are_left_alone(ct: Any, segmentation: Any, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    refused(tmp_path, ct, segmentation, "block", match="not begun|no data set")


def test_a_folder_that_takes_nothing_gets_a_sentence(
    ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder"):
        addToDataSet(tmp_path / "file" / "set", ct, segmentation, "block")
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # the root user may write anywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        refused(locked, ct, segmentation, "block", match="choose a folder")


def test_a_full_disk_leaves_the_data_set_as_it_was(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; the writer meets it in the voxels."""
    script = f"""
import resource, signal, sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from pathlib import Path
import AttentionUNetSegmentLib.scene as scene_package
from AttentionUNetSegmentLib.errors import OutputError
from block_scene import add_ct, with_block
from AttentionUNetSegmentLib.scene.collection import addToDataSet
folder = Path({str(tmp_path / "set")!r})
with scene_package.headlessScene() as scene:
    ct = add_ct()
    addToDataSet(folder, ct, with_block(scene, ct), "block")
    other = add_ct(seed=1)
    segmentation = with_block(scene, other)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in (100, 10_000, 30_000):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for target in (folder, folder.with_name("another")):
            try:
                addToDataSet(target, other, segmentation, "block")
            except OutputError as error:
                print(error)
            else:
                print("written")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
"""
    pytest.importorskip("resource", reason="only Unix limits the size of files")
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(told) == 6
    assert all("disk" in line for line in told)
    assert assert_readable(tmp_path / "set") == ["case-0001"]
    assert not list((tmp_path / "set").glob(f"{STAGING_PREFIX}*"))
    assert not (tmp_path / "another").exists()


class Killed(BaseException):
    """Stands for the process's end at any point."""


@pytest.mark.parametrize("replace_moved", [False, True])
def test_whenever_the_process_ends_the_data_set_is_readable(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace_moved: bool
) -> None:
    first, second = add_ct(seed=1), add_ct(seed=2)
    replace, moves = os.replace, 0
    for die_at in range(1, 6):
        folder = tmp_path / str(die_at)
        addToDataSet(folder, first, with_block(scene, first), "block")
        changed = first if replace_moved else second
        if replace_moved:
            changed.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
        segmentation = with_block(scene, changed)
        segmentation.SetAndObserveTransformNodeID(changed.GetTransformNodeID())

        moves = 0

        def dying(source: Any, target: Any, die_at: int = die_at) -> None:
            nonlocal moves
            moves += 1
            if moves == die_at:
                raise Killed
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                addToDataSet(folder, changed, segmentation, "block")
                died = False
            except Killed:
                died = True
        assert died == (die_at <= 4)
        names = assert_readable(folder)
        # And afterwards the same case goes in as if nothing had happened.
        case = addToDataSet(folder, changed, segmentation, "block")
        assert assert_readable(folder) == sorted({*names, case.name})
        changed.SetAndObserveTransformNodeID(None)


def test_what_a_killed_process_left_is_cleared_away(
    ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    addToDataSet(tmp_path, ct, segmentation, "block")
    left = tmp_path / f"{STAGING_PREFIX}left"
    left.mkdir()
    (left / LOCK_FILE).touch()
    (left / "image.nii").write_bytes(bytes(100))
    (tmp_path / "images" / "case-0007.nii.gz").write_bytes(b"half")
    other = add_ct(seed=5)
    case = addToDataSet(tmp_path, other, segmentation, "block")
    assert case.name == "case-0008"  # never the name of something that is there
    assert not left.exists()


def test_two_programs_may_add_at_once(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from pathlib import Path
import AttentionUNetSegmentLib.scene as scene_package
from block_scene import add_ct, with_block
from AttentionUNetSegmentLib.scene.collection import addToDataSet
with scene_package.headlessScene() as scene:
    for seed in range(5):
        ct = add_ct(seed=int(sys.argv[1]) + seed)
        addToDataSet({str(tmp_path / "set")!r}, ct, with_block(scene, ct), "block")
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(first)]) for first in (100, 200)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert assert_readable(tmp_path / "set") == [f"case-{n:04d}" for n in range(1, 11)]


def test_a_program_that_keeps_the_folder_is_told_of(
    ct: Any, segmentation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    addToDataSet(tmp_path, ct, segmentation, "block")
    monkeypatch.setattr(collection, "LOCK_WAIT_S", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / ".manifest.lock"):
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        refused(tmp_path, ct, segmentation, "block", match="Another program")
    finally:
        done.set()
        holder.join()


def test_nothing_of_the_scene_changes(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    before = node_ids(scene)
    addToDataSet(tmp_path, ct, segmentation, "block")
    assert node_ids(scene) == before
    assert ct.GetStorageNode() is None
    assert slicer.mrmlScene is scene


def test_collecting_needs_neither_torch_nor_training() -> None:
    code = (
        "import sys; import AttentionUNetSegmentLib.scene.collection;"
        "print([name for name in sys.modules if name == 'torch' or '.training' in name])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_several_targets_become_several_labels(
    scene: Any, ct: Any, segmentation: Any, tmp_path: Path
) -> None:
    """The part lies over the whole, and what is part of what is said."""
    grid = segments.ijkToSegmentation(ct, segmentation)
    part = segments.addSegment(segmentation, Label(2, "tumour"), grid)
    mask = maskOnVolume(ct, segmentation, "block")
    k, j, i = np.argwhere(mask)[0]
    one = np.zeros_like(mask)
    one[k, j, i] = 1
    segments.fillSegment(segmentation, part, segments.orientedImage(segments.cropMask(one), grid))
    both = ["block", part]
    addToDataSet(tmp_path, ct, segmentation, both, partOf={"tumour": "pancreas"})
    found = find_data_set(tmp_path)
    assert found.labels == ("background", "pancreas", "tumour")
    assert found.part_of == {"tumour": "pancreas"}
    labels = load_case(found.cases[0]).labels.array
    assert (labels == 2).sum() == 1
    assert (labels != 0).sum() == (mask != 0).sum()
    refused(tmp_path, ct, segmentation, "block", match="of pancreas, tumour")
