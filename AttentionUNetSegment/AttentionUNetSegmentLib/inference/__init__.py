"""From a scan to a segmentation, its probability and its attention. No Slicer in here.

>>> from AttentionUNetSegmentLib.inference import Predictor, read_volume
>>> from AttentionUNetSegmentLib.models import find_model, load_model
>>> predictor = Predictor(load_model(find_model("pancreas-ct")))
>>> prediction = predictor.predict(read_volume("scan.nii.gz"))

What needs PyTorch or SimpleITK is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..geometry.volume import Volume
from .clicks import Click
from .progress import CancelToken, ProgressCallback
from .strokes import Lasso, Scribble
from .uncertainty import DoubtfulPlace

if TYPE_CHECKING:
    from ..io.reading import read_volume
    from .device import choose_device
    from .prediction import Prediction
    from .predictor import Predictor

_LAZY = {
    "Prediction": ".prediction",
    "Predictor": ".predictor",
    "choose_device": ".device",
    "read_volume": "..io.reading",
}

__all__ = [
    "CancelToken",
    "Click",
    "DoubtfulPlace",
    "Lasso",
    "Prediction",
    "Predictor",
    "ProgressCallback",
    "Scribble",
    "Volume",
    "choose_device",
    "read_volume",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
