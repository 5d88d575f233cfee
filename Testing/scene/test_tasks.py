"""A segmentation in three steps, a region of interest, and what is found, measured and exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scene_helpers as helpers
import vtk
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.errors import Cancelled, InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import (
    coarse_to_fine,
    predictor_cache,
    region_of_interest,
)
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.prepared_volumes import prepare_volumes
from AttentionUNetSegmentLib.inference.progress import CancelToken
from AttentionUNetSegmentLib.inference.scan_segmenter import ScanSegmenter
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.inference.statistics import mask_statistics
from AttentionUNetSegmentLib.inference.validation import check_clicks_in_region
from AttentionUNetSegmentLib.models import Search
from AttentionUNetSegmentLib.scene import tasks
from AttentionUNetSegmentLib.scene.find_result import findResult, isResult, predictionNodes
from AttentionUNetSegmentLib.scene.results import RESULT_ATTRIBUTE
from AttentionUNetSegmentLib.scene.statistics import segmentStatistics
from AttentionUNetSegmentLib.scene.tasks import newSegmentation, roiCorners
from threshold_model import threshold_model

COS, SIN = np.cos(0.4), np.sin(0.4)
OBLIQUE = np.array(
    [[2 * COS, -2 * SIN, 0, 7], [2 * SIN, 2 * COS, 0, -60], [0, 0, 3, 40], [0, 0, 0, 1.0]]
)


@pytest.fixture
def mrml():
    with scene.headlessScene() as mrml:
        yield mrml


def bright_ball(centre=(20, 40, 45), shape=(40, 80, 90), radius=9) -> Volume:
    """A body of soft tissue in air, with a bright ball in it."""
    array = np.full(shape, -1000, np.int16)
    array[4:-4, 8:-8, 8:-8] = 30
    k, j, i = np.indices(shape)
    distance = (3 * (k - centre[0])) ** 2 + (2 * (j - centre[1])) ** 2 + (2 * (i - centre[2])) ** 2
    array[distance < (2 * radius) ** 2] = 400
    return Volume(array, OBLIQUE)


class TestRegionOfInterest:
    def test_a_box_reaches_all_voxels_whose_centres_are_in_it(self):
        volume = bright_ball()
        ijk = np.array([(i, j, k) for i in (20, 59) for j in (11, 48) for k in (6, 30)])
        corners = ijk @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
        assert region_of_interest.region_of_box(volume, corners) == (
            slice(6, 31),
            slice(11, 49),
            slice(20, 60),
        )

    def test_a_box_beside_the_scan_is_refused(self):
        corners = np.array([[5000.0, 0, 0], [5100, 100, 100]])
        with pytest.raises(InputError, match="outside the scan"):
            region_of_interest.region_of_box(bright_ball(), corners)

    def test_a_box_too_small_for_the_organ_is_refused(self):
        centre = (OBLIQUE @ (45, 40, 20, 1))[:3]
        with pytest.raises(InputError, match="at least 40 mm"):
            region_of_interest.region_of_box(bright_ball(), np.array([centre - 3, centre + 3]))

    def test_a_click_outside_the_region_is_refused(self):
        volume = bright_ball()
        region = (slice(5, 30), slice(10, 60), slice(20, 70))
        inside = Click(tuple((OBLIQUE @ (20, 10, 5, 1))[:3]), True)
        outside = Click(tuple((OBLIQUE @ (18, 10, 5, 1))[:3]), True)
        check_clicks_in_region(volume, region, [inside])
        with pytest.raises(InputError, match="outside the region"):
            check_clicks_in_region(volume, region, [outside])

    @pytest.fixture
    def finds_what_is_bright(self, monkeypatch):
        monkeypatch.setattr(tasks, "find_model", Path)
        for module in (tasks, predictor_cache):
            monkeypatch.setattr(module, "read_card", lambda folder: threshold_model().card)
        monkeypatch.setattr(predictor_cache, "load_model", lambda folder: threshold_model())

    @pytest.mark.usefixtures("finds_what_is_bright")
    def test_a_region_without_fat_or_air_is_still_a_part_of_a_ct(self, mrml):
        """The scan as a whole is what must look like a CT."""
        volume = bright_ball()
        roi = mrml.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        roi.SetCenterWorld((OBLIQUE @ (45, 40, 20, 1))[:3])
        roi.SetSize(60, 60, 60)
        task = tasks.SegmentationTask(scene.addVolumeNode(volume, "CT"), roiNode=roi)
        k, j, i = task._region
        assert volume.array[k, j, i].min() >= 0
        prediction = task.compute(predictor_cache.PredictorCache())
        assert prediction.mask[20, 40, 45] == 1

    @pytest.mark.usefixtures("finds_what_is_bright")
    @pytest.mark.parametrize("bent", ["volume", "region", "both"])
    def test_it_is_where_slicer_shows_it_under_a_transform_that_is_not_linear(self, mrml, bent):
        """A bright column from feet to head is found between the region's lower and upper end."""
        volume = bright_ball(radius=0)
        volume.array[:, 30:50, 35:55] = 400
        place = np.diag([-2.0, -2.0, 3.0, 1.0])
        place[:3, 3] = (90, 80, -58)
        node = scene.addVolumeNode(Volume(volume.array, place), "CT")
        roi = mrml.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        roi.SetCenter(0, 0, 5)
        roi.SetSize(70, 70, 64)
        bend = helpers.add_bend(mrml, 12.0)
        if bent in ("volume", "both"):
            node.SetAndObserveTransformNodeID(bend.GetID())
        if bent in ("region", "both"):
            roi.SetAndObserveTransformNodeID(bend.GetID())
        prediction = tasks.SegmentationTask(node, roiNode=roi).compute(
            predictor_cache.PredictorCache()
        )
        found = prediction.mask[:, 40, 45] > 0
        # By VTK's own forward transform and the matrix by which Slicer draws the box.
        to_world = vtk.vtkGeneralTransform()
        if node.GetParentTransformNode() is not None:
            node.GetParentTransformNode().GetTransformToWorld(to_world)
        from_world = np.linalg.inv(scene.volumes.fromVtkMatrix(roi.GetObjectToWorldMatrix()))
        borders = []  # of the voxels, in the box's own coordinates
        for k in range(len(found) + 1):
            world = to_world.TransformPoint((place @ (45, 40, k - 0.5, 1))[:3])
            borders.append((from_world @ (*world, 1))[2])
        reached = (np.array(borders[1:]) >= -32) & (np.array(borders[:-1]) <= 32)
        assert 0 < reached.sum() < len(reached) - 4
        np.testing.assert_array_equal(found, reached)

    def test_what_is_found_ends_at_the_region(self):
        volume = bright_ball(radius=12)
        predictor = Predictor(threshold_model(), device="cpu")
        region = (slice(2, 20), slice(5, 75), slice(10, 85))
        prediction = Session(predictor, volume, interest=region).predict()
        expected = volume.array > 150
        inside = np.zeros_like(expected)
        inside[region] = True
        assert not prediction.mask[~inside].any()
        whole = predictor.predict(volume)
        np.testing.assert_array_equal(prediction.mask[region], whole.mask[region])
        assert prediction.volume_ml < whole.volume_ml
        assert prediction.pieces == 1
        (cut,) = [one for one in prediction.warnings if "edge of the region of interest" in one]
        assert "head" in cut or "feet" in cut

    def test_a_click_reaches_no_further_than_the_region(self):
        volume = bright_ball(radius=12)
        predictor = Predictor(threshold_model(), device="cpu")
        region = (slice(2, 20), slice(5, 75), slice(10, 85))
        session = Session(predictor, volume, interest=region)
        session.predict()
        near_the_edge = tuple((OBLIQUE @ (70, 40, 18, 1))[:3])
        update = session.add_click(near_the_edge, inside=True)
        assert update.mask[18, 40, 70] == 1
        assert not update.mask[20:].any()

    def test_nor_does_the_ball_that_obeys_a_click(self):
        volume = bright_ball()
        region = (slice(2, 20), slice(5, 75), slice(10, 85))
        segmenter = ScanSegmenter(Predictor(threshold_model(), device="cpu"), volume, region)
        whole = (slice(0, 40), slice(0, 80), slice(0, 90))
        at_the_edge = Click(tuple((OBLIQUE @ (70, 40, 19, 1))[:3]), inside=True)
        mask = segmenter._satisfied(np.zeros_like(volume.array, np.uint8), whole, [at_the_edge])
        assert mask[18:20, 40, 70].all()
        assert not mask[20:].any()

    def test_the_network_sees_what_is_around_the_region(self, monkeypatch):
        """A box drawn tightly around the organ is no reason to find less."""
        volume = bright_ball(radius=12)
        predictor = Predictor(threshold_model(), device="cpu")
        seen = []
        refine = predictor.run_refiner

        def noted(scan, grid, *arguments):
            seen.append(grid.bounds)
            return refine(scan, grid, *arguments)

        monkeypatch.setattr(predictor, "run_refiner", noted)
        region = (slice(8, 32), slice(28, 54), slice(33, 59))
        Session(predictor, volume, interest=region).predict()
        drawn = volume.grid.subgrid(region).bounds
        assert (seen[0].low_ras < drawn.low_ras - 15).all()
        assert (seen[0].high_ras > drawn.high_ras + 15).all()


