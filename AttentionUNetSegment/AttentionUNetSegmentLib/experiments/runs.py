"""One run: a network trained with one seed on one fold, and judged on the cases held out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..datasets.cases import DataSet, LabelledCase, load_case
from ..datasets.loading import find_data_set
from ..datasets.splits import Split
from ..errors import AttentionUNetSegmentError, InputError, TrainingError
from ..evaluation.attention_statistics import LevelStatistics, level_statistics
from ..evaluation.metrics import dice, score
from ..inference.device import choose_device
from ..inference.progress import ProgressCallback
from ..networks import NetworkConfig, SegmentationNetwork
from ..networks.precision import parse_precision, uses_bfloat16
from ..training.patches import AugmentationOptions, PatchOptions
from ..training.schedule import Budget, LearningRate
from ..training.stage_options import StageOptions
from ..training.trainer import StageTrainer
from .example_slices import choose_example_cases, cut_example_slice, save_example_slices
from .full_volume import VolumePrediction, predict_volume
from .results import MEASURES, CaseScore, Run, RunResult
from .variants import VARIANTS

WINDOW_HU, WINDOW_PICTURE = (-125.0, 275.0), (0.0, 255.0)
PATCH_SPACING_MM = 4.0
TRAINING_SHARE = 0.95
"""Of a run's time, about; the rest is judging."""
SHIFT = 0.1
"""Of the picture's size: how far whole slices are shifted (recipe)."""
LOOKS = 5
"""Validations in a run, for the learning curve."""


@dataclass(frozen=True)
class Settings:
    """What all runs of an experiment have in common.

    Args:
        data: name of the data folder.
        dimensions: 2 trains on slices, 3 on patches.
        size: voxels along a side of what a network is trained on.
        spacing_mm: of these voxels, in plane; in 3D along the body too.
        channels: of all networks, level 1 first.
        batch: slices or patches a step.
        steps, minutes: budget of a run, one of them.
        learning_rate: its peak.
        gates_open_fraction: share of the budget in which the gates stay open and are not trained
            (progressive training).
        precision: "auto" computes in bfloat16 where the device has it.
        target: label that is scored, and that patches lie around; the data set's own unless given.
        crops: whether crops around the organ are used as well as whole scans.
    """

    data: str
    dimensions: int
    size: int
    spacing_mm: float
    channels: tuple[int, ...]
    batch: int
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 1e-3
    gates_open_fraction: float = 0.0
    precision: str = "auto"
    target: str | None = None
    crops: bool = False

    def check(self, found: DataSet) -> None:
        """Raises:
        InputError: a setting is out of range, or does not fit the data.
        ModelError: no network has these channels.
        """
        if self.dimensions not in (2, 3):
            raise InputError(f"A network has 2 or 3 dimensions, not {self.dimensions}.")
        if self.dimensions == 3 and found.dimensions == 2:
            raise InputError("The data set holds single slices; choose 2 dimensions.")
        if (self.steps is None) == (self.minutes is None):
            raise InputError("Give the budget of a run in steps or in minutes, one of them.")
        for name in ("size", "spacing_mm", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"The {name.replace('_', ' ')} must be above zero.")
        if not (self.steps or self.minutes or 0) > 0:
            raise InputError("The budget of a run must be above zero.")
        parse_precision(self.precision)
        for variant in VARIANTS.values():
            NetworkConfig.from_mapping(self.network(variant.key, found))

    def network(self, variant: str, found: DataSet) -> dict[str, Any]:
        """The builder's config of a variant.

        Batch norm for batches of slices; instance norm in 3D, where a batch is a patch or two.
        """
        return {
            "dimensions": self.dimensions,
            "in_channels": 1,
            "out_channels": len(found.labels),
            "channels": list(self.channels),
            "norm": "batch" if self.dimensions == 2 else "instance",
            **VARIANTS[variant].network,
        }

    @property
    def budget(self) -> Budget:
        return Budget(self.steps, self.minutes)

    @property
    def patch(self) -> PatchOptions:
        """Whole slices in 2D; in 3D patches around the organ, and as often anywhere."""
        size, spacing = self.size, self.spacing_mm
        if self.dimensions == 2:
            shift = SHIFT * size * spacing
            return PatchOptions(
                (size, size, 1), (spacing, spacing, 1.0), (shift, shift, 0.0), 0.25, around="scan"
            )
        return PatchOptions((size,) * 3, (spacing,) * 3, (size * spacing / 3,) * 3, 0.5)

    @property
    def spacings_mm(self) -> tuple[float, float, float]:
        """Along R, A, S."""
        return (self.spacing_mm,) * 3

    def to_json(self) -> dict[str, Any]:
        """What is new and not asked for is left out, as it was before there was a choice."""
        content = dataclasses.asdict(self)
        for name, before in (("target", None), ("crops", False)):
            if content[name] == before:
                del content[name]
        return content


