"""Advanced: device, memory, PyTorch, the model's card, what uninstalling leaves, and the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import AttentionUNetSegmentError
from ..models import find_model, read_card
from . import installation
from .kept_files import keptFilesHtml
from .model_card_text import modelCardHtml
from .section import Section, clicked
from .target import modelCard

if TYPE_CHECKING:
    from ..inference.worker import Job
    from .panel import Panel


class AdvancedSection(Section):
    """Asks the devices for their memory only while it is unfolded: that loads PyTorch."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._job: Job[list[str]] | None = None
        self._card: str | None = None
        self.ui.advancedCollapsibleButton.contentsCollapsed.connect(lambda _f: self._onFolded())
        clicked(self.ui.installTorchButton, panel.installTorch)
        self.ui.keptFilesLabel.text = keptFilesHtml()

    def update(self) -> None:
        ui, idle = self.ui, not self.panel.busy
        for name in ("deviceComboBox", "precisionComboBox", "tileSideSpinBox"):
            getattr(ui, name).enabled = idle
        ui.keepProbabilityCheckBox.enabled = ui.standardTerminologyCheckBox.enabled = idle
        card = modelCard(self.panel.parameters.model) if self.panel.parameters is not None else None
        ui.allLabelsCheckBox.enabled = idle and card is not None and card.knows_more
        ui.torchLabel.text = installation.torchState()
        ui.installTorchButton.visible = not installation.torchInstalled()
        ui.installTorchButton.enabled = (
            installation.extensionInstalled() and installation.torchExists()
        )
        ui.deviceLabel.visible = bool(ui.deviceLabel.text)
        self._showCard()

    def cleanup(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def log(self, text: str) -> None:
        """Add a line to the log."""
        self.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def askDevices(self) -> None:
        """Show the devices and their memory, once the worker has found out."""
        if self._unfolded and self._job is None and installation.torchInstalled():
            self._job = self.panel.logic.describeDevices()
            self.panel.hub.polling.follow(self._job, self._onDevices)

    @property
    def _unfolded(self) -> bool:
        return not self.ui.advancedCollapsibleButton.collapsed

    def _onFolded(self) -> None:
        self.update()
        self.askDevices()

    def _onDevices(self, job: Job[list[str]]) -> None:
        if job is not self._job or not job.finished:
            return
        self._job = None
        if job.cancelled:
            return
        try:
            self.ui.deviceLabel.text = "\n".join(job.result())
        # A broken installation of PyTorch fails in ways of its own.
        except Exception as error:
            self.panel.showError(error)
        self.update()

    def _showCard(self) -> None:
        parameters = self.panel.parameters
        model = parameters.model if parameters is not None else ""
        if model == self._card or not model:
            return
        self._card = model
        try:
            text = modelCardHtml(read_card(find_model(model)))
        except AttentionUNetSegmentError as error:
            text = str(error)
        self.ui.modelCardBrowser.html = text
