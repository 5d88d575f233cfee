"""``qMRMLNodeComboBox``: choose a node of the scene.

As in the original: a combo box inside a widget, "None" on top if enabled, actions below the nodes
("Create new ...", "Rename current ...", "Delete current ..."), hidden nodes left out. The widget
is disabled until it has a scene. A node that is selected before there is a scene is selected when
one comes. When the selected node goes away the next one is selected, as Qt's combo boxes do.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QSortFilterProxyModel, Qt, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QInputDialog, QSizePolicy, QWidget

from ..observations import Observations

UID_ROLE = Qt.UserRole + 1
ACTION_ROLE = Qt.UserRole + 2


class qMRMLSortFilterProxyModel(QSortFilterProxyModel):
    """Which nodes are listed, beside the filters of the combo box that it belongs to."""

    def __init__(self, comboBox: qMRMLNodeComboBox) -> None:
        super().__init__(comboBox)
        self._comboBox = comboBox
        self._hiddenNodeIDs: list[str] = []

    def _getHiddenNodeIDs(self) -> list[str]:
        return list(self._hiddenNodeIDs)

    def _setHiddenNodeIDs(self, nodeIDs: list[str]) -> None:
        if list(nodeIDs) != self._hiddenNodeIDs:
            self._hiddenNodeIDs = list(nodeIDs)
            self._comboBox._rebuild(self._comboBox.currentNodeID)

    hiddenNodeIDs = Property("QStringList", _getHiddenNodeIDs, _setHiddenNodeIDs)


class qMRMLNodeComboBox(QWidget):
    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observations = Observations()
        self._nodeTypes: list[str] = []
        self._hiddenTypes: list[str] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._labels: dict[str, str] = {}
        self._baseName = ""
        self._noneDisplay = "None"
        self._flags = {
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
        }
        self._filter = qMRMLSortFilterProxyModel(self)
        self._requestedID = ""
        self._announcedID: str | None = ""
        self._updating = False
        self._comboBox = QComboBox(self)
        self._comboBox.setModel(QStandardItemModel(self._comboBox))
        # The panel may be narrower than the longest name.
        self._comboBox.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._comboBox)
        self.setSizePolicy(QSizePolicy(QSizePolicy.Preferred, QSizePolicy.Fixed))
        self.setFocusProxy(self._comboBox)
        self._comboBox.activated.connect(self._onActivated)
        self._comboBox.currentIndexChanged.connect(self._onIndexChanged)
        self._rebuild()
        self.setEnabled(False)

    # The scene

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        wanted = self._requestedID or self.currentNodeID
        self._observations.clear()
        self._scene = scene
        if scene is not None:
            observe, kinds = self._observations.add, slicer.vtkMRMLScene
            observe(scene, kinds.NodeAddedEvent, self._onNodeAdded, True)
            observe(scene, kinds.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved, True)
            for node in self._nodes():
                observe(node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
        self._requestedID = ""
        self._rebuild(wanted)
        self.setEnabled(scene is not None)

    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        if self._isOfType(node):
            self._observations.add(node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
            if self._isShown(node):
                self._rebuild(self.currentNodeID)
                self.nodeAdded.emit(node)

    def _onNodeAboutToBeRemoved(self, caller: Any, event: str, node: Any) -> None:
        self._observations.removeFrom(node)
        row = self._row(node.GetID())
        if row >= 0:
            self.nodeAboutToBeRemoved.emit(node)
            self._comboBox.removeItem(self._row(node.GetID()))

    def _onNodeModified(self, node: Any, event: str) -> None:
        row = self._row(node.GetID())
        if (row >= 0) != self._isShown(node):
            self._rebuild(self.currentNodeID)
        elif row >= 0 and self._comboBox.itemText(row) != node.GetName():
            self._comboBox.setItemText(row, node.GetName() or "")

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        count = self._scene.GetNumberOfNodes()
        nodes = [self._scene.GetNthNode(index) for index in range(count)]
        return [node for node in nodes if self._isOfType(node)]

    def _isOfType(self, node: Any) -> bool:
        if not any(node.IsA(one) for one in self._nodeTypes):
            return False
        if not self._flags["showChildNodeTypes"] and node.GetClassName() not in self._nodeTypes:
            return False
        return not any(node.IsA(one) for one in self._hiddenTypes)

    def _isShown(self, node: Any) -> bool:
        if not self._isOfType(node) or node.GetID() in self._filter._hiddenNodeIDs:
            return False
        if node.GetHideFromEditors() and not self._flags["showHidden"]:
            return False
        wanted = [one for one in self._attributes if node.IsA(one[0])]
        return all(
            node.GetAttribute(name) is not None
            if value is None
            else node.GetAttribute(name) == str(value)
            for _, name, value in wanted
        )

    # The rows

    def _rebuild(self, wanted: str = "") -> None:
        self._updating = True
        model = self._comboBox.model()
        model.clear()
        if self._flags["noneEnabled"]:
            self._append(self._noneDisplay, UID_ROLE, "")
        for node in self._nodes():
            if self._isShown(node):
                self._append(node.GetName() or "", UID_ROLE, node.GetID())
        for text, action in self._actions():
            self._append(text, ACTION_ROLE, action)
        self._comboBox.setPlaceholderText(f"Select a {self._label(self._firstType())}")
        self._select(wanted)
        self._updating = False
        self._announce()

    def _append(self, text: str, role: int, data: str) -> None:
        item = QStandardItem(text)
        item.setData(data, role)
        self._comboBox.model().appendRow(item)

    def _actions(self) -> list[tuple[str, str]]:
        if self._scene is None:
            return []
        label = self._label(self._firstType() if len(self._nodeTypes) == 1 else "")
        actions = []
        if self._flags["renameEnabled"]:
            actions.append((f"Rename current {label}", "RENAME"))
        if self._flags["editEnabled"]:
            actions.append((f"Edit current {label}", "EDIT"))
        if self._flags["addEnabled"]:
            for one in self._nodeTypes:
                actions.append((f"Create new {self._label(one)}", f"CREATE/{one}"))
                if self._flags["renameEnabled"]:
                    actions.append((f"Create new {self._label(one)} as...", f"CREATE_AS/{one}"))
        if self._flags["removeEnabled"]:
            actions.append((f"Delete current {label}", "DELETE"))
        return actions

    def _firstType(self) -> str:
        return self._nodeTypes[0] if self._nodeTypes else ""

    def _label(self, nodeType: str) -> str:
        if nodeType in self._labels:
            return self._labels[nodeType]
        label = self._scene.GetTypeDisplayNameByClassName(nodeType) if self._scene else ""
        return label or "node"

    def _row(self, nodeID: str | None) -> int:
        return self._comboBox.findData(nodeID, UID_ROLE) if nodeID else -1

    def _select(self, nodeID: str) -> None:
        row = self._row(nodeID)
        self._comboBox.setCurrentIndex(
            row if row >= 0 else (0 if self._flags["noneEnabled"] else -1)
        )

    def _onIndexChanged(self, row: int) -> None:
        if self._updating:
            return
        if row >= 0 and self._comboBox.itemData(row, ACTION_ROLE) is not None:
            # An action is never selected; the last node is, as in the original.
            self._select(self._nodeIDs()[-1] if self._nodeIDs() else "")
            return
        self._announce()

    def _announce(self) -> None:
        nodeID = self.currentNodeID
        if nodeID == self._announcedID:
            return
        self._announcedID = nodeID
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(nodeID)

    def _onActivated(self, row: int) -> None:
        """What the user chose from the list, with the mouse or the keyboard."""
        action = self._comboBox.itemData(row, ACTION_ROLE)
        if action is None:
            self.nodeActivated.emit(self.currentNode())
        elif action.startswith("CREATE"):
            self._create(*action.split("/"))
        elif action == "DELETE":
            self.removeCurrentNode()
        elif action == "EDIT":
            self.editCurrentNode()
        else:
            self.renameCurrentNode()

    def _create(self, command: str, nodeType: str) -> None:
        name, accepted = "", True
        if command == "CREATE_AS":
            name, accepted = QInputDialog.getText(
                self, f"Create new {self._label(nodeType)}", "New name:"
            )
        if accepted:
            node = self.addNode(nodeType)
            if name:
                node.SetName(name)

    def _nodeIDs(self) -> list[str]:
        rows = range(self._comboBox.count)
        found = [self._comboBox.itemData(row, UID_ROLE) for row in rows]
        return [one for one in found if one]

    # What a script calls

    def currentNode(self) -> Any:
        nodeID = self.currentNodeID
        return self._scene.GetNodeByID(nodeID) if nodeID and self._scene else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str) -> None:
        if self._scene is None:
            self._requestedID = nodeID
        self._select(nodeID)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._comboBox.setCurrentIndex(index + self._flags["noneEnabled"])

    def nodeCount(self) -> int:
        return len(self._nodeIDs())

    def nodeFromIndex(self, index: int) -> Any:
        nodeIDs = self._nodeIDs()
        return self._scene.GetNodeByID(nodeIDs[index]) if 0 <= index < len(nodeIDs) else None

    def addNode(self, nodeType: str | None = None) -> Any:
        nodeType = nodeType or self._firstType()
        if self._scene is None or nodeType not in self._nodeTypes:
            return None
        baseName = self._baseName or self._label(nodeType)
        name = self._scene.GenerateUniqueName(baseName)
        node = self._scene.AddNewNodeByClass(nodeType, name)
        for type_, attribute, value in self._attributes:
            if node.IsA(type_):
                node.SetAttribute(attribute, str(value))
        self._rebuild(self.currentNodeID)
        if self._flags["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self._scene.RemoveNode(node)

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is None:
            return
        title = f"Rename {self._label(node.GetClassName())}"
        name, accepted = QInputDialog.getText(self, title, "New name:", text=node.GetName())
        if accepted and name:
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    def addAttribute(self, nodeType: str, attributeName: str, attributeValue: Any = None) -> None:
        self._attributes.append((nodeType, attributeName, attributeValue))
        self._rebuild(self.currentNodeID)

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._filter

    def nodeTypeLabel(self, nodeType: str) -> str:
        return self._label(nodeType)

    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._labels[nodeType] = label
        self._rebuild(self.currentNodeID)

    # Properties

    def _flag(name: str) -> Property:  # type: ignore[misc]
        def read(self: qMRMLNodeComboBox) -> bool:
            return self._flags[name]

        def write(self: qMRMLNodeComboBox, value: bool) -> None:
            if self._flags[name] != value:
                self._flags[name] = value
                self._rebuild(self.currentNodeID)

        return Property(bool, read, write)

    noneEnabled = _flag("noneEnabled")
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    editEnabled = _flag("editEnabled")
    renameEnabled = _flag("renameEnabled")
    showHidden = _flag("showHidden")
    showChildNodeTypes = _flag("showChildNodeTypes")
    selectNodeUponCreation = _flag("selectNodeUponCreation")

    def _getCurrentNodeID(self) -> str:
        row = self._comboBox.currentIndex
        return (self._comboBox.itemData(row, UID_ROLE) or "") if row >= 0 else ""

    currentNodeID = Property(str, _getCurrentNodeID, setCurrentNodeID)

    def _getNodeTypes(self) -> tuple[str, ...]:
        return tuple(self._nodeTypes)

    def _setNodeTypes(self, nodeTypes: list[str]) -> None:
        current = self.currentNodeID
        self._nodeTypes = list(nodeTypes)
        scene, self._scene = self._scene, None
        if scene is not None:
            self.setMRMLScene(scene)
        self._rebuild(current)

    nodeTypes = Property("QStringList", _getNodeTypes, _setNodeTypes)

    def _getHiddenTypes(self) -> tuple[str, ...]:
        return tuple(self._hiddenTypes)

    def _setHiddenTypes(self, nodeTypes: list[str]) -> None:
        self._hiddenTypes = list(nodeTypes)
        self._rebuild(self.currentNodeID)

    hideChildNodeTypes = Property("QStringList", _getHiddenTypes, _setHiddenTypes)

    def _getNoneDisplay(self) -> str:
        return self._noneDisplay

    def _setNoneDisplay(self, text: str) -> None:
        self._noneDisplay = text
        self._rebuild(self.currentNodeID)

    noneDisplay = Property(str, _getNoneDisplay, _setNoneDisplay)

    def _getBaseName(self) -> str:
        return self._baseName

    def _setBaseName(self, name: str) -> None:
        self._baseName = name

    baseName = Property(str, _getBaseName, _setBaseName)


CLASSES: tuple[type, ...] = (qMRMLNodeComboBox, qMRMLSortFilterProxyModel)
