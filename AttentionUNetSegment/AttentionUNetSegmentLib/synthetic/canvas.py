"""Painting implicit shapes, given by their signed distance in mm, onto a slab of a CT.

Axes everywhere in this package: x to the patient's left, y to the back, z to the head, in mm from
a point in front of the first lumbar vertebra. "World" coordinates are where things lie; "atlas"
coordinates are where they would lie in an undeformed patient. Arrays are in z, y, x order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.grid import box_corners
from .fields import SmoothField, smooth_curve

Point = tuple[float, float, float]
Slices = tuple[slice, slice, slice]

# Half the width of an edge: what the scanner's point spread makes of a sharp border.
EDGE_MM = 1.1
_OUTSIDE_MM = 50.0


class Deformation:
    """Takes the place in the world to the place in the atlas: linear, and then smoothly bent.

    Args:
        linear: 3x3, world to atlas.
        bends: fields over the world, for x, y and z, on one lattice.
        bend_mm: root mean square of the bending along each axis.
    """

    def __init__(
        self,
        linear: np.ndarray,
        bends: tuple[SmoothField, SmoothField, SmoothField],
        bend_mm: Point,
    ) -> None:
        self.linear = linear
        self.inverse = np.linalg.inv(linear)
        self._bends = bends
        self._bend_mm = bend_mm

    def atlas_grid(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
        """Atlas x, y and z of every point of the world grid, each (len(z), len(y), len(x))."""
        grids = []
        for row, bend, size in zip(self.linear, self._bends, self._bend_mm, strict=True):
            grid = bend.on_grid(x, y, z)
            grid *= np.float32(size)
            grid += (row[0] * x).astype(np.float32)
            yz = row[1] * y[None, :] + row[2] * z[:, None]
            grid += yz[:, :, None].astype(np.float32)
            grids.append(grid)
        return grids

    def to_world(self, atlas_mm: np.ndarray) -> np.ndarray:
        """World place of (N, 3) atlas points, by fixed-point iteration."""
        world = atlas_mm @ self.inverse.T
        for _ in range(4):
            bend = SmoothField.at_points(self._bends, world) * self._bend_mm
            world = (atlas_mm - bend) @ self.inverse.T
        return world

    def world_box(self, low: Point, high: Point) -> tuple[np.ndarray, np.ndarray]:
        """A world box that surely holds an atlas box."""
        world = box_corners(low, high) @ self.inverse.T
        margin = 3.2 * np.array(self._bend_mm) + 2 * EDGE_MM
        return world.min(0) - margin, world.max(0) + margin


class Tube:
    """A curved tube of varying thickness: vessels, bowel, ribs, the pancreas.

    Args:
        atlas_mm: (N, 4) points of the centre line: x, y, z and the radius.
        deformation: takes the centre line into the world, where distances are measured.
        height: how much taller (along z) than deep the tube is.
        step_mm: sampling of the centre line.
    """

    def __init__(
        self,
        atlas_mm: np.ndarray,
        deformation: Deformation,
        height: float = 1.0,
        step_mm: float = 6.0,
    ) -> None:
        curve = smooth_curve(np.asarray(atlas_mm, dtype=np.float64), step_mm)
        self.points = deformation.to_world(curve[:, :3])
        self.radii = np.maximum(curve[:, 3], 0.5)
        self.height = height
        reach = self.radii.max() + 6.0
        self.low = self.points.min(0) - reach * np.array([1, 1, height])
        self.high = self.points.max(0) + reach * np.array([1, 1, height])

    def distance(self, canvas: Canvas, slices: Slices) -> np.ndarray:
        """Signed distance within the box, exact near the surface and capped away from it."""
        box_z, box_y, box_x = slices
        distance = np.full(
            (box_z.stop - box_z.start, box_y.stop - box_y.start, box_x.stop - box_x.start),
            _OUTSIDE_MM,
            dtype=np.float32,
        )
        stretch = np.array([1.0, 1.0, 1.0 / self.height])
        pairs = zip(self.points, self.points[1:], self.radii, self.radii[1:], strict=False)
        for start, stop, start_radius, stop_radius in pairs:
            reach = (max(start_radius, stop_radius) + 6.0) / stretch
            part = canvas.slices(np.minimum(start, stop) - reach, np.maximum(start, stop) + reach)
            if part is None:
                continue
            # The box of this segment, within the tube's box.
            part_z, part_y, part_x = (
                slice(max(p.start, b.start), min(p.stop, b.stop))
                for p, b in zip(part, slices, strict=True)
            )
            if any(p.start >= p.stop for p in (part_z, part_y, part_x)):
                continue
            axis = (stop - start) * stretch
            length2 = max(float(axis @ axis), 1e-6)
            x = (canvas.x[part_x] - start[0]).astype(np.float32)[None, None, :]
            y = (canvas.y[part_y] - start[1]).astype(np.float32)[None, :, None]
            z = ((canvas.z[part_z] - start[2]) * stretch[2]).astype(np.float32)[:, None, None]
            ax, ay, az = (np.float32(a) for a in axis)
            t = np.clip((x * ax + y * ay + z * az) / np.float32(length2), 0, 1)
            squared = (x - t * ax) ** 2 + (y - t * ay) ** 2 + (z - t * az) ** 2
            capsule = np.sqrt(squared) - (
                np.float32(start_radius) + t * np.float32(stop_radius - start_radius)
            )
            target = distance[
                tuple(
                    slice(p.start - b.start, p.stop - b.start)
                    for p, b in zip((part_z, part_y, part_x), slices, strict=True)
                )
            ]
            np.minimum(target, capsule, out=target)
        return distance


@dataclass
class CanvasView:
    """A box of the canvas: atlas coordinates and the shared fields, as views."""

    slices: Slices
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    coarse: np.ndarray
    medium: np.ndarray
    fine: np.ndarray
    cavity: np.ndarray


class Canvas:
    """A slab of the CT being painted: Hounsfield units and labels.

    Later shapes cover earlier ones. ``coarse``, ``medium`` and ``fine`` are unit-variance fields
    that organs share for their bumps and their texture; ``cavity`` is the distance to the inside
    of the body wall (negative within), which the torso sets first.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        z: np.ndarray,
        deformation: Deformation,
        fields: tuple[SmoothField, SmoothField, SmoothField],
        hu: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        self.x, self.y, self.z = x, y, z
        self.deformation = deformation
        self.atlas_x, self.atlas_y, self.atlas_z = deformation.atlas_grid(x, y, z)
        self.coarse, self.medium, self.fine = (field.on_grid(x, y, z) for field in fields)
        self.cavity = np.zeros_like(self.atlas_x)
        self.hu = hu
        self.labels = labels
        # Large voxels soften the edges.
        self._least_edge_mm = 0.45 * max(np.ptp(a) / max(len(a) - 1, 1) for a in (x, y))

    def slices(self, low: np.ndarray, high: np.ndarray) -> Slices | None:
        """Index box of a world box; None where it misses the slab."""
        found = []
        for axis, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            start, stop = np.searchsorted(axis, (a, b))
            if start >= stop:
                return None
            found.append(slice(int(start), int(stop)))
        return found[0], found[1], found[2]

    def view(self, slices: Slices) -> CanvasView:
        return CanvasView(
            slices,
            self.atlas_x[slices],
            self.atlas_y[slices],
            self.atlas_z[slices],
            self.coarse[slices],
            self.medium[slices],
            self.fine[slices],
            self.cavity[slices],
        )

    def whole(self) -> CanvasView:
        return self.view((slice(0, len(self.z)), slice(0, len(self.y)), slice(0, len(self.x))))

    def box(self, low: Point, high: Point) -> CanvasView | None:
        """CanvasView of an atlas box; None where it misses the slab."""
        slices = self.slices(*self.deformation.world_box(low, high))
        return None if slices is None else self.view(slices)

    def tube(self, tube: Tube) -> tuple[CanvasView, np.ndarray] | None:
        """CanvasView of a tube and its distance there; None where it misses the slab."""
        slices = self.slices(tube.low, tube.high)
        if slices is None:
            return None
        return self.view(slices), tube.distance(self, slices)

    def paint(
        self,
        view: CanvasView,
        distance: np.ndarray,
        hu: float | np.ndarray,
        label: int | None = None,
        halo_mm: float = 0.0,
        halo_hu: float = -100.0,
        edge_mm: float = EDGE_MM,
    ) -> None:
        """Cover what lies inside ``distance < 0`` with ``hu``, with a soft edge.

        Args:
            view: where.
            distance: signed distance in mm, the view's shape.
            hu: one value, or one a voxel.
            label: also written to the labels; 0 for what no label is for, None to leave them.
            halo_mm: a plane of fat this thick around the shape parts it from its neighbours.
            halo_hu: what the halo is made of.
            edge_mm: half the width of the soft edge.
        """
        target = self.hu[view.slices]
        edge_mm = max(edge_mm, self._least_edge_mm)
        if halo_mm > 0:
            # Only within the body cavity, or the halo would eat the body wall.
            _blend(target, np.maximum(distance - halo_mm, view.cavity), halo_hu, edge_mm)
        _blend(target, distance, hu, edge_mm)
        if label is not None:
            labels = self.labels[view.slices]
            labels[distance < 0] = label


