"""Scans to try the module on, in the Sample Data module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

CATEGORY = "AttentionUNetSegment"

# Slicer's own public abdominal CT, by the address and checksum that its Sample Data module uses.
CT_SHA256 = "146af87511520c500a3706b7b2bfb545f40d5d04dd180be3a7a2c6940e447433"
CT_ADDRESS = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{CT_SHA256}"

SYNTHETIC_SEED = 3


def registerSampleData(resourcePath: Callable[[str], str]) -> None:
    """Add our two scans; called when the application has started."""
    import SampleData

    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    register(
        category=CATEGORY,
        sampleName="CTAAbdomenForPancreas",
        uris=CT_ADDRESS,
        fileNames="Panoramix-cropped.nrrd",
        nodeNames="CTA abdomen (Panoramix)",
        checksums=f"SHA256:{CT_SHA256}",
        loadFileTypes="VolumeFile",
        thumbnailFileName=resourcePath("Icons/AttentionUNetSegment.png"),
    )
    # Empty, not absent: Slicer counts them.
    register(
        category=CATEGORY,
        sampleName="SyntheticAbdomen",
        uris=[],
        fileNames=[],
        nodeNames=[],
        customDownloader=makeSyntheticAbdomen,
        thumbnailFileName=resourcePath("Icons/SyntheticAbdomen.png"),
    )


def makeSyntheticAbdomen(_source: Any = None) -> list[Any]:
    """Draw the synthetic abdomen and show it; nothing is downloaded.

    Returns:
        The volume node, in a list, as the Sample Data module wants it.
    """
    from ..scene import addVolumeNode
    from ..synthetic import synthetic_abdomen
    from .slice_views import SliceViews

    abdomen = synthetic_abdomen(SYNTHETIC_SEED)
    node = addVolumeNode(abdomen.ct, _("Synthetic abdomen (not a patient)"))
    SliceViews().showVolume(node)
    return [node]
