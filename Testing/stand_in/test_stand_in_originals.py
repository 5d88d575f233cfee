"""The stand-in offers what Slicer's originals offer, no more, and our code uses no more."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("PySide6", reason="the stand-in for Slicer's widgets needs PySide6")
pytest.importorskip("slicer", reason="the stand-in for Slicer needs slicer-core")

import SlicerStandIn
from SlicerStandIn import originals

ROOT = Path(__file__).resolve().parents[2]
FULL_LISTS = ROOT.parent / "shared" / "slicer-api"
MODULE = ROOT / "AttentionUNetSegment"
LIBRARY = MODULE / "AttentionUNetSegmentLib"
SOURCES = [
    *MODULE.glob("*.py"),
    *(LIBRARY / "attention_unet_effect").glob("*.py"),
    *(LIBRARY / "panel").glob("*.py"),
    *(LIBRARY / "scene").glob("*.py"),
]

STAND_IN = ROOT / "Testing" / "support" / "SlicerStandIn"
PYTHON_FILES = {
    "scripted_loadable_module.py": "Base/Python/slicer/ScriptedLoadableModule.py",
    "i18n.py": "Base/Python/slicer/i18n.py",
    "abstract_scripted_segment_editor_effect.py": (
        "Modules/Loadable/Segmentations/EditorEffects/Python/SegmentEditorEffects/"
        "AbstractScriptedSegmentEditorEffect.py"
    ),
    "packaging.py": "Base/Python/slicer/packaging.py",
    "sample_data.py": "Modules/Scripted/SampleData/SampleData.py",
    "parameter_node/annotations.py": "Base/Python/slicer/parameterNodeWrapper/validators.py",
    "parameter_node/wrapper.py": "Base/Python/slicer/parameterNodeWrapper/wrapper.py",
}
# Written in another file of the original, or shared by our own files only.
ELSEWHERE = {
    "annotations.py": {"Default", "first", "part", "split"},
    "sample_data.py": {"addModule"},
    "wrapper.py": {"ParameterInfo"},
}


@pytest.fixture(scope="module", autouse=True)
def application() -> Any:
    yield SlicerStandIn.start()
    SlicerStandIn.stop()


def stand_in_classes() -> list[type]:
    from SlicerStandIn import application, io_manager, layout_manager, main_window, modules

    parts = (application, io_manager, layout_manager, main_window, modules)
    return [*SlicerStandIn.widgetClasses(), *(cls for part in parts for cls in part.CLASSES)]


# The list


def test_the_committed_list_is_the_full_one_for_the_classes_that_it_holds() -> None:
    if not FULL_LISTS.is_dir():
        pytest.skip(f"no full lists of Slicer's classes: there is no folder {FULL_LISTS}")
    assert originals.contents() == originals.extract(FULL_LISTS)


@pytest.mark.parametrize(
    ("text", "types", "arguments", "required"),
    [
        ("undo()", (), (), 0),
        ("setDecimals(int decimals)", ("int",), ("decimals",), 1),
        ("contentsCollapsed(bool)", ("bool",), ("argument0",), 1),
        (
            "f(const QString& a, QVariant b = QVariant())",
            ("const QString&", "QVariant"),
            ("a", "b"),
            1,
        ),
        ("g(vtkMRMLNode*)", ("vtkMRMLNode*",), ("argument0",), 1),
    ],
)
def test_signatures_are_taken_apart(
    text: str, types: tuple[str, ...], arguments: tuple[str, ...], required: int
) -> None:
    call = originals.parse(text)
    assert (call.types, call.arguments, call.required) == (types, arguments, required)


# The stand-in against the list


def test_every_class_of_the_stand_in_is_an_original_with_its_base() -> None:
    for cls in stand_in_classes():
        assert cls.__name__ in originals.qtClasses(), cls.__name__
        ours = [one.__name__ for one in cls.__mro__]
        base = originals.qtBase(cls.__name__)
        assert base in ours, f"{cls.__name__} derives from {base}"
        theirs = [one for one in originals.ancestry(cls.__name__) if one in ours]
        assert [one for one in ours if one in theirs] == theirs


def test_the_stand_in_has_nothing_that_the_original_lacks() -> None:
    import qt

    wrong = []
    for cls in stand_in_classes():
        base = getattr(qt, originals.qtBase(cls.__name__))
        offered = originals.names(cls.__name__)
        for name, value in vars(cls).items():
            if name.startswith("_") or name == "staticMetaObject" or name in offered:
                continue
            overridden = callable(value) and callable(inspect.getattr_static(base, name, None))
            overridden = overridden or name in ("sizeHint", "minimumSizeHint", "exec_")
            if not overridden and not _is_enumerator(cls, name, value):
                wrong.append(f"{cls.__name__}.{name}")
    assert wrong == []


def _is_enumerator(cls: type, name: str, value: Any) -> bool:
    kind = value if isinstance(value, type) else type(value)
    return kind.__name__.lstrip("_") in originals.enums(cls.__name__)


def test_a_property_of_the_original_is_one_here_and_a_method_is_a_method() -> None:
    from PySide6.QtCore import Property, Signal

    wrong = []
    for cls in stand_in_classes():
        listed = originals.properties(cls.__name__)
        sent = {one.name for one in originals.signals(cls.__name__)}
        for name, value in vars(cls).items():
            if name.startswith("_") or name in originals.unlisted(cls.__name__):
                continue
            if isinstance(value, Property) != (name in listed) and name in originals.names(
                cls.__name__
            ):
                wrong.append(f"{cls.__name__}.{name}")
            if isinstance(value, Signal) != (name in sent) and name in sent:
                wrong.append(f"{cls.__name__}.{name}")
    assert wrong == []


def test_properties_have_the_types_of_the_originals() -> None:
    wrong = []
    plain = {"bool", "int", "double", "QString", "QStringList"}
    for cls in stand_in_classes():
        meta = cls.staticMetaObject
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            prop = meta.property(index)
            for one in originals.ancestry(cls.__name__):
                wanted = originals.qtClasses()[one]["properties"].get(prop.name())
                if wanted in plain and prop.typeName() != wanted:
                    wrong.append(f"{cls.__name__}.{prop.name()}: {prop.typeName()}, not {wanted}")
    assert wrong == []


def test_methods_take_the_arguments_of_the_originals() -> None:
    wrong = []
    for cls in stand_in_classes():
        known = originals.calls(cls.__name__)
        for name, value in vars(cls).items():
            overloads = [one for one in known if one.name == name]
            if name.startswith("_") or not overloads or not inspect.isfunction(value):
                continue
            parameters = list(inspect.signature(value).parameters.values())[1:]
            required = sum(one.default is inspect.Parameter.empty for one in parameters)
            taken = set(range(required, len(parameters) + 1))
            offered = set()
            for one in overloads:
                offered |= set(range(one.required, len(one.arguments) + 1))
            if not taken <= offered:
                wrong.append(f"{cls.__name__}.{name} takes {taken}, the original {offered}")
    assert wrong == []


@pytest.mark.parametrize("ours", PYTHON_FILES)
def test_python_files_have_the_names_and_signatures_of_the_originals(ours: str) -> None:
    original = originals.contents()["python"][PYTHON_FILES[ours]]
    functions = {text.partition("(")[0]: _arguments(text) for text in original["functions"]}
    tree = ast.parse((STAND_IN / ours).read_text(encoding="utf-8"))
    extra = ELSEWHERE.get(Path(ours).name, set())
    for node in tree.body:
        name = getattr(node, "name", "_")
        if name.startswith("_") or name in extra:
            continue
        if isinstance(node, ast.FunctionDef):
            assert _normal(node.args) == functions[name], name
        elif isinstance(node, ast.ClassDef):
            methods = {
                text.partition("(")[0]: _arguments(text)
                for text in original["classes"][name]["methods"]
            }
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not _is_private(method.name):
                    assert _normal(method.args) == methods[method.name], f"{name}.{method.name}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and name != "__init__"


def _arguments(signature: str) -> list[tuple[str, str]]:
    # The list writes "[]", "{}" and calls as they stand in the source, which is Python.
    function = ast.parse(f"def {signature.partition(' ->')[0]}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    return _normal(function.args)


def _normal(arguments: ast.arguments) -> list[tuple[str, str]]:
    """Names and defaults."""
    named = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(named) - len(arguments.defaults)) + list(arguments.defaults)
    defaults += arguments.kw_defaults
    named += arguments.kwonlyargs
    result = [
        (one.arg, "" if default is None else ast.unparse(default))
        for one, default in zip(named, defaults, strict=True)
        if one.arg != "self"
    ]
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            result.append((f"*{star.arg}", ""))
    return result


# Our own code against the list


def chains(path: Path) -> list[tuple[list[str], int, ast.Call | None]]:
    """All dotted names of a file, longest only: their parts, line, and call if called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            parts, start = [node.attr], node.value
            while isinstance(start, ast.Attribute):
                parts.append(start.attr)
                start = start.value
            if isinstance(start, ast.Name):
                parts.append(start.id)
                found.append((parts[::-1], node.lineno, called.get(id(node))))
    return found


