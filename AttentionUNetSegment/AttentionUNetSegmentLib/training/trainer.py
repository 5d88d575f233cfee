"""Training of one stage, the locator or the refiner, step by step.

What a step does depends on the options, the seed and the step's number alone, never on what a
random generator was left at. A run that was killed goes on from its last checkpoint as if nothing
had happened.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
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

from ..errors import TrainingError
from ..networks import SegmentationNetwork, build_network, focus_ratio
from .clicks import patch_grid, simulate_clicks
from .datasets import LabelledCase
from .losses import OrganLoss, gate_loss
from .patches import (
    AugmentationOptions,
    IntensityAugmentation,
    PatchOptions,
    PatchSource,
    Sample,
)
from .schedule import Budget, LearningRate

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class StageOptions:
    """Everything that decides what a stage learns; saved with the run.

    Args:
        stage: its name, "locator" or "refiner".
        network: the builder's config. Its first input channel is the scan; two more are clicks.
        patch: what a training sample shows.
        target_label: the organ that counts.
        window_hu: HU that become 0 and 1.
        kind_weights: how often a sample comes from each kind of case.
        click_probability: share of samples with clicks (none for a network without click channels).
        click_error_probability: share of those whose clicks go where the network is wrong.
        gate_supervision: weight of :func:`.losses.gate_loss`; 0 leaves the gates to themselves.
        gate_reach_mm: widening of the organ at each gate, shallow first.
        gates_open_fraction: share of the budget in which gates pass everything (phase 1).
        average_decay: of the exponential moving average of the weights, which is what is kept.
    """

    stage: str
    network: dict[str, Any]
    patch: PatchOptions
    budget: Budget
    target_label: int
    window_hu: tuple[float, float] = (-125.0, 275.0)
    seed: int = 0
    learning_rate: LearningRate = field(default_factory=LearningRate)
    weight_decay: float = 1e-5
    clip_norm: float = 5.0
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
    click_error_probability: float = 0.5
    gate_supervision: float = 0.1
    gate_reach_mm: tuple[float, ...] = (30.0, 20.0, 10.0, 5.0)
    gates_open_fraction: float = 0.0
    average_decay: float = 0.998
    checkpoint_every_s: float = 120.0
    validate_every_s: float = 300.0

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


class StageTrainer:
    """Trains one network on prepared cases.

    >>> trainer = StageTrainer(options, train_cases, validation_cases, folder)
    >>> network = trainer.run()
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
    ) -> None:
        kinds = {case.kind for case in train if options.kind_weights.get(case.kind, 0) > 0}
        if not kinds:
            raise TrainingError("There is no case to train on; check the data folder.")
        self.options = options
        self.folder = folder
        self.device = torch.device(device)
        self.bfloat16 = bfloat16
        self.report = report
        self.clickable = int(options.network["in_channels"]) == 3
        # The layout that tensor cores want; on a CPU the usual one is as fast or faster.
        self.layout = (
            torch.channels_last_3d if self.device.type == "cuda" else torch.contiguous_format
        )

        def prepare(cases: Sequence[LabelledCase]) -> list[PatchSource]:
            return [
                PatchSource(case, options.target_label, options.window_hu, options.patch.spacing_mm)
                for case in cases
            ]

        self.train_sources = {
            kind: prepare([case for case in train if case.kind == kind]) for kind in sorted(kinds)
        }
        self.validation_sources = prepare(validation)
        self.intensity = IntensityAugmentation(options.augmentation)
        self.loss = OrganLoss(
            options.target_label, all_organs=options.all_organs, levels=options.deep_supervision
        )
        self.grid = patch_grid(options.patch.shape, options.patch.spacing_mm)
        self.state = self._initial_state()
        folder.mkdir(parents=True, exist_ok=True)
        self._keep_options()
        if self.checkpoint_file.exists():
            self._restore()
        # What was logged beyond the checkpoint is hidden, as the steps are done again.
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=self.state.step)

    # What a run leaves on disk

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def _keep_options(self) -> None:
        file = self.folder / "options.json"
        options = json.loads(json.dumps(self.options.to_json()))
        if file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            changed = sorted(key for key in options if before.get(key) != options[key])
            # A longer budget continues a run; anything else would make it another one.
            if set(changed) - {"budget", "checkpoint_every_s", "validate_every_s"}:
                raise TrainingError(
                    f"'{self.folder}' holds a run with other options ({', '.join(changed)}); "
                    "choose another folder or the same options."
                )
        replace_text(file, json.dumps(options, indent=1))

    def _initial_state(self) -> StageState:
        torch.manual_seed(self.options.seed)
        network, average = self._network(), self._network()
        average.load_state_dict(network.state_dict())
        average.eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=1.0, weight_decay=self.options.weight_decay
        )
        return StageState(network, average, optimizer)

    def _network(self) -> SegmentationNetwork:
        network = build_network(self.options.network).to(self.device)
        # PyTorch's type stubs do not know this form, its documentation does.
        return network.to(memory_format=self.layout)  # type: ignore[call-overload]

    def _save(self) -> None:
        state = self.state
        temporary = self.checkpoint_file.with_suffix(".tmp")
        torch.save(
            {
                "format": CHECKPOINT_FORMAT,
                "network": state.network.state_dict(),
                "average": state.average.state_dict(),
                "optimizer": state.optimizer.state_dict(),
                "step": state.step,
                "elapsed_s": state.elapsed_s,
            },
            temporary,
        )
        os.replace(temporary, self.checkpoint_file)

    def _restore(self) -> None:
        try:
            saved = torch.load(self.checkpoint_file, map_location=self.device, weights_only=True)
            state = self.state
            state.network.load_state_dict(saved["network"])
            state.average.load_state_dict(saved["average"])
            state.optimizer.load_state_dict(saved["optimizer"])
            state.step, state.elapsed_s = int(saved["step"]), float(saved["elapsed_s"])
        except (RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
            raise TrainingError(
                f"'{self.checkpoint_file}' is not a checkpoint of this run; "
                "remove the folder to begin anew."
            ) from error
        self._forget_log_after(state.step)

    def _forget_log_after(self, step: int) -> None:
        """Steps after the checkpoint are done again; their first try leaves the log."""
        if self.log_file.exists():
            lines = self.log_file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            replace_text(self.log_file, "".join(line + "\n" for line in kept))

    def _log(self, record: dict[str, Any]) -> None:
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.state.step, **record}) + "\n")
        for name, value in named_scalars(record):
            self.board.add_scalar(name, value, self.state.step)

    # Samples

    def _sample(self, step: int) -> tuple[Sample, np.random.Generator]:
        rng = np.random.default_rng([self.options.seed, step])
        kinds = list(self.train_sources)
        weights = np.array([self.options.kind_weights[kind] for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        sources = self.train_sources[kind]
        source = sources[int(rng.integers(len(sources)))]
        options = self.options
        return source.sample(options.patch, options.augmentation, rng, self.intensity), rng

    def _samples(self, pool: ThreadPoolExecutor) -> Iterator[tuple[Sample, np.random.Generator]]:
        """Samples of this step and those after it, each made while the one before is learnt."""
        step = self.state.step
        waiting: list[Future[tuple[Sample, np.random.Generator]]] = []
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

    def _with_clicks(self, sample: Sample, rng: np.random.Generator) -> torch.Tensor:
        """The network's input: the image, and two click channels if it takes them."""
        image = sample.image.to(self.device)
        if not self.clickable:
            return image
        none = torch.zeros((1, 2, *image.shape[2:]), device=self.device)
        if rng.random() >= self.options.click_probability:
            return torch.cat((image, none), dim=1)
        labels, prediction = sample.labels[0], None
        if rng.random() < self.options.click_error_probability:
            self.state.network.eval()
            with torch.no_grad(), self._precision():
                logits = self.state.network(torch.cat((image, none), dim=1))
            self.state.network.train()
            prediction = (logits[0].argmax(dim=0) == self.options.target_label).cpu()
        clicks = simulate_clicks(labels, self.options.target_label, self.grid, rng, prediction)
        return torch.cat((image, clicks.to(self.device)), dim=1)

    def _learn(self, sample: Sample, rng: np.random.Generator, fraction: float) -> dict[str, Any]:
        options, state = self.options, self.state
        rate = options.learning_rate.at(fraction)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.network.set_gates_open(fraction < options.gates_open_fraction)
        inputs = self._with_clicks(sample, rng).contiguous(memory_format=self.layout)
        labels = sample.labels.to(self.device)
        with self._precision():
            output = state.network(inputs, return_attention=True, return_deep=True)
        loss = self.loss((output.logits, *output.deep), labels, sample.organs_known)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss is not a number at step {state.step}; lower the learning rate "
                f"(now {rate:.2g}). The last good state is in '{self.checkpoint_file}'."
            )
        total = loss
        if options.gate_supervision > 0 and output.attention:
            looking = gate_loss(
                output.attention,
                labels,
                options.target_label,
                options.gate_reach_mm[: len(output.attention)],
                options.patch.spacing_mm[::-1],
            )
            total = loss + options.gate_supervision * looking
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), options.clip_norm)
        state.optimizer.step()
        self._follow()
        return {
            "loss": loss.item(),
            "gradient_norm": float(norm),
            "learning_rate": rate,
            "focus_ratios": [focus_ratio(alpha) for alpha in output.attention],
        }

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
        """Dice of the averaged network on the patch around each validation case's organ."""
        scores, ratios = {}, []
        for source in self.validation_sources:
            sample = source.sample(self.options.patch, None, np.random.default_rng(0))
            image = sample.image.to(self.device)
            if self.clickable:
                image = torch.cat((image, image.new_zeros((1, 2, *image.shape[2:]))), dim=1)
            with torch.no_grad(), self._precision():
                output = self.state.average(image, return_attention=True)
            predicted = output.logits[0].argmax(dim=0).cpu() == self.options.target_label
            truth = sample.labels[0] == self.options.target_label
            size = int(predicted.sum()) + int(truth.sum())
            scores[source.case.name] = 2 * int((predicted & truth).sum()) / max(size, 1)
            ratios.append([focus_ratio(alpha) for alpha in output.attention])
        return {
            "validation_dice": scores,
            "validation_focus_ratios": np.mean(ratios, axis=0).tolist() if ratios else [],
        }

    def run(self) -> nn.Module:
        """Train until the budget is used up.

        Returns:
            The network with averaged weights, in eval mode.
        """
        state, options = self.state, self.options
        last_save = last_validation = time.monotonic()
        losses: list[float] = []
        state.network.train()
        with ThreadPoolExecutor(max_workers=1) as pool:
            samples = self._samples(pool)
            while (fraction := options.budget.fraction(state.step, state.elapsed_s)) < 1:
                began = time.monotonic()
                sample, rng = next(samples)
                record = self._learn(sample, rng, fraction)
                state.step += 1
                now = time.monotonic()
                state.elapsed_s += now - began
                losses.append(record["loss"])
                if state.step % 20 == 0:
                    record["loss"] = float(np.mean(losses))
                    losses.clear()
                    self._log({**record, "elapsed_s": round(state.elapsed_s, 1)})
                    self.report(fraction, f"Step {state.step}, loss {record['loss']:.3f}")
                if now - last_validation > options.validate_every_s:
                    self._log(self.validate())
                    last_validation = time.monotonic()
                if now - last_save > options.checkpoint_every_s:
                    self._save()
                    last_save = time.monotonic()
            pool.shutdown(cancel_futures=True)
        self._save()
        self._log(self.validate())
        self.board.close()
        return state.average


def named_scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """A log record as curves: one for each case and for each level of the gates."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{case}", float(one)) for case, one in value.items())
        elif isinstance(value, list):
            yield from ((f"{name}/level {level}", float(x)) for level, x in enumerate(value, 1))
        else:
            yield name, float(value)


def replace_text(file: Path, text: str) -> None:
    """Write a text file in one piece: readers see the old one or the new one."""
    temporary = file.with_suffix(file.suffix + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, file)
