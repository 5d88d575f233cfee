"""The editor: what it is shown of a click, what its answer changes, and how it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import InputError, ModelError
from AttentionUNetSegmentLib.geometry.grid import Grid
from AttentionUNetSegmentLib.inference import editing
from AttentionUNetSegmentLib.inference.click_maps import click_channels
from AttentionUNetSegmentLib.inference.clicks import Click
from AttentionUNetSegmentLib.inference.predictor import Predictor
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import (
    ANY_STRUCTURE,
    TARGET,
    Editor,
    Model,
    ModelCard,
    Stage,
    WeightsFile,
    load_model,
    save_model,
)
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.networks import build_network
from AttentionUNetSegmentLib.training import mistakes
from AttentionUNetSegmentLib.training.choices import Choices
from AttentionUNetSegmentLib.training.editor import (
    SCENE_CLICKS,
    SCENES_IN_TURN,
    VALIDATION_CLICKS,
    EditorTrainer,
    editor_weights,
    scene_place,
)
from AttentionUNetSegmentLib.training.pipeline import train_model
from AttentionUNetSegmentLib.training.recipes import editor_options
from AttentionUNetSegmentLib.training.schedule import Budget
from AttentionUNetSegmentLib.training.stage_options import StageOptions
from small_cards import card_of
from small_cases import small_case, tiny_editor_options, tiny_options, write_case
from threshold_model import BRIGHT_HU, axial_scan, threshold_model

SPACING = (2.0, 2.0, 3.0)
GRID = Grid((16, 20, 24), np.diag([*SPACING, 1.0]))


def click_at(k: int, j: int, i: int, inside: bool) -> Click:
    r, a, s = GRID.position_of((i, j, k))
    return Click((float(r), float(a), float(s)), inside)


def box_mask(k: slice, j: slice, i: slice) -> torch.Tensor:
    mask = torch.zeros((1, 1, *GRID.shape), dtype=torch.bool)
    mask[0, 0, k, j, i] = True
    return mask


def test_a_window_lies_around_its_click_and_may_lie_beyond_the_grid() -> None:
    window = editing.editor_window(click_at(3, 10, 12, True), GRID)
    assert [part.stop - part.start for part in window] == list(editing.WINDOW)
    starts = [part.start for part in window]
    assert np.add(starts, np.array(editing.WINDOW) // 2).tolist() == [3, 10, 12]


@pytest.mark.parametrize("corner", [(0, 0, 0), (15, 19, 23), (8, 10, 12)])
def test_what_is_cut_out_and_pasted_back_is_where_it_was(corner: tuple[int, int, int]) -> None:
    values = torch.rand(1, 2, *GRID.shape)
    window = editing.editor_window(click_at(*corner, True), GRID)
    cut = editing.cut_window(values, window)
    assert cut.shape[2:] == editing.WINDOW
    assert cut.sum() == pytest.approx(float(values.sum()))  # the grid is smaller than the window
    assert torch.equal(editing.paste_window(torch.zeros_like(values), window, cut), values)


def test_the_editor_is_shown_scan_and_clicks_as_the_refiner_is_and_then_the_mask() -> None:
    probability = torch.rand(1, 1, *GRID.shape).clamp(0.01, 0.99)
    scan, mask = torch.rand(1, 1, *GRID.shape), probability > 0.5
    clicks = [click_at(4, 4, 4, True), click_at(9, 9, 9, False)]
    shown = editing.editor_inputs(scan, probability, mask, clicks, GRID)
    assert shown.shape == (1, EDITOR_CHANNELS, *GRID.shape)
    assert torch.equal(shown[:, :1], scan)
    assert torch.equal(shown[:, 1:3], click_channels(clicks, GRID, scan.device))
    assert torch.equal(shown[:, 3] > 0, mask[:, 0])
    assert torch.equal(shown[:, 4] > 0.5, mask[:, 0])
    assert torch.equal(shown[:, 5] > 0.5, mask[:, 0])  # which a click outside could take away
    assert shown[0, 6].argmin() == shown[0, 7].argmin() == shown[0, 2].argmax()
    inside = editing.editor_inputs(scan, probability, mask, clicks[:1], GRID)
    assert torch.equal(inside[:, 5] > 0.5, ~mask[:, 0])
    assert inside[0, 6:].min() >= 0


@pytest.mark.parametrize("inside", [True, False])
def test_only_the_piece_that_is_clicked_at_changes_and_only_to_its_side(inside: bool) -> None:
    mask = box_mask(slice(4, 12), slice(5, 15), slice(6, 18))
    probability = torch.where(mask, 0.9, 0.1)
    piece = (
        box_mask(slice(4, 12), slice(5, 15), slice(18, 21))
        if inside
        else box_mask(slice(4, 12), slice(5, 15), slice(6, 9))
    )
    elsewhere = box_mask(slice(0, 2), slice(0, 2), slice(0, 2))
    if not inside:
        elsewhere = box_mask(slice(4, 6), slice(5, 7), slice(16, 18))
    answer = torch.where(piece | elsewhere, 0.8, 0.2)
    answer = torch.where(mask == inside, 0.99, answer)  # what the click cannot change
    answer = answer if inside else 1 - answer
    click = click_at(8, 10, 19 if inside else 7, inside)
    after = editing.apply_edit(probability, mask, answer, click, GRID)
    assert torch.equal((after > 0.5) != mask, piece)
    changed = after != probability
    assert not (changed & (mask == inside)).any()
    assert ((after >= probability) if inside else (after <= probability)).all()


def test_a_click_that_the_editor_does_not_follow_is_obeyed_all_the_same() -> None:
    mask = box_mask(slice(4, 12), slice(5, 15), slice(6, 18))
    probability = torch.where(mask, 0.9, 0.1)
    click = click_at(8, 10, 20, True)
    nothing = torch.zeros_like(probability)  # is the organ, as far as the editor sees
    after = editing.apply_edit(probability, mask, nothing, click, GRID)
    assert torch.equal(after, probability)
    obeyed = editing.obey(after, torch.full_like(probability, 0.5), click, GRID)
    assert obeyed[0, 0, 8, 10, 20] > 0.5
    assert (obeyed >= probability).all()


def test_mistakes_change_a_mask_and_are_the_same_for_the_same_seed() -> None:
    mask = box_mask(slice(4, 12), slice(5, 15), slice(6, 18))[0, 0].numpy()
    scan = np.random.default_rng(0).random(GRID.shape).astype(np.float32)
    spoilt = [mistakes.spoil(mask, scan, SPACING, np.random.default_rng(n)) for n in range(20)]
    again = [mistakes.spoil(mask, scan, SPACING, np.random.default_rng(n)) for n in range(20)]
    assert all(np.array_equal(one, other) for one, other in zip(spoilt, again, strict=True))
    assert sum((one & ~mask).sum() > 0 for one in spoilt) >= 5
    assert sum((mask & ~one).sum() > 0 for one in spoilt) >= 5
    steps = np.array(SPACING)[::-1]
    cut = mistakes.cut_off(mask, steps, np.random.default_rng(1))
    assert not (cut & ~mask).any()
    assert cut.sum() < mask.sum()
    leaking = mistakes.leak(mask, scan, steps, np.random.default_rng(1))
    assert not (mask & ~leaking).any()
    assert not mistakes.spoil(np.zeros_like(mask), scan, SPACING, np.random.default_rng(3)).all()


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_scenes_take_turns(batch_size: int) -> None:
    groups = max(SCENES_IN_TURN // batch_size, 1)
    clicks: dict[int, list[int]] = {}
    for step in range(3 * groups * SCENE_CLICKS):
        first, click = scene_place(step, batch_size)
        clicks.setdefault(first, []).append(click)
    assert len(clicks) == 3 * groups
    assert all(one == list(range(SCENE_CLICKS)) for one in clicks.values())


# Training


@pytest.fixture(scope="module")
def refiner() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(tiny_options(1).network)


def editor_trainer(folder: Path, refiner: torch.nn.Module, steps: int) -> EditorTrainer:
    options = tiny_editor_options(steps, checkpoint_every_s=0.0)
    cases = [small_case("scan"), small_case("region")]
    return EditorTrainer(options, cases, [small_case()], folder, refiner=refiner)


class Killed(BaseException):
    """Stands for the process's end at any point."""


