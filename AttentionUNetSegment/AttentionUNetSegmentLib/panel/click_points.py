"""The user's clicks as the control points of a markups node.

A point's description says "inside" or "outside", so that it is saved with the scene; the point is
selected where it is inside, which gives it the other of the node's two colors. A scribble, box or
lasso hangs on a point, too, by which it is dragged, removed and put in order; its line stands in
the description, as seen from the point.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..inference.clicks import Click
from ..inference.strokes import Prompt, mapped, prompt_from_json, prompt_to_json
from ..scene.results import INPUT_ROLE
from ..scene.scan_clicks import sameClick
from .stroke_lines import StrokeLines

INSIDE, OUTSIDE = "inside", "outside"
CLICKS_ATTRIBUTE = "AttentionUNetSegment.Clicks"
INSIDE_COLOR = (0.20, 0.75, 0.35)
OUTSIDE_COLOR = (0.90, 0.30, 0.25)


def newClickNode(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """An empty node for the clicks on a volume."""
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLMarkupsFiducialNode", _("{name} clicks").format(name=volumeNode.GetName())
    )
    node.SetAttribute(CLICKS_ATTRIBUTE, "1")
    node.SetNodeReferenceID(INPUT_ROLE, volumeNode.GetID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*INSIDE_COLOR)
    display.SetColor(*OUTSIDE_COLOR)
    display.SetPointLabelsVisibility(False)
    return node


def _colorActive(display: slicer.vtkMRMLMarkupsDisplayNode, inside: bool) -> None:
    """A point under the mouse, as one is that was just placed, has a color of its own in Slicer,
    which would say the wrong thing: give it that of its kind."""
    color = INSIDE_COLOR if inside else OUTSIDE_COLOR
    if not np.allclose(display.GetActiveColor(), color):
        display.SetActiveColor(*color)


def clickNodeOf(
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLMarkupsFiducialNode | None:
    """The clicks that were made on a volume."""
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        if (
            node.GetAttribute(CLICKS_ATTRIBUTE) is not None
            and node.GetNodeReferenceID(INPUT_ROLE) == volumeNode.GetID()
        ):
            return node
    return None


class ClickPoints:
    """The clicks in a node, in the order in which they were made, with undo and redo.

    Args:
        node: holds the points; may be changed by others at any time.
    """

    def __init__(self, node: slicer.vtkMRMLMarkupsFiducialNode) -> None:
        self.node = node
        self._nextInside = True
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        self._observed = (display, display.AddObserver("ModifiedEvent", self._onDisplay))
        self._lines = StrokeLines(node, INSIDE_COLOR, OUTSIDE_COLOR)
        self._lines.setVisible(bool(display.GetVisibility()))
        self._adding: Prompt | None = None
        self._undone: list[Prompt] = []
        self._known: tuple[Prompt, ...] = ()
        self._redoing = self._showing = False

    @property
    def nextInside(self) -> bool:
        """What a point is that is placed next."""
        return self._nextInside

    @nextInside.setter
    def nextInside(self, inside: bool) -> None:
        self._nextInside = inside
        self._onDisplay()

    def setVisible(self, visible: bool) -> None:
        """In the views: points and lines."""
        self.node.SetDisplayVisibility(visible)
        self._lines.setVisible(visible)

    def stop(self) -> None:
        """Observe no more, and show no lines."""
        display, tag = self._observed
        display.RemoveObserver(tag)
        self._lines.remove()

    @property
    def clicks(self) -> tuple[Prompt, ...]:
        """And scribbles, boxes and lassos."""
        return tuple(
            _read(
                tuple(self.node.GetNthControlPointPositionWorld(index)),
                self.node.GetNthControlPointDescription(index),
            )
            for index in self._defined()
        )

    @property
    def canRedo(self) -> bool:
        return bool(self._undone)

    @property
    def undone(self) -> tuple[Prompt, ...]:
        """What :meth:`redo` brings back, the next one last."""
        return tuple(self._undone)

    @undone.setter
    def undone(self, prompts: Sequence[Prompt]) -> None:
        self._undone = list(prompts)

    @property
    def hovered(self) -> int | None:
        """Place in the order of the click that is under the mouse, from 0."""
        display = self.node.GetDisplayNode()
        kind = slicer.vtkMRMLMarkupsDisplayNode.ComponentControlPoint
        if display is None or display.GetActiveComponentType() != kind:
            return None
        index = display.GetActiveComponentIndex()
        defined = self._defined()
        return defined.index(index) if index in defined else None

    def _onDisplay(self, *_arguments: object) -> None:
        display = self._observed[0]
        hovered = self.hovered
        inside = self._nextInside if hovered is None else self.clicks[hovered].inside
        _colorActive(display, inside)

    def mark(self) -> bool:
        """Say of new points what they are; returns whether the clicks are others than before."""
        if self._showing:
            return False
        self._showing = True  # each description is told of, too
        try:
            for index in self._defined():
                if _kind(self.node.GetNthControlPointDescription(index)) not in (INSIDE, OUTSIDE):
                    self._describe(index, self._adding)
                    if not self._redoing:
                        self._undone.clear()
        finally:
            self._showing = False
        clicks = self.clicks
        if len(clicks) == len(self._known) and all(map(sameClick, clicks, self._known)):
            return False
        self._known = clicks
        self._lines.show(clicks)
        return True

    def add(self, position_ras: tuple[float, float, float], inside: bool) -> None:
        self.addPrompt(Click(position_ras, inside))

    def addPrompt(self, prompt: Prompt) -> None:
        """A click, scribble, box or lasso."""
        self._adding = prompt
        try:
            self.node.AddControlPointWorld(vtk.vtkVector3d(*prompt.position_ras))
        finally:
            self._adding = None

    def show(self, clicks: Sequence[Prompt]) -> None:
        """Make these the clicks, without :meth:`mark` taking it for the user's doing."""
        self._showing = True
        try:
            defined, before = self._defined(), self.clicks
            for index in reversed(defined[len(clicks) :]):
                self.node.RemoveNthControlPoint(index)
            # In place: while a point is being placed, Slicer's own knows itself by its index.
            for index, there, click in zip(defined, before, clicks, strict=False):
                if there != click:
                    self.node.SetNthControlPointPositionWorld(index, *click.position_ras)
                    self._describe(index, click)
            for click in clicks[len(defined) :]:
                index = self.node.AddControlPointWorld(vtk.vtkVector3d(*click.position_ras))
                self._describe(index, click)
        finally:
            self._showing = False
        self._undone.clear()
        self._known = self.clicks
        self._lines.show(self._known)

    def undo(self) -> None:
        self.remove(len(self._defined()) - 1)

    def redo(self) -> None:
        if not self._undone:
            return
        click = self._undone.pop()
        self._redoing = True
        try:
            self.addPrompt(click)
        finally:
            self._redoing = False

    def remove(self, number: int) -> None:
        """Remove the click at this place of the order, from 0; :meth:`redo` brings it back, as the
        last one."""
        defined = self._defined()
        if 0 <= number < len(defined):
            self._undone.append(self.clicks[number])
            self.node.RemoveNthControlPoint(defined[number])

    def reset(self) -> None:
        self._undone.clear()
        for index in reversed(self._defined()):
            self.node.RemoveNthControlPoint(index)

    def _describe(self, index: int, prompt: Prompt | None) -> None:
        """Say what a point is; one that somebody else placed is a click of the next kind."""
        inside = self.nextInside if prompt is None else prompt.inside
        text = INSIDE if inside else OUTSIDE
        if prompt is not None and not isinstance(prompt, Click):
            text += " " + _written(prompt)
        self.node.SetNthControlPointDescription(index, text)
        self.node.SetNthControlPointSelected(index, inside)

    def _defined(self) -> list[int]:
        """Indices of the points that are set; the one that follows the mouse is not."""
        return [
            index
            for index in range(self.node.GetNumberOfControlPoints())
            if self.node.GetNthControlPointPositionStatus(index)
            == slicer.vtkMRMLMarkupsNode.PositionDefined
        ]


def _kind(description: str) -> str:
    return description.partition(" ")[0]


def _written(stroke: Prompt) -> str:
    """A scribble, box or lasso as seen from its point."""
    position = np.array(stroke.position_ras)
    return json.dumps(prompt_to_json(mapped(stroke, lambda points: points - position)))


def _read(position_ras: tuple[float, float, float], description: str) -> Prompt:
    """What hangs on a point; a click where that cannot be read, for anybody may edit it."""
    kind, _, stroke = description.partition(" ")
    if stroke:
        try:
            prompt = prompt_from_json(json.loads(stroke))
        except (ValueError, KeyError, TypeError):
            pass
        else:
            return mapped(prompt, lambda points: points + np.array(position_ras))
    return Click(position_ras, kind != OUTSIDE)
