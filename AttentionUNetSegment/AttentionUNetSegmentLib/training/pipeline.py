"""From a data folder to a model folder: both stages, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..datasets.cases import CaseFiles, DataSet, LabelledCase
from ..datasets.checker import Finding
from ..datasets.layouts.btcv import tell_tumours_apart
from ..datasets.loading import (
    BTCV_LABELS,
    find_cases,
    find_data_set,
    load_cases,
    load_sound_cases,
)
from ..datasets.splits import SPLITS_FILE, Split, default_split, k_fold, load_splits, save_splits
from ..errors import InputError, TrainingError
from ..files import replace_text
from ..inference.device import choose_device
from ..inference.progress import ProgressCallback, ignore_progress
from ..models import (
    ANY_STRUCTURE,
    EDITOR,
    TARGET,
    Editor,
    Model,
    ModelCard,
    Stage,
    find_model,
    load_model,
    read_card,
    require_writable,
    save_model,
)
from ..models.card import CARD_FILE, LARGEST_BYTES
from ..models.card import STAGES as STAGE_NAMES
from ..networks import outline_network
from ..networks.precision import uses_bfloat16
from .choices import Choices
from .distributed import Processes
from .editor import EditorTrainer, editor_weights
from .fat import FatTrainer, learns_fat, with_background_classes
from .model_card import fresh_card, training_record, with_editor
from .naming import Naming, complete_card, read_data_terms
from .recipes import (
    SLICE_PIXELS,
    any_structure_options,
    count_trainings,
    editor_options,
    intensity_window,
    locator_options,
    refiner_options,
    slice_options,
)
from .run_folder import lock_run
from .sampling import learnt_kinds
from .schedule import Budget
from .stage_options import StageOptions
from .structures import StructureTrainer
from .trainer import StageTrainer
from .training_options import TrainingOptions

LOCATOR_SHARE = 0.2
"""Of the budget: its images are coarse, and it only has to come near."""
STAGE_SPANS = {
    "all": {"locator": (0.0, LOCATOR_SHARE), "refiner": (LOCATOR_SHARE, 1.0)},
    "locator": {"locator": (0.0, 1.0), "refiner": (1.0, 1.0)},
    "refiner": {"locator": (0.0, 0.0), "refiner": (0.0, 1.0)},
    EDITOR: {EDITOR: (0.0, 1.0)},
}
"""Parts of the progress bar. A stage that is not trained takes no time, or the time left would be
far off."""
START_FILE = "start.json"
_EDITOR_KEPT = (
    "The editor, which answers clicks, is that of {}, trained beside the refiner before; train "
    "with --stage editor --from this model to adapt it."
)


def train_model(
    data: Path,
    output: Path,
    options: TrainingOptions | None = None,
    *,
    choices: Choices | None = None,
    naming: Naming | None = None,
    progress: ProgressCallback | None = None,
    note: Callable[[str], None] = lambda text: None,
    tell: Callable[[str], None] = lambda text: None,
    processes: Processes | None = None,
    **settings: Any,
) -> Path:
    """Train the locator and the refiner, a 2D network or an editor, and write a model folder.

    A run that was stopped goes on where it was when the same command is given again. Each stage
    keeps its options, its log and its last state in a folder of its own below ``output``;
    ``output/splits.json`` says which cases were learnt from.

    >>> train_model(Path("data"), Path("run"), TrainingOptions(minutes=60))
    >>> train_model(Path("data"), Path("run"), minutes=60)  # the same

    Args:
        data: folder of any layout that ``datasets`` reads.
        output: of the run; the model is ``output/model``.
        options: what to train, on which of the data, and for how long.
        choices: what to change in the recipe.
        naming: what the model is called; see :class:`.naming.Naming` for what is chosen otherwise.
        note: told what a user should know of the data and of the networks that came out.
        tell: told a line as training goes on: where the log of each stage is, loss and Dice at
            every validation, and what each stage came to.
        processes: that train together, each on its own device; all call this function with the
            same arguments, and the first writes.
        settings: fields of TrainingOptions by their names, in place of ``options`` or over it.

    Returns:
        The model folder.

    Raises:
        InputError: an option is wrong.
        TrainingError: the data cannot be used, or training failed.
        ModelError: no such network can be built.
        DeviceError: the device is not there.
    """
    options = replace(options, **settings) if options else TrainingOptions(**settings)
    choices, naming = choices or Choices(), naming or Naming()
    naming.check()
    report, together = progress or ignore_progress, processes or Processes()
    with ExitStack() as during:
        return _train(data, output, options, choices, naming, report, note, tell, together, during)


def _train(
    data: Path,
    output: Path,
    options: TrainingOptions,
    choices: Choices,
    naming: Naming,
    report: ProgressCallback,
    note: Callable[[str], None],
    tell: Callable[[str], None],
    together: Processes,
    during: ExitStack,
) -> Path:
    """As :func:`train_model`; what ends with the training is left to ``during``."""
    device = together.device or choose_device(options.device)
    bfloat16 = uses_bfloat16(options.precision, device)
    found = _choose_labels(find_data_set(data), options)
    flat = _dimensions(found, options.dimensions, options.stage) == 2
    start = None if options.start_from is None else load_model(find_model(options.start_from))
    stages: dict[str, StageOptions] = {}
    parts: dict[int, int] = {}
    if start is not None and options.stage == EDITOR:
        stages[EDITOR] = _editor_options(start.card, found, options, choices)
        # The refiner answers with its own labels, whatever their values are in the data.
        names = [label.name for label in start.card.labels]
        if options.any_structure:
            found, names, parts = _with_all_structures(found, names)
        found = found.relabelled(names, start.card.target)
    synthetic = _synthetic_count(found, options.synthetic, flat)
    splits = _splits(found, options)
    split = splits[options.fold]
    train, held_out, warnings = _load(found, split, synthetic, choices.regions, report)
    for warning in warnings:
        note(warning.text)

    if not stages:
        if start is not None and choices.fat is None and "refiner" in start.card.stages:
            choices = replace(choices, fat=learns_fat(start.card.stages["refiner"].network) or None)
        stages = _stage_options(found, options, choices, train, flat)
        if start is not None:
            _check_start(start.card, found, stages)
            before = count_trainings(start.card)
            stages = {name: replace(one, trainings_before=before) for name, one in stages.items()}
    for one in stages.values():  # refused before anything is written, or the first is trained
        together.share(one.batch_size)
        learnt_kinds(one, train)
        outline_network(one.network)
    if together.is_first:
        lock_run(output, during)
        if (output / "model").exists():
            require_writable(output / "model")
        about = {"labels": list(found.labels), "synthetic": synthetic}
        _keep_splits(output / SPLITS_FILE, splits, options.fold, options.seed, about)
        _keep_start(output, start)
    networks: dict[str, nn.Module] = {}
    done: dict[str, dict[str, float]] = {}
    for name, one in stages.items():
        trainer = _trainer(
            one,
            train,
            held_out,
            output / name,
            device,
            bfloat16,
            _part_of(report, *STAGE_SPANS[options.stage][name], f"Training the {name}: "),
            start,
            together,
            parts,
        )
        is_trained = options.stage in ("all", name)
        networks[name] = run_telling(trainer, tell) if is_trained else trainer.state.average
        for text in trainer.warnings:
            note(f"The {name}: {text}")
        minutes = round(trainer.state.elapsed_s / 60, 1)
        done[name] = {"steps": trainer.state.step, "minutes": minutes}
    if together.is_first:
        record = training_record(stages, train, held_out, device, bfloat16)
        record |= {"processes": together.size, "done": done}
        if start is not None and EDITOR in stages:
            networks = {**start.networks, **networks}
            card = with_editor(start.card, stages[EDITOR], record)
        else:
            if start is not None:
                record["started_from"] = _start_record(start.card)
            card = fresh_card(found, stages, train, record)
            if start is not None and start.card.editor is not None:
                networks[EDITOR] = start.networks[EDITOR]
                card = replace(card, editor=start.card.editor)
                note(_EDITOR_KEPT.format(start.card.name))
        card = complete_card(
            card,
            naming,
            read_data_terms(data),
            output,
            before=_model_before(output / "model"),
            start=start.card if start else None,
        )
        save_model(output / "model", card, networks, most_bytes=LARGEST_BYTES)
    report(1.0, "Done")
    return output / "model"


def _trainer(
    options: StageOptions,
    train: list[LabelledCase],
    held_out: list[LabelledCase],
    folder: Path,
    device: torch.device,
    bfloat16: bool,
    report: Callable[[float, str], None],
    start: Model | None,
    processes: Processes,
    parts: dict[int, int],
) -> StageTrainer:
    """What trains a stage, or the editor beside the model that a run starts from."""
    common = (options, train, held_out, folder, device, bfloat16, report)
    if start is not None and options.stage == EDITOR:
        beside: dict[str, Any] = {
            "processes": processes,
            "refiner": start.networks["refiner"],
            "refiner_cases": _cases_learnt(start.card),
        }
        begun = _editor_weights(start, options)
        if options.any_structure:
            return StructureTrainer(*common, begun, **beside, parts=parts)
        return EditorTrainer(*common, begun, **beside)
    weights = None
    if start is not None:
        weights = with_background_classes(start.networks[options.stage], options.network)
    made = FatTrainer if learns_fat(options.network) else StageTrainer
    return made(*common, weights, processes=processes)


def _part_of(
    report: ProgressCallback, begin: float, end: float, prefix: str = ""
) -> Callable[[float, str], None]:
    """A progress callback for a part of the work."""
    return lambda fraction, text: report(begin + (end - begin) * fraction, f"{prefix}{text}")


def run_telling(trainer: StageTrainer, tell: Callable[[str], None]) -> nn.Module:
    """Run a trainer, and tell a line at its start, at each validation and at its end."""
    name = trainer.options.stage
    trainer.on_validation = lambda step, record: tell(f"{name}, step {step}: {trainer.figures}")
    tell(f"Training the {name}; its log is {trainer.log_file}")
    network = trainer.run()
    tell(f"{name}, done: {trainer.summary}")
    return network


# The data


def _load(
    found: DataSet,
    split: Split,
    synthetic: int,
    regions: float | None,
    report: ProgressCallback,
) -> tuple[list[LabelledCase], list[LabelledCase], list[Finding]]:
    """Cases to learn from, those held out, and the warnings; each file is read once."""
    left_out = {case.name for case in found.cases if case.kind == "region" and regions == 0}
    wanted = {*split.train} - left_out | {*split.validation}
    cases, warnings = load_sound_cases(found, wanted, _part_of(report, 0.0, 0.015))
    train, validation = find_cases(found, split)
    train = _with_regions(train, regions)
    made = load_cases((), synthetic, _part_of(report, 0.015, 0.02))
    return (
        [*(cases[one.name] for one in train), *made],
        [cases[one.name] for one in validation],
        warnings,
    )


def _synthetic_count(found: DataSet, wanted: int | None, flat: bool) -> int:
    theirs = found.labels == tuple(BTCV_LABELS)  # of which a part may have been chosen
    if wanted and not theirs:
        raise InputError("Synthetic abdomens have BTCV's organs; this data set has other labels.")
    if wanted is None:
        return 8 if theirs and found.layout == "btcv" and not flat else 0
    return wanted


def _choose_labels(found: DataSet, options: TrainingOptions) -> DataSet:
    if options.labels is not None:
        found = found.with_labels([name.strip() for name in options.labels.split(",")])
    return found.with_target(options.target)


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


def _splits(found: DataSet, options: TrainingOptions) -> list[Split]:
    """Which cases to learn from, a way for each fold."""
    if options.splits is not None and options.folds is not None:
        raise InputError("Give a file of splits or a number of folds, not both.")
    if options.splits is not None:
        splits = load_splits(options.splits)
    elif options.folds is not None:
        splits = k_fold(found.cases, options.folds, options.seed)
    else:
        splits = [default_split(found, options.seed)]
    if not 0 <= options.fold < len(splits):
        raise InputError(
            f"There is no fold {options.fold}; the first is 0, the last {len(splits) - 1}."
        )
    return splits


def _keep_splits(
    file: Path, splits: list[Split], fold: int, seed: int, about: dict[str, Any]
) -> None:
    """Write the splits beside the run, which is of one of them for good, and what else of the data
    no stage's options tell."""
    if not file.exists():
        save_splits(file, splits, fold=fold, seed=seed, **about)
        return
    before, content = load_splits(file), json.loads(file.read_text(encoding="utf-8-sig"))
    kept = content.get("fold", fold)
    if kept >= len(before) or before[kept] != splits[fold]:
        raise TrainingError(
            f"'{file.parent}' holds a run with another split of the cases; choose another folder "
            "or the same split."
        )
    # What the run's version did not keep yet cannot be compared.
    changed = [f"--{name}" for name in about if content.get(name, about[name]) != about[name]]
    if changed:
        raise TrainingError(
            f"'{file.parent}' holds a run with other data ({', '.join(changed)}); choose another "
            "folder or the same."
        )


