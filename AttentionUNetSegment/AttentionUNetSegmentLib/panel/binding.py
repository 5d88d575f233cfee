"""Controls bound to parameters by the dynamic property that the .ui file gives them."""

from __future__ import annotations

from typing import Any

PROPERTY = "SlicerParameterName"


def connectByName(parameters: Any, ui: Any) -> int:
    """Bind each control that names a parameter.

    ``parameters.connectGui(ui)`` does the same, but does not return the tag by which the controls
    can be let go again; without that they are written to after the module was reloaded.

    Returns:
        A tag for ``parameters.disconnectGui``.
    """
    controls = {}
    for widget in vars(ui).values():
        name = widget.property(PROPERTY)
        if name:
            controls[name] = widget
    return parameters.connectParametersToGui(controls)
