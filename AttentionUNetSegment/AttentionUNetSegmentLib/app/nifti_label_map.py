"""A NIfTI label map, also where the scan's axes are sheared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.grid import has_right_angles
from ..io.gzip_writing import write_gzip

_VOXELS_AT = 352  # behind the header and a word that says that no extension follows


def write_label_map(labels: np.ndarray, ijk_to_ras: np.ndarray, path: Path) -> None:
    """Labels, uint8 (k, j, i), on the scan's grid. Sheared axes (a tilted gantry) are in the sform
    alone, for a qform cannot hold them.

    Raises:
        OSError: it could not be written.
    """
    import nibabel

    matrix = ijk_to_ras
    image: Any = nibabel.Nifti1Image(labels.T, matrix)
    image.set_sform(matrix, code="scanner")
    image.set_qform(matrix, code="scanner" if has_right_angles(matrix) else "unknown")
    image.header.set_xyzt_units("mm")
    image.update_header()
    header = image.header.copy()
    header["magic"], header["vox_offset"] = b"n+1", _VOXELS_AT  # of one file, not of two
    header.set_slope_inter(1, 0)
    parts = [header.binaryblock.ljust(_VOXELS_AT, b"\0"), np.ascontiguousarray(labels)]
    with path.open("wb") as file:
        if path.name.endswith(".gz"):
            write_gzip(file, parts)
        else:
            file.writelines(parts)
