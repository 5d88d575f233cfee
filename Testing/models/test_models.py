"""Models: the card, the weights, saving all or nothing, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import ModelError, OutputError
from AttentionUNetSegmentLib.models.weights import rounded_to_bytes
from AttentionUNetSegmentLib.networks import build_network
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

NETWORK = {
    "name": "AttentionUNet",
    "dimensions": 3,
    "in_channels": 3,
    "out_channels": 3,
    "channels": [4, 8, 16],
    "norm": "batch",
    "gate": "stable",
}


def card(**changes: Any) -> models.ModelCard:
    content: dict[str, Any] = {
        "name": "tiny",
        "version": "1.0",
        "title": "Tiny model",
        "summary": "A model for tests.",
        "intended_use": "Tests.",
        "licence": "CC0",
        "citation": ("Nobody 2026",),
        "intensity_window_hu": (-125, 275),
        "labels": (
            models.Label(0, "background"),
            models.Label(1, "spleen"),
            models.Label(
                2,
                "pancreas",
                (249, 180, 111),
                models.Terminology(
                    ("SCT", "123037004", "Anatomical Structure"), ("SCT", "15776009", "Pancreas")
                ),
            ),
        ),
        "target": "pancreas",
        "stages": {
            "locator": models.Stage(NETWORK, (6, 6, 6)),
            "refiner": models.Stage({**NETWORK, "name": "UNet"}, (2, 2, 3)),
        },
        "training": {"cases": [1, 2]},
        "figures": {"dice": 0.5},
    }
    return models.ModelCard(**content | changes)


@functools.cache
def networks(seed: int = 0) -> dict[str, torch.nn.Module]:
    """The networks of `card()`, shared by the tests: not to be changed."""
    torch.manual_seed(seed)
    built = {name: build_network(dict(stage.network)) for name, stage in card().stages.items()}
    for network in built.values():  # batch statistics and counters that differ from fresh ones
        network.train()(torch.randn(1, 3, 8, 8, 8))
    return built


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.save_model(folder, card(), networks())
    return folder


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    """A saved model that the test may damage."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for file in saved_once.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def edit_card(folder: Path, **changes: Any) -> None:
    """Change entries of model.json, nested ones by a path such as ``weights__file``."""
    path = folder / "model.json"
    content = json.loads(path.read_text("utf-8"))
    for key, value in changes.items():
        *parents, last = key.split("__")
        entry = content
        for parent in parents:
            entry = entry[parent]
        entry[last] = value
    path.write_text(json.dumps(content), "utf-8")


def replace_weights(folder: Path, content: bytes) -> None:
    """Other weights with a card that describes them rightly."""
    (folder / "weights.safetensors").write_bytes(content)
    edit_card(
        folder,
        weights__sha256=hashlib.sha256(content).hexdigest(),
        weights__bytes=len(content),
    )


