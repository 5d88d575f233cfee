"""Whatever goes wrong, and whenever: what was there before is intact, and a second run works.

The points where something can go wrong are driven one after the other (``fault_points.py``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batch_cases
import fault_points
import numpy as np
import panel_driver
import pytest
import torch
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import is_out_of_memory
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import coarse_to_fine, scan_segmenter
from AttentionUNetSegmentLib.inference import session as session_module
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.device import is_lost_device
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import load_model
from AttentionUNetSegmentLib.scene import PANCREAS
from fault_points import Scenario, files_of
from panel_driver import LOOKING, STAGES, Gate, add_ct
from scene_helpers import add_block, add_segmentation, snapshot
from threshold_model import threshold_model

ROOT = Path(__file__).resolve().parents[2]
REPORT = "report.json"


def without_times(content: dict[str, Any]) -> dict[str, Any]:
    """Reports without the seconds that it took."""
    for name, data in content.items():
        if name.endswith(REPORT):
            report = json.loads(data)
            report.pop("timings_s")
            report.get("batch", {}).pop("checksum_s", None)
            for file in report.get("batch", {}).get("files", {}):
                report["batch"]["files"][file] = 0  # of report.json the size of its figures
            content[name] = report
    return content


def preload() -> None:
    """Import what all of it needs, and put a known model in the place of the one on disk."""
    for name in (
        "matplotlib.figure",
        "slicer.util",
        "torch",
        "AttentionUNetSegmentLib.app.commands",
        "AttentionUNetSegmentLib.app.overlay",
        "AttentionUNetSegmentLib.app.progress_bar",
        "AttentionUNetSegmentLib.app.batch.batching",
        "AttentionUNetSegmentLib.inference.session",
        "AttentionUNetSegmentLib.scene",
        "AttentionUNetSegmentLib.scene.collection",
        "AttentionUNetSegmentLib.scene.export",
        "AttentionUNetSegmentLib.scene.results",
        "rich.progress",
        "filelock",
        "torch._dynamo",
        "vtk",
    ):
        importlib.import_module(name)
    # Finding it writes a file, and is done once; a program has long done so when a disk fills up.
    tempfile.gettempdir()

    def draw(prediction: Any, file: Path, *arguments: str, **options: str) -> None:
        file.write_bytes(b"a picture")

    # What takes long, and is no matter of files.
    from AttentionUNetSegmentLib.app import overlay, segmenting

    overlay.render_overlay = draw
    model = threshold_model()
    labels = (model.card.labels[0], PANCREAS)  # which has a color: others get one by chance
    card = dataclasses.replace(model.card, labels=labels)
    segmenting.load_model = lambda folder: dataclasses.replace(model, card=card)


class SegmentAgain(Scenario):
    """``segment`` into a folder that has an older result, and a file of the user's."""

    gone = "out"

    def preload(self) -> None:
        # The first command that is parsed imports half of typer.
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["segment", "--help"]) == 0

    def prepare(self, root: Path) -> None:
        self.prepare_inputs(root)
        batch_cases.write_scan(root / "older.nrrd", 390)
        (root / "out").mkdir()
        (root / "out" / "notes.txt").write_text("mine")
        assert self.run(root, "older.nrrd") == 0

    def prepare_inputs(self, root: Path) -> None:
        batch_cases.write_scan(root / "scan.nrrd", 300)
        batch_cases.save_model(root / "model")

    def run(self, root: Path, scan: str = "scan.nrrd") -> int:
        arguments = [root / scan, "-o", root / "out", "--model", root / "model", "--device", "cpu"]
        return main(["segment", *map(str, arguments)])

    def content(self, root: Path) -> dict[str, Any]:
        return without_times(files_of(root))

    def check_killed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        left = {name: data for name, data in files_of(root).items() if "/." not in name}
        left = without_times(left)
        assert set(before) - set(left) <= {f"out/{REPORT}"}
        for name, data in left.items():
            assert data in (before.get(name), after.get(name)), f"{name} is half-written"
        if f"out/{REPORT}" in left:  # it vouches for all the others
            assert left in (before, after)


class SegmentAnew(SegmentAgain):
    """``segment`` into a folder that is not there yet."""

    def prepare(self, root: Path) -> None:
        self.prepare_inputs(root)


