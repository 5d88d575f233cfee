"""The README and the pages beside it: links lead somewhere, commands and code work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import panel_driver
import pytest
import SimpleITK as sitk
import typer
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.app.commands import application
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.models import find_model
from AttentionUNetSegmentLib.synthetic import synthetic_abdomen

ROOT = Path(__file__).resolve().parents[2]
CARD = "AttentionUNetSegment/Resources/Models/pancreas-ct/model.json"
PAGES = sorted((ROOT / "Resources" / "Documentation").glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *PAGES]
SPACING_MM = (4.0, 4.0, 6.0)


def shown(path: Path) -> str:
    """What a reader sees of a page: its text without comments."""
    return re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """The headings of a page as links name them."""
    outside_code = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", outside_code, re.MULTILINE)
    }


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_link_to_a_file_or_a_heading_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", shown(page)):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not heading or heading in anchors(shown(file)), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_readme_leads_to_every_page(page):
    assert f"]({page.relative_to(ROOT).as_posix()})" in shown(ROOT / "README.md")


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_command_that_is_named_is_one(page):
    """In code: a line of a block, or a span."""
    text = shown(page)
    code = [
        line
        for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    code += re.findall(r"`([^`\n]+)`", text)
    known = typer.main.get_command(application)
    for line in code:
        for name in re.findall(r"\battention-unet-segment ([a-z][\w-]*)", line):
            assert name in known.commands, f"{page.name}: {line}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_install_line_works_from_a_clone_in_any_shell(page):
    """There is no entry in a package index; cmd takes no single quotes; PowerShell takes no &&."""
    text = shown(page)
    assert "attention-unet-segment[" not in text
    for line in re.findall(r"pip install[^`\n]*", text):
        assert "'" not in line, line
        assert "--quiet" not in line, line
        assert not re.search(r"(?<![\"\w])\.\[", line), line
    for block in re.findall(r"```bat\n(.*?)```", text, re.DOTALL):
        assert "&&" not in block
        assert "/bin/" not in block


def test_every_part_is_in_the_contents():
    text = shown(ROOT / "README.md")
    contents = text.partition("\n## ")[0]
    linked = set(re.findall(r"\]\(#([^)]+)\)", contents))
    for part in re.findall(r"^## (.*)$", text, re.MULTILINE):
        assert anchors(f"# {part}") <= linked, part


def code_with(word: str) -> str:
    """The block of Python in the README in which a word stands."""
    blocks = re.findall(r"```python\n(.*?)```", shown(ROOT / "README.md"), re.DOTALL)
    (block,) = [block for block in blocks if word in block]
    return block


@pytest.fixture
def volumeNode():  # noqa: N802
    """A scan in the stand-in for Slicer, with the module loaded and the model at hand."""
    try:
        find_model()
    except ModelError as error:
        pytest.skip(f"no trained model: {error}")
    panel_driver.start_module()
    from SlicerStandIn import driving

    driving.closeScene()
    yield scene.addVolumeNode(synthetic_abdomen(3, SPACING_MM).ct, "CT of an abdomen")
    driving.closeScene()
    panel_driver.stop_module()


def test_the_code_for_slicers_console_works(volumeNode, capsys, monkeypatch):  # noqa: N803
    import slicer

    monkeypatch.syspath_prepend(str(ROOT / "AttentionUNetSegment"))
    names = {"slicer": slicer}
    exec(code_with("AttentionUNetSegmentLogic"), names)
    volume_ml, name = capsys.readouterr().out.strip().split(" ", 1)
    assert 20 < float(volume_ml) < 200
    assert slicer.util.getNode(name) is names["result"].segmentationNode


def test_the_code_for_nodes_outside_slicer_works(volumeNode):  # noqa: N803
    names = {"volumeNode": volumeNode}
    exec(code_with("segmentVolumeNode"), names)
    result = names["result"]
    assert result.segmentationNode.GetSegmentation().GetNumberOfSegments() == 1
    assert len(result.attentionNodes) == 4
    assert result.probabilityNode is not None
    assert result.tableNode is not None


def test_the_code_for_a_notebook_works(tmp_path, monkeypatch, capsys):
    try:
        find_model()
    except ModelError as error:
        pytest.skip(f"no trained model: {error}")
    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(synthetic_abdomen(3, SPACING_MM).ct.to_sitk(), "scan.nii.gz")
    exec(code_with("plot()"), {})
    assert 20 < float(capsys.readouterr().out.split()[0]) < 200
    assert (tmp_path / "pancreas.nii.gz").is_file()


def test_the_readme_gives_the_figures_of_the_card():
    card = json.loads((ROOT / CARD).read_text(encoding="utf-8"))["figures"]["validation"]["clicks"]
    row = r"^\| \**(case \d+|mean), (no|one|three) clicks?\** \| (.*) \|$"
    rows = re.findall(row, shown(ROOT / "README.md"), re.MULTILINE)
    assert len(rows) == 6
    for name, clicks, cells in rows:
        of_clicks = card[{"no": "0", "one": "1", "three": "3"}[clicks]]
        figures = of_clicks["mean"] if name == "mean" else of_clicks["cases"][name.replace(" ", "")]
        assert cells.replace("*", "").split(" | ") == [
            f"{figures['dice']:.3f}",
            f"{figures['sensitivity']:.3f}",
            f"{figures['specificity'] + 1e-9:.4f}",
            f"{figures['hausdorff95_mm']:.1f} mm",
        ], name
