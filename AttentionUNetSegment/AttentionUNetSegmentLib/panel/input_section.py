"""Input: what is segmented, with which model, and where the result goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import ModelError
from ..models import installed_models, read_card
from ..scene.find_result import isResult
from .section import Section

if TYPE_CHECKING:
    from .panel import Panel


class InputSection(Section):
    """Volume, region and output are bound to their parameters; the models are listed here."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._models: list[str] = []
        self.ui.modelComboBox.activated.connect(self._onModelChosen)

    def update(self) -> None:
        self._updateModels()
        idle = not self.panel.busy
        for selector in ("inputVolumeSelector", "roiSelector", "segmentationSelector"):
            getattr(self.ui, selector).enabled = idle
        self.ui.modelComboBox.enabled = idle
        self.ui.inputVolumeSelector.sortFilterProxyModel().hiddenNodeIDs = _resultIDs()

    def preselect(self) -> None:
        """Choose the volume that the slice views show, else the first, where none is chosen."""
        parameters = self.panel.parameters
        if parameters is None or self.panel.volumeId is not None:
            return
        parameters.inputVolume = _shownVolume() or _firstVolume()

    def preselectLoaded(self, loadedIDs: Sequence[str]) -> None:
        """Choose a volume that was loaded just now, where none is chosen."""
        parameters = self.panel.parameters
        if parameters is None or self.panel.volumeId is not None:
            return
        loaded = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in loadedIDs]
        loaded = [node for node in loaded if _segmentable(node)]
        shown = _shownVolume()
        if loaded:
            parameters.inputVolume = shown if shown in loaded else loaded[0]

    def _updateModels(self) -> None:
        """List the installed models, the one in use even where it is none of them, and a way to
        choose another."""
        combo, parameters = self.ui.modelComboBox, self.panel.parameters
        models = {model.card.name: model.card.title for model in installed_models()}
        current = parameters.model if parameters is not None else ""
        if current and current not in models:
            models[current] = _ownTitle(current)
        names = [*models, ""]
        titles = [*models.values(), _("Choose folder...")]
        blocked = combo.blockSignals(True)
        try:
            if names != self._models:
                combo.clear()
                for title in titles:
                    combo.addItem(title)
                self._models = names
            combo.setCurrentIndex(names.index(current) if current in names else -1)
        finally:
            combo.blockSignals(blocked)

    def _onModelChosen(self, index: int) -> None:
        parameters = self.panel.parameters
        if parameters is None or not 0 <= index < len(self._models):
            return
        model = self._models[index]
        if not model:
            model = self._chosenFolder()
        if model:
            parameters.model = model
        self.update()

    def _chosenFolder(self) -> str:
        """A model's folder that the user chose, or nothing."""
        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.modelComboBox, _("Choose the folder of a model (with a model.json in it)")
        )
        if not folder:
            return ""
        try:
            read_card(folder)
        except ModelError as error:
            self.panel.showError(error)
            return ""
        return str(folder)


def _ownTitle(model: str) -> str:
    try:
        return f"{read_card(model).title} ({Path(model).name})"
    except ModelError:
        return _("{name} (not found)").format(name=Path(model).name)


def _resultIDs() -> list[str]:
    """Volumes that a prediction made: they are not offered to be segmented."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return sorted(node.GetID() for node in nodes if isResult(node))


def _shownVolume() -> slicer.vtkMRMLScalarVolumeNode | None:
    """A volume in the background of a slice view."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return None
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        node = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if _segmentable(node):
            return node
    return None


def _firstVolume() -> slicer.vtkMRMLScalarVolumeNode | None:
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if _segmentable(node)), None)


def _segmentable(node: slicer.vtkMRMLNode | None) -> bool:
    return (
        node is not None
        and node.IsA("vtkMRMLScalarVolumeNode")
        and not node.IsA("vtkMRMLLabelMapVolumeNode")
        and not node.GetHideFromEditors()
        and not isResult(node)
    )
