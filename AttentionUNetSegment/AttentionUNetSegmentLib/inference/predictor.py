"""Segment a scan in one call.

>>> predictor = Predictor(load_model(find_model("pancreas-ct")))
>>> prediction = predictor.predict(read_volume("scan.nii.gz"))
>>> prediction.volume_ml, prediction.focus_ratios
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.volume import Volume
from ..models import Label
from .engine import Engine
from .prediction import Prediction
from .progress import CancelToken, ProgressCallback
from .session import Session
from .strokes import Prompt


class Predictor(Engine):
    """Segments scans with one model on one device; keep it, since it holds the networks there.

    Args:
        model: as loaded; its networks are moved to the device.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        precision: ``auto`` is bfloat16 where the device has instructions for it, else float32.
        tile_voxels: the most voxels that go through a network at once.

    Raises:
        DeviceError: the device is not there.
        InputError: an option is unknown.
    """

    def predict(
        self,
        volume: Volume,
        clicks: Sequence[Prompt] = (),
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        *,
        checked: bool = False,
        start: np.ndarray | None = None,
        structure: str | Label | None = None,
    ) -> Prediction:
        """Segment a scan.

        Args:
            volume: CT in Hounsfield units.
            clicks: points inside and outside the organ, scribbles and lassos, in the same world as
                the volume.
            progress: told what is being done.
            cancel: checked between steps and between tiles.
            checked: ``quality.check_scan_quality`` has passed the scan already, of which this may
                be a part too small to be recognised as a CT by itself.
            start: a mask (k, j, i) of the scan that the clicks mend, in the place of the automatic
                result.
            structure: what the clicks are about in the place of the model's targets, by any name;
                one of them at least is inside it, unless one of the card's labels has the name:
                that is looked for. Experimental.

        Raises:
            InputError: the scan or a click cannot be used, or the model takes no structure but its
                targets.
            MemoryError: not even the CPU's memory suffices.
            Cancelled: the token was set.
        """
        session = Session(self, volume, checked=checked, start=start, structure=structure)
        return session.predict(clicks, progress, cancel)
