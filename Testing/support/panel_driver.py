"""The module in the stand-in for Slicer, driven as a person does: for the tests of the panel."""

from __future__ import annotations

import importlib.machinery
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
from AttentionUNetSegmentLib.geometry.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
MODULE_FILE = ROOT / "AttentionUNetSegment" / "AttentionUNetSegment.py"
EFFECT_MODULE_FILE = ROOT / "AttentionUNetSegment" / "SegmentEditorAttentionUNet.py"
LONG_S = 240.0


def start_module() -> Any:
    """The module, loaded once for the process, with that of the Segment Editor effect."""
    import SlicerStandIn

    SlicerStandIn.start()
    import slicer

    if not hasattr(slicer.modules, "attentionunetsegment"):
        SlicerStandIn.loadModule(MODULE_FILE)
        _, effect_module = SlicerStandIn.loadModule(EFFECT_MODULE_FILE)
        effect_module.registerEffect()
        # Before a test changes the environment that the panel speaks of.
        slicer.modules.attentionunetsegment.widgetRepresentation()
    return slicer.modules.attentionunetsegment


def stop_module() -> None:
    """Other tests of the process are not to find themselves inside Slicer."""
    import SlicerStandIn

    SlicerStandIn.stop()


class Driver:
    """Presses, waits and looks."""

    def __init__(self, representation: Any) -> None:
        self.representation = representation

    @property
    def widget(self) -> Any:
        return self.representation.self()

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def ui(self) -> Any:
        return self.panel.ui

    @property
    def parameters(self) -> Any:
        return self.panel.parameters

    @property
    def message(self) -> str:
        return self.ui.messageLabel.text

    def pump(self, until: Any = None, timeout_s: float = LONG_S) -> bool:
        """Run the event loop until something holds; without a condition, until nothing comes."""
        from SlicerStandIn import driving

        if until is None:
            driving.settle()
            return True
        return driving.pump(until, timeout_s)

    def wait_for_answer(self) -> None:
        """To what was just done with the clicks, however quickly it comes."""
        assert self.pump(lambda: self.panel.hub.idle), self.message
        self.pump()

    def press_segment(self) -> None:
        """Press the large button, not as the second half of a double click."""
        self.panel.segmentation._pressed = float("-inf")
        self.ui.segmentButton.click()

    def segment(self) -> None:
        """Press the button and wait for the end."""
        self.press_segment()
        assert self.panel.busy, self.message
        assert self.pump(lambda: not self.panel.busy)
        self.pump()

    def choose(self, volume_node: Any) -> None:
        self.ui.inputVolumeSelector.setCurrentNode(volume_node)
        self.pump()

    def press_sample(self, category: str, name: str) -> None:
        """In the Sample Data module, press the button of a sample."""
        import qt
        import slicer

        samples = slicer.modules.sampledata.widgetRepresentation()
        (group,) = [one for one in samples.findChildren(qt.QGroupBox) if one.title == category]
        (button,) = [one for one in group.findChildren(qt.QToolButton) if one.text == name]
        button.click()
        self.pump()

    def unfold(self, name: str) -> None:
        getattr(self.ui, f"{name}CollapsibleButton").collapsed = False
        self.pump(timeout_s=0.5, until=lambda: False)


def bright_scan(
    shape: tuple[int, int, int] = (24, 48, 56),
    spacing_mm: tuple[float, float, float] = (4.0, 4.0, 6.0),
    radius_mm: float = 24.0,
) -> Volume:
    """Soft tissue in air with a bright ball in the middle: what the threshold model finds."""
    array = np.full(shape, -1000, np.int16)
    array[2:-2, 4:-4, 4:-4] = 30
    centre = (np.array(shape) - 1) / 2
    steps = (np.indices(shape).T - centre).T * np.array(spacing_mm[::-1]).reshape(3, 1, 1, 1)
    array[np.sqrt((steps**2).sum(axis=0)) < radius_mm] = 400
    matrix = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    matrix[:3, 3] = (90, 100, -40)
    return Volume(array, matrix)


def slice_centre() -> list[float]:
    """Where the slice views are, in the world."""
    import slicer

    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    return [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]


def node_count() -> int:
    import slicer

    return slicer.mrmlScene.GetNumberOfNodes()


LOOKING = "Looking for the pancreas"
STAGES = (
    "Checking the scan",
    LOOKING,
    "Segmenting the pancreas",
    "Bringing the result",
    "Bringing the attention",
)


def add_ct(driver, name="CT", volume: Volume | None = None):
    from AttentionUNetSegmentLib import scene

    node = scene.addVolumeNode(volume or bright_scan(), name)
    driver.choose(node)
    return node


def dice(mask, truth):
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def segment_mask(driver, volume_node):
    import slicer.util

    found = driver.panel.resultNodes
    return (
        slicer.util.arrayFromSegmentBinaryLabelmap(
            found.segmentationNode, found.segmentId, volume_node
        )
        > 0
    )


class Gate:
    """Holds the work at a stage until it is opened."""

    def __init__(self, monkeypatch, stage):
        from AttentionUNetSegmentLib.scene.tasks import SegmentationTask

        self.reached, self.opened = threading.Event(), threading.Event()
        compute = SegmentationTask.compute

        def held(task, cache, progress, cancel):
            def stopping(fraction, text):
                progress(fraction, text)
                if text.startswith(stage):
                    self.reached.set()
                    self.opened.wait(30)

            return compute(task, cache, stopping, cancel)

        monkeypatch.setattr(SegmentationTask, "compute", held)


def fake_extension(monkeypatch, there, answer):
    asked = []
    there["PyTorchUtils"] = True

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, torchVersionRequirement=None):  # noqa: N802, N803
            asked.append(askConfirmation)
            return answer()

    extension = types.ModuleType("PyTorchUtils")
    extension.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)
    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return asked


PAINTED = (slice(3, 6), slice(6, 10), slice(6, 10))
"""k, j, i: far from the bright ball."""


ERASED = (slice(11, 13), slice(22, 25), slice(26, 29))
"""In the middle of it."""


def paint(driver, volume_node, region, inside):
    """As the Paint effect does: one step of the editor's undo."""
    import slicer.util

    found = driver.panel.resultNodes
    mask = segment_mask(driver, volume_node).astype(np.uint8)
    mask[region] = inside
    driver.panel.correction.editor.saveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask, found.segmentationNode, found.segmentId, volume_node
    )
    driver.pump()


def click(driver, volume_node, ijk, inside=True):
    """With the panel's buttons; until it is answered."""
    import vtk
    from AttentionUNetSegmentLib import scene

    button = driver.ui.insideButton if inside else driver.ui.outsideButton
    if not button.checked:
        button.click()
    point = (scene.volumeFromNode(volume_node).ijk_to_ras @ (*ijk, 1))[:3]
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(*point))
    wait(driver)


def add_to_data_set(driver, folder):
    """Press "Add to my data set", with a new folder chosen for it already."""
    import qt
    from AttentionUNetSegmentLib.panel.correction_section import DATA_SET_KEY

    folder.mkdir()
    qt.QSettings().setValue(DATA_SET_KEY, str(folder))
    try:
        driver.panel.correction._onAddToDataSet()
    finally:
        qt.QSettings().remove(DATA_SET_KEY)


def wait(driver):
    driver.wait_for_answer()


def holds(driver, volume_node):
    mask = segment_mask(driver, volume_node)
    return bool(mask[PAINTED].all()) and not mask[ERASED].any()


NARROW = 350