class Collect(Scenario):
    """A second case goes into a data set that has one."""

    def prepare(self, root: Path) -> None:
        self._add(root, seed=1)

    def run(self, root: Path) -> None:
        self._add(root, seed=2)

    def _add(self, root: Path, seed: int) -> None:
        import AttentionUNetSegmentLib.scene as scene_package
        import block_scene
        from AttentionUNetSegmentLib.scene.collection import addToDataSet

        with scene_package.headlessScene() as scene:
            ct = block_scene.add_ct(seed=seed)
            segmentation = block_scene.with_block(scene, ct)
            addToDataSet(root / "set", ct, segmentation, "block")

    def content(self, root: Path) -> dict[str, Any]:
        """What the manifest lists, and the files that it names."""
        manifest = root / "set" / "manifest.json"
        cases = json.loads(manifest.read_text(encoding="utf-8"))["cases"]
        files = [root / "set" / case[key] for case in cases for key in ("image", "label")]
        return {
            case["sha256"]: [hash(file.read_bytes()) for file in files[2 * n : 2 * n + 2]]
            for n, case in enumerate(cases)
        }

    def check_killed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        assert self.content(root) in (before, after)


class ReplaceModel(Scenario):
    """A model is written over an older one of the same name."""

    def __init__(self) -> None:
        self._versions: dict[tuple[tuple[str, bytes], ...], str] = {}
        """Of the folders that were verified, by all that is in them."""

    def prepare(self, root: Path) -> None:
        batch_cases.save_model(root / "model", "1")
        (root / "other.txt").write_text("mine")

    def run(self, root: Path) -> None:
        batch_cases.save_model(root / "model", "2")

    def content(self, root: Path) -> dict[str, Any]:
        """The model that is found, with weights that are its own."""
        from AttentionUNetSegmentLib.models import verify_model

        found = tuple(files_of(root / "model").items())
        if found not in self._versions:
            self._versions[found] = verify_model(root / "model").version
        return {"version": self._versions[found], "mine": (root / "other.txt").read_text()}

    def check_killed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        assert self.content(root) in (before, after)

    # Where only the tidying failed, the new one is there.
    check_failed = check_killed


class Export(Scenario):
    """A segment is exported over files of the user's that are there already."""

    def preload(self) -> None:
        import SlicerStandIn

        SlicerStandIn.start()

    def prepare(self, root: Path) -> None:
        for name in ("label.nii.gz", "whole.seg.nrrd", "surface.stl"):
            (root / name).write_text("an older one")

    def run(self, root: Path) -> None:
        from AttentionUNetSegmentLib import scene
        from AttentionUNetSegmentLib.scene import export
        from scene_helpers import add_ct, prediction_on

        ct = add_ct("CT")
        result = scene.writePrediction(prediction_on(ct), ct, withVolumes=False)
        node, segment = result.segmentationNode, result.segmentId
        export.exportLabelmap(node, segment, ct, root / "label.nii.gz")
        export.exportSegmentation(node, root / "whole.seg.nrrd")
        export.exportSurface(node, segment, root / "surface.stl")

    def content(self, root: Path) -> dict[str, Any]:
        """Each file's beginning and size: a surface has no order of its own."""
        files = files_of(root)
        return {name: (data[:12], len(data)) for name, data in files.items()}

    def check_killed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        left = self.content(root)
        for name in before:
            assert left.get(name) in (before[name], after[name]), f"{name} is half-written"

    def check_failed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.check_killed(root, before, after)
        assert set(self.content(root)) == set(before)


@pytest.fixture(scope="module")
def driving_process() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, and forks for each scenario."""
    if not hasattr(os, "fork"):
        pytest.skip("only Unix forks processes, which the sweep needs for its speed")
    environment = {
        "PYTHONPATH": os.pathsep.join(
            str(ROOT / folder)
            for folder in ("AttentionUNetSegment", "Testing/support", "Testing/promises")
        ),
        "OMP_NUM_THREADS": "1",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, fault_points.__file__, Path(__file__).stem],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def drive(
    process: subprocess.Popen[str], scenario: type[Scenario], folder: Path, kinds: str
) -> dict[str, int]:
    """The number of points of each kind; fails where something was not as promised."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(scenario.__name__, folder, kinds, file=process.stdin, flush=True)
    found = json.loads(process.stdout.readline())
    assert isinstance(found, dict), found
    wrong = [text for one in found.values() for text in one["wrong"]]
    assert not wrong, "\n".join(wrong)
    return {kind: one["points"] for kind, one in found.items()}


