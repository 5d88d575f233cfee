"""Segment: the button, how far the work is, and what came out of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from . import installation
from .section import Section, clicked
from .target import organName

if TYPE_CHECKING:
    from .panel import Panel

DOUBLE_PRESS_S = 0.4
"""A second press so soon after the first is a double click, not a wish to cancel."""

_BAR = "QFrame {{ border: 0; background-color: {color}; }}"
_COLORS = {"note": "#3d8fd1", "warning": "#d99a2b", "error": "#d9534f"}


class SegmentSection(Section):
    """One button: it segments, cancels while something runs, or installs what is missing."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._pressed = float("-inf")
        clicked(self.ui.segmentButton, self._onPressed)

    def update(self) -> None:
        button, busy = self.ui.segmentButton, self.panel.busy
        if busy:
            button.text = _("&Cancel")
            button.toolTip = _("Stop; the scene stays as it was")
        elif installation.torchInstalled():
            organ = organName(self.panel.label)
            button.text = _("&Segment {organ}").format(organ=organ)
            button.toolTip = _("Find and outline the {organ} in the volume").format(organ=organ)
        elif installation.extensionInstalled():
            button.text = _("Install PyTorch...")
            button.toolTip = installation.torchState()
        else:
            button.text = _("Open the Extensions Manager...")
            button.toolTip = installation.torchState()
        button.enabled = busy or installation.torchInstalled() or installation.torchExists()
        self.ui.missingLabel.text = installation.missingText()
        self.ui.missingLabel.visible = bool(self.ui.missingLabel.text)
        self.ui.progressBar.visible = busy
        self.ui.stageLabel.visible = busy
        parameters = self.panel.parameters
        self.ui.resultLabel.text = parameters.summary if parameters is not None else ""
        self.ui.resultLabel.visible = bool(self.ui.resultLabel.text) and not busy
        self._showMessage()

    def showProgress(self, fraction: float, text: str, left_s: float | None) -> None:
        self.ui.progressBar.value = round(100 * fraction)
        stage = text or _("Starting")
        if left_s is not None:
            stage = _("{stage}, about {seconds} s left").format(
                stage=stage, seconds=max(1, round(left_s))
            )
        self.ui.stageLabel.text = stage

    def showMessage(self, text: str, kind: str = "note") -> None:
        """Say something in the panel until the next run; an empty text takes it away."""
        self.ui.messageLabel.text = text
        # Not of the label: a style sheet keeps a text from following the application's colors.
        self.ui.messageBar.styleSheet = _BAR.format(color=_COLORS[kind])
        self._showMessage()

    def _showMessage(self) -> None:
        shown = bool(self.ui.messageLabel.text)
        self.ui.messageLabel.visible = self.ui.messageBar.visible = shown

    def _onPressed(self) -> None:
        now = time.monotonic()
        if self.panel.busy:
            if now - self._pressed >= DOUBLE_PRESS_S:
                self.panel.cancel()
            return
        self._pressed = now
        if installation.torchInstalled():
            self.panel.segment()
        elif installation.extensionInstalled():
            self.panel.installTorch()
        else:
            installation.openExtensionsManager()
