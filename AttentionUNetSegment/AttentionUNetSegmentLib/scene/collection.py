"""A data set to learn from, made of scans whose masks the user has corrected.

::

    FOLDER/images/case-0001.nii.gz     the scan, in the world: with the linear transforms above it
    FOLDER/labels/case-0001.nii.gz     0 and 1, on the same grid; with several targets 2 and so on
    FOLDER/manifest.json               lists the cases; what it does not list is no part of the set

Nothing of the nodes goes in but voxels and their place: no names, no DICOM attributes.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import math
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.manifest import MANIFEST_FILE, MANIFEST_FORMAT, read_manifest
from ..errors import InputError, OutputError, TrainingError
from ..files import flush_to_disk, locked_folder, made_folder, replace_text, staging_folder
from ..inference.validation import check_ct
from ..models import Label
from ..paths import in_home
from . import segments
from .volumes import imageFromArray, setIjkToRas, toVtkMatrix, volumeFromNode

if TYPE_CHECKING:
    import slicer
    import vtk

IMAGES, LABELS = "images", "labels"

_LOCK_FILE = ".manifest.lock"
LOCK_WAIT_S = 30.0
_NIFTI_HEADER_BYTES = 352
_MOST_SHEAR = 1e-4  # cosine between two axes; float32 headers are exact to 1e-6
_SFORM_CODES, _SFORM = 252, 280  # bytes of a header, by nifti1.h
_SAME_PLACE_MM = 1e-3
# A CT shrinks to half its size at every level; the lowest takes a third of the default's time.
_COMPRESSION = 1


@dataclass(frozen=True)
class CollectedCase:
    """A case of the data set, as it was just written.

    Args:
        name: neutral, such as "case-0001".
        image, labels: its files.
        replaced: the same scan was in the set already, and this took its place.
        cases: how many the set has now.
        volumeMl: of the organ.
    """

    name: str
    image: Path
    labels: Path
    replaced: bool
    cases: int
    volumeMl: float


def addToDataSet(
    folder: str | Path,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str | Sequence[str],
    label: Label | Sequence[Label] | None = None,
    model: str = "",
    partOf: Mapping[str, str] | None = None,
) -> CollectedCase:
    """Write a scan and the corrected masks as a training case that ``finetune`` and ``train`` read.

    The same scan again, known by its voxels, replaces its case. Whatever fails, and whenever the
    process ends, the data set stays readable. Another Slicer may add to the same folder.

    Args:
        folder: of the data set; made if need be.
        segmentId: the segment, or those of several targets, a whole before its parts; they may lie
            on any grid, and under any linear transform or the scan's own.
        label: what each segment shows; what our tags say unless given. A data set is about the same
            ones throughout.
        model: name and version of the model whose answer was corrected, for the record.
        partOf: names of targets that are parts of others, and of these.

    Raises:
        InputError: the scan is no CT; the segment is missing or empty, or lies under another
            transform than the scan, one of them not linear; the folder holds something else.
        OutputError: the folder cannot be written to, or the disk is full.
    """
    folder = in_home(folder).absolute()
    segmentIds = [segmentId] if isinstance(segmentId, str) else list(segmentId)
    if label is None:
        labels = [_labelOf(segmentationNode, one) for one in segmentIds]
    else:
        labels = [label] if isinstance(label, Label) else list(label)
    names = [one.name for one in labels]
    _readManifest(folder, names, partOf)  # somebody else's folder is left without a trace
    scan = volumeFromNode(volumeNode)
    check_ct(scan)
    mask = labelsOnVolume(volumeNode, segmentationNode, segmentIds)
    voxels = int(np.count_nonzero(mask))
    if voxels == 0:
        raise InputError(
            f"The segment has no voxel in '{volumeNode.GetName()}'; segment the organ before you "
            "add it to the data set."
        )
    checksum = _checksum(scan.array)

    with _writable(folder) as staging:
        manifest = _readManifest(folder, names, partOf)
        cases: list[dict[str, Any]] = manifest["cases"]
        before = next((case for case in cases if case["sha256"] == checksum), None)
        name = before["name"] if before else _newName(folder, cases)
        case = {
            **(before or {}),  # what somebody noted by hand, such as the patient, stays
            "name": name,
            "image": f"{IMAGES}/{name}.nii.gz",
            "label": f"{LABELS}/{name}.nii.gz",
            "sha256": checksum,
            "spacing": [round(step, 6) for step in scan.spacing_mm],
            "ijk_to_ras": scan.ijk_to_ras.round(6).tolist(),
            "model": model,
            "added": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        }
        image, labels = folder / case["image"], folder / case["label"]
        sameImage = before is not None and image.is_file() and _samePlace(before, case)

        writeNifti(imageFromArray(mask), scan.ijk_to_ras, staging / "labels.nii.gz")
        if not sameImage:
            writeNifti(volumeNode.GetImageData(), scan.ijk_to_ras, staging / "image.nii.gz")
            # A pair that does not match is never listed, not even between two renamings; and a
            # folder with images but no manifest is somebody else's.
            others = [one for one in cases if one is not before]
            replace_text(folder / MANIFEST_FILE, _manifestText(manifest, others))
            for subfolder in (IMAGES, LABELS):
                (folder / subfolder).mkdir(exist_ok=True)
            os.replace(staging / "image.nii.gz", image)
        os.replace(staging / "labels.nii.gz", labels)
        cases = [case if one is before else one for one in cases] + ([] if before else [case])
        replace_text(folder / MANIFEST_FILE, _manifestText(manifest, cases))
    return CollectedCase(
        name, image, labels, before is not None, len(cases), voxels * scan.voxel_volume_ml
    )


def labelsOnVolume(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentIds: Sequence[str],
) -> np.ndarray:
    """Segments on the volume's grid, uint8 (k, j, i): 1, 2 and so on in their order, the later
    ones over the earlier ones; as :func:`maskOnVolume`."""
    first, *others = segmentIds
    labels = maskOnVolume(volumeNode, segmentationNode, first)
    for value, segmentId in enumerate(others, start=2):
        labels[maskOnVolume(volumeNode, segmentationNode, segmentId) != 0] = value
    return labels


def _labelOf(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Label:
    """What a segment shows by our tag, or else by its name."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if segment is None:
        raise InputError("The segment was deleted; segment the volume again.")
    return Label(1, segments.tag(segment, segments.TARGET_TAG) or segment.GetName())


