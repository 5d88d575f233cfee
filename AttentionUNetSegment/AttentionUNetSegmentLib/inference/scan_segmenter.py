"""The mask of one scan: automatic, and after each click.

Nothing is remembered here but the scan as the network sees it; which clicks there were is the
session's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.grid import Box, Grid, Region, aligned_grid, bounding_region, overlap_in
from ..geometry.resampling import resample
from ..geometry.volume import Volume
from ..models import Label
from . import click_update, coarse_to_fine, editing
from .click_update import (
    COARSEST,
    LARGEST_WINDOW,
    MARGIN,
    update_with_click,
    window_around,
)
from .clicks import Click, satisfy_clicks
from .engine import MULTIPLE, Engine
from .features import measure_scale_agreement
from .prediction import THRESHOLD, Place
from .progress import StepTimer
from .refinement import LEAN, Refinement, mask_on_scan, region_on_scan
from .regions import connected_components, select_components
from .strokes import (
    EDITOR_STEP_MM,
    NETWORK_STEP_MM,
    Lasso,
    Prompt,
    as_clicks,
    clear_outside,
    lassos_of,
    line_clicks,
)

EMPTY_REGION: Region = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True, eq=False)
class MaskState:
    """The mask after some clicks, and what the next click starts from.

    Args:
        refinement: None where no part of the scan was segmented.
        selected: boolean, on the refinement's grid: the components that stay, with their holes
            filled.
        region: of the scan.
        mask: uint8, of the region only.
        components: how many.
        warnings: about how it was computed.
        place: how it came that the refinement's region was looked at.
        extent: what was looked at before any click widened it; None where nothing was.
        scale_agreement: of the refiner's own answer, before any click mended it; None where nobody
            asked for it.
    """

    refinement: Refinement | None
    selected: np.ndarray
    region: Region
    mask: np.ndarray
    components: int = 0
    warnings: tuple[str, ...] = ()
    place: Place | None = None
    extent: Box | None = None
    scale_agreement: float | None = None

    @classmethod
    def empty(cls, warnings: Sequence[str] = ()) -> MaskState:
        nothing = np.zeros((0, 0, 0), np.uint8)
        return cls(None, nothing.astype(bool), EMPTY_REGION, nothing, 0, tuple(warnings))

    @property
    def mean_probability(self) -> float | None:
        """Over the organ on the refinement's grid; None where there is none."""
        if self.refinement is None:
            return None
        values = self.refinement.values
        inside = values[self.selected & (values > THRESHOLD)]
        return float(inside.mean()) if inside.size else None


