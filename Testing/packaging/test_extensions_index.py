"""What the Extensions Index checks when the extension is submitted, checked before.

The rules are those of the index's public schema (version 1.0.1), of its checking script and of its
list for new extensions, in our words; Resources/Documentation/extensions-index.md is the list.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "AttentionUNetSegment"
ENTRY_FILE = ROOT / "Resources" / "AttentionUNetSegment.json"
ENTRY = json.loads(ENTRY_FILE.read_text(encoding="utf-8"))
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_REPOSITORY_BYTES = 100_000_000
MOST_PICTURE_BYTES = 700_000

KINDS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
    "dicom_support_rule": str,
}
REQUIRED = {"$schema", "category", "scm_url"}


def setting(name: str) -> str:
    """A setting of the extension, read as the index reads it: on one line, quoted."""
    found = re.findall(rf'^set\({name} "([^"]+)"\)$', CMAKE, re.MULTILINE)
    assert len(found) == 1, f"{name} is not set on a line of its own"
    return found[0]


def test_the_entry_has_the_keys_that_the_schema_knows_and_their_types():
    assert set(ENTRY) <= set(KINDS)
    assert set(ENTRY) >= REQUIRED
    for name, value in ENTRY.items():
        assert type(value) is KINDS[name], name
    assert all(type(name) is str for name in ENTRY["build_dependencies"])
    assert ENTRY.get("scm_type", "git") in ("git", "local")
    assert 1 <= ENTRY["tier"] <= 5
    assert re.fullmatch(
        r"https://raw\.githubusercontent\.com/Slicer/Slicer/main/Schemas/"
        r"slicer-extension-catalog-entry-schema-v1\.0\.1\.json#?",
        ENTRY["$schema"],
    )


def test_the_entry_is_written_as_the_index_formats_it():
    text = ENTRY_FILE.read_text(encoding="utf-8")
    assert text == json.dumps(ENTRY, indent=2, sort_keys=True) + "\n"


def test_the_entry_is_named_after_the_project():
    assert re.findall(r"project\s*\(\s*([^\s\)]+)", CMAKE)[0] == ENTRY_FILE.stem


def test_entry_and_cmake_and_module_have_the_same_category():
    assert ENTRY["category"] == setting("EXTENSION_CATEGORY") == "Segmentation"
    module = (MODULE / "AttentionUNetSegment.py").read_text(encoding="utf-8")
    categories = re.findall(r"parent\.categories = \[translate\([^,]+, \"([^\"]+)\"\)\]", module)
    assert categories == [ENTRY["category"]]


def test_entry_and_cmake_have_the_same_dependencies():
    assert ENTRY["build_dependencies"] == setting("EXTENSION_DEPENDS").split()


def test_the_repository_is_a_git_repository_named_after_slicer_and_the_extension():
    assert re.fullmatch(r"(git|https)://[^/]+/[^/]+/[^/]+\.git", ENTRY["scm_url"])
    assert Path(ENTRY["scm_url"]).stem == f"Slicer{ENTRY_FILE.stem}"


def test_homepage_icon_and_screenshots_are_files_of_that_repository():
    owner_and_name = ENTRY["scm_url"].removeprefix("https://github.com/").removesuffix(".git")
    assert setting("EXTENSION_HOMEPAGE").startswith(f"https://github.com/{owner_and_name}#")
    start = f"https://raw.githubusercontent.com/{owner_and_name}/{ENTRY['scm_revision']}/"
    screenshots = setting("EXTENSION_SCREENSHOTURLS").split()
    assert len(screenshots) >= 3
    for url in [setting("EXTENSION_ICONURL"), *screenshots]:
        assert url.startswith(start)
        with Image.open(ROOT / url.removeprefix(start)) as image:
            assert image.format == "PNG"
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'repository-code: "https://github.com/{owner_and_name}"' in citation


@pytest.mark.parametrize(
    "name", [*sorted(path.stem for path in MODULE.glob("*.py")), ENTRY_FILE.stem]
)
def test_the_icons_are_drawn_from_their_source_and_have_slicers_size(name):
    assert (ROOT / "Resources" / f"{name}.svg").is_file()
    with Image.open(MODULE / "Resources" / "Icons" / f"{name}.png") as image:
        assert image.size == (128, 128)


def test_the_extensions_icon_is_that_of_the_module():
    one = ROOT / "Resources" / "AttentionUNetSegment.png"
    other = MODULE / "Resources" / "Icons" / "AttentionUNetSegment.png"
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("ground", [(255, 255, 255), (43, 43, 43), (0, 0, 0)])
def test_the_pancreas_stands_out_of_the_icon_at_32_pixels(ground):
    """The organ's orange against what is around it: a contrast as for text, 3 to 1 and more."""
    with Image.open(ROOT / "Resources" / "AttentionUNetSegment.png") as image:
        small = image.convert("RGBA").resize((32, 32), Image.Resampling.LANCZOS)
    shown = Image.new("RGBA", small.size, (*ground, 255))
    shown.alpha_composite(small)
    organ, tile = shown.getpixel((11, 18)), shown.getpixel((16, 3))
    light, dark = sorted((luminance(organ), luminance(tile)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3


def luminance(pixel: tuple[int, ...]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2)."""
    parts = [part / 255 for part in pixel[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_description_is_short_and_says_what_it_is_for():
    description = setting("EXTENSION_DESCRIPTION")
    assert len(description) < 300
    assert "pancreas" in description
    assert "research" in description


def test_the_licence_is_at_the_root_and_named_in_the_readme():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License 2.0" in README


def test_the_maintainers_are_the_same_wherever_they_are_named():
    name = setting("EXTENSION_CONTRIBUTORS")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'- name: "{name}"\n' in citation
    for module in MODULE.glob("*.py"):
        assert f'parent.contributors = ["{name}"]' in module.read_text(encoding="utf-8")


HEADINGS = (
    "Install",
    "Tutorial",
    "Run it",
    "Command line",
    "Python",
    "Modules and effect",
    "The model",
    "What it is not good for",
    "Train on your own data",
    "Uninstall",
    "In depth",
    "Cite",
    "Contribute",
    "Licence",
)


def test_the_readme_has_what_the_index_expects():
    lines = README.splitlines()
    assert lines[0] == "# AttentionUNetSegment"
    found = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert [name for name in found if name in HEADINGS] == list(HEADINGS)
    assert "https://arxiv.org/abs/1804.03999" in README


def tracked() -> list[Path]:
    """The files under version control; those in the folder where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this checkout is no git repository")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_repository_is_small():
    sizes = {path: path.stat().st_size for path in tracked()}
    # Half, because a history holds more than one version of the model and of the pictures.
    assert sum(sizes.values()) < MOST_REPOSITORY_BYTES / 2
    assert [
        p.name for p, size in sizes.items() if p.suffix == ".png" if size > MOST_PICTURE_BYTES
    ] == []


def test_lines_end_as_the_index_wants_them():
    for path in tracked():
        content = path.read_bytes()
        assert b"\0" in content or b"\r\n" not in content, path


def test_the_top_level_holds_what_a_tool_looks_for_there_and_no_more():
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= {
        "AttentionUNetSegment",
        "Resources",
        "Testing",
        "CMakeLists.txt",
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "pyproject.toml",
        ".ci",
        ".github",
        ".gitattributes",
        ".gitignore",
    }