class TestCutOut:
    """Scans that somebody cut out of larger ones."""

    @pytest.fixture(autouse=True)
    def nothing_located(self, monkeypatch):
        monkeypatch.setattr(coarse_to_fine, "find_organ_box", lambda *_: None)

    def test_it_is_looked_at_directly_where_the_locator_finds_nothing(self):
        volume = bright_ball()
        assert volume.grid.bounds.fits_in(Search().largest_box_mm)
        assert Predictor(threshold_model(), device="cpu").predict(volume).found

    def test_a_whole_scan_is_not(self):
        ball = bright_ball()
        beside = np.pad(ball.array, ((0, 0), (0, 0), (0, 80)), constant_values=-1000)
        volume = Volume(beside, ball.ijk_to_ras)
        assert not Predictor(threshold_model(), device="cpu").predict(volume).found


class TestPrepared:
    def test_it_holds_what_the_prediction_would_compute(self):
        volume = bright_ball()
        prediction = Predictor(threshold_model(), device="cpu").predict(volume)
        prepared = prepare_volumes(prediction)
        np.testing.assert_array_equal(prepared.probability(), prediction.probability())
        for level in range(1, prediction.levels + 1):
            np.testing.assert_array_equal(prepared.attention(level), prediction.attention(level))
        assert prepared.attention_in_region(1) is prepared.attention_in_region(1)
        with pytest.raises(IndexError):
            prepared.attention(0)

    def test_it_can_be_cancelled(self):
        token = CancelToken()
        token.cancel()
        prediction = helpers.hand_made(Volume(np.zeros(helpers.SHAPE), np.eye(4)))
        with pytest.raises(Cancelled):
            prepare_volumes(prediction, cancel=token)


