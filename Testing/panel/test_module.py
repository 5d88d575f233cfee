"""The panel of the module, driven as a person does, in real Qt on a real MRML scene.

Here the networks are replaced by a model whose answer is known, so that every state around them can
be reached quickly; the main job with a trained network is in test_module_main_job.py.
"""

from __future__ import annotations

import sys
import types

import numpy as np
import panel_driver
import pytest
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import predictor_cache
from panel_driver import STAGES, Gate, add_ct, dice, fake_extension, segment_mask

# Main job


def test_the_volume_that_is_there_is_preselected(driver):
    from AttentionUNetSegmentLib import scene

    node = scene.addVolumeNode(panel_driver.bright_scan(), "CT")
    driver.representation.exit()
    driver.representation.enter()
    assert driver.ui.inputVolumeSelector.currentNode() is node


def test_pressing_the_button_segments_the_volume(driver, ct):
    driver.segment()
    assert dice(segment_mask(driver, ct), panel_driver.bright_scan().array > 200) > 0.85
    assert "mL" in driver.ui.resultLabel.text
    assert driver.ui.segmentButton.text == "&Segment pancreas"
    assert driver.parameters.segmentation is driver.panel.resultNodes.segmentationNode
    assert sorted(driver.panel.attention.eyes) == [-1, 1, 2, 3, 4]
    assert driver.panel.resultNodes.probabilityNode is None


def test_the_button_is_cancel_while_it_works_and_shows_the_stage(driver, ct, monkeypatch):
    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(lambda: "Looking" in driver.ui.stageLabel.text)
    assert driver.ui.segmentButton.text == "&Cancel"
    assert not driver.ui.inputVolumeSelector.enabled
    gate.opened.set()
    assert driver.pump(lambda: not driver.panel.busy)


def test_a_second_run_uses_the_same_segment_and_leaves_others(driver, ct):
    driver.segment()
    found = driver.panel.resultNodes
    segmentation = found.segmentationNode.GetSegmentation()
    other = segmentation.AddEmptySegment("mine", "mine")
    driver.segment()
    assert driver.panel.resultNodes.segmentId == found.segmentId
    assert segmentation.GetSegment(other) is not None
    assert segmentation.GetNumberOfSegments() == 2


def test_a_new_segmentation_is_made_where_it_is_asked_for(driver, ct):
    driver.segment()
    first = driver.parameters.segmentation
    driver.ui.segmentationSelector.setCurrentNode(None)
    driver.pump()
    driver.segment()
    assert driver.parameters.segmentation is not first
    assert first.GetSegmentation().GetNumberOfSegments() == 1


def test_the_probability_is_kept_where_it_is_asked_for(driver, ct):
    driver.ui.keepProbabilityCheckBox.checked = True
    driver.segment()
    assert driver.panel.resultNodes.probabilityNode is not None


def test_a_second_volume_of_another_geometry_has_its_own_result(driver, ct):
    driver.segment()
    first = driver.panel.resultNodes.segmentationNode
    second = add_ct(driver, "other", panel_driver.bright_scan((20, 40, 64), (5, 5, 5), 30))
    assert driver.parameters.segmentation is None
    assert driver.ui.resultLabel.text == ""
    driver.segment()
    truth = panel_driver.bright_scan((20, 40, 64), (5, 5, 5), 30).array > 200
    assert dice(segment_mask(driver, second), truth) > 0.85
    assert driver.panel.resultNodes.segmentationNode is not first
    driver.choose(ct)
    assert driver.panel.resultNodes.segmentationNode is first


def test_a_volume_under_a_transform_is_segmented_in_its_place(driver, ct):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 55.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    ct.SetAndObserveTransformNodeID(transform.GetID())
    driver.segment()
    node = driver.panel.resultNodes.segmentationNode
    assert node.GetTransformNodeID() == transform.GetID()
    assert dice(segment_mask(driver, ct), panel_driver.bright_scan().array > 200) > 0.85


def test_a_region_restricts_the_search(driver, ct):
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    scan = panel_driver.bright_scan()
    centre = (scan.ijk_to_ras @ (27.5, 23.5, 11.5, 1))[:3]
    roi.SetCenter(*centre)
    roi.SetSize(210, 190, 130)
    driver.ui.roiSelector.setCurrentNode(roi)
    driver.segment()
    assert dice(segment_mask(driver, ct), scan.array > 200) > 0.85
    roi.SetCenter(900, 900, 900)
    driver.press_segment()
    assert "region of interest lies outside" in driver.message
    assert not driver.panel.busy


