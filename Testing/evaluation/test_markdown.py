"""One writer for all tables, and a terminal that reads them."""

from __future__ import annotations

from AttentionUNetSegmentLib.markdown import markdown_table


def test_a_table_has_a_heading_and_rows_that_may_end_early() -> None:
    rows = [("a", 1, "0.5"), ("b", "not there"), ("c", "", "")]
    assert markdown_table(("case", "clicks", "Dice"), rows) == [
        "| case | clicks | Dice |",
        "|---|---|---|",
        "| a | 1 | 0.5 |",
        "| b | not there | |",
        "| c |  |  |",
    ]
