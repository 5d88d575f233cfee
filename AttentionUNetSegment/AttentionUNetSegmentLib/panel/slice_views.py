"""What the slice and 3D views show of a result."""

from __future__ import annotations

from typing import Any

import slicer

from ..scene.find_result import isResult


class SliceViews:
    """Sets layers of slice views; does nothing where there are no views.

    What the user put into a view stays there: our volumes lie over the scan that they belong to,
    and what lay there before comes back.
    """

    def __init__(self) -> None:
        self._before: dict[str, tuple[str | None, float]] = {}
        """By composite node: the foreground that ours took the place of, and its opacity."""
        self._overlayId = ""
        self._known: set[str] = set()
        """IDs of the composite nodes of those views that have been there already."""

    def showVolume(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show a volume in the background of all views, as after it was loaded."""
        if self._composites():
            slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)

    def showWhereEmpty(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show a volume in the background of those views that show none."""
        composites = self._composites()
        empty = [one for one in composites if not one.GetBackgroundVolumeID()]
        if empty and len(empty) == len(composites):
            self.showVolume(volumeNode)
            return
        for composite in empty:
            composite.SetBackgroundVolumeID(volumeNode.GetID())

    def showOver(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        overlayNode: slicer.vtkMRMLScalarVolumeNode,
        opacity: float,
    ) -> None:
        """Show one volume over another, in the views that show the other; in all if none does."""
        composites = self._composites()
        background = volumeNode.GetID()
        showing = [one for one in composites if one.GetBackgroundVolumeID() == background]
        self._known = {composite.GetID() for composite in composites}
        for composite in showing or composites:
            self._put(composite, background, overlayNode, opacity)

    def showInNewViews(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        overlayNode: slicer.vtkMRMLScalarVolumeNode,
        opacity: float,
    ) -> None:
        """Likewise, in those that a layout has brought since, unless they show something else."""
        background = volumeNode.GetID()
        for widget in self._widgets():
            composite = widget.mrmlSliceCompositeNode()
            if composite.GetID() in self._known:
                continue
            self._known.add(composite.GetID())
            before = composite.GetBackgroundVolumeID()
            if not before or before == background:
                self._put(composite, background, overlayNode, opacity)
            if not before:
                widget.fitSliceToBackground()

    def _put(
        self,
        composite: slicer.vtkMRMLSliceCompositeNode,
        background: str,
        overlayNode: slicer.vtkMRMLScalarVolumeNode,
        opacity: float,
    ) -> None:
        self._overlayId = overlayNode.GetID()
        composite.SetBackgroundVolumeID(background)
        if not self._showsResult(composite):
            before = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
            self._before[composite.GetID()] = before
        composite.SetForegroundVolumeID(overlayNode.GetID())
        composite.SetForegroundOpacity(opacity)

    def hideResults(self) -> None:
        """Take our volumes, and no others, out of the foreground; where one was removed, too, what
        lay there before comes back."""
        removed = slicer.mrmlScene.GetNodeByID(self._overlayId) is None
        for composite in self._composites():
            emptied = removed and not composite.GetForegroundVolumeID()
            if self._showsResult(composite) or (emptied and composite.GetID() in self._before):
                foreground, opacity = self._before.pop(composite.GetID(), (None, 0.0))
                if slicer.mrmlScene.GetNodeByID(foreground or "") is None:
                    foreground = None
                composite.SetForegroundVolumeID(foreground)
                composite.SetForegroundOpacity(opacity)

    def jumpTo(self, position_ras: tuple[float, float, float]) -> None:
        """Move all slice views to a point of the world, so that it is in their middle."""
        for sliceNode in self._sliceNodes():
            sliceNode.JumpSliceByCentering(*position_ras)

    def _showsResult(self, composite: slicer.vtkMRMLSliceCompositeNode) -> bool:
        node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        return node is not None and isResult(node)

    def _composites(self) -> list[Any]:
        return [widget.mrmlSliceCompositeNode() for widget in self._widgets()]

    def _sliceNodes(self) -> list[Any]:
        return [widget.mrmlSliceNode() for widget in self._widgets()]

    def _widgets(self) -> list[Any]:
        manager = slicer.app.layoutManager()
        if manager is None:
            return []
        return [manager.sliceWidget(name) for name in manager.sliceViewNames()]
