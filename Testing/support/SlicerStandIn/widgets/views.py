"""Slice views and the 3D view, rendered off screen by slicer-core's displayable managers.

A view renders when it is painted, at its own size; that is when it is shown, grabbed into a
picture, or told to with ``forceRender``. Its VTK interactor has the original's style, so that
events given to it (:mod:`SlicerStandIn.driving`) reach the markups in it. The mouse's come from Qt,
as VTK's own widget (``QVTKInteractorAdapter``) hands them on: y counted from below, the modifiers
of the moment with each event, and the second press of a double click as a double click alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QColor, QCursor, QImage, QMouseEvent, QPainter
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget
from vtk.util.numpy_support import vtk_to_numpy

from .base_widgets import qMRMLWidget

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    # Has the view maximised by a double click, among others.
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class ctkVTKAbstractView(QWidget):
    """A VTK render window as a widget."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumSize(80, 80)
        self.setMouseTracking(True)
        self._pauses = 0
        self._window: Any = None
        self._renderer: Any = None
        self._group: Any = None

    def renderWindow(self) -> Any:
        if self._window is None:
            self._window = vtk.vtkRenderWindow()
            self._window.SetOffScreenRendering(1)
            self._window.SetMultiSamples(0)
            self._renderer = vtk.vtkRenderer()
            self._window.AddRenderer(self._renderer)
            interactor = vtk.vtkGenericRenderWindowInteractor()
            interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
            interactor.SetRenderWindow(self._window)
            interactor.Initialize()
            self._attach()
        return self._window

    def interactor(self) -> Any:
        return self.renderWindow().GetInteractor()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._handOn(event, f"{_buttonOf(event)}ButtonPressEvent")

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._handOn(event, f"{_buttonOf(event)}ButtonReleaseEvent")

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self._handOn(event, f"{_buttonOf(event)}ButtonDoubleClickEvent")

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._handOn(event, "MouseMoveEvent")

    def _handOn(self, event: QMouseEvent, name: str) -> None:
        interactor = self.interactor()
        held = event.modifiers()
        repeated = event.type() == QEvent.MouseButtonDblClick
        x, y = int(event.position().x()), int(event.position().y())
        interactor.SetEventInformation(
            x,
            self.renderWindow().GetSize()[1] - 1 - y,
            bool(held & Qt.ControlModifier),
            bool(held & Qt.ShiftModifier),
            chr(0),
            int(repeated),
        )
        interactor.SetAltKey(bool(held & Qt.AltModifier))
        interactor.InvokeEvent(name)

    def _attach(self) -> None:
        """What a kind of view puts into its renderer."""

    def _before(self, width: int, height: int) -> None:
        """Called before each rendering, with the size of the picture."""

    def _instantiate(self, factory: Any, names: tuple[str, ...], node: Any, style: Any) -> None:
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group = factory.InstantiateDisplayableManagers(self._renderer)
        self._group.SetMRMLDisplayableNode(node)
        self._interactorStyle = style
        style.SetDisplayableManagers(self._group)
        style.SetInteractor(self._window.GetInteractor())

    def scheduleRender(self) -> None:
        if self._pauses == 0:
            self.update()

    def forceRender(self) -> None:
        self._image()

    def pauseRender(self) -> None:
        self._pauses += 1

    def resumeRender(self) -> None:
        self._pauses = max(0, self._pauses - 1)
        self.scheduleRender()

    def setRenderPaused(self, pause: bool) -> None:
        self.pauseRender() if pause else self.resumeRender()

    def _image(self) -> QImage:
        width, height = max(self.width, 8), max(self.height, 8)
        window = self.renderWindow()
        window.SetSize(width, height)
        self._before(width, height)
        window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        picture = grabber.GetOutput()
        columns, rows, _ = picture.GetDimensions()
        pixels = vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(rows, columns, 3)
        pixels = np.ascontiguousarray(pixels[::-1])
        return QImage(pixels.data, columns, rows, 3 * columns, QImage.Format_RGB888).copy()

    def paintEvent(self, event: Any) -> None:
        QPainter(self).drawImage(0, 0, self._image())


class ctkVTKSliceView(ctkVTKAbstractView):
    pass


class ctkVTKRenderView(ctkVTKAbstractView):
    def resetFocalPoint(self) -> None:
        """Look at the middle of what is visible, from where the camera is."""
        bounds = self._bounds()
        if bounds[0] > bounds[1]:
            return
        camera = self._renderer.GetActiveCamera()
        middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
        shift = np.subtract(middle, camera.GetFocalPoint())
        camera.SetPosition(*np.add(camera.GetPosition(), shift))
        camera.SetFocalPoint(*middle)
        self._renderer.ResetCameraClippingRange()

    def _bounds(self) -> tuple[float, ...]:
        self.renderWindow()
        return self._renderer.ComputeVisiblePropBounds()