def edit_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(folder / "weights.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "changed")
    replace_weights(folder, (folder / "changed").read_bytes())


def one_weight(folder: Path, floats: bool = True) -> str:
    """The name of a tensor with several elements."""
    tensors = load_file(folder / "weights.safetensors")
    return next(
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() == floats and (tensor.numel() > 4 or not floats)
    )


def refused(folder: Path) -> str:
    """The sentence with which the model is refused, by load and verify alike."""
    with pytest.raises(ModelError) as loading:
        models.load_model(folder)
    with pytest.raises(ModelError) as verifying:
        models.verify_model(folder)
    message = str(loading.value)
    assert message == str(verifying.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


# --- saving and loading -------------------------------------------------------------------------


def test_a_saved_model_is_loaded_as_it_was_in_half_precision(tmp_path: Path) -> None:
    before = networks()
    written = models.save_model(tmp_path / "tiny", card(), before)
    model = models.load_model(tmp_path / "tiny")
    assert model.card == written
    assert model.folder == tmp_path / "tiny"
    assert set(model.networks) == {"locator", "refiner"}
    for name, network in model.networks.items():
        after = network.state_dict()
        for key, tensor in before[name].state_dict().items():
            if tensor.is_floating_point():
                assert after[key].dtype == torch.float32
                assert torch.equal(after[key], tensor.half().float())
            else:
                assert after[key].dtype == tensor.dtype
                assert torch.equal(after[key], tensor)
        assert any(
            key.endswith("num_batches_tracked") and value == 1 for key, value in after.items()
        )


def test_a_loaded_model_is_ready_for_inference(saved_once: Path) -> None:
    for network in models.load_model(saved_once).networks.values():
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert network(torch.zeros(1, 3, 8, 8, 8)).dtype == torch.float32


def test_weights_are_stored_in_half_precision_and_described_by_the_card(saved_once: Path) -> None:
    weights = models.read_card(saved_once).weights
    content = (saved_once / "weights.safetensors").read_bytes()
    assert weights is not None
    assert weights.bytes == len(content)
    assert weights.sha256 == hashlib.sha256(content).hexdigest()
    tensors = load_file(saved_once / "weights.safetensors")
    in_eight_bits = {torch.int8, torch.bfloat16}  # where nothing is lost, as of a layer of zeros
    assert {t.dtype for t in tensors.values()} - in_eight_bits == {torch.float16, torch.int64}
    assert tensors["refiner.encoder.1.0.weight"].dtype == torch.float16
    assert {name.partition(".")[0] for name in tensors} == {"locator", "refiner"}


def test_eight_bits_hold_a_weight_within_half_a_step_of_its_channel() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 5, 3, 3, 3) * torch.logspace(-6, 3, 8)[:, None, None, None, None]
    weight[3] = 0
    rounded = rounded_to_bytes(weight)
    largest = weight.flatten(1).abs().amax(1)
    error = (rounded - weight).flatten(1).abs().amax(1)
    assert (error <= 0.0045 * largest).all()  # half a step of 127, and what the scale is off by
    for ours, theirs in zip(rounded, weight, strict=True):
        assert len(ours.unique()) <= 255
        assert (ours.flatten().sign() * theirs.flatten().sign() >= 0).all()
    assert torch.equal(rounded_to_bytes(rounded), rounded)
    for other in (torch.randn(6), torch.randn(2, 2), torch.ones(2, 2, 2, dtype=torch.int64)):
        assert rounded_to_bytes(other) is other


def test_a_compressed_model_is_half_the_size_and_stays_the_same_from_then_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {**NETWORK, "channels": [16, 32]}
    stages = {"refiner": models.Stage(network, (2, 2, 3))}
    torch.manual_seed(3)
    models.save_model(tmp_path / "whole", card(stages=stages), {"refiner": build_network(network)})
    whole = models.load_model(tmp_path / "whole")
    assert main(["models", "compress", str(tmp_path / "whole"), "-o", str(tmp_path / "less")]) == 0
    assert "MB of weights" in capsys.readouterr().out
    over = ["models", "compress", str(tmp_path / "less"), "-o", str(tmp_path / "whole")]
    assert main(over) == 2
    assert "There is a model in" in capsys.readouterr().err
    assert models.load_model(tmp_path / "whole").card == whole.card
    less = models.load_model(tmp_path / "less")
    assert whole.card.weights is not None
    assert less.card.weights is not None
    assert less.card.weights.bytes < 0.6 * whole.card.weights.bytes
    assert dataclasses.replace(less.card, weights=None) == dataclasses.replace(
        whole.card, weights=None
    )
    ours, theirs = (one.networks["refiner"].state_dict() for one in (less, whole))
    assert all(torch.equal(ours[name], rounded_to_bytes(theirs[name])) for name in theirs)
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)
    again = models.save_model(tmp_path / "again", less.card, less.networks)
    assert again.weights == less.card.weights
    assert main([*over, "--replace"]) == 0
    assert models.load_model(tmp_path / "whole").card == less.card


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("none", "is of type torch.int8"),
        ("too few", "do not fit its weights"),
        ("of another kind", "do not fit its weights"),
        ("of no weights", "is of type torch.int8"),
        ("of one layer more", "'nothing.scale' is not part of it"),
    ],
)
def test_eight_bits_without_scales_that_fit_are_refused(
    tmp_path: Path, wrong: str, said: str
) -> None:
    folder = tmp_path / "tiny"
    own = {
        name: rounded_to_bytes(value) for name, value in networks()["refiner"].state_dict().items()
    }
    given = networks()
    given["refiner"].load_state_dict(own)
    models.save_model(folder, card(), given)
    tensors = load_file(folder / "weights.safetensors")
    name = next(name for name in tensors if name.endswith(".scale"))
    change = {
        "none": {name: None},
        "too few": {name: tensors[name][1:].clone()},
        "of another kind": {name: tensors[name].float()},
        "of no weights": {name: None, "refiner.nothing.scale": tensors[name]},
        "of one layer more": {"refiner.nothing.scale": tensors[name]},
    }[wrong]
    edit_tensors(folder, **change)
    assert said in refused(folder)


