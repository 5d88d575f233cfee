"""Nodes of ours leave the scene with what was made for them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import slicer

BELONGINGS = ("display", "storage")
"""Reference roles of the nodes that belong to one node."""


def removeNode(node: slicer.vtkMRMLNode) -> None:
    """Remove a node with its display and storage nodes; does nothing where it is gone.

    In Slicer some of these go with their node, and a node that is removed twice is an entry in the
    error log. Outside of it nobody else removes the node's item in the subject hierarchy.
    """
    scene = node.GetScene()
    if scene is None:
        return
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    if item != hierarchy.GetInvalidItemID():
        hierarchy.RemoveItem(item, False, False)
    belongings = [
        node.GetNthNodeReference(role, index)
        for role in BELONGINGS
        for index in range(node.GetNumberOfNodeReferences(role))
    ]
    scene.RemoveNode(node)
    for belonging in belongings:
        if belonging is not None and belonging.GetScene() is scene:
            scene.RemoveNode(belonging)
