"""The stand-in for Slicer behaves like Slicer, where the module and its tests rely on it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="the stand-in for Slicer's widgets needs PySide6")
slicer = pytest.importorskip("slicer", reason="the stand-in for Slicer needs slicer-core")

import SlicerStandIn  # noqa: E402

MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *
class {name}(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "A module"
class {name}Widget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.calls = ["setup"]
    def enter(self):
        self.calls.append("enter")
    def exit(self):
        self.calls.append("exit")
    def cleanup(self):
        self.calls.append("cleanup")
class {name}Test(ScriptedLoadableModuleTest):
    def runTest(self):
        slicer.ranTest = True
"""

EFFECT = """
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
class OurEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Ours"
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.heard = []
        self.takes = False
    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects
        clone = effects.qSlicerSegmentEditorScriptedEffect(None)
        clone.setPythonSource(__file__)
        return clone
    def activate(self):
        self.heard.append("activate")
    def deactivate(self):
        self.heard.append("deactivate")
    def processInteractionEvents(self, interactor, eventId, viewWidget):
        self.heard.append((eventId, viewWidget.className()))
        return self.takes
"""

UI = """<ui version="4.0"><class>Panel</class>
<widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="panelLayout">
<item><widget class="qMRMLNodeComboBox" name="selector">
<property name="nodeTypes"><stringlist>
<string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="{property}"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>volume</string></property>
</widget></item>
<item><widget class="{widget}" name="opacity">
<property name="SlicerParameterName" stdset="0"><string>opacity</string></property>
</widget></item></layout></widget>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>selector</receiver><slot>{slot}</slot></connection></connections></ui>"""
GOOD = {
    "property": "noneEnabled",
    "widget": "ctkSliderWidget",
    "slot": "setMRMLScene(vtkMRMLScene*)",
}


@pytest.fixture(scope="module", autouse=True)
def started() -> Any:
    yield SlicerStandIn.start()
    SlicerStandIn.stop()


@pytest.fixture(autouse=True)
def application(started: Any) -> Any:
    yield started
    started._testing = False
    slicer.mrmlScene.Clear(0)


def write_ui(folder: Path, **changes: str) -> str:
    path = folder / "panel.ui"
    path.write_text(UI.format(**(GOOD | changes)), encoding="utf-8")
    return str(path)


def add_volume(name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6))
    return node


def add_segmentation(volume: Any) -> tuple[Any, str]:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("one", "one")
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:3, 1:4, 1:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    return node, segment


# Qt as in PythonQt


def test_properties_are_attributes_and_no_calls() -> None:
    import qt

    button = qt.QPushButton("old")
    button.text = "new"
    button.enabled = False
    button.checkable = True
    button.checked = True
    assert (button.text, button.enabled, button.isChecked()) == ("new", False, True)
    button.name = "button"
    assert button.objectName == "button"
    with pytest.raises(TypeError):
        button.text()


@pytest.mark.parametrize("name", ["txet", "toolTipp", "click"])
def test_a_qt_object_takes_no_attribute_that_it_does_not_have(name: str) -> None:
    import qt

    with pytest.raises(AttributeError):
        setattr(qt.QPushButton(), name, "x")
    with pytest.raises(AttributeError):
        setattr(slicer.qMRMLNodeComboBox(), name, "x")


def test_a_class_of_ones_own_takes_any_attribute() -> None:
    import qt

    class Mine(qt.QWidget):
        pass

    mine = Mine()
    mine.anything = 3
    assert mine.anything == 3


def test_signals_are_connected_by_name_and_by_signature() -> None:
    import qt

    heard: list[Any] = []
    button = qt.QPushButton()
    button.clicked.connect(lambda: heard.append("name"))
    button.connect("clicked(bool)", lambda: heard.append("signature"))
    button.click()
    assert heard == ["name", "signature"]
    with pytest.raises(ValueError, match="no signal"):
        button.connect("pressedTwice()", print)
    selector = slicer.qMRMLNodeComboBox()
    with pytest.raises(ValueError, match="no signal"):
        selector.connect("currentNodeChanged(int)", print)