def test_networks_in_bfloat16_and_doubles_are_saved_alike(tmp_path: Path) -> None:
    for dtype in (torch.bfloat16, torch.float64):
        cast = {name: copy.deepcopy(network).to(dtype) for name, network in networks().items()}
        models.save_model(tmp_path / "tiny", card(), cast)
        assert models.verify_model(tmp_path / "tiny").name == "tiny"


def test_loading_leaves_the_random_numbers_of_the_caller_alone(saved_once: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models.load_model(saved_once)
    assert torch.equal(torch.rand(3), expected)


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        models.save_model(tmp_path / name, card(), networks())
    for file in ("model.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_saving_replaces_a_model_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    models.save_model(tmp_path / "tiny", card(), networks(seed=0))
    first = (tmp_path / "tiny" / "weights.safetensors").read_bytes()
    models.save_model(tmp_path / "tiny", card(version="2.0"), networks(seed=1))
    assert models.verify_model(tmp_path / "tiny").version == "2.0"
    assert (tmp_path / "tiny" / "weights.safetensors").read_bytes() != first
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    folder = tmp_path / "tiny"
    if existing:
        models.save_model(folder, card(), networks())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot be written to .*No space left on device"):
        models.save_model(folder, card(version="2.0"), networks())
    assert [file.name for file in tmp_path.iterdir()] == (["tiny"] if existing else [])
    if existing:
        assert models.verify_model(folder).version == "1.0"


def test_a_rename_that_fails_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.save_model(tmp_path / "tiny", card(), networks())

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match="Permission denied"):
            models.save_model(tmp_path / "tiny", card(version="2.0"), networks())
    assert models.verify_model(tmp_path / "tiny").version == "1.0"
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        models.save_model(tmp_path, card(), networks())
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_folders_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        models.save_model(tmp_path / "tiny", card(), networks())
    assert (tmp_path / "tiny").read_text() == "a file"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_weights_that_half_precision_cannot_hold_are_not_saved(
    tmp_path: Path, value: float
) -> None:
    broken = copy.deepcopy(networks())
    with torch.no_grad():
        next(broken["refiner"].parameters()).view(-1)[0] = value
    with pytest.raises(ModelError, match=r"refiner.*NaN"):
        models.save_model(tmp_path / "tiny", card(), broken)
    assert not list(tmp_path.iterdir())


def test_more_than_twelve_megabytes_are_not_saved(tmp_path: Path) -> None:
    large = {**NETWORK, "channels": [32, 64, 128, 256]}
    heavy = card(stages={name: models.Stage(large, (2, 2, 2)) for name in ("locator", "refiner")})
    built = {name: build_network(large) for name in ("locator", "refiner")}
    with pytest.raises(ModelError, match=r"\d+\.\d MB, more than the 12 MB"):
        models.save_model(tmp_path / "tiny", heavy, built)
    assert not list(tmp_path.iterdir())


def test_networks_that_are_not_the_cards_are_not_saved(tmp_path: Path) -> None:
    built = networks()
    with pytest.raises(ModelError, match="refiner"):
        models.save_model(tmp_path / "tiny", card(), {"locator": built["locator"]})
    with pytest.raises(ModelError, match="The refiner is not the network"):
        models.save_model(
            tmp_path / "tiny", card(), {"locator": built["locator"], "refiner": built["locator"]}
        )
    assert not list(tmp_path.iterdir())


# --- weights that are not what the card says ----------------------------------------------------


def test_missing_weights_are_refused(saved: Path) -> None:
    (saved / "weights.safetensors").unlink()
    assert "missing" in refused(saved)


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_truncated_weights_are_refused(saved: Path, keep: int) -> None:
    path = saved / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "cut short" in refused(saved)


def test_longer_weights_are_refused(saved: Path) -> None:
    with (saved / "weights.safetensors").open("ab") as stream:
        stream.write(b"\0" * 100)
    assert "larger than" in refused(saved)


def test_one_flipped_bit_is_refused(saved: Path) -> None:
    path = saved / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert "SHA-256" in refused(saved)


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('a pickle was loaded')",))


@pytest.mark.parametrize("writer", ["torch", "old torch", "pickle", "pickle 0"])
def test_a_pickle_is_refused_and_never_loaded(saved: Path, tmp_path: Path, writer: str) -> None:
    path = tmp_path / "pickle"
    if writer.endswith("torch"):
        torch.save({"w": Trap()}, path, _use_new_zipfile_serialization=writer == "torch")
    else:
        path.write_bytes(pickle.dumps(Trap(), protocol=0 if writer.endswith("0") else 4))
    # As it comes, and with a card that vouches for it.
    (saved / "weights.safetensors").write_bytes(path.read_bytes())
    refused(saved)
    replace_weights(saved, path.read_bytes())
    message = refused(saved)
    if writer.endswith("0"):  # plain text, which nothing tells from any other
        assert "not a valid safetensors file" in message
    else:
        assert "pickle" in message


def test_a_header_length_that_begins_like_a_pickle_is_still_safetensors(saved: Path) -> None:
    """A header of 128, 384, 640, ... bytes starts with the byte that starts a pickle."""
    content = (saved / "weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length]
    header += b" " * ((0x80 - length) % 256)
    same = struct.pack("<Q", len(header)) + header + content[8 + length :]
    assert same[0] == 0x80
    replace_weights(saved, same)
    models.verify_model(saved)


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"not json",
        b'{"refiner.x":{"dtype":"F16","shape":[9999999999],"data_offsets":[0,19999999998]}}',
        b'{"refiner.x":{"dtype":"F16","shape":[2],"data_offsets":[0,400]}}',
        b'{"refiner.x":{"dtype":"Q99","shape":[2],"data_offsets":[0,4]}}',
    ],
)
def test_a_nonsense_header_with_the_right_hash_is_refused(saved: Path, header: bytes) -> None:
    replace_weights(saved, struct.pack("<Q", len(header)) + header + b"\0" * 4)
    refused(saved)


