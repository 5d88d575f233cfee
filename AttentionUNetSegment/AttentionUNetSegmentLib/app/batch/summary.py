"""``summary.html``: the batch on one page that needs nothing else, the doubtful studies first."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import explain_write_errors, replaced_file
from ..report import INTENDED_USE
from ..segmenting import OVERLAY_FILE
from .rows import RESULTS_FILE, StudyRow
from .worker import STUDIES_FOLDER

if TYPE_CHECKING:
    from PIL import Image

SUMMARY_FILE = "summary.html"
MOST_PICTURES = 5000
"""More pictures, of about 25 kB each, make a page that browsers take long to open."""

_PICTURE_PX = 560
_ORGAN_PX = 220
"""Height of the organ's surroundings in a picture."""
_BINS = 24
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1b2027; background: #fff; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
p { margin: .3rem 0; } .quiet { color: #5c6672; }
.studies { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); }
article { border: 1px solid #d5dae0; border-radius: 6px; padding: .7rem; overflow-wrap: anywhere; }
article.doubtful { border-color: #d98a1f; } article.failed { border-color: #c0392b; }
article h3 { font-size: 1rem; margin: 0 0 .4rem; } article img { width: 100%; display: block; }
.doubt { color: #8a4b00; } .failed .doubt { color: #a12619; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .2rem .6rem; text-align: right;
  border-bottom: 1px solid #d5dae0; } th:first-child, td:first-child, td.text { text-align: left; }
th { cursor: pointer; user-select: none; } th[aria-sort]::after { content: " \2191"; }
th[aria-sort=descending]::after { content: " \2193"; } a { color: inherit; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: #3a434e; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9ed; background: #14181d; } .quiet { color: #9aa4b2; }
  article, th, td { border-color: #38414b; } .doubt { color: #ffb35c; }
  .failed .doubt { color: #ff8d80; }
  svg text { fill: #c3cad3; } }
"""
SORTING = """
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const up = head.getAttribute("aria-sort") !== "ascending";
  document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = row => {
    const cell = row.cells[column], number = cell.dataset.value;
    return number === undefined ? cell.textContent : number === "" ? -1e300 : Number(number);
  };
  const compared = (a, b) =>
    typeof value(a) === "number" ? value(a) - value(b) : value(a).localeCompare(value(b));
  const body = document.querySelector("tbody");
  [...body.rows].sort((a, b) => up ? compared(a, b) : compared(b, a))
    .forEach(row => body.append(row));
}));
"""
_MEASURES = (
    ("volume, mL", "volume_ml", 1),
    ("mean, HU", "mean_hu", 0),
    ("surface, cm\u00b2", "surface_mm2", 1),
    ("length, mm", "length_mm", 0),
    ("pieces", "pieces", 0),
    ("probability", "mean_probability", 2),
    ("estimated Dice", "dice_estimate", 2),
)
"""Columns of the table: title, field of a row, digits."""


def write_summary(
    directory: Path,
    rows: Sequence[StudyRow],
    usual_ml: tuple[float, float] | None = None,
    structure: str = "",
) -> None:
    """Write the page of a batch.

    Args:
        directory: of the batch.
        rows: of all studies.
        usual_ml: least and most volume that is usual for the organ; None where it is not known.
        structure: what was segmented in the place of the models' targets; empty where nothing was.

    Raises:
        OutputError: it cannot be written.
    """
    page = "".join(_page(directory, rows, usual_ml, structure))
    with explain_write_errors(directory), replaced_file(directory / SUMMARY_FILE) as beside:
        beside.write_bytes(page.encode("utf-8"))


def list_warnings(row: StudyRow) -> list[str]:
    """Why somebody should look at a study, the gravest reason first."""
    if row.status == "failed":
        return [row.error]
    return [row.warnings] if row.warnings else []


def doubtful_first(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """Failed studies, those with nothing found, those with other warnings, and the rest; among
    these two the one that is estimated to be worse goes first."""

    def rank(row: StudyRow) -> tuple[int, float]:
        if row.status == "failed":
            return 0, 0.0
        if row.found == "no":
            return 1, 0.0
        estimate = 1.0 if row.dice_estimate is None else row.dice_estimate
        return 2 if list_warnings(row) else 3, estimate

    return sorted(rows, key=rank)


def _page(
    directory: Path,
    rows: Sequence[StudyRow],
    usual_ml: tuple[float, float] | None,
    structure: str,
) -> Iterator[str]:
    volumes = [row.volume_ml for row in rows if row.found == "yes" and row.volume_ml is not None]
    failed = sum(row.status == "failed" for row in rows)
    doubtful = sum(bool(list_warnings(row)) for row in rows) - failed
    yield (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Batch of {len(rows)} studies</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Batch of {len(rows)} studies</h1>"
        f"<p>{len(rows) - failed} done, {doubtful} of them doubtful; {failed} failed. "
        f"All figures are in {RESULTS_FILE}.</p>"
        f"<p class='quiet'>{html.escape(INTENDED_USE)}</p>\n"
    )
    if structure:
        yield (
            f"<p>Segmented: {html.escape(structure)}. Any structure is experimental: check each "
            "outline in every slice.</p>\n"
        )
    if volumes:
        yield f"<h2>Volumes</h2>{histogram(volumes, usual_ml)}\n"
    yield from _table(rows)
    yield "<h2>Studies, the doubtful ones first</h2>"
    if len(rows) > MOST_PICTURES:
        yield f"<p class='quiet'>With a picture: the first {MOST_PICTURES}.</p>"
    yield "<div class='studies'>\n"
    for number, row in enumerate(doubtful_first(rows)):
        yield _article(directory, row, number < MOST_PICTURES)
    yield f"</div><script>{SORTING}</script></body></html>\n"


def _table(rows: Sequence[StudyRow]) -> Iterator[str]:
    titles = ["study", *(title for title, _, _ in _MEASURES), "warnings"]
    heads = "".join(f"<th scope='col'>{title}</th>" for title in titles)
    yield "<h2>Measures</h2><p class='quiet'>A click on a column's title sorts by it.</p>"
    yield f"<table><thead><tr>{heads}</tr></thead><tbody>\n"
    for row in doubtful_first(rows):
        cells = [f"<td>{_link(row)}</td>"]
        for _, name, digits in _MEASURES:
            value = getattr(row, name)
            if value is not None and name == "surface_mm2":
                value /= 100
            shown = "" if value is None else f"{value:.{digits}f}"
            cells.append(f"<td data-value='{'' if value is None else value}'>{shown}</td>")
        said = " ".join(list_warnings(row))
        cells.append(f"<td class='text'>{html.escape(said)}</td>")
        yield f"<tr>{''.join(cells)}</tr>\n"
    yield "</tbody></table>\n"


def _link(row: StudyRow, file: str = "", inside: str | None = None) -> str:
    """A link to a study's folder, or a file in it, around its name or something else."""
    inside = html.escape(row.study) if inside is None else inside
    if row.status != "done":
        return inside
    # A study's name has no character that an address would have to hide.
    return f"<a href='{STUDIES_FOLDER}/{row.study}/{file}'>{inside}</a>"


def _article(directory: Path, row: StudyRow, with_picture: bool) -> str:
    reasons = list_warnings(row)
    kind = "failed" if row.status == "failed" else "doubtful" if reasons else "usual"
    result = {"yes": f"{row.volume_ml or 0.0:.1f} mL", "no": "none found"}.get(row.found, "failed")
    name = html.escape(row.study)
    parts = [f"<article class='{kind}'><h3>{_link(row)}: {result}</h3>"]
    overlay = directory / STUDIES_FOLDER / row.study / OVERLAY_FILE
    if with_picture and row.status == "done":
        picture = f"<img loading='lazy' alt='{name}' src='{_picture(overlay)}'>"
        parts.append(_link(row, OVERLAY_FILE, picture))
    if row.dice_estimate is not None:
        parts.append(
            f"<p>Estimated Dice {row.dice_estimate:.2f} "
            f"({row.dice_low:.2f} to {row.dice_high:.2f})</p>"
        )
    parts += [f"<p class='doubt'>{html.escape(reason)}</p>" for reason in reasons]
    return "".join(parts) + "</article>\n"


def _picture(overlay: Path) -> str:
    """A study's picture as a small JPEG, in a data address: its slices around the organ."""
    from PIL import Image

    from ..overlay import ORGAN_KEY

    with explain_write_errors(overlay.parent), Image.open(overlay) as image:
        boxes = json.loads(image.info.get(ORGAN_KEY, "[]"))
        whole = image.convert("RGB")
    if boxes:
        small = _side_by_side([whole.crop(box) for box in boxes])
    else:
        small = whole
        small.thumbnail((_PICTURE_PX, _PICTURE_PX))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _side_by_side(slices: Sequence[Image.Image]) -> Image.Image:
    """At one scale, in a row, the highest of them as high as a picture may be."""
    from PIL import Image

    gap, scale = 4, _ORGAN_PX / max(one.height for one in slices)
    sized = [
        one.resize((max(1, round(scale * one.width)), max(1, round(scale * one.height))))
        for one in slices
    ]
    width = sum(one.width for one in sized) + gap * (len(sized) - 1)
    row = Image.new("RGB", (width, _ORGAN_PX))
    left = 0
    for one in sized:
        row.paste(one, (left, (_ORGAN_PX - one.height) // 2))
        left += one.width + gap
    return row


def histogram(volumes: Sequence[float], usual_ml: tuple[float, float] | None) -> str:
    """How often each volume is, as an SVG drawing; the usual range is shaded."""
    import numpy as np

    top = max([max(volumes) * 1.02, *([usual_ml[1] * 1.2] if usual_ml else [])])
    counts, edges = np.histogram(volumes, bins=_BINS, range=(0.0, top))
    width, height, left, right, bottom = 720, 240, 64, 30, 40
    scale_x, scale_y = (
        (width - left - right) / top,
        (height - bottom - 14) / max(int(counts.max()), 1),
    )
    base = height - bottom

    def x(volume: float) -> float:
        return left + volume * scale_x

    parts = [
        f"<svg viewBox='0 0 {width} {height}' width='{width}' role='img' "
        f"aria-label='Distribution of {len(volumes)} volumes'>"
    ]
    if usual_ml is not None:
        low, high = usual_ml
        parts.append(
            f"<rect x='{x(low):.1f}' y='8' width='{(high - low) * scale_x:.1f}' "
            f"height='{base - 8}' fill='#8a94a0' opacity='.15'/>"
        )
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
    middle = (left + width - right) / 2
    parts.append(f"<text x='{middle}' y='{height - 5}' text-anchor='middle'>volume, mL</text>")
    parts.append(
        f"<text transform='translate(16 {base / 2 + 4}) rotate(-90)' text-anchor='middle'>"
        "studies</text>"
    )
    parts.append(f"<text x='{left - 6}' y='19' text-anchor='end'>{counts.max()}</text>")
    parts.append(f"<text x='{left - 6}' y='{base}' text-anchor='end'>0</text>")
    parts.append(f"<path d='M{left} {base}H{width - right}' stroke='#8a94a0'/></svg>")
    return "".join(parts)
