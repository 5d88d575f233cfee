"""``slicer.app.ioManager()``: files read and written by the nodes' own storage nodes.

What ``slicer.util.loadVolume``, ``loadSegmentation``, ``loadMarkups``, ``loadScene``, ``saveNode``,
``saveScene`` and ``exportNode`` ask of the original. Hardening transforms on export is not offered.
"""

from __future__ import annotations

import os
from typing import Any

import slicer
from PySide6.QtCore import QObject, Signal

# slicer-core does not know these; Slicer has them from ITK.
VOLUME_FORMATS = [
    "NRRD (.nrrd)",
    "NRRD (.nhdr)",
    "NIfTI (.nii)",
    "NIfTI (.nii.gz)",
    "MetaImage (.mha)",
    "MetaImage (.mhd)",
]


class qSlicerCoreIOManager(QObject):
    newFileLoaded = Signal("QVariantMap")
    fileSaved = Signal("QVariantMap")

    def loadNodes(
        self,
        fileType: str,
        parameters: dict[str, Any],
        loadedNodes: Any = None,
        userMessages: Any = None,
    ) -> bool:
        path = str(parameters["fileName"])
        name = parameters.get("name") or os.path.basename(path).split(".")[0]
        if not os.path.exists(path):
            return _failed(userMessages, f"{path} does not exist")
        if fileType == "SceneFile":
            return self.loadScene(path, parameters.get("clear", True), userMessages)
        if fileType == "VolumeFile":
            options = int(bool(parameters.get("labelmap", False)))
            node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        elif fileType == "SegmentationFile":
            logic = slicer.modules.segmentations.logic()
            node = logic.LoadSegmentationFromFile(path, True, name)
        elif fileType == "MarkupsFile":
            node = slicer.mrmlScene.GetNodeByID(
                slicer.modules.markups.logic().LoadMarkups(path, name, userMessages)
            )
        else:
            return _failed(userMessages, f"the stand-in does not read {fileType}")
        if node is None:
            return _failed(userMessages, f"{path} could not be read as {fileType}")
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        self.newFileLoaded.emit({**parameters, "fileType": fileType, "nodeIDs": [node.GetID()]})
        return True

    def loadScene(self, fileName: str, clear: bool = True, userMessages: Any = None) -> bool:
        scene = slicer.mrmlScene
        if fileName.endswith(".mrb"):
            return bool(scene.ReadFromMRB(fileName, clear, userMessages))
        scene.SetURL(fileName)
        return bool(scene.Connect(userMessages) if clear else scene.Import(userMessages))

    def saveNodes(
        self,
        fileType: str,
        parameters: dict[str, Any],
        userMessages: Any = None,
        scene: Any = None,
    ) -> bool:
        path = str(parameters["fileName"])
        if fileType == "SceneFile":
            return self._saveScene(path, userMessages)
        node = slicer.mrmlScene.GetNodeByID(parameters["nodeID"])
        if node.GetStorageNode() is None and not node.AddDefaultStorageNode(path):
            return _failed(userMessages, f"{node.GetName()} cannot be written")
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def _saveScene(self, path: str, userMessages: Any) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None, userMessages))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(os.path.dirname(path))
            return bool(scene.Commit(path, userMessages))
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, userMessages))

    def exportNodes(
        self,
        nodeIDs: list[str],
        fileNames: list[str],
        commonParameterMap: dict[str, Any],
        hardenTransforms: bool,
        userMessages: Any = None,
    ) -> bool:
        if hardenTransforms:
            return _failed(userMessages, "the stand-in exports without hardening transforms only")
        done = []
        for nodeID, path in zip(nodeIDs, fileNames, strict=True):
            node = slicer.mrmlScene.GetNodeByID(nodeID)
            kind = commonParameterMap["fileFormat"]
            if kind not in self.fileWriterExtensions(node):
                return _failed(userMessages, f"no writer of {kind} for {node.GetClassName()}")
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(slicer.mrmlScene)
            storage.SetFileName(path)
            done.append(bool(storage.WriteData(node)))
        return all(done)

    def fileWriterFileType(self, object: Any, extension: str = "") -> str:
        kinds = {
            "vtkMRMLSegmentationNode": "SegmentationFile",
            "vtkMRMLVolumeNode": "VolumeFile",
            "vtkMRMLMarkupsNode": "MarkupsFile",
            "vtkMRMLTableNode": "TableFile",
            "vtkMRMLModelNode": "ModelFile",
        }
        return next((kind for name, kind in kinds.items() if object.IsA(name)), "NoFile")

    def fileWriterExtensions(self, object: Any) -> list[str]:
        """The formats' names, each as ``"NRRD (.nrrd)"``."""
        if object.IsA("vtkMRMLVolumeNode"):
            return list(VOLUME_FORMATS)
        storage = object.CreateDefaultStorageNode()
        if storage is None:
            return []
        storage.UnRegister(None)
        formats = storage.GetSupportedWriteFileTypes()
        return [formats.GetValue(index) for index in range(formats.GetNumberOfValues())]

    def extractKnownExtension(self, fileName: str, object: Any) -> str:
        toExtension = slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString
        known = [toExtension(one) for one in self.fileWriterExtensions(object)]
        fitting = [one for one in known if fileName.lower().endswith(one.lower())]
        return max(fitting, key=len, default="")


class qSlicerIOManager(qSlicerCoreIOManager):
    pass


def _failed(userMessages: Any, text: str) -> bool:
    if userMessages is not None:
        userMessages.AddMessage(100000, text)
    return False


CLASSES: tuple[type, ...] = (qSlicerCoreIOManager, qSlicerIOManager)
