"""The colour tables that are added outside Slicer are those that Slicer has."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from AttentionUNetSegmentLib import scene as scene_package
from AttentionUNetSegmentLib.scene.colors import INFERNO, VIRIDIS, colorName, ensureColors


@pytest.mark.parametrize("node_id", [INFERNO, VIRIDIS])
def test_a_table_is_nearly_the_published_one(node_id: str) -> None:
    with scene_package.headlessScene() as scene:
        node = scene.GetNodeByID(node_id)
        ours = np.array([node.GetLookupTable().GetTableValue(index) for index in range(256)])
        published = matplotlib.colormaps[colorName(node_id).lower()](np.arange(256))
        assert np.abs(ours - published).max() < 0.04
        assert node.GetSaveWithScene() == 0


def test_there_is_one_of_each() -> None:
    with scene_package.headlessScene() as scene:
        before = scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")
        ensureColors(scene)
        assert scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == before
