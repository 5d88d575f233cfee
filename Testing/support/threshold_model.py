"""A model whose answer is known: what is bright is the organ.

For tests of everything around the networks (geometry, tiling, regions, cancellation), where a
trained network's own errors would hide the mistakes that are looked for.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from AttentionUNetSegmentLib.inference import Volume
from AttentionUNetSegmentLib.models import (
    ANY_STRUCTURE,
    EDITOR,
    Editor,
    Label,
    Model,
    ModelCard,
    Stage,
    Target,
    Usual,
    save_model,
)
from AttentionUNetSegmentLib.models.card import EDITOR_CHANNELS
from AttentionUNetSegmentLib.models.terminology import make_label
from AttentionUNetSegmentLib.networks import NetworkOutput, build_network
from geometry import centre_ras, placed
from torch import nn
from torch.nn import functional as F

BRIGHT_HU = 200
"""HU of the organ that this model finds; the rest of a scan should be below 100."""

NETWORK = {
    "name": "AttentionUNet",
    "dimensions": 3,
    "in_channels": 3,
    "out_channels": 2,
    "channels": [4, 4, 4, 4, 4],
}


class BrightIsOrgan(nn.Module):
    """Foreground where the window's upper part begins; attention is the brightness of a level."""

    def __init__(self, levels: int = 4, label: int = 1) -> None:
        super().__init__()
        self.levels = levels
        self.label = label
        self.gates = [None] * levels
        self.passes: list[tuple[int, ...]] = []

    def forward(
        self,
        image: torch.Tensor,
        return_attention: bool = False,
        return_deep: bool = False,
    ) -> torch.Tensor | NetworkOutput:
        self.passes.append(tuple(image.shape))
        # 150 HU of a -125 to 275 window is where the two classes meet.
        foreground = (image[:, :1] - 0.6875) * 40
        logits = foreground.new_full((1, self.label + 1, *foreground.shape[2:]), -1e4)
        logits[:, :1], logits[:, self.label :] = -foreground, foreground
        if not return_attention:
            return logits
        attention = [
            image[:, :1] if level == 0 else F.avg_pool3d(image[:, :1], 2**level)
            for level in range(self.levels)
        ]
        return NetworkOutput(logits, attention, [])


def threshold_model(label: int = 1, organ: str = "pancreas") -> Model:
    """The model, with a card like that of a trained one.

    Args:
        label: value of the organ; those below it are other organs, which are never found.
        organ: its name.
    """
    others = tuple(Label(value, f"organ {value}") for value in range(1, label))
    network = {**NETWORK, "out_channels": label + 1}
    card = ModelCard(
        name="bright",
        version="1",
        title="Bright is organ",
        summary="For tests.",
        intended_use="Tests.",
        licence="Apache-2.0",
        citation=(),
        intensity_window_hu=(-125, 275),
        labels=(Label(0, "background"), *others, Label(label, organ)),
        target=organ,
        usual=Usual(intensity_hu=(0, 600)),  # the organs that it is shown are bright
        stages={
            "locator": Stage({**network, "in_channels": 1}, (6.0, 6.0, 6.0)),
            "refiner": Stage(network, (2.0, 2.0, 3.0)),
        },
    )
    networks = {"locator": BrightIsOrgan(0, label), "refiner": BrightIsOrgan(4, label)}
    return Model(card, networks, Path())


LESION_HU = 265
"""HU of the lesion that a model of two targets finds in the organ."""


class BrightestIsLesion(BrightIsOrgan):
    """Label 1 from the window's upper part on, label 2 from 238 HU on."""

    def forward(
        self, image: torch.Tensor, return_attention: bool = False, return_deep: bool = False
    ) -> torch.Tensor | NetworkOutput:
        output = super().forward(image, return_attention, return_deep)
        organ = (image[:, :1] - 0.6875) * 80
        lesion = organ + (image[:, :1] - 0.9075) * 80
        logits = torch.cat([torch.zeros_like(organ), organ, lesion], dim=1)
        if not return_attention:
            return logits
        assert isinstance(output, NetworkOutput)
        return NetworkOutput(logits, output.attention, [])


def two_target_model(beside: bool = False) -> Model:
    """A liver and the tumour in it.

    Args:
        beside: the tumour is no part of the liver, but lies beside it.
    """
    model = threshold_model(2, "tumour")
    labels = (Label(0, "background"), make_label(1, "liver"), make_label(2, "tumour"))
    card = dataclasses.replace(
        model.card,
        name="two-targets",
        labels=labels,
        target="liver",
        targets=(Target("liver"), Target("tumour", "" if beside else "liver")),
    )
    return Model(
        card, {"locator": BrightestIsLesion(0, 2), "refiner": BrightestIsLesion(4, 2)}, Path()
    )


