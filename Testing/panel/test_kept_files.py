"""Uninstalling: the panel and the README say what stays and how to delete it."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_panel_says_what_stays_and_where(driver):
    import slicer
    from AttentionUNetSegmentLib.models.installed import user_models_folder

    driver.unfold("advanced")
    text = driver.ui.keptFilesLabel.text
    assert slicer.app.cachePath in text
    assert str(user_models_folder()) in text
    assert "pip_uninstall" in text
    driver.ui.advancedCollapsibleButton.collapsed = True


def test_the_readme_gives_the_same_commands(driver):
    commands = re.findall(r"<code>(slicer\.util\.[^<]+)</code>", driver.ui.keptFilesLabel.text)
    assert commands
    section = README.partition("\n## Uninstall\n")[2].partition("\n## ")[0]
    assert [one for one in commands if one.replace("&#x27;", "'") not in section] == []
