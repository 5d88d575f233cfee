"""The wheel and the source distribution: installed where nothing else of ours is, they segment.

Other packages are those of the Python that runs the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib import __version__
from AttentionUNetSegmentLib.models import MODELS_FOLDER
from AttentionUNetSegmentLib.synthetic import synthetic_abdomen
from make_packages import MOST_BYTES

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "AttentionUNetSegment"
NAME = f"attention_unet_segment-{__version__}"
LIBRARY = "AttentionUNetSegmentLib"


def run(*command: object, cwd: Path) -> str:
    """What a program prints, in a folder and an environment that know nothing of these sources."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, sources: Path, output: Path) -> Path:
    """By the build backend, as pip and build call it, and in its own process, as they do."""
    code = f"import setuptools.build_meta as backend; backend.build_{kind}({str(output)!r})"
    before = set(output.iterdir())
    run(sys.executable, "-c", code, cwd=sources)
    (made,) = set(output.iterdir()) - before
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source distribution of these sources, the wheel of them, and the wheel of it."""
    folder = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (folder / "sources").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / "sources")
    shutil.copytree(MODULE, folder / "sources" / MODULE.name, ignore=ignored)
    for name in ("dist", "from-sdist"):
        (folder / name).mkdir()
    sdist = build("sdist", folder / "sources", folder / "dist")
    wheel = build("wheel", folder / "sources", folder / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    again = build("wheel", folder / "unpacked" / NAME, folder / "from-sdist")
    return {"sdist": sdist, "wheel": wheel, "wheel of sdist": again}


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_library_and_the_models_and_no_more(built: dict[str, Path]) -> None:
    sources = {
        path.relative_to(MODULE).as_posix(): path.read_bytes()
        for path in (MODULE / LIBRARY).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    models = MODULE / "Resources" / "Models"
    sources |= {
        f"{LIBRARY}/shipped_models/{path.relative_to(models).as_posix()}": path.read_bytes()
        for path in models.rglob("*")
        if path.is_file()
    }
    found = members(built["wheel"])
    assert {name: at for name, at in found.items() if ".dist-info/" not in name} == sources
    assert f"{LIBRARY}/py.typed" in sources
    assert any(name.endswith("/weights.safetensors") for name in sources)
    assert built["wheel"].stat().st_size < MOST_BYTES


def test_the_wheel_of_the_source_distribution_is_the_same(built: dict[str, Path]) -> None:
    assert members(built["wheel of sdist"]) == members(built["wheel"])


def test_the_metadata_say_where_it_runs(built: dict[str, Path]) -> None:
    metadata = members(built["wheel"])[f"{NAME}.dist-info/METADATA"].decode()
    classifiers = re.findall(r"^Classifier: (.*)$", metadata, re.MULTILINE)
    for python in ("3.10", "3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {python}" in classifiers
    for system in ("POSIX :: Linux", "MacOS", "Microsoft :: Windows"):
        assert f"Operating System :: {system}" in classifiers
    assert "Requires-Python: >=3.10" in metadata


def environment_with(distribution: Path, folder: Path) -> Path:
    """The scripts of a new environment in which pip has installed a distribution."""
    pytest.importorskip("pip", reason="pip is not installed")
    environment = folder / "environment"
    venv.create(environment)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    # The packages of this Python, but not what its own .pth files add, such as these sources.
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(paths["purelib"], "others.pth").write_text("\n".join(sorted(others)) + "\n")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python"]
    run(*pip, "install", *options, "--ignore-installed", distribution, cwd=folder)
    listed = run(scripts / "attention-unet-segment", "models", cwd=folder)
    assert "pancreas-ct" in listed
    assert str(environment) in listed
    assert str(ROOT) not in listed
    return scripts


def test_pip_installs_the_source_distribution(built: dict[str, Path], tmp_path: Path) -> None:
    """That what is installed segments is shown with the wheel, which has the very same files."""
    environment_with(built["sdist"], tmp_path)


def test_it_segments_where_nothing_else_of_ours_is_installed(
    built: dict[str, Path], tmp_path: Path
) -> None:
    scripts = environment_with(built["wheel"], tmp_path)
    ct = synthetic_abdomen(0, (4.0, 4.0, 6.0)).ct
    image = sitk.GetImageFromArray(ct.array)
    lps = [-1, -1, 1] * ct.ijk_to_ras[:3, 3]
    image.SetSpacing(ct.spacing_mm)
    image.SetOrigin(lps.tolist())
    image.SetDirection(([[-1], [-1], [1]] * ct.ijk_to_ras[:3, :3] / ct.spacing_mm).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    command = scripts / "attention-unet-segment"
    options = ["-o", "mask.nii.gz", "--json", "--device", "cpu"]
    report = json.loads(run(command, "segment", "scan.nrrd", *options, cwd=tmp_path))
    assert report["found"]
    mask = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert mask.GetSize() == image.GetSize()


def test_in_the_sources_there_is_one_copy_of_the_models() -> None:
    assert MODELS_FOLDER == MODULE / "Resources" / "Models"
    assert not (MODULE / LIBRARY / "shipped_models").exists()