def test_a_file_dialog_answers_with_one_string(monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    from SlicerStandIn import pythonqt

    one = pythonqt._firstOf(lambda *arguments: ("/a/file", "filter"))
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", one)
    assert qt.QFileDialog.getSaveFileName(None, "Save") == "/a/file"


# .ui files


def test_a_ui_file_loads_with_slicers_widgets_and_connections(tmp_path: Path) -> None:
    panel = slicer.util.loadUI(write_ui(tmp_path))
    ui = slicer.util.childWidgetVariables(panel)
    assert type(ui.selector).__name__ == "qMRMLNodeComboBox"
    assert ui.selector.noneEnabled
    assert not ui.selector.enabled
    volume = add_volume("CT")
    panel.setMRMLScene(slicer.mrmlScene)
    assert ui.selector.enabled
    assert ui.selector.nodeFromIndex(0) is volume


@pytest.mark.parametrize(
    "wrong",
    [
        {"property": "nonEnabled"},
        {"widget": "ctkSliderWidgett"},
        {"slot": "setScene(vtkMRMLScene*)"},
    ],
)
def test_a_mistake_in_a_ui_file_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no |unknown"):
        slicer.util.loadUI(write_ui(tmp_path, **wrong))


# Widgets


def test_a_node_selector_follows_the_scene() -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    heard: list[Any] = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    first, second = add_volume("A"), add_volume("B")
    assert (selector.nodeCount(), selector.currentNode()) == (2, None)
    selector.setCurrentNode(first)
    first.SetName("renamed")
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is second
    second.SetHideFromEditors(True)
    second.Modified()
    assert (selector.nodeCount(), selector.currentNode()) == (0, None)
    assert heard == [first, second, None]


def test_a_node_selector_makes_nodes_and_is_emptied_with_the_scene() -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLSegmentationNode"]
    selector.baseName = "Result"
    selector.setMRMLScene(slicer.mrmlScene)
    node = selector.addNode()
    assert node.GetName().startswith("Result")
    assert selector.currentNode() is node
    slicer.mrmlScene.Clear(0)
    assert (selector.nodeCount(), selector.currentNode()) == (0, None)


def test_a_deleted_selector_no_longer_hears_of_the_scene() -> None:
    import shiboken6

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    shiboken6.delete(selector)
    add_volume("A")


def test_a_collapsible_button_hides_what_is_in_it() -> None:
    import ctk
    import qt

    section = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("a"), qt.QLabel("b")
    layout.addWidget(shown)
    layout.addWidget(hidden)
    hidden.hide()
    heard: list[bool] = []
    section.contentsCollapsed.connect(heard.append)
    height = section.sizeHint().height()
    section.click()
    assert section.collapsed
    assert shown.isHidden()
    assert section.sizeHint().height() < height
    section.collapsed = False
    assert (shown.isHidden(), hidden.isHidden()) == (False, True)
    assert heard == [True, False]


def test_a_slider_keeps_its_range_and_decimals() -> None:
    import ctk

    slider = ctk.ctkSliderWidget()
    assert (slider.minimum, slider.maximum, slider.decimals) == (0.0, 99.0, 2)
    heard: list[float] = []
    slider.valueChanged.connect(heard.append)
    slider.maximum = 1.0
    slider.value = 0.254
    slider.value = 7.0
    assert heard == pytest.approx([0.25, 1.0])


def test_placing_points_goes_through_selection_and_interaction_node() -> None:
    kind = slicer.qSlicerMarkupsPlaceWidget
    widget = kind()
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setPlaceModeEnabled(True)
    assert not widget.placeModeEnabled  # there is no node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    widget.setCurrentNode(node)
    widget.placeMultipleMarkups = kind.ForcePlaceMultipleMarkups
    heard: list[bool] = []
    widget.activeMarkupsFiducialPlaceModeChanged.connect(heard.append)
    widget.setPlaceModeEnabled(True)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place
    assert (widget.placeModeEnabled, widget.placeModePersistency) == (True, True)
    interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
    assert heard == [True, False]


def test_show_3d_makes_and_removes_the_surface() -> None:
    segmentation, _ = add_segmentation(add_volume("CT"))
    button = slicer.qMRMLSegmentationShow3DButton()
    assert not button.enabled
    button.setSegmentationNode(segmentation)
    for shown in (True, False):
        button.click()
        assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface") is shown
        assert button.checked is shown


def test_the_segment_editor_undoes_a_change() -> None:
    volume = add_volume("CT")
    segmentation, segment = add_segmentation(volume)
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(slicer.mrmlScene)
    editor.setSegmentationNode(segmentation)
    assert editor.segmentationNode() is None  # there is no editor node yet
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(segment)
    assert editor.currentSegmentID() == segment
    before = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)
    editor.saveStateForUndo()
    empty = np.zeros((4, 5, 6), np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(empty, segmentation, segment, volume)
    editor.undo()
    after = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)
    np.testing.assert_array_equal(after, before)


