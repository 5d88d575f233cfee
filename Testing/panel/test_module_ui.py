"""What the panel's ``.ui`` file must have for everyone to be able to use the panel."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "AttentionUNetSegment"
UI = ElementTree.parse(MODULE / "Resources/UI/AttentionUNetSegment.ui").getroot()
CONTROLS = {
    "QPushButton",
    "QComboBox",
    "QSpinBox",
    "QCheckBox",
    "QListWidget",
    "QTableWidget",
    "QTextBrowser",
    "QPlainTextEdit",
    "ctkSliderWidget",
    "ctkCollapsibleButton",
    "qMRMLNodeComboBox",
    "qMRMLSegmentationShow3DButton",
}


def properties(widget):
    return {child.get("name"): child for child in widget.findall("property")}


def test_every_control_has_a_tooltip():
    controls = [widget for widget in UI.iter("widget") if widget.get("class") in CONTROLS]
    assert len(controls) > 30
    assert [w.get("name") for w in controls if "toolTip" not in properties(w)] == []


def test_every_control_has_a_text_or_a_name_for_screen_readers_or_a_label():
    buddies = {
        properties(widget)["buddy"].findtext("cstring")
        for widget in UI.iter("widget")
        if "buddy" in properties(widget)
    }
    nameless = [
        widget.get("name")
        for widget in UI.iter("widget")
        if widget.get("class") in CONTROLS
        and widget.get("name") not in buddies
        and not {"text", "accessibleName"} & set(properties(widget))
    ]
    assert nameless == []


def test_long_texts_wrap():
    labels = [widget for widget in UI.iter("widget") if widget.get("class") == "QLabel"]
    for label in labels:
        text = properties(label)["text"].findtext("string") or ""
        if "wordWrap" not in properties(label):
            assert 0 < len(text) < 20, label.get("name")
