"""A network from outside: it becomes a model, is found by its name, and segments."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import panel_driver
import pytest
import SimpleITK as sitk
import torch
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import ModelError, OutputError
from AttentionUNetSegmentLib.geometry.resampling import sample_scan
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume, slicewise
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.inference.slicewise import Slicewise
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.models.importing import import_network
from AttentionUNetSegmentLib.networks import build_network
from data_set_makers import write_image
from safetensors.torch import save_file
from threshold_model import (
    BRIGHT_HU,
    BrightIsOrgan,
    assert_organ_found,
    axial_scan,
    threshold_model,
)

CONFIG: dict[str, Any] = {
    "name": "AttentionUNet",
    "dimensions": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 8],
    "norm": "instance",
    "gate": "multi-head",
    "heads": 2,
}
CARD: dict[str, Any] = {
    "name": "liver-and-tumour",
    "title": "Liver and tumour",
    "labels": ["background", "liver", "tumour"],
    "spacing_mm": [1.5, 1.5, 2.0],
    "intensity_window_hu": [-100, 200],
    "licence": "CC0",
}
OPTIONS = [
    *("--name", "liver-and-tumour", "--title", "Liver", "--licence", "CC0"),
    *("--labels", "background,liver,tumour", "--spacing", "1.5,1.5,2", "--window=-100,200"),
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A config and weights, in single precision as they come out of training."""
    return write(tmp_path, CONFIG)