# Cancelling and other interruptions


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_answers_at_once_and_leaves_the_scene_as_it_was(driver, ct, monkeypatch, stage):
    gate = Gate(monkeypatch, stage)
    before = panel_driver.node_count()
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    job = driver.panel.hub.runner._job
    driver.press_segment()
    assert not driver.panel.busy
    assert job.cancelled  # the worker is told too, and does not compute on for nobody
    assert "Cancelled" in driver.message
    gate.opened.set()
    driver.pump(timeout_s=0.4, until=lambda: False)
    assert panel_driver.node_count() == before
    assert driver.parameters.segmentation is None


def test_after_a_cancellation_one_can_segment_again(driver, ct, monkeypatch):
    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    driver.press_segment()
    gate.opened.set()
    driver.segment()
    assert driver.panel.hasSegment


def test_a_double_click_starts_and_does_not_cancel(driver, ct):
    driver.panel.segmentation._pressed = float("-inf")
    driver.ui.segmentButton.click()
    driver.ui.segmentButton.click()
    assert driver.panel.busy
    assert driver.pump(lambda: not driver.panel.busy)
    assert driver.panel.hasSegment


def test_the_volume_is_deleted_while_it_is_segmented(driver, ct, monkeypatch):
    import slicer

    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    slicer.mrmlScene.RemoveNode(ct)
    assert not driver.panel.busy
    assert "removed while" in driver.message
    gate.opened.set()
    driver.pump(timeout_s=0.4, until=lambda: False)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_an_answer_about_other_voxels_is_not_written(driver, ct, monkeypatch):
    """A sequence goes on to its next image in the same node and the same memory."""
    import slicer.util

    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    slicer.util.arrayFromVolume(ct)[:] = 30
    slicer.util.arrayFromVolumeModified(ct)
    gate.opened.set()
    assert driver.pump(lambda: not driver.panel.busy)
    assert "became another one while it was being segmented" in driver.message
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_an_image_that_is_only_said_to_be_modified_costs_no_answer(driver, ct, monkeypatch):
    import slicer.util

    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    slicer.util.arrayFromVolumeModified(ct)
    gate.opened.set()
    assert driver.pump(lambda: not driver.panel.busy)
    assert driver.panel.hasSegment
    assert "became another one" not in driver.message


def test_a_sequence_that_goes_on_after_the_run_is_told(driver, ct):
    """Outline, maps and figures stay, and would seem to belong to the image that is shown now."""
    import slicer.util

    def show(array):
        slicer.util.arrayFromVolume(ct)[:] = array
        slicer.util.arrayFromVolumeModified(ct)
        driver.pump()

    first = slicer.util.arrayFromVolume(ct).copy()
    show(np.roll(first, 3, axis=2))
    assert not driver.message, "there is no result"
    driver.segment()
    ct.Modified()
    ct.GetDisplayNode().SetWindowLevel(300, 50)
    driver.pump()
    assert not driver.message, "the image is the same"
    show(first)
    assert "The image of 'CT' became another one" in driver.message
    show(np.roll(first, 3, axis=2))
    assert not driver.message, "it is that of the result again"
    show(first)
    driver.segment()
    assert "became another one" not in driver.message
    show(first)
    assert "became another one" not in driver.message


def test_the_scene_is_closed_while_it_works(driver, ct, monkeypatch):
    import slicer
    from SlicerStandIn import driving

    gate = Gate(monkeypatch, "Segmenting")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    job = driver.panel.hub.runner._job
    driving.closeScene()
    assert job.cancelled
    gate.opened.set()
    driver.pump(timeout_s=0.4, until=lambda: False)
    assert not driver.panel.busy
    assert driver.ui.resultLabel.text == ""
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_another_scene_is_added_while_it_works(driver, ct, monkeypatch):
    import slicer

    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    gate.opened.set()
    driver.pump()
    assert not driver.panel.busy
    assert driver.message == "Cancelled; nothing was changed."
    driver.segment()
    assert driver.panel.hasSegment


