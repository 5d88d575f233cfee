"""Any sequence of network writes, hand edits, undos and settings, against a plain numpy model.

The user's side is Slicer's own ``vtkSlicerSegmentEditorLogic``; the model knows nothing of how the
library does its work.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from AttentionUNetSegmentLib import scene as scene_package
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.scene.corrections import (
    CorrectionTracker,
    clearCorrections,
    corrections,
    readClicks,
)
from AttentionUNetSegmentLib.scene.editing import SegmentEditing
from editing_history import History, Model
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scene_helpers import COS, SIN

SHAPE = (4, 5, 6)  # k, j, i
PLACE = np.array(
    [[3 * COS, -3 * SIN, 0, 7], [3 * SIN, 3 * COS, 0, 5], [0, 0, 3, -9], [0, 0, 0, 1.0]]
)
BALL_MM = 4.0
OTHERS = ("A", "B")
MODES = slicer.vtkMRMLSegmentationNode
OVERWRITE = slicer.vtkMRMLSegmentEditorNode
STATUS = slicer.vtkSlicerSegmentationsModuleLogic

seeds = st.integers(0, 2**16)
voxels = st.tuples(*(st.integers(0, size - 1) for size in SHAPE))
boxes = st.tuples(voxels, voxels).map(
    lambda corners: tuple(slice(min(pair), max(pair) + 1) for pair in zip(*corners, strict=True))
)


def world(voxel: tuple[int, int, int]) -> tuple[float, float, float]:
    k, j, i = voxel
    r, a, s = (PLACE @ (i, j, k, 1.0))[:3]
    return float(r), float(a), float(s)


def near(voxel: tuple[int, int, int]) -> np.ndarray:
    """Which voxels are closer to one than the radius of a click's ball."""
    apart = np.stack(np.indices(SHAPE), axis=-1) - np.array(voxel)
    return 3.0 * np.linalg.norm(apart, axis=-1) < BALL_MM


