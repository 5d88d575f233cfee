"""What ``segment`` and ``demo`` do: a scan in, and out what was asked for: a folder of results, a
single file, or the report alone.

Nothing is computed, and no library imported, that what was asked for does not need: a label map
needs neither Slicer's libraries nor Matplotlib.
"""

from __future__ import annotations

import gc
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InputError, OutputError
from ..files import UNFINISHED_FILE, StagedFolder, explain_write_errors, staged_folder
from ..geometry.grid import has_right_angles
from ..geometry.itk import image_of_array
from ..geometry.volume import Volume
from ..inference.progress import CancelToken, ProgressCallback, ignore_progress
from ..inference.statistics import MaskStatistics, mask_statistics
from ..inference.strokes import Prompt
from ..inference.structures import (
    click_first_text,
    known_organ,
    require_any_structure,
    structure_label,
)
from ..models import DEFAULT_MODEL, find_model, load_model, read_card
from ..paths import printable
from .nifti_label_map import write_label_map
from .progress_bar import part_of
from .report import make_report, to_json
from .requirements import extra_needed, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..inference.prediction import AllLabels, Prediction
    from ..inference.predictor import Predictor
    from ..models import Label, Model, ModelCard
    from ..scene import SceneResult

PARTS = ("mask", "probability", "attention", "picture")
"""What a folder of results consists of, beside the report."""

OVERLAY_FILE = "overlay.png"
REPORT_FILE = "report.json"
SYNTHETIC_CT_FILE = "synthetic-ct.nrrd"
ALSO_FILES = {
    "nifti": "segmentation.nii.gz",
    "stl": "segmentation.stl",
    "dicom-seg": "segmentation.dcm",
    "uncertainty": "uncertainty.nrrd",
    "scene": "scene.mrml",
}
"""What is written beside the rest where it is asked for; the scene last, which shows the others."""

LABELMAP_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
"""Of these, those that can hold sheared axes."""
SINGLE_FILE_SUFFIXES = (".seg.nrrd", *LABELMAP_SUFFIXES, ".stl", ".dcm")
"""Of files that hold a segmentation by themselves; longer ones before those that end them."""