# The stages


def _stage_options(
    found: DataSet,
    options: TrainingOptions,
    choices: Choices,
    train: Sequence[LabelledCase],
    flat: bool,
) -> dict[str, StageOptions]:
    """The recipe of each stage, for the data and with what the user changes."""
    if choices.fat and not found.hounsfield:
        raise InputError(
            "Fat is told by its Hounsfield units, which pictures do not have; leave out --fat."
        )
    if flat:
        budget = Budget(options.steps, options.minutes)
        recipes = {"refiner": slice_options(budget, _slice_spacing_mm(train), options.seed)}
    else:
        recipes = {
            "locator": locator_options(_budget(options, LOCATOR_SHARE), options.seed),
            "refiner": refiner_options(_budget(options, 1 - LOCATOR_SHARE), options.seed),
        }
    return {name: choices.applied_to(_for_data(one, found)) for name, one in recipes.items()}


def _editor_options(
    card: ModelCard, found: DataSet, options: TrainingOptions, choices: Choices
) -> StageOptions:
    """The recipe of an editor beside a model's refiner.

    Raises:
        InputError: the data set has another target, or the refiner is one that has no editor.
    """
    refiner = card.stages["refiner"]
    if found.dimensions != 3 or refiner.network["dimensions"] != 3:
        raise InputError("An editor is trained on volumes, beside a refiner of 3 dimensions.")
    if found.named and card.target != found.target:
        raise InputError(
            f"{card.name} segments the {card.target}, but the data set's target is "
            f"{found.target}; choose another --target or another model."
        )
    if len(card.channels_of(card.target_label)) > 1:
        raise InputError(
            f"The {card.target} of {card.name} has parts that are targets too; an editor is "
            "trained for an organ without parts only."
        )
    made = editor_options(Budget(options.steps, options.minutes), refiner, options.seed)
    begun = _begun_editor(card, options.any_structure)
    if begun is not None:
        made = replace(made, network=dict(begun.network))
    if options.any_structure:
        made = any_structure_options(made)
    made = replace(
        made,
        target_label=card.target_label.value,
        window_hu=card.intensity_window_hu,
        trainings_before=0 if begun is None else 1,
    )
    return choices.applied_to(made)


