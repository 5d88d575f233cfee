"""The batches that a stage learns from: which patch is drawn at which step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from ..datasets.cases import CaseKind, LabelledCase
from ..errors import TrainingError
from .patches import IntensityAugmentation, PatchSource, Sample, collate_samples
from .stage_options import StageOptions

_AHEAD = 3
"""Batches that are being made or wait to be learnt from."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Augmented patches, and for each a generator for what else is random in its step."""

    patches: Sample
    generators: list[np.random.Generator]


def learnt_kinds(options: StageOptions, cases: Sequence[LabelledCase]) -> set[CaseKind]:
    """The kinds of cases that a stage learns from.

    Raises:
        TrainingError: there is no such case.
    """
    kinds = {case.kind for case in cases if options.kind_weights.get(case.kind, 0) > 0}
    if not kinds:
        wanted = ", ".join(kind for kind, weight in options.kind_weights.items() if weight > 0)
        raise TrainingError(
            f"There is no case to train the {options.stage} on: it learns from cases of the kinds "
            f"{wanted}; check the data folder and the split."
        )
    return kinds


class BatchSampler:
    """Draws patches from cases.

    What it draws depends on the options, the seed and the step's number alone, so that a run that
    goes on sees what it would have seen.

    Args:
        options: of the stage.
        cases: to learn from; those of kinds that have no weight are left out.
        share: numbers of the patches of a batch that this process makes.
        device: where patches are interpolated and augmented.

    Raises:
        TrainingError: there is no case to learn from.
    """

    def __init__(
        self,
        options: StageOptions,
        cases: Sequence[LabelledCase],
        share: range,
        device: torch.device,
    ) -> None:
        kinds = learnt_kinds(options, cases)
        self.options = options
        self.share = share
        self.intensity = IntensityAugmentation(options.augmentation)
        self.sources = {
            kind: patch_sources(options, [case for case in cases if case.kind == kind], device)
            for kind in sorted(kinds)
        }

    def batch(self, step: int) -> Batch:
        """This process's share of a step's batch."""
        drawn = [self.patch(step, number) for number in self.share]
        return Batch(
            collate_samples([sample for sample, _ in drawn]), [generator for _, generator in drawn]
        )

    def patch(self, step: int, number: int) -> tuple[Sample, np.random.Generator]:
        """A patch of a step's batch, and its generator as the drawing left it."""
        options, rng = self.options, self.generator(step, number)
        kinds = list(self.sources)
        weights = np.array([options.kind_weights[kind] for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        source = self.choose_source(kind, rng)
        return self.draw(source, rng, step, number), rng

    def generator(self, step: int, number: int) -> np.random.Generator:
        """What is random for a patch of a step's batch."""
        options = self.options
        return np.random.default_rng([options.seed, step, number, options.trainings_before])

    def choose_source(self, kind: CaseKind, rng: np.random.Generator) -> PatchSource:
        """The case of a kind that a patch is drawn from: each as often as the others."""
        sources = self.sources[kind]
        return sources[int(rng.integers(len(sources)))]

    def draw(self, source: PatchSource, rng: np.random.Generator, step: int, number: int) -> Sample:
        """A patch of a case, the ``number``-th of a step's batch."""
        options = self.options
        return source.sample(options.patch, options.augmentation, rng, self.intensity)

    @contextmanager
    def batches(self, step: int) -> Iterator[Iterator[Batch]]:
        """Batches of this step and those after it, made while the one before is learnt."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            try:
                yield self._made_ahead(step, pool)
            finally:
                pool.shutdown(cancel_futures=True)

    def _made_ahead(self, step: int, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        waiting: list[Future[Batch]] = []
        while True:
            while len(waiting) < _AHEAD:
                waiting.append(pool.submit(self.batch, step))
                step += 1
            yield waiting.pop(0).result()


def patch_sources(
    options: StageOptions, cases: Sequence[LabelledCase], device: torch.device
) -> list[PatchSource]:
    """Cases prepared for a stage's patches."""
    return [
        PatchSource(case, options.target_label, options.window_hu, options.patch.spacing_mm, device)
        for case in cases
    ]
