"""The tutorial of the README, each step tried: what it promises is so afterwards."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import panel_driver
import pytest
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model
from tutorial import CATEGORY, SAMPLE, Tutorial

ROOT = Path(__file__).resolve().parents[2]
SPACING_MM = (4.0, 4.0, 6.0)


@pytest.fixture(scope="module")
def tutorial():
    """The tutorial in the panel, with the trained model on a coarse scan."""
    try:
        name = os.environ.get("ATTENTION_UNET_SEGMENT_TEST_MODEL", DEFAULT_MODEL)
        model = str(find_model(name))
    except ModelError as error:
        pytest.skip(f"no trained model: {error}")
    module = panel_driver.start_module()
    from AttentionUNetSegmentLib import synthetic
    from SlicerStandIn import driving

    driving.closeScene()
    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    driver.parameters.model = model
    with pytest.MonkeyPatch.context() as patch:
        coarse = synthetic.synthetic_abdomen(3, SPACING_MM)
        patch.setattr(synthetic, "synthetic_abdomen", lambda seed: coarse)
        yield Tutorial(driver)
    driver.representation.exit()
    driving.closeScene()
    panel_driver.stop_module()


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_the_steps_follow_one_another(tutorial, tmp_path):
    """One test, because a step begins where the one before it ended."""
    import SimpleITK as sitk
    import slicer

    panel, ui = tutorial.driver.panel, tutorial.driver.ui
    tutorial.load()
    assert "not a patient" in tutorial.volumeNode.GetName()
    assert panel.volumeNode is tutorial.volumeNode

    tutorial.segment()
    found, truth = tutorial.mask(), tutorial.truth()
    assert dice(found, truth) > 0.5
    assert panel.resultNodes.segmentationNode.GetSegmentation().ContainsRepresentation(
        "Closed surface"
    )

    tutorial.attention()
    assert tutorial.eye(3).checked
    assert "level 3" in ui.attentionSentenceLabel.text

    tutorial.click()
    assert not tutorial.eye(3).checked
    assert len(panel.clicks.clicks) == 1
    clicked = tutorial.mask()
    assert (clicked != found).any()
    voxel, inside = tutorial.clicked
    assert clicked[tuple(voxel)] == inside
    assert dice(clicked, truth) > 0.5

    tutorial.correct()
    assert panel.correction.editor.currentSegmentID() == panel.resultNodes.segmentId
    corrected = tutorial.mask()
    assert (corrected < clicked).any()

    tutorial.export(tmp_path / "pancreas.nii.gz")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "pancreas.nii.gz")))
    np.testing.assert_array_equal(written > 0, corrected)
    assert "pancreas.nii.gz" in tutorial.driver.message
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode") == 0


def test_the_readme_has_these_steps_with_a_picture_each():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", readme, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith("Tutorial")]
    pictures = re.findall(r"\]\((Resources/Screenshots/tutorial-[^)]+)\)", text)
    assert f"press *{SAMPLE}* in the part *{CATEGORY}*" in " ".join(text.split())
    assert pictures == [
        f"Resources/Screenshots/tutorial-{number}-{step}.png"
        for number, step in enumerate(Tutorial.STEPS, start=1)
    ]
    assert all((ROOT / picture).is_file() for picture in pictures)