# The parameter node


class Choice(enum.Enum):
    A = 1
    B = 2


def wrapper() -> Any:
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class Fields:
        volume: slicer.vtkMRMLScalarVolumeNode
        opacity: Annotated[float, WithinRange(0, 1)] = 0.5
        choice: Choice = Choice.B
        names: list[str]
        count: int = 3
        wanted: bool = True

    # Annotations are strings in this file, and so are read with the names of this function.
    Fields.__annotations__ = {
        "volume": slicer.vtkMRMLScalarVolumeNode,
        "opacity": Annotated[float, WithinRange(0, 1)],
        "choice": Choice,
        "names": list[str],
        "count": int,
        "wanted": bool,
    }
    return parameterNodeWrapper(Fields)(ScriptedLoadableModuleLogic().getParameterNode())


def test_fields_are_typed_and_stored_in_the_node() -> None:
    fields = wrapper()
    volume = add_volume("CT")
    assert (fields.volume, fields.opacity, fields.choice) == (None, 0.5, Choice.B)
    fields.volume, fields.opacity, fields.choice = volume, 0.25, Choice.A
    fields.names = ["a"]
    fields.names.append("b")
    node = fields.parameterNode
    assert node.GetNodeReference("volume") is volume
    stored = {name: node.GetParameter(name) for name in ("opacity", "choice", "count", "wanted")}
    assert stored == {"opacity": "0.25", "choice": "A", "count": "3", "wanted": "True"}
    assert wrapper().names == ["a", "b"]
    node.SetParameter("opacity", "0.75")
    assert fields.opacity == 0.75


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("opacity", 1.5, ValueError),
        ("opacity", None, ValueError),
        ("count", 1.5, TypeError),
        ("wanted", 1, TypeError),
        ("choice", "A", TypeError),
        ("names", None, TypeError),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: Any, error: type) -> None:
    fields = wrapper()
    before = getattr(fields, name)
    with pytest.raises(error):
        setattr(fields, name, value)
    assert getattr(fields, name) == before


def test_widgets_and_fields_follow_each_other(tmp_path: Path) -> None:
    fields = wrapper()
    panel = slicer.util.loadUI(write_ui(tmp_path))
    panel.setMRMLScene(slicer.mrmlScene)
    ui = slicer.util.childWidgetVariables(panel)
    heard: list[float] = []
    observer = fields.AddObserver(
        "ModifiedEvent", lambda caller, event: heard.append(fields.opacity)
    )
    tag = fields.connectGui(ui)
    assert (ui.opacity.minimum, ui.opacity.maximum, ui.opacity.value) == (0.0, 1.0, 0.5)
    ui.opacity.value = 0.75
    assert fields.opacity == 0.75
    assert heard[-1] == 0.75
    fields.volume = add_volume("CT")
    assert ui.selector.currentNode() is fields.volume
    fields.disconnectGui(tag)
    fields.RemoveObserver(observer)