_LARGE_BYTES = 4_000_000
_MOST_LEVELS = 9
_TWO_FILES = {".mhd": ".mha", ".nhdr": ".nrrd", ".hdr": ".nii.gz", ".img": ".nii.gz"}
_ATTENTION_FILE = re.compile(r"attention-level-\d+\.nrrd")


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan to be segmented.

    Args:
        volume: the scan.
        name: what to call it: a file's name, without the folders that it lies in.
        warnings: what reading it brought up.
    """

    volume: Volume
    name: str
    warnings: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """A notice that every picture of the scan carries."""
        return ""


@dataclass(frozen=True, eq=False)
class SyntheticScan(Scan):
    """A made-up scan, which knows its own truth and is said to be synthetic wherever it is shown.

    Args:
        truth: boolean (k, j, i), where the target organ really is.
        seed: that it was made from.
    """

    truth: np.ndarray = field(kw_only=True)
    seed: int = field(kw_only=True)

    @property
    def note(self) -> str:
        return f"Synthetic abdomen, seed {self.seed}: not a patient"


ReadScan = Callable[[], Scan]


@dataclass(frozen=True, eq=False)
class SegmentationJob:
    """A scan and how it is to be segmented.

    Args:
        read: gives the scan.
        clicks: points inside and outside the organ, scribbles and lassos, in the scan's world.
        model: name of an installed model, or a folder.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "float32" or "bfloat16".
        tile_voxels: the most voxels that go through a network at once; None for the default.
        box: corners, N x 3 (R, A, S in mm), of the box to look in; None for the whole scan.
        start: gives a mask (k, j, i) on the scan's grid to begin from, in the place of the
            automatic result; not together with a box.
        structure: what the clicks are about in the place of the model's targets, by any name; not
            together with all labels. Of a name that the model's card has it is looked for in the
            scan, or in the box; of any other there must be no box.
        all_labels: write what else the model's networks know, which is not for diagnosis.
        separate: of a model with several targets, a label map for each in the place of one of all.
        radiomics: measure the features of pyradiomics too.
        source: the file or folder that the scan comes from, which must not be written over.
        predictor: one that has the model already; what says how it is made is not looked at then.
        progress: told what is being done.
    """

    read: ReadScan
    clicks: Sequence[Prompt] = ()
    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    tile_voxels: int | None = None
    box: np.ndarray | None = None
    start: Callable[[Volume], np.ndarray] | None = None
    structure: str | None = None
    all_labels: bool = False
    separate: bool = False
    radiomics: bool = False
    source: Path | None = None
    predictor: Predictor | None = None
    progress: ProgressCallback = ignore_progress

    @property
    def model_folder(self) -> Path:
        """Raises:
        ModelError: there is no such model.
        """
        return find_model(self.model) if self.predictor is None else self.predictor.model.folder

    @property
    def labels(self) -> tuple[Label, ...]:
        """Of what is segmented.

        Raises:
            ModelError: there is no such model.
            InputError: the model does not take the structure.
        """
        card = _card(self)
        if self.structure is None:
            return card.target_labels
        require_any_structure(card)
        return (structure_label(self.structure),)


@dataclass(frozen=True)
class SegmentationOutcome:
    """Where the results are, and what ``report.json`` says, also where it was not written.

    Args:
        place: a folder or a file; None where nothing was written.
    """

    place: Path | None
    report: dict[str, Any]


class Also(Protocol):
    """Files that are written beside those of the contract."""

    @property
    def names(self) -> Sequence[str]:
        """Of the files that may be written."""
        ...

    def write(self, segmented: Segmented, staging: Path) -> tuple[Sequence[str], Sequence[str]]:
        """Write them, and give the names of those that were, and a sentence for each other one."""
        ...


class Segmented:
    """A scan that was segmented, and a scene that holds the result for who asks for it.

    Args:
        scan: that was segmented.
        prediction: on it.
        model: that made it.
        stack: what is to be tidied up in the end.
        separate: as of the job.
    """

    def __init__(
        self,
        scan: Scan,
        prediction: Prediction,
        model: Model,
        stack: ExitStack,
        separate: bool = False,
    ) -> None:
        self.separate = separate
        self.scan = scan
        self.prediction = prediction
        self.model = model
        self._stack = stack

    @property
    def label(self) -> Label:
        prediction = self.prediction
        if prediction.any_structure and prediction.label is not None:
            return prediction.label
        return self.model.card.target_label

    @property
    def is_ordinary(self) -> bool:
        """Whether its segment can be written without Slicer."""
        from ..scene.segmentation_file import isOrdinary

        return isOrdinary(self.prediction, self.label)

    @cached_property
    def scene_result(self) -> SceneResult:
        """The prediction in a scene of its own, as Slicer would have it; made when it is needed
        first, for to import Slicer's libraries takes a second."""
        from .. import scene

        self._stack.enter_context(scene.headlessScene())
        node = scene.addVolumeNode(self.scan.volume, self.scan.name)
        # Probability and attention go to disk one after the other, never into the scene together.
        return scene.writePrediction(self.prediction, node, label=self.label, withVolumes=False)


def read_scan(path: Path, name: str | None = None) -> Scan:
    """A scan from a file or a DICOM folder.

    Args:
        name: what to call it everywhere, instead of its file's name.

    Raises:
        InputError: it cannot be used.
    """
    from ..io.reading import read_volume

    warnings: list[str] = []
    name = printable(name or path.name or path.resolve().name)
    volume = read_volume(path, warnings.append, name=name)
    return Scan(volume, name, tuple(warnings))


def make_synthetic_scan(seed: int, target: str = "pancreas") -> SyntheticScan:
    """The synthetic abdomen as a scan.

    Raises:
        InputError: the seed is negative, or the abdomen does not have the organ.
    """
    from ..synthetic import ORGAN_LABELS, synthetic_abdomen

    if target not in ORGAN_LABELS:
        raise InputError(
            f"The synthetic abdomen has no '{target}'; give a real scan with --input instead."
        )
    abdomen = synthetic_abdomen(seed)
    truth = abdomen.labels.array == ORGAN_LABELS[target]
    return SyntheticScan(abdomen.ct, f"synthetic abdomen, seed {seed}", truth=truth, seed=seed)


def single_file_suffix(path: Path) -> str | None:
    """How the path of a single file ends; None where it is a folder's.

    Raises:
        OutputError: it ends as a format does that consists of two files.
    """
    name = path.name.lower()
    for suffix, one_file in _TWO_FILES.items():
        if name.endswith(suffix):
            raise OutputError(
                f"'{path.name}' would be two files, a header and its voxels; write '{one_file}', "
                "which is one."
            )
    return next((suffix for suffix in SINGLE_FILE_SUFFIXES if name.endswith(suffix)), None)


