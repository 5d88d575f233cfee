"""A result says when to doubt it: each sentence, one scan that brings it up and one that does not.

The networks are replaced by a model whose answer is known, so that each scan has the one fault that
it was made for. What the trained model says about real scans is in the last part.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.batch.summary import list_warnings as warnings_of_row
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.inference import Predictor, read_volume
from AttentionUNetSegmentLib.inference.quality import PANCREAS_ML, check_scan_quality, usual_ranges
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import (
    ModelCard,
    Usual,
    find_model,
    load_model,
    read_card,
    save_model,
)
from AttentionUNetSegmentLib.networks import build_network
from panel_driver import NARROW, add_ct
from threshold_model import threshold_model

SPACING = (4.0, 4.0, 5.0)
SHAPE = (30, 48, 56)
MIDDLE = (75.0, 98.0, 112.0)  # mm along k, j, i


@dataclasses.dataclass(frozen=True)
class Made:
    """A body with balls in it, the organ to the threshold model.

    Args:
        balls: middle (mm along k, j, i) and radius of each.
        organ_hu: above 150 it is found.
    """

    balls: tuple[tuple[tuple[float, float, float], float], ...] = ((MIDDLE, 24.0),)
    organ_hu: int = 300
    body_hu: int = 30
    thickness_mm: float = 5.0

    @property
    def volume(self) -> Volume:
        spacing = (self.thickness_mm, *SPACING[:2])
        shape = (round(SHAPE[0] * SPACING[2] / self.thickness_mm), *SHAPE[1:])
        array = np.full(shape, -1000, np.int16)
        array[:, 4:-4, 4:-4] = self.body_hu
        places = (np.indices(shape).T * spacing).T
        for middle, radius in self.balls:
            distance = np.sqrt(((places.T - middle).T ** 2).sum(axis=0))
            array[distance < radius] = self.organ_hu
        matrix = np.diag([-SPACING[0], -SPACING[1], self.thickness_mm, 1.0])
        matrix[:3, 3] = (90, 100, -40)
        return Volume(array, matrix)

    def write(self, path: Path) -> Path:
        volume = self.volume
        image = sitk.GetImageFromArray(volume.array)
        image.SetSpacing(volume.spacing_mm)
        image.SetOrigin((-90.0, -100.0, -40.0))
        sitk.WriteImage(image, str(path))
        return path


USUAL_SCAN = Made()
AT_THE_TOP = ((136.0, 98.0, 112.0), 24.0)
TWO = (((75.0, 98.0, 80.0), 18.0), ((75.0, 98.0, 144.0), 18.0))

# What is doubtful: words of the sentence, a scan that has it, and one that just does not.
DOUBTS = {
    "nothing found": ("No pancreas was found", Made(balls=()), USUAL_SCAN),
    "too small": ("mL, which is outside the usual 20 to 250", Made(balls=((MIDDLE, 15.0),)),
                  Made(balls=((MIDDLE, 18.0),))),
    "too large": ("mL, which is outside the usual 20 to 250", Made(balls=((MIDDLE, 41.0),)),
                  Made(balls=((MIDDLE, 37.0),))),
    "in pieces": ("consists of 2 separate pieces", Made(balls=TWO), Made(balls=TWO[:1])),
    "cut off": ("reaches the edge of the scan (head)", Made(balls=(AT_THE_TOP,)),
                Made(balls=(((110.0, 98.0, 112.0), 24.0),))),
    "unsure": ("The network is unsure: its mean probability in the pancreas is 0.",
               Made(organ_hu=155), Made(organ_hu=175)),
    "organ of other intensities": ("The intensities in the pancreas are not those of a CT",
                                   Made(organ_hu=900), Made(organ_hu=580)),
    "scan of other intensities": ("The scan's intensities are not those of a CT",
                                  Made(body_hu=-120), Made(body_hu=-10)),
    "thick slices": ("The slices are 7.5 mm apart, but the model was trained on slices of at most",
                     Made(thickness_mm=7.5), Made(thickness_mm=6.0)),
}  # fmt: skip
each_doubt = pytest.mark.parametrize(("words", "made", "usual"), DOUBTS.values(), ids=DOUBTS.keys())


def position_of(volume: Volume, along_kji_mm: tuple[float, float, float]) -> np.ndarray:
    """In the world."""
    i, j, k = (mm / step for mm, step in zip(along_kji_mm[::-1], volume.spacing_mm, strict=True))
    return (volume.ijk_to_ras @ (i, j, k, 1.0))[:3]


def plain(sentence: str) -> bool:
    return sentence.endswith(".") and "\n" not in sentence and ". " not in sentence


# Through the library


@each_doubt
def test_a_doubtful_result_says_so_and_a_usual_one_does_not(
    words: str, made: Made, usual: Made
) -> None:
    predictor = Predictor(threshold_model(), "cpu", "float32")
    (said,) = predictor.predict(made.volume).warnings
    assert words in said
    assert plain(said)
    assert not any(words in text for text in predictor.predict(usual.volume).warnings)


def test_a_usual_result_says_nothing() -> None:
    predictor = Predictor(threshold_model(), "cpu", "float32")
    prediction = predictor.predict(USUAL_SCAN.volume)
    assert prediction.warnings == ()
    assert prediction.pieces == 1
    assert prediction.mean_probability is not None
    assert prediction.mean_probability > 0.95


def test_the_edges_are_named_as_the_patient_lies() -> None:
    predictor = Predictor(threshold_model(), "cpu", "float32")
    volume = Made(balls=(((75.0, 98.0, 215.0), 24.0),)).volume
    volume.array[:, :, -4:] = volume.array[:, :, -5:-4]  # the body reaches the last column
    (said,) = predictor.predict(volume).warnings
    assert "(left)" in said  # i runs to the patient's left
    upside_down = Made(balls=(AT_THE_TOP,)).volume
    turned = upside_down.ijk_to_ras @ np.diag([1.0, 1.0, -1.0, 1.0])
    (said,) = predictor.predict(Volume(upside_down.array, turned)).warnings
    assert "(feet)" in said


def test_what_is_usual_is_the_cards_and_else_what_holds_anyway() -> None:
    card = threshold_model().card
    old = dataclasses.replace(card, usual=Usual())
    assert usual_ranges(old).volume_ml == PANCREAS_ML
    labels = (card.labels[0], dataclasses.replace(card.labels[1], name="liver"))
    liver = dataclasses.replace(old, labels=labels, target="liver")
    assert usual_ranges(liver).volume_ml is None
    assert usual_ranges(liver).slice_mm == usual_ranges(old).slice_mm == 6.0
    own = dataclasses.replace(liver, usual=Usual(volume_ml=(700, 3000), slice_mm=2.5))
    assert usual_ranges(own).volume_ml == (700.0, 3000.0)
    assert usual_ranges(own).slice_mm == 2.5
    volume = USUAL_SCAN.volume
    assert "at most 2.5 mm" in check_scan_quality(volume, own)[0]
    assert check_scan_quality(volume, old) == []


def test_a_card_says_what_is_usual_and_an_old_one_stays_as_it_is(tmp_path: Path) -> None:
    card = threshold_model().card
    for usual in (Usual(), Usual(volume_ml=(20, 250), slice_mm=5)):
        networks = {name: build_network(dict(one.network)) for name, one in card.stages.items()}
        saved = save_model(tmp_path / "m", dataclasses.replace(card, usual=usual), networks)
        assert read_card(tmp_path / "m") == saved
        assert read_card(tmp_path / "m").usual == usual
        content = json.loads((tmp_path / "m" / "model.json").read_text(encoding="utf-8"))
        assert ("usual" in content) == (usual != Usual())
    for wrong in (
        {"volume_ml": [250, 20]},
        {"volume_ml": "20"},
        {"least_probability": 1.5},
        {"slice_mm": 0},
        {"colour": "red"},
    ):
        with pytest.raises(ModelError, match="usual"):
            ModelCard.from_json(json.dumps({**content, "usual": wrong}))


# After a click: every answer is judged anew


def test_clicks_bring_warnings_up_and_take_them_away() -> None:
    small = ((75.0, 98.0, 170.0), 12.0)
    # Bright enough to be found, not so bright that a click could not take it away.
    volume = Made(balls=((MIDDLE, 22.0), small), organ_hu=165).volume
    session = Session(Predictor(threshold_model(), "cpu", "float32"), volume)
    assert "2 separate pieces" in session.predict().warnings[0]
    outside = session.add_click(position_of(volume, small[0]), inside=False).prediction
    assert outside.warnings == ()
    assert outside.pieces == 1
    assert "2 separate pieces" in session.undo().prediction.warnings[0]
    assert session.redo().prediction.warnings == ()


def test_a_click_where_nothing_was_found_takes_that_doubt_away() -> None:
    made = Made(balls=((MIDDLE, 11.0),)).volume  # too little for the locator
    # With air beside it: as wide as a whole scan, which is not looked at directly.
    beside = np.pad(made.array, ((0, 0), (0, 0), (0, 60)), constant_values=-1000)
    volume = Volume(beside, made.ijk_to_ras)
    session = Session(Predictor(threshold_model(), "cpu", "float32"), volume)
    (said,) = session.predict().warnings
    assert "No pancreas" in said
    after = session.add_click(position_of(volume, MIDDLE), inside=True).prediction
    assert after.found
    assert not any("No pancreas" in text for text in after.warnings)
    assert any("outside the usual" in text for text in after.warnings)
    assert any("No pancreas" in text for text in session.undo().prediction.warnings)


# On the command line: on stderr, in report.json, and on the page of a batch


@pytest.fixture
def segment(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(segmenting, "load_model", lambda folder: threshold_model())
    monkeypatch.setattr(
        "AttentionUNetSegmentLib.app.overlay.render_overlay",
        lambda prediction, file, *arguments, **options: file.write_bytes(b"a picture"),
    )

    def run(made: Made) -> dict[str, Any]:
        scan, out = made.write(tmp_path / "scan.nrrd"), tmp_path / "out"
        assert main(["segment", str(scan), "-o", str(out), "--model", str(model_folder)]) == 0
        return json.loads((out / "report.json").read_text(encoding="utf-8"))

    return run


@each_doubt
def test_the_report_and_stderr_say_so(
    words: str, made: Made, usual: Made, segment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (said,) = segment(made)["warnings"]
    assert words in said
    assert capsys.readouterr().err == f"Warning: {said}\n"
    assert words not in "".join(segment(usual)["warnings"])
    assert words not in capsys.readouterr().err


def test_the_page_of_a_batch_shows_what_the_reports_say(segment: Any) -> None:
    from AttentionUNetSegmentLib.app.batch.rows import done_row

    report = segment(Made(balls=TWO)) | {"batch": {"input_sha256": ""}}
    assert warnings_of_row(done_row("two", report)) == report["warnings"]
    assert warnings_of_row(done_row("usual", {**report, "warnings": []})) == []


# In the panel


@each_doubt
def test_the_panel_says_so(driver, words, made, usual):
    for scan, doubtful in ((made, True), (usual, False)):
        node = add_ct(driver, "CT", scan.volume)
        driver.segment()
        assert (words in driver.message) == doubtful, driver.message
        table = driver.panel.resultNodes.tableNode.GetTable()
        cells = [table.GetValue(row, 1).ToString() for row in range(table.GetNumberOfRows())]
        assert any(words in cell for cell in cells) == doubtful
        node.GetScene().RemoveNode(node)
        driver.pump()


def test_in_a_region_of_interest_its_edge_is_named(driver):
    import slicer

    node = add_ct(driver, "CT", USUAL_SCAN.volume)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    middle = position_of(USUAL_SCAN.volume, MIDDLE)
    roi.SetCenter(middle[0], middle[1], middle[2] + 50)
    roi.SetSize(160.0, 160.0, 100.0)  # ends in the middle of the ball
    from AttentionUNetSegmentLib.inference.predictor_cache import PredictorCache
    from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions, SegmentationTask

    options = SegmentationOptions(model=driver.parameters.model, device="cpu")
    task = SegmentationTask(node, roiNode=roi, options=options)
    (said,) = task.compute(PredictorCache()).warnings
    assert "reaches the edge of the region of interest (feet)" in said


def test_many_warnings_are_all_readable_in_a_narrow_panel(driver):
    """Set PANEL_PICTURE to a file name to look at it."""
    add_ct(driver, "CT", Made(balls=(*TWO, AT_THE_TOP), organ_hu=155, thickness_mm=7.5).volume)
    driver.segment()
    lines = driver.message.split("\n")
    assert len(lines) == 4
    assert all(line.startswith("• ") for line in lines)
    panel, label = driver.representation, driver.ui.messageLabel
    for _ in range(2):  # the second pass gives the wrapped text its height
        panel.resize(NARROW, panel.layout().heightForWidth(NARROW))
        panel.show()
        driver.pump()
    assert label.isVisible()
    assert label.height >= label.heightForWidth(label.width)
    if target := os.environ.get("PANEL_PICTURE"):
        panel.grab().save(target)
    panel.hide()


# On real scans, with the model that comes along


@pytest.mark.parametrize("case", ["case0010", "case0027", "case0031"])
def test_the_shipped_model_has_no_doubt_on_real_scans(shared_data: Path, case: str) -> None:
    predictor = Predictor(load_model(find_model()), "cpu")
    scan = read_volume(shared_data / "btcv" / "train" / f"{case}_ct.nii.gz")
    prediction = predictor.predict(scan)
    assert prediction.warnings == ()
    assert prediction.mean_probability is not None
    assert prediction.mean_probability > 0.92
