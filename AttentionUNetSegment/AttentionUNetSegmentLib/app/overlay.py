"""The picture of a result: where the organ is, and where the network looked.

>>> figure_bytes = render_overlay(prediction, Path("overlay.png"), "Abdomen, portal venous phase")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry.grid import Box, Region
from ..geometry.reslice import AXIAL, CORONAL, SAGITTAL, SliceRectangle, body_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
_PNG_LEVEL = 3  # a third of the usual level's time, and a twentieth larger
_FONT = "DejaVu Sans"  # comes with Matplotlib, so it is there on every machine


def draw_overlay(prediction: Prediction, title: str, note: str = "", *, organ: str = "") -> Figure:
    """Draw the organ in three planes and, below, the attention of each level on the axial slice,
    and the uncertainty on that through the most doubtful place.

    Slices are taken through the middle of the organ (of the scan where none was found) along the
    patient's axes, whatever the directions of the scan's own, all at one scale.

    Args:
        prediction: only its slices are looked at; one attention map at a time is computed.
        title: what the scan is; its file's name, for instance.
        note: shown as a notice, such as that the scan is synthetic.
        organ: name of what was segmented; what the prediction says unless given.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _Drawing(prediction, organ).draw(title, note)
    FigureCanvasAgg(figure)  # becomes its canvas
    return figure


def render_overlay(
    prediction: Prediction, file: Path, title: str, note: str = "", *, organ: str = ""
) -> None:
    """Write what :func:`draw_overlay` draws as a PNG file.

    Raises:
        OSError: the file cannot be written.
    """
    import warnings

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawing = _Drawing(prediction, organ)
    figure = drawing.draw(title, note)
    known = {ORGAN_KEY: json.dumps(drawing.organ_boxes)} if drawing.organ_boxes else None
    with warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; nobody needs to be told of each.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasAgg(figure).print_png(
            str(file), metadata=known, pil_kwargs={"compress_level": _PNG_LEVEL}
        )


