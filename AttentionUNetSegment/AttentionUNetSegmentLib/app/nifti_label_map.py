"""A NIfTI label map, also where the scan's axes are sheared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..geometry.grid import has_right_angles


def write_label_map(labels: np.ndarray, ijk_to_ras: np.ndarray, path: Path) -> None:
    """Labels, uint8 (k, j, i), on the scan's grid. Sheared axes (a tilted gantry) are in the sform
    alone, for a qform cannot hold them.

    Raises:
        OSError: it could not be written.
    """
    import nibabel

    matrix = ijk_to_ras
    image = nibabel.Nifti1Image(labels.T, matrix)
    image.set_sform(matrix, code="scanner")
    image.set_qform(matrix, code="scanner" if has_right_angles(matrix) else "unknown")
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
