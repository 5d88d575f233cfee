"""Attention: where each gate of the network looked, over the CT."""

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


class AttentionSection(Section):
    """A row for each level with its eye and its focus ratio; at most one level is shown."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.eyes: dict[int, Any] = {}
        self._rows: dict[int, float | None] = {}
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
        ratios: dict[int, float | None] = {}
        if nodes is not None:
            ratios = {level: nodes.focusRatios.get(level) for level in nodes.attentionNodes}
        self._makeRows(ratios)
        level = self._shownLevel(nodes)
        for number, eye in self.eyes.items():
            eye.checked = number == level
            eye.setIcon(self._icons[number == level])
        self.ui.removeAttentionButton.enabled = bool(ratios) and not self.panel.busy
        self.ui.attentionSentenceLabel.text = (
            _("Nothing was found, so there is nothing to show.")
            if nothing
            else _sentence(ratios, level)
        )
        self._apply(nodes, level)

    def parametersChanged(self) -> None:
        self._applied = None

    def _shownLevel(self, nodes: ResultNodes | None) -> int:
        parameters = self.panel.parameters
        if parameters is None or nodes is None:
            return 0
        level = parameters.attentionLevel
        return level if level in nodes.attentionNodes else 0

    def _makeRows(self, ratios: dict[int, float | None]) -> None:
        if ratios == self._rows:
            return
        self._rows = dict(ratios)
        # Through its widget: an empty layout is false in PythonQt, and is not among the controls.
        layout = self.ui.attentionLevelsFrame.layout()
        while layout.count():
            widget = layout.takeAt(0).widget()
            widget.hide()
            widget.deleteLater()
        self.eyes = {}
        above = self.ui.attentionCollapsibleButton
        for row, (level, ratio) in enumerate(ratios.items()):
            eye = qt.QToolButton()
            eye.checkable = True
            eye.autoRaise = True
            eye.toolTip = _("Show the attention of level {level} over the CT").format(level=level)
            eye.accessibleName = eye.toolTip
            eye.clicked.connect(lambda checked=False, level=level: self._onEye(level, checked))
            name = qt.QLabel(_levelName(level, len(ratios)))
            value = qt.QLabel("" if ratio is None else _("focus {ratio}").format(ratio=_pc(ratio)))
            value.toolTip = _("Share of the voxels near the organ that the gate lets through")
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
        for node in nodes.attentionNodes.values():
            removeNode(node)
        self.panel.update()

    def _apply(self, nodes: ResultNodes | None, level: int) -> None:
        """Bring the views in line with the parameters, but only after a change of ours: the user
        may have put something else into the views since."""
        parameters, volumeNode = self.panel.parameters, self.panel.volumeNode
        if parameters is None or self.panel.busy:
            return
        node = nodes.attentionNodes.get(level) if nodes is not None else None
        wanted = (
            volumeNode.GetID() if volumeNode is not None else None,
            node.GetID() if node is not None else None,
            parameters.attentionOpacity,
            parameters.attentionColors,
        )
        if wanted == self._applied:
            return
        first, self._applied = self._applied is None, wanted
        if nodes is not None:
            for number, other in nodes.attentionNodes.items():
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
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetTitleText(_("Attention, level {level}").format(level=level))
        legend.SetLabelFormat("%.1f")
        legend.SetNumberOfLabels(3)
    if legend is not None:
        legend.SetVisibility(shown)


def _levelName(level: int, levels: int) -> str:
    if level == 1:
        return _("Level {level} (fine)").format(level=level)
    if level == levels:
        return _("Level {level} (coarse)").format(level=level)
    return _("Level {level}").format(level=level)


def _pc(ratio: float) -> str:
    return f"{ratio:.1%}" if ratio < 0.1 else f"{ratio:.0%}"


def _sentence(ratios: dict[int, float | None], level: int) -> str:
    if not ratios:
        return _("Segment a scan to see where the network looked.")
    ratio = ratios.get(level)
    if not level:
        return _("Press an eye to see where that level of the network looked.")
    if ratio is None:
        return _("Bright is where the gate of this level let the image through.")
    if is_open(ratio):
        return _(
            "This gate is open nearly everywhere ({ratio}): at this level the network did not "
            "choose where to look."
        ).format(ratio=_pc(ratio))
    if is_shut(ratio):
        return _(
            "This gate is shut nearly everywhere ({ratio}): this level added next to nothing to "
            "the outline."
        ).format(ratio=_pc(ratio))
    return _(
        "Bright is where the gate of level {level} let the image through: {ratio} of the region "
        "around the organ. The network drew the outline from there."
    ).format(level=level, ratio=_pc(ratio))
