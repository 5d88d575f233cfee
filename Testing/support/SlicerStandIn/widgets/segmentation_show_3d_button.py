"""``qMRMLSegmentationShow3DButton``: makes and shows the segmentation's surface, or removes it."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property
from PySide6.QtWidgets import QWidget

from ..observations import Observations
from .ctk_widgets import ctkMenuButton

SURFACE = "Closed surface"


class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Checked while the segmentation has a surface; disabled without a segmentation."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._locked = False
        self._observations = Observations()
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._onToggled)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._observations.clear()
        self._node = node
        if node is not None:
            for event in (
                vtk.vtkCommand.ModifiedEvent,
                slicer.vtkSegmentation.ContainedRepresentationNamesModified,
                slicer.vtkSegmentation.SegmentAdded,
                slicer.vtkSegmentation.SegmentRemoved,
            ):
                self._observations.add(node, event, self._onModified)
        self._update()

    def _getLocked(self) -> bool:
        return self._locked

    def setLocked(self, locked: bool) -> None:
        self._locked = locked
        self._update()

    locked = Property(bool, _getLocked, setLocked)

    def _onModified(self, caller: Any, event: str) -> None:
        self._update()

    def _update(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        filled = segmentation is not None and segmentation.GetNumberOfSegments() > 0
        self.setEnabled(filled and not self._locked)
        wasBlocked = self.blockSignals(True)
        self.setChecked(filled and segmentation.ContainsRepresentation(SURFACE))
        self.blockSignals(wasBlocked)

    def _onToggled(self, shown: bool) -> None:
        if self._node is None:
            return
        segmentation = self._node.GetSegmentation()
        if not shown:
            if segmentation.GetSourceRepresentationName() != SURFACE:
                self._node.RemoveClosedSurfaceRepresentation()
        elif segmentation.CreateRepresentation(SURFACE):
            self._node.CreateDefaultDisplayNodes()
            self._node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(SURFACE)
        self._update()


CLASSES: tuple[type, ...] = (qMRMLSegmentationShow3DButton,)