def find_experiment_data(data: Path, target: str | None = None, crops: bool = False) -> DataSet:
    """The data set of a folder.

    Args:
        target: the label that is scored; the data set's own unless given.
        crops: crops around the organ are used as well. They tell where it is, so that figures of
            them and of whole scans are not to be compared.

    Raises:
        TrainingError: the folder cannot be used, or holds nothing that is.
        InputError: there is no such label.
    """
    found = find_data_set(data).with_target(target)
    if crops:
        return found
    scans = tuple(case for case in found.cases if case.kind == "scan")
    if not scans:
        raise TrainingError(f"'{data}' holds no whole scans to compare networks on.")
    return dataclasses.replace(found, cases=scans)


def find_lesion(data: Path) -> str:
    """The label of a data set that is part of another one's organ.

    Raises:
        TrainingError: the folder cannot be used, or it has no such label.
    """
    found = find_data_set(data)
    lesion = next((name for name in found.labels if name in found.part_of), None)
    if lesion is None:
        raise TrainingError(
            f"The data set has the labels {', '.join(found.labels[1:])}, of which none is a part "
            "of another one's organ; name the lesion (--target), or choose another data set."
        )
    return lesion


def choose_settings(
    data: Path,
    *,
    dimensions: int | None = None,
    size: int | None = None,
    spacing_mm: float | None = None,
    batch: int | None = None,
    **others: Any,
) -> Settings:
    """Settings for a data folder; what is None is chosen to fit it.

    Raises:
        TrainingError: the folder cannot be used.
        InputError: there is no such label.
    """
    found = find_experiment_data(data, others.get("target"), others.get("crops", False))
    dimensions = dimensions or found.dimensions
    flat = dimensions == 2
    size = size or (256 if flat else 64)
    if spacing_mm is None:
        spacing_mm = _fitting_spacing_mm(found, size) if flat else PATCH_SPACING_MM
    name = data.resolve().name
    return Settings(name, dimensions, size, spacing_mm, batch=batch or (8 if flat else 2), **others)


def _fitting_spacing_mm(found: DataSet, size: int) -> float:
    """The spacing with which ``size`` voxels span the whole slice of a data set's first case."""
    extent_mm = load_case(found.cases[0]).ct.grid.bounds.extent_mm
    return float(extent_mm[:2].max() / size)


