"""The module's self test, run as Slicer's two runners do."""

from __future__ import annotations

import dataclasses
import importlib
import unittest

import numpy as np
import panel_driver
import pytest
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model


@pytest.fixture(scope="module")
def module():
    try:
        find_model(DEFAULT_MODEL)
    except ModelError as error:
        pytest.skip(f"no trained model: {error}")
    yield panel_driver.start_module()
    from SlicerStandIn import driving

    driving.closeScene()
    panel_driver.stop_module()


@pytest.fixture
def messages(module, monkeypatch):
    """What the self test shows while it runs."""
    import slicer.util

    messages = []
    monkeypatch.setattr(
        slicer.util, "delayDisplay", lambda message, *_arguments, **_named: messages.append(message)
    )
    return messages


def test_the_button_of_the_developer_section_runs_it(module, messages):
    """``slicer.selfTests``, which the Self Tests module and "Reload and Test" call."""
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "of the user before")
    slicer.selfTests["AttentionUNetSegment"](msec=0)
    assert "Test passed" in messages[-1]
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert "of the user before" not in [node.GetName() for node in volumes]
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert len(segmentations) == 1
    assert "Synthetic abdomen" in segmentations[0].GetName()


def test_the_unit_test_runner_finds_and_runs_it(module, messages, monkeypatch, error_log):
    """``slicer.testing.runUnitTest``, which CTest calls; here with nothing installed."""
    from AttentionUNetSegmentLib.panel import installation

    monkeypatch.setattr(installation, "installed", lambda _package: False)
    suite = unittest.TestLoader().loadTestsFromModule(
        importlib.import_module("AttentionUNetSegment")
    )
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun >= 1
    assert result.wasSuccessful(), result.errors + result.failures
    assert len(messages) == 1
    assert "not installed" in messages[0]
    # The runner also takes the class that ours derives from, and Slicer says so.
    error_log.take("No test is defined in ScriptedLoadableModuleTest")


def test_it_fails_where_the_pancreas_is_not_found(module, messages, monkeypatch):
    from AttentionUNetSegmentLib.inference.session import Session

    predict = Session.predict

    def nothing(*arguments, **named):
        prediction = predict(*arguments, **named)
        return dataclasses.replace(prediction, mask=np.zeros_like(prediction.mask))

    monkeypatch.setattr(Session, "predict", nothing)
    import slicer

    with pytest.raises(AssertionError, match="Dice 0"):
        slicer.selfTests["AttentionUNetSegment"](msec=0)
