"""The colours of attention and probability: equal steps look equal, and the strongest is brightest.

In Slicer they are its own colour tables, which it reads from files; outside of it, where there are
no such files, tables of the same names and nearly the same colours are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import slicer

INFERNO = "vtkMRMLColorTableNodeFileInferno.txt"
VIRIDIS = "vtkMRMLColorTableNodeFileViridis.txt"

_STEPS = {
    INFERNO: (
        "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 "
        "d04545 e35933 f1711f f98c0a fcaa0f f9c932 f2e865 fcffa4"
    ),
    VIRIDIS: (
        "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c "
        "1f9f88 27ad81 3dbc74 5cc863 81d34d aadc32 d5e21a fde725"
    ),
}
"""RGB at equal distances from 0 to 1; in between they are mixed."""
_COLORS = 256


def ensureColors(scene: slicer.vtkMRMLScene) -> None:
    """Add the tables that are not in the scene."""
    for nodeId, steps in _STEPS.items():
        if scene.GetNodeByID(nodeId) is None:
            scene.AddNode(_table(nodeId, steps.split()))


def colorName(nodeId: str) -> str:
    """What a table is called, in Slicer and elsewhere."""
    return nodeId.rpartition("Node")[2].removeprefix("File").removesuffix(".txt")


def _table(nodeId: str, steps: Sequence[str]) -> slicer.vtkMRMLColorTableNode:
    import slicer

    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(colorName(nodeId))
    # As Slicer marks those from its files: one of each in a scene, never saved with it.
    node.SetSingletonTag(nodeId.removeprefix("vtkMRMLColorTableNode"))
    node.SetSaveWithScene(False)
    node.SetNumberOfColors(_COLORS)
    at = np.linspace(0, len(steps) - 1, _COLORS)
    parts = [[int(step[n : n + 2], 16) / 255 for step in steps] for n in (0, 2, 4)]
    mixed = [np.interp(at, range(len(steps)), part) for part in parts]
    for index, color in enumerate(zip(*mixed, strict=True)):
        node.SetColor(index, f"{index / (_COLORS - 1):.3f}", *map(float, color))
    return node