def segment_into(
    directory: Path,
    job: SegmentationJob,
    *,
    parts: Collection[str] = PARTS,
    also: Also | None = None,
    more_for_report: Callable[[Path], Mapping[str, Any]] | None = None,
    is_own: bool = False,
) -> SegmentationOutcome:
    """Segment a scan and write all files of the result, or none.

    What can be refused is refused before the long work: a missing package, an unknown model, a
    folder that cannot be written to, and then the scan.

    Args:
        directory: gets the files; those of an earlier result are replaced, or removed where this
            one does not have them. Somebody else's of such a name are left alone.
        job: the scan and how it is segmented.
        parts: which of :data:`PARTS` are written; the report always is.
        also: writes further files.
        more_for_report: gives further entries of ``report.json``, told where all files lie.
        is_own: nobody else has files in the directory.

    Raises:
        AttentionUNetSegmentError: it cannot be done; the directory is as it was.
    """
    from ..scene import resultFileNames
    from ..scene.all_labels import allLabelsFile, saveAllLabels
    from ..scene.files import writeVolumeFiles

    clock = _Clock()
    wants_scene = bool({"mask", "probability", "attention"} & set(parts)) or job.all_labels
    _require(
        job,
        *(["slicer"] if wants_scene or also else []),
        *(["matplotlib"] if "picture" in parts else []),
    )
    if job.all_labels and not _card(job).knows_more:
        raise InputError(
            f"The model '{_card(job).name}' knows nothing but what it segments; leave out "
            "--all-labels."
        )
    fixed = [*resultFileNames(0), OVERLAY_FILE, *(also.names if also else ()), REPORT_FILE]
    _keep_source(job.source, directory, fixed)
    is_own = is_own or _has_result(directory)
    if not is_own:
        _keep_others(directory, _names_before(parts, also))
    with (
        staged_folder(directory, fixed) as output,
        _segmented(job, clock) as segmented,
    ):
        job.progress(0.8, "Writing the results")
        names = _wanted_files(parts, segmented.prediction.levels)
        not_written: Sequence[str] = ()
        if wants_scene:
            with clock.stage("scene"):
                if "mask" in parts and not segmented.is_ordinary:
                    _ = segmented.scene_result
        with (
            clock.stage("writing"),
            _beside(partial(writeVolumeFiles, segmented.prediction, output.staging, names)),
        ):
            if "mask" in parts:
                _write_segmentation(segmented, output.staging / names[0])
            if "picture" in parts:
                job.progress(0.9, "Drawing the picture")
            names += _write_pictures(segmented, output, "picture" in parts)
            for found in segmented.prediction.all_labels:
                name = allLabelsFile(found)
                node = segmented.scene_result.volumeNode
                with explain_write_errors(directory):
                    saveAllLabels(found, node, output.staging / name)
                names.append(name)
            measured = _measure(job, segmented, clock)
        with clock.stage("writing"):
            if also:
                further, not_written = also.write(segmented, output.staging)
                names += further
        report = _report(job, segmented, measured, clock, not_written)
        with explain_write_errors(directory):
            report |= more_for_report(output.staging) if more_for_report else {}
            (output.staging / REPORT_FILE).write_text(to_json(report), encoding="utf-8")
        output.publish(
            [*names, REPORT_FILE],
            _outdated(directory, names, segmented.model.card.target_labels) if is_own else (),
        )
    job.progress(1.0, "Done")
    return SegmentationOutcome(directory, report)


