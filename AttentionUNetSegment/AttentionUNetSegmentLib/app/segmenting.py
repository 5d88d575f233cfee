"""What ``segment`` and ``demo`` do: a scan in, a folder of results out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InputError, OutputError
from ..inference.clicks import Click
from ..inference.progress import ProgressCallback, ignore_progress
from ..inference.volume import Volume
from ..models import DEFAULT_MODEL, find_model, load_model
from ..paths import printable
from .output_folder import OutputFolder, explained, output_folder
from .progress_bar import part_of
from .report import make_report, to_json
from .requirements import extra_needed, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..inference.predictor import Predictor
    from ..models import Model
    from ..scene import SceneResult

OVERLAY_FILE = "overlay.png"
REPORT_FILE = "report.json"
SYNTHETIC_CT_FILE = "synthetic-ct.nrrd"
ALSO_FILES = {
    "nifti": "segmentation.nii.gz",
    "stl": "segmentation.stl",
    "dicom-seg": "segmentation.dcm",
}
"""What a batch writes beside the rest where it is asked to."""

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


@dataclass(frozen=True)
class Outcome:
    """Where the results are, and what ``report.json`` says."""

    directory: Path
    report: dict[str, Any]


ReadScan = Callable[[], Scan]


class Also(Protocol):
    """Files that are written beside those of the contract."""

    @property
    def warnings(self) -> Sequence[str]:
        """Why some were not written, a sentence each."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Of the files that may be written."""
        ...

    def write(self, result: SceneResult, staging: Path) -> Sequence[str]:
        """Write them, and give the names of those that were."""
        ...


def read_scan(path: Path, name: str | None = None) -> Scan:
    """A scan from a file or a DICOM folder.

    Args:
        name: what to call it everywhere, instead of its file's name.

    Raises:
        InputError: it cannot be used.
    """
    from ..inference.reading import read_volume

    warnings: list[str] = []
    volume = read_volume(path, warnings.append, name=name)
    return Scan(volume, name or printable(path.name or path.resolve().name), tuple(warnings))


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


def segment_into(
    directory: Path,
    read: ReadScan,
    *,
    source: Path | None = None,
    clicks: Sequence[Click] = (),
    model: str = DEFAULT_MODEL,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
    predictor: Predictor | None = None,
    also: Also | None = None,
    more_for_report: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Outcome:
    """Segment a scan and write all files of the result, or none.

    What can be refused is refused before the long work: a missing package, an unknown model, a
    folder that cannot be written to, and then the scan.

    Args:
        directory: gets the files; those of an earlier result are replaced.
        read: gives the scan.
        source: the file that the scan comes from, which must not be written over.
        clicks: points inside and outside the organ, in the scan's world.
        model: name of an installed model, or a folder.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told what is being done.
        predictor: one that has the model already; model and device are not looked at then.
        also: writes further files.
        more_for_report: gives further entries of ``report.json``, told where all files lie.

    Raises:
        AttentionUNetSegmentError: it cannot be done; the directory is as it was.
    """
    from ..scene import resultFileNames, saveResult

    clock = _Clock()
    require("standalone", "torch", "slicer", "matplotlib")
    from ..inference.predictor import Predictor

    model_folder = find_model(model) if predictor is None else predictor.model.folder
    fixed = [*resultFileNames(0), OVERLAY_FILE, *(also.names if also else ()), REPORT_FILE]
    _keep_source(source, directory, fixed)
    with output_folder(directory, fixed) as output:
        progress(0.0, "Reading the scan")
        with clock.stage("reading"):
            scan = read()
        progress(0.1, "Loading the model")
        with clock.stage("model"):
            if predictor is None:
                predictor = Predictor(load_model(model_folder), device)
            loaded = predictor.model
        with _scene_result(scan, predictor, clicks, part_of(progress, 0.2, 0.8)) as result:
            prediction = result.prediction
            clock.add_steps(prediction.timings_s)
            progress(0.8, "Writing the results")
            with clock.stage("writing"):
                names = [path.name for path in saveResult(result, output.staging)]
                progress(0.93, "Drawing the picture")
                names += _write_pictures(result, scan, loaded, output)
                names += also.write(result, output.staging) if also else ()
        clock.timings_s["total"] = clock.elapsed_s()
        warnings = [*scan.warnings, *prediction.warnings, *(also.warnings if also else ())]
        report = make_report(prediction, loaded.card, scan.name, clicks, warnings, clock.timings_s)
        if isinstance(scan, SyntheticScan):
            report["synthetic"] = {
                "seed": scan.seed,
                "dice": round(dice(prediction.mask != 0, scan.truth), 4),
            }
        with explained(directory):
            report |= more_for_report(output.staging) if more_for_report else {}
            (output.staging / REPORT_FILE).write_text(to_json(report), encoding="utf-8")
        output.publish([*names, REPORT_FILE], _outdated(directory, names))
    progress(1.0, "Done")
    return Outcome(directory, report)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two boolean masks: twice what they share, by what they have; 1 for two empty."""
    both, all_of = np.count_nonzero(one & other), np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * both / all_of if all_of else 1.0


@contextmanager
def _scene_result(
    scan: Scan,
    predictor: Predictor,
    clicks: Sequence[Click],
    progress: ProgressCallback,
) -> Iterator[SceneResult]:
    """The prediction in a scene of its own, as Slicer would have it, for as long as it is used."""
    from .. import scene

    with scene.headlessScene():
        node = scene.addVolumeNode(scan.volume, scan.name)
        # Probability and attention go to disk one after the other, never into the scene together.
        yield scene.segmentVolumeNode(node, predictor, clicks, progress=progress, withVolumes=False)


def _write_pictures(
    result: SceneResult, scan: Scan, model: Model, output: OutputFolder
) -> list[str]:
    """Write what shows the result and a made-up scan, and give the files' names."""
    with extra_needed("standalone"):
        from .overlay import render_overlay

    names = [OVERLAY_FILE]
    with explained(output.directory):
        render_overlay(
            result.prediction,
            output.staging / OVERLAY_FILE,
            scan.name,
            scan.note,
            organ=model.card.target,
        )
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

    ijk_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin([float(value) for value in ijk_to_lps[:3, 3]])
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:  # all that SimpleITK raises
        raise OutputError(
            f"'{path.name}' could not be written; the disk is probably full. Free some space or "
            "choose another folder."
        ) from error


def is_result_name(name: str) -> bool:
    """Whether a result has such a name, beside its report."""
    from ..scene import resultFileNames

    return bool(_ATTENTION_FILE.fullmatch(name)) or name in resultFileNames(0)


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


def _outdated(directory: Path, names: Sequence[str]) -> list[str]:
    """Files of an earlier result that this one does not have."""
    return [
        path.name
        for path in directory.iterdir()
        if path.name not in names
        and (
            _ATTENTION_FILE.fullmatch(path.name)
            or path.name in (SYNTHETIC_CT_FILE, *ALSO_FILES.values())
        )
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
        self.timings_s["network"] = timings_s["locate"] + timings_s.get("refine", 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.timings_s[name] = time.perf_counter() - began
