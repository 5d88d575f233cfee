"""The extension as CMake installs it: nothing forgotten, nothing unneeded, and it does its job.

CMake configures, builds and installs the extension against the stand-in for Slicer's CMake package;
then a Python that sees the installed files, and not the sources, runs the main job.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import make_packages
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "AttentionUNetSegment"
LIBRARY = "AttentionUNetSegmentLib"
SCRIPTED_MODULES = f"lib/Slicer-{make_packages.SLICER_VERSION}/qt-scripted-modules"
# Started and never imported.
STARTED = {
    f"{LIBRARY}/app/__main__.py",
    f"{LIBRARY}/attention_unet_effect/AttentionUNetEffect.py",  # by the Segment Editor
    f"{LIBRARY}/wheel_with_models.py",  # by the build of a wheel
}

OLD_NAMES = {f"{LIBRARY}/inference/{name}.py" for name in ("reading", "volume")}
"""What scripts import that were written before a module moved."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the modules lie after an installation."""
    folder = tmp_path_factory.mktemp("installed")
    make_packages.configure(ROOT, folder / "build", OS="linux")
    make_packages.install(folder / "build", folder / "prefix")
    return folder / "prefix" / SCRIPTED_MODULES


def files_below(folder: Path) -> set[str]:
    """Without what Python and pip put there, who want no installation of it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and "__pycache__" not in path.parts
        and path.parent.suffix != ".egg-info"
    }


def test_what_lies_in_the_modules_folder_is_installed_and_nothing_else(installed):
    assert files_below(installed) == files_below(MODULE) - {"CMakeLists.txt"}


def test_nothing_is_built_that_is_not_installed(installed):
    """A path with ".." or an absolute one would be: it lands beside the modules."""
    prefix = installed.parents[2]
    built = prefix.parent / "build" / "lib"
    assert files_below(built) == files_below(prefix / "lib")


def test_a_file_is_installed_as_it_is(installed):
    for name in files_below(installed):
        assert (installed / name).read_bytes() == (MODULE / name).read_bytes()


def test_every_installed_script_is_used():
    """A file of the library that nothing imports is not needed at run time."""
    entries = {path.name for path in MODULE.glob("*.py")} | STARTED | OLD_NAMES
    scripts = {name for name in files_below(MODULE) if name.endswith(".py")}
    used, fresh = set(entries), set(entries)
    while fresh:
        fresh = {found for name in fresh for found in imports_of(name, scripts)} - used
        used |= fresh
    assert scripts - used == set()


def test_every_installed_resource_is_used():
    """A resource that is named nowhere is not needed at run time."""
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in MODULE.rglob("*")
        if path.suffix in {".py", ".ui", ".json"}
    )
    resources = [name for name in files_below(MODULE) if name.startswith("Resources/")]
    unused = {
        name
        for name in resources
        # An icon may be named without its ending, and a module's own is found by its name.
        if Path(name).name not in text and Path(name).stem not in text
    }
    assert unused == set()


def imports_of(name: str, scripts: set[str]) -> set[str]:
    """Those of the scripts that a file of the library imports, also late or by a name in a
    string."""
    tree = ast.parse((MODULE / name).read_text(encoding="utf-8"))
    package = Path(name).parent.parts
    wanted: list[tuple[str, ...]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(node.module or "").split(".")) if node.module else above
            wanted += [base, *((*base, alias.name) for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            wanted.append((*package, *node.value.strip(".").split(".")))
    found = set()
    for parts in wanted:
        # Importing a module imports the packages around it.
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            for candidate in (f"{path}.py", f"{path}/__init__.py"):
                if parts[0] == LIBRARY and candidate in scripts:
                    found.add(candidate)
    return found


JOB = """
import json, sys
from pathlib import Path

installed, packages, sources, output = json.loads(sys.argv[1])
sys.path[:0] = [installed]
sys.path += packages
opened = set()

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.add(arguments[0])

sys.addaudithook(watch)

import SlicerStandIn
app = SlicerStandIn.start()
import slicer
for path in sorted(Path(installed).glob("*.py")):
    SlicerStandIn.loadModule(path)
app.startupCompleted.emit()

from AttentionUNetSegmentLib import synthetic
fine = synthetic.synthetic_abdomen
synthetic.synthetic_abdomen = lambda seed: fine(seed, (4.0, 4.0, 6.0))  # takes a tenth of the time
from AttentionUNetSegmentLib.app import main
status = main.main(["demo", "--seed", "3", "-o", output])

from AttentionUNetSegmentLib import models, scene
module = slicer.modules.attentionunetsegment
widget = module.widgetRepresentation().self()
node = scene.addVolumeNode(synthetic.synthetic_abdomen(3).ct, "Synthetic abdomen")
result = widget.logic.segment(node)
icons = {name: not slicer.app.moduleManager().module(name).icon.isNull()
         for name in (path.stem for path in Path(installed).glob("*.py"))}

import pkgutil, importlib, AttentionUNetSegmentLib
for one in pkgutil.walk_packages(AttentionUNetSegmentLib.__path__, "AttentionUNetSegmentLib."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)

