"""Clicks stay on the voxels of the scan that they were made on, wherever it is moved.

In the scene they are points of the world, which know nothing of the scan. One that is put under a
transform, whose transform changes, or is hardened, takes what they point at elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.grid import transform_points
from ..inference.strokes import Prompt, mapped, points_of
from .volumes import clicksInPlace, ijkToRas, nodeToPlace, pointsFromPlace

if TYPE_CHECKING:
    import slicer

SAME_MM = 0.01
"""Points as near to each other are the same one: there and back again is not exact."""
STEPS_OF_A_MM = 1024
"""Points are moved to whole ones, so that their differences are exact."""
SAMPLED_VOXELS = 4096
LEAST_VOXEL_MM3 = 1e-9


@dataclass(frozen=True)
class ScanClicks:
    """Clicks, scribbles and lassos in the world, and where they are in a scan.

    Args:
        world: in the world, in mm.
        voxels: the same ones, in i, j, k of the scan; none where that is not known.
        scan: what the scan's voxels are known by. To crop it, or to harden a transform that is not
            linear, makes others of them, and leaves what they show where it is in the world.
    """

    world: tuple[Prompt, ...] = ()
    voxels: tuple[Prompt, ...] = ()
    scan: str = ""

    @classmethod
    def on(cls, volumeNode: slicer.vtkMRMLScalarVolumeNode, clicks: Sequence[Prompt]) -> ScanClicks:
        """Clicks where they are now."""
        scan = _knownBy(volumeNode) if clicks else ""
        if not scan:
            return cls(tuple(clicks))
        fromPlace = np.linalg.inv(_toPlace(volumeNode))
        voxels = (
            mapped(one, lambda points: transform_points(fromPlace, points))
            for one in clicksInPlace(volumeNode, clicks)
        )
        return cls(tuple(clicks), tuple(voxels), scan)

    def updated(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, clicks: Sequence[Prompt]
    ) -> ScanClicks:
        """Other clicks where they are now; those that are among these stay on their very voxels."""
        others = ScanClicks.on(volumeNode, clicks)
        if not others.scan and others.world == self.world:
            return self  # until it has an image, and extent, again
        if not self.voxels or others.scan != self.scan:
            return others
        known = dict(zip(self.world, self.voxels, strict=True))
        voxels = (known.get(one, there) for one, there in zip(clicks, others.voxels, strict=True))
        return replace(others, voxels=tuple(voxels))

    def movedWith(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> ScanClicks:
        """At the place to which the scan was moved, if it was; the very same ones if not."""
        if not self.voxels or self.scan != _knownBy(volumeNode):
            return self
        toPlace = _toPlace(volumeNode)

        def toWorld(points: np.ndarray) -> np.ndarray:
            moved = pointsFromPlace(volumeNode, transform_points(toPlace, points))
            return np.round(moved * STEPS_OF_A_MM) / STEPS_OF_A_MM

        moved = tuple(mapped(one, toWorld) for one in self.voxels)
        if all(map(sameClick, moved, self.world)):
            return self
        return replace(self, world=moved)


NO_CLICKS = ScanClicks()


def sameClick(one: Prompt, other: Prompt) -> bool:
    """Whether two clicks, scribbles or lassos say the same of the same place."""
    if type(one) is not type(other) or one.inside != other.inside:
        return False
    points, others = np.array(points_of(one)), np.array(points_of(other))
    return points.shape == others.shape and bool(np.abs(points - others).max() < SAME_MM)


def _toPlace(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    return nodeToPlace(volumeNode) @ ijkToRas(volumeNode)


def _knownBy(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """As its image is; nothing where a transform makes it flat."""
    isFlat = not abs(np.linalg.det(_toPlace(volumeNode))) > LEAST_VOXEL_MM3
    return "" if isFlat else imageKnownBy(volumeNode)


def imageKnownBy(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """By its size and some of its voxels, for the node may have got another ID since; nothing of a
    node without an image."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = volumeNode.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None:
        return ""
    values = vtk_to_numpy(scalars)
    sample = values[:: max(1, len(values) // SAMPLED_VOXELS)]
    known = f"{image.GetDimensions()} {values.dtype}".encode()
    return f"{zlib.crc32(sample.tobytes(), zlib.crc32(known)):08x}"