def maskOnVolume(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
) -> np.ndarray:
    """A segment on the volume's grid, uint8 (k, j, i), 0 and 1; nothing in the scene changes.

    Raises:
        InputError: there is no such segment, it has no binary label map, or lies under another
            transform than the volume, one of them not linear; or the volume has no image.
    """
    import slicer
    from vtk.util.numpy_support import vtk_to_numpy

    if segmentationNode.GetSegmentation().GetSegment(segmentId) is None:
        raise InputError("The segment was deleted; segment the volume again.")
    labelmap = slicer.vtkOrientedImageData()
    segments.requireLabelmaps(segmentationNode)
    shape = volumeFromNode(volumeNode).array.shape
    if not segmentationNode.GetBinaryLabelmapRepresentation(segmentId, labelmap) or (
        labelmap.IsEmpty()
    ):
        return np.zeros(shape, np.uint8)
    grid = slicer.vtkOrientedImageData()
    grid.SetExtent([bound for size in reversed(shape) for bound in (0, size - 1)])
    grid.SetImageToWorldMatrix(
        toVtkMatrix(segments.ijkToSegmentation(volumeNode, segmentationNode))
    )
    onGrid = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample
    if not resample.ResampleOrientedImageToReferenceOrientedImage(labelmap, grid, onGrid):
        raise RuntimeError(f"Slicer could not resample the segment {segmentId}")
    array = vtk_to_numpy(onGrid.GetPointData().GetScalars()).reshape(shape)
    return (array != 0).view(np.uint8)