class ScanSegmenter:
    """Computes the mask of one scan.

    Args:
        engine: the model, on its device.
        volume: CT in Hounsfield units.
        interest: k, j, i box of the scan that the user drew: the organ is looked for and drawn in
            there only; the network sees what is around it, too.
        start: a mask (k, j, i) of the scan to begin from, whoever made it. A click then changes
            nothing but the piece that it points at.
        label: which of the model's targets; the first unless given. About the others the network
            is not shown the clicks, so that these mend the mask alone.
        compares_scales: let the refiner look once more at what it segments, for
            :func:`~.features.measure_scale_agreement`.
    """

    reach_mm: Sequence[float] | float = click_update.REACH_MM
    """How far from a click it can change the mask; along R, A, S."""

    def __init__(
        self,
        engine: Engine,
        volume: Volume,
        interest: Region | None = None,
        start: np.ndarray | None = None,
        label: Label | None = None,
        compares_scales: bool = False,
    ) -> None:
        self.label = label or engine.card.target_label
        self.engine = engine
        self.volume = volume
        self.interest = interest
        self.start = start
        self.compares_scales = compares_scales
        self._window_scan: tuple[Grid, torch.Tensor] | None = None

    def forget_scan(self) -> None:
        """Let go of what lies on the device."""
        self._window_scan = None

    def segment(self, steps: StepTimer) -> MaskState:
        """The mask that the clicks change: the one to begin from, else the automatic one."""
        warnings: list[str] = []
        if self.start is not None:
            return self._begin_from(self.start, warnings, steps)
        for candidate in coarse_to_fine.find_candidates(
            self.engine, self.volume, warnings, steps, self.interest
        ):
            refined = self._refine(candidate, (), warnings, steps)
            if coarse_to_fine.holds_organ(refined, candidate.place, self.engine):
                return self._state_of(refined, candidate.place, (), warnings, steps)
        return MaskState.empty(warnings)

    def segment_within(self, first: MaskState, steps: StepTimer) -> MaskState:
        """The mask of another target in the region that was looked at for the first one.

        Args:
            first: of the first target.
        """
        if first.refinement is None:
            return MaskState.empty()
        name, warnings = self.label.name, list[str]()
        with steps.step("refine", 0.8, f"Segmenting the {name}"):
            grid = first.refinement.grid
            probability = first.refinement.others.get(name)
            if probability is None:
                refinement = self.engine.run_refiner(
                    self._sample(grid), grid, (), warnings, steps.cancel, self.label
                )
            else:
                values, attention = probability.values, first.refinement.attention
                refinement = Refinement.of(grid, values, [alpha.values for alpha in attention])
            foreground = coarse_to_fine.foreground_of(refinement, self.volume, self.interest)
            card = self.engine.card
            inside_first = card.part_of(self.label) == card.target
            if inside_first:  # of which pieces may have been dropped
                foreground &= first.selected
            selected, components = select_components(foreground, grid, ())
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            region = region_on_scan(self.volume, refinement)
            mask = mask_on_scan(self.volume, refinement, selected, region)
            mask = self._satisfied(mask, region, ())
            if inside_first:
                mask &= first.mask
        if self._is_cut(mask, region):
            warnings.append(
                f"The {name} reaches the border of the region that was looked at, so a part of it "
                "may be missing; click inside in what is missing."
            )
        return MaskState(
            refinement,
            selected,
            region,
            mask,
            components,
            tuple(warnings),
            first.place,
            grid.bounds,
        )

    def apply_prompt(
        self, state: MaskState, prompts: tuple[Prompt, ...], steps: StepTimer
    ) -> MaskState:
        """One more click, scribble or lasso: a network is run around it, and only there anything
        changes.

        Args:
            state: before the last of the prompts.
            prompts: in their order.
        """
        prompt, warnings = prompts[-1], list(state.warnings)
        clicks = as_clicks(prompts, NETWORK_STEP_MM)
        if state.refinement is None:
            box = coarse_to_fine.locate_clicks(self.engine, self.volume, clicks)
            if box is None:
                return state
            candidate = coarse_to_fine.Candidate(box, "clicks")
            refined = self._refine(candidate, tuple(clicks), warnings, steps)
            state = self._state_of(refined, "clicks", prompts, warnings, steps)
            return self._within_lassos(state, prompts)
        if isinstance(prompt, Lasso):
            mask = self._satisfied(state.mask, state.region, prompts)
            return self._within_lassos(replace(state, mask=mask), prompts)
        newest = as_clicks([prompt], NETWORK_STEP_MM)
        if not prompt.inside and not self._has_mask_near(state, newest):
            return state
        with steps.step("refine", 0.3, "Segmenting around the click"):
            earlier = clicks[: -len(newest)]
            asked = as_clicks([prompt], EDITOR_STEP_MM)
            if all(self._editor_answers(state, click) for click in asked):
                refinement, selected = self._edit_each(state, earlier, asked)
            else:
                refinement, selected = self._answer(state, earlier, newest, warnings, steps)
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            region = region_on_scan(self.volume, refinement)
            mask = np.zeros([part.stop - part.start for part in region], np.uint8)
            mask[overlap_in(state.region, region)] = state.mask
            reach = self._reach_on_scan(newest, region)
            drawn = mask_on_scan(self.volume, refinement, selected, reach)
            inner = overlap_in(reach, region)
            furthest = np.maximum if prompt.inside else np.minimum
            changed = furthest(drawn, mask[inner])
            grid = self.volume.grid.subgrid(reach)
            mask[inner] = _only_the_pieces(mask[inner], changed, grid, line_clicks([prompt], grid))
            mask = self._satisfied(mask, region, prompts)
        _, components = connected_components(selected)
        after = MaskState(
            refinement,
            selected,
            region,
            mask,
            components,
            tuple(warnings),
            state.place,
            state.extent,
            state.scale_agreement,
        )
        return self._within_lassos(after, prompts)

    def _within_lassos(self, state: MaskState, prompts: Sequence[Prompt]) -> MaskState:
        """The state with nothing outside of lassos on the network's grid either."""
        lassos, refinement = lassos_of(prompts), state.refinement
        if not lassos or refinement is None:
            return state
        grid, known = refinement.grid, refinement.probability.values
        high = refinement.values > THRESHOLD - LEAN
        outside = torch.from_numpy(high & ~clear_outside(high, grid, lassos)).to(known.device)
        lowered = torch.where(outside[None, None], known.clamp(max=THRESHOLD - LEAN), known)
        selected = clear_outside(state.selected, grid, lassos)
        _, components = connected_components(selected)
        return replace(
            state,
            refinement=refinement.with_probability(lowered),
            selected=selected,
            components=components,
        )

    def _answer(
        self,
        state: MaskState,
        earlier: list[Click],
        newest: list[Click],
        warnings: list[str],
        steps: StepTimer,
    ) -> tuple[Refinement, np.ndarray]:
        """What the refiner says after the points of a click or scribble, and which components
        stay."""
        assert state.refinement is not None
        refinement, left = state.refinement, list(newest)
        while left:
            # The refiner answers all that are in its window at once, from the middle one on.
            centre = left[len(left) // 2]
            window = self._window(centre, refinement.grid)
            near = [click for click in left if _is_well_within(click, refinement.grid, window)]
            near = near or [centre]
            clicks = (*earlier, *(click for click in newest if click not in left), *near)
            refinement = self._look_again(refinement, window, clicks, len(near), warnings, steps)
            left = [click for click in left if click not in near]
        clicks = (*earlier, *newest)
        return refinement, self._select_near(state, refinement, clicks, newest)

    def _edit_each(
        self, state: MaskState, earlier: list[Click], newest: list[Click]
    ) -> tuple[Refinement, np.ndarray]:
        """The editor's answers, one point after the other, and which components stay. Points of a
        scribble that lie on the right side already are not asked about."""
        refinement, selected = state.refinement, state.selected
        assert refinement is not None
        clicks = tuple(earlier)
        for click in newest:
            voxel = refinement.grid.voxel_of(click.position_ras)
            if len(newest) > 1 and voxel is not None and selected[voxel] == click.inside:
                continue
            clicks = (*clicks, click)
            refinement, selected = self._with_room(refinement, selected, click)
            edited = self._edit(refinement, selected, clicks)
            before = replace(state, refinement=refinement, selected=selected)
            refinement, selected = edited, self._select_near(before, edited, clicks, [click])
        return refinement, selected

    def _editor_answers(self, state: MaskState, click: Click) -> bool:
        """Whether the editor can answer a click: it is about the target that the editor was trained
        on, and the refiner has looked at its place already."""
        if not self.engine.has_editor or self.label != self.engine.card.target_label:
            return False
        assert state.refinement is not None
        return state.refinement.grid.voxel_of(click.position_ras) is not None

    def _with_room(
        self, refinement: Refinement, selected: np.ndarray, click: Click
    ) -> tuple[Refinement, np.ndarray]:
        """What the editor's window around a click is cut out of, and the components on it: no more
        than what the refiner has looked at."""
        return refinement, selected

    def _edit(
        self, before: Refinement, selected: np.ndarray, clicks: tuple[Click, ...]
    ) -> Refinement:
        """The editor's answer to the last click."""
        window = editing.editor_window(clicks[-1], before.grid)
        looked = self._look_in(before, selected, clicks, window)
        return self._changed_by(before, selected, clicks[-1], window, looked)

    def _look_in(
        self,
        before: Refinement,
        selected: np.ndarray,
        clicks: tuple[Click, ...],
        window: Region,
        factor: int = 1,
    ) -> torch.Tensor:
        """What the editor says of a window: (1, 1, k, j, i).

        Args:
            factor: how much longer the voxels are that it is shown than those of the window.
        """
        known = before.probability.values
        grid = before.grid.subgrid(window).coarsened(factor)
        # What the refiner was not shown, the editor never was either.
        within = _pooled(editing.cut_window(torch.ones_like(known), window), factor)
        scan = self.engine.sample(self.volume, grid).to(known.device) * within
        mask = mask_in(selected, window, known.device, factor)
        probability = _pooled(editing.cut_window(known, window), factor)
        return self.engine.run_editor(editing.editor_inputs(scan, probability, mask, clicks, grid))

    def _changed_by(
        self,
        before: Refinement,
        selected: np.ndarray,
        click: Click,
        window: Region,
        answer: torch.Tensor,
    ) -> Refinement:
        """What is known after the editor's answer (1, 1, k, j, i) in a window."""
        known, grid = before.probability.values, before.grid.subgrid(window)
        probability = editing.cut_window(known, window)
        mask = mask_in(selected, window, known.device)
        after = editing.apply_edit(probability, mask, answer, click, grid)
        if not editing.is_obeyed(after, click, grid):
            scan = self.engine.sample(self.volume, grid).to(known)
            after = editing.obey(after, scan, click, grid)
        return before.with_probability(editing.paste_window(known, window, after))

    def _look_again(
        self,
        refinement: Refinement,
        window: Region,
        clicks: tuple[Click, ...],
        newest: int,
        warnings: list[str],
        steps: StepTimer,
    ) -> Refinement:
        """The refiner's answer around the last clicks, where there is no editor, or where the
        refiner has not looked yet."""
        before, window = refinement.extended_to(window, COARSEST)
        grid = before.grid.subgrid(window)
        scan = self._sample(grid)
        if self._must_look(before is not refinement):
            seen = self.engine.run_refiner(scan, grid, clicks, warnings, steps.cancel, self.label)
        else:
            # It would be asked the same again.
            seen = before.crop(window)
        # A GPU with too little memory may just have been given up.
        scan, before = scan.to(self.engine.device), before.to(self.engine.device)
        return update_with_click(before, seen, window, scan, clicks, newest)

    def _begin_from(self, start: np.ndarray, warnings: list[str], steps: StepTimer) -> MaskState:
        """A mask as it is, with what the network says of its surroundings."""
        inner = bounding_region(start)
        if inner is None:
            return MaskState.empty(warnings)
        volume, grid = self.volume, self._grid_around(inner)
        with steps.step("refine", 0.3, f"Looking at the {self.label.name}"):
            cut = torch.from_numpy((start[inner] != 0).astype(np.float32)).to(self.engine.device)
            share = resample(cut[None, None], volume.grid.subgrid(inner), grid)
            refinement = self._look_at_mask(share, grid, warnings, steps)
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            selected = (share > 0.5)[0, 0].cpu().numpy()
            region = region_on_scan(volume, refinement)
            mask = (start[region] != 0).astype(np.uint8)
        _, components = connected_components(selected)
        return MaskState(
            refinement,
            selected,
            region,
            mask,
            components,
            tuple(warnings),
            "mask",
            grid.bounds,
        )

    def _grid_around(self, inner: Region) -> Grid:
        """Where to look at a mask.

        Args:
            inner: k, j, i of the scan that holds it.
        """
        return self._refiner_grid(coarse_to_fine.locate_mask(self.engine, self.volume, inner))

    def _look_at_mask(
        self, share: torch.Tensor, grid: Grid, warnings: list[str], steps: StepTimer
    ) -> Refinement:
        """What the network says of a mask's surroundings, as far as that agrees with the mask.

        Args:
            share: (1, 1, k, j, i) on the grid, of each voxel that is in the mask.
        """
        engine = self.engine
        refinement = engine.run_refiner(
            engine.sample(self.volume, grid), grid, (), warnings, steps.cancel, self.label
        )
        # A GPU with too little memory may just have been given up.
        return refinement.agreeing_with(share.to(refinement.probability.values.device) > 0.5)

    def _refiner_grid(self, box: Box) -> Grid:
        spacing = self.engine.card.stages["refiner"].spacing_mm
        return aligned_grid(box, spacing, MULTIPLE, snap=True)

    def _refine(
        self,
        candidate: coarse_to_fine.Candidate,
        clicks: tuple[Click, ...],
        warnings: list[str],
        steps: StepTimer,
    ) -> coarse_to_fine.RefinedRegion:
        direct = self.engine.has_locator and candidate.place == "whole scan"
        return coarse_to_fine.refine_region(
            self.engine,
            self.volume,
            candidate.box,
            clicks,
            warnings,
            steps,
            self.interest,
            self.label,
            direct,
        )

    def _state_of(
        self,
        refined: coarse_to_fine.RefinedRegion,
        place: Place,
        prompts: Sequence[Prompt],
        warnings: list[str],
        steps: StepTimer,
    ) -> MaskState:
        """The mask of a part of the scan that was not segmented before."""
        if refined.cut:  # said of the place that is believed alone
            warnings.append(
                f"The {self.label.name} reaches the border of the region that was looked at, also "
                "after it was widened; click inside in what is missing."
            )
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            refinement = refined.refinement
            selected = self._without_neighbours(refined.selected, refinement)
            region = region_on_scan(self.volume, refinement)
            mask = mask_on_scan(self.volume, refinement, selected, region)
            mask = self._satisfied(mask, region, prompts)
        agreement = None
        if self.compares_scales:  # also of an empty mask, which a click may fill
            with steps.step("estimate", 0.9, "Estimating how good the result is"):
                clicks = as_clicks(prompts, NETWORK_STEP_MM)
                agreement = measure_scale_agreement(
                    self.engine, self.volume, refinement, clicks, warnings, steps.cancel
                )
        return MaskState(
            refinement,
            selected,
            region,
            mask,
            refined.components,
            tuple(warnings),
            place,
            refinement.grid.bounds,
            agreement,
        )

    def _window(self, click: Click, grid: Grid) -> Region:
        """Where to run again after a click: whole slices with a 2D network, and beyond the present
        region for more surroundings only where the network sees the click that they surround."""
        margin = MARGIN if self._network_sees_clicks else (0, 0, 0)
        if not self.engine.slicewise:
            return window_around(click, grid, margin=margin)
        return window_around(click, grid, (LARGEST_WINDOW[0], *grid.shape[1:]), (margin[0], 0, 0))

    def _without_neighbours(self, selected: np.ndarray, refinement: Refinement) -> np.ndarray:
        """Holes that were filled are none where another target lies beside this one."""
        card = self.engine.card
        for label in card.target_labels:
            other = refinement.others.get(label.name)
            if other is not None and card.part_of(label) != self.label.name:
                selected = selected & ~(other.values[0, 0].cpu().numpy() > THRESHOLD)
        return selected

    @property
    def _network_sees_clicks(self) -> bool:
        return self.engine.takes_clicks and self.label == self.engine.card.target_label

    def _must_look(self, new_region: bool) -> bool:
        """Whether the refiner has anything to say of a click: it sees that, or the region that it
        was run on becomes larger."""
        return self._network_sees_clicks or new_region

    def _is_cut(self, mask: np.ndarray, region: Region) -> bool:
        """Whether a mask of a region of the scan reaches an end of it that is not the scan's."""
        limits = self.interest or tuple(slice(0, size) for size in self.volume.array.shape)
        return any(
            (part.start > limit.start and mask.take(0, axis).any())
            or (part.stop < limit.stop and mask.take(-1, axis).any())
            for axis, (part, limit) in enumerate(zip(region, limits, strict=True))
        )

    def _has_mask_near(self, state: MaskState, clicks: Sequence[Click]) -> bool:
        """Whether there is anything that clicks outside could take away."""
        reach = self._reach_on_scan(clicks, state.region)
        return bool(state.mask[overlap_in(reach, state.region)].any())

    def _sample(self, grid: Grid) -> torch.Tensor:
        """The scan on a grid; kept, since most clicks on a scan look at the same one."""
        if self._window_scan is None or not self._window_scan[0].is_same_as(grid):
            self._window_scan = (grid, self.engine.sample(self.volume, grid))
        return self._window_scan[1]

    def _select_near(
        self,
        state: MaskState,
        refinement: Refinement,
        clicks: Sequence[Click],
        newest: Sequence[Click],
    ) -> np.ndarray:
        """The components that stay: decided anew near the last clicks, as before elsewhere."""
        assert state.refinement is not None
        grid = refinement.grid
        foreground = coarse_to_fine.foreground_of(refinement, self.volume, self.interest)
        anew = self._components(foreground, grid, clicks, newest)
        selected = on_wider_grid(state.selected, state.refinement.grid, grid)
        near = grid.region_of(self._reach(newest).corners_ras)
        furthest = np.logical_or if newest[-1].inside else np.logical_and
        selected[near] = furthest(selected[near], anew[near])
        return selected

    def _components(
        self,
        foreground: np.ndarray,
        grid: Grid,
        clicks: Sequence[Click],
        newest: Sequence[Click],
    ) -> np.ndarray:
        """Those of the network's foreground that count after the last clicks."""
        if self.start is not None and not newest[-1].inside:
            return foreground  # of somebody else's mask every component stays
        return select_components(foreground, grid, clicks)[0]

    def _reach_on_scan(self, clicks: Sequence[Click], region: Region) -> Region:
        """The part of a region of the scan that clicks can change."""
        reach = self.volume.grid.region_of(self._reach(clicks).corners_ras)
        k, j, i = (
            slice(part.start + outer.start, part.stop + outer.start)
            for part, outer in zip(overlap_in(reach, region), region, strict=True)
        )
        return k, j, i

    def _reach(self, clicks: Sequence[Click]) -> Box:
        """What clicks can change."""
        positions = np.array([click.position_ras for click in clicks])
        return Box.around(positions).grown(self.reach_mm)

    def _satisfied(self, mask: np.ndarray, region: Region, prompts: Sequence[Prompt]) -> np.ndarray:
        """Each click and line obeyed, and nothing outside of lassos and of the user's box."""
        grid = self.volume.grid.subgrid(region)
        mask = clear_outside(mask, grid, lassos_of(prompts))
        mask = satisfy_clicks(mask, grid, line_clicks(prompts, grid))
        if self.interest is not None:  # at last, for a click at its edge is obeyed with a ball
            inside = overlap_in(self.interest, region)
            within = np.zeros_like(mask)
            within[inside] = mask[inside]
            mask = within
        return mask


def on_wider_grid(selected: np.ndarray, grid: Grid, wider: Grid) -> np.ndarray:
    """Components (k, j, i) of a grid on one that holds it; none beyond."""
    shift = np.round((grid.bounds.low_ras - wider.bounds.low_ras) / grid.spacing_mm)
    result = np.zeros(wider.shape, bool)
    k, j, i = (
        slice(start, start + size)
        for start, size in zip(shift.astype(int)[::-1], grid.shape, strict=True)
    )
    result[k, j, i] = selected
    return result


def mask_in(
    selected: np.ndarray, window: Region, device: torch.device, factor: int = 1
) -> torch.Tensor:
    """Components (k, j, i) in a window, which may lie beyond them, on voxels that are longer by a
    factor: boolean (1, 1, k, j, i)."""
    mask = torch.from_numpy(selected)[None, None].to(device)
    return _pooled(editing.cut_window(mask.float(), window), factor) > 0.5


def _pooled(values: torch.Tensor, factor: int) -> torch.Tensor:
    return values if factor == 1 else F.avg_pool3d(values, factor)


def _is_well_within(click: Click, grid: Grid, window: Region) -> bool:
    """Whether a network that is run on a window of a grid sees what is around a click."""
    index = grid.index_of(click.position_ras)[::-1]
    return all(
        part.start + margin / 2 <= at <= part.stop - 1 - margin / 2
        for at, part, margin in zip(index, window, MARGIN, strict=True)
    )


def _only_the_pieces(
    before: np.ndarray, after: np.ndarray, grid: Grid, clicks: Sequence[Click]
) -> np.ndarray:
    """The mask before with those pieces of the change alone which a click or line points at.

    Args:
        before, after: (k, j, i) on the grid.
    """
    pieces, _ = connected_components(before != after)
    voxels = [grid.voxel_of(click.position_ras) for click in clicks]
    chosen = {int(pieces[voxel]) for voxel in voxels if voxel is not None} - {0}
    return np.where(np.isin(pieces, sorted(chosen)), after, before)


def changed_region(before: MaskState, after: MaskState) -> Region:
    """The smallest box of the scan in which two masks differ."""
    if before.mask.size == 0 or after.mask.size == 0:
        return after.region if before.mask.size == 0 else before.region
    k, j, i = (
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(before.region, after.region, strict=True)
    )
    differs = np.zeros([part.stop - part.start for part in (k, j, i)], bool)
    differs[overlap_in(before.region, (k, j, i))] = before.mask != 0
    differs[overlap_in(after.region, (k, j, i))] ^= after.mask != 0
    inner = bounding_region(differs)
    if inner is None:
        return EMPTY_REGION
    k, j, i = (
        slice(whole.start + part.start, whole.start + part.stop)
        for whole, part in zip((k, j, i), inner, strict=True)
    )
    return k, j, i
