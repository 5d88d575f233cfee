"""The picture of a result: where the organ is, and where the network looked.

>>> render_overlay(prediction, Path("overlay.png"), "Abdomen, portal venous phase")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry.grid import Box, Region
from ..geometry.reslice import AXIAL, CORONAL, SAGITTAL, SliceRectangle, body_box
from .page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Line

    from ..geometry.volume import Volume
    from ..inference.prediction import Prediction

RESEARCH_USE = "Research use only"
ORGAN_KEY = "Organ"
"""Of the picture's text: where the organ is in its three slices, as JSON: for each the left, upper,
right and lower pixel. Not there where none was found."""
WINDOW_HU = (-160.0, 240.0)  # width 400, level 40: soft tissue

_WIDTH_PX, _DPI = 1800, 100
_MARGIN_PX, _GAP_PX, _LETTER_PX = 44, 26, 20
_MOST_SLICE_PX, _MOST_MAP_PX = 620, 420
# The most of a scan that is shown, along R, A and S, in mm: an abdomen.
_MOST_SHOWN_MM = (440.0, 340.0, 330.0)
_MAP_MARGIN_MM = 12.0
_ORGAN_MARGIN_MM = 18.0

_BACKGROUND = "#0d1014"
_TEXT, _QUIET = "#f2f4f7", "#9aa4b2"
_NOTICE = "#ffb35c"
_OUTLINE, _OUTLINE_ON_MAP = "#ffc247", "#ffffff"
_FURTHER_OUTLINES = ("#4fd8c4", "#ff7ab8", "#9db8ff")
"""Of a model's other targets, in turn."""
_SMALL_PX = 14.5
_LINE_PX, _LONGEST_LINE = 24, 190
_SCALE_BAR_PX = 70
_FRAME, _HALO = "#2a3038", "#000000a0"


