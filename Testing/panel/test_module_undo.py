"""The scene's own undo (``vtkMRMLScene.Undo``) while the module is open."""

from __future__ import annotations

import pytest
from panel_driver import add_ct


@pytest.fixture
def undo(driver):
    """As an application that has undo switched on for the nodes that may be undone."""
    import slicer

    scene = slicer.mrmlScene
    classes = (
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLMarkupsFiducialNode",
        "vtkMRMLScriptedModuleNode",
        "vtkMRMLTableNode",
    )
    for name in classes:
        node = scene.CreateNodeByClass(name)
        node.UnRegister(None)
        node.SetUndoEnabled(True)
        scene.AddDefaultNode(node)
    driver.parameters.parameterNode.SetUndoEnabled(True)
    scene.SetUndoOn()
    scene.ClearUndoStack()
    yield scene
    scene.SetUndoOff()
    scene.ClearUndoStack()
    scene.ClearRedoStack()
    scene.RemoveAllDefaultNodes()
    driver.parameters.parameterNode.SetUndoEnabled(False)


def assert_sane(driver):
    """The panel shows what is in the scene, and no node that is not."""
    import slicer

    driver.pump()
    parameters, panel = driver.parameters, driver.panel
    node = parameters.parameterNode
    assert node.GetScene() is slicer.mrmlScene
    assert node is driver.widget.logic.getParameterNode().parameterNode
    for one in (parameters.inputVolume, parameters.segmentation, parameters.clicks):
        assert one is None or one.GetScene() is slicer.mrmlScene
    assert driver.ui.inputVolumeSelector.currentNode() is parameters.inputVolume
    assert driver.ui.segmentationSelector.currentNode() is parameters.segmentation
    if panel.resultNodes is not None and panel.resultNodes.segmentationNode is not None:
        assert panel.resultNodes.segmentationNode.GetScene() is slicer.mrmlScene
    assert not panel.busy


def test_undo_and_redo_of_a_run(driver, undo):
    volume = add_ct(driver)
    undo.SaveStateForUndo()
    driver.segment()
    for _ in range(2):
        undo.Undo()
        assert_sane(driver)
        assert not driver.panel.hasSegment
        undo.Redo()
        assert_sane(driver)
        assert driver.panel.hasSegment
    undo.Undo()
    assert_sane(driver)
    driver.choose(volume if volume.GetScene() is undo else undo.GetFirstNodeByName("CT"))
    driver.segment()
    assert driver.panel.hasSegment
    assert_sane(driver)


def test_undo_of_the_loading_of_the_volume(driver, undo):
    undo.SaveStateForUndo()
    add_ct(driver)
    undo.Undo()
    assert_sane(driver)
    assert driver.parameters.inputVolume is None
    assert undo.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    driver.press_segment()
    assert "no volume to segment" in driver.message


def test_undo_while_it_works(driver, undo, monkeypatch):
    from panel_driver import Gate

    undo.SaveStateForUndo()
    add_ct(driver)
    gate = Gate(monkeypatch, "Looking")
    driver.press_segment()
    assert driver.pump(gate.reached.is_set)
    undo.Undo()
    assert not driver.panel.busy
    assert "removed while" in driver.message
    gate.opened.set()
    driver.pump(timeout_s=0.4, until=lambda: False)
    assert_sane(driver)
    assert undo.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
