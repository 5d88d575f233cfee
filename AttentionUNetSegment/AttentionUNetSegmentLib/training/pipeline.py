"""From a data folder to a model folder: both stages, one after the other."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..inference.device import choose_device
from ..inference.progress import ProgressCallback, ignore_progress
from ..models import Label, ModelCard, Stage, Terminology, save_model
from .datasets import BTCV_LABELS, LabelledCase, find_cases, load_cases
from .recipes import WINDOW_HU, locator_options, refiner_options
from .schedule import Budget
from .trainer import StageOptions, StageTrainer

STAGES = ("all", "locator", "refiner")
PRECISIONS = ("auto", "bf16", "float32")
LOCATOR_SHARE = 0.2
"""Of the budget: its images are coarse, and it only has to come near."""

MODEL_NAME = "pancreas-ct"
MODEL_VERSION = "0.1.0"


def train_model(
    data: Path,
    output: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    stage: str = "all",
    synthetic: int = 8,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: ProgressCallback | None = None,
) -> Path:
    """Train the locator and the refiner, and write a model folder.

    A run that was stopped goes on where it was when the same command is given again. Each stage
    keeps its options, its log and its last state in a folder of its own below ``output``.

    Args:
        data: holds ``btcv/train`` and, if there, ``panorama-roi``; or the scans themselves.
        output: of the run; the model is ``output/model``.
        minutes, steps: the budget of both stages together; one of them.
        stage: "all", or one stage to train further; the model is written when both are there.
        synthetic: how many made-up abdomens are mixed in.
        precision: "auto" takes bfloat16 where the device computes in it.

    Returns:
        The model folder.

    Raises:
        InputError: an option is wrong.
        TrainingError: the data cannot be used, or training failed.
        DeviceError: the device is not there.
    """
    _check(stage, precision, minutes, steps, synthetic)
    report = progress or ignore_progress
    where = choose_device(device)
    bfloat16 = precision == "bf16" or (precision == "auto" and computes_bfloat16(where))
    train, validation = find_cases(data)
    report(0.0, "Reading the scans")
    cases = load_cases(train, synthetic, lambda fraction, text: report(0.02 * fraction, text))
    held_out = load_cases(validation)

    budgets = {
        "locator": _share(minutes, steps, LOCATOR_SHARE),
        "refiner": _share(minutes, steps, 1 - LOCATOR_SHARE),
    }
    options = {
        "locator": locator_options(budgets["locator"], seed),
        "refiner": refiner_options(budgets["refiner"], seed),
    }
    networks: dict[str, nn.Module] = {}
    done = {"locator": 0.0, "refiner": LOCATOR_SHARE, "end": 1.0}
    for name, stage_options in options.items():
        start = done[name]
        end = done["refiner" if name == "locator" else "end"]

        def stage_progress(
            fraction: float, text: str, start: float = start, end: float = end, name: str = name
        ) -> None:
            report(start + (end - start) * fraction, f"Training the {name}: {text}")

        trainer = StageTrainer(
            stage_options, cases, held_out, output / name, where, bfloat16, stage_progress
        )
        networks[name] = trainer.run() if stage in ("all", name) else trainer.state.average
    card = model_card(options, cases, held_out, where, bfloat16)
    save_model(output / "model", card, networks)
    report(1.0, "Done")
    return output / "model"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, so that it is faster and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type == "cpu":
        # Older versions of PyTorch cannot tell; float32 is right everywhere.
        capabilities = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def _check(
    stage: str, precision: str, minutes: float | None, steps: int | None, synthetic: int
) -> None:
    if stage not in STAGES:
        raise InputError(f"'{stage}' is no stage; choose one of {', '.join(STAGES)}.")
    if precision not in PRECISIONS:
        raise InputError(f"'{precision}' is no precision; choose one of {', '.join(PRECISIONS)}.")
    if (minutes is None) == (steps is None):
        raise InputError("Give the training's budget in minutes or in steps, one of them.")
    if (minutes is not None and not minutes > 0) or (steps is not None and steps < 1):
        raise InputError("The training's budget must be above zero.")
    if synthetic < 0:
        raise InputError("The number of synthetic abdomens cannot be negative.")


def _share(minutes: float | None, steps: int | None, share: float) -> Budget:
    if steps is not None:
        return Budget(steps=max(round(steps * share), 1))
    assert minutes is not None
    return Budget(minutes=minutes * share)


def model_card(
    options: dict[str, StageOptions],
    train: list[LabelledCase],
    validation: list[LabelledCase],
    device: torch.device,
    bfloat16: bool,
) -> ModelCard:
    """The card of a freshly trained model; ``evaluate --card`` adds the figures."""
    kinds = {case.kind for case in train}
    return ModelCard(
        name=MODEL_NAME,
        version=MODEL_VERSION,
        title="Pancreas in abdominal CT",
        summary=(
            "A coarse-to-fine pair of 3D Attention U-Nets: the locator finds the pancreas in the "
            "whole scan at 6 mm, the refiner outlines it at 2 x 2 x 3 mm and takes clicks."
        ),
        intended_use="Research use only; not a medical device.",
        licence=(
            "Weights CC BY-NC 4.0, research use; trained on BTCV and PANORAMA"
            if "region" in kinds
            else "Research use; trained on BTCV, cite Landman et al. 2015"
        ),
        citation=CITATIONS if "region" in kinds else CITATIONS[:2],
        intensity_window_hu=WINDOW_HU,
        labels=labels_of_btcv(),
        target="pancreas",
        stages={name: Stage(one.network, one.patch.spacing_mm) for name, one in options.items()},
        training=training_record(options, train, validation, device, bfloat16),
    )


CITATIONS = (
    "Oktay et al. 2018, Attention U-Net: Learning Where to Look for the Pancreas, arXiv 1804.03999",
    "Landman et al. 2015, Multi-Atlas Labeling Beyond the Cranial Vault (BTCV), Synapse syn3193805",
    "Alves et al. 2024, PANORAMA (CC BY-NC 4.0)",
)


def labels_of_btcv() -> tuple[Label, ...]:
    """The organs, with the terminology of the one that is shown."""
    pancreas = Terminology(
        category=("SCT", "123037004", "Anatomical Structure"),
        type=("SCT", "15776009", "Pancreas"),
    )
    return tuple(
        Label(value, name, (249, 180, 111), pancreas) if name == "pancreas" else Label(value, name)
        for value, name in enumerate(BTCV_LABELS)
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