def test_a_header_longer_than_the_file_is_refused(saved: Path) -> None:
    replace_weights(saved, struct.pack("<Q", 2**62) + b"{}")
    assert "not a valid safetensors file" in refused(saved)


def test_a_missing_tensor_is_named(saved: Path) -> None:
    name = one_weight(saved)
    edit_tensors(saved, **{name: None})
    message = refused(saved)
    assert name.partition(".")[2] in message
    assert "missing" in message


def test_an_unexpected_tensor_is_named(saved: Path) -> None:
    edit_tensors(saved, **{"refiner.extra": torch.zeros(2)})
    assert "'extra' is not part of it" in refused(saved)
    edit_tensors(saved, **{"refiner.extra": None, "third.extra": torch.zeros(2)})
    assert "'third.extra' belongs to no stage" in refused(saved)


def test_a_tensor_of_another_shape_is_named(saved: Path) -> None:
    edit_tensors(saved, **{one_weight(saved): torch.zeros(7, dtype=torch.float16)})
    assert "has the shape (7,) instead of" in refused(saved)


def test_a_tensor_of_another_kind_is_named(saved: Path) -> None:
    name = one_weight(saved)
    shape = load_file(saved / "weights.safetensors")[name].shape
    for dtype in (torch.int32, torch.bool, torch.float8_e4m3fn):
        edit_tensors(saved, **{name: torch.zeros(shape).to(dtype)})
        assert "is of type" in refused(saved)
    counter = one_weight(saved, floats=False)
    edit_tensors(saved, **{name: torch.zeros(shape), counter: torch.tensor(1.0)})
    assert "is of type" in refused(saved)


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    name = one_weight(saved)
    tensor = load_file(saved / "weights.safetensors")[name].clone()
    tensor.view(-1)[0] = float("nan")
    edit_tensors(saved, **{name: tensor})
    assert "NaN" in refused(saved)


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    edit_card(saved, stages__refiner__network__channels=[8, 8, 16])
    assert "has the shape" in refused(saved)


