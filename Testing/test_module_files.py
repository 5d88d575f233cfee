"""Everything that the module needs at run time is installed, and nothing that is not there."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "AttentionUNetSegment"
MODELS = sorted((MODULE / "Resources" / "Models").glob("*/model.json"))
SETTINGS = (
    "EXTENSION_HOMEPAGE",
    "EXTENSION_CONTRIBUTORS",
    "EXTENSION_DESCRIPTION",
    "EXTENSION_ICONURL",
    "EXTENSION_SCREENSHOTURLS",
    "EXTENSION_DEPENDS",
)


def listed(variable: str) -> set[str]:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"set\({variable}\s+(.*?)\)\n", text, re.DOTALL)
    assert found, f"{variable} is not set"
    return set(found[1].replace("${MODULE_NAME}", "AttentionUNetSegment").split())


def in_folder(*patterns: str) -> set[str]:
    return {
        path.relative_to(MODULE).as_posix()
        for pattern in patterns
        for path in MODULE.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_python_file_is_installed():
    assert listed("MODULE_PYTHON_SCRIPTS") == in_folder("*.py")


def test_every_resource_is_installed():
    there = {name for name in in_folder("*") if name.startswith("Resources/")}
    assert there - listed("MODULE_PYTHON_RESOURCES") == set()


def test_every_installed_resource_is_there():
    missing = listed("MODULE_PYTHON_RESOURCES") - in_folder("*")
    if not MODELS:
        missing = {name for name in missing if not name.startswith("Resources/Models/")}
    assert missing == set()


def test_a_trained_model_is_installed():
    if not MODELS:
        pytest.skip("this checkout holds no trained model")
    names = listed("MODULE_PYTHON_RESOURCES")
    assert {
        "Resources/Models/pancreas-ct/model.json",
        "Resources/Models/pancreas-ct/weights.safetensors",
    } <= names


def test_nothing_is_installed_from_outside_the_modules_own_folder():
    # "../x" is built but not installed, and an absolute path lands in the wrong place.
    names = listed("MODULE_PYTHON_SCRIPTS") | listed("MODULE_PYTHON_RESOURCES")
    assert not [name for name in names if ".." in name or name.startswith("/")]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_index_can_read_each_setting_of_the_extension(name):
    lines = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.fullmatch(rf'set\({name} "[^"]+"\)', line)]


def test_the_icons_have_the_size_that_slicer_wants():
    from PIL import Image

    for icon in (
        MODULE / "Resources/Icons/AttentionUNetSegment.png",
        ROOT / "Resources/AttentionUNetSegment.png",
    ):
        with Image.open(icon) as image:
            assert image.size == (128, 128)


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
