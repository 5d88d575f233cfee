"""The workflows are valid and run wherever it is promised, and the citation is valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"


def read(name: str):
    return YAML(typ="safe").load(WORKFLOWS / name)


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-workflows", ".github/workflows/tests.yml"),
        ("vendor.github-workflows", ".github/workflows/release.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/tests.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/release.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_the_file_is_valid(schema, file):
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / file)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_run_on_three_systems_and_on_pythons_3_10_to_3_12():
    matrix = read("tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix == {
        "system": ["ubuntu-latest", "macos-latest", "windows-latest"],
        "python": ["3.10", "3.11", "3.12"],
    }
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={matrix["python"][0]}"' in project


def commands_of(workflow: str, job: str) -> str:
    """All that the steps of a job run."""
    steps = read(workflow)["jobs"][job]["steps"]
    return "\n".join(step.get("run", "") for step in steps)


def test_what_they_install_is_what_the_readme_says():
    commands = commands_of("tests.yml", "tests")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (torch,) = set(re.findall(r"torch==[\d.]+", commands))
    assert torch in (ROOT / "README.md").read_text(encoding="utf-8")
    assert torch in script
    (apt,) = re.findall(r"apt-get.* install (.*)", commands)
    libraries = re.findall(r"lib[\w.-]+", apt)
    assert libraries
    (theirs,) = re.findall(r"libraries=\((.*)\)", script)
    assert set(libraries) == set(theirs.split())


def test_a_tag_makes_a_release_with_the_packages():
    release = read("release.yml")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    commands = commands_of("release.yml", "release")
    assert "make_packages.py --output dist" in commands
    assert "gh release create" in commands
    assert release["permissions"] == {"contents": "write"}
    assert read("tests.yml")["permissions"] == {"contents": "read"}


def test_all_that_users_install_is_looked_up_among_known_vulnerabilities():
    commands = commands_of("tests.yml", "vulnerabilities")
    assert "pip_audit --path" in commands
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"(?m)^(\w+) = \[$", project.split("[project.optional-dependencies]")[1])
    (installed,) = re.findall(r"\.\[([\w,]+)\]", commands)
    assert set(installed.split(",")) == set(extras) - {"test"}


def test_the_oldest_versions_that_are_tested_are_the_lower_bounds():
    """And the newest are whatever the index has, in a job of their own."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = (ROOT / "Testing" / "oldest.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", oldest, re.MULTILINE))
    bounds = dict(re.findall(r'^ {4}"([\w-]+)>=([\d.]+)', project, re.MULTILINE))
    main = {"filelock", "numpy", "safetensors", "SimpleITK", "torch"}
    assert set(pinned) == main | {
        "matplotlib",
        "nibabel",
        "pydicom",
        "rich",
        "slicer-core",
        "typer",
        "zlib-ng",
    }
    for name, version in pinned.items():
        assert f"{version}.".startswith(f"{bounds[name]}."), name
    commands = commands_of("tests.yml", "versions")
    assert "-c Testing/oldest.txt" in commands
    assert "--upgrade-strategy eager" in commands
    assert "pytest" in commands


def test_slicer_installs_what_the_package_asks_for():
    requirements = ROOT / "AttentionUNetSegment" / "Resources" / "requirements.txt"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = requirements.read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            assert f'"{line}"' in project, line
