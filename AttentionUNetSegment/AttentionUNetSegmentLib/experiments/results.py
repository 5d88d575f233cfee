"""What a run leaves behind: its outcome, and the scores of the cases that it held out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..evaluation.attention_statistics import LevelStatistics
from ..evaluation.metrics import mean_over_cases
from ..files import replace_text

FORMAT = 1
RESULT_FILE = "result.json"
MEASURES = ("dice", "iou", "sensitivity", "specificity", "precision")


@dataclass(frozen=True)
class Run:
    """One network, one seed, one fold."""

    variant: str
    seed: int
    fold: int

    @property
    def name(self) -> str:
        return f"{self.variant}-seed{self.seed}-fold{self.fold}"

    @property
    def cell(self) -> tuple[int, int]:
        """Seed and fold: what it shares with the runs of the other networks."""
        return self.seed, self.fold


@dataclass(frozen=True)
class CaseScore:
    """A held-out case: the target organ's scores, and Dice of each label that occurs in it."""

    case: str
    patient: str
    scores: Mapping[str, float | None]
    label_dice: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Args:
        failure: what went wrong, a sentence; empty if nothing did.
        parameters: of the network.
        steps, elapsed_s: of its training.
        cases: held out; none after a failure.
        attention: of each gated level on each of them; "evidence" in result.json.
    """

    run: Run
    failure: str = ""
    parameters: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    cases: tuple[CaseScore, ...] = ()
    attention: tuple[LevelStatistics, ...] = ()

    @property
    def dice(self) -> float:
        """Mean over the patients of this run."""
        mean = mean_over_cases(
            [case.scores["dice"] for case in self.cases],
            (0, 1),
            [case.patient for case in self.cases],
        ).mean
        assert mean is not None
        return mean

    def to_json(self) -> dict[str, Any]:
        content = {"format": FORMAT, **asdict(self)}
        content["evidence"] = content.pop("attention")
        return content


def save_result(folder: Path, result: RunResult) -> None:
    """Write the outcome; from then on the run counts as finished.

    Raises:
        OSError: it cannot be written.
    """
    replace_text(folder / RESULT_FILE, json.dumps(result.to_json(), indent=1) + "\n")


def load_result(folder: Path) -> RunResult | None:
    """The outcome of a run; None if it has not come to an end.

    Raises:
        TrainingError: the file is damaged.
    """
    file = folder / RESULT_FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        attention = content.pop("evidence")
        return RunResult(
            **{
                **content,
                "run": Run(**content["run"]),
                "cases": tuple(CaseScore(**case) for case in content["cases"]),
                "attention": tuple(LevelStatistics(**one) for one in attention),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"The result '{file}' cannot be used ({error}); remove the folder of this run to do "
            "it again."
        ) from error
