"""From results to tables: the unit is the patient, and all rows are judged on the same cases."""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
from pathlib import Path

import pytest
from AttentionUNetSegmentLib.errors import InputError, TrainingError
from AttentionUNetSegmentLib.evaluation.attention_statistics import LevelStatistics
from AttentionUNetSegmentLib.experiments.markdown import table_lines
from AttentionUNetSegmentLib.experiments.results import (
    RESULT_FILE,
    CaseScore,
    Run,
    RunResult,
    load_result,
    save_result,
)
from AttentionUNetSegmentLib.experiments.tables import Table, TableRow, holm, make_table
from AttentionUNetSegmentLib.experiments.variants import EXPERIMENTS, VARIANTS, choose_comparisons
from AttentionUNetSegmentLib.networks import NetworkConfig
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

(COMPARE,) = choose_comparisons("compare", ("UNet", "AttentionUNet"))
PATIENTS = tuple("abcdefgh")


def case(patient: str, dice: float, name: str = "", **labels: float) -> CaseScore:
    scores = {"dice": dice, "iou": dice / 2, "sensitivity": dice, "specificity": 0.99}
    return CaseScore(name or f"{patient}-1", patient, {**scores, "precision": None}, labels)


def result(
    variant: str, dice: dict[str, float] | list[CaseScore], seed: int = 0, fold: int = 0
) -> RunResult:
    cases = [case(*one) for one in dice.items()] if isinstance(dice, dict) else dice
    return RunResult(
        Run(variant, seed, fold), parameters=1000, steps=5, elapsed_s=2.0, cases=tuple(cases)
    )


def table(*results: RunResult, wanted: list[Run] | None = None) -> Table:
    return make_table(COMPARE, results, wanted or [one.run for one in results])


def row(of: Table, key: str) -> TableRow:
    return next(one for one in of.rows if one.key == key)


# What is compared


def test_the_published_tables_are_there_with_their_figures() -> None:
    (networks,) = EXPERIMENTS["compare"]
    assert networks.variants == ("FCN", "UNet", "ResUNet", "AttentionUNet")
    assert networks.published["AttentionUNet"] == (0.86, 0.85, 0.99)
    levels, gates = EXPERIMENTS["ablate"]
    assert [levels.published[key] for key in levels.variants] == [
        (0.82,),
        (0.84,),
        (0.86,),
        (0.87,),
    ]
    kinds = [VARIANTS[key].network.get("gate", "standard") for key in gates.variants]
    assert kinds == ["standard", "stable", "dual", "multi-scale", "multi-head"]


def test_variants_differ_in_nothing_but_what_their_name_says() -> None:
    plain = NetworkConfig("AttentionUNet", 2, 1, 2).to_mapping()
    for key, changed in {
        "AttentionUNet": set(),
        "deepest": {"gated_levels"},
        "deep-supervision": {"deep_supervision"},
        "stable": {"gate"},
        "UNet": {"name"},
    }.items():
        config = NetworkConfig.from_mapping({**plain, **VARIANTS[key].network}).to_mapping()
        assert {name for name in config if config[name] != plain[name]} == changed


def test_some_networks_only_make_a_smaller_table() -> None:
    levels, gates = choose_comparisons("ablate", ("deepest", "stable", "dual"))
    assert levels.variants == ("deepest",)
    assert gates.variants == ("stable", "dual")
    assert gates.reference == "stable"
    assert choose_comparisons("ablate", ("dual",))[0].name == "gates"
    with pytest.raises(InputError, match="'stable' is not part of 'experiments compare'"):
        choose_comparisons("compare", ("stable",))


# Means


def test_a_patients_figure_is_the_mean_of_his_slices_and_seeds() -> None:
    """One patient with three slices must not count three times."""
    many = [case("a", dice, f"a-{n}") for n, dice in enumerate((0.9, 0.8, 0.7))]
    made = table(
        result("UNet", [*many, case("b", 0.2)]),
        result("UNet", [*many, case("b", 0.4)], seed=1),
        result("AttentionUNet", {"a": 0.5, "b": 0.5}),
        result("AttentionUNet", {"a": 0.5, "b": 0.5}, seed=1),
    )
    unet = row(made, "UNet")
    assert unet.means["dice"].mean == pytest.approx((0.8 + 0.3) / 2)
    assert unet.seed_means == {0: pytest.approx(0.5), 1: pytest.approx(0.6)}
    assert unet.run_sd == pytest.approx(statistics.stdev((0.5, 0.6)))
    assert unet.means["precision"].mean is None
    assert made.patients == 2


