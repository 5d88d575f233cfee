"""Attention in figures: those of a level, verdicts, logs, and what the command leaves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.errors import InputError, TrainingError
from AttentionUNetSegmentLib.evaluation.attention_figures import smooth
from AttentionUNetSegmentLib.evaluation.attention_statistics import (
    GateVerdict,
    LevelStatistics,
    level_statistics,
    measure_attention,
    read_focus_ratios,
    read_log,
    summarise_levels,
)
from AttentionUNetSegmentLib.models import Model
from PIL import Image
from small_cases import small_case, write_case
from threshold_model import BrightIsOrgan, threshold_model

NAMES = ("case0010", "case0027")
LOG = (
    {"step": 20, "loss": 0.9, "focus_ratios": [0.9, 0.8, 0.7, 0.6]},
    {"step": 25, "validation_dice": {"case0010": 0.4}},
    {"step": 40, "loss": 0.5, "focus_ratios": [0.5, 0.4, 0.2, 0.1]},
)


def statistics(level: int = 1, organ: float = 0.8, rest: float = 0.2) -> LevelStatistics:
    """Of a map with one value in the organ, a quarter of the picture, and another outside it."""
    mask = np.zeros((4, 4, 4), bool)
    mask[0] = True
    return level_statistics("case", level, np.where(mask, organ, rest), mask)


def write_log(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases in the layout of BTCV, whose pancreas is the only thing above 200 HU."""
    folder = tmp_path / "data"
    for name in (*NAMES, "case0005"):
        write_case(folder / "btcv" / "train", name, small_case())
    return folder


@pytest.fixture
def known_model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """The model whose alpha is the brightness, in place of whatever is asked for."""
    model = threshold_model(PANCREAS)
    monkeypatch.setattr(models, "find_model", lambda name: Path(name))
    monkeypatch.setattr(models, "load_model", lambda folder: model)
    return model


# One level


def test_a_levels_figures_are_those_of_its_map() -> None:
    one = statistics(organ=0.8, rest=0.2)
    assert (one.minimum, one.maximum) == (0.2, 0.8)
    assert one.mean == pytest.approx(0.25 * 0.8 + 0.75 * 0.2)
    assert one.focus_ratio == 0.25
    assert one.inside == pytest.approx(0.8)
    assert one.outside == pytest.approx(0.2)
    # 16 voxels of 0.8 against 48 of 0.2
    assert one.mass_inside == pytest.approx(12.8 / (12.8 + 9.6))
    assert one.organ_share == 0.25


def test_a_uniform_map_has_the_organs_share_of_alpha_in_the_organ() -> None:
    one = statistics(organ=0.4, rest=0.4)
    assert one.mass_inside == pytest.approx(one.organ_share)


def test_heads_count_as_so_many_more_voxels() -> None:
    mask = np.zeros((2, 2), bool)
    mask[0] = True
    heads = np.stack([np.where(mask, 1.0, 0.0), np.zeros((2, 2))])
    one = level_statistics("case", 1, heads, mask)
    assert one.inside == 0.5
    assert one.outside == 0
    assert one.mass_inside == 1
    assert one.focus_ratio == 0.25


def test_without_organ_or_without_alpha_nothing_is_made_up() -> None:
    none = np.zeros((3, 3), bool)
    without_organ = level_statistics("case", 1, np.full((3, 3), 0.5), none)
    assert without_organ.inside is None
    assert without_organ.outside == 0.5
    all_organ = level_statistics("case", 1, np.zeros((3, 3)), ~none)
    assert all_organ.outside is None
    assert all_organ.mass_inside is None


def test_a_map_on_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="grid"):
        level_statistics("case", 1, np.ones((4, 4)), np.ones((4, 5), bool))


# Verdicts


