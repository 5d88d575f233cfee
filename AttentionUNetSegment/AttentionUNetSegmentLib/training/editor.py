"""Training of the editor: a simulated user mends one mask after the other, click by click.

A scene is an augmented patch and a mask to mend: the refiner's own, the truth with mistakes in it,
or both. In each step the user clicks at a mistake, the editor learns to answer with the organ as it
is without that mistake, and the mask is changed as it answered, so that later clicks meet what
earlier ones left behind (iterative training, Sofiiuk et al. 2022, arXiv 2102.06583). After some
clicks the next scene comes. Several scenes take turns, so that steps that follow each other differ.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..datasets.cases import CaseKind, LabelledCase
from ..evaluation.simulated_user import click_at, deepest_voxel, largest_errors
from ..geometry.grid import Grid
from ..inference.clicks import Click
from ..inference.editing import (
    apply_edit,
    cut_window,
    editor_inputs,
    editor_window,
    in_question,
    obey,
    paste_window,
)
from ..inference.prediction import THRESHOLD
from ..inference.refinement import LEAN
from ..networks import NetworkOutput, SegmentationNetwork, outline_network
from .click_simulation import patch_grid, pick_deep_voxel
from .losses import IGNORE, OrganLoss
from .mistakes import spoil
from .patches import PatchSource, Sample
from .sampling import Batch, BatchSampler
from .stage_options import StageOptions
from .trainer import StageTrainer
from .validation import mask_dice

SCENE_CLICKS = 8
"""Clicks that a scene is mended with before the next one comes."""
SCENES_IN_TURN = 4
"""Scenes that take turns, at least."""
FEWEST_WRONG = 20
"""Voxels; a smaller mistake is none that a user would click at."""
SECOND_LARGEST = 0.2
"""How often the user clicks at the second-largest mistake instead."""
IN_THE_MIDDLE = 0.5
"""How often the user hits the very middle of what is wrong."""
OWN_ANSWER, SPOILT_ANSWER = 0.5, 0.2
"""Shares of the scenes that begin from the refiner's answer, and from one with more mistakes; the
others begin from the truth with mistakes."""
NEW_CASE_WEIGHT = 3.0
"""How many times as often a case is drawn that the refiner did not learn from: its errors there are
those that a user meets."""
VALIDATION_CLICKS = 5
ORGAN = 1
"""The editor's label of the organ."""