class TestFound:
    def test_the_result_of_a_volume_is_found_and_of_no_other(self, mrml):
        first, second = helpers.add_ct("first"), helpers.add_ct("second")
        result = scene.writePrediction(helpers.prediction_on(first), first)
        found = findResult(first, scene.PANCREAS)
        assert found.segmentationNode is result.segmentationNode
        assert found.segmentId == result.segmentId
        assert found.probabilityNode is result.probabilityNode
        assert tuple(found.attentionNodes.values()) == result.attentionNodes
        assert found.focusRatios == pytest.approx({1: 0.5, 2: 0.25, 3: 0.1667, 4: 0.125}, abs=1e-4)
        other = findResult(second, scene.PANCREAS)
        assert other.segmentationNode is None
        assert other.attentionNodes == {}

    def test_a_clone_is_not_taken_for_the_result(self, mrml):
        """Of the Data module's clones: with attributes and references. The next prediction goes
        where the last one went."""
        volume = helpers.add_ct("ct")
        result = scene.writePrediction(helpers.prediction_on(volume), volume)
        for node in (result.tableNode, result.probabilityNode, *result.attentionNodes):
            clone = mrml.AddNewNodeByClass(node.GetClassName())
            clone.CopyWithScene(node)
        found = findResult(volume, scene.PANCREAS)
        assert found.tableNode is result.tableNode
        assert found.probabilityNode is result.probabilityNode
        assert tuple(found.attentionNodes.values()) == result.attentionNodes

    def test_volumes_of_a_result_are_known_as_such(self, mrml):
        volume = helpers.add_ct("ct")
        result = scene.writePrediction(helpers.prediction_on(volume), volume)
        assert not isResult(volume)
        assert len(predictionNodes(volume)) == 7
        assert all(isResult(node) for node in result.attentionNodes)

    def test_no_volume_is_made_that_is_not_kept(self, mrml):
        volume = helpers.add_ct("ct")
        seen = set()

        def look(*_):
            seen.update(node.GetAttribute(RESULT_ATTRIBUTE) for node in predictionNodes(volume))

        tag = mrml.AddObserver(mrml.NodeAddedEvent, look)
        prediction = helpers.prediction_on(volume)
        scene.writePrediction(prediction, volume, withProbability=False)
        mrml.RemoveObserver(tag)
        assert any(result.endswith("/attention-4") for result in seen)
        assert not any(result.endswith("/probability") for result in seen)

    def test_a_volume_that_is_not_kept_any_more_is_removed(self, mrml):
        """It would show an earlier result."""
        volume = helpers.add_ct("ct")
        prediction = helpers.prediction_on(volume)
        before = scene.writePrediction(prediction, volume)
        after = scene.writePrediction(prediction, volume, withProbability=False)
        assert after.probabilityNode is None
        assert before.probabilityNode.GetScene() is None
        assert after.uncertaintyNode is before.uncertaintyNode
        last = scene.writePrediction(prediction, volume, withAttention=False)
        assert (last.attentionNodes, last.uncertaintyNode) == ((), None)
        assert set(predictionNodes(volume)) == {last.tableNode, last.probabilityNode}

    def test_a_table_that_the_user_edited_does_no_harm(self, mrml):
        volume = helpers.add_ct("ct")
        result = scene.writePrediction(helpers.prediction_on(volume), volume)
        result.tableNode.SetCellText(1, 1, "what?")
        assert sorted(findResult(volume, scene.PANCREAS).focusRatios) == [2, 3, 4]