def draw_overlay(prediction: Prediction, title: str, note: str = "", *, organ: str = "") -> Figure:
    """Draw the organ in three planes and, below, the attention of each level on the axial slice,
    and the uncertainty on that through the most doubtful place.

    Slices are taken through the middle of the organ (of the scan where none was found) along the
    patient's axes, whatever the directions of the scan's own, all at one scale. The figure is one
    picture, the pixels of the file that :func:`render_overlay` writes.

    Args:
        prediction: only its slices are looked at; one attention map at a time is computed.
        title: what the scan is; its file's name, for instance.
        note: shown as a notice, such as that the scan is synthetic.
        organ: name of what was segmented; what the prediction says unless given.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import BboxImage
    from matplotlib.transforms import Bbox, TransformedBbox

    page = _Drawing(prediction, organ).draw(title, note)
    figure = Figure(
        figsize=(page.width / _DPI, page.height / _DPI), dpi=_DPI, facecolor=_BACKGROUND
    )
    whole = BboxImage(TransformedBbox(Bbox.unit(), figure.transFigure), origin="upper")
    whole.set_data(page.pixels)
    axes = figure.add_axes((0, 0, 1, 1))  # a notebook shows no figure that has none
    axes.set_axis_off()
    axes.add_artist(whole)
    FigureCanvasAgg(figure)  # becomes its canvas
    return figure


def render_overlay(
    prediction: Prediction, file: Path, title: str, note: str = "", *, organ: str = ""
) -> None:
    """Write what :func:`draw_overlay` draws as a PNG file.

    Raises:
        OSError: the file cannot be written.
    """
    drawing = _Drawing(prediction, organ)
    page = drawing.draw(title, note)
    page.save(file, {ORGAN_KEY: json.dumps(drawing.organ_boxes)} if drawing.organ_boxes else {})


@dataclass(frozen=True)
class _Panel:
    """A slice and where on the page it is shown, in whole pixels."""

    frame: SliceRectangle
    x: int
    y: int
    pixel_mm: float

    @property
    def width(self) -> int:
        return self.frame.pixels(self.pixel_mm)[0]

    @property
    def height(self) -> int:
        return self.frame.pixels(self.pixel_mm)[1]

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    def place_of(self, position_ras: np.ndarray) -> tuple[float, float]:
        """How far to the right and down in the panel a point lies, in pixels."""
        orientation, box = self.frame.orientation, self.frame.box

        def along(axis: int, direction: np.ndarray, pixels: int) -> float:
            from_edge = position_ras[axis] - box.low_ras[axis]
            if direction[axis] < 0:
                from_edge = box.extent_mm[axis] - from_edge
            return float(from_edge / box.extent_mm[axis] * pixels)

        return (
            along(orientation.right_axis, orientation.right, self.width),
            along(orientation.down_axis, orientation.down, self.height),
        )


class _Drawing:
    """Lays the page out in pixels from its upper left corner, row by row."""

    def __init__(self, prediction: Prediction, organ: str) -> None:
        self.prediction = prediction
        self.organ = organ or prediction.target
        self.organ_boxes: list[tuple[int, int, int, int]] = []
        self.volume = prediction.volume
        self.organ_ras = _organ_ras(prediction)
        self.centre = _middle(self.volume, self.organ_ras)
        body = body_box(self.volume)
        # Widened where the organ lies at the border, then cut to an abdomen around it.
        shown = Box.around(np.array([body.low_ras, body.high_ras, self.centre]))
        self.shown = shown.at_most(_MOST_SHOWN_MM, around=self.centre)

    def draw(self, title: str, note: str) -> Page:
        told = self._told()
        slices = self._slice_panels(top=122 + _LINE_PX * len(told))
        bottom = max(panel.bottom for panel in slices) + _LETTER_PX + 20
        maps = self._map_panels(top=bottom + 70)
        end = max((panel.bottom for panel in maps), default=bottom) + 18
        doubt = maps.pop() if maps else None

        self.page = Page(_WIDTH_PX, end + 56, _BACKGROUND)
        self._header(title, note)
        for line, (text, colour) in enumerate(told):
            self.page.text(_MARGIN_PX, 106 + _LINE_PX * line, text, 15.5, colour=colour)
        for panel in slices:
            self._slice(panel)
        self.organ_boxes = self._boxes_of_organ(slices)
        if maps:
            self.page.text(
                _MARGIN_PX, bottom + 2, "Where the network looked", 20, colour=_TEXT, bold=True
            )
            self.page.text(
                _WIDTH_PX - _MARGIN_PX,
                bottom + 6,
                "Attention, 0 to 1, on the same axial slice: what each level let through, around "
                "the network's own answer, right or wrong.",
                _SMALL_PX,
                colour=_QUIET,
                ha="right",
            )
            below = self._below_map(maps[0])
            for level, panel in enumerate(maps, start=1):
                self._level(level, panel, below)
            self._colour_scale("inferno", maps[-1])
        if doubt is not None:
            self._doubt(doubt)
            self._colour_scale("viridis", doubt)
        # Last, as they reach over other panels where a scan is narrow.
        for panel in (slices[0], *maps[:1]):
            self._scale_bar(panel, 50)
        self._footer(end)
        return self.page

    # Layout

    def _slice_panels(self, top: int) -> list[_Panel]:
        frames = [
            SliceRectangle(orientation, float(self.centre[orientation.normal_axis]), self.shown)
            for orientation in (AXIAL, CORONAL, SAGITTAL)
        ]
        gaps = 2 * (_GAP_PX + 2 * _LETTER_PX) + 2 * _LETTER_PX
        room = _WIDTH_PX - 2 * _MARGIN_PX - gaps
        widths, heights = zip(*(frame.size_mm for frame in frames), strict=True)
        scale = min(room / sum(widths), _MOST_SLICE_PX / max(heights))
        x = (_WIDTH_PX - gaps - scale * sum(widths)) / 2 + _LETTER_PX
        panels = []
        for frame, width in zip(frames, widths, strict=True):
            panels.append(_Panel(frame, round(x), top + 30 + _LETTER_PX, 1 / scale))
            x += scale * width + _GAP_PX + 2 * _LETTER_PX
        return panels

    def _told(self) -> list[tuple[str, str]]:
        """What is to be known of the result beside its volume, and in which colour."""
        prediction, told = self.prediction, []
        if (estimate := prediction.dice_estimate) is not None:
            share = f"{100 * estimate.coverage:.0f} % of such results"
            told.append(
                (
                    f"Estimated Dice {estimate.value:.2f}  "
                    f"({estimate.low:.2f} to {estimate.high:.2f} in {share})",
                    _TEXT,
                )
            )
        # Of a long one the first sentence says what is wrong, and the report the rest.
        told += [
            (
                one
                if len(one) <= _LONGEST_LINE
                else _shortened(f"{one.partition('. ')[0].rstrip('.')}.", _LONGEST_LINE),
                _NOTICE,
            )
            for one in prediction.warnings
        ]
        return told

    def _map_panels(self, top: int) -> list[_Panel]:
        """Of each level, and last of the uncertainty; empty where the network did not look."""
        levels = self.prediction.levels
        if any(part.stop <= part.start for part in self.prediction.region):
            return []
        grid = self.volume.grid
        region = grid.subgrid(self.prediction.region).bounds
        shown = region.grown(_MAP_MARGIN_MM).within(grid.bounds)
        frame = SliceRectangle(AXIAL, float(self.centre[2]), shown)
        places = self.prediction.doubtful_places
        doubtful = places[0].position_ras[2] if places else float(self.centre[2])
        width, height = frame.size_mm
        bars = _SCALE_BAR_PX * (2 if levels else 1)
        count = levels + 1
        most = max(count, 3)  # one or two maps need not fill the page
        room = (_WIDTH_PX - 2 * _MARGIN_PX - bars - (most - 1) * _GAP_PX) / most
        scale = min(room / width, _MOST_MAP_PX / height)
        used = count * scale * width + levels * _GAP_PX + bars
        x = (_WIDTH_PX - used) / 2
        panels = []
        for number in range(count):
            last = number == levels
            left = x + number * (scale * width + _GAP_PX) + (_SCALE_BAR_PX if last * levels else 0)
            of = SliceRectangle(AXIAL, doubtful, shown) if last else frame
            panels.append(_Panel(of, round(left), top, 1 / scale))
        return panels

    def _boxes_of_organ(self, slices: list[_Panel]) -> list[tuple[int, int, int, int]]:
        """Where the organ and what is around it are in each slice, in pixels of the page."""
        if not len(self.organ_ras):
            return []
        organ = Box.around(self.organ_ras).grown(_ORGAN_MARGIN_MM).within(self.shown)
        boxes = []
        for panel in slices:
            ends = panel.place_of(organ.low_ras), panel.place_of(organ.high_ras)
            (left, right), (top, bottom) = (
                sorted(round(start + end) for end in pair)
                for start, pair in zip((panel.x, panel.y), zip(*ends, strict=True), strict=True)
            )
            boxes.append((left, top, right, bottom))
        return boxes

    # Parts

    def _header(self, title: str, note: str) -> None:
        prediction = self.prediction
        right = _WIDTH_PX - _MARGIN_PX
        if prediction.found:
            organ = self.organ[:1].upper() + self.organ[1:]
            headline = f"{_shortened(organ, 30)}  {prediction.volume_ml:.1f} mL"
        else:
            headline = f"No {_shortened(self.organ, 30)} was found in this scan"
        x = _MARGIN_PX + 17.5 * len(headline)
        for number, other in enumerate(prediction.others):
            colour = _FURTHER_OUTLINES[number % len(_FURTHER_OUTLINES)]
            volume = f"{other.volume_ml:.1f} mL" if other.found else "none found"
            text = f"{_shortened(other.target, 20)}  {volume}"
            self.page.text(x, 40, text, 19, colour=colour, bold=True)
            x += 12 * len(text) + 24
        notice = f"{_shortened(note, 60)}   ·   {RESEARCH_USE}" if note else RESEARCH_USE
        model = f"{prediction.model_name} {prediction.model_version}"
        if prediction.model_sha256:
            model += f" ({prediction.model_sha256[:8]})"
        self.page.text(_MARGIN_PX, 34, headline, 29, colour=_TEXT, bold=True)
        self.page.text(_MARGIN_PX, 80, _shortened(title, 84), 15.5, colour=_QUIET)
        self.page.text(right, 39, notice, 19, colour=_NOTICE, bold=True, ha="right")
        self.page.text(right, 80, f"Model {_shortened(model, 60)}", 15.5, colour=_QUIET, ha="right")

    def _slice(self, panel: _Panel) -> None:
        page, frame, x, y = self.page, panel.frame, panel.x, panel.y
        self._show(panel, self._grey(panel)[..., None])
        self._show_outline(panel, self._outline(self.prediction.mask, panel), _OUTLINE, 1.7)
        for number, other in enumerate(self.prediction.others):
            colour = _FURTHER_OUTLINES[number % len(_FURTHER_OUTLINES)]
            self._show_outline(panel, self._outline(other.mask, panel), colour, 1.7)
        above = y - _LETTER_PX - 28
        page.text(x, above, frame.orientation.name, 17, colour=_TEXT, bold=True)
        page.text(panel.right, above + 2, _place(frame), _SMALL_PX, colour=_QUIET, ha="right")
        middle_x, middle_y = (x + panel.right) / 2, (y + panel.bottom) / 2
        beside = _LETTER_PX / 2 + 1
        left, right, up, down = frame.orientation.letters
        for letter, letter_x, letter_y in (
            (left, x - beside, middle_y),
            (right, panel.right + beside, middle_y),
            (up, middle_x, y - beside + 1),
            (down, middle_x, panel.bottom + beside),
        ):
            page.text(letter_x, letter_y, letter, 15, colour=_QUIET, ha="center", va="center")

    def _level(self, level: int, panel: _Panel, below: tuple[np.ndarray, Line | None]) -> None:
        prediction = self.prediction
        self._map("inferno", partial(prediction.attention_in_region, level), panel, below)
        self._caption(panel, f"Level {level}")
        if prediction.found and prediction.attention_in_organ:
            inside = prediction.attention_in_organ[level - 1]
            around = prediction.attention_around_organ[level - 1]
            self._caption(panel, right=f"{inside:.2f} inside, {around:.2f} around")

    def _doubt(self, panel: _Panel) -> None:
        from matplotlib.path import Path as Line

        look = self.prediction.uncertainty_in_region
        self._map("viridis", look, panel, self._below_map(panel))
        self._caption(panel, "Uncertainty", _place(panel.frame))
        if not self.prediction.doubtful_places:
            return
        position = np.array(self.prediction.doubtful_places[0].position_ras)
        ring = Line.circle(panel.place_of(position), 15)
        for colour, line_px in ((_HALO, 4.0), (_OUTLINE, 2.0)):
            self._show_line(panel, ring, colour, line_px)

    def _caption(self, panel: _Panel, left: str = "", right: str = "") -> None:
        """What stands above a map."""
        self.page.text(panel.x, panel.y - 27, left, 17, colour=_TEXT, bold=True)
        self.page.text(panel.right, panel.y - 25, right, _SMALL_PX, colour=_TEXT, ha="right")

    def _below_map(self, panel: _Panel) -> tuple[np.ndarray, Line | None]:
        """The CT and the outline, which are the same with all maps of a slice."""
        return self._grey(panel), self._outline(self.prediction.mask, panel)

    def _map(
        self,
        colours: str,
        look: Callable[[Region], np.ndarray],
        panel: _Panel,
        below: tuple[np.ndarray, Line | None],
    ) -> None:
        """A map from 0 to 1 of the region that was looked at, over the CT.

        Args:
            look: gives it in a part of the region; no more is computed than is drawn.
            below: the CT and the outline.
        """
        grid = self.volume.grid.subgrid(self.prediction.region)
        part = panel.frame.region_of(grid)
        values, inside = panel.frame.sample(
            look(part), grid.subgrid(part).ras_to_ijk, panel.pixel_mm
        )
        grey, outline = below
        self._show(panel, _over(grey, values, colours))
        if not inside.all():
            self._show_line(panel, _border(inside), _QUIET, 1, dashes=(3.6, 1.6))
        self._show_outline(panel, outline, _OUTLINE_ON_MAP, 1.2)

    def _colour_scale(self, name: str, panel: _Panel) -> None:
        from matplotlib.path import Path as Line

        x, height = panel.right + 18, panel.height
        values = 1 - (np.arange(height)[:, None] + 0.5) / height
        # As it looks over tissue in the middle of the grey scale.
        colours = _over(np.full_like(values, 107, np.uint8), values, name)
        self.page.paint(x, panel.y, colours.repeat(15, axis=1))
        for value, text in ((0, "0"), (0.25, ""), (0.5, "0.5"), (0.75, ""), (1, "1")):
            y = panel.bottom - value * height
            self.page.line(Line([(x + 15, y), (x + 20.5, y)]), _TEXT, 1.4)
            self.page.text(x + 24.7, y, text, 13, colour=_TEXT, va="middle")

    def _footer(self, end: int) -> None:
        low, high = WINDOW_HU
        directions = "R, L: patient's right, left; A, P: front, back; S, I: head, feet"
        shown = f"CT window {high - low:.0f}, level {(high + low) / 2:.0f} HU"
        if self.prediction.doubtful_places:
            directions += ".  Ring: the most doubtful place"
        text, y, right = f"{shown}.  {directions}.", end + 12, _WIDTH_PX - _MARGIN_PX
        self.page.text(_MARGIN_PX, y, text, _SMALL_PX, colour=_QUIET)
        self.page.text(right, y, "Attention U-Net Segment", _SMALL_PX, colour=_QUIET, ha="right")

    # Marks

    def _grey(self, panel: _Panel) -> np.ndarray:
        """The CT as it is shown, rows and columns, uint8; black where there is none."""
        hu, inside = panel.frame.sample(self.volume.array, self.volume.ras_to_ijk, panel.pixel_mm)
        low, high = WINDOW_HU
        return np.where(inside, (hu - low) * (256 / (high - low)), 0).clip(0, 255).astype(np.uint8)

    def _outline(self, mask: np.ndarray, panel: _Panel) -> Line | None:
        sampled, _ = panel.frame.sample(mask, self.volume.ras_to_ijk, panel.pixel_mm)
        return _border(sampled)

    def _show(self, panel: _Panel, picture: np.ndarray) -> None:
        from matplotlib.path import Path as Line

        self.page.paint(panel.x, panel.y, picture)
        corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
        frame = Line(np.array(corners) * (panel.width, panel.height), closed=True)
        self.page.line(frame, _FRAME, 1, at=(panel.x, panel.y))

    def _show_outline(
        self, panel: _Panel, outline: Line | None, colour: str, line_px: float
    ) -> None:
        self._show_line(panel, outline, _HALO, line_px + 1.6)
        self._show_line(panel, outline, colour, line_px)

    def _show_line(
        self,
        panel: _Panel,
        line: Line | None,
        colour: str,
        line_px: float,
        dashes: tuple[float, ...] = (),
    ) -> None:
        """Draw a line, whose points are in pixels of the panel."""
        if line is not None:
            start, edges = (panel.x, panel.y), (panel.x, panel.y, panel.right, panel.bottom)
            self.page.line(line, colour, line_px, at=start, dashes=dashes, within=edges)

    def _scale_bar(self, panel: _Panel, length_mm: float) -> None:
        from matplotlib.path import Path as Line

        start, y = panel.x + 14, panel.bottom
        end = start + length_mm * panel.width / panel.frame.size_mm[0]
        for colour, width in (("#000000b0", 5.5), (_TEXT, 2.6)):
            self.page.line(Line([(start, y - 14), (end, y - 14)]), colour, width)
        middle, text = (start + end) / 2, f"{length_mm:.0f} mm"
        self.page.text(
            middle, y - 20, text, _SMALL_PX, colour=_TEXT, ha="center", va="bottom", halo=True
        )


def _middle(volume: Volume, organ_ras: np.ndarray) -> np.ndarray:
    """Where the slices go, R, A, S in mm: half of the organ lies on either side of each."""
    if len(organ_ras):
        return np.median(organ_ras, axis=0)
    return volume.grid.position_of((np.array(volume.shape_ijk) - 1) / 2)


def _organ_ras(prediction: Prediction) -> np.ndarray:
    """The middles of the mask's voxels, N x 3, in mm."""
    # The whole of the mask lies in the region; the scan may be a hundred times as large.
    kji = np.argwhere(prediction.mask[prediction.region])
    kji += [part.start for part in prediction.region]
    return prediction.volume.grid.position_of(kji[:, ::-1])


