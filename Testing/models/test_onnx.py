"""Networks as ONNX files: ONNX Runtime and PyTorch agree, at any size that fits."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app.main import main
from AttentionUNetSegmentLib.errors import ModelError, OutputError
from AttentionUNetSegmentLib.models.onnx_export import export_onnx
from AttentionUNetSegmentLib.networks import build_network
from small_cards import card_of

# Imported where they are used: it takes seconds, in each of the processes that share the tests.
pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxruntime", "onnxscript"))),
    reason="not installed (extra 'onnx')",
)

CONFIG: dict[str, Any] = {
    "name": "AttentionUNet",
    "dimensions": 3,
    "in_channels": 3,
    "out_channels": 2,
    "channels": [4, 4, 8],
    "norm": "instance",
    "deep_supervision": True,
}


def model_of(**stages: dict[str, Any]) -> models.Model:
    """A model with random networks, one for each config."""
    torch.manual_seed(0)
    networks = {
        name: build_network(config).eval().requires_grad_(False) for name, config in stages.items()
    }
    return models.Model(card_of(**stages), networks, Path())


def session_of(file: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def assert_agrees(file: Path, network: torch.nn.Module, shape: tuple[int, ...]) -> None:
    session = session_of(file)
    image = torch.rand(1, network.config.in_channels, *shape)  # type: ignore[union-attr]
    names = [output.name for output in session.get_outputs()]
    results = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = network(image, return_attention=True)
    levels = network.gated_levels  # type: ignore[union-attr]
    assert names == ["logits", *(f"attention_level_{level}" for level in levels)]
    for ours, theirs in zip([expected.logits, *expected.attention], results, strict=True):
        assert theirs.shape == tuple(ours.shape)
        np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-4)


def test_the_command_exports_both_stages_with_attention_and_open_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = model_of(
        locator={**CONFIG, "in_channels": 1, "gate": "stable", "channels": [4, 4]},
        refiner={
            **CONFIG,
            "gate": "multi-head",
            "heads": 2,
            "channels": [4, 4, 4],
            "background_classes": 2,
        },
    )
    models.save_model(tmp_path / "model", random.card, random.networks)
    out = tmp_path / "onnx"
    assert main(["models", "export-onnx", str(tmp_path / "model"), "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert "refiner.onnx" in captured.out
    assert captured.err == ""
    files = [out / "locator.onnx", out / "refiner.onnx"]
    assert sorted(out.iterdir()) == files
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "onnx"]
    saved = models.load_model(tmp_path / "model")  # in half precision
    for file in files:
        for shape in ((8, 8, 8), (12, 20, 16)):
            assert_agrees(file, saved.networks[file.stem], shape)
    told = session_of(files[1]).get_modelmeta().custom_metadata_map
    assert told["model"] == "random 7"
    assert told["stride"] == "4"
    assert json.loads(told["spacing_mm"]) == [2.0, 2.0, 3.0]
    assert json.loads(told["labels"]) == ["background", "pancreas"]
    assert "clicks inside and outside" in told["input"]


@pytest.fixture(scope="module")
def flat() -> models.Model:
    """In two dimensions, and not the network that is shipped."""
    small = {"name": "ResUNet", "dimensions": 2, "norm": "batch", "channels": [4, 4]}
    return model_of(refiner={**CONFIG, **small})


@pytest.fixture(scope="module")
def flat_file(flat: models.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (file,) = export_onnx(flat, tmp_path_factory.mktemp("flat") / "onnx")
    assert [entry.name for entry in file.parent.parent.iterdir()] == ["onnx"]
    return file


def test_two_dimensions_and_other_networks(flat: models.Model, flat_file: Path) -> None:
    assert_agrees(flat_file, flat.networks["refiner"], (12, 16))


def test_a_multi_scale_gate_has_a_fixed_size(tmp_path: Path) -> None:
    model = model_of(refiner={**CONFIG, "gate": "multi-scale", "channels": [4, 4], "dimensions": 2})
    (file,) = export_onnx(model, tmp_path)
    session = session_of(file)
    shape = session.get_inputs()[0].shape
    assert all(isinstance(size, int) for size in shape)
    assert_agrees(file, model.networks["refiner"], tuple(shape[2:]))


def test_a_file_that_answers_otherwise_is_not_kept(
    tmp_path: Path, flat: models.Model, flat_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    def without_weights(network: torch.nn.Module, images: Any, file: str, **options: Any) -> None:
        content = onnx.load(flat_file)
        for weight in content.graph.initializer:
            if weight.data_type == onnx.TensorProto.FLOAT:
                weight.raw_data = bytes(len(weight.raw_data))
        onnx.save(content, file)

    monkeypatch.setattr("torch.onnx.export", without_weights)
    with pytest.raises(ModelError, match="other results in ONNX Runtime"):
        export_onnx(flat, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, flat: models.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.onnx.export", full)
    with pytest.raises(OutputError, match="No space left"):
        export_onnx(flat, tmp_path / "more")
    assert not (tmp_path / "more").exists()