def test_a_killed_run_goes_on_exactly(
    tmp_path: Path, refiner: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scene that was being mended is begun anew, from a state that holds no part of it."""
    monkeypatch.setattr("AttentionUNetSegmentLib.training.editor.SCENE_CLICKS", 2)
    round_ = SCENES_IN_TURN * 2
    whole = editor_trainer(tmp_path / "whole", refiner, round_ + 4).run().state_dict()
    learn = EditorTrainer.train_step

    def die(self: EditorTrainer, *args: Any) -> dict[str, Any]:
        if self.state.step == round_ + 2:
            raise Killed
        return learn(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(EditorTrainer, "train_step", die)
        with pytest.raises(Killed):
            editor_trainer(tmp_path / "killed", refiner, round_ + 4).run()
    resumed = editor_trainer(tmp_path / "killed", refiner, round_ + 4)
    assert resumed.state.step == round_
    for name, value in resumed.run().state_dict().items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0, msg=name)


def test_it_learns_and_logs_dice_after_each_click(tmp_path: Path, refiner: torch.nn.Module) -> None:
    trainer = editor_trainer(tmp_path, refiner, 24)
    before = {name: value.clone() for name, value in refiner.state_dict().items()}
    trainer.run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0]
    (validation,) = (line for line in log if "validation_dice_by_clicks" in line)
    curve = validation["validation_dice_by_clicks"]
    assert len(curve) == VALIDATION_CLICKS + 1
    assert validation["validation_dice"] == {"small": curve[-1]}
    assert all(torch.equal(value, before[name]) for name, value in refiner.state_dict().items())


@pytest.mark.parametrize("inside", [True, False])
def test_what_the_network_should_answer_mends_the_piece_that_is_wrong(
    tmp_path: Path, refiner: torch.nn.Module, inside: bool
) -> None:
    trainer = editor_trainer(tmp_path, refiner, 8)
    scene = trainer.make_scene(0, trainer.validation_cases[0].patches)
    mask = np.zeros_like(scene.truth) if inside else scene.known & True
    scene.begin_from(mask)
    (piece, missing), *_ = scene.mistakes()
    assert missing == inside
    assert (scene.truth[piece] == inside).all()
    voxel = tuple(np.argwhere(piece)[0])
    r, a, s = scene.grid.position_of(np.array(voxel[::-1]))
    click = Click((float(r), float(a), float(s)), inside)
    _, labels = scene.ask(piece, click)
    window = editing.editor_window(click, scene.grid)
    wanted = editing.cut_window(torch.from_numpy(piece), window)
    assert torch.equal(labels[0] == int(inside), wanted)
    right = torch.from_numpy((scene.truth != inside) & scene.known)
    assert torch.equal(labels[0] == int(not inside), editing.cut_window(right, window))
    # Answered as it should be, the piece is mended and nothing else.
    scene.change((labels == 1).float()[None] * 0.8 + 0.1)
    inner = editing.paste_window(torch.zeros(scene.truth.shape, dtype=torch.bool), window, wanted)
    assert np.array_equal(scene.mask[0, 0].numpy() != mask, inner.numpy())


@pytest.mark.parametrize("name", ["FCN", "UNet", "ResUNet", "AttentionUNet"])
def test_an_editor_starts_as_the_refiner_that_it_is_beside(name: str) -> None:
    torch.manual_seed(1)
    network = {**tiny_options(1).network, "name": name, "out_channels": 4}
    if name == "FCN":
        network |= {"deep_supervision": False, "channels": [4, 4, 4, 4]}
    theirs = build_network(network).eval()
    stage = Stage(network, SPACING)
    ours = editor_options(Budget(steps=1), stage).network
    editor = build_network(ours).eval()
    editor.load_state_dict(editor_weights(ours, theirs, target=2))
    shown = torch.rand(1, EDITOR_CHANNELS, 16, 16, 16)
    with torch.no_grad():
        wanted = theirs(shown[:, :3])[:, [0, 2]]
        torch.testing.assert_close(editor(shown), wanted, rtol=1e-4, atol=1e-5)


def test_cases_that_the_refiner_never_saw_are_drawn_more_often(
    tmp_path: Path, refiner: torch.nn.Module
) -> None:
    cases = [replace(small_case(), name=name) for name in ("known", "new")]
    options = editor_trainer(tmp_path / "first", refiner, 1).options
    trainer = EditorTrainer(
        options, cases, [], tmp_path / "run", refiner=refiner, refiner_cases=["known"]
    )
    rng = np.random.default_rng(0)
    drawn = [trainer.sampler.choose_source("scan", rng).case.name for _ in range(400)]
    assert drawn.count("new") == pytest.approx(300, abs=30)


@pytest.fixture
def model_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model that knows nothing, two cases, and a recipe that is small enough for them."""
    data = tmp_path / "data"
    write_case(data, "case0005", small_case())
    other = small_case()
    other = replace(other, ct=other.ct.with_array(other.ct.array + np.int16(1)))
    write_case(data, "case0010", other)

    def small(budget: Budget, refiner: Stage, seed: int = 0) -> StageOptions:
        made = editor_options(budget, refiner, seed)
        return replace(made, patch=replace(made.patch, size=(32, 32, 16)))

    monkeypatch.setattr("AttentionUNetSegmentLib.training.pipeline.editor_options", small)
    network = {**tiny_options(1).network, "out_channels": 2, "channels": [4, 4]}
    figures = {"validation": {"clicks": {"0": {"mean": 1}, "3": {"mean": 2}}}}
    card = replace(card_of(refiner=network), version="1.2.0", figures=figures)
    torch.manual_seed(0)
    save_model(tmp_path / "before", card, {"refiner": build_network(network)})
    return tmp_path / "before", data


def test_a_model_is_given_an_editor_and_keeps_its_other_weights(
    model_and_data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, data = model_and_data
    options: dict[str, Any] = {"stage": "editor", "synthetic": 0, "device": "cpu"}
    folder = train_model(data, tmp_path / "run", steps=9, start_from=str(before), **options)
    model = load_model(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "editor.safetensors",
        "model.json",
        "weights.safetensors",
    ]
    card, old = model.card, load_model(before).card
    assert card.weights == old.weights
    assert card.editor is not None
    assert card.editor.weights is not None
    assert card.editor.training["done"]["editor"]["steps"] == 9
    assert card.version == "1.3.0"
    # The model's own value of the pancreas, which is BTCV's eighth organ.
    assert card.editor.training["recipe"]["editor"]["target_label"] == 1
    assert card.figures == {"validation": {"clicks": {"0": {"mean": 1}}}}

    assert main(["models", "show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert card.editor.sha256 in shown
    assert "answers clicks at the pancreas, " in shown

    # It starts from there the next time.
    again = load_model(
        train_model(
            data,
            tmp_path / "again",
            steps=1,
            start_from=str(folder),
            choices=Choices(learning_rate=1e-12, final_learning_rate=0.0),
            **options,
        )
    )
    for name, value in model.networks["editor"].state_dict().items():
        assert torch.equal(value, again.networks["editor"].state_dict()[name])


def test_wrong_starts_get_a_sentence(model_and_data: tuple[Path, Path], tmp_path: Path) -> None:
    before, data = model_and_data
    with pytest.raises(InputError, match="name it with --from"):
        train_model(data, tmp_path / "run", steps=1, stage="editor", synthetic=0)
    with pytest.raises(InputError, match="target is spleen"):
        train_model(
            data, tmp_path / "run", steps=1, stage="editor", start_from=str(before), target="spleen"
        )
    assert not (tmp_path / "run").exists()


# The model's folder


def test_a_card_refuses_an_editor_that_does_not_fit() -> None:
    network = dict(tiny_options(1).network)
    card = threshold_model().card
    fitting = {**network, "in_channels": EDITOR_CHANNELS, "out_channels": 2}
    for wrong in ({"out_channels": 3}, {"in_channels": 9}, {"dimensions": 2}):
        with pytest.raises(ModelError, match="3 dimensions, 8 input and 2 output channels"):
            Editor({**fitting, **wrong})
    flat = {**card.stages["refiner"].network, "dimensions": 2}
    with pytest.raises(ModelError, match="needs a refiner in 3D"):
        replace(card, stages={"refiner": Stage(flat, SPACING)}, editor=Editor(fitting))


def test_a_card_says_what_an_editor_answers() -> None:
    network = {**tiny_options(1).network, "in_channels": EDITOR_CHANNELS, "out_channels": 2}
    file = WeightsFile("editor.safetensors", "0" * 64, 1)
    card = replace(threshold_model().card, weights=file)
    for answers in ((TARGET,), (ANY_STRUCTURE,), (TARGET, ANY_STRUCTURE)):
        written = replace(card, editor=Editor(network, weights=file, answers=answers)).to_json()
        assert ("answers" in written) == (answers != (TARGET,)), "older versions read the first"
        read = ModelCard.from_json(written).editor
        assert read is not None
        assert read.answers == answers
    for wrong in ((), ("liver",), (TARGET, TARGET)):
        with pytest.raises(ModelError, match="what the editor answers must be"):
            Editor(network, answers=wrong)


def test_an_editor_that_was_altered_is_refused(
    model_and_data: tuple[Path, Path], tmp_path: Path
) -> None:
    before, data = model_and_data
    folder = train_model(
        data,
        tmp_path / "run",
        steps=1,
        stage="editor",
        start_from=str(before),
        synthetic=0,
        device="cpu",
    )
    file = folder / "editor.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"editor\.safetensors.*is not the file"):
        load_model(folder)
    file.unlink()
    with pytest.raises(ModelError, match=r"no file.*editor\.safetensors"):
        load_model(folder)
    # Written over, the folder is whole again.
    model = load_model(before)
    save_model(folder, model.card, model.networks)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]


# In a session


class MendsTowards(torch.nn.Module):
    """An editor that is right: what is bright is the organ."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        organ = inputs[:, 0] > 0.6875
        return torch.stack((~organ, organ), dim=1).float() * 10


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    model = threshold_model()
    network = model.card.stages["refiner"].network
    editor = Editor({**network, "in_channels": EDITOR_CHANNELS, "out_channels": 2})
    card = replace(model.card, editor=editor)
    return Predictor(Model(card, {**model.networks, "editor": MendsTowards()}, Path()))


def test_clicks_are_answered_by_the_editor_alone(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = axial_scan((3.0, 3.0, 4.0))[0]
    organ = scan.array == BRIGHT_HU
    start = organ.copy()
    i = np.flatnonzero(organ.any(axis=(0, 1)))
    start[:, :, i[len(i) * 3 // 4] :] = False
    session = Session(predictor, scan, start=start)
    first = session.predict().mask.copy()
    assert np.array_equal(first != 0, start)
    monkeypatch.setattr(Predictor, "run_refiner", None)  # would fail if it were run again
    missing = np.argwhere(organ & ~start)
    k, j, i_ = missing[len(missing) // 2]
    place = scan.grid.position_of((i_, j, k))
    update = session.add_click(place, inside=True)
    gained = (update.mask != 0) & ~start
    assert (gained & organ).sum() > 0.8 * (organ & ~start).sum()
    assert not ((first != 0) & (update.mask == 0)).any()
    assert np.array_equal(session.undo().mask, first)
    # Outside the scan's looked-at part there is no editor; inside the mask a click takes away.
    k, j, i_ = np.argwhere(start).mean(axis=0).round().astype(int)
    update = session.add_click(scan.grid.position_of((i_, j, k)), inside=False)
    assert update.mask[k, j, i_] == 0
    assert not ((first == 0) & (update.mask != 0)).any()


def test_the_editor_mends_each_piece_that_a_line_passes(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = axial_scan((3.0, 3.0, 4.0))[0]
    organ = scan.array == BRIGHT_HU
    k, j, i = np.argwhere(organ).mean(axis=0).round().astype(int)
    start = organ.copy()
    for slab in (np.s_[:, :, i - 7 : i - 4], np.s_[:, :, i + 4 : i + 7]):
        start[slab] = False
    session = Session(predictor, scan, start=start)
    session.predict()
    monkeypatch.setattr(Predictor, "run_refiner", None)  # would fail if it were run again
    asked = []
    run_editor = Predictor.run_editor
    monkeypatch.setattr(
        Predictor, "run_editor", lambda *given: asked.append(1) or run_editor(*given)
    )
    ends = [scan.grid.position_of((i + step, j, k)) for step in (-9, 9)]
    mask = session.add_scribble(ends, inside=True).mask != 0
    assert not (start & ~mask).any()
    assert (mask & organ & ~start).sum() > 0.8 * (organ & ~start).sum()
    assert 2 <= len(asked) <= 4
    assert np.array_equal(session.undo().mask != 0, start)


def test_a_click_where_the_refiner_has_not_looked_is_answered_by_the_refiner(
    predictor: Predictor,
) -> None:
    scan = axial_scan((3.0, 3.0, 4.0))[0]
    session = Session(predictor, scan)
    session.predict()
    corner = scan.grid.position_of((1, 1, 1))
    update = session.add_click(corner, inside=True)
    assert update.mask[1, 1, 1] == 1
