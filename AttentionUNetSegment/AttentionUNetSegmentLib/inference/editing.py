"""What the editor is shown of a click, and what its answer changes.

The editor is a network of the refiner's kind that sees a window around the newest click: the scan,
all clicks, and the mask as it is now. Of the voxels "in question", those that the click could
change, it says which belong to the organ. A click inside can only add what it answers with, a click
outside only take away what it leaves out, and only the connected piece that the click lies in.

Used in training and for the answer, so that both show the network the very same.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import torch
import torch.nn.functional as F

from ..geometry.grid import Grid, Region, overlap_in
from ..geometry.resampling import widened
from .click_maps import click_channels
from .click_update import pull_to_clicks
from .clicks import Click
from .prediction import THRESHOLD
from .regions import connected_components

WINDOW = (32, 48, 48)
"""Voxels (k, j, i) around a click that the editor is run on: 96 mm at 2 x 2 x 3 mm."""
WIDE_FACTOR = 2
"""How much longer the voxels of the second, wider window are: 192 mm."""
CUT_VOXELS = 12
"""Of a piece at the window's border, from which on it is looked at in the wide window too."""
FADE_VOXELS = 4
"""Over which the answer in the narrow window turns into that in the wide one."""
WIDE_MM = 15.0
"""Width of the Gaussian that tells how far the newest click is where its own mark has faded."""