def test_closing_the_scene_gives_the_defaults_back() -> None:
    fields = wrapper()
    fields.volume, fields.opacity = add_volume("CT"), 0.25
    slicer.mrmlScene.Clear(0)
    assert (fields.volume, fields.opacity) == (None, 0.5)


# The application


def test_a_scripted_module_lives_as_in_slicer(tmp_path: Path) -> None:
    path = tmp_path / "StandInExample.py"
    path.write_text(MODULE.format(name="StandInExample"), encoding="utf-8")
    module, instance = SlicerStandIn.loadModule(path)
    assert module.title == "A module"
    assert instance.resourcePath("x.png") == str(tmp_path / "Resources" / "x.png")
    representation = module.widgetRepresentation()
    first = representation.self()
    assert slicer.util.getModuleWidget("StandInExample") is first
    representation.enter()
    representation.exit()
    first.onReload()
    second = representation.self()
    assert first.calls == ["setup", "enter", "exit", "cleanup"]
    assert second is not first
    assert slicer.modules.StandInExampleWidget is second
    slicer.selfTests["StandInExample"]()
    assert slicer.ranTest
    SlicerStandIn.unloadModule("StandInExample")
    assert second.calls == ["setup", "cleanup"]
    assert not hasattr(slicer.modules, "standinexample")


def test_selecting_a_module_enters_it_and_leaves_the_one_before(tmp_path: Path) -> None:
    modules = []
    for name in ("StandInOne", "StandInTwo"):
        path = tmp_path / f"{name}.py"
        path.write_text(MODULE.format(name=name), encoding="utf-8")
        modules.append(SlicerStandIn.loadModule(path)[0])
    window = SlicerStandIn.showMainWindow()
    for module in modules:
        slicer.util.selectModule(module)
    calls = [module.widgetRepresentation().self().calls for module in modules]
    assert calls == [["setup", "enter", "exit"], ["setup", "enter"]]
    assert slicer.util.selectedModule() == "StandInTwo"
    for name in ("StandInOne", "StandInTwo"):
        SlicerStandIn.unloadModule(name)
    window.hide()


def test_errors_are_shown_and_raised_and_in_testing_mode_only_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: shown.append(text))
    for testing in (False, True):
        SlicerStandIn.start(testing=testing)
        with (
            pytest.raises(KeyError),
            slicer.util.tryWithErrorDisplay("It failed.", waitCursor=True),
        ):
            raise KeyError("x")
    SlicerStandIn.start()
    assert shown == ["It failed.\n\n'x'"]


def test_nothing_is_installed() -> None:
    from slicer.packaging import pip_check, pip_ensure

    assert pip_check("numpy>=1.20")
    assert not pip_check("numpy>=1000")
    assert pip_ensure("numpy") is None
    with pytest.raises(RuntimeError, match="installs nothing"):
        pip_ensure("no-such-package-at-all", prompt_install=False)


def test_a_saved_scene_comes_back(tmp_path: Path) -> None:
    from SlicerStandIn import driving

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    fields = wrapper()
    fields.volume, fields.opacity = add_volume("CT"), 0.25
    driving.saveScene(tmp_path / "scene.mrb")
    driving.closeScene()
    driving.loadScene(tmp_path / "scene.mrb")
    again = wrapper()
    assert selector.nodeFromIndex(0) is again.volume
    assert (again.volume.GetName(), again.opacity) == ("CT", 0.25)
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(again.volume).ravel(), np.arange(4 * 5 * 6)
    )


def test_nodes_are_exported_and_loaded(tmp_path: Path) -> None:
    volume = add_volume("CT")
    assert slicer.util.exportNode(volume, str(tmp_path / "ct.nii.gz"), {})
    loaded = slicer.util.loadVolume(str(tmp_path / "ct.nii.gz"), {})
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume)
    )


