"""Volume nodes in, result nodes out, on the real MRML nodes of slicer-core."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import AttentionUNetSegmentLib.scene as scene_package
import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.uncertainty import DoubtfulPlace
from AttentionUNetSegmentLib.models import DiceEstimate, Label
from AttentionUNetSegmentLib.scene import collection, results, segments, volumes
from AttentionUNetSegmentLib.scene.corrections import corrections, readClicks
from AttentionUNetSegmentLib.scene.editing import SegmentEditing
from AttentionUNetSegmentLib.scene.find_result import findResult
from AttentionUNetSegmentLib.scene.statistics import segmentStatistics
from scene_helpers import (
    PLACES,
    SHAPE,
    SHIFT,
    TURN,
    add_bend,
    add_block,
    add_ct,
    add_segmentation,
    add_transform,
    assert_same_place,
    box_mask,
    hand_made,
    node_ids,
    prediction_on,
    result_nodes,
    segment_world_points,
    snapshot,
    table_rows,
    voxels,
)


@pytest.fixture
def scene() -> Iterator[Any]:
    with scene_package.headlessScene() as scene:
        yield scene


@pytest.fixture
def ct(scene: Any) -> Any:
    return add_ct("CT")


# Volume nodes in


def test_volume_is_a_view_of_the_node(ct: Any) -> None:
    volume = scene_package.volumeFromNode(ct)
    assert volume.array.shape == SHAPE
    assert volume.array.dtype == np.int16
    voxels(ct)[1, 2, 3] = 77
    assert volume.array[1, 2, 3] == 77


def test_view_outlives_the_node(scene: Any, ct: Any) -> None:
    volume = scene_package.volumeFromNode(ct)
    before = volume.array.copy()
    scene.RemoveNode(ct)
    gc.collect()
    np.testing.assert_array_equal(volume.array, before)


@pytest.mark.parametrize("place", PLACES)
def test_place_is_kept(scene: Any, place: str) -> None:
    node = add_ct("CT", PLACES[place])
    np.testing.assert_allclose(
        scene_package.volumeFromNode(node).ijk_to_ras, PLACES[place], atol=1e-9
    )


def test_place_includes_a_chain_of_transforms(scene: Any, ct: Any) -> None:
    outer = add_transform(scene, TURN)
    inner = add_transform(scene, SHIFT, outer)
    ct.SetAndObserveTransformNodeID(inner.GetID())
    np.testing.assert_allclose(
        scene_package.volumeFromNode(ct).ijk_to_ras, TURN @ SHIFT @ PLACES["oblique"], atol=1e-9
    )


@pytest.fixture
def bent(scene: Any, ct: Any) -> Any:
    """The CT under a transform that is not linear, above a linear one."""
    inner = add_transform(scene, SHIFT, add_bend(scene))
    ct.SetAndObserveTransformNodeID(inner.GetID())
    return ct


def world_of(node: Any, ijk: tuple[int, int, int]) -> tuple[float, ...]:
    """Where VTK itself puts a voxel."""
    to_world = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(to_world)
    return to_world.TransformPoint((volumes.ijkToRas(node) @ (*ijk, 1))[:3])


def test_under_a_transform_that_is_not_linear_the_own_grid_is_worked_on(bent: Any) -> None:
    volume = scene_package.volumeFromNode(bent)
    np.testing.assert_allclose(volume.ijk_to_ras, PLACES["oblique"], atol=1e-9)
    for ijk in ((0, 0, 0), (12, 10, 8), (5, 4, 3)):
        world = world_of(bent, ijk)
        assert np.abs(world - (volume.ijk_to_ras @ (*ijk, 1))[:3]).max() > 1
        (click,) = volumes.clicksInPlace(bent, [Click(world, True)])
        np.testing.assert_allclose(
            (volume.ras_to_ijk @ (*click.position_ras, 1))[:3], ijk, atol=0.01
        )


def test_results_lie_under_the_same_transform_and_are_brought_up_to_date(
    scene: Any, bent: Any, tmp_path: Path
) -> None:
    inside = Click(world_of(bent, (11, 9, 7)), True)  # no voxel of the mask
    first = scene_package.writePrediction(prediction_on(bent, clicks=(inside,)), bent)
    node = first.segmentationNode
    for made in (node, first.probabilityNode, *first.attentionNodes):
        assert made.GetTransformNodeID() == bent.GetTransformNodeID()
    mask = collection.maskOnVolume(bent, node, first.segmentId)
    assert mask[7, 9, 11] == 1
    assert mask[2:5, 3:8, 4:10].sum() == box_mask().sum()
    # By hand, and then again: the correction and the click are kept.
    segments.fillSegment(node, first.segmentId, own_labelmap(bent, (slice(5, 7),) * 3))
    theirs = corrections(node, first.segmentId)
    assert theirs.painted.sum() == 8 - mask[5:7, 5:7, 5:7].sum()
    assert theirs.painted_ml == pytest.approx(theirs.painted.sum() * 0.009)
    again = scene_package.writePrediction(prediction_on(bent, clicks=(inside,)), bent)
    assert again.segmentationNode is node
    assert collection.maskOnVolume(bent, node, first.segmentId)[5:7, 5:7, 5:7].all()
    assert readClicks(node, first.segmentId) == (inside,)
    files = scene_package.saveResult(again, tmp_path)
    assert all(file.is_file() for file in files)
    measured = segmentStatistics(node, first.segmentId, bent)
    mask = collection.maskOnVolume(bent, node, first.segmentId)
    assert measured.meanHu == pytest.approx(voxels(bent)[mask != 0].mean(dtype=float))
    assert measured.volumeMl == pytest.approx(mask.sum() * 0.009)


def own_labelmap(node: Any, region: tuple[slice, ...]) -> Any:
    mask = np.zeros(SHAPE, np.uint8)
    mask[region] = 1
    return segments.orientedImage(segments.cropMask(mask), volumes.ijkToRas(node))


@pytest.mark.parametrize(
    ("class_name", "message"),
    [
        ("vtkMRMLScalarVolumeNode", "contains no image"),
        ("vtkMRMLLabelMapVolumeNode", "label map"),
        ("vtkMRMLVectorVolumeNode", "several values"),
        ("vtkMRMLModelNode", "not a scalar volume"),
    ],
)
def test_other_nodes_are_refused(scene: Any, class_name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scene_package.volumeFromNode(scene.AddNewNodeByClass(class_name, "X"))


def test_colour_image_is_refused(scene: Any, ct: Any) -> None:
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    ct.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="several values"):
        scene_package.volumeFromNode(ct)


# Adding volume nodes


def test_added_node_shares_the_array(scene: Any) -> None:
    array = np.zeros(SHAPE, np.float32)
    node = scene_package.addVolumeNode(Volume(array, np.eye(4)), "V")
    array[1, 2, 3] = 5
    assert voxels(node)[1, 2, 3] == 5


def test_added_node_is_shown_in_an_abdominal_window(ct: Any) -> None:
    display = ct.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-160, 240)
    assert display.GetColorNode().GetName() == "Grey"


def test_shared_array_lives_and_dies_with_its_node(scene: Any) -> None:
    array = np.full(SHAPE, 3, np.float32)
    total, alive = array.sum(), weakref.ref(array)
    node = scene_package.addVolumeNode(Volume(array, np.eye(4)), "V")
    del array
    gc.collect()
    assert alive() is not None
    assert voxels(node).sum() == total
    scene.RemoveNode(node.GetDisplayNode())  # shows the image, and so holds it
    scene.RemoveNode(node)
    del node
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint64", "float16", ">i2", ">f4", "uint16"])
def test_types_foreign_to_vtk_keep_their_values(scene: Any, dtype: str) -> None:
    array = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 200).astype(dtype)
    node = scene_package.addVolumeNode(Volume(array, np.eye(4)), "V")
    np.testing.assert_array_equal(voxels(node), array)


def test_transposed_array_keeps_its_order(scene: Any) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE).transpose(2, 0, 1)
    node = scene_package.addVolumeNode(Volume(array, np.eye(4)), "V")
    np.testing.assert_array_equal(voxels(node), array)


def test_values_beyond_32_bits_are_refused(scene: Any) -> None:
    with pytest.raises(InputError, match="32-bit"):
        scene_package.addVolumeNode(Volume(np.full(SHAPE, 2**40), np.eye(4)), "V")
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


# Results out


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("transformed", [False, True])
def test_segment_is_where_the_organ_is(scene: Any, place: str, transformed: bool) -> None:
    node = add_ct("CT", PLACES[place])
    if transformed:
        node.SetAndObserveTransformNodeID(
            add_transform(scene, SHIFT, add_transform(scene, TURN)).GetID()
        )
    result = scene_package.writePrediction(prediction_on(node), node)
    assert_same_place(result)
    assert result.segmentationNode.GetTransformNodeID() == node.GetTransformNodeID()
    assert result.probabilityNode.GetTransformNodeID() == node.GetTransformNodeID()
    for volume_node in (result.probabilityNode, *result.attentionNodes):
        np.testing.assert_allclose(volumes.ijkToRas(volume_node), PLACES[place], atol=1e-9)


def test_segment_has_terminology_name_and_colour(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
    entry = slicer.vtkSlicerTerminologyEntry()
    tag = segments.tag(segment, segment.GetTerminologyEntryTagName())
    assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(tag, entry)
    category, kind = entry.GetCategoryObject(), entry.GetTypeObject()
    assert (category.GetCodingSchemeDesignator(), category.GetCodeValue()) == ("SCT", "123037004")
    assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue()) == ("SCT", "15776009")
    assert (category.GetCodeMeaning(), kind.GetCodeMeaning()) == (
        "Anatomical Structure",
        "Pancreas",
    )
    assert segment.GetName() == "Pancreas"
    np.testing.assert_allclose(segment.GetColor(), np.array([249, 180, 111]) / 255)


def test_label_of_another_model_is_used(ct: Any) -> None:
    label = Label(value=2, name="spleen", color=(157, 108, 162))
    result = scene_package.writePrediction(prediction_on(ct), ct, label=label)
    segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
    assert segment.GetName() == "Spleen"
    pancreas = scene_package.writePrediction(prediction_on(ct), ct)
    assert pancreas.segmentationNode is result.segmentationNode
    assert pancreas.segmentId != result.segmentId
    assert pancreas.probabilityNode is not result.probabilityNode


def test_reference_geometry_is_the_input(ct: Any) -> None:
    node = scene_package.writePrediction(prediction_on(ct), ct).segmentationNode
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is ct
    assert node.GetSegmentation().GetConversionParameter("Reference image geometry")


def test_only_the_extent_of_the_segment_is_stored(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    image = result.segmentationNode.GetBinaryLabelmapInternalRepresentation(result.segmentId)
    assert image.GetExtent() == (4, 9, 3, 7, 2, 4)


def test_volumes_have_values_and_display(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    inside = (3, 4, 5)
    assert voxels(result.probabilityNode)[inside] == np.float32(0.9)
    assert [voxels(node)[inside] for node in result.attentionNodes] == [
        np.float32(level / 10) for level in (1, 2, 3, 4)
    ]
    for node in (result.probabilityNode, *result.attentionNodes):
        assert voxels(node)[0, 0, 0] == 0
        assert voxels(node).dtype == np.float32
        display = node.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
        assert display.GetColorNode() is not None
        assert display.GetColorNode().GetName() != "Grey"
        assert display.GetApplyThreshold()
        assert 0 < display.GetLowerThreshold() < 0.5


def test_table_has_volume_and_focus_ratios(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct, warnings=("Thick slices.",)), ct)
    assert table_rows(result.tableNode) == [
        ["Volume", "12.35", "mL"],
        ["Focus ratio, level 1", "0.5000", ""],
        ["Focus ratio, level 2", "0.2500", ""],
        ["Focus ratio, level 3", "0.1667", ""],
        ["Focus ratio, level 4", "0.1250", ""],
        ["Model", "pancreas-ct 1.0", ""],
        ["Device", "CPU (test)", ""],
        ["Note", "Thick slices.", ""],
    ]


def test_table_tells_how_good_it_is_and_where_to_doubt_it(ct: Any) -> None:
    places = (DoubtfulPlace((1.5, -2.0, 30.25), 1.234), DoubtfulPlace((4.0, 5.0, 6.0), 0.5))
    prediction = prediction_on(
        ct,
        levels=2,
        attention_in_organ=(0.9, 0.8),
        attention_around_organ=(0.4, 0.25),
        dice_estimate=DiceEstimate(0.764, 0.6, 0.85, 0.9),
        doubtful_places=places,
    )
    result = scene_package.writePrediction(prediction, ct)
    assert table_rows(result.tableNode)[3:-2] == [
        ["Attention in the organ, level 1", "0.9000", ""],
        ["Attention in the organ, level 2", "0.8000", ""],
        ["Attention around it, level 1", "0.4000", ""],
        ["Attention around it, level 2", "0.2500", ""],
        ["Dice, estimated", "0.76 (0.60 to 0.85)", ""],
        ["Doubtful place 1", "1.5 -2.0 30.2", "mm"],
        ["At stake at place 1", "1.23", "mL"],
        ["Doubtful place 2", "4.0 5.0 6.0", "mm"],
        ["At stake at place 2", "0.50", "mL"],
    ]
    found = findResult(ct, scene_package.PANCREAS)
    assert found.attentionInOrgan == {1: 0.9, 2: 0.8}
    assert found.attentionAround == {1: 0.4, 2: 0.25}
    assert [place.volume_ml for place in found.doubtfulPlaces] == [1.23, 0.5]
    assert found.doubtfulPlaces[0].position_ras == (1.5, -2.0, 30.2)
    assert found.uncertaintyNode is result.uncertaintyNode


def test_uncertainty_is_a_volume_of_its_own(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    values = voxels(result.uncertaintyNode)
    np.testing.assert_allclose(values[3, 4, 5], 0.2, atol=1e-6)  # of a probability of 0.9
    assert values[0, 0, 0] == 0
    assert values.dtype == np.float32


def test_an_edited_table_gives_no_places(ct: Any) -> None:
    places = (DoubtfulPlace((1.0, 2.0, 3.0), 1.0), DoubtfulPlace((4.0, 5.0, 6.0), 0.5))
    result = scene_package.writePrediction(prediction_on(ct, doubtful_places=places), ct)
    titles = [row[0] for row in table_rows(result.tableNode)]
    result.tableNode.SetCellText(titles.index("Doubtful place 2"), 1, "over there")
    assert len(findResult(ct, scene_package.PANCREAS).doubtfulPlaces) == 1


def test_results_lie_beside_the_input_in_the_hierarchy(scene: Any, ct: Any) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.CreateItem(folder, ct)
    for node in result_nodes(scene_package.writePrediction(prediction_on(ct), ct)):
        item = hierarchy.GetItemByDataNode(node)
        assert hierarchy.GetItemParent(item) == folder


def test_input_node_is_not_changed(scene: Any, ct: Any) -> None:
    before = ct.GetMTime(), ct.GetImageData().GetMTime()
    scene_package.writePrediction(prediction_on(ct), ct)
    assert (ct.GetMTime(), ct.GetImageData().GetMTime()) == before


def test_empty_prediction_gives_an_empty_segment(ct: Any) -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    result = scene_package.writePrediction(prediction_on(ct, mask=nothing, volume_ml=0.0), ct)
    assert segment_world_points(result.segmentationNode, result.segmentId).size == 0
    assert table_rows(result.tableNode)[0] == ["Volume", "0.00", "mL"]
    assert not any(voxels(node).any() for node in (result.probabilityNode, *result.attentionNodes))


def test_without_volumes_there_are_none(scene: Any, ct: Any) -> None:
    result = scene_package.writePrediction(
        prediction_on(ct, failing_level=1), ct, withVolumes=False
    )
    assert result.probabilityNode is None
    assert result.attentionNodes == ()
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert_same_place(result)


def test_volume_that_changed_meanwhile_is_refused(scene: Any, ct: Any) -> None:
    prediction = prediction_on(ct)
    before = node_ids(scene)
    other = scene_package.addVolumeNode(Volume(np.zeros((3, 4, 5), np.int16), np.eye(4)), "other")
    ct.SetAndObserveImageData(other.GetImageData())
    with pytest.raises(InputError, match="changed while"):
        scene_package.writePrediction(prediction, ct)
    scene.RemoveNode(ct)
    with pytest.raises(InputError, match="removed"):
        scene_package.writePrediction(prediction, ct)
    assert set(node_ids(scene)) & set(before) == set(before) - {ct.GetID()} - {None}


# Again


def test_second_run_updates_the_same_nodes(scene: Any, ct: Any) -> None:
    first = scene_package.writePrediction(prediction_on(ct), ct)
    before = node_ids(scene)
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:8, 1:3, 0:2] = 1
    second = scene_package.writePrediction(prediction_on(ct, mask=mask, volume_ml=3.0), ct)
    assert node_ids(scene) == before
    assert result_nodes(second) == result_nodes(first)
    assert second.segmentId == first.segmentId
    assert second.segmentationNode.GetSegmentation().GetNumberOfSegments() == 1
    assert_same_place(second)
    assert table_rows(second.tableNode)[0] == ["Volume", "3.00", "mL"]
    np.testing.assert_array_equal(voxels(second.attentionNodes[3]) > 0, mask)


def test_second_run_can_come_out_empty(ct: Any) -> None:
    scene_package.writePrediction(prediction_on(ct), ct)
    result = scene_package.writePrediction(prediction_on(ct, mask=np.zeros(SHAPE, np.uint8)), ct)
    assert segment_world_points(result.segmentationNode, result.segmentId).size == 0
    assert_same_place(scene_package.writePrediction(prediction_on(ct), ct))


def test_what_the_user_renamed_and_recoloured_stays(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
    segment.SetName("P")
    segment.SetColor(0, 0, 1)
    result.probabilityNode.SetName("My map")
    result.probabilityNode.GetDisplayNode().SetThreshold(0.4, 1)
    result.probabilityNode.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    again = scene_package.writePrediction(prediction_on(ct), ct)
    assert again.segmentId == result.segmentId
    assert segment.GetName() == "P"
    assert segment.GetColor() == (0, 0, 1)
    assert again.probabilityNode.GetName() == "My map"
    assert again.probabilityNode.GetDisplayNode().GetLowerThreshold() == 0.4
    assert again.probabilityNode.GetDisplayNode().GetColorNode().GetName() == "Grey"


def test_second_volume_gets_its_own_nodes(scene: Any, ct: Any) -> None:
    other = add_ct("other", PLACES["permuted"])
    first = scene_package.writePrediction(prediction_on(ct), ct)
    second = scene_package.writePrediction(prediction_on(other), other)
    assert not set(result_nodes(first)) & set(result_nodes(second))
    assert_same_place(first)
    assert_same_place(second)


def test_two_volumes_may_share_a_segmentation(scene: Any, ct: Any) -> None:
    other = add_ct("other", PLACES["permuted"])
    first = scene_package.writePrediction(prediction_on(ct), ct)
    second = scene_package.writePrediction(prediction_on(other), other, first.segmentationNode)
    assert second.segmentId != first.segmentId
    assert_same_place(first)
    assert_same_place(second)
    assert scene_package.writePrediction(prediction_on(ct), ct).segmentId == first.segmentId
    assert scene_package.writePrediction(prediction_on(other), other).segmentId == second.segmentId


@pytest.mark.parametrize("index", range(7))
def test_deleted_node_is_made_anew(scene: Any, ct: Any, index: int) -> None:
    first = scene_package.writePrediction(prediction_on(ct), ct)
    scene.RemoveNode(result_nodes(first)[index])
    second = scene_package.writePrediction(prediction_on(ct), ct)
    same = [a is b for a, b in zip(result_nodes(first), result_nodes(second), strict=True)]
    assert same == [position != index for position in range(7)]
    assert all(scene.IsNodePresent(node) for node in result_nodes(second))
    assert_same_place(second)


def test_deleted_segment_is_added_anew_to_the_same_segmentation(ct: Any) -> None:
    first = scene_package.writePrediction(prediction_on(ct), ct)
    add_block(first.segmentationNode, "Pancreas", PLACES["oblique"])
    first.segmentationNode.GetSegmentation().RemoveSegment(first.segmentId)
    second = scene_package.writePrediction(prediction_on(ct), ct)
    assert second.segmentationNode is first.segmentationNode
    assert second.segmentId != "Pancreas"  # ours is known by its tag, not by its name
    assert second.segmentationNode.GetSegmentation().GetNumberOfSegments() == 2
    assert_same_place(second)
    roles: list[str] = []
    second.segmentationNode.GetNodeReferenceRoles(roles)
    assert sum(role.startswith(segments.INPUT_ROLE_PREFIX) for role in roles) == 1


def test_model_with_fewer_levels_leaves_no_stale_attention(scene: Any, ct: Any) -> None:
    scene_package.writePrediction(prediction_on(ct), ct)
    result = scene_package.writePrediction(prediction_on(ct, levels=2), ct)
    assert len(result.attentionNodes) == 2
    # CT, probability, uncertainty, and two levels
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 5
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeDisplayNode") == 5


def test_results_follow_the_input_under_a_new_transform(scene: Any, ct: Any) -> None:
    scene_package.writePrediction(prediction_on(ct), ct)
    ct.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    result = scene_package.writePrediction(prediction_on(ct), ct)
    for node in result_nodes(result)[:-1]:
        assert node.GetTransformNodeID() == ct.GetTransformNodeID()
    assert_same_place(result)


def test_many_runs_leave_nothing_behind(scene: Any, ct: Any) -> None:
    prediction = prediction_on(ct)
    result = scene_package.writePrediction(prediction, ct)
    nodes = result_nodes(result)
    before = node_ids(scene), [node.GetReferenceCount() for node in nodes]
    image = weakref.ref(result.probabilityNode.GetImageData())
    for _ in range(3):
        scene_package.writePrediction(prediction, ct)
    gc.collect()
    assert (node_ids(scene), [node.GetReferenceCount() for node in nodes]) == before
    assert image() is None


# Segmentations of the user


@pytest.mark.parametrize("shared", [False, True])
def test_other_segments_keep_their_voxels(scene: Any, ct: Any, shared: bool) -> None:
    node = add_segmentation(scene, ct)
    # Both overlap the organ.
    names = [
        add_block(node, "Pancreas", PLACES["oblique"]),
        add_block(node, "B", PLACES["oblique"], 1),
    ]
    before = [snapshot(node, name) for name in names]
    result = scene_package.writePrediction(prediction_on(ct), ct, node)
    if shared:
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        result = scene_package.writePrediction(prediction_on(ct), ct)
    assert result.segmentationNode is node
    assert [snapshot(node, name) for name in names] == before
    assert_same_place(result)


def test_segment_that_shares_a_labelmap_is_taken_out_of_it(scene: Any, ct: Any) -> None:
    node = add_segmentation(scene, ct)
    add_block(node, "far", PLACES["oblique"], 5)
    corner = np.zeros(SHAPE, np.uint8)
    corner[0, 0, 0:2] = 1
    scene_package.writePrediction(prediction_on(ct, mask=corner), ct, node)
    segmentation = node.GetSegmentation()
    segmentation.CollapseBinaryLabelmaps(False)
    assert segmentation.GetNumberOfLayers() == 1
    before = snapshot(node, "far")
    assert_same_place(
        scene_package.writePrediction(prediction_on(ct), ct)
    )  # now over the other segment
    assert snapshot(node, "far") == before


def test_segmentation_on_another_grid_under_another_transform(scene: Any, ct: Any) -> None:
    node = add_segmentation(scene, add_ct("grid", PLACES["permuted"]))
    node.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    add_block(node, "other", PLACES["permuted"])
    parameter = "Reference image geometry"
    before = snapshot(node, "other"), node.GetSegmentation().GetConversionParameter(parameter)
    transform = node.GetTransformNodeID()
    for _ in range(2):
        result = scene_package.writePrediction(prediction_on(ct), ct, node)
        assert_same_place(result)
    after = snapshot(node, "other"), node.GetSegmentation().GetConversionParameter(parameter)
    assert after == before
    assert node.GetTransformNodeID() == transform
    # Brought into one labelmap, ours is on that grid: it stays there, and nobody drew in it.
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    before = snapshot(node, "other"), snapshot(node, result.segmentId)
    assert not corrections(node, result.segmentId).any
    result = scene_package.writePrediction(prediction_on(ct), ct)
    assert (snapshot(node, "other"), snapshot(node, result.segmentId)) == before


def test_empty_segmentation_takes_the_inputs_grid(scene: Any, ct: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    ct.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    result = scene_package.writePrediction(prediction_on(ct), ct, node)
    assert result.segmentationNode is node
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is ct
    assert node.GetTransformNodeID() == ct.GetTransformNodeID()
    assert_same_place(result)


def test_segmentation_of_surfaces_is_refused(scene: Any, ct: Any) -> None:
    node = add_segmentation(scene, ct)
    add_block(node, "other", PLACES["oblique"])
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    before = node_ids(scene)
    with pytest.raises(InputError, match="source representation"):
        scene_package.writePrediction(prediction_on(ct), ct, node)
    assert node_ids(scene) == before


def test_segmentation_under_non_linear_transform_is_refused(scene: Any, ct: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    add_block(node, "other", PLACES["oblique"])
    node.SetAndObserveTransformNodeID(
        scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode").GetID()
    )
    before = node_ids(scene)
    with pytest.raises(InputError, match="harden"):
        scene_package.writePrediction(prediction_on(ct), ct, node)
    assert node_ids(scene) == before


def test_surface_is_made_only_where_surfaces_are_shown(ct: Any) -> None:
    result = scene_package.writePrediction(prediction_on(ct), ct)
    node, segmentation = result.segmentationNode, result.segmentationNode.GetSegmentation()
    assert not segmentation.ContainsRepresentation("Closed surface")
    add_block(node, "other", PLACES["oblique"])
    node.CreateClosedSurfaceRepresentation()
    other = node.GetClosedSurfaceInternalRepresentation("other")
    before = other.GetMTime()
    scene_package.writePrediction(prediction_on(ct), ct)
    surface = node.GetClosedSurfaceInternalRepresentation(result.segmentId)
    assert surface.GetNumberOfPoints() > 0
    assert node.GetClosedSurfaceInternalRepresentation("other") is other
    assert other.GetMTime() == before
    scene_package.writePrediction(prediction_on(ct, mask=np.zeros(SHAPE, np.uint8)), ct)
    surface = node.GetClosedSurfaceInternalRepresentation(result.segmentId)
    assert surface is None or surface.GetNumberOfPoints() == 0
    assert node.GetClosedSurfaceInternalRepresentation("other") is other


# Failing


def everything(scene: Any, result: Any) -> tuple[Any, ...]:
    return (
        node_ids(scene),
        snapshot(result.segmentationNode, result.segmentId),
        [voxels(node).tolist() for node in (result.probabilityNode, *result.attentionNodes)],
        [node.GetTransformNodeID() for node in result_nodes(result)[:-1]],
        table_rows(result.tableNode),
    )


def break_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken on purpose")

    owner = SegmentEditing if step == "_draw" else results._Writer
    monkeypatch.setattr(owner, step, fail)


@pytest.mark.parametrize("step", ["writeTable", "writeSegment", "_draw"])
@pytest.mark.parametrize("again", [False, True])
def test_failure_leaves_the_scene_as_it_was(
    scene: Any, ct: Any, monkeypatch: pytest.MonkeyPatch, step: str, again: bool
) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), ct)
    first = scene_package.writePrediction(prediction_on(ct), ct) if again else None
    if again:
        ct.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    before = everything(scene, first) if first else node_ids(scene)
    items = hierarchy.GetNumberOfItems()
    break_at(monkeypatch, step)
    mask = np.ones(SHAPE, np.uint8)
    with pytest.raises(RuntimeError, match="on purpose"):
        scene_package.writePrediction(prediction_on(ct, mask=mask, volume_ml=1.0), ct)
    assert (everything(scene, first) if first else node_ids(scene)) == before
    assert hierarchy.GetNumberOfItems() == items


def test_failure_to_compute_attention_leaves_the_scene_as_it_was(scene: Any, ct: Any) -> None:
    before = node_ids(scene)
    with pytest.raises(MemoryError):
        scene_package.writePrediction(prediction_on(ct, failing_level=3), ct)
    assert node_ids(scene) == before


# Saving and loading


@pytest.mark.parametrize("extension", ["mrb", "mrml"])
def test_saved_and_loaded_scene_is_updated_too(
    scene: Any, ct: Any, tmp_path: Path, extension: str
) -> None:
    ct.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    first = scene_package.writePrediction(prediction_on(ct), ct)
    add_block(first.segmentationNode, "other", PLACES["oblique"])
    if extension == "mrb":
        assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    else:
        save_unpacked(scene, tmp_path)
    scene.Clear(False)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    if extension == "mrb":
        add_data_managers(scene, tmp_path)
        assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    else:
        assert scene.Connect()
    loaded = scene.GetFirstNodeByName("CT")
    before = node_ids(scene)
    other = snapshot(scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"), "other")
    result = scene_package.writePrediction(prediction_on(loaded), loaded)
    assert [node for node in node_ids(scene) if node not in before] == []
    assert result.segmentId == first.segmentId
    assert snapshot(result.segmentationNode, "other") == other
    assert_same_place(result)


def add_data_managers(scene: Any, folder: Path) -> None:
    """What the application gives its scene, and unpacking a bundle needs."""
    cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(folder))
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


def save_unpacked(scene: Any, folder: Path) -> None:
    extensions = {"Segmentation": "seg.nrrd", "ScalarVolume": "nrrd", "Table": "tsv"}
    scene.SetURL(str(folder / "scene.mrml"))
    scene.SetRootDirectory(str(folder))
    for kind, extension in extensions.items():
        for index in range(scene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node")):
            node = scene.GetNthNodeByClass(index, f"vtkMRML{kind}Node")
            node.AddDefaultStorageNode()
            path = folder / f"{kind}-{index}.{extension}"
            node.GetStorageNode().SetFileName(str(path))
            assert node.GetStorageNode().WriteData(node)
    transform = scene.GetFirstNodeByClass("vtkMRMLLinearTransformNode")
    transform.AddDefaultStorageNode()
    transform.GetStorageNode().SetFileName(str(folder / "t.h5"))
    assert transform.GetStorageNode().WriteData(transform)
    assert scene.Commit()


# The scene outside Slicer


def test_importing_the_package_imports_no_slicer() -> None:
    code = (
        "import sys; import AttentionUNetSegmentLib.scene; "
        "print([name for name in ('slicer', 'vtk', 'torch') if name in sys.modules])"
    )
    library = str(Path(scene_package.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=library, check=True
    )
    assert run.stdout.strip() == "[]"


def test_scene_of_the_application_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = slicer.vtkMRMLScene()
    monkeypatch.setattr(slicer, "mrmlScene", own, raising=False)
    monkeypatch.setattr(slicer, "app", object(), raising=False)
    assert scene_package.insideSlicer()
    own.AddNewNodeByClass("vtkMRMLTextNode", "kept")
    with scene_package.headlessScene() as scene:
        assert scene is own
        assert scene_package.ensureScene() is own
    assert own.GetFirstNodeByName("kept") is not None


def test_headless_scene_serves_slicer_util_and_is_gone_afterwards() -> None:
    with scene_package.headlessScene() as scene:
        assert slicer.mrmlScene is scene
        slicer.util.addVolumeFromArray(np.zeros((3, 4, 5)))
        assert slicer.modules.volumes.logic().GetMRMLScene() is scene
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert getattr(slicer, "mrmlScene", None) is not scene


# The whole way


def test_segment_volume_node_predicts_in_world_coordinates(scene: Any, ct: Any) -> None:
    ct.SetAndObserveTransformNodeID(add_transform(scene, TURN).GetID())
    seen: dict[str, Any] = {}

    class Card:
        target_label = Label(value=3, name="organ", color=(1, 2, 3))

    class Model:
        card = Card()

    class FakePredictor:
        model = Model()

        def predict(self, volume: Volume, clicks: Any = (), **others: Any) -> Any:
            seen.update(volume=volume, clicks=clicks, **others)
            return hand_made(volume)

    clicks = [object()]
    result = scene_package.segmentVolumeNode(ct, FakePredictor(), clicks)  # type: ignore[arg-type]
    np.testing.assert_allclose(seen["volume"].ijk_to_ras, TURN @ PLACES["oblique"], atol=1e-9)
    assert seen["clicks"] == tuple(clicks)
    segment = result.segmentationNode.GetSegmentation().GetSegment(result.segmentId)
    assert segment.GetName() == "Organ"
    assert_same_place(result)


def test_feature_maps_of_a_real_prediction_reach_the_nodes(scene: Any) -> None:
    torch = pytest.importorskip("torch")
    from AttentionUNetSegmentLib.geometry.grid import GridImage
    from AttentionUNetSegmentLib.inference.prediction import Prediction

    node = add_ct("CT", PLACES["plain"])
    volume = scene_package.volumeFromNode(node)
    ramp = torch.linspace(0, 1, volume.array.size).reshape(1, 1, *SHAPE)
    made = hand_made(volume, levels=1, region=tuple(slice(0, size) for size in SHAPE))
    prediction = Prediction(
        **{name: getattr(made, name) for name in Prediction.__dataclass_fields__}
        | {"attention_maps": (GridImage(ramp, volume.grid),)}
    )
    result = scene_package.writePrediction(prediction, node)
    np.testing.assert_allclose(voxels(result.attentionNodes[0]), ramp[0, 0].numpy(), atol=1e-6)
    assert not voxels(result.probabilityNode).any()
