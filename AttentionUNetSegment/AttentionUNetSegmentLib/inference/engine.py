"""A model's networks on a device: precision, tiles, and what is done where memory does not suffice.

All that runs a network runs it through here; what a pass is for is decided above.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch

from ..errors import DeviceError, InputError
from ..geometry.grid import Grid, GridImage
from ..geometry.resampling import sample_scan
from ..geometry.volume import Volume
from ..models import EDITOR, TARGET, Label, Model, load_model
from ..networks.precision import parse_precision, uses_bfloat16
from .click_maps import click_channels
from .clicks import Click
from .device import choose_device
from .editing import WINDOW
from .progress import CancelToken
from .refinement import Refinement
from .slicewise import Slicewise, as_volumetric
from .tiling import run_within_memory

MULTIPLE = 16
"""Four poolings: a network's input has sides that are multiples of this."""
DEFAULT_TILE_VOXELS = 2_500_000
"""Voxels of one pass: about 2.5 GB of activations at the shipped widths. Regions are smaller."""
WARM_UP_SHAPE = (48, 80, 80)
"""k, j, i, about as many as a scan of the abdomen has for the locator, and its region for the
refiner."""
MOST_GRID_VOXELS = 1 << 29
"""Voxels of all that a network is shown, 2 GB a channel. A whole body at 2 mm has a fifth of it."""


