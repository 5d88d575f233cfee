"""Segments of any structure: known by a tag of their own, and written into nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import scene_helpers as helpers
import slicer
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.inference import predictor_cache
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.predictor_cache import PredictorCache
from AttentionUNetSegmentLib.models import Label
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.scene.corrections import readClicks
from AttentionUNetSegmentLib.scene.find_result import predictionNodes
from AttentionUNetSegmentLib.scene.tasks import (
    SegmentationOptions,
    SegmentationTask,
    newSegmentation,
)
from test_scene import add_data_managers
from test_tasks import bright_ball
from threshold_model import (
    STRUCTURE_HU,
    save_card_of,
    threshold_model,
    with_structure_editor,
)

BLOCK = (slice(8, 16), slice(12, 22), slice(12, 22))
IN_BLOCK = (17, 17, 12)
"""i, j, k."""


@pytest.fixture
def mrml():
    with scene.headlessScene() as mrml:
        yield mrml


@pytest.fixture
def volume_node(mrml):
    volume = bright_ball()
    volume.array[BLOCK] = STRUCTURE_HU
    node = scene.addVolumeNode(volume, "CT")
    place = np.array([[0, -1, 0, 5], [1, 0, 0, 9], [0, 0, 1, -30], [0, 0, 0, 1.0]])
    node.SetAndObserveTransformNodeID(helpers.add_transform(mrml, place).GetID())
    return node


@pytest.fixture
def options(tmp_path, monkeypatch):
    model = with_structure_editor(threshold_model())
    folder = save_card_of(model, tmp_path / "model")
    monkeypatch.setattr(predictor_cache, "load_predictor", lambda _: Predictor(model, "cpu"))
    return SegmentationOptions(str(folder), keepProbability=True)


def click_in(node, ijk, inside=True):
    r, a, s = (scene.volumeFromNode(node).ijk_to_ras @ (*ijk, 1))[:3]
    return Click((r, a, s), inside)


def segment(node, clicks, segmentation, segment_id, options, automatic=True):
    task = SegmentationTask(
        node,
        clicks,
        segmentation,
        options=options,
        automatic=automatic,  # which is nothing to what the model does not know
        continuing=True,
        segmentId=segment_id,
    )
    return task.write(task.compute(PredictorCache()))


def mask_of(result):
    import slicer.util

    return (
        slicer.util.arrayFromSegmentBinaryLabelmap(
            result.segmentationNode, result.segmentId, result.volumeNode
        )
        > 0
    )


def test_a_task_writes_the_structure_alone_whatever_it_is_called(volume_node, options):
    organ = SegmentationTask(volume_node, options=options)
    first = organ.write(organ.compute(PredictorCache()))
    before, nodes = mask_of(first), len(predictionNodes(volume_node))
    assert before.any()
    rows = helpers.table_rows(first.tableNode)
    for name in ("cyst", "pancreas"):
        mine = segments.addStructure(first.segmentationNode, volume_node, name)
        clicks = [click_in(volume_node, IN_BLOCK)]
        looked_for = name != "pancreas"
        result = segment(volume_node, clicks, first.segmentationNode, mine, options, looked_for)
        assert result.segmentId == mine
        assert result.prediction.any_structure
        assert mask_of(result)[BLOCK].mean() > 0.8
        assert not mask_of(result)[before].any()
        assert result.tableNode is result.probabilityNode is None
        assert readClicks(result.segmentationNode, mine) == tuple(clicks)
    np.testing.assert_array_equal(mask_of(first), before)
    assert len(predictionNodes(volume_node)) == nodes
    assert helpers.table_rows(first.tableNode) == rows
    assert segments.findSegment(first.segmentationNode, volume_node, segments.PANCREAS) == (
        first.segmentId
    )


def test_structures_belong_to_their_volume(mrml, volume_node):
    other = scene.addVolumeNode(bright_ball(), "Other")
    node = newSegmentation(volume_node, "mine")
    cyst = segments.addStructure(node, volume_node, "cyst")
    again = segments.addStructure(node, volume_node, " cyst ")
    theirs = segments.addStructure(node, other, "duodenum")
    assert segments.findStructures(node, volume_node) == [cyst, again]
    assert segments.findStructures(node, other) == [theirs]
    names = [node.GetSegmentation().GetSegment(one).GetName() for one in (cyst, again, theirs)]
    assert names == ["Cyst", "Cyst 2", "Duodenum"]
    assert segments.findSegmentation(volume_node, Label(1, "pancreas")) is node
    with pytest.raises(InputError, match="no name"):
        segments.addStructure(node, volume_node, " ")


ODD_NAMES = ["head & neck", "<2 cm", 'the "tail"', "T1: left", "left; right", "5% x%20", "liver|x"]
"""Of segments; what Slicer writes into a scene as it is."""


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_scene_opens_again_whatever_a_structure_is_called(mrml, volume_node, tmp_path, name):
    node, other = newSegmentation(volume_node, "mine"), newSegmentation(volume_node, "theirs")
    node.CreateDefaultDisplayNodes()
    ids = [segments.addStructure(node, volume_node, name)]
    if "&" not in name:  # in an ID, Slicer cannot read it again, whoever wrote it
        grid = segments.ijkToSegmentation(volume_node, other)
        theirs = slicer.vtkSegment()
        theirs.SetName(name)
        theirs.AddRepresentation(segments.LABELMAP, segments.emptyLabelmap(grid))
        other.GetSegmentation().AddSegment(theirs, name)
        segments.claimStructure(other, name, volume_node)
    scene.addVolumeNode(bright_ball(), "Other")
    assert mrml.WriteToMRB(str(tmp_path / "scene.mrb"))
    mrml.Clear(False)
    add_data_managers(mrml, tmp_path)
    assert mrml.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    volume_node, another = mrml.GetFirstNodeByName("CT"), mrml.GetFirstNodeByName("Other")
    for title, expected in (("mine", ids), ("theirs", [] if "&" in name else [name])):
        node = mrml.GetFirstNodeByName(title)
        assert segments.findStructures(node, volume_node) == expected
        assert segments.findStructures(node, another) == []
        for one in expected:  # by which it is looked for
            known = segments.structureName(node, one)
            assert known.casefold() == name.casefold().replace("|", "/")
    assert mrml.GetFirstNodeByName("mine").GetSegmentation().GetSegment(ids[0]).GetName() == (
        segments.asTitle(name)
    )


def test_a_segment_is_a_target_or_a_structure_and_never_both(volume_node):
    node = newSegmentation(volume_node, "mine")
    mine = node.GetSegmentation().AddEmptySegment("mine", "Mine")
    segments.claimStructure(node, mine, volume_node)
    assert segments.isStructure(node, mine)
    assert segments.findSegment(node, volume_node, segments.PANCREAS) is None
    segments.claimSegment(node, mine, volume_node, segments.PANCREAS)
    assert not segments.isStructure(node, mine)
    assert segments.findSegment(node, volume_node, segments.PANCREAS) == mine
    segments.claimStructure(node, mine, volume_node)
    assert segments.findSegment(node, volume_node, segments.PANCREAS) is None


@pytest.mark.parametrize("name", ["", "   ", "x" * 300])
def test_a_segment_of_any_name_is_a_structure(volume_node, name):
    node = newSegmentation(volume_node, "mine")
    mine = segments.addStructure(node, volume_node, "cyst")
    node.GetSegmentation().GetSegment(mine).SetName(name)
    assert segments.structureLabel(node, mine).name


def test_a_model_without_such_an_editor_refuses_the_task(volume_node, tmp_path):
    folder = save_card_of(threshold_model(), tmp_path / "plain")
    node = newSegmentation(volume_node, "mine")
    mine = segments.addStructure(node, volume_node, "cyst")
    clicks = [click_in(volume_node, IN_BLOCK)]
    with pytest.raises(InputError, match="answers clicks at the pancreas alone"):
        segment(volume_node, clicks, node, mine, SegmentationOptions(str(folder)))
