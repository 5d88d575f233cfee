"""The predictor that was used last, kept so that the next scan need not load the model again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..models import Label, ModelCard, load_model, read_card
from .progress import CancelToken, ProgressCallback, ignore_progress

if TYPE_CHECKING:
    import numpy as np

    from ..geometry.grid import Region
    from ..geometry.volume import Volume
    from .predictor import Predictor
    from .session import Session

KEPT_SESSIONS = 2
"""Scans whose sessions are kept, with the scan itself: the one that is clicked on, and one more."""


@dataclass(frozen=True)
class PredictorOptions:
    """What a predictor is made of.

    Args:
        model_folder: with a card and weights in it.
        device: "auto", "cuda", "cuda:N", "mps" or "cpu".
        precision: "auto", "float32" or "bfloat16".
        tile_voxels: the most voxels that go through a network at once; None for the default.
    """

    model_folder: Path
    device: str = "auto"
    precision: str = "auto"
    tile_voxels: int | None = None


class PredictorCache:
    """Holds one predictor, and lends it to one user at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[PredictorOptions, ModelCard] | None = None
        self._predictor: Predictor | None = None
        self._device_type = ""
        self._sessions: OrderedDict[Hashable, Session] = OrderedDict()

    @contextmanager
    def predictor(
        self, options: PredictorOptions, progress: ProgressCallback = ignore_progress
    ) -> Iterator[Predictor]:
        """The predictor for these options; made where it is not the last one.

        Raises:
            ModelError: the model cannot be used.
            DeviceError: the device is not there.
        """
        with self._lock:
            card = read_card(options.model_folder)
            # A model that was replaced on disk is another one.
            key = (options, card)
            if self._predictor is None or key != self._key:
                progress(0.0, "Loading PyTorch and the model")
                self._predictor = self._key = None
                self._sessions.clear()
                self._predictor = load_predictor(options)
                self._device_type = self._predictor.device.type
                self._key = key
            predictor = self._predictor
            try:
                yield predictor
            finally:
                # Too little memory on the GPU moved it to the CPU; the next scan tries anew.
                if predictor.device.type != self._device_type:
                    self._predictor = self._key = None
                    self._sessions.clear()

    @contextmanager
    def session(
        self,
        options: PredictorOptions,
        volume: Volume,
        key: Hashable,
        progress: ProgressCallback = ignore_progress,
        *,
        anew: bool = False,
        interest: Region | None = None,
        start: np.ndarray | None = None,
        start_label: Label | None = None,
        structure: Label | None = None,
    ) -> Iterator[Session]:
        """The session of a scan that was checked already, as an earlier click on it left it.

        Args:
            key: what the scan is known by; another one where its voxels, its place, the mask to
                begin from or the structure change.
            anew: forget what was computed on it.
            interest: k, j, i box of the scan to look in.
            start: a mask (k, j, i) of the scan to begin from.
            start_label: which of the model's targets that shows; the first unless given.
            structure: what the clicks are about in the place of the model's targets.

        Raises:
            ModelError: the model cannot be used.
            DeviceError: the device is not there.
            InputError: the model takes no structure but its targets.
        """
        from .session import Session

        with self.predictor(options, progress) as predictor:
            session = self._sessions.pop(key, None)
            if session is None or anew:
                session = Session(
                    predictor,
                    volume,
                    checked=True,
                    interest=interest,
                    start=start,
                    start_label=start_label,
                    structure=structure,
                )
            self._sessions[key] = session
            while len(self._sessions) > KEPT_SESSIONS:
                self._sessions.popitem(last=False)
            yield session

    def prepare(self, options: PredictorOptions, cancel: CancelToken | None = None) -> None:
        """Load what a prediction with these options needs and run it once, before there is a scan.

        Raises:
            ModelError: the model cannot be used.
            DeviceError: the device is not there.
            Cancelled: it was cancelled before its end.
        """
        if cancel is not None:
            cancel.raise_if_cancelled()
        with self.predictor(options) as predictor:
            predictor.warm_up(cancel)

    def forget_scans(self) -> None:
        """Let go of all scans and of what was computed on them; the networks stay."""
        with self._lock:
            self._sessions.clear()
            if self._predictor is not None:
                self._predictor.located = None

    def clear(self) -> None:
        """Let go of the networks and of the memory that they take on the device."""
        with self._lock:
            self._predictor = self._key = None
            self._sessions.clear()


def load_predictor(options: PredictorOptions) -> Predictor:
    """A model on its device.

    Raises:
        ModelError: the model cannot be used.
        DeviceError: the device is not there.
    """
    from .predictor import Predictor

    return Predictor(
        load_model(options.model_folder),
        options.device,
        options.precision,
        options.tile_voxels,
    )
