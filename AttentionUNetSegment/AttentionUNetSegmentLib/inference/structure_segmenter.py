"""The mask of any structure, from clicks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..geometry.grid import Box, Grid, Region
from ..models import Label
from . import editing
from .click_update import COARSEST
from .clicks import Click
from .known_organs import outline_known_organ
from .progress import StepTimer
from .refinement import Refinement, mask_on_scan, region_on_scan
from .scan_segmenter import MaskState, ScanSegmenter, mask_in, on_wider_grid
from .strokes import Prompt
from .structures import known_organ, not_found_text


class StructureSegmenter(ScanSegmenter):
    """Computes the mask of a structure that the model need not have a label for.

    The editor answers every click. What is known begins as nothing, around the first click inside,
    and grows with the windows of later ones; or, of an organ that the networks have a label for and
    where it is asked for, with what these see of it.
    """

    def segment(self, steps: StepTimer) -> MaskState:
        """The mask to begin from, or what the networks see of an organ that they know."""
        organ = known_organ(self.engine.card, self.label.name)
        if self.start is not None or organ is None:
            return super().segment(steps)
        if organ == self.engine.card.target_label:
            target = ScanSegmenter(self.engine, self.volume, self.interest, label=organ)
            state = target.segment(steps)
            if state.refinement is None or not state.mask.any():
                return MaskState.empty([*state.warnings, self._not_found_text(organ)])
            return replace(state, refinement=replace(state.refinement, attention=()))
        warnings: list[str] = []
        found = outline_known_organ(self.engine, self.volume, organ, warnings, steps, self.interest)
        if found is None:
            return MaskState.empty([*warnings, self._not_found_text(organ)])
        refinement, selected, components = found
        with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
            region = region_on_scan(self.volume, refinement)
            mask = mask_on_scan(self.volume, refinement, selected, region)
            mask = self._satisfied(mask, region, ())
        extent = refinement.grid.bounds
        return MaskState(
            refinement, selected, region, mask, components, tuple(warnings), "located", extent
        )

    def _not_found_text(self, organ: Label) -> str:
        return not_found_text(organ, in_region=self.interest is not None)

    def apply_prompt(
        self, state: MaskState, prompts: tuple[Prompt, ...], steps: StepTimer
    ) -> MaskState:
        if state.refinement is None:
            if not prompts[-1].inside:
                return state  # there is nothing yet that could be taken away
            state = self._begun_at(prompts[-1])
        return super().apply_prompt(state, prompts, steps)

    def _begun_at(self, prompt: Prompt) -> MaskState:
        """Nothing, in the surroundings of a click or scribble inside."""
        grid = self._refiner_grid(Box.around(np.array([prompt.position_ras])))
        nothing = torch.zeros((1, 1, *grid.shape), device=self.engine.device)
        refinement = Refinement.of(grid, nothing, ())
        region = region_on_scan(self.volume, refinement)
        mask = np.zeros([part.stop - part.start for part in region], np.uint8)
        return MaskState(refinement, np.zeros(grid.shape, bool), region, mask, place="clicks")

    def _grid_around(self, inner: Region) -> Grid:
        return self._refiner_grid(self.volume.grid.subgrid(inner).bounds)

    def _look_at_mask(
        self, share: torch.Tensor, grid: Grid, warnings: list[str], steps: StepTimer
    ) -> Refinement:
        return Refinement.of(grid, share, ())

    def _editor_answers(self, state: MaskState, click: Click) -> bool:
        """All but those at an organ that was found, which is nearly right: these mend what is
        around them alone, for the editor would change more than is wrong."""
        assert state.refinement is not None
        if state.place in ("clicks", "mask") or not state.selected.any():
            return True
        return state.refinement.grid.voxel_of(click.position_ras) is None

    def _must_look(self, new_region: bool) -> bool:
        return False

    @property
    def reach_mm(self) -> Sequence[float]:  # type: ignore[override]
        spacing_mm = self.engine.card.stages["refiner"].spacing_mm
        voxels = reversed(editing.WINDOW)
        half = editing.WIDE_FACTOR / 2
        return [half * count * step for count, step in zip(voxels, spacing_mm, strict=True)]

    def _with_room(
        self, refinement: Refinement, selected: np.ndarray, click: Click
    ) -> tuple[Refinement, np.ndarray]:
        window = editing.wide_window(click, refinement.grid)
        wider, _ = refinement.extended_to(window, COARSEST)
        return wider, on_wider_grid(selected, refinement.grid, wider.grid)

    def _edit(
        self, before: Refinement, selected: np.ndarray, clicks: tuple[Click, ...]
    ) -> Refinement:
        """What is larger than the editor's window is looked at again in a wider one. So is what
        begins: how large that is meant to be the wider look knows better."""
        click = clicks[-1]
        window = editing.editor_window(click, before.grid)
        answer = self._look_in(before, selected, clicks, window)
        mask = mask_in(selected, window, answer.device)
        piece = editing.clicked_piece(answer, mask, click, before.grid.subgrid(window))
        leaves = piece is not None and editing.leaves_window(piece)
        if leaves or not selected.any():
            wider = editing.wide_window(click, before.grid)
            wide = self._look_in(before, selected, clicks, wider, editing.WIDE_FACTOR)
            if leaves:
                window, answer = wider, editing.merge_wide(wide, answer)
            else:
                answer = torch.minimum(answer, editing.middle_of_wide(wide))
        return self._changed_by(before, selected, click, window, answer)

    def _components(
        self,
        foreground: np.ndarray,
        grid: Grid,
        clicks: Sequence[Click],
        newest: Sequence[Click],
    ) -> np.ndarray:
        """All: every piece, however small, and every hole may be meant."""
        return foreground
