"""A result as files: the one that a name asks for, or the full set in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..app.segmenting import (
    Scan,
    SegmentationJob,
    segment_into,
    segment_to_file,
    single_file_suffix,
)
from ..errors import InputError

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from ..models import Model
    from .images import GivenImage


def save(given: GivenImage, prediction: Prediction, model: Model, path: Path) -> None:
    """Write a result, all of it or nothing.

    Raises:
        OutputError: it cannot be written.
        InputError: the format cannot hold it, or it would replace the scan.
    """
    suffix = single_file_suffix(path)
    if suffix == ".dcm":
        raise InputError(
            "A DICOM Segmentation refers to the slices of its series; write it with the command "
            "'attention-unet-segment', which has them."
        )
    stored: Any = _StoredPrediction(prediction, model)
    scan = Scan(given.volume, given.name, given.warnings)
    job = SegmentationJob(lambda: scan, prediction.clicks, source=given.source, predictor=stored)
    if suffix is None:
        segment_into(path, job)
    else:
        segment_to_file(path, job)


class _StoredPrediction:
    """In place of a predictor: what was predicted already."""

    def __init__(self, prediction: Prediction, model: Model) -> None:
        self.prediction = prediction
        self.model = model

    def predict(self, *arguments: Any, **options: Any) -> Prediction:
        return self.prediction
