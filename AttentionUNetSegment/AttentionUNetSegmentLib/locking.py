"""One command at a time in a folder."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError, OutputError

LOCK_FILE = ".lock"

_NO_LOCKS = {
    getattr(errno, name, -1) for name in ("ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP")
}  # fmt: skip


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder. The operating system ends it if the process dies.

    Args:
        folder: an existing one; it gets the hidden file ``.lock``.

    Raises:
        InputError: another command is working in it.
        OutputError: it lies on a file system without locks.
        OSError: the folder cannot be written to.
    """
    from filelock import Timeout

    try:
        with locked(folder / LOCK_FILE):
            yield
    except Timeout as error:
        raise InputError(
            f"Another command is working in '{folder}'; wait for it or choose another folder."
        ) from error


@contextmanager
def locked(file: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be.

    Raises:
        filelock.Timeout: another process holds it, for longer than one would wait.
        OutputError: the file system has no locks.
        OSError: the file cannot be made.
    """
    from filelock import FileLock  # comes with PyTorch

    lock = FileLock(file, timeout=wait_s)
    try:
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        raise OutputError(
            f"The folder '{file.parent}' lies on a file system without file locks; choose a folder "
            "on another disk."
        ) from error
    try:
        yield
    finally:
        lock.release()
