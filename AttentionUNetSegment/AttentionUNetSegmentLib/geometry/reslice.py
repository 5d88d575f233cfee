"""Flat pictures of a volume along the patient's axes, whatever way the volume lies."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .grid import Box, Grid, Region, box_corners, transform_points
from .volume import Volume

_LEFT, _POSTERIOR, _SUPERIOR = np.array([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])


@dataclass(frozen=True)
class SliceOrientation:
    """One of the three planes as radiologists look at it.

    Args:
        name: of the plane.
        right, down: unit RAS vectors along the picture's rows and columns.
        letters: what lies at the left, right, top and bottom edge of the picture.
    """

    name: str
    right: np.ndarray
    down: np.ndarray
    letters: tuple[str, str, str, str]

    @property
    def right_axis(self) -> int:
        """Which of R, A and S (0, 1, 2) runs along the rows."""
        return int(np.abs(self.right).argmax())

    @property
    def down_axis(self) -> int:
        return int(np.abs(self.down).argmax())

    @property
    def normal_axis(self) -> int:
        return 3 - self.right_axis - self.down_axis


# The patient's right is at the left of the picture, as if seen from the feet or from the front.
AXIAL = SliceOrientation("Axial", _LEFT, _POSTERIOR, ("R", "L", "A", "P"))
CORONAL = SliceOrientation("Coronal", _LEFT, -_SUPERIOR, ("R", "L", "S", "I"))
SAGITTAL = SliceOrientation("Sagittal", _POSTERIOR, -_SUPERIOR, ("A", "P", "S", "I"))


@dataclass(frozen=True)
class SliceRectangle:
    """A rectangle of the world: a box whose side along the normal is not used.

    Args:
        orientation: how it is looked at.
        position_mm: of the plane along its normal.
        box: its sides.
    """

    orientation: SliceOrientation
    position_mm: float
    box: Box

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        size = self.box.extent_mm
        return float(size[self.orientation.right_axis]), float(size[self.orientation.down_axis])

    def pixels(self, pixel_mm: float) -> tuple[int, int]:
        """Columns and rows of its picture, from the side of a pixel."""
        width, height = self.size_mm
        return max(round(width / pixel_mm), 1), max(round(height / pixel_mm), 1)

    def region_of(self, grid: Grid) -> Region:
        """The part of a grid that :meth:`sample` reads, with a voxel around it; may be empty."""
        ends = np.array([self.box.low_ras, self.box.high_ras])
        ends[:, self.orientation.normal_axis] = self.position_mm
        indices = grid.index_of(box_corners(*ends))
        slices = []
        for axis, size in zip((2, 1, 0), grid.shape, strict=True):
            start = int(np.clip(np.floor(indices[:, axis].min()) - 1, 0, size))
            stop = int(np.clip(np.ceil(indices[:, axis].max()) + 2, start, size))
            slices.append(slice(start, stop))
        return slices[0], slices[1], slices[2]

    def sample(
        self, array: np.ndarray, ras_to_ijk: np.ndarray, pixel_mm: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate linearly in the plane.

        Args:
            array: (k, j, i), of any real type.
            ras_to_ijk: 4x4, from the world to the array's indices.
            pixel_mm: side of a pixel of the picture.

        Returns:
            The picture (rows, columns), float32, and where the array reaches: a boolean picture.
            Half a voxel around the outermost voxels' centres still belongs to the array.
        """
        width, height = self.size_mm
        columns, rows = self.pixels(pixel_mm)
        right, down = self.orientation.right, self.orientation.down
        start = np.where(right + down > 0, self.box.low_ras, self.box.high_ras)
        start[self.orientation.normal_axis] = self.position_mm
        steps = np.array([right * (width / columns), down * (height / rows)])
        first = transform_points(ras_to_ijk, start + steps.sum(axis=0) / 2)
        along_axes = _along_axes(first, steps @ ras_to_ijk[:3, :3].T, (columns, rows))
        if along_axes is not None and array.size:
            return _interpolate_by_axis(array, *along_axes)
        across = (np.arange(columns) + 0.5) * (width / columns)
        along = (np.arange(rows) + 0.5) * (height / rows)
        points = start + across[None, :, None] * right + along[:, None, None] * down
        return interpolate(array, transform_points(ras_to_ijk, points))


