"""CTK's widgets: those properties, signals and manners of the originals that panels rely on."""

from __future__ import annotations

from PySide6.QtCore import Property, QEvent, QSettings, QSize, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QMessageBox,
    QPushButton,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QWidget,
)


class ctkCollapsibleButton(QAbstractButton):
    """A header that folds its children away.

    Checked means unfolded, as in the original, and so a click folds and unfolds; folding hides the
    children and sends ``contentsCollapsed``. The header's height is kept free above the layout.
    """

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._collapsedHeight = 10
        self._hidden: list[QWidget] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._headerHeight(), 0, 0)
        self.toggled.connect(self._onToggled)

    def _getCollapsed(self) -> bool:
        return self._collapsed

    def _setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, _getCollapsed, _setCollapsed)

    def _getCollapsedHeight(self) -> int:
        return self._collapsedHeight

    def _setCollapsedHeight(self, height: int) -> None:
        self._collapsedHeight = height
        self.updateGeometry()

    collapsedHeight = Property(int, _getCollapsedHeight, _setCollapsedHeight)
    """Below the header, while folded."""

    def _onToggled(self, opened: bool) -> None:
        if self._collapsed != opened:
            return
        self._collapsed = not opened
        if self._collapsed:
            children = [child for child in self.children() if isinstance(child, QWidget)]
            self._hidden = [child for child in children if not child.isHidden()]
            for child in self._hidden:
                child.hide()
        else:
            for child in self._hidden:
                child.show()
            self._hidden = []
        self.setMaximumHeight(self.sizeHint().height() if self._collapsed else 16777215)
        self.updateGeometry()
        self.contentsCollapsed.emit(self._collapsed)

    def childEvent(self, event) -> None:  # type: ignore[no-untyped-def]
        """A child that comes while folded is hidden until it unfolds."""
        # Not when it is added: it is not constructed yet, and would stay a QWidget to Python.
        if event.polished() and self._collapsed and isinstance(event.child(), QWidget):
            child = event.child()
            if child not in self._hidden:
                self._hidden.append(child)
                child.hide()
        super().childEvent(event)

    def changeEvent(self, event) -> None:  # type: ignore[no-untyped-def]
        if event.type() in (QEvent.StyleChange, QEvent.FontChange):
            self.setContentsMargins(0, self._headerHeight(), 0, 0)
            if self._collapsed:
                self.setMaximumHeight(self.sizeHint().height())
        super().changeEvent(event)

    def _headerHeight(self) -> int:
        return self.fontMetrics().height() + 8

    def _header(self) -> QSize:
        width = self.fontMetrics().horizontalAdvance(self.text) + 32
        return QSize(width, self._headerHeight())

    def sizeHint(self) -> QSize:
        header = self._header()
        if self._collapsed:
            return header + QSize(0, self._collapsedHeight)
        if not self.layout():
            return header
        return self.layout().totalSizeHint().expandedTo(header)

    def minimumSizeHint(self) -> QSize:
        if self._collapsed:
            return QSize(0, self._headerHeight() + self._collapsedHeight)
        if not self.layout():
            return QSize(0, self._headerHeight())
        return self.layout().totalMinimumSize()

    def hitButton(self, position) -> bool:  # type: ignore[no-untyped-def]
        return position.y() < self._headerHeight()

    def paintEvent(self, event) -> None:  # type: ignore[no-untyped-def]
        painter = QPainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._headerHeight())
        self.style().drawPrimitive(QStyle.PE_PanelButtonCommand, option, painter, self)
        arrow = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        if not self._collapsed:
            arrow = "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        painter.drawText(
            option.rect.adjusted(8, 0, -8, 0),
            Qt.AlignVCenter | Qt.AlignLeft,
            f"{arrow}  {self.text}",
        )
        if self.hasFocus():
            self.style().drawPrimitive(QStyle.PE_FrameFocusRect, option, painter, self)


