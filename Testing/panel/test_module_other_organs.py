"""The panel with a model of another organ: its name, its segment, its clicks, its corrections."""

from __future__ import annotations

import numpy as np
import panel_driver
import pytest
from panel_driver import click, paint
from panel_fixtures import save_threshold_model


@pytest.fixture(scope="module")
def liver_folder(tmp_path_factory):
    return save_threshold_model(tmp_path_factory.mktemp("models") / "liver", "liver")


def segments_of(driver):
    segmentation = driver.panel.resultNodes.segmentationNode.GetSegmentation()
    return [
        segmentation.GetNthSegment(n).GetName() for n in range(len(segmentation.GetSegmentIDs()))
    ]


def test_a_liver_model_segments_a_liver(driver, ct, liver_folder):
    driver.parameters.model = str(liver_folder)
    driver.pump()
    assert driver.ui.segmentButton.text == "&Segment liver"
    driver.segment()
    assert driver.ui.resultLabel.text.startswith("Liver: ")
    assert driver.panel.hasSegment
    assert segments_of(driver) == ["Liver"]
    assert sorted(driver.panel.attention.eyes) == [-1, 1, 2, 3, 4]
    for button in ("exportNiftiButton", "showInThreeDButton", "exportStlButton"):
        if hasattr(driver.ui, button):
            assert getattr(driver.ui, button).enabled
    driver.unfold("correction")
    paint(driver, ct, np.s_[2:4, 2:4, 2:4], True)
    assert driver.pump(lambda: "by hand" in driver.ui.resultLabel.text)
    assert driver.ui.resultLabel.text.startswith("Liver: ")


def test_each_organ_has_its_segment_and_its_clicks(driver, ct, model_folder, liver_folder):
    driver.segment()
    click(driver, ct, (27, 23, 11))
    summary = driver.ui.resultLabel.text
    clicks = driver.panel.clicks.clicks
    assert len(clicks) == 1
    driver.parameters.model = str(liver_folder)
    driver.pump()
    assert driver.ui.resultLabel.text == ""
    assert driver.panel.clicks.clicks == ()
    assert not driver.panel.hasSegment
    assert driver.panel.attention.eyes == {}
    driver.segment()
    assert segments_of(driver) == ["Pancreas", "Liver"]
    assert summary.startswith("Pancreas: ")
    driver.parameters.model = str(model_folder)
    driver.pump()
    assert driver.panel.clicks.clicks == clicks
    assert driver.panel.hasSegment
    assert driver.pump(lambda: driver.ui.resultLabel.text.startswith("Pancreas: "))


def test_another_model_of_the_same_organ_changes_nothing_yet(driver, ct, tmp_path):
    driver.segment()
    click(driver, ct, (27, 23, 11))
    summary, clicks = driver.ui.resultLabel.text, driver.panel.clicks.clicks
    driver.parameters.model = str(save_threshold_model(tmp_path / "again", "pancreas", label=3))
    driver.pump()
    assert driver.ui.resultLabel.text == summary
    assert driver.panel.clicks.clicks == clicks
    assert driver.panel.hasSegment


def test_a_model_that_finds_nothing_names_its_organ(driver, liver_folder):
    driver.parameters.model = str(liver_folder)
    dark = panel_driver.bright_scan()
    dark.array[dark.array > 100] = 40
    panel_driver.add_ct(driver, volume=dark)
    driver.segment()
    assert driver.ui.resultLabel.text.startswith("No liver found")


def test_a_model_whose_card_cannot_be_read_says_so_when_it_is_used(driver, ct, tmp_path):
    driver.parameters.model = str(tmp_path / "gone")
    driver.pump()
    assert driver.ui.segmentButton.text == "&Segment organ"
    driver.press_segment()
    assert "gone" in driver.message
