"""What a user draws beside single points: scribbles inside or outside the organ, boxes and lassos.

>>> scribble = Scribble(((12.0, -30.0, 104.0), (25.0, -28.0, 104.0)), inside=True)
>>> box = Lasso.box((-10.0, -60.0, 104.0), (70.0, 5.0, 104.0))

Clicks, scribbles and lassos in the order in which they were drawn are *prompts*. Where two of them
contradict each other, the later one wins.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..errors import InputError
from ..geometry.grid import Grid
from .clicks import Click

Point: TypeAlias = tuple[float, float, float]
NETWORK_STEP_MM = 15.0
"""How far apart the points of a scribble are that the refiner is shown, all at once."""
EDITOR_STEP_MM = 5.0
"""The same of those that an editor may be asked about; it answers one piece at a time."""
SMALLEST_LASSO_MM2 = 1.0
MOST_POINTS = 20_000
"""Of a scribble, however long: no scan has so many voxels along a line, and a file may come from
anywhere."""


@dataclass(frozen=True)
class Scribble:
    """A line along which all is inside the organ, or all is outside. It counts as one prompt: one
    answer, one undo step.

    Args:
        points_ras: of the line, two or more, in mm in the world.
        inside: True for a line in the organ, False for one that is not.
        target: name of what the line is about, where a model has several targets; the first of
            them unless given.
    """

    points_ras: tuple[Point, ...]
    inside: bool
    target: str = ""

    @classmethod
    def parse(cls, text: str) -> Scribble:
        """Read ``R,A,S/R,A,S/R,A,S,+`` or ``...,-``, as the command line takes it; with several
        targets ``...,+,NAME`` is about the one of that name.

        Raises:
            InputError: the text is anything else.
        """
        *others, last = text.split("/")
        try:
            end = Click.parse(last)
            points = [_parse_point(part) for part in others]
        except InputError:
            points = []
        if not points:
            raise InputError(
                f"'{text}' is no scribble: write the points of a line inside the organ as "
                "R,A,S/R,A,S,+ and of one outside as R,A,S/R,A,S,-, in millimetres, for example "
                "12.5,-30,104/25,-28,104,+."
            )
        return cls((*points, end.position_ras), end.inside, end.target)

    @property
    def position_ras(self) -> Point:
        """The middle one of its points."""
        return self.points_ras[len(self.points_ras) // 2]

    @property
    def length_mm(self) -> float:
        return float(self._lengths_mm()[-1])

    def clicks(self, step_mm: float) -> tuple[Click, ...]:
        """Points along the line, both ends among them, evenly apart and at most so far."""
        number = min(max(math.ceil(self.length_mm / step_mm), 1), MOST_POINTS) + 1
        points = self._along(np.linspace(0, self.length_mm, number))
        return tuple(Click(point, self.inside, self.target) for point in points)

    def _lengths_mm(self) -> np.ndarray:
        """From the beginning to each of the points."""
        steps = np.linalg.norm(np.diff(np.array(self.points_ras), axis=0), axis=1)
        return np.concatenate(([0.0], np.cumsum(steps)))

    def _along(self, lengths_mm: np.ndarray) -> list[Point]:
        known, points = self._lengths_mm(), np.array(self.points_ras)
        axes = [np.interp(lengths_mm, known, points[:, axis]) for axis in range(3)]
        return [(float(r), float(a), float(s)) for r, a, s in zip(*axes, strict=True)]


@dataclass(frozen=True)
class Lasso:
    """A closed line in a plane that the organ does not leave: all outside of it is outside, and
    stays so whatever the network answers later. It reaches through all slices, as Slicer's own
    Scissors do, unless a depth is given.

    Args:
        points_ras: the corners of the line in their order, three or more, in one plane, in mm in
            the world.
        depth_mm: how far it reaches to either side of its plane; what lies farther away is neither
            inside nor outside. None for any distance.
        closed: beyond the depth all is outside, too: a box in all three directions.
        target: name of what it is about, as of a click.
    """

    points_ras: tuple[Point, ...]
    depth_mm: float | None = None
    closed: bool = False
    target: str = ""

    inside: ClassVar[bool] = False
    """What it says is that something is outside."""

    @classmethod
    def box(cls, corner_ras: Sequence[float], opposite_ras: Sequence[float]) -> Lasso:
        """From two opposite corners along R, A and S. Where these agree in one coordinate, as those
        of a box that was drawn on a slice do, it reaches through all slices; else all beyond the
        box is outside in all three directions.

        Raises:
            InputError: the corners agree in more than one coordinate.
        """
        low, high = np.minimum(corner_ras, opposite_ras), np.maximum(corner_ras, opposite_ras)
        thick = high - low
        flat = int(thick.argmin())
        one, other = (axis for axis in range(3) if axis != flat)
        corners = []
        for at_one, at_other in ((0, 0), (1, 0), (1, 1), (0, 1)):
            corner = (low + high) / 2
            corner[one] = (low, high)[at_one][one]
            corner[other] = (low, high)[at_other][other]
            corners.append((float(corner[0]), float(corner[1]), float(corner[2])))
        lasso = cls(tuple(corners))
        if thick[flat] > 0:
            lasso = dataclasses.replace(lasso, depth_mm=float(thick[flat] / 2), closed=True)
        check_lasso(lasso)
        return lasso

    @classmethod
    def parse(cls, text: str) -> Lasso:
        """Read ``R,A,S/R,A,S/R,A,S``, three points or more, as the command line takes it.

        Raises:
            InputError: the text is anything else.
        """
        try:
            points = tuple(_parse_point(part) for part in text.split("/"))
        except InputError:
            points = ()
        if len(points) < 3:
            raise InputError(
                f"'{text}' is no lasso: write the corners of a closed line in one plane as "
                "R,A,S/R,A,S/R,A,S, three or more of them, in millimetres."
            )
        lasso = cls(points)
        check_lasso(lasso)
        return lasso

    @classmethod
    def parse_box(cls, text: str) -> Lasso:
        """Read ``R,A,S/R,A,S``, two opposite corners, as the command line takes them.

        Raises:
            InputError: the text is anything else.
        """
        try:
            corners = [_parse_point(part) for part in text.split("/")]
        except InputError:
            corners = []
        if len(corners) != 2:
            raise InputError(
                f"'{text}' is no box: write two opposite corners as R,A,S/R,A,S, in millimetres, "
                "for example -10,-60,104/70,5,104; where they agree in one coordinate the box "
                "reaches through all slices."
            )
        return cls.box(*corners)

    @property
    def position_ras(self) -> Point:
        """Its first corner."""
        return self.points_ras[0]

    def contains(self, points_ras: np.ndarray) -> np.ndarray:
        """Which of some points (N, 3) it does not say are outside: boolean (N)."""
        plane = np.array(self.points_ras)
        origin, normal = plane.mean(axis=0), self._normal()
        # Two directions in the plane.
        u = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
        u /= np.linalg.norm(u)
        v = np.cross(normal, u)
        corners = np.stack([(plane - origin) @ u, (plane - origin) @ v], axis=1)
        away = np.asarray(points_ras, float) - origin
        x, y = away @ u, away @ v
        near = (x >= corners[:, 0].min()) & (x <= corners[:, 0].max())
        near &= (y >= corners[:, 1].min()) & (y <= corners[:, 1].max())
        within = np.zeros(len(x), bool)
        within[near] = _winding(corners, x[near], y[near]) != 0
        if self.depth_mm is not None:
            deep = np.abs(away @ normal) > self.depth_mm
            within = within & ~deep if self.closed else within | deep
        return within

    def _normal(self) -> np.ndarray:
        """Of its plane, of length 1; zero where the points lie on a line."""
        area = self._area()
        length = np.linalg.norm(area)
        return area / length if length else area

    def _area(self) -> np.ndarray:
        """The vector across its plane that is as long as the area is large (Newell's method)."""
        points = np.array(self.points_ras) - np.mean(self.points_ras, axis=0)
        area: np.ndarray = np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0) / 2
        return area