def ui_classes() -> dict[str, str]:
    """The widgets and layouts of all our ``.ui`` files: their names and classes."""
    found: dict[str, str] = {}
    for path in (MODULE / "Resources" / "UI").glob("*.ui"):
        for element in ElementTree.parse(path).getroot().iter():
            if element.tag in ("widget", "layout"):
                found[element.get("name", "")] = element.get("class", "")
    return found


def offers(class_name: str, attribute: str) -> bool:
    import qt

    base = getattr(qt, originals.qtBase(class_name), None)
    return attribute in originals.names(class_name) or hasattr(base, attribute)


def problem_with(parts: list[str], call: ast.Call | None) -> str | None:
    """What is wrong with a dotted name, or None."""
    import ctk
    import qt
    import slicer

    if parts[0] == "qt":
        return _qt_problem(qt, parts)
    if parts[0] == "ctk" and parts[1] not in originals.qtClasses():
        return f"ctk has no {parts[1]}" if not hasattr(ctk, parts[1]) else None
    if parts[0] == "slicer":
        return _slicer_problem(slicer, parts, call)
    if "ui" in parts[:-2]:
        name, attribute = parts[parts.index("ui") + 1 :][:2]
        class_name = ui_classes().get(name)
        if class_name is None:
            return f"the .ui file has no {name}"
        if not offers(class_name, attribute):
            return f"{class_name} has no {attribute}"
    return None


