"""What the panel and the Segment Editor effect share, once for the application.

The clicks on each volume, the networks, the worker thread, and the one computation that may run:
whoever asks, the panel or the effect in any editor, goes on where the other one was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError, InputError, OutsideRegionError
from ..inference.predictor_cache import PredictorCache, PredictorOptions
from ..inference.structures import click_first_text, known_organ, require_any_structure
from ..inference.worker import Worker
from ..models import ModelCard, read_card
from ..scene import segments
from ..scene.editing import SegmentEditing, requireWritable
from ..scene.find_result import findResult
from ..scene.labelmaps import segmentVoxels
from ..scene.start import beginFrom, isUnbegun, requireStart
from ..scene.tasks import (
    SegmentationOptions,
    SegmentationTask,
    isAutomatic,
    newSegmentation,
)
from . import installation
from .runner import Runner
from .volume_session import Target, VolumeSession
from .worker_polling import WorkerPolling

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from ..inference.worker import Job
    from ..scene.results import SceneResult

QUIT_S = 20.0
"""How long the application waits at most, when it ends, for the worker to come to its next stop."""


@dataclass(frozen=True)
class Request:
    """A wish to have a volume segmented, with the clicks that are on it when its turn comes.

    Args:
        segmentationNode, segmentId: where the mask goes; as in :class:`SegmentationTask`.
        editorNode: the Segment Editor's parameters that are obeyed.
        whole: look at the whole scan anew; else only near the clicks that changed.
        target: name of the model's target that the segment and the clicks are about; the first
            unless given.
        afterwards: of clicks that were answered, bring the attention volumes up to date. They take
            as long as the answer itself, for which the user is waiting.
    """

    volumeNode: slicer.vtkMRMLScalarVolumeNode
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None
    segmentId: str | None = None
    roiNode: slicer.vtkMRMLMarkupsROINode | None = None
    options: SegmentationOptions | None = None
    editorNode: slicer.vtkMRMLSegmentEditorNode | None = None
    whole: bool = False
    target: str = ""
    afterwards: bool = False

    @property
    def wantsVolumes(self) -> bool:
        options = self.options or SegmentationOptions()
        return options.withAttention or options.keepProbability

    @property
    def optionsNow(self) -> SegmentationOptions:
        """Without the volumes where they come afterwards."""
        options = self.options or SegmentationOptions()
        if self.whole or self.afterwards:
            return options
        return replace(options, withAttention=False, keepProbability=False)


@dataclass(frozen=True)
class FinishedSegmentation:
    """A computation whose result is in the scene.

    Args:
        created: a segmentation was made for it.
    """

    request: Request
    task: SegmentationTask
    result: SceneResult
    elapsed_s: float
    created: bool


class HubListener:
    """Somebody who works with the hub: the panel, or the effect while it is active. All listeners
    are told what happens, whoever asked for it."""

    def clickedVolume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume whose clicks this listener answers for."""
        return None

    def requestAfterClick(self) -> Request | None:
        """What shall be done now that the clicks on its volume changed; None for nothing."""
        return None

    def busyChanged(self) -> None:
        """A computation began or ended."""

    def progressed(self, fraction: float, text: str, left_s: float | None) -> None:
        """How far the computation is, and how many seconds it may still take."""

    def segmentationFinished(self, finished: FinishedSegmentation) -> None:
        """A result was written into the scene."""

    def segmentationFailed(self, error: BaseException) -> None:
        """Something could not be done."""

    def clicksChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """The clicks on a volume are others."""

    def imageChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, text: str) -> None:
        """What is to be said of a volume whose image became another one than its result is of;
        nothing where it is that again."""

    def segmentChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """The volume's segment is another than before, by whatever hand."""