def write(folder: Path, config: dict[str, Any]) -> tuple[Path, Path]:
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    network = build_network(config)
    save_file(network.state_dict(), str(folder / "weights.safetensors"))
    return folder / "config.json", folder / "weights.safetensors"


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's own models, not there yet."""
    monkeypatch.setenv(models.USER_MODELS_VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


# --- the model ----------------------------------------------------------------------------------


def test_config_and_weights_become_a_model(files: tuple[Path, Path], tmp_path: Path) -> None:
    card = import_network(*files, tmp_path / "model", **CARD)
    model = models.load_model(tmp_path / "model")
    assert model.card == card
    assert set(model.networks) == {"refiner"}
    assert card.target == "liver"
    assert card.stages["refiner"].spacing_mm == (1.5, 1.5, 2.0)
    assert card.intensity_window_hu == (-100, 200)
    liver = card.labels[1]
    assert liver.terminology is not None
    assert liver.terminology.type == ("SCT", "10200004", "Liver")
    torch.manual_seed(3)
    network = build_network(CONFIG).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        expected, answer = network(image), model.networks["refiner"](image)
    torch.testing.assert_close(answer, expected, atol=0.02, rtol=0.02)  # half precision


def test_a_network_may_be_larger_than_what_the_extension_ships(tmp_path: Path) -> None:
    config = {**CONFIG, "dimensions": 2, "channels": [64, 128, 256, 512], "heads": 4}
    import_network(*write(tmp_path, config), tmp_path / "model", **CARD)
    size = (tmp_path / "model" / "weights.safetensors").stat().st_size
    assert size > 12_000_000
    models.load_model(tmp_path / "model")


def changed(files: tuple[Path, Path], **entries: Any) -> tuple[Path, Path]:
    files[0].write_text(json.dumps({**CONFIG, **entries}))
    return files


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"channels": [4, 8, 16]}, "are not those of the config"),
        ({"norm": "batch"}, "are not those of the config"),
        ({"out_channels": 2}, "has 2 output channels, but there are 3 labels"),
        ({"in_channels": 2}, "1 or 3 input channels"),
        ({"channels": [4] * 6}, "at most 5 levels"),
        ({"colour": 3}, "unknown key"),
        ({"name": "Transformer"}, "must be one of"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    files: tuple[Path, Path], tmp_path: Path, entries: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        import_network(*changed(files, **entries), tmp_path / "model", **CARD)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"name": "a b"}, "name must be"),
        ({"labels": ["background", "liver"]}, "3 output channels"),
        ({"labels": ["background", "liver", "liver"]}, "different names"),
        ({"target": "spleen"}, "target"),
        ({"spacing_mm": [0, 1, 1]}, "spacing_mm"),
        ({"intensity_window_hu": [200, -100]}, "lower end first"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    files: tuple[Path, Path], tmp_path: Path, entries: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        import_network(*files, tmp_path / "model", **CARD | entries)
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_is_never_loaded(files: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save(build_network(CONFIG).state_dict(), files[1])
    with pytest.raises(ModelError, match=r"is a pickle .*save_file"):
        import_network(*files, tmp_path / "model", **CARD)
    files[1].write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not a valid safetensors file"):
        import_network(*files, tmp_path / "model", **CARD)
    files[1].unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        import_network(*files, tmp_path / "model", **CARD)
    files[0].write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        import_network(*files, tmp_path / "model", **CARD)


def test_weights_that_are_no_numbers_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    weights = build_network(CONFIG).state_dict()
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, str(files[1]))
    with pytest.raises(ModelError, match="NaN"):
        import_network(*files, tmp_path / "model", **CARD)


def test_a_model_is_replaced_only_on_demand(files: tuple[Path, Path], tmp_path: Path) -> None:
    import_network(*files, tmp_path / "model", **CARD)
    with pytest.raises(OutputError, match="There is a model"):
        import_network(*files, tmp_path / "model", **CARD)
    card = import_network(*files, tmp_path / "model", **CARD, version="2", replace=True)
    assert models.read_card(tmp_path / "model") == card


# --- one stage ----------------------------------------------------------------------------------


def one_stage(in_channels: int = 1) -> Predictor:
    """The model of a known answer, without its locator."""
    model = threshold_model()
    stage = model.card.stages["refiner"]
    network = {**stage.network, "in_channels": in_channels}
    stages = {"refiner": models.Stage(network, stage.spacing_mm)}
    card = models.ModelCard(**{**vars(model.card), "stages": stages})
    seen = BrightIsOrgan()
    return Predictor(models.Model(card, {"refiner": seen}, Path()), "cpu", tile_voxels=500_000)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_network_alone_sees_the_whole_scan_in_tiles(in_channels: int) -> None:
    predictor = one_stage(in_channels)
    volume, organ = axial_scan()
    prediction = predictor.predict(volume)
    assert_organ_found(prediction, volume, organ, within_mm=1.0)
    assert prediction.attention(1).shape == volume.array.shape
    passes = predictor.networks["refiner"].passes
    assert isinstance(passes, list)
    assert len(passes) > 1
    assert {shape[1] for shape in passes} == {in_channels}
    assert max(np.prod(shape[2:]) for shape in passes) <= 500_000


def test_an_organ_too_small_for_the_locator_is_found_by_a_network_alone() -> None:
    volume, _ = axial_scan()
    array = np.where(volume.array == BRIGHT_HU, 40, volume.array)
    array[40:43, 60:64, 60:64] = BRIGHT_HU  # half a millilitre
    small = volume.with_array(array)
    assert not Predictor(threshold_model(), "cpu").predict(small).found
    assert one_stage().predict(small).found


# --- two dimensions -----------------------------------------------------------------------------

FLAT: dict[str, Any] = {**CONFIG, "dimensions": 2, "channels": [4, 8, 8]}
FLAT_CARD = {**CARD, "spacing_mm": [4.0, 4.0, 6.0], "labels": ["background", "organ", "rest"]}


def flat_predictor(
    folder: Path, tile_voxels: int | None = None
) -> tuple[Predictor, list[tuple[int, ...]]]:
    """An imported 2D network, and the shapes that it is going to see."""
    import_network(*write(folder, FLAT), folder / "model", **FLAT_CARD, replace=True)
    predictor = Predictor(models.load_model(folder / "model"), "cpu", "float32", tile_voxels)
    seen: list[tuple[int, ...]] = []
    predictor.model.networks["refiner"].register_forward_pre_hook(
        lambda network, inputs: seen.append(tuple(inputs[0].shape))
    )
    return predictor, seen


def test_a_network_of_two_dimensions_sees_every_slice_by_itself() -> None:
    torch.manual_seed(0)
    network = build_network(FLAT).eval()
    volume = torch.rand(1, 1, 7, 24, 36)
    with torch.no_grad():
        output = Slicewise(network)(volume, return_attention=True)
        logits = Slicewise(network)(volume)
        for k in range(7):
            alone = network(volume[:, :, k])
            torch.testing.assert_close(output.logits[:, :, k], alone)
            torch.testing.assert_close(logits[:, :, k], alone)
            maps = network.get_attention_maps(volume[:, :, k], resample=True)
            assert len(maps) == len(output.attention) == 2
            for mine, theirs in zip(output.attention, maps, strict=True):
                torch.testing.assert_close(mine[:, :, k], theirs)


def test_many_slices_go_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(FLAT).eval()
    volume = torch.rand(1, 1, 9, 16, 16)
    with torch.no_grad():
        whole = Slicewise(network)(volume, return_attention=True)
        monkeypatch.setattr(slicewise, "PIXELS_AT_ONCE", 600)
        parts = Slicewise(network)(volume, return_attention=True)
    torch.testing.assert_close(parts.logits, whole.logits)
    torch.testing.assert_close(parts.attention[1], whole.attention[1])


def test_an_imported_network_of_two_dimensions_segments_a_volume(tmp_path: Path) -> None:
    """Its answer is that of its slices, on the grid that its card names."""
    predictor, _ = flat_predictor(tmp_path)
    model = predictor.model
    volume, _ = axial_scan()
    prediction = predictor.predict(volume)
    assert prediction.levels == 2
    assert prediction.probability_map is not None
    grid = prediction.probability_map.grid
    assert grid.spacing_mm == (4.0, 4.0, 6.0)
    image = sample_scan(volume, grid, model.card.intensity_window_hu, torch.device("cpu"))
    middle = image.shape[2] // 2
    with torch.no_grad():
        alone = model.networks["refiner"](image[:, :, middle]).softmax(dim=1)[0, 1]
    torch.testing.assert_close(prediction.probability_map.values[0, 0, middle], alone)
    assert prediction.attention(2).shape == volume.array.shape


# --- clicks on a network that is not shown them -------------------------------------------------


def test_clicks_on_a_network_that_does_not_see_them_are_satisfied() -> None:
    """It is not asked again, since it would say the same; only what is near a click changes."""
    predictor = one_stage()
    volume, organ = axial_scan()
    session = Session(predictor, volume)
    before = session.predict().mask
    passes = list(predictor.networks["refiner"].passes)
    edge = np.add(organ, (0, 0, 95))
    for position, inside in ((edge, True), (organ, False), (np.add(organ, (8, 0, 0)), True)):
        mask = session.add_click(tuple(position), inside).mask
        for click in session.clicks:
            assert bool(mask[volume.grid.voxel_of(click.position_ras)]) == click.inside
    assert predictor.networks["refiner"].passes == passes
    k, j, i = np.nonzero(mask != before)
    changed = np.stack([i, j, k, np.ones_like(i)]).T @ volume.ijk_to_ras.T
    distances = [np.linalg.norm(changed[:, :3] - at, axis=1) for at in (edge, organ)]
    assert np.minimum(*distances).max() < 60
    for _ in range(3):
        update = session.undo()
    np.testing.assert_array_equal(update.mask, before)


@pytest.mark.parametrize("automatic", [True, False])
def test_a_network_of_two_dimensions_sees_whole_slices_only(
    tmp_path: Path, automatic: bool
) -> None:
    predictor, seen = flat_predictor(tmp_path, tile_voxels=25_000)
    volume, organ = axial_scan()
    # So tall that a click at its end is not in what the first click made known.
    tall = Volume(np.pad(volume.array, ((0, 80), (0, 0), (0, 0)), "edge"), volume.ijk_to_ras)
    session = Session(predictor, tall)
    session.predict(automatic=automatic)
    for step, inside in ((0, True), (300, True), (20, False)):
        position = tuple(np.add(organ, (0, 0, step)))
        mask = session.add_click(position, inside).mask
        for click in session.clicks:
            assert bool(mask[tall.grid.voxel_of(click.position_ras)]) == click.inside
    assert {shape[2:] for shape in seen} == {(80, 80)}
    assert len(seen) > 1


def test_slices_in_parts_give_what_they_give_at_once(tmp_path: Path) -> None:
    whole, _ = flat_predictor(tmp_path)
    parts, seen = flat_predictor(tmp_path, tile_voxels=25_000)
    volume, _ = axial_scan()
    expected, answer = whole.predict(volume), parts.predict(volume)
    np.testing.assert_array_equal(answer.mask, expected.mask)
    np.testing.assert_allclose(answer.probability(), expected.probability(), atol=1e-5)
    np.testing.assert_allclose(answer.attention(2), expected.attention(2), atol=1e-5)
    # Slices need no neighbours: none is computed much more often than once.
    # A model of one stage sees the whole scan.
    thick = volume.grid.bounds.extent_mm[2] / 6.0
    assert sum(shape[0] for shape in seen) < 1.6 * thick


def test_a_network_of_two_dimensions_segments_from_the_command_line(
    tmp_path: Path, own_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_network(*write(tmp_path, FLAT), own_models / "flat", **FLAT_CARD | {"name": "flat"})
    volume, organ = axial_scan((4.0, 4.0, 6.0))
    write_image(tmp_path / "scan.nii.gz", volume)
    click = Click(tuple(organ), True)
    arguments = [
        *("segment", str(tmp_path / "scan.nii.gz"), "--model", "flat", "--device", "cpu"),
        *("--output", str(tmp_path / "out"), "--click", ",".join(map(str, organ)) + ",+"),
    ]
    assert main(arguments) == 0, capsys.readouterr().err
    (file,) = (tmp_path / "out").glob("segmentation*")
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    at = volume.grid.voxel_of(click.position_ras)
    assert at is not None
    assert mask.shape == volume.array.shape
    assert mask[at] == 1
    assert len(list((tmp_path / "out").glob("attention-level-*.nrrd"))) == 2


def test_a_network_of_two_dimensions_segments_in_the_scene(tmp_path: Path) -> None:
    """First automatically, then with a click; its label is the card's."""
    from AttentionUNetSegmentLib import scene
    from AttentionUNetSegmentLib.inference.predictor_cache import PredictorCache
    from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions, SegmentationTask

    import_network(*write(tmp_path, FLAT), tmp_path / "model", **FLAT_CARD)
    volume, organ = axial_scan((4.0, 4.0, 6.0))
    click = Click(tuple(organ), True)
    options = SegmentationOptions(str(tmp_path / "model"), "cpu", "float32")
    cache = PredictorCache()
    with scene.headlessScene():
        node = scene.addVolumeNode(volume, "CT")
        results = []
        for clicks in ([], [click], [click, Click(tuple(np.add(organ, (30, 0, 0))), False)]):
            task = SegmentationTask(node, clicks, options=options, continuing=bool(clicks))
            prediction = task.compute(cache)
            for one in clicks:
                at = volume.grid.voxel_of(one.position_ras)
                assert bool(prediction.mask[at]) == one.inside
            results.append(task.write(prediction))
        segmentation = results[-1].segmentationNode.GetSegmentation()
        assert segmentation.GetSegment(results[-1].segmentId).GetName() == "Organ"
        assert len(results[-1].attentionNodes) == 2


# --- where it is found --------------------------------------------------------------------------


def test_an_imported_model_is_installed_and_found(
    files: tuple[Path, Path], own_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "import", *map(str, files), *OPTIONS]) == 0
    assert "liver-and-tumour 1.0.0" in capsys.readouterr().out
    folder = own_models / "liver-and-tumour"
    assert models.find_model("liver-and-tumour") == folder
    assert "liver-and-tumour" in [model.card.name for model in models.installed_models()]
    assert main(["models"]) == 0
    assert "liver-and-tumour 1.0.0: Liver" in capsys.readouterr().out
    assert main(["models", "verify"]) == 0
    assert "liver-and-tumour 1.0.0: intact" in capsys.readouterr().out
    # The same again is refused, unless it is to be replaced.
    assert main(["models", "import", *map(str, files), *OPTIONS]) == 2
    assert "There is a model 'liver-and-tumour' already" in capsys.readouterr().err
    assert main(["models", "import", *map(str, files), *OPTIONS, "--replace"]) == 0


def test_a_model_of_the_extension_is_not_covered(
    files: tuple[Path, Path], own_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (models.MODELS_FOLDER / models.DEFAULT_MODEL).is_dir():
        pytest.skip("the shipped model is not there")
    options = [*OPTIONS, "--name", models.DEFAULT_MODEL, "--replace"]
    assert main(["models", "import", *map(str, files), *options]) == 2
    assert "already" in capsys.readouterr().err
    # Put there by hand, the extension's still counts.
    import_network(
        *files, own_models / models.DEFAULT_MODEL, **CARD | {"name": models.DEFAULT_MODEL}
    )
    assert models.find_model().parent == models.MODELS_FOLDER
    (found,) = [m for m in models.installed_models() if m.card.name == models.DEFAULT_MODEL]
    assert found.folder.parent == models.MODELS_FOLDER


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/AttentionUNetSegment/models"),
        ("linux", {"HOME": "/h"}, "/h/.local/share/AttentionUNetSegment/models"),
        (
            "darwin",
            {"HOME": "/h"},
            "/h/Library/Application Support/AttentionUNetSegment/models",
        ),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/AttentionUNetSegment/models"),
        ("linux", {models.USER_MODELS_VARIABLE: "/mine"}, "/mine"),
    ],
)
def test_a_users_models_lie_where_the_system_keeps_such_data(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str
) -> None:
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", models.USER_MODELS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert models.user_models_folder() == Path(folder)


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    yield panel_driver.start_module()
    panel_driver.stop_module()


