"""Our segment as files of other formats, through Slicer's own writers."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from .files import isComplete
from .removal import removeNode

if TYPE_CHECKING:
    import slicer


def exportSegmentation(segmentationNode: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """Write a whole segmentation (``.seg.nrrd``); where its node is saved to stays as it was.

    Raises:
        OutputError: the file could not be written.
    """
    _export(segmentationNode, path)


def exportLabelmap(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    path: Path,
) -> None:
    """Write a segment as a label map on the volume's grid (``.nii.gz``): 0 and 1.

    Raises:
        OutputError: the file could not be written.
    """
    import slicer
    import slicer.util

    scene = segmentationNode.GetScene()
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode", scene)}
    labelmapNode = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "export")
    try:
        labelmapNode.SetHideFromEditors(True)
        exported = slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
            segmentationNode, [segmentId], labelmapNode, volumeNode
        )
        if not exported:
            raise _failed(path)
        _export(labelmapNode, path)
    finally:
        # With the display, storage and color nodes that came with it.
        for node in slicer.util.getNodesByClass("vtkMRMLNode", scene):
            if node.GetID() not in before:
                removeNode(node)


def exportSurface(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, path: Path
) -> None:
    """Write a segment's closed surface (``.stl``), in LPS millimetres as other programs expect.

    Raises:
        OutputError: the segment is empty, or the file could not be written.
    """
    import slicer
    import vtk

    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segmentId)
    # The writer chooses the file's name itself.
    with tempfile.TemporaryDirectory() as folder:
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsClosedSurfaceRepresentationToFiles(
            folder, segmentationNode, ids, "STL", True, 1.0, False
        )
        files = list(Path(folder).glob("*.stl"))
        if len(files) != 1:
            raise OutputError(
                "There is no surface to export: the segment is empty, or has too few voxels."
            )
        try:
            with _inPlaceOf(path) as beside:
                shutil.copyfile(files[0], beside)
        except OSError as error:
            raise _failed(path) from error


def _export(node: slicer.vtkMRMLStorableNode, path: Path) -> None:
    import slicer.util

    try:
        with _inPlaceOf(path) as beside:
            # Properties of its own: the default ones remember the last file's format.
            if not slicer.util.exportNode(node, str(beside), properties={}):
                raise OSError(f"Slicer did not write {beside}")
            _requireWhole(beside)
    except (EOFError, OSError, RuntimeError) as error:
        raise _failed(path) from error


def _requireWhole(path: Path) -> None:
    """Raise OSError or EOFError where a writer left an incomplete file without saying so."""
    if path.stat().st_size == 0:
        raise EOFError
    if path.name.endswith(".gz"):
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    elif not isComplete(path):
        raise EOFError


@contextmanager
def _inPlaceOf(path: Path) -> Iterator[Path]:
    """A file to write instead, which takes the path's place at the end; if not, nothing changes."""
    # In the same folder, so that to move it is to rename it; with the same name, which says how it
    # is written. What a process that was killed left is in the way, and goes.
    folder = path.with_name(f".{path.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder / path.name
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _failed(path: Path) -> OutputError:
    return OutputError(
        f"'{path}' could not be written; choose a folder that you may write to, on a disk with "
        "free space."
    )
