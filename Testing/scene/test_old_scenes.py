"""A scene that an older version saved opens in this one, shows the same, and goes on.

The scenes are made once for each version (``make_old_scene.py``) and never again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from AttentionUNetSegmentLib import __version__
from make_old_scene import NAME, OLD_SCENES, shown
from panel_driver import click, holds, segment_mask

SCENES = sorted(OLD_SCENES.iterdir())


@pytest.fixture(params=SCENES, ids=lambda folder: folder.name)
def opened(driver, request):
    """The CT of an older scene, and what the panel showed when it was saved."""
    import slicer
    from SlicerStandIn import driving

    driving.closeScene()
    driving.loadScene(request.param / "scene.mrb")
    driver.pump()
    expected = json.loads((request.param / "expected.json").read_text(encoding="utf-8"))
    return slicer.mrmlScene.GetFirstNodeByName(NAME), expected


def test_the_panel_shows_what_it_showed(driver, opened):
    node, expected = opened
    now = shown(driver)
    assert now.pop("clicks") == [pytest.approx(click) for click in expected.pop("clicks")]
    assert now == expected
    assert holds(driver, node)
    driver.unfold("correction")
    painted = driver.pump(lambda: "mL painted" in driver.ui.correctionsLabel.text, 5)
    driver.ui.correctionCollapsibleButton.collapsed = True
    assert painted, driver.ui.correctionsLabel.text


def test_a_click_and_a_run_go_on_and_keep_the_corrections(driver, opened, model_folder):
    node, _ = opened
    driver.parameters.model = str(model_folder)  # whose answer is known
    driver.ui.updateAfterClickCheckBox.checked = True
    count = len(driver.panel.clicks.clicks)
    before = segment_mask(driver, node)
    click(driver, node, (27, 30, 11))
    assert len(driver.panel.clicks.clicks) == count + 1
    assert holds(driver, node)
    after = segment_mask(driver, node)
    assert (before & after).sum() > 0.9 * before.sum()
    driver.segment()
    assert holds(driver, node)
    driver.ui.undoClickButton.click()
    assert driver.pump(lambda: not driver.panel.busy)
    assert len(driver.panel.clicks.clicks) == count


def test_there_is_a_scene_of_each_released_version() -> None:
    changes = Path(__file__).resolve().parents[2] / "Resources" / "Documentation" / "CHANGELOG.md"
    lines = changes.read_text(encoding="utf-8").splitlines()
    versions = [line.split()[1].rstrip(",") for line in lines if line.startswith("## ")]
    assert __version__ in versions
    assert {folder.name for folder in SCENES} == {f"version-{version}" for version in versions}
