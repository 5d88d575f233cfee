"""Controls bound to parameters by the dynamic property that the .ui file gives them."""

from __future__ import annotations

from typing import Any

import vtk

PROPERTY = "SlicerParameterName"


class Binding:
    """Each control that names a parameter, bound to it until :meth:`release`.

    ``parameters.connectGui(ui)`` binds them too, but does not return the tag by which the controls
    can be let go again. What ``disconnectGui`` forgets is the observer of the parameters' node that
    writes to the controls: Slicer keeps the node when the scene is closed, and with it one more
    wrapper each time.

    Args:
        parameters: a parameter node wrapper.
        ui: has the controls as attributes.
    """

    def __init__(self, parameters: Any, ui: Any) -> None:
        controls = {}
        for widget in vars(ui).values():
            name = widget.property(PROPERTY)
            if name:
                controls[name] = widget
        self.parameters = parameters
        node = parameters.parameterNode
        first = _nextTag(node)
        self._guiTag = parameters.connectParametersToGui(controls)
        self._observers = range(first + 1, _nextTag(node))

    def release(self) -> None:
        """Neither the controls nor the parameters hear of each other any more."""
        self.parameters.disconnectGui(self._guiTag)
        for observer in self._observers:
            self.parameters.parameterNode.RemoveObserver(observer)


def _nextTag(node: vtk.vtkObject) -> int:
    """VTK counts an object's observers up."""
    tag = node.AddObserver(vtk.vtkCommand.UserEvent, lambda *_: None)
    node.RemoveObserver(tag)
    return tag
