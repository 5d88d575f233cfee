"""The module ``SampleData``: sources, their buttons and their loading; nothing is ever fetched.

As in the original the fields of a source have the same length, a source's ``customDownloader`` is
called by its button and by nothing else, and files are taken from the cache where their checksum is
right. To fetch one is refused by name. Slicer's own samples, "Load data from URL", scenes and
archives are not here; a category is a plain group box.
"""

from __future__ import annotations

import logging
import os
import urllib.parse
from collections.abc import Callable
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

from . import modules
from .not_imitated import NotImitatedError

ICON_SIZE = (128, 96)


class SampleData(ScriptedLoadableModule):
    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Sample Data"
        parent.categories = ["Informatics"]
        _sources()


class SampleDataSource:
    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        loadFileType: Any = None,
    ) -> None:
        """
        Raises:
            TypeError: no ``uris``, not even an empty string or list.
            ValueError: fields of different lengths.
        """
        loadFileTypes = _oneOf(loadFileType, loadFileTypes)
        if isinstance(uris, (list, tuple)):
            # fileNames stay as they are: a list of addresses needs a list of names.
            nones = [None] * len(uris)
            nodeNames = nones if nodeNames is None else nodeNames
            loadFiles = nones if loadFiles is None else loadFiles
            checksums = nones if checksums is None else checksums
            if loadFileTypes is None or isinstance(loadFileTypes, str):
                loadFileTypes = [loadFileTypes] * len(uris)
        elif isinstance(uris, str):
            uris, fileNames, nodeNames = [uris], [fileNames], [nodeNames]
            loadFiles, loadFileTypes, checksums = [loadFiles], [loadFileTypes], [checksums]
        self.sampleName = sampleName
        self.sampleDescription = sampleName if sampleDescription is None else sampleDescription
        self.uris = uris
        self.fileNames = fileNames
        self.nodeNames = nodeNames
        self.loadFiles = loadFiles
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileTypes = loadFileTypes
        self.loadFileProperties = {} if loadFileProperties is None else loadFileProperties
        self.checksums = checksums
        lengths = {name: len(value) for name, value in self._columns().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"All fields of sample data source must have the same length, not {lengths}"
            )

    def _columns(self) -> dict[str, Any]:
        names = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        names = ("sampleName", "sampleDescription", "thumbnailFileName", "loadFileProperties")
        texts = [f"{name}: {getattr(self, name)}" for name in (*names, "customDownloader")]
        texts += [f"{name}: {list(column)}" for name, column in self._columns().items()]
        return "\n".join(texts)

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]