def test_the_segmentation_is_deleted_by_the_user(driver, ct):
    import slicer

    driver.segment()
    slicer.mrmlScene.RemoveNode(driver.panel.resultNodes.segmentationNode)
    driver.pump()
    assert not driver.panel.hasSegment
    driver.segment()
    assert driver.panel.hasSegment


def test_a_saved_and_loaded_scene_shows_the_same_panel(driver, ct, tmp_path):
    from SlicerStandIn import driving

    driver.segment()
    driver.ui.attentionOpacitySlider.value = 0.25
    driver.ui.updateAfterClickCheckBox.checked = False
    driver.panel.attention.eyes[2].click()
    driver.pump()
    before = driver.ui.resultLabel.text, driver.parameters.model
    driving.saveScene(tmp_path / "scene.mrb")
    driving.closeScene()
    assert driver.ui.resultLabel.text == ""
    driving.loadScene(tmp_path / "scene.mrb")
    driver.pump()
    assert (driver.ui.resultLabel.text, driver.parameters.model) == before
    assert driver.ui.attentionOpacitySlider.value == pytest.approx(0.25)
    assert not driver.ui.updateAfterClickCheckBox.checked
    assert driver.ui.inputVolumeSelector.currentNode().GetName() == "CT"
    assert driver.panel.hasSegment
    assert driver.panel.attention.eyes[2].checked
    assert sorted(driver.panel.attention.eyes) == [-1, 1, 2, 3, 4]


def test_entering_and_leaving_twice_leaks_no_observer(driver, ct):
    calls = []
    for _ in range(2):
        driver.representation.exit()
        driver.representation.enter()
    update = driver.panel.sections[0].update
    driver.panel.sections[0].update = lambda: (calls.append(1), update())
    driver.parameters.keepProbability = True
    driver.pump()
    del driver.panel.sections[0].update
    assert len(calls) == 1


def test_closing_the_scene_again_and_again_leaks_no_observer(driver):
    from SlicerStandIn import driving

    counts = set()
    for _ in range(3):
        driving.closeScene()
        driver.pump()
        counts.add((len(driver.panel._observed), len(driver.widget.Observations)))
    assert len(counts) == 1


def test_reloading_while_it_works_leaves_nothing_behind(driver, ct, monkeypatch):
    import slicer.util

    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    old = driver.panel
    slicer.util.reloadScriptedModule("AttentionUNetSegment")
    gate.opened.set()
    driver.pump(timeout_s=0.4, until=lambda: False)
    assert not old.busy
    assert old.parameters is None
    assert old._observed == []
    assert driver.panel is not old
    driver.representation.enter()
    assert driver.ui.inputVolumeSelector.currentNode() is ct
    driver.segment()
    assert driver.panel.hasSegment


# What cannot be done is said


def test_an_empty_scene(driver):
    driver.press_segment()
    assert "no volume to segment" in driver.message
    assert not driver.panel.busy


def test_an_mr_is_refused_with_a_sentence(driver):
    rng = np.random.default_rng(0)
    volume = panel_driver.bright_scan()
    mr = Volume(rng.integers(100, 900, volume.array.shape).astype(np.int16), volume.ijk_to_ras)
    add_ct(driver, "MR", mr)
    driver.press_segment()
    driver.pump(lambda: not driver.panel.busy)
    assert "no CT" in driver.message
    assert "Traceback" not in driver.message
    assert driver.message in driver.ui.logText.plainText


def test_a_device_that_is_not_there_is_refused_and_not_replaced(driver, ct, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    driver.ui.deviceComboBox.currentIndex = 1
    assert driver.parameters.device.value == "cuda"
    driver.press_segment()
    driver.pump(lambda: not driver.panel.busy)
    assert "PyTorch sees no CUDA GPU" in driver.message
    assert not driver.panel.hasSegment


def test_a_model_that_is_gone(driver, ct):
    driver.parameters.model = "/nowhere/model"
    driver.press_segment()
    assert "no model" in driver.message


def test_too_little_memory(driver, ct, monkeypatch):
    def fail(*_arguments):
        raise MemoryError

    monkeypatch.setattr(predictor_cache, "load_predictor", fail)
    driver.panel.hub.cache.clear()
    driver.press_segment()
    driver.pump(lambda: not driver.panel.busy)
    assert "not enough memory" in driver.message


def test_something_unexpected(driver, ct, monkeypatch, error_log):
    def fail(*_arguments):
        raise ZeroDivisionError("inner workings")

    monkeypatch.setattr(predictor_cache, "load_predictor", fail)
    driver.panel.hub.cache.clear()
    driver.press_segment()
    driver.pump(lambda: not driver.panel.busy)
    assert "error log has the details" in driver.message
    assert "inner workings" not in driver.message
    assert "inner workings" in error_log.take("Unexpected error")


def test_a_folder_that_is_no_model(driver, ct, tmp_path, monkeypatch):
    import qt

    before = driver.parameters.model
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_args: str(tmp_path))
    )
    combo = driver.ui.modelComboBox
    combo.setCurrentIndex(combo.count - 1)
    combo.activated.emit(combo.count - 1)
    assert "not a model's folder" in driver.message
    assert driver.parameters.model == before


