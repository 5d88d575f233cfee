"""How the panel looks and is reached: narrow, with large letters, dark, and by the keyboard."""

from __future__ import annotations

import numpy as np
import pytest
from panel_driver import NARROW, add_ct, bright_scan
from test_begin_from_segment import add_segmentation

SECTIONS = ("input", "segment", "clicks", "attention", "result", "correction", "advanced")
LARGE_PT = 14
MENUS_OF_SLICER = "EFHV"
"""Alt with these letters opens a menu of Slicer's main window."""

WITH_A_LETTER = (
    "inputVolumeLabel",
    "roiLabel",
    "modelLabel",
    "segmentationLabel",
    "segmentButton",
    "insideButton",
    "outsideButton",
    "undoClickButton",
    "redoClickButton",
    "removeClickButton",
    "resetClicksButton",
    "updateAfterClickCheckBox",
    "attentionOpacityLabel",
    "attentionColorsLabel",
    "show3DButton",
    "smoothingLabel",
    "exportLabel",
)

LIGHT = {
    "Window": "#efefef",
    "WindowText": "#000000",
    "Base": "#ffffff",
    "Text": "#000000",
    "Button": "#efefef",
    "ButtonText": "#000000",
}
DARK = {
    "Window": "#353535",
    "WindowText": "#ffffff",
    "Base": "#232323",
    "Text": "#ffffff",
    "Button": "#353535",
    "ButtonText": "#ffffff",
}


@pytest.fixture
def shown(driver):
    """The whole panel, unfolded, after a run and with a message, as narrow as it has to work."""
    from PySide6 import QtWidgets

    app = QtWidgets.QApplication.instance()
    font, palette = app.font, app.palette
    font = font() if callable(font) else font
    palette = palette() if callable(palette) else palette
    add_ct(driver, "CT abdomen with a name that is longer than any of the selectors is wide")
    driver.segment()
    other = add_segmentation(driver.panel.volumeNode, bright_scan().array > 200, "left kidney")
    driver.ui.beginSegmentationSelector.setCurrentNode(other)
    for name in SECTIONS:
        getattr(driver.ui, f"{name}CollapsibleButton").collapsed = False
    driver.panel.say("A sentence that is too long for one line of the panel, and wraps.", "error")
    assert driver.pump(lambda: driver.ui.statisticsTable.rowCount == 7)
    yield driver.representation
    app.setFont(font)
    app.setPalette(palette)
    driver.panel.segmentation.showMessage("")
    for name in SECTIONS[3:]:
        getattr(driver.ui, f"{name}CollapsibleButton").collapsed = True
    driver.representation.hide()


def dress(driver, colors, size_pt=LARGE_PT):
    from PySide6 import QtGui, QtWidgets

    app = QtWidgets.QApplication.instance()
    palette = QtGui.QPalette()
    for role, color in colors.items():
        palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(color))
    app.setPalette(palette)
    font = QtGui.QFont()
    font.setPointSize(size_pt)
    app.setFont(font)
    driver.pump()
    panel = driver.representation
    # The first pass lays out what the letters changed, the second gives all of it its height.
    for _ in range(2):
        panel.resize(NARROW, panel.layout().heightForWidth(NARROW))
        panel.show()
        driver.pump()


def visible_widgets(panel, kind):
    return [one for one in panel.findChildren(kind) if one.isVisible()]


def place(widget, panel):
    """Left, top, right and bottom in the panel."""
    from PySide6.QtCore import QPoint

    corner = widget.mapTo(panel, QPoint(0, 0))
    return corner.x(), corner.y(), corner.x() + widget.width, corner.y() + widget.height


def grey_levels(widget):
    """A picture of the widget (rows x columns, 0 to 255)."""
    from PySide6.QtGui import QImage

    image = widget.grab().toImage().convertToFormat(QImage.Format_Grayscale8)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    return rows[:, : image.width()].copy()


# Narrow, large, dark


def test_nothing_is_cut_off_at_350_pixels_with_large_letters(driver, shown):
    from PySide6.QtWidgets import QAbstractButton, QLabel, QWidget

    dress(driver, LIGHT)
    assert shown.width == NARROW
    for widget in visible_widgets(shown, QWidget):
        left, _top, right, _bottom = place(widget, shown)
        assert left >= 0, widget.objectName
        assert right <= NARROW, widget.objectName
    for button in visible_widgets(shown, QAbstractButton):
        least = button.minimumSizeHint  # a method where the stand-in's Python defines it
        least = least() if callable(least) else least
        assert button.width >= least.width(), button.text
    for label in visible_widgets(shown, QLabel):
        assert label.height >= label.heightForWidth(label.width), label.text


