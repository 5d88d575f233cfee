"""The slices that every network of an experiment is shown on."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.cases import LabelledCase
from ..errors import TrainingError
from ..evaluation.metrics import dice
from ..files import replaced_file
from ..geometry.volume import Volume
from .full_volume import VolumePrediction

EXAMPLES_FILE = "shown.npz"
MOST_EXAMPLES = 4


@dataclass(frozen=True, eq=False)
class ExampleSlice:
    """An axial slice of a held-out case: the patient's front is up, his right on the left.

    Args:
        image: (rows, columns) in [0, 1].
        truth, mask: boolean, of the target.
        alphas: (levels, rows, columns).
    """

    case: str
    image: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    alphas: np.ndarray

    @property
    def dice(self) -> float:
        """Of this slice alone."""
        return dice(self.mask, self.truth)


def choose_example_cases(cases: Sequence[LabelledCase], target_label: int) -> list[str]:
    """Names of a few cases, spread over the patients: of each the one with the most of the organ.

    The same for every network, since nothing but the truth decides.
    """
    largest: dict[str, tuple[int, str]] = {}
    for case in cases:
        size = int(np.count_nonzero(case.labels.array == target_label))
        patient = case.patient or case.name
        largest[patient] = max(largest.get(patient, (-1, "")), (size, case.name))
    patients = sorted(largest)
    step = max(len(patients) / MOST_EXAMPLES, 1)
    picked = [patients[int(index * step)] for index in range(min(MOST_EXAMPLES, len(patients)))]
    return [largest[patient][1] for patient in picked]


def cut_example_slice(
    case: LabelledCase,
    prediction: VolumePrediction,
    target_label: int,
    window: tuple[float, float],
) -> ExampleSlice:
    """The axial slice with the most of the organ."""
    low, high = window
    truth = _upright(case.labels.array == target_label, case.ct)
    index = int(truth.sum(axis=(1, 2)).argmax())
    image = _upright(case.ct.array, case.ct)[index].astype(np.float32)

    def cut(array: np.ndarray) -> np.ndarray:
        return _upright(array, case.ct)[index]

    return ExampleSlice(
        case.name,
        np.clip((image - low) / (high - low), 0, 1),
        truth[index],
        cut(prediction.labels == target_label),
        np.array([cut(alpha) for alpha in prediction.alphas]).reshape(-1, *image.shape),
    )


def _upright(array: np.ndarray, place: Volume) -> np.ndarray:
    """An array (k, j, i) as (towards S, towards P, towards L), by the axes nearest to these."""
    direction = place.ijk_to_ras[:3, :3][:, ::-1]  # columns: k, j, i
    # The axis of the array that runs most along S, then along A of the rest, then along R.
    order: list[int] = []
    for row in (2, 1, 0):
        left = [axis for axis in range(3) if axis not in order]
        order.append(max(left, key=lambda axis: abs(direction[row, axis])))
    upright = array.transpose(order)
    for axis, (row, wanted) in enumerate(((2, 1), (1, -1), (0, -1))):
        if np.sign(direction[row, order[axis]]) == -wanted:
            upright = np.flip(upright, axis)
    return upright


def save_example_slices(folder: Path, slices: Sequence[ExampleSlice]) -> None:
    """Keep slices beside the run's result, in few bytes.

    Raises:
        OSError: they cannot be written.
    """
    arrays: dict[str, np.ndarray] = {"cases": np.array([one.case for one in slices])}
    for number, one in enumerate(slices):
        arrays[f"image{number}"] = np.round(255 * one.image).astype(np.uint8)
        arrays[f"truth{number}"], arrays[f"mask{number}"] = one.truth, one.mask
        arrays[f"alphas{number}"] = np.round(255 * one.alphas).astype(np.uint8)
    with replaced_file(folder / EXAMPLES_FILE) as beside, beside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_example_slices(folder: Path) -> list[ExampleSlice]:
    """The slices of a run; none if it has none.

    Raises:
        TrainingError: the file is damaged.
    """
    file = folder / EXAMPLES_FILE
    if not file.exists():
        return []
    try:
        with np.load(file, allow_pickle=False) as saved:
            return [
                ExampleSlice(
                    str(case),
                    saved[f"image{number}"] / 255,
                    saved[f"truth{number}"],
                    saved[f"mask{number}"],
                    saved[f"alphas{number}"] / 255,
                )
                for number, case in enumerate(saved["cases"])
            ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"'{file}' is damaged; remove the folder of this run.") from error
