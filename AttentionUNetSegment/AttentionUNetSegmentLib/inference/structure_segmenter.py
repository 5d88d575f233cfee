"""The mask of any structure, from clicks alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..geometry.grid import Box, Grid, Region
from . import editing
from .click_update import COARSEST
from .clicks import Click
from .progress import StepTimer
from .refinement import Refinement, region_on_scan
from .scan_segmenter import MaskState, ScanSegmenter, on_wider_grid
from .strokes import Prompt


class StructureSegmenter(ScanSegmenter):
    """Computes the mask of a structure that the model need not have a label for.

    The editor answers every click; neither locator nor refiner looks at the scan. What is known
    begins as nothing, around the first click inside, and grows with the windows of later ones.
    """

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

    def _editor_answers(self, refinement: Refinement, click: Click) -> bool:
        return True

    def _with_room(
        self, refinement: Refinement, selected: np.ndarray, click: Click
    ) -> tuple[Refinement, np.ndarray]:
        window = editing.editor_window(click, refinement.grid)
        wider, _ = refinement.extended_to(window, COARSEST)
        return wider, on_wider_grid(selected, refinement.grid, wider.grid)

    def _components(
        self,
        foreground: np.ndarray,
        grid: Grid,
        clicks: Sequence[Click],
        newest: Sequence[Click],
    ) -> np.ndarray:
        """All: every piece, however small, and every hole may be meant."""
        return foreground
