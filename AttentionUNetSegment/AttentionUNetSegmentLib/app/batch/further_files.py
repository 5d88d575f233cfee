"""The segment in other programs' formats, beside the files of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ..segmenting import ALSO_FILES, write_image

if TYPE_CHECKING:
    from ...inference.prediction import Prediction
    from ...models import Label
    from ...scene import SceneResult


class FurtherFiles:
    """Writes them.

    Args:
        formats: keys of ``ALSO_FILES``.
        label: what is segmented.
        dicom_files: of the scan, in spatial order; empty where it was no DICOM series.
    """

    def __init__(self, formats: Sequence[str], label: Label, dicom_files: Sequence[str]) -> None:
        self.formats = [
            name for name in ALSO_FILES if name in formats and (name != "dicom-seg" or dicom_files)
        ]
        self.label = label
        self.dicom_files = dicom_files

    @property
    def names(self) -> list[str]:
        return [ALSO_FILES[name] for name in self.formats]

    def write(self, result: SceneResult, staging: Path) -> list[str]:
        """Write them into a folder, and give their names; an empty segment has no surface.

        Raises:
            OutputError: one cannot be written.
            InputError: a format cannot hold what there is.
        """
        from ...scene.export import exportSurface
        from .dicom_seg import write_dicom_seg

        written = []
        for name in self.formats:
            path = staging / ALSO_FILES[name]
            if name == "nifti":
                _write_labelmap(result.prediction, path)
            elif name == "stl":
                if not result.prediction.found:
                    continue
                exportSurface(result.segmentationNode, result.segmentId, path)
            else:
                write_dicom_seg(result.prediction, self.label, self.dicom_files, path)
            written.append(path.name)
        return written


def _write_labelmap(prediction: Prediction, path: Path) -> None:
    """The mask on the scan's grid, 0 and 1."""
    axes = prediction.volume.ijk_to_ras[:3, :3] / prediction.volume.spacing_mm
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputError(
            "The scan's slices are tilted against their stack, which NIfTI files cannot hold here; "
            "leave out 'nifti'."
        )
    mask = (prediction.mask != 0).astype(np.uint8)
    write_image(mask, prediction.volume.ijk_to_ras, path)