def _with_all_structures(
    found: DataSet, names: list[str]
) -> tuple[DataSet, list[str], dict[int, int]]:
    """A data set whose every label is a structure, also those that the model has no name for.

    Args:
        names: the model's labels, by value.

    Returns:
        The data set; names by value, the model's first; and from the value of a part to that of
        the organ that it is of.
    """
    found = tell_tumours_apart(found)
    known = {name.casefold() for name in names}
    names = [*names, *(name for name in found.labels[1:] if name.casefold() not in known)]
    values = {name.casefold(): value for value, name in enumerate(names)}
    parts = {
        values[part.casefold()]: values[whole.casefold()] for part, whole in found.part_of.items()
    }
    return found, names, parts


def _begun_editor(card: ModelCard, any_structure: bool) -> Editor | None:
    """A model's editor, where it answers what the new one is to answer."""
    editor, answers = card.editor, ANY_STRUCTURE if any_structure else TARGET
    return editor if editor is not None and answers in editor.answers else None


def _editor_weights(start: Model, options: StageOptions) -> dict[str, torch.Tensor]:
    """Of a model's editor, or of the refiner, which a first one starts as."""
    if _begun_editor(start.card, options.any_structure) is not None:
        return dict(start.networks[EDITOR].state_dict())
    refiner, target = start.networks["refiner"], start.card.target_label.value
    return editor_weights(options.network, refiner, target)