def test_a_folder_with_a_model_can_be_chosen(driver, ct, model_folder, monkeypatch):
    import qt

    driver.parameters.model = "pancreas-ct"
    driver.pump()
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_args: str(model_folder))
    )
    combo = driver.ui.modelComboBox
    combo.setCurrentIndex(combo.count - 1)
    combo.activated.emit(combo.count - 1)
    driver.pump()
    assert driver.parameters.model == str(model_folder)
    assert "Bright is organ" in combo.currentText
    assert "Bright is organ" in driver.ui.modelCardBrowser.plainText


# PyTorch


def test_the_panel_is_built_without_torch(module, monkeypatch):
    import slicer

    # The new one takes the place of the module's own there.
    name = "AttentionUNetSegmentWidget"
    monkeypatch.setattr(slicer.modules, name, getattr(slicer.modules, name))
    # None makes any import of it fail.
    for name in ("torch", "safetensors", "SimpleITK"):
        monkeypatch.setitem(sys.modules, name, None)
    import slicer

    # The newest one is what a reload finds.
    shown = slicer.modules.AttentionUNetSegmentWidget
    monkeypatch.setattr(slicer.modules, "AttentionUNetSegmentWidget", shown)
    representation = module.createNewWidgetRepresentation()
    widget = representation.self()
    for _ in range(2):
        representation.enter()
        representation.exit()
    assert widget.ui.segmentButton.text == "Open the Extensions Manager..."
    widget.cleanup()


def test_without_the_pytorch_extension_it_says_how_to_get_it(driver, ct, without_torch):
    import slicer

    # Before any press, in words and not in a tooltip.
    text = driver.ui.missingLabel.text
    assert driver.ui.missingLabel.isVisibleTo(driver.ui.segmentCollapsibleButton)
    assert "'PyTorch'" in text
    assert "0.2 GB" in text
    assert driver.ui.segmentButton.text == "Open the Extensions Manager..."
    driver.press_segment()
    assert slicer.app._dialogs.pop() == "Extensions Manager"


def test_with_the_extension_it_says_what_is_missing_and_how_large_it_is(driver, ct, without_torch):
    without_torch["PyTorchUtils"] = True
    driver.panel.update()
    text = driver.ui.missingLabel.text
    assert "0.2 GB" in text
    assert "does not answer" in text
    assert driver.ui.segmentButton.text == "Install PyTorch..."
    without_torch.update(torch=True, safetensors=False)
    driver.panel.update()
    assert "safetensors" in driver.ui.missingLabel.text
    without_torch["safetensors"] = True
    driver.panel.update()
    assert not driver.ui.missingLabel.isVisibleTo(driver.ui.segmentCollapsibleButton)


def test_a_declined_installation_changes_nothing(driver, ct, without_torch, monkeypatch):
    asked = fake_extension(monkeypatch, without_torch, lambda: None)
    driver.panel.update()
    driver.press_segment()
    assert asked == [True]
    assert "Cancelled" in driver.message
    assert driver.ui.segmentButton.text == "Install PyTorch..."


def test_after_the_installation_the_button_segments(driver, ct, without_torch, monkeypatch):
    def install():
        without_torch["torch"] = True
        return types.ModuleType("torch")

    fake_extension(monkeypatch, without_torch, install)
    driver.press_segment()
    assert "ready" in driver.message
    assert driver.ui.segmentButton.text == "&Segment pancreas"


def test_a_failed_installation_is_one_sentence(driver, ct, without_torch, monkeypatch, error_log):
    def fail():
        raise RuntimeError("pip says a lot")

    fake_extension(monkeypatch, without_torch, fail)
    driver.press_segment()
    assert "pip says a lot" in error_log.take("The installation of PyTorch failed")
    assert "could not be installed" in driver.message
    assert "pip says" not in driver.message