def test_a_network_larger_than_its_weights_takes_no_memory(saved: Path) -> None:
    """The shapes are compared before the network is made."""
    edit_card(saved, stages__locator__network__channels=[64, 256, 512, 1024])
    made: list[torch.device] = []
    empty = torch.empty

    def counting(*args: Any, **options: Any) -> torch.Tensor:
        tensor = empty(*args, **options)
        if tensor.device.type != "meta":
            made.append(tensor.device)
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", counting)
        assert "in the locator" in refused(saved)
    assert not made


# --- the card -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("format", 2, "update the extension"),
        ("format", True, "format"),
        ("format", "1", "format"),
        ("name", "../tiny", "name"),
        ("name", "", "name"),
        ("name", 3, "name"),
        ("version", None, "version"),
        ("title", "x" * 5000, "title"),
        ("citation", "Nobody 2026", "citation"),
        ("citation", [1], "citation"),
        ("limitations", "none", "limitations"),
        ("limitations", [""], "limitations"),
        ("intensity_window_hu", [275, -125], "lower end first"),
        ("intensity_window_hu", [0], "intensity_window_hu"),
        ("intensity_window_hu", [0, True], "intensity_window_hu"),
        ("intensity_window_hu", [0, 10**400], "intensity_window_hu"),
        ("labels", [], "labels"),
        ("labels", {"0": "background"}, "labels"),
        ("target", "background", "target"),
        ("target", "liver", "target"),
        ("target", ["pancreas"], "target"),
        ("stages", {}, "lacks 'refiner'"),
        ("stages__third", {}, "'third'"),
        ("stages__refiner__spacing_mm", [2, 2], "spacing_mm"),
        ("stages__refiner__spacing_mm", [2, 2, 0], "spacing_mm"),
        ("stages__refiner__spacing_mm", [2, 2, "3"], "spacing_mm"),
        ("stages__refiner__network", "UNet", "network"),
        ("stages__refiner__network__name", "TransUNet", "UNet"),
        ("stages__refiner__network__name", 5, "name"),
        ("stages__refiner__network__dimensions", 4, "dimensions"),
        ("stages__refiner__network__channels", [4] * 6, "at most 5 levels"),
        ("stages__refiner__network__in_channels", 2, "input channels"),
        ("stages__refiner__network__out_channels", 4, "there are 3 labels"),
        ("stages__refiner__network__channels", [10**9, 10**9], "channels"),
        ("stages__refiner__network__channels", [4] * 100000, "channels"),
        ("stages__refiner__network__colour", "red", "colour"),
        ("training", [], "training"),
        ("figures", None, "figures"),
        ("weights", None, "weights"),
        ("weights__sha256", "ab", "sha256"),
        ("weights__bytes", 0, "bytes"),
        ("weights__bytes", 1_000_000_001, "bytes"),
        ("weights__bytes", 1.0, "bytes"),
        ("unheard_of", 1, "'unheard_of'"),
    ],
)
def test_a_card_with_a_wrong_entry_is_refused(
    saved: Path, entry: str, value: Any, said: str
) -> None:
    edit_card(saved, **{entry: value})
    assert said in refused(saved)


