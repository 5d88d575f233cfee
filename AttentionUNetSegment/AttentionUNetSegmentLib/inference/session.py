"""One scan, and what the network said about it, kept while a user clicks.

>>> session = Session(predictor, volume)
>>> prediction = session.predict()                      # automatic
>>> update = session.add_click((12.5, -30.0, 104.0), inside=True)
>>> update.mask[update.box]                             # all that changed

The mask is a function of the scan, the model and the clicks in their order: a click changes what
the clicks before it gave, and only near itself. A click inside only adds to the organ there, and a
click outside only takes from it: who points at one mistake is not to find another one made. What
came out after each click is kept, so that undo, redo and taking back the last click give the very
same mask at once.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.grid import Box, Grid, Region
from ..geometry.volume import Volume
from ..networks import focus_ratio
from .click_update import (
    COARSEST,
    LARGEST_WINDOW,
    MARGIN,
    REACH_MM,
    changed_by_click,
    following,
    window_around,
)
from .clicks import Click, satisfy_clicks
from .device import describe_device, is_lost_device, is_out_of_memory
from .prediction import THRESHOLD, Prediction
from .predictor import Predictor, Steps, check_extent
from .progress import CancelToken, ProgressCallback, ignore_progress
from .quality import result_doubts, scan_doubts
from .refinement import Look, mask_on_scan, region_on_scan
from .regions import connected_components, kept_pieces
from .validation import check_clicks

KEPT_STATES = 32
"""States that are held, a few megabytes each; older ones are computed again where needed."""
UNDO_STEPS = 200
"""Changes of the clicks that can be undone: each holds all the clicks that there were."""
NOWHERE: Region = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True)
class Update:
    """What a click changed.

    Args:
        mask: uint8 (k, j, i), the whole scan's; not to be written into.
        box: k, j, i slices outside of which the mask is what it was before; empty where nothing
            changed.
        prediction: with the probability and the attention that go with the mask.
    """

    mask: np.ndarray
    box: Region
    prediction: Prediction


@dataclass(frozen=True, eq=False)
class _State:
    """What is known after some clicks.

    Args:
        look: None where there was nothing to look at.
        kept: boolean, on the look's grid: the pieces that stay, with their holes filled.
        region: of the scan.
        mask: uint8, of the region only.
        pieces: how many.
        warnings: about how it was computed.
    """

    look: Look | None
    kept: np.ndarray
    region: Region
    mask: np.ndarray
    pieces: int = 0
    warnings: tuple[str, ...] = ()

    @classmethod
    def nothing(cls, warnings: Sequence[str] = ()) -> _State:
        empty = np.zeros((0, 0, 0), np.uint8)
        return cls(None, empty.astype(bool), NOWHERE, empty, 0, tuple(warnings))

    @property
    def mean_probability(self) -> float | None:
        """Over the organ on the look's grid; None where there is none."""
        if self.look is None:
            return None
        values = self.look.values
        inside = values[self.kept & (values > THRESHOLD)]
        return float(inside.mean()) if inside.size else None