@dataclass(eq=False)
class Scene:
    """A patch, and the mask that is being mended.

    Args:
        first_step: at which it is made.
        scan: (1, 1, k, j, i) in [0, 1].
        probability: (1, 1, k, j, i), whose mask it is.
        truth, known: boolean (k, j, i).
        grid: of the patch.
    """

    first_step: int
    scan: torch.Tensor
    probability: torch.Tensor
    truth: np.ndarray
    known: np.ndarray
    grid: Grid
    clicks: list[Click] = field(default_factory=list)

    @property
    def mask(self) -> torch.Tensor:
        """Boolean (1, 1, k, j, i)."""
        return self.probability > THRESHOLD

    def begin_from(self, mask: np.ndarray) -> None:
        """Put another mask in the place of the present one, and forget the clicks."""
        wanted = torch.from_numpy(mask)[None, None].to(self.probability.device)
        inside = self.probability.clamp(min=THRESHOLD + LEAN)
        outside = self.probability.clamp(max=THRESHOLD - LEAN)
        self.probability = torch.where(wanted, inside, outside)
        self.clicks = []

    def mistakes(self) -> list[tuple[np.ndarray, bool]]:
        """The two largest wrong pieces that are worth a click, the largest first: boolean
        (k, j, i), and whether it is missing from the mask."""
        mask = self.mask[0, 0].cpu().numpy()
        return largest_errors(self.truth, mask, self.known, fewest_voxels=FEWEST_WRONG)

    def ask(self, piece: np.ndarray, click: Click) -> tuple[torch.Tensor, torch.Tensor]:
        """What the editor is shown of a click, and what it should answer.

        Args:
            piece: boolean (k, j, i), the mistake that is clicked at.

        Returns:
            Inputs (1, C, k, j, i) of the window, and labels (1, k, j, i), the truth of what is in
            question; :data:`.losses.IGNORE` what the click cannot change, and other mistakes of
            its kind.
        """
        self.clicks.append(click)
        window = editor_window(click, self.grid)
        mask = self.mask
        question = in_question(mask, click)[0, 0].cpu().numpy()
        right = question & self.known & (self.truth != click.inside)
        labels = np.where(right | piece, self.truth * ORGAN, IGNORE)
        # Beyond the patch nothing is known.
        beyond = cut_window(torch.from_numpy(labels - IGNORE), window) + IGNORE
        return self._inputs(mask, click), beyond[None].to(self.scan.device)

    def _inputs(self, mask: torch.Tensor, click: Click) -> torch.Tensor:
        window = editor_window(click, self.grid)
        return editor_inputs(
            cut_window(self.scan, window),
            cut_window(self.probability, window),
            cut_window(mask.float(), window) > 0.5,
            self.clicks,
            self.grid.subgrid(window),
        )

    def change(self, answer: torch.Tensor) -> None:
        """The mask after the editor's answer (1, 1, k, j, i) to the last click, which is obeyed."""
        click = self.clicks[-1]
        window = editor_window(click, self.grid)
        probability = cut_window(self.probability, window)
        grid = self.grid.subgrid(window)
        after = apply_edit(probability, probability > THRESHOLD, answer, click, grid)
        after = obey(after, cut_window(self.scan, window), click, grid)
        self.probability = paste_window(self.probability, window, after)

    def dice(self) -> float:
        """Of the mask with the truth, where that is known."""
        known, truth = torch.from_numpy(self.known), torch.from_numpy(self.truth)
        return mask_dice(self.mask[0, 0].cpu() & known, truth & known)


def editor_weights(
    network: Mapping[str, Any], refiner: nn.Module, target: int
) -> dict[str, torch.Tensor]:
    """Weights that an editor starts with: a refiner's, so that at first it says what that one says.

    Args:
        network: the editor's configuration.
        target: the refiner's label that is the organ; its background is the editor's.
    """
    assert isinstance(refiner, SegmentationNetwork)
    config = refiner.config
    outputs = [0, target, *range(config.out_channels, config.outputs)]
    theirs = refiner.state_dict()
    shapes = {name: one.shape for name, one in outline_network(network).state_dict().items()}
    weights = {}
    for name, shape in shapes.items():
        value = theirs[name]
        for axis in range(min(value.ndim, 2)):
            more = shape[axis] - value.shape[axis]
            if more < 0:  # labels
                value = value.index_select(axis, torch.tensor(outputs))
            elif more > 0:  # inputs, of which scan and clicks come first
                lacking = [*value.shape[:axis], more, *value.shape[axis + 1 :]]
                value = torch.cat((value, value.new_zeros(lacking)), dim=axis)
        weights[name] = value.clone()
    return weights


class EditorSampler(BatchSampler):
    """Patches for new scenes, in the steps in which there are new scenes; none in the others.

    Args:
        new: names of the cases that the refiner did not learn from.
    """

    def __init__(self, *args: Any, new: frozenset[str] = frozenset()) -> None:
        super().__init__(*args)
        self.new = new

    def batch(self, step: int) -> Batch:
        if scene_place(step, self.options.batch_size)[1]:
            i, j, k = self.options.patch.size
            nothing = torch.zeros((0, k, j, i))
            generators = [self.generator(step, number) for number in self.share]
            known = (False,) * len(generators)
            return Batch(Sample(nothing[:, None], nothing.long(), known), generators)
        return super().batch(step)

    def choose_source(self, kind: CaseKind, rng: np.random.Generator) -> PatchSource:
        sources = self.sources[kind]
        weights = np.array(
            [NEW_CASE_WEIGHT if one.case.name in self.new else 1.0 for one in sources]
        )
        return sources[int(rng.choice(len(sources), p=weights / weights.sum()))]