class Editing(RuleBasedStateMachine):
    """A user with the Segment Editor, and the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open = contextlib.ExitStack()
        self.folder = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
        self.scene = self.open.enter_context(scene_package.headlessScene())

    def teardown(self) -> None:
        self.open.close()

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.intensities = rng.integers(0, 100, SHAPE).astype(np.int16)
        self.ct = scene_package.addVolumeNode(Volume(self.intensities, PLACE), "CT")
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.ct)
        for name in OTHERS:
            segment = slicer.vtkSegment()
            segment.SetName(name)
            mask = rng.random(SHAPE) < 0.2
            crop = segments.cropMask(mask)
            segment.AddRepresentation(segments.LABELMAP, segments.orientedImage(crop, PLACE))
            node.GetSegmentation().AddSegment(segment, name)
        if rng.random() < 0.5:
            node.GetSegmentation().CollapseBinaryLabelmaps(False)
        self.ours = segments.addSegment(node, segments.PANCREAS, PLACE)
        self.editor = self.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.editor.SetOverwriteMode(OVERWRITE.OverwriteNone)
        self.clicks: tuple[tuple[tuple[int, int, int], bool], ...] = ()
        self.attach(node)
        nothing = np.zeros(SHAPE, bool)
        self.model = Model(nothing, nothing, {name: self.read(name) for name in OTHERS})

    def attach(self, node: Any) -> None:
        """Open a segmentation in the editor."""
        self.node = node
        self.editor.SetAndObserveSegmentationNode(node)
        self.editor.SetAndObserveSourceVolumeNode(self.ct)
        self.editor.SetSelectedSegmentID(self.ours)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(self.scene)
        self.logic.SetMaximumNumberOfUndoStates(1000)
        self.logic.SetSegmentEditorNode(self.editor)
        self.history = History()
        self.editing = SegmentEditing(self.editor, self.logic.SaveStateForUndo)
        self.tracker = CorrectionTracker(node, self.ours)
        self.events = 0
        for event in (
            slicer.vtkSegmentation.SourceRepresentationModified,
            slicer.vtkSegmentation.SegmentModified,
        ):
            node.GetSegmentation().AddObserver(event, self.count)

    def count(self, *_: Any) -> None:
        self.events += 1

    def read(self, name: str) -> np.ndarray:
        """A segment's voxels, through Slicer's export."""
        if self.node.GetBinaryLabelmapInternalRepresentation(name).IsEmpty():
            return np.zeros(SHAPE, bool)
        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.node, name, self.ct)
        return array.astype(bool)

    @property
    def forbidden(self) -> np.ndarray:
        """Where the editor's settings let nothing change."""
        shown = self.node.GetDisplayNode().GetSegmentVisibility
        all_of_them = {self.ours: self.model.ours, **self.model.others}
        visible = {name: held for name, held in all_of_them.items() if shown(name)}
        mode = self.editor.GetMaskMode()
        result = np.zeros(SHAPE, bool)
        if mode == MODES.EditAllowedInsideSingleSegment:
            result = ~self.model.others["A"]
        for inside, outside, held in (
            (MODES.EditAllowedInsideAllSegments, MODES.EditAllowedOutsideAllSegments, all_of_them),
            (
                MODES.EditAllowedInsideVisibleSegments,
                MODES.EditAllowedOutsideVisibleSegments,
                visible,
            ),
        ):
            if mode == inside and held:
                result = ~np.any(list(held.values()), axis=0)
            elif mode == inside:
                result = np.ones(SHAPE, bool)
            elif mode == outside:
                for name, mask in held.items():
                    if name != self.ours:
                        result = result | mask
        if self.editor.GetSourceVolumeIntensityMask():
            low, high = self.editor.GetSourceVolumeIntensityMaskRange()
            result = result | (self.intensities < low) | (self.intensities > high)
        return result

    @property
    def overwritable(self) -> list[str]:
        mode = self.editor.GetOverwriteMode()
        if mode == OVERWRITE.OverwriteNone:
            return []
        if mode == OVERWRITE.OverwriteAllSegments:
            return list(OTHERS)
        return [name for name in OTHERS if self.node.GetDisplayNode().GetSegmentVisibility(name)]

    # The network

    @rule(seed=seeds, density=st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    def run_again(self, seed: int, density: float) -> None:
        """Another model, or the same one on the same clicks."""
        self.write(np.random.default_rng(seed).random(SHAPE) < density)

    @rule(seed=seeds, voxel=voxels, inside=st.booleans())
    def click(self, seed: int, voxel: tuple[int, int, int], inside: bool) -> None:
        self.clicks = (*self.clicks, (voxel, inside))
        self.write(np.random.default_rng(seed).random(SHAPE) < 0.5)

    @precondition(lambda self: self.clicks)
    @rule(seed=seeds)
    def remove_click(self, seed: int) -> None:
        self.clicks = self.clicks[1:]
        self.write(np.random.default_rng(seed).random(SHAPE) < 0.5)

    def write(self, mask: np.ndarray) -> None:
        clicks = tuple(Click(world(voxel), inside) for voxel, inside in self.clicks)
        before, forbidden = self.model, self.forbidden
        if self.ours in before.completed:
            try:
                self.editing.write(self.node, self.ours, self.ct, mask.astype(np.uint8), clicks)
                raise AssertionError("a completed segment was written")
            except InputError:
                self.clicks = before.clicks
            return
        outcome = self.editing.write(self.node, self.ours, self.ct, mask.astype(np.uint8), clicks)
        after = self.read(self.ours)
        kept = corrections(self.node, self.ours)
        user = self.on_grid(kept.painted | kept.erased, kept.ijkToLocal)

        # Corrections are taken back by new clicks on them only, and only around these.
        contradicted = np.zeros(SHAPE, bool)
        for voxel, inside in self.clicks:
            new = (voxel, inside) not in before.clicks
            if new and before.user[voxel] and before.ours[voxel] != inside:
                contradicted |= near(voxel) & (before.ours != inside)
        assert not (user & ~before.user).any()
        assert not (before.user & ~user & ~contradicted).any()
        # (a) The user's voxels hold.
        np.testing.assert_array_equal(after[user], before.ours[user])
        # Masking and completed segments hold; all else is what the network says.
        completed = np.zeros(SHAPE, bool)
        for name in self.overwritable:
            if name in before.completed:
                completed |= before.others[name]
        np.testing.assert_array_equal(after[forbidden], before.ours[forbidden])
        assert not (after & ~before.ours & completed).any()
        free = ~user & ~forbidden & ~(completed & ~before.ours)
        far = free.copy()
        for voxel, _ in self.clicks:
            far &= ~near(voxel)
        np.testing.assert_array_equal(after[far], mask[far])
        # (d) Clicks are satisfied, unless contradicted later by hand or forbidden.
        for voxel, inside in dict(self.clicks).items():
            if free[voxel] or (user[voxel] and (voxel, inside) not in before.clicks):
                assert after[voxel] == inside
        # (b) Other segments hold, unless they may be overwritten.
        others = dict(before.others)
        for name in self.overwritable:
            if name not in before.completed:
                others[name] = others[name] & ~(after & ~before.ours)

        changed = bool((after != before.ours).any())
        assert outcome.changed == changed
        if changed:
            self.history.save(before)
            self.history.touch()
        elif self.clicks != before.clicks or (user != before.user).any():
            self.history.touch()
        self.model = replace(before, ours=after, user=user, others=others, clicks=self.clicks)

    def on_grid(self, array: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        result = np.zeros(SHAPE, bool)
        i, j, k = np.round((np.linalg.inv(PLACE) @ matrix)[:3, 3]).astype(int)
        dk, dj, di = array.shape
        result[k : k + dk, j : j + dj, i : i + di] = array
        return result

    # The user's hand

    @rule(
        name=st.sampled_from(["ours", *OTHERS]),
        box=boxes | st.just((slice(None),) * 3),
        mode=st.sampled_from(["Add", "Remove", "Set"]),
    )
    def draw(self, name: str, box: tuple[slice, ...], mode: str) -> None:
        segment_id = self.ours if name == "ours" else name
        if segment_id in self.model.completed:
            return  # the user does not draw in a segment that is finished
        stroke = np.zeros(SHAPE, np.uint8)
        stroke[box] = 1
        image = segments.orientedImage(segments.Crop(stroke, (0, 0, 0)), PLACE)
        self.editor.SetSelectedSegmentID(segment_id)
        self.history.save(self.model)
        self.logic.SaveStateForUndo()
        self.events = 0
        self.logic.ModifySegmentByLabelmap(
            self.node,
            segment_id,
            image,
            getattr(self.logic, f"ModificationMode{mode}"),
            True,
            False,
        )
        # Whatever Slicer made of it, is the user's.
        self.tracker.recordCorrections()  # as the panel does when the application is idle
        if self.events:
            self.history.touch()
        before, after = self.model, self.read(self.ours)
        self.model = replace(
            before,
            ours=after,
            user=before.user | (after != before.ours),
            others={name: self.read(name) for name in OTHERS},
        )

    @rule()
    def clear_corrections(self) -> None:
        clearCorrections(self.node, self.ours)
        if self.model.user.any():
            self.history.touch()
        self.model = replace(self.model, user=np.zeros(SHAPE, bool))

    @precondition(lambda self: self.history.last >= 1)
    @rule()
    def undo(self) -> None:
        self.logic.Undo()
        self.model = self.history.undo(self.model)
        self.clicks = self.model.clicks

    @precondition(lambda self: self.history.last + 1 < len(self.history.states))
    @rule()
    def redo(self) -> None:
        self.logic.Redo()
        self.model = self.history.redo(self.model)
        self.clicks = self.model.clicks

    # Settings

    @rule(
        mode=st.sampled_from(
            [
                MODES.EditAllowedEverywhere,
                MODES.EditAllowedInsideAllSegments,
                MODES.EditAllowedInsideVisibleSegments,
                MODES.EditAllowedOutsideAllSegments,
                MODES.EditAllowedOutsideVisibleSegments,
                MODES.EditAllowedInsideSingleSegment,
            ]
        )
    )
    def set_masking(self, mode: int) -> None:
        self.editor.SetMaskMode(mode)
        self.editor.SetMaskSegmentID("A")

    @rule(limits=st.tuples(st.integers(0, 99), st.integers(0, 99)), on=st.booleans())
    def set_intensity_range(self, limits: tuple[int, int], on: bool) -> None:
        self.editor.SetSourceVolumeIntensityMaskRange(min(limits), max(limits))
        self.editor.SetSourceVolumeIntensityMask(on)

    @rule(
        mode=st.sampled_from(
            [
                OVERWRITE.OverwriteNone,
                OVERWRITE.OverwriteVisibleSegments,
                OVERWRITE.OverwriteAllSegments,
            ]
        )
    )
    def set_overwriting(self, mode: int) -> None:
        self.editor.SetOverwriteMode(mode)

    @rule(name=st.sampled_from(["ours", *OTHERS]), shown=st.booleans())
    def set_visibility(self, name: str, shown: bool) -> None:
        name = self.ours if name == "ours" else name
        self.node.GetDisplayNode().SetSegmentVisibility(name, shown)

    @rule(name=st.sampled_from(["ours", *OTHERS]), finished=st.booleans())
    def set_status(self, name: str, finished: bool) -> None:
        name = self.ours if name == "ours" else name
        segment = self.node.GetSegmentation().GetSegment(name)
        status = STATUS.Completed if finished else STATUS.InProgress
        if STATUS.GetSegmentStatus(segment) != status:
            STATUS.SetSegmentStatus(segment, status)
            self.history.touch()
        completed = self.model.completed - {name}
        self.model = replace(self.model, completed=completed | ({name} if finished else set()))

    @rule()
    def save_and_load(self) -> None:
        path = self.folder / "segmentation.seg.nrrd"
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.WriteData(self.node)
        loaded = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
        assert storage.ReadData(loaded)
        self.scene.RemoveNode(storage)
        loaded.CreateDefaultDisplayNodes()
        for name in (self.ours, *OTHERS):
            shown = self.node.GetDisplayNode().GetSegmentVisibility(name)
            loaded.GetDisplayNode().SetSegmentVisibility(name, shown)
        self.tracker.stop()
        old = self.node
        self.attach(loaded)
        self.scene.RemoveNode(old)

    # What holds at any time

    @invariant()
    def scene_is_as_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        np.testing.assert_array_equal(self.read(self.ours), self.model.ours)
        for name in OTHERS:
            np.testing.assert_array_equal(self.read(name), self.model.others[name])
        theirs = corrections(self.node, self.ours)
        painted = self.on_grid(theirs.painted, theirs.ijkToLocal)
        erased = self.on_grid(theirs.erased, theirs.ijkToLocal)
        np.testing.assert_array_equal(painted, self.model.user & self.model.ours)
        np.testing.assert_array_equal(erased, self.model.user & ~self.model.ours)
        expected = tuple(Click(world(voxel), inside) for voxel, inside in self.model.clicks)
        assert readClicks(self.node, self.ours) == expected
        assert self.logic.CanUndo() == (self.history.last >= 1)
        assert self.logic.CanRedo() == (self.history.last + 1 < len(self.history.states))


Editing.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestEditing = Editing.TestCase
