"""A page of pixels: pictures are put into it, and Matplotlib's Agg and fonts draw lines and texts.

Figures and axes are left out: to make them and to resample their images takes most of a drawing's
time.

>>> page = Page(400, 300, "#0d1014")
>>> page.text(20, 20, "Pancreas", 29, colour="#ffffff", bold=True)
>>> page.save(Path("page.png"))
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.gzip_writing import zlib_library

if TYPE_CHECKING:
    from matplotlib.path import Path as Line

_DPI = 72  # so that Matplotlib's points are pixels
# Matplotlib brings it. Its file is named, as to look for a font goes through all of a machine's.
_FONT, _BOLD_FONT = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"
# Of the font's size, above and below the base line, which a text takes though it reaches less far.
_ASCENT, _DESCENT = 0.76, 0.24
# What of a text lies at its place: how much of its width; of what is above and below the base line.
_ALONG = {"left": 0.0, "center": 0.5, "right": 1.0}
_ACROSS = {"top": (1, 0), "center": (0.5, 0.5), "middle": (0.5, 0), "bottom": (0, 1)}
_HALO = 0.69  # its opacity
_PNG_LEVEL = 2  # the next takes a fifth longer, for a file that is a sixteenth smaller
_DIFFERENCE_TO_ROW_ABOVE = 2  # PNG's filter "Up"
_PIXELS_PER_METRE = 3937  # 100 an inch


class Page:
    """Places are in pixels from the upper left corner, to the right and down.

    Args:
        width, height: in pixels.
        background: any of Matplotlib's names of a colour, as all colours here.
    """

    def __init__(self, width: int, height: int, background: str) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        self.width, self.height = width, height
        self._renderer = RendererAgg(width, height, _DPI)
        self._rgba = np.asarray(self._renderer.buffer_rgba())
        pixel = np.array([*_rgb(background), 255], np.uint8)
        self._rgba.view(np.uint32)[:] = pixel.view(np.uint32)

    @property
    def pixels(self) -> np.ndarray:
        """Red, green and blue: rows, columns, 3, uint8; a view, to be drawn into."""
        return self._rgba[..., :3]

    def paint(self, x: int, y: int, picture: np.ndarray) -> None:
        """Put in a picture of uint8: rows, columns, 3; or 1, which is grey."""
        rows, columns, _ = picture.shape
        self.pixels[y : y + rows, x : x + columns] = picture

    def line(
        self,
        line: Line,
        colour: str,
        width: float,
        *,
        at: tuple[float, float] = (0, 0),
        dashes: Sequence[float] = (),
        within: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Draw a line.

        Args:
            at: what is added to its points.
            dashes: lengths of line and gap, in turn.
            within: left, upper, right and lower edge, outside which nothing is drawn.
        """
        from matplotlib.transforms import Affine2D, Bbox

        gc = self._renderer.new_gc()
        gc.set_foreground(colour)
        gc.set_linewidth(width)
        if dashes:
            gc.set_dashes(0, list(dashes))
        if within:
            left, top, right, bottom = within
            gc.set_clip_rectangle(
                Bbox.from_extents(left, self.height - bottom, right, self.height - top)
            )
        x, y = at
        upright = Affine2D.from_values(1, 0, 0, -1, x, self.height - y)
        self._renderer.draw_path(gc, line, upright)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        colour: str,
        bold: bool = False,
        ha: str = "left",
        va: str = "top",
        halo: bool = False,
    ) -> None:
        """Write one line of text.

        Args:
            size: of the font.
            ha, va: what of the text lies at the place; ``middle`` is half of what is above the
                base line.
            halo: whether there is a dark line around each letter, for a bright ground.
        """
        from matplotlib import get_data_path
        from matplotlib.backends.backend_agg import get_hinting_flag
        from matplotlib.font_manager import get_font

        if not text:
            return
        text = text.encode(errors="replace").decode()  # a file's name may hold bytes that are none
        file = Path(get_data_path(), "fonts", "ttf", _BOLD_FONT if bold else _FONT)
        font = get_font(str(file))
        font.clear()
        font.set_size(size, _DPI)
        with warnings.catch_warnings():
            # A name in a script that the font lacks shows as boxes; nobody needs to be told so.
            warnings.filterwarnings("ignore", message="Glyph ")
            font.set_text(text, 0, flags=get_hinting_flag())
        # In 64ths of a pixel.
        width, height, descent, start = (
            value / 64
            for value in (*font.get_width_height(), font.get_descent(), font.get_bitmap_offset()[0])
        )
        above, below = max(height - descent, _ASCENT * size), max(descent, _DESCENT * size)
        of_above, of_below = _ACROSS[va]
        left, base = x - _ALONG[ha] * width, y + of_above * above - of_below * below
        font.draw_glyphs_to_bitmap()
        letters = font.get_image()
        x, y = round(left + start), round(base + descent) + 1 - len(letters)
        if halo:
            from PIL import Image, ImageFilter

            wider = Image.fromarray(np.pad(letters, 1)).filter(ImageFilter.MaxFilter(3))
            self._blend(x - 1, y - 1, np.asarray(wider) * _HALO, "black")
        self._blend(x, y, letters, colour)

    def _blend(self, x: int, y: int, opacity: np.ndarray, colour: str) -> None:
        """Put a colour over what is there, with an opacity of 0 to 255, rows and columns."""
        opacity = opacity[max(-y, 0) :, max(-x, 0) :]  # what would lie outside of the page
        y, x = max(y, 0), max(x, 0)
        below = self.pixels[y : y + opacity.shape[0], x : x + opacity.shape[1]]
        share = opacity[: below.shape[0], : below.shape[1], None] / np.float32(255)
        below[:] = np.rint(below + share * (_rgb(colour) - below))

    def save(self, file: Path, entries: Mapping[str, str]) -> None:
        """Write it as a PNG file.

        Args:
            entries: texts that go with the picture, in Latin-1.

        Raises:
            OSError: the file cannot be written.
        """
        from PIL import Image

        rgb = np.asarray(Image.fromarray(self._rgba).convert("RGB"))  # sooner than by NumPy
        rows = rgb.reshape(self.height, -1)
        filtered = np.empty((self.height, 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _DIFFERENCE_TO_ROW_ABOVE
        filtered[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        parts = [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)),
            _chunk(b"pHYs", struct.pack(">IIB", _PIXELS_PER_METRE, _PIXELS_PER_METRE, 1)),
            *(_chunk(b"tEXt", f"{key}\0{text}".encode("latin-1")) for key, text in entries.items()),
            _chunk(b"IDAT", zlib_library().compress(filtered, _PNG_LEVEL)),
            _chunk(b"IEND", b""),
        ]
        file.write_bytes(b"".join(parts))


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _rgb(colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return np.rint(255 * np.array(to_rgb(colour), np.float32))
