"""Make the packages that the Extensions Manager installs.

    python Testing/tools/make_packages.py

One for each system, ``.tar.gz`` for Linux and macOS and ``.zip`` for Windows, by CMake and CPack
against the stand-in for Slicer's CMake package; nothing is compiled, so any system makes them all.
In Slicer: Extensions Manager, Install from file. A package is for one version of Slicer, and on
macOS for one revision (Help > About Slicer).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "Testing" / "support" / "SlicerCMake"
# None for macOS on Intel: the last PyTorch for it is 2.2, and the extension needs 2.4.
SYSTEMS = (("linux", "amd64"), ("macosx", "arm64"), ("win", "amd64"))
SLICER_VERSION, SLICER_REVISION = "5.10", "34045"  # the stable release at the time of writing


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the packages of the extension.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", metavar="DIR")
    parser.add_argument("--slicer-version", default=SLICER_VERSION, metavar="X.Y")
    parser.add_argument("--slicer-revision", default=SLICER_REVISION, metavar="NUMBER")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for system, architecture in SYSTEMS:
        with tempfile.TemporaryDirectory() as build:
            configure(
                ROOT,
                Path(build),
                VERSION=options.slicer_version,
                REVISION=options.slicer_revision,
                OS=system,
                ARCHITECTURE=architecture,
            )
            package = pack(Path(build), options.output)
        print(f"{package}  {package.stat().st_size / 1e6:.1f} MB")


def configure(source: Path, build: Path, **slicer: str) -> None:
    """Configure and build the extension.

    Args:
        source: the folder of the root CMakeLists.txt.
        build: becomes the build folder.
        slicer: VERSION, REVISION, OS and ARCHITECTURE of the Slicer that it is for.
    """
    definitions = {
        "CMAKE_MAKE_PROGRAM": tool("ninja"),
        "CMAKE_TOOLCHAIN_FILE": str(STAND_IN / "no_compiler.cmake"),
        "CMAKE_BUILD_TYPE": "Release",
        "Slicer_DIR": str(STAND_IN),
    } | {f"STAND_IN_SLICER_{name}": value for name, value in slicer.items()}
    run(
        *("cmake", "-G", "Ninja", "-S", str(source), "-B", str(build)),
        *(f"-D{name}={value}" for name, value in definitions.items()),
    )
    rebuild(build)


def rebuild(build: Path) -> None:
    """Build what changed since."""
    run("cmake", "--build", str(build))


def install(build: Path, prefix: Path) -> None:
    """Install what was built."""
    run("cmake", "--install", str(build), "--prefix", str(prefix))


def pack(build: Path, output: Path) -> Path:
    """Make the package of what was built, and give its path."""
    run("cpack", "--config", str(build / "CPackConfig.cmake"), "-B", str(output / "_packing"))
    (made,) = [*(output / "_packing").glob("*.tar.gz"), *(output / "_packing").glob("*.zip")]
    package = made.replace(output / made.name)
    shutil.rmtree(output / "_packing")
    return package


def run(name: str, *arguments: str) -> None:
    """Run one of CMake's programs.

    Raises:
        RuntimeError: it failed; the message is what it wrote.
    """
    done = subprocess.run([tool(name), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stdout}{done.stderr}")


def tool(name: str) -> str:
    """The program that pip installed beside this Python, or else the system's.

    Raises:
        RuntimeError: there is none.
    """
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"There is no {name}; 'pip install cmake ninja' installs it.")
    return found


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))


MOST_BYTES = 20_000_000
