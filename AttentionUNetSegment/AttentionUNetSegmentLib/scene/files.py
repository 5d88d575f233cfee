"""Results as files: segments that users may have changed through Slicer's own writer, volumes as it
would write them, but slab by slab and on all cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutputError
from ..files import staged_folder
from ..io.nrrd_writing import slabs_of_region, write_nrrd
from . import segments
from .colors import colorName
from .results import ATTENTION_COLORS, PROBABILITY_COLORS, UNCERTAINTY_COLORS
from .segmentation_file import writeSegmentationFile
from .volumes import arrayOfImage, ijkToRas, nodeToWorld, setIjkToRas, toVtkMatrix

if TYPE_CHECKING:
    import slicer
    import vtk

    from ..inference.prediction import Prediction
    from ..inference.progress import CancelToken
    from ..models import Label
    from .results import SceneResult

SEGMENTATION_FILE = "segmentation.seg.nrrd"
PROBABILITY_FILE = "probability.nrrd"
ATTENTION_FILE = "attention-level-{}.nrrd"
UNCERTAINTY_FILE = "uncertainty.nrrd"

_ITEM_BYTES = {"unsigned char": 1, "short": 2, "unsigned short": 2, "int": 4, "float": 4}


def resultFileNames(levels: int) -> tuple[str, ...]:
    """Names of the files that :func:`saveResult` writes, in that order."""
    attention = (ATTENTION_FILE.format(level) for level in range(1, levels + 1))
    return (SEGMENTATION_FILE, PROBABILITY_FILE, *attention)


def volumeTitles(levels: int) -> dict[str, tuple[str, str]]:
    """Of the volumes among those files, and of that of the uncertainty, by name: what they show,
    and the ID of their colours."""
    _, probability, *attention = resultFileNames(levels)
    titles = {
        probability: ("probability", PROBABILITY_COLORS),
        UNCERTAINTY_FILE: ("uncertainty", UNCERTAINTY_COLORS),
    }
    for level, name in enumerate(attention, start=1):
        titles[name] = (f"attention level {level}", ATTENTION_COLORS)
    return titles


def saveResult(
    result: SceneResult, directory: str | Path, only: Collection[str] | None = None
) -> tuple[Path, ...]:
    """Write our segments, the probability and the attention maps as compressed NRRD files.

    The files lie in the input volume's own coordinates, as its own file does: a parent transform
    is not applied. The segmentation has the input's grid and our segments only, as they are in
    the scene. A volume that has no node is computed, written and dropped before the next one.

    The scene is not changed. All files or none appear in the directory, which is made if need be;
    files of these names are replaced.

    Args:
        only: those of :func:`resultFileNames` that are wanted; all unless given.

    Returns:
        Their paths, in the order of :func:`resultFileNames`.

    Raises:
        OutputError: the directory cannot be written to, or the disk is full.
        InputError: the segmentation lies under a non-linear transform other than the input's.
    """
    ours = resultFileNames(result.prediction.levels)
    names = [name for name in ours if only is None or name in only]
    directory = Path(directory)
    with staged_folder(directory, names) as staged:
        writeResultFiles(result, staged.staging, names)
        staged.publish(names)
    return tuple(directory / name for name in names)


def writeResultFiles(result: SceneResult, folder: Path, names: Collection[str]) -> None:
    """Write files of :func:`resultFileNames` as :func:`saveResult` does, into an empty folder that
    is there; what fails leaves some of them.

    Raises:
        OutputError, InputError: as :func:`saveResult`.
    """
    if SEGMENTATION_FILE in names:
        saveSegment(result, folder / SEGMENTATION_FILE)
    volumes = resultFileNames(result.prediction.levels)[1:]
    nodes = zip(volumes, (result.probabilityNode, *result.attentionNodes), strict=False)
    shown = {name: node for name, node in nodes if name in names and node is not None}
    place = ijkToRas(result.volumeNode)
    for name, node in shown.items():
        array = arrayOfImage(node.GetImageData())
        _writeVolume(
            folder / name, [array], array.dtype, array.shape, place, result.prediction.levels
        )
    writeVolumeFiles(result.prediction, folder, {*names} - {*shown}, place)


def writeSegment(prediction: Prediction, label: Label, path: Path) -> None:
    """Write the segment of a prediction that is ordinary by :func:`~.segmentation_file.isOrdinary`
    (``.seg.nrrd``), without Slicer.

    Raises:
        OutputError: the file could not be written completely.
    """
    try:
        writeSegmentationFile(prediction, label, path)
    except OSError as error:
        raise _incomplete(path) from error


def writeVolumeFiles(
    prediction: Prediction,
    folder: Path,
    names: Collection[str],
    place: np.ndarray | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Write the volumes among the files of :func:`resultFileNames`, and that of the uncertainty,
    without Slicer, into an empty folder that is there; what fails leaves some of them.

    Args:
        place: 4x4, where they lie; where the prediction's volume does unless given.
        cancel: checked between slabs.

    Raises:
        Cancelled: the token was set.
        OutputError: a file could not be written completely.
    """
    _, probability, *attention = resultFileNames(prediction.levels)
    parts: dict[str, Callable[[], np.ndarray]] = {probability: prediction.probability_in_region}
    for level, name in enumerate(attention, start=1):
        parts[name] = partial(prediction.attention_in_region, level)
    parts[UNCERTAINTY_FILE] = prediction.uncertainty_in_region
    k, j, i = prediction.mask.shape
    if place is None:
        place = prediction.volume.ijk_to_ras
    for name, part in parts.items():
        if name in names:
            slabs = slabs_of_region(part(), prediction.region, (k, j, i))
            path = folder / name
            _writeVolume(
                path, _until(cancel, slabs), np.float32, (k, j, i), place, prediction.levels
            )


