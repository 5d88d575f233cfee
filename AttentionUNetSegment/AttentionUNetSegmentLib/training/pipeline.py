"""From a data folder to a model folder: both stages, one after the other."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..datasets.cases import CaseFiles, DataSet, LabelledCase
from ..datasets.checker import require_sound
from ..datasets.loading import find_cases, find_data_set, load_cases
from ..datasets.splits import SPLITS_FILE, Split, default_split, k_fold, load_splits, save_splits
from ..errors import InputError, TrainingError
from ..files import replace_text
from ..geometry.resampling import bounds_ras, grid_of
from ..inference.device import choose_device
from ..inference.progress import ProgressCallback, ignore_progress
from ..models import (
    Label,
    Model,
    ModelCard,
    Stage,
    Terminology,
    Usual,
    find_model,
    load_model,
    read_card,
    save_model,
)
from ..models.card import CARD_FILE, LARGEST_BYTES
from .distributed import Processes
from .naming import FIRST_VERSION, NO_LICENCE, Naming, data_terms, named
from .precision import in_bfloat16, precision_named
from .recipes import (
    SLICE_PIXELS,
    WINDOW_HU,
    WINDOW_PICTURE,
    Choices,
    locator_options,
    refiner_options,
    slice_options,
    trainings_of,
)
from .schedule import Budget
from .stage_options import StageOptions
from .trainer import StageTrainer

STAGES = ("all", "locator", "refiner")
LOCATOR_SHARE = 0.2
"""Of the budget: its images are coarse, and it only has to come near."""

START_FILE = "start.json"
TARGET_COLOR = (249, 180, 111)


def train_model(
    data: Path,
    output: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    stage: str = "all",
    start_from: str | None = None,
    synthetic: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    dimensions: int | None = None,
    target: str | None = None,
    splits: Path | None = None,
    folds: int | None = None,
    fold: int = 0,
    choices: Choices | None = None,
    progress: ProgressCallback | None = None,
    note: Callable[[str], None] = lambda text: None,
    tell: Callable[[str], None] = lambda text: None,
    naming: Naming | None = None,
    processes: Processes | None = None,
) -> Path:
    """Train the locator and the refiner, or a 2D network, and write a model folder.

    A run that was stopped goes on where it was when the same command is given again. Each stage
    keeps its options, its log and its last state in a folder of its own below ``output``;
    ``output/splits.json`` says which cases were learnt from.

    Args:
        data: folder of any layout that ``datasets`` reads.
        output: of the run; the model is ``output/model``.
        minutes, steps: the budget of both stages together; one of them.
        stage: "all", or one stage to train; the model is written with both.
        start_from: an installed model's name or a folder, with whose weights both stages start;
            one that is not trained keeps them.
        synthetic: how many made-up abdomens are mixed in; 8 into 3D training of BTCV's organs,
            which they have, none otherwise.
        precision: "auto" takes bfloat16 where the device computes in it.
        dimensions: 3 for both stages, 2 for one network slice by slice; the data set's, unless
            given.
        target: the label that counts; the data set's, unless given.
        splits: a file of splits of which the ``fold``-th is used.
        folds: draw so many splits by patient, and use the ``fold``-th.
        choices: what to change in the recipe.
        note: told what a user should know of the data and of the networks that came out.
        tell: told a line as training goes on: where the log of each stage is, loss and Dice at
            every validation, and what each stage came to.
        naming: what the model is called; see :class:`.naming.Naming` for what is chosen otherwise.
        processes: that train together, each on its own device; all call this function with the
            same arguments, and the first writes.

    Returns:
        The model folder.

    Raises:
        InputError: an option is wrong.
        TrainingError: the data cannot be used, or training failed.
        ModelError: no such network can be built.
        DeviceError: the device is not there.
    """
    _check(stage, precision, minutes, steps, synthetic)
    naming = naming or Naming()
    naming.check()
    report = progress or ignore_progress
    together = processes or Processes()
    where = together.device or choose_device(device)
    bfloat16 = in_bfloat16(precision, where)
    found = _with_target(find_data_set(data), target)
    flat = _dimensions(found, dimensions, stage) == 2
    for warning in require_sound(found, lambda part, text: report(0.01 * part, text)):
        note(warning.text)
    drawn = _splits(found, splits, folds, fold, seed)
    train, validation = find_cases(found, drawn[fold])
    train = _with_regions(train, choices.regions if choices else None)
    if synthetic is None:
        synthetic = 8 if found.layout == "btcv" and not flat else 0
    elif synthetic and found.layout != "btcv":
        raise InputError("Synthetic abdomens have BTCV's organs; this data set has other labels.")
    report(0.01, "Reading the scans")
    cases = load_cases(train, synthetic, lambda part, text: report(0.01 + 0.01 * part, text))
    held_out = load_cases(validation)

    if flat:
        budget = Budget(steps, minutes)
        options = {"refiner": slice_options(budget, _slice_spacing_mm(cases), seed)}
    else:
        options = {
            "locator": locator_options(_share(minutes, steps, LOCATOR_SHARE), seed),
            "refiner": refiner_options(_share(minutes, steps, 1 - LOCATOR_SHARE), seed),
        }
    options = {
        name: (choices or Choices()).applied_to(_for_data(one, found))
        for name, one in options.items()
    }
    for one in options.values():
        together.share(one.batch_size)  # or refuse it, before anything is written
    start = None if start_from is None else load_model(find_model(start_from))
    if start is not None:
        _check_start(start.card, found, options)
        before = trainings_of(start.card)
        options = {
            name: dataclasses.replace(one, trainings_before=before) for name, one in options.items()
        }
    if together.is_first:
        _keep_splits(output / SPLITS_FILE, drawn, fold, seed)
        _keep_start(output, start)
    networks: dict[str, nn.Module] = {}
    done: dict[str, dict[str, float]] = {}
    # A stage that is not trained takes no time, or the time left would be far off.
    ends = {"locator": {"all": LOCATOR_SHARE, "locator": 1.0}.get(stage, 0.0), "refiner": 1.0}
    begun = 0.0
    for name, stage_options in options.items():
        end = ends[name]

        def stage_progress(
            fraction: float, text: str, begun: float = begun, end: float = end, name: str = name
        ) -> None:
            report(begun + (end - begun) * fraction, f"Training the {name}: {text}")

        trainer = StageTrainer(
            stage_options,
            cases,
            held_out,
            output / name,
            where,
            bfloat16,
            stage_progress,
            None if start is None else start.networks[name].state_dict(),
            processes=together,
        )
        if stage in ("all", name):
            networks[name] = told_run(trainer, tell)
        else:
            networks[name] = trainer.state.average
        for text in trainer.warnings:
            note(f"The {name}: {text}")
        minutes_done = round(trainer.state.elapsed_s / 60, 1)
        done[name] = {"steps": trainer.state.step, "minutes": minutes_done}
        begun = end
    if together.is_first:
        card = model_card(found, options, cases, held_out, where, bfloat16)
        training = {**card.training, "processes": together.size, "done": done}
        if start is not None:
            training["started_from"] = _start_record(start.card)
        card = named(
            dataclasses.replace(card, training=training),
            naming,
            data_terms(data),
            output,
            before=_model_before(output / "model"),
            start=start.card if start else None,
        )
        save_model(output / "model", card, networks, most_bytes=LARGEST_BYTES)
    report(1.0, "Done")
    return output / "model"


def _model_before(folder: Path) -> ModelCard | None:
    """The card of the model that a run wrote earlier."""
    return read_card(folder) if (folder / CARD_FILE).exists() else None


def told_run(trainer: StageTrainer, tell: Callable[[str], None]) -> nn.Module:
    """Run a trainer, and tell a line at its start, at each validation and at its end."""
    name = trainer.options.stage
    trainer.on_validation = lambda step, record: tell(f"{name}, step {step}: {trainer.figures}")
    tell(f"Training the {name}; its log is {trainer.log_file}")
    network = trainer.run()
    tell(f"{name}, done: {trainer.summary}")
    return network


def _with_target(found: DataSet, target: str | None) -> DataSet:
    if target is None:
        return found
    names = {name.casefold(): name for name in found.labels[1:]}
    if target.casefold() not in names:
        raise InputError(
            f"The data set has no label '{target}'; choose one of {', '.join(found.labels[1:])}."
        )
    return dataclasses.replace(found, target=names[target.casefold()])


def _with_regions(train: list[CaseFiles], share: float | None) -> list[CaseFiles]:
    """The cases to learn from; without the cropped regions where none of the samples is theirs.

    Raises:
        InputError: a share is asked for, and there are none.
    """
    if share == 0:
        return [case for case in train if case.kind != "region"]
    if share is not None and not any(case.kind == "region" for case in train):
        raise InputError("The data set has no cropped regions; leave out --regions.")
    return train


def _dimensions(found: DataSet, dimensions: int | None, stage: str) -> int:
    chosen = found.dimensions if dimensions is None else dimensions
    if chosen not in (2, 3):
        raise InputError(f"A network has 2 or 3 dimensions, not {chosen}.")
    if chosen == 3 and found.dimensions == 2:
        raise InputError("The data set holds single slices; choose 2 dimensions.")
    if chosen == 2 and stage == "locator":
        raise InputError("A 2D model has no locator; train the stage 'refiner' or 'all'.")
    return chosen


def _splits(
    found: DataSet, splits: Path | None, folds: int | None, fold: int, seed: int
) -> list[Split]:
    """Which cases to learn from, a way for each fold."""
    if splits is not None and folds is not None:
        raise InputError("Give a file of splits or a number of folds, not both.")
    if splits is not None:
        drawn = load_splits(splits)
    elif folds is not None:
        drawn = k_fold(found.cases, folds, seed)
    else:
        drawn = [default_split(found, seed)]
    if not 0 <= fold < len(drawn):
        raise InputError(f"There is no fold {fold}; the first is 0, the last {len(drawn) - 1}.")
    return drawn


def _keep_splits(file: Path, splits: list[Split], fold: int, seed: int) -> None:
    """Write the splits beside the run, which is of one of them for good."""
    if not file.exists():
        save_splits(file, splits, fold=fold, seed=seed)
    elif fold >= len(before := load_splits(file)) or before[fold] != splits[fold]:
        raise TrainingError(
            f"'{file.parent}' holds a run with another split of the cases; choose another folder "
            "or the same split."
        )


def _check_start(card: ModelCard, found: DataSet, options: dict[str, StageOptions]) -> None:
    """Refuse a model whose weights do not fit what is to be trained.

    Raises:
        InputError: its labels, its target or its networks are others.
    """
    labels = [label.name for label in card.labels]
    if labels != list(found.labels) or card.target != found.target:
        raise InputError(
            f"{card.name} has other labels or another target than the data set; train without "
            "--from, or use finetune."
        )
    wanted = {name: Stage(one.network, one.patch.spacing_mm) for name, one in options.items()}
    for name in sorted(set(wanted) | set(card.stages)):
        if wanted.get(name) != card.stages.get(name):
            raise InputError(
                f"{card.name} has another {name} than is to be trained; leave out what changes the "
                "network or its voxels, or train without --from."
            )


def _keep_start(output: Path, start: Model | None) -> None:
    """Write beside the run what it started from, which is so for good."""
    file = output / START_FILE
    record = None if start is None else _start_record(start.card)
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrainingError(
                f"'{file}' does not say what a run started from; remove the folder to begin anew."
            ) from error
    else:
        # A run of before there was a choice, or none at all.
        before = None if any((output / name).exists() for name in STAGES) else record
    if before != record:
        raise TrainingError(
            f"'{output}' holds a run that started from other weights; choose another folder or "
            "the same start."
        )
    if record is not None:
        replace_text(file, json.dumps(record, indent=1) + "\n")


def _start_record(card: ModelCard) -> dict[str, Any]:
    """Where the weights were before, and how they came there."""
    return {
        "name": card.name,
        "version": card.version,
        "weights_sha256": card.weights.sha256 if card.weights else "",
        "training": card.training,
    }


def _for_data(options: StageOptions, found: DataSet) -> StageOptions:
    """A recipe for a data set's labels and intensities."""
    return dataclasses.replace(
        options,
        network={**options.network, "out_channels": len(found.labels)},
        target_label=found.labels.index(found.target),
        window_hu=_window(found),
    )


