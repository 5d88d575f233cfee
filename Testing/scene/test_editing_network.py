"""Clicks, hand edits, undos, re-runs and another model in any order, with real networks.

The networks are as they are born: their answers have any shape, which is all the better for seeing
whether the user's hand holds. The user's side is Slicer's own ``vtkSlicerSegmentEditorLogic``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import slicer
import torch
from AttentionUNetSegmentLib import scene as scene_package
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.inference import Click, Volume
from AttentionUNetSegmentLib.inference.clicks import BALL_MM
from AttentionUNetSegmentLib.inference.predictor_cache import PredictorCache
from AttentionUNetSegmentLib.models import save_model
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.scene.corrections import CorrectionTracker, readClicks
from AttentionUNetSegmentLib.scene.editing import SegmentEditing
from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions, SegmentationTask
from editing_history import History
from geometry import placed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threshold_model import threshold_model

SHAPE = (20, 32, 36)  # k, j, i
PLACE = placed((4.0, 4.0, 6.0), (70.0, 60.0, -500.0))
OTHER = "Other"
Voxel = tuple[int, int, int]

voxels = st.tuples(*(st.integers(3, size - 4) for size in SHAPE))
actions = st.one_of(
    st.tuples(st.just("click"), voxels, st.booleans()),
    st.tuples(st.just("draw"), voxels, st.booleans()),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
    st.tuples(st.just("run"), st.integers(0, 1)),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models that differ in their weights."""
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        card = threshold_model().card
        networks = {name: build_network(one.network) for name, one in card.stages.items()}
        for network in networks.values():
            # Half of the voxels are foreground, rather than nearly none or nearly all.
            head = [module for module in network.modules() if hasattr(module, "bias")][-1]
            torch.nn.init.zeros_(head.bias)
        folders.append(tmp_path_factory.mktemp(f"model{seed}"))
        save_model(folders[-1], replace(card, name=f"born-{seed}"), networks)
    return [str(folder) for folder in folders]


@pytest.fixture(scope="module")
def cache() -> PredictorCache:
    return PredictorCache()


def scan() -> Volume:
    hu = np.random.default_rng(0).normal(50, 40, SHAPE)
    hu[:, :2] = hu[:, -2:] = -1000
    return Volume(hu.astype(np.int16), PLACE)


@dataclass(frozen=True)
class State:
    """What undo brings back: voxels, clicks, and what the user drew."""

    mask: bytes
    clicks: tuple[Click, ...] = ()
    hand: tuple[tuple[Voxel, bool], ...] = ()