class Session:
    """Answers clicks on one scan.

    One thread at a time may use it, the one that runs the network.

    Args:
        predictor: the model, on its device.
        volume: CT in Hounsfield units.
        checked: :func:`~.doubts.scan_doubts` has passed the scan already.
        interest: k, j, i box of the scan that the user drew: the organ is looked for and drawn in
            there only; the network sees what is around it, too.

    Attributes:
        automatic: whether the mask began with a look at the whole scan.

    Raises:
        InputError: the scan cannot be used.
    """

    def __init__(
        self,
        predictor: Predictor,
        volume: Volume,
        *,
        checked: bool = False,
        interest: Region | None = None,
    ) -> None:
        self.predictor = predictor
        self.volume = volume
        self._checked = checked
        self._interest = interest
        self._scan_warnings: tuple[str, ...] = ()
        self._device_warnings: tuple[str, ...] = ()
        self._states: OrderedDict[tuple[bool, tuple[Click, ...]], _State] = OrderedDict()
        self._sample: tuple[Grid, torch.Tensor] | None = None
        self.automatic = False
        self._clicks: tuple[Click, ...] = ()
        self._shown = _State.nothing()
        self._done: deque[tuple[Click, ...]] = deque(maxlen=UNDO_STEPS)
        self._undone: list[tuple[Click, ...]] = []

    @property
    def clicks(self) -> tuple[Click, ...]:
        """Those that the mask was made from, in their order."""
        return self._clicks

    # What a user does. Each raises what `predict` raises, and then nothing has changed.

    def add_click(self, position_ras: Sequence[float], inside: bool) -> Update:
        """One more point, inside or outside the organ; the first, before there is an automatic
        result, segments the organ around it."""
        r, a, s = (float(value) for value in position_ras)
        return self._change((*self._clicks, Click((r, a, s), inside)))

    def remove_click(self, index: int) -> Update:
        """Take a click away, wherever it is in the order.

        Raises:
            IndexError: there is no such click.
        """
        return self._change(_without(self._clicks, index))

    def move_click(self, index: int, position_ras: Sequence[float]) -> Update:
        """Drag a click elsewhere; it becomes the last one.

        Raises:
            IndexError: there is no such click.
        """
        r, a, s = (float(value) for value in position_ras)
        moved = Click((r, a, s), self._clicks[index].inside)
        return self._change((*_without(self._clicks, index), moved))

    def reset(self) -> Update:
        """Take all clicks away; can be undone."""
        return self._change(())

    def undo(self) -> Update:
        """The clicks before the last change, up to :data:`UNDO_STEPS` of them; nothing where there
        was none."""
        if not self._done:
            return self._show(self._clicks)
        before = self._clicks
        update = self._show(self._done[-1])
        self._done.pop()
        self._undone.append(before)
        return update

    def redo(self) -> Update:
        """The clicks that the last :meth:`undo` took back; nothing where there was none."""
        if not self._undone:
            return self._show(self._clicks)
        before = self._clicks
        update = self._show(self._undone[-1])
        self._undone.pop()
        self._done.append(before)
        return update

    def _change(self, clicks: tuple[Click, ...]) -> Update:
        before = self._clicks
        update = self._show(clicks)
        self._done.append(before)
        self._undone.clear()
        return update

    def _show(self, clicks: tuple[Click, ...]) -> Update:
        before = self._shown
        prediction = self.predict(clicks, automatic=self.automatic)
        return Update(prediction.mask, _changed(before, self._shown), prediction)

    # What the network does

    def predict(
        self,
        clicks: Sequence[Click] = (),
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        *,
        automatic: bool = True,
    ) -> Prediction:
        """The mask after these clicks, computed from the longest beginning of them that is known.

        Args:
            clicks: points in the world, in the order in which they were placed.
            progress: told what is being done.
            cancel: checked between steps and between tiles.
            automatic: look for the organ in the whole scan first, and let the clicks change what
                was found; False: only look where the clicks are.

        Raises:
            InputError: the scan or a click cannot be used.
            MemoryError: not even the CPU's memory suffices.
            Cancelled: the token was set.
        """
        steps = Steps(progress or ignore_progress, cancel)
        began = time.perf_counter()
        with steps.step("check", 0.0, "Checking the scan"):
            if not self._checked:
                self._scan_warnings = tuple(scan_doubts(self.volume, self.predictor.card))
                self._checked = True
            check_extent(self.volume)
            check_clicks(self.volume, clicks)
        with torch.inference_mode():
            state, prediction = self._answer(automatic, tuple(clicks), steps)
        self.automatic, self._clicks, self._shown = automatic, tuple(clicks), state
        steps.timings_s["total"] = time.perf_counter() - began
        steps.progress(1.0, "Done")
        return dataclasses.replace(prediction, timings_s=steps.timings_s)

    def _answer(
        self, automatic: bool, clicks: tuple[Click, ...], steps: Steps
    ) -> tuple[_State, Prediction]:
        """State and prediction; on the CPU from the beginning where the GPU fails."""
        try:
            state = self._state(automatic, clicks, steps)
            return state, self._prediction(state, clicks, steps)
        except RuntimeError as error:
            if self.predictor.on_gpu and (is_out_of_memory(error) or is_lost_device(error)):
                lacking = is_out_of_memory(error)
                failure = "GPU's memory did not suffice" if lacking else "GPU stopped working"
            elif is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            else:
                raise
        # What lies on the GPU may be out of reach.
        self._states.clear()
        self._sample = None
        self.predictor.go_on_with_cpu()
        self._device_warnings = (f"The {failure}; the CPU was used instead, which takes longer.",)
        return self._answer(automatic, clicks, steps)

    def _state(self, automatic: bool, clicks: tuple[Click, ...], steps: Steps) -> _State:
        known = len(clicks)
        while known and (automatic, clicks[:known]) not in self._states:
            known -= 1
        state = self._states.get((automatic, clicks[:known]))
        if state is None:
            state = self._automatic_state(steps) if automatic else _State.nothing()
            self._keep((automatic, ()), state)
        for count in range(known + 1, len(clicks) + 1):
            state = self._after_click(state, clicks[:count], steps)
            self._keep((automatic, clicks[:count]), state)
        self._states.move_to_end((automatic, clicks))
        return state

    def _keep(self, key: tuple[bool, tuple[Click, ...]], state: _State) -> None:
        self._states[key] = state
        while len(self._states) > KEPT_STATES:
            # The automatic result is the dearest to compute, and all others begin with it.
            oldest = next(other for other in self._states if other[1])
            del self._states[oldest]

    def _automatic_state(self, steps: Steps) -> _State:
        warnings: list[str] = []
        with steps.step("locate", 0.05, f"Looking for the {self.predictor.card.target}"):
            box = self.predictor.locate(self.volume, warnings, steps.cancel, self._interest)
        if box is None:
            return _State.nothing(warnings)
        return self._looked_at(box, (), warnings, steps)

    def _looked_at(
        self, box: Box, clicks: tuple[Click, ...], warnings: list[str], steps: Steps
    ) -> _State:
        """A part of the scan that was not looked at before."""
        look, scan = self.predictor.look_closely(
            self.volume, box, clicks, warnings, steps, self._interest
        )
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            if clicks:
                probability = following(look.probability.values, scan, look.grid, clicks)
                look = look.with_probability(probability)
            kept, pieces = kept_pieces(self._foreground(look), look.grid, clicks)
            region = region_on_scan(self.volume, look)
            mask = self._with_clicks(mask_on_scan(self.volume, look, kept, region), region, clicks)
        return _State(look, kept, region, mask, pieces, tuple(warnings))

    def _after_click(self, state: _State, clicks: tuple[Click, ...], steps: Steps) -> _State:
        """One more click: the network looks again around it, and only there anything changes."""
        click, warnings = clicks[-1], list(state.warnings)
        if state.look is None:
            box = self.predictor.surroundings(self.volume, clicks)
            return state if box is None else self._looked_at(box, clicks, warnings, steps)
        if not click.inside and not self._takes_from(state, click):
            return state
        with steps.step("refine", 0.3, "Segmenting around the click"):
            window_in_old = self._window(click, state.look.grid)
            before, window = state.look.reaching(window_in_old, COARSEST)
            grid = before.grid.subgrid(window)
            scan = self._sampled(grid)
            if self.predictor.takes_clicks or before is not state.look:
                seen = self.predictor.refine(scan, grid, clicks, warnings, steps.cancel)
            else:
                # It would be asked the same again.
                seen = before.part(window)
            # A GPU with too little memory may just have been given up.
            scan, before = scan.to(self.predictor.device), before.to(self.predictor.device)
            look = changed_by_click(before, seen, window, scan, clicks)
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            kept, pieces = self._kept(state, look, clicks)
            region = region_on_scan(self.volume, look)
            mask = np.zeros([part.stop - part.start for part in region], np.uint8)
            mask[_within(state.region, region)] = state.mask
            near = self._near(click, region)
            drawn = mask_on_scan(self.volume, look, kept, near)
            furthest = np.maximum if click.inside else np.minimum
            mask[_within(near, region)] = furthest(drawn, mask[_within(near, region)])
            mask = self._with_clicks(mask, region, clicks)
        return _State(look, kept, region, mask, pieces, tuple(warnings))

    def _window(self, click: Click, grid: Grid) -> Region:
        """Where to look again after a click: in whole slices with a 2D network, and beyond what is
        known for more surroundings only where the network sees the click that they surround."""
        margin = MARGIN if self.predictor.takes_clicks else (0, 0, 0)
        if not self.predictor.slicewise:
            return window_around(click, grid, margin=margin)
        return window_around(click, grid, (LARGEST_WINDOW[0], *grid.shape[1:]), (margin[0], 0, 0))

    def _takes_from(self, state: _State, click: Click) -> bool:
        """Whether there is anything that a click outside could take away."""
        near = _within(self._near(click, state.region), state.region)
        return bool(state.mask[near].any())

    def _sampled(self, grid: Grid) -> torch.Tensor:
        """The scan on a grid; kept, since most clicks on a scan look at the same one."""
        if self._sample is None or not self._sample[0].same_as(grid):
            self._sample = (grid, self.predictor.sample(self.volume, grid))
        return self._sample[1]

    def _foreground(self, look: Look) -> np.ndarray:
        """Where the organ is, by the network, in the user's box: bool (k, j, i) on its grid."""
        foreground = look.values > THRESHOLD
        if self._interest is not None:
            box = self.volume.grid.subgrid(self._interest).bounds
            outside = np.ones(foreground.shape, bool)
            outside[look.grid.region_of(box.corners_ras)] = False
            foreground &= ~outside
        return foreground

    def _kept(self, state: _State, look: Look, clicks: tuple[Click, ...]) -> tuple[np.ndarray, int]:
        """The pieces that stay: decided anew near the last click, as before elsewhere."""
        assert state.look is not None
        kept, _ = kept_pieces(self._foreground(look), look.grid, clicks)
        low, old_low = look.grid.bounds.low_ras, state.look.grid.bounds.low_ras
        shift = np.round((old_low - low) / look.grid.spacing_mm).astype(int)[::-1]
        before = np.zeros(look.grid.shape, bool)
        before[
            tuple(
                slice(start, start + size)
                for start, size in zip(shift, state.look.grid.shape, strict=True)
            )
        ] = state.kept
        near = look.grid.region_of(_box_around(clicks[-1]).corners_ras)
        furthest = np.logical_or if clicks[-1].inside else np.logical_and
        before[near] = furthest(before[near], kept[near])
        _, pieces = connected_components(before)
        return before, pieces

    def _near(self, click: Click, region: Region) -> Region:
        """The part of a region of the scan that a click can change."""
        box = self.volume.grid.region_of(_box_around(click).corners_ras)
        k, j, i = (
            slice(part.start + outer.start, part.stop + outer.start)
            for part, outer in zip(_overlap(box, region), region, strict=True)
        )
        return k, j, i

    def _with_clicks(
        self, mask: np.ndarray, region: Region, clicks: tuple[Click, ...]
    ) -> np.ndarray:
        """Each click obeyed, and nothing outside of the user's box."""
        if self._interest is not None:
            outside = np.ones(mask.shape, bool)
            outside[_overlap(self._interest, region)] = False
            mask[outside] = 0
        return satisfy_clicks(mask, self.volume.grid.subgrid(region), clicks)

    # Results

    def _prediction(self, state: _State, clicks: tuple[Click, ...], steps: Steps) -> Prediction:
        predictor = self.predictor
        mask = np.zeros(self.volume.array.shape, np.uint8)
        mask[state.region] = state.mask
        volume_ml = int(np.count_nonzero(state.mask)) * self.volume.voxel_volume_ml
        look = state.look
        if look is None:
            focus_ratios = (0.0,) * len(getattr(predictor.networks["refiner"], "gates", ()))
        else:
            focus_ratios = tuple(focus_ratio(feature.values) for feature in look.attention)
        prediction = Prediction(
            volume=self.volume,
            mask=mask,
            region=state.region,
            found=volume_ml > 0,
            volume_ml=volume_ml,
            focus_ratios=focus_ratios,
            timings_s=steps.timings_s,
            device=describe_device(predictor.device),
            warnings=(),
            model_name=predictor.card.name,
            model_version=predictor.card.version,
            model_sha256=predictor.card.weights.sha256 if predictor.card.weights else "",
            probability_map=None if look is None else look.probability,
            attention_maps=() if look is None else look.attention,
            clicks=clicks,
            pieces=state.pieces,
            mean_probability=state.mean_probability,
        )
        doubts = result_doubts(prediction, predictor.card, self._interest)
        return dataclasses.replace(
            prediction,
            warnings=(*self._scan_warnings, *self._device_warnings, *state.warnings, *doubts),
        )