seen = opened | {str(getattr(one, "__file__", None) or "") for one in list(sys.modules.values())}
print("RESULT", json.dumps({
    "status": status,
    "models": [str(one.folder) for one in models.installed_models()],
    "volume_ml": result.prediction.volume_ml,
    "segment": result.segmentationNode.GetSegmentation().GetSegment(result.segmentId).GetName(),
    "icons": icons,
    "samples": list(slicer.modules.sampleDataSources),
    "from sources": sorted(path for path in seen if path.startswith(tuple(sources))),
}))
sys.stdout.flush()
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def job(installed, tmp_path_factory):
    """What the main job says, run where there is no trace of the sources."""
    if not list((installed / "Resources" / "Models").glob("*/weights.safetensors")):
        pytest.skip("this checkout holds no trained model")
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "home").mkdir()
    shutil.copytree(
        ROOT / "Testing" / "support" / "SlicerStandIn", folder / "stand-in" / "SlicerStandIn"
    )
    # -I: neither the current folder nor PYTHONPATH; -S: no .pth file that leads to the sources.
    packages = [
        str(folder / "stand-in"),
        *{sysconfig.get_path("purelib"), sysconfig.get_path("platlib")},
    ]
    sources = [
        str(ROOT / name) + os.sep for name in ("AttentionUNetSegment", "Testing", "Resources")
    ]
    arguments = json.dumps([str(installed), packages, sources, str(folder / "results")])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", JOB, arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=without_home()
        | {
            "HOME": str(folder / "home"),
            "USERPROFILE": str(folder / "home"),
            "QT_QPA_PLATFORM": "offscreen",
            "OMP_NUM_THREADS": "2",
        },
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout + done.stderr
    return json.loads(lines[0].removeprefix("RESULT ")) | {
        "results": folder / "results",
        "home": folder / "home",
    }


def without_home() -> dict[str, str]:
    """The environment without what says where a user's files are."""
    named = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "MPLCONFIGDIR")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in named and not name.startswith("XDG_")
    }


def test_nothing_of_the_sources_is_read(job):
    assert job["from sources"] == []


def test_the_command_line_does_its_main_job(job):
    assert job["status"] == 0
    report = json.loads((job["results"] / "report.json").read_text(encoding="utf-8"))
    assert report["synthetic"]["dice"] > 0.5


def test_the_module_does_its_main_job_with_the_installed_model(job, installed):
    assert job["models"] == [str(installed / "Resources" / "Models" / "pancreas-ct")]
    assert job["segment"] == "Pancreas"
    assert 20 < job["volume_ml"] < 200


def test_nothing_is_left_among_the_users_files(job):
    """But caches of libraries, which any program that uses them makes."""
    left = {
        path.relative_to(job["home"]).as_posix()
        for path in job["home"].rglob("*")
        if path.is_file()
        and not {"matplotlib", "fontconfig", "mesa_shader_cache"} & set(path.parts)
    }
    assert left == set()


def test_each_module_has_its_icon_and_the_sample_data_are_registered(job):
    assert job["icons"]
    assert all(job["icons"].values())
    assert "AttentionUNetSegment" in job["samples"]


def forget(source: Path, name: str) -> None:
    """Take a file out of the module's list."""
    lists = source / "AttentionUNetSegment" / "CMakeLists.txt"
    text = lists.read_text(encoding="utf-8")
    assert f"  {name}\n" in text
    lists.write_text(text.replace(f"  {name}\n", ""), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """The sources, to be broken; without the library's packages, since CMake starts a process for
    each file."""
    source = tmp_path / "source"
    packages = {path.name for path in (MODULE / LIBRARY).iterdir() if path.is_dir()}
    ignored = shutil.ignore_patterns("__pycache__", *packages)
    shutil.copytree(
        MODULE,
        source / MODULE.name,
        ignore=lambda folder, names: ignored(folder, names) if Path(folder).name == LIBRARY else (),
    )
    for name in ("CMakeLists.txt", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    return source


def installed_from(source: Path) -> Path:
    make_packages.configure(source, source.parent / "build", OS="linux")
    make_packages.install(source.parent / "build", source.parent / "prefix")
    return source.parent / "prefix" / SCRIPTED_MODULES


def test_a_forgotten_file_is_noticed(copy):
    forgotten = "Resources/Icons/EyeOpen.svg"
    forget(copy, forgotten)
    assert files_below(copy / MODULE.name) - files_below(installed_from(copy)) == {
        forgotten,
        "CMakeLists.txt",
    }


def test_a_file_that_is_not_there_is_refused(copy):
    (copy / MODULE.name / "SegmentEditorAttentionUNet.py").unlink()
    with pytest.raises(RuntimeError, match=r"nonexistent[^']*'SegmentEditorAttentionUNet\.py'"):
        installed_from(copy)


def test_a_file_that_came_after_the_first_build_is_installed(copy):
    installed_from(copy)
    (copy / MODULE.name / LIBRARY / "added.py").write_text("", encoding="utf-8")
    make_packages.rebuild(copy.parent / "build")
    make_packages.install(copy.parent / "build", copy.parent / "prefix")
    assert (copy.parent / "prefix" / SCRIPTED_MODULES / LIBRARY / "added.py").is_file()


def also_lists(source: Path, name: str) -> None:
    """Put a file into the module's list of resources."""
    lists = source / "AttentionUNetSegment" / "CMakeLists.txt"
    text = lists.read_text(encoding="utf-8")
    last = "  Resources/requirements.txt\n"
    assert last in text
    lists.write_text(text.replace(last, f"  {name}\n{last}"), encoding="utf-8")


def test_a_file_outside_the_modules_folder_is_built_but_not_installed(copy):
    """As the original macro has it, and why all that is needed lies in the module's own folder."""
    also_lists(copy, "../README.md")
    installed = installed_from(copy)
    assert (copy.parent / "build" / Path(SCRIPTED_MODULES).parent / "README.md").is_file()
    assert not list(installed.parents[2].rglob("README.md"))


def test_an_absolute_path_lands_in_the_wrong_place(copy):
    """As the original macro has it: below a folder of that path, where nobody looks for it."""
    also_lists(copy, (copy / "README.md").as_posix())
    (wrong,) = files_below(installed_from(copy)) - files_below(copy / MODULE.name)
    assert wrong.endswith("source/README.md")
    assert wrong != "Resources/README.md"