def writeNifti(image: vtk.vtkImageData, ijkToRas: np.ndarray, path: Path) -> None:
    """Write an image as ``.nii.gz`` through Slicer's writer, without a copy of it in memory.

    Sheared axes go into the sform alone: neither a qform nor Slicer's writer can hold them, and the
    writer makes them right-angled without a word. Slicer's own compression takes three times as
    long for files that are 5 % smaller.

    Raises:
        OutputError: the file is incomplete; the disk is probably full.
        OSError: the disk does not take the file.
    """
    import slicer
    import vtk

    plain = path.with_suffix("")
    scene = slicer.vtkMRMLScene()  # thrown away, and with it all but voxels and place
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    sheared = isSheared(ijkToRas)
    spacing = np.linalg.norm(ijkToRas[:3, :3], axis=0)
    setIjkToRas(node, np.diag([*spacing, 1.0]) if sheared else ijkToRas)
    node.SetAndObserveImageData(image)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(plain))
    storage.SetUseCompression(False)
    # The writer reports failure on the console too; the user gets one sentence from us.
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(False)
    try:
        written = storage.WriteData(node)
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)
    expected = _NIFTI_HEADER_BYTES + math.prod(image.GetDimensions()) * image.GetScalarSize()
    if not written or not plain.is_file() or plain.stat().st_size != expected:
        raise OutputError(
            f"'{path.name}' could not be written completely; the disk is probably full. Free some "
            "space or choose another folder."
        )
    if sheared:
        with plain.open("r+b") as file:
            file.seek(_SFORM_CODES)
            file.write(struct.pack("<2h", 0, 1))  # no qform; the scanner's coordinates
            file.seek(_SFORM)
            file.write(np.asarray(ijkToRas[:3], "<f4").tobytes())
    with (
        plain.open("rb") as source,
        path.open("wb") as compressed,
        gzip.GzipFile("", "wb", _COMPRESSION, compressed, mtime=0) as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
    flush_to_disk(path)
    plain.unlink()


def isSheared(ijkToRas: np.ndarray) -> bool:
    """Whether axes are not at right angles, so that most writers would move the voxels."""
    directions = ijkToRas[:3, :3] / np.linalg.norm(ijkToRas[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _MOST_SHEAR)


def _checksum(array: np.ndarray) -> str:
    """SHA-256 of the voxels with their type and shape; where they lie does not matter."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _samePlace(case: dict[str, Any], other: dict[str, Any]) -> bool:
    return np.allclose(case["ijk_to_ras"], other["ijk_to_ras"], rtol=0, atol=_SAME_PLACE_MM)


def _newName(folder: Path, cases: list[dict[str, Any]]) -> str:
    """A number that no case has, nor a file that an interrupted process left."""
    taken = [case["name"] for case in cases]
    taken += [file.name for part in (IMAGES, LABELS) for file in (folder / part).glob("case-*")]
    numbers = [int(match[1]) for name in taken if (match := re.match(r"case-(\d+)", name))]
    return f"case-{max(numbers, default=0) + 1:04d}"


def _readManifest(
    folder: Path, names: Sequence[str], partOf: Mapping[str, str] | None
) -> dict[str, Any]:
    """The data set's manifest; that of a new one where there is none.

    Raises:
        InputError: the folder holds images of somebody else, a manifest of another kind, or cases
            of another organ.
    """
    labels = dict(enumerate(("background", *names)))
    path = folder / MANIFEST_FILE
    if not path.exists():
        if any((folder / part).exists() for part in (IMAGES, LABELS)):
            raise InputError(
                f"'{folder}' has '{IMAGES}' or '{LABELS}' in it but no {MANIFEST_FILE}: it is no "
                "data set that was begun here; choose another folder."
            )
        begun = {"format": MANIFEST_FORMAT, "labels": labels, "cases": []}
        return begun | ({"part_of": dict(partOf)} if partOf else {})
    foreign = InputError(
        f"'{path}' is damaged or no list of cases that was begun here; choose another folder."
    )
    try:
        manifest = read_manifest(path)
    except TrainingError as error:
        raise foreign from error
    known = ("name", "image", "label", "sha256", "ijk_to_ras")
    if {"labels", "cases"} - set(manifest) or any(
        not isinstance(one, dict) or set(known) - set(one) for one in manifest["cases"]
    ):
        raise foreign
    if manifest["labels"] != labels:
        organs = ", ".join(name for value, name in manifest["labels"].items() if value != 0)
        raise InputError(
            f"'{folder}' is a data set of {organs}; choose another folder for {', '.join(names)}."
        )
    return manifest


def _manifestText(manifest: dict[str, Any], cases: list[dict[str, Any]]) -> str:
    return json.dumps({**manifest, "cases": cases}, indent=1) + "\n"


@contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    """The folder for this process alone, and an empty staging folder in it.

    Raises:
        OutputError: it cannot be written to.
        InputError: another process keeps it.
    """
    try:
        with made_folder(folder), locked_folder(folder, _LOCK_FILE, LOCK_WAIT_S):
            try:
                with staging_folder(folder) as staging:
                    yield staging
            finally:
                if not (folder / MANIFEST_FILE).exists():
                    with suppress(OSError):
                        (folder / _LOCK_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"The case cannot be written into '{folder}' ({error.strerror or error}); choose a "
            "folder that you may write to, on a disk with some room."
        ) from error
