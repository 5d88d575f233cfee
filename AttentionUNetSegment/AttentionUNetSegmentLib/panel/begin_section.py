"""Begin from a segment that is there already, whoever made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

from ..scene.segments import isOurs, isStructure
from .section import Section, clicked
from .structure_box import StructureBox
from .target import isOfTarget, takesAnyStructure

if TYPE_CHECKING:
    from .panel import Panel


class BeginSection(Section):
    """The choice of a segment, what it is of, and the button; shown while the scene has a segment
    that is not the result itself."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._shown: list[tuple[str, str]] = []
        self._observed: list[tuple[slicer.vtkMRMLSegmentationNode, int]] = []
        self.ui.beginSegmentationSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda *_: self._show()
        )
        self.ui.beginSegmentComboBox.connect(
            "currentIndexChanged(int)", lambda *_: self._showStructure()
        )
        self._structureBox = StructureBox(self.ui.beginStructureCheckBox)
        clicked(self.ui.beginButton, self._onBegin)

    @property
    def segmentId(self) -> str | None:
        """What is chosen."""
        index = self.ui.beginSegmentComboBox.currentIndex
        return self._shown[index][0] if 0 <= index < len(self._shown) else None

    def update(self) -> None:
        self._observe()
        self._show()

    def parametersChanged(self) -> None:
        self._stopObserving()
        self._structureBox.chosen = False

    def cleanup(self) -> None:
        self._stopObserving()

    @property
    def _node(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self.ui.beginSegmentationSelector.currentNode()

    def _observe(self) -> None:
        """Programs make a segmentation first, and its segments later."""
        self._observed = [one for one in self._observed if one[0].GetScene() is not None]
        known = [node for node, _observer in self._observed]
        events = slicer.vtkSegmentation
        for node in _segmentations():
            if node in known:
                continue
            for event, function in (
                (events.SegmentAdded, self.panel.updateSoon),  # it may be the result itself
                (events.SegmentRemoved, self.panel.updateSoon),
                (events.SegmentModified, self._show),
            ):
                observer = node.AddObserver(event, lambda *_, function=function: function())
                self._observed.append((node, observer))

    def _stopObserving(self) -> None:
        for node, observer in self._observed:
            node.RemoveObserver(observer)
        self._observed = []

    def _show(self) -> None:
        foreign = any(
            not isOurs(node.GetSegmentation().GetSegment(one))
            for node in _segmentations()
            for one in node.GetSegmentation().GetSegmentIDs()
        )
        self.ui.beginFrame.visible = foreign or self._node is not None
        self._showSegments()

    def _showSegments(self) -> None:
        node, shown = self._node, []
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
        self._showStructure()

    def _showStructure(self) -> None:
        node, segmentId, parameters = self._node, self.segmentId, self.panel.parameters
        model = parameters.model if parameters is not None else ""
        self._structureBox.show(
            bool(model) and takesAnyStructure(model),
            node is not None and isStructure(node, segmentId),
            isOfTarget(node, segmentId, model),
        )

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
        node, segmentId = self._node, self.segmentId
        # A tick that nobody could take away does not count.
        structure = self._structureBox.chosen and bool(self.ui.beginStructureCheckBox.enabled)
        if node is None or segmentId is None:
            return
        if self.panel.beginFrom(node, segmentId, structure):
            self._structureBox.chosen = False  # of the next one it is said anew
            self._showStructure()


def _segmentations() -> list[slicer.vtkMRMLSegmentationNode]:
    """Those that an editor shows."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if not node.GetHideFromEditors()]
