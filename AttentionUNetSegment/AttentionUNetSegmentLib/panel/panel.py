"""The panel as a whole: its sections, and what they share."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError, Cancelled, InputError
from ..inference.structures import (
    require_any_structure,
    says_experimental,
    structure_label,
)
from ..models import Label
from ..scene.corrections import corrections
from ..scene.editing import WriteOutcome
from ..scene.find_result import ResultNodes, findResult
from ..scene.segments import (
    addStructure,
    asTitle,
    claimSegment,
    claimStructure,
    findSegment,
    findStructures,
    isStructure,
    structureLabel,
)
from ..scene.start import requireStart
from ..scene.statistics import segmentVolumeMl
from ..scene.tasks import newSegmentation
from ..scene.volumes import ijkToRas
from . import installation
from .advanced_section import AdvancedSection
from .attention_section import AttentionSection
from .begin_section import BeginSection
from .clicks_section import ClicksSection
from .correction_section import CorrectionSection
from .error_text import inOneSentence, logError
from .estimate_text import estimateText
from .input_section import InputSection
from .result_section import ResultSection
from .segment_section import SegmentSection
from .session_hub import FinishedSegmentation, HubListener, Request, SessionHub
from .slice_views import SliceViews
from .target import isOfTarget, organName, targetLabels
from .volume_session import VolumeSession

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from .parameter_node import AttentionUNetSegmentParameterNode

_log = logging.getLogger("AttentionUNetSegment")

INSTALLING_MS = 1000
LEAST_CHANGE_ML = 0.05
MEASURE_MS = 300
"""Painting changes a segment many times a second; measuring can wait until it rests."""
ABOUT_TO_BE_REMOVED_PRIORITY = 10.0
"""Before the selectors, which would choose another volume in place of one that goes."""


class Panel(HubListener):
    """Ties the sections to one parameter node and to the scene, and has the hub segment.

    Args:
        ui: the controls of the .ui file by name.
        logic: finds out about the devices (``describeDevices``).
        hub: shared with the Segment Editor effect.
        resourcePath: path of a file in the module's Resources folder.
    """

    def __init__(
        self, ui: Any, logic: Any, hub: SessionHub, resourcePath: Callable[[str], str]
    ) -> None:
        self.ui = ui
        self.logic = logic
        self.resourcePath = resourcePath
        self.parameters: AttentionUNetSegmentParameterNode | None = None
        self.resultNodes: ResultNodes | None = None
        self.views = SliceViews()
        self.hub = hub
        self._observed: list[tuple[Any, int]] = []
        self._volumeId: str | None = None
        self._organBefore = ("", "")
        self._updating = False
        self._labels: tuple[str, tuple[Label, ...]] | None = None
        self.entered = False
        self.input = InputSection(self)
        self.segmentation = SegmentSection(self)
        self.begin = BeginSection(self)
        self.clicks = ClicksSection(self)
        self.attention = AttentionSection(self)
        self.result = ResultSection(self)
        self.correction = CorrectionSection(self)
        self.advanced = AdvancedSection(self)
        self.sections = (
            self.input,
            self.segmentation,
            self.begin,
            self.clicks,
            self.attention,
            self.result,
            self.correction,
            self.advanced,
        )
        self._updateTimer: Any = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(0)
        self._updateTimer.timeout.connect(self._onIdle)
        self._loaded: list[str] = []
        self._volumes_ml: dict[tuple[str, str], float] = {}
        self._told: list[tuple[Any, str]] | None = None
        """The segments that the line below the button tells of; None before the first look at a
        scene, whose line was saved with it."""
        self._volumeTimer: Any = qt.QTimer()
        self._volumeTimer.setSingleShot(True)
        self._volumeTimer.setInterval(MEASURE_MS)
        self._volumeTimer.timeout.connect(self._measureVolume)
        self.hub.addListener(self)

    # State

    @property
    def busy(self) -> bool:
        return self.hub.busy

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
    def session(self) -> VolumeSession | None:
        """The clicks on the volume; shared with the Segment Editor effect."""
        volumeNode = self.volumeNode
        return self.hub.session(volumeNode) if volumeNode is not None else None

    @property
    def labels(self) -> tuple[Label, ...]:
        """All that the chosen model outlines, the organ that it is named after first; none where
        its card cannot be read."""
        if self.parameters is None:
            return ()
        # An update asks many times, and each time the card is looked for on disk.
        model = self.parameters.model
        if not self._updating or self._labels is None or self._labels[0] != model:
            self._labels = model, targetLabels(model)
        return self._labels[1]

    @property
    def label(self) -> Label | None:
        """The first of them."""
        return self.labels[0] if self.labels else None

    @property
    def target(self) -> Label | None:
        """The one that clicks and corrections are about."""
        chosen = self.parameters.target if self.parameters is not None else ""
        return next((label for label in self.labels if label.name == chosen), self.label)

    @property
    def structures(self) -> list[tuple[Label, str]]:
        """The segments of any structure that the volume has beside them, and their IDs."""
        volumeNode, parameters = self.volumeNode, self.parameters
        node = parameters.segmentation if parameters is not None else None
        if node is None and self.resultNodes is not None:
            node = self.resultNodes.segmentationNode
        if node is None or volumeNode is None or node.GetScene() is None:
            return []
        return [(structureLabel(node, its), its) for its in findStructures(node, volumeNode)]

    @property
    def structure(self) -> Label | None:
        """The one of them that clicks and corrections are about; None where that is the target."""
        chosen = self.parameters.structure if self.parameters is not None else ""
        return next((label for label, its in self.structures if its == chosen), None)

    @property
    def segments(self) -> list[tuple[Label, str]]:
        """The segments of all targets that the volume has, and their IDs."""
        nodes, volumeNode = self.resultNodes, self.volumeNode
        if nodes is None or nodes.segmentationNode is None or volumeNode is None:
            return []
        found = [
            (label, findSegment(nodes.segmentationNode, volumeNode, label)) for label in self.labels
        ]
        return [(label, segmentId) for label, segmentId in found if segmentId is not None]

    @property
    def allSegments(self) -> list[tuple[Label, str]]:
        """Of targets and structures."""
        return [*self.segments, *self.structures]

    @property
    def hasSegment(self) -> bool:
        return self.resultNodes is not None and self.resultNodes.segmentId is not None

    # Life

    def setParameters(self, parameters: AttentionUNetSegmentParameterNode | None) -> None:
        """Follow another parameter node; none while the scene is being closed."""
        self.cancel(silently=True)
        self._stopObserving()
        self._updateTimer.stop()
        self._volumeTimer.stop()
        self._loaded.clear()
        self._volumes_ml, self._told = {}, None
        self.parameters = parameters
        self.resultNodes = None
        for section in self.sections:
            section.parametersChanged()
        if parameters is None:
            self._volumeId = None
            self.update()
            return
        self._volumeId, self._organBefore = self.volumeId, self._organs
        # After the volume's ID is known: a loaded scene is not taken for a change of the volume.
        node = parameters.parameterNode  # type: ignore[attr-defined]
        self._observe(node, vtk.vtkCommand.ModifiedEvent, self._onParameters)
        scene = slicer.mrmlScene
        events = slicer.vtkMRMLScene
        self._observe(scene, events.NodeAddedEvent, self._onNodeAdded)
        self._observe(
            scene,
            events.NodeAboutToBeRemovedEvent,
            self._onNodeAboutToBeRemoved,
            ABOUT_TO_BE_REMOVED_PRIORITY,
        )
        self._observe(scene, events.NodeRemovedEvent, self._onSceneChanged)
        self.input.preselect()
        self.update()
        self._prepare()

    def enter(self) -> None:
        self.entered = True
        self.input.preselect()
        for section in self.sections:
            section.enter()
        self.update()
        self._prepare()

    def exit(self) -> None:
        self.entered = False
        for section in self.sections:
            section.exit()

    def cleanup(self) -> None:
        """Stop all that is running and let go of the scene."""
        self.setParameters(None)
        self.hub.removeListener(self)
        self._updateTimer.stop()
        self._volumeTimer.stop()
        for section in self.sections:
            section.cleanup()

    def update(self) -> None:
        """Bring all controls in line with the parameters and the scene."""
        if self._updating:
            return
        self._updating, self._labels = True, None
        try:
            volumeNode, label = self.volumeNode, self.label
            self.resultNodes = None
            if volumeNode is not None and label is not None and self.parameters is not None:
                self.resultNodes = self._findResult(volumeNode, label)
                self._updateTarget(volumeNode, self.resultNodes)
            self._updateTold()
            for section in self.sections:
                section.update()
        finally:
            self._updating = False

    def _updateTold(self) -> None:
        """The line below the button is about segments that are there no more, or about others than
        the panel's now: measure them."""
        node = self.resultNodes.segmentationNode if self.resultNodes is not None else None
        told = [(node, segmentId) for _label, segmentId in self.allSegments]
        if self._told is not None and told != self._told:
            self._volumeTimer.start()
        self._told = told

    def updateSoon(self) -> None:
        """When the application is idle: several things may change at once."""
        self._updateTimer.start()

    # Work

    def segment(self) -> None:
        """Look for the organ in the whole scan; what cannot be done is said in the panel."""
        self.segmentation.showMessage("")
        try:
            installation.ensurePackages(self.resourcePath("requirements.txt"))
            self._leaveStructure()
            self.hub.request(self._request(whole=True))
        except AttentionUNetSegmentError as error:
            self.showError(error)

    def beginFrom(
        self,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        structure: bool = False,
    ) -> bool:
        """Take a segment as it is, for clicks to mend; what cannot be done is said in the panel.

        Args:
            structure: it is none of the model's targets, but any structure, of its name. One that
                is a structure, or the target, stays that.

        Returns:
            Whether it has begun.
        """
        self.segmentation.showMessage("")
        try:
            installation.ensurePackages(self.resourcePath("requirements.txt"))
            request = dataclasses.replace(
                self._request(whole=False), segmentationNode=segmentationNode, segmentId=segmentId
            )
            requireStart(segmentationNode, segmentId, request.volumeNode)
            label, parameters = self.target, self.parameters
            card = self.hub.card(request)
            assert label is not None
            assert parameters is not None
            if structure:
                structure = not isOfTarget(segmentationNode, segmentId, parameters.model)
            structure = structure or isStructure(segmentationNode, segmentId)
            # Now, so that the editor shows it, whose undo step it is going to be.
            if structure:
                require_any_structure(card)
                claimStructure(segmentationNode, segmentId, request.volumeNode)
            else:
                claimSegment(segmentationNode, segmentId, request.volumeNode, label)
            with slicer.util.NodeModify(parameters):
                parameters.segmentation = segmentationNode
                parameters.structure = segmentId if structure else ""
            self.update()
            self.hub.begin(request, structure)
        except AttentionUNetSegmentError as error:
            self.showError(error)
            return False
        return True

    def beginStructure(self, name: str) -> bool:
        """Add an empty segment of any structure, for clicks to fill; or have the model look for it,
        where its networks have a label of that name. What cannot be done is said in the panel.

        Returns:
            Whether it is there.
        """
        volumeNode, parameters, nodes = self.volumeNode, self.parameters, self.resultNodes
        if volumeNode is None or parameters is None:
            return False
        self.segmentation.showMessage("")
        node = parameters.segmentation or (nodes.segmentationNode if nodes is not None else None)
        try:
            installation.ensurePackages(self.resourcePath("requirements.txt"))
            structure_label(name)  # or refuse it, before there is a segmentation
            if node is None:
                node = newSegmentation(volumeNode, f"{volumeNode.GetName()} segmentation")
            segmentId = addStructure(
                node, volumeNode, name, lambda: self.hub.saveStateForUndo(node)
            )
        except AttentionUNetSegmentError as error:
            self.showError(error)
            return False
        self.cancel(silently=True)
        with slicer.util.NodeModify(parameters):
            parameters.segmentation = node
            parameters.structure = segmentId
        self.hub.session(volumeNode).begin(node, segmentId)
        self.update()
        request = self._request(whole=False)
        try:
            if self.hub.looksFor(request):
                self.hub.request(request)
        except AttentionUNetSegmentError as error:
            self.showError(error)
        return True

    def _leaveStructure(self) -> None:
        """What the model looks for is the target."""
        if self.parameters is not None and self.parameters.structure:
            self.parameters.structure = ""
            self.update()

    def cancel(self, silently: bool = False) -> None:
        """Stop the running segmentation; the scene stays as it was."""
        if self.hub.cancel() and not silently:
            self.say(_("Cancelled; nothing was changed."))

    def installTorch(self) -> None:
        """Install what is missing, after a question; the application waits for it."""
        began = time.monotonic()

        def sayHowLong() -> None:
            self.segmentation.showMessage(
                _(
                    "Installing; the application waits for it ({seconds:.0f} s). The Python "
                    "console shows what is being done."
                ).format(seconds=time.monotonic() - began)
            )

        # Whenever pip says something the application draws itself.
        timer: Any = qt.QTimer()
        timer.setInterval(INSTALLING_MS)
        timer.timeout.connect(sayHowLong)
        sayHowLong()
        timer.start()
        slicer.app.processEvents()
        try:
            installation.ensurePackages(self.resourcePath("requirements.txt"))
        except AttentionUNetSegmentError as error:
            self.showError(error)
        else:
            self.say(_("PyTorch is ready."))
        finally:
            timer.stop()
        self.update()

    def say(self, text: str, kind: str = "note") -> None:
        """Tell the user something, in the panel and in its log."""
        self.segmentation.showMessage(text, kind)
        self.advanced.log(text)

    def showError(self, error: BaseException) -> None:
        """Show an error as one sentence; the details go to the application's error log."""
        if isinstance(error, Cancelled):
            self.say(_("Cancelled; nothing was changed."))
            return
        logError(error)
        self.say(inOneSentence(error), "error")

    def _request(self, whole: bool) -> Request:
        parameters, volumeNode = self.parameters, self.volumeNode
        if parameters is None or volumeNode is None:
            raise InputError(
                _(
                    "There is no volume to segment: load an abdominal CT (or one from the Sample "
                    "Data module) and choose it as the volume."
                )
            )
        segmentId = None
        if parameters.segmentation is not None and self.resultNodes is not None:
            segmentId = self.resultNodes.segmentId
        return Request(
            volumeNode,
            parameters.segmentation,
            segmentId,
            parameters.roi,
            parameters.options(),
            self.correction.editorNode,
            whole,
            self.target.name if self.target is not None else "",
        )

    @property
    def _organs(self) -> tuple[str, str]:
        """What the model is named after, and what the clicks are about."""
        structure = self.parameters.structure if self.parameters is not None else ""
        return organName(self.label), structure or organName(self.target)

    def _findResult(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, label: Label) -> ResultNodes:
        """The result nodes of the model on a volume; their segment is that of the target."""
        assert self.parameters is not None
        nodes = findResult(volumeNode, label, self.parameters.segmentation)
        target, node = self.target, nodes.segmentationNode
        if node is not None and self.structure is not None:
            return dataclasses.replace(nodes, segmentId=self.parameters.structure)
        if target is None or target is label or node is None:
            return nodes
        return dataclasses.replace(nodes, segmentId=findSegment(node, volumeNode, target))

    def _updateTarget(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, nodes: ResultNodes) -> None:
        """The clicks are about our segment, unless an effect is being used, perhaps on another."""
        if self.hub.listenerFor(volumeNode) is not self:
            return
        session = self.hub.session(volumeNode)
        if nodes.segmentationNode is not None and nodes.segmentId is not None:
            session.setTarget(nodes.segmentationNode, nodes.segmentId)
        elif session.ofStructure:
            session.clearTarget()  # they say nothing about the organ

    # What the hub tells

    def clickedVolume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        return self.volumeNode

    def requestAfterClick(self) -> Request | None:
        if self.parameters is None:
            return None
        # For a structure there is no button that would answer them later.
        if not self.parameters.updateAfterEachClick and self.structure is None:
            return None
        return self._request(whole=False)

    def busyChanged(self) -> None:
        if self.hub.waitedFor:
            self.segmentation.showMessage("")
        self.update()

    def progressed(self, fraction: float, text: str, left_s: float | None) -> None:
        self.segmentation.showProgress(fraction, text, left_s)

    def segmentationFailed(self, error: BaseException) -> None:
        self.showError(error)

    def clicksChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        if volumeNode is self.volumeNode:
            self.clicks.showClicks()

    def imageChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, text: str) -> None:
        if volumeNode is self.volumeNode:
            self.segmentation.showMessage(text, "warning")

    def segmentChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        if volumeNode is self.volumeNode:
            self.correction.segmentChanged()
            self._volumeTimer.start()

    def segmentationFinished(self, finished: FinishedSegmentation) -> None:
        parameters, result = self.parameters, finished.result
        if parameters is None or result.volumeNode is not self.volumeNode:
            return
        if finished.request.afterwards:
            return  # the segment is as it was
        prediction = result.prediction
        with slicer.util.NodeModify(parameters):
            parameters.segmentation = result.segmentationNode
            parameters.structure = result.segmentId if finished.task.structure else ""
            # Not the user's choice, which would cancel the clicks that wait to be answered.
            self._organBefore = self._organs
        if self.label is not None:
            self.resultNodes = self._findResult(result.volumeNode, self.label)
        # As it is in the scene, with what was kept of the user's hand.
        before, self._volumes_ml = self._volumes_ml, self._measureVolumes()
        parameters.summary = _summary(self._volumes_ml, prediction, finished.elapsed_s)
        self.advanced.log(parameters.summary)
        for step, seconds in prediction.timings_s.items():
            _log.info("%s: %.2f s", step, seconds)
        begun = _aboutStart(finished)
        # The hint beside the points says already that it is experimental.
        warnings = [text for text in prediction.warnings if not says_experimental(text)]
        if warnings:
            self.say(_listed([*warnings, *begun]), "warning")
        elif begun:
            self.say(_listed(begun))
        elif notes := _notes([result.outcome, *(other.outcome for other in result.others)]):
            self.say(notes)
        # What was found, not what clicks brought, which the user looks at already.
        appeared = finished.task.structure and bool(self._volumes_ml.keys() - before.keys())
        if finished.request.whole or appeared:
            self.views.showWhereEmpty(result.volumeNode)
            if prediction.found and not prediction.clicks:
                self.views.jumpTo(_centre(prediction, result.volumeNode))
        self.advanced.askDevices()

    # Events

    def _observe(
        self, observed: Any, event: Any, function: Callable[..., None], priority: float = 0.0
    ) -> None:
        self._observed.append((observed, observed.AddObserver(event, function, priority)))

    def _stopObserving(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _onParameters(self, _node: vtk.vtkObject, _event: str) -> None:
        if self._updating or self.parameters is None:
            return
        if self.parameters.structure and self.parameters.segmentation is None:
            self.parameters.structure = ""  # it was removed, or a new one is to be made
        if self.volumeId != self._volumeId:
            self._volumeId = self.volumeId
            self._onVolumeChanged()
        elif self._organs[0] != self._organBefore[0]:
            self._onOrganChanged()
        elif self._organs != self._organBefore:
            self._onTargetChanged()
        self._organBefore = self._organs
        self._updateTimer.start()

    def _onVolumeChanged(self) -> None:
        """Another volume: its own result and clicks, or none."""
        volumeNode, parameters = self.volumeNode, self.parameters
        if parameters is None:
            return
        self.hub.stopIfVolumeGone()
        if not self.busy:
            self.segmentation.showMessage("")
        with slicer.util.NodeModify(parameters):
            parameters.summary = ""
            parameters.segmentation = None
            parameters.structure = ""
            if volumeNode is not None and self.label is not None:
                parameters.segmentation = findResult(volumeNode, self.label).segmentationNode
            self.clicks.volumeChanged()
        self.hub.showPoints()
        self._volumes_ml = {}

    def _onOrganChanged(self) -> None:
        """A model of another organ: that organ's segment and clicks, or none; the segment and the
        clicks of the one before stay as they are."""
        volumeNode, parameters, label = self.volumeNode, self.parameters, self.label
        if volumeNode is None or parameters is None or label is None:
            return
        self.cancel(silently=True)
        self._volumeTimer.stop()
        self.resultNodes = nodes = self._findResult(volumeNode, label)
        if nodes.segmentId is not None:
            self._updateTarget(volumeNode, nodes)
            self._volumeTimer.start()
        elif self.hub.listenerFor(volumeNode) is self:
            self.hub.session(volumeNode).clearTarget()
        parameters.summary = ""
        self._volumes_ml = {}

    def _onTargetChanged(self) -> None:
        """The clicks are about another segment of the same result, and those about the one before
        stay with that."""
        volumeNode, label = self.volumeNode, self.label
        if volumeNode is None or label is None:
            return
        self.cancel(silently=True)
        self.resultNodes = nodes = self._findResult(volumeNode, label)
        if nodes.segmentId is not None:
            self._updateTarget(volumeNode, nodes)
        elif self.hub.listenerFor(volumeNode) is self:
            self.hub.session(volumeNode).clearTarget()

    def _measureVolumes(self) -> dict[tuple[str, str], float]:
        """Of each target's and structure's segment, as it is in the scene, by name and ID: two may
        have one name."""
        node = self.resultNodes.segmentationNode if self.resultNodes is not None else None
        if node is None:
            return {}
        volumes_ml = {(label.name, its): segmentVolumeMl(node, its) for label, its in self.segments}
        for label, its in self.structures:
            if volume_ml := segmentVolumeMl(node, its):  # one that was just begun is not told of
                volumes_ml[label.name, its] = volume_ml
        return volumes_ml

    def _prepare(self) -> None:
        """Load what segmenting needs while the user looks at the scan."""
        if self.entered and self.parameters is not None and self.volumeNode is not None:
            self.hub.prepare(self.parameters.options())

    def _measureVolume(self) -> None:
        """After the segment was changed by hand, removed, or another one was chosen: the line below
        the button tells of it as it is."""
        parameters, nodes = self.parameters, self.resultNodes
        if self.busy:
            self._volumeTimer.start()
            return
        if parameters is None or nodes is None:
            return
        node = nodes.segmentationNode
        if node is not None and node.GetScene() is None:
            return
        try:
            volumes_ml = self._measureVolumes()
            byHand = node is not None and any(
                corrections(node, its).any for _label, its in self.allSegments
            )
        except AttentionUNetSegmentError as error:
            self.showError(error)
            return
        before = self._volumes_ml
        if volumes_ml.keys() != before.keys() or any(
            abs(volume_ml - before[one]) > LEAST_CHANGE_ML for one, volume_ml in volumes_ml.items()
        ):
            self._volumes_ml = volumes_ml
            parameters.summary = _volumeNow(volumes_ml, byHand)

    def _onIdle(self) -> None:
        loaded, self._loaded = self._loaded, []
        if self.entered:
            self.input.preselectLoaded(loaded)
        self.update()
        self._prepare()

    def _onNodeAdded(self, scene: vtk.vtkObject, event: str, node: Any) -> None:
        # Not looked at before all of it is there.
        self._loaded.append(node.GetID())
        self._onSceneChanged(scene, event)

    _onNodeAdded.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]

    def _onNodeAboutToBeRemoved(self, scene: Any, _event: str, node: Any) -> None:
        """The volume goes: choose none, and take what was made of it out of the views."""
        if self.parameters is None or scene.IsClosing() or node is not self.volumeNode:
            return
        self.views.hideResults()
        self.parameters.inputVolume = None

    _onNodeAboutToBeRemoved.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]

    def _onSceneChanged(self, _scene: vtk.vtkObject, _event: str) -> None:
        self.hub.stopIfVolumeGone()
        self._updateTimer.start()


