"""Click to segment: the points, their list, and when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..inference.strokes import Lasso, Prompt, Scribble
from ..inference.validation import check_clicks
from ..scene.segments import asTitle
from ..scene.volumes import clicksInPlace, volumeFromNode
from .click_points import ClickPoints
from .section import Section, clicked
from .stroke_drawing import Tool
from .stroke_placing import StrokePlacing
from .target import foundOrgansText, noStructuresText, takesAnyStructure

if TYPE_CHECKING:
    from ..inference.uncertainty import DoubtfulPlace
    from .panel import Panel


class ClicksSection(Section):
    """Two buttons place points, and four draw strokes; the list shows them; undo, redo, remove and
    clear change them. One more shows where a click is most worth it."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._inside = True
        self._shown: list[str] = []
        self._targets: list[tuple[str, str]] = []
        self._places: tuple[DoubtfulPlace, ...] = ()
        self._nextPlace = 0
        ui = self.ui
        self._hint = ui.clickHintLabel.text
        self._structureToolTip = ui.beginStructureButton.toolTip
        self._hintAtStart = _(
            "Begun from a segment: press Inside and click in a piece that is missing, or press "
            "Outside and click in a piece that is too much. All else of it stays as it is."
        )
        clicked(ui.doubtfulPlaceButton, self._onDoubtfulPlace)
        ui.placeWidget.placeMultipleMarkups = (
            slicer.qSlicerMarkupsPlaceWidget.ForcePlaceMultipleMarkups
        )
        ui.placeWidget.connect("activeMarkupsFiducialPlaceModeChanged(bool)", self._onPlaceMode)
        ui.insideButton.clicked.connect(lambda checked=False: self._onPlace(True, checked))
        ui.outsideButton.clicked.connect(lambda checked=False: self._onPlace(False, checked))
        self._strokes = StrokePlacing(self._onDrawn, self._isMouseTaken)
        self._strokeButtons = {
            (Tool.SCRIBBLE, True): ui.scribbleInsideButton,
            (Tool.SCRIBBLE, False): ui.scribbleOutsideButton,
            (Tool.BOX, False): ui.boxButton,
            (Tool.LASSO, False): ui.lassoButton,
        }
        for (tool, inside), button in self._strokeButtons.items():
            button.clicked.connect(
                lambda checked=False, tool=tool, inside=inside: self._onStroke(
                    tool, inside, checked
                )
            )
        clicked(ui.undoClickButton, self._onUndo)
        clicked(ui.redoClickButton, self._onRedo)
        clicked(ui.removeClickButton, self._onRemove)
        clicked(ui.resetClicksButton, self._onReset)
        ui.clickList.itemSelectionChanged.connect(self._onSelected)
        ui.targetComboBox.activated.connect(self._onTargetChosen)
        ui.structureNameLineEdit.textChanged.connect(lambda _text: self._showStructure())
        ui.structureNameLineEdit.returnPressed.connect(self._onBeginStructure)
        clicked(ui.beginStructureButton, self._onBeginStructure)

    @property
    def points(self) -> ClickPoints | None:
        """Those on the panel's volume; the Segment Editor effect has the same ones."""
        session = self.panel.session
        return session.points if session is not None else None

    @property
    def clicks(self) -> tuple[Prompt, ...]:
        return self.points.clicks if self.points is not None else ()

    def update(self) -> None:
        self._strokes.followViews()
        self._showTargets()
        self._showStructure()
        self.showClicks()

    def showClicks(self) -> None:
        """Without what the model offers, which is looked for on disk: called at each step of a
        scan that is being moved."""
        self._followNode()
        ui, points = self.ui, self.points
        clicks = self.clicks
        shown = [_describe(number, click) for number, click in enumerate(clicks, start=1)]
        if shown != self._shown:
            blocked = ui.clickList.blockSignals(True)
            ui.clickList.clear()
            for text in shown:
                ui.clickList.addItem(text)
            ui.clickList.blockSignals(blocked)
            self._shown = shown
        session = self.panel.session
        begins = session is not None and session.beginsFromMask
        hint = self._hintAtStart if begins else self._hint
        if self.panel.structure is not None:
            hint = _(
                "Experimental: click inside the {name} where it is missing, and outside in what is "
                "too much. Check every slice."
            ).format(name=self.panel.structure.name)
        ui.clickHintLabel.text = hint
        ui.clickHintLabel.visible = not clicks
        ui.clickList.visible = bool(clicks)
        hasVolume = self.panel.volumeNode is not None
        ui.insideButton.enabled = ui.outsideButton.enabled = hasVolume
        for button in self._strokeButtons.values():
            button.enabled = hasVolume
        ui.clickList.enabled = hasVolume
        ui.undoClickButton.enabled = bool(clicks)
        ui.redoClickButton.enabled = points is not None and points.canRedo
        ui.removeClickButton.enabled = bool(clicks) and bool(ui.clickList.selectedItems())
        ui.resetClicksButton.enabled = bool(clicks)
        nodes = self.panel.resultNodes
        ofTarget = self.panel.hasSegment and self.panel.structure is None
        places = nodes.doubtfulPlaces if nodes is not None and ofTarget else ()
        if places != self._places:
            self._places, self._nextPlace = places, 0
        ui.doubtfulPlaceButton.enabled = bool(places) and not self.panel.busy

    def parametersChanged(self) -> None:
        self._stopPlacing()
        self.ui.placeWidget.setCurrentNode(None)

    def volumeChanged(self) -> None:
        """Points belong to a volume: take up those of the new one."""
        self._stopPlacing()
        self._followNode()

    def exit(self) -> None:
        self._stopPlacing()

    def cleanup(self) -> None:
        self._stopPlacing()
        self.ui.placeWidget.setCurrentNode(None)

    # The doubtful places

    def _onDoubtfulPlace(self) -> None:
        """Show the next one; after the last the first again."""
        volumeNode = self.panel.volumeNode
        if not self._places or volumeNode is None:
            return
        number = self._nextPlace % len(self._places)
        self._nextPlace = number + 1
        place, position_ras = self._places[number], [0.0, 0.0, 0.0]
        volumeNode.TransformPointToWorld(place.position_ras, position_ras)
        r, a, s = position_ras
        self.panel.views.jumpTo((r, a, s))
        self.panel.say(
            _(
                "Doubtful place {number} of {count}: about {volume:.1f} mL around it may be on the "
                "wrong side of the outline. Click Inside or Outside if they are."
            ).format(number=number + 1, count=len(self._places), volume=place.volume_ml)
        )

    # Placing

    def _onPlace(self, inside: bool, checked: bool) -> None:
        session = self.panel.session
        if not checked or session is None:
            self._stopPlacing()
            return
        self._stopPlacing()
        self._inside = inside
        points = session.newPoints()
        points.nextInside = inside
        self._followNode()
        self.ui.placeWidget.setCurrentNode(points.node)
        self.ui.placeWidget.setPlaceModeEnabled(True)
        self._showPlacing(True)

    def _onPlaceMode(self, active: bool) -> None:
        self._showPlacing(active)

    def _showPlacing(self, active: bool) -> None:
        self.ui.insideButton.checked = active and self._inside
        self.ui.outsideButton.checked = active and not self._inside
        for (tool, inside), button in self._strokeButtons.items():
            button.checked = (tool, inside) == (self._strokes.tool, self._strokes.inside)

    def _onStroke(self, tool: Tool, inside: bool, checked: bool) -> None:
        self._stopPlacing()
        if not checked or self.panel.volumeNode is None:
            return
        editor = self.panel.correction.editor
        if editor is not None:
            editor.setActiveEffectByName("")  # it would take the mouse
        self._strokes.start(tool, inside)
        self._showPlacing(False)

    def _isMouseTaken(self) -> bool:
        """By a point that can be dragged, by an effect of the editor, or for placing something."""
        editor, points = self.panel.correction.editor, self.points
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        return (
            (points is not None and points.hovered is not None)
            or (editor is not None and editor.activeEffect() is not None)
            or interaction.GetCurrentInteractionMode() == interaction.Place
        )

    def _onDrawn(self, prompt: Prompt) -> None:
        session, volumeNode = self.panel.session, self.panel.volumeNode
        if session is None or volumeNode is None:
            return
        try:
            check_clicks(volumeFromNode(volumeNode), clicksInPlace(volumeNode, [prompt]))
        except InputError as error:
            self.panel.showError(error)
            return
        session.newPoints().addPrompt(prompt)
        self._followNode()

    def _stopPlacing(self) -> None:
        self._strokes.stop()
        if self.ui.placeWidget.placeModeEnabled:
            self.ui.placeWidget.setPlaceModeEnabled(False)
        self._showPlacing(False)

    # What they are about

    def _showTargets(self) -> None:
        """A choice only where the model has several, or there is another structure."""
        combo, panel = self.ui.targetComboBox, self.panel
        targets = [("", label.name) for label in panel.labels]
        targets += [(segmentId, label.name) for label, segmentId in panel.structures]
        chosen = ("", panel.target.name) if panel.target is not None else None
        if panel.structure is not None and panel.parameters is not None:
            chosen = (panel.parameters.structure, panel.structure.name)
        blocked = combo.blockSignals(True)
        try:
            if targets != self._targets:
                combo.clear()
                for _segmentId, name in targets:
                    combo.addItem(asTitle(name))
                self._targets = targets
            combo.setCurrentIndex(targets.index(chosen) if chosen in targets else -1)
        finally:
            combo.blockSignals(blocked)
        combo.visible = len(targets) > 1
        combo.enabled = not panel.busy

    def _onTargetChosen(self, index: int) -> None:
        parameters = self.panel.parameters
        if parameters is None or not 0 <= index < len(self._targets):
            return
        segmentId, name = self._targets[index]
        nodes = self.panel.resultNodes
        with slicer.util.NodeModify(parameters):
            if segmentId and nodes is not None:
                parameters.segmentation = nodes.segmentationNode
            parameters.structure = segmentId
            if not segmentId:
                parameters.target = name

    def _showStructure(self) -> None:
        ui, panel = self.ui, self.panel
        model = panel.parameters.model if panel.parameters is not None else ""
        offered = bool(model) and takesAnyStructure(model)
        usable = offered and panel.volumeNode is not None and not panel.busy
        toolTip = noStructuresText()
        if offered:
            toolTip = f"{self._structureToolTip} {foundOrgansText(model)}".strip()
        for widget in (ui.structureNameLineEdit, ui.beginStructureButton):
            widget.enabled = usable
            widget.toolTip = toolTip
        named = bool(ui.structureNameLineEdit.text.strip())
        ui.beginStructureButton.enabled = usable and named

    def _onBeginStructure(self) -> None:
        name = self.ui.structureNameLineEdit.text.strip()
        if name and self.ui.beginStructureButton.enabled and self.panel.beginStructure(name):
            self.ui.structureNameLineEdit.text = ""
            if not self.panel.busy:  # it is not looked for
                self._onPlace(True, True)

    # The node

    def _followNode(self) -> None:
        parameters, points = self.panel.parameters, self.points
        node = points.node if points is not None else None
        if points is not None:
            points.nextInside = self._inside
        if parameters is not None and parameters.clicks is not node:
            parameters.clicks = node
        if self.ui.placeWidget.currentNode() is not node:
            self.ui.placeWidget.setCurrentNode(node)

    # The list

    def _onUndo(self) -> None:
        if self.points is not None:
            self.points.undo()
        self.update()

    def _onRedo(self) -> None:
        if self.points is not None:
            self.points.redo()
        self.update()

    def _onRemove(self) -> None:
        if self.points is not None:
            self.points.remove(self.ui.clickList.currentRow)
        self.update()

    def _onReset(self) -> None:
        if self.points is not None:
            self.points.reset()
        self.update()

    def _onSelected(self) -> None:
        row = self.ui.clickList.currentRow
        clicks = self.clicks
        self.ui.removeClickButton.enabled = 0 <= row < len(clicks)
        if 0 <= row < len(clicks) and self.ui.clickList.selectedItems():
            self.panel.views.jumpTo(clicks[row].position_ras)


def _describe(number: int, click: Prompt) -> str:
    position = "  ".join(
        f"{axis} {value:.1f}" for axis, value in zip("RAS", click.position_ras, strict=True)
    )
    return f"{number}  {_kind(click)}   {position} mm"


def _kind(click: Prompt) -> str:
    if isinstance(click, Lasso):
        return _("box or lasso")
    if isinstance(click, Scribble):
        return _("line inside") if click.inside else _("line outside")
    return _("inside") if click.inside else _("outside")