EVERY_POINT = bool(os.environ.get("FAULTS_EVERY_POINT"))
"""Drive each of the points, not every so many; minutes."""


@pytest.mark.parametrize(
    ("scenario", "kinds", "fewest"),
    [
        (SegmentAgain, "kill:6 full:10 memory:16 gone:19 limit", 12),
        (SegmentAnew, "kill:8 full:8", 5),
        (ReplaceModel, "kill:3 full:5 memory:6 limit", 12),
        (Collect, "kill:3 full:3 limit", 18),
        (Export, "kill:3 full:3 limit", 14),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whenever_it_goes_wrong(
    scenario: type[Scenario],
    kinds: str,
    fewest: int,
    tmp_path: Path,
    driving_process: subprocess.Popen[str],
) -> None:
    if EVERY_POINT:
        kinds = " ".join(kind.partition(":")[0] for kind in kinds.split())
    points = drive(driving_process, scenario, tmp_path, kinds)
    print(f"{scenario.__name__}: {points}")  # the figures of Testing/README.md
    assert sum(points.values()) >= fewest


# The GPU is gone, the memory is exhausted: at each step of a prediction and of an answer to a click

LOST = RuntimeError("CUDA error: unspecified launch failure")
TOO_LITTLE = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5.00 GiB")
NO_MEMORY = RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
)
STEPS = (
    (coarse_to_fine, "find_candidates"),
    (coarse_to_fine, "refine_region"),
    (Predictor, "sample"),
    (Predictor, "run_refiner"),
    (scan_segmenter, "region_on_scan"),
    (scan_segmenter, "mask_on_scan"),
    (coarse_to_fine, "foreground_of"),
    (session_module, "summarise_attention"),
)
CLICK = (90.0 - 27.5 * 4, 100.0 - 30 * 4, 30.0)


def failing_once(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, error: Exception) -> None:
    function, failed = getattr(place, name), False

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal failed
        if not failed:
            failed = True
            raise error
        return function(*arguments, **options)

    monkeypatch.setattr(place, name, fail)


@dataclasses.dataclass
class Undisturbed:
    """A session's answers where nothing goes wrong, before and after a click."""

    scan: Volume
    before: Prediction
    after: Prediction
    clicks: tuple[Click, ...]


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    session = new_session(panel_driver.bright_scan())
    before, after = session.predict(), session.add_click(CLICK, inside=True).prediction
    return Undisturbed(session.volume, before, after, session.clicks)


def new_session(scan: Volume) -> Session:
    return Session(Predictor(threshold_model(), "cpu", "float32"), scan)


@pytest.mark.parametrize("clicked", [False, True])
@pytest.mark.parametrize("error", [LOST, TOO_LITTLE], ids=["lost", "memory"])
@pytest.mark.parametrize(("place", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_gpu_that_fails_gives_way_to_the_cpu_and_it_is_said(
    place: Any,
    name: str,
    error: Exception,
    clicked: bool,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if clicked and name in ("find_candidates", "refine_region"):
        return  # are no steps of an answer
    session = new_session(undisturbed.scan)
    given_up: list[bool] = []
    # The CPU stands for the GPU until the code gives it up.
    monkeypatch.setattr(Predictor, "on_gpu", property(lambda self: not given_up))
    monkeypatch.setattr(Predictor, "move_to_cpu", lambda self: given_up.append(True))
    if clicked:
        session.predict()
    answer = undisturbed.after if clicked else undisturbed.before
    with monkeypatch.context() as patch:
        failing_once(patch, place, name, error)
        told = session.add_click(CLICK, inside=True).prediction if clicked else session.predict()
    assert given_up == [True]
    assert (told.mask == answer.mask).all()
    (said,) = set(told.warnings) - set(answer.warnings)
    assert "the CPU was used instead" in said
    assert ("stopped working" in said) == (error is LOST)


@pytest.mark.parametrize("error", [NO_MEMORY, MemoryError()], ids=["PyTorch", "Python"])
@pytest.mark.parametrize(("place", "name"), STEPS, ids=[name for _, name in STEPS])
def test_exhausted_memory_changes_nothing_and_the_next_answer_is_right(
    place: Any,
    name: str,
    error: Exception,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = new_session(undisturbed.scan)
    with monkeypatch.context() as patch:
        failing_once(patch, place, name, error)
        with pytest.raises(MemoryError):
            session.predict()
    assert session.clicks == ()
    assert (session.predict().mask == undisturbed.before.mask).all()
    if name in ("find_candidates", "refine_region"):
        return
    with monkeypatch.context() as patch:
        failing_once(patch, place, name, error)
        with pytest.raises(MemoryError):
            session.add_click(CLICK, inside=True)
    assert session.clicks == ()
    after = session.add_click(CLICK, inside=True)
    assert (after.mask == undisturbed.after.mask).all()
    assert session.clicks == undisturbed.clicks


def test_a_bug_is_taken_for_neither() -> None:
    for error in (RuntimeError("shapes differ"), ValueError("memory"), KeyError("CUDA")):
        assert not is_out_of_memory(error)
        assert not is_lost_device(error)
    assert not is_lost_device(TOO_LITTLE)


def test_weights_that_a_lost_gpu_keeps_are_loaded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(load_model(batch_cases.save_model(tmp_path / "model")), "cpu")
    before = predictor.networks["refiner"]
    with monkeypatch.context() as patch:
        failing_once(patch, torch.nn.Module, "to", LOST)
        predictor.move_to_cpu()
    assert predictor.networks["refiner"] is not before
    assert predictor.device.type == "cpu"


def test_the_command_says_that_memory_did_not_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = batch_cases.write_scan(tmp_path / "scan.nrrd")
    model = batch_cases.save_model(tmp_path / "model")
    before = files_of(tmp_path)
    failing_once(monkeypatch, Predictor, "run_refiner", NO_MEMORY)
    assert main(["segment", str(scan), "-o", str(tmp_path / "out"), "--model", str(model)]) == 2
    assert capsys.readouterr().err == "Error: This computer's memory does not suffice for it.\n"
    assert files_of(tmp_path) == before


# The scene: closed, or a node deleted, while the panel works; and memory, while it is written


def close_scene() -> None:
    from SlicerStandIn import driving

    driving.closeScene()


def remove(kind: str) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByClass(kind))


SCENE_FAULTS = {
    "scene closed": close_scene,
    "volume deleted": lambda: remove("vtkMRMLScalarVolumeNode"),
    "segmentation deleted": lambda: remove("vtkMRMLSegmentationNode"),
    "clicks deleted": lambda: remove("vtkMRMLMarkupsFiducialNode"),
    "display deleted": lambda: remove("vtkMRMLSegmentationDisplayNode"),
    "transform deleted": lambda: remove("vtkMRMLLinearTransformNode"),
    "region deleted": lambda: remove("vtkMRMLMarkupsROINode"),
}


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        pytest.param(fault, stage, id=f"{name}: {stage}")
        for first, (name, fault) in enumerate(SCENE_FAULTS.items())
        for second, stage in enumerate(STAGES)
        if EVERY_POINT or (first + second) % 2 == 0
    ],
)
def test_whatever_leaves_the_scene_at_whatever_stage(driver, monkeypatch, fault, stage):
    import slicer

    mrml = slicer.mrmlScene
    node = add_ct(driver)
    transform = mrml.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    roi = mrml.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetSize(500.0, 500.0, 500.0)
    if stage != LOOKING:  # in a box that the user drew nothing is looked for
        driver.parameters.roi = roi
    driver.segment()
    mine = add_segmentation(mrml, node)
    add_block(mine, "block", np.eye(4))
    before = snapshot(mine, "block")
    with monkeypatch.context() as patch:
        gate = Gate(patch, stage)
        driver.press_segment()
        assert driver.pump(gate.reached.is_set)
        fault()
        gate.opened.set()
        assert driver.pump(lambda: not driver.panel.busy)
        driver.pump(timeout_s=0.1, until=lambda: False)
    assert "unexpected" not in driver.message
    if mine.GetScene() is not None:
        assert snapshot(mine, "block") == before
    if node.GetScene() is None:
        add_ct(driver, "another")
    driver.segment()
    assert driver.panel.hasSegment
    assert "unexpected" not in driver.message