def _qt_problem(qt: Any, parts: list[str]) -> str | None:
    owner = getattr(qt, parts[1], None)
    if owner is None:
        return f"qt has no {parts[1]}"
    if len(parts) > 2 and not hasattr(owner, parts[2]):
        return f"qt.{parts[1]} has no {parts[2]}"
    if len(parts) > 3 and isinstance(getattr(owner, parts[2]), type):
        return "PythonQt has enumerators in the class itself only, without their type's name"
    return None


def _slicer_problem(slicer: Any, parts: list[str], call: ast.Call | None) -> str | None:
    first = parts[1]
    files = {
        "util": "Base/Python/slicer/util.py",
        "packaging": "Base/Python/slicer/packaging.py",
        "i18n": "Base/Python/slicer/i18n.py",
    }
    if first in files:
        return _python_problem(originals.contents()["python"][files[first]], parts, call)
    if first == "app":
        attribute = parts[2] if len(parts) > 2 else "mrmlScene"
        known = offers("qSlicerApplication", attribute)
        return None if known else f"slicer.app has no {attribute}"
    if first.startswith("q"):
        return None if first in originals.qtClasses() else f"no {first} in the list of originals"
    if first in ("modules", "mrmlScene", "ScriptedLoadableModule", "parameterNodeWrapper"):
        return None
    if not first.startswith("vtk") or not hasattr(slicer, first):
        return f"slicer has no {first}"
    if len(parts) > 2 and not hasattr(getattr(slicer, first), parts[2]):
        return f"{first} has no {parts[2]}"
    return None


def _python_problem(original: Any, parts: list[str], call: ast.Call | None) -> str | None:
    if len(parts) < 3:
        return None
    name = parts[2]
    functions = {text.partition("(")[0]: _arguments(text) for text in original["functions"]}
    if name not in functions:
        return None if name in original["classes"] else f"slicer.{parts[1]} has no {name}"
    if call is not None and len(parts) == 3:
        arguments = [one for one, _ in functions[name]]
        unknown = [one.arg for one in call.keywords if one.arg and one.arg not in arguments]
        if unknown and "*kwargs" not in arguments:
            return f"slicer.{parts[1]}.{name} takes no {unknown}"
        if len(call.args) > len(arguments):
            return f"slicer.{parts[1]}.{name} takes {len(arguments)} arguments"
    return None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_our_code_uses_only_what_slicer_qt_and_ctk_have(path: Path) -> None:
    wrong = []
    for parts, line, call in chains(path):
        problem = problem_with(parts, call)
        if problem:
            wrong.append(f"{path.name}:{line}: {'.'.join(parts)}: {problem}")
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_our_code_imports_only_what_slicers_python_files_have(path: Path) -> None:
    python = originals.contents()["python"]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("slicer."):
            continue
        folder = f"Base/Python/{node.module.replace('.', '/')}"
        files = [file for file in python if file in (f"{folder}.py",) or folder + "/" in file]
        known = {
            text.partition("(")[0]
            for file in files
            for text in [*python[file]["functions"], *python[file]["classes"]]
        }
        for alias in node.names:
            assert alias.name in known, f"{path.name}: {node.module} has no {alias.name}"


@pytest.mark.parametrize(
    "code",
    [
        "qt.QPushButtn",
        "qt.QTimer.singleShoot(0, f)",
        "qt.Qt.AlignmentFlag.AlignTop",
        "ctk.ctkSlider",
        "slicer.vtkMRMLPancreasNode",
        "slicer.qMRMLPancreasWidget",
        "slicer.util.loadPancreas('x')",
        "slicer.util.loadVolume('x', colour='red')",
        "slicer.packaging.pip_ensure(['x'], ask=True)",
        "slicer.app.segment()",
    ],
)
def test_a_name_that_slicer_does_not_have_is_found(code: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(code, encoding="utf-8")
    problems = [problem_with(parts, call) for parts, _, call in chains(file)]
    assert any(problems)


def test_ui_files_use_only_classes_and_properties_of_the_originals() -> None:
    import qt
    from SlicerStandIn.ui_loader import DESIGNER_ONLY

    for path in (MODULE / "Resources" / "UI").glob("*.ui"):
        for widget in ElementTree.parse(path).getroot().iter("widget"):
            name = widget.get("class", "")
            assert name in originals.qtClasses() or hasattr(qt, name), name
            meta = getattr(qt, originals.qtBase(name)).staticMetaObject
            for prop in widget.findall("property"):
                known = prop.get("name") in originals.properties(name) | DESIGNER_ONLY
                known = known or meta.indexOfProperty(prop.get("name", "")) >= 0
                assert known or prop.get("stdset") == "0", f"{name}.{prop.get('name')}"