class ctkSliderWidget(QWidget):
    """A slider and a spin box that show one floating-point value, 0 to 99 unless set otherwise.

    ``valueChanged`` comes at once while ``tracking``; the value is rounded to ``decimals`` (2).
    """

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    _POSITIONS = 10000

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QSlider(Qt.Horizontal, self)
        self._slider.setRange(0, self._POSITIONS)
        self._spinBox = QDoubleSpinBox(self)
        self._spinBox.setRange(0.0, 99.0)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spinBox)
        self.setFocusProxy(self._spinBox)
        self._slider.sliderMoved.connect(self._onSliderMoved)
        self._spinBox.valueChanged.connect(self._onValueChanged)

    def _onSliderMoved(self, position: int) -> None:
        span = self._spinBox.maximum - self._spinBox.minimum
        value = self._spinBox.minimum + span * position / self._POSITIONS
        self.valueIsChanging.emit(value)
        self._spinBox.setValue(value)

    def _onValueChanged(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        span = self._spinBox.maximum - self._spinBox.minimum
        fraction = (self._spinBox.value - self._spinBox.minimum) / span if span else 0.0
        self._slider.setSliderPosition(round(fraction * self._POSITIONS))

    def _spin(name: str, type_: type) -> Property:  # type: ignore[misc, valid-type]
        def read(self: ctkSliderWidget):  # type: ignore[no-untyped-def]
            return getattr(self._spinBox, name)

        def write(self: ctkSliderWidget, value) -> None:  # type: ignore[no-untyped-def]
            setattr(self._spinBox, name, value)
            self._place()

        return Property(type_, read, write)

    value = _spin("value", float)
    minimum = _spin("minimum", float)
    maximum = _spin("maximum", float)
    singleStep = _spin("singleStep", float)
    decimals = _spin("decimals", int)
    suffix = _spin("suffix", str)
    prefix = _spin("prefix", str)

    def _getPageStep(self) -> float:
        span = self._spinBox.maximum - self._spinBox.minimum
        return self._slider.pageStep * span / self._POSITIONS

    def _setPageStep(self, step: float) -> None:
        span = self._spinBox.maximum - self._spinBox.minimum
        self._slider.setPageStep(max(1, round(step / span * self._POSITIONS)) if span else 1)

    pageStep = Property(float, _getPageStep, _setPageStep)

    def _getTracking(self) -> bool:
        return self._slider.hasTracking()

    def _setTracking(self, tracking: bool) -> None:
        self._slider.setTracking(tracking)
        self._spinBox.setKeyboardTracking(tracking)

    tracking = Property(bool, _getTracking, _setTracking)

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        self._spinBox.setDecimals(decimals)


class ctkMenuButton(QPushButton):
    """A push button with an arrow that opens a menu."""


class ctkMessageBox(QMessageBox):
    """A message box that the user can silence; the answer is kept in the settings."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settingsKey = ""

    def _getDontShowAgainSettingsKey(self) -> str:
        return self._settingsKey

    def _setDontShowAgainSettingsKey(self, key: str) -> None:
        self._settingsKey = key
        if key and self.checkBox() is None:
            self.setCheckBox(QCheckBox("Don't show this message again", self))

    dontShowAgainSettingsKey = Property(
        str, _getDontShowAgainSettingsKey, _setDontShowAgainSettingsKey
    )

    def exec_(self) -> int:
        kept = QSettings().value(self._settingsKey) if self._settingsKey else None
        if kept is not None and int(kept) != int(QMessageBox.InvalidRole.value):
            return int(kept)
        result = self.exec()
        if self._settingsKey and self.checkBox().isChecked():
            QSettings().setValue(self._settingsKey, int(result))
        return result


CLASSES: tuple[type, ...] = (
    ctkCollapsibleButton,
    ctkMenuButton,
    ctkMessageBox,
    ctkSliderWidget,
)
