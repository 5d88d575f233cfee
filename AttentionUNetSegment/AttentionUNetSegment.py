"""The Slicer module: what Slicer loads. What it does is in AttentionUNetSegmentLib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt
import slicer
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.progress import (
    CancelToken,
    ProgressCallback,
    ignore_progress,
)
from AttentionUNetSegmentLib.inference.worker import Job
from AttentionUNetSegmentLib.panel.binding import Binding
from AttentionUNetSegmentLib.panel.session_hub import sessionHub
from AttentionUNetSegmentLib.scene.results import SceneResult
from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions, SegmentationTask
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if TYPE_CHECKING:
    from AttentionUNetSegmentLib.panel.parameter_node import AttentionUNetSegmentParameterNode


class AttentionUNetSegment(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Attention U-Net Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Markups"]
        self.parent.contributors = ["The AttentionUNetSegment maintainers"]
        self.parent.helpText = _(
            "Segments the pancreas in abdominal CT with an Attention U-Net, and shows where the "
            "network looked. Choose a CT, press <b>Segment pancreas</b>, and correct by clicks or "
            "by hand. For research; not a medical device."
        )
        self.parent.acknowledgementText = _(
            "The method is that of Oktay et al. 2018, Attention U-Net: Learning Where to Look for "
            "the Pancreas (arXiv 1804.03999)."
        )
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self) -> None:
        """Add our scans to the Sample Data module."""
        from AttentionUNetSegmentLib.panel.sample_data import registerSampleData

        registerSampleData(self.resourcePath)


class AttentionUNetSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in the life of the application: made, entered, left, reloaded, scenes changed."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: AttentionUNetSegmentLogic | None = None
        self.panel: Any = None
        self._binding: Binding | None = None

    def setup(self) -> None:
        """Make the panel; called when it is opened for the first time."""
        from AttentionUNetSegmentLib.panel.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AttentionUNetSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AttentionUNetSegmentLogic()
        self.panel = Panel(self.ui, self.logic, self.logic.hub, self.resourcePath)
        scene, events = slicer.mrmlScene, slicer.vtkMRMLScene
        for name in ("Close", "Import", "Restore"):
            self.addObserver(scene, getattr(events, f"Start{name}Event"), self.onSceneChangeStarts)
            self.addObserver(scene, getattr(events, f"End{name}Event"), self.onSceneChangeEnds)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Let go of everything: the module is reloaded, or the application quits."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()
            self.panel = None
        self._disconnectControls()
        if self.logic is not None:
            self.logic.stop()

    def enter(self) -> None:
        """The user opens the module."""
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self) -> None:
        """The user opens another module."""
        self.panel.exit()

    def onSceneChangeStarts(self, caller: Any = None, event: Any = None) -> None:
        """The scene is being closed or loaded: touch nothing meanwhile."""
        self._disconnectControls()
        if not slicer.mrmlScene.IsClosing():
            self.panel.cancel()  # not without a word: the volume is still there
        self.panel.setParameters(None)
        self.logic.releaseParameterNode()

    def onSceneChangeEnds(self, caller: Any = None, event: Any = None) -> None:
        """The scene is another one: show its state, once all selectors have heard of it too."""
        qt.QTimer.singleShot(0, self.initializeParameterNode)

    def initializeParameterNode(self) -> None:
        """Bind the controls to the scene's parameter node; does nothing where they are bound."""
        if self.panel is None:  # the module was reloaded meanwhile
            return
        parameters = self.logic.getParameterNode()
        if self._binding is None or self._binding.parameters is not parameters:
            self._disconnectControls()
            self._binding = Binding(parameters, self.ui)
        if self.panel.parameters is not parameters:
            self.panel.setParameters(parameters)

    def _disconnectControls(self) -> None:
        if self._binding is not None:
            self._binding.release()
            self._binding = None


