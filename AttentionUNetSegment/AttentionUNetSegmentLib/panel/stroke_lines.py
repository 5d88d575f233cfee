"""The lines of scribbles, boxes and lassos in the views, beside the points that they hang on."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk

from ..inference.strokes import Lasso, Prompt, Scribble
from ..scene.removal import removeNode

LINES_ROLE = "AttentionUNetSegment.StrokeOf"
"""Node reference role, from a line to the points that it belongs to."""
LINE_MM = 1.2


class StrokeLines:
    """A curve for each stroke among some prompts: not saved, hidden from editors, and nothing that
    the mouse could take.

    Args:
        node: the points.
        inside, outside: the colors of lines.
    """

    def __init__(
        self,
        node: slicer.vtkMRMLMarkupsFiducialNode,
        inside: tuple[float, float, float],
        outside: tuple[float, float, float],
    ) -> None:
        self._node = node
        self._colors = {True: inside, False: outside}
        self._lines: list[tuple[Scribble | Lasso, slicer.vtkMRMLMarkupsCurveNode]] = []
        self._visible = True

    def setVisible(self, visible: bool) -> None:
        """Those that are drawn, and will be."""
        self._visible = visible
        for _stroke, line in self._lines:
            line.SetDisplayVisibility(visible)

    def show(self, prompts: Sequence[Prompt]) -> None:
        """The lines of these, and no others."""
        strokes = [prompt for prompt in prompts if isinstance(prompt, (Scribble, Lasso))]
        kept, others = [], []
        for stroke, line in self._lines:
            if line.GetScene() is None:
                continue
            if stroke in strokes:
                strokes.remove(stroke)
                kept.append((stroke, line))
            else:
                others.append((stroke, line))
        for stroke in strokes:
            # As when the scan is dragged by its transform: a new node would be told of everywhere.
            moved = next((one for one in others if _looksLike(one[0], stroke)), None)
            if moved is not None:
                others.remove(moved)
                _setPoints(moved[1], stroke)
            kept.append((stroke, self._draw(stroke) if moved is None else moved[1]))
        for _stroke, line in others:
            _remove(line)
        self._lines = kept

    def remove(self) -> None:
        for _stroke, line in self._lines:
            _remove(line)
        self._lines = []

    def _draw(self, stroke: Scribble | Lasso) -> slicer.vtkMRMLMarkupsCurveNode:
        closed = isinstance(stroke, Lasso)
        line = slicer.mrmlScene.CreateNodeByClass(
            "vtkMRMLMarkupsClosedCurveNode" if closed else "vtkMRMLMarkupsCurveNode"
        )
        line.UnRegister(None)
        line.SetHideFromEditors(True)
        line.SetSaveWithScene(False)
        line.SetLocked(True)
        line.SetCurveTypeToLinear()
        line = slicer.mrmlScene.AddNode(line)
        line.SetNodeReferenceID(LINES_ROLE, self._node.GetID())
        line.CreateDefaultDisplayNodes()
        display = line.GetDisplayNode()
        display.SetSaveWithScene(False)
        for set_color in (display.SetSelectedColor, display.SetColor, display.SetActiveColor):
            set_color(*self._colors[stroke.inside])
        display.SetVisibility(self._visible)
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(False)
        # Of the line alone: its corners are no points that one could take.
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(0.01)
        display.SetCurveLineSizeMode(slicer.vtkMRMLMarkupsDisplayNode.UseLineDiameter)
        display.SetLineDiameter(LINE_MM)
        _setPoints(line, stroke)
        return line


def _looksLike(one: Scribble | Lasso, other: Scribble | Lasso) -> bool:
    return type(one) is type(other) and one.inside == other.inside


def _setPoints(line: slicer.vtkMRMLMarkupsCurveNode, stroke: Scribble | Lasso) -> None:
    points = vtk.vtkPoints()
    for point in stroke.points_ras:
        points.InsertNextPoint(*point)
    line.SetControlPointPositionsWorld(points)


def _remove(line: slicer.vtkMRMLMarkupsCurveNode) -> None:
    scene = line.GetScene()
    if scene is not None and not scene.IsClosing():
        removeNode(line)
