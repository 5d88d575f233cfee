"""The panel and the effect with a model of an organ and its lesion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from panel_driver import add_ct, add_to_data_set, bright_scan, click
from test_effect import Editor
from threshold_model import BRIGHT_HU, LESION_HU, save_card_of, two_target_model


@pytest.fixture(scope="module")
def two_folder(tmp_path_factory):
    return save_card_of(two_target_model(), tmp_path_factory.mktemp("models") / "two")


@pytest.fixture
def lesion_ct(driver, two_folder):
    volume = bright_scan()
    volume.array[volume.array > 100] = BRIGHT_HU
    middle = np.argwhere(volume.array > 100).mean(axis=0).astype(int)
    k, j, i = (slice(at - 3, at + 4) for at in middle)
    volume.array[k, j, i] = LESION_HU
    driver.parameters.model = str(two_folder)
    node = add_ct(driver, volume=volume)
    driver.pump()
    return node


def segmentation_of(driver):
    return driver.panel.resultNodes.segmentationNode.GetSegmentation()


def names_of(driver):
    segmentation = segmentation_of(driver)
    return [
        segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())
    ]


def voxels_of(driver, number):
    import slicer.util

    node = driver.panel.resultNodes.segmentationNode
    segment_id = node.GetSegmentation().GetNthSegmentID(number)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, driver.panel.volumeNode)


def test_each_target_is_a_segment_with_its_volume_and_measures(driver, lesion_ct):
    assert driver.ui.segmentButton.text == "&Segment liver"
    assert not driver.ui.targetComboBox.isHidden()
    driver.segment()
    assert names_of(driver) == ["Liver", "Tumour"]
    summary = driver.ui.resultLabel.text
    assert summary.startswith("Liver: ")
    assert "tumour: " in summary
    driver.unfold("result")
    table = driver.ui.statisticsTable
    assert driver.pump(lambda: table.columnCount == 3)
    assert [table.item(0, n).text() for n in (1, 2)] == ["Liver", "Tumour"]
    assert (voxels_of(driver, 1) <= voxels_of(driver, 0)).all()


def test_clicks_are_about_the_chosen_target(driver, lesion_ct):
    driver.segment()
    liver, tumour = voxels_of(driver, 0), voxels_of(driver, 1)
    driver.ui.targetComboBox.setCurrentIndex(1)
    driver.ui.targetComboBox.activated.emit(1)
    driver.pump()
    assert driver.parameters.target == "tumour"
    at = tuple(int(x) for x in np.argwhere(tumour).mean(axis=0)[::-1])
    click(driver, lesion_ct, at, inside=False)
    assert voxels_of(driver, 1).sum() < tumour.sum()
    np.testing.assert_array_equal(voxels_of(driver, 0), liver)
    assert len(driver.panel.clicks.clicks) == 1
    driver.parameters.target = "liver"
    driver.pump()
    assert driver.panel.clicks.clicks == ()
    driver.segment()  # anew, with the clicks about both
    assert voxels_of(driver, 1).sum() < tumour.sum()
    np.testing.assert_array_equal(voxels_of(driver, 0), liver)


def test_exports_have_all_targets(driver, lesion_ct, tmp_path, monkeypatch):
    import qt
    import SimpleITK as sitk

    driver.segment()
    for button, name in (("exportNiftiButton", "a.nii.gz"), ("exportStlButton", "a.stl")):
        chosen = str(tmp_path / name)
        monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_, chosen=chosen: chosen)
        getattr(driver.ui, button).click()
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert sorted(path.name for path in tmp_path.glob("*.stl")) == ["a-liver.stl", "a-tumour.stl"]


def test_the_data_set_has_a_label_for_each_target(driver, lesion_ct, tmp_path):
    from AttentionUNetSegmentLib.datasets.cases import load_case
    from AttentionUNetSegmentLib.datasets.loading import find_data_set

    driver.segment()
    folder = tmp_path / "set"
    add_to_data_set(driver, folder)
    found = find_data_set(folder)
    assert found.labels == ("background", "liver", "tumour")
    assert found.part_of == {"tumour": "liver"}
    assert set(np.unique(load_case(found.cases[0]).labels.array)) == {0, 1, 2}


def test_a_model_of_one_target_offers_no_choice(driver, lesion_ct, model_folder):
    driver.parameters.model = str(model_folder)
    driver.pump()
    assert driver.ui.targetComboBox.isHidden()


def test_a_selected_segment_says_what_the_effects_clicks_are_about(driver, lesion_ct):
    from AttentionUNetSegmentLib.panel.target import targetOfSegment

    driver.segment()
    node = driver.panel.resultNodes.segmentationNode
    model = driver.parameters.model
    ids = list(node.GetSegmentation().GetSegmentIDs())
    assert [targetOfSegment(node, one, model) for one in ids] == ["liver", "tumour"]
    own = node.GetSegmentation().AddEmptySegment("mine")
    assert targetOfSegment(node, own, model) == ""
    assert targetOfSegment(None, None, model) == ""


def test_all_labels_come_as_segmentations_of_their_own(driver, tmp_path):
    """The model knows eight organs, as the shipped one does; here one more than its target."""
    import slicer

    model = two_target_model()
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, targets=()))
    driver.parameters.model = str(save_card_of(model, tmp_path / "knowing"))
    add_ct(driver)
    driver.pump()
    assert driver.ui.allLabelsCheckBox.enabled
    driver.ui.allLabelsCheckBox.checked = True
    driver.pump()
    for _again in range(2):
        driver.segment()
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        assert len([node for node in nodes if "not for diagnosis" in node.GetName()]) == 2
    assert names_of(driver) == ["Liver"]


def test_clicks_in_the_effect_are_about_the_selected_segment(driver, lesion_ct):
    driver.segment()
    node = driver.panel.resultNodes.segmentationNode
    liver, tumour = voxels_of(driver, 0), voxels_of(driver, 1)
    driver.representation.exit()
    editor = Editor(lesion_ct, node)
    try:
        editor.widget.setCurrentSegmentID(node.GetSegmentation().GetNthSegmentID(1))
        editor.activate()
        at = tuple(int(x) for x in np.argwhere(tumour).mean(axis=0)[::-1])
        editor.click("Red", at, ctrl=True)
        hub = editor.effect._hub
        assert driver.pump(lambda: hub.idle), editor.text
        driver.pump()
        assert voxels_of(driver, 1).sum() < tumour.sum()
        np.testing.assert_array_equal(voxels_of(driver, 0), liver)
        assert node.GetSegmentation().GetNumberOfSegments() == 2
    finally:
        editor.close()


def test_what_was_begun_from_all_labels_is_the_users(driver, tmp_path):
    import slicer
    from AttentionUNetSegmentLib.scene.corrections import storedState

    model = two_target_model()
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, targets=()))
    driver.parameters.model = str(save_card_of(model, tmp_path / "knowing"))
    add_ct(driver)
    driver.ui.allLabelsCheckBox.checked = True
    driver.pump()
    driver.segment()

    def all_labels():
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        return [node for node in nodes if "not for diagnosis" in node.GetName()]

    node = all_labels()[0]
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    assert driver.panel.beginFrom(node, segment_id), driver.message
    driver.wait_for_answer()
    for _again in range(2):
        driver.segment()
        assert driver.panel.resultNodes.segmentId == segment_id
        assert storedState(node, segment_id) is not None
        assert len(all_labels()) == 3
