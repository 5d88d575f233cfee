"""Splits by patient: nobody on two sides, everybody somewhere, the same again from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.cases import CaseFiles, DataSet
from AttentionUNetSegmentLib.datasets.loading import find_cases
from AttentionUNetSegmentLib.datasets.splits import (
    Split,
    default_split,
    held_out_split,
    k_fold,
    load_splits,
    save_splits,
)
from AttentionUNetSegmentLib.errors import TrainingError
from data_set_makers import write_slices
from hypothesis import given
from hypothesis import strategies as st

NOWHERE = Path("nowhere")


def cases_of(patients: list[int]) -> list[CaseFiles]:
    """A case for each entry, of the patient with that number."""
    return [
        CaseFiles(f"case{index:03}", NOWHERE, NOWHERE, patient=f"P{patient}")
        for index, patient in enumerate(patients)
    ]


patients = st.lists(st.integers(0, 12), min_size=2, max_size=40).filter(
    lambda numbers: len(set(numbers)) > 1
)


def assert_patients_apart(cases: list[CaseFiles], split: Split) -> None:
    of = {case.name: case.patient for case in cases}
    train, validation = ({of[name] for name in names} for names in (split.train, split.validation))
    assert not train & validation
    assert sorted((*split.train, *split.validation)) == sorted(of)


@given(patients, st.integers(0, 1000), st.data())
def test_no_patient_is_in_two_folds_and_each_is_held_out_once(
    numbers: list[int], seed: int, data: st.DataObject
) -> None:
    cases = cases_of(numbers)
    folds = data.draw(st.integers(2, len(set(numbers))))
    splits = k_fold(cases, folds, seed)
    assert len(splits) == folds
    for split in splits:
        assert_patients_apart(cases, split)
    held_out = [name for split in splits for name in split.validation]
    assert sorted(held_out) == [case.name for case in cases]
    counts = [
        len({case.patient for case in cases if case.name in split.validation}) for split in splits
    ]
    assert max(counts) - min(counts) <= 1


@given(patients, st.integers(0, 1000), st.floats(0.05, 0.95))
def test_a_share_of_the_patients_is_held_out(numbers: list[int], seed: int, share: float) -> None:
    cases = cases_of(numbers)
    split = held_out_split(cases, share, seed)
    assert_patients_apart(cases, split)
    assert split.train
    assert split.validation


@given(patients, st.integers(0, 1000), st.randoms())
def test_a_split_depends_on_patients_and_seed_alone(
    numbers: list[int], seed: int, random: object
) -> None:
    cases = cases_of(numbers)
    shuffled = list(cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert k_fold(cases, 2, seed) == k_fold(shuffled, 2, seed)
    assert held_out_split(cases, seed=seed) == held_out_split(shuffled, seed=seed)


def test_another_seed_gives_another_split() -> None:
    cases = cases_of(list(range(30)))
    assert len({held_out_split(cases, seed=seed) for seed in range(5)}) == 5


def test_too_many_folds_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 patients cannot be split into 3 folds"):
        k_fold(cases_of([1, 1, 2]), 3)
    with pytest.raises(TrainingError, match="1 folds"):
        k_fold(cases_of([1, 2]), 1)


def test_what_the_data_set_holds_out_is_held_out() -> None:
    cases = tuple(cases_of(list(range(10))))
    data = DataSet("x", ("background", "a"), "a", cases, held_out=("case003",))
    assert default_split(data).validation == ("case003",)
    drawn = default_split(DataSet("x", ("background", "a"), "a", cases))
    assert len(drawn.validation) == 2


def test_a_single_patient_is_trained_on() -> None:
    split = held_out_split(cases_of([1, 1]))
    assert split == Split(("case000", "case001"), ())


def test_splits_are_kept_and_read_again(tmp_path: Path) -> None:
    splits = k_fold(cases_of(list(range(7))), 3, seed=5)
    file = tmp_path / "run" / "splits.json"
    save_splits(file, splits, seed=5)
    assert load_splits(file) == splits
    first = file.read_text()
    save_splits(file, splits, seed=5)
    assert file.read_text() == first
    assert '"seed": 5' in first
    assert [entry.name for entry in file.parent.iterdir()] == ["splits.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds no splits"),
        ('{"format": 2, "splits": []}', "another format"),
        ('{"format": 1}', "holds no splits"),
        ('{"format": 1, "splits": [{"train": "ab", "validation": []}]}', "holds no splits"),
        ('{"format": 1, "splits": [{"train": ["a"], "validation": ["a"]}]}', "both sides"),
    ],
)
def test_damaged_splits_get_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(TrainingError, match=said):
        load_splits(tmp_path / "splits.json")


def test_splits_that_cannot_be_read_or_written_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        load_splits(tmp_path / "splits.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        save_splits(tmp_path / "file" / "splits.json", [])


def test_a_split_of_other_cases_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path)
    with pytest.raises(TrainingError, match="no case 'x'"):
        find_cases(tmp_path, Split(("x",), ()))
    train, validation = find_cases(tmp_path, Split(("P_0001-10",), ("P_0002-7",)))
    assert [case.name for case in (*train, *validation)] == ["P_0001-10", "P_0002-7"]


def test_slices_of_a_patient_stay_together(shared_data: Path) -> None:
    train, validation = find_cases(shared_data / "pancreas-ct-slices")
    assert not {case.patient for case in train} & {case.patient for case in validation}
    assert np.isclose(len({case.patient for case in validation}), 41 / 5, atol=1)
