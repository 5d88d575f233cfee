"""``train``: a model from labelled scans."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ...errors import InputError
from .shared import PRECISION_BEFORE, Device, DeviceOption, Precision, PrecisionOption


class Stage(str, Enum):
    """What of a model is trained."""

    ALL = "all"
    LOCATOR = "locator"
    REFINER = "refiner"


TRAIN_BEFORE = PRECISION_BEFORE
BUDGET, DATA, NETWORK = "Budget", "Data", "Network"
MODEL = "Model"
LOSS, OPTIMISATION, AUGMENTATION = "Loss", "Optimisation", "Augmentation"


def train(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder of labelled scans, of any layout."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Of the run; the model is DIR/model."),
    ],
    minutes: Annotated[
        float | None,
        typer.Option(help="Budget of time, for both stages together.", rich_help_panel=BUDGET),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Budget of steps, for both stages together.", rich_help_panel=BUDGET),
    ] = None,
    stage: Annotated[Stage, typer.Option(help="What to train.", rich_help_panel=BUDGET)] = (
        Stage.ALL
    ),
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Start with a model's weights; a stage that is not trained keeps them.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Short name of the model; that of DIR.", rich_help_panel=MODEL),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(help="A line that says what it segments.", rich_help_panel=MODEL),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Of the model; 0.1.0, and one more each time that it is trained on.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Of the weights; what the data's files say.", rich_help_panel=MODEL),
    ] = None,
    author: Annotated[
        str | None, typer.Option(help="Who answers for the model.", rich_help_panel=MODEL)
    ] = None,
    cite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORK", help="To cite. May be given several times.", rich_help_panel=MODEL
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
    seed: Annotated[int, typer.Option(help="Decides all that is drawn at random.", min=0)] = 0,
    target: Annotated[
        str | None,
        typer.Option(help="The label that counts; the data set's.", rich_help_panel=DATA),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Splits to use, of --fold.", rich_help_panel=DATA),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Draw so many splits by patient; --fold is used.", min=2, rich_help_panel=DATA
        ),
    ] = None,
    fold: Annotated[int, typer.Option(help="Which split.", min=0, rich_help_panel=DATA)] = 0,
    synthetic: Annotated[
        int | None,
        typer.Option(
            help="Synthetic abdomens mixed in; 8 for BTCV in 3D, else 0.",
            min=0,
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(
            help="3: locator and refiner; 2: one network, slice by slice. The data set's.",
            min=2,
            max=3,
            rich_help_panel=NETWORK,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="FCN, UNet, ResUNet or AttentionUNet.", rich_help_panel=NETWORK),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            help="standard, stable, dual, multi-scale or multi-head.", rich_help_panel=NETWORK
        ),
    ] = None,
    gated_levels: Annotated[
        str | None, typer.Option(help="all or deepest.", rich_help_panel=NETWORK)
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Of the multi-head gate.", min=1, rich_help_panel=NETWORK)
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Of the refiner, shallow to deep; fewer take less memory.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="batch, instance or group.", rich_help_panel=NETWORK)
    ] = None,
    upsampling: Annotated[
        str | None, typer.Option(help="transposed or interpolated.", rich_help_panel=NETWORK)
    ] = None,
    patch: Annotated[
        str | None,
        typer.Option(
            metavar="I,J,K",
            help="Voxels of the refiner's patches; K is 1 in 2D.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    spacing_mm: Annotated[
        str | None,
        typer.Option(
            metavar="I,J,K", help="Of the refiner's voxels, in mm.", rich_help_panel=NETWORK
        ),
    ] = None,
    dice: Annotated[
        float | None,
        typer.Option(help="Weight of the Dice loss; 0.4.", min=0, rich_help_panel=LOSS),
    ] = None,
    cross_entropy: Annotated[
        float | None,
        typer.Option(help="Weight of the cross-entropy; 0.3.", min=0, rich_help_panel=LOSS),
    ] = None,
    focal: Annotated[
        float | None,
        typer.Option(help="Weight of the focal loss; 0.3.", min=0, rich_help_panel=LOSS),
    ] = None,
    all_organs: Annotated[
        float | None,
        typer.Option(help="Weight of all labels beside the target.", min=0, rich_help_panel=LOSS),
    ] = None,
    deep_supervision: Annotated[
        bool | None, typer.Option(help="A loss at coarser levels too.", rich_help_panel=LOSS)
    ] = None,
    gate_supervision: Annotated[
        float | None,
        typer.Option(
            help="Weight with which gates are taught to look at the target; 0.1.",
            min=0,
            rich_help_panel=LOSS,
        ),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam or adamw.", rich_help_panel=OPTIMISATION)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Patches a step.", min=1, rich_help_panel=OPTIMISATION)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak of the learning rate; 1e-3.", min=1e-12, rich_help_panel=OPTIMISATION
        ),
    ] = None,
    final_learning_rate: Annotated[
        float | None,
        typer.Option(
            help="The learning rate at the end; 1e-6.", min=0, rich_help_panel=OPTIMISATION
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            help="Share of the budget in which the learning rate rises; 0.05.",
            min=0,
            max=0.99,
            rich_help_panel=OPTIMISATION,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            help="Pull of the weights to zero; 1e-5, 0 in 2D.", min=0, rich_help_panel=OPTIMISATION
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(help="Longest gradient; 5.", min=1e-6, rich_help_panel=OPTIMISATION),
    ] = None,
    average_decay: Annotated[
        float | None,
        typer.Option(
            help="Of the averaged weights; 0.998, 0 for none.",
            min=0,
            max=0.99999,
            rich_help_panel=OPTIMISATION,
        ),
    ] = None,
    gates_open: Annotated[
        float | None,
        typer.Option(
            help="Share of the budget with gates frozen and open; 0.5 in 2D, else 0.",
            min=0,
            max=1,
            rich_help_panel=OPTIMISATION,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many validations without a better Dice; 0: never.",
            min=0,
            rich_help_panel=OPTIMISATION,
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between validations; every 5 minutes.",
            min=1,
            rich_help_panel=OPTIMISATION,
        ),
    ] = None,
    regions: Annotated[
        float | None,
        typer.Option(
            help="Share of the refiner's samples that come from cropped regions; 0.32.",
            min=0,
            max=0.99,
            rich_help_panel=DATA,
        ),
    ] = None,
    rotation: Annotated[
        float | None,
        typer.Option(
            help="Most degrees about the body's axis; 25, 30 in 2D.",
            min=0,
            max=180,
            rich_help_panel=AUGMENTATION,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Most scaling, as a logarithm; 0.2.", rich_help_panel=AUGMENTATION),
    ] = None,
    shift: Annotated[
        float | None,
        typer.Option(
            help="Farthest shift, a share of the patch's size.", rich_help_panel=AUGMENTATION
        ),
    ] = None,
    flips: Annotated[
        float | None,
        typer.Option(
            help="Probability of mirroring, each in R and A; 0.",
            min=0,
            max=1,
            rich_help_panel=AUGMENTATION,
        ),
    ] = None,
    quarter_turns: Annotated[
        float | None,
        typer.Option(
            help="Probability of turning by 90, 180 or 270 degrees; 0.",
            min=0,
            max=1,
            rich_help_panel=AUGMENTATION,
        ),
    ] = None,
    elastic_mm: Annotated[
        float | None,
        typer.Option(help="Strongest elastic deformation; 6.", min=0, rich_help_panel=AUGMENTATION),
    ] = None,
    brightness: Annotated[
        float | None,
        typer.Option(help="Most change of brightness; 0.1.", min=0, rich_help_panel=AUGMENTATION),
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(help="Most change of contrast; 0.3.", min=0, rich_help_panel=AUGMENTATION),
    ] = None,
    gamma: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH", help="Range of gamma; 0.7,1.5.", rich_help_panel=AUGMENTATION
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="Strongest Gaussian noise; 0.06.", min=0, rich_help_panel=AUGMENTATION),
    ] = None,
    blur: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="Range of Gaussian blur, in voxels; 0.4,1.0.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = None,
) -> None:
    """Train a model on labelled scans.

    Give --minutes or --steps; all else has a default that fits the data set, and is kept in
    options.json. A run that was stopped goes on where it was when the same command is given again.
    torchrun starts it on several GPUs.
    """
    from ..finished_run import FinishedRun, asked_for, model_weights, weights_of
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require

    asked = {**asked_for(context), "weights": weights_of(start_from)}
    inputs = [data] if splits is None else [data, splits]
    run = FinishedRun(output, asked, inputs, model_weights)
    if run.told_again():
        return
    require("train", "torch", "monai", "scipy")
    with extra_needed("train"):
        from ...training.distributed import launched_processes
        from ...training.naming import Naming
        from ...training.pipeline import train_model
        from ...training.recipes import Choices
    choices = Choices(
        network=network,
        gate=gate,
        gated_levels=gated_levels,
        heads=heads,
        norm=norm,
        upsampling=upsampling,
        deep_supervision=deep_supervision,
        channels=_numbers(channels, "--channels", int),
        patch=_numbers(patch, "--patch", int, 3),
        spacing_mm=_numbers(spacing_mm, "--spacing-mm", float, 3),
        dice=dice,
        cross_entropy=cross_entropy,
        focal=focal,
        all_organs=all_organs,
        gate_supervision=gate_supervision,
        optimizer=optimizer,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=final_learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        clip_norm=clip,
        average_decay=average_decay,
        gates_open=gates_open,
        patience=patience,
        validate_every=validate_every,
        regions=regions,
        rotation_degrees=rotation,
        scale=scale,
        shift=shift,
        flips=flips,
        quarter_turns=quarter_turns,
        elastic_mm=elastic_mm,
        brightness=brightness,
        contrast=contrast,
        gamma=_numbers(gamma, "--gamma", float, 2),
        noise=noise,
        blur_voxels=_numbers(blur, "--blur", float, 2, zero=True),
    )
    notes: list[str] = []
    told: list[str] = []
    with contextlib.ExitStack() as during:
        processes = during.enter_context(launched_processes(device.value))
        progress = (
            during.enter_context(shown_progress(plain_every_s=60.0)) if processes.is_first else None
        )

        def tell(text: str) -> None:
            if progress is not None:
                told.append(text)
                progress.line(text)

        folder = train_model(
            data,
            output,
            minutes=minutes,
            steps=steps,
            stage=stage.value,
            start_from=start_from,
            synthetic=synthetic,
            seed=seed,
            device=device.value,
            precision=precision.value,
            dimensions=dimensions,
            target=target,
            splits=splits,
            folds=folds,
            fold=fold,
            choices=choices,
            progress=progress,
            note=notes.append,
            tell=tell,
            naming=Naming(name, title, version, licence, author, tuple(cite or ())),
            processes=processes,
        )
    if not processes.is_first:
        return
    notes = [f"Note: {note}" for note in notes]
    for note in notes:
        typer.echo(note, err=True)
    out = f"Model: {folder}\n"
    typer.echo(out, nl=False)
    run.keep(out, [*(line for line in told if ", done: " in line), *notes])


def _numbers(
    text: str | None,
    option: str,
    kind: Callable[[str], float],
    count: int | None = None,
    zero: bool = False,
) -> Any:
    """Numbers above zero, or zero too, that were given with commas between them.

    Raises:
        InputError: they were not.
    """
    if text is None:
        return None
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < math.inf or (zero and value == 0) for value in values):
        raise InputError(f"{option} takes numbers above zero with commas, not '{text}'.")
    if count is not None and len(values) != count:
        raise InputError(f"{option} takes {count} numbers, not {len(values)}.")
    return values
