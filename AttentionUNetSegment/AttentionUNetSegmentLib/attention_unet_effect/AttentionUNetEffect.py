"""The Segment Editor effect: click or scribble inside the organ, or outside with Ctrl, and the
segment follows.

Slicer loads this file outside of its package, so that it imports by full names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

from AttentionUNetSegmentLib.attention_unet_effect.shortcut_keys import ShortcutKeys
from AttentionUNetSegmentLib.errors import AttentionUNetSegmentError, InputError
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.strokes import Prompt, lassos_of
from AttentionUNetSegmentLib.inference.structures import says_experimental
from AttentionUNetSegmentLib.inference.validation import check_clicks
from AttentionUNetSegmentLib.panel import installation
from AttentionUNetSegmentLib.panel.error_text import inOneSentence
from AttentionUNetSegmentLib.panel.estimate_text import estimateText
from AttentionUNetSegmentLib.panel.parameter_node import parametersInScene
from AttentionUNetSegmentLib.panel.session_hub import (
    FinishedSegmentation,
    HubListener,
    Request,
    sessionHub,
)
from AttentionUNetSegmentLib.panel.stroke_drawing import MOVED_PIXELS, StrokeDrawing, Tool
from AttentionUNetSegmentLib.panel.structure_box import StructureBox
from AttentionUNetSegmentLib.panel.target import isOfTarget, takesAnyStructure, targetOfSegment
from AttentionUNetSegmentLib.panel.volume_session import VolumeSession
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.scene.find_result import isResult
from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions
from AttentionUNetSegmentLib.scene.volumes import clicksInPlace, volumeFromNode

NAME = "AttentionUNet"
PICK_TOLERANCE = 0.005


class AttentionUNetEffect(AbstractScriptedSegmentEditorEffect, HubListener):
    """Clicks in the views of an editor; the hub answers them, as it does those of the panel.

    The clicks are about the editor's selected segment; without one, about ours of the volume.
    """

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = NAME  # not translated: modules find effects by name
        scriptedEffect.title = _("Attention U-Net")
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self._hub: Any = None
        self._active = False
        self._observed: tuple[Any, int] | None = None
        self._pressed: tuple[int, int] | None = None
        self._drawing: StrokeDrawing | None = None
        self._problem = ""
        self._estimate = ""
        self._stage = ""
        self._keys = ShortcutKeys(
            {"Backspace": self.takeBack, "Shift+Backspace": self.bringBack},
        )

    # What the editor asks for

    def clone(self) -> Any:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        clone = effects.qSlicerSegmentEditorScriptedEffect(None)
        clone.setPythonSource(Path(__file__).as_posix())
        return clone

    def icon(self) -> Any:
        resources = Path(__file__).resolve().parents[2] / "Resources"
        return qt.QIcon(str(resources / "Icons" / "SegmentEditorAttentionUNet.png"))

    def helpText(self) -> str:
        return _(
            "<html>Segment what the chosen model is for by clicks. With a model of several "
            "targets, an organ and its tumour for instance, they are about the selected segment."
            "<ul><li><b>Left click</b>: a point inside the organ"
            "<li><b>Ctrl + left click</b> (Command on macOS): a point outside it"
            "<li><b>Drag</b> in a slice view: a line inside, with Ctrl outside; it counts as one "
            "point. Or a lasso, as chosen below"
            "<li><b>Shift + drag</b>: a box that the organ does not leave, in all slices"
            "<li><b>Drag</b> a point to move it, and what hangs on it"
            "<li><b>Backspace</b>: remove the point under the mouse, or else the last one"
            "<li><b>Shift + Backspace</b>: bring it back</ul>"
            "Click in slice views, or in a 3D view on a surface. The first click alone segments "
            "the organ around it. What was painted or erased by hand is kept, masking is obeyed, "
            "and each answer is one undo step. <b>Begin from this segment</b> lets clicks mend the "
            "selected segment, whoever made it. With <b>Any structure</b> the clicks are about "
            "whatever the selected segment is named after: a kidney, a tumour, a vessel. The first "
            "one is inside it. Experimental. The model and the device are chosen in the module "
            "'Attention U-Net Segment'. For research; not a medical device.</html>"
        )

    def setupOptionsFrame(self) -> None:
        """Called once in each editor."""
        self._hub = sessionHub()
        self._hub.addEditor(self)
        self.stateLabel = qt.QLabel()
        self.stateLabel.wordWrap = True
        self.scriptedEffect.addOptionsWidget(self.stateLabel)
        self.structureCheckBox = qt.QCheckBox(_("Any structure (experimental)"))
        self.structureCheckBox.toolTip = _(
            "The clicks are about the selected segment, whatever it is named after: the first one "
            "inside begins it, from nothing or from what is in it already, and it stays so. "
            "Segments of what the model is for are answered as ever. Check every slice: this is "
            "experimental."
        )
        self._structureBox = StructureBox(self.structureCheckBox, self._update)
        self.scriptedEffect.addOptionsWidget(self.structureCheckBox)
        self.beginButton = qt.QPushButton(_("Begin from this segment"))
        self.beginButton.toolTip = _(
            "Take the selected segment as it is, whoever made it, and mend it by clicks: each of "
            "them changes the piece that it points at, and all else stays. What was corrected by "
            "hand in it up to now is taken for a part of it, and its points are removed; undo "
            "brings both back. Segmenting the whole scan in the module forgets it."
        )
        self.beginButton.connect("clicked()", self.beginFromSegment)
        self.scriptedEffect.addOptionsWidget(self.beginButton)
        tools = qt.QHBoxLayout()
        self.toolButtons = {}
        group = qt.QButtonGroup(self.scriptedEffect.optionsFrame())
        for tool, text, toolTip in (
            (
                Tool.SCRIBBLE,
                _("Line"),
                _(
                    "Drag along what is missing, or with Ctrl (Command on macOS) along what is "
                    "too much: the whole line counts as one point"
                ),
            ),
            (
                Tool.BOX,
                _("Box"),
                _(
                    "Drag a box around the organ: what is outlined outside of it is taken away, in "
                    "all slices, and stays away. Shift + drag does the same at any time."
                ),
            ),
            (
                Tool.LASSO,
                _("Lasso"),
                _(
                    "Drag a closed line around the organ: what is outlined outside of it is taken "
                    "away, in all slices, and stays away"
                ),
            ),
        ):
            button = qt.QRadioButton(text)
            button.toolTip = toolTip
            button.checked = tool is Tool.SCRIBBLE
            group.addButton(button)
            tools.addWidget(button)
            self.toolButtons[tool] = button
        self.scriptedEffect.addLabeledOptionsWidget(_("Drag:"), tools)
        self.takeBackButton = qt.QPushButton(_("Take back"))
        self.takeBackButton.toolTip = _("Remove the last point (Backspace)")
        self.removeAllButton = qt.QPushButton(_("Remove all"))
        self.removeAllButton.toolTip = _("Remove all points on this volume")
        self.takeBackButton.connect("clicked()", self.takeBack)
        self.removeAllButton.connect("clicked()", self.removeAll)
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.takeBackButton)
        buttons.addWidget(self.removeAllButton)
        self.scriptedEffect.addOptionsWidget(buttons)

    def createCursor(self, _widget: Any) -> Any:
        return qt.QCursor(qt.Qt.CrossCursor)

    def activate(self) -> None:
        self._active = True
        self._problem, self._estimate, self._pressed = _problemBefore(), "", None
        editorNode = self.scriptedEffect.parameterSetNode()
        tag = editorNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onEditorModified)
        self._observed = (editorNode, tag)
        self._hub.addListener(self)
        self._keys.install()
        self._hub.showPoints()
        self._updateTarget()
        self._update()

    def deactivate(self) -> None:
        self._active = False
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        self._keys.remove()
        if self._observed is not None:
            node, tag = self._observed
            node.RemoveObserver(tag)
            self._observed = None
        if self._hub is not None:
            self._hub.removeListener(self)

    def cleanup(self) -> None:
        self.deactivate()
        if self._hub is not None:
            self._hub.removeEditor(self)
            self._hub = None

    def sourceVolumeNodeChanged(self) -> None:
        if self._active:
            self._onEditorModified()

    def updateGUIFromMRML(self) -> None:
        if self._active:
            self._update()

    def updateMRMLFromGUI(self) -> None:
        """There is nothing to remember."""

    def processInteractionEvents(self, interactor: Any, eventId: int, viewWidget: Any) -> bool:
        """Returns whether the view is to do nothing more with the event."""
        if viewWidget.className() == "qMRMLSliceWidget":
            return self._onSliceEvent(interactor, eventId, viewWidget)
        if interactor.GetShiftKey() or interactor.GetAltKey():
            return False
        x, y = interactor.GetEventPosition()
        inside = not interactor.GetControlKey()
        if eventId == vtk.vtkCommand.LeftButtonPressEvent:
            self._pressed = None if self._overPoint else (x, y)
        elif eventId == vtk.vtkCommand.LeftButtonReleaseEvent and self._pressed is not None:
            pressed, self._pressed = self._pressed, None
            if max(abs(x - pressed[0]), abs(y - pressed[1])) < MOVED_PIXELS:
                position_ras = self._pick(x, y, viewWidget)
                if position_ras is not None:
                    self.click(position_ras, inside)
        return False  # so that the view can be turned

    def _onSliceEvent(self, interactor: Any, eventId: int, sliceWidget: Any) -> bool:
        x, y = interactor.GetEventPosition()
        if self._drawing is not None and eventId == vtk.vtkCommand.LeftButtonPressEvent:
            self._drawing.cancel()  # its release never came, as when another window took the mouse
            self._drawing = None
        if self._drawing is not None:
            # What is held down now says nothing: what is drawn was decided by the press.
            if eventId == vtk.vtkCommand.MouseMoveEvent:
                self._drawing.extend((x, y))
            elif eventId == vtk.vtkCommand.LeftButtonReleaseEvent:
                drawing, self._drawing = self._drawing, None
                prompt = drawing.finish()
                if prompt is not None:
                    self.draw(prompt)
            return True
        if interactor.GetAltKey():
            return False
        shift = bool(interactor.GetShiftKey())
        if eventId == vtk.vtkCommand.LeftButtonDoubleClickEvent:
            # Two clicks; the view would fill the window, or change its contrast.
            return not shift
        if eventId != vtk.vtkCommand.LeftButtonPressEvent or self._overPoint:
            return False  # the markups take a point that is there, to drag it
        tool = Tool.BOX if shift else self.tool
        self._drawing = StrokeDrawing(sliceWidget, tool, not interactor.GetControlKey(), (x, y))
        return True

    # Clicks and strokes

    @property
    def tool(self) -> Tool:
        """What a drag draws without Shift."""
        return next(one for one, button in self.toolButtons.items() if button.checked)

    def click(self, position_ras: tuple[float, float, float], inside: bool) -> None:
        """The user points at a place of the world; what cannot be done is said in the options."""
        self.draw(Click(position_ras, inside))

    def draw(self, prompt: Prompt) -> None:
        """The user clicked, or drew a scribble, box or lasso; likewise."""
        self._problem = self._estimate = ""
        try:
            volumeNode = self.clickedVolume()
            if volumeNode is None:
                raise InputError(_("Choose the CT as the editor's source volume, then click."))
            installation.requirePackages()
            clicks = clicksInPlace(volumeNode, [prompt])
            check_clicks(volumeFromNode(volumeNode), clicks)
        except AttentionUNetSegmentError as error:
            self.segmentationFailed(error)
            return
        if not self.scriptedEffect.confirmCurrentSegmentVisible():
            return
        self._updateTarget()
        try:
            self._beginStructureIfWanted()
        except AttentionUNetSegmentError as error:
            self.segmentationFailed(error)
            return
        self._hub.session(volumeNode).newPoints().addPrompt(prompt)

    def beginFromSegment(self) -> None:
        """Clicks mend the selected segment as it is from now on; what cannot be done is said in the
        options."""
        self._problem = self._estimate = ""
        if not self.scriptedEffect.confirmCurrentSegmentVisible():
            return
        try:
            request = self.requestAfterClick()
            if request is None:
                raise InputError(_("Choose the CT as the editor's source volume first."))
            self._hub.begin(request, self._isStructure or self._becomesStructure)
        except AttentionUNetSegmentError as error:
            self.segmentationFailed(error)

    def _beginStructureIfWanted(self) -> None:
        """Raises:
        AttentionUNetSegmentError: the selected segment cannot be any structure.
        """
        if self._wantsStructure and self._segmentId is None:
            raise InputError(
                _("Add a segment, name it after the structure, select it, and click again.")
            )
        request = self.requestAfterClick() if self._becomesStructure else None
        if request is not None:
            self._hub.beginStructure(request)

    def takeBack(self) -> None:
        """Remove the point under the mouse, or else the last one."""
        points = self._session.points if self._session is not None else None
        if points is None:
            return
        if points.hovered is not None:
            points.remove(points.hovered)
        else:
            points.undo()

    def bringBack(self) -> None:
        if self._session is not None and self._session.points is not None:
            self._session.points.redo()

    def removeAll(self) -> None:
        if self._session is not None and self._session.points is not None:
            self._session.points.reset()

    # What the hub asks for and tells

    def clickedVolume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        editorNode = self.scriptedEffect.parameterSetNode()
        node = editorNode.GetSourceVolumeNode() if editorNode is not None else None
        # An editor may choose any volume of the scene, also one of ours.
        return None if node is None or isResult(node) else node

    def requestAfterClick(self) -> Request | None:
        volumeNode, editorNode = self.clickedVolume(), self.scriptedEffect.parameterSetNode()
        if volumeNode is None or self.segmentationNode() is None:
            return None
        parameters = parametersInScene()
        # Attention is the panel's; where that was never opened nobody would look at it.
        options = SegmentationOptions(withAttention=False, keepProbability=False)
        roiNode = None
        if parameters is not None:
            options = parameters.options()
            roiNode = parameters.roi if parameters.inputVolume is volumeNode else None
        return Request(
            volumeNode,
            self.segmentationNode(),
            self._segmentId,
            roiNode,
            options,
            editorNode,
            target=targetOfSegment(self.segmentationNode(), self._segmentId, options.model),
        )

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        """What the editor shows."""
        editorNode = self.scriptedEffect.parameterSetNode()
        return editorNode.GetSegmentationNode() if editorNode is not None else None

    def saveStateForUndo(self) -> None:
        """In the history of the editor that this effect is in, be it active or not."""
        self.scriptedEffect.saveStateForUndo()

    def busyChanged(self) -> None:
        self._stage = ""
        self._update()

    def progressed(self, _fraction: float, text: str, _left_s: float | None) -> None:
        self._stage = text
        self._update()

    def segmentationFinished(self, finished: FinishedSegmentation) -> None:
        if finished.request.afterwards:
            return
        prediction = finished.result.prediction
        # The check box says already that it is experimental.
        said = [text for text in prediction.warnings if not says_experimental(text)]
        self._problem = "\n".join(said)
        self._estimate = estimateText(prediction)
        if finished.result.segmentationNode is self.segmentationNode() and not self._segmentId:
            self.scriptedEffect.parameterSetNode().SetSelectedSegmentID(finished.result.segmentId)

    def segmentationFailed(self, error: BaseException) -> None:
        self._problem, self._estimate = inOneSentence(error), ""
        self._update()

    def clicksChanged(self, _volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        self._update()

    def imageChanged(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, text: str) -> None:
        if volumeNode is self.clickedVolume():
            self._problem = text
            self._update()

    # Inner matters

    @property
    def _session(self) -> VolumeSession | None:
        volumeNode = self.clickedVolume()
        return self._hub.session(volumeNode) if volumeNode is not None else None

    @property
    def _segmentId(self) -> str | None:
        node = self.segmentationNode()
        if node is None:  # or the editor's own node was removed
            return None
        segmentId = self.scriptedEffect.parameterSetNode().GetSelectedSegmentID()
        exists = segmentId and node.GetSegmentation().GetSegment(segmentId)
        return segmentId if exists else None

    @property
    def _model(self) -> str:
        parameters = parametersInScene()
        return parameters.model if parameters is not None else SegmentationOptions().model

    @property
    def _wantsStructure(self) -> bool:
        return self._structureBox.chosen and takesAnyStructure(self._model)

    @property
    def _isStructure(self) -> bool:
        """Clicks in the selected segment are about any structure, the check box on or off: the
        network of the model's organ would draw that into it."""
        node = self.segmentationNode()
        return node is not None and segments.isStructure(node, self._segmentId)

    @property
    def _becomesStructure(self) -> bool:
        """A click makes the selected segment one of any structure."""
        node, segmentId = self.segmentationNode(), self._segmentId
        if not self._wantsStructure or self._isStructure or node is None or segmentId is None:
            return False
        return not isOfTarget(node, segmentId, self._model)

    @property
    def _overPoint(self) -> bool:
        points = self._session.points if self._session is not None else None
        return points is not None and points.hovered is not None

    def _updateTarget(self) -> None:
        session, node, segmentId = self._session, self.segmentationNode(), self._segmentId
        if session is not None and node is not None and segmentId is not None:
            session.setTarget(node, segmentId)

    def _pick(self, x: int, y: int, viewWidget: Any) -> tuple[float, float, float] | None:
        """The place on a surface that is seen at these pixels."""
        picker = vtk.vtkCellPicker()
        picker.SetTolerance(PICK_TOLERANCE)
        if not picker.Pick(x, y, 0, self.scriptedEffect.renderer(viewWidget)):
            return None
        return picker.GetPickPosition()

    def _onEditorModified(self, *_arguments: Any) -> None:
        self._hub.showPoints()
        self._updateTarget()
        self._update()

    def _update(self) -> None:
        session = self._session
        clicks = session.clicks if session is not None else ()
        begun = ""
        if session is not None and session.beginsFromMask and not clicks:
            begun = _(
                "Begun from this segment: click inside in a piece that is missing, or with Ctrl "
                "(Command on macOS) in one that is too much."
            )
        self._structureBox.show(takesAnyStructure(self._model), self._isStructure)
        structure = self._isStructure or self._becomesStructure
        if self._problem:
            text = self._problem
        elif self._hub.busy:
            text = self._stage or _("Segmenting")
        elif clicks:
            limits = len(lassos_of(clicks))
            inside = sum(click.inside for click in clicks)
            text = _("Points: {inside} inside, {outside} outside.").format(
                inside=inside, outside=len(clicks) - inside - limits
            )
            if limits:
                text += " " + _("Boxes and lassos: {number}.").format(number=limits)
        elif begun:
            text = ""
        elif structure:
            text = _("Click inside what the selected segment is named after.")
        else:
            text = _("Click inside the organ, or outside it with Ctrl (Command on macOS) held.")
        self.stateLabel.text = "\n".join(part for part in (begun, text, self._estimate) if part)
        self.beginButton.enabled = self._segmentId is not None
        self.takeBackButton.enabled = self.removeAllButton.enabled = bool(clicks)


def _problemBefore() -> str:
    """What stands in the way of any click."""
    try:
        installation.requirePackages()
    except installation.InstallationError as error:
        return str(error)
    return ""
