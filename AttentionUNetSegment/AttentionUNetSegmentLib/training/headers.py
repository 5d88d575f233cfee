"""What an image file's header says, without reading its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..inference.captured_stderr import captured_stderr
from ..inference.nifti_header import nifti_problem
from ..inference.reading import check_kind, describe_failure


@dataclass(frozen=True, eq=False)
class Header:
    """Size and place of an image.

    Args:
        shape_ijk: voxels along i, j, k.
        ijk_to_ras: 4x4.
    """

    shape_ijk: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)


def check_bytes(file: Path) -> None:
    """Hold the compressed bytes of a NIfTI file against their checksum, which ITK does not.

    Raises:
        InputError: they were damaged.
    """
    if not file.name.lower().endswith(".nii.gz"):
        return
    try:
        problem = nifti_problem(file, every_byte=True)
    except OSError as error:
        raise InputError(f"'{file.name}' cannot be opened: {error.strerror or error}.") from error
    if problem:
        raise InputError(f"The file '{file.name}' {problem}.")


def read_header(file: Path) -> Header:
    """The header of a NIfTI, NRRD or MetaImage file.

    Raises:
        InputError: there is no such file, it is damaged, or no single 3D image of real numbers.
    """
    import SimpleITK as sitk

    name = file.name
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        problem = nifti_problem(file) if name.lower().endswith((".nii", ".nii.gz")) else None
        if problem:
            raise InputError(f"The file '{name}' {problem}.")
        with captured_stderr():
            reader.ReadImageInformation()
    except OSError as error:
        raise InputError(f"'{name}' cannot be opened: {error.strerror or error}.") from error
    except RuntimeError as error:  # all that SimpleITK raises
        raise InputError(describe_failure(name, "an image", str(error))) from error
    size = reader.GetSize()
    check_kind(size, reader.GetNumberOfComponents(), reader.GetPixelIDValue(), name)
    dimension = len(size)
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    ijk_to_lps[:3, 3] = reader.GetOrigin()[:3]
    return Header((size[0], size[1], size[2]), np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_lps)
