"""What all sections of the panel have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import qt

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


def tabAfter(previous: Any, widget: Any) -> None:
    """Put a widget that was made after the others, with all that is in it, behind another one in
    the order of the Tab key; it would come last otherwise."""
    for part in _parts(widget):
        # Qt passes over what takes no focus, so that nothing could be put behind it.
        if part.focusPolicy != qt.Qt.NoFocus:
            qt.QWidget.setTabOrder(previous, part)
            previous = part


def _parts(widget: Any) -> Iterator[Any]:
    """A widget and all in it, in the order in which they were made."""
    yield widget
    for child in widget.children():
        if child.isWidgetType() and not child.isWindow():
            yield from _parts(child)


def clicked(button: Any, function: Any) -> None:
    """Call a function without arguments when a button is pressed."""
    button.clicked.connect(lambda *_arguments: function())
