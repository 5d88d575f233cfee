"""Go on training a model on a few cases that a user has corrected.

The cases show one organ only, and there are few of them: so the learning rate is low, only the
refiner learns unless more is asked for, cases of the original data are mixed in where there are
any, and cases that are held out decide when to stop and whether the result is better at all.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..datasets.cases import CaseFiles, CaseKind, DataSet, LabelledCase
from ..datasets.loading import find_cases, find_data_set, load_cases, load_sound_cases
from ..datasets.splits import Split, held_out_split
from ..errors import InputError, ModelError, TrainingError
from ..evaluation.evaluate import Evaluation, evaluate_case
from ..files import replace_text, require_takes_results
from ..geometry.volume import Volume
from ..inference.device import choose_device
from ..inference.predictor import Predictor
from ..inference.progress import ProgressCallback, ignore_progress
from ..markdown import markdown_table
from ..models import (
    EDITOR,
    LARGEST_BYTES,
    TARGET,
    Model,
    ModelCard,
    find_model,
    installed_models,
    load_model,
    require_writable,
    save_model,
    user_models_folder,
)
from ..networks.precision import uses_bfloat16
from ..wording import counted
from .editor import EditorTrainer
from .finetuning_options import HELD_OUT, FinetuningOptions
from .pipeline import run_telling
from .recipes import count_trainings, editor_options, locator_options, refiner_options
from .run_folder import lock_run
from .schedule import LearningRate
from .stage_options import StageOptions
from .trainer import StageTrainer

ORIGINAL_SHARE = 0.5
"""Of the samples, those of the original data where there is any."""
LOCATOR_SHARE = 0.3
"""Of the budget, where both stages learn."""
AVERAGE_DECAY = 0.99
"""Of the weights' moving average: a few hundred steps must show in it."""
LOOK_EVERY_STEPS = 25
PATIENCE = 8
"""Looks at the held-out cases that find them no better before training ends."""
EDITOR_CLICKS = 3
"""Clicks after which an editor is judged."""
MODEL_SUFFIX = "-finetuned"
TITLE_SUFFIX = ", finetuned"
RUN_FILE = "run.json"
TRAINING_STARTS, TRAINING_ENDS = 0.1, 0.94  # of the progress bar; reading and measuring around it


class NotBetter(TrainingError):  # noqa: N818
    """The run is over, and its model is no better than the one that it started from."""


@dataclass(frozen=True)
class Outcome:
    """What finetuning came to.

    Args:
        folder: the new model's, the installed one if it was to be installed; None where it was not
            better and none was written.
        before, after: the model and the finetuned one on the cases held out of the corrected ones.
        original_before, original_after: the same on those of the original data, where it was given.
        clicks: of the simulated user, after which the two are compared.
    """

    folder: Path | None
    before: Evaluation
    after: Evaluation
    original_before: Evaluation | None = None
    original_after: Evaluation | None = None
    clicks: int = 0

    @property
    def better(self) -> bool:
        return self.after.mean_dice(self.clicks) > self.before.mean_dice(self.clicks)

    def to_markdown(self) -> str:
        """Tables of before and after, and what follows from them."""
        held_out = len(self.after.with_clicks(self.clicks))
        clicks = f" after {counted(self.clicks, 'click')}" if self.clicks else ""
        old, new = self.before.mean_dice(self.clicks), self.after.mean_dice(self.clicks)
        verdict = "better" if self.better else "**not better**"
        lines = [
            f"Finetuned from {self.before.model} {self.before.version}, {self.after.machine}.",
            "",
            f"On {_count_cases(held_out)} held out of the corrected ones the finetuned model is "
            f"{verdict}: mean Dice{clicks} {old:.3f} before, {new:.3f} after. The same cases "
            "decided when to stop, so the figure after is a little too good.",
            "",
            *comparison_table(self.before, self.after, self.clicks),
        ]
        if self.original_before is not None and self.original_after is not None:
            lines += [
                "",
                "On the held-out cases of the original data, which show what was forgotten:",
                "",
                *comparison_table(self.original_before, self.original_after, self.clicks),
            ]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        return {
            name: None if one is None else one.to_json()
            for name, one in (
                ("before", self.before),
                ("after", self.after),
                ("original_before", self.original_before),
                ("original_after", self.original_after),
            )
        } | {"better": self.better, "model": None if self.folder is None else str(self.folder)}


