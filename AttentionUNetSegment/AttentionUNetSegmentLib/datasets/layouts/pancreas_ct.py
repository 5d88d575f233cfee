"""NIH Pancreas-CT as it comes from The Cancer Imaging Archive.

The scans are DICOM series, ``Pancreas-CT/PANCREAS_0001/<study>/<series>/*.dcm``; the labels are
NIfTI files, ``TCIA_pancreas_labels-02-05-2017/label0001.nii.gz``. Roth et al. 2016, Data From
Pancreas-CT, doi 10.7937/K9/TCIA.2016.tNB1kqBU (CC BY 3.0).

The headers of the labels do not lie where the scans do. Their voxels do: voxel (i, j, k) of the
labels belongs to column i and row j of slice k, counted from the feet. Read by the header alone,
they are upside down, front and back exchanged. So the header decides only where it puts every voxel
onto one of the scan, and the order of the voxels elsewhere; and what comes out must be where soft
tissue is.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...geometry.alignment import align_labels
from ...geometry.volume import Volume
from ...io.reading import read_volume
from ..cases import CaseFiles, DataSet, read_labels

PATIENT_FOLDER = re.compile(r"PANCREAS_(\d{4})")
LABEL_FILE = re.compile(r"label(\d{4})\.nii(\.gz)?")
SOFT_TISSUE_HU = (-50.0, 250.0)
LEAST_SOFT_TISSUE = 0.6
"""Share of a pancreas' voxels that are soft tissue; the rest is fat between its lobules, noise,
and the labels' rim. Where the labels are upside down most lie in fat, gut or air."""


def find_pancreas_ct(folder: Path) -> DataSet | None:
    """The scans of Pancreas-CT below a folder that have labels below it too.

    Two of the 82 numbers have no scan any more: the archive withdrew them as copies. Their labels
    are left alone.
    """
    scans = {
        int(match[1]): found
        for found in sorted(folder.rglob("PANCREAS_*"))
        if (match := PATIENT_FOLDER.fullmatch(found.name)) and found.is_dir()
    }
    labels = {
        int(match[1]): found
        for found in sorted(folder.rglob("label*.nii*"))
        if (match := LABEL_FILE.fullmatch(found.name))
    }
    if not scans or not labels:
        return None
    return DataSet(
        "pancreas-ct",
        ("background", "pancreas"),
        "pancreas",
        tuple(
            CaseFiles(f"PANCREAS_{number:04}", scans[number], labels[number], read=read_pancreas_ct)
            for number in sorted(scans.keys() & labels.keys())
        ),
        problems=tuple(
            f"'{scans[number].name}' has no labels: 'label{number:04}.nii.gz' is missing."
            for number in sorted(scans.keys() - labels.keys())
        ),
    )


def read_pancreas_ct(files: CaseFiles) -> tuple[Volume, Volume]:
    """A scan and its labels, on the scan's grid whatever their header says.

    Raises:
        InputError: one cannot be read, they are of different sizes, or the labels are not where
            soft tissue is.
    """
    scan, labels = read_volume(files.image), read_labels(files.labels)
    aligned = align_labels(scan, labels)
    if aligned is None:
        if scan.array.shape != labels.array.shape:
            raise InputError(
                f"'{files.labels.name}' has {_size(labels)} voxels, but the scan in "
                f"'{files.image.name}' has {_size(scan)}."
            )
        aligned = scan.with_array(labels.array)
    inside = scan.array[aligned.array > 0]
    low, high = SOFT_TISSUE_HU
    if inside.size and np.mean((inside >= low) & (inside <= high)) < LEAST_SOFT_TISSUE:
        raise InputError(
            f"'{files.labels.name}' marks less soft tissue than anything else in the scan of "
            f"'{files.image.name}'; they do not belong together, or one of them is turned."
        )
    return scan, aligned


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape_ijk))