def _place(frame: SliceRectangle) -> str:
    """Where a plane lies, as a distance towards R or L, A or P, S or I."""
    towards = ("RL", "AP", "SI")[frame.orientation.normal_axis][int(frame.position_mm < 0)]
    return f"{towards} {abs(frame.position_mm):.1f} mm"


def _opacity(values: np.ndarray) -> np.ndarray:
    """Clear where the network does not look, so that the CT shows; never wholly opaque."""
    ramp = np.clip(values / 0.6, 0, 1)
    return 0.74 * ramp**2 * (3 - 2 * ramp)


def _over(grey: np.ndarray, values: np.ndarray, colours: str) -> np.ndarray:
    """A map from 0 to 1 in colours, which lie over a grey picture: rows, columns, 3, uint8."""
    from matplotlib import colormaps

    table = 255 * colormaps[colours](np.arange(256))[:, :3].astype(np.float32)
    colour = table[(256 * values).clip(0, 255).astype(np.uint8)]
    below = grey[..., None].astype(np.float32)
    return np.rint(below + _opacity(values)[..., None] * (colour - below)).astype(np.uint8)


def _border(inside: np.ndarray) -> Line | None:
    """Where a picture of 0 to 1 is a half, in its pixels; None where it nowhere is."""
    import contourpy
    from matplotlib.path import Path as Line

    if min(inside.shape) < 2:
        return None
    lines: Any = contourpy.contour_generator(
        z=inside.astype(np.float32), line_type=contourpy.LineType.ChunkCombinedCode
    ).lines(0.5)
    (points,), (codes,) = lines
    # Values lie in the middle of pixels.
    return None if points is None else Line(points + 0.5, codes)


def _shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"
