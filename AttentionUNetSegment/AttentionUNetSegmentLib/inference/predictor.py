"""Coarse to fine: look at the whole scan once, then closely where the pancreas is.

>>> predictor = Predictor(load_model(find_model("pancreas-ct")))
>>> prediction = predictor.predict(read_volume("scan.nii.gz"))
>>> prediction.volume_ml, prediction.focus_ratios
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import DeviceError, InputError
from ..networks import focus_ratio
from .click_maps import click_channels
from .clicks import Click
from .device import choose_device, describe_device
from .prediction import THRESHOLD, FeatureMap, Prediction, Region
from .progress import CancelToken, ProgressCallback, ignore_progress
from .regions import Box, box_of_clicks, kept_pieces, locate
from .resampling import (
    Grid,
    aligned_grid,
    bounds_ras,
    grid_of,
    index_box,
    resample,
    sample_scan,
    subgrid,
)
from .tiling import run_within_memory
from .validation import check_clicks, check_ct
from .volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..models import Model

PRECISIONS = ("auto", "float32", "bfloat16")
MULTIPLE = 16
"""Four poolings: a network's input has sides that are multiples of this."""
DEFAULT_TILE_VOXELS = 2_500_000
"""Voxels of one pass: about 2.5 GB of activations at the shipped widths. Regions are smaller."""
MOST_EXTENT_MM = 3000.0
"""No scan is longer; a header that says so has a wrong spacing."""
GROWTH_MM = 32.0
MOST_GROWTHS = 2
"""How often, and by how much, the region is widened where the organ reaches its border."""
NOWHERE: Region = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass
class _Steps:
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


@dataclass(frozen=True, eq=False)
class _Look:
    """The refiner's answer for a region: its grid, the probability, and a map a gate."""

    grid: Grid
    probability: FeatureMap
    attention: tuple[FeatureMap, ...]


