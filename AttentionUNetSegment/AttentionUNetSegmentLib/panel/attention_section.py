"""Attention: what each gate of the network let through, and where the network is undecided, over
the CT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from ..networks.focus import is_open, is_shut
from ..scene.removal import removeNode
from .section import Section, clicked, tabAfter

if TYPE_CHECKING:
    from ..scene.find_result import ResultNodes
    from .panel import Panel


UNCERTAINTY = -1
"""In the place of a level, of the volume that shows the uncertainty."""


class AttentionSection(Section):
    """A row for each level with its eye and its means, and one for the uncertainty; at most one of
    them is shown."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.eyes: dict[int, Any] = {}
        self._rows: dict[int, str] = {}
        self._applied: tuple[Any, ...] | None = None
        self._icons = {
            shown: qt.QIcon(panel.resourcePath(f"Icons/{name}.svg"))
            for shown, name in ((True, "EyeOpen"), (False, "EyeClosed"))
        }
        clicked(self.ui.removeAttentionButton, self._onRemove)

    def update(self) -> None:
        nodes = self.panel.resultNodes
        nothing = nodes is not None and nodes.isEmpty
        if nothing:
            nodes = None  # it looked somewhere, but to show where would explain nothing
        maps = _maps(nodes)
        self._makeRows({level: _means(nodes, level) for level in maps})
        level = self._shownLevel(nodes)
        for number, eye in self.eyes.items():
            eye.checked = number == level
            eye.setIcon(self._icons[number == level])
        self.ui.removeAttentionButton.enabled = bool(maps) and not self.panel.busy
        self.ui.attentionSentenceLabel.text = (
            _("Nothing was found, so there is nothing to show.")
            if nothing
            else _sentence(nodes, level)
        )
        self._apply(nodes, level)

    def parametersChanged(self) -> None:
        self._applied = None

    def _shownLevel(self, nodes: ResultNodes | None) -> int:
        parameters = self.panel.parameters
        if parameters is None or nodes is None:
            return 0
        level = parameters.attentionLevel
        return level if level in _maps(nodes) else 0

    def _makeRows(self, rows: dict[int, str]) -> None:
        if rows == self._rows:
            return
        self._rows = rows
        # Through its widget: an empty layout is false in PythonQt, and is not among the controls.
        layout = self.ui.attentionLevelsFrame.layout()
        while layout.count():
            widget = layout.takeAt(0).widget()
            widget.hide()
            widget.deleteLater()
        self.eyes = {}
        above = self.ui.attentionCollapsibleButton
        levels = max(rows, default=0)
        for row, (level, means) in enumerate(rows.items()):
            eye = qt.QToolButton()
            eye.checkable = True
            eye.autoRaise = True
            eye.toolTip = (
                _("Show over the CT where the network is undecided")
                if level == UNCERTAINTY
                else _("Show the attention of level {level} over the CT").format(level=level)
            )
            eye.accessibleName = eye.toolTip
            eye.clicked.connect(lambda checked=False, level=level: self._onEye(level, checked))
            name = qt.QLabel(_levelName(level, levels))
            value = qt.QLabel(means)
            value.toolTip = (
                ""
                if level == UNCERTAINTY
                else _(
                    "Mean attention in the segment, and in the rest of what was looked at closely; "
                    "the higher the second of the coarsest level, the less reliable the result"
                )
            )
            layout.addWidget(eye, row, 0)
            layout.addWidget(name, row, 1)
            layout.addWidget(value, row, 2)
            self.eyes[level] = eye
            tabAfter(above, eye)
            above = eye

    def _onEye(self, level: int, checked: bool) -> None:
        if self.panel.parameters is not None:
            self.panel.parameters.attentionLevel = level if checked else 0

    def _onRemove(self) -> None:
        nodes, parameters = self.panel.resultNodes, self.panel.parameters
        if nodes is None or parameters is None:
            return
        parameters.attentionLevel = 0
        self.panel.views.hideResults()
        for node in _maps(nodes).values():
            removeNode(node)
        self.panel.update()

    def _apply(self, nodes: ResultNodes | None, level: int) -> None:
        """Bring the views in line with the parameters, but only after a change of ours: the user
        may have put something else into the views since."""
        parameters, volumeNode = self.panel.parameters, self.panel.volumeNode
        if parameters is None or self.panel.busy:
            return
        node = _maps(nodes).get(level)
        wanted = (
            volumeNode.GetID() if volumeNode is not None else None,
            node.GetID() if node is not None else None,
            parameters.attentionOpacity,
            parameters.attentionColors,
        )
        if wanted == self._applied:
            if node is not None and volumeNode is not None:
                self.panel.views.showInNewViews(volumeNode, node, parameters.attentionOpacity)
            return
        first, self._applied = self._applied is None, wanted
        for number, other in _maps(nodes).items():
            if number != UNCERTAINTY:  # in the colours of the probability, which it is made of
                _color(other, parameters.attentionColors.value)
            _showLegend(other, number, shown=number == level)
        if node is not None and volumeNode is not None:
            self.panel.views.showOver(volumeNode, node, parameters.attentionOpacity)
        elif not first:
            self.panel.views.hideResults()


