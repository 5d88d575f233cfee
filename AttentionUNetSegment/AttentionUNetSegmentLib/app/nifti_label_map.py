"""The segment as a NIfTI label map, also where the scan's axes are sheared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..geometry.grid import has_right_angles
from ..inference.prediction import Prediction


def write_label_map(prediction: Prediction, path: Path) -> None:
    """The mask on the scan's grid, 0 and 1. Sheared axes (a tilted gantry) are in the sform alone,
    for a qform cannot hold them.

    Raises:
        OSError: it could not be written.
    """
    import nibabel

    matrix = prediction.volume.ijk_to_ras
    mask = (prediction.mask != 0).astype(np.uint8)
    image = nibabel.Nifti1Image(mask.T, matrix)
    image.set_sform(matrix, code="scanner")
    image.set_qform(matrix, code="scanner" if has_right_angles(matrix) else "unknown")
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
