"""Do five corrected cases improve a sixth?

    python Testing/tools/measure_finetuning.py DATA OUTPUT

The kind is one that no shipped model has seen: slices of Pancreas-CT, which somebody exported as
pictures of 8 bit. A patient's slices are put at their places along the body, each standing for the
gap around it. Five patients, with the data set's outlines for the corrected masks, go through "Add
to my data set" and ``finetune``; each of the others is the sixth. The validation scans of BTCV show
what was forgotten.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.datasets.loading import (
    BTCV_LABELS,
    CaseFiles,
    LabelledCase,
    find_data_set,
    load_case,
)
from AttentionUNetSegmentLib.evaluation.evaluate import Evaluation
from AttentionUNetSegmentLib.evaluation.metrics import mean_over_cases
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from AttentionUNetSegmentLib.scene.collection import addToDataSet
from AttentionUNetSegmentLib.scene.segments import (
    PANCREAS,
    addSegment,
    cropMask,
    fillSegment,
    orientedImage,
)
from AttentionUNetSegmentLib.training.finetuning import (
    FinetuningOptions,
    comparison_table,
    evaluate_cases,
    finetune_model,
)

CORRECTED_CASES = 5
FEWEST_SLICES = 9
"""Of a patient's: fewer leave gaps over which a body cannot be guessed."""
PIXEL_MM, NUMBER_MM = 0.8, 1.0
"""Of a pixel, and from one slice's number to the next: typical ones, the pictures do not tell."""
SLICE_MM = 3.0
WINDOW_HU = (-125.0, 275.0)
"""What black and white are taken to be."""


def scans(folder: Path) -> list[LabelledCase]:
    """Each patient with enough slices as a scan, in the order of the patients' numbers."""
    slices: dict[str, list[CaseFiles]] = defaultdict(list)
    for case in find_data_set(folder).cases:
        slices[case.patient].append(case)
    return [
        scan(patient, files)
        for patient, files in sorted(slices.items())
        if len(files) >= FEWEST_SLICES
    ]


def scan(patient: str, files: list[CaseFiles]) -> LabelledCase:
    """Slices as a scan: at each place along the body the slice that is nearest."""
    slices = [load_case(one) for one in files]
    numbers = np.array([int(one.name.rpartition("-")[2]) for one in files])
    places = np.arange(numbers.min(), numbers.max() + 1, SLICE_MM / NUMBER_MM)
    nearest = np.abs(places[:, None] - numbers).argmin(axis=1)
    grey = np.concatenate([slices[index].ct.array for index in nearest]).astype(np.float32)
    labels = np.concatenate([slices[index].labels.array for index in nearest])
    low, high = WINDOW_HU
    hu = (low + grey * ((high - low) / 255)).round().astype(np.int16)
    # Columns to the left, rows to the front: the spine is up. The numbers go down the body.
    place = np.diag([-PIXEL_MM, PIXEL_MM, -SLICE_MM, 1.0])
    ct = Volume(hu, place)
    pancreas = (labels != 0).astype(np.uint8) * BTCV_LABELS.index("pancreas")
    return LabelledCase(patient, ct, ct.with_array(pancreas), "scan", False, patient)


def collect(cases: list[LabelledCase], folder: Path) -> None:
    """Put cases into a data set as a user does, through volume and segmentation nodes."""
    for case in cases:
        with scene.headlessScene() as mrml:
            volume = scene.addVolumeNode(case.ct, case.name)
            segmentation = mrml.AddNewNodeByClass("vtkMRMLSegmentationNode")
            segment = addSegment(segmentation, PANCREAS)
            mask = orientedImage(cropMask(case.labels.array != 0), case.ct.ijk_to_ras)
            fillSegment(segmentation, segment, mask)
            addToDataSet(folder, volume, segmentation, segment)


def summary(before: Evaluation, after: Evaluation) -> str:
    """The change over the patients, with its interval."""
    pairs = zip(before.with_clicks(0), after.with_clicks(0), strict=True)
    changes = [new.scores.dice - old.scores.dice for old, new in pairs]
    mean = mean_over_cases(changes, bounds=(-1, 1))
    better = sum(change > 0 for change in changes)
    return (
        f"Mean change {mean.mean:+.3f}, 95 % interval {mean.low:+.3f} to {mean.high:+.3f} over "
        f"{mean.count} patients; better in {better} of them."
    )


def main(
    data: Path, output: Path, fold: int, minutes: float, with_original: bool, threads: int
) -> None:
    """Measure, and write ``experiment.md`` and ``experiment.json`` below ``output/fold-N``."""
    import torch

    torch.set_num_threads(threads)
    cases = scans(data / "pancreas-ct-slices")
    first = fold * CORRECTED_CASES
    learnt = cases[first : first + CORRECTED_CASES]
    sixth = [case for case in cases if case not in learnt]
    output = output / f"fold-{fold}"
    collected = output / "corrected"
    collect(learnt, collected)
    outcome = finetune_model(
        DEFAULT_MODEL,
        collected,
        output / "run",
        FinetuningOptions(
            original=data if with_original else None,
            minutes=minutes,
            even_if_worse=True,
            device="cpu",
        ),
        lambda fraction, text: print(f"{100 * fraction:3.0f} % {text}", flush=True),
    )
    assert outcome.folder is not None
    models = [load_model(find_model(DEFAULT_MODEL)), load_model(outcome.folder)]
    before, after = (evaluate_cases(model, sixth, "sixth cases", "cpu") for model in models)
    text = "\n".join(
        (
            f"Learnt from, with one held out of them: {', '.join(one.name for one in learnt)}.",
            "",
            outcome.to_markdown(),
            "Each of the other patients, none of whom took part in any way:",
            "",
            *comparison_table(before, after),
            "",
            summary(before, after),
            "",
        )
    )
    figures = {"before": before.to_json(), "after": after.to_json()}
    (output / "experiment.json").write_text(
        json.dumps({"finetuning": outcome.to_json(), "sixth": figures}, indent=1) + "\n"
    )
    (output / "experiment.md").write_text(text)
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="with btcv, panorama-roi, pancreas-ct-slices in it")
    parser.add_argument("output", type=Path)
    parser.add_argument("--fold", type=int, default=0, choices=(0, 1, 2), help="which five learn")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--without-original", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    main(
        given.data,
        given.output,
        given.fold,
        given.minutes,
        not given.without_original,
        given.threads,
    )
