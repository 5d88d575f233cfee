"""Fat as a kind of background: what it is in a scan, and that a model answers without it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.models import Stage, load_model
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training.choices import Choices
from AttentionUNetSegmentLib.training.editor import editor_weights
from AttentionUNetSegmentLib.training.fat import FatTrainer, with_background_classes, with_fat
from AttentionUNetSegmentLib.training.recipes import (
    editor_options,
    locator_options,
    refiner_options,
)
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from data_set_makers import write_slices
from small_cases import small_case, tiny_options, write_case

FAT = 9
CASES = [small_case("scan"), small_case("region")]


def fat_options(steps: int) -> StageOptions:
    return Choices(fat=True).applied_to(tiny_options(steps))


def test_fat_is_between_air_and_organs_and_none_of_either() -> None:
    hu = np.full((20, 40, 40), -1000, np.int16)
    hu[:, 5:35, 5:35] = -90
    hu[5:15, 15:25, 15:25] = 100
    labels = np.zeros(hu.shape, np.uint8)
    labels[5:15, 15:25, 15:20] = PANCREAS
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    case = dataclasses.replace(small_case(), ct=Volume(hu, matrix), labels=Volume(labels, matrix))
    made = with_fat(case, FAT).labels.array
    assert (made[labels == PANCREAS] == PANCREAS).all()
    assert not (made[hu != -90] == FAT).any()
    assert (made[10, 10, 10:30] == FAT).all()
    region = dataclasses.replace(case, kind="region", organs_known=False)
    assert with_fat(region, FAT) is region


@pytest.fixture
def trainer(tmp_path: Path) -> FatTrainer:
    return FatTrainer(fat_options(3), CASES, [small_case()], tmp_path / "run")


def test_fat_is_learnt_and_the_answer_is_of_the_labels(trainer: FatTrainer) -> None:
    """A batch's labels have it, the loss sees its output, the averaged network answers without."""
    batches = [trainer.sampler.batch(step) for step in range(6)]
    for batch in batches:
        # In a region nobody knows what else there is.
        assert (batch.patches.labels == FAT).any() == batch.patches.organs_known[0]
    assert {batch.patches.organs_known[0] for batch in batches} == {True, False}
    before = trainer.state.network.head.weight[FAT].clone()
    network = trainer.run()
    assert not torch.equal(trainer.state.network.head.weight[FAT], before)
    image = torch.rand((1, 3, 16, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert network(image).shape[1] == FAT
        assert trainer.state.network(image).shape[1] == FAT + 1


def test_it_goes_on_from_weights_without_it_with_the_same_answers(tmp_path: Path) -> None:
    plain = build_network(tiny_options(1).network).eval()
    options = fat_options(1)
    further = FatTrainer(
        options,
        CASES,
        [],
        tmp_path,
        initial_weights=with_background_classes(plain, options.network),
    )
    image = torch.rand((1, 3, 16, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, ours = plain(image, return_deep=True), further.state.average(image, False, True)
    for theirs, mine in zip(
        (expected.logits, *expected.deep), (ours.logits, *ours.deep), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    # And from weights that have it.
    again = with_background_classes(further.state.average, options.network)
    for name, value in further.state.average.state_dict().items():
        assert torch.equal(again[name], value)


def test_an_editor_begins_with_both_kinds_of_background() -> None:
    refiner = build_network(fat_options(1).network).eval()
    stage = Stage(fat_options(1).network, (2.0, 2.0, 3.0))
    options = editor_options(Budget(steps=1), stage)
    editor = build_network(options.network).eval()
    editor.load_state_dict(editor_weights(options.network, refiner, PANCREAS))
    seen = torch.rand((1, 3, 16, 32, 32), generator=torch.Generator().manual_seed(0))
    blank = seen.new_zeros((1, EDITOR_CHANNELS - 3, 16, 32, 32))
    with torch.no_grad():
        logits = refiner(seen)
        says = editor(torch.cat((seen, blank), dim=1)).softmax(dim=1)[:, 1]
    refiner.set_background_apart(True)
    with torch.no_grad():
        apart = refiner(seen)[:, [0, PANCREAS, FAT]].softmax(dim=1)[:, 1]
    assert logits.shape[1] == FAT
    torch.testing.assert_close(says, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [(refiner_options(Budget(steps=1)), 2), (locator_options(Budget(steps=1)), 1)],
)
def test_the_option_is_the_refiners(options: StageOptions, expected: int) -> None:
    network = Choices(fat=True).applied_to(options).network
    assert network.get("background_classes", 1) == expected


def write_data(folder: Path) -> Path:
    for number in (1, 2, 3):
        case = small_case()
        case = dataclasses.replace(case, ct=case.ct.with_array(case.ct.array + np.int16(number)))
        write_case(folder, f"case000{number}", case)
    return folder


def train(data: Path, run: Path, *options: str) -> int:
    command = [
        *("train", str(data), "-o", str(run), "--steps", "2", "--stage", "refiner"),
        *("--channels", "4,4,4,4,4", "--patch", "32,32,16"),
        *("--synthetic", "0", "--device", "cpu", *options),
    ]
    return main(command)


def test_the_command_trains_with_it_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run does as the model that it starts from, and may begin with it."""
    data = write_data(tmp_path / "data")
    assert train(data, tmp_path / "plain") == 0
    start = str(tmp_path / "plain" / "model")
    assert train(data, tmp_path / "without", "--from", start, "--no-fat") == 0
    assert train(data, tmp_path / "fat", "--from", start, "--fat") == 0
    model = load_model(tmp_path / "fat" / "model")
    assert model.networks["refiner"].config.out_channels == len(model.card.labels) == FAT
    assert model.networks["refiner"].config.background_classes == 2
    start = str(tmp_path / "fat" / "model")
    assert train(data, tmp_path / "further", "--from", start) == 0
    model = load_model(tmp_path / "further" / "model")
    assert model.networks["refiner"].config.background_classes == 2
    capsys.readouterr()
    assert train(data, tmp_path / "back", "--from", start, "--no-fat") == 2
    assert "has another refiner than is to be trained" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_pictures_without_hounsfield_units_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slices(tmp_path / "data")
    command = ["train", str(tmp_path / "data"), "-o", str(tmp_path / "run"), "--fat"]
    assert main([*command, "--steps", "2", "--device", "cpu"]) == 2
    assert "Fat is told by its Hounsfield units" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