@pytest.mark.parametrize(
    ("organ", "rest", "verdict"),
    [
        (0.99, 0.7, GateVerdict.OPEN),
        (0.45, 0.05, GateVerdict.SHUT),
        (0.32, 0.3, GateVerdict.UNIFORM),
        (0.9, 0.2, GateVerdict.ORGAN),
        (0.2, 0.9, GateVerdict.ELSEWHERE),
    ],
)
def test_each_kind_of_gate_is_named(organ: float, rest: float, verdict: GateVerdict) -> None:
    (summary,) = summarise_levels([statistics(organ=organ, rest=rest)])
    assert summary.verdict is verdict
    assert verdict.value in summary.sentence
    assert summary.to_json()["finding"] == verdict.value
    assert "verdict" not in summary.to_json()
    assert summary.sentence.startswith("Level 1 ")


def test_a_small_difference_is_not_taken_for_attention_to_the_organ() -> None:
    """Alpha runs from 0 to 1, but no more in the organ than elsewhere."""
    mask = np.zeros((2, 10), bool)
    mask[0] = True
    alpha = np.tile(np.linspace(0, 1, 10), (2, 1))
    for more in (0.0, 0.04, -0.04):
        one = level_statistics("case", 1, np.clip(alpha + more * mask, 0, 1), mask)
        (summary,) = summarise_levels([one])
        assert summary.verdict is GateVerdict.INDIFFERENT
    assert "alpha is 0.4" in summary.sentence


def test_a_level_is_open_or_shut_only_where_it_is_so_in_every_case() -> None:
    (shut,) = summarise_levels([statistics(organ=0.4, rest=0.1), statistics(organ=0.3, rest=0.1)])
    (once,) = summarise_levels([statistics(organ=0.4, rest=0.1), statistics(organ=0.7, rest=0.1)])
    assert shut.verdict is GateVerdict.SHUT
    assert once.verdict is GateVerdict.ORGAN
    (wide,) = summarise_levels([statistics(organ=1, rest=0.7), statistics(organ=1, rest=0.3)])
    assert wide.verdict is GateVerdict.ORGAN


def test_levels_come_shallow_to_deep_with_means_and_extremes_over_cases() -> None:
    found = summarise_levels([statistics(3), statistics(1, 0.6, 0.1), statistics(1, 1.0, 0.3)])
    assert [one.level for one in found] == [1, 3]
    assert found[0].inside == pytest.approx(0.8)
    assert found[0].outside == pytest.approx(0.2)
    assert (found[0].minimum, found[0].maximum) == (0.1, 1.0)
    assert found[0].cases == 2


# Logs


def test_focus_ratios_are_read_from_a_runs_log(tmp_path: Path) -> None:
    curves = read_focus_ratios(write_log(tmp_path, *(json.dumps(line) for line in LOG)))
    assert curves.steps == (20, 40)
    assert curves.ratios == ((0.9, 0.8, 0.7, 0.6), (0.5, 0.4, 0.2, 0.1))


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no log"):
        read_log(tmp_path)
    with pytest.raises(TrainingError, match="damaged"):
        read_log(write_log(tmp_path / "cut", '{"step": 1', ""))
    with pytest.raises(TrainingError, match="no log of a training run"):
        read_log(write_log(tmp_path / "other", "[1, 2]"))
    with pytest.raises(TrainingError, match="no focus ratios"):
        read_focus_ratios(write_log(tmp_path / "plain", '{"step": 20, "focus_ratios": []}'))


def test_smoothing_keeps_a_straight_line_and_the_length() -> None:
    line = np.linspace(0, 1, 100)
    np.testing.assert_allclose(smooth(line)[5:-5], line[5:-5], atol=0.02)
    assert len(smooth(np.ones(7))) == 7
    np.testing.assert_allclose(smooth(np.ones(47)), 1)


# A model on labelled scans


