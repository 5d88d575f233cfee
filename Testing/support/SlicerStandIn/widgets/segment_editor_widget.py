"""``qMRMLSegmentEditorWidget``: its state, signals and undo, on slicer-core's own editor logic.

State lives in the ``vtkMRMLSegmentEditorNode``, as in the original; setters without such a node do
nothing there either. Its effects are clones of those that the factory has; the events of the views
go to the active one first, and only what it does not want goes on to the view.
"""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
import vtk
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPixmap
from PySide6.QtWidgets import (
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..observations import Observations
from .base_widgets import qMRMLWidget
from .segment_editor_effects import ifInScene, qSlicerSegmentEditorEffectFactory
from .segmentation_show_3d_button import qMRMLSegmentationShow3DButton

INTERACTION_EVENTS = (
    "LeftButtonPressEvent",
    "LeftButtonReleaseEvent",
    "MouseMoveEvent",
)
"""Those of the original that effects here wait for."""
SLICE_EVENTS = ("LeftButtonDoubleClickEvent",)
"""Besides, in slice views alone."""


class qMRMLSegmentEditorWidget(qMRMLWidget):
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetSegmentationHistory(slicer.vtkSegmentationHistory())
        self._logic.SetMaximumNumberOfUndoStates(10)
        self._given: Any = None
        self._observations = Observations()
        self._historyObservations = Observations()
        self._segmentObservations = Observations()
        self._effectOrder: list[str] = []
        self._effects: list[Any] = []
        self._active: Any = None
        self._viewObservers: list[tuple[Any, int]] = []
        self._readOnly = False
        self._announced: dict[str, str | None] = {}
        self._flags = {
            "segmentationNodeSelectorVisible": True,
            "sourceVolumeNodeSelectorVisible": True,
            "addRemoveSegmentButtonsVisible": True,
            "switchToSegmentationsButtonVisible": True,
            "show3DButtonVisible": True,
            "maskingSectionVisible": True,
            "specifyGeometryButtonVisible": True,
            "autoShowSourceVolumeNode": True,
            "undoEnabled": True,
        }
        self._makeWidgets()
        self._historyObservations.add(
            self._logic,
            slicer.vtkSlicerSegmentEditorLogic.SegmentationHistoryChangedEvent,
            self._onHistoryChanged,
        )
        factory = qSlicerSegmentEditorEffectFactory.instance()
        factory.effectRegistered.connect(lambda _name: self.updateEffectList())
        self.updateEffectList()
        self._update()

    def _makeWidgets(self) -> None:
        self._show3D = qMRMLSegmentationShow3DButton(self)
        self._table = QListWidget(self)
        self._undoButton, self._redoButton = QToolButton(self), QToolButton(self)
        self._undoButton.setText("Undo")
        self._redoButton.setText("Redo")
        self._undoButton.clicked.connect(self.undo)
        self._redoButton.clicked.connect(self.redo)
        self._table.currentRowChanged.connect(self._onRowChanged)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._show3D)
        layout.addWidget(self._table)
        row = QHBoxLayout()
        row.addWidget(self._undoButton)
        row.addWidget(self._redoButton)
        row.addStretch()
        layout.addLayout(row)
        self._effectButtons = QHBoxLayout()
        layout.addLayout(self._effectButtons)
        self._options = QVBoxLayout()
        layout.addLayout(self._options)

    # What is edited

    def setMRMLScene(self, newScene: Any) -> None:
        super().setMRMLScene(newScene)
        self._logic.SetMRMLScene(newScene)
        if newScene is None:
            self.setMRMLSegmentEditorNode(None)
        self.updateWidgetFromMRML()

    @property
    def _node(self) -> Any:
        return ifInScene(self._given)

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setMRMLSegmentEditorNode(self, newSegmentEditorNode: Any) -> None:
        if newSegmentEditorNode is self._given:
            return
        self._observations.clear()
        self._given = newSegmentEditorNode
        self._logic.SetSegmentEditorNode(newSegmentEditorNode)
        if newSegmentEditorNode is not None:
            self._observations.add(
                newSegmentEditorNode, vtk.vtkCommand.ModifiedEvent, self._onNodeModified
            )
            for effect in self._effects:
                effect.setParameterSetNode(newSegmentEditorNode)
        self.updateWidgetFromMRML()

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node is not None else None

    def segmentationNodeID(self) -> str:
        return _id(self.segmentationNode())

    def setSegmentationNode(self, node: Any) -> None:
        if self._node is not None and node is not self.segmentationNode():
            self.setActiveEffect(None)
            self._logic.SetSegmentationNode(node)
            self.updateWidgetFromMRML()

    def setSegmentationNodeID(self, nodeID: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(nodeID) if self._scene else None)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def sourceVolumeNodeID(self) -> str:
        return _id(self.sourceVolumeNode())

    def setSourceVolumeNode(self, node: Any) -> None:
        if self._node is not None and node is not self.sourceVolumeNode():
            self._logic.SetSourceVolumeNode(node)
            self.updateWidgetFromMRML()

    def setSourceVolumeNodeID(self, nodeID: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(nodeID) if self._scene else None)

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        if self._node is not None and segmentID != self.currentSegmentID():
            self._node.SetSelectedSegmentID(segmentID)

    # Undo

    def saveStateForUndo(self) -> None:
        if self._flags["undoEnabled"]:
            self._logic.SaveStateForUndo()
            self._onHistoryChanged(self._logic, "")

    def undo(self) -> None:
        self._logic.Undo()
        self._onHistoryChanged(self._logic, "")

    def redo(self) -> None:
        self._logic.Redo()
        self._onHistoryChanged(self._logic, "")

    def _getMaximumNumberOfUndoStates(self) -> int:
        return self._logic.GetMaximumNumberOfUndoStates()

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(number)

    maximumNumberOfUndoStates = Property(
        int, _getMaximumNumberOfUndoStates, setMaximumNumberOfUndoStates
    )

    def _onHistoryChanged(self, caller: Any, event: str) -> None:
        self._undoButton.setEnabled(self._flags["undoEnabled"] and self._logic.CanUndo())
        self._redoButton.setEnabled(self._flags["undoEnabled"] and self._logic.CanRedo())

    # Effects

    def updateEffectList(self) -> None:
        """Clone what was registered since."""
        known = [effect.name for effect in self._effects]
        for registered in qSlicerSegmentEditorEffectFactory.instance().registeredEffects():
            if registered.name in known:
                continue
            effect = registered._clone()
            effect._editor = self
            effect.setParent(self)
            if self._node is not None:
                effect.setParameterSetNode(self._node)
            effect._call("setupOptionsFrame")
            effect.optionsFrame().setVisible(False)
            button = QToolButton(self)
            button.setText(effect.title)
            button.setIcon(effect._icon())
            button.setToolButtonStyle(Qt.ToolButtonTextBesideIcon)
            button.clicked.connect(lambda _checked=False, effect=effect: self._onEffect(effect))
            self._effectButtons.addWidget(button)
            self._options.addWidget(effect.optionsFrame())
            self._effects.append(effect)

    def _onEffect(self, effect: Any) -> None:
        self.setActiveEffect(None if effect is self._active else effect)

    def availableEffectNames(self) -> list[str]:
        return [effect.name for effect in self._effects]

    def effectByName(self, name: str) -> Any:
        return next((effect for effect in self._effects if effect.name == name), None)

    def activeEffect(self) -> Any:
        return self._active

    def setActiveEffect(self, effect: Any) -> None:
        self.setActiveEffectByName("" if effect is None else effect.name)

    def setActiveEffectByName(self, effectName: str) -> None:
        if self._node is not None:
            self._node.SetActiveEffectName(effectName)
        self._followEffect()

    def _followEffect(self) -> None:
        node = self._node
        name = node.GetActiveEffectName() if node is not None else ""
        ready = self.segmentationNode() is not None and self.sourceVolumeNode() is not None
        effect = self.effectByName(name or "") if ready else None
        if effect is self._active:
            return
        before, self._active = self._active, effect
        if before is not None:
            before.deactivate()
        if effect is not None:
            self.setupViewObservations()
            interaction = slicer.app.applicationLogic().GetInteractionNode()
            if interaction is not None:
                interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            effect.activate()

    def effectNameOrder(self) -> list[str]:
        return list(self._effectOrder)

    def setEffectNameOrder(self, effectNames: list[str]) -> None:
        self._effectOrder = list(effectNames)

    # Views and keys

    def setupViewObservations(self) -> None:
        self.removeViewObservations()
        manager = slicer.app.layoutManager()
        if manager is None:
            return
        widgets = [manager.sliceWidget(name) for name in manager.sliceViewNames()]
        widgets += [manager.threeDWidget(index) for index in range(manager.threeDViewCount)]
        for widget in widgets:
            interactor = widget.viewWidget().interactor()
            inSlice = widget.className() == "qMRMLSliceWidget"
            for event in (*INTERACTION_EVENTS, *(SLICE_EVENTS if inSlice else ())):
                tag = interactor.AddObserver(event, _Handler(self, widget), 1.0)
                self._viewObservers.append((interactor, tag))

    def removeViewObservations(self) -> None:
        for interactor, tag in self._viewObservers:
            interactor.RemoveObserver(tag)
        self._viewObservers = []

    def _onViewEvent(self, interactor: Any, event: str, widget: Any) -> None:
        if self._active is None:
            return
        eventId = vtk.vtkCommand.GetEventIdFromString(event)
        if self._active._call("processInteractionEvents", interactor, eventId, widget):
            for observed, tag in self._viewObservers:
                if observed is interactor:
                    interactor.GetCommand(tag).AbortFlagOn()

    def installKeyboardShortcuts(self, parent: QWidget | None = None) -> None:
        """Nothing: the original's keys are for effects and segments."""

    def uninstallKeyboardShortcuts(self) -> None:
        """Nothing, as above."""

    # What is shown

    def updateWidgetFromMRML(self) -> None:
        self._segmentObservations.clear()
        node = self.segmentationNode()
        if node is not None:
            kinds = slicer.vtkSegmentation
            for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified):
                self._segmentObservations.add(node, event, self._onSegmentsChanged)
        self._update()
        self._announce("segmentation", self.segmentationNodeID(), self._sendSegmentation)
        self._announce("source", self.sourceVolumeNodeID(), self._sendSource)
        self._announce("segment", self.currentSegmentID(), self.currentSegmentIDChanged.emit)

    def _announce(self, what: str, value: str, send: Any) -> None:
        if self._announced.get(what, "") != value:
            self._announced[what] = value
            send(value)

    def _sendSegmentation(self, nodeID: str) -> None:
        self.segmentationNodeChanged.emit(self.segmentationNode())

    def _sendSource(self, nodeID: str) -> None:
        self.sourceVolumeNodeChanged.emit(self.sourceVolumeNode())

    def _onNodeModified(self, caller: Any, event: str) -> None:
        self._followEffect()
        self.updateWidgetFromMRML()

    def _onSegmentsChanged(self, caller: Any, event: str) -> None:
        """As in the original a segment is always selected where there is one."""
        segmentIDs = list(self.segmentationNode().GetSegmentation().GetSegmentIDs())
        if segmentIDs and self.currentSegmentID() not in segmentIDs:
            self.setCurrentSegmentID(segmentIDs[0])
        self._update()

    def _update(self) -> None:
        node = self.segmentationNode()
        self._show3D.setSegmentationNode(node)
        self._show3D.setVisible(self._flags["show3DButtonVisible"])
        self._table.blockSignals(True)
        self._table.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        for segmentID in segmentation.GetSegmentIDs() if segmentation is not None else ():
            segment = segmentation.GetSegment(segmentID)
            pixmap = QPixmap(16, 16)
            pixmap.fill(QColor.fromRgbF(*segment.GetColor()))
            self._table.addItem(QListWidgetItem(QIcon(pixmap), segment.GetName()))
            if segmentID == self.currentSegmentID():
                self._table.setCurrentRow(self._table.count - 1)
        self._table.blockSignals(False)
        for button in (self._undoButton, self._redoButton):
            button.setVisible(self._flags["undoEnabled"])
        self.setEnabled(self._node is not None)
        self._onHistoryChanged(self._logic, "")

    def _onRowChanged(self, row: int) -> None:
        if row >= 0 and self.segmentationNode() is not None:
            segmentation = self.segmentationNode().GetSegmentation()
            self.setCurrentSegmentID(segmentation.GetNthSegmentID(row))

    def _getReadOnly(self) -> bool:
        return self._readOnly

    def setReadOnly(self, aReadOnly: bool) -> None:
        self._readOnly = aReadOnly

    readOnly = Property(bool, _getReadOnly, setReadOnly)

    def _flag(name: str) -> Property:  # type: ignore[misc]
        def read(self: qMRMLSegmentEditorWidget) -> bool:
            return self._flags[name]

        def write(self: qMRMLSegmentEditorWidget, value: bool) -> None:
            self._flags[name] = value
            self._update()

        return Property(bool, read, write)

    segmentationNodeSelectorVisible = _flag("segmentationNodeSelectorVisible")
    sourceVolumeNodeSelectorVisible = _flag("sourceVolumeNodeSelectorVisible")
    addRemoveSegmentButtonsVisible = _flag("addRemoveSegmentButtonsVisible")
    switchToSegmentationsButtonVisible = _flag("switchToSegmentationsButtonVisible")
    show3DButtonVisible = _flag("show3DButtonVisible")
    maskingSectionVisible = _flag("maskingSectionVisible")
    specifyGeometryButtonVisible = _flag("specifyGeometryButtonVisible")
    autoShowSourceVolumeNode = _flag("autoShowSourceVolumeNode")
    undoEnabled = _flag("undoEnabled")


class _Handler:
    """An observer that does not keep its editor alive."""

    def __init__(self, editor: qMRMLSegmentEditorWidget, widget: Any) -> None:
        self._editor = weakref.ref(editor)
        self._widget = widget

    def __call__(self, interactor: Any, event: str) -> None:
        editor = self._editor()
        if editor is not None and shiboken6.isValid(editor):
            editor._onViewEvent(interactor, event, self._widget)


def _id(node: Any) -> str:
    return "" if node is None else node.GetID()


CLASSES: tuple[type, ...] = (qMRMLSegmentEditorWidget,)
