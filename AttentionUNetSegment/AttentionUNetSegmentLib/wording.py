"""Numbers as people write them."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """A number and the word for as many: "1 click", "2 clicks", "3 studies"."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def duration(seconds: float) -> str:
    """A time: "12 s", "3 min", "1.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} hours"
