"""The module ``SampleData``: sources are registered and found; no address is ever fetched.

A source with a ``customDownloader`` is loaded by calling it with the source, as in the original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer


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
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.uris = _list(uris)
        self.fileNames = _list(fileNames)
        self.nodeNames = _list(nodeNames)
        self.checksums = _list(checksums)
        self.loadFiles = _list(loadFiles)
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileTypes = _list(loadFileTypes if loadFileTypes is not None else loadFileType)
        self.loadFileProperties = loadFileProperties or {}
        counts = {len(one) for one in (self.uris, self.fileNames, self.nodeNames)}
        if len(counts) > 1:
            raise ValueError(
                "All fields of sample data source must have the same length: uris, fileNames, "
                f"nodeNames ({sampleName})"
            )


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        _sources().setdefault(category, [])

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
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFileProperties=loadFileProperties,
            loadFileType=loadFileType,
        )
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            _sources().setdefault(category, []).append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        return _sources() if category is None else _sources().get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category: str, sampleDataSource: SampleDataSource) -> bool:
        known = _sources().get(category, [])
        return any(vars(one) == vars(sampleDataSource) for one in known)

    def __init__(self, logMessage: Callable | None = None) -> None:
        self.logMessage = logMessage

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        every = [one for sources in _sources().values() for one in sources]
        return next((one for one in every if one.sampleName == sampleName), None)

    def downloadFromSource(
        self,
        source: SampleDataSource,
        maximumAttemptsCount: int = 3,
        forceDownload: bool = False,
    ) -> Any:
        """
        Raises:
            RuntimeError: the source is to be fetched from an address.
        """
        if source.customDownloader is None:
            raise RuntimeError(f"The stand-in fetches nothing, not {source.uris}")
        return source.customDownloader(source)


def _sources() -> dict[str, list[SampleDataSource]]:
    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    return slicer.modules.sampleDataSources


def _list(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]