class SampleDataWidget(ScriptedLoadableModuleWidget):
    """The buttons are made when the module is first opened, of what is registered by then."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = SampleDataLogic(self.logMessage)
        self.categoryLayout = qt.QVBoxLayout()
        self.layout.addLayout(self.categoryLayout)
        self.setCategoriesFromSampleDataSources(self.categoryLayout, _sources(), self.logic)
        self.log = qt.QTextEdit()
        self.log.readOnly = True
        self.layout.addWidget(self.log)
        self.layout.addStretch(1)

    def cleanup(self) -> None:
        self.setCategoriesFromSampleDataSources(self.categoryLayout, {}, self.logic)

    @staticmethod
    def removeCategories(categoryLayout: Any) -> None:
        while categoryLayout.count():
            frame = categoryLayout.itemAt(0).widget()
            frame.visible = False
            categoryLayout.removeWidget(frame)
            frame.setParent(None)

    @staticmethod
    def setCategoriesFromSampleDataSources(
        categoryLayout: Any, dataSources: dict[str, list[SampleDataSource]], logic: Any
    ) -> None:
        SampleDataWidget.removeCategories(categoryLayout)
        for category in sorted(dataSources):
            frame = qt.QGroupBox(logic.categoryTitle(category))
            frame.name = f"{category}CollapsibleGroupBox"
            frame.setProperty("sampleDataCategory", category)
            frame.setLayout(qt.QVBoxLayout())
            for source in dataSources[category]:
                frame.layout().addWidget(_button(source, logic))
            categoryLayout.addWidget(frame)

    def logMessage(self, message: str, logLevel: int = logging.DEBUG) -> None:
        document = qt.QTextDocument()
        document.setHtml(message)
        slicer.util.showStatusMessage(document.toPlainText(), 3000)
        logging.log(logLevel, document.toPlainText())
        self.log.insertPlainText(f"{document.toPlainText()}\n")

    @staticmethod
    def findCategoryWidget(parent: Any, category: str) -> Any:
        return slicer.util.findChild(parent, None, properties={"sampleDataCategory": category})

    def isCategoryVisible(self, category: str) -> bool:
        if not SampleDataLogic.sampleDataSourcesByCategory(category):
            return False
        try:
            return self.findCategoryWidget(self.parent, category).isVisible()
        except RuntimeError:
            return False

    def setCategoryVisible(self, category: str, visible: bool) -> None:
        if not SampleDataLogic.sampleDataSourcesByCategory(category):
            return
        try:
            self.findCategoryWidget(self.parent, category).setVisible(visible)
        except RuntimeError:
            return


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        """Only the title: the category itself comes with its first source."""
        _kept("sampleDataSourceCategories").setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: dict[str, Any] = {},  # noqa: B006
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        loadFileTypes = _oneOf(loadFileType, loadFileTypes)
        # Before the source, and so it is there for one that is refused too.
        sources = _sources().setdefault(category, [])
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            customDownloader=customDownloader,
        )
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            sources.append(source)

    @staticmethod
    def categoryTitle(category: str) -> str:
        return _kept("sampleDataSourceCategories").get(category, {}).get("title", category)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        return _sources() if category is None else _sources().get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category: str, sampleDataSource: SampleDataSource) -> bool:
        if not isinstance(sampleDataSource, SampleDataSource):
            raise TypeError(f"Expected a SampleDataSource, got {type(sampleDataSource)}")
        return sampleDataSource in _sources().get(category, [])

    def __init__(self, logMessage: Callable | None = None) -> None:
        if logMessage is not None:
            self.logMessage = logMessage  # type: ignore[method-assign]
        self.builtInCategoryName = "General"
        self.developmentCategoryName = "Development"
        for name in (self.builtInCategoryName, self.developmentCategoryName):
            self.registerCustomSampleDataCategory(name, name)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        every = (one for sources in _sources().values() for one in sources)
        return next((one for one in every if one.sampleName == sampleName), None)

    def categoryForSource(self, a_source: SampleDataSource) -> str | None:
        categories = (name for name, sources in _sources().items() if a_source in sources)
        return next(categories, None)

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list[Any]:
        source = self.sourceForSampleName(sampleName)
        return [] if source is None else self.downloadFromSource(source)

    def downloadFromSource(
        self,
        source: SampleDataSource,
        maximumAttemptsCount: int = 3,
        forceDownload: bool = False,
    ) -> list[Any]:
        """Load what the source's addresses lead to; its ``customDownloader`` is not asked.

        Returns:
            The nodes, or without any the paths of the files.

        Raises:
            NotImitatedError: a file is to be fetched, or is a scene or an archive.
        """
        nodes, paths = [], []
        unnamed = all(name is None for name in source.nodeNames)
        columns = source._columns()
        for row in zip(*columns.values(), strict=True):
            one = dict(zip(columns, row, strict=True))
            address, fileName, nodeName = one["uris"], one["fileNames"], one["nodeNames"]
            if fileName is None and urllib.parse.urlparse(address).scheme:
                raise NotImitatedError(f"fetching {address}")
            if nodeName is None and unnamed and one["loadFiles"] is not False:
                nodeName = os.path.splitext(os.path.basename(fileName or address))[0]
            kind = one["loadFileTypes"]
            if kind in ("SceneFile", "ZipFile") or str(fileName).endswith(
                (".mrb", ".mrml", ".zip")
            ):
                raise NotImitatedError("scenes and archives as sample data")
            for _attempt in range(maximumAttemptsCount):
                try:
                    path = self.downloadFileIntoCache(
                        address, fileName, one["checksums"], forceDownload=forceDownload
                    )
                except ValueError:
                    self.logMessage("Download failed", logging.ERROR)
                    continue
                if not nodeName:
                    paths.append(path)
                    break
                if one["loadFiles"] is False:
                    nodes.append(path)
                    break
                node = self.loadNode(path, nodeName, kind, source.loadFileProperties.copy())
                if node is not None:
                    nodes.append(node)
                    break
                os.remove(path)
                self.logMessage("Load failed", logging.ERROR)
        return nodes or paths

    def downloadFileIntoCache(
        self, uri: str, name: str, checksum: str | None = None, forceDownload: bool = False
    ) -> str:
        folder = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
        return self.downloadFile(uri, folder, name, checksum, forceDownload=forceDownload)

    def downloadFile(
        self,
        uri: str,
        destFolderPath: str,
        name: str,
        checksum: str | None = None,
        forceDownload: bool = False,
    ) -> str:
        """The file of this name in the folder, if it is the right one.

        Raises:
            ValueError: the address is none.
            NotImitatedError: the file is to be fetched.
        """
        path = f"{destFolderPath}/{name}"
        algorithm, digest = slicer.util.extractAlgoAndDigest(checksum)
        if os.path.exists(path) and os.stat(path).st_size > 0 and not forceDownload:
            if algorithm is None or slicer.util.computeChecksum(algorithm, path) == digest:
                return path
            self.logMessage("The file in the cache has another checksum: it is fetched again")
            os.remove(path)
        if not urllib.parse.urlparse(uri).scheme:
            raise ValueError(f"unknown url type: {uri!r}")
        raise NotImitatedError(f"fetching {uri}")

    def loadNode(
        self,
        uri: str,
        name: str,
        fileType: str | None = None,
        fileProperties: dict[str, Any] = {},  # noqa: B006
    ) -> Any:
        """The first node of a file, without its storage node, which would name the cache."""
        fileProperties |= {"fileName": uri, "name": name}
        manager = slicer.app.coreIOManager()
        nodes = vtk.vtkCollection()
        if not fileType:
            raise NotImitatedError("samples without loadFileTypes")
        if not manager.loadNodes(fileType, fileProperties, nodes) and not nodes.GetNumberOfItems():
            self.logMessage("Load failed!", logging.ERROR)
            return None
        for index in range(nodes.GetNumberOfItems()):
            node = nodes.GetItemAsObject(index)
            storage = node.GetStorageNode() if node.IsA("vtkMRMLStorableNode") else None
            if storage is not None:
                slicer.mrmlScene.RemoveNode(storage)
                node.SetAndObserveStorageNodeID(None)
        return nodes.GetItemAsObject(0)

    def logMessage(self, message: str, logLevel: int = logging.DEBUG) -> None:
        logging.log(logLevel, message)


def addModule() -> None:
    """Put the module among the application's."""
    module = modules.qSlicerScriptedLoadableModule("SampleData", __file__)
    slicer.modules.SampleDataInstance = SampleData(module)
    slicer.app.moduleManager()._add(module)


def _button(source: SampleDataSource, logic: SampleDataLogic) -> Any:
    button = qt.QToolButton()
    button.text = source.sampleDescription or source.nodeNames[0]
    button.name = f"{source.sampleName}PushButton"
    if source.thumbnailFileName and os.path.exists(source.thumbnailFileName):
        button.icon = qt.QIcon(source.thumbnailFileName)
    button.iconSize = qt.QSize(*ICON_SIZE)
    button.toolButtonStyle = qt.Qt.ToolButtonTextUnderIcon

    def pressed() -> None:
        if source.customDownloader is None:
            logic.downloadFromSource(source)
        else:
            source.customDownloader(source)

    button.clicked.connect(pressed)
    return button


def _kept(name: str) -> dict[str, Any]:
    """A dictionary that Slicer keeps among its modules."""
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)


def _sources() -> dict[str, list[SampleDataSource]]:
    return _kept("sampleDataSources")


def _oneOf(loadFileType: Any, loadFileTypes: Any) -> Any:
    if loadFileType is not None and loadFileTypes is not None:
        raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
    return loadFileTypes if loadFileType is None else loadFileType
