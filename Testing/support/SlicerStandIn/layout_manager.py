"""``slicer.app.layoutManager()``: three slice views and one 3D view in Slicer's usual layouts.

The views' nodes and logics exist from the start, in the scene and the application logic; those of
further slice views come with the first layout that has them, and stay. Their widgets are made when
they are first asked for.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QGridLayout, QWidget

from .widgets.views import qMRMLSliceView, qMRMLSliceWidget, qMRMLThreeDView, qMRMLThreeDWidget

SLICES = {
    "Red": ("Axial", "R", QColor(243, 74, 51)),
    "Green": ("Coronal", "G", QColor(110, 176, 75)),
    "Yellow": ("Sagittal", "Y", QColor(237, 213, 76)),
}
LATER_SLICES = {
    "Slice4": ("Axial", "4", QColor(255, 128, 0)),
    "Slice5": ("Coronal", "5", QColor(128, 255, 0)),
    "Slice6": ("Sagittal", "6", QColor(0, 128, 255)),
}
THREED = "1"

Places = dict[str, tuple[int, int, int, int]]
FOUR_UP: Places = {
    "Red": (0, 0, 1, 1),
    THREED: (0, 1, 1, 1),
    "Green": (1, 0, 1, 1),
    "Yellow": (1, 1, 1, 1),
}
TWO_OVER_TWO: Places = {
    "Red": (0, 0, 1, 1),
    "Green": (0, 1, 1, 1),
    "Yellow": (1, 0, 1, 1),
    "Slice4": (1, 1, 1, 1),
}
THREE_OVER_THREE: Places = {
    name: (*divmod(number, 3), 1, 1) for number, name in enumerate((*SLICES, *LATER_SLICES))
}
CONVENTIONAL: Places = {
    THREED: (0, 0, 1, 3),
    "Red": (1, 0, 1, 1),
    "Green": (1, 1, 1, 1),
    "Yellow": (1, 2, 1, 1),
}


class qSlicerLayoutManager(QObject):
    layoutChanged = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        kinds = slicer.vtkMRMLLayoutNode
        self._layouts: dict[int, Places] = {
            kinds.SlicerLayoutConventionalView: CONVENTIONAL,
            kinds.SlicerLayoutFourUpView: FOUR_UP,
            kinds.SlicerLayoutTwoOverTwoView: TWO_OVER_TWO,
            kinds.SlicerLayoutThreeOverThreeView: THREE_OVER_THREE,
            kinds.SlicerLayoutOneUp3DView: {THREED: (0, 0, 1, 1)},
            kinds.SlicerLayoutOneUpRedSliceView: {"Red": (0, 0, 1, 1)},
            kinds.SlicerLayoutOneUpYellowSliceView: {"Yellow": (0, 0, 1, 1)},
            kinds.SlicerLayoutOneUpGreenSliceView: {"Green": (0, 0, 1, 1)},
        }
        self._viewport: QWidget | None = None
        self._widgets: dict[str, Any] = {}
        self._pauses = 0
        logic = slicer.app.applicationLogic()
        self._sliceLogics, self._viewLogics = vtk.vtkCollection(), vtk.vtkCollection()
        logic.SetSliceLogics(self._sliceLogics)
        logic.SetViewLogics(self._viewLogics)
        self._slices: dict[str, tuple[str, str, QColor]] = {}
        for name, kind in SLICES.items():
            self._addSlice(name, *kind)
        viewLogic = slicer.vtkMRMLViewLogic()
        viewLogic.SetMRMLApplicationLogic(logic)
        viewLogic.SetMRMLScene(slicer.mrmlScene)
        viewLogic.SetName(THREED)
        # The tag keeps the node when the scene is closed.
        viewLogic.AddViewNode(THREED).SetSingletonTag(THREED)
        self._viewLogics.AddItem(viewLogic)
        self._layoutLogic = slicer.vtkMRMLLayoutLogic()
        self._layoutLogic.SetMRMLApplicationLogic(logic)
        self._layoutLogic.SetMRMLScene(slicer.mrmlScene)
        self._layoutNode = self._layoutLogic.GetLayoutNode()
        self._layoutNode.SetViewArrangement(kinds.SlicerLayoutFourUpView)
        self._layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayoutNodeModified)
        self._shown = self._layoutNode.GetViewArrangement()

    def _addSlice(self, name: str, orientation: str, label: str, color: QColor) -> None:
        self._slices[name] = orientation, label, color
        sliceLogic = slicer.vtkMRMLSliceLogic()
        sliceLogic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        sliceLogic.SetMRMLScene(slicer.mrmlScene)
        # That of a further view has the layout's own logic made already.
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if node is None:
            node = sliceLogic.AddSliceNode(name)
        else:
            sliceLogic.SetSliceNode(node)
        node.SetOrientation(orientation)
        node.SetLayoutLabel(label)
        node.SetLayoutColor(color.redF(), color.greenF(), color.blueF())
        self._sliceLogics.AddItem(sliceLogic)

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def layoutLogic(self) -> Any:
        return self._layoutLogic

    def mrmlSliceLogics(self) -> Any:
        return self._sliceLogics

    def mrmlViewLogics(self) -> Any:
        return self._viewLogics

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        if name not in self._slices:
            return None
        if name not in self._widgets:
            widget = qMRMLSliceWidget(self._viewport)
            view = qMRMLSliceView(widget)
            view._sliceLogic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name)
            view._pauses = self._pauses
            widget._setView(view, *self._slices[name][1:])
            widget.setMRMLScene(slicer.mrmlScene)
            self._widgets[name] = widget
        return self._widgets[name]

    def threeDWidget(self, name: str | int) -> qMRMLThreeDWidget | None:
        if name not in (0, THREED):
            return None
        if THREED not in self._widgets:
            widget = qMRMLThreeDWidget(self._viewport)
            view = qMRMLThreeDView(widget)
            view._viewLogic = self._viewLogics.GetItemAsObject(0)
            view._pauses = self._pauses
            widget._setView(view, THREED, QColor(190, 195, 232))
            widget.setMRMLScene(slicer.mrmlScene)
            self._widgets[THREED] = widget
        return self._widgets[THREED]

    def _getThreeDViewCount(self) -> int:
        return 1

    threeDViewCount = Property(int, _getThreeDViewCount)

    def _getLayout(self) -> int:
        return self._layoutNode.GetViewArrangement()

    def setLayout(self, newLayout: int) -> None:
        """
        Raises:
            ValueError: a layout that the stand-in does not have.
        """
        if newLayout not in self._layouts:
            raise ValueError(f"The stand-in has no layout {newLayout}, but {list(self._layouts)}")
        # A scene that is loaded may have taken them away; further views are placed by them.
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
        self._layoutNode.SetViewArrangement(newLayout)

    layout = Property(int, _getLayout, setLayout)

    def _onLayoutNodeModified(self, caller: Any, event: str) -> None:
        if self._layoutNode.GetViewArrangement() != self._shown:
            self._shown = self._layoutNode.GetViewArrangement()
            for name in self._layouts.get(self._shown, FOUR_UP):
                if name in LATER_SLICES and name not in self._slices:
                    self._addSlice(name, *LATER_SLICES[name])
            self._arrange()
            self.layoutChanged.emit(self._shown)

    def viewport(self) -> QWidget | None:
        return self._viewport

    def setViewport(self, widget: QWidget) -> None:
        self._viewport = widget
        grid = QGridLayout(widget)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        self._arrange()

    def _arrange(self) -> None:
        if self._viewport is None:
            return
        grid = self._viewport.layout()
        for widget in self._widgets.values():
            grid.removeWidget(widget)
            widget.hide()
        for name, place in self._layouts.get(self._shown, FOUR_UP).items():
            widget = self.threeDWidget(THREED) if name == THREED else self.sliceWidget(name)
            grid.addWidget(widget, *place)
            widget.show()

    def resetSliceViews(self) -> None:
        slicer.app.applicationLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        self.threeDWidget(0).threeDView().resetCamera()

    def pauseRender(self) -> None:
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        self.setRenderPaused(False)

    def setRenderPaused(self, pause: bool) -> None:
        self._pauses = max(0, self._pauses + (1 if pause else -1))
        for widget in self._widgets.values():
            widget.setRenderPaused(pause)


CLASSES: tuple[type, ...] = (qSlicerLayoutManager,)