@pytest.fixture
def driver(module: Any) -> Iterator[panel_driver.Driver]:
    from SlicerStandIn import driving

    driving.closeScene()
    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    yield driver
    driver.panel.cancel(silently=True)
    driver.representation.exit()
    driving.closeScene()


def test_an_own_model_is_in_the_panels_list_and_segments(
    files: tuple[Path, Path], own_models: Path, driver: panel_driver.Driver
) -> None:
    from AttentionUNetSegmentLib import scene

    import_network(*files, own_models / "liver-and-tumour", **CARD)
    driver.choose(scene.addVolumeNode(panel_driver.bright_scan(), "CT"))
    combo = driver.ui.modelComboBox
    titles = [combo.itemText(index) for index in range(combo.count)]
    assert "Liver and tumour" in titles
    combo.setCurrentIndex(titles.index("Liver and tumour"))
    combo.activated.emit(titles.index("Liver and tumour"))
    assert driver.parameters.model == "liver-and-tumour"
    driver.segment()
    assert "cannot" not in driver.message


def test_the_panel_shows_a_cards_figures_a_line_for_a_case(
    files: tuple[Path, Path], tmp_path: Path, driver: panel_driver.Driver
) -> None:
    from AttentionUNetSegmentLib.panel.model_card_text import modelCardHtml

    card = import_network(*files, tmp_path / "model", **CARD)
    mean = {"dice": 0.78412, "hausdorff95_mm": 8.2, "precision": None}
    figures = {
        "validation": {
            "split": "validation",
            "focus_ratios": [0.4, 0.3],
            "clicks": {"0": {"mean": mean, "interval95": {"dice": [0.6, 0.9]}}},
        }
    }
    limitations = ("Volumes < 20 mL.", "Never tested on children.")
    editor = models.Editor(
        {**card.stages["refiner"].network, "in_channels": EDITOR_CHANNELS, "out_channels": 2},
        figures={"any_structure": {"mean_dice": {"cyst": {"cases": 2, "1": 0.4567}}}},
    )
    text = modelCardHtml(
        dataclasses.replace(card, figures=figures, limitations=limitations, editor=editor)
    )
    assert "<li>cyst: cases 2, 1 0.4567</li>" in text
    assert "<li>Volumes &lt; 20 mL.</li><li>Never tested on children.</li>" in text
    assert "<li>focus ratios: 0.4; 0.3</li>" in text
    assert "<li>mean: dice 0.7841, hausdorff95 mm 8.2, precision none</li>" in text
    assert "<li>interval95: dice [0.6; 0.9]</li>" in text