class _Drawing:
    """Lays the page out in pixels from its upper left corner, row by row."""

    def __init__(self, prediction: Prediction, organ: str) -> None:
        self.prediction = prediction
        self.organ = organ or prediction.target
        self.organ_boxes: list[tuple[int, int, int, int]] = []
        self._slices: dict[tuple[int, int, float], tuple[np.ndarray, np.ndarray]] = {}
        self.volume = prediction.volume
        self.centre = _middle(prediction)
        body = body_box(self.volume)
        # Widened where the organ lies at the border, then cut to an abdomen around it.
        shown = Box.around(np.array([body.low_ras, body.high_ras, self.centre]))
        self.shown = shown.at_most(_MOST_SHOWN_MM, around=self.centre)

    def draw(self, title: str, note: str) -> Figure:
        from matplotlib.figure import Figure

        told = self._told()
        slices = self._slice_boxes(top=122 + _LINE_PX * len(told))
        bottom = max(y + height for _, _, y, _, height in slices) + _LETTER_PX + 20
        maps = self._map_boxes(top=bottom + 70)
        end = max((y + height for _, _, y, _, height in maps), default=bottom) + 18
        doubt = maps.pop() if maps else None
        height_px = round(end + 56)

        self.figure = Figure(
            figsize=(_WIDTH_PX / _DPI, height_px / _DPI), dpi=_DPI, facecolor=_BACKGROUND
        )
        self.height_px = height_px
        self._header(title, note)
        for line, (text, colour) in enumerate(told):
            self._text(_MARGIN_PX, 106 + _LINE_PX * line, text, 15.5, color=colour)
        for frame, *box in slices:
            self._slice(frame, *box)
        self.organ_boxes = self._boxes_of_organ(slices)
        if maps:
            self._text(_MARGIN_PX, bottom + 2, "Where the network looked", 20, weight="bold")
            self._text(
                _WIDTH_PX - _MARGIN_PX,
                bottom + 6,
                "Attention, 0 to 1, on the same axial slice: what each level let through, around "
                "the network's own answer, right or wrong.",
                _SMALL_PX,
                color=_QUIET,
                ha="right",
            )
            for level, (frame, *box) in enumerate(maps, start=1):
                self._level(level, frame, *box)
            self._colour_scale("inferno", *maps[-1][1:])
        if doubt is not None:
            self._doubt(*doubt)
            self._colour_scale("viridis", *doubt[1:])
        self._footer(end)
        return self.figure

    # Layout

    def _slice_boxes(self, top: float) -> list[tuple[SliceRectangle, float, float, float, float]]:
        frames = [
            SliceRectangle(orientation, float(self.centre[orientation.normal_axis]), self.shown)
            for orientation in (AXIAL, CORONAL, SAGITTAL)
        ]
        gaps = 2 * (_GAP_PX + 2 * _LETTER_PX) + 2 * _LETTER_PX
        room = _WIDTH_PX - 2 * _MARGIN_PX - gaps
        widths, heights = zip(*(frame.size_mm for frame in frames), strict=True)
        scale = min(room / sum(widths), _MOST_SLICE_PX / max(heights))
        x = (_WIDTH_PX - gaps - scale * sum(widths)) / 2 + _LETTER_PX
        boxes = []
        for frame, width, height in zip(frames, widths, heights, strict=True):
            boxes.append((frame, x, top + 30 + _LETTER_PX, scale * width, scale * height))
            x += scale * width + _GAP_PX + 2 * _LETTER_PX
        return boxes

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

    def _map_boxes(self, top: float) -> list[tuple[SliceRectangle, float, float, float, float]]:
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
        boxes = []
        for number in range(count):
            last = number == levels
            left = x + number * (scale * width + _GAP_PX) + (_SCALE_BAR_PX if last * levels else 0)
            of = SliceRectangle(AXIAL, doubtful, shown) if last else frame
            boxes.append((of, left, top, scale * width, scale * height))
        return boxes

    def _boxes_of_organ(
        self, slices: list[tuple[SliceRectangle, float, float, float, float]]
    ) -> list[tuple[int, int, int, int]]:
        """Where the organ and what is around it are in each slice, in pixels of the page."""
        points = _organ_ras(self.prediction)
        if not len(points):
            return []
        shown = self.shown
        organ = Box.around(points).grown(_ORGAN_MARGIN_MM).within(shown)
        boxes = []
        for frame, x, y, width, height in slices:
            ends = []
            for axis, direction, start, size in (
                (frame.orientation.right_axis, frame.orientation.right, x, width),
                (frame.orientation.down_axis, frame.orientation.down, y, height),
            ):
                scale = size / shown.extent_mm[axis]
                near, far = sorted(
                    _along(end, shown, axis, direction) for end in (organ.low_ras, organ.high_ras)
                )
                ends.append((round(start + scale * near), round(start + scale * far)))
            (left, right), (top, bottom) = ends
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
            self._text(x, 40, text, 19, weight="bold", color=colour)
            x += 12 * len(text) + 24
        notice = f"{_shortened(note, 60)}   ·   {RESEARCH_USE}" if note else RESEARCH_USE
        model = f"{prediction.model_name} {prediction.model_version}"
        if prediction.model_sha256:
            model += f" ({prediction.model_sha256[:8]})"
        self._text(_MARGIN_PX, 34, headline, 29, weight="bold")
        self._text(_MARGIN_PX, 80, _shortened(title, 84), 15.5, color=_QUIET)
        self._text(right, 39, notice, 19, weight="bold", color=_NOTICE, ha="right")
        self._text(right, 80, f"Model {_shortened(model, 60)}", 15.5, color=_QUIET, ha="right")

    def _slice(
        self, frame: SliceRectangle, x: float, y: float, width: float, height: float
    ) -> None:
        axes = self._panel(frame, x, y, width, height)
        pixel_mm = frame.size_mm[0] / width
        self._show_ct(axes, frame, pixel_mm)
        self._show_outline(axes, frame, pixel_mm, _OUTLINE, 1.7)
        for number, other in enumerate(self.prediction.others):
            colour = _FURTHER_OUTLINES[number % len(_FURTHER_OUTLINES)]
            self._show_outline(axes, frame, pixel_mm, colour, 1.7, other.mask)
        self._text(x, y - _LETTER_PX - 28, frame.orientation.name, 17, weight="bold")
        place = _place(frame)
        self._text(x + width, y - _LETTER_PX - 26, place, _SMALL_PX, color=_QUIET, ha="right")
        left, right, up, down = frame.orientation.letters
        for letter, letter_x, letter_y in (
            (left, x - _LETTER_PX / 2 - 1, y + height / 2),
            (right, x + width + _LETTER_PX / 2 + 1, y + height / 2),
            (up, x + width / 2, y - _LETTER_PX / 2),
            (down, x + width / 2, y + height + _LETTER_PX / 2 + 1),
        ):
            self._text(letter_x, letter_y, letter, 15, color=_QUIET, ha="center", va="center")
        if frame.orientation is AXIAL:
            self._scale_bar(x, y + height, width / frame.size_mm[0], 50)

    def _level(
        self, level: int, frame: SliceRectangle, x: float, y: float, width: float, height: float
    ) -> None:
        prediction = self.prediction
        look = partial(prediction.attention_in_region, level)
        self._map("inferno", look, frame, x, y, width, height)
        self._text(x, y - 27, f"Level {level}", 17, weight="bold")
        if prediction.found and prediction.attention_in_organ:
            inside = prediction.attention_in_organ[level - 1]
            around = prediction.attention_around_organ[level - 1]
            means = f"{inside:.2f} inside, {around:.2f} around"
            self._text(x + width, y - 25, means, _SMALL_PX, color=_TEXT, ha="right")
        if level == 1:
            self._scale_bar(x, y + height, width / frame.size_mm[0], 50)

    def _doubt(
        self, frame: SliceRectangle, x: float, y: float, width: float, height: float
    ) -> None:
        look = self.prediction.uncertainty_in_region
        axes = self._map("viridis", look, frame, x, y, width, height)
        self._text(x, y - 27, "Uncertainty", 17, weight="bold")
        self._text(x + width, y - 25, _place(frame), _SMALL_PX, color=_TEXT, ha="right")
        if not self.prediction.doubtful_places:
            return
        position = np.array(self.prediction.doubtful_places[0].position_ras)
        across = [
            _along(position, frame.box, axis, direction)
            for axis, direction in (
                (frame.orientation.right_axis, frame.orientation.right),
                (frame.orientation.down_axis, frame.orientation.down),
            )
        ]
        for colour, line_px in (("#000000a0", 4.0), (_OUTLINE, 2.0)):
            axes.plot(
                *across,
                marker="o",
                markersize=_points(30),
                fillstyle="none",
                color=colour,
                markeredgewidth=_points(line_px),
                zorder=5,
            )

    def _map(
        self,
        colours: str,
        look: Callable[[Region], np.ndarray],
        frame: SliceRectangle,
        x: float,
        y: float,
        width: float,
        height: float,
    ) -> Axes:
        """A map from 0 to 1 of the region that was looked at, over the CT.

        Args:
            look: gives it in a part of the region; no more is computed than is drawn.
        """
        from matplotlib import colormaps

        axes = self._panel(frame, x, y, width, height)
        pixel_mm = frame.size_mm[0] / width
        self._show_ct(axes, frame, pixel_mm)
        grid = self.volume.grid.subgrid(self.prediction.region)
        part = frame.region_of(grid)
        values, inside = frame.sample(look(part), grid.subgrid(part).ras_to_ijk, pixel_mm)
        painted = colormaps[colours](values.clip(0, 1))
        painted[..., 3] = np.where(inside, _opacity(values), 0.0)
        axes.imshow(painted, extent=_extent(frame), interpolation="bilinear", zorder=2)
        if not inside.all():
            axes.contour(
                inside.astype(np.float32),
                [0.5],
                colors=[_QUIET],
                linewidths=0.7,
                linestyles="dashed",
                extent=_extent(frame),
                origin="upper",
                zorder=3,
            )
        self._show_outline(axes, frame, pixel_mm, _OUTLINE_ON_MAP, 1.2)
        return axes

    def _colour_scale(self, name: str, x: float, y: float, width: float, height: float) -> None:
        from matplotlib import colormaps

        axes = self._axes(x + width + 18, y, 15, height)
        values = np.linspace(1, 0, 256)[:, None]
        colours = colormaps[name](values)
        # As it looks over tissue in the middle of the grey scale.
        opacity = _opacity(values)[..., None]
        colours[..., :3] = opacity * colours[..., :3] + (1 - opacity) * 0.42
        axes.imshow(colours, aspect="auto", extent=(0, 1, 0, 1), interpolation="bilinear")
        axes.set_xticks([])
        axes.yaxis.tick_right()
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        axes.tick_params(colors=_TEXT, labelsize=_points(13), length=4, width=1, pad=3)
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _footer(self, end: float) -> None:
        low, high = WINDOW_HU
        directions = "R, L: patient's right, left; A, P: front, back; S, I: head, feet"
        shown = f"CT window {high - low:.0f}, level {(high + low) / 2:.0f} HU"
        if self.prediction.doubtful_places:
            directions += ".  Ring: the most doubtful place"
        self._text(_MARGIN_PX, end + 12, f"{shown}.  {directions}.", _SMALL_PX, color=_QUIET)
        self._text(
            _WIDTH_PX - _MARGIN_PX,
            end + 12,
            "Attention U-Net Segment",
            _SMALL_PX,
            color=_QUIET,
            ha="right",
        )

    # Marks

    def _panel(
        self, frame: SliceRectangle, x: float, y: float, width: float, height: float
    ) -> Axes:
        axes = self._axes(x, y, width, height)
        axes.set_facecolor("black")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#2a3038")
        width_mm, height_mm = frame.size_mm
        axes.set_xlim(0, width_mm)
        axes.set_ylim(height_mm, 0)
        return axes

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes(
            (
                x / _WIDTH_PX,
                1 - (y + height) / self.height_px,
                width / _WIDTH_PX,
                height / self.height_px,
            )
        )

    def _show_ct(self, axes: Axes, frame: SliceRectangle, pixel_mm: float) -> None:
        hu, inside = self._sampled(self.volume.array, frame, pixel_mm)
        hu = np.where(inside, hu, np.float32(WINDOW_HU[0]))
        axes.imshow(
            hu,
            cmap="gray",
            vmin=WINDOW_HU[0],
            vmax=WINDOW_HU[1],
            extent=_extent(frame),
            interpolation="bilinear",
            aspect="auto",
        )

    def _show_outline(
        self,
        axes: Axes,
        frame: SliceRectangle,
        pixel_mm: float,
        colour: str,
        line_px: float,
        mask: np.ndarray | None = None,
    ) -> None:
        mask = self.prediction.mask if mask is None else mask
        mask, _ = self._sampled(mask, frame, pixel_mm)
        if mask.max() <= 0.5 or min(mask.shape) < 2:
            return
        for line_colour, width in (("#000000a0", line_px + 1.6), (colour, line_px)):
            axes.contour(
                mask,
                [0.5],
                colors=[line_colour],
                linewidths=_points(width),
                extent=_extent(frame),
                origin="upper",
                zorder=4,
            )

    def _sampled(
        self, array: np.ndarray, frame: SliceRectangle, pixel_mm: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """A slice of the scan or of a mask; the maps of all levels lie over the same one."""
        key = (id(array), id(frame), pixel_mm)
        if key not in self._slices:
            self._slices[key] = frame.sample(array, self.volume.ras_to_ijk, pixel_mm)
        return self._slices[key]

    def _scale_bar(self, x: float, y: float, px_per_mm: float, length_mm: float) -> None:
        from matplotlib.lines import Line2D

        across = (x + 14, x + 14 + length_mm * px_per_mm)
        for colour, width in (("#000000b0", 5.5), (_TEXT, 2.6)):
            self.figure.add_artist(
                Line2D(
                    [value / _WIDTH_PX for value in across],
                    [1 - (y - 14) / self.height_px] * 2,
                    color=colour,
                    linewidth=_points(width),
                    solid_capstyle="butt",
                )
            )
        self._text(
            sum(across) / 2,
            y - 20,
            f"{length_mm:.0f} mm",
            _SMALL_PX,
            ha="center",
            va="bottom",
            outlined=True,
        )

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        size_px: float,
        *,
        color: str = _TEXT,
        weight: str = "normal",
        ha: str = "left",
        va: str = "top",
        outlined: bool = False,
    ) -> None:
        drawn: Any = self.figure.text(
            x / _WIDTH_PX,
            1 - y / self.height_px,
            text,
            color=color,
            fontsize=_points(size_px),
            fontweight=weight,
            fontfamily=_FONT,
            ha=ha,
            va=va,
            parse_math=False,
        )
        if outlined:
            from matplotlib.patheffects import withStroke

            drawn.set_path_effects([withStroke(linewidth=_points(3), foreground="#000000b0")])


def _middle(prediction: Prediction) -> np.ndarray:
    """Where the slices go, R, A, S in mm: half of the organ lies on either side of each."""
    points = _organ_ras(prediction)
    if len(points):
        return np.median(points, axis=0)
    volume = prediction.volume
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


def _along(
    position_ras: np.ndarray, shown: Box, axis: int, direction: np.ndarray | tuple[float, ...]
) -> float:
    """How far a point lies from the left or upper edge of a slice, in mm."""
    if direction[axis] > 0:
        return float(position_ras[axis] - shown.low_ras[axis])
    return float(shown.high_ras[axis] - position_ras[axis])


def _extent(frame: SliceRectangle) -> tuple[float, float, float, float]:
    width, height = frame.size_mm
    return 0, width, height, 0


def _points(px: float) -> float:
    return px * 72 / _DPI


def _shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"
