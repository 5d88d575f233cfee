"""Single axial slices as pictures: ``images/PATIENT-NUMBER.jpg``, ``masks/PATIENT-NUMBER.png``.

The slices of Pancreas-CT that the 2D experiments run on. A slice is a volume of one voxel layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputError
from ...geometry.volume import Volume
from ...io.captured_stderr import capture_stderr
from ...paths import PlainPaths
from ..cases import CaseFiles, DataSet

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")

_PLACE = np.diag([-1.0, 1.0, 1.0, 1.0])
"""1 mm, since the pictures tell no spacing; columns run to the left, rows to the front."""


def find_slices(folder: Path) -> DataSet | None:
    """The slices of ``pancreas-ct-slices`` below the folder, or of the folder itself."""
    nested = folder / "pancreas-ct-slices"
    folder = nested if nested.is_dir() else folder
    cases, problems = [], []
    for image in sorted((folder / "images").glob("*")):
        if image.suffix.lower() not in IMAGE_ENDINGS:
            continue
        mask = folder / "masks" / f"{image.stem}.png"
        if mask.exists():
            patient, _, _ = image.stem.rpartition("-")
            cases.append(
                CaseFiles(image.stem, image, mask, patient=patient or image.stem, read=read_slice)
            )
        else:
            problems.append(f"'{image.name}' has no mask: 'masks/{mask.name}' is missing.")
    if not cases:
        return None
    return DataSet(
        "slices",
        ("background", "pancreas"),
        "pancreas",
        tuple(cases),
        dimensions=2,
        hounsfield=False,
        problems=tuple(problems),
    )


def read_slice(files: CaseFiles) -> tuple[Volume, Volume]:
    """A slice, uint8 (1, j, i), and its mask, 1 where the picture is not black.

    Raises:
        InputError: a file cannot be read or is no grey picture.
    """
    picture, mask = (_read_picture(file) for file in (files.image, files.labels))
    return Volume(picture[None], _PLACE), Volume((mask[None] > 0).astype(np.uint8), _PLACE)


def _read_picture(file: Path) -> np.ndarray:
    import SimpleITK as sitk

    try:
        with PlainPaths() as paths, capture_stderr():
            image = sitk.ReadImage(paths.of(file))
    except RuntimeError as error:
        raise InputError(f"'{file.name}' cannot be read as a picture; it is damaged.") from error
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        if array.shape[-1] < 3 or np.ptp(array[..., :3].astype(int), axis=-1).max() > 0:
            raise InputError(f"'{file.name}' is a colour picture; a grey one is needed.")
        array = array[..., 0]
    if array.ndim != 2:
        raise InputError(f"'{file.name}' is not a single 2D picture.")
    return array