# --- questions ----------------------------------------------------------------------------------


def test_what_is_missing_is_named_where_nobody_can_be_asked(
    files: tuple[Path, Path], own_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "import", *map(str, files), "--name", "a", "--licence", "CC0"]) == 2
    error = capsys.readouterr().err
    assert "Give --title, --labels, --spacing-mm, --window" in error
    assert not own_models.exists()


def test_what_is_missing_is_asked_for_on_a_terminal(
    files: tuple[Path, Path],
    own_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = {
        "Short name": "asked",
        "Title": "Asked for",
        "Labels, background first": "background, liver, tumour",
        "Label to segment": "tumour",
        "Voxel spacing of the training images I,J,K in mm": "1,1,1",
        "Licence of the weights": "CC0",
    }
    asked = []

    def prompt(question: str, default: str | None = None) -> str | None:
        asked.append(question)
        return answers.get(question, default)

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["models", "import", *map(str, files)]) == 0
    assert set(answers) <= set(asked)
    card = models.read_card(own_models / "asked")
    assert (card.target, card.version, card.intensity_window_hu) == ("tumour", "1.0.0", (-125, 275))
    assert "not a medical device" in card.intended_use


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--spacing", "1,1", "3 numbers"),
        ("--window", "a,b", "2 numbers"),
        ("--name", "../up", "is no name"),
    ],
)
def test_wrong_answers_get_a_sentence(
    files: tuple[Path, Path],
    own_models: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    said: str,
) -> None:
    assert main(["models", "import", *map(str, files), *OPTIONS, option, value]) == 2
    assert said in capsys.readouterr().err
    assert not own_models.exists()