def _window(found: DataSet) -> tuple[float, float]:
    return WINDOW_HU if found.hounsfield else WINDOW_PICTURE


def _slice_spacing_mm(cases: Sequence[LabelledCase]) -> tuple[float, float, float]:
    """Pixels with which the recipe's slices span the widest scan, and the usual slice distance."""
    widths, distances = [], []
    for case in cases:
        grid = grid_of(case.ct)
        low, high = bounds_ras(grid)
        widths.append(float((high - low)[:2].max()))
        distances.append(float(np.abs(grid.ijk_to_ras[2, :3]).max()))
    in_plane = round(max(widths) / SLICE_PIXELS, 2)
    return in_plane, in_plane, round(float(np.median(distances)), 2)


def _check(
    stage: str, precision: str, minutes: float | None, steps: int | None, synthetic: int | None
) -> None:
    if stage not in STAGES:
        raise InputError(f"'{stage}' is no stage; choose one of {', '.join(STAGES)}.")
    precision_named(precision)
    if (minutes is None) == (steps is None):
        raise InputError("Give the training's budget in minutes or in steps, one of them.")
    if (minutes is not None and not minutes > 0) or (steps is not None and steps < 1):
        raise InputError("The training's budget must be above zero.")
    if synthetic is not None and synthetic < 0:
        raise InputError("The number of synthetic abdomens cannot be negative.")