def _volumeNow(volumes_ml: Mapping[tuple[str, str], float], byHand: bool) -> str:
    text = _("{volumes}, with corrections by hand") if byHand else "{volumes}"
    return text.format(volumes=_volumes(volumes_ml))


def _volumes(volumes_ml: Mapping[tuple[str, str], float]) -> str:
    """Of each target; what was not found has none."""
    texts = [
        _("{organ}: {volume:.1f} mL").format(organ=name, volume=volume_ml)
        if volume_ml or len(volumes_ml) == 1
        else _("{organ}: none found").format(organ=name)
        for (name, _segmentId), volume_ml in volumes_ml.items()
    ]
    return asTitle(", ".join(texts))


def _summary(
    volumes_ml: Mapping[tuple[str, str], float], prediction: Prediction, elapsed_s: float
) -> str:
    if not prediction.found:
        return _("No {organ} found ({seconds:.1f} s on {device})").format(
            organ=prediction.target, seconds=elapsed_s, device=prediction.device
        )
    text = _("{volumes}, in {seconds:.1f} s on {device}").format(
        volumes=_volumes(volumes_ml), seconds=elapsed_s, device=prediction.device
    )
    estimate = estimateText(prediction)
    return f"{text}\n{estimate}" if estimate else text


def _listed(sentences: Sequence[str]) -> str:
    """Each on a line of its own, marked where there are several."""
    return sentences[0] if len(sentences) == 1 else "\n".join(f"• {one}" for one in sentences)