STRUCTURE_HU = 100
"""HU of a structure that the model has no label for, and its refiner does not find."""


class LikeTheClick(nn.Module):
    """An editor of any structure: what is as bright as the voxel that was clicked at last is the
    structure, or after a click outside is not."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scan, newest = inputs[0, 0], inputs[0, 6]
        clicked = newest.abs().argmax()
        like = (scan - scan.flatten()[clicked]).abs() < 0.08
        structure = like if newest.flatten()[clicked] > 0 else ~like
        return torch.stack((~structure, structure))[None].float() * 10


def with_structure_editor(model: Model) -> Model:
    """The same model with :class:`LikeTheClick` for any structure; clicks at the target go on as
    before."""
    network = {**model.card.stages["refiner"].network, "in_channels": EDITOR_CHANNELS}
    editor = Editor({**network, "out_channels": 2}, answers=(ANY_STRUCTURE,))
    card = dataclasses.replace(model.card, editor=editor)
    return Model(card, {**model.networks, EDITOR: LikeTheClick()}, model.folder)


def liver_and_spleen_model() -> Model:
    """A model that is for the liver, whose networks have a label for the spleen too, which is as
    bright as a lesion, and an editor of any structure."""
    model = two_target_model()
    labels = (*model.card.labels[:2], make_label(2, "spleen"))
    card = dataclasses.replace(model.card, name="liver", labels=labels, targets=())
    return with_structure_editor(Model(card, model.networks, model.folder))


def save_card_of(model: Model, folder: Path) -> Path:
    """The model's card, beside weights by chance that nobody is to run."""
    networks = {name: build_network(dict(one)) for name, one in model.card.networks.items()}
    save_model(folder, model.card, networks)
    return folder


def with_lesion(volume: Volume, organ_ras: np.ndarray, radius_mm: float = 12.0) -> Volume:
    """The same scan with a ball of :data:`LESION_HU` in its organ."""
    return with_ball(volume, organ_ras, radius_mm, LESION_HU)


def with_ball(volume: Volume, centre_ras: np.ndarray, radius_mm: float, hu: int) -> Volume:
    """The same scan with a ball in it."""
    points = np.indices(volume.array.shape)[::-1].reshape(3, -1)
    ras = volume.ijk_to_ras[:3, :3] @ points + volume.ijk_to_ras[:3, 3:]
    distance = np.linalg.norm(ras - np.reshape(centre_ras, (3, 1)), axis=0)
    array = volume.array.copy()
    array[distance.reshape(array.shape) < radius_mm] = hu
    return volume.with_array(array)


ORGAN_AXES_MM = np.array([45.0, 22.0, 18.0])


def scan_with_organ(
    matrix: np.ndarray,
    shape: tuple[int, int, int],
    organ_ras: np.ndarray,
    dtype: type = np.int16,
) -> Volume:
    """A body of 40 HU with an ellipsoid of a known size at a known place, in air."""
    k, j, i = np.indices(shape)
    points = np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])
    ras = (matrix @ points)[:3].T
    body = (((ras - (matrix @ [*(np.array(shape[::-1]) / 2), 1])[:3]) / 130) ** 2).sum(1) < 1
    organ = (((ras - organ_ras) / ORGAN_AXES_MM) ** 2).sum(1) < 1
    hu = np.where(organ, BRIGHT_HU, np.where(body, 40, -1000)).reshape(shape)
    return Volume(hu.astype(dtype), matrix)


def axial_scan(spacing: tuple[float, float, float] = (2.0, 2.0, 3.0)) -> tuple[Volume, np.ndarray]:
    """A usual scan and where its organ is."""
    shape = tuple(int(size) for size in np.array([240, 260, 280]) / np.array(spacing[::-1]))
    matrix = placed(spacing, (140.0, 130.0, -900.0))
    organ = (matrix @ [*(np.array(shape[::-1]) * [0.55, 0.45, 0.5]), 1.0])[:3]
    return scan_with_organ(matrix, shape, organ), organ


def assert_organ_found(prediction, volume: Volume, organ_ras: np.ndarray, within_mm: float) -> None:
    truth = volume.array == BRIGHT_HU
    mask = prediction.mask.astype(bool)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9
    assert np.linalg.norm(centre_ras(mask, volume.ijk_to_ras) - organ_ras) < within_mm
    true_ml = 4 / 3 * np.pi * ORGAN_AXES_MM.prod() / 1000
    assert prediction.volume_ml == pytest.approx(true_ml, rel=0.08)
