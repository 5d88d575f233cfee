"""Training of one stage, the locator or the refiner, step by step.

What a step does depends on the options, the seed and the step's number alone, never on what a
random generator was left at. A run that was killed goes on from its last checkpoint as if nothing
had happened.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from ..datasets.cases import LabelledCase
from ..errors import TrainingError
from ..files import replace_text, replaced_file
from ..networks import SegmentationNetwork, build_network, focus_ratio
from ..networks.focus import is_open, is_shut
from ..wording import counted, duration
from .bfloat16_workaround import never_two_deep
from .clicks import draw_dispute, patch_grid, simulate_clicks
from .distributed import Processes
from .losses import LossWeights, OrganLoss, gate_loss
from .patches import (
    AugmentationOptions,
    IntensityAugmentation,
    PatchOptions,
    PatchSource,
    Sample,
    batch_of,
)
from .schedule import Budget, LearningRate

CHECKPOINT_FORMAT = 1

CHANGEABLE = {
    "budget",
    "checkpoint_every_s",
    "validate_every_s",
    "log_every",
    "learning_rate",
    "clip_norm",
}
"""Options with which a run may be continued; any other would make it another run."""

Drawn = tuple[Sample, list[np.random.Generator]]
"""Patches, and for each a generator for what else is random in its step."""

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@dataclass(frozen=True)
class StageOptions:
    """Everything that decides what a stage learns; saved with the run.

    Args:
        stage: its name, "locator" or "refiner".
        network: the builder's config. Its first input channel is the scan; two more are clicks.
            One of two dimensions takes flat patches.
        patch: what a training sample shows.
        target_label: the organ that counts.
        window_hu: HU that become 0 and 1.
        seed: of the first weights and of the samples.
        trainings_before: that the first weights had; each training sees other samples, so that
            going on brings more than the same again.
        batch_size: patches a step, of all processes together.
        optimizer: "adam" or "adamw".
        learning_rate: over the budget.
        weight_decay: of the optimizer.
        clip_norm: longest gradient; a longer one is scaled down to it.
        loss_weights: Dice, cross-entropy and focal.
        kind_weights: how often a sample comes from each kind of case; others are not used.
        all_organs: weight of the loss over all labels beside that of the target against the rest.
        deep_supervision: weights of the decoder levels, for networks that have heads there.
        click_probability: share of samples with clicks (none for a network without click channels).
        click_error_probability: share of those whose clicks go, one after the other, where the
            network is most wrong.
        dispute_probability: share of the latter in which the labels are changed first, at one
            place of the organ's border, and the first click says so.
        gate_supervision: weight of :func:`.losses.gate_loss`; 0 leaves the gates to themselves.
        gate_reach_mm: widening of the organ at each gate, shallow first.
        gates_open_fraction: share of the budget in which the gates are frozen and pass everything
            (progressive training, phase 1).
        average_decay: of the exponential moving average of the weights, which is what is kept; 0
            keeps the weights themselves.
        checkpoint_every_s: how much work a kill can cost.
        validate_every_s, validate_every_steps: how often the network is judged; by the clock where
            no number of steps is given.
        patience: training ends after so many validations without a better mean Dice, and the best
            weights are kept; 0 goes on until the budget is used up. Looks in phase 1 do not count.
        log_every: steps between lines of the log.
    """

    stage: str
    network: dict[str, Any]
    patch: PatchOptions
    budget: Budget
    target_label: int
    window_hu: tuple[float, float] = (-125.0, 275.0)
    seed: int = 0
    trainings_before: int = 0
    batch_size: int = 1
    optimizer: str = "adamw"
    learning_rate: LearningRate = field(default_factory=LearningRate)
    weight_decay: float = 1e-5
    clip_norm: float = 5.0
    loss_weights: LossWeights = field(default_factory=LossWeights)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    kind_weights: dict[str, float] = field(
        default_factory=lambda: {
            "scan": 0.57,
            "region": 0.32,
            "synthetic": 0.08,
            "elsewhere": 0.03,
        }
    )
    all_organs: float = 0.5
    deep_supervision: tuple[float, ...] = (1.0, 0.5, 0.25)
    click_probability: float = 0.5
    click_error_probability: float = 0.75
    dispute_probability: float = 0.5
    gate_supervision: float = 0.1
    gate_reach_mm: tuple[float, ...] = (30.0, 20.0, 10.0, 5.0)
    gates_open_fraction: float = 0.0
    average_decay: float = 0.998
    checkpoint_every_s: float = 120.0
    validate_every_s: float = 300.0
    validate_every_steps: int = 0
    patience: int = 0
    log_every: int = 20

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise TrainingError(
                f"'{self.optimizer}' is no optimizer; choose one of {', '.join(OPTIMIZERS)}."
            )
        if min(self.batch_size, self.log_every) < 1:
            raise TrainingError("A batch, and the distance of two log lines, is at least one.")
        if self.network["dimensions"] == 2 and not self.patch.flat:
            raise TrainingError("A network of two dimensions takes patches of one slice.")

    @property
    def spatial_spacing_mm(self) -> tuple[float, ...]:
        """Of the network's spatial axes: k, j, i, or j, i in two dimensions."""
        return self.patch.spacing_mm[::-1][3 - int(self.network["dimensions"]) :]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class StageState:
    """What changes from step to step."""

    network: SegmentationNetwork
    average: SegmentationNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    best: Best | None = None
    waited: int = 0
    """Validations since the best one."""


