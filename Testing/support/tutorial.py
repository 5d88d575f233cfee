"""The tutorial of the README, step by step, as a person does it in the module's panel.

``make_screenshots.py`` runs it for the pictures, ``test_tutorial.py`` to see that each step works.
The scan is the synthetic abdomen of the Sample Data module, so its true pancreas is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CATEGORY, SAMPLE = "AttentionUNetSegment", "SyntheticAbdomen"
ERASED_MM = 9.0
SECTIONS = ("input", "segment", "clicks", "attention", "result", "correction", "advanced")


class Tutorial:
    """Each step is a method; they are taken in the order of ``STEPS``.

    Args:
        driver: presses, waits and looks.
    """

    STEPS = ("load", "segment", "attention", "click", "correct", "export")

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.volumeNode: Any = None
        self.clicked: tuple[np.ndarray, bool] | None = None
        """The voxel (k, j, i) of the click, and whether it was made with "Inside"."""

    def load(self) -> None:
        """Sample Data, the button "SyntheticAbdomen"; then the module, which chooses the scan."""
        import slicer
        import slicer.util

        slicer.app.startupCompleted.emit()
        before = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        self.driver.representation.exit()
        self.driver.press_sample(CATEGORY, SAMPLE)
        after = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        (self.volumeNode,) = [node for node in after if node not in before]
        self.driver.representation.enter()
        self.driver.pump()

    def segment(self) -> None:
        """Press "Segment pancreas"; then "Show 3D"."""
        import slicer.util

        self.driver.segment()
        self.driver.panel.resultNodes.segmentationNode.CreateClosedSurfaceRepresentation()
        slicer.util.resetThreeDViews()
        self.look_at(self.mask())

    def attention(self) -> None:
        """Open the eye of level 3."""
        self.unfold("segment", "attention", "result")
        self.eye(3).click()
        self.driver.pump()

    def click(self) -> None:
        """Close the eye; press "Inside" or "Outside", and click where the network is wrong."""
        import slicer
        import vtk

        self.eye(3).click()
        self.unfold("segment", "clicks", "result")
        self.clicked = voxel, inside = self.worst_error()
        ui = self.driver.ui
        (ui.insideButton if inside else ui.outsideButton).click()
        self.driver.pump()
        point = vtk.vtkVector3d(*self.position(voxel))
        self.driver.parameters.clicks.AddControlPointWorld(point)
        assert self.driver.pump(lambda: self.driver.panel.busy, 20), self.driver.message
        assert self.driver.pump(lambda: not self.driver.panel.busy)
        slicer.modules.markups.logic().JumpSlicesToLocation(*point, True)
        self.rest()

    def correct(self) -> None:
        """Unfold "Correct by hand" and erase what is too much, here a ball at the lower end."""
        import slicer.util

        self.unfold("segment", "correction")
        mask = self.mask()
        found = np.argwhere(mask)
        end = found[found[:, 0].argmin()]
        spacing = np.array(self.volumeNode.GetSpacing())[::-1]
        distance = np.sqrt((((np.indices(mask.shape).T - end) * spacing) ** 2).sum(axis=-1)).T
        mask[distance < ERASED_MM] = False
        node = self.driver.panel.resultNodes
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), node.segmentationNode, node.segmentId, self.volumeNode
        )
        node.segmentationNode.CreateClosedSurfaceRepresentation()
        self.look_at(mask & (distance < 1.5 * ERASED_MM))
        self.rest()

    def export(self, path: Path) -> None:
        """Result, Export, "NIfTI", and choose a file."""
        import qt

        self.unfold("segment", "result")
        original = qt.QFileDialog.getSaveFileName
        qt.QFileDialog.getSaveFileName = staticmethod(lambda *_arguments: str(path))
        try:
            self.driver.ui.exportNiftiButton.click()
        finally:
            qt.QFileDialog.getSaveFileName = original
        self.rest()

    def mask(self) -> np.ndarray:
        """The segment as it is now: boolean (k, j, i) on the scan's grid."""
        import slicer.util

        found = self.driver.panel.resultNodes
        labels = slicer.util.arrayFromSegmentBinaryLabelmap(
            found.segmentationNode, found.segmentId, self.volumeNode
        )
        return labels > 0

    def truth(self) -> np.ndarray:
        """The pancreas that was drawn: boolean (k, j, i)."""
        from AttentionUNetSegmentLib import synthetic
        from AttentionUNetSegmentLib.panel.sample_data import SYNTHETIC_SEED

        labels = synthetic.synthetic_abdomen(SYNTHETIC_SEED).labels.array
        return labels == synthetic.ORGAN_LABELS["pancreas"]

    def worst_error(self) -> tuple[np.ndarray, bool]:
        """The middle (k, j, i) of the largest error, and whether it should be inside."""
        from scipy import ndimage

        truth = self.truth()
        wrong = truth != self.mask()
        depth = ndimage.distance_transform_edt(wrong, self.volumeNode.GetSpacing()[::-1])
        voxel = np.array(np.unravel_index(depth.argmax(), depth.shape))
        return voxel, bool(truth[tuple(voxel)])

    def position(self, voxel: np.ndarray) -> tuple[float, float, float]:
        """The place of a voxel (k, j, i) in the world."""
        from AttentionUNetSegmentLib import scene

        matrix = scene.volumeFromNode(self.volumeNode).ijk_to_ras
        return tuple((matrix @ [*voxel[::-1], 1.0])[:3])

    def look_at(self, region: np.ndarray) -> None:
        """Move the slice views to the middle of a region (k, j, i)."""
        from AttentionUNetSegmentLib.panel.slice_views import SliceViews

        SliceViews().jumpTo(self.position(np.argwhere(region).mean(axis=0)))
        self.driver.pump()

    def eye(self, level: int) -> Any:
        """The button that shows a level's attention."""
        return self.driver.panel.attention.eyes[level]

    def unfold(self, *names: str) -> None:
        """Unfold these sections of the panel and fold the others."""
        for name in SECTIONS:
            getattr(self.driver.ui, f"{name}CollapsibleButton").collapsed = name not in names
        self.rest()

    def rest(self) -> None:
        """Let the panel do what it puts off while there is work, such as measuring."""
        self.driver.pump(timeout_s=0.6, until=lambda: False)
