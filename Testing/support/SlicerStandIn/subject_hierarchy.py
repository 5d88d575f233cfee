"""The subject hierarchy's plugin logic: an item for each data node, and its complaints.

As ``qSlicerSubjectHierarchyPluginLogic`` and the segmentations' plugin: a node that is added gets
an item, unless it is hidden from editors then or a scene is being imported; the item goes when its
node goes. A segmentation without an item is a critical error whenever its segments change, and so
is the removal of a node that is in no scene any more. A node's display nodes, and the color node
that was made for it, go with it.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .error_log import critical

CLASSES_WITH_ITEMS = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLModelNode",
    "vtkMRMLTableNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTextNode",
)


class SubjectHierarchyPluginLogic:
    """Follows one scene for the life of the process."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._observed: dict[str, list[int]] = {}
        events = slicer.vtkMRMLScene
        self._observe(scene, events.NodeAddedEvent, self._onNodeAdded)
        self._observe(scene, events.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        self._observe(scene, events.NodeRemovedEvent, self._onNodeRemoved)
        scene.AddObserver(events.EndImportEvent, lambda *_: self._addItems())
        scene.AddObserver(events.EndRestoreEvent, lambda *_: self._addItems())
        self._belongings: list[Any] = []

    def _observe(self, subject: Any, event: Any, method: Any) -> int:
        def called(caller: Any, event: str, node: Any) -> None:
            method(node)

        called.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        return subject.AddObserver(event, called)

    def _onNodeAdded(self, node: Any) -> None:
        if node.IsA("vtkMRMLSegmentationNode"):
            self._watchSegments(node)
        if not self._scene.IsImporting() and not node.GetHideFromEditors():
            self._addItem(node)

    def _addItems(self) -> None:
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            if node is not None and not node.GetHideFromEditors():
                self._addItem(node)

    def _addItem(self, node: Any) -> None:
        if not any(node.IsA(one) for one in CLASSES_WITH_ITEMS):
            return
        hierarchy = self._scene.GetSubjectHierarchyNode()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _watchSegments(self, node: Any) -> None:
        kinds = slicer.vtkSegmentation
        for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified):
            node.AddObserver(event, self._onSegments)

    def _onSegments(self, node: Any, _event: str) -> None:
        scene = node.GetScene()
        if scene is None or scene.IsImporting() or scene.IsClosing():
            return
        if not scene.GetSubjectHierarchyNode().GetItemByDataNode(node):
            critical(
                "qSlicerSubjectHierarchySegmentationsPlugin: Failed to access subject hierarchy "
                f"item for segmentation node {node.GetName()}"
            )

    def _onNodeAboutToBeRemoved(self, node: Any) -> None:
        if self._scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        if node.GetScene() is None:
            critical(
                "qSlicerSubjectHierarchyPluginLogic: Failed to access subject hierarchy node "
                f"({node.GetClassName()} was removed already)"
            )
            return
        hierarchy = self._scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)
        if node.IsA("vtkMRMLDisplayableNode"):
            displays = [
                node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())
            ]
            displays = [one for one in displays if one is not None]
            colors = [one.GetColorNode() for one in displays]
            own = [one for one in colors if one is not None and _ownColors(one)]
            self._belongings += displays + own

    def _onNodeRemoved(self, _node: Any) -> None:
        belongings, self._belongings = self._belongings, []
        for one in belongings:
            if one.GetScene() is self._scene:
                self._scene.RemoveNode(one)


def _ownColors(colorNode: Any) -> bool:
    """Made for one label map; the built-in ones stay."""
    return colorNode.GetSingletonTag() is None and not colorNode.GetHideFromEditors()