class TestStatistics:
    def test_volume_mean_and_extent_are_those_of_the_voxels(self, mrml):
        volume = helpers.add_ct("ct", helpers.PLACES["plain"])
        result = scene.writePrediction(helpers.prediction_on(volume), volume)
        measured = segmentStatistics(result.segmentationNode, result.segmentId, volume)
        mask = helpers.box_mask() > 0
        assert measured.volumeMl == pytest.approx(mask.sum() * 2 * 1.5 * 3 / 1000)
        values = helpers.voxels(volume)[mask]
        assert measured.meanHu == pytest.approx(values.mean())
        assert measured.sdHu == pytest.approx(values.std())
        assert measured.medianHu == np.median(values)
        assert measured.extentMm == pytest.approx((6 * 2, 5 * 1.5, 3 * 3))
        assert measured.pieces == 1

    def test_length_and_pieces_are_those_of_the_mask_in_any_place(self, mrml):
        """As the report has them, also under a transform; sheared axes have no length."""
        for place in ("plain", "oblique", "sheared"):
            volume = helpers.add_ct(place, helpers.PLACES[place])
            turned = helpers.add_transform(mrml, helpers.TURN)
            volume.SetAndObserveTransformNodeID(turned.GetID())
            result = scene.writePrediction(helpers.prediction_on(volume), volume)
            measured = segmentStatistics(result.segmentationNode, result.segmentId, volume)
            expected = mask_statistics(scene.volumeFromNode(volume), helpers.box_mask())
            assert measured.pieces == 1
            assert measured.lengthMm == (
                None if place == "sheared" else pytest.approx(expected.length_mm)
            )

    @pytest.mark.parametrize("place", ["oblique", "flipped", "sheared"])
    def test_they_hold_in_any_place_and_under_a_transform(self, mrml, place):
        volume = helpers.add_ct("ct", helpers.PLACES[place])
        turned = helpers.add_transform(mrml, helpers.TURN)
        volume.SetAndObserveTransformNodeID(turned.GetID())
        result = scene.writePrediction(helpers.prediction_on(volume), volume)
        measured = segmentStatistics(result.segmentationNode, result.segmentId, volume)
        mask = helpers.box_mask() > 0
        assert measured.meanHu == pytest.approx(helpers.voxels(volume)[mask].mean())
        voxel = abs(np.linalg.det(helpers.PLACES[place][:3, :3]))
        assert measured.volumeMl == pytest.approx(mask.sum() * voxel / 1000)

    def test_the_surface_of_a_ball_is_near_the_formula(self, mrml):
        ball = bright_ball(radius=14)
        volume = scene.addVolumeNode(ball, "ball")
        prediction = helpers.hand_made(ball, mask=(ball.array > 150).astype(np.uint8))
        result = scene.writePrediction(prediction, volume, withVolumes=False)
        measured = segmentStatistics(result.segmentationNode, result.segmentId, volume)
        assert measured.surfaceMm2 == pytest.approx(4 * np.pi * 28**2, rel=0.1)

    def test_nothing_in_the_scene_changes(self, mrml):
        volume = helpers.add_ct("ct")
        result = scene.writePrediction(helpers.prediction_on(volume), volume)
        before = helpers.node_ids(mrml), helpers.snapshot(result.segmentationNode, result.segmentId)
        segmentStatistics(result.segmentationNode, result.segmentId, volume)
        after = helpers.node_ids(mrml), helpers.snapshot(result.segmentationNode, result.segmentId)
        assert after == before
        assert not result.segmentationNode.GetSegmentation().ContainsRepresentation(
            "Closed surface"
        )

    def test_an_empty_segment_has_none(self, mrml):
        volume = helpers.add_ct("ct")
        empty = helpers.prediction_on(volume, mask=np.zeros(helpers.SHAPE, np.uint8))
        result = scene.writePrediction(empty, volume)
        measured = segmentStatistics(result.segmentationNode, result.segmentId, volume)
        assert measured.volumeMl == 0
        assert measured.pieces == 0
        assert measured.meanHu is None
        assert measured.surfaceMm2 is None


def test_a_new_segmentation_lies_under_the_transform_of_its_volume(mrml):
    volume = helpers.add_ct("ct")
    volume.SetAndObserveTransformNodeID(helpers.add_transform(mrml, helpers.TURN).GetID())
    node = newSegmentation(volume, "result")
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert node.GetSegmentation().GetNumberOfSegments() == 0


def test_the_corners_of_a_turned_roi_are_in_the_world(mrml):
    roi = mrml.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(10, 20, 30)
    roi.SetSize(40, 60, 80)
    roi.SetAndObserveTransformNodeID(helpers.add_transform(mrml, helpers.TURN).GetID())
    corners = roiCorners(roi)
    assert corners.shape == (8, 3)
    # The transform turns by 90 degrees about S, then shifts by (10, -20, 30).
    np.testing.assert_allclose(corners.mean(axis=0), (-20 + 10, 10 - 20, 30 + 30), atol=1e-6)
    np.testing.assert_allclose(np.ptp(corners, axis=0), (60, 40, 80), atol=1e-6)


def test_a_roi_without_a_size_is_refused(mrml):
    with pytest.raises(InputError, match="no size"):
        roiCorners(mrml.AddNewNodeByClass("vtkMRMLMarkupsROINode"))