@pytest.mark.parametrize(
    ("position", "label"),
    [
        (1, {"value": 2, "name": "spleen"}),
        (1, {"value": 1, "name": "pancreas"}),
        (1, {"value": 1, "name": ""}),
        (1, {"value": True, "name": "spleen"}),
        (1, {"value": 1}),
        (1, {"value": 1, "name": "spleen", "color": [0, 0, 256]}),
        (1, {"value": 1, "name": "spleen", "color": [0, 0]}),
        (1, {"value": 1, "name": "spleen", "colour": [0, 0, 0]}),
        (1, {"value": 1, "name": "spleen", "terminology": {"type": ["SCT", "1", "x"]}}),
        (1, {"value": 1, "name": "s", "terminology": {"type": "SCT", "category": ["", "", ""]}}),
        (1, ["spleen"]),
    ],
)
def test_a_card_with_a_wrong_label_is_refused(saved: Path, position: int, label: Any) -> None:
    labels = json.loads((saved / "model.json").read_text("utf-8"))["labels"]
    labels[position] = label
    edit_card(saved, labels=labels)
    assert "label" in refused(saved) or "terminology" in refused(saved)


@pytest.mark.parametrize(
    "name",
    [
        "../weights.safetensors",
        "/etc/weights.safetensors",
        "..\\weights.safetensors",
        "C:weights.safetensors",
        "a/weights.safetensors",
        "weights.safetensors\0.safetensors",
        "weights.safetensors\n",
        ".safetensors",
        "weights.pt",
        "..",
    ],
)
def test_the_weights_file_cannot_leave_the_folder(saved: Path, name: str) -> None:
    edit_card(saved, weights__file=name)
    assert "plain file name" in refused(saved)


def test_a_link_out_of_the_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    (saved / "weights.safetensors").rename(tmp_path / "elsewhere")
    try:
        (saved / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    except OSError as error:
        pytest.skip(f"this system makes no links: {error}")
    assert "leads out of" in refused(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"format": 1}',
        b'{"format": 1, "format": 1}',
        b'{"format": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * 1_100_000,
    ],
)
def test_a_file_that_is_no_card_is_refused(saved: Path, content: bytes) -> None:
    (saved / "model.json").write_bytes(content)
    assert "card" in refused(saved)


def test_a_card_with_an_entry_twice_is_refused(saved: Path) -> None:
    path = saved / "model.json"
    path.write_text(path.read_text("utf-8").replace("{", '{"name": "other",', 1), "utf-8")
    assert "'name' stands there twice" in refused(saved)


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    assert "no model.json" in refused(tmp_path)
    assert "no model.json" in refused(tmp_path / "absent")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(data=st.data())
def test_no_card_does_anything_but_load_or_be_refused(data: st.DataObject) -> None:
    """Any entry replaced by any JSON value: a card or a ModelError, never another exception."""
    weights = models.WeightsFile("weights.safetensors", "0" * 64, 10)
    content = json.loads(card(weights=weights).to_json())
    entry: Any = content
    while True:
        key = data.draw(
            st.sampled_from(sorted(entry) if isinstance(entry, dict) else range(len(entry)))
        )
        if isinstance(entry[key], (dict, list)) and entry[key] and data.draw(st.booleans()):
            entry = entry[key]
            continue
        entry[key] = data.draw(json_values)
        break
    try:
        read = models.ModelCard.from_json(json.dumps(content))
    except ModelError:
        return
    assert models.ModelCard.from_json(read.to_json()) == read


