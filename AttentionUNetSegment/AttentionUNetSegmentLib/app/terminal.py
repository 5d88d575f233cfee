"""Tables and text as a terminal shows them, from the Markdown that goes into files and pipes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence

_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_RULE = re.compile(r"\|(\s*:?-+:?\s*\|)+\s*")
_GAP = 2
_NUMBER = re.compile(r"[-+]?[\d.,]+( (%|mL|mm|s))?|none|")


class _Heading(str):
    """A line that is one."""


def show_markdown(text: str) -> None:
    """Print Markdown: as it is where it goes into a pipe or a file; on a terminal with its tables
    drawn, and without links to pictures."""
    if not sys.stdout.isatty():
        print(text, end="" if text.endswith("\n") else "\n", flush=True)
        return
    from rich.console import Console

    show_on(Console(highlight=False), text)


def show_on(console: object, text: str) -> None:
    """Print it on a rich console, as for a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert isinstance(console, Console)
    for block in _blocks(text):
        if isinstance(block, str):
            console.print(Text(block, style="bold" if isinstance(block, _Heading) else ""))
            continue
        heading, *rows = block
        widths = [_width([row[column] for row in block]) for column in range(len(heading))]
        for part, columns in enumerate(_parts(heading, widths, console.width)):
            table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
            for column in columns:
                numbers = all(_NUMBER.fullmatch(row[column]) for row in rows)
                table.add_column(
                    Text(heading[column]),
                    justify="right" if numbers else "left",
                    min_width=widths[column],
                )
            for row in rows:
                table.add_row(*(Text(row[column]) for column in columns))
            if part:
                console.print()
            console.print(table)


def _width(cells: Sequence[str]) -> int:
    """Of a column whose cells stay whole, while its heading may go over several lines."""
    heading, *rows = cells
    return max(map(len, [*heading.split(), *rows, ""]))


def _parts(heading: Sequence[str], widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """The columns of a table in parts that fit beside each other, each with those that say what a
    row is about."""
    about = [0, *([1] if heading[1:2] == ["clicks"] else [])]
    columns = list(about)
    for column in range(len(about), len(heading)):
        taken = sum(widths[one] + _GAP for one in columns)
        if len(columns) > len(about) and taken + widths[column] > room:
            yield columns
            columns = list(about)
        columns.append(column)
    yield columns


def _blocks(text: str) -> Iterator[str | list[list[str]]]:
    """Lines of text, and tables as rows of cells."""
    rows: list[list[str]] = []
    for line in [*text.splitlines(), None]:
        if line is not None and line.startswith("|"):
            if not _RULE.fullmatch(line):
                rows.append([_plain(cell.strip()) for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            width = max(map(len, rows))
            yield [row + [""] * (width - len(row)) for row in rows]
            rows = []
        if line is None:
            return
        if _PICTURE.search(line):
            line = _PICTURE.sub("", line).strip()
            if not line:
                continue
        heading = re.fullmatch(r"#+ (.*)", line)
        yield _Heading(_plain(heading[1])) if heading else _plain(line)


def _plain(text: str) -> str:
    """Without the marks of emphasis, code and links."""
    text = _LINK.sub(r"\1", text)
    return re.sub(r"(\*\*|`)(.+?)\1", r"\2", text)
