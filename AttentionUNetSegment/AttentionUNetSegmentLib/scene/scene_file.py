"""A scene file that opens the files of a result in Slicer, named and coloured as in its panel.

A volume file cannot say in which colours it is to be shown: by itself it opens in grey.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from .files import SEGMENTATION_FILE, volumeTitles
from .results import addVolumeDisplay

if TYPE_CHECKING:
    import slicer

    from .results import SceneResult


def saveSceneFile(result: SceneResult, directory: Path, path: Path) -> None:
    """Write a scene (``.mrml``) of those files of a result that lie in a directory.

    They are named without their folder, so that the folder can be moved. The scan itself is not in
    the scene: where it lies may name the patient.

    Args:
        result: whose files they are.
        directory: where :func:`~.files.saveResult` wrote them.
        path: file to write, in that directory.

    Raises:
        OutputError: it cannot be written.
    """
    import slicer

    scene = slicer.vtkMRMLScene()
    scene.SetRootDirectory(str(directory.absolute()))
    for name, (title, colors) in volumeTitles(result.prediction.levels).items():
        if (directory / name).exists():
            node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", title)
            node.SetVoxelValueUnits(_share())
            node.SetAndObserveDisplayNodeID(addVolumeDisplay(scene, colors).GetID())
            _refer(node, "vtkMRMLVolumeArchetypeStorageNode", directory / name)
    if (directory / SEGMENTATION_FILE).exists():
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", result.segmentationNode.GetName())
        display = scene.AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
        node.SetAndObserveDisplayNodeID(display.GetID())
        _refer(node, "vtkMRMLSegmentationStorageNode", directory / SEGMENTATION_FILE)
    scene.SetURL(str(path.absolute()))
    if not scene.Commit(str(path.absolute())):
        raise OutputError(
            f"'{path.name}' could not be written; choose a folder that you may write to, on a disk "
            "with free space."
        )


def _refer(node: slicer.vtkMRMLStorableNode, className: str, file: Path) -> None:
    storage = node.GetScene().AddNewNodeByClass(className)
    storage.SetFileName(str(file.absolute()))
    node.SetAndObserveStorageNodeID(storage.GetID())


def _share() -> slicer.vtkCodedEntry:
    """The unit of what is a share of one."""
    import slicer

    unit = slicer.vtkCodedEntry()
    unit.SetValueSchemeMeaning("1", "UCUM", "no units")
    return unit
