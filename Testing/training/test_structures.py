"""The training of an editor that outlines whatever is clicked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.datasets.cases import CaseFiles, DataSet, LabelledCase
from AttentionUNetSegmentLib.datasets.layouts.btcv import BTCV_LABELS, tell_tumours_apart
from AttentionUNetSegmentLib.errors import InputError, ModelError, TrainingError
from AttentionUNetSegmentLib.models import (
    ANY_STRUCTURE,
    EDITOR,
    TARGET,
    Editor,
    Stage,
    load_model,
    read_card,
    save_model,
)
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training.editor import EditorTrainer, Scene
from AttentionUNetSegmentLib.training.finetuning import finetune_model
from AttentionUNetSegmentLib.training.finetuning_options import FinetuningOptions
from AttentionUNetSegmentLib.training.patches import Sample
from AttentionUNetSegmentLib.training.pipeline import train_model
from AttentionUNetSegmentLib.training.recipes import any_structure_options, editor_options
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from AttentionUNetSegmentLib.training.structures import (
    StructureSampler,
    StructureTrainer,
    coarsened,
    structure_places,
    tissue_alike,
)
from AttentionUNetSegmentLib.training.training_options import TrainingOptions
from small_cards import card_of
from small_cases import small_case, tiny_editor_options, tiny_options, write_case

LIVER, ORGAN, PART = 5, 8, 9


def case_with_part(name: str = "small") -> LabelledCase:
    """The small case, the upper half of whose organ is a part of it with a label of its own."""
    case = small_case()
    labels = case.labels.array.copy()
    k = np.flatnonzero((labels == ORGAN).any(axis=(1, 2)))
    upper = labels[k[len(k) // 2] :]
    upper[upper == ORGAN] = PART
    return replace(case, name=name, labels=case.labels.with_array(labels))


def structure_trainer(folder: Path, steps: int) -> StructureTrainer:
    options = any_structure_options(tiny_editor_options(steps))
    torch.manual_seed(0)
    refiner = build_network(tiny_options(1).network)
    case = case_with_part()
    return StructureTrainer(options, [case], [case], folder, refiner=refiner, parts={PART: ORGAN})


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> StructureTrainer:
    return structure_trainer(tmp_path_factory.mktemp("run"), 8)


def scenes(trainer: StructureTrainer, count: int) -> list[tuple[Sample, bool, Scene]]:
    """The first scenes of a run: what was drawn, whether at twice the voxel size, and the scene."""
    sampler = trainer.sampler
    assert isinstance(sampler, StructureSampler)
    made = []
    for step in range(count):
        sample, rng = sampler.patch(step, 0)
        scene = trainer.begin_scene(step, 0, sample, rng)
        made.append((sample, sampler.is_wide(step, 0), scene))
    return made


def test_scenes_are_of_structures_with_their_parts_and_mostly_from_nothing(
    trainer: StructureTrainer,
) -> None:
    livers = wholes = parts = empty = 0
    drawn = scenes(trainer, 60)
    for sample, wide, scene in drawn:
        labels = sample.labels[0].numpy()
        assert scene.truth.shape == labels.shape
        step = 2 if wide else 1
        assert np.allclose(scene.grid.spacing_mm, np.array(trainer.options.patch.spacing_mm) * step)
        livers += np.array_equal(scene.truth, labels == LIVER)
        wholes += np.array_equal(scene.truth, np.isin(labels, [ORGAN, PART]))
        parts += np.array_equal(scene.truth, labels == PART)
        empty += not scene.probability.any()
    assert min(livers, wholes, parts) > 5
    assert 60 * 0.4 < empty < 60 * 0.9
    assert 0 < sum(wide for _, wide, _ in drawn) < 30


def test_a_sample_at_twice_the_voxel_size_shows_the_same() -> None:
    image = torch.arange(4.0 * 4 * 4).reshape(1, 1, 4, 4, 4)
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    labels[:, 2:] = 3
    wide = coarsened(Sample(image, labels, (True,)))
    assert wide.image.shape == (1, 1, 2, 2, 2)
    assert float(wide.image[0, 0, 0, 0, 0]) == pytest.approx(float(image[0, 0, :2, :2, :2].mean()))
    assert wide.labels[0, :, 0, 0].tolist() == [0, 3]


def test_places_lie_in_their_structures(trainer: StructureTrainer) -> None:
    (source,) = trainer.sampler.sources["scan"]
    places = structure_places(source, np.random.default_rng(0))
    assert len(places) == 3
    labels, grid = source.case.labels.array, source.label_grid
    for label, positions in zip((LIVER, ORGAN, PART), places, strict=True):
        for position in positions:
            voxel = grid.voxel_of(position)
            assert voxel is not None
            assert labels[voxel] == label


def test_made_up_structures_are_connected_tissue_of_like_intensity() -> None:
    from scipy import ndimage

    scan = np.zeros((16, 20, 24), np.float32)
    scan[:, :, 12:] = 0.5
    for seed in range(10):
        made = tissue_alike(scan, (2.0, 2.0, 3.0), np.random.default_rng(seed))
        assert made.any()
        assert ndimage.label(made)[1] == 1
        assert not made[:, :, :10].any(), "the dark half is no tissue"
    assert tissue_alike(np.zeros_like(scan), (2.0, 2.0, 3.0), np.random.default_rng(0)).any()


def test_it_learns_and_is_judged_by_every_structure(tmp_path: Path) -> None:
    trainer = structure_trainer(tmp_path, 12)
    trainer.run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    validations = [line for line in log if "validation_dice_by_clicks" in line]
    assert validations[-1]["validation_dice_by_clicks"][0] == 0, "each begins from nothing"
    assert set(validations[-1]["validation_dice_after_one_click"]) == {
        str(label) for label in (LIVER, ORGAN, PART)
    }
    assert all("loss" not in line or np.isfinite(line["loss"]) for line in log)


def test_a_run_of_the_target_alone_is_another_run(tmp_path: Path) -> None:
    def train(options: StageOptions, folder: Path) -> None:
        refiner = build_network(tiny_options(1).network)
        EditorTrainer(options, [case_with_part()], [], folder, refiner=refiner)

    structure_trainer(tmp_path / "any", 2).run()
    with pytest.raises(TrainingError, match=r"holds a run with other options \(.*any_structure"):
        train(tiny_editor_options(2), tmp_path / "any")
    # A run of before there was a choice goes on.
    train(tiny_editor_options(2), tmp_path / "older")
    file = tmp_path / "older" / "options.json"
    kept = json.loads(file.read_text())
    del kept["any_structure"]
    file.write_text(json.dumps(kept))
    train(tiny_editor_options(2), tmp_path / "older")


def test_tumours_are_told_apart_where_the_data_set_has_them() -> None:
    files = (
        CaseFiles("case0001", Path("a"), Path("b")),
        CaseFiles("panorama001", Path("a"), Path("b"), "region", False, {1: 8, 2: 8}),
    )
    found = DataSet("btcv", BTCV_LABELS, "pancreas", files)
    apart = tell_tumours_apart(found)
    assert apart.labels == (*BTCV_LABELS, "tumour")
    assert apart.part_of == {"tumour": "pancreas"}
    assert [case.label_map for case in apart.cases] == [None, {1: 8, 2: 9}]
    other = replace(found, layout="lits")
    assert tell_tumours_apart(other) is other


@pytest.fixture
def model_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model that knows nothing, two cases, and a recipe that is small enough for them."""
    data = tmp_path / "data"
    for number, name in enumerate(("case0005", "case0010")):
        case = small_case()
        ct = case.ct.with_array(case.ct.array + np.int16(number))
        write_case(data, name, replace(case, ct=ct))

    def small(budget: Budget, refiner: Stage, seed: int = 0) -> StageOptions:
        made = editor_options(budget, refiner, seed)
        return replace(made, patch=replace(made.patch, size=(32, 32, 16)))

    monkeypatch.setattr("AttentionUNetSegmentLib.training.pipeline.editor_options", small)
    network = {**tiny_options(1).network, "out_channels": 2, "channels": [4, 4]}
    figures = {"validation": {"clicks": {"0": {"mean": 1}, "3": {"mean": 2}}}}
    torch.manual_seed(0)
    card = replace(card_of(refiner=network), figures=figures)
    save_model(tmp_path / "before", card, {"refiner": build_network(network)})
    return tmp_path / "before", data


