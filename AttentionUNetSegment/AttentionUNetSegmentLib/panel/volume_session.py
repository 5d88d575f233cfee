"""What is going on with one volume: its clicks, and the segment that they are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import slicer
import vtk

from ..errors import InputError, OutsideRegionError
from ..inference.strokes import Prompt
from ..inference.validation import check_clicks
from ..scene.corrections import CorrectionTracker, readClicks
from ..scene.scan_clicks import NO_CLICKS, ScanClicks, imageKnownBy, sameClick
from ..scene.segments import isOfAnother, isStructure
from ..scene.start import beginsFromMask
from ..scene.volumes import clicksInPlace, volumeFromNode
from .click_points import ClickPoints, clickNodeOf, newClickNode

# As text: the class is that of another module, and need not be there yet.
Target: TypeAlias = "tuple[slicer.vtkMRMLSegmentationNode, str]"
"""A segment: the segmentation, and the segment's ID in it."""


class VolumeSession:
    """The clicks on a volume and the segment that they are about, each kept in line with the other.

    Args:
        volumeNode: the scan.
        onClicked: the user placed, dragged or removed a point.
        onSegmentChanged: the segment's voxels, or after an undo its state, are others; called amid
            the change, so that it must not do more than ask for :meth:`takeUpSegment` to be called
            soon.
        onVolumeChanged: the scan may lie elsewhere, or have other voxels; likewise, for
            :meth:`followVolume`.

    Attributes:
        beginsFromMask: the clicks mend a mask that the user had them begin from.
        ofStructure: they are about a segment of any structure, perhaps one that is gone.
        accepted: the clicks as they were when they were last known to be in the scan.
        ofAnotherImage: the scan shows another image than that which the last result is of.
    """

    def __init__(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        onClicked: Callable[[VolumeSession], None],
        onSegmentChanged: Callable[[VolumeSession], None],
        onVolumeChanged: Callable[[VolumeSession], None],
    ) -> None:
        self.volumeNode = volumeNode
        self.target: Target | None = None
        self._onClicked = onClicked
        self._onSegmentChanged = onSegmentChanged
        self._points: ClickPoints | None = None
        self._observed: list[tuple[Any, int]] = []
        self._dragging = False
        self._trackers: dict[tuple[str, str], CorrectionTracker] = {}
        self._stated: tuple[Prompt, ...] = ()
        self._unanswered: dict[tuple[str, str], tuple[ScanClicks, ScanClicks]] = {}
        self._placed = self._undone = NO_CLICKS
        self.accepted: tuple[Prompt, ...] = ()
        self._volumeObservers = [
            volumeNode.AddObserver(event, lambda *_: onVolumeChanged(self))
            for event in (
                slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
                slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
                vtk.vtkCommand.ModifiedEvent,  # a transform is hardened
            )
        ]
        self.beginsFromMask = self.ofStructure = self.ofAnotherImage = False
        self._image = imageKnownBy(volumeNode)

    @property
    def clicks(self) -> tuple[Prompt, ...]:
        points = self.points
        return points.clicks if points is not None else ()

    @property
    def points(self) -> ClickPoints | None:
        """None as long as there was no click on this volume."""
        node = clickNodeOf(self.volumeNode)
        if node is not (self._points.node if self._points is not None else None):
            self._observe(node)
        return self._points

    def newPoints(self) -> ClickPoints:
        """The points; made where there are none."""
        points = self.points
        if points is None:
            newClickNode(self.volumeNode)
            points = self.points
            assert points is not None
        return points

    def setTarget(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """The clicks are about this segment from now on. Those about another one are kept with that
        and come back with it, and so do those of a segment that was loaded without points."""
        before = self.target
        if before is not None and before[0] is segmentationNode and before[1] == segmentId:
            return
        self._keepUnanswered()
        self._follow(segmentationNode, segmentId)
        ofAnother = isOfAnother(segmentationNode, segmentId, self.volumeNode)
        if before is not None or not (self.clicks or ofAnother):
            self._show(self._withUnanswered())

    def begin(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """The clicks are about this segment as it is now, and there are none yet."""
        self._keepUnanswered()
        self._unanswered.pop((segmentationNode.GetID(), segmentId), None)
        self._follow(segmentationNode, segmentId)
        self._show(())

    def clearTarget(self) -> None:
        """The clicks are about no segment yet. Those about the one before are kept with that."""
        if self.target is not None:
            self._keepUnanswered()
            self.target = None
            self._stated, self.beginsFromMask, self.ofStructure = (), False, False
            self._show(())

    def takeUpResult(
        self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str
    ) -> None:
        """The network's answer to the clicks was written into this segment."""
        self._follow(segmentationNode, segmentId)

    def takeUpImage(self) -> None:
        """The network's answer is about the scan's image as it is now."""
        self._image = imageKnownBy(self.volumeNode)
        self.ofAnotherImage = False

    def followImage(self) -> bool:
        """As when a sequence goes on.

        Returns:
            Whether :attr:`ofAnotherImage` is otherwise now.
        """
        before = self.ofAnotherImage
        self.ofAnotherImage = imageKnownBy(self.volumeNode) not in ("", self._image)
        return self.ofAnotherImage != before

    def takeUpSegment(self) -> bool:
        """Take note of what was done to the segment by hand; after an undo or a redo, take up the
        clicks that belong to what is in it now.

        Returns:
            Whether the clicks, or what they mend, became others.
        """
        target = self.target
        if target is None or not _exists(target):
            return False
        # The section that shows the corrections says why they cannot be read.
        with suppress(InputError):
            self._trackers[_key(target)].recordCorrections()
        clicks, begins = readClicks(*target, self.volumeNode), beginsFromMask(*target)
        if (clicks, begins) == (self._stated, self.beginsFromMask):
            return False
        self._stated, self.beginsFromMask = clicks, begins
        self._show(clicks)
        return True

    def refuseOutside(self, checkRegion: Callable[[], None]) -> InputError | None:
        """Take away new points outside of the scan, and take back one that was dragged out of it:
        no answer could be given any more.

        Args:
            checkRegion: raises an OutsideRegionError where clicks lie outside of a region of
                interest that holds for them. Of these only new ones are taken away: the region may
                have been chosen after the others.

        Returns:
            What is to be said of them; None where there is none.
        """
        try:
            scan = volumeFromNode(self.volumeNode)
        except InputError:
            return None  # said when the user wants to segment it
        clicks, refused = self.clicks, None
        for click, placed in zip(clicks, clicksInPlace(self.volumeNode, clicks), strict=True):
            try:
                check_clicks(scan, [placed])
            except InputError as error:
                refused = refused or error
                clicks = tuple(one for one in clicks if one is not click)
        if refused is None:
            try:
                checkRegion()
            except OutsideRegionError as error:
                beside = [clicks[one] for one in error.numbers if one < len(clicks)]
                beside = [one for one in beside if one not in self.accepted]
                if beside:
                    refused = error
                    clicks = tuple(one for one in clicks if one not in beside)
        if refused is not None:
            dragged = len(self.clicks) == len(self.accepted)
            self._show(self.accepted if dragged else clicks)
        self.accepted = self.clicks
        return refused

    def followVolume(self) -> bool:
        """The points go with the scan when it is moved, as the voxels do that they were placed on;
        those that were moved otherwise meanwhile stay.

        Returns:
            Whether they are elsewhere now.
        """
        points, before, undone = self.points, self._placed, self._undone
        if points is None:
            return False
        self._placed = before.movedWith(self.volumeNode)
        self._undone = undone.movedWith(self.volumeNode)
        if self._placed is before and self._undone is undone:
            self._place()  # perhaps on other voxels
            return False
        now = dict(zip(before.world, self._placed.world, strict=True))
        undone = self._undone
        self._show(tuple(now.get(click, click) for click in self.clicks))
        points.undone, self._undone = undone.world, undone
        if self.target is not None and _exists(self.target):
            self._stated = readClicks(*self.target, self.volumeNode)
        return True

    def stop(self) -> None:
        """Observe no more."""
        self._observe(None)
        for observer in self._volumeObservers:
            self.volumeNode.RemoveObserver(observer)
        self._volumeObservers = []
        for tracker in self._trackers.values():
            tracker.stop()
        self._trackers.clear()
        self.target = None

    def _keepUnanswered(self) -> None:
        """Remember the clicks that nobody answered yet, for when they are about their segment
        again: what its state says, and all."""
        if self.target is not None and self.clicks != self._stated:
            stated = ScanClicks.on(self.volumeNode, self._stated)
            self._unanswered[_key(self.target)] = stated, self._placed

    def _withUnanswered(self) -> tuple[Prompt, ...]:
        """The clicks of the segment that they are about now; those alone that its state says where
        that went another way meanwhile, as by an undo."""
        assert self.target is not None
        kept, now = self._unanswered.pop(_key(self.target), None), self._stated
        if kept is None:
            return now
        stated, clicks = (one.movedWith(self.volumeNode).world for one in kept)
        return clicks if _beginsWith(now, stated) and _beginsWith(clicks, now) else now

    def _show(self, clicks: tuple[Prompt, ...]) -> None:
        points = self.newPoints() if clicks else self.points
        if points is not None:
            points.show(clicks)
            self._place()
            self.accepted = self.clicks

    def _place(self) -> None:
        """Take note of where in the scan the points are, and those that can be brought back."""
        undone = self._points.undone if self._points is not None else ()
        self._placed = self._placed.updated(self.volumeNode, self.clicks)
        self._undone = self._undone.updated(self.volumeNode, undone)

    def _follow(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        self.target = (segmentationNode, segmentId)
        self._stated = readClicks(segmentationNode, segmentId, self.volumeNode)
        self.beginsFromMask = beginsFromMask(segmentationNode, segmentId)
        self.ofStructure = isStructure(segmentationNode, segmentId)
        for key, tracker in list(self._trackers.items()):
            if not _exists((tracker.segmentationNode, tracker.segmentId)):
                tracker.stop()
                del self._trackers[key]
                self._unanswered.pop(key, None)  # another segment may get its ID
        if _key(self.target) not in self._trackers:
            self._trackers[_key(self.target)] = CorrectionTracker(
                segmentationNode, segmentId, lambda: self._onSegmentChanged(self)
            )

    def _observe(self, node: slicer.vtkMRMLMarkupsFiducialNode | None) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []
        if self._points is not None:
            self._points.stop()
        self._points, self._placed, self._undone = None, NO_CLICKS, NO_CLICKS
        self._dragging = False
        if node is None:
            return
        self._points = ClickPoints(node)
        events = (
            slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent,
            slicer.vtkMRMLMarkupsNode.PointRemovedEvent,
            slicer.vtkMRMLMarkupsNode.PointPositionUndefinedEvent,
            slicer.vtkMRMLMarkupsNode.PointPositionMissingEvent,
        )
        for event in events:
            self._observed.append((node, node.AddObserver(event, self._onPointsChanged)))
        for event, function in (
            # Its coordinates are written elsewhere, as in the Markups module.
            (slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._onPointModified),
            # Not while a point is being dragged: when it is let go.
            (slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent, self._onPointDragged),
            (slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent, self._onPointLetGo),
        ):
            self._observed.append((node, node.AddObserver(event, function)))
        self._points.mark()
        self._place()
        self.accepted = self.clicks

    def _onPointsChanged(self, _node: vtk.vtkObject, _event: str) -> None:
        if self._points is not None and self._points.mark():
            self._place()
            self._onClicked(self)

    def _onPointModified(self, node: vtk.vtkObject, event: str) -> None:
        if not self._dragging:
            self._onPointsChanged(node, event)

    def _onPointDragged(self, _node: vtk.vtkObject, _event: str) -> None:
        self._dragging = True

    def _onPointLetGo(self, node: vtk.vtkObject, event: str) -> None:
        self._dragging = False
        self._onPointsChanged(node, event)


def _exists(target: Target) -> bool:
    node, segmentId = target
    return node.GetScene() is not None and node.GetSegmentation().GetSegment(segmentId) is not None


def _beginsWith(clicks: Sequence[Prompt], beginning: Sequence[Prompt]) -> bool:
    return len(clicks) >= len(beginning) and all(map(sameClick, clicks, beginning))


def _key(target: Target) -> tuple[str, str]:
    return target[0].GetID(), target[1]
