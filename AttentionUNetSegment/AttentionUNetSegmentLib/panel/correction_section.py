"""Correct by hand: the Segment Editor on our segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from .section import Section, tabAfter

if TYPE_CHECKING:
    from .panel import Panel

EDITOR_TAG = "AttentionUNetSegment"
UNDO_STATES = 20


class CorrectionSection(Section):
    """The editor is made when the section is unfolded for the first time: it is large."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.editor: Any = None
        self._editing: tuple[Any, Any, Any] | None = None
        self.ui.correctionCollapsibleButton.contentsCollapsed.connect(self._onFolded)

    def update(self) -> None:
        usable = self.panel.hasSegment and not self.panel.busy
        self.ui.correctionLabel.text = (
            _(
                "The editor's undo and redo take back what you paint and erase here, not what the "
                "network draws: segmenting again replaces the segment."
            )
            if usable
            else _("Segment a scan first; then paint and erase here.")
        )
        self.ui.correctionFrame.visible = self.editor is not None and usable
        if self._unfolded and usable:
            self._show()
        elif self.editor is not None and not usable:
            self._release()

    def parametersChanged(self) -> None:
        self._release()

    def enter(self) -> None:
        if self.editor is not None:
            self.editor.setupViewObservations()
            self.editor.installKeyboardShortcuts()
        self.update()

    def exit(self) -> None:
        if self.editor is not None:
            self.editor.setActiveEffectByName("")
            self.editor.uninstallKeyboardShortcuts()
            self.editor.removeViewObservations()

    def cleanup(self) -> None:
        self.exit()
        self._release()
        if self.editor is not None:
            self.editor.setMRMLScene(None)

    @property
    def _unfolded(self) -> bool:
        return not self.ui.correctionCollapsibleButton.collapsed

    def _onFolded(self, folded: bool) -> None:
        if folded and self.editor is not None:
            self.editor.setActiveEffectByName("")
        self.update()

    def _make(self) -> None:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.maximumNumberOfUndoStates = UNDO_STATES
        self.ui.correctionFrameLayout.addWidget(editor)
        tabAfter(self.ui.correctionCollapsibleButton, editor)
        editor.setupViewObservations()
        editor.installKeyboardShortcuts()
        self.editor = editor

    def _show(self) -> None:
        found, volumeNode = self.panel.found, self.panel.volumeNode
        if found is None:
            return
        if self.editor is None:
            self._make()
        self.ui.correctionFrame.visible = True
        wanted = (found.segmentationNode, found.segmentId, volumeNode)
        if wanted == self._editing:
            return
        self._editing = wanted
        self.editor.setMRMLSegmentEditorNode(_editorNode())
        self.editor.setSegmentationNode(found.segmentationNode)
        self.editor.setSourceVolumeNode(volumeNode)
        self.editor.setCurrentSegmentID(found.segmentId)

    def _release(self) -> None:
        """Let go of the nodes: they are about to be removed."""
        if self._editing is None:
            return
        self._editing = None
        self.editor.setActiveEffectByName("")
        self.editor.setSegmentationNode(None)
        self.editor.setSourceVolumeNode(None)


def _editorNode() -> slicer.vtkMRMLSegmentEditorNode:
    """The module's own editor node, so that the Segment Editor module keeps its settings."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR_TAG)
        node = slicer.mrmlScene.AddNode(node)
    return node