def _along_axes(
    first: np.ndarray, steps: np.ndarray, counts: tuple[int, int]
) -> tuple[list[np.ndarray], tuple[int, int]] | None:
    """Indices along i, j and k of a plane's pixels, where its rows and columns run along axes of
    the array; and which axes these are. None where a pixel would be off by a thousandth of a voxel.

    Args:
        first: (i, j, k) of the first pixel.
        steps: (2, 3), from a pixel to the next one of its row, and to that of its column.
        counts: columns and rows.
    """
    across, down = (int(axis) for axis in np.abs(steps).argmax(axis=1))
    off = np.abs(steps)
    off[[0, 1], [across, down]] = 0
    if across == down or (off * np.array(counts)[:, None]).max() > 1e-3:
        return None
    at = [first[axis : axis + 1] for axis in range(3)]
    at[across] = first[across] + steps[0, across] * np.arange(counts[0])
    at[down] = first[down] + steps[1, down] * np.arange(counts[1])
    return at, (across, down)


def _interpolate_by_axis(
    array: np.ndarray, at: list[np.ndarray], plane: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`interpolate` gives at all of a plane's pixels, one axis after the other, as a
    scan that lies straight allows: a tenth of the work."""
    across, down = plane
    order = (3 - across - down, down, across)
    values = array.transpose([2 - axis for axis in order])
    inside = np.ones((1, 1, 1), bool)
    for place, axis in enumerate(order):
        size = values.shape[place]
        along = [-1 if other == place else 1 for other in range(3)]
        inside = inside & ((at[axis] >= -0.5) & (at[axis] <= size - 0.5)).reshape(along)
        within = at[axis].clip(0, size - 1)
        low = np.minimum(within.astype(np.intp), max(size - 2, 0))
        weight = (within - low).astype(np.float32).reshape(along)
        # By index, not by take(), which would first copy all of a scan that is a view.
        all_before = (slice(None),) * place
        below, above = (*all_before, low), (*all_before, np.minimum(low + 1, size - 1))
        lower, upper = values[below].astype(np.float32), values[above].astype(np.float32)
        values = lower * (1 - weight) + upper * weight
    values[~inside] = 0
    return values[0], inside[0]


def interpolate(array: np.ndarray, ijk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation of an array (k, j, i) at fractional indices (..., 3) in i, j, k order.

    Returns:
        The values, float32, and whether each point lies in the array; 0 where it does not.
    """
    if 0 in array.shape:
        return np.zeros(ijk.shape[:-1], np.float32), np.zeros(ijk.shape[:-1], bool)
    size = np.array(array.shape[::-1])
    inside = np.all((ijk >= -0.5) & (ijk <= size - 0.5), axis=-1)
    # The lower and the upper neighbour along each axis, as steps in memory, and their weights.
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
    else:  # a scan that is a view of another: of the part that is read a copy, not of all
        start = np.floor(ijk.reshape(-1, 3).min(axis=0)).clip(0, size - 1).astype(int)
        stop = np.ceil(ijk.reshape(-1, 3).max(axis=0)).clip(0, size - 1).astype(int) + 1
        i, j, k = map(slice, start, stop)
        flat, ijk, size = array[k, j, i].reshape(-1), ijk - start, stop - start
    sides = []
    for axis, step in enumerate((1, size[0], size[0] * size[1])):
        at = ijk[..., axis].clip(0, size[axis] - 1)
        low = np.minimum(at.astype(np.intp), max(size[axis] - 2, 0))
        weight = (at - low).astype(np.float32)
        high = np.minimum(low + 1, size[axis] - 1)
        sides.append(((low * step, 1 - weight), (high * step, weight)))
    values = np.zeros(ijk.shape[:-1], np.float32)
    for (k, of_k), (j, of_j) in itertools.product(sides[2], sides[1]):
        row = k + j
        for i, of_i in sides[0]:
            values += of_i * of_j * of_k * flat[row + i].astype(np.float32)
    values[~inside] = 0
    return values, np.asarray(inside)


def body_box(volume: Volume, air_below_hu: float = -300.0) -> Box:
    """The box around what is denser than air: without the room around the patient.

    A sparse sample of the volume is looked at. A scan whose values were clipped above the usual
    limit of air counts its lowest value as air; one with nothing but air gives the whole volume.
    """
    coarse = tuple(slice(None, None, max(size // 64, 1)) for size in volume.array.shape)
    sample = volume.array[coarse]
    dense = np.argwhere(sample > max(air_below_hu, float(sample.min()) + 15.0))
    if len(dense) < 50:
        return volume.grid.bounds
    kji = dense * [part.step for part in coarse]
    ras = volume.grid.position_of(kji[:, ::-1])
    # A few voxels of the table or of an arm must not widen the picture.
    low, high = np.percentile(ras, [0.3, 99.7], axis=0)
    margin = 10.0 + np.array(volume.spacing_mm).max()
    return Box(low, high).grown(margin).within(volume.grid.bounds)
