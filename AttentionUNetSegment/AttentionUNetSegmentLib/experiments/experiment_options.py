"""The options of ``compare`` and ``ablate``. No torch here: the command line shows them."""

from __future__ import annotations

from dataclasses import dataclass

from ..training.option_fields import option
from ..training.training_options import device_option, precision_option


@dataclass(frozen=True)
class ExperimentOptions:
    """How to compare networks; see :class:`.runs.Settings` and :func:`.experiment.run_experiment`.

    What is None is chosen to fit the data.
    """

    steps: int | None = option("Budget of a run in steps.", None, 1)
    minutes: float | None = option("Budget of a run in minutes instead.")
    seeds: int = option("How often each network is trained.", None, 1, default=3)
    folds: int = option(
        "Parts that the patients are split into; 1 takes the data set's own split.",
        None,
        1,
        default=5,
    )
    networks: str | None = option(
        "Only these networks, as the tables name them, with commas between.", metavar="NAMES"
    )
    dimensions: int | None = option(
        "2: slice by slice; 3: in patches. As the data are, unless given."
    )
    size: int | None = option("Voxels along a side of a slice or patch; 256 or 64 unless given.")
    spacing_mm: float | None = option(
        "Of these voxels, in mm; unless given, 4 in 3D, and in 2D what shows a whole slice."
    )
    channels: tuple[int, ...] = option(
        "Feature channels of all networks, shallow to deep.", default=(16, 32, 64, 128, 256)
    )
    batch_size: int | None = option(
        "Slices (8) or patches (2) a step.",
        None,
        1,
        1024,
        old_spellings={"--batch": "--batch-size"},
    )
    learning_rate: float = option("Peak of the learning rate, after the warm-up.", default=1e-3)
    gates_open: float = option(
        "Share of the budget with gates frozen and open, before they learn; 0.5 is progressive "
        "training.",
        None,
        0,
        1,
        default=0.0,
        old_spellings={"--progressive": "--gates-open=0.5"},
    )
    workers: int = option(
        "Processes, with one thread each if there are several.", None, 1, default=1
    )
    device: str = device_option()
    precision: str = precision_option()