def segment_to_file(
    file: Path, job: SegmentationJob, dicom_files: Sequence[str] = ()
) -> SegmentationOutcome:
    """Segment a scan into the one file that its name says, or into none.

    Args:
        file: ends in one of :data:`SINGLE_FILE_SUFFIXES`; replaced if it is there.
        job: the scan and how it is segmented.
        dicom_files: of the scan, in spatial order, for a DICOM Segmentation.

    Raises:
        AttentionUNetSegmentError: it cannot be done; nothing is changed.
    """
    clock = _Clock()
    suffix = single_file_suffix(file)
    if suffix is None:
        raise ValueError(f"no format ends as '{file.name}' does")
    _require(job, *(["slicer"] if suffix in (".seg.nrrd", ".stl") else []))
    if suffix == ".dcm":
        require("batch", "highdicom", "pydicom")
    sources = [*([job.source] if job.source else []), *map(Path, dicom_files)]
    for name in _names_of_targets(file.name, suffix, job):
        if _would_replace(file.with_name(name), sources):
            raise InputError(
                f"The result would be written over '{name}' of the scan; choose another name."
            )
    with (
        staged_folder(file.parent, _names_of_targets(file.name, suffix, job)) as output,
        _segmented(job, clock, lambda volume: check_format(suffix, volume)) as segmented,
    ):
        job.progress(0.8, "Writing the result")
        with clock.stage("writing"):
            # Writers know their formats by endings in lower case.
            written = write_segment(
                segmented, output.staging / f"written{suffix}", suffix, dicom_files
            )
            names = []
            for path in written:
                name = file.name
                if path.name != f"written{suffix}":
                    name = file.name[: -len(suffix)] + path.name.removeprefix("written")
                path.rename(output.staging / name)
                names.append(name)
        report = _report(job, segmented, _measure(job, segmented, clock), clock)
        output.publish(names)
    job.progress(1.0, "Done")
    return SegmentationOutcome(file.with_name(names[0]), report)


def segment_without_files(job: SegmentationJob) -> SegmentationOutcome:
    """Segment a scan and only say what came out.

    Raises:
        AttentionUNetSegmentError: it cannot be done.
    """
    clock = _Clock()
    _require(job)
    with _segmented(job, clock) as segmented:
        report = _report(job, segmented, _measure(job, segmented, clock), clock)
    job.progress(1.0, "Done")
    return SegmentationOutcome(None, report)


def write_segment(
    segmented: Segmented, path: Path, suffix: str, dicom_files: Sequence[str]
) -> list[Path]:
    """Write the segments in the format of a suffix: in one file, or in one for each target where
    the format has room for one alone, or separate ones are wanted.

    Returns:
        What was written: the path, or paths of the same name with the targets' after it.

    Raises:
        OutputError: it cannot be written.
        InputError: the format cannot hold it.
    """
    prediction = segmented.prediction
    matrix = prediction.volume.ijk_to_ras
    if suffix in LABELMAP_SUFFIXES:
        maps = {path: prediction.label_map}
        if segmented.separate and prediction.others:
            maps = {
                target_file(path, suffix, one.target): partial(_binary, one.mask)
                for one in prediction.targets
            }
        for file, labels in maps.items():
            if suffix in NIFTI_SUFFIXES:
                import_nibabel_alone()
                with explain_write_errors(path.parent):
                    write_label_map(labels(), matrix, file)
            else:
                write_image(labels(), matrix, file)
        return list(maps)
    if suffix == ".stl":
        return _write_surfaces(segmented, path)
    if suffix == ".seg.nrrd":
        _write_segmentation(segmented, path)
    elif suffix == ".dcm":
        from .batch.dicom_seg import write_dicom_seg

        with explain_write_errors(path.parent):
            write_dicom_seg(prediction, segmented.label, dicom_files, path)
    else:
        raise ValueError(f"no format ends in '{suffix}'")
    return [path]


def _write_segmentation(segmented: Segmented, path: Path) -> None:
    from ..scene.files import saveSegment, writeSegment

    if segmented.is_ordinary:
        writeSegment(segmented.prediction, segmented.label, path)
    else:
        saveSegment(segmented.scene_result, path)


def _binary(mask: np.ndarray) -> np.ndarray:
    return (mask != 0).astype(np.uint8)


def _write_surfaces(segmented: Segmented, path: Path) -> list[Path]:
    """A closed surface for each target that was found."""
    from ..scene.export import writeSurface

    prediction = segmented.prediction
    found = [one.found for one in prediction.targets]
    if not any(found):
        raise OutputError(
            f"No {segmented.label.name} was found, so there is no surface to write; "
            "nothing was written."
        )
    result = segmented.scene_result
    written = []
    for one, segment_id in zip(prediction.targets, result.segmentIds, strict=True):
        if one.found:
            several = bool(prediction.others)
            file = target_file(path, ".stl", one.target) if several else path
            with explain_write_errors(path.parent):
                writeSurface(result.segmentationNode, segment_id, file)
            written.append(file)
    return written


