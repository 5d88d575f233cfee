"""Drags in the slice views draw strokes, while one of the panel's buttons is pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

from ..inference.strokes import Prompt
from .stroke_drawing import StrokeDrawing, Tool

PRIORITY = 1.0
"""Before the view itself, which would change the window and level of the image."""
EVENTS = ("LeftButtonPressEvent", "LeftButtonReleaseEvent", "MouseMoveEvent")


class StrokePlacing:
    """Takes the left button of the slice views from :meth:`start` to :meth:`stop`.

    Args:
        onDrawn: told what was drawn.
        isElsewhere: whether the mouse is somebody else's now: over a point, which it drags, or in
            the hands of another tool.
    """

    def __init__(self, onDrawn: Callable[[Prompt], None], isElsewhere: Callable[[], bool]) -> None:
        self._onDrawn = onDrawn
        self._isElsewhere = isElsewhere
        self._observed: list[tuple[Any, int]] = []
        self._views: dict[str, Any] = {}
        self._drawing: StrokeDrawing | None = None
        self.tool: Tool | None = None
        self.inside = True

    def start(self, tool: Tool, inside: bool) -> None:
        """Draw with this tool from now on."""
        self.stop()
        if slicer.app.layoutManager() is not None:
            self.tool, self.inside = tool, inside
            self.followViews()

    def followViews(self) -> None:
        """While something is drawn with a tool, take the views that a layout has brought, too."""
        if self.tool is None:
            return
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames():
            if name in self._views:
                continue
            sliceWidget = manager.sliceWidget(name)
            view = self._views[name] = sliceWidget.sliceView()
            view.setViewCursor(qt.QCursor(qt.Qt.CrossCursor))
            for event in EVENTS:
                self._observe(view.interactor(), event, sliceWidget)

    def stop(self) -> None:
        """The mouse is the views' again."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        for interactor, tag in self._observed:
            interactor.RemoveObserver(tag)
        for view in self._views.values():
            view.unsetViewCursor()
        self._observed, self._views, self.tool = [], {}, None

    def _observe(self, interactor: Any, event: str, sliceWidget: Any) -> None:
        def handle(caller: Any, name: str) -> None:
            if self._takes(caller, vtk.vtkCommand.GetEventIdFromString(name), sliceWidget):
                caller.GetCommand(tag).AbortFlagOn()

        tag = interactor.AddObserver(event, handle, PRIORITY)
        self._observed.append((interactor, tag))

    def _takes(self, interactor: Any, eventId: int, sliceWidget: Any) -> bool:
        """Whether the view is to do nothing more with the event."""
        xy = interactor.GetEventPosition()
        if self._drawing is not None and eventId == vtk.vtkCommand.LeftButtonPressEvent:
            self._drawing.cancel()  # its release never came, as when another window took the mouse
            self._drawing = None
        if self._drawing is not None:
            if eventId == vtk.vtkCommand.MouseMoveEvent:
                self._drawing.extend(xy)
            elif eventId == vtk.vtkCommand.LeftButtonReleaseEvent:
                drawing, self._drawing = self._drawing, None
                prompt = drawing.finish()
                if prompt is not None:
                    self._onDrawn(prompt)
            return True
        held = interactor.GetShiftKey() or interactor.GetAltKey() or interactor.GetControlKey()
        if eventId != vtk.vtkCommand.LeftButtonPressEvent or held or self.tool is None:
            return False
        if self._isElsewhere():
            return False
        self._drawing = StrokeDrawing(sliceWidget, self.tool, self.inside, xy)
        return True