def test_intervals_are_students_over_patients() -> None:
    dice = {name: 0.5 + 0.02 * n for n, name in enumerate(PATIENTS)}
    mean = row(table(result("UNet", dice), result("AttentionUNet", dice)), "UNet").means["dice"]
    values = list(dice.values())
    low, high = stats.t.interval(0.95, len(values) - 1, statistics.fmean(values), stats.sem(values))
    assert (mean.low, mean.high) == (pytest.approx(low), pytest.approx(high))


# Differences


def test_differences_are_paired_by_patient_and_tested_by_wilcoxon() -> None:
    unet = {name: 0.1 * n for n, name in enumerate(PATIENTS)}
    gains = [0.05, 0.02, -0.01, 0.07, 0.03, 0.04, 0.06, -0.015]
    gated = {name: unet[name] + gain for name, gain in zip(PATIENTS, gains, strict=True)}
    # The order in which cases come must not matter.
    made = table(result("UNet", unet), result("AttentionUNet", dict(reversed(gated.items()))))
    difference = row(made, "AttentionUNet").difference
    assert difference is not None
    assert difference.mean.mean == pytest.approx(statistics.fmean(gains))
    assert (difference.better, difference.count) == (6, 8)
    assert difference.p == pytest.approx(stats.wilcoxon(gains).pvalue)
    assert difference.p_holm == difference.p
    assert row(made, "UNet").difference is None


def test_too_few_patients_or_none_that_differ_give_no_p_value() -> None:
    few = dict.fromkeys(PATIENTS[:5], 0.5)
    more = dict.fromkeys(PATIENTS[:5], 0.6)
    one = row(table(result("UNet", few), result("AttentionUNet", more)), "AttentionUNet")
    assert one.difference is not None
    assert one.difference.p is None
    same = dict.fromkeys(PATIENTS, 0.5)
    one = row(table(result("UNet", same), result("AttentionUNet", same)), "AttentionUNet")
    assert one.difference is not None
    assert one.difference.p is None
    assert one.difference.better == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holms_correction_controls_the_rows_together(p_values: list[float]) -> None:
    """Against the closed testing procedure that Holm's method is a short cut of (1979).

    A hypothesis falls at a level if every set of hypotheses with it falls by Bonferroni.
    """
    named = {str(index): p for index, p in enumerate(p_values)}
    sets = [
        subset
        for size in range(1, len(named) + 1)
        for subset in itertools.combinations(named, size)
    ]
    for key, corrected in holm(named).items():
        closed = max(
            min(len(subset) * min(named[one] for one in subset), 1.0)
            for subset in sets
            if key in subset
        )
        assert corrected == pytest.approx(closed)


# What is left out


def test_a_seed_and_fold_that_one_row_lacks_is_left_out_of_all() -> None:
    """Else the rows would be judged on different patients."""
    easy, hard = {"a": 0.9}, {"b": 0.1}
    finished = [
        result("UNet", easy),
        result("UNet", hard, fold=1),
        result("AttentionUNet", easy),
    ]
    wanted = [Run(key, 0, fold) for key in COMPARE.variants for fold in (0, 1)]
    made = table(*finished, wanted=wanted)
    assert made.cells == ((0, 0),)
    assert made.unfinished == 1
    assert row(made, "UNet").means["dice"].mean == pytest.approx(0.9)
    assert "1 of 2 seeds and folds are not finished" in "\n".join(table_lines(made))


def test_a_failed_run_is_named_and_the_others_still_count() -> None:
    failed = RunResult(Run("AttentionUNet", 0, 1), failure="The loss is not a number.")
    made = table(
        result("UNet", {"a": 0.5}),
        result("UNet", {"b": 0.6}, fold=1),
        result("AttentionUNet", {"a": 0.7}),
        failed,
    )
    gated = row(made, "AttentionUNet")
    assert gated.runs == 1
    assert gated.means["dice"].mean == pytest.approx(0.7)
    assert gated.difference is not None
    assert gated.difference.mean.mean == pytest.approx(0.2)
    text = "\n".join(table_lines(made))
    assert "- Attention U-Net failed, seed 0, fold 1: The loss is not a number." in text
    both = table(result("UNet", {"b": 0.6}, fold=1), failed)
    assert "failed in its 1 run" in "\n".join(table_lines(both))


def test_runs_that_found_nothing_are_counted_and_told() -> None:
    made = table(
        result("UNet", {"a": 0.5, "b": 0.4}),
        result("AttentionUNet", {"a": 0.0, "b": 0.0}),
        result("UNet", {"a": 0.5, "b": 0.0}, seed=1),
        result("AttentionUNet", {"a": 0.6, "b": 0.6}, seed=1),
    )
    assert [one.idle for one in made.rows] == [0, 1]
    assert row(made, "AttentionUNet").means["dice"].mean == pytest.approx(0.3)
    text = "\n".join(table_lines(made))
    assert "- 1 of 2 runs of Attention U-Net found nothing in any case held out" in text
    assert "of U-Net found nothing" not in text


