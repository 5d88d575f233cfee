"""What the Segment Editor's settings let change: masking, editable intensities, overwriting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import segments
from .labelmaps import VoxelBox, Voxels, segmentIn, voxelsOfImage
from .volumes import toVtkMatrix, volumeFromNode

if TYPE_CHECKING:
    import slicer


@dataclass(frozen=True)
class EditorRules:
    """The rules for writing a segment.

    They are those that the editor applies to a stroke, asked for the voxels that change only: the
    editor itself would make its masks as large as the scan each time.

    Args:
        segmentationNode, segmentId: the segment that is written.
        volumeNode: the scan; the source of intensities unless the editor has another.
        parameters: the editor's; None where nothing is masked and no other segment changes.
    """

    segmentationNode: slicer.vtkMRMLSegmentationNode
    segmentId: str
    volumeNode: slicer.vtkMRMLScalarVolumeNode
    parameters: slicer.vtkMRMLSegmentEditorNode | None

    @property
    def overwriteMode(self) -> int:
        import slicer

        if self.parameters is None:
            return slicer.vtkMRMLSegmentEditorNode.OverwriteNone
        return self.parameters.GetOverwriteMode()

    def forbidden(self, box: VoxelBox) -> np.ndarray:
        """Where nothing may change: bool (k, j, i)."""
        if self.parameters is None:
            return np.zeros(box.shape, bool)
        return self._masked(self.parameters, box) | self._outOfRange(self.parameters, box)

    def overwritten(self, box: VoxelBox, added: np.ndarray) -> dict[str, np.ndarray]:
        """The other segments that lose voxels where some are added, and what they hold there."""
        segmentation = self.segmentationNode.GetSegmentation()
        held = {
            other: segmentIn(box, segmentation.GetSegment(other)) for other in self._overwritable()
        }
        return {other: voxels for other, voxels in held.items() if (voxels & added).any()}

    def _overwritable(self) -> list[str]:
        import slicer

        modes = slicer.vtkMRMLSegmentEditorNode
        if self.overwriteMode == modes.OverwriteNone:
            return []
        visibleOnly = self.overwriteMode == modes.OverwriteVisibleSegments
        display = self.segmentationNode.GetDisplayNode()
        return [
            other
            for other in self.segmentationNode.GetSegmentation().GetSegmentIDs()
            if other != self.segmentId
            and (not visibleOnly or (display is not None and display.GetSegmentVisibility(other)))
        ]

    def _masked(self, parameters: slicer.vtkMRMLSegmentEditorNode, box: VoxelBox) -> np.ndarray:
        import slicer

        mode = parameters.GetMaskMode()
        if mode == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere:
            return np.zeros(box.shape, bool)
        mask = slicer.vtkOrientedImageData()
        if not self.segmentationNode.GenerateEditMask(
            mask, mode, box.empty(), self.segmentId, parameters.GetMaskSegmentID() or ""
        ):
            # Masking by visible segments, of a segmentation that is shown nowhere.
            return np.ones(box.shape, bool)
        return voxelsOfImage(mask).array != 0

    def _outOfRange(self, parameters: slicer.vtkMRMLSegmentEditorNode, box: VoxelBox) -> np.ndarray:
        if not parameters.GetSourceVolumeIntensityMask():
            return np.zeros(box.shape, bool)
        source = parameters.GetSourceVolumeNode() or self.volumeNode
        low, high = parameters.GetSourceVolumeIntensityMaskRange()
        values = self._intensities(source, box)
        return (values < low) | (values > high)

    def _intensities(self, source: slicer.vtkMRMLScalarVolumeNode, box: VoxelBox) -> np.ndarray:
        """A volume's values in a box; interpolated where it is on another grid."""
        import slicer

        ijkToLocal = segments.ijkToSegmentation(source, self.segmentationNode)
        voxels = Voxels(volumeFromNode(source).array, ijkToLocal)
        beyond = source.GetImageBackgroundScalarComponentAsDouble(0)
        if voxels.offsetOn(box.grid) is not None:
            within = Voxels(np.broadcast_to(True, voxels.array.shape), ijkToLocal)
            return np.where(box.read(within), box.read(voxels), beyond)
        image, result = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        image.ShallowCopy(source.GetImageData())
        image.SetGeometryFromImageToWorldMatrix(toVtkMatrix(ijkToLocal))
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            image, box.empty(), result, True, False, None, beyond
        )
        return voxelsOfImage(result).array