@dataclass
class TrainingJob:
    """Does runs; the cases stay in memory from one run to the next.

    Args:
        splits: one a fold.
        folder: holds a folder for each run.
    """

    settings: Settings
    data: Path
    splits: tuple[Split, ...]
    folder: Path
    device: str = "auto"
    _cases: dict[str, LabelledCase] = field(default_factory=dict, repr=False)

    def do(self, run: Run, progress: ProgressCallback) -> RunResult:
        """Train and judge a network.

        What goes wrong in a run, and is not a bug, is its result; the other runs go on.
        """
        try:
            return self._train_and_judge(run, progress)
        except (torch.OutOfMemoryError, MemoryError):
            return RunResult(
                run,
                failure="The memory did not suffice; choose a smaller size or batch, narrower "
                "channels or fewer workers.",
            )
        except (AttentionUNetSegmentError, OSError) as error:
            return RunResult(run, failure=str(error))

    def _train_and_judge(self, run: Run, progress: ProgressCallback) -> RunResult:
        found = find_experiment_data(self.data, self.settings.target, self.settings.crops)
        split = self.splits[run.fold]
        progress(0.0, "Reading the cases")
        train, held_out = (
            [self._case(found, name) for name in names] for names in (split.train, split.validation)
        )
        device = choose_device(self.device)
        folder = self.folder / run.name
        trainer = StageTrainer(
            run_options(self.settings, run, found),
            train,
            _one_a_patient(held_out),
            folder,
            device,
            uses_bfloat16(self.settings.precision, device),
            lambda fraction, text: progress(TRAINING_SHARE * fraction, text),
        )
        network = trainer.run()
        assert isinstance(network, SegmentationNetwork)
        progress(TRAINING_SHARE, "Judging the held-out cases")
        target = found.labels.index(found.target)
        examples = choose_example_cases(held_out, target) if run.cell == (0, 0) else []
        scores, attention, slices = [], [], []
        for case in held_out:
            prediction = predict_volume(
                network, case.ct, self.settings.spacings_mm, _window(found), device
            )
            scores.append(_case_score(case, prediction, found.labels, target))
            attention += _level_statistics(case, prediction, network.gated_levels, target)
            if case.name in examples:
                slices.append(cut_example_slice(case, prediction, target, _window(found)))
        if slices:
            save_example_slices(folder, slices)
        steps, elapsed_s = trainer.state.step, trainer.state.elapsed_s
        # The run is over: its log and its figures stay, the means to go on with it do not.
        trainer.checkpoint_file.unlink(missing_ok=True)
        return RunResult(
            run,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            steps=steps,
            elapsed_s=round(elapsed_s, 1),
            cases=tuple(scores),
            attention=tuple(attention),
        )

    def _case(self, found: DataSet, name: str) -> LabelledCase:
        if name not in self._cases:
            self._cases[name] = load_case(found.case(name))
        return self._cases[name]


def run_options(settings: Settings, run: Run, found: DataSet) -> StageOptions:
    """What the trainer is told: the same for all variants but the network.

    The loss is the recipe's; nothing but the segmentation teaches the gates.
    """
    return StageOptions(
        stage=run.variant,
        network=settings.network(run.variant, found),
        patch=settings.patch,
        budget=settings.budget,
        target_label=found.labels.index(found.target),
        window_hu=_window(found),
        seed=run.seed,
        batch_size=settings.batch,
        optimizer="adam",
        weight_decay=0.0,
        learning_rate=LearningRate(peak=settings.learning_rate),
        augmentation=AugmentationOptions(
            rotation_degrees=(0.0, 0.0, 30.0) if settings.dimensions == 2 else (12.0, 12.0, 25.0),
            hidden_organ_probability=0.0,
            cropped_view_probability=0.0,
        ),
        kind_weights={"scan": 1.0, "region": 1.0} if settings.crops else {"scan": 1.0},
        all_organs=1.0 if len(found.labels) > 2 else 0.0,
        click_probability=0.0,
        gate_supervision=0.0,
        gates_open_fraction=settings.gates_open_fraction,
        validate_every_steps=max(settings.steps // LOOKS, 1) if settings.steps else 0,
        validate_every_s=60 * settings.minutes / LOOKS if settings.minutes else 1e9,
        # Short runs have a curve too.
        log_every=max(min((settings.steps or 200) // 20, 10), 1),
    )


def _window(found: DataSet) -> tuple[float, float]:
    return WINDOW_HU if found.hounsfield else WINDOW_PICTURE


def _one_a_patient(cases: list[LabelledCase]) -> list[LabelledCase]:
    """The first case of each patient: enough for a learning curve."""
    first: dict[str, LabelledCase] = {}
    for case in cases:
        first.setdefault(case.patient, case)
    return list(first.values())


def _case_score(
    case: LabelledCase, prediction: VolumePrediction, labels: tuple[str, ...], target: int
) -> CaseScore:
    truth = case.labels.array
    figures = score(prediction.labels == target, truth == target, case.ct).to_json()
    label_dice = {}
    if len(labels) > 2:
        for value, name in enumerate(labels):
            marked, true = prediction.labels == value, truth == value
            # A label that neither has says nothing about the network.
            if value and (marked.any() or true.any()):
                label_dice[name] = dice(marked, true)
    return CaseScore(
        case.name,
        case.patient or case.name,
        {name: figures[name] for name in MEASURES},
        label_dice,
    )


def _level_statistics(
    case: LabelledCase, prediction: VolumePrediction, levels: tuple[int, ...], target: int
) -> list[LevelStatistics]:
    organ = case.labels.array == target
    return [
        level_statistics(case.name, level, alpha, organ)
        for level, alpha in zip(levels, prediction.alphas, strict=True)
    ]