def target_file(path: Path, suffix: str, target: str) -> Path:
    """The name of one target's file: its name goes before the suffix."""
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f"{stem}-{_slug(target)}{suffix}")


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "target"


def _card(job: SegmentationJob) -> ModelCard:
    return read_card(job.model_folder) if job.predictor is None else job.predictor.model.card


def _names_of_targets(name: str, suffix: str, job: SegmentationJob) -> list[str]:
    """Names that a single file may get: one, or one for each target of the model."""
    labels = job.labels
    separate = suffix == ".stl" or (job.separate and suffix in LABELMAP_SUFFIXES)
    if len(labels) == 1 or not separate:
        return [name]
    return [target_file(Path(name), suffix, one.name).name for one in labels]


def check_format(suffix: str, volume: Volume) -> None:
    """Raise InputError where a file of that format cannot lie where the scan does."""
    right_angles = suffix in LABELMAP_SUFFIXES and suffix not in NIFTI_SUFFIXES
    if right_angles and not has_right_angles(volume.ijk_to_ras):
        raise InputError(
            "The scan's slices are tilted against their stack, which a label map in a "
            f"{suffix} file cannot hold here; write a .seg.nrrd file instead."
        )


# The steps


@contextmanager
def _segmented(
    job: SegmentationJob, clock: _Clock, check: Callable[[Volume], None] | None = None
) -> Iterator[Segmented]:
    """Read and segment the scan; the result is to be used within the block.

    Args:
        check: raises where the scan cannot become what is to be written.
    """
    job.progress(0.0, "Reading the scan")
    if job.predictor is None and _takes_long_to_read(job.source):
        import_beside("torch")
    with clock.stage("reading"):
        if job.source is not None and job.source.name.lower().endswith(NIFTI_SUFFIXES):
            import_nibabel_alone()
        scan = job.read()
    if check is not None:
        check(scan.volume)
    if job.radiomics and not has_right_angles(scan.volume.ijk_to_ras):
        raise InputError(
            "The scan's slices are tilted against their stack, which pyradiomics cannot measure; "
            "leave out --radiomics."
        )
    job.progress(0.1, "Loading the model")
    with clock.stage("model"):
        predictor = job.predictor or _load(job)
        # Before it computes: on a GPU that fails, the predictor may load its model anew.
        model = predictor.model
    prediction = _predict(job, predictor, scan.volume)
    if job.all_labels:
        from ..inference.all_labels import with_all_labels

        job.progress(0.78, "Looking at all labels")
        prediction = with_all_labels(predictor, prediction)
    clock.add_steps(prediction.timings_s)
    with ExitStack() as stack:
        yield Segmented(scan, prediction, model, stack, job.separate)


def _takes_long_to_read(source: Path | None) -> bool:
    """Whether there is a large file to decompress, which needs no Python. What is refused at once
    must not wait for an import."""
    return source is not None and source.is_file() and source.stat().st_size >= _LARGE_BYTES


def import_beside(module: str) -> None:
    """Import what takes long in a thread, for whoever does something else meanwhile; to import it
    once more waits for that, and says what was wrong with it. The process does not end before."""

    def import_it() -> None:
        with suppress(Exception):
            import_uncollected(module)

    if module not in sys.modules:
        # Not a daemon: those are ended amid libraries that cannot bear it.
        Thread(target=import_it, name=f"import {module}").start()


def import_uncollected(module: str) -> None:
    """Import a library that makes hundreds of thousands of objects and throws none away: Python
    does not look for garbage among them meanwhile, nor ever again, which takes a quarter of the
    time of PyTorch's import, half of it as the process ends."""
    if module in sys.modules:
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module(module)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def import_nibabel_alone() -> None:
    """Import nibabel without pydicom, which it imports where it is installed, to show the DICOM
    headers that a NIfTI file may hold. Nothing here looks at them, and pydicom takes four times as
    long as all the rest. Whoever imports pydicom later gets it."""
    if "nibabel" in sys.modules or "pydicom" in sys.modules:
        return
    # Python's way to say that it is not there.
    sys.modules["pydicom"] = None  # type: ignore[assignment]
    try:
        with suppress(ImportError):  # said where it is needed
            import_module("nibabel")
    finally:
        del sys.modules["pydicom"]


def _load(job: SegmentationJob) -> Predictor:
    import_uncollected("torch")
    from ..inference.predictor import Predictor

    return Predictor(load_model(job.model_folder), job.device, job.precision, job.tile_voxels)