def scene_place(step: int, batch_size: int) -> tuple[int, int]:
    """The first step of a step's scenes, and how many clicks they had before it."""
    groups = max(SCENES_IN_TURN // batch_size, 1)
    click = step // groups % SCENE_CLICKS
    return step - click * groups, click


class EditorTrainer(StageTrainer):
    """Trains the editor beside a refiner that stays as it is.

    Args:
        refiner: whose answers the editor learns to mend.
        refiner_cases: names of the cases that the refiner learnt from.
        args, settings: as of :class:`.trainer.StageTrainer`.
    """

    def __init__(
        self,
        options: StageOptions,
        train: Sequence[LabelledCase],
        validation: Sequence[LabelledCase],
        folder: Path,
        *args: Any,
        refiner: nn.Module,
        refiner_cases: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.new_cases = frozenset(case.name for case in train) - set(refiner_cases)
        super().__init__(options, train, validation, folder, *args, **settings)
        assert isinstance(refiner, SegmentationNetwork)
        self.refiner = refiner.to(self.device).eval().requires_grad_(False)
        self.loss = OrganLoss(
            ORGAN, options.loss_weights, 0.0, options.deep_supervision, self.processes.total
        )
        self._scenes: dict[int, Scene] = {}
        self._asked: list[Scene] = []

    def make_sampler(self, train: Sequence[LabelledCase], share: range) -> EditorSampler:
        return EditorSampler(self.options, train, share, self.device, new=self.new_cases)

    @property
    def can_pause(self) -> bool:
        """Only between scenes can a run be gone on with as if nothing had happened."""
        first, click = scene_place(self.state.step, self.options.batch_size)
        return click == 0 and first % (SCENES_IN_TURN * SCENE_CLICKS) == 0

    def network_inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The next click of each of the step's scenes, and what is the organ there."""
        step = self.state.step
        first, _ = scene_place(step, self.options.batch_size)
        inputs, labels, self._asked = [], [], []
        for place, (number, rng) in enumerate(
            zip(self.sampler.share, batch.generators, strict=True)
        ):
            slot = first * self.options.batch_size + number
            scene = self._scenes.get(slot)
            if scene is None:
                groups = max(SCENES_IN_TURN // self.options.batch_size, 1)
                self._scenes = {
                    one: kept
                    for one, kept in self._scenes.items()
                    if kept.first_step > first - groups
                }
                patches = batch.patches
                if len(patches.image) > place:
                    sample = Sample(
                        patches.image[place, None],
                        patches.labels[place, None],
                        patches.organs_known[place : place + 1],
                    )
                else:  # gone on with in the middle of a scene, which begins anew
                    sample, rng = self.sampler.patch(first, number)
                scene = self._scenes[slot] = self.begin_scene(first, number, sample, rng)
            shown, wanted = self._next_click(scene, rng)
            inputs.append(shown)
            labels.append(wanted)
            self._asked.append(scene)
        return torch.cat(inputs), torch.cat(labels)

    def note_output(self, output: NetworkOutput) -> None:
        answers = output.logits.detach().float().softmax(dim=1)[:, ORGAN, None]
        for scene, answer in zip(self._asked, answers, strict=True):
            scene.change(answer[None])

    def validate(self) -> dict[str, Any]:
        """Mend the refiner's answers on the validation cases with the averaged editor.

        Returns:
            A line of the log: Dice of each case after the last click, and the mean after each.
        """
        scores: dict[str, float] = {}
        curves: list[list[float]] = []
        for one in self.validation_cases:
            patch = one.patches
            scene = self.make_scene(0, patch)
            curve = self.mended(scene)
            scores[one.case.name] = curve[-1]
            curves.append(curve)
        by_clicks = [statistics.fmean(column) for column in zip(*curves, strict=True)]
        return {
            "validation_dice": scores,
            "validation_dice_by_clicks": by_clicks,
            "findings": [],
        }

    def mended(self, scene: Scene) -> list[float]:
        """Let the averaged editor mend a scene; Dice before, and after each of some clicks."""
        curve = [scene.dice()]
        for _ in range(VALIDATION_CLICKS):
            mistakes = scene.mistakes()
            if mistakes:
                piece, inside = mistakes[0]
                shown, _ = scene.ask(piece, self._click_in_middle(piece, inside, scene.grid))
                logits = self.predict_patch(self.state.average, shown).logits
                scene.change(logits.float().softmax(dim=1)[:, ORGAN, None])
            curve.append(scene.dice())
        return curve

    def make_scene(self, first: int, sample: Sample, label: int | None = None) -> Scene:
        """A patch with the refiner's answer, to be mended.

        Args:
            first: the step at which it is made.
            sample: one patch.
            label: of the refiner's; the target unless given.
        """
        image = sample.image.to(self.device)
        clicks = image.new_zeros((1, self.refiner.config.in_channels - 1, *image.shape[2:]))
        with torch.no_grad(), self._precision():
            logits = self.refiner(torch.cat((image, clicks), dim=1))
        label = self.options.target_label if label is None else label
        labels = sample.labels[0].cpu().numpy()
        return Scene(
            first,
            image,
            logits.float().softmax(dim=1)[:, label, None],
            labels == label,
            labels != IGNORE,
            patch_grid(image.shape[2:], self.options.patch.spacing_mm),
        )

    def begin_scene(
        self, first: int, number: int, sample: Sample, rng: np.random.Generator
    ) -> Scene:
        """A scene of a training patch, the ``number``-th of the batch of step ``first``."""
        scene = self.make_scene(first, sample)
        drawn = rng.random()
        if drawn >= OWN_ANSWER:
            own = drawn < OWN_ANSWER + SPOILT_ANSWER
            mask = scene.mask[0, 0].cpu().numpy() if own else scene.truth
            scene.begin_from(self.spoilt(scene, mask, rng))
        return scene

    def spoilt(self, scene: Scene, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A mask (k, j, i) of a scene with mistakes in it."""
        scan = scene.scan[0, 0].float().cpu().numpy()
        return spoil(mask, scan, scene.grid.spacing_mm, rng)

    def _next_click(
        self, scene: Scene, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the user of a scene clicks next; in one that is right, after new mistakes."""
        mistakes = scene.mistakes()
        for _ in range(5):
            if mistakes:
                break
            scene.begin_from(self.spoilt(scene, scene.truth, rng))
            mistakes = scene.mistakes()
        if not mistakes:  # nothing of the organ is in view: a click outside at what is no mistake
            middle = np.zeros(scene.truth.shape, bool)
            k, j, i = (size // 2 for size in scene.truth.shape)
            middle[k, j, i] = True
            scene.begin_from(middle & scene.known)
            mistakes = [(middle, bool(scene.truth[middle].any()))]
        second = len(mistakes) > 1 and rng.random() < SECOND_LARGEST
        piece, inside = mistakes[1 if second else 0]
        if rng.random() < IN_THE_MIDDLE:
            click = self._click_in_middle(piece, inside, scene.grid)
        else:
            voxel = pick_deep_voxel(piece, scene.grid.spacing_mm, rng)
            click = click_at(voxel, inside, scene.grid)
        return scene.ask(piece, click)

    @staticmethod
    def _click_in_middle(piece: np.ndarray, inside: bool, grid: Grid) -> Click:
        return click_at(deepest_voxel(piece, grid.spacing_mm), inside, grid)