def test_the_rows_of_the_input_wrap_when_letters_are_large(driver, shown):
    ui = driver.ui
    dress(driver, LIGHT, 9)
    assert place(ui.inputVolumeSelector, shown)[0] > place(ui.inputVolumeLabel, shown)[2]
    dress(driver, LIGHT, LARGE_PT)
    for label, field in (
        (ui.inputVolumeLabel, ui.inputVolumeSelector),
        (ui.modelLabel, ui.modelComboBox),
        (ui.segmentationLabel, ui.segmentationSelector),
    ):
        assert place(field, shown)[1] >= place(label, shown)[3]
        assert field.width > 0.85 * NARROW
        assert place(field, shown)[2] <= place(ui.segmentButton, shown)[2]


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_are_readable_in_light_and_dark(driver, shown, colors):
    from PySide6.QtWidgets import QCheckBox, QLabel, QTextEdit

    dress(driver, colors)
    texts = [one for one in visible_widgets(shown, (QLabel)) if one.text and one.objectName]
    assert driver.ui.messageLabel in texts
    texts += visible_widgets(shown, QCheckBox) + visible_widgets(shown, QTextEdit)
    for widget in texts:
        grey = grey_levels(widget)
        ground = np.median(grey)
        assert (ground < 100) == (colors is DARK), widget.objectName
        assert np.abs(grey - ground).max() > 150, widget.objectName
        assert widget.font.pointSize() == LARGE_PT, widget.objectName


# Keyboard


def tab_stops(driver):
    """What gets the keyboard's focus when Tab is pressed again and again, until it comes round."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    panel = driver.representation
    driver.ui.inputCollapsibleButton.setFocus()
    stops = []
    while panel.focusWidget() not in stops:
        stops.append(panel.focusWidget())
        QTest.keyClick(stops[-1], Qt.Key_Tab)
    return stops


def interactive(panel):
    """All that one can do something with; beside each slider is a spin box for the same value."""
    from PySide6 import QtWidgets

    kinds = (
        QtWidgets.QAbstractButton,
        QtWidgets.QComboBox,
        QtWidgets.QAbstractSpinBox,
        QtWidgets.QAbstractItemView,
        QtWidgets.QTextEdit,
        QtWidgets.QPlainTextEdit,
    )
    inner = ("qt_",)
    return [
        one
        for kind in kinds
        for one in visible_widgets(panel, kind)
        if not one.objectName.startswith(inner)
        and not isinstance(one, (QtWidgets.QScrollBar, QtWidgets.QHeaderView))
        and type(one).__name__ != "QTableCornerButton"
    ]


def enable_all(driver):
    """Tab passes by what is disabled: let there be two clicks, one of them taken back."""
    import vtk

    driver.ui.updateAfterClickCheckBox.checked = False
    driver.ui.insideButton.click()
    for i in (0, 5, 10):
        driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(i, 0, 0))
    driver.ui.undoClickButton.click()
    driver.ui.clickList.setCurrentRow(0)
    driver.pump()


def test_tab_reaches_every_control_in_the_order_in_which_one_reads(driver, shown):
    dress(driver, LIGHT, 9)
    enable_all(driver)
    stops = tab_stops(driver)
    missed = [one for one in interactive(shown) if one.enabled and one not in stops]
    assert missed == []
    places = [place(widget, shown) for widget in stops]
    for (left, top, _right, bottom), after, widget in zip(
        places, places[1:], stops[1:], strict=False
    ):
        assert after[3] > top, (
            f"{type(widget).__name__} {widget.objectName} is above the one before"
        )
        same_row = after[1] < bottom and after[3] < bottom + 2
        assert not same_row or after[0] >= left, widget.objectName


def mnemonics(panel):
    from PySide6.QtGui import QKeySequence
    from PySide6.QtWidgets import QAbstractButton, QLabel

    found = {}
    for kind in (QAbstractButton, QLabel):
        for widget in visible_widgets(panel, kind):
            if kind is QLabel and widget.buddy() is None:
                continue
            found[widget.objectName or widget.text] = QKeySequence.mnemonic(widget.text).toString()
    return found


def test_letters_with_alt_are_there_and_unambiguous(driver, shown):
    dress(driver, LIGHT, 9)
    found = mnemonics(shown)
    for name in WITH_A_LETTER:
        assert found[name], name
    used = [letter for letter in found.values() if letter]
    assert sorted(used) == sorted(set(used))
    assert not [letter for letter in used if letter[-1] in MENUS_OF_SLICER]


def test_the_letters_of_labels_lead_to_their_controls(driver, shown):
    ui = driver.ui
    for label, control in (
        (ui.inputVolumeLabel, ui.inputVolumeSelector),
        (ui.roiLabel, ui.roiSelector),
        (ui.modelLabel, ui.modelComboBox),
        (ui.segmentationLabel, ui.segmentationSelector),
        (ui.attentionOpacityLabel, ui.attentionOpacitySlider),
        (ui.attentionColorsLabel, ui.attentionColorsComboBox),
        (ui.smoothingLabel, ui.smoothingSlider),
        (ui.exportLabel, ui.exportSegmentationButton),
    ):
        assert label.buddy() is control


def test_every_control_explains_itself(driver, shown):
    dress(driver, LIGHT, 9)
    editor = driver.panel.correction.editor
    for widget in interactive(shown):
        if editor.isAncestorOf(widget):
            continue  # the Segment Editor's own
        explained = widget
        while not explained.toolTip:
            explained = explained.parentWidget()
            assert type(explained).__name__.startswith(("qMRML", "ctkSlider")), widget.objectName
        assert explained.toolTip
