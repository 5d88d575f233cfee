"""A tiny training that a test starts through torchrun, or in its own process.

torchrun ... distributed_run.py FOLDER FAILING

goes on in FOLDER to the fourth step, and then begins in FAILING, where the second process has an
accident at the second step.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from AttentionUNetSegmentLib.errors import AttentionUNetSegmentError
from AttentionUNetSegmentLib.networks import SegmentationNetwork
from AttentionUNetSegmentLib.training.distributed import Processes, launched_processes
from AttentionUNetSegmentLib.training.patches import PatchOptions
from AttentionUNetSegmentLib.training.recipes import refiner_options
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.trainer import StageTrainer
from small_cases import small_case

STEPS = 5


class Ended(Exception):  # noqa: N818
    """Stands for the run's end at a step, the one whose checkpoint is the last."""


def options() -> StageOptions:
    made = refiner_options(Budget(steps=STEPS))
    return dataclasses.replace(
        made,
        network={**made.network, "channels": [4, 4, 4, 4, 4]},
        patch=PatchOptions(size=(32, 32, 16), spacing_mm=(2.0, 2.0, 3.0), jitter_mm=(9, 9, 9)),
        # In a region the target alone is known: of some batches, one process has nothing else.
        kind_weights={"scan": 0.35, "region": 0.65},
        batch_size=4,
        gates_open_fraction=0.2,
        patience=3,
        validate_every_steps=3,
        checkpoint_every_s=0.0,
        log_every=1,
    )


class AccidentTrainer(StageTrainer):
    """One that ends at a step, or whose process of rank ``fail`` has an accident at it.

    Its network computes in double precision: instance norm of a nearly constant patch makes a
    rounding of single precision a difference that hides what is tested.
    """

    end = STEPS
    fail: int | None = None

    def build_network(self) -> SegmentationNetwork:
        return super().build_network().double()

    def to_network_shape(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.double() if patches.is_floating_point() else patches

    def train_step(self, *arguments: Any) -> dict[str, Any]:
        if self.state.step == self.end:
            if self.fail is None:
                raise Ended
            if self.fail == self.processes.rank:
                raise MemoryError
        return super().train_step(*arguments)


def trainer(folder: Path, processes: Processes | None = None) -> AccidentTrainer:
    cases = [small_case("scan"), small_case("region")]
    return AccidentTrainer(options(), cases, [small_case()], folder, processes=processes)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("failing", type=Path)
    given = parser.parse_args()
    try:
        with launched_processes("cpu") as processes:
            run = trainer(given.folder, processes)
            run.end = 4
            with contextlib.suppress(Ended):
                run.run()
            run = trainer(given.failing, processes)
            run.end, run.fail = 2, 1
            run.run()
    except AttentionUNetSegmentError as error:
        print("Error:", error, file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