def _without(clicks: tuple[Click, ...], index: int) -> tuple[Click, ...]:
    if not 0 <= index < len(clicks):
        raise IndexError(f"there are {len(clicks)} clicks, and none has the index {index}")
    return clicks[:index] + clicks[index + 1 :]


def _box_around(click: Click) -> Box:
    """What a click can change."""
    position = np.asarray(click.position_ras)
    return Box(position, position).grown(REACH_MM)


def _within(inner: Region, outer: Region) -> Region:
    """A box of the scan in the indices of a box that holds it."""
    k, j, i = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True)
    )
    return k, j, i


def _overlap(box: Region, outer: Region) -> Region:
    """The part of a box of the scan that lies in another one, in the other one's indices."""
    k, j, i = (
        slice(
            min(max(a.start, b.start), b.stop) - b.start,
            max(min(a.stop, b.stop), b.start) - b.start,
        )
        for a, b in zip(box, outer, strict=True)
    )
    return k, j, i


def _changed(before: _State, after: _State) -> Region:
    """The smallest box of the scan in which two masks differ."""
    if before.mask.size == 0 or after.mask.size == 0:
        return after.region if before.mask.size == 0 else before.region
    k, j, i = (
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(before.region, after.region, strict=True)
    )
    whole = (k, j, i)
    differs = np.zeros([part.stop - part.start for part in whole], bool)
    differs[_within(before.region, whole)] = before.mask != 0
    differs[_within(after.region, whole)] ^= after.mask != 0
    box = []
    for axis, part in enumerate(whole):
        hit = np.flatnonzero(differs.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return NOWHERE
        box.append(slice(part.start + int(hit[0]), part.start + int(hit[-1]) + 1))
    return box[0], box[1], box[2]