def _color(node: slicer.vtkMRMLScalarVolumeNode, colorNodeId: str) -> None:
    display = node.GetDisplayNode()
    if display is not None and display.GetColorNodeID() != colorNodeId:
        display.SetAndObserveColorNodeID(colorNodeId)


def _showLegend(node: slicer.vtkMRMLScalarVolumeNode, level: int, shown: bool) -> None:
    """The application's colour bar, in the slice views that show the volume."""
    logic = slicer.vtkSlicerColorLogic
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None and shown:
        if node.GetDisplayNode() is None:  # removed; there are no colours to explain
            return
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetTitleText(
            _("Uncertainty")
            if level == UNCERTAINTY
            else _("Attention, level {level}").format(level=level)
        )
        legend.SetLabelFormat("%.1f")
        legend.SetNumberOfLabels(3)
    if legend is not None:
        legend.SetVisibility(shown)


def _maps(nodes: ResultNodes | None) -> dict[int, Any]:
    """The volumes that can be shown, by level, the uncertainty last."""
    if nodes is None:
        return {}
    uncertainty = nodes.uncertaintyNode
    return {**nodes.attentionNodes, **({} if uncertainty is None else {UNCERTAINTY: uncertainty})}


def _means(nodes: ResultNodes | None, level: int) -> str:
    """A level's means; empty where they are not known, as in a scene of an earlier version."""
    inside = nodes.attentionInOrgan.get(level) if nodes is not None else None
    around = nodes.attentionAround.get(level) if nodes is not None else None
    if inside is None or around is None:
        return ""
    return f"{inside:.2f} / {around:.2f}"


def _levelName(level: int, levels: int) -> str:
    if level == UNCERTAINTY:
        return _("Uncertainty")
    if level == 1:
        return _("Level {level} (fine)").format(level=level)
    if level == levels:
        return _("Level {level} (coarse)").format(level=level)
    return _("Level {level}").format(level=level)


def _sentence(nodes: ResultNodes | None, level: int) -> str:
    if not _maps(nodes):
        return _("Segment a scan to see what the network let through, and where it is undecided.")
    if not level:
        return _("Press an eye to see what that level of the network let through.")
    if level == UNCERTAINTY:
        return _(
            "Bright is where the network cannot decide; clear is where it is sure of its answer, "
            "right or wrong. Click where it matters."
        )
    ratio = nodes.focusRatios.get(level) if nodes is not None else None
    if ratio is not None and is_open(ratio):
        return _(
            "This gate is open nearly everywhere: at this level the network did not choose what to "
            "use."
        )
    if ratio is not None and is_shut(ratio):
        return _(
            "This gate is shut nearly everywhere: this level added next to nothing to the outline."
        )
    return _(
        "Bright is what the gate of level {level} let through. It follows the network's own "
        "answer, right or wrong: a map that looks tidy is no proof that the outline is right. The "
        "figures are its means inside the segment / around it."
    ).format(level=level)