def test_a_card_survives_its_text() -> None:
    full = card(
        weights=models.WeightsFile("weights.safetensors", "0" * 64, 10),
        title="Bauchspeicheldrüse",
        figures={"cases": {"0010": {"dice": 0.71}}},
        limitations=("Not tested on children.", "Fails on MR."),
    )
    assert models.ModelCard.from_json(full.to_json()) == full
    none = dataclasses.replace(full, limitations=())
    assert "limitations" not in none.to_json()
    assert models.ModelCard.from_json(none.to_json()) == none
    assert full.target_label.name == "pancreas"
    assert full.target_label.terminology is not None
    assert full.target_label.terminology.type[1] == "15776009"


def test_a_card_made_in_code_is_checked_too() -> None:
    with pytest.raises(ModelError, match="target"):
        card(target="liver")
    with pytest.raises(ModelError, match="figures"):
        card(figures={"dice": float("nan")})
    with pytest.raises(ModelError, match="figures"):
        card(figures={"dice": object()})


def test_a_card_is_checked_once_as_long_as_it_stays_the_same(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panel asks for its model's organ at each update."""
    checked: list[str] = []
    from_json = models.ModelCard.from_json

    def noted(text: str) -> models.ModelCard:
        checked.append(text)
        return from_json(text)

    monkeypatch.setattr(models.ModelCard, "from_json", noted)
    for name in ("first", "second"):
        edit_card(saved, name=f"only-here-{name}")
        assert {models.read_card(saved).name for _ in range(3)} == {f"only-here-{name}"}
    assert len(checked) == 2


# --- which models there are ---------------------------------------------------------------------


def test_installed_models_are_listed_by_name(saved_once: Path, tmp_path: Path) -> None:
    for name in ("zebra", "apple"):
        models.save_model(tmp_path / name, card(name=name), networks())
    (tmp_path / ".tiny.1234.new").mkdir()
    (tmp_path / ".tiny.1234.new" / "model.json").write_text("{")
    (tmp_path / "notes.txt").write_text("no model")
    listed = models.installed_models(tmp_path)
    assert [model.card.name for model in listed] == ["apple", "zebra"]
    assert [model.folder for model in listed] == [tmp_path / "apple", tmp_path / "zebra"]
    assert models.installed_models(tmp_path / "absent") == []


def test_a_broken_installed_model_hides_no_other_and_is_logged(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = saved.parent / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{")
    assert [model.card.name for model in models.installed_models(saved.parent)] == ["tiny"]
    assert "broken" in caplog.text
    assert models.find_model("broken", saved.parent) == broken  # so that loading says what is wrong


def test_a_model_is_found_by_name_folder_or_card_file(saved: Path) -> None:
    edit_card(saved, name="other-name")
    assert models.find_model("tiny", saved.parent) == saved
    assert models.find_model("other-name", saved.parent) == saved
    assert models.find_model(str(saved), saved.parent / "absent") == saved
    assert models.find_model(saved / "model.json", saved.parent / "absent") == saved


def test_a_model_that_is_not_there_is_told_with_those_that_are(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model 'big'; installed: tiny; or give"):
        models.find_model("big", saved.parent)
    with pytest.raises(ModelError, match="no model is installed"):
        models.find_model("big", tmp_path / "absent")


def test_listing_models_needs_no_torch(saved_once: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from AttentionUNetSegmentLib import models\n"
        f"print([model.card.name for model in models.installed_models({str(saved_once.parent)!r})])"
    )
    library = Path(models.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=library, check=True
    )
    assert done.stdout.strip() == "['tiny']"


def test_every_installed_model_is_what_its_card_says() -> None:
    installed = models.installed_models()
    if not installed:
        pytest.skip("no model is installed")
    for model in installed:
        assert models.verify_model(model.folder).name == model.card.name
        assert sum(file.stat().st_size for file in model.folder.iterdir()) <= 12_000_000
