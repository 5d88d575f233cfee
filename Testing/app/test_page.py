"""A page of pixels: its lines and texts are those of Matplotlib's figures, its file is a PNG."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttentionUNetSegmentLib.app.page import Page
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Line
from PIL import Image

WIDTH, HEIGHT = 240, 60
GROUND = "#204060"


def page() -> Page:
    return Page(WIDTH, HEIGHT, GROUND)


def pixels(of: Page) -> np.ndarray:
    return of.pixels.astype(int)


def drawn_by_a_figure(artist: Artist) -> np.ndarray:
    figure = Figure((WIDTH / 72, HEIGHT / 72), dpi=72, facecolor=GROUND)
    figure.add_artist(artist)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def text_of_a_figure(x: float, y: float, text: str, **how: Any) -> np.ndarray:
    figure = Figure((WIDTH / 72, HEIGHT / 72), dpi=72, facecolor=GROUND)
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, fontfamily="DejaVu Sans", **how)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_a_page_is_of_its_ground() -> None:
    assert page().pixels.shape == (HEIGHT, WIDTH, 3)
    assert (page().pixels == (0x20, 0x40, 0x60)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_put_where_it_is_said(channels: int) -> None:
    painted = page()
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, channels)).astype(np.uint8)
    painted.paint(50, 10, picture)
    assert (painted.pixels[10:30, 50:80] == picture).all()
    painted.pixels[10:30, 50:80] = page().pixels[0, 0]
    assert (painted.pixels == page().pixels).all()


@pytest.mark.parametrize("text", ["Level 1", "S 78.0 mm (jg)"])
@pytest.mark.parametrize("ha", ["left", "center", "right"])
@pytest.mark.parametrize("va", ["top", "center", "middle", "bottom"])
@pytest.mark.parametrize("bold", [False, True])
def test_a_text_stands_where_a_figure_puts_it(text: str, ha: str, va: str, bold: bool) -> None:
    written = page()
    written.text(120, 30, text, 17, colour="#f2f4f7", bold=bold, ha=ha, va=va)
    of_figure = "center_baseline" if va == "middle" else va
    weight = "bold" if bold else "normal"
    expected = text_of_a_figure(
        120, 30, text, fontsize=17, color="#f2f4f7", weight=weight, ha=ha, va=of_figure
    )
    ours, theirs = (one[..., 0] - 0x20 for one in (pixels(written), expected))
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.02)
    (our_y, our_x), (their_y, their_x) = middle_of(ours), middle_of(theirs)
    assert our_y == pytest.approx(their_y, abs=0.8)  # a figure may put it between pixels
    assert our_x == pytest.approx(their_x, abs=1)


def middle_of(ink: np.ndarray) -> np.ndarray:
    return (np.indices(ink.shape) * ink).sum(axis=(1, 2)) / ink.sum()


@pytest.mark.parametrize(("x", "y", "ha"), [(-20, 20, "left"), (225, 20, "left"), (120, -8, "left"),
                                            (120, 52, "left"), (500, 20, "left"), (20, 20, "right"),
                                            (120, -90, "left"), (-400, 20, "left")])  # fmt: skip
def test_what_does_not_fit_on_the_page_is_cut(x: float, y: float, ha: str) -> None:
    large = Page(WIDTH + 1200, HEIGHT + 200, GROUND)
    large.text(x + 600, y + 100, "some text", 15, colour="white", ha=ha)
    written = page()
    written.text(x, y, "some text", 15, colour="white", ha=ha)
    expected = large.pixels[100 : 100 + HEIGHT, 600 : 600 + WIDTH]
    np.testing.assert_array_equal(written.pixels, expected)


def test_a_text_on_a_bright_ground_has_a_dark_line_around_it() -> None:
    bright, with_halo = Page(WIDTH, HEIGHT, "white"), Page(WIDTH, HEIGHT, "white")
    bright.text(20, 20, "50 mm", 15, colour="#ffffff")
    assert (bright.pixels == 255).all()
    with_halo.text(20, 20, "50 mm", 15, colour="#ffffff", halo=True)
    dark = (with_halo.pixels < 100).all(axis=2)
    assert dark.sum() > 100
    # The letters are in it, as bright as without it.
    plain = page()
    plain.text(20, 20, "50 mm", 15, colour="#ffffff")
    letters = (plain.pixels == 255).all(axis=2)
    assert letters.sum() > 30
    assert (with_halo.pixels[letters] == 255).all()


def test_nobody_is_told_of_letters_that_the_font_lacks() -> None:
    written = page()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("腹部", "", "one\ntwo", "of no known coding: \udcff"):
            written.text(20, 20, text, 15, colour="white")
    assert (written.pixels != page().pixels).any()


@pytest.mark.parametrize("width", [1.4, 2.6, 5.5])
@pytest.mark.parametrize("colour", ["#ffc247", "#000000a0"])
def test_a_line_is_that_of_a_figure(width: float, colour: str) -> None:
    points = np.array([(20, 10), (90.3, 33.3), (200, 12), (50, 50)])
    drawn = page()
    drawn.line(Line(points), colour, width)
    moved = page()
    moved.line(Line(points - 7), colour, width, at=(7, 7))
    x, y = (points / (WIDTH, HEIGHT)).T
    expected = drawn_by_a_figure(Line2D(x, 1 - y, color=colour, linewidth=width,
                                        solid_capstyle="butt"))  # fmt: skip
    np.testing.assert_allclose(pixels(drawn), expected, atol=1)
    np.testing.assert_array_equal(moved.pixels, drawn.pixels)


def test_a_line_has_dashes_and_stays_within_its_panel() -> None:
    drawn = page()
    across = Line([(0, 30), (WIDTH, 30)])
    drawn.line(across, "white", 1, dashes=(6, 4), within=(50, 20, 150, 40))
    changed = (drawn.pixels != page().pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert set(rows) == {30}
    assert 50 <= columns.min() < 60
    assert 140 < columns.max() < 150
    assert 0.5 < changed[30, 50:150].mean() < 0.9


@pytest.mark.parametrize("library", ["zlib_ng", "zlib"])
def test_the_file_is_a_png_of_the_pixels_and_the_texts(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the library that compresses fast, and as in Slicer without it."""
    if library == "zlib":
        monkeypatch.setitem(sys.modules, "zlib_ng", None)
        monkeypatch.delitem(sys.modules, "zlib_ng.zlib_ng", raising=False)
    noise = page()
    noise.paint(0, 0, np.random.default_rng(0).integers(0, 256, (40, 200, 3)).astype(np.uint8))
    noise.save(tmp_path / "page.png", {"Organ": "[1, 2]"})
    with Image.open(tmp_path / "page.png") as image:
        image.verify()
    with Image.open(tmp_path / "page.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert image.info["Organ"] == "[1, 2]"
        assert image.info["dpi"] == pytest.approx((100, 100), abs=0.01)
        np.testing.assert_array_equal(np.asarray(image), noise.pixels)


def test_even_ground_takes_no_room(tmp_path: Path) -> None:
    Page(1800, 1000, GROUND).save(tmp_path / "page.png", {})
    assert (tmp_path / "page.png").stat().st_size < 40_000