def comparison_table(before: Evaluation, after: Evaluation, clicks: int = 0) -> list[str]:
    """Rows of a table: Dice of each case after some clicks, before and after, and their means."""
    pairs = zip(before.with_clicks(clicks), after.with_clicks(clicks), strict=True)
    rows = [(old.case, old.scores.dice, new.scores.dice) for old, new in pairs]
    means = ("**mean**", before.mean_dice(clicks), after.mean_dice(clicks))
    return markdown_table(
        ("case", "Dice before", "Dice after", "change"),
        [
            (case, f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}")
            for case, old, new in [*rows, means]
        ],
    )


def finetune_model(
    model: str,
    data: Path,
    output: Path,
    options: FinetuningOptions,
    progress: ProgressCallback | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Continue from a model on corrected cases, and write a new one if it is better.

    A run that was stopped goes on where it was when the same command is given again.

    Args:
        model: name of an installed model, or a model's folder.
        data: the corrected cases, in any layout that ``train`` reads. Their labels that the model
            has too are learnt; its target must be one of them.
        output: of the run; the new model is ``output/model``, the comparison
            ``output/finetuning.md`` and ``.json``.
        tell: told a line as training goes on, as by ``train_model``.

    Raises:
        InputError: an option is wrong.
        ModelError: the model cannot be loaded, or one of the new name is installed already.
        TrainingError: the data cannot be used, training failed, or the result is not better; then
            the message gives both figures, and the comparison is written all the same.
        DeviceError: the device is not there.
        OutputError: the run cannot be written into its folder.
    """
    with ExitStack() as during:
        return _finetune(model, data, output, options, progress or ignore_progress, tell, during)


def _finetune(
    model: str,
    data: Path,
    output: Path,
    options: FinetuningOptions,
    report: ProgressCallback,
    tell: Callable[[str], None],
    during: ExitStack,
) -> Outcome:
    """As :func:`finetune_model`; what ends with the run is left to ``during``."""
    require_takes_results(output)
    device = choose_device(options.device)
    base = load_model(find_model(model))
    _check_model(base.card, options)
    corrected = match_labels(base.card, data, kind="corrected")
    for note in corrected.notes:
        tell(note)
    split = choose_held_out(corrected, options.held_out, options.seed)
    learnt, judged = find_cases(corrected, split)
    others: list[CaseFiles] = []
    others_judged: list[CaseFiles] = []
    if options.original is not None:
        others, others_judged = find_cases(match_labels(base.card, options.original))

    names = {*split.train, *split.validation}
    loaded, _ = load_sound_cases(corrected, names, lambda done, text: report(0.03 * done, text))
    held_out = [loaded[case.name] for case in judged]
    original = load_cases(others, progress=lambda done, text: report(0.03 + 0.03 * done, text))
    original, known = without_patients_of(held_out, original)
    if known:
        tell(
            f"Of the original data, {_count_cases(len(known))} ({', '.join(known)}) of patients "
            "whose corrected scans are held out will not be learnt from."
        )
    lock_run(output, during)
    if (output / "model").exists():
        require_writable(output / "model")
    _keep_run(
        output,
        base.card,
        {
            "learnt": split.train,
            "held_out": split.validation,
            "original": [case.name for case in original],
            "original_held_out": [case.name for case in others_judged],
        },
    )
    cases = [*(loaded[case.name] for case in learnt), *original]
    original_held_out = load_cases(others_judged)

    clicks = EDITOR_CLICKS if options.stage == EDITOR else 0

    def measure(model: Model, fraction: float) -> tuple[Evaluation, Evaluation | None]:
        report(fraction, f"Measuring {model.card.name} on the held-out cases")
        return (
            evaluate_cases(model, held_out, "held out", options.device, clicks),
            evaluate_cases(model, original_held_out, "original, held out", options.device, clicks)
            if original_held_out
            else None,
        )

    before, original_before = measure(base, 0.06)
    networks = _train(base, options, cases, held_out, output, device, report, tell)
    with tempfile.TemporaryDirectory() as temporary:
        # What is measured is what would be written, in half precision.
        candidate = Path(temporary) / "model"
        save_model(candidate, rename_card(base.card, options.name), networks, LARGEST_BYTES)
        after, original_after = measure(load_model(candidate), TRAINING_ENDS)
    outcome = Outcome(None, before, after, original_before, original_after, clicks)
    if outcome.better or options.even_if_worse:
        card = finetuned_card(base, options, outcome, split, cases)
        folders = [output / "model"]
        if options.install:
            folders.append(user_models_folder() / card.name)
        for folder in folders:
            save_model(folder, card, networks, LARGEST_BYTES)
        outcome = dataclasses.replace(outcome, folder=folders[-1])
    replace_text(output / "finetuning.json", json.dumps(outcome.to_json(), indent=1) + "\n")
    replace_text(output / "finetuning.md", outcome.to_markdown())
    if outcome.folder is None:
        raise NotBetter(
            f"The finetuned model is not better than {base.card.name} on the held-out cases (mean "
            f"Dice {before.mean_dice(clicks):.3f} before, {after.mean_dice(clicks):.3f} after), so "
            "no model was written; collect more cases, or ask for it even if it is worse."
        )
    report(1.0, "Done")
    return outcome


def _check_model(card: ModelCard, options: FinetuningOptions) -> None:
    """Refuse before the long work what cannot be finetuned, or could not be installed."""
    if any(stage.network["dimensions"] != 3 for stage in card.stages.values()):
        raise ModelError(f"{card.name} sees slices one by one; only 3D models are finetuned.")
    if options.stage == EDITOR and card.editor is None:
        raise ModelError(f"{card.name} has no editor to finetune; train one with --stage editor.")
    if options.stage == EDITOR and card.editor and TARGET not in card.editor.answers:
        raise ModelError(
            f"The editor of {card.name} answers clicks at any structure, not at the "
            f"{card.target}, by which finetuning is judged; train it further with train --stage "
            "editor --any-structure."
        )
    if not _stages(card, options):
        raise ModelError(f"{card.name} has no {options.stage} to finetune.")
    name = rename_card(card, options.name).name
    if options.install and any(name == one.card.name for one in installed_models()):
        raise ModelError(f"A model '{name}' is installed already; give the new one another name.")


def match_labels(card: ModelCard, folder: Path, kind: CaseKind | None = None) -> DataSet:
    """A data folder with the label values of a model.

    Args:
        kind: what its cases are, instead of what the layout says.

    Raises:
        TrainingError: there is none, its cases are pictures, or the model's target is not labelled.
    """
    found = find_data_set(folder)
    if found.dimensions != 3:
        raise TrainingError(f"'{folder}' holds single pictures; finetuning needs whole scans.")
    named = {name.casefold() for name in (*found.labels[1:], *found.part_of.values())}
    if found.named and card.target.casefold() not in named:
        raise TrainingError(
            f"'{folder}' has the labels {', '.join(found.labels[1:])}, but {card.name} segments "
            f"{card.target}; choose cases or a model to match."
        )
    data = found.relabelled([label.name for label in card.labels], card.target)
    if kind is None:
        return data
    cases = tuple(dataclasses.replace(case, kind=kind) for case in data.cases)
    return dataclasses.replace(data, cases=cases)


def choose_held_out(data: DataSet, wanted: str, seed: int = 0) -> Split:
    """Which of the corrected cases to learn from, and which to be judged by.

    Args:
        wanted: a share, as "0.2", or names of cases with commas between.

    Raises:
        TrainingError: there are too few cases, or not all of a patient's are held out.
        InputError: it is neither, or names a case that is not there.
    """
    patients = {case.patient for case in data.cases}
    if len(patients) < 2:
        raise TrainingError(
            f"The data hold {_count_cases(len(data.cases))} of "
            f"{counted(len(patients), 'patient')}, but one must be held out to see whether "
            "finetuning helped; collect at least two."
        )
    try:
        share = float(wanted)
    except ValueError:
        return _named_split(data, wanted)
    if wanted.strip() in {case.name for case in data.cases}:  # names may be numbers
        return _named_split(data, wanted)
    if not 0 < share < 1:
        raise InputError("The share to hold out must be above 0 and below 1.")
    return held_out_split(data.cases, share, seed)


def _named_split(data: DataSet, wanted: str) -> Split:
    names = {name.strip() for name in wanted.split(",") if name.strip()}
    unknown = sorted(names - {case.name for case in data.cases})
    if unknown or not names:
        raise InputError(
            f"There is no case '{''.join(unknown[:1])}' to hold out; give a share such as "
            f"{HELD_OUT}, or names of cases with commas between."
        )
    patients = {case.patient for case in data.cases if case.name in names}
    for case in data.cases:
        if case.patient in patients and case.name not in names:
            raise TrainingError(
                f"'{case.name}' shows a patient whose other scan is held out; hold out both."
            )
    learnt = tuple(case.name for case in data.cases if case.name not in names)
    if not learnt:
        raise TrainingError("All cases are held out, and none is left to learn from.")
    return Split(learnt, tuple(sorted(names)))


def without_patients_of(
    held_out: Sequence[LabelledCase], cases: Sequence[LabelledCase]
) -> tuple[list[LabelledCase], list[str]]:
    """Cases of another data set without those of held-out patients.

    A patient is known by a name that both data sets have, or by a scan that both hold: the panel
    gives what it collects new names.

    Returns:
        The cases that may be learnt from, and the names of the others.
    """
    patients = {one.patient for one in held_out}
    patients |= {
        case.patient for case in cases if any(_same_voxels(case.ct, one.ct) for one in held_out)
    }
    return (
        [case for case in cases if case.patient not in patients],
        [case.name for case in cases if case.patient in patients],
    )


def _same_voxels(one: Volume, other: Volume) -> bool:
    """Whether two volumes hold the same values, in any order of the axes and at any place: a
    series that was written as another format may have been turned or moved."""
    return sorted(one.array.shape) == sorted(other.array.shape) and np.array_equal(
        np.sort(one.array, axis=None), np.sort(other.array, axis=None)
    )


def _keep_run(output: Path, card: ModelCard, cases: dict[str, Sequence[str]]) -> None:
    """Note what a run started from, and refuse to go on with it on anything else."""
    run = {
        "model": card.name,
        "version": card.version,
        "weights_sha256": card.weights.sha256 if card.weights else "",
        **{name: list(names) for name, names in cases.items()},
    }
    file = output / RUN_FILE
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            replace_text(file, json.dumps(run, indent=1) + "\n")
            return
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise TrainingError(
            f"'{output}' cannot be used for the run ({why}); choose another folder."
        ) from error
    changed = sorted(key for key in run if before.get(key) != run[key])
    if changed:
        raise TrainingError(
            f"'{output}' holds a run with another model or other cases ({', '.join(changed)}); "
            "choose another folder."
        )


def evaluate_cases(
    model: Model,
    cases: Sequence[LabelledCase],
    split: str,
    device: str = "auto",
    clicks: int = 0,
) -> Evaluation:
    """A model on cases in memory, without a click and with a number of them."""
    predictor = Predictor(model, device)
    results = [result for case in cases for result in evaluate_case(predictor, case, clicks)]
    weights = model.card.weights
    return Evaluation(
        model.card.name,
        model.card.version,
        weights.sha256 if weights else "",
        split,
        f"{platform.system()} {platform.machine()}, {results[0].device if results else ''}",
        tuple(results),
    )


def _train(
    base: Model,
    options: FinetuningOptions,
    cases: Sequence[LabelledCase],
    held_out: Sequence[LabelledCase],
    output: Path,
    device: torch.device,
    report: ProgressCallback,
    tell: Callable[[str], None],
) -> dict[str, nn.Module]:
    """The model's networks, those of the chosen stages trained further."""
    bfloat16 = uses_bfloat16(options.precision, device)
    networks = dict(base.networks)
    start = TRAINING_STARTS
    for name in _stages(base.card, options):
        span = (TRAINING_ENDS - TRAINING_STARTS) * _budget_share(name, base.card, options)

        def stage_progress(
            fraction: float, text: str, start: float = start, span: float = span, name: str = name
        ) -> None:
            report(start + span * fraction, f"Finetuning the {name}: {text}")

        common = (
            finetuning_stage_options(name, base.card, options),
            cases,
            held_out,
            output / name,
            device,
            bfloat16,
            stage_progress,
            base.networks[name].state_dict(),
        )
        trainer = (
            EditorTrainer(*common, refiner=base.networks["refiner"])
            if name == EDITOR
            else StageTrainer(*common)
        )
        networks[name] = run_telling(trainer, tell)
        start += span
    if EDITOR in networks and options.stage not in (EDITOR, "locator"):
        tell(
            "The editor, which answers clicks, is the one that was trained beside the refiner "
            "before; finetune --stage editor adapts it to this one."
        )
    return networks


def _stages(card: ModelCard, options: FinetuningOptions) -> list[str]:
    """The stages that learn, or the editor."""
    if options.stage == EDITOR:
        return [EDITOR]
    return [name for name in card.stages if options.stage in ("all", name)]


def _budget_share(name: str, card: ModelCard, options: FinetuningOptions) -> float:
    """Of the budget, what a stage gets."""
    if len(_stages(card, options)) == 1:
        return 1.0
    return LOCATOR_SHARE if name == "locator" else 1 - LOCATOR_SHARE


def finetuning_stage_options(
    name: str, card: ModelCard, options: FinetuningOptions
) -> StageOptions:
    """The shipped recipe, gentler, for a stage of a model."""
    budget = options.budget(_budget_share(name, card, options))
    if name == EDITOR:
        spacing_mm = card.stages["refiner"].spacing_mm
        made = editor_options(budget, card.stages["refiner"], options.seed)
    else:
        spacing_mm = card.stages[name].spacing_mm
        recipe = {"locator": locator_options, "refiner": refiner_options}[name]
        made = recipe(budget, options.seed)
    original = {kind: made.kind_weights.get(kind, 0.0) for kind in ("scan", "region")}
    total = sum(original.values())
    return dataclasses.replace(
        made,
        network=dict(card.networks[name]),
        patch=dataclasses.replace(made.patch, spacing_mm=spacing_mm),
        target_label=card.target_label.value,
        window_hu=card.intensity_window_hu,
        trainings_before=count_trainings(card),
        learning_rate=LearningRate(peak=options.learning_rate),
        kind_weights={
            "corrected": 1 - ORIGINAL_SHARE,
            **{kind: ORIGINAL_SHARE * weight / total for kind, weight in original.items()},
        },
        average_decay=AVERAGE_DECAY,
        validate_every_steps=LOOK_EVERY_STEPS,
        patience=PATIENCE,
    )


def rename_card(card: ModelCard, name: str | None) -> ModelCard:
    """The card under the name and version of a finetuned model."""
    root, _, round_of_finetuning = card.version.partition("+finetuned.")
    number = int(round_of_finetuning) + 1 if round_of_finetuning.isdigit() else 1
    return dataclasses.replace(
        card,
        name=name or card.name.removesuffix(MODEL_SUFFIX) + MODEL_SUFFIX,
        version=f"{root}+finetuned.{number}",
        title=card.title.removesuffix(TITLE_SUFFIX) + TITLE_SUFFIX,
    )


def finetuned_card(
    base: Model,
    options: FinetuningOptions,
    outcome: Outcome,
    split: Split,
    cases: Sequence[LabelledCase],
) -> ModelCard:
    """The card of a finetuned model: where it comes from, and what was measured in the run.

    Licence, citations and intended use are those of the model that it comes from.
    """
    card = base.card
    kinds = [case.kind for case in cases]
    changed = _stages(card, options)
    original = [case.name for case in cases if case.kind != "corrected"]
    settings = {**dataclasses.asdict(options), "original": options.original is not None}
    del settings["install"], settings["name"]
    figures = {"held_out": {"before": outcome.before.figures(), "after": outcome.after.figures()}}
    if outcome.original_before is not None and outcome.original_after is not None:
        figures["original_held_out"] = {
            "before": outcome.original_before.figures(),
            "after": outcome.original_after.figures(),
        }
    return dataclasses.replace(
        rename_card(card, options.name),
        summary=(
            f"{card.summary} Its {' and '.join(changed)} learnt further from "
            f"{_count_cases(kinds.count('corrected'))} that a user had corrected."
        ),
        training={
            "finetuned_from": {
                "name": card.name,
                "version": card.version,
                "weights_sha256": card.weights.sha256 if card.weights else "",
                "training": card.training,
                "figures": card.figures,
            },
            "cases": {"corrected": len(split.train), "original": original},
            "held_out": {"corrected": len(split.validation)},
            "options": settings,
            "machine": f"{platform.system()} {platform.machine()}",
            "torch": torch.__version__,
        },
        figures=figures,
        dice_estimate=None,  # it was fitted on the answers of the weights before
        weights=None,
    )


def _count_cases(count: int) -> str:
    return counted(count, "case")
