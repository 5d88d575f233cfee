"""What the tests of the scene package share: places, a hand-made prediction, world positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.geometry.grid import Region, bounding_region
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.scene import segments, volumes

SHAPE = (9, 11, 13)  # k, j, i: all different, so that a wrong order shows
BOX = (slice(2, 5), slice(3, 8), slice(4, 10))

COS, SIN = np.cos(0.3), np.sin(0.3)
PLACES = {
    "plain": np.diag([2.0, 1.5, 3.0, 1.0]),
    "flipped": np.array([[-2, 0, 0, 7], [0, -1.5, 0, 5], [0, 0, 3, -9], [0, 0, 0, 1.0]]),
    "left-handed": np.array([[2, 0, 0, 7], [0, -1.5, 0, 5], [0, 0, 3, -9], [0, 0, 0, 1.0]]),
    "permuted": np.array([[0, 0, 3, 7], [-2, 0, 0, 5], [0, 1.5, 0, -9], [0, 0, 0, 1.0]]),
    "oblique": np.array(
        [[2 * COS, -1.5 * SIN, 0, 7], [2 * SIN, 1.5 * COS, 0, 5], [0, 0, 3, -9], [0, 0, 0, 1.0]]
    ),
    "sheared": np.array([[2, 0.4, 0, 7], [0, 1.5, 0.5, 5], [0, 0.2, 3, -9], [0, 0, 0, 1.0]]),
}
TURN = np.array([[0, -1, 0, 10], [1, 0, 0, -20], [0, 0, 1, 30], [0, 0, 0, 1.0]])
SHIFT = np.array([[1, 0, 0, 3], [0, 1, 0, 1], [0, 0, 1, -4], [0, 0, 0, 1.0]])


@dataclass(frozen=True, eq=False)
class HandMade(Prediction):
    """A prediction with known content: in the mask, attention of level n is n / 10."""

    failing_level: int = 0

    def probability_in_region(self, part: Region | None = None) -> np.ndarray:
        return self._of_mask(0.9, part)

    def attention_in_region(self, level: int, part: Region | None = None) -> np.ndarray:
        if level == self.failing_level:
            raise MemoryError("no memory left")
        return self._of_mask(level / 10, part)

    def _of_mask(self, value: float, part: Region | None) -> np.ndarray:
        values = self.mask[self.region].astype(np.float32) * np.float32(value)
        return values if part is None else values[part]


def box_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[BOX] = 1
    mask[2, 3, 4] = 0  # not symmetric
    return mask


def add_ct(name: str, place: np.ndarray = PLACES["oblique"]) -> Any:
    array = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    return scene.addVolumeNode(Volume(array, place), name)


def prediction_on(node: Any, levels: int = 4, **changes: Any) -> HandMade:
    return hand_made(scene.volumeFromNode(node), levels, **changes)


def hand_made(volume: Volume, levels: int = 4, **changes: Any) -> HandMade:
    mask = changes.get("mask", box_mask())
    values: dict[str, Any] = {
        "mask": mask,
        "region": bounding_region(mask) or (slice(0, 0),) * 3,
        "found": True,
        "volume_ml": 12.345,
        "focus_ratios": tuple(0.5 / level for level in range(1, levels + 1)),
        "timings_s": {},
        "device": "CPU (test)",
        "warnings": (),
        "model_name": "pancreas-ct",
        "model_version": "1.0",
        "label": segments.PANCREAS,
    }
    return HandMade(volume, **(values | changes))


def add_transform(mrml: Any, matrix: np.ndarray, parent: Any = None) -> Any:
    node = mrml.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(volumes.toVtkMatrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_bend(mrml: Any, most_mm: float = 6.0) -> Any:
    """A grid transform as Slicer's DICOM import makes it to even out slices: along the slices, by
    another distance at every height."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 12)
    image.SetSpacing(400, 400, 10)
    image.SetOrigin(-200, -200, -50)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    moves = vtk_to_numpy(image.GetPointData().GetScalars())
    moves[:] = 0
    moves[:, 2] = np.repeat(most_mm * np.sin(np.arange(12) / 2), 4)
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(image)
    node = mrml.AddNewNodeByClass("vtkMRMLGridTransformNode", "acquisition transform")
    node.SetAndObserveTransformFromParent(grid)
    return node


def voxels(node: Any) -> np.ndarray:
    import slicer.util

    return slicer.util.arrayFromVolume(node)


def segment_world_points(segmentation_node: Any, segment_id: str) -> np.ndarray:
    """World positions (N x 3, sorted) of the segment's voxel centres, from the stored labelmap."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    assert segmentation_node.GetBinaryLabelmapRepresentation(segment_id, image)
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    ijk = np.argwhere(array)[:, ::-1] + np.array(image.GetExtent()[::2])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_local = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    return world_points(ijk, volumes.nodeToWorld(segmentation_node) @ to_local)


def world_points(ijk: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    points = ijk @ to_world[:3, :3].T + to_world[:3, 3]
    return points[np.lexsort(points.round(3).T)]


def mask_world_points(prediction: Any) -> np.ndarray:
    return world_points(np.argwhere(prediction.mask)[:, ::-1], prediction.volume.ijk_to_ras)


def assert_same_place(result: Any) -> None:
    expected = mask_world_points(result.prediction)
    actual = segment_world_points(result.segmentationNode, result.segmentId)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def node_ids(mrml: Any) -> list[str]:
    return [mrml.GetNthNode(index).GetID() for index in range(mrml.GetNumberOfNodes())]


def result_nodes(result: Any) -> list[Any]:
    return [
        result.segmentationNode,
        result.probabilityNode,
        *result.attentionNodes,
        result.tableNode,
    ]


def table_rows(node: Any) -> list[list[str]]:
    return [
        [node.GetCellText(row, column) for column in range(node.GetNumberOfColumns())]
        for row in range(node.GetNumberOfRows())
    ]


def add_segmentation(mrml: Any, grid: Any) -> Any:
    """A segmentation of the user's own, empty."""
    node = mrml.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    return node


def add_block(segmentation_node: Any, name: str, matrix: np.ndarray, start: int = 3) -> str:
    """A segment of the user's own: 4 x 4 x 4 voxels of a grid."""
    import slicer

    crop = segments.Crop(np.ones((4, 4, 4), np.uint8), (start, start, start))
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation(segments.LABELMAP, segments.orientedImage(crop, matrix))
    segmentation_node.GetSegmentation().AddSegment(segment, name)
    return name


def snapshot(segmentation_node: Any, segment_id: str) -> tuple[Any, ...]:
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    points = segment_world_points(segmentation_node, segment_id)
    return segment.GetName(), segment.GetColor(), points.round(6).tolist()
