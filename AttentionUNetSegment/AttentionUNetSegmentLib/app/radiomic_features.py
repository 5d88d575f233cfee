"""The features of pyradiomics, under the names that it gives them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..geometry.volume import Volume
from .requirements import extra_needed

BIN_WIDTH_HU = 25.0
"""Of the histogram that the texture features count in; pyradiomics' own default, in HU."""

_NAMES = "original_"


def radiomic_features(volume: Volume, mask: np.ndarray) -> dict[str, Any]:
    """Measure a mask as pyradiomics does with its default settings: shape, first order, texture.

    Args:
        volume: the scan; its axes are at right angles.
        mask: (k, j, i), on the scan's grid; what is not zero is inside.

    Returns:
        Numbers by feature, none where the mask is too small for pyradiomics; with the version and
        the settings that they depend on.
    """
    with extra_needed("radiomics"):
        import radiomics
        import SimpleITK as sitk
        from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)

    def image(array: np.ndarray) -> sitk.Image:
        made = sitk.GetImageFromArray(array)
        made.SetSpacing(volume.spacing_mm)
        return made

    extractor = RadiomicsFeatureExtractor(binWidth=BIN_WIDTH_HU)
    try:
        found = extractor.execute(
            image(volume.array.astype(np.float32)), image((mask != 0).astype(np.uint8))
        )
    except ValueError:  # an empty mask, one voxel, a line
        found = {}
    return {
        "pyradiomics": radiomics.__version__.removeprefix("v"),
        "bin_width_hu": BIN_WIDTH_HU,
        "features": {
            name: float(value) for name, value in found.items() if name.startswith(_NAMES)
        },
    }
