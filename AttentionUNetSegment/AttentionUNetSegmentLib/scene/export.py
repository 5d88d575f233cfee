"""Our segment as files of other formats, through Slicer's own writers."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutputError
from ..files import replaced_file
from .collection import labelsOnVolume, writeNifti
from .files import isComplete
from .volumes import ijkToRas, imageFromArray

if TYPE_CHECKING:
    import slicer

_STL_HEADER_BYTES = 84  # with the number of triangles
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def exportSegmentation(segmentationNode: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """Write a whole segmentation (``.seg.nrrd``); where its node is saved to stays as it was.

    Raises:
        OutputError: the file could not be written.
    """
    _export(segmentationNode, path)


def exportLabelmap(
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str | Sequence[str],
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    path: Path,
) -> None:
    """Write a segment as a label map on the volume's own grid (``.nii.gz``): 0 and 1; of several
    segments 1, 2 and so on in their order, the later ones over the earlier ones.

    Like the volume's own file, it is without the transforms above it; a sheared grid is kept.

    Raises:
        InputError: the segment is gone, or lies under another transform than the volume, one of
            them not linear.
        OutputError: the file could not be written.
    """
    several = [segmentId] if isinstance(segmentId, str) else segmentId
    mask = labelsOnVolume(volumeNode, segmentationNode, several)
    with _failureExplained(path), replaced_file(path) as beside:
        writeNifti(imageFromArray(mask), ijkToRas(volumeNode), beside)


def exportSurface(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, path: Path
) -> None:
    """Write a segment's closed surface (``.stl``), in LPS millimetres as other programs expect.

    Raises:
        OutputError: the segment is empty, or the file could not be written.
    """
    with _failureExplained(path), replaced_file(path) as beside:
        writeSurface(segmentationNode, segmentId, beside)


def writeSurface(
    segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, path: Path
) -> None:
    """As :func:`exportSurface`, into a file that is not there yet; what fails may leave a part.

    Raises:
        OutputError: the segment is empty.
        OSError: the file could not be written.
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
        path.write_bytes(_facingOutwards(files[0].read_bytes()))


def _facingOutwards(stl: bytes) -> bytes:
    """A binary STL whose triangles go round the way that makes them face outwards: those of Slicer
    face inwards where the scan's axes are left-handed, as in many a NIfTI.

    Raises:
        EOFError: it is cut short.
    """
    if len(stl) < _STL_HEADER_BYTES or len(stl) != _STL_HEADER_BYTES + _TRIANGLE.itemsize * int(
        np.frombuffer(stl, "<u4", 1, _STL_HEADER_BYTES - 4)[0]
    ):
        raise EOFError
    triangles = np.frombuffer(stl, _TRIANGLE, offset=_STL_HEADER_BYTES).copy()
    corners = triangles["corners"].astype(np.float64)
    corners -= corners.mean(axis=(0, 1))
    if np.einsum("ij,ij", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0:
        triangles["corners"] = triangles["corners"][:, ::-1]
        triangles["normal"] *= -1
    return stl[:_STL_HEADER_BYTES] + triangles.tobytes()


def _export(node: slicer.vtkMRMLStorableNode, path: Path) -> None:
    import slicer.util

    with _failureExplained(path), replaced_file(path) as beside:
        try:
            # Properties of its own: the default ones remember the last file's format.
            written = slicer.util.exportNode(node, str(beside), properties={})
        except RuntimeError as error:
            raise OSError(str(error)) from error
        if not written:
            raise OSError(f"Slicer did not write {beside}")
        _requireWhole(beside)


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
def _failureExplained(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise OutputError(
            f"'{path}' could not be written; choose a folder that you may write to, on a disk with "
            "free space."
        ) from error