def pixels(widget: Any) -> np.ndarray:
    """Colours (height, width, 3) of a widget as it looks now."""
    import qt

    image = widget.grab().toImage().convertToFormat(qt.QImage.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    rows = rows[:, : 3 * image.width()].copy()  # the image's memory goes with it
    return rows.reshape(image.height(), image.width(), 3)


def test_slice_and_3d_views_show_what_is_in_the_scene() -> None:
    from SlicerStandIn import driving

    window = SlicerStandIn.showMainWindow()
    manager = slicer.app.layoutManager()
    names = manager.sliceViewNames()
    assert names[:3] == ["Red", "Green", "Yellow"]
    assert {*names[3:]} <= {"Slice4", "Slice5", "Slice6"}, "of another test's layouts"
    driving.processEvents()
    red, three_d = manager.sliceWidget("Red").sliceView(), manager.threeDWidget(0).threeDView()
    assert pixels(red).max() < 40
    volume = add_volume("CT")
    segmentation, _ = add_segmentation(volume)
    segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetSegmentation().GetSegment("one").SetColor(1, 0, 0)
    background = pixels(three_d)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    manager.resetThreeDViews()
    assert pixels(red).max() > 150
    colours = pixels(red).astype(int)
    assert ((colours[..., 0] - colours[..., 1]) > 40).any()
    changed = (pixels(three_d) != background).any(axis=2).mean()
    assert changed > 0.02
    window.hide()


def test_layouts_show_their_views() -> None:
    window = SlicerStandIn.showMainWindow()
    manager = slicer.app.layoutManager()
    heard: list[int] = []
    manager.layoutChanged.connect(heard.append)
    kinds = slicer.vtkMRMLLayoutNode
    manager.setLayout(kinds.SlicerLayoutOneUpRedSliceView)
    shown = [name for name in manager.sliceViewNames() if manager.sliceWidget(name).visible]
    assert (shown, manager.threeDWidget(0).visible) == (["Red"], False)
    manager.layout = kinds.SlicerLayoutFourUpView
    assert manager.threeDWidget(0).visible
    assert heard == [kinds.SlicerLayoutOneUpRedSliceView, kinds.SlicerLayoutFourUpView]
    manager.setLayout(kinds.SlicerLayoutTwoOverTwoView)
    assert manager.sliceViewNames()[:4] == ["Red", "Green", "Yellow", "Slice4"]
    further = manager.sliceWidget("Slice4")
    assert further.visible
    assert further.mrmlSliceNode() is slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeSlice4")
    assert not further.mrmlSliceCompositeNode().GetBackgroundVolumeID()
    manager.layout = kinds.SlicerLayoutFourUpView
    assert "Slice4" in manager.sliceViewNames()
    assert not further.visible
    with pytest.raises(ValueError, match="no layout"):
        manager.setLayout(12345)
    window.hide()


def test_rendering_waits_while_it_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    updates: list[int] = []
    monkeypatch.setattr(type(view), "update", lambda self: updates.append(1))
    with slicer.util.RenderBlocker(), slicer.util.RenderBlocker():
        view.scheduleRender()
        assert updates == []
    assert updates


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Segment Editor with an effect that was registered from a file."""
    from SlicerStandIn.widgets import segment_editor_effects

    factory = segment_editor_effects.qSlicerSegmentEditorEffectFactory
    fresh = factory()
    monkeypatch.setattr(factory, "instance", staticmethod(lambda: fresh))
    folder = tmp_path / "our_effect"
    folder.mkdir()
    (folder / "OurEffect.py").write_text(EFFECT, encoding="utf-8")
    for _ in range(2):  # the second time it is known already
        effect = segment_editor_effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(str(folder / "OurEffect.py"))
        effect.self().register()
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    editor.setSourceVolumeNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    yield editor
    editor.setActiveEffect(None)
    editor.removeViewObservations()


def test_each_editor_has_a_clone_of_each_effect(editor: Any) -> None:
    other = slicer.qMRMLSegmentEditorWidget()
    assert editor.availableEffectNames() == other.availableEffectNames() == ["Ours"]
    assert editor.effectByName("Ours") is not other.effectByName("Ours")
    assert editor.effectByName("Ours").parameterSetNode() is editor.mrmlSegmentEditorNode()
    assert editor.effectByName("another") is None


def test_the_active_effect_has_the_events_of_the_views_first(editor: Any) -> None:
    import vtk
    from SlicerStandIn import driving

    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    after: list[str] = []
    view.interactor().AddObserver("LeftButtonPressEvent", lambda _o, event: after.append(event))
    effect = editor.effectByName("Ours").self()
    driving.clickInView(view, 5, 5)
    assert effect.heard == []
    editor.setActiveEffectByName("Ours")
    assert editor.activeEffect() is editor.effectByName("Ours")
    after.clear()
    driving.clickInView(view, 5, 5)
    pressed = vtk.vtkCommand.LeftButtonPressEvent
    assert effect.heard[0] == "activate"
    assert (pressed, "qMRMLSliceWidget") in effect.heard
    assert len(after) == 1
    effect.takes = True
    driving.clickInView(view, 5, 5)
    assert len(after) == 1
    editor.setSegmentationNode(None)
    assert effect.heard[-1] == "deactivate"
    assert editor.activeEffect() is None


def test_the_mouse_drags_a_point_in_a_slice_view() -> None:
    import vtk
    from SlicerStandIn import driving

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.CreateDefaultDisplayNodes()
    widget = slicer.app.layoutManager().sliceWidget("Red")
    view = widget.sliceView()
    view.resize(300, 300)
    view.forceRender()
    matrix = widget.mrmlSliceNode().GetXYToRAS()
    node.AddControlPointWorld(vtk.vtkVector3d(matrix.MultiplyPoint((150, 150, 0, 1))[:3]))
    view.forceRender()
    driving.dragInView(view, (150, 150), (200, 120))
    assert node.GetNthControlPointPositionWorld(0) == pytest.approx(
        matrix.MultiplyPoint((200, 120, 0, 1))[:3], abs=1e-3
    )


def test_stopping_leaves_slicer_core_as_it_was() -> None:
    SlicerStandIn.stop()
    assert not hasattr(slicer, "app")
    assert not hasattr(slicer, "mrmlScene")
    assert SlicerStandIn.start() is slicer.app


def test_qts_mouse_reaches_a_view_as_vtks_widget_hands_it_on() -> None:
    import slicer
    from PySide6.QtCore import QCoreApplication, QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent
    from SlicerStandIn import driving

    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    view.resize(300, 200)
    view.forceRender()
    interactor, seen = view.interactor(), []
    names = ("LeftButtonPressEvent", "LeftButtonReleaseEvent", "LeftButtonDoubleClickEvent")

    def note(_caller: Any, event: str) -> None:
        keys = interactor.GetShiftKey(), interactor.GetControlKey(), interactor.GetAltKey()
        seen.append((event, interactor.GetEventPosition(), keys))

    tags = [interactor.AddObserver(name, note, 2.0) for name in (*names, "MouseMoveEvent")]
    try:
        driving.drawWithMouse(view, [(20, 30), (50, 60)], shift=True)
        assert seen == [
            ("MouseMoveEvent", (20, 30), (1, 0, 0)),
            ("LeftButtonPressEvent", (20, 30), (1, 0, 0)),
            ("MouseMoveEvent", (50, 60), (1, 0, 0)),
            ("LeftButtonReleaseEvent", (50, 60), (1, 0, 0)),
        ]
        seen.clear()
        place = QPointF(7, 199 - 9)
        held = Qt.KeyboardModifier.AltModifier
        left = Qt.MouseButton.LeftButton
        kind = QEvent.Type.MouseButtonDblClick
        event = QMouseEvent(kind, place, view.mapToGlobal(place), left, left, held)
        QCoreApplication.sendEvent(view, event)
        assert seen == [("LeftButtonDoubleClickEvent", (7, 9), (0, 0, 1))]
    finally:
        interactor.SetAltKey(0)
        for tag in tags:
            interactor.RemoveObserver(tag)
