"""One command at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder. The operating system ends it if the process dies.

    Args:
        folder: an existing one; it gets the hidden file ``.lock``.

    Raises:
        InputError: another command is working in it.
        OSError: the folder cannot be written to.
    """
    from filelock import FileLock, Timeout  # comes with PyTorch

    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"Another command is working in '{folder}'; wait for it or choose another folder."
        ) from error
