"""The segment in other programs' formats, beside the files of the contract."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import AttentionUNetSegmentError, OutputError
from ..segmenting import ALSO_FILES

if TYPE_CHECKING:
    from ...inference.prediction import Prediction
    from ...models import Label
    from ...scene import SceneResult


_log = logging.getLogger(__name__)


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
        self.warnings: list[str] = []
        self.label = label
        self.dicom_files = dicom_files

    @property
    def names(self) -> list[str]:
        return [ALSO_FILES[name] for name in self.formats]

    def write(self, result: SceneResult, staging: Path) -> list[str]:
        """Write them into a folder, and give their names; an empty segment has no surface.

        What one format cannot hold is in :attr:`warnings`, and costs that file only.

        Raises:
            OutputError: the disk does not take one.
        """
        written = []
        self.warnings = []
        for name in self.formats:
            path = staging / ALSO_FILES[name]
            if name == "stl" and not result.prediction.found:
                continue
            try:
                self._write(name, result, path)
            except (MemoryError, OSError):
                raise
            except Exception as error:  # other people's writers raise anything
                # A cause is the system's: the disk is full, and the next study would fail too.
                if isinstance(error, OutputError) and error.__cause__ is not None:
                    raise
                path.unlink(missing_ok=True)
                if isinstance(error, AttentionUNetSegmentError):
                    reason = str(error)
                else:
                    _log.exception("Format %s", name)
                    reason = f"Unexpected {type(error).__name__}."
                self.warnings.append(f"The file '{path.name}' was not written: {reason}")
            else:
                written.append(path.name)
        return written

    def _write(self, name: str, result: SceneResult, path: Path) -> None:
        if name == "nifti":
            write_labelmap(result.prediction, path)
        elif name == "stl":
            from ...scene.export import exportSurface

            exportSurface(result.segmentationNode, result.segmentId, path)
        else:
            from .dicom_seg import write_dicom_seg

            write_dicom_seg(result.prediction, self.label, self.dicom_files, path)


def write_labelmap(prediction: Prediction, path: Path) -> None:
    """The mask on the scan's grid, 0 and 1. Sheared axes (a tilted gantry) are in the sform alone,
    for a qform cannot hold them.

    Raises:
        OSError: it could not be written.
    """
    import nibabel

    matrix = prediction.volume.ijk_to_ras
    axes = matrix[:3, :3] / prediction.volume.spacing_mm
    right_angled = np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    mask = (prediction.mask != 0).astype(np.uint8)
    image = nibabel.Nifti1Image(mask.T, matrix)
    image.set_sform(matrix, code="scanner")
    image.set_qform(matrix, code="scanner" if right_angled else "unknown")
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