def _predict(job: SegmentationJob, predictor: Predictor, volume: Volume) -> Prediction:
    progress = part_of(job.progress, 0.2, 0.8)
    if job.box is None:
        start = None if job.start is None else job.start(volume)
        return predictor.predict(volume, job.clicks, progress, start=start, structure=job.structure)
    from ..inference.region_of_interest import predict_in_box

    return predict_in_box(predictor, volume, job.box, job.clicks, progress, job.structure)


def _require(job: SegmentationJob, *modules: str) -> None:
    """Refuse what can be refused before anything is read: a missing package, an unknown model, a
    structure that it does not take, that no click begins, or that no box is for."""
    require("standalone", "torch", "SimpleITK", *modules)
    if job.radiomics:
        require("radiomics", "radiomics")
    (first, *_others) = job.labels
    begun = job.start is not None or any(click.inside for click in job.clicks)
    card = _card(job)
    if job.structure is not None and known_organ(card, first.name) is None:
        if job.box is not None:
            raise InputError(
                "Nothing looks for this structure in the scan: it is where the clicks are; leave "
                "out --region."
            )
        if not begun:
            raise InputError(click_first_text(card))


@dataclass(frozen=True)
class _Measured:
    """What is measured of a result: of each of its targets, and what pyradiomics says of the first,
    where that is wanted."""

    statistics: list[MaskStatistics]
    radiomics: dict[str, Any] | None


def _measure(job: SegmentationJob, segmented: Segmented, clock: _Clock) -> _Measured:
    volume, prediction = segmented.scan.volume, segmented.prediction
    job.progress(0.95, "Measuring")
    with clock.stage("statistics"):
        statistics = [mask_statistics(volume, one.mask) for one in prediction.targets]
        features = None
        if job.radiomics:
            from .radiomic_features import radiomic_features

            features = radiomic_features(volume, prediction.mask)
    return _Measured(statistics, features)