def _aboutStart(finished: FinishedSegmentation) -> list[str]:
    """That the segment is what the user had it begin from, or is that no more."""
    prediction, task = finished.result.prediction, finished.task
    if task.forgetsStart:
        text = _(
            "Segmented anew: the segment that it began from is forgotten; undo brings it back."
        )
        return [text]
    if prediction.start is not None and not prediction.clicks:
        return [_("Begun from this segment: a click mends the piece that it points at.")]
    return []


def _notes(outcomes: Sequence[WriteOutcome]) -> str:
    """What of the network's answer is not in the segments, and why."""
    notes = []
    if any(outcome.kept for outcome in outcomes):
        notes.append(
            _("What you corrected by hand was kept ({volume:.1f} mL).").format(
                volume=sum(outcome.kept_ml for outcome in outcomes)
            )
        )
    if any(outcome.blocked for outcome in outcomes):
        notes.append(
            _("Masking or a completed segment kept {volume:.1f} mL as they were.").format(
                volume=sum(outcome.blocked_ml for outcome in outcomes)
            )
        )
    return " ".join(notes)


def _centre(
    prediction: Prediction, volumeNode: slicer.vtkMRMLScalarVolumeNode
) -> tuple[float, float, float]:
    """The middle of the region that was looked at closely, in the world."""
    k, j, i = ((part.start + part.stop - 1) / 2 for part in prediction.region)
    point = [0.0, 0.0, 0.0]
    volumeNode.TransformPointToWorld((ijkToRas(volumeNode) @ (i, j, k, 1))[:3], point)
    return point[0], point[1], point[2]
