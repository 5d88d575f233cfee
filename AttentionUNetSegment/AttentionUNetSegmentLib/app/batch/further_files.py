"""The segment in other programs' formats, beside the files of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ..segmenting import ALSO_FILES, check_format, write_segment

if TYPE_CHECKING:
    from ..segmenting import Segmented

_SUFFIXES = {"nifti": ".nii.gz", "stl": ".stl", "dicom-seg": ".dcm"}


class FurtherFiles:
    """Writes them.

    Args:
        formats: keys of ``ALSO_FILES``.
        dicom_files: of the scan, in spatial order; empty where it was no DICOM series.
    """

    def __init__(self, formats: Sequence[str], dicom_files: Sequence[str]) -> None:
        self.formats = [
            name for name in ALSO_FILES if name in formats and (name != "dicom-seg" or dicom_files)
        ]
        self.dicom_files = dicom_files

    @property
    def names(self) -> list[str]:
        return [ALSO_FILES[name] for name in self.formats]

    def write(self, segmented: Segmented, staging: Path) -> tuple[list[str], list[str]]:
        """Write them into a folder.

        Returns:
            The names of those that were written, and a sentence for each format that cannot hold
            what there is; an empty segment has no surface.

        Raises:
            OutputError: one cannot be written.
        """
        written, warnings = [], []
        for name in self.formats:
            if name == "stl" and not segmented.prediction.found:
                continue
            path = staging / ALSO_FILES[name]
            if name == "scene":
                from ...scene.scene_file import saveSceneFile

                saveSceneFile(segmented.scene_result, staging, path)
                written.append(path.name)
                continue
            try:
                check_format(_SUFFIXES[name], segmented.scan.volume)
                write_segment(segmented, path, _SUFFIXES[name], self.dicom_files)
            except InputError as error:
                path.unlink(missing_ok=True)
                warnings.append(f"'{path.name}' was not written: {error}")
            else:
                written.append(path.name)
        return written, warnings