class Predictor:
    """Segments scans with one model on one device; keep it, since it holds the networks there.

    Args:
        model: as loaded; its networks are moved to the device.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        precision: ``auto`` is bfloat16 on a CUDA GPU that has it, else float32.
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
        if precision not in PRECISIONS:
            raise InputError(
                f"'{precision}' is no precision; choose one of {', '.join(PRECISIONS)}."
            )
        self.model = model
        self.card = model.card
        self.device = choose_device(device)
        self.precision = precision
        self.tile_voxels = tile_voxels or DEFAULT_TILE_VOXELS
        self.target_label = self.card.target_label.value
        self._move_to(self.device)

    def _move_to(self, device: torch.device) -> None:
        self.device = device
        self.networks = {name: net.to(device) for name, net in self.model.networks.items()}

    @property
    def bfloat16(self) -> bool:
        if self.precision == "auto":
            return self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return self.precision == "bfloat16"

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
            checked: ``check_ct`` has passed the scan already, of which this may be a part too small
                to be recognised as a CT by itself.

        Raises:
            InputError: the scan or a click cannot be used.
            DeviceError: not even the CPU's memory suffices.
            Cancelled: the token was set.
        """
        steps = _Steps(progress or ignore_progress, cancel)
        began = time.perf_counter()
        warnings: list[str] = []
        with steps.step("check", 0.0, "Checking the scan"):
            if not checked:
                warnings.extend(check_ct(volume))
            check_clicks(volume, clicks)
            _check_extent(volume)
        with torch.inference_mode():
            with steps.step("locate", 0.05, "Looking for the pancreas"):
                box = self._locate(volume, warnings, cancel)
                around_clicks = box_of_clicks(clicks)
                if around_clicks is not None:
                    box = around_clicks if box is None else box.union(around_clicks)
            if box is None:
                mask = np.zeros(volume.array.shape, np.uint8)
                prediction = self._prediction(volume, mask, NOWHERE, None, steps, warnings)
            else:
                look, kept = self._look_closely(volume, box, clicks, warnings, steps)
                with steps.step("resample", 0.85, "Bringing the result to the scan's grid"):
                    mask, region = _mask_on_scan(volume, look, kept)
                    prediction = self._prediction(volume, mask, region, look, steps, warnings)
        steps.timings_s["total"] = time.perf_counter() - began
        steps.progress(1.0, "Done")
        return prediction

    # The two looks

    def _run(
        self,
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

        try:
            return run_within_memory(
                function, image, self.tile_voxels, MULTIPLE, warn, cancel, progress
            )
        except DeviceError:
            if self.device.type == "cpu":
                raise
        warn("The GPU's memory did not suffice; the CPU was used instead, which takes longer.")
        self._move_to(torch.device("cpu"))
        return run_within_memory(
            function, image.cpu(), self.tile_voxels, MULTIPLE, warn, cancel, progress
        )

    def _locate(
        self, volume: Volume, warnings: list[str], cancel: CancelToken | None
    ) -> Box | None:
        stage = self.card.stages["locator"]
        click_channels_taken = int(stage.network["in_channels"]) - 1
        low, high = bounds_ras(grid_of(volume))
        grid = aligned_grid(low, high, stage.spacing_mm, MULTIPLE)
        image = sample_scan(volume, grid, self.card.intensity_window_hu, self.device)

        def function(tile: torch.Tensor) -> list[torch.Tensor]:
            network = self.networks["locator"]
            if click_channels_taken:
                blank = tile.new_zeros((1, click_channels_taken, *tile.shape[2:]))
                tile = torch.cat((tile, blank), dim=1)
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = network(tile)
            return [logits.float().softmax(dim=1)[:, self.target_label, None]]

        (probability,) = self._run(function, image, warnings, cancel)
        box = locate(probability[0, 0].cpu().numpy(), grid)
        return None if box is None else box.within(Box(low, high))

    def _look_closely(
        self,
        volume: Volume,
        box: Box,
        clicks: Sequence[Click],
        warnings: list[str],
        steps: _Steps,
    ) -> tuple[_Look, np.ndarray]:
        """Run the refiner on a box, and again on a wider one where the organ reaches its border."""
        low, high = bounds_ras(grid_of(volume))
        for growth in range(MOST_GROWTHS + 1):
            with steps.step("refine", 0.2 + 0.2 * growth, "Segmenting the pancreas"):
                look = self._refine(volume, box, clicks, warnings, steps)
                probability = look.probability.values[0, 0].cpu().numpy()
                kept, pieces = kept_pieces(probability > THRESHOLD, look.grid, clicks)
            wider = _widened(box, kept, look.grid, Box(low, high))
            if wider is None or growth == MOST_GROWTHS:
                break
            box = wider
        if pieces > 1:
            warnings.append(f"The segmentation consists of {pieces} separate pieces; check them.")
        return look, kept

    def _refine(
        self,
        volume: Volume,
        box: Box,
        clicks: Sequence[Click],
        warnings: list[str],
        steps: _Steps,
    ) -> _Look:
        stage = self.card.stages["refiner"]
        grid = aligned_grid(box.low_ras, box.high_ras, stage.spacing_mm, MULTIPLE, snap=True)
        scan = sample_scan(volume, grid, self.card.intensity_window_hu, self.device)
        image = torch.cat((scan, click_channels(clicks, grid, self.device)), dim=1)

        def function(tile: torch.Tensor) -> list[torch.Tensor]:
            with torch.autocast(tile.device.type, torch.bfloat16, enabled=self.bfloat16):
                output = self.networks["refiner"](tile, return_attention=True)
            probability = output.logits.float().softmax(dim=1)[:, self.target_label, None]
            alphas = [alpha.float().mean(dim=1, keepdim=True) for alpha in output.attention]
            return [probability, *alphas]

        probability, *alphas = self._run(function, image, warnings, steps.cancel)
        attention = tuple(
            FeatureMap(alpha, grid.coarsened(grid.shape[0] // alpha.shape[2])) for alpha in alphas
        )
        return _Look(grid, FeatureMap(probability, grid), attention)

    # Results

    def _prediction(
        self,
        volume: Volume,
        mask: np.ndarray,
        region: Region,
        look: _Look | None,
        steps: _Steps,
        warnings: list[str],
    ) -> Prediction:
        volume_ml = int(np.count_nonzero(mask[region])) * volume.voxel_volume_ml
        if volume_ml == 0:
            warnings.append("No pancreas was found in this scan; if it shows one, click inside it.")
        if look is None:
            focus_ratios = (0.0,) * len(getattr(self.networks["refiner"], "gates", ()))
        else:
            focus_ratios = tuple(focus_ratio(feature.values) for feature in look.attention)
        return Prediction(
            volume=volume,
            mask=mask,
            region=region,
            found=volume_ml > 0,
            volume_ml=volume_ml,
            focus_ratios=focus_ratios,
            timings_s=steps.timings_s,
            device=describe_device(self.device),
            warnings=tuple(warnings),
            model_name=self.card.name,
            model_version=self.card.version,
            probability_map=None if look is None else look.probability,
            attention_maps=() if look is None else look.attention,
        )


def _mask_on_scan(volume: Volume, look: _Look, kept: np.ndarray) -> tuple[np.ndarray, Region]:
    """The mask on the scan's grid, and the part of it that the refiner saw.

    The threshold is taken there, where the outline is drawn. Which pieces stay, and which holes are
    filled, was decided on the network's grid.
    """
    grid = grid_of(volume)
    region = index_box(grid, *bounds_ras(look.grid))
    target = subgrid(grid, region)
    probability = look.probability.values
    pieces = torch.from_numpy(kept).to(probability.device)[None, None]
    filled = pieces & (probability <= THRESHOLD)
    # A voxel wider, so that the coarser grid's steps do not cut the outline.
    pieces = torch.nn.functional.max_pool3d(pieces.float(), 3, 1, 1)
    foreground = (
        (resample(probability, look.grid, target) > THRESHOLD)
        & (resample(pieces, look.grid, target, "nearest") > 0.5)
    ) | (resample(filled.float(), look.grid, target, "nearest") > 0.5)
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[region] = foreground[0, 0].to(torch.uint8).cpu().numpy()
    return mask, region


def _check_extent(volume: Volume) -> None:
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