def test_where_the_reference_failed_there_is_no_difference() -> None:
    made = table(
        result("UNet", {"a": 0.5}),
        RunResult(Run("UNet", 0, 1), failure="The loss is not a number."),
        result("AttentionUNet", {"a": 0.7}),
        result("AttentionUNet", {"b": 0.9}, fold=1),
    )
    difference = row(made, "AttentionUNet").difference
    assert difference is not None
    assert difference.count == 1
    assert difference.mean.mean == pytest.approx(0.2)


def test_nothing_finished_makes_no_table() -> None:
    made = table(wanted=[Run(key, 0, 0) for key in COMPARE.variants])
    assert "No seed and fold is finished" in "\n".join(table_lines(made))


# As Markdown


def test_a_table_shows_its_figures_beside_the_published_ones() -> None:
    unet = {name: 0.1 * n for n, name in enumerate(PATIENTS)}
    gated = {name: dice + 0.05 + 0.001 * n for n, (name, dice) in enumerate(unet.items())}
    lines = table_lines(table(result("UNet", unet), result("AttentionUNet", gated)))
    heading = next(line for line in lines if line.startswith("| network"))
    (line,) = (line for line in lines if line.startswith("| Attention U-Net"))
    cells = dict(
        zip(
            (cell.strip() for cell in heading.split("|")),
            (cell.strip() for cell in line.split("|")),
            strict=True,
        )
    )
    assert cells["Dice"].startswith("0.404 (")
    assert cells["precision"] == "none"
    assert cells["specificity"] == "0.9900"
    assert cells["difference to U-Net"].startswith("+0.054 (+0.051 to ")
    assert cells["better"] == "8 of 8"
    assert cells["p"] == "0.008"
    assert cells["published Dice, sens., spec."] == "0.86, 0.85, 0.99"
    assert len({row.count("|") for row in lines if row.startswith("|")}) == 1
    gates = make_table(
        choose_comparisons("ablate", ("stable",))[0],
        [result("stable", unet)],
        [Run("stable", 0, 0)],
    )
    assert "published" not in "".join(table_lines(gates))


def test_organs_seeds_and_gates_have_tables_of_their_own() -> None:
    looks = LevelStatistics("a-1", 2, 0.1, 0.3, 0.9, 0.2, 0.8, 0.2, 0.1, 0.03)
    runs = []
    for seed in (0, 1):
        cases = [case("a", 0.4 + 0.1 * seed, liver=0.9, pancreas=0.4), case("b", 0.6, liver=0.8)]
        gated = result("AttentionUNet", cases, seed)
        runs += [result("UNet", cases, seed), dataclasses.replace(gated, attention=(looks,))]
    text = "\n".join(table_lines(table(*runs)))
    assert "| Dice by label | liver | pancreas |" in text
    assert "| U-Net | 0.850 | 0.400 |" in text
    assert "| U-Net | 0.500 | 0.550 |" in text  # by seed
    assert "| Attention U-Net | 2 | 20 % | 25 % | 0.80 | 0.20 | 10 % | 3 % | 0.10 | 0.90 " in text
    assert "looks at the organ" in text


def test_a_table_becomes_json() -> None:
    made = table(result("UNet", {"a": 0.5}), result("AttentionUNet", {"a": 0.6}))
    content = json.loads(json.dumps(made.to_json()))
    assert content["rows"][1]["means"]["dice"]["mean"] == 0.6
    assert content["cells"] == [{"seed": 0, "fold": 0}]


# Results on disk


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    looks = LevelStatistics("a", 1, 0.0, 0.5, 1.0, 0.4, None, 0.5, 0.0, 0.0)
    scored = case("a", 0.25, liver=0.5)
    one = RunResult(Run("UNet", 2, 3), "", 7, 9, 1.5, cases=(scored,), attention=(looks,))
    save_result(tmp_path, one)
    assert load_result(tmp_path) == one
    assert len(json.loads((tmp_path / RESULT_FILE).read_text())["evidence"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == [RESULT_FILE]


def test_a_damaged_result_is_refused_and_none_is_none(tmp_path: Path) -> None:
    assert load_result(tmp_path) is None
    for content in ("{", "[]", '{"format": 99}', '{"format": 1}'):
        (tmp_path / RESULT_FILE).write_text(content)
        with pytest.raises(TrainingError, match="cannot be used"):
            load_result(tmp_path)