class qMRMLSliceView(ctkVTKSliceView):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sliceLogic: Any = None

    def mrmlSliceNode(self) -> Any:
        return self._sliceLogic.GetSliceNode()

    def setViewCursor(self, argument0: QCursor) -> None:
        self.setCursor(argument0)

    def unsetViewCursor(self) -> None:
        self.unsetCursor()

    def _attach(self) -> None:
        self._renderer.SetBackground(0, 0, 0)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._mapper.SetInputConnection(self._sliceLogic.GetImageDataConnection())
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._actor)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        style.SetSliceLogic(self._sliceLogic)
        self._instantiate(factory, SLICE_MANAGERS, self._sliceLogic.GetSliceNode(), style)

    def _before(self, width: int, height: int) -> None:
        node = self._sliceLogic.GetSliceNode()
        if tuple(node.GetDimensions()[:2]) != (width, height):
            self._sliceLogic.ResizeSliceNode(width, height)
        node.UpdateMatrices()
        self._sliceLogic.UpdatePipeline()
        # Without a volume what the logic has is no image, but whatever memory holds.
        composite = self._sliceLogic.GetSliceCompositeNode()
        layers = (
            composite.GetBackgroundVolumeID(),
            composite.GetForegroundVolumeID(),
            composite.GetLabelVolumeID(),
        )
        connection = self._sliceLogic.GetImageDataConnection() if any(layers) else None
        self._mapper.SetInputConnection(connection)
        self._actor.SetVisibility(connection is not None)


class qMRMLThreeDView(ctkVTKRenderView):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewLogic: Any = None

    def mrmlViewNode(self) -> Any:
        return self._viewLogic.GetViewNode()

    def cameraNode(self) -> Any:
        return self._viewLogic.GetCameraNode()

    def resetCamera(
        self,
        resetRotation: bool = True,
        resetTranslation: bool = True,
        resetDistance: bool = True,
    ) -> None:
        bounds = self._bounds()
        if bounds[0] <= bounds[1]:
            self._renderer.ResetCamera(bounds)

    def _bounds(self) -> tuple[float, ...]:
        """As in the original without the box and the axis labels around it."""
        self.renderWindow().Render()
        node = self._viewLogic.GetViewNode()
        shown = node.GetBoxVisible(), node.GetAxisLabelsVisible()
        node.SetBoxVisible(0)
        node.SetAxisLabelsVisible(0)
        bounds = self._renderer.ComputeVisiblePropBounds()
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])
        return bounds

    def _attach(self) -> None:
        # Slicer's own background, from light to dark blue.
        self._renderer.GradientBackgroundOn()
        self._renderer.SetBackground(0.7568, 0.7647, 0.9098)
        self._renderer.SetBackground2(0.4549, 0.4706, 0.7451)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self._instantiate(factory, THREED_MANAGERS, self._viewLogic.GetViewNode(), style)


class qMRMLAbstractViewWidget(qMRMLWidget):
    """A view below its bar, which here only shows the view's colour and name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view: Any = None
        self._bar = QLabel(self)
        self._bar.setAlignment(Qt.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._bar)

    def _setView(self, view: Any, label: str, color: QColor) -> None:
        self._view = view
        self._bar.setText(label)
        self._bar.setStyleSheet(f"background: {color.name()}; color: black;")
        self.layout().addWidget(view, 1)

    def viewWidget(self) -> Any:
        return self._view

    def pauseRender(self) -> None:
        self._view.pauseRender()

    def resumeRender(self) -> None:
        self._view.resumeRender()

    def setRenderPaused(self, pause: bool) -> None:
        self._view.setRenderPaused(pause)


class qMRMLSliceWidget(qMRMLAbstractViewWidget):
    def sliceView(self) -> qMRMLSliceView:
        return self._view

    def sliceLogic(self) -> Any:
        return self._view._sliceLogic

    def mrmlSliceNode(self) -> Any:
        return self._view.mrmlSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._view._sliceLogic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._view._sliceLogic.FitSliceToBackground()


class qMRMLThreeDWidget(qMRMLAbstractViewWidget):
    def threeDView(self) -> qMRMLThreeDView:
        return self._view

    def mrmlViewNode(self) -> Any:
        return self._view.mrmlViewNode()

    def viewLogic(self) -> Any:
        return self._view._viewLogic


def _buttonOf(event: QMouseEvent) -> str:
    return {Qt.MiddleButton: "Middle", Qt.RightButton: "Right"}.get(event.button(), "Left")


CLASSES: tuple[type, ...] = (
    ctkVTKAbstractView,
    ctkVTKRenderView,
    ctkVTKSliceView,
    qMRMLAbstractViewWidget,
    qMRMLSliceView,
    qMRMLSliceWidget,
    qMRMLThreeDView,
    qMRMLThreeDWidget,
)