def test_a_model_that_looks_at_what_is_bright_looks_at_the_bright_organ(
    data: Path, known_model: Model, tmp_path: Path
) -> None:
    """Its alpha is the brightness: 230 HU of a -125 to 275 window in the organ."""
    found = measure_attention("known", data, tmp_path / "out")
    assert {one.case for one in found.cases} == set(NAMES)
    assert [level.level for level in found.levels] == [1, 2, 3, 4]
    shallow, *_, deep = found.levels
    assert shallow.verdict is GateVerdict.ORGAN
    assert shallow.inside == pytest.approx((230 + 125) / 400, abs=0.03)
    assert shallow.outside is not None
    assert shallow.outside < 0.5
    # A coarser map mixes the organ with what is around it.
    assert deep.inside is not None
    assert deep.inside < shallow.inside
    assert shallow.mass_inside is not None
    assert shallow.mass_inside > shallow.organ_share


def test_a_report_the_figures_and_a_picture_a_case_are_written(
    data: Path, known_model: Model, tmp_path: Path
) -> None:
    run = write_log(tmp_path / "run", *(json.dumps(line) for line in LOG))
    output = tmp_path / "out"
    found = measure_attention("known", data, output, run=run)
    assert {file.name for file in output.iterdir()} == {
        "evidence.json",
        "evidence.md",
        "focus-ratios.png",
        *(f"levels-{name}.png" for name in NAMES),
    }
    written = json.loads((output / "evidence.json").read_text("utf-8"))
    assert [level["finding"] for level in written["levels"]] == [
        level.verdict.value for level in found.levels
    ]
    assert len(written["cases"]) == 8
    text = (output / "evidence.md").read_text("utf-8")
    assert text == found.to_markdown()
    assert all(level.sentence in text for level in found.levels)
    for file in output.glob("*.png"):
        with Image.open(file) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("RGB").getcolors(256) or ()) > 3


def test_single_cases_are_looked_at_on_request(
    data: Path, known_model: Model, tmp_path: Path
) -> None:
    found = measure_attention("known", data, tmp_path / "out", split="all", cases=["case0005"])
    assert {one.case for one in found.cases} == {"case0005"}
    with pytest.raises(InputError, match="'case0005' is no case of the split 'validation'"):
        measure_attention("known", data, tmp_path / "out", cases=["case0005"])


def test_pictures_of_an_earlier_run_are_gone_and_no_others(
    data: Path, known_model: Model, tmp_path: Path
) -> None:
    output, log = tmp_path / "out", [json.dumps(line) for line in LOG]
    measure_attention("known", data, output, run=write_log(tmp_path / "run", *log))
    (output / "levels-mine.png").write_text("kept")
    measure_attention("known", data, output, cases=[NAMES[0]])
    assert {file.name for file in output.iterdir()} == {
        "evidence.json",
        "evidence.md",
        f"levels-{NAMES[0]}.png",
        "levels-mine.png",
    }


def test_what_cannot_be_looked_at_is_told(data: Path, known_model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no split"):
        measure_attention("known", data, tmp_path, split="half")
    with pytest.raises(TrainingError, match="no log"):
        measure_attention("known", data, tmp_path, run=tmp_path / "absent")
    dull = tmp_path / "dull"
    case = small_case()
    dark = dataclasses.replace(case.ct, array=np.minimum(case.ct.array, 120))
    write_case(dull / "btcv" / "train", NAMES[0], dataclasses.replace(case, ct=dark))
    write_case(dull / "btcv" / "train", "case0005", case)
    with pytest.raises(TrainingError, match="found no pancreas"):
        measure_attention("known", dull, tmp_path / "none")
    refiner = known_model.networks["refiner"]
    assert isinstance(refiner, BrightIsOrgan)
    refiner.gates = []
    with pytest.raises(InputError, match="no attention gates"):
        measure_attention("known", data, tmp_path)


def test_the_command_prints_the_report_and_leaves_the_files(
    data: Path, known_model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["evidence", str(data), "-o", str(output), "--model", "known"]) == 0
    assert capsys.readouterr().out == (output / "evidence.md").read_text("utf-8")
    assert (output / "levels-case0010.png").exists()


def test_the_command_leaves_nothing_where_it_cannot_look(
    known_model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["evidence", str(tmp_path), "-o", str(output), "--model", "known"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not output.exists()
