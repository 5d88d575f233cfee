"""What does the work: holds its models, and runs one study after the other."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import (
    AttentionUNetSegmentError,
    DeviceError,
    InputError,
    OutputError,
    is_out_of_memory,
)
from ...inference.predictor_cache import PredictorCache, PredictorOptions
from ...inference.progress import ProgressCallback, ignore_progress
from ...models import find_model, read_card
from ...networks.precision import AUTO
from ..further_files import FurtherFiles
from ..segmenting import Scan, SegmentationJob, read_scan, segment_into
from .finished import ENTRY, checksum, entry, finished_report, sizes
from .rows import Answer, StudyRow, done_row, further_rows
from .sources import Study, stem_of

if TYPE_CHECKING:
    from collections.abc import Mapping

STUDIES_FOLDER = "studies"

_log = logging.getLogger(__name__)


class BatchWorker:
    """Runs studies; each model is loaded once.

    Args:
        directory: of the batch; each study gets a folder of its own in it.
        device: as :func:`~...inference.device.choose_device` takes it.
        also: further formats, keys of ``ALSO_FILES``.
        structure: what is segmented in the place of the models' targets, by any name.
        precision: what the networks compute in: "auto", "float32" or "bfloat16".
    """

    def __init__(
        self,
        directory: Path,
        device: str = "auto",
        also: Sequence[str] = (),
        structure: str | None = None,
        precision: str = AUTO,
    ) -> None:
        self.directory = directory
        self.device = device
        self.also = tuple(also)
        self.structure = structure
        self.precision = precision
        self._models: dict[Path, PredictorCache] = {}

    def run(self, study: Study, progress: ProgressCallback = ignore_progress) -> Answer:
        """Segment a study unless it is finished. Whatever goes wrong with it is in the answer."""
        try:
            return self._run(study, progress)
        except AttentionUNetSegmentError as error:
            return _failed(study, str(error), isinstance(error, (DeviceError, OutputError)))
        except Exception as error:  # a bug that one scan in a thousand meets costs that scan only
            if is_out_of_memory(error):
                return _failed(study, "This computer's memory does not suffice for it.", True)
            if isinstance(error, OSError):
                return _failed(study, f"It cannot be read: {error.strerror or error}.", False)
            _log.exception("Study %s", study.name)
            return _failed(study, f"Unexpected {type(error).__name__}: {error}", False)

    def _run(self, study: Study, progress: ProgressCallback) -> Answer:
        folder = self.directory / STUDIES_FOLDER / study.name
        if not Path(study.path).exists():
            raise InputError("There is no such file or folder.")
        model_folder = find_model(study.model)
        card = read_card(model_folder)
        began = time.perf_counter()
        wanted = entry(study, checksum(study), card, self.also, self.structure, self.precision)
        checksum_s = round(time.perf_counter() - began, 3)
        report = finished_report(folder, wanted)
        if report is not None:
            return Answer(done_row(study.name, report), further_rows(study.name, report), kept=True)

        def made_of(staging: Path) -> Mapping[str, Any]:
            return {ENTRY: {**wanted, "checksum_s": checksum_s, "files": sizes(staging)}}

        also = FurtherFiles(self.also, study.files) if self.also else None
        models = self._models.setdefault(model_folder, PredictorCache())
        options = PredictorOptions(model_folder, self.device, self.precision)
        with models.predictor(options) as predictor:
            outcome = segment_into(
                folder,
                SegmentationJob(
                    reader(study),
                    clicks=study.clicks,
                    structure=self.structure,
                    source=Path(study.path),
                    predictor=predictor,
                    progress=progress,
                ),
                also=also,
                more_for_report=made_of,
                is_own=True,
            )
        report = outcome.report
        return Answer(done_row(study.name, report), further_rows(study.name, report))


def reader(study: Study) -> Callable[[], Scan]:
    """What reads the scan of a study; nothing in it is named after the patient."""
    if not study.files:
        return functools.partial(read_scan, Path(study.path), study.name)
    return functools.partial(_read_series, study)


def _read_series(study: Study) -> Scan:
    from ...io.dicom_series import read_dicom_files

    warnings: list[str] = []
    volume = read_dicom_files(study.files, study.name, warnings.append)
    return Scan(volume, study.name, tuple(warnings))


def _failed(study: Study, reason: str, elsewhere: bool) -> Answer:
    """The name of a file may name a patient, so that none is in a reason."""
    name = os.path.basename(study.path)
    for told in (study.path, f"'{name}'", f"'{stem_of(name)}'", name if "." in name else ""):
        reason = reason.replace(told or "\0", f"'{study.name}'" if told[:1] == "'" else study.name)
    return Answer(
        StudyRow(study.name, "failed", error=" ".join(reason.split())), elsewhere=elsewhere
    )