def editor_window(click: Click, grid: Grid) -> Region:
    """The indices (k, j, i) around a click; may lie beyond the grid."""
    centre = grid.index_of(click.position_ras)[::-1]
    k, j, i = (
        slice(start := round(float(at)) - size // 2, start + size)
        for at, size in zip(centre, WINDOW, strict=True)
    )
    return k, j, i


def wide_window(click: Click, grid: Grid) -> Region:
    """Likewise of the second look, whose voxels are :data:`WIDE_FACTOR` times as long."""
    k, j, i = editor_window(click, grid)
    half = [(WIDE_FACTOR - 1) * size // 2 for size in WINDOW]
    return (
        slice(k.start - half[0], k.stop + half[0]),
        slice(j.start - half[1], j.stop + half[1]),
        slice(i.start - half[2], i.stop + half[2]),
    )


def cut_window(values: torch.Tensor, window: Region) -> torch.Tensor:
    """A window of maps (..., k, j, i); zero beyond them."""
    whole = _whole(values)
    size = [part.stop - part.start for part in window]
    result = values.new_zeros((*values.shape[:-3], *size))
    _copy(values, overlap_in(window, whole), result, overlap_in(whole, window))
    return result


def paste_window(values: torch.Tensor, window: Region, new: torch.Tensor) -> torch.Tensor:
    """Maps (..., k, j, i) with a window of them replaced; what lies beyond them is dropped."""
    whole, result = _whole(values), values.clone()
    _copy(new, overlap_in(whole, window), result, overlap_in(window, whole))
    return result


def _whole(values: torch.Tensor) -> Region:
    k, j, i = (slice(0, size) for size in values.shape[-3:])
    return k, j, i


def _copy(source: torch.Tensor, part: Region, target: torch.Tensor, place: Region) -> None:
    k, j, i = part
    values = source[..., k, j, i]
    k, j, i = place
    target[..., k, j, i] = values


def in_question(mask: torch.Tensor, click: Click) -> torch.Tensor:
    """What a click could change, boolean: what is outside of the mask, or what is in it."""
    return ~mask if click.inside else mask


def editor_inputs(
    scan: torch.Tensor,
    probability: torch.Tensor,
    mask: torch.Tensor,
    clicks: Sequence[Click],
    grid: Grid,
) -> torch.Tensor:
    """The channels that the editor is given for the last of some clicks.

    Args:
        scan: (1, 1, k, j, i) of the window, windowed to [0, 1].
        probability: (1, 1, k, j, i) that a voxel is of the organ, as known before this click.
        mask: boolean (1, 1, k, j, i), the mask before this click.
        clicks: in their order.
        grid: of the window, along R, A, S.

    Returns:
        (1, 8, k, j, i): scan, clicks inside, clicks outside, as the refiner sees them; leaning of
        each voxel to the organ, -1 to 1; mask; in question; newest click, narrow and wide, below
        zero where it is outside.
    """
    click, device = clicks[-1], scan.device
    sign = 1.0 if click.inside else -1.0
    leaning = (torch.logit(probability, eps=1e-3) / 4).tanh()
    marks = click_channels(clicks, grid, device)
    newest = sign * click_channels([click], grid, device).sum(dim=1, keepdim=True)
    wide = sign * click_channels([click], grid, device, WIDE_MM).sum(dim=1, keepdim=True)
    masks = torch.cat((mask, in_question(mask, click)), dim=1).to(scan.dtype)
    return torch.cat((scan, marks, leaning, masks, newest, wide), dim=1)


def clicked_piece(
    answer: torch.Tensor, mask: torch.Tensor, click: Click, grid: Grid
) -> torch.Tensor | None:
    """The connected piece of what an answer changes that a click lies in: boolean (1, 1, k, j, i);
    None where the answer does not follow the click. Arguments as of :func:`apply_edit`."""
    wrong = (((answer > THRESHOLD) == click.inside) & in_question(mask, click))[0, 0]
    voxel = grid.voxel_of(click.position_ras)
    if voxel is None or not wrong[voxel]:
        return None
    labels, _ = connected_components(wrong.cpu().numpy())
    return torch.from_numpy(labels == labels[voxel])[None, None].to(answer.device)


def leaves_window(piece: torch.Tensor) -> bool:
    """Whether a piece (1, 1, k, j, i) goes on beyond the window: a part of its border is there."""
    inner = F.pad(torch.ones_like(piece[..., 1:-1, 1:-1, 1:-1]), [1] * 6)
    return int((piece & ~inner).sum()) >= CUT_VOXELS


def merge_wide(wide: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """The answer of the second look on the finer voxels, with that of the first in its middle.

    Args:
        wide: (1, 1, k, j, i), of the wide window's long voxels.
        near: (1, 1, k, j, i), of the narrow window; both have :data:`WINDOW`'s shape.

    Returns:
        (1, 1, 2 k, 2 j, 2 i) on the narrow window's voxels. At the narrow window's border one
        answer turns into the other.
    """
    merged = _on_finer_voxels(wide)
    share = torch.ones_like(near)
    for axis, size in enumerate(near.shape[2:], 2):
        along = torch.arange(size, device=near.device, dtype=near.dtype)
        edge = ((torch.minimum(along, size - 1 - along) + 0.5) / FADE_VOXELS).clamp(0, 1)
        share = share * edge.reshape([-1 if other == axis else 1 for other in range(near.ndim)])
    merged[_MIDDLE] = share * near + (1 - share) * merged[_MIDDLE]
    return merged


def middle_of_wide(wide: torch.Tensor) -> torch.Tensor:
    """What the second look says of the first one's window, on its voxels; both (1, 1, k, j, i)."""
    return _on_finer_voxels(wide)[_MIDDLE]


_MIDDLE: tuple[EllipsisType | slice, ...] = (
    ...,
    *(slice((WIDE_FACTOR - 1) * n // 2, (WIDE_FACTOR + 1) * n // 2) for n in WINDOW),
)
"""Of the wide window on the narrow one's voxels, the part that the narrow one shows."""


def _on_finer_voxels(wide: torch.Tensor) -> torch.Tensor:
    return F.interpolate(wide, scale_factor=WIDE_FACTOR, mode="trilinear", align_corners=False)


def apply_edit(
    probability: torch.Tensor,
    mask: torch.Tensor,
    answer: torch.Tensor,
    click: Click,
    grid: Grid,
) -> torch.Tensor:
    """The probability after a click.

    Args:
        probability, mask: as of :func:`editor_inputs`.
        answer: (1, 1, k, j, i), the editor's probability that a voxel is of the organ.
        click: the newest.
        grid: of the window.

    Returns:
        (1, 1, k, j, i): the same numbers but in the connected piece that the click lies in, and in
        the voxels next to it, where a click inside only raises them and a click outside only
        lowers them.
    """
    question = in_question(mask, click)
    piece = clicked_piece(answer, mask, click, grid)
    if piece is None:
        return probability
    # A voxel wider, so that the outline between voxels is the editor's too.
    around = widened(piece) & question
    if click.inside:
        return torch.where(around, torch.maximum(probability, answer), probability)
    return torch.where(around, torch.minimum(probability, answer), probability)


def is_obeyed(probability: torch.Tensor, click: Click, grid: Grid) -> bool:
    """Whether a probability (1, 1, k, j, i) has a click on its side; one beyond the grid is."""
    voxel = grid.voxel_of(click.position_ras)
    if voxel is None:
        return True
    here = (0, 0, *voxel)
    return bool(probability[here] > THRESHOLD) == click.inside


def obey(probability: torch.Tensor, scan: torch.Tensor, click: Click, grid: Grid) -> torch.Tensor:
    """The probability, pulled to the click's side around it where the click is not followed yet.

    Args:
        probability, scan: (1, 1, k, j, i) of the window.
        click: the newest.
        grid: of the window.
    """
    if is_obeyed(probability, click, grid):
        return probability
    pulled = pull_to_clicks(probability, scan, grid, [click])
    furthest = torch.maximum if click.inside else torch.minimum
    return furthest(probability, pulled)
