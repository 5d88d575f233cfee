"""Begin from a segment that is there already, whoever made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from .section import Section, clicked

if TYPE_CHECKING:
    from .panel import Panel


class BeginSection(Section):
    """The choice of a segment, and the button; shown while the scene has a segmentation."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._shown: list[tuple[str, str]] = []
        self._observed: list[tuple[Any, int]] = []
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self.ui.beginSegmentationSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", self._onSegmentation
        )
        clicked(self.ui.beginButton, self._onBegin)

    @property
    def segmentId(self) -> str | None:
        """What is chosen."""
        index = self.ui.beginSegmentComboBox.currentIndex
        return self._shown[index][0] if 0 <= index < len(self._shown) else None

    def update(self) -> None:
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        self.ui.beginFrame.visible = any(not node.GetHideFromEditors() for node in nodes)
        self._showSegments()

    def parametersChanged(self) -> None:
        self._follow(None)

    def cleanup(self) -> None:
        self._follow(None)

    def _onSegmentation(self, *_node: Any) -> None:
        self._follow(self.ui.beginSegmentationSelector.currentNode())
        self._showSegments()

    def _follow(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed, self._node = [], node
        events = slicer.vtkSegmentation
        for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
            if node is not None:
                tag = node.AddObserver(event, lambda *_: self._showSegments())
                self._observed.append((node, tag))

    def _showSegments(self) -> None:
        node = self._node if self._node is not None and self._node.GetScene() is not None else None
        shown = []
        if node is not None:
            segmentation = node.GetSegmentation()
            ids = segmentation.GetSegmentIDs()
            shown = [(one, segmentation.GetSegment(one).GetName()) for one in ids]
        combo = self.ui.beginSegmentComboBox
        if shown != self._shown:
            before = self.segmentId
            blocked = combo.blockSignals(True)
            combo.clear()
            for _segmentId, name in shown:
                combo.addItem(name)
            combo.blockSignals(blocked)
            self._shown = shown
            combo.setCurrentIndex(self._preferred(before))
        chosen = self.panel.volumeNode is not None and bool(shown)
        combo.enabled = bool(shown)
        self.ui.beginButton.enabled = chosen and not self.panel.busy

    def _preferred(self, before: str | None) -> int:
        """Of the segments the one that was chosen, else one of the organ's name."""
        label = self.panel.target
        organ = label.name.casefold() if label is not None else ""
        for index, (segmentId, _name) in enumerate(self._shown):
            if segmentId == before:
                return index
        for index, (_segmentId, name) in enumerate(self._shown):
            if name.casefold() == organ:
                return index
        return 0 if self._shown else -1

    def _onBegin(self) -> None:
        if self._node is not None and self.segmentId is not None:
            self.panel.beginFrom(self._node, self.segmentId)
