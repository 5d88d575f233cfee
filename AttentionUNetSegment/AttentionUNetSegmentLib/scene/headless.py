"""A MRML scene outside the Slicer application, on the slicer-core package.

slicer-core has the nodes, the logics and the file writers, but no application that puts them
together. Inside Slicer nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import AttentionUNetSegmentError, is_out_of_memory
from .colors import ensureColors

if TYPE_CHECKING:
    import slicer


def insideSlicer() -> bool:
    """True in the Slicer application, False on slicer-core alone."""
    return hasattr(_slicer(), "app")


def ensureScene() -> slicer.vtkMRMLScene:
    """The scene that ``slicer.mrmlScene`` names; made, with its logics, where there is none.

    Raises:
        AttentionUNetSegmentError: neither Slicer nor slicer-core is there.
    """
    slicer = _slicer()
    if getattr(slicer, "mrmlScene", None) is None:
        slicer.mrmlScene = slicer.vtkMRMLScene()
        slicer.modules = _logics(slicer.mrmlScene)
    return slicer.mrmlScene


@contextmanager
def headlessScene() -> Iterator[slicer.vtkMRMLScene]:
    """A scene of its own, emptied at the end; inside Slicer the application's, left as it is.

    ``slicer.mrmlScene`` and ``slicer.modules`` name it meanwhile.

    Raises:
        AttentionUNetSegmentError: neither Slicer nor slicer-core is there.
    """
    if insideSlicer():
        yield ensureScene()
        return
    slicer = _slicer()
    before = {name: getattr(slicer, name, None) for name in ("mrmlScene", "modules")}
    slicer.mrmlScene = None
    scene = ensureScene()
    try:
        yield scene
    finally:
        scene.Clear(True)
        for name, value in before.items():
            if value is None:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)


def _slicer() -> Any:
    try:
        import slicer
    except ImportError as error:
        if is_out_of_memory(error):
            raise
        raise AttentionUNetSegmentError(
            "The slicer-core package is not installed; install this package with its extra "
            f"'standalone', or run it inside 3D Slicer ({error})."
        ) from error
    return slicer


def _logics(scene: slicer.vtkMRMLScene) -> SimpleNamespace:
    """What ``slicer.modules`` must offer to ``slicer.util``: ``volumes.logic()`` and the like.

    Making them also registers the segmentation converters and adds the built-in colour nodes.
    """
    slicer = _slicer()
    classes = {
        "colors": slicer.vtkMRMLColorLogic,
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
        "volumes": slicer.vtkSlicerVolumesLogic,
    }
    modules = SimpleNamespace()
    for name, logicClass in classes.items():
        logic = logicClass()
        logic.SetMRMLScene(scene)
        setattr(modules, name, SimpleNamespace(name=name, logic=lambda logic=logic: logic))
    ensureColors(scene)
    return modules
