"""The segment in other programs' formats, and the uncertainty, beside the files of the contract."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AttentionUNetSegmentError, OutputError
from .segmenting import ALSO_FILES, check_format, single_file_suffix, write_segment

if TYPE_CHECKING:
    from .segmenting import Segmented

_log = logging.getLogger(__name__)


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
            OutputError: the disk does not take one.
        """
        written, warnings = [], []
        for name in self.formats:
            if name == "stl" and not any(one.found for one in segmented.prediction.targets):
                continue
            path = staging / ALSO_FILES[name]
            try:
                paths = self._write(name, segmented, path)
            except (MemoryError, OSError):
                raise
            except Exception as error:  # other people's writers raise anything
                # A cause is the system's: the disk is full, and the next study would fail too.
                if isinstance(error, OutputError) and error.__cause__ is not None:
                    raise
                path.unlink(missing_ok=True)
                if isinstance(error, AttentionUNetSegmentError):
                    reason = str(error)
                else:
                    _log.exception("Format %s", name)
                    reason = f"Unexpected {type(error).__name__}."
                warnings.append(f"The file '{path.name}' was not written: {reason}")
            else:
                written += [one.name for one in paths]
        return written, warnings

    def _write(self, name: str, segmented: Segmented, path: Path) -> list[Path]:
        if name == "scene":
            from ..scene.scene_file import saveSceneFile

            saveSceneFile(segmented.scene_result, path.parent, path)
            return [path]
        if name == "uncertainty":
            from ..scene.files import writeVolumeFiles

            writeVolumeFiles(segmented.prediction, path.parent, [path.name])
            return [path]
        suffix = single_file_suffix(path)
        assert suffix is not None, name
        check_format(suffix, segmented.scan.volume)
        return write_segment(segmented, path, suffix, self.dicom_files)
