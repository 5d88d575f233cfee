"""The stand-in's Sample Data module is as strict as Slicer's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="the stand-in for Slicer's widgets needs PySide6")
slicer = pytest.importorskip("slicer", reason="the stand-in for Slicer needs slicer-core")

import SlicerStandIn  # noqa: E402

ADDRESS = "https://example.org/scan.nrrd"


@pytest.fixture(scope="module", autouse=True)
def application() -> Any:
    yield SlicerStandIn.start(testing=True)
    SlicerStandIn.stop()


@pytest.fixture(autouse=True)
def nothing_registered(application: Any, monkeypatch: Any) -> Iterator[None]:
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {})
    monkeypatch.setattr(slicer.modules, "sampleDataSourceCategories", {}, raising=False)
    slicer.mrmlScene.Clear(0)
    yield
    slicer.mrmlScene.Clear(0)


def register(**arguments: Any) -> Any:
    """The source that was registered."""
    from SampleData import SampleDataLogic

    SampleDataLogic.registerCustomSampleDataSource(category="Ours", **arguments)
    return slicer.modules.sampleDataSources["Ours"][-1]


def button(name: str) -> Any:
    """That of a Sample Data module which is opened only now."""
    opened = slicer.modules.sampledata.createNewWidgetRepresentation()
    found = slicer.util.findChild(opened, f"{name}PushButton")
    found._keepsAlive = opened
    return found


def cached_scan(name: str) -> Path:
    import SimpleITK as sitk

    path = Path(slicer.app.cachePath) / name
    sitk.WriteImage(sitk.Image(2, 3, 4, sitk.sitkInt16), str(path))
    return path


# Fields


def test_a_source_without_addresses_is_refused() -> None:
    with pytest.raises(TypeError, match="len"):
        register(sampleName="A", nodeNames="a", customDownloader=print)


@pytest.mark.parametrize(
    "fields",
    [
        {"uris": [], "fileNames": [], "nodeNames": "a"},
        {"uris": [], "fileNames": [], "nodeNames": ["a"]},
        {"uris": [ADDRESS], "fileNames": ["a", "b"]},
        {"uris": [ADDRESS], "fileNames": ["a"], "nodeNames": [], "checksums": []},
        {"uris": [ADDRESS, ADDRESS], "fileNames": ["a", "b"], "loadFileTypes": ["VolumeFile"]},
    ],
)
def test_fields_of_different_lengths_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="same length"):
        register(sampleName="A", **fields)
    assert slicer.modules.sampleDataSources == {"Ours": []}


def test_a_list_of_addresses_needs_a_list_of_files() -> None:
    with pytest.raises(TypeError):
        register(sampleName="A", uris=[ADDRESS])


def test_one_address_makes_every_field_a_list_of_one() -> None:
    one = register(sampleName="A", uris=ADDRESS, nodeNames="a", loadFileType="VolumeFile")
    assert (one.uris, one.fileNames, one.nodeNames) == ([ADDRESS], [None], ["a"])
    assert (one.loadFileTypes, one.checksums, one.sampleDescription) == (
        ["VolumeFile"],
        [None],
        "A",
    )
    both = {"loadFileType": "VolumeFile", "loadFileTypes": "VolumeFile"}
    with pytest.raises(ValueError, match="same time"):
        register(sampleName="B", uris=ADDRESS, **both)


def test_the_same_source_is_registered_once() -> None:
    from SampleData import SampleDataLogic

    for address in (ADDRESS, ADDRESS, "https://example.org/other.nrrd"):
        register(sampleName="A", uris=(address,), fileNames=["a"])
    assert len(slicer.modules.sampleDataSources["Ours"]) == 2
    logic = SampleDataLogic()
    source = logic.sourceForSampleName("A")
    assert logic.categoryForSource(source) == "Ours"
    assert logic.isSampleDataSourceRegistered("Ours", source)
    assert not logic.isSampleDataSourceRegistered("Theirs", source)
    assert logic.sourceForSampleName("B") is None


# Buttons


def test_only_the_button_calls_the_sources_own_downloader() -> None:
    from SampleData import SampleDataLogic

    called: list[Any] = []
    empty: dict[str, Any] = {"uris": [], "fileNames": [], "nodeNames": []}
    source = register(sampleName="A", customDownloader=called.append, **empty)
    assert SampleDataLogic().downloadFromSource(source) == []
    assert called == []
    button("A").click()
    assert called == [source]


def test_an_empty_address_is_tried_and_written_to_the_log(error_log: Any) -> None:
    from SampleData import SampleDataLogic

    source = register(sampleName="A", uris="", nodeNames="a", customDownloader=print)
    assert SampleDataLogic().downloadFromSource(source) == []
    assert error_log.take("Download failed").count("error: root") == 3


def test_a_category_shows_its_title_and_its_sources(tmp_path: Path) -> None:
    import qt
    from SampleData import SampleDataLogic

    picture = tmp_path / "a.png"
    qt.QImage(4, 4, qt.QImage.Format_RGB32).save(str(picture))
    register(sampleName="A", uris=ADDRESS, thumbnailFileName=str(picture))
    register(sampleName="B", uris=ADDRESS, thumbnailFileName=str(tmp_path / "missing.png"))
    SampleDataLogic.registerCustomSampleDataCategory("Ours", "Our scans")
    representation = slicer.modules.sampledata.createNewWidgetRepresentation()
    widget = representation.self()
    frame = widget.findCategoryWidget(representation, "Ours")
    buttons = frame.findChildren(qt.QToolButton)
    assert frame.title == "Our scans"
    assert [(one.text, one.icon.isNull()) for one in buttons] == [("A", False), ("B", True)]
    representation.show()
    assert widget.isCategoryVisible("Ours")
    widget.setCategoryVisible("Ours", False)
    assert not widget.isCategoryVisible("Ours")
    assert not widget.isCategoryVisible("Theirs")
    # What is registered later is not shown by a module that is open already.
    register(sampleName="C", uris=ADDRESS)
    assert len(frame.findChildren(qt.QToolButton)) == 2
    widget.cleanup()
    assert widget.categoryLayout.count() == 0


# Loading


def test_a_file_of_the_cache_is_loaded_without_its_storage() -> None:
    import hashlib

    path = cached_scan("scan.nrrd")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    register(
        sampleName="A",
        uris=ADDRESS,
        fileNames=path.name,
        nodeNames="a scan",
        checksums=f"SHA256:{digest}",
        loadFileTypes="VolumeFile",
    )
    button("A").click()
    (node,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert (node.GetName(), node.GetStorageNode()) == ("a scan", None)


def test_what_is_to_be_fetched_is_refused_by_its_address() -> None:
    from SampleData import SampleDataLogic
    from SlicerStandIn.not_imitated import NotImitatedError

    logic = SampleDataLogic()
    path = cached_scan("wrong.nrrd")
    wrong = register(
        sampleName="A",
        uris=ADDRESS,
        fileNames=path.name,
        nodeNames="a",
        checksums=f"SHA256:{'0' * 64}",
    )
    missing = register(sampleName="B", uris=ADDRESS, fileNames="missing.nrrd", nodeNames="b")
    unnamed = register(sampleName="C", uris=ADDRESS)
    for source in (wrong, missing, unnamed):
        with pytest.raises(NotImitatedError, match=ADDRESS):
            logic.downloadFromSource(source)
    assert not path.exists()


def test_without_a_name_for_any_node_the_files_own_is_taken() -> None:
    from SampleData import SampleDataLogic

    path = cached_scan("first.nrrd")
    logic = SampleDataLogic()
    source = register(
        sampleName="A", uris=[ADDRESS], fileNames=[path.name], loadFileTypes="VolumeFile"
    )
    (node,) = logic.downloadFromSource(source)
    assert node.GetName() == "first"
    kept = register(sampleName="B", uris=[ADDRESS], fileNames=[path.name], loadFiles=[False])
    assert logic.downloadFromSource(kept) == [str(path)]
