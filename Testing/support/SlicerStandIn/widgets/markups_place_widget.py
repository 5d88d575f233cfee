"""``qSlicerMarkupsPlaceWidget``: switches the views into placing points of a markups node.

As the original it works through the scene's selection node (which node points go to) and
interaction node (place mode, and whether it lasts), and listens to both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QWidget

from ..observations import Observations
from .base_widgets import qSlicerWidget


class _PlaceMultipleMarkupsType(IntEnum):
    UserSelectable = 0
    ForcePlaceSingleMarkup = 1
    ForcePlaceMultipleMarkups = 2
    HidePlaceMultipleMarkupsOption = 3


class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    activeMarkupsFiducialPlaceModeChanged = Signal(bool)
    activeMarkupsPlaceModeChanged = Signal(bool)

    PlaceMultipleMarkupsType = _PlaceMultipleMarkupsType
    UserSelectable = _PlaceMultipleMarkupsType.UserSelectable
    ForcePlaceSingleMarkup = _PlaceMultipleMarkupsType.ForcePlaceSingleMarkup
    ForcePlaceMultipleMarkups = _PlaceMultipleMarkupsType.ForcePlaceMultipleMarkups
    HidePlaceMultipleMarkupsOption = _PlaceMultipleMarkupsType.HidePlaceMultipleMarkupsOption

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._nodeID = ""
        self._selectionNode: Any = None
        self._interactionNode: Any = None
        self._multiple = self.UserSelectable
        self._lastEnabled = False
        self._observations = Observations()
        self._placeButton, self._deleteButton = QToolButton(self), QToolButton(self)
        self._placeButton.setCheckable(True)
        self._placeButton.setText("Place")
        self._placeButton.setToolTip("Place a control point")
        self._deleteButton.setText("Delete")
        self._deleteButton.setToolTip("Delete last control point")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._placeButton)
        layout.addWidget(self._deleteButton)
        self._placeButton.clicked.connect(self.setPlaceModeEnabled)
        self._deleteButton.clicked.connect(self.deleteLastPoint)

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._observations.clear()
        self._selectionNode = self._interactionNode = None
        if scene is not None:
            self.setSelectionNode(scene.GetNodeByID("vtkMRMLSelectionNodeSingleton"))
            self.setInteractionNode(scene.GetNodeByID("vtkMRMLInteractionNodeSingleton"))
        self._update()

    def selectionNode(self) -> Any:
        return self._selectionNode

    def setSelectionNode(self, selectionNode: Any) -> None:
        self._selectionNode = selectionNode
        self._observe(selectionNode)

    def interactionNode(self) -> Any:
        return self._interactionNode

    def setInteractionNode(self, interactionNode: Any) -> None:
        self._interactionNode = interactionNode
        self._observe(interactionNode)

    def _observe(self, node: Any) -> None:
        if node is not None:
            self._observations.add(node, vtk.vtkCommand.ModifiedEvent, self._onModified)

    def _onModified(self, caller: Any, event: str) -> None:
        self._update()

    def placeButton(self) -> QToolButton:
        return self._placeButton

    def deleteButton(self) -> QToolButton:
        return self._deleteButton

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._nodeID) if self._scene and self._nodeID else None

    def currentMarkupsNode(self) -> Any:
        return self.currentNode()

    def setCurrentNode(self, currentNode: Any) -> None:
        wasPlacing = self._getPlaceModeEnabled()
        if wasPlacing and currentNode is None:
            self.setPlaceModeEnabled(False)
        self._nodeID = "" if currentNode is None else currentNode.GetID()
        if wasPlacing and currentNode is not None:
            self.setCurrentNodeActive(True)
        self._update()

    def _getCurrentNodeActive(self) -> bool:
        node = self.currentNode()
        if node is None or self._selectionNode is None:
            return False
        return (
            self._selectionNode.GetActivePlaceNodeID() == self._nodeID
            and self._selectionNode.GetActivePlaceNodeClassName() == node.GetClassName()
        )

    def setCurrentNodeActive(self, active: bool) -> None:
        node = self.currentNode()
        if self._selectionNode is None or active == self._getCurrentNodeActive() or node is None:
            return
        if active:
            self._selectionNode.SetReferenceActivePlaceNodeClassName(node.GetClassName())
            self._selectionNode.SetActivePlaceNodeID(self._nodeID)
        else:
            self._selectionNode.SetReferenceActivePlaceNodeID(None)
            self.setPlaceModeEnabled(False)

    currentNodeActive = Property(bool, _getCurrentNodeActive, setCurrentNodeActive)

    def _getPlaceModeEnabled(self) -> bool:
        if self._interactionNode is None or not self._getCurrentNodeActive():
            return False
        place = slicer.vtkMRMLInteractionNode.Place
        return self._interactionNode.GetCurrentInteractionMode() == place

    def setPlaceModeEnabled(self, enable: bool) -> None:
        node = self._interactionNode
        if node is None or self.currentNode() is None:
            return
        if enable:
            if self._multiple == self.ForcePlaceSingleMarkup:
                node.SetPlaceModePersistence(0)
            elif self._multiple == self.ForcePlaceMultipleMarkups:
                node.SetPlaceModePersistence(1)
            self.setCurrentNodeActive(True)
            node.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)
        elif self._getPlaceModeEnabled():
            node.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
        self._update()

    placeModeEnabled = Property(bool, _getPlaceModeEnabled, setPlaceModeEnabled)

    def _getPlaceModePersistency(self) -> bool:
        return bool(self._interactionNode and self._interactionNode.GetPlaceModePersistence())

    def setPlaceModePersistency(self, persistent: bool) -> None:
        if self._interactionNode is not None:
            self._interactionNode.SetPlaceModePersistence(int(persistent))

    placeModePersistency = Property(bool, _getPlaceModePersistency, setPlaceModePersistency)

    def _getPlaceMultipleMarkups(self) -> int:
        return self._multiple

    def setPlaceMultipleMarkups(self, option: int) -> None:
        self._multiple = _PlaceMultipleMarkupsType(option)

    placeMultipleMarkups = Property(int, _getPlaceMultipleMarkups, setPlaceMultipleMarkups)

    def _getButtonsVisible(self) -> bool:
        return not self._placeButton.isHidden()

    def setButtonsVisible(self, visible: bool) -> None:
        self._placeButton.setVisible(visible)
        self._deleteButton.setVisible(visible)

    buttonsVisible = Property(bool, _getButtonsVisible, setButtonsVisible)

    def deleteLastPoint(self) -> None:
        node = self.currentNode()
        if node is not None and node.GetNumberOfControlPoints() > 0:
            node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)

    def deleteAllPoints(self) -> None:
        if self.currentNode() is not None:
            self.currentNode().RemoveAllControlPoints()

    def _update(self) -> None:
        enabled = self._getPlaceModeEnabled()
        self._placeButton.setChecked(enabled)
        self.setEnabled(self.currentNode() is not None)
        if enabled != self._lastEnabled:
            self._lastEnabled = enabled
            self.activeMarkupsFiducialPlaceModeChanged.emit(enabled)
            self.activeMarkupsPlaceModeChanged.emit(enabled)


CLASSES: tuple[type, ...] = (qSlicerMarkupsPlaceWidget,)
