"""A trained network on a whole held-out case: what it marks, and where its gates looked.

The truth decides nothing here, neither where to look nor what to keep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.grid import Grid, aligned_grid
from ..geometry.resampling import resample, sample_scan
from ..geometry.volume import Volume
from ..inference.engine import DEFAULT_TILE_VOXELS
from ..inference.tiling import run_within_memory
from ..networks import SegmentationNetwork, resample_attention


@dataclass(frozen=True, eq=False)
class VolumePrediction:
    """A case as a network sees it.

    Args:
        labels: uint8 (k, j, i) on the case's own grid, the most probable label.
        alphas: of each gated level, shallow first, float32 (k, j, i) on the case's own grid; the
            mean over the heads where a gate has several.
    """

    labels: np.ndarray
    alphas: tuple[np.ndarray, ...]


def predict_volume(
    network: SegmentationNetwork,
    volume: Volume,
    spacing_mm: tuple[float, float, float],
    window: tuple[float, float],
    device: torch.device | str = "cpu",
) -> VolumePrediction:
    """Run a network over a whole scan or picture.

    Args:
        network: in 2D it sees the slices one by one, in 3D the scan, in tiles where it is large.
        spacing_mm: along R, A, S, that the network was trained at. A 2D network sees the slices
            that there are, whatever their distance.
        window: voxel values that become 0 and 1.
    """
    flat = network.config.dimensions == 2
    grid = volume.grid
    if flat:
        spacing_mm = (*spacing_mm[:2], grid.spacing_mm[2])
    multiple = 1 if flat else network.stride
    target = aligned_grid(grid.bounds, spacing_mm, multiple)
    image = sample_scan(volume, target, window, device)
    training = network.training
    network.eval()
    with torch.inference_mode():
        answers = _slice_by_slice(network, image) if flat else _in_tiles(network, image)
    network.train(training)
    logits, *alphas = (_on(grid, answer, target) for answer in answers)
    return VolumePrediction(
        logits.argmax(dim=1)[0].to(torch.uint8).cpu().numpy(),
        tuple(alpha[0, 0].cpu().numpy() for alpha in alphas),
    )


def _slice_by_slice(network: SegmentationNetwork, image: torch.Tensor) -> list[torch.Tensor]:
    """Logits (1, C, k, j, i) and alpha (1, 1, k, j, i) of each level."""
    slices = [_answer(network, image[:, :, k]) for k in range(image.shape[2])]
    return [torch.stack(parts, dim=2) for parts in zip(*slices, strict=True)]


def _in_tiles(network: SegmentationNetwork, image: torch.Tensor) -> list[torch.Tensor]:
    return run_within_memory(
        lambda tile: _answer(network, tile),
        image,
        DEFAULT_TILE_VOXELS,
        network.stride,
        lambda sentence: None,
        None,
        lambda fraction: None,
    )


def _answer(network: SegmentationNetwork, image: torch.Tensor) -> list[torch.Tensor]:
    output = network(image, return_attention=True)
    size = tuple(image.shape[2:])
    return [
        output.logits.float(),
        *(
            resample_attention(alpha.float().mean(dim=1, keepdim=True), 2 ** (level - 1), size)
            for level, alpha in zip(network.gated_levels, output.attention, strict=True)
        ),
    ]


def _on(grid: Grid, answer: torch.Tensor, source: Grid) -> torch.Tensor:
    return resample(answer, source, grid)
