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

With a model whose editor takes any structure, a session may be about one that the model has no
label for. It begins with a click inside:

>>> session = Session(predictor, volume, structure="duodenum")
>>> update = session.add_click((-20.0, -35.0, 96.0), inside=True)
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError, is_out_of_memory
from ..geometry.grid import Region
from ..geometry.volume import Volume
from ..models import Label
from .clicks import Click
from .device import describe_device, is_lost_device
from .engine import Engine
from .features import SCALE_AGREEMENT, result_features, summarise_attention
from .prediction import Prediction
from .progress import CancelToken, ProgressCallback, StepTimer, ignore_progress
from .quality import check_edges, check_result_quality, check_scan_quality
from .refinement import Refinement
from .scan_segmenter import MaskState, ScanSegmenter, changed_region
from .strokes import Lasso, Prompt, Scribble, moved_to
from .structure_segmenter import StructureSegmenter
from .structures import (
    click_first_text,
    experimental_text,
    known_organ,
    require_any_structure,
    structure_label,
)
from .uncertainty import DoubtfulPlace, find_doubtful_places
from .validation import check_clicks, check_clicks_in_region

KEPT_STATES = 32
"""States that are held, a few megabytes each; older ones are computed again where needed."""
_StateKey = tuple[str, bool, tuple[Prompt, ...], tuple[Prompt, ...]]
"""Of a state: the target, empty for the first; whether there was an automatic result first; the
first target's click that decided where another target was looked for; and the target's clicks."""
UNDO_STEPS = 200
"""Changes of the clicks that can be undone: each holds all the clicks that there were."""


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