# Attention, result, correction


def test_an_eye_shows_its_level_over_the_ct_in_all_slice_views(driver, ct):
    import slicer

    driver.segment()
    driver.panel.attention.eyes[3].click()
    driver.pump()
    node = driver.panel.resultNodes.attentionNodes[3]
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetForegroundVolumeID() == node.GetID()
        assert composite.GetBackgroundVolumeID() == ct.GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.6)
    assert "level 3" in driver.ui.attentionSentenceLabel.text
    assert node.GetDisplayNode().GetColorNode().GetName() == "Inferno"
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "Attention, level 3"
    driver.ui.attentionColorsComboBox.currentIndex = 4
    driver.pump()
    assert node.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
    driver.panel.attention.eyes[3].click()
    driver.pump()
    composite = manager.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() is None
    assert not legend.GetVisibility()


def test_attention_can_be_removed(driver, ct):
    import slicer

    driver.segment()
    driver.panel.attention.eyes[1].click()
    driver.pump()
    driver.ui.removeAttentionButton.click()
    driver.pump()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert driver.panel.attention.eyes == {}
    assert driver.panel.hasSegment


def test_measures_are_shown_when_the_section_is_unfolded(driver, ct):
    driver.segment()
    driver.unfold("result")
    table = driver.ui.statisticsTable
    assert driver.pump(lambda: table.rowCount == 7)
    rows = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(7)}
    assert rows["Mean"].startswith("400 ± ")
    assert rows["Median"] == "400 HU"
    assert rows["Pieces"] == "1"
    assert float(rows["Volume"].split()[0]) == pytest.approx(4 / 3 * np.pi * 2.4**3, rel=0.15)


def test_the_smoothing_reaches_the_surface(driver, ct):
    driver.segment()
    node = driver.panel.resultNodes.segmentationNode
    node.CreateClosedSurfaceRepresentation()
    driver.ui.smoothingSlider.value = 0.0
    assert driver.pump(
        lambda: float(node.GetSegmentation().GetConversionParameter("Smoothing factor")) == 0, 5
    )
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")


@pytest.mark.parametrize(
    ("button", "ending"),
    [
        ("exportSegmentationButton", ".seg.nrrd"),
        ("exportNiftiButton", ".nii.gz"),
        ("exportStlButton", ".stl"),
    ],
)
def test_the_segment_is_exported(driver, ct, tmp_path, monkeypatch, button, ending):
    import qt

    driver.segment()
    before = panel_driver.node_count()
    monkeypatch.setattr(
        qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_args: str(tmp_path / "out"))
    )
    getattr(driver.ui, button).click()
    path = tmp_path / f"out{ending}"
    assert path.is_file(), driver.message
    assert path.name in driver.message
    assert panel_driver.node_count() == before
    if ending == ".nii.gz":
        import SimpleITK as sitk

        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(mask > 0, segment_mask(driver, ct))


def test_an_export_that_is_given_up_does_nothing(driver, ct, monkeypatch):
    import qt

    driver.segment()
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_args: ""))
    before = driver.message
    driver.ui.exportStlButton.click()
    assert driver.message == before


def test_the_editor_is_made_when_it_is_unfolded_and_edits_our_segment(driver, ct):
    driver.segment()
    driver.unfold("correction")
    editor = driver.panel.correction.editor
    assert editor.segmentationNode() is driver.panel.resultNodes.segmentationNode
    assert editor.sourceVolumeNode() is ct
    assert editor.currentSegmentID() == driver.panel.resultNodes.segmentId
    driver.ui.correctionCollapsibleButton.collapsed = True


def test_the_panel_fits_into_350_pixels_with_large_letters(driver, ct):
    import qt

    driver.segment()
    for name in ("attention", "result", "advanced"):
        driver.unfold(name)
    font = qt.QFont(driver.representation.font)
    font.setPointSize(12)
    try:
        driver.representation.setFont(font)
        driver.pump()
        assert driver.representation.minimumSizeHint.width() <= 350
    finally:
        driver.representation.setFont(qt.QFont())
        for name in ("attention", "result", "advanced"):
            getattr(driver.ui, f"{name}CollapsibleButton").collapsed = True
