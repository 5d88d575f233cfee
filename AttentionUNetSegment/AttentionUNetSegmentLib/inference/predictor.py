"""Coarse to fine: look at the whole scan once, then closely where the pancreas is.

>>> predictor = Predictor(load_model(find_model("pancreas-ct")))
>>> prediction = predictor.predict(read_volume("scan.nii.gz"))
>>> prediction.volume_ml, prediction.focus_ratios
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import DeviceError, InputError
from ..geometry.resampling import (
    Grid,
    aligned_grid,
    bounds_ras,
    grid_of,
    sample_scan,
    subgrid,
)
from ..geometry.volume import Volume
from ..models import load_model
from ..networks.precision import parse_precision, uses_bfloat16
from .click_maps import click_channels
from .clicks import Click
from .device import choose_device
from .prediction import THRESHOLD, Prediction, Region
from .progress import CancelToken, ProgressCallback
from .refinement import Look
from .regions import (
    LARGEST_BOX_MM,
    LEAST_SIDE_MM,
    MARGIN_MM,
    SMALLEST_BOX_MM,
    Box,
    box_of_clicks,
    kept_pieces,
    locate,
)
from .slicewise import Slicewise, as_volumetric
from .tiling import run_within_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..models import Model

MULTIPLE = 16
"""Four poolings: a network's input has sides that are multiples of this."""
DEFAULT_TILE_VOXELS = 2_500_000
"""Voxels of one pass: about 2.5 GB of activations at the shipped widths. Regions are smaller."""
MOST_EXTENT_MM = 3000.0
"""No scan is longer; a header that says so has a wrong spacing."""
MOST_GRID_VOXELS = 1 << 29
"""Voxels of all that a network is shown, 2 GB a channel. A whole body at 2 mm has a fifth of it."""
GROWTH_MM = 32.0
MOST_GROWTHS = 2
"""How often, and by how much, the region is widened where the organ reaches its border."""


@dataclass
class Steps:
    """Reports progress, measures time and honours cancellation between steps."""

    progress: ProgressCallback
    cancel: CancelToken | None
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, fraction: float, text: str) -> Iterator[None]:
        if self.cancel is not None:
            self.cancel.raise_if_cancelled()
        self.progress(fraction, text)
        began = time.perf_counter()
        yield
        self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - began


