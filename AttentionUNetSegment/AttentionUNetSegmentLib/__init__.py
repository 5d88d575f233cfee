"""Attention U-Net segmentation of the pancreas in CT: networks, models, inference, training.

>>> from AttentionUNetSegmentLib import segment
>>> prediction = segment("scan.nii.gz")                        # doctest: +SKIP
>>> prediction.mask, prediction.statistics, prediction.plot()  # doctest: +SKIP

Importing this package imports nothing heavy: PyTorch, SimpleITK and Slicer are imported by the
parts that need them, when they need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .inference.clicks import Click
    from .inference.strokes import Lasso, Scribble
    from .networks import AttentionUNet
    from .notebook import ImagePrediction, segment

__version__ = "0.1.0"

_LAZY = {
    "AttentionUNet": "networks",
    "Click": "inference",
    "ImagePrediction": "notebook",
    "Lasso": "inference",
    "Scribble": "inference",
    "segment": "notebook",
}

__all__ = [
    "AttentionUNet",
    "Click",
    "ImagePrediction",
    "Lasso",
    "Scribble",
    "__version__",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