def _cases_learnt(card: ModelCard) -> list[str]:
    """Names of the cases that a model's weights learnt from, as far as its card tells."""
    cases = card.training.get("cases", {})
    return [name for names in cases.values() if isinstance(names, list) for name in names]


def _budget(options: TrainingOptions, share: float) -> Budget:
    if options.steps is not None:
        return Budget(steps=max(round(options.steps * share), 1))
    assert options.minutes is not None
    return Budget(minutes=options.minutes * share)


def _for_data(options: StageOptions, found: DataSet) -> StageOptions:
    """A recipe for a data set's labels and intensities."""
    return replace(
        options,
        network={**options.network, "out_channels": len(found.labels)},
        target_label=found.labels.index(found.target),
        window_hu=intensity_window(found),
    )


def _slice_spacing_mm(cases: Sequence[LabelledCase]) -> tuple[float, float, float]:
    """Pixels with which the recipe's slices span the widest scan, and the usual slice distance."""
    widths, distances = [], []
    for case in cases:
        widths.append(float(case.ct.grid.bounds.extent_mm[:2].max()))
        distances.append(float(np.abs(case.ct.ijk_to_ras[2, :3]).max()))
    in_plane = round(max(widths) / SLICE_PIXELS, 2)
    return in_plane, in_plane, round(float(np.median(distances)), 2)


# What a run starts from, and what it wrote before


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
        if not _begins_as(wanted.get(name), card.stages.get(name)):
            raise InputError(
                f"{card.name} has another {name} than is to be trained; leave out what changes the "
                "network or its voxels, or train without --from."
            )


def _begins_as(wanted: Stage | None, given: Stage | None) -> bool:
    """Whether a stage can begin with a model's weights: it is the same, or tells fat from the rest
    of the background in addition."""
    if wanted is None or given is None:
        return wanted is given
    if learns_fat(wanted.network) and not learns_fat(given.network):
        if given.network["name"] == "FCN":
            return False
        classes = wanted.network["background_classes"]
        given = replace(given, network={**given.network, "background_classes": classes})
    return wanted == given


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
        before = None if any((output / name).exists() for name in STAGE_NAMES) else record
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


def _model_before(folder: Path) -> ModelCard | None:
    """The card of the model that a run wrote earlier."""
    return read_card(folder) if (folder / CARD_FILE).exists() else None