Prompt: TypeAlias = Click | Scribble | Lasso
"""One thing that a user said about the organ."""


def check_lasso(lasso: Lasso) -> None:
    """Raises:
    InputError: it encloses nothing, or a depth that is no positive number.
    """
    if len(lasso.points_ras) < 3 or np.linalg.norm(lasso._area()) < SMALLEST_LASSO_MM2:
        raise InputError(
            "A box or lasso encloses an area: draw it around the organ, not along a line."
        )
    if lasso.depth_mm is not None and not (0 < lasso.depth_mm < math.inf):
        raise InputError("A box or lasso reaches some positive distance, or through all slices.")


def points_of(prompt: Prompt) -> tuple[Point, ...]:
    """All points that a prompt was drawn with."""
    return (prompt.position_ras,) if isinstance(prompt, Click) else prompt.points_ras


def mapped(prompt: Prompt, function: Callable[[np.ndarray], np.ndarray]) -> Prompt:
    """The same prompt with its points (N, 3) elsewhere."""
    moved = function(np.array(points_of(prompt), float))
    points = tuple((float(r), float(a), float(s)) for r, a, s in moved)
    if isinstance(prompt, Click):
        return dataclasses.replace(prompt, position_ras=points[0])
    return dataclasses.replace(prompt, points_ras=points)


def moved_to(prompt: Prompt, position_ras: Sequence[float]) -> Prompt:
    """The same prompt with its :attr:`position_ras` there."""
    shift = np.asarray(position_ras, float) - prompt.position_ras
    return mapped(prompt, lambda points: points + shift)


def as_clicks(prompts: Iterable[Prompt], step_mm: float) -> list[Click]:
    """The points that are to be obeyed, in their order: clicks, and points along scribbles. Points
    inside that a later lasso leaves out are none any more.

    Args:
        step_mm: how far apart points along a scribble are at most.
    """
    return _obeyed(prompts, lambda scribble: scribble.clicks(step_mm))


