"""What makes an editor mend: the same short training with one thing changed, a table.

    python Testing/tools/ablate_editor.py DATA -o RUNS [--splits FILE] [--steps 700] [--arm NAME]

An editor begins with the refiner's weights each time, and is judged on the validation cases, patch
by patch, by the mean Dice of the pancreas after each click of the ideal user, from the refiner's
answer. A run that was stopped goes on. Without a previous mask the editor is not shown what is
outlined already.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from AttentionUNetSegmentLib.datasets.cases import LabelledCase
from AttentionUNetSegmentLib.datasets.layouts.btcv import tell_tumours_apart
from AttentionUNetSegmentLib.datasets.loading import find_cases, find_data_set, load_cases
from AttentionUNetSegmentLib.datasets.splits import default_split, load_splits
from AttentionUNetSegmentLib.markdown import markdown_table
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from AttentionUNetSegmentLib.training.editor import EditorTrainer, editor_weights
from AttentionUNetSegmentLib.training.recipes import any_structure_options, editor_options
from AttentionUNetSegmentLib.training.sampling import Batch
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.structures import StructureTrainer

MASK_CHANNELS = slice(3, 6)
"""Of the editor's inputs: leaning, mask, and what is in question."""


class WithoutMask(EditorTrainer):
    """Sees the scan and the clicks alone."""

    def network_inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = super().network_inputs(batch)
        inputs[:, MASK_CHANNELS] = 0
        return inputs, labels

    def predict_patch(self, network: Any, inputs: torch.Tensor) -> Any:
        inputs = inputs.clone()
        inputs[:, MASK_CHANNELS] = 0
        return super().predict_patch(network, inputs)


class AnyStructure(StructureTrainer):
    """Learns any structure, and is judged as the others are."""

    validate = EditorTrainer.validate


ARMS: dict[str, tuple[type[EditorTrainer], tuple[float, float, float] | None]] = {
    "as it is": (EditorTrainer, None),
    "without the previous mask": (WithoutMask, None),
    "any structure": (AnyStructure, None),
    "voxels of 1.5 x 1.5 x 2.25 mm": (EditorTrainer, (1.5, 1.5, 2.25)),
}
"""Each with what trains it, and its voxels where they are others than the refiner's."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--arm", action="append", choices=list(ARMS))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    model = load_model(find_model(options.model))
    found = tell_tumours_apart(find_data_set(options.data))
    split = load_splits(options.splits)[0] if options.splits else default_split(found, 0)
    train_files, held_out_files = find_cases(found, split)
    train, held_out = load_cases(train_files, 0), load_cases(held_out_files, 0)
    target = found.labels.index(found.target)
    parts = {found.labels.index(part): target for part in found.part_of}
    learnt = model.card.training.get("cases", {})
    seen = [name for names in learnt.values() if isinstance(names, list) for name in names]

    rows = []
    for arm in options.arm or ARMS:
        trainer_class, spacing_mm = ARMS[arm]
        recipe = editor_options(Budget(steps=options.steps), model.card.stages["refiner"])
        recipe = replace(recipe, validate_every_steps=options.steps)
        if spacing_mm is not None:
            # As much of the body as before; sides stay multiples of 16.
            i, j, k = (
                round(size * before / now / 16) * 16
                for size, before, now in zip(
                    recipe.patch.size, recipe.patch.spacing_mm, spacing_mm, strict=True
                )
            )
            patch = replace(recipe.patch, size=(i, j, k), spacing_mm=spacing_mm)
            recipe = replace(recipe, patch=patch)
        whole = [case_with_whole_organs(case, parts) for case in train]
        settings: dict[str, Any] = {}
        if trainer_class is AnyStructure:
            recipe, whole, settings = any_structure_options(recipe), train, {"parts": parts}
        trainer = trainer_class(
            recipe,
            whole,
            held_out,
            options.output / arm.replace(" ", "-"),
            options.device,
            initial_weights=editor_weights(recipe.network, model.networks["refiner"], target),
            refiner=model.networks["refiner"],
            refiner_cases=seen,
            **settings,
        )
        trainer.run()
        last = json.loads(trainer.log_file.read_text(encoding="utf-8").splitlines()[-1])
        rows.append([arm, *(f"{dice:.3f}" for dice in last["validation_dice_by_clicks"])])
        print(rows[-1], flush=True)
    heading = [f"mean Dice after {options.steps} steps, clicks"]
    heading += [str(count) for count in range(len(rows[0]) - 1)]
    print(*markdown_table(heading, rows), sep="\n")


def case_with_whole_organs(case: LabelledCase, parts: dict[int, int]) -> LabelledCase:
    """A case whose parts count as the organ that they are of."""
    labels = case.labels.array.copy()
    for part, whole in parts.items():
        labels[labels == part] = whole
    return replace(case, labels=case.labels.with_array(labels))


if __name__ == "__main__":
    main()
