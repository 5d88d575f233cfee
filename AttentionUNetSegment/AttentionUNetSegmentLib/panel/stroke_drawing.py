"""A line that is being drawn with the mouse in a slice view, and seen while it is."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import vtk

from ..inference.clicks import Click
from ..inference.strokes import Lasso, Prompt, Scribble
from .click_points import INSIDE_COLOR, OUTSIDE_COLOR

MOVED_PIXELS = 3
"""A mouse that moved less between press and release has clicked."""
STEP_PIXELS = 2
"""Between the points of a line."""


class Tool(enum.Enum):
    """What a drag of the mouse draws."""

    SCRIBBLE = "scribble"
    BOX = "box"
    LASSO = "lasso"


class StrokeDrawing:
    """From the press of the button to its release.

    Args:
        sliceWidget: the view.
        tool: what is drawn.
        inside: of a scribble, or of the click that it is when the mouse does not move.
        xy: where the button was pressed, in pixels of the view from its lower left corner.
    """

    def __init__(self, sliceWidget: Any, tool: Tool, inside: bool, xy: tuple[int, int]) -> None:
        self.tool = tool
        self.inside = inside
        self._sliceWidget = sliceWidget
        self._pixels = [xy]
        self._moved = False
        self._polyData = vtk.vtkPolyData()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._polyData)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(mapper)
        marksInside = inside and tool is Tool.SCRIBBLE
        self._actor.GetProperty().SetColor(*(INSIDE_COLOR if marksInside else OUTSIDE_COLOR))
        self._actor.GetProperty().SetLineWidth(2)
        self._renderer.AddViewProp(self._actor)

    def extend(self, xy: tuple[int, int]) -> None:
        """The mouse moved, with the button held."""
        start = self._pixels[0]
        self._moved = self._moved or _pixelsApart(start, xy) >= MOVED_PIXELS
        if self.tool is Tool.BOX:
            self._pixels = [start, xy]
        elif _pixelsApart(self._pixels[-1], xy) >= STEP_PIXELS:
            self._pixels.append(xy)
        self._show()

    def finish(self) -> Prompt | None:
        """The button was released. What was drawn: a click where the mouse did not move; None where
        that means nothing, as a box without a side."""
        self.cancel()
        if not self._moved:
            click = Click(self._ras(self._pixels[:1])[0], self.inside)
            return click if self.tool is Tool.SCRIBBLE else None
        if self.tool is Tool.SCRIBBLE:
            return Scribble(self._ras(self._pixels), self.inside)
        corners = self._corners()
        x, y = np.array(corners).T
        if np.ptp(x) < MOVED_PIXELS or np.ptp(y) < MOVED_PIXELS:
            return None
        return Lasso(self._ras(corners))

    def cancel(self) -> None:
        """Nothing was drawn; the line is seen no more."""
        self._renderer.RemoveViewProp(self._actor)
        self._sliceWidget.sliceView().scheduleRender()

    @property
    def _renderer(self) -> Any:
        renderWindow = self._sliceWidget.sliceView().renderWindow()
        return renderWindow.GetRenderers().GetFirstRenderer()

    def _corners(self) -> list[tuple[int, int]]:
        if self.tool is not Tool.BOX:
            return self._pixels
        (left, low), (right, high) = self._pixels[0], self._pixels[-1]
        return [(left, low), (right, low), (right, high), (left, high)]

    def _ras(self, pixels: list[tuple[int, int]]) -> tuple[tuple[float, float, float], ...]:
        """In the world, in whole steps of 1/1024 mm, so that differences are exact."""
        toRas = self._sliceWidget.mrmlSliceNode().GetXYToRAS()
        points = np.array([toRas.MultiplyPoint((x, y, 0, 1))[:3] for x, y in pixels])
        return tuple((float(r), float(a), float(s)) for r, a, s in np.round(points * 1024) / 1024)

    def _show(self) -> None:
        points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
        corners = self._corners()
        for x, y in corners:
            points.InsertNextPoint(x, y, 0)
        count = len(corners) + (self.tool is not Tool.SCRIBBLE)
        lines.InsertNextCell(count)
        for number in range(count):
            lines.InsertCellPoint(number % len(corners))
        self._polyData.SetPoints(points)
        self._polyData.SetLines(lines)
        self._polyData.Modified()
        self._sliceWidget.sliceView().scheduleRender()


def _pixelsApart(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))
