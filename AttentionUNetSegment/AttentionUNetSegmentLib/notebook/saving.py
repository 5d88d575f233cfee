"""A result as files: the one that a name asks for, or the full set in a folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..app.output_folder import output_folder
from ..app.requirements import require
from ..app.segmenting import Scan, segment_into, write_image
from ..errors import InputError, OutputError

if TYPE_CHECKING:
    from ..inference.prediction import Prediction
    from ..models import Model
    from .images import GivenImage

LABELMAPS = (".nii.gz", ".nii", ".nrrd", ".mha")
THROUGH_SLICER = (".seg.nrrd", ".stl")


def save(given: GivenImage, prediction: Prediction, model: Model, path: Path) -> None:
    """Write a result, all of it or nothing.

    Raises:
        OutputError: it cannot be written.
        InputError: the format cannot hold it, or it would replace the scan.
    """
    name = path.name.lower()
    if name.endswith(".dcm"):
        raise InputError(
            "A DICOM Segmentation refers to the slices of its series; write it with the command "
            "'attention-unet-segment', which has them."
        )
    suffix = next((one for one in (*THROUGH_SLICER, *LABELMAPS) if name.endswith(one)), None)
    if suffix is None:
        answered: Any = _Answered(prediction, model)
        scan = Scan(given.volume, given.name, given.warnings)
        segment_into(
            path,
            lambda: scan,
            source=given.source,
            clicks=prediction.clicks,
            predictor=answered,
        )
        return
    if given.source is not None and path.exists() and path.samefile(given.source):
        raise InputError(f"The result would be written over the scan '{path.name}'.")
    with output_folder(path.parent, [path.name]) as output:
        if suffix in LABELMAPS:
            given.volume.require_right_angles()
            mask = (prediction.mask != 0).astype(np.uint8)
            write_image(mask, given.volume.ijk_to_ras, output.staging / path.name)
        else:
            _through_slicer(given, prediction, model, suffix, output.staging / path.name)
        output.publish([path.name])


def _through_slicer(
    given: GivenImage, prediction: Prediction, model: Model, suffix: str, path: Path
) -> None:
    require("standalone", "slicer")
    from .. import scene
    from ..scene.export import exportSurface

    if suffix == ".stl" and not prediction.found:
        raise OutputError(f"No {model.card.target} was found, so there is no surface to write.")
    with ExitStack() as during:
        during.enter_context(scene.headlessScene())
        node = scene.addVolumeNode(given.volume, given.name)
        result = scene.writePrediction(
            prediction, node, label=model.card.target_label, withVolumes=False
        )
        if suffix == ".stl":
            exportSurface(result.segmentationNode, result.segmentId, path)
            return
        written, *_ = scene.saveResult(result, path.parent / "all")
        written.rename(path)


class _Answered:
    """In place of a predictor: what was predicted already."""

    def __init__(self, prediction: Prediction, model: Model) -> None:
        self.prediction = prediction
        self.model = model

    def predict(self, *arguments: Any, **options: Any) -> Prediction:
        return self.prediction