def saveSegment(result: SceneResult, path: Path) -> None:
    """Write our segments alone (``.seg.nrrd``), on the input's grid and in its coordinates; one
    for each target.

    Raises:
        OutputError: the segment is gone, or the file could not be written completely.
        InputError: the segmentation lies under a non-linear transform other than the input's.
    """
    import slicer

    source = result.segmentationNode
    copies = [
        _segmentCopy(result, segmentId, value)
        for value, segmentId in enumerate(result.segmentIds, start=1)
    ]

    scene = slicer.vtkMRMLScene()
    # A node without the input's transform, which would become part of the grid.
    grid = _addVolume(scene, result.volumeNode, result.volumeNode.GetImageData())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", source.GetName())
    node.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    for segmentId, copy in zip(result.segmentIds, copies, strict=True):
        node.GetSegmentation().AddSegment(copy, segmentId)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetCropToMinimumExtent(False)
    writeNode(storage, node, path)


def _segmentCopy(result: SceneResult, segmentId: str, value: int) -> slicer.vtkSegment:
    """One of our segments in the input's own coordinates.

    Raises:
        OutputError: it is gone.
    """
    import slicer

    source = result.segmentationNode
    segment = source.GetSegmentation().GetSegment(segmentId)
    if segment is None:
        raise OutputError("The segment was deleted; segment the volume again before saving.")
    labelmap = slicer.vtkOrientedImageData()
    source.GetBinaryLabelmapRepresentation(segmentId, labelmap)
    if source.GetTransformNodeID() != result.volumeNode.GetTransformNodeID():
        _multiply(labelmap, np.linalg.inv(nodeToWorld(result.volumeNode)) @ nodeToWorld(source))
    if labelmap.IsEmpty():
        # The writer gives a segmentation without any voxel a grid of one voxel.
        labelmap = segments.emptyLabelmap(ijkToRas(result.volumeNode))
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    copy.SetLabelValue(value)
    copy.AddRepresentation(segments.LABELMAP, labelmap)
    return copy


def _until(cancel: CancelToken | None, slabs: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for slab in slabs:
        if cancel is not None:
            cancel.raise_if_cancelled()
        yield slab


def _writeVolume(
    path: Path,
    slabs: Iterable[np.ndarray],
    dtype: np.dtype | type,
    shape: tuple[int, ...],
    place: np.ndarray,
    levels: int,
) -> None:
    """Values from 0 to 1. The header says what they are and how to show them, for whoever reads
    headers: Slicer's own reader takes none of it.

    Raises:
        OutputError: the file could not be written completely.
    """
    title, colors = volumeTitles(levels)[path.name]
    keys = {
        "Name": title,
        "Units": "1 (a share, from 0 to 1)",
        "Window": "0 1",
        "ColorMap": colorName(colors),
    }
    try:
        write_nrrd(path, slabs, dtype, shape, place, keys)
    except OSError as error:
        raise _incomplete(path) from error


def _addVolume(
    scene: slicer.vtkMRMLScene, volumeNode: slicer.vtkMRMLScalarVolumeNode, image: vtk.vtkImageData
) -> slicer.vtkMRMLScalarVolumeNode:
    """Show an image on the volume's grid in another scene, without a copy."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    setIjkToRas(node, ijkToRas(volumeNode))
    node.SetAndObserveImageData(image)
    return node


def writeNode(
    storage: slicer.vtkMRMLStorageNode, node: slicer.vtkMRMLStorableNode, path: Path
) -> None:
    """Raises:
    OutputError: the writer failed, or said that it did not and left an incomplete file.
    """
    import vtk

    storage.SetFileName(str(path.absolute()))
    storage.SetUseCompression(True)
    # The writers report failure on the console too; the user gets one sentence from us.
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(False)
    try:
        written = storage.WriteData(node)
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)
    if not written or not isComplete(path):
        raise _incomplete(path)


def _incomplete(path: Path) -> OutputError:
    return OutputError(
        f"'{path.name}' could not be written completely; the disk is probably full. Free some "
        "space or choose another folder."
    )


def isComplete(path: Path) -> bool:
    """Whether a compressed NRRD file ends as it must: gzip ends with the length of the data."""
    try:
        with path.open("rb") as file:
            header = {}
            for line in iter(file.readline, b"\n"):
                if not line:
                    return False
                name, _, value = line.decode("utf-8", "replace").partition(": ")
                header[name] = value.strip()
            file.seek(-4, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
        voxels = math.prod(int(size) for size in header["sizes"].split())
        expected = voxels * _ITEM_BYTES[header["type"]]
    except (OSError, KeyError, ValueError):
        return False
    return header.get("encoding") in ("gzip", "gz") and length == expected % 2**32


def _multiply(image: slicer.vtkOrientedImageData, matrix: np.ndarray) -> None:
    """Move an oriented image by a 4x4 matrix."""
    import vtk

    imageToWorld = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(imageToWorld)
    vtk.vtkMatrix4x4.Multiply4x4(toVtkMatrix(matrix), imageToWorld, imageToWorld)
    image.SetImageToWorldMatrix(imageToWorld)