def _report(
    job: SegmentationJob,
    segmented: Segmented,
    measured: _Measured,
    clock: _Clock,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    scan, prediction = segmented.scan, segmented.prediction
    clock.timings_s["total"] = clock.elapsed_s()
    report = make_report(
        prediction,
        segmented.model.card,
        scan.name,
        measured.statistics,
        [*scan.warnings, *prediction.warnings, *warnings],
        clock.timings_s,
        job.box,
        began_from_mask=job.start is not None,
    )
    if prediction.all_labels:
        report["all_labels"] = [_report_all_labels(one) for one in prediction.all_labels]
    if measured.radiomics is not None:
        report["radiomics"] = measured.radiomics
    if isinstance(scan, SyntheticScan):
        from ..evaluation.metrics import dice

        report["synthetic"] = {
            "seed": scan.seed,
            "dice": round(dice(prediction.mask != 0, scan.truth), 4),
        }
    return report


def _report_all_labels(found: AllLabels) -> dict[str, Any]:
    from ..scene.all_labels import allLabelsFile

    return {
        "file": allLabelsFile(found),
        "about": found.title,
        "coarse": found.coarse,
        "labels": [label.name for label in found.names],
    }


@contextmanager
def _beside(write: Callable[..., None]) -> Iterator[None]:
    """Write in a thread of its own while the block does something else.

    Args:
        write: takes a token that ends it.

    Raises:
        Whatever the block or, in the end, the writing fails with.
    """
    token = CancelToken()
    with ThreadPoolExecutor(1, "writing") as pool:
        writing = pool.submit(write, cancel=token)
        try:
            yield
            writing.result()
        except BaseException:
            token.cancel()
            raise


def _wanted_files(parts: Collection[str], levels: int) -> list[str]:
    """Names of those files of the contract that hold voxels, the segmentation first."""
    from ..scene import resultFileNames

    mask, probability, *attention = resultFileNames(levels)
    wanted = {"mask": [mask], "probability": [probability], "attention": attention}
    return [name for part, names in wanted.items() if part in parts for name in names]


def _write_pictures(segmented: Segmented, output: StagedFolder, overlay: bool) -> list[str]:
    """Write what shows the result and a made-up scan, and give the files' names."""
    scan, names = segmented.scan, []
    with explain_write_errors(output.directory):
        if overlay:
            with extra_needed("standalone"):
                from .overlay import render_overlay

            render_overlay(
                segmented.prediction,
                output.staging / OVERLAY_FILE,
                scan.name,
                scan.note,
                organ=segmented.label.name,
            )
            names.append(OVERLAY_FILE)
        if isinstance(scan, SyntheticScan):
            volume = scan.volume
            write_image(volume.array, volume.ijk_to_ras, output.staging / SYNTHETIC_CT_FILE)
            names.append(SYNTHETIC_CT_FILE)
    return names


def write_image(array: np.ndarray, ijk_to_ras: np.ndarray, path: Path) -> None:
    """Write voxels (k, j, i) as a compressed file of the format that its name says.

    Raises:
        OutputError: it could not be written.
    """
    import SimpleITK as sitk

    try:
        sitk.WriteImage(image_of_array(array, ijk_to_ras), str(path), useCompression=True)
    except RuntimeError as error:  # all that SimpleITK raises
        raise OutputError(
            f"'{path.name}' could not be written; the disk is probably full. Free some space or "
            "choose another folder."
        ) from error


def is_result_name(name: str) -> bool:
    """Whether a result has such a name, beside its report."""
    from ..scene import resultFileNames

    return bool(_ATTENTION_FILE.fullmatch(name)) or name in resultFileNames(0)


def _would_replace(file: Path, sources: Sequence[Path]) -> bool:
    """Whether writing a file would write over one of the scan's, or one in the scan's folder."""
    file = file.resolve()
    return file.exists() and any({file, *file.parents} & {source.resolve()} for source in sources)


def _keep_source(source: Path | None, directory: Path, names: Sequence[str]) -> None:
    """Raise InputError where a result would be written over the scan."""
    if source is None:
        return
    source = source.resolve()
    replaced = source.name in names or _ATTENTION_FILE.fullmatch(source.name)
    if replaced and source.parent == directory.resolve():
        raise InputError(
            f"The result would be written over the scan '{source.name}'; choose another output "
            "folder."
        )


def _has_result(directory: Path) -> bool:
    """Whether an earlier result is in a folder, or what is left of one that was being written; an
    attention map is nobody else's."""
    if any((directory / name).is_file() for name in (REPORT_FILE, UNFINISHED_FILE)):
        return True
    return any(_ATTENTION_FILE.fullmatch(one.name) for one in directory.glob("attention-level-*"))


def _names_before(parts: Collection[str], also: Also | None) -> list[str]:
    """Of the files that a result may have, as far as they are known before there is one."""
    picture = [OVERLAY_FILE] if "picture" in parts else []
    further = also.names if also else ()
    return [*_wanted_files(parts, _MOST_LEVELS), *picture, *further]


def _keep_others(directory: Path, names: Sequence[str]) -> None:
    """Raise OutputError where a file would be written over that is of no earlier result: many a
    data set has a segmentation beside each scan."""
    for name in names:
        if (directory / name).is_file():
            raise OutputError(
                f"'{printable(str(directory / name))}' would be written over, and no earlier "
                "result is in that folder that it could be of; choose another output folder."
            )


def _outdated(directory: Path, names: Sequence[str], targets: Sequence[Label]) -> list[str]:
    """Files of an earlier result that this one does not have."""
    from ..scene import resultFileNames
    from ..scene.all_labels import ALL_LABELS_FILES

    ours = {*resultFileNames(0), OVERLAY_FILE, SYNTHETIC_CT_FILE, *ALSO_FILES.values()}
    ours |= {*ALL_LABELS_FILES}
    for name in (ALSO_FILES["nifti"], ALSO_FILES["stl"]):
        suffix = single_file_suffix(Path(name)) or ""
        ours |= {target_file(Path(name), suffix, label.name).name for label in targets}
    return [
        path.name
        for path in directory.iterdir()
        if path.name not in names and (path.name in ours or _ATTENTION_FILE.fullmatch(path.name))
    ]


class _Clock:
    """Seconds by stage, and since the beginning."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.timings_s: dict[str, float] = {}

    def elapsed_s(self) -> float:
        return time.perf_counter() - self.began

    def add_steps(self, timings_s: Mapping[str, float]) -> None:
        """The predictor's own steps, and what its two networks took together."""
        self.timings_s |= {name: took for name, took in timings_s.items() if name != "total"}
        passes = (timings_s.get(name, 0.0) for name in ("locate", "refine"))
        self.timings_s["network"] = sum(passes)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self.timings_s[name] = self.timings_s.get(name, 0.0) + took