class Engine:
    """Runs the networks of one model on one device.

    It is made as its user's front door is, :class:`~.predictor.Predictor`, and raises the same.

    Attributes:
        located: what the locator was shown last for an organ that is looked for by its name, and
            its answer; None where nothing is kept.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        precision: str = "auto",
        tile_voxels: int | None = None,
    ) -> None:
        self.model = model
        self.card = model.card
        self.device = choose_device(device)
        self.precision = parse_precision(precision)
        self.tile_voxels = tile_voxels or DEFAULT_TILE_VOXELS
        self.target_label = self.card.target_label.value
        self.target_channels = {
            label.name: list(self.card.channels_of(label)) for label in self.card.target_labels
        }
        self._move_to(self.device)

    def _move_to(self, device: torch.device) -> None:
        self.device = device
        self.located: tuple[torch.Tensor, torch.Tensor] | None = None
        self.networks = {
            name: as_volumetric(net).to(device) for name, net in self.model.networks.items()
        }

    @property
    def bfloat16(self) -> bool:
        return uses_bfloat16(self.precision, self.device)

    @property
    def has_locator(self) -> bool:
        """Whether the model has a network that finds the organ in a whole scan."""
        return "locator" in self.card.stages

    @property
    def takes_clicks(self) -> bool:
        """Whether the network is shown the clicks. If not, a click changes the mask only by what
        :func:`~.click_update.pull_to_clicks` makes of it."""
        return int(self.card.stages["refiner"].network["in_channels"]) > 1

    @property
    def has_editor(self) -> bool:
        """Whether a network of its own answers clicks at the target; else the refiner does."""
        return self.card.editor is not None and TARGET in self.card.editor.answers

    @property
    def takes_any_structure(self) -> bool:
        """Whether the editor answers clicks at structures that the model has no label for."""
        return self.card.takes_any_structure

    @property
    def all_channels(self) -> list[int]:
        """Of the networks' output, those of any of the targets."""
        return sorted({one for several in self.target_channels.values() for one in several})

    @property
    def slicewise(self) -> bool:
        """Whether the refiner is a 2D network."""
        return isinstance(self.networks["refiner"], Slicewise)

    @property
    def on_gpu(self) -> bool:
        return self.device.type != "cpu"

    def move_to_cpu(self) -> None:
        """Leave a GPU that fails. Where it no longer gives the weights back, they are loaded anew.

        Raises:
            ModelError: they are no longer where they were.
        """
        try:
            self._move_to(torch.device("cpu"))
        except RuntimeError:
            self.model = load_model(self.model.folder)
            self._move_to(torch.device("cpu"))

    def warm_up(self, cancel: CancelToken | None = None) -> None:
        """Run each network once, on nothing: the device then has the plans and the buffers that the
        first scan would have to wait for.

        Raises:
            Cancelled: the token was set.
        """
        for name, network in self.networks.items():
            if cancel is not None:
                cancel.raise_if_cancelled()
            channels = int(self.card.networks[name]["in_channels"])
            shape = WINDOW if name == EDITOR else WARM_UP_SHAPE
            image = torch.zeros((1, channels, *shape), device=self.device)
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16),
            ):
                network(image, return_attention=name == "refiner")

    def sample(self, volume: Volume, grid: Grid) -> torch.Tensor:
        """The scan as the networks see it: (1, 1, k, j, i) in [0, 1], on the device.

        Raises:
            InputError: a wrong spacing in the scan's header, or one that the model's card asks for,
                makes it too large for any computer.
        """
        if math.prod(grid.shape) > MOST_GRID_VOXELS:
            raise InputError(
                f"At the model's resolution the scan would have "
                f"{math.prod(grid.shape) / 1e6:,.0f} million voxels, more than the "
                f"{MOST_GRID_VOXELS / 1e6:,.0f} million that are segmented at once; crop it, or "
                "choose another model."
            )
        return sample_scan(volume, grid, self.card.intensity_window_hu, self.device)

    def run_locator(
        self, scan: torch.Tensor, warnings: list[str], cancel: CancelToken | None = None
    ) -> torch.Tensor:
        """One pass of the locator over a scan as :meth:`sample` gives it.

        Args:
            warnings: a sentence is added where memory did not suffice.

        Returns:
            The probability of each label, (1, labels, k, j, i).
        """
        blank_channels = int(self.card.stages["locator"].network["in_channels"]) - 1

        def locator(tile: torch.Tensor) -> list[torch.Tensor]:
            if blank_channels:  # of clicks, which the locator is not shown
                blank = tile.new_zeros((1, blank_channels, *tile.shape[2:]))
                tile = torch.cat((tile, blank), dim=1)
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = self.networks["locator"](tile)
            return [logits.float().softmax(dim=1)]

        (probabilities,) = self._run("locator", locator, scan, warnings, cancel)
        return probabilities

    def run_refiner(
        self,
        scan: torch.Tensor,
        grid: Grid,
        clicks: Sequence[Click],
        warnings: list[str],
        cancel: CancelToken | None = None,
        target: Label | None = None,
    ) -> Refinement:
        """One pass of the refiner.

        Args:
            scan: as :meth:`sample` gives it.
            grid: its sides are multiples of :data:`MULTIPLE`.
            clicks: about the first target; about another one the network is not shown any.
            warnings: a sentence is added where memory did not suffice.
            target: what is asked for; the first unless given.
        """
        names = list(self.target_channels)
        asked = names[0] if target is None else target.name
        if asked != names[0]:
            clicks = ()
        image = scan
        if self.takes_clicks:
            image = torch.cat((scan, click_channels(clicks, grid, scan.device)), dim=1)

        def refiner(tile: torch.Tensor) -> list[torch.Tensor]:
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                output = self.networks["refiner"](tile, return_attention=True)
            probabilities = output.logits.float().softmax(dim=1)
            alphas = [alpha.float().mean(dim=1, keepdim=True) for alpha in output.attention]
            return [
                *(_probability(probabilities, self.target_channels[name]) for name in names),
                *alphas,
            ]

        maps = self._run("refiner", refiner, image, warnings, cancel)
        by_name = dict(zip(names, maps, strict=False))
        refinement = Refinement.of(grid, by_name.pop(asked), maps[len(names) :])
        if clicks or not by_name:
            return refinement
        others = {name: GridImage(values, grid) for name, values in by_name.items()}
        return dataclasses.replace(refinement, others=others)

    def run_editor(self, inputs: torch.Tensor) -> torch.Tensor:
        """One pass of the editor over a window, which is small.

        Args:
            inputs: as :func:`.editing.editor_inputs` makes them.

        Returns:
            (1, 1, k, j, i), the probability that a voxel in question is of the organ.
        """
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.networks[EDITOR](inputs)
        return logits.float().softmax(dim=1)[:, 1, None]

    def run_all_labels(
        self,
        stage: str,
        scan: torch.Tensor,
        warnings: list[str],
        cancel: CancelToken | None = None,
    ) -> torch.Tensor:
        """One pass of a stage's network, without clicks.

        Args:
            stage: "locator" or "refiner".
            scan: as :meth:`sample` gives it.
            warnings: a sentence is added where memory did not suffice.

        Returns:
            The probabilities of all labels, (1, labels, k, j, i).
        """
        blank_channels = int(self.card.stages[stage].network["in_channels"]) - 1

        def network(tile: torch.Tensor) -> list[torch.Tensor]:
            blank = tile.new_zeros((1, blank_channels, *tile.shape[2:]))
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = self.networks[stage](torch.cat((tile, blank), dim=1))
            return [logits.float().softmax(dim=1)]

        (probabilities,) = self._run(stage, network, scan, warnings, cancel)
        return probabilities

    def _run(
        self,
        name: str,
        function: Callable[[torch.Tensor], Sequence[torch.Tensor]],
        image: torch.Tensor,
        warnings: list[str],
        cancel: CancelToken | None,
    ) -> list[torch.Tensor]:
        """A network pass: whole, in tiles, or on the CPU where the GPU's memory is too small."""

        def warn(sentence: str) -> None:
            if sentence not in warnings:
                warnings.append(sentence)

        def run(image: torch.Tensor) -> list[torch.Tensor]:
            whole_slices = isinstance(self.networks[name], Slicewise)
            return run_within_memory(
                function,
                image,
                self.tile_voxels,
                MULTIPLE,
                warn,
                cancel,
                whole_slices=whole_slices,
            )

        try:
            return run(image)
        except DeviceError:
            if not self.on_gpu:
                raise
        warn("The GPU's memory did not suffice; the CPU was used instead, which takes longer.")
        self._move_to(torch.device("cpu"))
        return run(image.cpu())


def _probability(probabilities: torch.Tensor, channels: Sequence[int]) -> torch.Tensor:
    """Of one or several labels together: (1, 1, k, j, i)."""
    if len(channels) == 1:
        return probabilities[:, channels[0], None]
    return probabilities[:, channels].sum(dim=1, keepdim=True)
