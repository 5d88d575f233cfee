"""The panel as a whole: its sections, and what they share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError, Cancelled, InputError
from ..scene.found import FoundResult, findResult
from ..scene.segments import PANCREAS
from ..scene.surface import setSurfaceSmoothing
from ..scene.tasks import SegmentationOptions, SegmentationTask, newSegmentation
from . import installation
from .advanced_section import AdvancedSection
from .attention_section import AttentionSection
from .clicks_section import ClicksSection
from .correction_section import CorrectionSection
from .input_section import InputSection
from .result_section import ResultSection
from .runner import Runner
from .segment_section import SegmentSection
from .slice_views import SliceViews

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from .parameter_node import AttentionUNetSegmentParameterNode

_log = logging.getLogger("AttentionUNetSegment")


class Panel:
    """Ties the sections to one parameter node and to the scene, and runs the segmentation.

    Args:
        ui: the controls of the .ui file by name.
        logic: does the work (``start``, ``describeDevices``).
        resourcePath: path of a file in the module's Resources folder.
    """

    def __init__(self, ui: Any, logic: Any, resourcePath: Callable[[str], str]) -> None:
        self.ui = ui
        self.logic = logic
        self.resourcePath = resourcePath
        self.parameters: AttentionUNetSegmentParameterNode | None = None
        self.found: FoundResult | None = None
        self.views = SliceViews()
        self.runner = Runner(logic.start, self._onProgress, self._onDone, self._onFailed)
        self._observed: list[tuple[Any, int]] = []
        self._volumeId: str | None = None
        self._updating = False
        self._entered = False
        self.input = InputSection(self)
        self.segmentation = SegmentSection(self)
        self.clicks = ClicksSection(self)
        self.attention = AttentionSection(self)
        self.result = ResultSection(self)
        self.correction = CorrectionSection(self)
        self.advanced = AdvancedSection(self)
        self.sections = (
            self.input,
            self.segmentation,
            self.clicks,
            self.attention,
            self.result,
            self.correction,
            self.advanced,
        )
        self._updateTimer: Any = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(0)
        self._updateTimer.timeout.connect(self.update)

    # State

    @property
    def busy(self) -> bool:
        return self.runner.busy

    @property
    def volumeNode(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        return self.parameters.inputVolume if self.parameters is not None else None

    @property
    def volumeId(self) -> str | None:
        """ID of the input volume, also while a loaded scene has not resolved it to a node yet."""
        if self.parameters is None:
            return None
        node = self.parameters.parameterNode  # type: ignore[attr-defined]
        return node.GetNodeReferenceID("inputVolume") or None

    @property
    def hasSegment(self) -> bool:
        return self.found is not None and self.found.segmentId is not None

    # Life

    def setParameters(self, parameters: AttentionUNetSegmentParameterNode | None) -> None:
        """Follow another parameter node; none while the scene is being closed."""
        self.cancel(silently=True)
        self._stopObserving()
        self._updateTimer.stop()
        self.parameters = parameters
        self.found = None
        for section in self.sections:
            section.parametersChanged()
        if parameters is None:
            self._volumeId = None
            self.update()
            return
        self._volumeId = self.volumeId
        # After the volume's ID is known: a loaded scene is not taken for a change of the volume.
        node = parameters.parameterNode  # type: ignore[attr-defined]
        self._observe(node, vtk.vtkCommand.ModifiedEvent, self._onParameters)
        scene = slicer.mrmlScene
        self._observe(scene, slicer.vtkMRMLScene.NodeAddedEvent, self._onSceneChanged)
        self._observe(scene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onSceneChanged)
        self.input.preselect()
        self.update()

    def enter(self) -> None:
        self._entered = True
        self.input.preselect()
        for section in self.sections:
            section.enter()
        self.update()

    def exit(self) -> None:
        self._entered = False
        for section in self.sections:
            section.exit()

    def cleanup(self) -> None:
        """Stop all that is running and let go of the scene."""
        self.setParameters(None)
        self._updateTimer.stop()
        for section in self.sections:
            section.cleanup()

    def update(self) -> None:
        """Bring all controls in line with the parameters and the scene."""
        if self._updating:
            return
        self._updating = True
        try:
            volumeNode = self.volumeNode
            self.found = None
            if volumeNode is not None and self.parameters is not None:
                self.found = findResult(volumeNode, PANCREAS, self.parameters.segmentation)
            for section in self.sections:
                section.update()
        finally:
            self._updating = False

    # Work

    def segment(self, automatic: bool = False) -> None:
        """Start segmenting; what cannot be done is said in the panel.

        Args:
            automatic: after a click, not by the button: asks no questions.
        """
        if automatic and not installation.packagesInstalled():
            return
        self.segmentation.showMessage("")
        try:
            if not automatic:
                installation.ensurePackages(self.resourcePath("requirements.txt"))
            task = self._task()
        except AttentionUNetSegmentError as error:
            self.complain(error)
            return
        self.runner.start(task)
        self.update()

    def cancel(self, silently: bool = False) -> None:
        """Stop the running segmentation; the scene stays as it was."""
        if not self.runner.cancel():
            return
        if not silently:
            self.say(_("Cancelled; nothing was changed."))
        self.update()

    def installTorch(self) -> None:
        """Install what is missing, after a question."""
        try:
            installation.ensurePackages(self.resourcePath("requirements.txt"))
        except AttentionUNetSegmentError as error:
            self.complain(error)
        else:
            self.say(_("PyTorch is ready."))
        self.update()

    def say(self, text: str, kind: str = "note") -> None:
        """Tell the user something, in the panel and in its log."""
        self.segmentation.showMessage(text, kind)
        self.advanced.log(text)

    def complain(self, error: BaseException) -> None:
        """Show an error as one sentence; the details go to the application's error log."""
        if isinstance(error, Cancelled):
            self.say(_("Cancelled; nothing was changed."))
            return
        if isinstance(error, AttentionUNetSegmentError):
            _log.warning("%s", error, exc_info=error)
            self.say(str(error), "error")
            return
        _log.error("Unexpected error", exc_info=error)
        if isinstance(error, MemoryError):
            text = _("There is not enough memory; close other scans, or choose a region.")
        else:
            text = _("Something unexpected went wrong ({kind}); the error log has the details.")
            text = text.format(kind=type(error).__name__)
        self.say(text, "error")

    def _task(self) -> SegmentationTask:
        parameters, volumeNode = self.parameters, self.volumeNode
        if parameters is None or volumeNode is None:
            raise InputError(
                _(
                    "There is no volume to segment: load an abdominal CT (or one from the Sample "
                    "Data module) and choose it as the volume."
                )
            )
        options = SegmentationOptions(
            model=parameters.model,
            device=parameters.device.value,
            precision=parameters.precision.value,
            tileVoxels=parameters.tileSide**3,
            keepProbability=parameters.keepProbability,
            standardTerminology=parameters.standardTerminology,
        )
        return SegmentationTask(
            volumeNode, self.clicks.clicks, parameters.segmentation, parameters.roi, options
        )

    def _onProgress(self, fraction: float, text: str, left_s: float | None) -> None:
        self.segmentation.showProgress(fraction, text, left_s)

    def _onFailed(self, error: BaseException) -> None:
        self.complain(error)
        self.update()

    def _onDone(self, task: SegmentationTask, prediction: Prediction, elapsed_s: float) -> None:
        parameters = self.parameters
        if parameters is None:
            return
        created = self._newSegmentationIfWanted(task)
        try:
            result = task.write(prediction)
        # A failure to write must not leave the panel half updated.
        except Exception as error:
            if created is not None:
                slicer.mrmlScene.RemoveNode(created)
            self._onFailed(error)
            return
        if parameters.segmentation is not result.segmentationNode:
            setSurfaceSmoothing(result.segmentationNode, parameters.surfaceSmoothing)
        with slicer.util.NodeModify(parameters):
            parameters.segmentation = result.segmentationNode
            parameters.summary = _summary(prediction, elapsed_s)
        self.advanced.log(parameters.summary)
        for step, seconds in prediction.timings_s.items():
            _log.info("%s: %.2f s", step, seconds)
        if prediction.warnings:
            self.say("\n".join(prediction.warnings), "warning")
        self.views.showVolume(task.volumeNode)
        if prediction.found and not task.clicks:
            self.views.jumpTo(_centre(prediction))
        self.update()
        self.advanced.askDevices()

    def _newSegmentationIfWanted(
        self, task: SegmentationTask
    ) -> slicer.vtkMRMLSegmentationNode | None:
        """The user asked for a new segmentation although the volume has one already."""
        if task.segmentationNode is not None or task.volumeNode.GetScene() is None:
            return None
        if findResult(task.volumeNode, task.label).segmentationNode is None:
            return None
        name = f"{task.volumeNode.GetName()} {task.label.name} segmentation"
        task.segmentationNode = newSegmentation(task.volumeNode, name)
        return task.segmentationNode

    # Events

    def _observe(self, observed: Any, event: Any, function: Callable[..., None]) -> None:
        self._observed.append((observed, observed.AddObserver(event, function)))

    def _stopObserving(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _onParameters(self, _node: vtk.vtkObject, _event: str) -> None:
        if self._updating or self.parameters is None:
            return
        if self.volumeId != self._volumeId:
            self._volumeId = self.volumeId
            self._onVolumeChanged()
        self._updateTimer.start()

    def _onVolumeChanged(self) -> None:
        """Another volume: its own result and clicks, or none."""
        volumeNode, parameters = self.volumeNode, self.parameters
        if parameters is None:
            return
        if self.busy:  # its selector is disabled then: something else removed or replaced it
            self._stopVolumeGone()
        else:
            self.segmentation.showMessage("")
        with slicer.util.NodeModify(parameters):
            parameters.summary = ""
            parameters.segmentation = (
                findResult(volumeNode).segmentationNode if volumeNode is not None else None
            )
            self.clicks.volumeChanged()

    def _onSceneChanged(self, _scene: vtk.vtkObject, _event: str) -> None:
        task = self.runner.task
        if task is not None and task.volumeNode.GetScene() is not slicer.mrmlScene:
            self._stopVolumeGone()
        self._updateTimer.start()

    def _stopVolumeGone(self) -> None:
        self.cancel(silently=True)
        self.complain(
            InputError(_("The volume was removed while it was being segmented; stopped."))
        )


def _summary(prediction: Prediction, elapsed_s: float) -> str:
    if not prediction.found:
        return _("No pancreas found ({seconds:.1f} s on {device})").format(
            seconds=elapsed_s, device=prediction.device
        )
    return _("Pancreas: {volume:.1f} mL, in {seconds:.1f} s on {device}").format(
        volume=prediction.volume_ml, seconds=elapsed_s, device=prediction.device
    )


def _centre(prediction: Prediction) -> tuple[float, float, float]:
    """The middle of the region that was looked at closely, in the world."""
    k, j, i = ((part.start + part.stop - 1) / 2 for part in prediction.region)
    r, a, s = (prediction.volume.ijk_to_ras @ (i, j, k, 1))[:3]
    return float(r), float(a), float(s)
