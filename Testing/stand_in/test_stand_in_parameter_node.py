"""The stand-in's parameter node wrapper and module classes: as Slicer's, or refused by name."""

from __future__ import annotations

import dataclasses
import enum
import gc
import pathlib
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

pytest.importorskip("PySide6", reason="the stand-in for Slicer's widgets needs PySide6")
slicer = pytest.importorskip("slicer", reason="the stand-in for Slicer needs slicer-core")

import SlicerStandIn  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def application() -> Any:
    yield SlicerStandIn.start(testing=True)
    SlicerStandIn.stop()


@pytest.fixture(autouse=True)
def empty_scene(application: Any) -> Iterator[None]:
    slicer.mrmlScene.Clear(0)
    yield
    slicer.mrmlScene.Clear(0)


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2

    def label(self) -> str:
        return f"the {self.name.lower()} one"


@dataclasses.dataclass
class Size:
    width: int = 1
    height: int = 1


def new_node() -> Any:
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def wrapper_class(defaults: dict[str, Any] | None = None, **types: Any) -> Any:
    """A wrapper class with these fields."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    cls = type("Fields", (), {**(defaults or {}), "__annotations__": types})
    return parameterNodeWrapper(cls)


def wrapper(defaults: dict[str, Any] | None = None, **types: Any) -> Any:
    return wrapper_class(defaults, **types)(new_node())


def parameters(node: Any) -> dict[str, str]:
    return {name: node.GetParameter(name) for name in node.GetParameterNames()}


class Counter:
    """Counts the events of a node."""

    def __init__(self, node: Any) -> None:
        self.count = 0
        node.AddObserver("ModifiedEvent", self.called)

    def called(self, caller: Any, event: str) -> None:
        self.count += 1


# What is stored


def test_values_are_stored_under_the_originals_names() -> None:
    fields = wrapper(
        numbers=list[int],
        either=int | str,
        pair=tuple[float, bool],
        named=dict[str, int],
        side=Side,
        path=pathlib.PurePosixPath,
    )
    fields.numbers = [4, 5]
    fields.either = "text"
    fields.pair = (0.5, True)
    fields.named = {"a": 1}
    fields.side = Side.RIGHT
    fields.path = pathlib.PurePosixPath("/some/where")
    assert parameters(fields.parameterNode) == {
        "numbers.len": "2",
        "numbers.0": "4",
        "numbers.1": "5",
        "either.1": "text",
        "pair.0": "0.5",
        "pair.1": "True",
        "named.len": "1",
        "named.0.0": "a",
        "named.0.1": "1",
        "side": "RIGHT",
        "path": "/some/where",
    }


def test_another_wrapper_of_the_node_reads_what_one_wrote(error_log: Any) -> None:
    cls = wrapper_class(numbers=list[list[int]], anything=Any, volume=slicer.vtkMRMLVolumeNode)
    one = cls(new_node(), prefix="a")
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    one.numbers = [[1], [2, 3]]
    one.numbers[0].append(9)
    one.anything = ["x", 2, None, {"k": Side.LEFT}]
    one.volume = volume
    other = cls(one.parameterNode, prefix="a")
    assert other.numbers == [[1, 9], [2, 3]]
    assert other.anything == ["x", 2, None, {"k": Side.LEFT}]
    assert other.volume is volume
    assert cls(one.parameterNode, prefix="b").numbers == []
    assert "list" in error_log.take("without the type of its items")


def test_what_is_written_shorter_leaves_nothing_behind() -> None:
    fields = wrapper(numbers=list[int], either=list[str] | int)
    fields.numbers = [1, 2, 3]
    fields.either = ["a", "b"]
    fields.numbers = [7]
    fields.either = 5
    assert parameters(fields.parameterNode) == {
        "numbers.len": "1",
        "numbers.0": "7",
        "either.1": "5",
    }


# Lists and dictionaries


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.append("text"),
        lambda one: one.extend([4, "text"]),
        lambda one: one.insert(0, "text"),
        lambda one: one.__setitem__(slice(0, 2), [9, "text"]),
        lambda one: one.__iadd__([4, "text"]),
    ],
)
def test_a_change_that_does_not_fit_is_taken_back(change: Any) -> None:
    fields = wrapper(numbers=list[int])
    fields.numbers = [1, 2, 3]
    stored = parameters(fields.parameterNode)
    numbers = fields.numbers
    with pytest.raises(TypeError):
        change(numbers)
    assert numbers == fields.numbers == [1, 2, 3]
    # Items beyond the length may stay in the node, as in Slicer; nobody reads them.
    assert stored.items() <= parameters(fields.parameterNode).items()


def test_each_change_of_a_list_is_one_event() -> None:
    fields = wrapper(numbers=list[int])
    counter = Counter(fields.parameterNode)
    numbers = fields.numbers
    changes = [
        lambda: numbers.__iadd__((3, 1, 2)),
        lambda: numbers.extend([5, 4]),
        numbers.sort,
        numbers.reverse,
        lambda: numbers.__imul__(2),
        lambda: numbers.pop(0),
        lambda: numbers.remove(4),
        lambda: numbers.__delitem__(slice(0, 2)),
        numbers.clear,
    ]
    for done, change in enumerate(changes, start=1):
        change()
        assert counter.count == done, f"change {done}"
    list(numbers).append(1)
    assert counter.count == len(changes)
    assert fields.numbers == []


def test_an_observed_list_is_neither_added_to_nor_multiplied() -> None:
    numbers = wrapper(numbers=list[int]).numbers
    for combine in (lambda: numbers + [1], lambda: [1] + numbers, lambda: 2 * numbers):  # noqa: RUF005
        with pytest.raises(NotImplementedError):
            combine()


def test_a_dictionary_keeps_its_order_and_its_changes() -> None:
    fields = wrapper(named=dict[str, int])
    fields.named["z"] = 1
    fields.named["a"] = 2
    fields.named["m"] = 3
    assert list(fields.named.items()) == [("z", 1), ("a", 2), ("m", 3)]
    assert fields.named.pop("a") == 2
    assert fields.named.popitem() == ("m", 3)
    with pytest.raises(TypeError):
        fields.named["z"] = "text"
    assert fields.named == {"z": 1}
    with pytest.raises(TypeError):
        fields.named.get("q", 0)


# Types and defaults


@pytest.mark.parametrize("written", ["Optional[int]", "Union[int, None]", "int | None"])
def test_optional_fields_may_be_written_in_any_way(written: str) -> None:
    fields = wrapper(count=eval(written, vars(typing)))
    assert fields.count is None
    fields.count = 3
    assert fields.count == 3
    with pytest.raises(TypeError):
        fields.count = "three"
    assert fields.count == 3


def test_a_union_of_nodes_takes_either_and_no_other() -> None:
    add = slicer.mrmlScene.AddNewNodeByClass
    fields = wrapper(node=slicer.vtkMRMLModelNode | slicer.vtkMRMLSegmentationNode | None)
    for name in ("vtkMRMLModelNode", "vtkMRMLSegmentationNode"):
        fields.node = node = add(name)
        assert fields.node is node
    with pytest.raises(TypeError):
        fields.node = add("vtkMRMLScalarVolumeNode")
    assert fields.node is node


def test_an_enumeration_is_not_none_nor_another() -> None:
    fields = wrapper(side=Side)
    for wrong, error in (("LEFT", TypeError), (None, AttributeError)):
        with pytest.raises(error):
            fields.side = wrong
    assert fields.side is Side.LEFT
    fields.parameterNode.SetParameter("side", "RIGHT")
    assert fields.side is Side.RIGHT


def test_defaults_come_from_the_class_or_the_annotation(error_log: Any) -> None:
    from slicer.parameterNodeWrapper import Decimals, Default, Minimum

    counted = iter(range(9))
    fields = wrapper_class(
        {"height": 4},
        height=int,
        width=Annotated[int, Default(7), Minimum(3)],
        number=Annotated[int, Default(generator=lambda: next(counted))],
    )
    assert [fields(new_node()).number for _ in range(3)] == [0, 1, 2]
    one = fields(new_node())
    assert (one.height, one.width) == (4, 7)
    assert one.default("width").value == 7
    with pytest.raises(ValueError, match="3"):
        one.width = 2
    assert not error_log.entries
    wrapper(level=Annotated[float, Decimals(2)])
    assert "Decimals" in error_log.take("Unused annotations")
    with pytest.raises(Exception, match="defaults"):
        wrapper(level=Annotated[int, Default(1), Default(2)])


def test_the_type_of_a_field_is_known_to_the_class_and_to_its_objects() -> None:
    from slicer.parameterNodeWrapper import WithinRange

    opacity = Annotated[float, WithinRange(0, 1)]
    cls = wrapper_class(opacity=opacity, count=int | None)
    for one in (cls, cls(new_node())):
        assert one.dataType("opacity") == opacity
        assert one.dataType("count") == int | None
        with pytest.raises(ValueError, match="opacity"):
            one.dataType("other")


@pytest.mark.parametrize("name", ["default", "getValue", "dataType", "allParameters"])
def test_names_that_the_wrapper_itself_needs_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        wrapper_class(**{name: int})


def test_a_module_may_bring_a_serializer_of_its_own() -> None:
    from slicer.parameterNodeWrapper import (
        NotNone,
        Serializer,
        ValidatedSerializer,
        parameterNodeSerializer,
    )

    @parameterNodeSerializer
    class SizeSerializer(Serializer):
        @staticmethod
        def canSerialize(type_: Any) -> bool:  # noqa: N802
            return type_ is Size

        @staticmethod
        def create(type_: Any) -> Any:
            return ValidatedSerializer(SizeSerializer(), [NotNone()])

        def default(self) -> Size:
            return Size()

        def isIn(self, node: Any, name: str) -> bool:  # noqa: N802
            return node.HasParameter(name)

        def write(self, node: Any, name: str, value: Size) -> None:
            node.SetParameter(name, f"{value.width}x{value.height}")

        def read(self, node: Any, name: str) -> Size:
            return Size(*map(int, node.GetParameter(name).split("x")))

        def remove(self, node: Any, name: str) -> None:
            node.UnsetParameter(name)

    fields = wrapper(size=Size, sizes=list[Size], count=int)
    fields.sizes = [Size(2, 3)]
    assert parameters(fields.parameterNode)["sizes.0"] == "2x3"
    assert (fields.size, fields.sizes) == (Size(1, 1), [Size(2, 3)])
    # What is handed out is changed by nobody but its holder, so it is read anew each time.
    assert [fields.isCached(one) for one in ("size", "sizes", "count")] == [False, False, True]
    fields.size.width = 9
    assert fields.size == Size(1, 1)


# Widgets


def test_letting_controls_go_lets_the_node_go() -> None:
    import qt

    fields = wrapper(wanted=bool, text=str)
    controls = {"wanted": qt.QCheckBox(), "text": qt.QLineEdit()}
    node = fields.parameterNode
    for name, control in controls.items():
        control.setProperty("SlicerParameterName", name)
    ui = type("Ui", (), {})()
    vars(ui).update(controls)
    for _ in range(3):
        fields.disconnectGui(fields.connectGui(ui))
    # VTK counts up: what was not removed would be called.
    fields.wanted, fields.text = True, "new"
    assert (controls["wanted"].checked, controls["text"].text) == (False, "")
    controls["wanted"].checked, controls["text"].text = False, "typed"
    assert (fields.wanted, fields.text) == (True, "new")
    assert len(fields._guiVtkObserverTags) == 0
    del fields
    gc.collect()
    assert not node.HasObserver("ModifiedEvent")


@pytest.mark.parametrize("forgets", [False, True], ids=["5.12", "before 5.12"])
def test_our_panel_lets_the_node_go_also_where_slicer_forgets_to(
    forgets: bool, monkeypatch: Any
) -> None:
    import qt
    from AttentionUNetSegmentLib.panel.binding import Binding

    fields, control = wrapper(wanted=bool), qt.QCheckBox()
    control.setProperty("SlicerParameterName", "wanted")
    if forgets:
        monkeypatch.setattr(type(fields), "RemoveObserver", lambda self, tag: None)
    ui = type("Ui", (), {})()
    ui.control = control
    node = fields.parameterNode
    Binding(fields, ui).release()
    del fields
    gc.collect()
    assert not node.HasObserver("ModifiedEvent")


def test_typing_in_the_middle_of_a_line_leaves_the_cursor_there() -> None:
    import qt

    fields, line = wrapper(text=str), qt.QLineEdit()
    fields.text = "abcd"
    fields.connectParametersToGui({"text": line})
    line.setCursorPosition(2)
    line.insert("x")
    assert (fields.text, line.cursorPosition) == ("abxcd", 3)


def test_widgets_take_the_bounds_and_the_steps_of_their_fields(error_log: Any) -> None:
    import ctk
    import qt
    from slicer.parameterNodeWrapper import Decimals, Minimum, SingleStep, WithinRange

    fields = wrapper(
        {"count": 2},
        level=Annotated[float, WithinRange(0, 2), SingleStep(0.25), Decimals(3)],
        count=Annotated[int, Minimum(2)],
        whole=Annotated[int, WithinRange(0, 9)],
        free=float,
    )
    assert error_log.take("Unused annotations")
    level, count, whole = ctk.ctkSliderWidget(), qt.QSpinBox(), qt.QDoubleSpinBox()
    fields.connectParametersToGui({"level": level, "count": count, "whole": whole})
    assert (level.minimum, level.maximum, level.singleStep, level.decimals) == (0, 2, 0.25, 3)
    assert (count.minimum, count.maximum, count.value) == (2, 2**31 - 1, 2)
    assert (whole.decimals, whole.maximum) == (0, 9)
    whole.value = 4
    assert (fields.whole, type(fields.whole)) == (4, int)
    with pytest.raises(RuntimeError):
        fields.connectParametersToGui({"free": ctk.ctkSliderWidget()})


def test_a_combo_box_shows_the_labels_of_an_enumeration() -> None:
    import qt

    fields, box = wrapper({"side": Side.RIGHT}, side=Side), qt.QComboBox()
    fields.connectParametersToGui({"side": box})
    assert [box.itemText(index) for index in range(box.count)] == ["the left one", "the right one"]
    assert box.currentIndex == 1
    box.currentIndex = 0
    assert fields.side is Side.LEFT
    crowded = qt.QComboBox()
    crowded.addItems(["a", "b", "c"])
    crowded.currentIndex = 2
    with pytest.raises(IndexError):
        fields.connectParametersToGui({"side": crowded})


def test_a_push_button_that_cannot_show_a_bool_is_made_to_with_a_warning(error_log: Any) -> None:
    import qt

    fields, button = wrapper(wanted=bool), qt.QPushButton()
    fields.connectParametersToGui({"wanted": button})
    assert button.checkable
    assert error_log.take("checkable")


def test_a_node_selector_gets_the_types_of_its_field_as_a_tuple() -> None:
    fields = wrapper(node=slicer.vtkMRMLModelNode | slicer.vtkMRMLSegmentationNode | None)
    selector = slicer.qMRMLNodeComboBox()
    selector.setMRMLScene(slicer.mrmlScene)
    fields.connectParametersToGui({"node": selector})
    assert selector.nodeTypes == ("vtkMRMLModelNode", "vtkMRMLSegmentationNode")


@pytest.mark.parametrize(("type_", "widget"), [(str, "QCheckBox"), (bool, "QLineEdit")])
def test_a_widget_that_cannot_show_the_type_is_refused(type_: Any, widget: str) -> None:
    import qt

    with pytest.raises(RuntimeError, match=widget):
        wrapper(field=type_).connectParametersToGui({"field": getattr(qt, widget)()})


# What is not imitated


@pytest.mark.parametrize(
    "name",
    [
        "FloatRange",
        "GuiConnector",
        "Label",
        "RangeBounds",
        "createGui",
        "nestedParameterNames",
        "parameterNodeGuiConnector",
        "parameterPack",
    ],
)
def test_what_is_not_imitated_is_refused_by_name(name: str) -> None:
    from slicer import parameterNodeWrapper
    from SlicerStandIn.not_imitated import NotImitatedError

    refused = getattr(parameterNodeWrapper, name)
    with pytest.raises(NotImitatedError, match=name):
        refused(int)
    with pytest.raises(NotImitatedError, match=name):

        class Derived(refused):
            pass


def test_fields_that_are_not_imitated_are_refused_by_name() -> None:
    import qt
    from slicer.parameterNodeWrapper import FloatRange
    from SlicerStandIn.not_imitated import NotImitatedError

    for type_, name in ((qt.QColor, "qt.QColor"), (FloatRange, "FloatRange")):
        with pytest.raises(NotImitatedError, match=name):
            wrapper(field=type_)
        with pytest.raises(NotImitatedError, match=name):
            wrapper(field=list[type_])
    with pytest.raises(Exception, match="field") as failure:
        wrapper(field=complex)
    assert not isinstance(failure.value, NotImitatedError)


def test_widgets_that_are_not_there_are_refused_by_name() -> None:
    import ctk
    from SlicerStandIn.not_imitated import NotImitatedError

    for home, name in ((ctk, "ctkRangeWidget"), (slicer, "qMRMLSliderWidget")):
        assert not hasattr(home, name)
        with pytest.raises(NotImitatedError, match=name):
            getattr(home, name)
    with pytest.raises(AttributeError, match="has no attribute"):
        slicer.notThere  # noqa: B018


# The module's test case


def test_a_mixin_of_a_test_case_is_constructed() -> None:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

    class Mixin:
        def __init__(self) -> None:
            super().__init__()
            self.made = True

    class Case(ScriptedLoadableModuleTest, Mixin):
        pass

    assert Case().made


def test_a_test_case_runs_its_tests_unless_it_says_which(error_log: Any) -> None:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

    ran: list[str] = []

    class Case(ScriptedLoadableModuleTest):
        def setUp(self) -> None:
            ran.append("setUp")

        def test_one(self) -> None:
            ran.append("one")

        def second_test(self) -> None:
            ran.append("second")

    Case().runTest()
    assert ran == ["setUp", "second", "setUp", "one"]

    class Empty(ScriptedLoadableModuleTest):
        pass

    Empty().runTest()
    assert error_log.take("No test is defined in Empty")


def test_what_a_release_does_not_show_is_refused(monkeypatch: Any) -> None:
    from slicer.ScriptedLoadableModule import (
        ScriptedLoadableModuleTest,
        ScriptedLoadableModuleWidget,
    )
    from SlicerStandIn.not_imitated import NotImitatedError

    case = ScriptedLoadableModuleTest()
    case.messageDelay, case.enableScreenshots = 0, True
    with pytest.raises(NotImitatedError, match="screenshots"):
        case.takeScreenshot("name", "text")
    widget = ScriptedLoadableModuleWidget(slicer.qMRMLWidget())
    widget.developerMode = True
    with pytest.raises(NotImitatedError, match="Reload && Test"):
        widget.setup()
