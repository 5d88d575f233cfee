"""``summary.html``: the batch on one page that needs nothing else, the doubtful studies first."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...inference.doubts import PANCREAS_ML
from ..output_folder import explained
from ..report import INTENDED_USE
from ..segmenting import OVERLAY_FILE
from .rows import RESULTS_FILE, Row, replace_file
from .worker import STUDIES_FOLDER

SUMMARY_FILE = "summary.html"
MOST_PICTURES = 5000
"""More pictures, of about 20 kB each, make a page that browsers take long to open."""

_PICTURE_PX = 560
_BINS = 24
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1b2027; background: #fff; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
p { margin: .3rem 0; } .quiet { color: #5c6672; }
.studies { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); }
article { border: 1px solid #d5dae0; border-radius: 6px; padding: .7rem; overflow-wrap: anywhere; }
article.doubtful { border-color: #d98a1f; } article.failed { border-color: #c0392b; }
article h3 { font-size: 1rem; margin: 0 0 .4rem; } article img { width: 100%; display: block; }
.doubt { color: #8a4b00; } .failed .doubt { color: #a12619; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: #3a434e; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ed; background: #14181d; } .quiet { color: #9aa4b2; }
  article { border-color: #38414b; } .doubt { color: #ffb35c; } .failed .doubt { color: #ff8d80; }
  svg text { fill: #c3cad3; } }
"""


def write_summary(directory: Path, rows: Sequence[Row]) -> None:
    """Write the page of a batch.

    Args:
        directory: of the batch.
        rows: of all studies.

    Raises:
        OutputError: it cannot be written.
    """
    page = "".join(_page(directory, rows))
    replace_file(directory / SUMMARY_FILE, page.encode("utf-8"))


def doubts(row: Row) -> list[str]:
    """Why somebody should look at a study, the gravest reason first."""
    if row.status == "failed":
        return [row.error]
    return [row.warnings] if row.warnings else []


def doubtful_first(rows: Sequence[Row]) -> list[Row]:
    """Failed studies, those with nothing found, those with other doubts, and the rest."""

    def rank(row: Row) -> int:
        if row.status == "failed":
            return 0
        if row.found == "no":
            return 1
        return 2 if doubts(row) else 3

    return sorted(rows, key=rank)


def _page(directory: Path, rows: Sequence[Row]) -> Iterator[str]:
    volumes = [row.volume_ml for row in rows if row.found == "yes" and row.volume_ml is not None]
    failed = sum(row.status == "failed" for row in rows)
    doubtful = sum(bool(doubts(row)) for row in rows) - failed
    yield (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Batch of {len(rows)} studies</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Batch of {len(rows)} studies</h1>"
        f"<p>{len(rows) - failed} done, {doubtful} of them doubtful; {failed} failed. "
        f"All figures are in {RESULTS_FILE}.</p>"
        f"<p class='quiet'>{html.escape(INTENDED_USE)}</p>\n"
    )
    if volumes:
        yield f"<h2>Volumes</h2>{histogram(volumes)}\n"
    yield "<h2>Studies, the doubtful ones first</h2>"
    if len(rows) > MOST_PICTURES:
        yield f"<p class='quiet'>With a picture: the first {MOST_PICTURES}.</p>"
    yield "<div class='studies'>\n"
    for number, row in enumerate(doubtful_first(rows)):
        yield _article(directory, row, number < MOST_PICTURES)
    yield "</div></body></html>\n"


def _article(directory: Path, row: Row, with_picture: bool) -> str:
    reasons = doubts(row)
    kind = "failed" if row.status == "failed" else "doubtful" if reasons else "usual"
    result = {"yes": f"{row.volume_ml or 0.0:.1f} mL", "no": "none found"}.get(row.found, "failed")
    name = html.escape(row.study)
    parts = [f"<article class='{kind}'><h3>{name}: {result}</h3>"]
    overlay = directory / STUDIES_FOLDER / row.study / OVERLAY_FILE
    if with_picture and row.status == "done":
        parts.append(f"<img loading='lazy' alt='{name}' src='{_picture(overlay)}'>")
    parts += [f"<p class='doubt'>{html.escape(reason)}</p>" for reason in reasons]
    return "".join(parts) + "</article>\n"


def _picture(overlay: Path) -> str:
    """A study's picture as a small JPEG, in a data address."""
    from PIL import Image

    with explained(overlay.parent), Image.open(overlay) as image:
        small = image.convert("RGB")
        small.thumbnail((_PICTURE_PX, _PICTURE_PX))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=55)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def histogram(volumes: Sequence[float]) -> str:
    """How often each volume is, as an SVG drawing; the usual range of a pancreas is shaded."""
    import numpy as np

    top = max(PANCREAS_ML[1] * 1.2, max(volumes) * 1.02)
    counts, edges = np.histogram(volumes, bins=_BINS, range=(0.0, top))
    width, height, left, bottom = 720, 240, 46, 40
    scale_x, scale_y = (width - left - 10) / top, (height - bottom - 14) / max(int(counts.max()), 1)
    base = height - bottom

    def x(volume: float) -> float:
        return left + volume * scale_x

    low, high = PANCREAS_ML
    parts = [
        f"<svg viewBox='0 0 {width} {height}' width='{width}' role='img' "
        f"aria-label='Distribution of {len(volumes)} volumes'>",
        f"<rect x='{x(low):.1f}' y='8' width='{(high - low) * scale_x:.1f}' height='{base - 8}' "
        "fill='#8a94a0' opacity='.15'/>",
    ]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            parts.append(
                f"<rect x='{x(start) + 1:.1f}' y='{base - count * scale_y:.1f}' "
                f"width='{(end - start) * scale_x - 2:.1f}' height='{count * scale_y:.1f}' "
                f"fill='#d98a1f'><title>{start:.0f} to {end:.0f} mL: {count}</title></rect>"
            )
    step = next((step for step in (25, 50, 100, 250, 500, 1000) if top / step <= 16), int(top))
    for tick in range(0, int(top) + 1, step):
        parts.append(f"<text x='{x(tick):.1f}' y='{base + 17}' text-anchor='middle'>{tick}</text>")
    parts.append(f"<text x='{width - 10}' y='{height - 5}' text-anchor='end'>volume, mL</text>")
    parts.append(f"<text x='{left - 6}' y='19' text-anchor='end'>{counts.max()}</text>")
    parts.append(f"<text x='{left - 6}' y='{base}' text-anchor='end'>0</text>")
    parts.append(f"<path d='M{left} {base}H{width - 10}' stroke='#8a94a0'/></svg>")
    return "".join(parts)