class Predictor:
    """Segments scans with one model on one device; keep it, since it holds the networks there.

    Args:
        model: as loaded; its networks are moved to the device.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        precision: ``auto`` is bfloat16 where the device has instructions for it, else float32.
        tile_voxels: the most voxels that go through a network at once.

    Raises:
        DeviceError: the device is not there.
        InputError: an option is unknown.
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
        self._move_to(self.device)

    def _move_to(self, device: torch.device) -> None:
        self.device = device
        self.networks = {
            name: as_volumetric(net).to(device) for name, net in self.model.networks.items()
        }

    @property
    def bfloat16(self) -> bool:
        return uses_bfloat16(self.precision, self.device)

    @property
    def takes_clicks(self) -> bool:
        """Whether the network is shown the clicks. If not, a click changes the mask only by what
        :func:`~.click_update.following` makes of it."""
        return int(self.card.stages["refiner"].network["in_channels"]) > 1

    @property
    def slicewise(self) -> bool:
        """Whether the refiner is a 2D network."""
        return isinstance(self.networks["refiner"], Slicewise)

    @property
    def on_gpu(self) -> bool:
        return self.device.type != "cpu"

    def go_on_with_cpu(self) -> None:
        """Leave a GPU that fails. Where it no longer gives the weights back, they are loaded anew.

        Raises:
            ModelError: they are no longer where they were.
        """
        try:
            self._move_to(torch.device("cpu"))
        except RuntimeError:
            self.model = load_model(self.model.folder)
            self._move_to(torch.device("cpu"))

    def predict(
        self,
        volume: Volume,
        clicks: Sequence[Click] = (),
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        *,
        checked: bool = False,
    ) -> Prediction:
        """Segment a scan.

        Args:
            volume: CT in Hounsfield units.
            clicks: points inside and outside the organ, in the same world as the volume.
            progress: told what is being done.
            cancel: checked between steps and between tiles.
            checked: ``scan_doubts`` has passed the scan already, of which this may be a part too
                small to be recognised as a CT by itself.

        Raises:
            InputError: the scan or a click cannot be used.
            MemoryError: not even the CPU's memory suffices.
            Cancelled: the token was set.
        """
        from .session import Session

        session = Session(self, volume, checked=checked)
        return session.predict(clicks, progress, cancel)

    # The two looks

    def _run(
        self,
        name: str,
        function: Callable[[torch.Tensor], Sequence[torch.Tensor]],
        image: torch.Tensor,
        warnings: list[str],
        cancel: CancelToken | None,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[torch.Tensor]:
        """A network pass: whole, in tiles, or on the CPU where the GPU's memory is too small."""

        def warn(sentence: str) -> None:
            if sentence not in warnings:
                warnings.append(sentence)

        slicewise = isinstance(self.networks[name], Slicewise)
        try:
            return run_within_memory(
                function, image, self.tile_voxels, MULTIPLE, warn, cancel, progress, slicewise
            )
        except DeviceError:
            if not self.on_gpu:
                raise
        warn("The GPU's memory did not suffice; the CPU was used instead, which takes longer.")
        self._move_to(torch.device("cpu"))
        return run_within_memory(
            function, image.cpu(), self.tile_voxels, MULTIPLE, warn, cancel, progress, slicewise
        )

    def locate(
        self,
        volume: Volume,
        warnings: list[str],
        cancel: CancelToken | None = None,
        interest: Region | None = None,
    ) -> Box | None:
        """The first look, at the whole scan: where the organ is, or None.

        What the user drew a box around is looked at without it, with as much around it as the scan
        has, and so is a scan that somebody cut to the organ, where the first look, which knows
        whole abdomens, finds nothing. A model of one stage has no first look: its network sees the
        whole scan.

        Args:
            interest: k, j, i box of the scan to look in.
        """
        grid = grid_of(volume)
        scan = Box(*bounds_ras(grid))
        place = scan if interest is None else Box(*bounds_ras(subgrid(grid, interest)))
        if "locator" not in self.card.stages:
            return place
        small = place.fits_in(LARGEST_BOX_MM)
        if small and interest is not None:
            return place.grown(MARGIN_MM).at_least(SMALLEST_BOX_MM).within(scan)
        low, high = place.low_ras, place.high_ras
        stage = self.card.stages["locator"]
        click_channels_taken = int(stage.network["in_channels"]) - 1
        grid = aligned_grid(low, high, stage.spacing_mm, MULTIPLE)
        image = self.sample(volume, grid)

        def function(tile: torch.Tensor) -> list[torch.Tensor]:
            network = self.networks["locator"]
            if click_channels_taken:
                blank = tile.new_zeros((1, click_channels_taken, *tile.shape[2:]))
                tile = torch.cat((tile, blank), dim=1)
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = network(tile)
            return [logits.float().softmax(dim=1)[:, self.target_label, None]]

        (probability,) = self._run("locator", function, image, warnings, cancel)
        box = locate(probability[0, 0].cpu().numpy(), grid)
        if box is None:
            cut_out = small and place.extent_mm.min() >= LEAST_SIDE_MM
            return place if cut_out else None
        return box.within(place)

    def surroundings(self, volume: Volume, clicks: Sequence[Click]) -> Box | None:
        """Where to look when there are clicks only; None where none of them is inside.

        Those slices whole, for a 2D network that always sees whole ones.
        """
        box = box_of_clicks(clicks)
        if box is None or not self.slicewise or "locator" in self.card.stages:
            return box
        low, high = bounds_ras(grid_of(volume))
        low[2], high[2] = box.low_ras[2], box.high_ras[2]
        return Box(low, high)

    def look_closely(
        self,
        volume: Volume,
        box: Box,
        clicks: Sequence[Click],
        warnings: list[str],
        steps: Steps,
        interest: Region | None = None,
    ) -> tuple[Look, torch.Tensor]:
        """Run the refiner on a box, and again on a wider one where the organ reaches its border.

        Args:
            interest: k, j, i box of the scan beyond which the organ is not followed.
        """
        grid = grid_of(volume)
        limits = Box(*bounds_ras(grid if interest is None else subgrid(grid, interest)))
        for growth in range(MOST_GROWTHS + 1):
            with steps.step("refine", 0.2 + 0.2 * growth, f"Segmenting the {self.card.target}"):
                spacing = self.card.stages["refiner"].spacing_mm
                grid = aligned_grid(box.low_ras, box.high_ras, spacing, MULTIPLE, snap=True)
                scan = self.sample(volume, grid)
                look = self.refine(scan, grid, clicks, warnings, steps.cancel)
                kept, _ = kept_pieces(look.values > THRESHOLD, look.grid, clicks)
            wider = _widened(box, kept, look.grid, limits)
            if wider is None or growth == MOST_GROWTHS:
                break
            box = wider
        return look, scan

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

    def refine(
        self,
        scan: torch.Tensor,
        grid: Grid,
        clicks: Sequence[Click],
        warnings: list[str],
        cancel: CancelToken | None = None,
    ) -> Look:
        """One pass of the refiner.

        Args:
            scan: as :meth:`sample` gives it.
            grid: its sides are multiples of :data:`MULTIPLE`.
            warnings: a sentence is added where memory did not suffice.
        """
        image = scan
        if self.takes_clicks:
            image = torch.cat((scan, click_channels(clicks, grid, scan.device)), dim=1)

        def function(tile: torch.Tensor) -> list[torch.Tensor]:
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                output = self.networks["refiner"](tile, return_attention=True)
            probability = output.logits.float().softmax(dim=1)[:, self.target_label, None]
            alphas = [alpha.float().mean(dim=1, keepdim=True) for alpha in output.attention]
            return [probability, *alphas]

        probability, *alphas = self._run("refiner", function, image, warnings, cancel)
        return Look.of(grid, probability, alphas)


def check_extent(volume: Volume) -> None:
    low, high = bounds_ras(grid_of(volume))
    extent = float((high - low).max())
    if extent > MOST_EXTENT_MM:
        raise InputError(
            f"The scan would be {extent / 1000:.1f} m long, so its voxel spacing "
            f"({', '.join(f'{step:g}' for step in volume.spacing_mm)} mm) is wrong; "
            "correct it and try again."
        )


def _widened(box: Box, kept: np.ndarray, grid: Grid, scan: Box) -> Box | None:
    """The box with those sides moved out that the organ touches; None where it touches none."""
    low, high = box.low_ras.copy(), box.high_ras.copy()
    grid_low, grid_high = bounds_ras(grid)
    for axis, name in enumerate((2, 1, 0)):
        planes = np.atleast_1d(kept.any(axis=tuple(a for a in range(3) if a != name)))
        if planes[:2].any() and grid_low[axis] > scan.low_ras[axis] + 1:
            low[axis] = max(grid_low[axis] - GROWTH_MM, scan.low_ras[axis])
        if planes[-2:].any() and grid_high[axis] < scan.high_ras[axis] - 1:
            high[axis] = min(grid_high[axis] + GROWTH_MM, scan.high_ras[axis])
    if (low == box.low_ras).all() and (high == box.high_ras).all():
        return None
    return Box(np.minimum(low, box.low_ras), np.maximum(high, box.high_ras))
