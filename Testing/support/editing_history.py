"""A history of what a user and the network did to a segment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Model:
    """All that undo brings back."""

    ours: np.ndarray
    user: np.ndarray
    others: dict[str, np.ndarray]
    clicks: tuple[Any, ...] = ()
    completed: frozenset[str] = frozenset()
    start: np.ndarray | None = None


@dataclass
class History:
    """What ``vtkSegmentationHistory`` holds: states, and how many of them are in the past."""

    states: list[Model] = field(default_factory=list)
    last: int = 0

    def touch(self) -> None:
        """The segmentation changed: there is no redo any more."""
        del self.states[self.last + 1 :]
        self.last = len(self.states)

    def save(self, model: Model) -> None:
        del self.states[self.last + 1 :]
        self.states.append(model)

    def undo(self, model: Model) -> Model:
        if self.last < 1:
            return model
        if self.last == len(self.states):
            self.save(model)
        self.last -= 1
        return self.states[self.last]

    def redo(self, model: Model) -> Model:
        if self.last + 1 >= len(self.states):
            return model
        self.last += 1
        return self.states[self.last]
