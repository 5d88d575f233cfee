"""Correct by hand: the Segment Editor on our segment, and what was corrected with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError, InputError
from ..models import find_model, read_card
from ..scene.corrections import Corrections, clearCorrections, corrections, showCorrections
from .kept_files import SETTINGS_GROUP
from .section import Section, clicked, tabAfter
from .volume_session import Target

if TYPE_CHECKING:
    from .panel import Panel

EDITOR_TAG = "AttentionUNetSegment"
EFFECT_NAME = "AttentionUNet"
UNDO_STATES = 20
PREPARED = "AttentionUNetSegment.Prepared"
DELAY_MS = 300
"""Painting changes a segment many times a second; measuring can wait until it rests."""
DATA_SET_KEY = f"{SETTINGS_GROUP}/DataSetFolder"


class CorrectionSection(Section):
    """The editor is large, so it is made when there is something to edit: each answer of the
    network is an undo step in it."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.editor: Any = None
        self._editing: tuple[Any, Any, Any] | None = None
        self._observing = False
        self._shown: tuple[Target, Any] | None = None
        ui = self.ui
        ui.correctionCollapsibleButton.contentsCollapsed.connect(lambda _folded: self._onFolded())
        ui.showCorrectionsCheckBox.toggled.connect(lambda _checked: self._measure())
        clicked(ui.clearCorrectionsButton, self._onClear)
        clicked(ui.addToDataSetButton, self._onAddToDataSet)
        clicked(ui.dataSetFolderButton, self._chooseDataSetFolder)
        self._timer: Any = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._measure)

    @property
    def editorNode(self) -> slicer.vtkMRMLSegmentEditorNode | None:
        """The settings that the network's answers obey."""
        return self.editor.mrmlSegmentEditorNode() if self.editor is not None else None

    def update(self) -> None:
        usable = self._usable
        self.ui.correctionLabel.text = (
            _(
                "What you paint and erase here is kept when the network answers again. Its answers "
                "are steps of the editor's undo, too. A segment whose status is Completed is never "
                "changed."
            )
            if usable
            else _("Segment a scan first; then paint and erase here.")
        )
        for name in ("correctionFrame", "correctionsFrame"):
            getattr(self.ui, name).visible = usable
        if usable:
            self._show()
        elif self.editor is not None:
            self._release()
        self._observeViews()
        self.ui.addToDataSetButton.enabled = not self.panel.busy
        folder = _dataSetFolder()
        if folder:
            self.ui.addToDataSetButton.toolTip = _(
                "Write the scan and the corrected segment into {folder}, to train a model with"
            ).format(folder=folder)
        self._measure()

    def segmentChanged(self) -> None:
        """By the user's hand, by an undo, or by the network."""
        self._timer.start()

    def parametersChanged(self) -> None:
        self._timer.stop()
        self._shown = None  # it goes with its scene
        self._release()

    def enter(self) -> None:
        self.update()

    def exit(self) -> None:
        self._observeViews()

    def cleanup(self) -> None:
        self._timer.stop()
        self._release()
        if self.editor is not None:
            self._observeViews()
            effect = self.editor.effectByName(EFFECT_NAME)
            self.panel.hub.removeEditor(self.editor if effect is None else effect.self())
            self.editor.setMRMLScene(None)

    @property
    def _usable(self) -> bool:
        """Also where the segment was removed in the editor, whose undo brings it back."""
        return self.panel.hasSegment or self._removed

    @property
    def _removed(self) -> bool:
        nodes, editing = self.panel.resultNodes, self._editing
        if nodes is None or editing is None:
            return False
        node, (edited, segmentId, volumeNode) = nodes.segmentationNode, editing
        if node is None or node is not edited or self.panel.volumeNode is not volumeNode:
            return False
        return node.GetSegmentation().GetSegment(segmentId) is None

    @property
    def _unfolded(self) -> bool:
        return not self.ui.correctionCollapsibleButton.collapsed

    @property
    def _target(self) -> Target | None:
        nodes = self.panel.resultNodes
        if nodes is None or nodes.segmentationNode is None or nodes.segmentId is None:
            return None
        return nodes.segmentationNode, nodes.segmentId

    def _onFolded(self) -> None:
        self.update()

    # The editor

    def _make(self) -> None:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.autoShowSourceVolumeNode = False  # the views are as the user left them
        editor.maximumNumberOfUndoStates = UNDO_STATES
        self.ui.correctionFrame.layout().addWidget(editor)
        tabAfter(self.ui.dataSetFolderButton, editor)
        self.editor = editor
        if editor.effectByName(EFFECT_NAME) is None:  # else the effect in it saves its states
            self.panel.hub.addEditor(editor)

    def _show(self) -> None:
        nodes, volumeNode = self.panel.resultNodes, self.panel.volumeNode
        if nodes is None or nodes.segmentId is None:
            return  # the editor stays as it is
        if self.editor is None:
            self._make()
        wanted = (nodes.segmentationNode, nodes.segmentId, volumeNode)
        if wanted == self._editing and self._isParameterized:
            return
        self._editing = wanted
        self.editor.setMRMLSegmentEditorNode(_editorNode())
        self.editor.setSegmentationNode(nodes.segmentationNode)
        self.editor.setSourceVolumeNode(volumeNode)
        self.editor.setCurrentSegmentID(nodes.segmentId)

    @property
    def _isParameterized(self) -> bool:
        """Else the node of the editor's parameters was removed, as by the user."""
        node = self.editor.mrmlSegmentEditorNode()
        return node is not None and node.GetScene() is not None

    def _release(self) -> None:
        """Let go of the nodes: they are about to be removed."""
        if self._editing is None:
            return
        self._editing = None
        self.editor.setActiveEffectByName("")
        self.editor.setSegmentationNode(None)
        self.editor.setSourceVolumeNode(None)

    def _observeViews(self) -> None:
        """Mouse and keys go to the editor only while one sees it."""
        if self.editor is None:
            return
        wanted = self.panel.entered and self._unfolded and self._usable
        if wanted == self._observing:
            return
        self._observing = wanted
        if wanted:
            self.editor.setupViewObservations()
            self.editor.installKeyboardShortcuts()
        else:
            self.editor.setActiveEffectByName("")
            self.editor.uninstallKeyboardShortcuts()
            self.editor.removeViewObservations()

    # What was corrected

    def _measure(self) -> None:
        target, ui = self._target, self.ui
        made: Corrections | None = None
        problem = ""
        if target is not None and self._unfolded:
            try:
                made = corrections(*target)
            except AttentionUNetSegmentError as error:
                problem = str(error)
        ui.correctionsLabel.text = problem or _inWords(made)
        ui.clearCorrectionsButton.enabled = bool(problem) or (made is not None and made.any)
        if not problem:
            self._showCorrections(target)

    def _showCorrections(self, target: Target | None) -> None:
        volumeNode = self.panel.volumeNode
        wanted = self.ui.showCorrectionsCheckBox.checked and target is not None
        if self._shown is not None and (not wanted or self._shown[0] != target):
            (node, segmentId), shownOn = self._shown
            self._shown = None
            if node.GetScene() is not None:
                showCorrections(node, segmentId, shownOn, False)
        if wanted and target is not None and volumeNode is not None:
            showCorrections(*target, volumeNode, True)
            self._shown = (target, volumeNode)

    def _onClear(self) -> None:
        target = self._target
        if target is None:
            return
        self.panel.hub.saveStateForUndo(target[0])
        try:
            clearCorrections(*target)
        except AttentionUNetSegmentError as error:
            self.panel.showError(error)
            return
        self.panel.say(
            _("The segment stays as it is; the next answer of the network may change all of it.")
        )
        self._measure()

    # The data set

    def _onAddToDataSet(self) -> None:
        target, volumeNode, parameters = self._target, self.panel.volumeNode, self.panel.parameters
        if target is None or volumeNode is None or parameters is None:
            return
        folder = _dataSetFolder() or self._chooseDataSetFolder()
        if not folder:
            return
        from ..scene.collection import addToDataSet

        try:
            card = read_card(find_model(parameters.model))
            model = f"{card.name} {card.version}"
            with slicer.util.WaitCursor():
                ours = self.panel.segments
                if len(card.target_labels) == 1 and self.panel.structure is None:
                    ours = [(card.target_label, target[1])]
                if not ours:
                    raise InputError(
                        _(
                            "The data set takes what the model is for: segment the {organ} first."
                        ).format(organ=card.target)
                    )
                case = addToDataSet(
                    folder,
                    volumeNode,
                    target[0],
                    [segmentId for _label, segmentId in ours],
                    [label for label, _segmentId in ours],
                    model=model,
                    partOf={one.name: one.part_of for one in card.targets if one.part_of},
                )
        except AttentionUNetSegmentError as error:
            self.panel.showError(error)
            return
        text = (
            _("Brought up to date: {name} in {folder}. Scans in the data set: {number}.")
            if case.replaced
            else _("Added: {name} in {folder}. Scans in the data set: {number}.")
        )
        self.panel.say(text.format(name=case.name, folder=folder, number=case.cases))

    def _chooseDataSetFolder(self) -> str:
        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.correctionCollapsibleButton,
            _("Choose the folder of your data set"),
            _dataSetFolder(),
        )
        if folder:
            qt.QSettings().setValue(DATA_SET_KEY, str(folder))
            self.update()
        return str(folder or "")


def _inWords(made: Corrections | None) -> str:
    if made is None or not made.any:
        return _("Nothing was corrected by hand.")
    return _("By hand: {painted:.1f} mL painted, {erased:.1f} mL erased.").format(
        painted=made.painted_ml, erased=made.erased_ml
    )


def _dataSetFolder() -> str:
    """The folder that the user chose before, if it is still there."""
    folder = str(qt.QSettings().value(DATA_SET_KEY) or "")
    return folder if folder and Path(folder).is_dir() else ""


def _editorNode() -> slicer.vtkMRMLSegmentEditorNode:
    """The module's own editor node, so that the Segment Editor module keeps its settings."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR_TAG)
        node = slicer.mrmlScene.AddNode(node)
    if node.GetAttribute(PREPARED) is None:  # new, or set back when the scene was closed
        # The network draws by it: no other segment loses voxels unless the user says so.
        node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        node.SetAttribute(PREPARED, "1")
    return node