def _share(minutes: float | None, steps: int | None, share: float) -> Budget:
    if steps is not None:
        return Budget(steps=max(round(steps * share), 1))
    assert minutes is not None
    return Budget(minutes=minutes * share)


def model_card(
    data: DataSet,
    options: dict[str, StageOptions],
    train: list[LabelledCase],
    validation: list[LabelledCase],
    device: torch.device,
    bfloat16: bool,
) -> ModelCard:
    """The card of a freshly trained model, to be named; ``evaluate --write-card`` adds the
    figures."""
    return ModelCard(
        name="unnamed",
        version=FIRST_VERSION,
        title=f"{data.target.capitalize()} in CT",
        summary=_summary(data, options),
        intended_use="Research use only; not a medical device.",
        licence=NO_LICENCE,
        citation=(METHOD,),
        intensity_window_hu=_window(data),
        labels=labels_of(data),
        target=data.target,
        stages={name: Stage(one.network, one.patch.spacing_mm) for name, one in options.items()},
        training=training_record(options, train, validation, device, bfloat16),
        usual=_usual(data, train),
    )


def _usual(data: DataSet, train: list[LabelledCase]) -> Usual:
    """What the training alone tells; pictures of slices do not say how far apart they are."""
    if not data.hounsfield:
        return Usual()
    return Usual(slice_mm=max(round(max(case.ct.spacing_mm), 2) for case in train))


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


METHOD = (
    "Oktay et al. 2018, Attention U-Net: Learning Where to Look for the Pancreas, arXiv 1804.03999"
)


def labels_of(data: DataSet) -> tuple[Label, ...]:
    """The labels, with the pancreas's terminology; the target has a color."""
    pancreas = Terminology(
        category=("SCT", "123037004", "Anatomical Structure"),
        type=("SCT", "15776009", "Pancreas"),
    )
    return tuple(
        Label(
            value,
            name,
            TARGET_COLOR if name == data.target else None,
            pancreas if name == "pancreas" else None,
        )
        for value, name in enumerate(data.labels)
    )


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
        "precision": "bfloat16" if bfloat16 else "float32",
        "machine": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "format": dataclasses.asdict(LearnedFormat()),
    }


@dataclasses.dataclass(frozen=True)
class LearnedFormat:
    """What every user of the weights must feed them with."""

    image: str = "CT, windowed to [0, 1], axes along right, anterior, superior"
    clicks: str = "Gaussians of 5 mm: inside, outside"
