"""Result: show it in 3D, measure it, and write it to files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError
from ..scene import export
from ..scene.segments import asTitle
from ..scene.statistics import SegmentStatistics, segmentStatistics, segmentVolumeMl
from ..scene.surface import setSurfaceSmoothing, surfaceSmoothing
from .section import Section, clicked

if TYPE_CHECKING:
    from ..scene.find_result import ResultNodes
    from .panel import Panel

DELAY_MS = 300
"""Painting changes a segment many times a second; measuring can wait until it rests."""


class ResultSection(Section):
    """Measures are taken only while the section is unfolded."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._observed: list[tuple[Any, int]] = []
        self._shown: Any = None
        ui = self.ui
        ui.resultCollapsibleButton.contentsCollapsed.connect(lambda _folded: self._measureSoon())
        clicked(ui.exportSegmentationButton, self._onExportSegmentation)
        clicked(ui.exportNiftiButton, self._onExportNifti)
        clicked(ui.exportStlButton, self._onExportStl)
        self._measureTimer = self._timer(self._measure)
        self._smoothTimer = self._timer(self._smooth)
        ui.smoothingSlider.valueChanged.connect(lambda _value: self._smoothTimer.start())

    def update(self) -> None:
        ui, nodes = self.ui, self.panel.resultNodes
        node = nodes.segmentationNode if nodes is not None else None
        usable = self.panel.hasSegment and not self.panel.busy
        ui.show3DButton.enabled = usable
        if node is not self._shown:
            ui.show3DButton.setSegmentationNode(node)
            self._shown = node
            self._observe(node)
        for name in ("smoothingSlider", "exportSegmentationButton", "exportNiftiButton"):
            getattr(ui, name).enabled = usable
        ui.exportStlButton.enabled = usable
        self._showSmoothing()
        self._measureSoon()

    def cleanup(self) -> None:
        self._measureTimer.stop()
        self._smoothTimer.stop()
        self._observe(None)
        self.ui.show3DButton.setSegmentationNode(None)

    def parametersChanged(self) -> None:
        self._measureTimer.stop()
        self._smoothTimer.stop()

    def _timer(self, function: Callable[[], None]) -> Any:
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(DELAY_MS)
        timer.timeout.connect(function)
        return timer

    def _observe(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Hear of every change of the voxels, the place and the surface of this segmentation."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []
        if node is not None:
            moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._observed.append((node, node.AddObserver(moved, self._onMoved)))
            segmentation, events = node.GetSegmentation(), slicer.vtkSegmentation
            for event, method in (
                (events.SourceRepresentationModified, self._onSegmentModified),
                (events.ContainedRepresentationNamesModified, self._onSurfaceMade),
            ):
                self._observed.append((segmentation, segmentation.AddObserver(event, method)))

    def _onMoved(self, _node: vtk.vtkObject, _event: str) -> None:
        """A transform of the segmentation: its volume in the world, and where corrections are."""
        self._measureSoon()
        volumeNode = self.panel.volumeNode
        if volumeNode is not None:
            self.panel.segmentChanged(volumeNode)

    def _onSegmentModified(self, _segmentation: vtk.vtkObject, _event: str) -> None:
        self._measureSoon()

    def _onSurfaceMade(self, _segmentation: vtk.vtkObject, _event: str) -> None:
        """Perhaps with another smoothing: the menu of "Show 3D" sets it too."""
        self._showSmoothing()

    # Measures

    def _measureSoon(self) -> None:
        if not self.ui.resultCollapsibleButton.collapsed:
            self._measureTimer.start()

    def _measure(self) -> None:
        nodes, volumeNode = self.panel.resultNodes, self.panel.volumeNode
        measured = []
        if nodes is not None and nodes.segmentId is not None and volumeNode is not None:
            try:
                for label, segmentId in self.panel.allSegments:
                    of = segmentStatistics(nodes.segmentationNode, segmentId, volumeNode)
                    measured.append((label.name, of))
            except AttentionUNetSegmentError as error:
                self.panel.showError(error)
        self._fill(_table(measured))

    def _fill(self, rows: list[list[str]]) -> None:
        """A column for the measures' names, and one for each target."""
        table = self.ui.statisticsTable
        table.setColumnCount(max(len(rows[0]) if rows else 0, 2))
        table.setRowCount(len(rows))
        for row, cells in enumerate(rows):
            for column, text in enumerate(cells):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
        table.resizeRowsToContents()
        height = sum(table.rowHeight(row) for row in range(len(rows)))
        table.setFixedHeight(height + 2 * table.frameWidth)
        table.visible = bool(rows)

    # The surface

    def _showSmoothing(self) -> None:
        """The slider shows what is set, and sets only what the user moves it to."""
        if self._shown is None or self._smoothTimer.active:
            return
        slider = self.ui.smoothingSlider
        blocked = slider.blockSignals(True)
        slider.value = max(0.0, surfaceSmoothing(self._shown))
        slider.blockSignals(blocked)

    def _smooth(self) -> None:
        nodes = self.panel.resultNodes
        if nodes is not None and nodes.segmentationNode is not None:
            setSurfaceSmoothing(nodes.segmentationNode, self.ui.smoothingSlider.value)
            self._measureSoon()

    # Files

    def _onExportSegmentation(self) -> None:
        self._export(
            _("Segmentation (*.seg.nrrd)"),
            ".seg.nrrd",
            lambda nodes, path: export.exportSegmentation(nodes.segmentationNode, path),
        )

    def _onExportNifti(self) -> None:
        self._export(
            _("NIfTI label map (*.nii.gz)"),
            ".nii.gz",
            lambda nodes, path: export.exportLabelmap(
                nodes.segmentationNode, self._segmentIds, self.panel.volumeNode, path
            ),
        )

    def _onExportStl(self) -> None:
        self._export(
            _("STL surface (*.stl)"),
            ".stl",
            self._exportSurfaces,
        )

    @property
    def _segmentIds(self) -> list[str]:
        return [segmentId for _label, segmentId in self.panel.allSegments]

    def _exportSurfaces(self, nodes: ResultNodes, path: Path) -> list[Path]:
        """Of each target and structure that has voxels, a file of its own, named after it where
        there are several."""
        node, ours = nodes.segmentationNode, self.panel.allSegments
        assert node is not None
        if len(self.panel.labels) == len(ours) == 1:
            export.exportSurface(node, ours[0][1], path)
            return [path]
        written: list[Path] = []
        taken: set[str] = set()
        for label, segmentId in ours:
            if segmentVolumeMl(node, segmentId) > 0:
                name = one = re.sub(r"[^\w.-]+", "-", label.name)
                number = 2
                while name.casefold() in taken:  # two of one name are two files, on any system
                    name, number = f"{one}-{number}", number + 1
                taken.add(name.casefold())
                file = path.with_name(f"{path.name.removesuffix('.stl')}-{name}.stl")
                export.exportSurface(node, segmentId, file)
                written.append(file)
        return written

    def _export(self, kind: str, ending: str, write: Callable[[Any, Path], Any]) -> None:
        nodes = self.panel.resultNodes
        if nodes is None or nodes.segmentationNode is None or nodes.segmentId is None:
            return
        name = re.sub(r"[^\w.-]+", "_", nodes.segmentationNode.GetName()) + ending
        chosen = qt.QFileDialog.getSaveFileName(
            self.ui.resultCollapsibleButton, _("Export"), name, kind
        )
        if not chosen:
            return
        path = Path(str(chosen))
        if not path.name.endswith(ending):
            path = path.with_name(path.name + ending)
        try:
            written = write(nodes, path) or [path]
        except AttentionUNetSegmentError as error:
            self.panel.showError(error)
            return
        self.panel.say(_("Written: {path}").format(path=", ".join(map(str, written))))


def _table(measured: list[tuple[str, SegmentStatistics]]) -> list[list[str]]:
    """Rows of cells: names of the targets where there are several, and then a measure each."""
    if not measured:
        return []
    columns = [_rows(statistics) for _name, statistics in measured]
    rows = [
        [title, *(column[n][1] for column in columns)] for n, (title, _) in enumerate(columns[0])
    ]
    heading = (
        [["", *(asTitle(name) for name, _statistics in measured)]] if len(measured) > 1 else []
    )
    return [*heading, *rows]


def _rows(statistics: SegmentStatistics) -> list[tuple[str, str]]:
    def shown(value: float | None, text: str) -> str:
        return "-" if value is None else text.format(value)

    mean, surface = statistics.meanHu, statistics.surfaceMm2
    extent = " x ".join(f"{length:.0f}" for length in statistics.extentMm)
    return [
        (_("Volume"), f"{statistics.volumeMl:.1f} mL"),
        (_("Mean"), "-" if mean is None else f"{mean:.0f} \u00b1 {statistics.sdHu:.0f} HU"),
        (_("Median"), shown(statistics.medianHu, "{:.0f} HU")),
        (_("Surface"), shown(None if surface is None else surface / 100, "{:.1f} cm\u00b2")),
        (_("Extent (R, A, S)"), f"{extent} mm"),
        (_("Length"), shown(statistics.lengthMm, "{:.0f} mm")),
        (_("Pieces"), str(statistics.pieces)),
    ]