@dataclass(frozen=True)
class Best:
    """The averaged weights with the best mean Dice so far."""

    step: int
    dice: float
    weights: dict[str, torch.Tensor]


class StageTrainer:
    """Trains one network on prepared cases.

    >>> trainer = StageTrainer(options, train_cases, validation_cases, folder)
    >>> network = trainer.run()

    Args:
        options: all that decides what is learnt.
        train, validation: the cases.
        folder: of the run: options.json, checkpoint.pt, log.jsonl and tensorboard. With the same
            options it is gone on with.
        device: where the network and the augmentation run.
        bfloat16: mixed precision.
        report: told the share that is done, and a text.
        initial_weights: to start from; fresh ones otherwise.
        on_validation: told the step and the record of each validation.
        processes: that train together; the first of them writes and validates. All see the folder.

    Raises:
        TrainingError: there is nothing to train on, or the folder holds another run.
        InputError: the processes cannot share the batch.
    """

    def __init__(
        self,
        options: StageOptions,
        train: Sequence[LabelledCase],
        validation: Sequence[LabelledCase],
        folder: Path,
        device: torch.device | str = "cpu",
        bfloat16: bool = False,
        report: Callable[[float, str], None] = lambda fraction, text: None,
        initial_weights: Mapping[str, torch.Tensor] | None = None,
        on_validation: Callable[[int, dict[str, Any]], None] = lambda step, record: None,
        processes: Processes | None = None,
    ) -> None:
        kinds = {case.kind for case in train if options.kind_weights.get(case.kind, 0) > 0}
        if not kinds:
            wanted = ", ".join(kind for kind, weight in options.kind_weights.items() if weight > 0)
            raise TrainingError(
                f"There is no case to train the {options.stage} on: it learns from cases of the "
                f"kinds {wanted}; check the data folder and the split."
            )
        self.options = options
        self.folder = folder
        self.device = torch.device(device)
        self.bfloat16 = bfloat16
        self.report = report
        self.initial_weights = initial_weights
        self.on_validation = on_validation
        self.processes = processes or Processes()
        self.share = self.processes.share(options.batch_size)
        self.findings: list[str] = []
        self.loss_now: float | None = None
        self.dice_now: float | None = None
        self.clickable = int(options.network["in_channels"]) == 3
        self.flat = int(options.network["dimensions"]) == 2
        # The layout that tensor cores want; on a CPU it is faster for pictures, not for volumes.
        self.layout = torch.channels_last if self.flat else torch.contiguous_format
        if self.device.type == "cuda" and not self.flat:
            self.layout = torch.channels_last_3d

        def prepare(cases: Sequence[LabelledCase]) -> list[PatchSource]:
            patch, window = options.patch, options.window_hu
            return [
                PatchSource(case, options.target_label, window, patch.spacing_mm, self.device)
                for case in cases
            ]

        self.train_sources = {
            kind: prepare([case for case in train if case.kind == kind]) for kind in sorted(kinds)
        }
        self.validation_looks = [
            (source.case, source.looks(options.patch)) for source in prepare(validation)
        ]
        self.intensity = IntensityAugmentation(options.augmentation)
        self.loss = OrganLoss(
            options.target_label,
            options.loss_weights,
            options.all_organs,
            options.deep_supervision,
            self.processes.total,
        )
        self.grid = patch_grid(options.patch.shape, options.patch.spacing_mm)
        self.state = self._initial_state()
        self.board: SummaryWriter | None = None
        if self.processes.is_first:
            self._open_folder()
        # The others look into the folder when it is known to be this run's.
        step = self.processes.of_first(self.state.step)
        if not self.processes.is_first and self.checkpoint_file.exists():
            self._restore()
        if self.state.step != step:
            raise TrainingError(
                f"Not all processes see the same checkpoint in '{folder}'; choose a folder that "
                "all of them share."
            )

    # What a run leaves on disk

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def _open_folder(self) -> None:
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._keep_options()
        if self.checkpoint_file.exists():
            self._restore()
            self._forget_log_after(self.state.step)
            self._recall_figures()
        # What was logged beyond the checkpoint is hidden, as the steps are done again.
        with self._writing():
            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.state.step)

    def _keep_options(self) -> None:
        file = self.folder / "options.json"
        options = json.loads(json.dumps(self.options.to_json()))
        if file.exists():
            try:
                before = dict(json.loads(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise TrainingError(
                    f"'{file}' does not hold the options of a run; remove the folder to begin anew."
                ) from error
            changed = sorted(key for key in options if before.get(key) != options[key])
            if set(changed) - CHANGEABLE:
                raise TrainingError(
                    f"'{self.folder}' holds a run with other options ({', '.join(changed)}); "
                    "choose another folder or the same options."
                )
        replace_text(file, json.dumps(options, indent=1))

    def _initial_state(self) -> StageState:
        torch.manual_seed(self.options.seed)
        network, average = self._network(), self._network()
        if self.initial_weights is not None:
            network.load_state_dict(self.initial_weights)
        if self.bfloat16 and self.device.type == "cpu":
            never_two_deep(network)
        network = self.processes.with_whole_batch_norm(network)
        average.load_state_dict(network.state_dict())
        average.eval().requires_grad_(False)
        optimizer = OPTIMIZERS[self.options.optimizer](
            network.parameters(),
            lr=1.0,  # type: ignore[call-arg]
            weight_decay=self.options.weight_decay,
        )
        return StageState(network, average, optimizer)

    def _network(self) -> SegmentationNetwork:
        network = build_network(self.options.network).to(self.device)
        # PyTorch's type stubs do not know this form, its documentation does.
        return network.to(memory_format=self.layout)  # type: ignore[call-overload]

    def _save(self) -> None:
        if not self.processes.is_first:
            return
        state = self.state
        saved = {
            "format": CHECKPOINT_FORMAT,
            "network": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
            "elapsed_s": state.elapsed_s,
            "best": None if state.best is None else vars(state.best),
            "waited": state.waited,
        }
        with self._writing(), replaced_file(self.checkpoint_file) as beside:
            torch.save(saved, beside)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the disk refuses into a sentence."""
        try:
            yield
        # PyTorch's writer raises RuntimeError where the disk is full.
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "the disk may be full"
            raise TrainingError(
                f"The run's state cannot be written to '{self.folder}': {reason}. Make room and "
                f"give the same command again. {self._last_good_state()}"
            ) from error

    def _last_good_state(self) -> str:
        if self.checkpoint_file.exists():
            return f"The last good state is in '{self.checkpoint_file}'."
        return "No state was saved yet."

    def _restore(self) -> None:
        try:
            saved = torch.load(self.checkpoint_file, map_location=self.device, weights_only=True)
            state = self.state
            state.network.load_state_dict(saved["network"])
            state.average.load_state_dict(saved["average"])
            state.optimizer.load_state_dict(saved["optimizer"])
            state.step, state.elapsed_s = int(saved["step"]), float(saved["elapsed_s"])
            best = saved["best"]
            state.best = None if best is None else Best(**best)
            state.waited = int(saved["waited"])
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
            raise TrainingError(
                f"'{self.checkpoint_file}' is not a checkpoint of this run; "
                "remove the folder to begin anew."
            ) from error

    def _forget_log_after(self, step: int) -> None:
        """Steps after the checkpoint are done again; their first try leaves the log."""
        if self.log_file.exists():
            lines = self.log_file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            replace_text(self.log_file, "".join(line + "\n" for line in kept))

    def _recall_figures(self) -> None:
        """Loss and Dice of the log's last lines, for a run that is gone on with."""
        if not self.log_file.exists():
            return
        for line in self.log_file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            self.loss_now = record.get("loss", self.loss_now)
            if record.get("validation_dice"):
                self.dice_now = statistics.fmean(record["validation_dice"].values())

    def _log(self, record: dict[str, Any]) -> None:
        if self.board is None:
            return
        with self._writing():
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.state.step, **record}) + "\n")
            for name, value in named_scalars(record):
                self.board.add_scalar(name, value, self.state.step)

    # Samples

    def _sample(self, step: int) -> Drawn:
        """This process's share of a step's batch."""
        drawn = [self._patch(step, number) for number in self.share]
        return batch_of([sample for sample, _ in drawn]), [rng for _, rng in drawn]

    def _patch(self, step: int, number: int) -> tuple[Sample, np.random.Generator]:
        options = self.options
        rng = np.random.default_rng([options.seed, step, number, options.trainings_before])
        kinds = list(self.train_sources)
        weights = np.array([options.kind_weights[kind] for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        sources = self.train_sources[kind]
        source = sources[int(rng.integers(len(sources)))]
        return source.sample(options.patch, options.augmentation, rng, self.intensity), rng

    def _samples(self, pool: ThreadPoolExecutor) -> Iterator[Drawn]:
        """Samples of this step and those after it, each made while the one before is learnt."""
        step = self.state.step
        waiting: list[Future[Drawn]] = []
        while True:
            while len(waiting) < 3:
                waiting.append(pool.submit(self._sample, step))
                step += 1
            yield waiting.pop(0).result()

    # Steps

    @contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            yield

    def _with_clicks(
        self, sample: Sample, rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's input, the image and two click channels if it takes them; and labels."""
        image, labels = sample.image.to(self.device), sample.labels
        if self.clickable:
            clicked = [self._clicks(sample, number, rng) for number, rng in enumerate(rngs)]
            image = torch.cat((image, torch.cat([channels for channels, _ in clicked])), dim=1)
            labels = torch.stack([wanted for _, wanted in clicked])
        return self._squeezed(image), self._squeezed(labels.to(self.device))

    def _clicks(
        self, sample: Sample, number: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Click channels (1, 2, k, j, i) of a patch of the batch, none for some; and its labels."""
        image = sample.image[number : number + 1].to(self.device)
        options, labels = self.options, sample.labels[number].cpu()
        if rng.random() >= options.click_probability:
            return torch.zeros((1, 2, *image.shape[2:]), device=self.device), labels

        def predict(channels: torch.Tensor) -> torch.Tensor:
            inputs = torch.cat((image, channels.to(self.device)), dim=1)
            with torch.no_grad(), self._precision():
                logits = self.state.network(self._squeezed(inputs))
            marked: torch.Tensor = logits[0].argmax(dim=0) == options.target_label
            return marked.reshape(labels.shape).cpu()

        if rng.random() >= options.click_error_probability:
            clicks = simulate_clicks(labels, options.target_label, self.grid, rng)
            return clicks.to(self.device), labels
        dispute = None
        if rng.random() < options.dispute_probability:
            picture = sample.image[number, 0].cpu()
            spacing = self.grid.spacing_mm
            dispute = draw_dispute(labels, picture, options.target_label, spacing, rng)
        if dispute is not None:
            labels = dispute.settled(labels, options.target_label)
        self.state.network.eval()
        clicks = simulate_clicks(labels, options.target_label, self.grid, rng, predict, dispute)
        self.state.network.train()
        return clicks.to(self.device), labels

    def _squeezed(self, patches: torch.Tensor) -> torch.Tensor:
        """Flat patches (..., 1, j, i) as the pictures (..., j, i) that a 2D network takes."""
        return patches.squeeze(-3) if self.flat else patches

    def _learn(
        self, sample: Sample, rngs: Sequence[np.random.Generator], fraction: float
    ) -> dict[str, Any]:
        options, state = self.options, self.state
        rate = options.learning_rate.at(fraction)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        gates_open = fraction < options.gates_open_fraction
        for network in (state.network, state.average):
            network.set_gates_open(gates_open)
        inputs, labels = self._with_clicks(sample, rngs)
        inputs = inputs.contiguous(memory_format=self.layout)
        with self._precision():
            output = state.network(inputs, return_attention=True, return_deep=True)
        loss = self.loss((output.logits, *output.deep), labels, sample.organs_known)
        self._require_finite(loss.item(), "loss", rate)
        total = loss
        if options.gate_supervision > 0 and output.attention and not gates_open:
            looking = gate_loss(
                output.attention,
                labels,
                options.target_label,
                self._gate_reach_mm,
                options.spatial_spacing_mm,
                self.processes.total,
            )
            total = loss + options.gate_supervision * looking
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.processes.add_gradients(state.network.parameters())
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), options.clip_norm)
        # A step with such a gradient would make every weight not a number.
        self._require_finite(float(norm), "gradient", rate)
        state.optimizer.step()
        self._follow()
        return {
            "loss": loss.item(),
            "gradient_norm": float(norm),
            "learning_rate": rate,
            "focus_ratios": self.processes.mean([focus_ratio(one) for one in output.attention]),
            "gates_open": gates_open,
        }

    @property
    def _gate_reach_mm(self) -> list[float]:
        """Of each gate that there is; below the deepest level named, that of the deepest."""
        reach = self.options.gate_reach_mm
        return [reach[min(level, len(reach)) - 1] for level in self.state.network.gated_levels]

    def _require_finite(self, value: float, what: str, rate: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"The {what} is not a number at step {self.state.step}; give the same command with "
                f"a lower learning rate (now {rate:.2g}) or a smaller gradient clip (now "
                f"{self.options.clip_norm:g}). {self._last_good_state()}"
            )

    def _follow(self) -> None:
        """Move the average of the weights towards the present ones."""
        decay = min(self.options.average_decay, (1 + self.state.step) / (10 + self.state.step))
        with torch.no_grad():
            for mean, now in zip(
                self.state.average.state_dict().values(),
                self.state.network.state_dict().values(),
                strict=True,
            ):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)

    def validate(self) -> dict[str, Any]:
        """Dice of the averaged network on each validation case, as :meth:`PatchSource.looks`.

        Two empty masks agree (1). By label, the mean over the cases that have it or are given it,
        where all organs are labelled.
        """
        target, average = self.options.target_label, self.state.average
        scores: dict[str, float] = {}
        by_label: dict[str, list[float]] = {}
        ratios: list[list[float]] = []
        marked = 0
        for case, look in self.validation_looks:
            outputs = [
                self._look(look.image[number : number + 1]) for number in range(len(look.image))
            ]
            predicted = torch.cat([logits.argmax(dim=1) for logits, _ in outputs])
            truth = self._squeezed(look.labels.to(self.device))
            marked += int((predicted == target).sum())
            scores[case.name] = dice_of(predicted == target, truth == target)
            for label in range(1, int(self.options.network["out_channels"])):
                ours, theirs = predicted == label, truth == label
                known = case.organs_known or label == target
                if known and (ours.any() or theirs.any()):
                    by_label.setdefault(str(label), []).append(dice_of(ours, theirs))
            ratios += [of_levels for _, of_levels in outputs]
        mean_ratios = np.mean(ratios, axis=0).tolist() if ratios else []
        gates_open = any(getattr(gate, "open", False) for gate in average.gates)
        levels = [] if gates_open else list(zip(average.gated_levels, mean_ratios, strict=False))
        self.findings = findings(bool(scores) and not marked, levels)
        return {
            "validation_dice": scores,
            "validation_dice_by_label": {
                label: statistics.fmean(values) for label, values in by_label.items()
            },
            "validation_focus_ratios": mean_ratios,
            "findings": self.findings,
        }

    def _look(self, image: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
        """Logits of the averaged network for a patch without clicks, and its focus ratios."""
        image = image.to(self.device)
        if self.clickable:
            image = torch.cat((image, image.new_zeros((1, 2, *image.shape[2:]))), dim=1)
        with torch.no_grad(), self._precision():
            output = self.state.average(self._squeezed(image), return_attention=True)
        return output.logits, [focus_ratio(alpha) for alpha in output.attention]

    def _validated(self) -> None:
        """Judge the network, tell everybody, and remember it if it is the best."""
        record = self.processes.of_first(self.validate() if self.processes.is_first else None)
        if record["validation_dice"]:
            self.dice_now = statistics.fmean(record["validation_dice"].values())
        self._log(record)
        for finding in self.findings:
            self.report(self._fraction, finding)
        self.on_validation(self.state.step, record)
        state = self.state
        # Gates that were frozen so far would spoil the network that they are part of.
        in_phase_1 = self._fraction < self.options.gates_open_fraction
        if self.options.patience < 1 or in_phase_1 or not record["validation_dice"]:
            return
        dice = statistics.fmean(record["validation_dice"].values())
        if state.best is None or dice > state.best.dice:
            weights = {
                name: value.detach().clone() for name, value in state.average.state_dict().items()
            }
            state.best, state.waited = Best(state.step, dice, weights), 0
        elif state.step > state.best.step:
            state.waited += 1

    @property
    def _fraction(self) -> float:
        return self.options.budget.fraction(self.state.step, self.state.elapsed_s)

    @property
    def stopped_early(self) -> bool:
        return 0 < self.options.patience <= self.state.waited

    def run(self) -> nn.Module:
        """Train until the budget or the patience is used up.

        Returns:
            The network with averaged weights, or with the best of them where patience is limited,
            in eval mode, its gates at work.

        Raises:
            TrainingError: the loss is not a number, or memory or disk did not suffice.
        """
        try:
            self._train()
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._out_of_memory() from error
        except RuntimeError as error:
            # The CPU's allocator has no exception of its own.
            if "allocate memory" not in str(error):
                raise
            raise self._out_of_memory() from error
        state = self.state
        if state.best is not None:
            state.average.load_state_dict(state.best.weights)
        state.average.set_gates_open(False)
        return state.average

    def _out_of_memory(self) -> TrainingError:
        i, j, k = self.options.patch.size
        return TrainingError(
            f"The memory of {self.device} did not suffice at step {self.state.step}; choose a "
            f"smaller batch (now {self.options.batch_size}), smaller patches (now {i} x {j} x {k}) "
            f"or narrower channels, in another folder. {self._last_good_state()}"
        )

    def _train(self) -> None:
        state, options = self.state, self.options
        last_save = last_validation = time.monotonic()
        losses: list[float] = []
        state.network.train()
        if self.initial_weights is not None and state.step == 0:
            self._validated()  # what it starts from is the first that others must be better than
        with ThreadPoolExecutor(max_workers=1) as pool:
            samples = self._samples(pool)
            while (fraction := self._fraction) < 1 and not self.stopped_early:
                began = time.monotonic()
                sample, rngs = next(samples)
                record = self._learn(sample, rngs, fraction)
                state.step += 1
                now = time.monotonic()
                # By the first process's clock the budget ends, and a validation is due, for all.
                state.elapsed_s, since_validation = self.processes.of_first(
                    (state.elapsed_s + now - began, now - last_validation)
                )
                losses.append(record["loss"])
                if state.step % options.log_every == 0:
                    self._log_step(record, losses)
                    self.report(fraction, f"Step {state.step}, {self.figures}")
                if self._is_due(since_validation) and self._fraction < 1:
                    self.loss_now = float(np.mean(losses)) if losses else self.loss_now
                    self._validated()
                    last_validation = time.monotonic()
                if now - last_save > options.checkpoint_every_s:
                    self._save()
                    last_save = time.monotonic()
            pool.shutdown(cancel_futures=True)
        if losses:  # since the last line of the log
            self._log_step(record, losses)
        if not self.stopped_early:
            self._validated()
        self._save()
        if self.board is not None:
            self.board.close()

    def _log_step(self, record: dict[str, Any], losses: list[float]) -> None:
        """Log the last step, with the mean loss since the line before."""
        self.loss_now = float(np.mean(losses))
        losses.clear()
        elapsed_s = round(self.state.elapsed_s, 1)
        self._log({**record, "loss": self.loss_now, "elapsed_s": elapsed_s})

    @property
    def figures(self) -> str:
        """Loss and Dice, as far as they are known, for people."""
        known = []
        if self.loss_now is not None:
            known.append(f"loss {self.loss_now:.3f}")
        if self.dice_now is not None:
            cases = counted(len(self.validation_looks), "validation case")
            known.append(f"Dice {self.dice_now:.3f} on {cases}")
        return ", ".join(known) or "no figures yet"

    @property
    def summary(self) -> str:
        """What the run has come to, for people, and where its log is."""
        state = self.state
        steps = counted(state.step, "step")
        best = "" if state.best is None else f", the best at step {state.best.step}"
        return f"{steps} in {duration(state.elapsed_s)}, {self.figures}{best}; log: {self.log_file}"

    def _is_due(self, since_s: float) -> bool:
        """Whether it is time for a validation."""
        every = self.options.validate_every_steps
        return self.state.step % every == 0 if every else since_s > self.options.validate_every_s


def dice_of(mask: torch.Tensor, truth: torch.Tensor) -> float:
    """Of two boolean masks; two empty ones agree (1)."""
    size = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / size if size else 1.0


def findings(marks_nothing: bool, levels: Sequence[tuple[int, float]]) -> list[str]:
    """What a user should know of a network, a sentence each.

    Args:
        marks_nothing: in no case does it mark a voxel as the target.
        levels: of the gates, and the mean focus ratio of each.
    """
    found = []
    if marks_nothing:
        found.append(
            "The network marks nothing in any validation case; train longer, raise the learning "
            "rate or check the labels."
        )
    for level, ratio in levels:
        state = "open" if is_open(ratio) else "shut" if is_shut(ratio) else ""
        if state:
            found.append(
                f"The gate of level {level} is {state} everywhere (focus ratio {ratio:.3f}); it "
                "tells nothing apart. Train longer, or try gate supervision or the stable gate."
            )
    return found


def named_scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """A log record as curves: one for each case and for each level of the gates."""
    for name, value in record.items():
        if name == "findings":
            continue
        if isinstance(value, dict):
            yield from ((f"{name}/{case}", float(one)) for case, one in value.items())
        elif isinstance(value, list):
            yield from ((f"{name}/level {level}", float(x)) for level, x in enumerate(value, 1))
        else:
            yield name, float(value)
