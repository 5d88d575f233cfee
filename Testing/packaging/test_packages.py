"""The packages as the Extensions Manager installs them."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

import make_packages
import pytest
from make_packages import MOST_BYTES

NAME = re.compile(
    r"12345-(linux|macosx|win)-(amd64|arm64)-AttentionUNetSegment-git\w+-[\dNA-]+\.(tar\.gz|zip)"
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """What the command makes, and the names in each."""
    output = tmp_path_factory.mktemp("packages")
    make_packages.main(
        ["-o", str(output), "--slicer-version", "5.11", "--slicer-revision", "12345"]
    )
    return {path: names_in(path) for path in sorted(output.iterdir())}


def names_in(package: Path) -> set[str]:
    if package.suffix == ".zip":
        with zipfile.ZipFile(package) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}
    with tarfile.open(package) as archive:
        return {member.name for member in archive if member.isfile()}


def test_there_is_one_for_each_system_named_as_slicer_names_them(packages):
    parts = [NAME.fullmatch(path.name) for path in packages]
    assert all(parts)
    assert {found.groups() for found in parts if found} == {
        ("linux", "amd64", "tar.gz"),
        ("macosx", "arm64", "tar.gz"),
        ("win", "amd64", "zip"),
    }


def test_they_are_small(packages):
    assert packages
    assert [path.name for path in packages if path.stat().st_size > MOST_BYTES] == []


def test_all_lies_where_slicer_of_that_version_looks_for_it(packages):
    """Below one folder of the package's name; on macOS inside the application's bundle."""
    for path, names in packages.items():
        top = path.name.removesuffix(".zip").removesuffix(".tar.gz")
        inside = "Slicer.app/Contents/Extensions-12345/AttentionUNetSegment/"
        root = f"{top}/{inside}" if "-macosx-" in path.name else f"{top}/"
        assert f"{root}share/Slicer-5.11/AttentionUNetSegment.s4ext" in names
        assert f"{root}lib/Slicer-5.11/qt-scripted-modules/AttentionUNetSegment.py" in names
        assert all(name.startswith(root) for name in names)


def test_the_same_files_are_in_all(packages):
    inside = [
        {re.sub(r"^.*?/(?=(lib|share)/)", "", name) for name in names}
        for names in packages.values()
    ]
    assert all(names == inside[0] for names in inside)
    assert any(name.endswith("pancreas-ct/weights.safetensors") for name in inside[0])


def test_the_extension_describes_itself(packages):
    package = next(path for path in packages if path.suffix == ".zip")
    (name,) = [name for name in packages[package] if name.endswith(".s4ext")]
    with zipfile.ZipFile(package) as archive:
        lines = archive.read(name).decode("utf-8").splitlines()
    said = dict(line.partition(" ")[::2] for line in lines if line)
    assert said["depends"] == "PyTorch"
    assert said["category"] == "Segmentation"
    assert said["enabled"] == "1"
    for key in ("homepage", "iconurl", "description", "contributors", "screenshoturls"):
        assert said[key]