class SessionHub:
    """One computation at a time: clicks that are made while one runs wait for its end, and are
    then answered all at once."""

    def __init__(self) -> None:
        self.cache = PredictorCache()
        self.worker = Worker()
        self.polling = WorkerPolling(self.worker)
        self.runner = Runner(self._submit, self._onProgress, self._onDone, self._onFailed)
        self._running: Request | None = None
        self._about: Target | None = None
        self._prepared: PredictorOptions | None = None
        self._preparation: Job[None] | None = None
        self._listeners: list[HubListener] = []
        self._editors: list[Any] = []
        self._worked: set[str] | None = None
        self._sessions: dict[str, VolumeSession] = {}
        self._clicked: list[VolumeSession] = []
        self._changed: list[VolumeSession] = []
        self._moved: list[VolumeSession] = []
        self._clickTimer = _soon(self._takeUpClicks)
        self._segmentTimer = _soon(self._takeUpSegments)
        self._volumeTimer = _soon(self._followVolumes)
        scene, events = slicer.mrmlScene, slicer.vtkMRMLScene
        scene.AddObserver(events.StartCloseEvent, self._onSceneCloses)
        scene.AddObserver(events.NodeRemovedEvent, self._onNodeRemoved)
        slicer.app.connect("aboutToQuit()", self.quit)

    @property
    def busy(self) -> bool:
        return self.runner.busy

    @property
    def waitedFor(self) -> bool:
        """What runs is not only the volumes of clicks that were answered."""
        return self.busy and not (self._running is not None and self._running.afterwards)

    @property
    def idle(self) -> bool:
        """Nothing runs, and no click waits to be answered."""
        return not self.busy and not self._clicked

    def session(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> VolumeSession:
        """The clicks on a volume and what they are about."""
        session = self._sessions.get(volumeNode.GetID())
        if session is None or session.volumeNode is not volumeNode:
            session = VolumeSession(
                volumeNode, self._onClicked, self._onSegmentChanged, self._onVolumeChanged
            )
            self._sessions[volumeNode.GetID()] = session
        return session

    # Who is there

    def addListener(self, listener: HubListener) -> None:
        """The listener that comes last is the first one to answer for the clicks on its volume."""
        self._listeners.insert(0, listener)

    def removeListener(self, listener: HubListener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def listenerFor(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> HubListener | None:
        """Who answers for the clicks on a volume."""
        listeners = self._listeners
        return next((one for one in listeners if one.clickedVolume() is volumeNode), None)

    def showPoints(self) -> None:
        """In the views, those on the volumes that somebody works on: others would seem to belong to
        these, and nobody answers when they are dragged. Called when a listener goes to a volume."""
        volumes = [listener.clickedVolume() for listener in self._listeners]
        sessions = [self.session(node) for node in volumes if node is not None]
        volumeIds = {session.volumeNode.GetID() for session in sessions}
        if volumeIds == self._worked:
            return
        self._worked = volumeIds
        for volumeId, session in self._sessions.items():
            if session.points is not None:
                session.points.setVisible(volumeId in volumeIds)

    def addEditor(self, editor: Any) -> None:
        """Each network's answer will be an undo step of this editor, while it shows the
        segmentation.

        Args:
            editor: has ``segmentationNode()`` and ``saveStateForUndo()``.
        """
        self._editors.append(editor)

    def removeEditor(self, editor: Any) -> None:
        if editor in self._editors:
            self._editors.remove(editor)

    def saveStateForUndo(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """In all editors that show the segmentation."""
        for editor in list(self._editors):
            if editor.segmentationNode() is segmentationNode:
                editor.saveStateForUndo()

    # Work

    def request(self, request: Request) -> None:
        """Begin; what is running is cancelled.

        Raises:
            AttentionUNetSegmentError: it cannot be begun; nothing has changed.
        """
        self.cancel()
        if request.whole:
            self._leaveStructure(request)
        self._begin(request)

    def begin(self, request: Request, structure: bool = False) -> None:
        """Let the clicks on a volume mend what is in the request's segment now, and look at its
        surroundings. One undo step, which brings back its clicks and corrections.

        Args:
            structure: the segment is no target of the model, but any structure, of its name.

        Raises:
            AttentionUNetSegmentError: it cannot be begun from; nothing has changed.
        """
        node, segmentId, volumeNode = (
            request.segmentationNode,
            request.segmentId,
            request.volumeNode,
        )
        if node is None or segmentId is None:
            raise InputError(_("Choose the segment to begin from first."))
        installation.requirePackages()
        requireStart(node, segmentId, volumeNode)
        card = self.card(request)
        if structure:
            require_any_structure(card)
        labels = card.target_labels
        label = next((one for one in labels if one.name == request.target), labels[0])
        self.cancel()
        if structure:
            segments.claimStructure(node, segmentId, volumeNode)
        else:
            segments.claimSegment(node, segmentId, volumeNode, label)
        beginFrom(node, segmentId, volumeNode, lambda: self.saveStateForUndo(node))
        self.session(volumeNode).begin(node, segmentId)
        self._tellClicksChanged(volumeNode)
        self._try(request)

    def beginStructure(self, request: Request) -> None:
        """Let the clicks on a volume be about the request's segment, as any structure of its name:
        begun from what is in it, or with the first click inside where that is nothing.

        Raises:
            AttentionUNetSegmentError: it cannot be begun; nothing has changed.
        """
        node, segmentId = request.segmentationNode, request.segmentId
        if node is None or segmentId is None:
            raise InputError(_("Choose the structure's segment first."))
        require_any_structure(self.card(request))
        requireWritable(node, segmentId)
        if segmentVoxels(node.GetSegmentation().GetSegment(segmentId)).array.any():
            self.begin(request, structure=True)
            return
        running = self._running
        if running is not None and (running.segmentationNode, running.segmentId) == (
            node,
            segmentId,
        ):
            self.cancel()  # what is computed for another segment is still wanted
        segments.claimStructure(node, segmentId, request.volumeNode)
        self.session(request.volumeNode).begin(node, segmentId)
        self._tellClicksChanged(request.volumeNode)

    def looksFor(self, request: Request) -> bool:
        """Whether the model looks in the whole scan for what the request's segment, one of any
        structure, is named after; else it begins with a click.

        Raises:
            ModelError: there is no such model.
        """
        node, segmentId = request.segmentationNode, request.segmentId
        if node is None or segmentId is None:
            return False
        return known_organ(self.card(request), segments.structureName(node, segmentId)) is not None

    @staticmethod
    def card(request: Request) -> ModelCard:
        """Of the request's model.

        Raises:
            ModelError: there is no such model.
        """
        return read_card(request.optionsNow.predictorOptions().model_folder)

    def _leaveStructure(self, request: Request) -> None:
        """The clicks on a volume are about a model's target again; those about the structure stay
        with its segment."""
        session = self.session(request.volumeNode)
        if session.target is None or not segments.isStructure(*session.target):
            return
        if request.segmentationNode is not None and request.segmentId is not None:
            session.setTarget(request.segmentationNode, request.segmentId)
        else:
            session.clearTarget()

    def cancel(self) -> bool:
        """Forget what runs and the clicks that wait; False where nothing runs."""
        self._clickTimer.stop()
        self._clicked.clear()
        cancelled = self.runner.cancel()
        if cancelled:
            self._running = None
            self._tell(lambda listener: listener.busyChanged())
        return cancelled

    def prepare(self, options: SegmentationOptions) -> None:
        """Load PyTorch and the model while the user looks at the scan, so that the first press is
        as quick as the second. Nothing where they are loaded, or PyTorch is missing."""
        if self.busy or not self.worker.idle or not installation.packagesInstalled():
            return
        try:
            wanted = options.predictorOptions()
        except AttentionUNetSegmentError:
            return  # said when the user wants to segment with it
        if wanted != self._prepared:
            # Once: what cannot be loaded is said when the user wants to segment with it.
            self._prepared = wanted
            self._preparation = self.polling.run(
                lambda _progress, cancel: self.cache.prepare(wanted, cancel)
            )

    def quit(self) -> None:
        """The application ends: Python must not, as long as the worker is in one of PyTorch's
        operations, which would end the process with an error."""
        self.cancel()
        self.worker.stop(wait_s=QUIT_S)

    def stopIfVolumeGone(self) -> None:
        """A volume that was removed needs no segmentation any more."""
        task = self.runner.task
        if task is not None and task.volumeNode.GetScene() is not slicer.mrmlScene:
            self.cancel()
            self._onFailed(
                InputError(_("The volume was removed while it was being segmented; stopped."))
            )

    def _begin(self, request: Request) -> None:
        installation.requirePackages()
        self._followVolumes()  # or it would be answered where the scan was
        task = self._task(request)
        self._running = request
        self._about = self.session(request.volumeNode).target
        if self._preparation is not None:
            # What it has not done yet the computation does itself.
            self._preparation.cancel()
            self._preparation = None
        self.runner.start(task)
        self._tell(lambda listener: listener.busyChanged())

    def _task(self, request: Request) -> SegmentationTask:
        """With the clicks that are there now.

        Raises:
            AttentionUNetSegmentError: it cannot be done.
        """
        clicks = self.session(request.volumeNode).clicks
        node, segmentId = request.segmentationNode, request.segmentId
        automatic = request.whole
        if node is not None and segmentId is not None:
            requireWritable(node, segmentId)
            automatic = automatic or isAutomatic(node, segmentId)
            if segments.isStructure(node, segmentId) and isUnbegun(node, segmentId):
                inside = any(click.inside for click in clicks)
                if not inside and not automatic and not self.looksFor(request):
                    raise InputError(click_first_text(self.card(request)))
                automatic = True  # if there is anything to look for
        elif not automatic and not any(click.inside for click in clicks):
            raise InputError(
                _("There is nothing segmented yet: place a click inside the organ first.")
            )
        return SegmentationTask(
            request.volumeNode,
            clicks,
            node,
            request.roiNode,
            request.optionsNow,
            automatic=automatic,
            continuing=not request.whole,
            segmentId=segmentId,
            target=request.target,
        )

    def _try(self, request: Request) -> None:
        """Begin; nobody waits for an exception."""
        try:
            self._begin(request)
        except AttentionUNetSegmentError as error:
            self._tellFailed(error)

    def _submit(
        self, task: SegmentationTask, onTick: Callable[[Job[Prediction]], None]
    ) -> Job[Prediction]:
        return self.polling.run(
            lambda progress, cancel: task.compute(self.cache, progress, cancel), onTick
        )

    def _onProgress(self, fraction: float, text: str, left_s: float | None) -> None:
        self._tell(lambda listener: listener.progressed(fraction, text, left_s))

    def _onFailed(self, error: BaseException) -> None:
        self._running = None
        self._tellFailed(error)
        self._tell(lambda listener: listener.busyChanged())
        self._answerClicks()

    def _onDone(self, task: SegmentationTask, prediction: Prediction, elapsed_s: float) -> None:
        request, self._running = self._running, None
        assert request is not None
        created = _newSegmentationIfWanted(task)
        try:
            result = self._write(task, prediction, request)
        # A failure to write must not leave the listeners half updated.
        except Exception as error:
            if created is not None:
                slicer.mrmlScene.RemoveNode(created)
            self._onFailed(error)
            return
        made = request.segmentationNode is not result.segmentationNode
        finished = FinishedSegmentation(request, task, result, elapsed_s, made)
        self._tell(lambda listener: listener.segmentationFinished(finished))
        self._answerClicks()
        done = request.whole or request.afterwards or task.structure
        if not self.busy and request.wantsVolumes and not done:
            node = result.segmentationNode
            segmentId = result.segmentIdOf(task.label.name)
            self._try(replace(request, segmentationNode=node, segmentId=segmentId, afterwards=True))
        self._tell(lambda listener: listener.busyChanged())

    def _write(
        self, task: SegmentationTask, prediction: Prediction, request: Request
    ) -> SceneResult:
        volumeNode, label = task.volumeNode, task.label
        node = task.segmentationNode
        if node is None and volumeNode.GetScene() is not None:
            node = segments.findSegmentation(volumeNode, label)

        def save() -> None:
            if node is not None:
                self.saveStateForUndo(node)

        result = task.write(prediction, SegmentEditing(request.editorNode, save))
        node, segmentId = result.segmentationNode, result.segmentIdOf(label.name)
        if not task.structure and segments.findSegment(node, volumeNode, label) is None:
            # A segment that the user made: from now on ours of this volume.
            node.GetSegmentation().GetSegment(segmentId).SetTag(segments.TARGET_TAG, label.name)
            segments.linkSegment(node, segmentId, volumeNode)
        session = self.session(volumeNode)
        session.takeUpImage()
        if session.target == self._about:  # else the user went on to another segment
            session.takeUpResult(node, segmentId)
        return result

    def _tell(self, what: Callable[[HubListener], None]) -> None:
        for listener in list(self._listeners):
            what(listener)

    def _tellFailed(self, error: BaseException) -> None:
        self._tell(lambda listener: listener.segmentationFailed(error))

    def _tellClicksChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        self._tell(lambda listener: listener.clicksChanged(volumeNode))

    def _tellSegmentChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        self._tell(lambda listener: listener.segmentChanged(volumeNode))

    def _tellImageChanged(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, ofAnother: bool
    ) -> None:
        text = _(
            "The image of '{name}' became another one: outline, maps and figures are still those "
            "of the one before. Segment again."
        ).format(name=volumeNode.GetName())
        self._tell(lambda listener: listener.imageChanged(volumeNode, text if ofAnother else ""))

    # Events

    def _onClicked(self, session: VolumeSession) -> None:
        if session not in self._clicked:
            self._clicked.append(session)
        self._tellClicksChanged(session.volumeNode)
        # Later: several points may be removed at once.
        self._clickTimer.start()

    def _takeUpClicks(self) -> None:
        for session in list(self._clicked):
            before = session.accepted
            refused = session.refuseOutside(partial(self._checkRegion, session))
            if refused is not None:
                if session.accepted == before:
                    self._clicked.remove(session)
                self._tellClicksChanged(session.volumeNode)
                self._tellFailed(refused)
        self._answerClicks()

    def _checkRegion(self, session: VolumeSession) -> None:
        """Raises:
        OutsideRegionError: clicks that are to be answered in a region of interest lie outside.
        """
        listener = self.listenerFor(session.volumeNode)
        request = listener.requestAfterClick() if listener is not None else None
        if request is not None and request.roiNode is not None:
            try:
                self._task(request)
            except OutsideRegionError:
                raise
            except AttentionUNetSegmentError:
                pass  # said when they are answered

    def _answerClicks(self) -> None:
        """As far as nothing runs; called again when it has come to its end."""
        if self._clicked and self._running is not None and self._isVoid(self._running):
            self.runner.cancel()
            self._running = None
        while self._clicked and not self.busy:
            listener = self.listenerFor(self._clicked.pop(0).volumeNode)
            request = listener.requestAfterClick() if listener is not None else None
            if request is not None:
                self._try(request)

    def _isVoid(self, request: Request) -> bool:
        """Whether nobody waits for what is being computed: the volumes of earlier clicks, or the
        answer to a point that was dragged elsewhere or removed meanwhile. A point that came on top
        needs the answer before it."""
        task = self.runner.task
        if request.afterwards or task is None:
            return request.afterwards
        session = self.session(request.volumeNode)
        if session.target != self._about:
            return False  # these are clicks in another segment
        clicks = session.clicks
        return not request.whole and task.clicks != clicks[: len(task.clicks)]

    def _onSegmentChanged(self, session: VolumeSession) -> None:
        if session not in self._changed:
            self._changed.append(session)
        self._segmentTimer.start()

    def _takeUpSegments(self) -> None:
        changed, self._changed = self._changed, []
        for session in changed:
            if session.takeUpSegment():
                # Undone: what is being computed would do it again.
                if self._running is not None and self._running.volumeNode is session.volumeNode:
                    self.cancel()
                self._tellClicksChanged(session.volumeNode)
            self._tellSegmentChanged(session.volumeNode)

    def _onVolumeChanged(self, session: VolumeSession) -> None:
        if session not in self._moved:
            self._moved.append(session)
        self._volumeTimer.start()

    def _followVolumes(self) -> None:
        moved, self._moved = self._moved, []
        for session in moved:
            volumeNode = session.volumeNode
            if volumeNode.GetScene() is not slicer.mrmlScene:
                continue
            if session.followVolume():
                self._tellClicksChanged(volumeNode)
            if session.followImage() and session.target is not None:
                self._tellImageChanged(volumeNode, session.ofAnotherImage)

    def _onSceneCloses(self, _scene: vtk.vtkObject, _event: str) -> None:
        self.cancel()
        for session in self._sessions.values():
            session.stop()
        self._sessions.clear()
        self._worked = None
        self._changed.clear()
        self._moved.clear()
        if self.worker.thread is not None:
            # In its turn: the scans are locked as long as one of them is computed on.
            self.polling.run(lambda _progress, _cancel: self.cache.forget_scans())

    def _onNodeRemoved(self, _scene: vtk.vtkObject, _event: str) -> None:
        for volumeId, session in list(self._sessions.items()):
            gone = session.volumeNode.GetScene() is not slicer.mrmlScene
            # Taken out first: its lines leave the scene too, and this is called again.
            if gone and self._sessions.pop(volumeId, None) is not None:
                session.stop()
        self.stopIfVolumeGone()


_hub: SessionHub | None = None


def sessionHub() -> SessionHub:
    """The application's; made when it is asked for first."""
    global _hub
    if _hub is None:
        _hub = SessionHub()
    return _hub


def _newSegmentationIfWanted(
    task: SegmentationTask,
) -> slicer.vtkMRMLSegmentationNode | None:
    """The user asked for a new segmentation although the volume has one already."""
    if task.segmentationNode is not None or task.volumeNode.GetScene() is None:
        return None
    if findResult(task.volumeNode, task.label).segmentationNode is None:
        return None
    name = f"{task.volumeNode.GetName()} {task.label.name} segmentation"
    task.segmentationNode = newSegmentation(task.volumeNode, name)
    return task.segmentationNode


def _soon(function: Callable[[], None]) -> Any:
    """A timer that calls it when the application is idle."""
    timer: Any = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(0)
    timer.timeout.connect(function)
    return timer
