"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(heading: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table.

    Args:
        rows: of cells; what a row lacks at its end is empty.
    """
    return [
        _line(heading),
        "|---" * len(heading) + "|",
        *(_line(row, len(heading)) for row in rows),
    ]


def _line(cells: Sequence[object], columns: int = 0) -> str:
    return f"| {' | '.join(map(str, cells))} |" + " |" * (columns - len(cells))
