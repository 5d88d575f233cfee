"""Training of one stage, the locator or the refiner, step by step.

What a step does depends on the options, the seed and the step's number alone, never on what a
random generator was left at. A run that was killed goes on from its last checkpoint as if nothing
had happened.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..datasets.cases import LabelledCase
from ..errors import TrainingError
from ..networks import NetworkOutput, SegmentationNetwork, build_network, focus_ratio
from ..wording import counted, duration
from .bfloat16_workaround import avoid_shallow_gradients
from .checkpoint import StageState
from .click_simulation import click_channels_for_training
from .distributed import Processes
from .losses import OrganLoss, gate_loss
from .run_folder import RunFolder
from .sampling import Batch, BatchSampler, patch_sources
from .stage_options import OPTIMIZERS, StageOptions
from .validation import Prediction, ValidationCase, validate_network


class StageTrainer:
    """Trains one network on prepared cases.

    >>> trainer = StageTrainer(options, train_cases, validation_cases, folder)
    >>> network = trainer.run()

    To train otherwise, override a step: :meth:`build_network`, :meth:`train_step`,
    :meth:`network_inputs`, :meth:`note_output`, :meth:`make_sampler`, :meth:`update_ema`,
    :meth:`validate` or :meth:`predict_patch`.

    Args:
        options: all that decides what is learnt.
        train, validation: the cases.
        folder: of the run, see :class:`.run_folder.RunFolder`. With the same options it is gone on
            with.
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
        self.options = options
        self.device = torch.device(device)
        self.bfloat16 = bfloat16
        self.report = report
        self.initial_weights = initial_weights
        self.on_validation = on_validation
        self.processes = processes or Processes()
        self.warnings: list[str] = []
        self.last_loss: float | None = None
        self.last_dice: float | None = None
        self.takes_clicks = int(options.network["in_channels"]) == 3
        self.is_flat = int(options.network["dimensions"]) == 2
        # The layout that tensor cores want; on a CPU it is faster for pictures, not for volumes.
        self.layout = torch.channels_last if self.is_flat else torch.contiguous_format
        if self.device.type == "cuda" and not self.is_flat:
            self.layout = torch.channels_last_3d
        share = self.processes.share(options.batch_size)
        self.sampler = self.make_sampler(train, share)
        self.validation_cases = [
            ValidationCase(source.case, source.validation_patches(options.patch))
            for source in patch_sources(options, validation, self.device)
        ]
        self.loss = OrganLoss(
            options.target_label,
            options.loss_weights,
            options.all_organs,
            options.deep_supervision,
            self.processes.total,
        )
        self._losses: list[float] = []  # since the last line of the log
        self.state = self._initial_state()
        self.run_folder = RunFolder(folder)
        if self.processes.is_first:
            self.run_folder.open(options, self.state, self.device)
            self.last_loss, self.last_dice = self.run_folder.last_figures()
        # The others look into the folder when it is known to be this run's.
        step = self.processes.from_first(self.state.step)
        if not self.processes.is_first and self.checkpoint_file.exists():
            self.run_folder.restore(self.state, self.device)
        if self.state.step != step:
            raise TrainingError(
                f"Not all processes see the same checkpoint in '{folder}'; choose a folder that "
                "all of them share."
            )

    def _initial_state(self) -> StageState:
        torch.manual_seed(self.options.seed)
        network, average = self.build_network(), self.build_network()
        if self.initial_weights is not None:
            network.load_state_dict(self.initial_weights)
        if self.bfloat16 and self.device.type == "cpu":
            avoid_shallow_gradients(network)
        network = self.processes.synchronise_batch_norm(network)
        average.load_state_dict(network.state_dict())
        average.eval().requires_grad_(False)
        optimizer = OPTIMIZERS[self.options.optimizer](
            network.parameters(),
            lr=1.0,  # type: ignore[call-arg]
            weight_decay=self.options.weight_decay,
        )
        return StageState(network, average, optimizer)

    def run(self) -> nn.Module:
        """Train until the budget or the patience is used up.

        Returns:
            The network with averaged weights, or with the best of them where patience is limited,
            in eval mode, its gates at work.

        Raises:
            TrainingError: the loss is not a number, or memory or disk did not suffice.
        """
        with self._memory_errors_told():
            self._train()
        state = self.state
        if state.best is not None:
            state.average.load_state_dict(state.best.weights)
        state.average.set_gates_open(False)
        return state.average

    def _train(self) -> None:
        last_save = last_validation = time.monotonic()
        self.state.network.train()
        if self.initial_weights is not None and self.state.step == 0:
            self._validate()  # what it starts from is the first that others must be better than
        with self.sampler.batches(self.state.step) as batches:
            while self.fraction_done < 1 and not self.stopped_early:
                fraction, began = self.fraction_done, time.monotonic()
                record = self.train_step(next(batches))
                now = time.monotonic()
                since_validation = self._count_step(now - began, now - last_validation)
                self._log_step(record, fraction)
                if self._is_validation_due(since_validation) and self.fraction_done < 1:
                    self._validate()
                    last_validation = time.monotonic()
                if now - last_save > self.options.checkpoint_every_s and self.can_pause:
                    self.save_checkpoint()
                    last_save = time.monotonic()
        if self._losses:
            self._log_losses(record)
        if not self.stopped_early:
            self._validate()
        self.save_checkpoint()
        self.run_folder.close()

    # Steps to override

    def build_network(self) -> SegmentationNetwork:
        """The network with fresh weights, on the device."""
        network = build_network(self.options.network).to(self.device)
        # PyTorch's type stubs do not know this form, its documentation does.
        return network.to(memory_format=self.layout)  # type: ignore[call-overload]

    def make_sampler(self, train: Sequence[LabelledCase], share: range) -> BatchSampler:
        """What draws the batches.

        Args:
            share: numbers of the patches of a batch that this process makes.
        """
        return BatchSampler(self.options, train, share, self.device)

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """Learn from a batch.

        Returns:
            A line of the log: loss, gradient_norm, learning_rate, focus_ratios, gates_open.

        Raises:
            TrainingError: the loss or the gradient is not a number; the weights are unchanged then.
        """
        options, state = self.options, self.state
        rate = options.learning_rate.at(self.fraction_done)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        for network in (state.network, state.average):
            network.set_gates_open(self.gates_are_frozen)
        inputs, labels = self.network_inputs(batch)
        with self._precision():
            output = state.network(inputs, return_attention=True, return_deep=True)
        loss = self.loss((output.logits, *output.deep), labels, batch.patches.organs_known)
        self._require_finite(loss.item(), "loss", rate)
        self.note_output(output)
        state.optimizer.zero_grad(set_to_none=True)
        (loss + self.gate_supervision_loss(output, labels)).backward()
        self.processes.add_gradients(state.network.parameters())
        norm = float(nn.utils.clip_grad_norm_(state.network.parameters(), options.clip_norm))
        # A step with such a gradient would make every weight not a number.
        self._require_finite(norm, "gradient", rate)
        state.optimizer.step()
        self.update_ema()
        return {
            "loss": loss.item(),
            "gradient_norm": norm,
            "learning_rate": rate,
            "focus_ratios": self.processes.mean([focus_ratio(one) for one in output.attention]),
            "gates_open": self.gates_are_frozen,
        }

    def network_inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network is given, the image and two click channels if it takes them; and the
        labels that it should answer with."""
        patches = batch.patches
        image, labels = patches.image.to(self.device), patches.labels
        if self.takes_clicks:
            drawn = zip(image, labels, batch.generators, strict=True)
            clicked = [self._click(*patch) for patch in drawn]
            image = torch.cat((image, torch.cat([channels for channels, _ in clicked])), dim=1)
            labels = torch.stack([wanted for _, wanted in clicked])
        image = self.to_network_shape(image).contiguous(memory_format=self.layout)
        return image, self.to_network_shape(labels.to(self.device))

    def note_output(self, output: NetworkOutput) -> None:
        """Told what the network answered with in a step, before it learns from it."""

    def gate_supervision_loss(
        self, output: NetworkOutput, labels: torch.Tensor
    ) -> torch.Tensor | float:
        """What is added to the loss for gates that look elsewhere, weighted; 0 without any."""
        options = self.options
        if options.gate_supervision <= 0 or not output.attention or self.gates_are_frozen:
            return 0.0
        return options.gate_supervision * gate_loss(
            output.attention,
            labels,
            options.target_label,
            self._gate_reach_mm,
            options.spatial_spacing_mm,
            self.processes.total,
        )

    def update_ema(self) -> None:
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
        """Judge the averaged network on the validation cases, without clicks.

        Returns:
            A line of the log, see :func:`.validation.validate_network`.
        """

        def predict(image: torch.Tensor) -> Prediction:
            image = image.to(self.device)
            if self.takes_clicks:
                image = torch.cat((image, image.new_zeros((1, 2, *image.shape[2:]))), dim=1)
            output = self.predict_patch(self.state.average, image)
            ratios = [focus_ratio(alpha) for alpha in output.attention]
            return output.logits.argmax(dim=1), ratios

        return validate_network(
            self.state.average,
            self.validation_cases,
            self.options.target_label,
            predict,
            self.to_network_shape,
        )

    def predict_patch(self, network: SegmentationNetwork, inputs: torch.Tensor) -> NetworkOutput:
        """What a network, the present or the averaged one, says of a patch; no gradients.

        Args:
            inputs: (1, channels, k, j, i), on the device.
        """
        with torch.no_grad(), self._precision():
            output: NetworkOutput = network(self.to_network_shape(inputs), return_attention=True)
        return output

    # What the steps need

    def to_network_shape(self, patches: torch.Tensor) -> torch.Tensor:
        """Flat patches (..., 1, j, i) as the pictures (..., j, i) that a 2D network takes."""
        return patches.squeeze(-3) if self.is_flat else patches

    def _click(
        self, image: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Click channels (1, 2, k, j, i) of a patch (1, k, j, i), and its labels."""
        network, labels = self.state.network, labels.cpu()

        def predict(channels: torch.Tensor) -> torch.Tensor:
            inputs = torch.cat((image[None], channels.to(self.device)), dim=1)
            network.eval()
            logits = self.predict_patch(network, inputs).logits
            network.train()
            marked = logits[0].argmax(dim=0) == self.options.target_label
            return marked.reshape(labels.shape).cpu()

        channels, labels = click_channels_for_training(
            labels, image[0].cpu(), self.options, rng, predict
        )
        return channels.to(self.device), labels

    @contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            yield

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
                f"{self.options.clip_norm:g}). {self.run_folder.describe_checkpoint()}"
            )

    @contextmanager
    def _memory_errors_told(self) -> Iterator[None]:
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._out_of_memory() from error
        except RuntimeError as error:
            # The CPU's allocator has no exception of its own.
            if "allocate memory" not in str(error):
                raise
            raise self._out_of_memory() from error

    def _out_of_memory(self) -> TrainingError:
        i, j, k = self.options.patch.size
        return TrainingError(
            f"The memory of {self.device} did not suffice at step {self.state.step}; choose a "
            f"smaller batch (now {self.options.batch_size}), smaller patches (now {i} x {j} x {k}) "
            f"or narrower channels, in another folder. {self.run_folder.describe_checkpoint()}"
        )

    # How far the run is

    @property
    def fraction_done(self) -> float:
        """The share of the budget that is used up."""
        return self.options.budget.fraction(self.state.step, self.state.elapsed_s)

    @property
    def gates_are_frozen(self) -> bool:
        """Whether the gates are open and do not learn yet (progressive training, phase 1)."""
        return self.fraction_done < self.options.gates_open_fraction

    @property
    def can_pause(self) -> bool:
        """Whether a checkpoint at this step holds all that the next steps depend on."""
        return True

    @property
    def stopped_early(self) -> bool:
        """Whether the patience is used up."""
        return 0 < self.options.patience <= self.state.waited

    def _count_step(self, took_s: float, since_validation_s: float) -> float:
        """Add a step to the state; the time since the last validation.

        By the first process's clock the budget ends, and a validation is due, for all.
        """
        self.state.step += 1
        self.state.elapsed_s, since_validation_s = self.processes.from_first(
            (self.state.elapsed_s + took_s, since_validation_s)
        )
        return since_validation_s

    def _is_validation_due(self, since_validation_s: float) -> bool:
        every = self.options.validate_every_steps
        if every:
            return self.state.step % every == 0
        return since_validation_s > self.options.validate_every_s

    def _validate(self) -> None:
        """Judge the network, tell everybody, and remember it if it is the best."""
        if self._losses:
            self.last_loss = float(np.mean(self._losses))
        record = self.processes.from_first(self.validate() if self.processes.is_first else None)
        self.warnings = record.get("findings", [])
        self.run_folder.log(self.state.step, record)
        dice = record["validation_dice"].values()
        if dice:
            self.last_dice = statistics.fmean(dice)
        for warning in self.warnings:
            self.report(self.fraction_done, warning)
        self.on_validation(self.state.step, record)
        # Gates that were frozen so far would spoil the network that they are part of.
        if dice and self.options.patience > 0 and not self.gates_are_frozen:
            self.state.remember_best(statistics.fmean(dice))

    # What is written and told

    @property
    def checkpoint_file(self) -> Path:
        return self.run_folder.checkpoint_file

    @property
    def log_file(self) -> Path:
        return self.run_folder.log_file

    def save_checkpoint(self) -> None:
        """Write the state that a run goes on from; the first process does."""
        if self.processes.is_first:
            self.run_folder.save(self.state)

    def _log_step(self, record: dict[str, Any], fraction: float) -> None:
        self._losses.append(record["loss"])
        if self.state.step % self.options.log_every == 0:
            self._log_losses(record)
            self.report(fraction, f"Step {self.state.step}, {self.figures}")

    def _log_losses(self, record: dict[str, Any]) -> None:
        """Log the last step, with the mean loss since the line before."""
        self.last_loss = float(np.mean(self._losses))
        self._losses.clear()
        elapsed_s = round(self.state.elapsed_s, 1)
        record = {**record, "loss": self.last_loss, "elapsed_s": elapsed_s}
        self.run_folder.log(self.state.step, record)

    @property
    def figures(self) -> str:
        """Loss and Dice, as far as they are known, for people."""
        known = []
        if self.last_loss is not None:
            known.append(f"loss {self.last_loss:.3f}")
        if self.last_dice is not None:
            cases = counted(len(self.validation_cases), "validation case")
            known.append(f"Dice {self.last_dice:.3f} on {cases}")
        return ", ".join(known) or "no figures yet"

    @property
    def summary(self) -> str:
        """What the run has come to, for people, and where its log is."""
        state = self.state
        steps = counted(state.step, "step")
        best = "" if state.best is None else f", the best at step {state.best.step}"
        return f"{steps} in {duration(state.elapsed_s)}, {self.figures}{best}; log: {self.log_file}"
