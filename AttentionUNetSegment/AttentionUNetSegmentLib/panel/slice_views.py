"""What the slice and 3D views show of a result."""

from __future__ import annotations

from typing import Any

import slicer

from ..scene.found import isResult


class SliceViews:
    """Sets the layers of all slice views; does nothing where there are no views."""

    def showVolume(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show a volume in the background of views that show another one or none."""
        shown = [composite.GetBackgroundVolumeID() for composite in self._composites()]
        if any(volumeId != volumeNode.GetID() for volumeId in shown):
            slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)

    def showOver(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        overlayNode: slicer.vtkMRMLScalarVolumeNode,
        opacity: float,
    ) -> None:
        """Show one volume over another in all slice views."""
        if self._composites():
            slicer.util.setSliceViewerLayers(
                background=volumeNode, foreground=overlayNode, foregroundOpacity=opacity
            )

    def hideResults(self) -> None:
        """Take our volumes, and no others, out of the foreground."""
        for composite in self._composites():
            node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
            if node is not None and isResult(node):
                composite.SetForegroundVolumeID(None)

    def jumpTo(self, position_ras: tuple[float, float, float]) -> None:
        """Move all slice views to a point of the world, so that it is in their middle."""
        for sliceNode in self._sliceNodes():
            sliceNode.JumpSliceByCentering(*position_ras)

    def _composites(self) -> list[Any]:
        return [widget.mrmlSliceCompositeNode() for widget in self._widgets()]

    def _sliceNodes(self) -> list[Any]:
        return [widget.mrmlSliceNode() for widget in self._widgets()]

    def _widgets(self) -> list[Any]:
        manager = slicer.app.layoutManager()
        if manager is None:
            return []
        return [manager.sliceWidget(name) for name in manager.sliceViewNames()]