def _blend(target: np.ndarray, distance: np.ndarray, hu: float | np.ndarray, edge: float) -> None:
    weight = distance * np.float32(-0.5 / edge)
    weight += np.float32(0.5)
    np.clip(weight, 0, 1, out=weight)
    weight *= hu - target
    target += weight


def ellipsoid(
    view: CanvasView, centre: Point, radii: Point, turn: np.ndarray | None = None
) -> np.ndarray:
    """Approximate signed distance in mm to an ellipsoid; ``turn`` (3x3) goes to its own axes."""
    x, y, z = (a - np.float32(c) for a, c in zip((view.x, view.y, view.z), centre, strict=True))
    if turn is not None:
        t = turn.astype(np.float32)
        x, y, z = (row[0] * x + row[1] * y + row[2] * z for row in t)
    inner = np.zeros_like(x)
    outer = np.zeros_like(x)
    for a, r in zip((x, y, z), radii, strict=True):
        a *= np.float32(1 / r)
        a *= a
        inner += a
        a *= np.float32(1 / r**2)
        outer += a
    np.sqrt(inner, out=inner)
    np.sqrt(outer, out=outer)
    # Keeps the very centre negative, where both are zero.
    inner += np.float32(1e-5)
    outer += np.float32(1e-6)
    return inner * (inner - np.float32(1)) / outer


def turn_about(axis: int, degrees: float) -> np.ndarray:
    """3x3 rotation about one of the axes x, y, z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    a, b = [k for k in range(3) if k != axis]
    turn[a, a] = turn[b, b] = c
    turn[a, b], turn[b, a] = -s, s
    return turn


def smooth_union(a: np.ndarray, b: np.ndarray, mm: float) -> np.ndarray:
    """Union of two shapes whose seam is rounded over ``mm`` (polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 / mm * (b - a), 0, 1).astype(np.float32)
    return b + (a - b) * h - np.float32(mm) * h * (1 - h)


def smooth_difference(a: np.ndarray, b: np.ndarray, mm: float) -> np.ndarray:
    """What of ``a`` lies outside ``b``, the new border rounded over ``mm``."""
    return -smooth_union(-a, b, mm)


def smooth_intersection(a: np.ndarray, b: np.ndarray, mm: float) -> np.ndarray:
    """What of ``a`` lies inside ``b``, the new border rounded over ``mm``."""
    return -smooth_union(-a, -b, mm)
