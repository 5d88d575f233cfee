"""The card of a freshly trained model: what it is, and what it was trained on."""

from __future__ import annotations

import dataclasses
import platform
import re
from typing import Any

import numpy as np
import torch

from ..datasets.cases import DataSet, LabelledCase
from ..inference.statistics import extent_mm
from ..models import ANY_STRUCTURE, Editor, Label, ModelCard, Search, Stage, Target, Usual
from ..models.terminology import TARGET_COLOR, make_label
from ..networks.precision import BFLOAT16, FLOAT32
from .naming import FIRST_VERSION, NO_LICENCE
from .recipes import intensity_window
from .stage_options import StageOptions

ROOM = 1.2
"""Times the size of the largest target that was learnt from: others may be larger."""
METHOD = (
    "Oktay et al. 2018, Attention U-Net: Learning Where to Look for the Pancreas, arXiv 1804.03999"
)


def fresh_card(
    data: DataSet,
    options: dict[str, StageOptions],
    train: list[LabelledCase],
    training: dict[str, Any],
) -> ModelCard:
    """The card of a freshly trained model, to be named; ``evaluate --write-card`` adds the figures.

    Args:
        options: of each stage.
        train: the cases that it learnt from.
        training: as of :func:`training_record`.
    """
    return ModelCard(
        name="unnamed",
        version=FIRST_VERSION,
        title=f"{data.target.capitalize()} in CT",
        summary=_summary(data, options),
        intended_use="Research use only; not a medical device.",
        licence=NO_LICENCE,
        citation=(METHOD,),
        intensity_window_hu=intensity_window(data),
        labels=card_labels(data),
        target=data.target,
        targets=card_targets(data),
        search=_search(data, train),
        stages={name: Stage(one.network, one.patch.spacing_mm) for name, one in options.items()},
        training=training,
        usual=_usual(data, train),
    )


def _usual(data: DataSet, train: list[LabelledCase]) -> Usual:
    """What the training alone tells; pictures of slices do not say how far apart they are."""
    if not data.hounsfield:
        return Usual()
    return Usual(slice_mm=max(round(max(case.ct.spacing_mm), 2) for case in train))


def card_targets(data: DataSet) -> tuple[Target, ...]:
    """The target and its parts, as a lesion is of its organ; none where it stands alone."""
    parts = [name for name in data.labels if data.part_of.get(name) == data.target]
    if not parts:
        return ()
    return (Target(data.target), *(Target(name, data.target) for name in parts))


def _search(data: DataSet, train: list[LabelledCase]) -> Search:
    """Room for the largest target of the whole scans that were learnt from, and a fourth of the
    least volume; the usual sizes where these do."""
    usual = Search()
    wanted = [data.target, *(one.name for one in card_targets(data)[1:])]
    values = [data.labels.index(name) for name in wanted]
    volumes_ml, extents = [], []
    for case in train:
        mask = np.isin(case.labels.array, values)
        if case.kind in ("scan", "corrected") and mask.any():
            volumes_ml.append(int(mask.sum()) * case.ct.voxel_volume_ml)
            extents.append(extent_mm(mask, case.ct.ijk_to_ras))
    if not extents or not data.hounsfield:
        return usual
    room = ROOM * np.max(extents, axis=0)
    largest = np.maximum(usual.largest_box_mm, np.ceil(room + 2 * np.array(usual.margin_mm)))
    around_click = np.maximum(usual.click_margin_mm, np.ceil(room / 2))
    return dataclasses.replace(
        usual,
        least_volume_ml=round(min(usual.least_volume_ml, min(volumes_ml) / 4), 1),
        largest_box_mm=tuple(largest.tolist()),
        click_margin_mm=tuple(around_click.tolist()),
    )


def _summary(data: DataSet, options: dict[str, StageOptions]) -> str:
    refiner = options["refiner"]
    i, j, k = (f"{step:g}" for step in refiner.patch.spacing_mm)
    name = re.sub(r"(?<=[a-z])(?=U)", " ", str(refiner.network["name"])).replace("UNet", "U-Net")
    if "locator" not in options:
        return f"A 2D {name} that outlines the {data.target} slice by slice at {i} x {j} mm."
    coarse = f"{options['locator'].patch.spacing_mm[0]:g}"
    return (
        f"A coarse-to-fine pair of 3D {name}s: the locator finds the {data.target} in the whole "
        f"scan at {coarse} mm, the refiner outlines it at {i} x {j} x {k} mm and takes clicks."
    )


def card_labels(data: DataSet) -> tuple[Label, ...]:
    """The labels, with the terminology and colors of those that are known; the target has one."""
    labels = [make_label(value, name) for value, name in enumerate(data.labels)]
    return tuple(
        dataclasses.replace(label, color=label.color or TARGET_COLOR)
        if label.name == data.target
        else label
        for label in labels
    )


def with_editor(card: ModelCard, options: StageOptions, training: dict[str, Any]) -> ModelCard:
    """A model's card with an editor that was trained beside it. Of one that answers clicks at the
    target, figures of clicks, which another network answered, are left out."""
    if card.editor is not None and options.trainings_before:
        training = {**training, "started_from": dict(card.editor.training)}
    if options.any_structure:
        editor = Editor(options.network, training, answers=(ANY_STRUCTURE,))
        return dataclasses.replace(card, editor=editor, weights=None)
    figures = {
        split: {**of_split, "clicks": {"0": of_split["clicks"]["0"]}}
        if isinstance(of_split, dict) and "0" in of_split.get("clicks", {})
        else of_split
        for split, of_split in card.figures.items()
    }
    editor = Editor(options.network, training)
    return dataclasses.replace(card, editor=editor, figures=figures, weights=None)


def training_record(
    options: dict[str, StageOptions],
    train: list[LabelledCase],
    validation: list[LabelledCase],
    device: torch.device,
    bfloat16: bool,
) -> dict[str, Any]:
    """What was learnt from and how, for the card."""
    names: dict[str, list[str]] = {}
    for case in train:
        names.setdefault(case.kind, []).append(case.name)
    recipe = {}
    for name, one in options.items():
        settings = one.to_json()
        # The network is in the card already; the rest is the recipe.
        recipe[name] = {key: value for key, value in settings.items() if key != "network"}
    return {
        "cases": names,
        "held_out": [case.name for case in validation],
        "recipe": recipe,
        "device": device.type,
        "precision": BFLOAT16 if bfloat16 else FLOAT32,
        "machine": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "format": dataclasses.asdict(LearnedFormat()),
    }


@dataclasses.dataclass(frozen=True)
class LearnedFormat:
    """What every user of the weights must feed them with."""

    image: str = "CT, windowed to [0, 1], axes along right, anterior, superior"
    clicks: str = "Gaussians of 5 mm: inside, outside"