class AttentionUNetSegmentLogic(ScriptedLoadableModuleLogic):
    """Segments volumes, with or without the panel.

    >>> logic = AttentionUNetSegmentLogic()
    >>> result = logic.segment(slicer.util.getNode("CT*"))
    >>> print(result.prediction.volume_ml, result.segmentationNode.GetName())

    The networks stay loaded for the next volume; the panel and the Segment Editor effect use the
    same ones.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.hub = sessionHub()
        self._parameters: AttentionUNetSegmentParameterNode | None = None

    def getParameterNode(self) -> AttentionUNetSegmentParameterNode:
        """The scene's parameters; the same object as long as their node is the same."""
        # Names classes of other modules, which need not be there when this file is imported.
        from AttentionUNetSegmentLib.panel.parameter_node import AttentionUNetSegmentParameterNode

        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = AttentionUNetSegmentParameterNode(node)
        return self._parameters

    def releaseParameterNode(self) -> None:
        """Read the parameters anew when they are asked for next: the scene becomes another one,
        and what they remember of the nodes of this one is no longer so."""
        self._parameters = None

    def segment(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        clicks: Sequence[Click] = (),
        segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
        roiNode: slicer.vtkMRMLMarkupsROINode | None = None,
        options: SegmentationOptions | None = None,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
    ) -> SceneResult:
        """Segment a CT and write the result into its scene; returns when that is done.

        Args:
            volumeNode: a CT in Hounsfield units.
            clicks: points inside and outside the organ, in the world.
            segmentationNode: gets the segment; the last one used for this volume, or a new one,
                unless given.
            roiNode: look for the organ in this box only.
            options: model, device, precision and what is made.
            progress: told the fraction done and what is being done.
            cancel: ends it from another thread.

        Raises:
            AttentionUNetSegmentError: it cannot be done, for the reason that its message gives;
                the scene is as it was.
        """
        task = SegmentationTask(volumeNode, clicks, segmentationNode, roiNode, options)
        return task.write(task.compute(self.hub.cache, progress, cancel))

    def describeDevices(self) -> Job[list[str]]:
        """The devices and their free memory, found out in the worker thread."""
        from AttentionUNetSegmentLib.inference.device_report import device_report

        return self.hub.polling.run(lambda progress, cancel: device_report())

    def stop(self) -> None:
        """Cancel what is running; the worker thread ends when it has noticed."""
        self.hub.worker.stop()
        self.hub.polling.giveTime()


class AttentionUNetSegmentTest(ScriptedLoadableModuleTest):
    """The main job, on a scan that is drawn on the spot."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_SegmentSyntheticAbdomen()

    def test_SegmentSyntheticAbdomen(self) -> None:
        """The pancreas of the synthetic abdomen is found where it was drawn."""
        from AttentionUNetSegmentLib.panel.installation import installed
        from AttentionUNetSegmentLib.scene import addVolumeNode
        from AttentionUNetSegmentLib.synthetic import ORGAN_LABELS, synthetic_abdomen

        if not (installed("torch") and installed("safetensors")):
            self.delayDisplay("PyTorch or safetensors is not installed: nothing to test")
            return
        self.delayDisplay("Drawing a synthetic abdomen")
        abdomen = synthetic_abdomen(seed=3, spacing_mm=(2.5, 2.5, 4.0))
        volumeNode = addVolumeNode(abdomen.ct, "Synthetic abdomen (not a patient)")
        self.delayDisplay("Segmenting")
        result = AttentionUNetSegmentLogic().segment(volumeNode)
        truth = abdomen.labels.array == ORGAN_LABELS["pancreas"]
        mask = result.prediction.mask != 0
        dice = 2 * (truth & mask).sum() / (truth.sum() + mask.sum())
        assert dice > 0.5, f"Dice {dice:.2f}"
        assert len(result.attentionNodes) == result.prediction.levels
        segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
        assert segment.GetName() == "Pancreas"
        self.delayDisplay(f"Test passed: Dice {dice:.2f}")