class User:
    """What a user does, and what must hold afterwards."""

    def __init__(self, models: list[str], cache: PredictorCache) -> None:
        scene = slicer.mrmlScene
        self.models, self.cache, self.model = models, cache, models[0]
        self.ct = scene_package.addVolumeNode(scan(), "CT")
        self.node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
        self.node.CreateDefaultDisplayNodes()
        self.node.SetReferenceImageGeometryParameterFromVolumeNode(self.ct)
        other = slicer.vtkSegment()
        other.SetName(OTHER)
        other.AddRepresentation(segments.LABELMAP, image(np.s_[5:15, 8:20, 8:20]))
        self.node.GetSegmentation().AddSegment(other, OTHER)
        self.other = self.read(OTHER)
        self.ours = segments.addSegment(self.node, segments.PANCREAS, PLACE)
        editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        editor.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        editor.SetAndObserveSegmentationNode(self.node)
        editor.SetAndObserveSourceVolumeNode(self.ct)
        editor.SetSelectedSegmentID(self.ours)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(scene)
        self.logic.SetMaximumNumberOfUndoStates(1000)
        self.logic.SetSegmentEditorNode(editor)
        self.editing = SegmentEditing(editor, self.logic.SaveStateForUndo)
        self.tracker = CorrectionTracker(self.node, self.ours)
        self.clicks: tuple[Click, ...] = ()
        self.hand: dict[Voxel, bool] = {}
        self.history: Any = History()

    def read(self, name: str) -> np.ndarray:
        if self.node.GetBinaryLabelmapInternalRepresentation(name).IsEmpty():
            return np.zeros(SHAPE, bool)
        return slicer.util.arrayFromSegmentBinaryLabelmap(self.node, name, self.ct).astype(bool)

    @property
    def state(self) -> State:
        mask = self.read(self.ours).tobytes()
        return State(mask, self.clicks, tuple(sorted(self.hand.items())))

    def click(self, voxel: Voxel, inside: bool) -> None:
        before = self.state
        self.clicks = (*self.clicks, Click(tuple(world(voxel)), inside))
        if self.hand.get(voxel, inside) != inside:
            # The user's last word on the ball around it.
            middle = np.array(world(voxel))
            for other in list(self.hand):
                if np.linalg.norm(world(other) - middle) <= BALL_MM + 0.1:
                    del self.hand[other]
        self.answer(before, continuing=True)

    def run(self, model: int) -> None:
        self.model = self.models[model]
        self.answer(self.state, continuing=False)

    def answer(self, before: State, continuing: bool) -> None:
        options = SegmentationOptions(self.model, "cpu", withAttention=False, keepProbability=False)
        task = SegmentationTask(
            self.ct,
            self.clicks,
            self.node,
            options=options,
            continuing=continuing,
            segmentId=self.ours,
        )
        outcome = task.write(task.compute(self.cache), self.editing).outcome
        assert outcome.changed == (self.state.mask != before.mask)
        if outcome.changed:
            self.history.save(before)
        if outcome.changed or self.state != before:
            self.history.touch()

    def draw(self, voxel: Voxel, inside: bool) -> None:
        """A stroke of two voxels along each axis."""
        self.history.save(self.state)
        self.logic.SaveStateForUndo()
        k, j, i = voxel
        before = self.read(self.ours)
        mode = self.logic.ModificationModeAdd if inside else self.logic.ModificationModeRemove
        stroke = image(np.s_[k : k + 2, j : j + 2, i : i + 2])
        self.logic.ModifySegmentByLabelmap(self.node, self.ours, stroke, mode, False, False)
        self.tracker.recordCorrections()  # as the panel does when the application is idle
        changed = before != self.read(self.ours)
        for k, j, i in np.argwhere(changed):
            self.hand[int(k), int(j), int(i)] = inside
        self.history.touch()

    def undo(self) -> None:
        self.recalled(self.history.undo(self.state), self.logic.Undo)

    def redo(self) -> None:
        self.recalled(self.history.redo(self.state), self.logic.Redo)

    def recalled(self, expected: State, act: Callable[[], None]) -> None:
        act()
        self.clicks = readClicks(self.node, self.ours)  # as the panel does
        self.hand = dict(expected.hand)
        assert self.state == expected

    def check(self) -> None:
        mask = self.read(self.ours)
        for voxel, inside in self.hand.items():
            assert mask[voxel] == inside, "the user's voxels hold"
        np.testing.assert_array_equal(self.read(OTHER), self.other, "other segments hold")
        grid = Grid(SHAPE, PLACE)
        last = {grid.voxel_of(one.position_ras): one.inside for one in self.clicks}
        for voxel, inside in last.items():
            assert voxel in self.hand or mask[voxel] == inside, "clicks are satisfied"
        assert readClicks(self.node, self.ours) == self.clicks or not mask.any()


def world(voxel: Voxel) -> np.ndarray:
    k, j, i = voxel
    return (PLACE @ (i, j, k, 1.0))[:3]


def image(part: tuple[slice, ...]) -> slicer.vtkOrientedImageData:
    """A labelmap that is 1 in a box of the scan."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[part] = 1
    return segments.orientedImage(segments.cropMask(mask), PLACE)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(todo=st.lists(actions, min_size=3, max_size=9))
def test_any_sequence_of_clicks_strokes_undos_and_runs(
    models: list[str], cache: PredictorCache, todo: list[tuple[Any, ...]]
) -> None:
    with scene_package.headlessScene():
        user = User(models, cache)
        for name, *arguments in todo:
            getattr(user, name)(*arguments)
            user.check()
