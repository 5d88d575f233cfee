"""What cannot be done is said in one sentence; the details are in the log."""

from __future__ import annotations

import json
import shutil

import numpy as np
import panel_driver
import pytest
import torch
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import engine, predictor_cache
from AttentionUNetSegmentLib.inference.predictor import Predictor
from panel_driver import add_ct
from threshold_model import threshold_model

load = predictor_cache.load_predictor


def assert_one_sentence(driver):
    """In the panel and its log: a sentence to a person, no stack trace."""
    message = driver.message
    assert message.endswith("."), message
    assert "\n" not in message
    assert "Error" not in message
    assert "Traceback" not in message
    assert message in driver.ui.logText.plainText
    assert not driver.ui.messageLabel.isHidden()


@pytest.fixture
def refused(driver, monkeypatch):
    """Press the button, and be refused with a sentence that has certain words in it."""

    def press(words):
        nodes = panel_driver.node_count()
        driver.press_segment()
        assert driver.pump(lambda: not driver.panel.busy)
        assert words in driver.message
        assert_one_sentence(driver)
        assert panel_driver.node_count() == nodes
        assert not driver.panel.hasSegment
        assert driver.ui.segmentButton.text == "&Segment pancreas"
        assert driver.ui.progressBar.isHidden()

    return press


# The graphics card's memory


class SmallGPU:
    """A GPU that fails to allocate for more than so many voxels: the CPU, but for its name."""

    def __init__(self, driver, monkeypatch, most_voxels):
        driver.widget.logic.hub.cache.clear()
        self.most_voxels = most_voxels
        self.failures = 0
        monkeypatch.setattr(engine, "choose_device", lambda _name: torch.device("cpu"))
        monkeypatch.setattr(predictor_cache, "load_predictor", self.predictor)

    def predictor(self, options):
        assert options.device == "cuda"
        model = threshold_model()
        for network in model.networks.values():
            network.register_forward_pre_hook(self.allocate)
        return Predictor(model, options.device, options.precision, options.tile_voxels)

    def allocate(self, _network, inputs):
        if inputs[0][0, 0].numel() > self.most_voxels:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5.00 GiB")


def test_too_little_gpu_memory_for_anything(driver, ct, refused, monkeypatch, caplog):
    gpu = SmallGPU(driver, monkeypatch, 0)
    caplog.set_level("DEBUG", "AttentionUNetSegment")
    driver.ui.deviceComboBox.currentIndex = 1
    refused("too little free memory even for the smallest tiles")
    assert gpu.failures > 0
    assert "Tried to allocate" in caplog.text
    gpu.most_voxels = 10**9
    driver.segment()
    assert driver.panel.hasSegment
    assert driver.message == ""


def test_too_little_gpu_memory_for_one_pass_is_said_with_the_result(
    driver,
    ct,
    monkeypatch,
):
    gpu = SmallGPU(driver, monkeypatch, 48 * 64 * 64)
    driver.ui.deviceComboBox.currentIndex = 1
    driver.segment()
    assert driver.panel.hasSegment
    assert gpu.failures > 0
    assert "smaller tiles were used" in driver.message
    assert_one_sentence(driver)


# The scan


def test_an_mr_is_not_taken_for_a_ct(driver, refused):
    rng = np.random.default_rng(0)
    scan = panel_driver.bright_scan()
    add_ct(driver, "MR", Volume(rng.integers(100, 900, scan.array.shape), scan.ijk_to_ras))
    refused("no CT")


def test_no_volume_at_all(driver, refused):
    assert driver.ui.inputVolumeSelector.currentNode() is None
    refused("no volume to segment")


def test_a_volume_whose_voxels_are_gone(driver, ct, tmp_path, monkeypatch):
    """As after a sequence's node lost its image; the segment is there still."""
    import qt

    monkeypatch.setattr(
        qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_: str(tmp_path / "mask.nii.gz"))
    )
    driver.segment()
    found = driver.panel.resultNodes
    ct.SetAndObserveImageData(None)
    driver.pump()

    def said_after(action):
        driver.panel.segmentation.showMessage("")
        action()
        assert driver.pump(lambda: driver.message != "", timeout_s=5)
        return driver.message

    sentence = "'CT' contains no image; load the CT again."
    assert said_after(driver.press_segment) == sentence
    assert said_after(driver.ui.exportNiftiButton.click) == sentence
    assert (
        said_after(lambda: driver.panel.beginFrom(found.segmentationNode, found.segmentId))
        == sentence
    )
    assert said_after(lambda: driver.unfold("result")) == sentence
    driver.ui.resultCollapsibleButton.collapsed = True


def test_a_volume_without_voxels(driver, refused):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    driver.choose(node)
    refused("nothing")


def test_a_scan_after_the_refused_one_is_segmented(driver, refused):
    refused("no volume to segment")
    add_ct(driver)
    driver.segment()
    assert driver.panel.hasSegment
    assert driver.message == ""


# The model


@pytest.fixture
def own_model(driver, ct, model_folder, tmp_path, monkeypatch):
    """A copy of a model to be broken; it is really loaded."""
    monkeypatch.setattr(predictor_cache, "load_predictor", load)
    folder = tmp_path / "mine"
    shutil.copytree(model_folder, folder)
    driver.parameters.model = str(folder)
    return folder


def change_card(folder, change):
    path = folder / "model.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def test_a_card_that_is_no_json(driver, own_model, refused):
    (own_model / "model.json").write_text("{")
    refused("model.json")


def test_a_card_without_stages(driver, own_model, refused):
    change_card(own_model, lambda card: card.pop("stages"))
    refused("stages")


def test_weights_that_are_not_those_of_the_card(driver, own_model, refused):
    weights = own_model / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused("weights.safetensors")


def test_weights_that_are_gone(driver, own_model, refused):
    (own_model / "weights.safetensors").unlink()
    refused("weights.safetensors")


def test_weights_of_another_network(driver, own_model, refused):
    change_card(
        own_model,
        lambda card: card["stages"]["refiner"]["network"].update(channels=[8, 8, 8, 8, 8]),
    )
    refused("refiner")
