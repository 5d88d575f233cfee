"""What all sections of the panel have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .panel import Panel


class Section:
    """A part of the panel: its controls, and how they follow the state of the panel.

    Args:
        panel: what the sections share.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.ui: Any = panel.ui

    def update(self) -> None:
        """Show the present state: called after every change of the parameters or the scene."""

    def parametersChanged(self) -> None:
        """Another parameter node, or none (the scene is closed)."""

    def exit(self) -> None:
        """The user leaves the module."""

    def enter(self) -> None:
        """The user comes to the module."""

    def cleanup(self) -> None:
        """The panel goes away: let go of all that outlives it."""


def clicked(button: Any, function: Any) -> None:
    """Call a function without arguments when a button is pressed."""
    button.clicked.connect(lambda *_arguments: function())
