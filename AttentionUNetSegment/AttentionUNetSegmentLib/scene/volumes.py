"""Volume nodes and :class:`Volume`, with their voxels shared wherever that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume
from ..inference.strokes import Prompt, mapped
from ..paths import printable

if TYPE_CHECKING:
    import slicer
    import vtk

ABDOMEN_HU = (-160, 240)
"""Range of Hounsfield units that an abdominal CT is usually read in."""


def volumeFromNode(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """The node's image, placed in the world; under a transform that is not linear, such as the one
    by which Slicer's DICOM import evens out slices, in the node's own coordinates: see
    :func:`nodeToPlace`.

    Returns:
        A volume whose array (k, j, i) is a view of the node's voxels, not a copy; it stays valid
        when the node is removed. ``ijk_to_ras`` includes the transforms above the node where they
        are linear.

    Raises:
        InputError: the node has no image, or is no scalar volume.
    """
    name = volumeNode.GetName()
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{name}' is a label map, not a CT; choose the CT it was drawn on.")
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"'{name}' is not a scalar volume; choose a CT volume.")
    image = volumeNode.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    severalValues = scalars is not None and scalars.GetNumberOfComponents() != 1
    if severalValues or volumeNode.IsA("vtkMRMLTensorVolumeNode"):
        raise InputError(
            f"'{name}' has several values in each voxel (a colour or vector image); "
            "choose a CT volume, which has one."
        )
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise InputError(f"'{name}' contains no image; load the CT again.")
    return Volume(arrayOfImage(image), nodeToPlace(volumeNode) @ ijkToRas(volumeNode))


def addVolumeNode(
    volume: Volume, name: str, scene: slicer.vtkMRMLScene | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a CT to the scene: a volume node with its voxels and place, shown in an abdominal window.

    The node shares the array's memory, unless VTK cannot hold it as it is (booleans, 64-bit
    integers, half precision, foreign byte order, not contiguous).

    Args:
        scene: where to; ``slicer.mrmlScene`` unless given.

    Raises:
        InputError: 64-bit integers beyond the range of 32 bits.
    """
    from .headless import ensureScene

    array = _forVtk(volume.array)
    scene = scene or ensureScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", printable(name))
    setIjkToRas(node, volume.ijk_to_ras)
    # Before the image: an automatic window takes a histogram of all voxels (two seconds or more).
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetDefaultColorMap()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*ABDOMEN_HU)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetAndObserveImageData(imageFromArray(array))
    return node


def imageFromArray(array: np.ndarray) -> vtk.vtkImageData:
    """An image that shares the memory of a contiguous array (k, j, i) and keeps it alive.

    ``numpy_to_vtk(deep=False)`` shares memory too, but keeps the array in the Python wrapper, of
    which VTK lets go at some later time: hundreds of megabytes would outlive their node. An
    observer dies with the VTK array itself.
    """
    import vtk
    from vtk.util.numpy_support import get_vtk_array_type

    flat = array.reshape(-1)
    scalars = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(flat.dtype))
    scalars.SetName("ImageScalars")
    scalars.SetVoidArray(flat, flat.size, 1)
    scalars.AddObserver(vtk.vtkCommand.DeleteEvent, lambda *_, kept=flat: None)
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(array.shape))
    image.GetPointData().SetScalars(scalars)
    return image


def arrayOfImage(image: vtk.vtkImageData) -> np.ndarray:
    """A view (k, j, i) of the values of an image that has one for each voxel."""
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = image.GetPointData().GetScalars()
    return vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions())))


def ijkToRas(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """4x4, from voxel indices to the node's own coordinates, below its parent transform."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return fromVtkMatrix(matrix)


def setIjkToRas(volumeNode: slicer.vtkMRMLVolumeNode, matrix: np.ndarray) -> None:
    volumeNode.SetIJKToRASMatrix(toVtkMatrix(matrix))


def nodeToWorld(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """4x4, from the node's own coordinates to the world, through all its parent transforms.

    Raises:
        InputError: one of them is not linear.
    """
    import vtk

    transformNode = node.GetParentTransformNode()
    if transformNode is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not transformNode.IsTransformToWorldLinear() or not transformNode.GetMatrixTransformToWorld(
        matrix
    ):
        raise InputError(
            f"'{node.GetName()}' is under the non-linear transform '{transformNode.GetName()}'; "
            "harden the transform (Data module, right-click the transform) and try again."
        )
    return fromVtkMatrix(matrix)


def nodeToPlace(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """4x4, from the node's own coordinates to those in which it is worked on: the world's, or its
    own where a transform above it is not linear. No grid is straight in both then; what is right on
    the node's own is right under the same transform, whatever that is."""
    return nodeToWorld(node) if _isPlacedLinearly(node) else np.eye(4)


def pointsInPlace(node: slicer.vtkMRMLTransformableNode, points: np.ndarray) -> np.ndarray:
    """Points of the world (n x 3, mm) in the coordinates that :func:`nodeToPlace` leads to."""
    if _isPlacedLinearly(node):
        return points
    import slicer
    import vtk

    fromWorld = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        None, node.GetParentTransformNode(), fromWorld
    )
    return np.array([fromWorld.TransformPoint(*map(float, point)) for point in points])


def pointsFromPlace(node: slicer.vtkMRMLTransformableNode, points: np.ndarray) -> np.ndarray:
    """The other way round: points (n x 3, mm) in those coordinates, in the world."""
    if _isPlacedLinearly(node):
        return points
    moved, world = [0.0, 0.0, 0.0], []
    for point in points:
        node.TransformPointToWorld(list(map(float, point)), moved)
        world.append(tuple(moved))
    return np.array(world)


def clicksInPlace(
    node: slicer.vtkMRMLTransformableNode, clicks: Sequence[Prompt]
) -> tuple[Prompt, ...]:
    """Clicks, scribbles and lassos in the world, as users make them, likewise."""
    if not clicks or _isPlacedLinearly(node):
        return tuple(clicks)
    return tuple(mapped(click, lambda points: pointsInPlace(node, points)) for click in clicks)


def _isPlacedLinearly(node: slicer.vtkMRMLTransformableNode) -> bool:
    transformNode = node.GetParentTransformNode()
    return transformNode is None or bool(transformNode.IsTransformToWorldLinear())


def toVtkMatrix(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    import vtk

    result = vtk.vtkMatrix4x4()
    result.DeepCopy([float(value) for value in matrix.ravel()])
    return result


def fromVtkMatrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _forVtk(array: np.ndarray) -> np.ndarray:
    """The array itself where VTK and Slicer can hold it, else the nearest that they can."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        array = array.astype(np.uint8)
    elif kind in "iu" and size == 8:
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise InputError("The image has voxel values beyond 32-bit integers; it is not a CT.")
        array = array.astype(np.int32)
    elif kind == "f" and size not in (4, 8):
        array = array.astype(np.float32 if size < 4 else np.float64)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