def test_a_model_is_given_one_and_its_clicks_stay_the_refiners(
    model_and_data: tuple[Path, Path], tmp_path: Path
) -> None:
    before, data = model_and_data
    settings = {"stage": "editor", "any_structure": True, "synthetic": 0, "device": "cpu"}
    folder = train_model(data, tmp_path / "run", steps=4, start_from=str(before), **settings)
    card = read_card(folder)
    assert card.editor is not None
    assert card.editor.answers == (ANY_STRUCTURE,)
    assert card.figures == read_card(before).figures, "no click at the target is answered by it"
    # The one for the target is another: it begins anew, from the refiner.
    learnt = load_model(folder).networks[EDITOR].state_dict()
    choices = {"steps": 1, "start_from": str(folder), **settings, "any_structure": False}
    other = load_model(train_model(data, tmp_path / "other", **choices))
    assert other.card.editor is not None
    assert other.card.editor.answers == (TARGET,)
    name = next(iter(learnt))
    assert not torch.equal(learnt[name], other.networks[EDITOR].state_dict()[name])


def test_what_cannot_be_trained_gets_a_sentence(
    model_and_data: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="give --stage editor too"):
        TrainingOptions(steps=1, any_structure=True)
    before, data = model_and_data
    model = load_model(before)
    network = {**model.card.stages["refiner"].network, "in_channels": EDITOR_CHANNELS}
    editor = Editor(network, answers=(ANY_STRUCTURE,))
    folder = tmp_path / "with"
    save_model(
        folder,
        replace(model.card, editor=editor, weights=None),
        {**model.networks, EDITOR: build_network(network)},
    )
    with pytest.raises(ModelError, match="answers clicks at any structure, not at the"):
        finetune_model(str(folder), data, tmp_path / "out", FinetuningOptions(stage="editor"))