class Session:
    """Answers clicks on one scan.

    One thread at a time may use it, the one that runs the network.

    Args:
        predictor: the model, on its device: a Predictor, or the engine below it.
        volume: CT in Hounsfield units.
        checked: :func:`~.quality.check_scan_quality` has passed the scan already.
        interest: k, j, i box of the scan that the user drew: the organ, or the structure, is
            looked for and drawn in there only, and clicks lie inside; the network sees what is
            around it, too.
        start: a mask (k, j, i) of the scan to begin from, in the place of the automatic result:
            another program's, or one drawn by hand. It stays voxel by voxel as it is but for the
            pieces that clicks point at.
        start_label: which of the model's targets the mask shows; the first unless given.
        structure: what the clicks are about in the place of the model's targets: any name, or a
            label. Then the editor answers every click, and the result has no attention and no
            estimate of its quality. What has the name of one of the card's labels is looked for in
            the whole scan, or in the box; nothing else is. A start mask shows this structure.
        compare_scales: let the refiner look once more for one of the :attr:`features`; by default
            where the model's card weighs it.

    Attributes:
        automatic: whether the organ was looked for in the whole scan first.
        features: of the last result, as of :func:`~.features.result_features`; None where nothing
            was found, or where it began from a mask.

    Raises:
        InputError: the scan cannot be used, or the model takes no structure but its targets.
    """

    def __init__(
        self,
        predictor: Engine,
        volume: Volume,
        *,
        checked: bool = False,
        interest: Region | None = None,
        start: np.ndarray | None = None,
        start_label: Label | None = None,
        structure: str | Label | None = None,
        compare_scales: bool | None = None,
    ) -> None:
        if start is not None and start.shape != volume.array.shape:
            raise InputError(
                f"The mask to begin from has {_size(start)} voxels, but the scan has "
                f"{_size(volume.array)}; both must be on the same grid."
            )
        self.predictor = predictor
        self.volume = volume
        self._label = start_label or predictor.card.target_label
        self._any_structure = structure is not None
        if structure is not None:
            require_any_structure(predictor.card)
            self._label = structure_label(structure) if isinstance(structure, str) else structure
        self._organ = known_organ(predictor.card, self._label.name)
        if compare_scales is None:
            estimator = predictor.card.dice_estimate
            compare_scales = estimator is not None and SCALE_AGREEMENT in estimator.coefficients
        kind = StructureSegmenter if self._any_structure else ScanSegmenter
        self._segmenter = kind(predictor, volume, interest, start, self._label, compare_scales)
        # Who mends another program's mask of one organ, or a structure, asks for nothing else.
        alone = start is not None or self._any_structure
        others = () if alone else predictor.card.target_labels[1:]
        self._other_segmenters = {
            label.name: ScanSegmenter(predictor, volume, interest, label=label) for label in others
        }
        self._other_predictions: dict[str, tuple[MaskState, Prediction]] = {}
        self._checked = checked
        self._interest = interest
        self._scan_warnings: tuple[str, ...] = ()
        self._device_warnings: tuple[str, ...] = ()
        self._states: OrderedDict[_StateKey, MaskState] = OrderedDict()
        self.automatic = False
        self.features: dict[str, float] | None = None
        self._clicks: tuple[Prompt, ...] = ()
        self._current = MaskState.empty()
        self._undo_steps: deque[tuple[Prompt, ...]] = deque(maxlen=UNDO_STEPS)
        self._redo_steps: list[tuple[Prompt, ...]] = []

    @property
    def clicks(self) -> tuple[Prompt, ...]:
        """Those that the mask was made from, in their order."""
        return self._clicks

    # What a user does. Each raises what `predict` raises, and then nothing has changed. Of any
    # structure, what is added to nothing must be inside it, but all clicks may be taken away again.

    def add_click(self, position_ras: Sequence[float], inside: bool) -> Update:
        """One more point, inside or outside the organ; the first, before there is an automatic
        result, segments the organ around it."""
        r, a, s = (float(value) for value in position_ras)
        return self._add(Click((r, a, s), inside))

    def add_scribble(self, points_ras: Sequence[Sequence[float]], inside: bool) -> Update:
        """A line inside or outside the organ, of two points or more. One step to undo."""
        return self._add(Scribble(_as_points(points_ras), inside))

    def add_lasso(
        self, points_ras: Sequence[Sequence[float]], depth_mm: float | None = None
    ) -> Update:
        """A closed line in a plane, of three corners or more, that the organ does not leave: all
        outside of it is taken away, and stays away. One step to undo.

        Args:
            depth_mm: how far it reaches to either side of its plane; through all slices unless
                given.
        """
        return self._add(Lasso(_as_points(points_ras), depth_mm))

    def add_box(self, corner_ras: Sequence[float], opposite_ras: Sequence[float]) -> Update:
        """Likewise a box, between two opposite corners along R, A and S; through all slices where
        these agree in one coordinate."""
        return self._add(Lasso.box(corner_ras, opposite_ras))

    def remove_click(self, index: int) -> Update:
        """Take a click, scribble or lasso away, wherever it is in the order.

        Raises:
            IndexError: there is no such click.
        """
        return self._change_clicks(_without(self._clicks, index))

    def move_click(self, index: int, position_ras: Sequence[float]) -> Update:
        """Drag a click elsewhere, or a scribble or lasso by its ``position_ras``; it becomes the
        last one.

        Raises:
            IndexError: there is no such click.
        """
        moved = moved_to(self._clicks[index], position_ras)
        return self._change_clicks((*_without(self._clicks, index), moved))

    def reset(self) -> Update:
        """Take all clicks away; can be undone."""
        return self._change_clicks(())

    def undo(self) -> Update:
        """The clicks before the last change, up to :data:`UNDO_STEPS` of them; nothing where there
        was none."""
        if not self._undo_steps:
            return self._update(self._clicks)
        before = self._clicks
        update = self._update(self._undo_steps[-1])
        self._undo_steps.pop()
        self._redo_steps.append(before)
        return update

    def redo(self) -> Update:
        """The clicks that the last :meth:`undo` took back; nothing where there was none."""
        if not self._redo_steps:
            return self._update(self._clicks)
        before = self._clicks
        update = self._update(self._redo_steps[-1])
        self._redo_steps.pop()
        self._undo_steps.append(before)
        return update

    def _add(self, prompt: Prompt) -> Update:
        clicks = (*self._clicks, prompt)
        if not self.automatic:
            self._require_begun(clicks)
        return self._change_clicks(clicks)

    def _change_clicks(self, clicks: tuple[Prompt, ...]) -> Update:
        before = self._clicks
        update = self._update(clicks)
        self._undo_steps.append(before)
        self._redo_steps.clear()
        return update

    def _update(self, clicks: tuple[Prompt, ...]) -> Update:
        before = self._current
        prediction = self.predict(clicks, automatic=self.automatic)
        return Update(prediction.mask, changed_region(before, self._current), prediction)

    # What the network does

    def predict(
        self,
        clicks: Sequence[Prompt] = (),
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        *,
        automatic: bool = True,
    ) -> Prediction:
        """The mask after these clicks, computed from the longest beginning of them that is known.

        Args:
            clicks: points, scribbles and lassos in the world, in the order in which they were
                drawn; each about the target that it names. What they are about changes, and the
                other targets do not.
            progress: told what is being done.
            cancel: checked between steps and between tiles.
            automatic: look for the organ in the whole scan first, and let the clicks change what
                was found; False: only look where the clicks are. Of a structure that is not looked
                for, True demands a click inside, and False lets there be none.

        Raises:
            InputError: the scan or a click cannot be used.
            MemoryError: not even the CPU's memory suffices.
            Cancelled: the token was set.
        """
        if self._any_structure and self._organ is None:
            if automatic:
                self._require_begun(clicks)
            automatic = False
        steps = StepTimer(progress or ignore_progress, cancel)
        began = time.perf_counter()
        with steps.step("check", 0.0, "Checking the scan"):
            if not self._checked:
                self._scan_warnings = tuple(check_scan_quality(self.volume, self.predictor.card))
                self._checked = True
            check_clicks(self.volume, clicks)
            if self._interest is not None:
                check_clicks_in_region(self.volume, self._interest, clicks)
            self._check_targets(clicks)
        with torch.inference_mode():
            state, prediction = self._compute(automatic, tuple(clicks), steps)
        self.automatic, self._clicks, self._current = automatic, tuple(clicks), state
        steps.timings_s["total"] = time.perf_counter() - began
        steps.progress(1.0, "Done")
        return dataclasses.replace(prediction, timings_s=steps.timings_s)

    def _require_begun(self, clicks: Sequence[Prompt]) -> None:
        """Of any structure: a mask to begin from, or something inside it."""
        if not self._any_structure or self._segmenter.start is not None:
            return
        if not any(click.inside for click in clicks):
            raise InputError(click_first_text(self.predictor.card))

    def _check_targets(self, clicks: Sequence[Prompt]) -> None:
        known = (self._label.name, *self._other_segmenters)
        for click in clicks:
            if click.target and click.target not in known:
                raise InputError(
                    f"A click is about '{click.target}', which is none of the targets: "
                    f"{', '.join(known)}."
                )

    def _compute(
        self, automatic: bool, clicks: tuple[Prompt, ...], steps: StepTimer
    ) -> tuple[MaskState, Prediction]:
        """State and prediction; on the CPU from the beginning where the GPU fails."""
        own = tuple(click for click in clicks if click.target in ("", self._label.name))
        try:
            state = self._state(automatic, own, steps)
            others = tuple(
                self._other_prediction(
                    name, automatic, own, tuple(one for one in clicks if one.target == name), steps
                )
                for name in self._other_segmenters
            )
            return state, self._prediction(state, own, steps, others)
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
        self._other_predictions.clear()
        for segmenter in (self._segmenter, *self._other_segmenters.values()):
            segmenter.forget_scan()
        self.predictor.move_to_cpu()
        self._device_warnings = (f"The {failure}; the CPU was used instead, which takes longer.",)
        return self._compute(automatic, clicks, steps)

    def _state(
        self,
        automatic: bool,
        clicks: tuple[Prompt, ...],
        steps: StepTimer,
        name: str = "",
        place: tuple[Prompt, ...] = (),
    ) -> MaskState:
        """The mask of a target after its clicks.

        Args:
            name: of the target; empty for the first.
            place: what decided where another target than the first was looked for.
        """
        segmenter = self._other_segmenters[name] if name else self._segmenter
        known = len(clicks)
        while known and (name, automatic, place, clicks[:known]) not in self._states:
            known -= 1
        state = self._states.get((name, automatic, place, clicks[:known]))
        if state is None:
            if name:
                state = segmenter.segment_within(self._state(automatic, place, steps), steps)
            elif automatic or segmenter.start is not None:
                state = segmenter.segment(steps)
            else:
                state = MaskState.empty()
            self._remember((name, automatic, place, ()), state)
        for count in range(known + 1, len(clicks) + 1):
            state = segmenter.apply_prompt(state, clicks[:count], steps)
            self._remember((name, automatic, place, clicks[:count]), state)
        self._states.move_to_end((name, automatic, place, clicks))
        return state

    def _remember(self, key: _StateKey, state: MaskState) -> None:
        self._states[key] = state
        while len(self._states) > KEPT_STATES:
            # The automatic result is the dearest to compute, and all others begin with it.
            oldest = next(other for other in self._states if other[-1])
            del self._states[oldest]

    # Results

    def _prediction(
        self,
        state: MaskState,
        clicks: tuple[Prompt, ...],
        steps: StepTimer,
        others: tuple[Prediction, ...],
    ) -> Prediction:
        prediction = self._of_target(self._label, state, clicks, steps)
        quality: list[str] = []
        if self._any_structure:
            by_clicks = state.place in (None, "clicks", "mask")
            if self._interest is not None and not by_clicks:
                quality = check_edges(prediction, self._interest)
            quality += [experimental_text(self.predictor.card, None if by_clicks else self._organ)]
        elif self._label == self.predictor.card.target_label:
            quality = check_result_quality(prediction, self.predictor.card, self._interest)
        warnings = (*self._scan_warnings, *self._device_warnings, *state.warnings, *quality)
        further = (text for other in others for text in other.warnings if text not in warnings)
        return dataclasses.replace(prediction, others=others, warnings=(*warnings, *further))

    def _other_prediction(
        self,
        name: str,
        automatic: bool,
        first_clicks: tuple[Prompt, ...],
        clicks: tuple[Prompt, ...],
        steps: StepTimer,
    ) -> Prediction:
        """Of another target than the first; the same one as long as its state is the same."""
        place = () if automatic else first_clicks[:1]
        state = self._state(automatic, clicks, steps, name, place)
        before = self._other_predictions.get(name)
        if before is None or before[0] is not state:
            label = self._other_segmenters[name].label
            prediction = self._of_target(label, state, clicks, steps)
            before = state, dataclasses.replace(prediction, warnings=state.warnings)
            self._other_predictions[name] = before
        return before[1]

    def _of_target(
        self, label: Label, state: MaskState, clicks: tuple[Prompt, ...], steps: StepTimer
    ) -> Prediction:
        """A target's prediction, without its warnings."""
        predictor = self.predictor
        mask = np.zeros(self.volume.array.shape, np.uint8)
        mask[state.region] = state.mask
        volume_ml = int(np.count_nonzero(state.mask)) * self.volume.voxel_volume_ml
        refinement, extent = state.refinement, state.extent
        gates = getattr(predictor.networks["refiner"], "gates", ())
        nothing = (0.0,) * (0 if self._any_structure else len(gates))
        focus_ratios, in_organ, around_organ = nothing, nothing, nothing
        estimate = None
        is_first = label == predictor.card.target_label and not self._any_structure
        if is_first:
            self.features = None
        places: tuple[DoubtfulPlace, ...] = ()
        if refinement is not None and extent is not None and not self._any_structure:
            levels = summarise_attention(refinement, state.selected, extent)
            focus_ratios = tuple(level.focus_ratio for level in levels)
            in_organ = tuple(level.in_organ for level in levels)
            around_organ = tuple(level.around_organ for level in levels)
            places = find_doubtful_places(self._undecided(refinement), refinement.grid)
            # Of a mask of somebody else's the network does not say how good it is.
            if is_first and state.selected.any() and self._segmenter.start is None:
                self.features = result_features(
                    refinement, state.selected, state.components, levels, state.scale_agreement
                )
                if (estimator := predictor.card.dice_estimate) is not None and volume_ml > 0:
                    estimate = estimator.estimate(self.features)
        return Prediction(
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
            probability_map=None if refinement is None else refinement.probability,
            attention_maps=() if refinement is None else refinement.attention,
            clicks=clicks,
            pieces=state.components,
            mean_probability=state.mean_probability,
            label=label,
            part_of="" if self._any_structure else predictor.card.part_of(label),
            place=state.place if volume_ml > 0 else None,
            attention_in_organ=in_organ,
            attention_around_organ=around_organ,
            dice_estimate=estimate,
            doubtful_places=places,
            start=self._segmenter.start if label == self._label else None,
            any_structure=self._any_structure,
        )

    def _undecided(self, refinement: Refinement) -> np.ndarray:
        """The probability (k, j, i), sure of itself where the user's box leaves nothing to do."""
        values = refinement.values
        if self._interest is None:
            return values
        box = refinement.grid.region_of(self.volume.grid.subgrid(self._interest).bounds.corners_ras)
        inside = np.zeros_like(values)
        inside[box] = values[box]
        return inside


def _size(array: np.ndarray) -> str:
    return " x ".join(str(size) for size in reversed(array.shape))


def _as_points(points_ras: Sequence[Sequence[float]]) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(r), float(a), float(s)) for r, a, s in points_ras)


def _without(clicks: tuple[Prompt, ...], index: int) -> tuple[Prompt, ...]:
    if not 0 <= index < len(clicks):
        raise IndexError(f"there are {len(clicks)} clicks, and none has the index {index}")
    return clicks[:index] + clicks[index + 1 :]
