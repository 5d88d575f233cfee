"""What the slicer-core package lacks of the Slicer application, in real Qt, for the tests.

``start()`` makes ``import slicer, qt, ctk, vtk`` work in this process as in Slicer, once and for
all. ``loadModule`` then loads a scripted module from its file. None of it is part of the product,
and the module knows nothing of it. It offers the names, signatures, defaults and signals of the
originals as far as the module uses them (``originals.json``), and refuses all others.

Example::

    import SlicerStandIn
    SlicerStandIn.start()
    module, _ = SlicerStandIn.loadModule(Path("AttentionUNetSegment/AttentionUNetSegment.py"))
    widget = module.widgetRepresentation().self()
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_stopped: dict[str, Any] = {}


def start(testing: bool = False) -> Any:
    """Put the application there, unless it already is; the application object.

    Args:
        testing: as ``Slicer --testing``: message boxes answer themselves.
    """
    import slicer

    if _stopped:
        vars(slicer).update(_stopped)
        _stopped.clear()
    elif not hasattr(slicer, "app"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        _start(slicer)
    type(slicer.app)._testing = testing
    return slicer.app


def stop() -> None:
    """Leave ``slicer`` as slicer-core alone has it, until the next ``start``.

    A process has one QApplication, so it is kept, and so are its scene and modules.
    """
    import slicer

    for name in ("app", "modules", "mrmlScene"):
        if hasattr(slicer, name):
            _stopped[name] = vars(slicer).pop(name)


def loadModule(path: Path) -> tuple[Any, Any]:
    """Load a scripted module; see :func:`SlicerStandIn.modules.loadModule`."""
    from . import modules

    return modules.loadModule(path)


def unloadModule(name: str) -> None:
    """As when Slicer exits: the widget's ``cleanup`` is called and the module is gone."""
    import slicer

    slicer.app.moduleManager()._remove(name)


def showMainWindow() -> Any:
    """Slicer's window, with the module panel and the views; made on the first call."""
    import slicer
    import slicer.util

    window = slicer.util.mainWindow()
    if window is None:
        window = slicer.qSlicerMainWindow()
        slicer.app._mainWindow = window
    window.show()
    return window


def _keepSingletons() -> None:
    """Let None, True and False live for ever, as they do since Python 3.12.

    PySide6 6.12 is built for that and returns them without counting, which would end an older
    Python's process after some thousand calls.
    """
    if sys.version_info < (3, 12):
        for singleton in (None, True, False, NotImplemented, ...):
            ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40


def _start(slicer: Any) -> None:
    _keepSingletons()
    from . import pythonqt

    sys.modules["qt"] = qt = pythonqt.qtModule()
    sys.modules["ctk"] = ModuleType("ctk", "CTK's classes as PythonQt shows them.")
    # The rest is imported after PySide6's classes have learnt PythonQt's manners.
    from . import (
        application,
        error_log,
        i18n,
        io_manager,
        layout_manager,
        main_window,
        modules,
        packaging,
    )
    from .not_imitated import refuseWidgets
    from .subject_hierarchy import SubjectHierarchyPluginLogic
    from .ui_loader import QUiLoader

    qt.QUiLoader = QUiLoader  # type: ignore[attr-defined]
    widgets = widgetClasses()
    QUiLoader.customWidgets = {one.__name__: one for one in widgets}
    others = [application, io_manager, layout_manager, main_window, modules]
    for one in [*widgets, *(cls for part in others for cls in part.CLASSES)]:
        home = sys.modules["ctk"] if one.__name__.startswith("ctk") else slicer
        setattr(home, one.__name__, one)

    refuseWidgets(slicer, ("qMRML", "qSlicer"))
    refuseWidgets(sys.modules["ctk"], ("ctk",))

    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.modules = SimpleNamespace()
    slicer.app = app = application.qSlicerApplication()
    app._moduleManager = modules.qSlicerModuleManager()
    app._ioManager = io_manager.qSlicerIOManager()
    error_log.install()
    app._subjectHierarchy = SubjectHierarchyPluginLogic(slicer.mrmlScene)
    app._setCache(slicer.mrmlScene)
    app.applicationLogic().SetMRMLScene(slicer.mrmlScene)
    modules.addLogics(app.moduleManager(), slicer.mrmlScene)
    app.setLayoutManager(layout_manager.qSlicerLayoutManager())

    _addPythonModules(slicer, {"i18n": i18n, "packaging": packaging})
    from . import parameter_node

    _addPythonModules(slicer, {"parameterNodeWrapper": parameter_node})
    from . import abstract_scripted_segment_editor_effect, scripted_loadable_module
    from .widgets.segment_editor_effects import effectsModule

    sys.modules["SegmentEditorEffects"] = abstract_scripted_segment_editor_effect
    sys.modules["qSlicerSegmentationsEditorEffectsPythonQt"] = effectsModule()
    _addPythonModules(slicer, {"ScriptedLoadableModule": scripted_loadable_module})
    from . import sample_data

    sys.modules["SampleData"] = sample_data
    sample_data.addModule()


def widgetClasses() -> list[type]:
    """All widgets that a ``.ui`` file may name beside Qt's own."""
    from .widgets import (
        base_widgets,
        ctk_widgets,
        markups_place_widget,
        node_combo_box,
        segment_editor_effects,
        segment_editor_widget,
        segmentation_show_3d_button,
        views,
    )

    parts = (
        base_widgets,
        ctk_widgets,
        markups_place_widget,
        node_combo_box,
        segment_editor_effects,
        segment_editor_widget,
        segmentation_show_3d_button,
        views,
    )
    return [cls for part in parts for cls in part.CLASSES]


def _addPythonModules(slicer: Any, modules: dict[str, ModuleType]) -> None:
    for name, module in modules.items():
        setattr(slicer, name, module)
        sys.modules[f"slicer.{name}"] = module
