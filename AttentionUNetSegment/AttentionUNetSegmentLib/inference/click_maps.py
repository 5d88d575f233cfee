"""Clicks as two input channels of the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..geometry.grid import Grid
from ..models.card import CLICK_WIDTH_MM
from .clicks import Click

CLICK_SIGMA_MM = CLICK_WIDTH_MM
"""Width of the Gaussian that marks a click; a model whose card says another one is refused."""


def click_channels(
    clicks: Sequence[Click],
    grid: Grid,
    device: torch.device | str = "cpu",
    sigma_mm: float = CLICK_SIGMA_MM,
) -> torch.Tensor:
    """Draw clicks on a grid with axes along R, A and S.

    Args:
        clicks: any number; those far outside the grid leave no trace.
        grid: its matrix must be diagonal, as :func:`~..geometry.grid.aligned_grid` makes it.
        sigma_mm: width of the Gaussians.

    Returns:
        (1, 2, k, j, i) in [0, 1]: a Gaussian at each click inside, and at each click outside.
        Where several meet, the nearest counts.
    """
    channels = torch.zeros((1, 2, *grid.shape), device=device)
    spacing = grid.spacing_mm
    for click in clicks:
        centre = grid.index_of(click.position_ras)
        # A Gaussian is a product of one-dimensional ones: three short profiles are computed.
        profiles = []
        for at, step, size in zip(centre, spacing, reversed(grid.shape), strict=True):
            distance_mm = (torch.arange(size, device=device) - float(at)) * step
            profiles.append(torch.exp(-0.5 * (distance_mm / sigma_mm) ** 2))
        blob = profiles[2][:, None, None] * profiles[1][None, :, None] * profiles[0][None, None, :]
        channel = channels[0, 0 if click.inside else 1]
        torch.maximum(channel, blob, out=channel)
    return channels
