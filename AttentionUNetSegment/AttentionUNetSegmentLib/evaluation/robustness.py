"""How a model's Dice changes when the same scans come in another way.

Each case is changed as another scanner, another protocol or another file would change it, and is
scored against its truth, which is changed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..datasets.cases import LabelledCase
from ..errors import InputError
from ..geometry.volume import Volume, reorder_axes
from ..inference.predictor import Predictor
from ..markdown import markdown_table
from .metrics import mean_over_cases, score

AS_IT_IS = "as it is"
MOST_LOSS = 0.03
"""Of the mean Dice, by a change that should not matter."""
AIR_HU, METAL_HU = -1024, 3071
"""The ends of a scanner's twelve bits."""


@dataclass(frozen=True)
class Change:
    """Something that is done to a case.

    Args:
        apply: gives the changed case; also takes the target's label and the model's window in HU.
        should_not_matter: whether the mean Dice may fall by :data:`MOST_LOSS` at most; a change
            that takes something away from the scan is only reported.
    """

    apply: Callable[[LabelledCase, int, tuple[float, float]], LabelledCase]
    should_not_matter: bool = True


def _reorder_axes(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Change:
    return Change(
        lambda case, *_: replace(
            case,
            ct=reorder_axes(case.ct, axes, flips),
            labels=reorder_axes(case.labels, axes, flips),
        )
    )


def _change_hounsfield(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return Change(
        lambda case, *_: replace(
            case, ct=case.ct.with_array(_to_int16(change(case.ct.array.astype(np.float32))))
        )
    )


def _to_int16(array: np.ndarray) -> np.ndarray:
    return np.round(array).astype(np.int16)


def add_noise(hounsfield: np.ndarray, deviation: float = 20.0) -> np.ndarray:
    """Gaussian noise, the same whenever it is asked for."""
    return hounsfield + np.random.default_rng(0).normal(0, deviation, hounsfield.shape)


def change_slice_thickness(case: LabelledCase, target: int, thickness_mm: float) -> LabelledCase:
    """The scan with slices of another thickness along k, contiguous.

    Thicker ones average what they cover, thinner ones are interpolated. The truth is what half of
    a voxel or more belongs to.

    Returns:
        The case, with no label but the target's.
    """
    count = case.ct.array.shape[0]
    step = thickness_mm / case.ct.spacing_mm[2]
    centres = (np.arange(max(round(count / step), 1)) + 0.5) * step - 0.5
    distance = np.abs(centres[:, None] - np.arange(count))
    # How much of each old slice the new one covers, or how near it is.
    weights = np.clip((step + 1) / 2 - distance, 0, 1) if step > 1 else np.clip(1 - distance, 0, 1)
    weights /= weights.sum(axis=1, keepdims=True)

    placed = np.eye(4)
    placed[2, 2:] = step, (step - 1) / 2
    matrix = case.ct.ijk_to_ras @ placed

    def along_k(array: np.ndarray) -> np.ndarray:
        return np.tensordot(weights.astype(np.float32), array.astype(np.float32), axes=1)

    truth = along_k(case.labels.array == target) >= 0.5
    return replace(
        case,
        ct=Volume(_to_int16(along_k(case.ct.array)), matrix),
        labels=Volume((truth * target).astype(np.uint8), matrix),
    )


def halve_field_of_view(case: LabelledCase, target: int) -> LabelledCase:
    """Half of the width and of the height of each slice, around the target as far as it goes."""
    organ = np.argwhere(case.labels.array == target)
    begins = [0, 0, 0]
    sizes = list(case.ct.array.shape)
    for axis in (1, 2):
        half = max(sizes[axis] // 2, 1)
        middle = (organ[:, axis].min() + organ[:, axis].max()) / 2 if len(organ) else half
        begins[axis] = int(np.clip(round(middle - half / 2), 0, sizes[axis] - half))
        sizes[axis] = half
    k, j, i = (slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))
    matrix = case.ct.grid.subgrid((k, j, i)).ijk_to_ras
    return replace(
        case,
        ct=Volume(case.ct.array[k, j, i], matrix),
        labels=Volume(case.labels.array[k, j, i], matrix),
    )


def widen_range(case: LabelledCase, window_hu: tuple[float, float]) -> LabelledCase:
    """What a scanner's range holds beyond the window: air, and metal."""
    low, high = window_hu
    array = case.ct.array
    beyond = np.where(array <= low, AIR_HU, np.where(array >= high, METAL_HU, array))
    return replace(case, ct=case.ct.with_array(_to_int16(beyond)))


CHANGES: dict[str, Change] = {
    "axes flipped": _reorder_axes((0, 1, 2), (True, True, True)),
    "axes permuted": _reorder_axes((2, 0, 1), (False, False, False)),
    "axes permuted and flipped": _reorder_axes((1, 2, 0), (True, False, True)),
    "slices of 1 mm": Change(lambda case, target, _: change_slice_thickness(case, target, 1.0)),
    "noise of 20 HU": _change_hounsfield(add_noise),
    "30 HU brighter": _change_hounsfield(lambda hounsfield: hounsfield + 30),
    "30 HU darker": _change_hounsfield(lambda hounsfield: hounsfield - 30),
    "-1024 to 3071 HU": Change(lambda case, _, window: widen_range(case, window)),
    "slices of 8 mm": Change(
        lambda case, target, _: change_slice_thickness(case, target, 8.0), False
    ),
    "half the field of view": Change(
        lambda case, target, _: halve_field_of_view(case, target), False
    ),
}


@dataclass(frozen=True)
class Robustness:
    """Dice without a click, by change (:data:`AS_IT_IS` first) and case.

    Args:
        patients: of each case; a patient with several scans counts once.
        refused: changes and cases that the predictor took for no CT; their Dice is 0.
    """

    dice: Mapping[str, Mapping[str, float]]
    patients: Mapping[str, str]
    refused: tuple[tuple[str, str], ...] = ()

    def mean_dice(self, change: str = AS_IT_IS) -> float:
        cases = self.dice[change]
        mean = mean_over_cases(
            list(cases.values()), (0, 1), [self.patients[name] for name in cases]
        ).mean
        assert mean is not None  # Dice is defined everywhere
        return mean

    def loss(self, change: str) -> float:
        """By how much the mean Dice falls; below zero where it rises."""
        return self.mean_dice() - self.mean_dice(change)

    def _change(self, name: str) -> float:
        """To three digits, where nothing is not minus nothing."""
        return round(-self.loss(name), 3) + 0.0

    def largest_loss(self, change: str) -> float:
        """Of one case."""
        before = self.dice[AS_IT_IS]
        return max(before[name] - dice for name, dice in self.dice[change].items())

    @property
    def costly_changes(self) -> list[str]:
        """Changes that should not matter, and cost more than :data:`MOST_LOSS`."""
        return [
            name
            for name, change in CHANGES.items()
            if change.should_not_matter and self.loss(name) > MOST_LOSS
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            name: {
                "mean_dice": self.mean_dice(name),
                "change": -self.loss(name),
                "cases": dict(cases),
            }
            for name, cases in self.dice.items()
        }

    def figures(self) -> dict[str, Any]:
        """What a card tells."""
        return {
            name: {
                "dice": round(self.mean_dice(name), 3),
                "change": self._change(name),
                "largest_loss_of_a_case": round(self.largest_loss(name), 3),
            }
            for name in self.dice
        }

    def to_markdown(self) -> str:
        """A table, a row for each change, and whether all is within the limit."""
        cases = list(self.dice[AS_IT_IS])
        rows = []
        for name, by_case in self.dice.items():
            cells = [f"{by_case[case]:.3f}" for case in cases]
            change = "" if name == AS_IT_IS else f"{self._change(name):+.3f}"
            cells += [f"**{self.mean_dice(name):.3f}**", change]
            reported = name in CHANGES and not CHANGES[name].should_not_matter
            rows.append([f"{name} (reported only)" if reported else name, *cells])
        verdict = (
            f"More than {MOST_LOSS} of the mean Dice was lost by: {', '.join(self.costly_changes)}."
            if self.costly_changes
            else f"No change that should not matter costs more than {MOST_LOSS} of the mean Dice."
        )
        if self.refused:
            verdict += " Refused as no CT, and counted as 0: " + "; ".join(
                f"{case}, {change}" for change, case in self.refused
            )
            verdict += "."
        table = markdown_table(["Dice without a click", *cases, "mean", "change"], rows)
        return "\n".join([*table, "", verdict]) + "\n"


def measure_robustness(
    predictor: Predictor,
    cases: Sequence[LabelledCase],
    report: Callable[[float, str], None] = lambda fraction, text: None,
) -> Robustness:
    """Segment each case as it is and after each change, and score the results.

    Args:
        cases: with the label values of the model.
        report: told the share that is done, and a text.
    """
    target, window = predictor.target_label, predictor.card.intensity_window_hu
    dice: dict[str, dict[str, float]] = {name: {} for name in (AS_IT_IS, *CHANGES)}
    refused: list[tuple[str, str]] = []
    for number, case in enumerate(cases):
        for part, name in enumerate(dice):
            report((number + part / len(dice)) / len(cases), f"{case.name}, {name}")
            changed = case if name == AS_IT_IS else CHANGES[name].apply(case, target, window)
            try:
                mask = predictor.predict(changed.ct).mask
            except InputError:
                refused.append((name, case.name))
                dice[name][case.name] = 0.0
                continue
            dice[name][case.name] = score(mask, changed.labels.array == target, changed.ct).dice
    patients = {case.name: case.patient or case.name for case in cases}
    return Robustness(dice, patients, tuple(refused))
