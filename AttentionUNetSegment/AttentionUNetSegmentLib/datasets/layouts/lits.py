"""LiTS, the Liver Tumor Segmentation Benchmark: ``volume-N.nii`` and ``segmentation-N.nii``.

131 scans with liver (1) and tumour (2), as they are unpacked: all in one folder or in several.
Bilic et al. 2023, The Liver Tumor Segmentation Benchmark (LiTS).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..cases import CaseFiles, DataSet

LITS_LABELS = ("background", "liver", "tumour")
_FILE = re.compile(r"(volume|segmentation)-(\d+)\.nii(\.gz)?")


def find_lits(folder: Path) -> DataSet | None:
    """The scans of LiTS below a folder."""
    files: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
    for file in sorted(folder.rglob("*-*.nii*")):
        match = _FILE.fullmatch(file.name)
        if match:
            files[match[1]][int(match[2])] = file
    scans, labels = files["volume"], files["segmentation"]
    if not labels or not scans:
        return None
    # The challenge's test scans, test-volume-N.nii, have no labels and another name.
    problems = [
        f"'{scans[number].name}' has no labels: 'segmentation-{number}.nii' is missing."
        for number in sorted(scans.keys() - labels.keys())
    ] + [
        f"'{labels[number].name}' has no scan: 'volume-{number}.nii' is missing."
        for number in sorted(labels.keys() - scans.keys())
    ]
    return DataSet(
        "lits",
        LITS_LABELS,
        "liver",
        tuple(
            CaseFiles(f"volume-{number}", scans[number], labels[number])
            for number in sorted(scans.keys() & labels.keys())
        ),
        part_of={"tumour": "liver"},
        problems=tuple(problems),
    )