def line_clicks(prompts: Iterable[Prompt], grid: Grid) -> list[Click]:
    """The same, with a point in each voxel of a grid that a scribble passes.

    Args:
        grid: in the prompts' world; any directions. Its size does not matter.
    """
    return _obeyed(prompts, lambda scribble: _in_each_voxel(scribble, grid))


def _obeyed(
    prompts: Iterable[Prompt], points_along: Callable[[Scribble], Sequence[Click]]
) -> list[Click]:
    clicks: list[Click] = []
    for prompt in prompts:
        if isinstance(prompt, Click):
            clicks.append(prompt)
        elif isinstance(prompt, Scribble):
            clicks += points_along(prompt)
        elif clicks:
            kept = prompt.contains(np.array([click.position_ras for click in clicks]))
            clicks = [
                click
                for click, within in zip(clicks, kept, strict=True)
                if within or not click.inside
            ]
    return clicks


def _in_each_voxel(scribble: Scribble, grid: Grid) -> Sequence[Click]:
    indices = grid.index_of(np.array(scribble.points_ras))
    if np.abs(np.diff(indices, axis=0)).sum() > MOST_POINTS:
        return scribble.clicks(min(grid.spacing_mm) / 2)
    found = []
    for start, end in itertools.pairwise(indices):
        # Between two borders of voxels that the line crosses it is in one voxel.
        crossings = [0.0, 1.0]
        for low, high in zip(start, end, strict=True):
            borders = np.arange(
                math.ceil(min(low, high) - 0.5), math.floor(max(low, high) - 0.5) + 1
            )
            if low != high:
                crossings += ((borders + 0.5 - low) / (high - low)).tolist()
        shares = np.unique(np.clip(crossings, 0, 1))
        middles = (shares[:-1] + shares[1:]) / 2
        found.append(start + middles[:, None] * (end - start))
    positions = grid.position_of(np.concatenate(found))
    return [
        Click((float(r), float(a), float(s)), scribble.inside, scribble.target)
        for r, a, s in positions
    ]


def lassos_of(prompts: Iterable[Prompt]) -> list[Lasso]:
    return [prompt for prompt in prompts if isinstance(prompt, Lasso)]


def clear_outside(mask: np.ndarray, grid: Grid, lassos: Iterable[Lasso]) -> np.ndarray:
    """A mask (k, j, i) without what lies outside of lassos: itself where that is nothing.

    Args:
        grid: of the mask, in the lassos' world; any directions.
    """
    for lasso in lassos:
        indices = np.argwhere(mask)
        outside = indices[~lasso.contains(grid.position_of(indices[:, ::-1]))]
        if len(outside):
            mask = mask.copy()
            mask[tuple(outside.T)] = 0
    return mask


def prompt_to_json(prompt: Prompt) -> Any:
    """As scenes and segments keep it."""
    if isinstance(prompt, Click):
        return [*prompt.position_ras, prompt.inside]
    points = [list(point) for point in prompt.points_ras]
    if isinstance(prompt, Scribble):
        return {"scribble": points, "inside": prompt.inside}
    return {"lasso": points, "depth_mm": prompt.depth_mm, "closed": prompt.closed}


def prompt_from_json(value: Any) -> Prompt:
    """Raises:
    ValueError, KeyError, TypeError: it is none.
    """
    if isinstance(value, list):
        r, a, s, inside = value
        (point,) = _finite([(r, a, s)])
        return Click(point, inside)
    if "scribble" in value:
        return Scribble(_finite(value["scribble"]), bool(value["inside"]))
    depth_mm = value["depth_mm"]
    return Lasso(
        _finite(value["lasso"]),
        None if depth_mm is None else float(depth_mm),
        bool(value["closed"]),
    )


def _finite(points: Iterable[Sequence[float]]) -> tuple[Point, ...]:
    """Raises:
    ValueError, TypeError: there are none, or one is not three finite numbers.
    """
    found = np.array([(float(r), float(a), float(s)) for r, a, s in points])
    if not found.size or not np.isfinite(found).all():
        raise ValueError("a point is not finite")
    return tuple((float(r), float(a), float(s)) for r, a, s in found)


def _winding(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How often a closed line of corners (N, 2) goes around each of some points; a lasso whose ends
    overlap has no hole where they do."""
    turns = np.zeros(len(x), int)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        beside = np.flatnonzero((y >= min(ay, by)) & (y < max(ay, by)))
        left = (bx - ax) * (y[beside] - ay) - (x[beside] - ax) * (by - ay)
        turns[beside] += (left > 0) if by > ay else -(left < 0).astype(int)
    return turns


def _parse_point(text: str) -> Point:
    """Raises:
    InputError: it is not three finite numbers.
    """
    try:
        r, a, s = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"'{text}' is no point R,A,S.") from error
    if not all(map(math.isfinite, (r, a, s))):
        raise InputError(f"'{text}' has a coordinate that is not a finite number.")
    return r, a, s
