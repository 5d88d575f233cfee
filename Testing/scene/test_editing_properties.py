"""Any sequence of network writes, hand edits, undos and settings, against a plain numpy model.

The user's side is Slicer's own ``vtkSlicerSegmentEditorLogic``; the model knows nothing of how the
library does its work.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from AttentionUNetSegmentLib import scene as scene_package
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.strokes import Lasso, Scribble
from AttentionUNetSegmentLib.scene import segments
from AttentionUNetSegmentLib.scene.corrections import (
    CorrectionTracker,
    clearCorrections,
    corrections,
    readClicks,
)
from AttentionUNetSegmentLib.scene.editing import SegmentEditing
from AttentionUNetSegmentLib.scene.start import beginFrom, startOnScan
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


@dataclass(frozen=True)
class Drawn:
    """A click, a line or a box, in voxels (k, j, i).

    Args:
        ends: of the line, along one axis; twice the voxel of a click; two corners of a box.
        inside: None for a box.
    """

    ends: tuple[tuple[int, int, int], tuple[int, int, int]]
    inside: bool | None

    @property
    def prompt(self) -> Click | Scribble | Lasso:
        first, last = self.ends
        if self.inside is None:
            (k, j, i), (_, to_j, to_i) = np.min(self.ends, axis=0), np.max(self.ends, axis=0)
            corners = [(i - 0.5, j - 0.5), (to_i + 0.5, j - 0.5)]
            corners += [(to_i + 0.5, to_j + 0.5), (i - 0.5, to_j + 0.5)]
            return Lasso(tuple(world((k, at_j, at_i)) for at_i, at_j in corners))
        if first == last:
            return Click(world(first), self.inside)
        return Scribble((world(first), world(last)), self.inside)

    @property
    def voxels(self) -> list[tuple[int, int, int]]:
        """That are to be obeyed."""
        if self.inside is None:
            return []
        count = max(abs(a - b) for a, b in zip(*self.ends, strict=True)) + 1
        steps = np.linspace(*self.ends, count).round().astype(int)
        return [(int(k), int(j), int(i)) for k, j, i in steps]

    def leaves_in(self, voxel: tuple[int, int, int]) -> bool:
        """Whether a box has a voxel in it, in whatever slice."""
        _, *in_slice = zip(voxel, *self.ends, strict=True)
        return all(min(ends) <= at <= max(ends) for at, *ends in in_slice)


def said_points(drawn: tuple[Drawn, ...]) -> list[tuple[tuple[int, int, int], bool, Drawn]]:
    """What is to be obeyed, in order: a box takes back what was said to be inside outside of it."""
    points: list[tuple[tuple[int, int, int], bool, Drawn]] = []
    for one in drawn:
        if one.inside is None:
            points = [each for each in points if not each[1] or one.leaves_in(each[0])]
        else:
            points += [(voxel, one.inside, one) for voxel in one.voxels]
    return points


def near(voxel: tuple[int, int, int], drawn: Drawn) -> np.ndarray:
    """Which voxels are closer to one than the radius of a click's ball; a line has balls half way
    between voxels, too."""
    apart = np.stack(np.indices(SHAPE), axis=-1) - np.array(voxel)
    radius = BALL_MM if drawn.ends[0] == drawn.ends[1] else BALL_MM + 1.5
    return 3.0 * np.linalg.norm(apart, axis=-1) < radius


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
        self.clicks: tuple[Drawn, ...] = ()
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
        """Another model, or the same one on the same clicks; what was begun from is forgotten."""
        self.write(np.random.default_rng(seed).random(SHAPE) < density, anew=True)

    @rule(seed=seeds, voxel=voxels, inside=st.booleans())
    def click(self, seed: int, voxel: tuple[int, int, int], inside: bool) -> None:
        self.clicks = (*self.clicks, Drawn((voxel, voxel), inside))
        self.write(np.random.default_rng(seed).random(SHAPE) < 0.5)

    @rule(seed=seeds, voxel=voxels, other=voxels, axis=st.integers(0, 2), inside=st.booleans())
    def scribble(
        self,
        seed: int,
        voxel: tuple[int, int, int],
        other: tuple[int, int, int],
        axis: int,
        inside: bool,
    ) -> None:
        k, j, i = (other[at] if at == axis else voxel[at] for at in range(3))
        self.clicks = (*self.clicks, Drawn((voxel, (k, j, i)), inside))
        self.write(np.random.default_rng(seed).random(SHAPE) < 0.5)

    @rule(seed=seeds, corner=voxels, opposite=voxels)
    def box(self, seed: int, corner: tuple[int, int, int], opposite: tuple[int, int, int]) -> None:
        self.clicks = (*self.clicks, Drawn((corner, opposite), None))
        self.write(np.random.default_rng(seed).random(SHAPE) < 0.5)

    @precondition(lambda self: self.clicks)
    @rule(seed=seeds)
    def remove_click(self, seed: int) -> None:
        self.clicks = self.clicks[1:]
        self.write(np.random.default_rng(seed).random(SHAPE) < 0.5)

    @rule()
    def begin_from_it(self) -> None:
        """What is in the segment is what clicks mend from now on."""
        before = self.model
        try:
            beginFrom(self.node, self.ours, self.ct, self.logic.SaveStateForUndo)
        except InputError:
            assert self.ours in before.completed or not before.ours.any()
            return
        assert self.ours not in before.completed
        assert before.ours.any()
        nothing = np.zeros(SHAPE, bool)
        self.clicks = ()
        self.model = replace(before, user=nothing, clicks=(), start=before.ours)
        if (
            before.start is None
            or (before.start != before.ours).any()
            or before.clicks
            or (before.user.any())
        ):
            self.history.save(before)
            self.history.touch()

    def write(self, mask: np.ndarray, anew: bool = False) -> None:
        clicks = tuple(one.prompt for one in self.clicks)
        mask = mask & np.array(
            [
                all(one.leaves_in(voxel) for one in self.clicks if one.inside is None)
                for voxel in np.ndindex(SHAPE)
            ]
        ).reshape(SHAPE)
        before, forbidden = self.model, self.forbidden
        start = None if anew or before.start is None else before.start.astype(np.uint8)
        if self.ours in before.completed:
            try:
                self.editing.write(self.node, self.ours, self.ct, mask.astype(np.uint8), clicks)
                raise AssertionError("a completed segment was written")
            except InputError:
                self.clicks = before.clicks
            return
        outcome = self.editing.write(
            self.node, self.ours, self.ct, mask.astype(np.uint8), clicks, start
        )
        after = self.read(self.ours)
        kept = corrections(self.node, self.ours)
        user = self.on_grid(kept.painted | kept.erased, kept.ijkToLocal)

        # Corrections are taken back by new clicks on them only, and only around these.
        contradicted = np.zeros(SHAPE, bool)
        points = said_points(self.clicks)
        earlier = {(voxel, inside) for voxel, inside, _ in said_points(before.clicks)}
        for voxel, inside, drawn in points:
            new = drawn not in before.clicks
            if new and before.user[voxel] and before.ours[voxel] != inside:
                contradicted |= near(voxel, drawn) & (before.ours != inside)
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
        for voxel, _, drawn in points:
            far &= ~near(voxel, drawn)
        np.testing.assert_array_equal(after[far], mask[far])
        # (d) Clicks are satisfied, unless contradicted later by hand or forbidden.
        for voxel, inside in {voxel: inside for voxel, inside, _ in points}.items():
            if free[voxel] or (user[voxel] and (voxel, inside) not in earlier):
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
        elif (
            self.clicks != before.clicks
            or (user != before.user).any()
            or (start is None) != (before.start is None)
        ):
            self.history.touch()
        self.model = replace(
            before,
            ours=after,
            user=user,
            others=others,
            clicks=self.clicks,
            start=None if start is None else before.start,
        )

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
        expected = tuple(one.prompt for one in self.model.clicks)
        begun = startOnScan(self.node, self.ours, self.ct)
        assert (begun is None) == (self.model.start is None)
        if begun is not None:
            np.testing.assert_array_equal(begun > 0, self.model.start)
        assert readClicks(self.node, self.ours) == expected
        assert self.logic.CanUndo() == (self.history.last >= 1)
        assert self.logic.CanRedo() == (self.history.last + 1 < len(self.history.states))


Editing.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestEditing = Editing.TestCase
